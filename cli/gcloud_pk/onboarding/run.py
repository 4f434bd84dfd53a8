"""Onboarding: plan, apply stage by stage, wait, give access, record, verify."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from gcloud_pk import __version__
from gcloud_pk.cluster.answer import Answer, refusal
from gcloud_pk.cluster.apply import Conveyor, OnDone
from gcloud_pk.cluster.kinds import (
    NAMESPACE,
    NETWORK_POLICY,
    RESOURCE_QUOTA,
    ROLE_BINDING,
    TENANT,
    TENANT_POLICY,
    ObjectKey,
    key_of,
)
from gcloud_pk.cluster.lease import Lease
from gcloud_pk.cluster.live import fetch_named
from gcloud_pk.cluster.plan import Action, Change, Plan, plan
from gcloud_pk.cluster.removal import Remains, finish_deletions
from gcloud_pk.cluster.transport import Api
from gcloud_pk.cluster.waiting import quotas_counted
from gcloud_pk.cluster.write import write_status
from gcloud_pk.errors import GcloudPkError, PartialError, Problem, RefusedError, UnavailableError
from gcloud_pk.model import labels
from gcloud_pk.model.base import API_VERSION
from gcloud_pk.model.finding import Finding, count
from gcloud_pk.model.resources import TenantStatus
from gcloud_pk.model.tenant import Tenant
from gcloud_pk.onboarding import adoption
from gcloud_pk.onboarding.closures import refuse_offboarded, refuse_suspended, tombstone
from gcloud_pk.onboarding.population import (
    Live,
    Population,
    accepted_at,
    check_no_way_back,
    foreign_namespaces,
    survey,
)
from gcloud_pk.onboarding.provenance import head_of
from gcloud_pk.onboarding.stages import Stages, stage
from gcloud_pk.render.tenant import render
from gcloud_pk.text import stamp

QUOTA_PATIENCE = 90.0
"""Seconds: a controller manager that missed its API server for a while comes back after up to a minute."""
_NEVER_PRUNED = {TENANT, NAMESPACE, TENANT_POLICY}


@dataclass(frozen=True)
class Prepared:
    """A tenant's plan against what is in place. `status` is what `Tenant.status` should say, None where it says so.

    `ready`: what it says in the end, either way; `retiring`: those of the `retired` environments that were in use;
    `adopting`: namespaces that exist and become the tenant's; `parent`: the live Tenant that it was planned by.
    """

    tenant: Tenant
    retired: tuple[str, ...]
    plan: Plan
    stages: Stages
    status: TenantStatus | None
    ready: TenantStatus
    retiring: tuple[str, ...]
    seconds: float = 0.0
    adopting: frozenset[str] = frozenset()
    parent: Mapping[str, Any] | None = None

    @property
    def writes(self) -> bool:
        """Whether anything is to be written."""
        return bool(self.stages.writes() or self.adopting) or self.status is not None


@dataclass
class Outcome:
    """What became of one tenant; seconds of wall time."""

    name: str
    namespaces: list[str]
    changes: dict[str, int]
    findings: list[Finding] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    error: GcloudPkError | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the shape of `tenants[]` in `onboard --format json`."""
        shape: dict[str, Any] = {
            "name": self.name,
            "namespaces": self.namespaces,
            "changes": self.changes,
            "verdicts": count(self.findings),
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }
        if self.error is not None:
            shape["error"] = self.error.as_dict()
        return shape


def prepare(
    api: Api,
    tenants: Sequence[Tenant],
    *,
    population: Population | None = None,
    adopting: Collection[str] = (),
) -> list[Prepared]:
    """Plan every tenant. Only GET and LIST. Raises RefusedError where a namespace is not the tenant's.

    `adopting`: namespaces that exist and may become the tenant's (`adoption.adoptable` says so).
    """
    population = population or survey(api, [t.name for t in tenants])
    if foreign := foreign_namespaces(api, tenants, population, adopting):
        raise RefusedError(
            "a namespace that the request needs is not the tenant's; nothing was written",
            details=[f"tenant {name}: {text}" for name, texts in foreign.items() for text in texts],
            resolution="rename the environment in the request, remove the namespace if nobody needs it, or adopt it "
            "with what runs in it: --adopt NAMESPACE",
        )
    return [_prepare(api, tenant, population, adopting) for tenant in tenants]


