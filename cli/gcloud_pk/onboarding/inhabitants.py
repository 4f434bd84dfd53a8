"""What a registry implies of the whole population of one cluster: for `audit isolation`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from gcloud_pk.model.request import TenantRequest
from gcloud_pk.model.site import Cluster
from gcloud_pk.model.tenant import UNREGISTERED, Tenant
from gcloud_pk.onboarding.closures import closed_since
from gcloud_pk.onboarding.intake import take_in
from gcloud_pk.onboarding.standing import Standing
from gcloud_pk.proof.population import Known, KnownTenant
from gcloud_pk.registry.entries import Entry
from gcloud_pk.registry.folder import Registry


def known(
    registry: Registry,
    standing: Standing,
    in_place: Mapping[str, Mapping[str, Any]],
    audited: Collection[str] | None = None,
) -> Known:
    """Return whom the registry knows, what their approved requests imply here, and what the site keeps for itself.

    `in_place`: the Tenant objects of the cluster by name; `audited`: whom the audit is about, None: all. A suspended
    tenant counts with the request that it was closed with. Raises InvalidInputError where anything that decides for all
    is not valid.
    """
    intake = take_in(registry, standing, None, {name: dict(live) for name, live in in_place.items()}, going_on=True)
    taken = {tenant.name: tenant for tenant in intake.tenants}
    reasons = {skipped.name: skipped.reason for skipped in intake.skipped}
    tenants = tuple(
        _known(registry, entry, taken.get(name), in_place.get(name), reasons.get(name, "nothing was accepted"))
        for name, entry in sorted(registry.tenants.items())
    )
    clusters = _clusters(standing, taken.values())
    name = standing.cluster.name if standing.cluster else standing.lab or UNREGISTERED.name
    return Known(
        cluster=name,
        tenants=tenants,
        namespaces=_sorted(
            found for c in clusters for found in (c.dns.namespace, c.ingress_namespace, c.monitoring_namespace)
        ),
        priority_classes=_sorted(found for c in clusters for found in c.priority_classes),
        runtime_classes=_sorted(found for c in clusters for found in c.runtime_classes),
        tolerances=registry.waivers.tolerances(name),
        today=registry.now.date(),
        audited=None if audited is None else frozenset(audited),
    )


def _clusters(standing: Standing, tenants: Iterable[Tenant]) -> tuple[Cluster, ...]:
    """Return the cluster; for a lab that stands in for clusters, those that its tenants are rendered for."""
    if standing.cluster is not None:
        return (standing.cluster,)
    return tuple(tenant.cluster for tenant in tenants) or (UNREGISTERED,)


def _known(
    registry: Registry, entry: Entry, tenant: Tenant | None, live: Mapping[str, Any] | None, reason: str
) -> KnownTenant:
    request = tenant.request if tenant is not None else _closed(registry, entry, live)
    named = request or entry.request or (entry.last_accepted.request if entry.last_accepted else None)
    groups = _sorted(registry.settings.bound_group(group) for group in named.spec.access.groups()) if named else ()
    if request is None:
        return KnownTenant(entry.name, groups=groups, elsewhere=reason)
    present = {request.namespace(e.name): e.name for e in request.spec.environments}
    before = {kept.request.namespace(e.name): e.name for kept in entry.history for e in kept.request.spec.environments}
    return KnownTenant(
        entry.name,
        namespaces=present,
        retired={namespace: name for namespace, name in before.items() if namespace not in present},
        groups=groups,
        storage_classes=tuple(sorted(request.spec.storage_classes)),
    )


def _closed(registry: Registry, entry: Entry, live: Mapping[str, Any] | None) -> TenantRequest | None:
    """Return the request that a suspended tenant of this cluster was closed with; None where it is not one."""
    if live is None or (registry.standing(entry).state != "suspended" and closed_since(live) is None):
        return None
    accepted = entry.kept((live.get("spec") or {}).get("requestDigest")) or entry.last_accepted
    return accepted.request if accepted is not None else None


def _sorted(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(values)))
