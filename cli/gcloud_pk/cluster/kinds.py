"""The kinds of object this program reads and writes, known without discovery (which costs 60 to 100 ms a run)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gcloud_pk.model.labels import GROUP


@dataclass(frozen=True, slots=True, order=True)
class Kind:
    """A resource type of the API: where its objects are found."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        """Return what stands in `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """Return the name that RBAC and error messages use: `networkpolicies.networking.k8s.io`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """Return the URL path of the collection, or of one object when `name` is given."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if self.namespaced and namespace is not None:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name is not None:
            parts.append(name)
        return "/".join(parts)


_RBAC = "rbac.authorization.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"

NAMESPACE = Kind("", "v1", "Namespace", "namespaces", namespaced=False)
SERVICE_ACCOUNT = Kind("", "v1", "ServiceAccount", "serviceaccounts", namespaced=True)
RESOURCE_QUOTA = Kind("", "v1", "ResourceQuota", "resourcequotas", namespaced=True)
LIMIT_RANGE = Kind("", "v1", "LimitRange", "limitranges", namespaced=True)
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps", namespaced=True)
SECRET = Kind("", "v1", "Secret", "secrets", namespaced=True)
SERVICE = Kind("", "v1", "Service", "services", namespaced=True)
POD = Kind("", "v1", "Pod", "pods", namespaced=True)
POD_TEMPLATE = Kind("", "v1", "PodTemplate", "podtemplates", namespaced=True)
REPLICATION_CONTROLLER = Kind("", "v1", "ReplicationController", "replicationcontrollers", namespaced=True)
EVENT = Kind("", "v1", "Event", "events", namespaced=True)
NODE = Kind("", "v1", "Node", "nodes", namespaced=False)
PERSISTENT_VOLUME = Kind("", "v1", "PersistentVolume", "persistentvolumes", namespaced=False)
PERSISTENT_VOLUME_CLAIM = Kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", namespaced=True)
NETWORK_POLICY = Kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", namespaced=True)
INGRESS = Kind("networking.k8s.io", "v1", "Ingress", "ingresses", namespaced=True)
ROLE = Kind(_RBAC, "v1", "Role", "roles", namespaced=True)
ROLE_BINDING = Kind(_RBAC, "v1", "RoleBinding", "rolebindings", namespaced=True)
CLUSTER_ROLE = Kind(_RBAC, "v1", "ClusterRole", "clusterroles", namespaced=False)
CLUSTER_ROLE_BINDING = Kind(_RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", namespaced=False)
CUSTOM_RESOURCE_DEFINITION = Kind(
    "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False
)
VALIDATING_ADMISSION_POLICY = Kind(
    _ADMISSION, "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", namespaced=False
)
VALIDATING_ADMISSION_POLICY_BINDING = Kind(
    _ADMISSION, "v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", namespaced=False
)
LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases", namespaced=True)
STORAGE_CLASS = Kind("storage.k8s.io", "v1", "StorageClass", "storageclasses", namespaced=False)
PRIORITY_CLASS = Kind("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", namespaced=False)
DEPLOYMENT = Kind("apps", "v1", "Deployment", "deployments", namespaced=True)
STATEFUL_SET = Kind("apps", "v1", "StatefulSet", "statefulsets", namespaced=True)
DAEMON_SET = Kind("apps", "v1", "DaemonSet", "daemonsets", namespaced=True)
REPLICA_SET = Kind("apps", "v1", "ReplicaSet", "replicasets", namespaced=True)
JOB = Kind("batch", "v1", "Job", "jobs", namespaced=True)
CRON_JOB = Kind("batch", "v1", "CronJob", "cronjobs", namespaced=True)
POD_DISRUPTION_BUDGET = Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", namespaced=True)
TENANT = Kind(GROUP, "v1alpha1", "Tenant", "tenants", namespaced=False)
TENANT_POLICY = Kind(GROUP, "v1alpha1", "TenantPolicy", "tenantpolicies", namespaced=True)

KINDS: Mapping[tuple[str, str], Kind] = {
    (kind.api_version, kind.kind): kind for kind in list(globals().values()) if isinstance(kind, Kind)
}
"""By `(apiVersion, kind)`."""


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """Which object: hashable and sortable; `namespace` is empty for cluster-scoped objects."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind.kind} {self.name}"

    @property
    def path(self) -> str:
        """Return the object's URL path."""
        return self.kind.path(self.namespace, self.name)


@lru_cache(maxsize=256)
def kind_of(api_version: str, kind: str) -> Kind:
    """Return the Kind. Raises KeyError for one that this program never writes: a defect of the caller."""
    try:
        return KINDS[api_version, kind]
    except KeyError:
        raise KeyError(f"{api_version} {kind} is not among the kinds of cluster/kinds.py") from None


def key_of(manifest: Mapping[str, Any]) -> ObjectKey:
    """Return the key of an object. Raises KeyError when its kind is not known, or it has no name."""
    metadata = manifest["metadata"]
    kind = kind_of(manifest["apiVersion"], manifest["kind"])
    return ObjectKey(kind, metadata.get("namespace", "") if kind.namespaced else "", metadata["name"])


def keyed(manifests: Iterable[dict[str, Any]]) -> dict[ObjectKey, dict[str, Any]]:
    """Return the objects by key; of two with one key the later stays."""
    return {key_of(manifest): manifest for manifest in manifests}
