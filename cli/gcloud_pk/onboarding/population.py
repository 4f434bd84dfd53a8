"""What is in place for tenants on a cluster."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from gcloud_pk.cluster.kinds import (
    LIMIT_RANGE,
    NAMESPACE,
    NETWORK_POLICY,
    RESOURCE_QUOTA,
    ROLE_BINDING,
    SERVICE_ACCOUNT,
    TENANT,
    TENANT_POLICY,
    Kind,
    ObjectKey,
)
from gcloud_pk.cluster.live import fetch
from gcloud_pk.cluster.transport import Api
from gcloud_pk.errors import RefusedError
from gcloud_pk.model import labels
from gcloud_pk.model.base import LABEL_PATTERN
from gcloud_pk.model.tenant import Tenant

MEMBERS: tuple[Kind, ...] = (
    NAMESPACE,
    TENANT_POLICY,
    RESOURCE_QUOTA,
    LIMIT_RANGE,
    NETWORK_POLICY,
    SERVICE_ACCOUNT,
    ROLE_BINDING,
)

_FEW = 12

Live = dict[ObjectKey, dict[str, Any]]


@dataclass
class Population:
    """Live objects by tenant; `namespaces`: tenant by name for namespaces looked up, None for one that is nobody's."""

    objects: dict[str, Live] = field(default_factory=dict)

    def of(self, tenant: str) -> Live:
        """Return the live objects of a tenant."""
        return self.objects.get(tenant, {})

    def parent(self, tenant: str) -> dict[str, Any] | None:
        """Return the live Tenant object."""
        return self.of(tenant).get(ObjectKey(TENANT, "", tenant))

    def environments(self, tenant: str) -> dict[str, str]:
        """Return environment → namespace of all live namespaces of a tenant."""
        found = {}
        for key, live in self.of(tenant).items():
            if key.kind == NAMESPACE:
                environment = live["metadata"].get("labels", {}).get(labels.ENVIRONMENT)
                found[environment or key.name.removeprefix(f"{tenant}-")] = key.name
        return found


def survey(api: Api, tenants: Collection[str] | None) -> Population:
    """Fetch what is in place: for some tenants by name, or for all (None). Only LISTs.

    What cannot be a tenant's name is not on the cluster, and must not become part of a selector.
    """
    if tenants is not None:
        tenants = [name for name in tenants if re.fullmatch(LABEL_PATTERN, name)]
        if not tenants:
            return Population()
    if tenants is not None and len(tenants) <= _FEW:
        selector = f"{labels.TENANT} in ({','.join(sorted(tenants))})"
    else:
        selector = labels.TENANT
    found = fetch(api, (TENANT, *MEMBERS), selector=f"{labels.MANAGED}={labels.MANAGED_BY_PLATFORM},{selector}")
    population = Population()
    for key, live in found.items():
        owner = live["metadata"]["labels"][labels.TENANT]
        population.objects.setdefault(owner, {})[key] = live
    return population


def tenants_in_place(api: Api) -> dict[str, dict[str, Any]]:
    """Return every Tenant object of the cluster by name."""
    return {live["metadata"]["name"]: live for live in api.list(TENANT)}


def foreign_namespaces(
    api: Api, tenants: Collection[Tenant], population: Population, adopting: Collection[str] = ()
) -> dict[str, list[str]]:
    """Return tenant → problems: namespaces that exist and are not the tenant's, nor nobody's and being adopted."""
    wanted = {
        name: tenant.name
        for tenant in tenants
        for name in tenant.request.namespaces()
        if ObjectKey(NAMESPACE, "", name) not in population.of(tenant.name)
    }
    existing: dict[str, Mapping[str, Any]] = {}
    if len(wanted) <= _FEW:
        for name in sorted(wanted):
            answer = api.request("GET", NAMESPACE.path(name=name))
            if answer.status == 200:
                existing[name] = answer.body
            elif answer.status != 404:
                api.get(NAMESPACE.path(name=name))  # raises in the transport's words
    else:
        existing = {live["metadata"]["name"]: live for live in api.list(NAMESPACE)}
    problems: dict[str, list[str]] = {}
    for name, tenant_name in sorted(wanted.items()):
        if name not in existing:
            continue
        owner = (existing[name]["metadata"].get("labels") or {}).get(labels.TENANT)
        if owner != tenant_name and (owner is not None or name not in adopting):
            whose = f"is tenant {owner}'s" if owner else "belongs to no tenant"
            problems.setdefault(tenant_name, []).append(f"namespace {name} exists and {whose}")
    return problems


def check_no_way_back(tenant: Tenant, parent: Mapping[str, Any] | None) -> None:
    """Refuse an older request, or another one of the same revision (architecture: No way back)."""
    spec = (parent or {}).get("spec") or {}
    accepted, digest = spec.get("revision"), spec.get("requestDigest")
    if accepted is None:
        return
    if tenant.revision < accepted:
        raise RefusedError(
            f"tenant {tenant.name}: the cluster has accepted revision {accepted}; this is revision {tenant.revision}",
            resolution=f"submit and approve the request with metadata.revision {accepted + 1}",
        )
    if tenant.revision == accepted and digest != tenant.digest:
        raise RefusedError(
            f"tenant {tenant.name}: the cluster has accepted another request as revision {accepted} (SHA-256 {digest})",
            resolution=f"submit and approve the request with metadata.revision {accepted + 1}",
        )


def accepted_at(parent: Mapping[str, Any] | None, digest: str) -> str | None:
    """Return when this digest was accepted on the cluster, RFC 3339; None where it was not."""
    status = (parent or {}).get("status") or {}
    moment = status.get("acceptedAt")
    return str(moment) if moment and status.get("requestDigest") == digest else None
