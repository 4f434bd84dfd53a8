"""The building as graphs: how power, cold and traffic come to the racks, and what draws there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from gcloud_pk.errors import InvalidInputError, problem
from gcloud_pk.model.facility import RATED, PowerComponent
from gcloud_pk.model.site import Host, Site

if TYPE_CHECKING:
    import networkx as nx

    from gcloud_pk.model.facility import Cooling, CoolingComponent, Network, NetworkComponent, Power, Rack

Area = Literal["power", "cooling", "network"]
AREAS: tuple[Area, ...] = ("power", "cooling", "network")

SOURCES: Mapping[Area, frozenset[str]] = {
    "power": frozenset({"generator"}),
    "cooling": frozenset({"chiller"}),
    "network": frozenset({"carrier"}),
}
"""Kinds that something comes from. Utilities are none: for Tier III and IV "the only reliable source of power for a
data center is the engine-generator plant", purchased power is "an economic alternative" (Uptime Institute, technical
paper Engine-Generator Ratings, which supplements the Tier Standard: Topology; read in a secondary copy)."""

CAPACITY = frozenset({"utility", "generator", "ups", "chiller", "pump", "air-handler"})
"""Kinds that are capacity components; all others are elements of a path."""

POINT_OF_USE = "point-of-use-switch"
"""Counts as part of the rack whose equipment it feeds: what has one supply may sit behind it (Tier Standard: Topology;
secondary)."""

Element = tuple[str, ...]
"""A component's name, or the two ends of a link."""


@dataclass(frozen=True, slots=True)
class Node:
    """A component. `watts`: its capacity; None: as much as is asked. `feeds`: power components that drive it.

    `draws`: watts of power that it takes; None where the file does not say. `rack`: the one that it falls with.
    """

    name: str
    kind: str
    watts: int | None = None
    room: str | None = None
    group: str | None = None
    feeds: frozenset[str] = frozenset()
    draws: int | None = None
    rack: str | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """What draws: a host, a rack that holds none yet, or a component of cooling or network that power drives.

    `watts`: None where the file does not say.
    """

    name: str
    kind: Literal["host", "rack", "component"]
    rack: str | None
    room: str | None
    watts: int | None


@dataclass(frozen=True, slots=True)
class Load:
    """Members that hang on the same components, in one room: they fare alike."""

    taps: frozenset[str]
    room: str | None
    members: tuple[Member, ...]

    @property
    def watts(self) -> int:
        """What they draw, as far as it is known."""
        return sum(member.watts or 0 for member in self.members)


@dataclass(frozen=True)
class Grid:
    """One area: components, links (`twoway`: both ways), loads; `unsaid`: members of which the file says nothing."""

    area: Area
    nodes: Mapping[str, Node]
    links: tuple[tuple[str, str], ...]
    loads: tuple[Load, ...]
    unsaid: tuple[Member, ...] = ()
    twoway: frozenset[tuple[str, str]] = frozenset()

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Names of the components that power, cold or traffic comes from."""
        return tuple(name for name, node in self.nodes.items() if node.kind in SOURCES[self.area])

    @cached_property
    def elements(self) -> tuple[Element, ...]:
        """Every component and every link."""
        return (*((name,) for name in self.nodes), *self.links)

    @cached_property
    def own(self) -> Mapping[Element, frozenset[int]]:
        """The loads that a point-of-use switch is part of, by the switch: they draw from it, all in one rack."""
        mine: dict[Element, frozenset[int]] = {}
        for name in (name for name, node in self.nodes.items() if node.kind == POINT_OF_USE):
            loads = [number for number, load in enumerate(self.loads) if name in load.taps]
            racks = {member.rack or member.name for load in loads for member in self.loads[load].members}
            mine[(name,)] = frozenset(loads) if len(racks) <= 1 else frozenset()
        return mine

    @property
    def members(self) -> Iterable[Member]:
        """All that draws and is known to hang on something."""
        return (member for load in self.loads for member in load.members)

    @cached_property
    def demand(self) -> tuple[int, int]:
        """How many members draw, and how many watts they draw together, as far as it is known."""
        return sum(len(load.members) for load in self.loads), sum(load.watts for load in self.loads)

    @cached_property
    def place(self) -> Mapping[str, int]:
        """The load that each host is part of, by the host's name."""
        return {
            member.name: number
            for number, load in enumerate(self.loads)
            for member in load.members
            if member.kind == "host"
        }

    @cached_property
    def unrated(self) -> tuple[str, ...]:
        """What capacity cannot be judged for: components that must say theirs, members whose draw is not known."""
        if self.area == "network":
            return ()
        kinds = RATED - {"utility"}
        silent = [name for name, node in self.nodes.items() if node.kind in kinds and node.watts is None]
        return (*silent, *(member.name for member in self.members if member.watts is None))

    @cached_property
    def siblings(self) -> Mapping[str, tuple[str, ...]]:
        """Components that share a load, by each one's name: of one group, or of one kind and feeding the same."""
        feeds: defaultdict[str, set[str]] = defaultdict(set)
        for source, target in self.links:
            feeds[source].add(target)
        groups: defaultdict[object, list[str]] = defaultdict(list)
        for name, node in self.nodes.items():
            groups[(node.kind, node.group or frozenset(feeds[name]))].append(name)
        return {name: tuple(names) for names in groups.values() for name in names}

    def digraph(self) -> nx.DiGraph[str]:
        """Return components and links, in the direction of power, cold or traffic."""
        import networkx as nx

        graph: nx.DiGraph[str] = nx.DiGraph()
        graph.add_nodes_from(self.nodes)
        graph.add_edges_from(self.links)
        graph.add_edges_from((target, source) for source, target in self.twoway)
        return graph


