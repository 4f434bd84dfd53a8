"""Plan: which flows must be open and which closed, seen from each environment. Pure.

The matrix is that of the network policies (issue: Enforce); what the request declares is read from `Target`. Each flow
is tried by a probe pod of its own namespace; the platform's probe pod, which no policy holds, tries every address too,
because silence shows nothing where nobody is answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any, Literal

from gcloud_pk.model import labels
from gcloud_pk.model.finding import Verdict
from gcloud_pk.proof.live.aims import KUBELET, METADATA, PROTOCOLS, Address, Aims, Protocol, gateways, let_in
from gcloud_pk.proof.live.pods import PORT, Home
from gcloud_pk.proof.target import Target, TargetEnvironment

WITNESS = labels.SYSTEM_NAMESPACE
"""Where the platform's own probe pod runs."""

NEIGHBOURS = 2
"""Namespaces of other tenants that each tenant is tried against."""

NODES = 2
"""Nodes that a pod tries beside its own."""

_DNS = 53

Expected = Literal["open", "closed"]


@dataclass(frozen=True, slots=True)
class Check:
    """One check of an environment; `nothing`: why it does not apply where no flow is of its kind."""

    id: str
    title: str
    controls: tuple[str, ...]
    expected: str
    nothing: str = ""


STARTS = "ISO-700"
METADATA_CHECK = "ISO-709"
OUTSIDE = "ISO-710"
LEFT = "ISO-718"
LEFT_TITLE = "No probe pod is left"
LEFT_CONTROLS = ("GPK-NET-001",)

_CLOSED, _OPEN = "no packet comes through", "an answer comes back"
_KEPT_IN, _FLOWS = ("GPK-NET-001",), ("GPK-NET-001", "GPK-NET-002")

CHECKS: Mapping[str, Check] = {
    check.id: check
    for check in (
        Check(STARTS, "A pod that keeps every rule starts and reports", _KEPT_IN, "a probe pod runs and reports"),
        Check("ISO-701", "Pods reach their own namespace", _FLOWS, _OPEN),
        Check("ISO-702", "Packets to the tenant's other environments are dropped", _KEPT_IN, _CLOSED,
              "the tenant has no other environment in use"),
        Check("ISO-703", "Packets to another tenant are dropped", _KEPT_IN, _CLOSED,
              "no namespace of another tenant is there"),
        Check("ISO-704", "Packets from another tenant are dropped", _KEPT_IN, _CLOSED,
              "no namespace of another tenant is there"),
        Check("ISO-705", "Packets to the platform's namespaces are dropped", _KEPT_IN, _CLOSED),
        Check("ISO-706", "Packets from namespaces of the platform that the request does not let in are dropped",
              _KEPT_IN, _CLOSED),
        Check("ISO-707", "Packets to the API server are dropped", _KEPT_IN, _CLOSED),
        Check("ISO-708", "Packets to nodes are dropped", _KEPT_IN, _CLOSED),
        Check(METADATA_CHECK, "Packets to the metadata address are dropped", _KEPT_IN, _CLOSED),
        Check(OUTSIDE, "Packets to addresses outside that the request does not declare are dropped", _KEPT_IN, _CLOSED,
              "every address that was named is declared"),
        Check("ISO-711", "Names are answered over UDP", _FLOWS, _OPEN),
        Check("ISO-712", "Names are answered over TCP", _FLOWS, _OPEN),
        Check("ISO-713", "Packets to other ports of the name servers are dropped", _KEPT_IN, _CLOSED,
              "the name servers' pods declare no other port"),
        Check("ISO-714", "Declared flows to the outside are open", _FLOWS, _OPEN, "the request declares none"),
        Check("ISO-715", "Namespaces of the platform that the request lets in are let in", _FLOWS, _OPEN,
              "none of them is there"),
    )
}  # fmt: skip
"""Checks of one environment, by id."""


