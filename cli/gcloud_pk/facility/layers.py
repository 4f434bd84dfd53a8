"""Layers: where the elements of a path stand between sources and racks, and how the lines between them run. Pure.

Depth counts away from the racks, so that the same arrangement is drawn above them (power) and below (network). Lines
run in the gaps between layers only: down from an element, along a track of their own, and on to the next. No line
crosses a box, and no two share a track unless they come from the same element.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gcloud_pk.facility.blocks import natural
from gcloud_pk.facility.sides import Side

BOX_HEIGHT = 50.0
_SPACE = 14.0
_LANE = 10.0
_TRACK = 8.0
_MARGIN = 12.0
_APART = 6.0
_SHIFTS = (0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6, 7, -7, 8, -8)

Point = tuple[float, float]


@dataclass(frozen=True)
class Item:
    """One box of a layer."""

    key: str
    kind: str
    width: float
    side: Side


@dataclass(frozen=True)
class Sink:
    """One box where paths end. `ends`: keys of the items that lead to it, in the order of its ports."""

    key: str
    left: float
    width: float
    ends: tuple[str, ...]

    def port(self, key: str) -> float:
        """Return where the line of an item arrives."""
        return self.left + self.width * (self.ends.index(key) + 1) / (len(self.ends) + 1)


@dataclass(frozen=True)
class Wire:
    """A line from an item to the next, in (x, depth)."""

    source: str
    target: str
    side: Side
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Layers:
    """An arrangement: the centre and depth (of the edge towards the racks) of each item."""

    centres: Mapping[str, float]
    depths: Mapping[str, float]
    ranks: Mapping[str, int]
    wires: tuple[Wire, ...]
    depth: float
    widths: Mapping[str, float]

    @property
    def left(self) -> float:
        """The least x of a box."""
        return min((x - self.widths[key] / 2 for key, x in self.centres.items()), default=0.0)

    @property
    def right(self) -> float:
        """The greatest x of a box."""
        return max((x + self.widths[key] / 2 for key, x in self.centres.items()), default=0.0)


@dataclass(frozen=True)
class _Net:
    """What runs through one gap from one element: from `upper` to each of `lower`."""

    upper: str
    lower: tuple[str, ...]
    side: Side
    source: str


@dataclass
class _Plan:
    """Rows of keys by rank; lanes for lines that pass a layer are keys too."""

    rows: dict[int, list[str]]
    nets: dict[int, list[_Net]]
    lanes: set[str] = field(default_factory=set)


def arrange(items: Sequence[Item], links: Iterable[tuple[str, str]], sinks: Sequence[Sink]) -> Layers:
    """Return the arrangement of the items of one area. `links`: (from, to) between keys of items."""
    known = {item.key: item for item in items}
    pairs = [pair for pair in dict.fromkeys(links) if pair[0] in known and pair[1] in known and pair[0] != pair[1]]
    ranks = _ranks(known, pairs, {key for sink in sinks for key in sink.ends})
    plan = _plan(known, pairs, sinks, ranks)
    centres = _centres(plan, known, sinks)
    return _routed(plan, known, sinks, ranks, centres)


def _ranks(known: Mapping[str, Item], pairs: Sequence[tuple[str, str]], ending: set[str]) -> dict[str, int]:
    """Return how many layers each item stands away from the racks: one layer for each kind where that can be."""
    kinds = {(known[source].kind, known[target].kind) for source, target in pairs}
    by_kind = _longest({item.kind for item in known.values()}, kinds)
    if by_kind is not None:
        return {key: by_kind[item.kind] for key, item in known.items()}
    by_item = _longest(set(known), set(_without_cycles(known, pairs, ending)))
    assert by_item is not None  # noqa: S101 - its cycles were taken out
    return by_item


def _longest(names: set[str], pairs: set[tuple[str, str]]) -> dict[str, int] | None:
    """Return the longest way to an end for each name, 1 at the end; None where there is a cycle."""
    after: dict[str, list[str]] = {name: [] for name in names}
    waits = dict.fromkeys(names, 0)
    for source, target in pairs:
        after[target].append(source)
        waits[source] += 1
    found = {name: 1 for name in sorted(names) if not waits[name]}
    ready = list(found)
    while ready:
        name = ready.pop()
        for source in after[name]:
            found[source] = max(found.get(source, 1), found[name] + 1)
            waits[source] -= 1
            if not waits[source]:
                ready.append(source)
    return found if not any(waits.values()) else None


def _without_cycles(
    known: Mapping[str, Item], pairs: Sequence[tuple[str, str]], ending: set[str]
) -> list[tuple[str, str]]:
    """Return the links without those that lead back, found from the racks outwards."""
    sources: dict[str, list[str]] = {}
    for source, target in pairs:
        sources.setdefault(target, []).append(source)
    order = dict.fromkeys(key for key in known if key in ending)
    waiting = list(order)
    for name in waiting:
        for source in sources.get(name, ()):
            if source not in order:
                order[source] = None
                waiting.append(source)
    places = {name: place for place, name in enumerate([*order, *(key for key in known if key not in order)])}
    return [(source, target) for source, target in pairs if places[source] > places[target]]


def _side(source: Item, target: Item | None) -> Side:
    """Return the side of a line: that of the narrower of its ends."""
    if target is None or source.side in ("A", "B"):
        return source.side
    return target.side


def _plan(
    known: Mapping[str, Item], pairs: Sequence[tuple[str, str]], sinks: Sequence[Sink], ranks: Mapping[str, int]
) -> _Plan:
    rows: dict[int, list[str]] = {}
    for key in known:
        rows.setdefault(ranks[key], []).append(key)
    targets: dict[tuple[str, Side], list[tuple[int, str]]] = {}
    for source, target in pairs:
        if ranks[source] > ranks[target]:
            side = _side(known[source], known[target])
            targets.setdefault((source, side), []).append((ranks[target], target))
    for sink in sinks:
        for key in sink.ends:
            if key in known:
                targets.setdefault((key, _side(known[key], None)), []).append((0, sink.key))
    plan = _Plan(rows, {})
    for (source, side), found in targets.items():
        upper = source
        last = min(rank for rank, _ in found)
        for rank in range(ranks[source] - 1, last - 1, -1):
            lower = [name for there, name in found if there == rank]
            if rank > last:
                lane = f"{source}\n{side}\n{rank}"
                plan.lanes.add(lane)
                rows.setdefault(rank, []).append(lane)
                lower.append(lane)
            plan.nets.setdefault(rank + 1, []).append(_Net(upper, tuple(lower), side, source))
            upper = lower[-1]
    return plan


def _centres(plan: _Plan, known: Mapping[str, Item], sinks: Sequence[Sink]) -> dict[str, float]:
    """Return x of the centre of every key: as near as can be to what it leads to, layer by layer from the racks."""
    by_key = {sink.key: sink for sink in sinks}
    edge = max((sink.left + sink.width for sink in sinks), default=0.0)
    centres: dict[str, float] = {}
    for rank in sorted(plan.rows):
        wanted: dict[str, list[float]] = {}
        for net in plan.nets.get(rank, ()):
            for name in net.lower:
                x = by_key[name].port(net.source) if name in by_key else centres[name]
                wanted.setdefault(net.upper, []).append(x)
        row = plan.rows[rank]
        goals = {key: sum(wanted[key]) / len(wanted[key]) if key in wanted else edge for key in row}
        row.sort(key=lambda key: (round(goals[key], 3), _letter(key, known), natural(key)))
        widths = [known[key].width if key in known else _LANE for key in row]
        centres |= zip(row, placed([goals[key] for key in row], widths), strict=True)
    return centres


def _letter(key: str, known: Mapping[str, Item]) -> int:
    return ["A", "AB", "", "B"].index(known[key].side) if key in known else 1


def placed(goals: Sequence[float], widths: Sequence[float], space: float = _SPACE) -> list[float]:
    """Return centres in the given order, without overlap, with the least sum of squared distances from `goals`."""
    # Isotonic regression (pool adjacent violators) of the goals less the room that those before them take.
    offsets: list[float] = []
    for index, width in enumerate(widths):
        offsets.append(0.0 if not index else offsets[-1] + (widths[index - 1] + width) / 2 + space)
    pools: list[tuple[float, int]] = []
    for goal, offset in zip(goals, offsets, strict=True):
        pool = (goal - offset, 1)
        while pools and pools[-1][0] / pools[-1][1] >= pool[0] / pool[1]:
            before = pools.pop()
            pool = (before[0] + pool[0], before[1] + pool[1])
        pools.append(pool)
    found = [sums / number for sums, number in pools for _ in range(number)]
    return [base + offset for base, offset in zip(found, offsets, strict=True)]


def _routed(
    plan: _Plan,
    known: Mapping[str, Item],
    sinks: Sequence[Sink],
    ranks: Mapping[str, int],
    centres: Mapping[str, float],
) -> Layers:
    by_key = {sink.key: sink for sink in sinks}
    near, depths = 0.0, {}
    wires: list[Wire] = []
    for rank in range(1, max(plan.rows, default=0) + 1):
        nets = plan.nets.get(rank, [])
        ports = _ports(nets, known, by_key, centres)
        tracks = _tracks(nets, ports)
        far = near + 2 * _MARGIN + _TRACK * (max(tracks.values(), default=0) + 1)
        for index, net in enumerate(nets):
            depth = near + _MARGIN + _TRACK * tracks[index]
            start = ports[index, net.upper]
            for name in net.lower:
                end = ports[index, name]
                points: list[Point] = [(start, far), (start, depth), (end, depth), (end, near)]
                if start == end:
                    points = [(end, far), (end, near)]
                target = net.source if name in plan.lanes else name
                wires.append(Wire(net.source, target, net.side, tuple(points)))
        row = plan.rows.get(rank, [])
        for key in row:
            if key in plan.lanes:
                source, side, _ = key.split("\n")
                through = ((centres[key], far), (centres[key], far + BOX_HEIGHT))
                wires.append(Wire(source, source, side, through))  # type: ignore[arg-type]
            else:
                depths[key] = far
        near = far + BOX_HEIGHT
    widths = {key: item.width for key, item in known.items()}
    return Layers({key: centres[key] for key in known}, depths, ranks, tuple(wires), near, widths)


_Ports = dict[tuple[int, str], float]


def _ports(
    nets: Sequence[_Net], known: Mapping[str, Item], sinks: Mapping[str, Sink], centres: Mapping[str, float]
) -> _Ports:
    """Return x of both ends of every net of a gap; those of different nets are apart."""
    taken: dict[float, int] = {}
    found: _Ports = {}

    def take(net: int, x: float, name: str) -> float:
        reach = known[name].width / 2 - _APART / 2 if name in known else math.inf
        start = found.get((net, nets[net].upper), x)
        near = start if abs(x - start) < _APART else x
        for shift in _SHIFTS:
            there = near + shift * _APART
            if abs(there - centres.get(name, there)) > reach:
                continue  # beside the box that the line should end at
            if all(other == net or abs(place - there) >= _APART - 0.5 for place, other in taken.items()):
                near = there
                break
        taken[near] = net
        return near

    upper: dict[str, list[int]] = {}
    lower: dict[str, list[int]] = {}
    for index, net in enumerate(nets):
        upper.setdefault(net.upper, []).append(index)
        for name in net.lower:
            lower.setdefault(name, []).append(index)
    for names, ends in ((upper, False), (lower, True)):
        # Lanes first: their lines go straight on through the layer.
        for name in sorted(names, key=lambda name: (name in known or name in sinks, name)):
            if ends and name in sinks:
                for index in names[name]:
                    found[index, name] = take(index, sinks[name].port(nets[index].source), name)
                continue
            order = sorted(names[name], key=lambda index: (centres[nets[index].upper], index))
            room = known[name].width - 2 * _APART if name in known else 0.0
            step = min(12.0, room / len(order))
            for place, index in enumerate(order):
                x = centres[name] + step * (place - (len(order) - 1) / 2)
                found[index, name] = take(index, x, name) if name in known else x
                taken[found[index, name]] = index
    return found


def _tracks(nets: Sequence[_Net], ports: _Ports) -> dict[int, int]:
    """Return the track of each net: the first that is free over its whole length (left-edge algorithm)."""
    spans = {
        index: (
            min(ports[index, name] for name in (net.upper, *net.lower)),
            max(ports[index, name] for name in (net.upper, *net.lower)),
        )
        for index, net in enumerate(nets)
    }
    ends: list[float] = []
    found: dict[int, int] = {}
    for index in sorted(spans, key=lambda index: spans[index]):
        left, right = spans[index]
        track = next((number for number, end in enumerate(ends) if end + 2 * _APART <= left), len(ends))
        if track == len(ends):
            ends.append(right)
        ends[track] = right
        found[index] = track
    return found