@dataclass(frozen=True)
class Facility:
    """A site's three areas, and what hangs on them."""

    site: Site
    power: Grid
    cooling: Grid
    network: Grid
    members: tuple[Member, ...] = field(default=())

    @classmethod
    def of(cls, site: Site) -> Facility:
        """Return the graphs of a site. Names that nothing bears lead nowhere (`registry check` names them).

        Raises InvalidInputError where power goes in a circle.
        """
        members = _members(site)
        spec = site.spec
        hosts = {host.name: host for host in spec.hosts}

        def feeds(member: Member) -> Sequence[str]:
            if member.kind == "host":
                return spec.supplies_of(hosts[member.name])
            rack = spec.rack(member.rack)
            return rack.feeds if rack else ()

        def of_rack(what: Literal["cooling", "switches"]) -> Mapping[str | None, Sequence[str]]:
            return {rack.name: rack.cooling if what == "cooling" else rack.switches for rack in spec.racks}

        cooling, switches = of_rack("cooling"), of_rack("switches")
        power = _grid(site, "power", spec.power, _sorted(members, feeds))
        cold = _grid(site, "cooling", spec.cooling, _sorted(members, lambda member: cooling.get(member.rack, ())))
        net = _grid(site, "network", spec.network, _sorted(members, lambda member: switches.get(member.rack, ())))
        _refuse_circles(site, power)
        return cls(site, power, cold, net, members)

    @property
    def grids(self) -> tuple[Grid, ...]:
        """Power, cooling, network."""
        return self.power, self.cooling, self.network


def _members(site: Site) -> tuple[Member, ...]:
    """Return what draws, in the file's order: hosts, then racks without any.

    A host's kw is its draw. Hosts that say none share what is left of their rack's; an empty rack counts as full: the
    design is judged for what it is meant to carry.
    """
    housed: defaultdict[str | None, list[Host]] = defaultdict(list)
    for host in site.spec.hosts:
        housed[host.rack].append(host)
    draws: dict[str, int | None] = {}
    for name, hosts in housed.items():
        draws |= _draws(hosts, site.spec.rack(name))
    members = [_member(site, host.name, "host", host.rack, draws[host.name]) for host in site.spec.hosts]
    empty = (rack for rack in site.spec.racks if rack.name not in housed)
    return (*members, *(_member(site, rack.name, "rack", rack.name, rack.watts) for rack in empty))


def _member(site: Site, name: str, kind: Literal["host", "rack"], rack: str | None, watts: int | None) -> Member:
    stands = site.spec.rack(rack)
    return Member(name, kind, rack, stands.room if stands else None, watts)