@dataclass(frozen=True, slots=True)
class Flow:
    """One flow to try. `aim`: an address, or the namespace whose listener is meant.

    `check` and `subject` None: nobody is judged by it, it only shows who answers. `settled`: why it is not tried.
    """

    source: str
    aim: Address | str
    protocol: Protocol
    expected: Expected
    check: str | None = None
    subject: str | None = None
    settled: tuple[Verdict, str] | None = None

    @property
    def kind(self) -> Literal["word", "connect", "dns"]:
        """What counts as an answer: the listener's word, a name server's answer, or a connection."""
        if isinstance(self.aim, str):
            return "word"
        return "dns" if self.aim.port == _DNS else "connect"

    def addresses(self, listeners: Mapping[str, Sequence[str]]) -> tuple[Address, ...]:
        """Return where the packets go; `listeners`: namespace → its listener's IP addresses."""
        if isinstance(self.aim, str):
            return tuple(Address(host, PORT, self.protocol) for host in listeners.get(self.aim, ()))
        return (self.aim,)


@dataclass(frozen=True)
class Plan:
    """Where probe pods run, the flows that they try, and the environments that are judged (subject → namespace)."""

    homes: tuple[Home, ...]
    flows: tuple[Flow, ...]
    subjects: Mapping[str, str]


def plan(targets: Sequence[Target], aims: Aims, outside: Iterable[Address] = ()) -> Plan:
    """Return the plan for `targets`. `outside`: addresses outside the cluster that somebody answers at, over TCP."""
    named = tuple(outside)
    doors = tuple(n for n in gateways(targets) if aims.namespaces is None or n in aims.namespaces)
    homes = {namespace: Home(namespace, platform=True) for namespace in (WITNESS, *doors)}
    flows: list[Flow] = []
    subjects: dict[str, str] = {}
    for target in targets:
        for environment in target.active:
            homes.setdefault(environment.namespace, Home(environment.namespace, target.tenant, target.isolation))
    for target in targets:
        others = [n for n in target.strangers_namespaces if aims.namespaces is None or n in aims.namespaces]
        neighbours = others[:NEIGHBOURS]
        for there in neighbours:
            homes.setdefault(there, Home(there))
        for environment in target.active:
            subject = f"tenant/{target.tenant}/{environment.name}"
            subjects[subject] = environment.namespace
            siblings = [e.namespace for e in target.active if e is not environment]
            flows += _between(environment, subject, siblings, neighbours, doors, aims)
            flows += _addresses(environment, subject, aims)
            flows += _outside(environment, subject, named)
    everywhere = tuple(homes.values())
    return Plan(everywhere, (*flows, *_support(everywhere, flows, aims)), subjects)


def _between(
    environment: TargetEnvironment,
    subject: str,
    siblings: Sequence[str],
    neighbours: Sequence[str],
    doors: Sequence[str],
    aims: Aims,
) -> Iterator[Flow]:
    here, welcome = environment.namespace, let_in(environment.flows)
    for protocol in PROTOCOLS:
        yield Flow(here, here, protocol, "open", "ISO-701", subject)
        for there in siblings:
            yield Flow(here, there, protocol, "closed", "ISO-702", subject, _own_making(aims, here, there))
        for there in neighbours:
            yield Flow(here, there, protocol, "closed", "ISO-703", subject)
            yield Flow(there, here, protocol, "closed", "ISO-704", subject)
        for there in dict.fromkeys((WITNESS, *doors)):
            yield Flow(here, there, protocol, "closed", "ISO-705", subject)
            if there in welcome:
                yield Flow(there, here, protocol, "open", "ISO-715", subject)
            else:
                yield Flow(there, here, protocol, "closed", "ISO-706", subject)


def _own_making(aims: Aims, here: str, there: str) -> tuple[Verdict, str] | None:
    made = aims.own_flows.get((here, there))
    if made is None:
        return None
    return Verdict.NOT_APPLICABLE, f"the tenant opened it itself: NetworkPolicies {here}/{made[0]}, {there}/{made[1]}"


