"""Whom to audit, and against which neighbours: the registry's tenants that are in place on a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gcloud_pk.cluster.kinds import NAMESPACE
from gcloud_pk.cluster.transport import Api
from gcloud_pk.model import labels
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.model.tenant import Tenant
from gcloud_pk.onboarding.absence import not_in_place
from gcloud_pk.onboarding.closures import closed_since
from gcloud_pk.onboarding.intake import Intake, take_in
from gcloud_pk.onboarding.population import tenants_in_place
from gcloud_pk.onboarding.standing import Standing
from gcloud_pk.onboarding.verification import target
from gcloud_pk.proof.contents import Item
from gcloud_pk.proof.target import Target
from gcloud_pk.registry.folder import Registry

BACKED = "ISO-640"
"""The check that an approved request stands behind what is in place for a tenant."""
BACKED_TITLE = "An approved request of the registry stands behind what is in place for the tenant"
BACKED_ITEM = Item(BACKED, BACKED_TITLE, ("GPK-ADM-001",), "the registry", "the tenant")

SAMPLE = 4
"""Namespaces of other tenants that each tenant is tried against."""

_OWN = f"{labels.MANAGED}={labels.MANAGED_BY_PLATFORM},{labels.TENANT}"


@dataclass(frozen=True)
class Subjects:
    """Whom an audit is about. `in_place`: every Tenant of the cluster; `closed`: suspended ones, with their Tenants.

    `targets`: those in use, sorted by name; `tenants`: the same as the registry has them. `unbacked`: findings on
    those in place that no approved request stands behind. `notes`: what a person should know of the registry.
    """

    in_place: Mapping[str, dict[str, Any]]
    targets: tuple[Target, ...]
    tenants: tuple[Tenant, ...]
    closed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    unbacked: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()


def subjects(api: Api, registry: Registry, standing: Standing, names: Sequence[str] | None) -> Subjects:
    """Return whom to audit: those named, or all that are in place (None). Only GET and LIST.

    A name that is not in the registry, not on this cluster, or that no approved request stands behind, raises as
    `tenant verify` does; of all, the last becomes a finding, and whom the registry does not know is left alone.
    """
    in_place = tenants_in_place(api)
    wanted = sorted(set(names)) if names is not None else sorted(in_place.keys() & registry.tenants.keys())
    for name in wanted:
        entry = registry.entry(name)
        if name not in in_place:
            raise not_in_place(name, registry.standing(entry).state)
    closed = {name: in_place[name] for name in wanted if _is_closed(registry, name, in_place[name])}
    open_ones = [name for name in wanted if name not in closed]
    intake = take_in(registry, standing, open_ones if names is not None else None, in_place, going_on=True)
    taken = {tenant.name: tenant for tenant in intake.tenants if tenant.name in open_ones}
    live = _live_environments(api)
    namespaces = {
        name: [e["namespace"] for e in parent.get("spec", {}).get("environments", ())]
        for name, parent in in_place.items()
    }
    tenants = tuple(taken[name] for name in sorted(taken))
    return Subjects(
        in_place,
        tuple(_target(tenant, live.get(tenant.name, {}), namespaces, registry) for tenant in tenants),
        tenants,
        closed,
        tuple(_unbacked(intake, set(open_ones) - taken.keys())),
        tuple(intake.notes),
    )


def _is_closed(registry: Registry, name: str, parent: Mapping[str, Any]) -> bool:
    return registry.standing(registry.entry(name)).state == "suspended" or closed_since(parent) is not None


def _live_environments(api: Api) -> dict[str, dict[str, str]]:
    """Return tenant → environment → namespace of what is live."""
    found: dict[str, dict[str, str]] = {}
    for live in api.list(NAMESPACE, selector=_OWN):
        said, name = live["metadata"]["labels"], live["metadata"]["name"]
        environment = said.get(labels.ENVIRONMENT) or name.removeprefix(f"{said[labels.TENANT]}-")
        found.setdefault(said[labels.TENANT], {})[environment] = name
    return found


def _unbacked(intake: Intake, names: set[str]) -> Iterator[Finding]:
    reasons = {skipped.name: skipped.reason for skipped in intake.skipped}
    for name in sorted(names):
        yield Finding(
            id=BACKED,
            title=BACKED_TITLE,
            subject=f"tenant/{name}",
            expected="an approved request of this cluster's",
            observed=f"the registry says: {reasons.get(name, 'nothing')}",
            verdict=Verdict.FAIL,
            controls=BACKED_ITEM.controls,
            reason="nothing says what the tenant may have, so nothing more of it was tried",
        )


def _target(
    tenant: Tenant, live: Mapping[str, str], namespaces: Mapping[str, Sequence[str]], registry: Registry
) -> Target:
    asked = {environment.name for environment in tenant.request.spec.environments}
    aim = target(tenant, sorted(live.keys() - asked), namespaces, registry)
    sample = neighbours(tenant.name, namespaces)
    return replace(
        aim,
        other_namespaces=tuple(sorted(namespace for each in sample.values() for namespace in each)),
        other_groups=tuple(sorted({g for name in sample for g in tenant.bound(_groups(registry, name))})),
    )


def neighbours(tenant: str, namespaces: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return tenant → namespaces that a tenant is tried against: SAMPLE in all, of as many tenants as there are.

    The next one by name and others that stand evenly apart in that order; which of their namespaces turns with the
    tenant that asks. Over a population everybody is tried by as many as he tries.
    """
    order = sorted(name for name in namespaces if namespaces[name] or name == tenant)
    start = order.index(tenant) if tenant in order else 0
    others = [name for name in (*order[start + 1 :], *order[:start]) if name != tenant]
    number = min(SAMPLE, len(others))
    chosen = [others[i * len(others) // number] for i in range(number)]
    found: dict[str, list[str]] = {}
    for turn in range(SAMPLE):
        for place, name in enumerate(chosen):
            theirs = sorted(namespaces[name])
            if turn < len(theirs) and sum(map(len, found.values())) < SAMPLE:
                found.setdefault(name, []).append(theirs[(start + place + turn) % len(theirs)])
    return {name: sorted(each) for name, each in found.items()}


def _groups(registry: Registry, name: str) -> tuple[str, ...]:
    entry = registry.tenants.get(name)
    return entry.request.spec.access.groups() if entry is not None and entry.request is not None else ()