def _draws(hosts: Sequence[Host], rack: Rack | None) -> dict[str, int | None]:
    silent = [host for host in hosts if host.watts is None]
    draws = {host.name: host.watts for host in hosts}
    left = (rack.watts or 0) - sum(host.watts or 0 for host in hosts) if rack else 0
    if left > 0 and silent:
        each, over = divmod(left, len(silent))
        draws |= {host.name: each + (number < over) for number, host in enumerate(silent)}
    return draws


_Taps = Callable[[Member], Sequence[str]]
_Hung = tuple[dict[tuple[frozenset[str], str | None], list[Member]], tuple[Member, ...]]


def _sorted(members: Iterable[Member], taps: _Taps) -> _Hung:
    """Return members by what they hang on and their room, and those that hang on nothing that is known."""
    hung: defaultdict[tuple[frozenset[str], str | None], list[Member]] = defaultdict(list)
    unsaid: list[Member] = []
    for member in members:
        names = taps(member)
        if names:
            hung[(frozenset(names), member.room)].append(member)
        else:
            unsaid.append(member)
    return hung, tuple(unsaid)


def _grid(site: Site, area: Area, said: Power | Cooling | Network, hung: _Hung) -> Grid:
    only = _listed_by(site, area)
    nodes = {one.name: _node(site, area, one, only.get(one.name)) for one in said.components}
    ends = dict.fromkeys((link.source, link.target) for link in said.links)
    known = {link for link in ends if link[0] in nodes and link[1] in nodes and link[0] != link[1]}
    # One link written in both directions is one, and so is one between two switches.
    twice = {link for link in known if link[::-1] in known} if area != "power" else set()
    alike = {link for link in known if nodes[link[0]].kind == nodes[link[1]].kind} if area == "network" else set()
    order = list(dict.fromkeys(link for link in ends if link in known))
    kept = tuple(link for number, link in enumerate(order) if link not in twice or link[::-1] not in order[:number])
    if not nodes:  # nothing is said of the area: nothing hangs on anything
        return Grid(area, nodes, (), (), (*(member for members in hung[0].values() for member in members), *hung[1]))
    loads = tuple(
        Load(frozenset(name for name in taps if name in nodes), room, tuple(members))
        for (taps, room), members in hung[0].items()
    )
    return Grid(area, nodes, kept, loads, hung[1], frozenset((twice | alike) & set(kept)))


def _node(
    site: Site, area: Area, one: PowerComponent | CoolingComponent | NetworkComponent, listed: str | None
) -> Node:
    rack = site.spec.rack(one.rack or listed)
    if rack and one.rack is None and one.room and rack.room and one.room != rack.room:
        rack = None  # another room than that of the rack that lists it
    return Node(
        one.name,
        one.kind,
        None if area == "network" else one.watts,
        one.room or (rack.room if rack else None),
        one.group,
        frozenset(() if isinstance(one, PowerComponent) else one.feeds),
        None if isinstance(one, PowerComponent) else one.drawn,
        rack.name if rack else one.rack,
    )


def _listed_by(site: Site, area: Area) -> dict[str, str]:
    """Return component → the rack that lists it, itself or by a host in it, for those that one rack alone does."""
    field = {"power": "feeds", "cooling": "cooling", "network": "switches"}[area]
    racks: defaultdict[str, set[str]] = defaultdict(set)
    for rack in site.spec.racks:
        for name in getattr(rack, field):
            racks[name].add(rack.name)
    for host in site.spec.hosts if area == "power" else ():
        for name in host.power_supplies or ():
            racks[name].add(host.rack or "")
    return {name: next(iter(those)) for name, those in racks.items() if len(those) == 1}


def _refuse_circles(site: Site, power: Grid) -> None:
    import networkx as nx

    graph = power.digraph()
    if not nx.is_directed_acyclic_graph(graph):
        circle = [source for source, _ in nx.find_cycle(graph)]
        detail = problem(
            f"power goes in a circle: {' → '.join([*circle, circle[0]])}",
            file=f"sites/{site.metadata.name}.yaml",
            field="spec.power.links",
            expected="links from the sources to the loads",
        )
        raise InvalidInputError(f"site {site.metadata.name!r} cannot be judged", details=[detail])
