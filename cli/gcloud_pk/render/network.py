"""Network policies: everything is denied, and then what the platform and the request imply is allowed.

Semantics: networking.k8s.io/v1 NetworkPolicy; policies add up, so one that allows is enough and none can take away.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from gcloud_pk.model.request import Environment
from gcloud_pk.model.tenant import Tenant
from gcloud_pk.render.metadata import Manifest, manifest

DENY_NAME = "default-deny"
ALLOW_NAME = "declared-flows"

_NAMESPACE = "kubernetes.io/metadata.name"  # set by the API server itself, so no tenant can spoof it
_DNS_PORTS = [{"port": 53, "protocol": protocol} for protocol in ("TCP", "UDP")]
_SAME_NAMESPACE: dict[str, Any] = {"podSelector": {}}


def default_deny(tenant: Tenant, environment: str) -> Manifest:
    """Return the policy that denies both directions to every pod of the namespace."""
    return denial(tenant.name, tenant.request.namespace(environment), environment)


def denial(tenant: str, namespace: str, environment: str) -> Manifest:
    """Return the same by names alone: closing does not depend on a request."""
    return manifest(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        DENY_NAME,
        tenant=tenant,
        wave=2,
        namespace=namespace,
        environment=environment,
        keep=True,
        spec={"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    )


def _in_namespace(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {_NAMESPACE: name}}}


def _address_block(address: str) -> dict[str, Any]:
    return {"ipBlock": {"cidr": str(ip_network(address))}}


def _outside(tenant: Tenant, cidr: str) -> dict[str, Any]:
    """Return the block without the cluster's own ranges: `0.0.0.0/0` must not mean other tenants' pods."""
    block = ip_network(cidr)
    inside = [ip_network(reserved) for reserved in tenant.cluster.reserved]
    excepted = sorted(
        {str(n) for n in inside if n.version == block.version and n != block and n.subnet_of(block)}  # type: ignore[arg-type]
    )
    return {"ipBlock": {"cidr": cidr, **({"except": excepted} if excepted else {})}}


def declared_flows(tenant: Tenant, environment: Environment) -> Manifest:
    """Return what is allowed: the namespace itself, DNS, monitoring, declared flows, the gateway where domains are."""
    cluster = tenant.cluster
    ingress: list[dict[str, Any]] = [
        {"from": [_SAME_NAMESPACE]},
        {"from": [_in_namespace(cluster.monitoring_namespace)]},
    ]
    if environment.domains:
        ingress.append({"from": [_in_namespace(cluster.ingress_namespace)]})
    if environment.allow_from:
        ingress.append({"from": [_outside(tenant, cidr) for cidr in sorted(environment.allow_from)]})
    dns_peers: list[dict[str, Any]] = [
        {
            **_in_namespace(cluster.dns.namespace),
            "podSelector": {"matchLabels": dict(sorted(cluster.dns.selector.items()))},
        },
        *(_address_block(address) for address in sorted(cluster.dns.addresses)),
    ]
    egress: list[dict[str, Any]] = [
        {"to": [_SAME_NAMESPACE]},
        {"ports": _DNS_PORTS, "to": dns_peers},
    ]
    for flow in sorted(environment.egress, key=lambda f: (f.to, [(p.protocol, p.port) for p in f.ports])):
        ports = [
            {"port": p.port, "protocol": p.protocol} for p in sorted(flow.ports, key=lambda p: (p.protocol, p.port))
        ]
        egress.append({"ports": ports, "to": [{"ipBlock": {"cidr": flow.to}}]})
    return manifest(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        ALLOW_NAME,
        tenant=tenant.name,
        wave=2,
        namespace=tenant.namespace(environment),
        environment=environment.name,
        spec={"egress": egress, "ingress": ingress, "podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    )
