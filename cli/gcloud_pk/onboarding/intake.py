"""Which tenants of the registry go to this cluster now, and why the others do not."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gcloud_pk.errors import GcloudPkError, RefusedError
from gcloud_pk.model.tenant import Tenant
from gcloud_pk.onboarding.population import accepted_at, check_no_way_back
from gcloud_pk.onboarding.standing import Standing, home
from gcloud_pk.registry.folder import Registry


@dataclass(frozen=True)
class Skipped:
    """A tenant that is left alone. `error` is set where its registry entry is wrong rather than merely waiting."""

    name: str
    reason: str
    error: GcloudPkError | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the shape of `skipped[]` in `onboard --format json`."""
        shape: dict[str, Any] = {"name": self.name, "reason": self.reason}
        return shape if self.error is None else shape | {"error": self.error.as_dict()}


@dataclass
class Intake:
    """Accepted tenants of this cluster, and the rest. `moments`: when the cluster had accepted a request, if it had."""

    tenants: list[Tenant] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    moments: dict[str, dt.datetime | None] = field(default_factory=dict)


def _accept(
    registry: Registry,
    standing: Standing | None,
    name: str,
    in_place: Mapping[str, dict[str, Any]],
    at: dt.datetime | None,
) -> Tenant | str:
    """Return the accepted tenant, or why it does not belong here. Raises the registry's errors."""
    tenant = registry.accepted(name, at=at)
    place = home(tenant.request, registry, standing)
    if isinstance(place, str):
        return place
    tenant = replace(tenant, site=place[0], cluster=place[1])
    check_no_way_back(tenant, in_place.get(name))
    _check_shared(tenant, in_place)
    return tenant


def _moment(registry: Registry, name: str, parent: Mapping[str, Any] | None) -> dt.datetime | None:
    """Return when the cluster accepted the request as it stands: the keys must have been valid then."""
    moment = accepted_at(parent, registry.entry(name).digest or "")
    return dt.datetime.fromisoformat(moment) if moment else None


def _check_shared(tenant: Tenant, in_place: Mapping[str, dict[str, Any]]) -> None:
    """Refuse to share a cluster that is one tenant's own."""
    others = sorted(name for name in in_place if name != tenant.name)
    if tenant.request.spec.isolation == "dedicated-cluster" and others:
        raise RefusedError(
            f"tenant {tenant.name} asks for a cluster of its own, and this one holds {', '.join(others[:5])}",
            resolution="give the tenant's site a cluster that holds no other tenant",
        )
    alone = [name for name in others if in_place[name].get("spec", {}).get("isolation") == "dedicated-cluster"]
    if alone:
        raise RefusedError(f"this cluster is dedicated to tenant {alone[0]}; {tenant.name} may not share it")


def take_in(
    registry: Registry, standing: Standing | None, names: Sequence[str] | None, in_place: Mapping[str, dict[str, Any]]
) -> Intake:
    """Return the tenants to onboard: those named (any obstacle raises), or all (None; obstacles are listed)."""
    intake = Intake()
    if names is not None:
        for name in dict.fromkeys(names):
            intake.moments[name] = _moment(registry, name, in_place.get(name))
            accepted = _accept(registry, standing, name, in_place, intake.moments[name])
            if isinstance(accepted, str):
                here = standing.describe() if standing else registry.path
                raise RefusedError(
                    f"tenant {name} does not belong here ({here}): {accepted}",
                    resolution="choose the cluster of its site with --kubeconfig or --context",
                )
            intake.tenants.append(accepted)
        return intake
    intake.moments = {name: _moment(registry, name, in_place.get(name)) for name in registry.tenants}
    registry.verify_all({name: moment for name, moment in intake.moments.items() if moment is not None})
    for name in sorted(registry.tenants):
        try:
            accepted = _accept(registry, standing, name, in_place, intake.moments[name])
        except GcloudPkError as error:
            status = registry.status(registry.entry(name))
            waits = status in {"pending", "rejected", "suspended", "offboarded"}
            intake.skipped.append(Skipped(name, status if waits else error.message, None if waits else error))
            continue
        if isinstance(accepted, str):
            intake.skipped.append(Skipped(name, accepted))
        else:
            intake.tenants.append(accepted)
    unknown = sorted(set(in_place) - set(registry.tenants))
    intake.skipped += [Skipped(name, "on the cluster, not in the registry; left alone") for name in unknown]
    return intake
