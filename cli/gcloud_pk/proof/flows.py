"""Flows: what all network policies of a namespace allow together, against what the request implies. Pure.

Policies add up (networking.k8s.io/v1 NetworkPolicy): one that allows is enough, and none can take away. So every live
policy is judged, whoever made it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from gcloud_pk.model import labels
from gcloud_pk.proof.surroundings import Object, denies_all, label
from gcloud_pk.proof.target import TargetEnvironment

DECLARED = "declared-flows"
"""The platform's one policy that allows; what it must say stands in `TargetEnvironment.flows`."""

_NAME = "kubernetes.io/metadata.name"  # set by the API server itself, so no tenant can spoof it
_PEERS = {"ingress": "from", "egress": "to"}

# Documentation ranges (RFC 5737, RFC 3849), then everything: what a request can hardly have declared.
_FOREIGN = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "0.0.0.0/0", "::/0")

_Network = IPv4Network | IPv6Network


def problems(policies: Collection[Object], own: Collection[str], environment: TargetEnvironment) -> list[str]:
    """Return in words what is allowed beyond the request; `own`: the tenant's namespaces. Raises ValueError."""
    declared = [p for p in policies if _is_declared(p)]
    found = []
    if environment.flows and not declared:
        found.append(f"the platform's NetworkPolicy {DECLARED} is not there")
    for policy in declared:
        found += _differences(policy.get("spec", {}), environment.flows)
    for policy in policies:
        if not _is_declared(policy) and not denies_all(policy):
            name = policy["metadata"]["name"]
            found += [f"NetworkPolicy {name}: {each}" for each in _allowed(policy.get("spec", {}), own, environment)]
    return found


def undeclared(cidrs: Sequence[str]) -> str | None:
    """Return a network that no part of `cidrs` covers; None where everything is declared."""
    declared = [ip_network(cidr) for cidr in cidrs]
    return next((n for n in _FOREIGN if not any(_inside(ip_network(n), d) for d in declared)), None)


def holding(cidrs: Sequence[str], reserved: Sequence[str]) -> tuple[str, str] | None:
    """Return a declared network that holds a range of the cluster itself, and that range; None where there is none."""
    return next(((c, r) for c in cidrs for r in reserved if _inside(ip_network(r), ip_network(c))), None)


def _is_declared(policy: Object) -> bool:
    # By another's hand, the name makes no policy the platform's.
    return policy["metadata"]["name"] == DECLARED and label(policy, labels.MANAGED) == labels.MANAGED_BY_PLATFORM


def _differences(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    for field in sorted({*live, *wanted}):
        if live.get(field) != wanted.get(field):
            yield f"NetworkPolicy {DECLARED}: spec.{field} is not what the request implies"


def _allowed(spec: Mapping[str, Any], own: Collection[str], environment: TargetEnvironment) -> Iterator[str]:
    for direction, key in _PEERS.items():
        for number, rule in enumerate(spec.get(direction) or []):
            where = f"spec.{direction}[{number}]"
            peers = rule.get(key) or []
            if not peers:
                yield f"{where} names no peer, so it allows everybody"
            for index, peer in enumerate(peers):
                wrong = _foreign(peer, direction, own, environment)
                if wrong is None and direction == "egress":
                    wrong = _undeclared_port(peer, rule, environment)
                if wrong is not None:
                    yield f"{where}.{key}[{index}] {wrong}"


def _foreign(
    peer: Mapping[str, Any], direction: str, own: Collection[str], environment: TargetEnvironment
) -> str | None:
    if peer.get("ipBlock") is not None:
        return _foreign_block(peer["ipBlock"], direction, environment)
    selector = peer.get("namespaceSelector")
    if selector is None:
        # A podSelector by itself stays in the namespace; a peer with neither is no shape that the API knows.
        return None if peer.get("podSelector") is not None else "is of no known kind"
    selected = _selected(selector)
    if selected is None:
        return "selects namespaces otherwise than by their names"
    foreign = sorted(selected - {*own})
    return f"selects {', '.join(foreign)}, which is not the tenant's" if foreign else None


def _selected(selector: Mapping[str, Any]) -> set[str] | None:
    """Return the only names that a selector can select; None where no term binds it to names."""
    name = (selector.get("matchLabels") or {}).get(_NAME)
    terms = [] if name is None else [{str(name)}]
    terms += [
        {str(value) for value in expression["values"]}
        for expression in selector.get("matchExpressions") or []
        if expression["key"] == _NAME and expression["operator"] == "In"
    ]
    return set.intersection(*terms) if terms else None


def _foreign_block(block: Mapping[str, Any], direction: str, environment: TargetEnvironment) -> str | None:
    asked = ip_network(block["cidr"], strict=False)
    declared = environment.ingress_cidrs if direction == "ingress" else environment.egress_cidrs
    if not any(_inside(asked, ip_network(cidr)) for cidr in declared):
        return f"is {asked}, which the request does not declare"
    spared = [ip_network(cidr, strict=False) for cidr in block.get("except") or []]
    for kept_out in _kept_out(environment.flows, direction):
        shared = max(asked, kept_out, key=lambda n: n.prefixlen) if _overlap(asked, kept_out) else None
        if shared is not None and not any(_inside(shared, each) for each in spared):
            return f"is {asked} without except {kept_out}, which is the cluster's own"
    return None


def _undeclared_port(peer: Mapping[str, Any], rule: Mapping[str, Any], environment: TargetEnvironment) -> str | None:
    """Return what is wrong with a rule's ports towards a network: the request declares each network with its ports."""
    if peer.get("ipBlock") is None:
        return None
    asked = ip_network(peer["ipBlock"]["cidr"], strict=False)
    declared = {
        (port.protocol, port.port)
        for flow in environment.egress_flows
        if _inside(asked, ip_network(flow.to))
        for port in flow.ports
    }
    for port in rule.get("ports") or [{}]:
        first, protocol = port.get("port"), port.get("protocol") or "TCP"
        if not isinstance(first, int):
            return f"is {asked} at every port" if first is None else f"is {asked} at port {first}, a name"
        reached = range(first, (port.get("endPort") or first) + 1)
        if (other := next((n for n in reached if (protocol, n) not in declared), None)) is not None:
            return f"is {asked} at {protocol} {other}, which the request does not declare"
    return None


def _kept_out(flows: Mapping[str, Any], direction: str) -> Iterator[_Network]:
    """Yield the ranges that the platform's own policy leaves out of what was declared: nodes, pods, services."""
    for rule in flows.get(direction) or []:
        for peer in rule.get(_PEERS[direction]) or []:
            for cidr in (peer.get("ipBlock") or {}).get("except") or []:
                yield ip_network(cidr)


def _overlap(one: _Network, other: _Network) -> bool:
    return one.version == other.version and (_inside(one, other) or _inside(other, one))


def _inside(inner: _Network, outer: _Network) -> bool:
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]  # of one version
