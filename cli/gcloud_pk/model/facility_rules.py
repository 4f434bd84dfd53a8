"""Rules of a site's facility, racks and clusters that no single field shows. Pure: sites in, problems out.

Whether the design holds when something fails is another question, which `gcloud_pk.facility` answers.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from gcloud_pk.errors import Problem, problem
from gcloud_pk.model.facility import RATED, Component, Link, Rack
from gcloud_pk.model.site import Cluster, Host, Site

_NO_SOURCE_ABOVE = frozenset({"utility", "generator", "carrier"})
"""Kinds that a path begins with."""

_NO_END: Mapping[str, tuple[frozenset[str], str]] = {
    "feeds": (frozenset({"utility", "generator"}), "what feeds the rack, such as its two PDUs"),
    "cooling": (frozenset({"chiller", "pump", "pipe"}), "the air handlers that cool it"),
    "switches": (frozenset({"carrier"}), "the switches that connect it"),
}
"""Kinds that no rack hangs on by itself, by the field of a rack, and what may stand there."""

_SENSITIVE = frozenset({"restricted", "confidential", "secret"})


def accreditation_problem(site: Site, today: dt.date) -> tuple[Problem, bool] | None:
    """Return that a site's accreditation has expired, and whether that is an error: where it holds restricted data.

    Its last day still counts. None where it holds, or where the file tells of none.
    """
    said = site.spec.accreditation
    if said is None or said.expires >= today:
        return None
    held = [name for name in site.spec.admits if name in _SENSITIVE]
    days = (today - said.expires).days
    wrong = problem(
        f"the accreditation ({said.scheme}) expired on {said.expires}, {days} day{'' if days == 1 else 's'} ago"
        + (f"; the site admits {', '.join(held)} data" if held else ""),
        field="spec.accreditation.expires",
        expected="the day of the accreditation that holds now",
    )
    return wrong, bool(held)


def facility_problems(site: Site) -> Iterator[Problem]:
    """Yield what is wrong within one site: names, references, loops, capacities, racks, quorum and addresses.

    What the design does not bear, such as a rack whose hosts draw too much, is no fault of the file: it is judged.
    """
    spec = site.spec
    for part, components, links in (
        ("power", spec.power.components, spec.power.links),
        ("cooling", spec.cooling.components, spec.cooling.links),
        ("network", spec.network.components, spec.network.links),
    ):
        yield from _components(site, f"spec.{part}.components", components)
        yield from _links(f"spec.{part}.links", links, components, part)
    yield from _twice("spec.machines", "class of machines", [machine.name for machine in spec.machines])
    yield from _racks(site)
    yield from _hosts(site)
    for index, cluster in enumerate(spec.clusters):
        yield from _cluster(site, cluster, f"spec.clusters[{index}]")
    yield from _tables(site)


# --- names and references ---


@dataclass
class _Known:
    """The names of one kind of thing, and the words about a name that is none of them."""

    what: str
    names: Collection[str]
    _said: dict[str, str] = field(default_factory=dict)

    def missing(self, name: str, where: str) -> Iterator[Problem]:
        if name in self.names:
            return
        if name not in self._said:
            self._said[name] = self._expected(name)
        yield problem(f"the site has no {self.what} {name!r}", field=where, expected=self._said[name])

    def _expected(self, name: str) -> str:
        if near := get_close_matches(name, self.names, n=1):
            return f"one that it has, such as {near[0]}"
        if not self.names:
            return f"nothing here, or the {self.what} in this file"
        few = sorted(self.names)[:5]
        return f"one of {', '.join(few)}" + (" …" if len(self.names) > len(few) else "")


def _twice(where: str, what: str, names: Sequence[str]) -> Iterator[Problem]:
    first: set[str] = set()
    for i, name in enumerate(names):
        if name in first:
            yield problem(
                f"{name!r} is the name of another {what} already", field=f"{where}[{i}].name", expected="each its own"
            )
        first.add(name)


def _rooms(site: Site, room: str | None, where: str) -> Iterator[Problem]:
    if room is not None and site.spec.rooms:
        yield from _Known("room", site.spec.rooms).missing(room, f"{where}.room")


def _components(site: Site, where: str, components: Sequence[Component]) -> Iterator[Problem]:
    yield from _twice(where, f"{where.split('.')[1]} component", [component.name for component in components])
    power = _Known("power component", {component.name for component in site.spec.power.components})
    racks = _Known("rack", {rack.name for rack in site.spec.racks})
    for i, component in enumerate(components):
        kind = getattr(component, "kind", "")
        if kind in RATED and component.kw is None:
            yield problem(
                f"the capacity of {kind} {component.name!r} is missing",
                field=f"{where}[{i}].kw",
                expected="its capacity in kW",
            )
        yield from _rooms(site, component.room, f"{where}[{i}]")
        if component.rack is not None and site.spec.racks:
            yield from racks.missing(component.rack, f"{where}[{i}].rack")
            yield from _elsewhere(site.spec.rack(component.rack), component, f"{where}[{i}].room")
        for j, feed in enumerate(getattr(component, "feeds", ())):
            yield from power.missing(feed, f"{where}[{i}].feeds[{j}]")


def _elsewhere(rack: Rack | None, component: Component, where: str) -> Iterator[Problem]:
    if rack and rack.room and component.room and rack.room != component.room:
        yield problem(
            f"{component.name!r} stands in {rack.name}, which is in room {rack.room!r}",
            field=where,
            expected=f"{rack.room}, or nothing: it is where its rack is",
        )


def _links(where: str, links: Sequence[Link], components: Sequence[Component], part: str) -> Iterator[Problem]:
    kinds = {component.name: getattr(component, "kind", "") for component in components}
    known = _Known(f"{part} component", kinds)
    seen: set[tuple[str, str]] = set()
    for i, link in enumerate(links):
        yield from known.missing(link.source, f"{where}[{i}].from")
        yield from known.missing(link.target, f"{where}[{i}].to")
        if link.source == link.target:
            yield problem(
                f"{link.source!r} is linked to itself", field=f"{where}[{i}].to", expected="another component"
            )
        if kinds.get(link.target) in _NO_SOURCE_ABOVE:
            yield problem(
                f"leads into {kinds[link.target]} {link.target!r}",
                field=f"{where}[{i}].to",
                expected="links that lead from the source to the load",
            )
        if (link.source, link.target) in seen:
            yield problem(
                f"the link from {link.source} to {link.target} stands twice", field=f"{where}[{i}]", expected="once"
            )
        seen.add((link.source, link.target))
    if part == "power":
        yield from _loops(where, links)


def _loops(where: str, links: Sequence[Link]) -> Iterator[Problem]:
    """Yield each link that leads back to where a path through it came from: without them there is no loop."""
    after: dict[str, list[tuple[str, int]]] = {}
    for i, link in enumerate(links):
        if link.source != link.target:
            after.setdefault(link.source, []).append((link.target, i))
    done: set[str] = set()
    for start in list(after):
        path: dict[str, Iterator[tuple[str, int]]] = {} if start in done else {start: iter(after[start])}
        while path:
            here = next(reversed(path))
            target, i = next(path[here], (None, 0))
            if target is None:
                del path[here]
                done.add(here)
            elif target in path:
                names = list(path)
                loop = [*names[names.index(target) :], target]
                yield problem(
                    f"closes a loop: {' → '.join(_short(loop))}",
                    field=f"{where}[{i}]",
                    expected="links that lead from the source to the load",
                )
            elif target not in done:
                path[target] = iter(after.get(target, ()))


def _short(names: Sequence[str], most: int = 8) -> list[str]:
    return list(names) if len(names) <= most else [*names[: most - 2], "…", names[-1]]


# --- racks and hosts ---


def _racks(site: Site) -> Iterator[Problem]:
    spec = site.spec
    yield from _twice("spec.racks", "rack", [rack.name for rack in spec.racks])
    lists = (
        ("feeds", _Known("power component", {c.name for c in spec.power.components})),
        ("cooling", _Known("cooling component", {c.name for c in spec.cooling.components})),
        ("switches", _Known("network component", {c.name for c in spec.network.components})),
    )
    kinds: Mapping[str, Mapping[str, str]] = {
        "feeds": {c.name: c.kind for c in spec.power.components},
        "cooling": {c.name: c.kind for c in spec.cooling.components},
        "switches": {c.name: c.kind for c in spec.network.components},
    }
    for i, rack in enumerate(spec.racks):
        where = f"spec.racks[{i}]"
        yield from _rooms(site, rack.room, where)
        for name, known in lists:
            for j, one in enumerate(getattr(rack, name)):
                yield from known.missing(one, f"{where}.{name}[{j}]")
                yield from _ends(kinds[name], name, one, f"{where}.{name}[{j}]")


def _ends(kinds: Mapping[str, str], part: str, name: str, where: str) -> Iterator[Problem]:
    """Yield that a rack or a host hangs on what only leads to others, which would look like a way without switches."""
    never, expected = _NO_END[part]
    if (kind := kinds.get(name, "")) in never:
        yield problem(f"{name!r} is of kind {kind}: no rack hangs on one directly", field=where, expected=expected)


def _hosts(site: Site) -> Iterator[Problem]:
    spec = site.spec
    racks = _Known("rack", {rack.name for rack in spec.racks})
    machines = _Known("machine class", {machine.name for machine in spec.machines})
    kinds: Mapping[str, str] = {c.name: c.kind for c in spec.power.components}
    components = _Known("power component", kinds)
    downstream: dict[str, frozenset[str]] = {}
    for i, host in enumerate(spec.hosts):
        where = f"spec.hosts[{i}]"
        if host.rack is not None and spec.racks:
            yield from racks.missing(host.rack, f"{where}.rack")
        if host.machine is not None:
            yield from machines.missing(host.machine, f"{where}.machine")
        feeds = rack.feeds if (rack := spec.rack(host.rack)) else ()
        for j, supply in enumerate(host.power_supplies or ()):
            yield from components.missing(supply, f"{where}.powerSupplies[{j}]")
            yield from _ends(kinds, "feeds", supply, f"{where}.powerSupplies[{j}]")
            if rack is None or not feeds or supply in feeds or supply not in components.names:
                continue
            if rack.name not in downstream:
                downstream[rack.name] = _below(spec.power.links, feeds)
            if supply not in downstream[rack.name]:
                yield problem(
                    f"{supply!r} does not feed {rack.name}, where the host stands",
                    field=f"{where}.powerSupplies[{j}]",
                    expected=f"one of the rack's feeds ({', '.join(feeds)}), or what they feed",
                )


def _below(links: Iterable[Link], names: Iterable[str]) -> frozenset[str]:
    after: dict[str, list[str]] = {}
    for link in links:
        after.setdefault(link.source, []).append(link.target)
    found, ahead = set(names), list(names)
    while ahead:
        for target in after.get(ahead.pop(), ()):
            if target not in found:
                found.add(target)
                ahead.append(target)
    return frozenset(found)


# --- clusters ---


def _cluster(site: Site, cluster: Cluster, where: str) -> Iterator[Problem]:
    for j, held in enumerate(cluster.classes or ()):
        if held not in site.spec.admits:
            yield problem(
                f"the site does not admit {held} data",
                field=f"{where}.admits[{j}]",
                expected=f"some of {', '.join(site.spec.admits)}",
            )
    members = {host.name for host in site.spec.hosts_of(cluster)}
    hosts = [(i, host) for i, host in enumerate(site.spec.hosts) if host.name in members]
    yield from _quorum(cluster, [(i, host) for i, host in hosts if host.role == "control-plane"])
    if cluster.networks and cluster.version:  # made from this file: what sshd answers at is the node's address too
        nodes = ip_network(cluster.networks.nodes)
        for i, host in hosts:
            if not _within(host.address, nodes):
                yield problem(
                    f"{host.address} lies outside the nodes' range of {cluster.name}",
                    field=f"spec.hosts[{i}].address",
                    expected=f"an address in {nodes}",
                )
            elif _nobodys(host.address, nodes):
                yield problem(
                    f"{host.address} is the first or the last address of {nodes}: no host can have it",
                    field=f"spec.hosts[{i}].address",
                    expected="an address between them",
                )
    if any(host.role == "control-plane" for _, host in hosts):
        yield from _endpoint(site, cluster, where)


def _quorum(cluster: Cluster, planes: Sequence[tuple[int, Host]]) -> Iterator[Problem]:
    """Yield an even number of etcd members, which survives no more than one fewer does, and a rack that holds two.

    Source: etcd documentation, FAQ, "Why an odd number of cluster members?"
    """
    if planes and len(planes) % 2 == 0:
        yield problem(
            f"cluster {cluster.name} has {len(planes)} control planes, and as many etcd members: an even number "
            "survives no more failures than one fewer",
            field=f"spec.hosts[{planes[-1][0]}].role",
            expected=f"{len(planes) - 1} or {len(planes) + 1} control planes",
        )
    racks: dict[str, str] = {}
    for i, host in planes:
        if host.rack is not None and (other := racks.setdefault(host.rack, host.name)) != host.name:
            yield problem(
                f"{host.rack} holds control plane {other} of cluster {cluster.name} already: one rack would take both",
                field=f"spec.hosts[{i}].rack",
                expected="a rack without a control plane of this cluster",
            )


def _within(address: str, network: IPv4Network | IPv6Network) -> bool:
    found = ip_address(address)
    return found.version == network.version and found in network


def _nobodys(address: str, network: IPv4Network | IPv6Network) -> bool:
    """Whether it is the network's own address or its broadcast (RFC 1812, 4.2.3.1)."""
    if network.version == 6 or network.prefixlen > 30:
        return False
    return ip_address(address) in (network.network_address, network.broadcast_address)