def _prepare(api: Api, tenant: Tenant, population: Population, adopting: Collection[str]) -> Prepared:
    started = time.perf_counter()
    live = dict(population.of(tenant.name))
    asked = {environment.name for environment in tenant.request.spec.environments}
    retired = tuple(sorted(set(population.environments(tenant.name)) - asked))
    leaving = {key.name for key, value in live.items() if key.kind == NAMESPACE and _is_leaving(value)}
    for name in retired:
        if (namespace := population.environments(tenant.name)[name]) in leaving:
            raise UnavailableError(
                f"namespace {namespace} of the retired environment {name!r} of tenant {tenant.name} is being deleted",
                details=[f"Namespace {namespace}: {Remains.of(live[ObjectKey(NAMESPACE, '', namespace)]).in_words()}"],
                resolution=f"gcloud-pk tenant offboard {tenant.name} --environment {name} brings that to its end",
            )
    # What such a namespace still holds goes with it, and is created anew after it.
    live = {key: value for key, value in live.items() if key.namespace not in leaving}
    for name in retired:
        live.update(_opened_by_tenant(api, population.environments(tenant.name)[name]))
    desired = render(tenant, retired)
    wanted = {key_of(manifest) for manifest in desired}
    taken = (adoption.unfinished(live) | {*adopting}) & {*tenant.request.namespaces()}
    live = adoption.openings_of(api, tenant, taken) | live
    standing = taken | ({key.name for key in live if key.kind == NAMESPACE} - leaving)
    live.update(_unmarked(api, wanted - live.keys(), standing))
    compared: Live = {key: value for key, value in live.items() if key.kind not in _NEVER_PRUNED or key in wanted}
    made = plan(desired, compared)
    parent = population.parent(tenant.name)
    ready = _ready(tenant, retired, parent)
    status = None if (parent or {}).get("status") == _as_live(ready) else ready
    stages = adoption.in_order(stage([_anew(change) for change in made.changes]), taken)
    known = ((parent or {}).get("status") or {}).get("retired") or ()
    retiring = tuple(name for name in retired if tenant.request.namespace(name) not in known)
    seconds = time.perf_counter() - started
    return Prepared(tenant, retired, made, stages, status, ready, retiring, seconds, taken, parent)


def _unmarked(api: Api, missing: Collection[ObjectKey], namespaces: Collection[str]) -> Live:
    """Return which of the objects that carry no label of ours are there all the same, in namespaces that exist.

    The controller makes the service account `default` anew where it was deleted; what somebody then changes in it, the
    server ascribes to nobody. A plan that took it for absent could never be carried out.
    """
    return fetch_named(api, [k for k in missing if (k.name if k.kind == NAMESPACE else k.namespace) in namespaces])


def _is_leaving(live: Mapping[str, Any]) -> bool:
    return bool(live["metadata"].get("deletionTimestamp"))


def _anew(change: Change) -> Change:
    """Return the creation of what is being deleted and is wanted: `_apply` waits until it is gone."""
    if change.is_leaving and change.desired is not None:
        return replace(change, action=Action.CREATE, live=None, fields=())
    return change


def _opened_by_tenant(api: Api, namespace: str) -> Live:
    """Return what the tenant itself opened in a namespace that is to be closed: its bindings and network policies."""
    return {
        ObjectKey(kind, namespace, live["metadata"]["name"]): live
        for kind in (ROLE_BINDING, NETWORK_POLICY)
        for live in api.list(kind, namespace=namespace)
        if labels.MANAGED not in (live["metadata"].get("labels") or {})
    }


