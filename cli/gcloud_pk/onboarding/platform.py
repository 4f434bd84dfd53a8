"""`cluster init`: what all tenants share. A cluster administrator's act, with a diff, never a silent downgrade."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gcloud_pk import __version__
from gcloud_pk.cluster import kubeconfig as kubeconfigs
from gcloud_pk.cluster.answer import refusal
from gcloud_pk.cluster.apply import Conveyor, OnDone
from gcloud_pk.cluster.kinds import (
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    CUSTOM_RESOURCE_DEFINITION,
    NAMESPACE,
    ROLE,
    ROLE_BINDING,
    VALIDATING_ADMISSION_POLICY,
    VALIDATING_ADMISSION_POLICY_BINDING,
    Kind,
    ObjectKey,
    key_of,
)
from gcloud_pk.cluster.live import fetch, fetch_named
from gcloud_pk.cluster.plan import Action, Change, Plan, plan
from gcloud_pk.cluster.transport import Api
from gcloud_pk.cluster.waiting import ask_canary, policies_in_force
from gcloud_pk.errors import PartialError, RefusedError, UnavailableError
from gcloud_pk.model import labels
from gcloud_pk.render.platform import CANARY, PLATFORM_VERSION, platform_message, platform_objects

if TYPE_CHECKING:
    from gcloud_pk.console import Console

SHARED: tuple[Kind, ...] = (
    NAMESPACE,
    CUSTOM_RESOURCE_DEFINITION,
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    ROLE,
    ROLE_BINDING,
    VALIDATING_ADMISSION_POLICY,
    VALIDATING_ADMISSION_POLICY_BINDING,
)
_POLICIES = (VALIDATING_ADMISSION_POLICY, VALIDATING_ADMISSION_POLICY_BINDING)
_SELECTOR = f"{labels.MANAGED}={labels.MANAGED_BY_PLATFORM},!{labels.TENANT}"

IN_FORCE_PATIENCE = 30.0
_ESTABLISHED_PATIENCE = 30.0


def plan_platform(api: Api) -> Plan:
    """Return what `cluster init` would do. Only LISTs."""
    live, desired = fetch(api, SHARED, selector=_SELECTOR), platform_objects()
    # What stands there under the name of one of ours, and carries no label, is shown before it is taken over.
    live |= fetch_named(api, {key_of(manifest) for manifest in desired} - live.keys())
    return plan(desired, live, exactly=True)


def check_intact(api: Api) -> None:
    """Refuse where an admission policy or its binding is not as this version installs it. Only LISTs.

    The canary tells which revision was installed; this tells that nobody has taken a part of it away since, nor added
    what narrows it: a selector, a condition, an exclusion.
    """
    desired = [manifest for manifest in platform_objects() if key_of(manifest).kind in _POLICIES]
    wrong = plan(desired, fetch(api, _POLICIES, selector=_SELECTOR), exactly=True).writes
    if wrong:
        raise UnavailableError(
            "the platform's admission policies are not as they were installed; nothing was written",
            details=[
                f"{change.key}: {_WORDS[change.action]}" + "".join(f"; {field}" for field in change.fields)
                for change in wrong
            ],
            resolution="find out who did that (the API server's audit log), then: gcloud-pk cluster init",
        )


_WORDS = {Action.CREATE: "missing", Action.CHANGE: "changed", Action.REMOVE: "not ours"}


def installed_version(api: Api) -> str | None:
    """Return the newest version that any shared object says it came from; None where there is none."""
    versions = [
        found
        for live in fetch(api, SHARED, selector=_SELECTOR).values()
        if (found := live["metadata"].get("annotations", {}).get(PLATFORM_VERSION))
    ]
    return max(versions, key=_ordered, default=None)


def _ordered(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def refuse_downgrade(api: Api, *, allowed: bool) -> None:
    """Refuse where the cluster has a newer platform than this program brings."""
    version = installed_version(api)
    if version and _ordered(version) > _ordered(__version__) and not allowed:
        raise RefusedError(
            f"the cluster has the platform of gcloud-pk {version}; this is {__version__}",
            resolution="upgrade gcloud-pk, or give --allow-downgrade if going back is meant",
        )


def _stages(made: Plan) -> list[list[Change]]:
    """Definitions before what uses them; the canary, which vouches for all others, last; removals after that."""
    order: dict[str, int] = {}
    stages: list[list[Change]] = []
    removals = [c for c in made.changes if c.action is Action.REMOVE]
    for change in made.changes:
        if change.action in (Action.KEEP, Action.REMOVE):
            continue
        step = CANARY if change.key.name == CANARY else change.key.kind.kind
        if step not in order:
            order[step] = len(stages)
            stages.append([])
        stages[order[step]].append(change)
    return [*stages, removals]


def install(api: Api, made: Plan, *, force_conflicts: bool = False, on_done: OnDone | None = None) -> None:
    """Apply a plan of `plan_platform` and wait until the policies are in force."""
    made = _with_fresh_canary(api, made)
    with Conveyor(api, force_conflicts=force_conflicts) as conveyor:
        for stage in _stages(made):
            conveyor.run([stage], on_done)
            if stage and stage[0].key.kind == CUSTOM_RESOURCE_DEFINITION:
                _wait_established(api, [change.key for change in stage])
    policies_in_force(api, platform_message(), timeout=IN_FORCE_PATIENCE)


def _with_fresh_canary(api: Api, made: Plan) -> Plan:
    """Return the plan with the canary's binding written anew where policies change and the canary would not.

    API servers take policies up within a second. Only a canary that comes after the last write vouches for it: the old
    one is taken away, and seen to be gone, first.
    """
    if not any(change.key.kind in _POLICIES for change in made.writes):
        return made
    binding = next(c for c in made.changes if c.key == ObjectKey(VALIDATING_ADMISSION_POLICY_BINDING, "", CANARY))
    if binding.action is not Action.KEEP:
        return made
    answer = api.request("DELETE", binding.key.path)
    if not answer.ok and answer.status != 404:
        raise refusal(answer, str(binding.key))
    deadline = time.monotonic() + IN_FORCE_PATIENCE
    while not ask_canary(api).ok:
        if time.monotonic() > deadline:
            raise PartialError("the old canary does not go", resolution="run cluster init again")
        time.sleep(0.05)
    again = replace(binding, action=Action.CREATE, live=None)
    return Plan(tuple(again if change is binding else change for change in made.changes))


def _wait_established(api: Api, keys: list[ObjectKey]) -> None:
    deadline = time.monotonic() + _ESTABLISHED_PATIENCE
    for key in keys:
        while not _established(api.get(CUSTOM_RESOURCE_DEFINITION.path(name=key.name))):
            if time.monotonic() > deadline:
                raise PartialError(
                    f"{key} is not established after {_ESTABLISHED_PATIENCE:.0f} s",
                    resolution="look at its status with kubectl, then run cluster init again",
                )
            time.sleep(0.05)


def _established(definition: dict[str, Any]) -> bool:
    conditions = definition.get("status", {}).get("conditions") or []  # null until the server has looked
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


@contextmanager
def connection(kubeconfig: str | None, context: str | None) -> Iterator[Api]:
    """Open an Api for a context."""
    yield Api(kubeconfigs.load(kubeconfig, context))


def initialise(kubeconfig: str, context: str, console: Console) -> Plan:
    """Install what is shared without asking: for a lab, whose administrator is the one who starts it."""
    with connection(kubeconfig, context) as api:
        refuse_downgrade(api, allowed=False)
        made = plan_platform(api)
        writes = made.counts()
        if not made.writes:
            policies_in_force(api, platform_message(), timeout=IN_FORCE_PATIENCE)
            return made
        console.note(
            f"installing what all tenants share: {writes['created']} new, {writes['changed']} changed, "
            f"{writes['removed']} removed"
        )
        install(api, made)
        return made
