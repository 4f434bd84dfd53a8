"""Namespaces and their parameter object."""

from __future__ import annotations

from gcloud_pk.model import labels
from gcloud_pk.model.base import API_VERSION
from gcloud_pk.model.request import Environment
from gcloud_pk.model.resources import EgressFlow, PolicyWaiver, TenantPolicySpec
from gcloud_pk.model.tenant import Tenant
from gcloud_pk.render.metadata import Manifest, manifest

POD_SECURITY = "restricted"
POD_SECURITY_VERSION = "v1.36"
"""Pinned: an upgrade of the cluster does not change what is admitted; raising it is a release of ours."""


def _namespace_labels(tenant: Tenant) -> dict[str, str]:
    pod_security = {
        f"pod-security.kubernetes.io/{mode}{suffix}": value
        for mode in ("enforce", "audit", "warn")
        for suffix, value in (("", POD_SECURITY), ("-version", POD_SECURITY_VERSION))
    }
    return {
        labels.CLASSIFICATION: tenant.request.spec.classification,
        **pod_security,
    }


def namespace(tenant: Tenant, environment: Environment) -> Manifest:
    """Return the namespace of an environment: Pod Security restricted, and whom to ask about it."""
    spec = tenant.request.spec
    annotations = {
        f"{labels.GROUP}/organisation": spec.organisation,
        f"{labels.GROUP}/tier": environment.tier,
        f"{labels.GROUP}/owner": f"{spec.contacts.owner.name} <{spec.contacts.owner.email}>",
        f"{labels.GROUP}/contact": ", ".join(f"{p.name} <{p.email}>" for p in spec.contacts.technical),
    }
    if spec.cost_centre:
        annotations[f"{labels.GROUP}/cost-centre"] = spec.cost_centre
    if spec.review_after:
        annotations[f"{labels.GROUP}/review-after"] = spec.review_after.isoformat()
    return manifest(
        "v1",
        "Namespace",
        tenant.namespace(environment),
        tenant=tenant.name,
        wave=0,
        environment=environment.name,
        own_labels=_namespace_labels(tenant),
        annotations=annotations,
        keep=True,
    )


def retired_namespace(tenant: Tenant, environment: str) -> Manifest:
    """Return the namespace of an environment that left the request: it stays, closed."""
    return manifest(
        "v1",
        "Namespace",
        tenant.request.namespace(environment),
        tenant=tenant.name,
        wave=0,
        environment=environment,
        own_labels={**_namespace_labels(tenant), labels.RETIRED: "true"},
        annotations={f"{labels.GROUP}/organisation": tenant.request.spec.organisation},
        keep=True,
    )


def _policy(tenant: Tenant, environment: str, spec: TenantPolicySpec) -> Manifest:
    return manifest(
        API_VERSION,
        "TenantPolicy",
        labels.TENANT_POLICY_NAME,
        tenant=tenant.name,
        wave=1,
        namespace=tenant.request.namespace(environment),
        environment=environment,
        own_labels={labels.CLASSIFICATION: tenant.request.spec.classification},
        keep=True,
        finalizers=(labels.PARAM_GUARD,),
        spec=spec.model_dump(
            mode="json", by_alias=True, exclude_none=True, exclude=None if spec.waivers else {"waivers"}
        ),
    )


def _waivers(tenant: Tenant, environment: str) -> tuple[PolicyWaiver, ...]:
    """Return what is excepted in one environment, each once, sorted."""
    return tuple(
        PolicyWaiver(
            rule=grant.rule,
            kind=grant.kind,
            name=grant.workload,
            allows=grant.allows,
            expires=grant.expires.isoformat(),
        )
        for grant in sorted(tenant.waivers)
        if grant.environment == environment
    )


def egress_flows(environment: Environment) -> tuple[EgressFlow, ...]:
    """Return what the request declares to be reached outside the cluster, each once, sorted: networks with ports."""
    declared = {
        EgressFlow(to=flow.to, ports=tuple(sorted(flow.ports, key=lambda p: (p.protocol, p.port))))
        for flow in environment.egress
    }
    return tuple(sorted(declared, key=lambda flow: (flow.to, [(p.protocol, p.port) for p in flow.ports])))


def tenant_policy(tenant: Tenant, environment: Environment) -> Manifest:
    """Return the parameters of the admission policies in one namespace."""
    spec = tenant.request.spec
    return _policy(
        tenant,
        environment.name,
        TenantPolicySpec(
            tenant=tenant.name,
            environment=environment.name,
            classification=spec.classification,
            isolation=spec.isolation,
            namespaces=tenant.request.namespaces(),
            groups=tenant.bound(spec.access.groups()),
            registries=tuple(sorted(spec.registries)),
            domains=tuple(sorted(environment.domains)),
            storageClasses=tuple(sorted(spec.storage_classes)),
            egressFlows=egress_flows(environment),
            ingressCidrs=tuple(sorted(environment.allow_from)),
            reservedCidrs=tenant.cluster.reserved,
            gatewayNamespaces=(tenant.cluster.ingress_namespace,) if environment.domains else (),
            priorityClasses=tuple(sorted(tenant.cluster.priority_classes)),
            runtimeClasses=tuple(sorted(tenant.cluster.runtime_classes)),
            waivers=_waivers(tenant, environment.name),
        ),
    )


def retired_policy(tenant: Tenant, environment: str) -> Manifest:
    """Return parameters that allow nothing."""
    spec = tenant.request.spec
    return _policy(
        tenant,
        environment,
        TenantPolicySpec(
            tenant=tenant.name,
            environment=environment,
            classification=spec.classification,
            isolation=spec.isolation,
            namespaces=(tenant.request.namespace(environment),),
            groups=(),
        ),
    )
