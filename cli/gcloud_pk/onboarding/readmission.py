"""The registry's tenants on a cluster that came back from a snapshot, before anybody reaches it.

A snapshot brings back what was revoked since. Tenants that the registry closed lose their access first; all others are
onboarded as the registry has them now; whoever cannot be loses his access too. Nobody gets more than the registry says.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gcloud_pk.cluster.answer import NotFoundError
from gcloud_pk.cluster.transport import Api
from gcloud_pk.errors import GcloudPkError, PartialError
from gcloud_pk.model.resources import Suspended
from gcloud_pk.onboarding.closures import tombstones
from gcloud_pk.onboarding.intake import take_in
from gcloud_pk.onboarding.population import survey, tenants_in_place
from gcloud_pk.onboarding.run import Record, Run, prepare
from gcloud_pk.onboarding.standing import Standing
from gcloud_pk.onboarding.suspension import shut
from gcloud_pk.registry import suspension
from gcloud_pk.registry.folder import Registry

_PATIENCE = 90.0
"""Seconds: an API server that has just started refuses what its policies judge until it has read their parameters."""
_TURNS, _PAUSE = 3, 5.0
"""How often tenants are tried that failed, and the seconds in between."""


@dataclass
class Readmission:
    """What became of the tenants. `changes`: written for each that was brought again; `shut`: why, and what went."""

    changes: dict[str, dict[str, int]] = field(default_factory=dict)
    shut: dict[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def revoked(self) -> int:
        """How many objects went that the snapshot had brought back."""
        return sum(counts.get("removed", 0) for counts in self.changes.values()) + sum(n for _, n in self.shut.values())

    def as_dict(self) -> dict[str, Any]:
        """Return the shape of `tenants` in JSON."""
        return {
            "brought": [{"name": name, "changes": counts} for name, counts in sorted(self.changes.items())],
            "shut": [{"name": name, "reason": why, "removed": n} for name, (why, n) in sorted(self.shut.items())],
            "revoked": self.revoked,
        }


def readmit(
    registry: Registry, api: Api, standing: Standing, *, record: Record, say: Callable[[str], None] = lambda _: None
) -> Readmission:
    """Bring every tenant of the cluster to what the registry says. Raises PartialError where one cannot be closed."""
    found = Readmission()
    in_place = _in_place(api)
    intake = take_in(registry, standing, None, in_place, buried=tombstones(api))
    coming = {tenant.name for tenant in intake.tenants}
    reasons = {one.name: one.reason for one in intake.skipped}
    for name in sorted(set(in_place) - coming):
        say(f"closing tenant {name}: {reasons.get(name, 'not in the registry')}")
        found.shut[name] = (reasons.get(name, "not in the registry"), _shut(registry, api, name))
    left = list(intake.tenants)
    say(f"onboarding {len(left)} tenants")
    for turn in range(_TURNS):
        prepared = prepare(api, left, population=survey(api, None))
        outcomes = Run(api, record=record, still_open=registry.check_still_open).onboard(prepared)
        for outcome in outcomes:
            if outcome.error is None:
                found.changes[outcome.name] = outcome.changes
        failed = {outcome.name: outcome.error for outcome in outcomes if outcome.error is not None}
        left = [tenant for tenant in left if tenant.name in failed]
        if not left:
            return found
        if turn < _TURNS - 1:
            api.pause(_PAUSE)
    for name, error in failed.items():
        say(f"closing tenant {name}: {error.message}")
        found.shut[name] = (error.message, _shut(registry, api, name))
    return found


def _in_place(api: Api) -> dict[str, dict[str, Any]]:
    try:
        return tenants_in_place(api)
    except NotFoundError:
        return {}


def _shut(registry: Registry, api: Api, name: str) -> int:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return shut(api, name, _how(registry, name))
        except PartialError:
            raise
        except GcloudPkError as error:
            if time.monotonic() < end and api.pause(1.0):
                continue
            raise PartialError(
                f"tenant {name} could not be closed: {error.message}",
                details=error.details,
                resolution=error.resolution,
            ) from error


def _how(registry: Registry, name: str) -> Suspended | None:
    """Return how the registry has a tenant closed; None where it is not suspended there."""
    if name not in registry.tenants:
        return None
    entry = registry.entry(name)
    return suspension.how(registry, entry) if registry.standing(entry).state == "suspended" else None
