"""Waiting until what was written is in force: quotas are counted, policies refuse.

Rule: architecture, Order that must hold, 1; a quota that is not counted and a policy that is not compiled stop nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator
from typing import Any

from gcloud_pk.cluster.answer import Answer, NotFoundError, refusal
from gcloud_pk.cluster.kinds import CONFIG_MAP, RESOURCE_QUOTA
from gcloud_pk.cluster.transport import Api
from gcloud_pk.errors import GcloudPkError, PartialError, UnavailableError
from gcloud_pk.model.labels import FIELD_MANAGER, SYSTEM_NAMESPACE
from gcloud_pk.text import number_of

CANARY = "gcloud-pk-canary"
"""The ConfigMap that the policy `gpk-canary` refuses, in the platform's namespace."""

_INIT = "run `gcloud-pk cluster init` as a cluster administrator"
_FEW = 4
_REVISION = re.compile(r"platform (?P<version>\S+) (?P<hash>\S+)")


def quotas_counted(
    api: Api, namespaces: Collection[str], *, selector: str | None = None, timeout: float = 30.0
) -> None:
    """Wait until every ResourceQuota of `namespaces` is counted: `status.hard` is `spec.hard`, `status.used` is whole.

    Until then a quota constrains nothing. With `selector` one request asks for all namespaces at once; it must match
    every quota. Raises UnavailableError after `timeout` seconds, naming those that are not counted; PartialError when
    something was written through this Api.
    """
    wanted = set(namespaces)
    deadline = time.monotonic() + timeout
    for pause in _pauses(0.02, 0.5):
        late = sorted(_name(quota) for quota in _quotas(api, wanted, selector) if not _is_counted(quota))
        if not late:
            return
        if time.monotonic() + pause > deadline:
            error = UnavailableError(
                f"after {timeout:.0f} s {number_of(len(late), 'quota')} not counted: the quota controller is idle",
                details=late,
                resolution="look at the controller manager's state and log, then run the command again",
            )
            raise _weighed(api, error)
        if not api.pause(pause):
            raise UnavailableError(f"stopped with {number_of(len(late), 'quota')} not counted yet", details=late)


def policies_in_force(api: Api, expected: str, timeout: float = 5.0) -> None:
    """Wait until the platform's policies of revision `expected` refuse; proved by a dry run, not by a status.

    The policy `gpk-canary` is written last and refuses with the revision in its message: `platform <version> <hash>`.
    Raises UnavailableError when there is none or another after `timeout` seconds (PartialError when something was
    written through this Api), ForbiddenError when the right to ask is missing.
    """
    deadline = time.monotonic() + timeout
    for pause in _pauses(0.05, 0.5):
        answer = ask_canary(api)
        if expected in answer.message:
            return
        if answer.status == 403 and "cannot create resource" in answer.message:
            raise refusal(answer, f"the canary ConfigMap {SYSTEM_NAMESPACE}/{CANARY}")
        # A message that says nothing of a revision may be a server whose caches are filling.
        if time.monotonic() + pause > deadline:
            raise _weighed(api, _not_in_force(answer, expected, timeout))
        time.sleep(pause)


def _weighed(api: Api, error: UnavailableError) -> GcloudPkError:
    """Return the error as it is when nothing was written, as PartialError otherwise."""
    return PartialError(error.message, details=error.details, resolution=error.resolution) if api.persisted else error


def ask_canary(api: Api) -> Answer:
    """Send the dry run that the canary refuses; admitted means that no canary is in force."""
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CANARY, "namespace": SYSTEM_NAMESPACE}}
    params = {"dryRun": "All", "fieldManager": FIELD_MANAGER}
    return api.request("POST", CONFIG_MAP.path(SYSTEM_NAMESPACE), params=params, body=body)


def _not_in_force(answer: Answer, expected: str, timeout: float) -> UnavailableError:
    if answer.status == 404:
        return UnavailableError(
            f"this cluster is not prepared for tenants: namespace {SYSTEM_NAMESPACE} is not there", resolution=_INIT
        )
    if answer.ok:
        return UnavailableError(
            f"the platform's admission policies are not in force: the canary was admitted for {timeout:.0f} s",
            resolution=_INIT,
        )
    other = _REVISION.search(answer.message)
    if other is None:
        return UnavailableError(
            f"whether the platform's policies are in force cannot be told: {answer.message}", resolution=_INIT
        )
    return UnavailableError(
        f"the cluster has the platform's policies of another revision: version {other['version']} ({other['hash']}), "
        f"this program expects {expected}",
        resolution=f"use the gcloud-pk of that version, or {_INIT}",
    )


def _quotas(api: Api, namespaces: set[str], selector: str | None) -> Iterator[dict[str, Any]]:
    if selector is None and len(namespaces) <= _FEW:
        for namespace in sorted(namespaces):
            try:
                yield from api.list(RESOURCE_QUOTA, namespace=namespace)
            except NotFoundError:
                continue
        return
    for quota in api.list(RESOURCE_QUOTA, selector=selector):
        if quota["metadata"]["namespace"] in namespaces:
            yield quota


def _is_counted(quota: dict[str, Any]) -> bool:
    hard = quota.get("spec", {}).get("hard") or {}
    status = quota.get("status") or {}
    return bool((status.get("hard") or {}) == hard and (status.get("used") or {}).keys() >= hard.keys())


def _name(quota: dict[str, Any]) -> str:
    return f"{quota['metadata']['namespace']}/{quota['metadata']['name']}"


def _pauses(first: float, longest: float) -> Iterator[float]:
    pause = first
    while True:
        yield pause
        pause = min(pause * 1.5, longest)
