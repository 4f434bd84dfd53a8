"""Whether clusters outlive any one rack or element: quorum of etcd, the endpoint of the API, workers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_address, ip_network

from gcloud_pk.facility.graph import AREAS, SOURCES, Area, Element, Facility, Grid
from gcloud_pk.facility.plant import Plant
from gcloud_pk.facility.results import Result
from gcloud_pk.facility.words import counts, path, some, spoken
from gcloud_pk.model.finding import Verdict
from gcloud_pk.model.quantity import total
from gcloud_pk.model.site import Cluster, Host, Site


class Fabric:
    """Which hosts reach each other inside the site: over routers and switches, not by way of a carrier or of a host."""

    def __init__(self, grid: Grid) -> None:
        self._routers = frozenset((name,) for name, node in grid.nodes.items() if node.kind == "router")
        self._taps = {host: grid.loads[number].taps for host, number in grid.place.items()}
        self._leaves = frozenset((name,) for name, node in grid.nodes.items() if node.kind == "rack-switch")
        self._beside: defaultdict[str, set[str]] = defaultdict(set)
        inner = {name for name, node in grid.nodes.items() if node.kind not in SOURCES["network"]}
        for source, target in grid.links:
            if source in inner and target in inner:
                self._beside[source].add(target)
                self._beside[target].add(source)

    def largest(self, hosts: Collection[str], out: Collection[Element] = ()) -> frozenset[str]:
        """Return the most of some hosts that one of them reaches, itself included; one without a switch is alone."""
        return max(self._groups(hosts, out).values(), key=len, default=frozenset())

    def _groups(self, hosts: Collection[str], out: Collection[Element]) -> dict[str, frozenset[str]]:
        """Return each host → those that it reaches. A host with two switches is no way between them."""
        parts = self._parts({tap for host in hosts for tap in self._taps.get(host, ())}, out)
        seats = {
            host: {parts[tap] for tap in self._taps.get(host, ()) if tap in parts} or {host} for host in sorted(hosts)
        }
        return {
            host: frozenset(other for other, theirs in seats.items() if not mine.isdisjoint(theirs))
            for host, mine in seats.items()
        }

    def reached(self, hosts: Collection[str], others: Collection[str], out: Collection[Element] = ()) -> frozenset[str]:
        """Return those of others that some of the hosts reach."""
        parts = self._parts({tap for host in (*hosts, *others) for tap in self._taps.get(host, ())}, out)
        mine = {parts[tap] for host in hosts for tap in self._taps.get(host, ()) if tap in parts}
        return frozenset(
            other for other in others if not mine.isdisjoint(parts.get(tap, "") for tap in self._taps.get(other, ()))
        )

    def beside(self, hosts: Collection[str], out: Collection[Element] = ()) -> frozenset[str]:
        """Return the fewest of some hosts that one of them shares a segment with: by switches alone, and no router."""
        return min(self._groups(hosts, [*out, *self._routers]).values(), key=len, default=frozenset())

    def spare(self, hosts: Collection[str]) -> frozenset[Element]:
        """Return rack switches without which, all of them at once, the hosts reach each other as before."""
        taps = {tap for host in hosts for tap in self._taps.get(host, ())}
        found = self._leaves - {(tap,) for tap in taps}
        every = (frozenset[Element](), self._routers)
        same = all(self._groups(hosts, found | out) == self._groups(hosts, out) for out in every)
        return found if same else frozenset()

    def matters(self, hosts: Iterable[str]) -> frozenset[Element]:
        """Return the elements without which the hosts might reach each other no more: a few of all."""
        import networkx as nx

        graph: nx.Graph[str] = nx.Graph()
        graph.add_edges_from((one, other) for one, others in self._beside.items() for other in others)
        found: set[Element] = {(tap,) for host in hosts for tap in self._taps.get(host, ())}
        for _ in range(2):
            found |= {(name,) for name in nx.articulation_points(graph)}
            found |= {ends for link in nx.bridges(graph) for ends in (tuple(link), tuple(reversed(link)))}
            graph.remove_nodes_from(name for (name,) in self._routers)  # and then each segment by itself
        return frozenset(found)

    def _parts(self, taps: Collection[str], out: Collection[Element]) -> dict[str, str]:
        """Return the connected part that each switch belongs to, named by one of its switches."""
        part: dict[str, str] = {}
        gone = set(out)
        for tap in sorted(taps):
            rest = [] if tap in part or (tap,) in gone else [tap]
            while rest:
                at = rest.pop()
                if at in part:
                    continue
                part[at] = tap
                rest += [
                    other
                    for other in self._beside.get(at, ())
                    if other not in part and not {(other,), (at, other), (other, at)} & gone
                ]
        return part


@dataclass(frozen=True, slots=True)
class _Blow:
    """One thing out: where its finding belongs, how it is spoken of, hosts that fall or that no carrier reaches."""

    subject: str
    said: str
    area: Area | None
    element: Element
    down: frozenset[str] = frozenset()
    unreached: frozenset[str] = frozenset()
    switches: tuple[Element, ...] = ()
    """Elements of the network that are out."""


@dataclass
class _Standing:
    """One cluster's control planes, and what its site's plant does to them."""

    site: Site
    cluster: Cluster
    plant: Plant
    fabric: Fabric
    hosts: tuple[Host, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.hosts = self.site.spec.control_planes(self.cluster)

    @property
    def facility(self) -> Facility:
        return self.plant.facility

    @property
    def name(self) -> str:
        return self.cluster.name

    @cached_property
    def members(self) -> frozenset[str]:
        return frozenset(host.name for host in self.hosts)

    @property
    def quorum(self) -> int:
        """More than half of the members (etcd, FAQ: Why an odd number of cluster members)."""
        return len(self.members) // 2 + 1

    @cached_property
    def unknown(self) -> str | None:
        """What of its control planes the site file does not say, or None."""
        unracked = [host.name for host in self.hosts if self.site.spec.rack(host.rack) is None]
        if unracked:
            return f"the rack of {some(unracked)} is not said"
        for grid in self.facility.grids:
            silent = [host.name for host in self.hosts if host.name not in grid.place]
            if silent or not grid.nodes:
                return f"{grid.area} of {some(silent or sorted(self.members))} is not said"
            if grid.unrated:
                return f"{grid.area}: the kw of {some(grid.unrated)} is not known"
        if self.plant.unmeasured:
            return f"what {some(self.plant.unmeasured)} draw is not said"
        return None

    def fallen(self, area: Area, loads: Collection[int]) -> frozenset[str]:
        """Return the control planes among some loads."""
        place = self.facility.grids[AREAS.index(area)].place
        return frozenset(name for name in self.members if place.get(name) in loads)

    @cached_property
    def weak(self) -> frozenset[str]:
        """Control planes without power or cooling though everything is in place."""
        return self.fallen("power", self.plant.base("power").loads) | self.fallen(
            "cooling", self.plant.base("cooling").loads
        )

    @cached_property
    def cut_off(self) -> frozenset[str]:
        """Control planes that no carrier reaches though everything is in place."""
        return self.fallen("network", self.plant.base("network").loads)

    def blows(self) -> Iterator[_Blow]:
        """Yield each rack, and each element of the plant, that does something to the control planes."""
        root = f"site/{self.site.metadata.name}"
        parting = self.fabric.matters(self.members)
        spare = self.fabric.spare(self.members)
        named = (rack.name for rack in self.site.spec.racks)
        for rack in dict.fromkeys((*(host.rack for host in self.hosts if host.rack), *named)):
            fall = self.plant.without_rack(rack)
            lost = {area: {member.name for member in members} & self.members for area, members in fall.lost.items()}
            inside = frozenset(host.name for host in self.hosts if host.rack == rack)
            switches = tuple(dict.fromkeys((*fall.elements["network"], *self.dark)))
            if inside or any(lost.values()) or not spare.issuperset(switches):
                down = inside | lost["power"] | lost["cooling"]
                at = f"{root}/rack/{rack}"
                yield _Blow(at, rack, None, (rack,), down, frozenset(lost["network"]), switches)
        for area in AREAS:
            for element in self.plant.areas[area].grid.elements:
                losses = {one: self.fallen(one, loss.loads) for one, loss in self.plant.after(area, element).items()}
                switches = (element, *self.dark) if area == "network" else self._switches(area, element)
                # Several switches that stop at once may part what none of them parts alone.
                if any(losses.values()) or len(switches) > 1 or not parting.isdisjoint(switches):
                    down = losses.get("power", frozenset()) | losses.get("cooling", frozenset())
                    unreached = losses.get("network", frozenset())
                    at = f"{root}/{area}/{path(element)}"
                    yield _Blow(at, spoken(element), area, element, down, unreached, switches)

    @property
    def dark(self) -> tuple[Element, ...]:
        """Elements of the network that have no power though everything is in place."""
        return self.plant.unpowered["network"]

    def _switches(self, area: Area, element: Element) -> tuple[Element, ...]:
        return self.plant.stopped(element)["network"] if area == "power" else self.dark

    def together(self, blow: _Blow | None) -> frozenset[str]:
        """Return the control planes that are up and reach each other; those of unknown switches count (`unknown`)."""
        up = self.members - self.weak - (blow.down if blow else frozenset())
        known = up & self.facility.network.place.keys()
        return self.fabric.largest(known, blow.switches if blow else self.dark) | (up - known)

    def answering(self, blow: _Blow | None) -> frozenset[str]:
        """Return the control planes that are up, that a carrier reaches, and of the quorum, where there is one."""
        gone = self.weak | self.cut_off
        up = self.members - gone - (blow.down | blow.unreached if blow else frozenset())
        group = self.together(blow)
        return up & group if len(group) >= self.quorum else up

    def apart(self, blow: _Blow | None) -> str | None:
        """Return that routers alone join those that answer, so that the endpoint's address cannot move, or None."""
        if self.endpoint_unknown() or len(self.together(blow)) < self.quorum:
            return None
        known = self.answering(blow) & self.facility.network.place.keys()
        beside = self.fabric.beside(known, blow.switches if blow else self.dark)
        if beside == known:
            return None
        return (
            f"routers alone join {some(sorted(beside))} to {some(sorted(known - beside))}: "
            f"{self.cluster.endpoint_host} cannot move between them, and each part would hold it"
        )

    def serving(self, workers: Collection[str]) -> frozenset[str]:
        """Return the workers that have their ways, and that control planes reach inside the site: nothing is out.

        Those whose switches are not said count. What capacity is short of is told by area.
        """
        known = frozenset(workers) & self.facility.network.place.keys()
        reached = self.fabric.reached(self.together(None), known, self.dark)
        return (reached | (frozenset(workers) - known)) - self.plant.severed_already

    def endpoint_unknown(self) -> str | None:
        """Return why it cannot be said who holds the endpoint's address, or None."""
        place, networks = self.cluster.endpoint_host, self.cluster.networks
        if place is None:
            return "the cluster names no endpoint"
        try:
            address = ip_address(place)
        except ValueError:
            return f"the endpoint {place} is a name: the site file does not say what carries it"
        if networks is None:
            return "the cluster names no network of its nodes"
        if address not in ip_network(networks.nodes):
            return f"the endpoint {place} is outside of the nodes' network: the site file does not say what carries it"
        return None