def _ready(tenant: Tenant, retired: Sequence[str], parent: Mapping[str, Any] | None) -> TenantStatus:
    moment = accepted_at(parent, tenant.digest)
    now = stamp(dt.datetime.now(dt.UTC))
    return TenantStatus(
        phase="Ready",
        revision=tenant.revision,
        requestDigest=tenant.digest,
        acceptedAt=moment or now,
        approvers=tenant.approvers,
        namespaces=tenant.request.namespaces(),
        retired=tuple(sorted(tenant.request.namespace(name) for name in retired)),
        toolVersion=__version__,
        # As it is: that the history grew (by a verify, say) is no reason to write.
        historyHead=head_of(parent),
    )


def _as_live(status: TenantStatus) -> dict[str, Any]:
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def status_manifest(tenant: str, status: TenantStatus) -> dict[str, Any]:
    """Return what is applied to the status of a Tenant."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Tenant",
        "metadata": {"name": tenant},
        "status": _as_live(status),
    }


Verify = Callable[[Tenant, Sequence[str]], list[Finding]]
"""(tenant, retired environments) → findings."""

Record = Callable[[Prepared], str | None]
"""Writes down what was brought to the cluster; returns the history's new head, None where it cannot be written."""


StillOpen = Callable[[Tenant], None]
"""Asks the registry anew about a tenant; raises RefusedError where it was closed since."""