def _endpoint(site: Site, cluster: Cluster, where: str) -> Iterator[Problem]:
    """Yield an endpoint that no host can come to hold. A name is not looked up."""
    host = cluster.endpoint_host
    try:
        address = str(ip_address(host or ""))
    except ValueError:
        return
    nodes = ip_network(cluster.networks.nodes) if cluster.networks else None
    if nodes is not None and not _within(address, nodes):
        yield problem(
            f"{address} lies outside the nodes' range: no host of {cluster.name} can hold it",
            field=f"{where}.endpoint",
            expected=f"an address in {nodes} that no host has",
        )
    elif nodes is not None and _nobodys(address, nodes):
        yield problem(
            f"{address} is the first or the last address of {nodes}: no host can hold it",
            field=f"{where}.endpoint",
            expected="an address between them that no host has",
        )
    for before in itertools.takewhile(lambda other: other.name != cluster.name, site.spec.clusters):
        if before.endpoint_host == host and site.spec.control_planes(before):
            yield problem(
                f"{address} is the endpoint of cluster {before.name} already: the control planes of both would take it",
                field=f"{where}.endpoint",
                expected="an address of its own" + (f" in {nodes}" if nodes else ""),
            )
    for other in site.spec.hosts:
        if other.address == address:
            yield problem(
                f"{address} is host {other.name}'s own: the endpoint would go with it",
                field=f"{where}.endpoint",
                expected="an address of its own" + (f" in {nodes}" if nodes else ""),
            )