def results(plant: Plant) -> list[Result]:
    """Return what is found out about each cluster of the site."""
    site = plant.facility.site
    fabric = Fabric(plant.facility.network)
    found: list[Result] = []
    for cluster in site.spec.clusters:
        found += _cluster(_Standing(site, cluster, plant, fabric))
    return found


def _cluster(one: _Standing) -> Iterator[Result]:
    subject = f"site/{one.site.metadata.name}/cluster/{one.name}"
    if not one.hosts:
        why = "the site file names no control plane of it"
        for check in ("DC-031", "DC-032", "DC-033", "DC-034"):
            yield Result(check, subject, "nothing is known of its hosts", Verdict.NOT_CHECKED, reason=why)
        return
    yield _spread(one, subject)
    blows = list(one.blows())
    yield from _quorum(one, subject, blows)
    yield from _endpoint(one, subject, blows)
    yield _workers(one, subject)


def _spread(one: _Standing, subject: str) -> Result:
    racks = Counter(host.rack for host in one.hosts)
    observed = f"{counts(len(one.hosts), 'control plane')} over {counts(len(racks), 'rack')}"
    if None in racks:
        why = f"the rack of {some([host.name for host in one.hosts if host.rack is None])} is not said"
        return Result("DC-031", subject, observed, Verdict.NOT_CHECKED, reason=why)
    fine = len(one.hosts) % 2 == 1 and len(one.hosts) >= 3 and len(racks) >= 3
    return Result("DC-031", subject, observed, Verdict.PASS if fine else Verdict.FAIL)


