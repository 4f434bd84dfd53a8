"""What a cluster says against a tenant, whatever its folder in the registry says now: suspended, or gone for good.

Whoever edits the folder could take `state.yaml` and the history out of it; he cannot take this out of the cluster.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gcloud_pk.cluster.answer import refusal
from gcloud_pk.cluster.kinds import LEASE
from gcloud_pk.cluster.transport import Api
from gcloud_pk.errors import RefusedError
from gcloud_pk.model import labels
from gcloud_pk.model.resources import Suspended
from gcloud_pk.registry.standing import Standing

SUSPENDING = "Suspending"
PHASES: Mapping[Suspended, str] = {"suspended": "Suspended", "quarantined": "Quarantined"}
"""How a tenant is closed → `Tenant.status.phase`; before that is reached it says SUSPENDING."""

_DIGEST = f"{labels.GROUP}/request-digest"
_TIME = f"{labels.GROUP}/offboarded-at"
_HEAD = f"{labels.GROUP}/history-head"


# --- suspended --------------------------------------------------------------------------------------------------------


def closed_since(parent: Mapping[str, Any] | None) -> str | None:
    """Return since when a Tenant says that it is suspended (RFC 3339); None where it does not."""
    status = (parent or {}).get("status") or {}
    if since := status.get("suspendedAt"):
        return str(since)
    return "an unknown time" if status.get("phase") in {SUSPENDING, *PHASES.values()} else None


def is_opened(stands: Standing, since: str) -> bool:
    """Whether the folder holds an `active` that an approver signed no earlier than a suspension."""
    record = stands.record
    if stands.state != "active" or record is None or record.state != "active" or stands.signer is None:
        return False
    try:
        moment = dt.datetime.fromisoformat(since)
    except ValueError:
        return False
    return bool(record.time.tzinfo and moment.tzinfo and record.time >= moment)


def refuse_suspended(tenant: str, parent: Mapping[str, Any] | None, stands: Standing | None = None) -> None:
    """Refuse where the cluster says that a tenant is suspended.

    `stands`: what the folder says, where that is known. Raises RefusedError.
    """
    since = closed_since(parent)
    if since is None:
        return
    if stands is not None and is_opened(stands, since):
        raise RefusedError(
            f"tenant {tenant} is suspended on this cluster since {since}; an approver has resumed it, and that was not "
            "brought to its end",
            resolution=f"run resume again: gcloud-pk tenant resume {tenant} --reason TEXT --key KEY",
        )
    raise RefusedError(
        f"tenant {tenant} is suspended on this cluster since {since}, and no approver has resumed it since",
        resolution=f"gcloud-pk tenant resume {tenant} --reason TEXT --key KEY",
    )


def unfinished(tenant: str, parent: Mapping[str, Any] | None, stands: Standing) -> str | None:
    """Return what is to be done where the registry says suspended and this cluster does not; None where it does.

    `parent`: the live Tenant, None where there is none: then there is nothing to close.
    """
    if parent is None or stands.state != "suspended":
        return None
    again = f"gcloud-pk tenant suspend {tenant} --reason TEXT brings it to its end"
    if closed_since(parent) is None:
        return f"tenant {tenant} is suspended in the registry, and still open on this cluster: {again}"
    if (parent.get("status") or {}).get("phase") == SUSPENDING:
        return f"tenant {tenant} is suspended in the registry, and may still be open in part on this cluster: {again}"
    return None


def refuse_unfinished(tenant: str, parent: Mapping[str, Any] | None, stands: Standing) -> None:
    """Refuse where a suspension was begun and this cluster is not closed yet. Raises RefusedError."""
    if (wrong := unfinished(tenant, parent, stands)) is not None:
        raise RefusedError(wrong, resolution=f"gcloud-pk tenant suspend {tenant} --reason TEXT")


# --- offboarded -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tombstone:
    """What stays of a tenant that was offboarded. `time`: UTC, RFC 3339."""

    tenant: str
    time: str
    digest: str | None = None
    head: str | None = None

    @property
    def name(self) -> str:
        """The name of its Lease in the platform's namespace."""
        return f"offboarded-{self.tenant}"


def tombstones(api: Api) -> dict[str, Tombstone]:
    """Return what stays of offboarded tenants, by name. One LIST."""
    found = {}
    for lease in api.list(LEASE, namespace=labels.SYSTEM_NAMESPACE, selector=labels.OFFBOARDED):
        tenant = lease["metadata"]["labels"][labels.OFFBOARDED]
        found[tenant] = _read(lease, tenant)
    return found


def tombstone(api: Api, tenant: str) -> Tombstone | None:
    """Return what stays of one tenant, None where it was not offboarded here. One GET. Raises as `refusal`."""
    name = Tombstone(tenant, "").name
    answer = api.request("GET", LEASE.path(labels.SYSTEM_NAMESPACE, name))
    if answer.status == 404:
        return None
    if not answer.ok:
        raise refusal(answer, f"Lease {labels.SYSTEM_NAMESPACE}/{name}")
    return _read(answer.body, tenant)


def _read(lease: Mapping[str, Any], tenant: str) -> Tombstone:
    metadata = lease["metadata"]
    said = metadata.get("annotations") or {}
    time = said.get(_TIME) or metadata.get("creationTimestamp") or "an unknown time"
    return Tombstone(tenant, time, said.get(_DIGEST), said.get(_HEAD))


def bury(api: Api, stone: Tombstone) -> None:
    """Leave a tombstone; the first that was left stays as it is. Without the tenant's label: nothing of it remains."""
    said = {_TIME: stone.time, _DIGEST: stone.digest, _HEAD: stone.head}
    body = {
        "apiVersion": LEASE.api_version,
        "kind": LEASE.kind,
        "metadata": {
            "name": stone.name,
            "namespace": labels.SYSTEM_NAMESPACE,
            "labels": {labels.OFFBOARDED: stone.tenant},
            "annotations": {name: value for name, value in said.items() if value},
        },
        "spec": {},
    }
    params = {"fieldManager": labels.FIELD_MANAGER}
    answer = api.request("POST", LEASE.path(labels.SYSTEM_NAMESPACE), params=params, body=body)
    if not answer.ok and answer.reason != "AlreadyExists":
        raise refusal(answer, f"Lease {labels.SYSTEM_NAMESPACE}/{stone.name}")


def refuse_offboarded(tenant: str, stone: Tombstone | None) -> None:
    """Refuse a tenant that this cluster saw leave. Raises RefusedError."""
    if stone is not None:
        raise RefusedError(
            f"this cluster saw tenant {tenant} offboarded at {stone.time}; its name stays reserved",
            details=[f"Lease {labels.SYSTEM_NAMESPACE}/{stone.name} remembers it"],
            resolution="find out who changed its folder; a ministry that returns asks under another name",
        )