def _addresses(environment: TargetEnvironment, subject: str, aims: Aims) -> Iterator[Flow]:
    here = environment.namespace
    for check, unknown in (("ISO-707", aims.no_servers), ("ISO-713", aims.no_dns)):
        if unknown is not None:
            settled = (Verdict.NOT_CHECKED, unknown)
            yield Flow(here, Address("unknown", 0), "TCP", "closed", check, subject, settled)
    for address in aims.servers:
        yield Flow(here, address, address.protocol, "closed", "ISO-707", subject)
    for address in (Address("@node", KUBELET), *aims.kubelets[:NODES]):
        yield Flow(here, address, address.protocol, "closed", "ISO-708", subject)
    yield Flow(here, Address(METADATA, 80), "TCP", "closed", METADATA_CHECK, subject)
    yield Flow(here, Address("@dns", _DNS, "UDP"), "UDP", "open", "ISO-711", subject)
    yield Flow(here, Address("@dns", _DNS, "TCP"), "TCP", "open", "ISO-712", subject)
    for address in aims.dns_others:
        yield Flow(here, address, address.protocol, "closed", "ISO-713", subject)


@dataclass(frozen=True, slots=True)
class _Declared:
    network: str
    port: int
    protocol: Protocol

    def covers(self, address: Address) -> bool:
        return (self.port, self.protocol) == (address.port, address.protocol) and _inside(address.host, self.network)

    def __str__(self) -> str:
        return f"{self.network} port {self.port}/{self.protocol}"


def _inside(host: str, network: str) -> bool:
    where, block = ip_address(host), ip_network(network)
    return where.version == block.version and where in block


def _declared(flows: Mapping[str, Any]) -> tuple[_Declared, ...]:
    return tuple(
        _Declared(peer["ipBlock"]["cidr"], port["port"], port["protocol"])
        for rule in flows.get("egress") or []
        # The rule that leads to the name servers has pods among its peers; that one is tried by asking them.
        if rule.get("ports") and all("ipBlock" in peer for peer in rule.get("to") or [])
        for peer in rule["to"]
        for port in rule["ports"]
    )


def _outside(environment: TargetEnvironment, subject: str, named: Sequence[Address]) -> Iterator[Flow]:
    here, declared = environment.namespace, _declared(environment.flows)
    for each in declared:
        network = ip_network(each.network)
        tried = [a for a in named if each.covers(a)]
        if not tried and network.num_addresses == 1:
            tried = [Address(str(network.network_address), each.port, each.protocol)]
        if each.protocol == "UDP" and each.port != _DNS:
            tried, why = [], f"{each}: over UDP nobody needs to answer, so silence shows nothing"
        else:
            why = f"no address of {each} was named to be tried (--live-outside)"
        for address in tried:
            yield Flow(here, address, address.protocol, "open", "ISO-714", subject)
        if not tried:
            settled = (Verdict.NOT_CHECKED, why)
            yield Flow(here, Address(each.network, each.port), each.protocol, "open", "ISO-714", subject, settled)
    for address in named:
        if not any(each.covers(address) for each in declared):
            yield Flow(here, address, address.protocol, "closed", OUTSIDE, subject)


def _support(homes: Iterable[Home], flows: Sequence[Flow], aims: Aims) -> Iterator[Flow]:
    """Yield what only shows who answers: each home its own listener, and the platform's pod every address."""
    judged = {(f.source, f.aim, f.protocol) for f in flows}
    for home in homes:
        for protocol in PROTOCOLS:
            if (home.namespace, home.namespace, protocol) not in judged:
                yield Flow(home.namespace, home.namespace, protocol, "open")
    aimed = [f.aim for f in flows if isinstance(f.aim, Address) and f.settled is None]
    for address in dict.fromkeys((*aimed, *aims.kubelets)):
        yield Flow(WITNESS, address, address.protocol, "open")
