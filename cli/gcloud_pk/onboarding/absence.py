"""Absence: the error of a tenant that a cluster does not hold."""

from __future__ import annotations

from gcloud_pk.errors import UnavailableError

_OVER = frozenset({"offboarded", "rejected"})


def not_in_place(name: str, state: str | None = None) -> UnavailableError:
    """Return the error; `state`: where the registry has the tenant, so that nobody is sent to onboard what is over."""
    if state in _OVER:
        return UnavailableError(
            f"tenant {name!r} is not on this cluster; the registry has it as {state}",
            resolution=f"gcloud-pk registry history {name} shows what became of it",
        )
    return UnavailableError(
        f"tenant {name!r} is not on this cluster",
        resolution=f"gcloud-pk tenant list shows who is; gcloud-pk onboard {name} brings it",
    )
