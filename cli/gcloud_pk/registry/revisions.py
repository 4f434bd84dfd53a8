"""No way back: a request that another one has overtaken does not count, whatever approvals lie beside it. Pure."""

from __future__ import annotations

from gcloud_pk.errors import Problem, RefusedError, problem
from gcloud_pk.registry.entries import Entry


def overtaken(entry: Entry) -> Problem | None:
    """Return how a tenant's present request goes back behind one that was accepted, or None.

    The cluster refuses it as well (`Tenant.status`); but a folder of manifests for GitOps is written without asking it.
    Source: architecture, No way back.
    """
    if entry.reading is None or entry.request is None:
        return None
    revision = entry.request.metadata.revision
    accepted = [(kept.revision, kept.digest) for kept in entry.history]
    accepted += [(line.revision or 0, line.digest or "") for line in entry.chain.lines if line.act == "onboard"]
    later = max(accepted, default=(0, ""))
    if later[0] < revision or later == (revision, entry.digest):
        return None
    if later[0] == revision:
        said = f"revision {revision} was accepted with other bytes (SHA-256 {later[1]})"
    else:
        said = f"revision {revision} is older than revision {later[0]}, which was accepted"
    return entry.reading.document.located(
        problem(said, field="metadata.revision", expected=f"{later[0] + 1}, and new approvals")
    )


def check_no_way_back(entry: Entry) -> None:
    """Raise RefusedError where a tenant's present request goes back behind one that was accepted."""
    if older := overtaken(entry):
        raise RefusedError(
            f"tenant {entry.name}: the request goes back behind one that was accepted",
            details=[older],
            resolution="restore the newer one from version control, or submit and approve a higher revision",
        )
