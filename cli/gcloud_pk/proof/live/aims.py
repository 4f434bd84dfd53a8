"""Aims: the addresses of this cluster that no tenant may reach, as the cluster itself names them, and who is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Literal
from urllib.parse import urlsplit

from gcloud_pk.cluster.kinds import NAMESPACE, NETWORK_POLICY, NODE, POD, SERVICE
from gcloud_pk.cluster.readiness import is_ready
from gcloud_pk.cluster.transport import Api
from gcloud_pk.model import labels
from gcloud_pk.proof.target import Target

Protocol = Literal["TCP", "UDP"]
PROTOCOLS: tuple[Protocol, ...] = ("TCP", "UDP")

KUBELET = 10250
METADATA = "169.254.169.254"
"""Where clouds tell a machine its secrets (AWS, Azure, GCP, OpenStack)."""

_DNS = 53
_NAME = "kubernetes.io/metadata.name"
_SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
_NODES = 200
_SERVERS = 4
_UNREADABLE = ("its network policies cannot be listed",)


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """Where packets go. `host` is an IP address, or what only the pod knows: `@node` (its own), `@dns`."""

    host: str
    port: int
    protocol: Protocol = "TCP"

    def __str__(self) -> str:
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return f"{shown}:{self.port}/{self.protocol}"


@dataclass(frozen=True)
class Aims:
    """What the cluster says of itself. `no_servers`, `no_dns`: why nothing is known where something must be."""

    nodes: int | None = None
    kubelets: tuple[Address, ...] = ()
    servers: tuple[Address, ...] = ()
    dns_others: tuple[Address, ...] = ()
    namespaces: frozenset[str] | None = None
    held: tuple[str, ...] = ()
    """What may hold the platform's own probe pod: network policies of its namespace, or that nobody may list them."""
    own_flows: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    """(from, to) → policies of a tenant's own making that let its namespaces reach each other."""
    no_servers: str | None = None
    no_dns: str | None = None


def read(api: Api, targets: Iterable[Target]) -> Aims:
    """Return the aims for `targets`; what the identity may not read is unknown. Raises UnavailableError."""
    reader = _Reader(api)
    targets = list(targets)
    nodes = reader.items(NODE.path())
    names = reader.items(NAMESPACE.path())
    held = reader.items(NETWORK_POLICY.path(labels.SYSTEM_NAMESPACE))
    servers = tuple(dict.fromkeys(_servers(reader)))
    named = [reader.items(POD.path(where), labelSelector=selector) for where, selector in dns_pods(targets)]
    serving = [pod for pods in named if (pod := _serving(pods or [])) is not None]
    return Aims(
        nodes=None if nodes is None else len(nodes),
        kubelets=tuple(
            Address(address["address"], KUBELET)
            for node in (nodes or [])[:_NODES]
            for address in (node.get("status") or {}).get("addresses") or []
            if address.get("type") == "InternalIP"
        ),
        servers=servers[:_SERVERS],
        dns_others=tuple(sorted({address for pod in serving for address in _others(pod)})),
        namespaces=None if names is None else frozenset(n["metadata"]["name"] for n in names),
        held=_UNREADABLE if held is None else tuple(sorted(p["metadata"]["name"] for p in held)),
        own_flows=_own_flows(
            {
                environment.namespace: reader.items(NETWORK_POLICY.path(environment.namespace)) or []
                for target in targets
                for environment in target.active
            }
        ),
        no_servers=None if servers else f"no address of the API server is known{reader.said('services')}",
        no_dns=None if serving else _unserved(any(named), reader.said("pods")),
    )


