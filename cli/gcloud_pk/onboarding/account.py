"""The account of a suspension, for people: how a tenant is closed, since when, by whom and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gcloud_pk.onboarding.closures import PHASES, closed_since
from gcloud_pk.registry import suspension
from gcloud_pk.text import stamp

if TYPE_CHECKING:
    from gcloud_pk.model.resources import Suspended
    from gcloud_pk.registry.folder import Registry


@dataclass(frozen=True)
class Account:
    """`since`: UTC, RFC 3339. `by` and `reason` are None where no registry is there that says so."""

    how: Suspended
    since: str
    by: str | None = None
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the shape of `suspension` in `tenant show --format json`."""
        return {"how": self.how, "since": self.since, "by": self.by, "reason": self.reason}

    def __str__(self) -> str:
        return (
            f"{self.how} since {self.since}"
            + (f" by {self.by}" if self.by else "")
            + (f": {self.reason}" if self.reason else "")
        )


def account(parent: Mapping[str, Any] | None, registry: Registry | None = None, name: str = "") -> Account | None:
    """Return the account of a suspension; None where neither the Tenant nor the registry says that there is one.

    The registry's state is asked first, then its history, then the live Tenant, `parent`. Raises as
    `Registry.standing`.
    """
    since = closed_since(parent)
    quarantined = ((parent or {}).get("status") or {}).get("phase") == PHASES["quarantined"]
    if registry is not None and name in registry.tenants:
        entry = registry.entry(name)
        stands = registry.standing(entry)
        if stands.state == "suspended":
            how: Suspended = "quarantined" if quarantined else suspension.how(registry, entry)
            if record := stands.record:
                return Account(how, stamp(record.time), record.by, record.reason)
            if lines := entry.chain.closed or entry.chain.closings:
                line = lines[-1]
                return Account(how, stamp(line.time), line.actor, str(line.detail.get("reason") or "-"))
    return None if since is None else Account("quarantined" if quarantined else "suspended", since)