def _quorum(one: _Standing, subject: str, blows: Sequence[_Blow]) -> Iterator[Result]:
    size = len(one.members)
    standing = len(one.together(None))
    if standing < one.quorum:
        observed = f"{standing} of {size} up and together with everything in place; {one.quorum} are needed"
        yield Result("DC-032", subject, observed, Verdict.FAIL, count=size, loads=tuple(sorted(one.members)))
        return
    broken = False
    least = standing
    for blow in blows:
        left = one.together(blow)
        least = min(least, len(left))
        if len(left) < one.quorum:
            broken = True
            observed = (
                f"{one.name}: with {blow.said} out, {len(left)} of {size} members are up and together; "
                f"{one.quorum} are needed"
            )
            yield _broken("DC-032", blow, observed, one.members - left)
    if not broken:
        observed = f"at least {least} of {size} members are up and together, whatever is out; {one.quorum} are needed"
        yield _unbroken("DC-032", subject, observed, one.unknown)


def _endpoint(one: _Standing, subject: str, blows: Sequence[_Blow]) -> Iterator[Result]:
    size = len(one.members)
    if not one.answering(None):
        observed = "no control plane is up and reached by a carrier, with everything in place"
        why = one.unknown
        verdict = Verdict.NOT_CHECKED if why and not one.weak and not one.cut_off else Verdict.FAIL
        yield Result("DC-033", subject, observed, verdict, reason=why, count=size, loads=tuple(sorted(one.members)))
        return
    if apart := one.apart(None):
        yield Result("DC-033", subject, apart, Verdict.FAIL, count=size, loads=tuple(sorted(one.members)))
        return
    broken = False
    least = size
    for blow in blows:
        left = one.answering(blow)
        least = min(least, len(left))
        if not left:
            broken = True
            observed = f"{one.name}: with {blow.said} out, no control plane is up, reached by a carrier and of a quorum"
            yield _broken("DC-033", blow, observed, one.members)
        elif apart := one.apart(blow):
            broken = True
            yield _broken("DC-033", blow, f"{one.name}: with {blow.said} out, {apart}", left)
    if not broken:
        observed = f"at least {least} of {size} control planes are up and reached, whatever is out"
        yield _unbroken("DC-033", subject, observed, one.unknown or one.endpoint_unknown())