class _Reader:
    """Reads lists, and remembers why it could not."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.refused: dict[str, str] = {}

    def items(self, path: str, **params: str) -> list[dict[str, Any]] | None:
        """Return the objects of a list; None where it is refused."""
        answer = self.api.request("GET", path, params=params)
        if not answer.ok:
            self.refused[path.rpartition("/")[2]] = answer.message
            return None
        return list(answer.body.get("items") or [])

    def said(self, plural: str) -> str:
        """Return how a list of this kind was refused, to be put behind a sentence; empty where it was not."""
        return f": {self.refused[plural]}" if plural in self.refused else ""


def _servers(reader: _Reader) -> Iterator[Address]:
    for service in reader.items(SERVICE.path("default"), fieldSelector="metadata.name=kubernetes") or []:
        yield from (Address(host, 443) for host in service["spec"].get("clusterIPs") or [])
    for each in reader.items(_SLICES, labelSelector="kubernetes.io/service-name=kubernetes") or []:
        for port in each.get("ports") or []:
            for endpoint in each.get("endpoints") or []:
                yield from (Address(host, port["port"]) for host in endpoint.get("addresses") or [])
    parts = urlsplit(reader.api.access.server)
    try:
        # A name, and an address of the auditor's own machine, mean nothing in a pod.
        if not ip_address(parts.hostname or "").is_loopback:
            yield Address(str(parts.hostname), parts.port or 443)
    except ValueError:
        return


def dns_pods(targets: Iterable[Target]) -> tuple[tuple[str, str], ...]:
    """Return namespace and label selector of the pods that the targets may ask for names, once each."""
    found = {
        (peer["namespaceSelector"]["matchLabels"][_NAME], _selector(peer["podSelector"]["matchLabels"]))
        for target in targets
        for environment in target.active
        for rule in environment.flows.get("egress") or []
        for peer in rule.get("to") or []
        if "namespaceSelector" in peer and "podSelector" in peer
    }
    return tuple(sorted(found))


def _selector(words: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(words.items()))


def _serving(pods: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return a pod that packets can be sent to, if possible one that is Ready; None where none runs at an address.

    While a node starts again its pods are listed, and have no address.
    """
    running = [pod for pod in pods if pod["status"].get("podIP") and pod["status"].get("phase") == "Running"]
    return min(running, key=lambda pod: not is_ready(pod), default=None)


def _unserved(listed: bool, refused: str) -> str:
    if listed:
        return "no pod of a name server runs at an address; they may be starting: try again in a minute"
    return f"no pod of a name server is known{refused}"


def _others(pod: Mapping[str, Any]) -> Iterator[Address]:
    """Yield what a name server's pod listens on beside DNS: metrics and health."""
    for container in pod["spec"]["containers"]:
        for port in container.get("ports") or []:
            number, protocol = port.get("containerPort"), port.get("protocol", "TCP")
            if number != _DNS and protocol == "TCP":
                yield Address(pod["status"]["podIP"], number)


def gateways(targets: Iterable[Target]) -> tuple[str, ...]:
    """Return the platform's namespaces that any of the targets lets in: gateway, monitoring."""
    return tuple(sorted({n for target in targets for e in target.active for n in let_in(e.flows)}))


def let_in(flows: Mapping[str, Any]) -> frozenset[str]:
    """Return the namespaces that the platform's own policy lets in by their names."""
    return frozenset(
        peer["namespaceSelector"]["matchLabels"][_NAME]
        for rule in flows.get("ingress") or []
        for peer in rule.get("from") or []
        if "namespaceSelector" in peer
    )


def _own_flows(policies: Mapping[str, list[dict[str, Any]]]) -> dict[tuple[str, str], tuple[str, ...]]:
    """Both ends must let it pass; a policy of the platform never does, so these are of the tenant's making."""
    out = {(here, there): name for here, name, there in _peers(policies, "egress", "to")}
    into = {(there, here): name for here, name, there in _peers(policies, "ingress", "from")}
    return {pair: (out[pair], into[pair]) for pair in out.keys() & into.keys()}


def _peers(policies: Mapping[str, list[dict[str, Any]]], direction: str, key: str) -> Iterator[tuple[str, str, str]]:
    for namespace, made in policies.items():
        for policy in made:
            if (policy["metadata"].get("labels") or {}).get(labels.MANAGED) == labels.MANAGED_BY_PLATFORM:
                continue
            for rule in policy["spec"].get(direction) or []:
                for peer in rule.get(key) or []:
                    selector = peer.get("namespaceSelector") or {}
                    there = [(selector.get("matchLabels") or {}).get(_NAME)]
                    there += [
                        value
                        for term in selector.get("matchExpressions") or []
                        if term.get("key") == _NAME and term.get("operator") == "In"
                        for value in term.get("values") or []
                    ]
                    yield from ((namespace, policy["metadata"]["name"], each) for each in there if each)
