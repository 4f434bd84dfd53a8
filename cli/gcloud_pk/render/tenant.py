"""The whole object set of a tenant, in the order in which it may be applied (architecture: Order that must hold)."""

from __future__ import annotations

from collections.abc import Iterable

from gcloud_pk import __version__
from gcloud_pk.model import labels
from gcloud_pk.model.base import API_VERSION
from gcloud_pk.model.resources import TenantEnvironment, TenantSpec
from gcloud_pk.model.tenant import Tenant
from gcloud_pk.render import access, namespace, network, quota
from gcloud_pk.render.metadata import WAVE, Manifest, manifest

WAVES = ("parent and namespaces", "parameters", "controls", "access")
"""Stage by stage: controls before access."""

MEMBER_KINDS = (
    "LimitRange",
    "Namespace",
    "NetworkPolicy.networking.k8s.io",
    "ResourceQuota",
    "RoleBinding.rbac.authorization.k8s.io",
    "ServiceAccount",
    f"TenantPolicy.{labels.GROUP}",
)


def parent(tenant: Tenant, retired: Iterable[str] = ()) -> Manifest:
    """Return the Tenant object: what was asked, and the ApplySet parent (KEP-3659) of all members.

    `retired`: names of environments that left the request and whose namespaces stay.
    """
    spec = tenant.request.spec
    gone = sorted(tenant.request.namespace(name) for name in retired)
    body = TenantSpec(
        organisation=spec.organisation,
        classification=spec.classification,
        isolation=spec.isolation,
        personalData=spec.personal_data,
        criticalInfrastructure=spec.critical_infrastructure,
        site=tenant.site.metadata.name if tenant.site else None,
        revision=tenant.revision,
        requestDigest=tenant.digest,
        environments=tuple(
            TenantEnvironment(name=e.name, namespace=tenant.namespace(e), tier=e.tier, exposure=e.exposure)
            for e in sorted(spec.environments, key=lambda e: e.name)
        ),
        reviewAfter=spec.review_after.isoformat() if spec.review_after else None,
    )
    made = manifest(
        API_VERSION,
        "Tenant",
        tenant.name,
        tenant=tenant.name,
        wave=0,
        own_labels={
            labels.CLASSIFICATION: spec.classification,
            labels.APPLYSET_ID: labels.applyset_id(tenant.name),
        },
        annotations={
            labels.APPLYSET_TOOLING: f"gcloud-pk/v{__version__}",
            labels.APPLYSET_KINDS: ",".join(MEMBER_KINDS),
            labels.APPLYSET_NAMESPACES: ",".join(sorted([*tenant.request.namespaces(), *gone])),
        },
        spec=body.model_dump(mode="json", by_alias=True, exclude_none=True),
    )
    # The parent is no member of its own set.
    del made["metadata"]["labels"][labels.APPLYSET_PART_OF]
    return made


def render(tenant: Tenant, retired: Iterable[str] = ()) -> list[Manifest]:
    """Return every object of an accepted request, sorted by wave, namespace, kind and name."""
    retired = sorted(set(retired) - {e.name for e in tenant.request.spec.environments})
    made = [parent(tenant, retired)]
    for environment in tenant.request.spec.environments:
        made += [
            namespace.namespace(tenant, environment),
            namespace.tenant_policy(tenant, environment),
            quota.quota(tenant, environment),
            quota.priority_quota(tenant, environment.name),
            quota.limits(tenant, environment),
            network.default_deny(tenant, environment.name),
            network.declared_flows(tenant, environment),
            access.service_account(tenant, environment.name),
            *access.role_bindings(tenant, environment),
        ]
    for name in retired:
        made += retired_environment(tenant, name)
    return sorted(made, key=_order)


def retired_environment(tenant: Tenant, environment: str) -> list[Manifest]:
    """Return what stays of an environment that left the request: closed, countable, deletable."""
    return [
        namespace.retired_namespace(tenant, environment),
        namespace.retired_policy(tenant, environment),
        quota.retired_quota(tenant, environment),
        quota.priority_quota(tenant, environment),
        network.default_deny(tenant, environment),
        access.service_account(tenant, environment),
    ]


def wave(made: Manifest) -> int:
    """Return the stage of an object."""
    return int(made["metadata"]["annotations"][WAVE])


def _order(made: Manifest) -> tuple[int, str, str, str]:
    metadata = made["metadata"]
    # The parent stands before its members.
    namespace_ = "" if made["kind"] == "Tenant" else metadata.get("namespace", metadata["name"])
    return wave(made), namespace_, made["kind"], metadata["name"]
