"""Which tenants of the registry go to this cluster now, and why the others do not."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gcloud_pk.errors import GcloudPkError, InvalidInputError, RefusedError
from gcloud_pk.model.tenant import Tenant
from gcloud_pk.onboarding.closures import Tombstone, refuse_offboarded, refuse_suspended, refuse_unfinished, unfinished
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
    """Accepted tenants of this cluster, and the rest.

    `moments`: when the cluster had accepted a request, if it had; `notes`: tenants that go on with the accepted request
    while another one waits.
    """

    tenants: list[Tenant] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    moments: dict[str, dt.datetime | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def take_in(
    registry: Registry,
    standing: Standing | None,
    names: Sequence[str] | None,
    in_place: Mapping[str, dict[str, Any]],
    *,
    going_on: bool = False,
    buried: Mapping[str, Tombstone] | None = None,
) -> Intake:
    """Return the tenants to onboard: those named (any obstacle raises), or all (None; obstacles are listed).

    For all, and with `going_on`, a tenant whose new request waits or does not hold goes on with the one that the
    cluster has accepted: whoever can submit must not be able to stop repairs or proofs. What the cluster says against a
    tenant counts beside the registry: that it is suspended there, or (`buried`) was offboarded.
    """
    intake = Intake()
    wanted = sorted(registry.tenants) if names is None else list(dict.fromkeys(names))
    intake.moments = {name: _moment(registry, name, in_place.get(name)) for name in wanted}
    if names is None:
        registry.verify_all({name: moment for name, moment in intake.moments.items() if moment is not None})
    for name in wanted:
        try:
            if not going_on:
                refuse_unfinished(name, in_place.get(name), registry.standing(registry.entry(name)))
                registry.check_chain(registry.entry(name))  # to bring it is to open; proofs go on
            tenant = _accepted(registry, name, in_place.get(name), intake, going_on=going_on or names is None)
            refuse_suspended(name, in_place.get(name), registry.standing(registry.entry(name)))
            refuse_offboarded(name, (buried or {}).get(name))
            placed = _placed(registry, standing, tenant)
            if isinstance(placed, str):
                if names is not None:
                    here = standing.describe() if standing else registry.path
                    raise RefusedError(
                        f"tenant {name} does not belong here ({here}): {placed}",
                        resolution="choose the cluster of its site with --kubeconfig or --context",
                    )
                intake.skipped.append(Skipped(name, placed))
                continue
            check_no_way_back(placed, in_place.get(name))
            _check_shared(placed, in_place, intake.tenants)
        except GcloudPkError as error:
            if names is not None:
                raise
            status = registry.status(registry.entry(name))
            waits = status in {"pending", "rejected", "suspended", "offboarded"} and not unfinished(
                name, in_place.get(name), registry.standing(registry.entry(name))
            )
            intake.skipped.append(Skipped(name, status if waits else error.message, None if waits else error))
            continue
        intake.tenants.append(placed)
        intake.notes += registry.waivers.notes(name, registry.now.date())
    if names is None:
        unknown = sorted(set(in_place) - set(registry.tenants))
        intake.skipped += [Skipped(name, "on the cluster, not in the registry; left alone") for name in unknown]
    return intake


def _accepted(
    registry: Registry, name: str, parent: Mapping[str, Any] | None, intake: Intake, *, going_on: bool
) -> Tenant:
    """Return the tenant of the present request, else, where it may go on, of the one that the cluster accepted."""
    try:
        return registry.accepted(name, at=intake.moments[name])
    except (RefusedError, InvalidInputError) as error:
        digest = ((parent or {}).get("spec") or {}).get("requestDigest")
        if not going_on or not digest:
            raise
        moment = accepted_at(parent, digest)
        at = dt.datetime.fromisoformat(moment) if moment else None
        try:
            tenant = registry.standing_request(name, digest, at)
        except GcloudPkError:
            raise error from None
        intake.moments[name] = at
        intake.notes.append(
            f"tenant {name} goes on with its accepted revision {tenant.revision}; the present request does not count: "
            f"{error.message}"
        )
        return tenant


def _placed(registry: Registry, standing: Standing | None, tenant: Tenant) -> Tenant | str:
    """Return the tenant with its site and cluster, or why it does not belong on this one."""
    place = home(tenant.request, registry, standing)
    return place if isinstance(place, str) else replace(tenant, site=place[0], cluster=place[1])


def _moment(registry: Registry, name: str, parent: Mapping[str, Any] | None) -> dt.datetime | None:
    """Return when the cluster accepted the request as it stands: the keys must have been valid then."""
    moment = accepted_at(parent, registry.entry(name).digest or "")
    return dt.datetime.fromisoformat(moment) if moment else None


def _check_shared(tenant: Tenant, in_place: Mapping[str, Mapping[str, Any]], coming: Sequence[Tenant]) -> None:
    """Refuse to share a cluster that is one tenant's own, whatever its site says.

    `in_place`: the Tenants of this cluster; `coming`: those of this run, which count where they go to the same cluster.
    """
    there = {name: (parent.get("spec") or {}).get("isolation") for name, parent in in_place.items()}
    beside = [one for one in coming if (one.site, one.cluster) == (tenant.site, tenant.cluster)]
    levels = {one.name: one.request.spec.isolation for one in beside} | there
    others = sorted(name for name in levels if name != tenant.name)
    if tenant.request.spec.isolation == "dedicated-cluster" and others:
        raise RefusedError(
            f"tenant {tenant.name} asks for a cluster of its own, and this one holds {', '.join(others[:5])}",
            resolution="give the tenant's site a cluster that holds no other tenant, with dedicatedTo: "
            f"{tenant.name}, or take the others off this one",
        )
    alone = [name for name in others if levels[name] == "dedicated-cluster"]
    if alone:
        raise RefusedError(f"this cluster is dedicated to tenant {alone[0]}; {tenant.name} may not share it")
