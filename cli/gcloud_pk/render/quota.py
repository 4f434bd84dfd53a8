"""What an environment may use, and what a container gets that says nothing."""

from __future__ import annotations

from gcloud_pk.model.quantity import Quantity
from gcloud_pk.model.request import Environment
from gcloud_pk.model.tenant import Tenant
from gcloud_pk.render.metadata import Manifest, manifest

QUOTA_NAME = "tenant"
PRIORITY_QUOTA_NAME = "no-system-priority"
LIMITS_NAME = "tenant"

# Per pod that the quota admits; a request does not ask for scratch space by itself.
_SCRATCH_REQUEST = Quantity.parse("512Mi")
_SCRATCH_LIMIT = Quantity.parse("2Gi")

_DEFAULT = {
    "cpu": Quantity.parse("500m"),
    "memory": Quantity.parse("512Mi"),
    "ephemeral-storage": Quantity.parse("1Gi"),
}
_DEFAULT_REQUEST = {
    "cpu": Quantity.parse("100m"),
    "memory": Quantity.parse("128Mi"),
    "ephemeral-storage": Quantity.parse("128Mi"),
}

# Objects that cost the control plane, beside pods: enough for a large application, too few to fill etcd.
_COUNTS = {"configmaps": 200, "replicationcontrollers": 20, "secrets": 200, "services": 100}
_OWN_QUOTAS = 2

# What a tenant writes beside them. Pods, which are counted, bound what a workload needs: one of each kind for each pod,
# and never less than these. Routes are left out: a quota of a kind that a cluster does not serve is never counted.
_LEAST = 50
_OF_PODS = (
    "count/cronjobs.batch",
    "count/deployments.apps",
    "count/horizontalpodautoscalers.autoscaling",
    "count/ingresses.networking.k8s.io",
    "count/poddisruptionbudgets.policy",
    "count/roles.rbac.authorization.k8s.io",
    "count/statefulsets.apps",
)
# The platform has some of these too, and a full quota must not keep them out of a namespace that is adopted.
_LEAST_SHARED = 200
_SHARED = (
    "count/networkpolicies.networking.k8s.io",
    "count/rolebindings.rbac.authorization.k8s.io",
    "count/serviceaccounts",
)
_DAEMON_SETS = 20
# A Deployment keeps ten earlier ReplicaSets by default, a CronJob four finished Jobs beside the one that runs.
_KEPT = {"count/replicasets.apps": 11, "count/jobs.batch": 5}
_LEAST_KEEPERS = 20


def _times(quantity: Quantity, count: int) -> Quantity:
    return Quantity(quantity.value * count, binary=quantity.binary)


def _counts(pods: int) -> dict[str, str]:
    """Return how many objects of the kinds that only `count/` names an environment of so many pods may have."""
    return {
        **dict.fromkeys(_OF_PODS, str(Quantity(max(_LEAST, pods)))),
        **dict.fromkeys(_SHARED, str(Quantity(max(_LEAST_SHARED, pods)))),
        "count/daemonsets.apps": str(_DAEMON_SETS),
        **{name: str(Quantity(kept * max(_LEAST_KEEPERS, pods))) for name, kept in _KEPT.items()},
    }


def _quota(tenant: Tenant, environment: str, hard: dict[str, str]) -> Manifest:
    return manifest(
        "v1",
        "ResourceQuota",
        QUOTA_NAME,
        tenant=tenant.name,
        wave=2,
        namespace=tenant.request.namespace(environment),
        environment=environment,
        spec={"hard": dict(sorted(hard.items()))},
    )


def quota(tenant: Tenant, environment: Environment) -> Manifest:
    """Return the environment's quota; requests and limits alike, so that nothing is promised twice."""
    asked = environment.quota
    hard = {
        "requests.cpu": str(asked.cpu),
        "limits.cpu": str(asked.cpu),
        "requests.memory": str(asked.memory),
        "limits.memory": str(asked.memory),
        "requests.ephemeral-storage": str(_times(_SCRATCH_REQUEST, asked.pods)),
        "limits.ephemeral-storage": str(_times(_SCRATCH_LIMIT, asked.pods)),
        "requests.storage": str(asked.storage),
        "persistentvolumeclaims": str(Quantity(asked.pods)),
        "pods": str(Quantity(asked.pods)),
        "resourcequotas": str(_OWN_QUOTAS),
        "services.loadbalancers": "0",
        "services.nodeports": "0",
        **{name: str(count) for name, count in _COUNTS.items()},
        **_counts(asked.pods),
        **{
            f"{name}.storageclass.storage.k8s.io/requests.storage": str(asked.storage)
            for name in tenant.request.spec.storage_classes
        },
    }
    return _quota(tenant, environment.name, hard)


def retired_quota(tenant: Tenant, environment: str) -> Manifest:
    """Return a quota of nothing; what exists stays, nothing new comes."""
    names = (
        "requests.cpu", "limits.cpu", "requests.memory", "limits.memory", "requests.ephemeral-storage",
        "limits.ephemeral-storage", "requests.storage", "persistentvolumeclaims", "pods", "services.loadbalancers",
        "services.nodeports", *_COUNTS, *_OF_PODS, *_KEPT, "count/daemonsets.apps",
    )  # fmt: skip
    # Not what the platform has there: a default deny that somebody took away must be able to come back.
    return _quota(tenant, environment, {**dict.fromkeys(names, "0"), "resourcequotas": str(_OWN_QUOTAS)})


def priority_quota(tenant: Tenant, environment: str) -> Manifest:
    """Return the quota that keeps the system's priority classes from tenants: no pod could be evicted for theirs."""
    return manifest(
        "v1",
        "ResourceQuota",
        PRIORITY_QUOTA_NAME,
        tenant=tenant.name,
        wave=2,
        namespace=tenant.request.namespace(environment),
        environment=environment,
        spec={
            "hard": {"pods": "0"},
            "scopeSelector": {
                "matchExpressions": [
                    {
                        "operator": "In",
                        "scopeName": "PriorityClass",
                        "values": ["system-cluster-critical", "system-node-critical"],
                    }
                ]
            },
        },
    )


def limits(tenant: Tenant, environment: Environment) -> Manifest:
    """Return defaults and bounds of containers and claims; no default is above the quota."""
    most = {
        "cpu": environment.quota.cpu,
        "memory": environment.quota.memory,
        "ephemeral-storage": _times(_SCRATCH_LIMIT, min(environment.quota.pods, 10)),
    }
    least_claim = min(Quantity.parse("1Gi"), environment.quota.storage)
    return manifest(
        "v1",
        "LimitRange",
        LIMITS_NAME,
        tenant=tenant.name,
        wave=2,
        namespace=tenant.namespace(environment),
        environment=environment.name,
        spec={
            "limits": [
                {
                    "type": "Container",
                    "default": {name: str(min(value, most[name])) for name, value in _DEFAULT.items()},
                    "defaultRequest": {name: str(min(value, most[name])) for name, value in _DEFAULT_REQUEST.items()},
                    "max": {name: str(value) for name, value in most.items()},
                },
                {
                    "type": "PersistentVolumeClaim",
                    "max": {"storage": str(environment.quota.storage)},
                    "min": {"storage": str(least_claim)},
                },
            ]
        },
    )
