"""Labels, annotations and fixed names on the cluster; relied on from outside (architecture: Labels)."""

from __future__ import annotations

import base64
import hashlib

GROUP = "gcloud.gov.pk"
FIELD_MANAGER = "gcloud-pk"

MANAGED = f"{GROUP}/managed"
MANAGED_BY_PLATFORM = "platform"
TENANT = f"{GROUP}/tenant"
ENVIRONMENT = f"{GROUP}/environment"
CLASSIFICATION = f"{GROUP}/classification"
RETIRED = f"{GROUP}/retired"
OFFBOARDED = f"{GROUP}/offboarded"
"""On the Lease that remembers a tenant which was offboarded: its name."""

ADOPT = f"{GROUP}/adopt"
"""The annotation by which a cluster administrator names the tenant that may take a namespace that exists."""

CONTENT_HASH = f"{GROUP}/content-hash"
PARAM_GUARD = f"{GROUP}/param-guard"
TENANT_POLICY_NAME = "tenant"
"""The fixed name of the TenantPolicy in each tenant namespace."""

SYSTEM_NAMESPACE = "gcloud-pk-system"

APPLYSET_ID = "applyset.kubernetes.io/id"
APPLYSET_PART_OF = "applyset.kubernetes.io/part-of"
APPLYSET_TOOLING = "applyset.kubernetes.io/tooling"
APPLYSET_KINDS = "applyset.kubernetes.io/contains-group-kinds"
APPLYSET_NAMESPACES = "applyset.kubernetes.io/additional-namespaces"
APPLYSET_IS_PARENT_TYPE = "applyset.kubernetes.io/is-parent-type"

ONBOARDER_GROUP = "gcloud:platform"
VERIFIER_GROUP = "gcloud:verifiers"
AUDITOR_GROUP = "gcloud:auditors"
PROBE_USER = "gcloud-pk:probe"


def applyset_id(tenant: str) -> str:
    """Return the ApplySet id of a Tenant (KEP-3659: base64url of SHA-256 of name.namespace.kind.group)."""
    digest = hashlib.sha256(f"{tenant}..Tenant.{GROUP}".encode()).digest()
    return f"applyset-{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}-v1"
