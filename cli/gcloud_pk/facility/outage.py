"""What is lost where one element, or several, are out: loads without a way, and loads that capacity falls short of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from gcloud_pk.facility.flow import SOURCE, Flow
from gcloud_pk.facility.graph import Element, Grid, Member


@dataclass(frozen=True, slots=True)
class Loss:
    """Loads by their number: `severed` have no way left, `short` share what is missing (`watts`)."""

    severed: frozenset[int] = frozenset()
    short: frozenset[int] = frozenset()
    watts: int = 0

    @property
    def loads(self) -> frozenset[int]:
        """All that is not carried in full."""
        return self.severed | self.short


class Outages:
    """Judges one area element by element.

    Ways are judged by dominators (an element severs the loads that it dominates seen from all sources; Lengauer and
    Tarjan 1979), capacity by a maximum flow: what remains must reach the loads, a sum over components would not do.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self._tried: dict[Element, Loss] = {}

    @cached_property
    def base(self) -> Loss:
        """What is not carried with everything in place."""
        return self._loss(self._unreached, [])

    def without(self, element: Element) -> Loss:
        """Return what is not carried with one element out, all that hangs on it included."""
        if element not in self._tried:
            severed = self._unreached | self.severed_by.get(element, frozenset())
            self._tried[element] = self._loss(severed, [element])
        return self._tried[element]

    def others_without(self, element: Element) -> Loss:
        """Return the same, but for loads that have nothing but this point-of-use switch: they are out with it."""
        severed = self.severed_by.get(element, frozenset())
        own = self.grid.own.get(element, frozenset()) & severed
        if not own:
            return self.without(element)
        return self._loss(self._unreached | (severed - own), [element], {load: self._watts[load] for load in own})

    def without_all(self, elements: Sequence[Element], gone: Mapping[int, Sequence[Member]] | None = None) -> Loss:
        """Return what is not carried with several out at once.

        `gone`: load → those of its members that fall with them, and draw nothing. A load that is gone as a whole is
        not in the answer.
        """
        gone = gone or {}
        rest = {load for load, members in gone.items() if len(members) == len(self.grid.loads[load].members)}
        less = {load: sum(member.watts or 0 for member in members) for load, members in gone.items()}
        return self._loss(self._unreached_without(elements) - rest, elements, less)

    @cached_property
    def by_rack(self) -> Mapping[str, Mapping[int, Sequence[Member]]]:
        """Rack → load → those of its members that stand there."""
        found: defaultdict[str, defaultdict[int, list[Member]]] = defaultdict(lambda: defaultdict(list))
        for number, load in enumerate(self.grid.loads):
            for member in load.members:
                if member.rack:
                    found[member.rack][number].append(member)
        return found

    @cached_property
    def _watts(self) -> tuple[int, ...]:
        return tuple(load.watts for load in self.grid.loads)

    @cached_property
    def severed_by(self) -> Mapping[Element, frozenset[int]]:
        """The loads that have a way, and none without the element."""
        import networkx as nx

        graph: nx.DiGraph[object] = nx.DiGraph()
        for name in self.grid.sources:
            graph.add_edge(SOURCE, (name,))
        for source, target in self.grid.links:
            link = (source, target)
            graph.add_edge((source,), link)
            graph.add_edge(link, (target,))
            if link in self.grid.twoway:
                graph.add_edge((target,), link)
                graph.add_edge(link, (source,))
        for number, load in enumerate(self.grid.loads):
            graph.add_edges_from(((name,), number + 1) for name in load.taps)
        if SOURCE not in graph:
            return {}
        above = nx.immediate_dominators(graph, SOURCE)
        severed: defaultdict[Element, set[int]] = defaultdict(set)
        for number in range(len(self.grid.loads)):
            at = above.get(number + 1)
            while isinstance(at, tuple):
                severed[at].add(number)
                at = above.get(at)
        return {element: frozenset(loads) for element, loads in severed.items()}

    @cached_property
    def hanging(self) -> Mapping[int, tuple[Element, ...]]:
        """The elements that each load has no way around, by its number; a point-of-use switch of its own is none."""
        mine: defaultdict[int, list[Element]] = defaultdict(list)
        for element in self.grid.elements:
            for load in self.severed_by.get(element, frozenset()) - self.grid.own.get(element, frozenset()):
                mine[load].append(element)
        return {load: tuple(elements) for load, elements in mine.items()}

    def members(self, loads: Iterable[int]) -> list[Member]:
        """Return the members of loads, in the file's order of loads."""
        return [member for load in sorted(loads) for member in self.grid.loads[load].members]

    @cached_property
    def _unreached(self) -> frozenset[int]:
        return self._unreached_without(())

    def _unreached_without(self, elements: Sequence[Element]) -> frozenset[int]:
        gone = set(elements)
        rest = [name for name in self.grid.sources if (name,) not in gone]
        reached = set(rest)
        while rest:
            at = rest.pop()
            for after, link in self._next.get(at, ()):
                if after not in reached and link not in gone and (after,) not in gone:
                    reached.add(after)
                    rest.append(after)
        return frozenset(number for number, load in enumerate(self.grid.loads) if load.taps.isdisjoint(reached))

    @cached_property
    def _next(self) -> Mapping[str, list[tuple[str, Element]]]:
        after: defaultdict[str, list[tuple[str, Element]]] = defaultdict(list)
        for link in self.grid.links:
            after[link[0]].append((link[1], link))
            if link in self.grid.twoway:
                after[link[1]].append((link[0], link))
        return after

    def _loss(self, severed: frozenset[int], out: Sequence[Element], less: Mapping[int, int] | None = None) -> Loss:
        if self.grid.area == "network":
            return Loss(severed)
        flow, arcs = self._flow
        shortage = flow.shortage([arc for element in out for arc in arcs[element]], less or {})
        short = shortage.sharing - severed
        return Loss(severed, short, sum(watts for load, watts in shortage.missing.items() if load in short))

    @cached_property
    def _flow(self) -> tuple[Flow, Mapping[Element, tuple[int, ...]]]:
        flow = Flow()
        endless = sum(load.watts for load in self.grid.loads)
        arcs: dict[Element, tuple[int, ...]] = {}
        ends: dict[str, tuple[int, int]] = {}
        for name, node in self.grid.nodes.items():
            ends[name] = flow.node(), flow.node()
            arcs[(name,)] = (flow.arc(*ends[name], endless if node.watts is None else node.watts),)
        for name in self.grid.sources:
            flow.arc(SOURCE, ends[name][0], endless)
        for link in self.grid.links:
            ways = [link, link[::-1]] if link in self.grid.twoway else [link]
            arcs[link] = tuple(flow.arc(ends[way[0]][1], ends[way[1]][0], endless) for way in ways)
        for load in self.grid.loads:
            drawn = flow.node()
            for name in sorted(load.taps):
                flow.arc(ends[name][1], drawn, endless)
            flow.load(drawn, load.watts)
        return flow, arcs
