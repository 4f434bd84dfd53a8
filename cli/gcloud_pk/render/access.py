"""Who may act: the default service account that has no token, and the tenant's groups in their roles. Bound last."""

from __future__ import annotations

from gcloud_pk.model.request import Environment
from gcloud_pk.model.tenant import Tenant
from gcloud_pk.render.metadata import Manifest, manifest

ROLES = {
    "admins": "gcloud-pk:tenant-admin",
    "developers": "gcloud-pk:tenant-developer",
    "auditors": "gcloud-pk:tenant-auditor",
}
"""Field of `spec.access` → ClusterRole that `cluster init` installs."""


def service_account(tenant: Tenant, environment: str) -> Manifest:
    """Return the default ServiceAccount without a mounted token."""
    return manifest(
        "v1",
        "ServiceAccount",
        "default",
        tenant=tenant.name,
        wave=2,
        namespace=tenant.request.namespace(environment),
        environment=environment,
        automountServiceAccountToken=False,
    )


def role_bindings(tenant: Tenant, environment: Environment) -> list[Manifest]:
    """Return a RoleBinding for each role that has groups; subjects are groups only."""
    access = tenant.request.spec.access
    return [
        manifest(
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            f"tenant-{role}",
            tenant=tenant.name,
            wave=3,
            namespace=tenant.namespace(environment),
            environment=environment.name,
            roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": cluster_role},
            subjects=[
                {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}
                for group in tenant.bound(getattr(access, role))
            ],
        )
        for role, cluster_role in ROLES.items()
        if getattr(access, role)
    ]