# --- tables ---


def _tables(site: Site) -> Iterator[Problem]:
    name = site.metadata.name
    for found, info in type(site.spec.tables).model_fields.items():
        file = getattr(site.spec.tables, found)
        if file is not None and not file.startswith(f"{name}."):
            yield problem(
                f"{file} does not begin with the site's name",
                field=f"spec.tables.{info.alias}",
                expected=f"{name}.{file.partition('.')[2]}",
            )


# --- networks ---


@dataclass(frozen=True)
class _Range:
    site: str
    cluster: str
    part: str
    where: str
    network: IPv4Network | IPv6Network


def _ranges(name: str, site: Site) -> Iterator[_Range]:
    for i, cluster in enumerate(site.spec.clusters):
        if cluster.networks:
            for part in ("pods", "services", "nodes"):
                where = f"spec.clusters[{i}].networks.{part}"
                yield _Range(name, cluster.name, part, where, ip_network(getattr(cluster.networks, part)))


def network_problems(sites: Mapping[str, Site]) -> Iterator[tuple[str, Problem]]:
    """Yield (site, problem) for each range that overlaps one before it, within a cluster, a site or among sites.

    Clusters of one site may share the range of their nodes: it is one network there.
    """
    before: list[_Range] = []
    for name, site in sorted(sites.items()):
        for one in _ranges(name, site):
            for other in before:
                if one.network.version != other.network.version or not one.network.overlaps(other.network):
                    continue
                if one.part == other.part == "nodes" and one.site == other.site:
                    continue
                its = "" if one.site == other.site else f" of site {other.site}"
                yield (
                    name,
                    problem(
                        f"{one.part} {one.network} overlap the {other.part} of cluster {other.cluster}{its} "
                        f"({other.network})",
                        field=one.where,
                        expected="a range that nothing else uses",
                    ),
                )
            before.append(one)