class Run:
    """One run of `onboard` over prepared tenants; tenants go side by side, each in its own stages."""

    def __init__(
        self,
        api: Api,
        *,
        threads: int = 8,
        force_conflicts: bool = False,
        wait_for_lock: float = 30.0,
        verify: Verify | None = None,
        record: Record | None = None,
        still_open: StillOpen | None = None,
        on_done: OnDone | None = None,
    ) -> None:
        self.api = api
        self.threads = threads
        self.force_conflicts = force_conflicts
        self.wait_for_lock = wait_for_lock
        self.verify = verify
        self.record = record
        self.still_open = still_open
        self.on_done = on_done

    def onboard(self, prepared: Sequence[Prepared]) -> list[Outcome]:
        """Apply and verify; one tenant's failure does not stop the others. Outcomes in the order given."""
        if not prepared:
            return []
        with (
            Conveyor(self.api, self.threads, force_conflicts=self.force_conflicts) as conveyor,
            # Twice as many tenants as threads: while some wait for their quotas, others keep the server busy.
            ThreadPoolExecutor(min(2 * self.threads, len(prepared)), thread_name_prefix="tenant") as pool,
        ):
            futures = [pool.submit(self._one, one, conveyor) for one in prepared]
            try:
                return [future.result() for future in futures]
            except BaseException:
                conveyor.stop()  # Ctrl-C: what is under way ends, nothing more begins
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _one(self, prepared: Prepared, conveyor: Conveyor) -> Outcome:
        tenant = prepared.tenant
        outcome = Outcome(tenant.name, list(tenant.request.namespaces()), prepared.plan.counts())
        outcome.seconds = {"plan": prepared.seconds, "apply": 0.0, "verify": 0.0}
        started = time.perf_counter()
        try:
            if prepared.writes:
                self._apply(prepared, outcome, conveyor)
            outcome.seconds["apply"] = time.perf_counter() - started
            if self.verify is not None:
                verifying = time.perf_counter()
                outcome.findings = self.verify(tenant, prepared.retired)
                outcome.seconds["verify"] = time.perf_counter() - verifying
        except GcloudPkError as error:
            outcome.error = error
            outcome.seconds["apply"] = outcome.seconds["apply"] or time.perf_counter() - started
        outcome.seconds["total"] = sum(outcome.seconds[name] for name in ("plan", "apply", "verify"))
        return outcome

    def _apply(self, prepared: Prepared, outcome: Outcome, conveyor: Conveyor) -> None:
        tenant = prepared.tenant
        waited: list[str] = []
        with Lease(
            self.api,
            f"tenant-{tenant.name}",
            wait=self.wait_for_lock,
            on_wait=lambda holder, since: waited.append(f"{holder} since {since}"),
        ) as lease:
            changed = self._refuse_closed(prepared)
            if waited or changed:
                # Somebody else has written meanwhile: what was planned may be done, or undone.
                prepared = prepare(self.api, [tenant], adopting=prepared.adopting)[0]
                outcome.changes = prepared.plan.counts()
            stages = prepared.stages
            leaving = {c.key: c.live["metadata"]["uid"] for c in prepared.plan.changes if c.live and c.is_leaving}
            if leaving:
                finish_deletions(self.api, leaving)
            before = stages.before_access()
            if prepared.adopting:
                conveyor.run(before[:2], self._marking(prepared), check=lease.check)
                adoption.seen(self.api, prepared.plan.writes, prepared.adopting)
                del before[:2]
            conveyor.run(before, self._marking(prepared), check=lease.check)
            quotas = {change.key.namespace for change in stages.writes() if change.key.kind == RESOURCE_QUOTA}
            if quotas:
                quotas_counted(self.api, sorted(quotas), timeout=QUOTA_PATIENCE)
            conveyor.run(stages.after(), self.on_done, check=lease.check)
            adoption.finish(self.api, prepared.adopting)
            if prepared.writes:
                lease.check()
                self._conclude(prepared)

    def _refuse_closed(self, prepared: Prepared) -> bool:
        """Refuse what was closed since it was planned; return whether its Tenant is another than it was then.

        Nobody else writes while the lease is held. A tenant that is not on the cluster yet can be closed in the
        registry, or leave a tombstone.
        """
        tenant = prepared.tenant
        answer = self.api.request("GET", TENANT.path(name=tenant.name))
        if not answer.ok and answer.status != 404:
            raise refusal(answer, f"Tenant {tenant.name}")
        parent = answer.body if answer.ok else None
        refuse_suspended(tenant.name, parent)
        refuse_offboarded(tenant.name, tombstone(self.api, tenant.name))
        check_no_way_back(tenant, parent)
        if self.still_open is not None:
            self.still_open(tenant)
        return _version(parent) != _version(prepared.parent)

    def _conclude(self, prepared: Prepared) -> None:
        """Record what was done, and say on the Tenant that it is ready, with the head of its history."""
        head = self.record(prepared) if self.record is not None else None
        if head is not None:
            ready = prepared.ready.model_copy(update={"history_head": head})
            write_status(self.api, status_manifest(prepared.tenant.name, ready))
        elif prepared.status is not None:
            write_status(self.api, status_manifest(prepared.tenant.name, prepared.status))

    def _marking(self, prepared: Prepared) -> OnDone:
        """Return what says `Applying` once the Tenant itself is written: a run that is killed shows from then on."""
        status = prepared.status

        def done(change: Change, answer: Answer) -> None:
            if change.key.kind == TENANT and status is not None:
                # What is being retired is not yet: should this run be killed, the next one knows what to record.
                leaving = {prepared.tenant.request.namespace(name) for name in prepared.retiring}
                kept = tuple(name for name in status.retired if name not in leaving)
                applying = status.model_copy(update={"phase": "Applying", "retired": kept})
                write_status(self.api, status_manifest(prepared.tenant.name, applying))
            if self.on_done is not None:
                self.on_done(change, answer)

        return done


def _version(parent: Mapping[str, Any] | None) -> tuple[str | None, str | None]:
    metadata = (parent or {}).get("metadata") or {}
    return metadata.get("uid"), metadata.get("resourceVersion")


def summary_error(outcomes: Sequence[Outcome], *, persisted: int) -> GcloudPkError | None:
    """Return the one error of a run: 8 where something was written, else the first error's own code."""
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if not failed:
        return None
    first = failed[0].error
    assert first is not None  # noqa: S101 - filtered above
    if len(outcomes) == 1 and (persisted == 0 or isinstance(first, PartialError)):
        return first
    details: list[Problem | str] = []
    for outcome in failed:
        if outcome.error is not None:
            details.append(f"tenant {outcome.name}: {outcome.error.message}")
            details.extend(outcome.error.details)
    message = f"{len(failed)} of {len(outcomes)} tenants not brought to the end"
    resolution = first.resolution or "run again to converge"
    if persisted:
        return PartialError(message, details=details, resolution=resolution)
    return type(first)(message, details=details, resolution=resolution)
