"""A first workload that is admitted as it stands in an environment: what a ministry copies and changes.

It keeps to Pod Security `restricted`, the tenant's registries, placement and domains, and fits the smallest quota.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from gcloud_pk.model import labels
from gcloud_pk.model.quantity import Quantity
from gcloud_pk.model.request import Environment
from gcloud_pk.model.tenant import Tenant

NAME = "hello"
PORT = 8080
TLS_SECRET = f"{NAME}-tls"

_REQUESTS = {"cpu": Quantity.parse("100m"), "memory": Quantity.parse("128Mi")}
_LIMITS = {"cpu": Quantity.parse("500m"), "memory": Quantity.parse("256Mi")}


def image(tenant: Tenant) -> str:
    """Return an image under the tenant's own path: the platform's base paths are others'."""
    listed = tenant.request.spec.registries
    own = [path for path in listed if path not in tenant.settings.base_registries]
    return f"{(own or listed)[0]}{NAME}:1.0"


def workload(tenant: Tenant, environment: Environment) -> list[dict[str, Any]]:
    """Return a Deployment and a Service, and an Ingress where the environment has a domain."""
    made = [_deployment(tenant, environment), _service(tenant, environment)]
    return [*made, _ingress(tenant, environment)] if environment.domains else made


def _metadata(tenant: Tenant, environment: Environment) -> dict[str, Any]:
    return {"name": NAME, "namespace": tenant.namespace(environment), "labels": {"app": NAME}}


def _deployment(tenant: Tenant, environment: Environment) -> dict[str, Any]:
    container = {
        "name": "web",
        "image": image(tenant),
        "imagePullPolicy": "Always",
        "ports": [{"name": "http", "containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}},
        "resources": {
            "requests": {name: str(_within(size, environment, name)) for name, size in _REQUESTS.items()},
            "limits": {name: str(_within(size, environment, name)) for name, size in _LIMITS.items()},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - a path in the container
    }
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
    }
    if tenant.request.spec.isolation == "dedicated-nodes":
        pod["nodeSelector"] = {labels.TENANT: tenant.name}
        pod["tolerations"] = [{"key": labels.TENANT, "operator": "Equal", "value": tenant.name}]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(tenant, environment),
        "spec": {
            "replicas": _replicas(environment),
            "selector": {"matchLabels": {"app": NAME}},
            "template": {"metadata": {"labels": {"app": NAME}}, "spec": pod},
        },
    }


def _within(size: Quantity, environment: Environment, resource: str) -> Quantity:
    """Return a size that leaves room for the old pod beside the new one, which a rollout needs."""
    half = Quantity(Fraction(getattr(environment.quota, resource).value * 1000 // 2, 1000), binary=size.binary)
    return max(min(size, half), Quantity(Fraction(1, 1000)))


def _replicas(environment: Environment) -> int:
    """Return 2, where two and the third of a rollout fit."""
    quota = environment.quota
    fits = all(getattr(quota, resource).value >= 3 * size.value for resource, size in _LIMITS.items())
    return 2 if fits and quota.pods >= 3 else 1


def _service(tenant: Tenant, environment: Environment) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(tenant, environment),
        "spec": {"selector": {"app": NAME}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    }


def _ingress(tenant: Tenant, environment: Environment) -> dict[str, Any]:
    host = environment.domains[0]
    backend = {"service": {"name": NAME, "port": {"name": "http"}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": _metadata(tenant, environment),
        "spec": {
            "rules": [{"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}],
            "tls": [{"hosts": [host], "secretName": TLS_SECRET}],
        },
    }
