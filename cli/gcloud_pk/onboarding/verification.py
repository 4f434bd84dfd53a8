"""Whom to verify, and against which neighbour: a tenant's proof needs somebody it must not reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gcloud_pk.cluster.transport import Api
from gcloud_pk.model.finding import Finding
from gcloud_pk.model.request import Environment
from gcloud_pk.model.tenant import Tenant
from gcloud_pk.proof.target import Target, TargetEnvironment
from gcloud_pk.proof.verify import verify
from gcloud_pk.registry.folder import Registry
from gcloud_pk.render.namespace import egress_flows
from gcloud_pk.render.network import declared_flows
from gcloud_pk.render.quota import limits, quota

if TYPE_CHECKING:
    from gcloud_pk.onboarding.run import Verify

_TRIED = 4
"""Namespaces of the neighbour that are tried: as many as a ministry usually has."""


def neighbour(tenant: str, namespaces: Mapping[str, Sequence[str]]) -> str | None:
    """Return the next tenant by name, the first after the last: over a population everybody is somebody's neighbour."""
    others = sorted(name for name in namespaces if name != tenant)
    return next((name for name in others if name > tenant), others[0] if others else None)


def target(
    tenant: Tenant, retired: Sequence[str], namespaces: Mapping[str, Sequence[str]], registry: Registry
) -> Target:
    """Return what is to be verified. `namespaces`: tenant → its namespaces, of all tenants on the cluster."""
    spec = tenant.request.spec
    other = neighbour(tenant.name, namespaces)
    entry = registry.tenants.get(other) if other else None
    other_groups = entry.request.spec.access.groups() if entry is not None and entry.request is not None else ()
    return Target(
        tenant=tenant.name,
        environments=(
            *(environment(tenant, e) for e in spec.environments),
            *(TargetEnvironment(name, tenant.request.namespace(name), retired=True) for name in retired),
        ),
        admins=tenant.bound(spec.access.admins),
        developers=tenant.bound(spec.access.developers),
        auditors=tenant.bound(spec.access.auditors),
        other_namespaces=tuple(sorted(namespaces[other]))[:_TRIED] if other else (),
        other_groups=tenant.bound(other_groups),
        isolation=spec.isolation,
        classification=spec.classification,
    )


def environment(tenant: Tenant, asked: Environment) -> TargetEnvironment:
    """Return what the request allows in one environment in use."""
    spec = tenant.request.spec
    return TargetEnvironment(
        asked.name,
        tenant.namespace(asked),
        registries=tuple(sorted(spec.registries)),
        domains=tuple(sorted(asked.domains)),
        storage_classes=tuple(sorted(spec.storage_classes)),
        egress_flows=egress_flows(asked),
        ingress_cidrs=tuple(sorted(asked.allow_from)),
        reserved_cidrs=tenant.cluster.reserved,
        gateway_namespaces=(tenant.cluster.ingress_namespace,) if asked.domains else (),
        priority_classes=tuple(sorted(tenant.cluster.priority_classes)),
        runtime_classes=tuple(sorted(tenant.cluster.runtime_classes)),
        flows=declared_flows(tenant, asked)["spec"],
        quota=quota(tenant, asked)["spec"]["hard"],
        limits=tuple(limits(tenant, asked)["spec"]["limits"]),
        waivers=tuple(grant for grant in tenant.waivers if grant.environment == asked.name),
    )


def verification(
    api: Api, registry: Registry, in_place: Mapping[str, Mapping[str, Any]], coming: Sequence[Tenant], *, quick: bool
) -> Verify:
    """Return the check that a run calls after each tenant's apply; `coming` are those that this run brings."""
    namespaces: dict[str, Sequence[str]] = {
        name: [e["namespace"] for e in parent.get("spec", {}).get("environments", ())]
        for name, parent in in_place.items()
    }
    # A tenant of this run may not be there yet when its neighbour is verified: what is not there proves nothing.
    if not namespaces:
        namespaces = {tenant.name: tenant.request.namespaces() for tenant in coming}

    def check(tenant: Tenant, retired: Sequence[str]) -> list[Finding]:
        return verify(api, target(tenant, retired, namespaces, registry), quick=quick)

    return check