def _broken(check: str, blow: _Blow, observed: str, lost: Collection[str]) -> Result:
    hosts = tuple(sorted(lost))
    return Result(
        check,
        blow.subject,
        observed,
        Verdict.FAIL,
        blow.element,
        blow.area,
        count=len(hosts),
        loads=hosts,
        fresh=len(hosts),
    )


def _unbroken(check: str, subject: str, observed: str, unknown: str | None) -> Result:
    return Result(check, subject, observed, Verdict.NOT_CHECKED if unknown else Verdict.PASS, reason=unknown)


def _workers(one: _Standing, subject: str) -> Result:
    """Judge whether hosts that run tenants' pods remain: storage and gateways have other work."""
    workers = one.site.spec.workers(one.cluster)
    others = [host for host in one.site.spec.hosts_of(one.cluster) if host.role not in {"control-plane", "worker"}]
    if not workers and not others:
        why = "it has control planes only"
        return Result("DC-034", subject, "no workers", Verdict.NOT_APPLICABLE, reason=why)
    homeless = [host.name for host in workers if host.rack is None]
    if homeless:
        why = f"the rack of {some(homeless)} is not said"
        return Result("DC-034", subject, counts(len(workers), "worker"), Verdict.NOT_CHECKED, reason=why)
    names = [host.name for host in workers]
    joined = one.serving(names)
    if not joined:
        observed = "no worker has power, cooling and a way to the control planes, with everything in place"
        observed = observed if workers else f"no worker: {counts(len(others), 'host')} of storage or gateways alone"
        return Result("DC-034", subject, observed, Verdict.FAIL, count=len(names), loads=tuple(names), fresh=len(names))
    racks: dict[str | None, set[str]] = {host.rack: set() for host in workers}
    racks |= {rack.name: set() for rack in one.site.spec.racks}
    for host in workers:
        racks[host.rack].add(host.name)
    left = {
        rack: joined
        - inside
        - {member.name for those in one.plant.without_rack(rack).lost.values() for member in those}
        for rack, inside in racks.items()
    }
    worst = min(left, key=lambda rack: len(left[rack]))
    observed = f"{len(left[worst])} of {counts(len(workers), 'worker')} remain"
    if machines := _machines(one.site, [host for host in workers if host.name in left[worst]]):
        observed += f" ({machines})"
    observed += f" with {worst} out, the rack that takes most of them"
    if not left[worst]:
        return Result("DC-034", subject, observed, Verdict.FAIL, count=len(names), loads=tuple(names), fresh=len(names))
    return Result("DC-034", subject, observed, Verdict.PASS)


def _machines(site: Site, hosts: Sequence[Host]) -> str | None:
    """Return what hosts have to give, where the file says it of all of them."""
    kinds = [site.spec.machine(host.machine) for host in hosts]
    known = [kind for kind in kinds if kind is not None]
    if not known or len(known) < len(kinds):
        return None
    return f"{total([kind.cpu for kind in known])} cores, {total([kind.memory for kind in known])} of memory"
