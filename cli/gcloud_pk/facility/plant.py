"""The three areas together: a power element that is out may stop a pump or a switch, and so the racks behind it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from gcloud_pk.facility.graph import AREAS, Area, Element, Facility, Load, Member
from gcloud_pk.facility.outage import Loss, Outages

POWERED: tuple[Area, ...] = ("cooling", "network")
"""Areas whose components need power."""


@dataclass(frozen=True, slots=True)
class Fall:
    """A rack or a room that is lost: the elements that fall with it or stop, and what is lost of all that is not in it.

    `lost`: by area, members elsewhere that are not carried.
    """

    elements: Mapping[Area, tuple[Element, ...]]
    lost: Mapping[Area, tuple[Member, ...]]


class Plant:
    """A facility whose elements are taken out one by one."""

    def __init__(self, facility: Facility) -> None:
        self.facility = facility
        self.areas: Mapping[Area, Outages] = {grid.area: Outages(grid) for grid in facility.grids}
        self._knocked: dict[Element, Mapping[Area, tuple[Element, ...]]] = {}

    @cached_property
    def silent(self) -> tuple[str, ...]:
        """Components of cooling and network of which the file does not say what powers them; carriers are others'."""
        return tuple(
            name
            for area in POWERED
            for name, node in self.areas[area].grid.nodes.items()
            if not node.feeds and node.kind not in {"carrier", "pipe"}
        )

    @cached_property
    def unmeasured(self) -> tuple[str, ...]:
        """Components of cooling and network that power drives, of which the file does not say what they draw."""
        return tuple(member.name for _, member in self._driven if member.watts is None)

    def stopped(self, element: Element) -> Mapping[Area, tuple[Element, ...]]:
        """Return the components of cooling and network that have no way of power with a power element out."""
        if element not in self._knocked:
            self._knocked[element] = self._by_area(self.whole.without(element))
        return self._knocked[element]

    @cached_property
    def unpowered(self) -> Mapping[Area, tuple[Element, ...]]:
        """The components of cooling and network that have no way of power with everything in place."""
        return self._by_area(self.whole.base)

    def starved(self, loss: Loss) -> list[Member]:
        """Return what shares a shortage of the whole, if something that is driven is among it: driven ones first."""
        short = sorted(loss.short, reverse=True)
        if not short or short[0] < self._racks:
            return []
        own = [load for load in short if load >= self._racks]
        return [*self.whole.members(own), *self.whole.members(loss.short - set(own))]

    def base(self, area: Area) -> Loss:
        """Return what is not carried with everything in place, for want of power to a pump or a switch included."""
        if area == "power":
            return self._of_racks(self.whole.base)
        dead = self.unpowered.get(area)
        return self.areas[area].without_all(dead) if dead else self.areas[area].base

    @cached_property
    def lost_already(self) -> frozenset[str]:
        """Names of members that are not carried in some area with everything in place."""
        return frozenset(member.name for area in AREAS for member in self._trials[area].members(self.base(area).loads))

    @cached_property
    def severed_already(self) -> frozenset[str]:
        """Names of members that have no way in some area with everything in place."""
        return frozenset(
            member.name for area in AREAS for member in self._trials[area].members(self.base(area).severed)
        )

    def _by_area(self, loss: Loss) -> Mapping[Area, tuple[Element, ...]]:
        found: dict[Area, list[Element]] = {area: [] for area in POWERED}
        for load in sorted(loss.severed):
            if load >= self._racks:
                area, member = self._driven[load - self._racks]
                found[area].append((member.name,))
        return {area: tuple(elements) for area, elements in found.items()}

    def after(self, area: Area, element: Element) -> Mapping[Area, Loss]:
        """Return what is not carried with an element out, in its own area and, by way of power, in others."""
        if area != "power":
            dead = self.unpowered.get(area, ())
            outages = self.areas[area]
            return {area: outages.without_all([element, *dead]) if dead else outages.without(element)}
        losses: dict[Area, Loss] = {area: self._of_racks(self.whole.without(element))}
        for other, elements in self.stopped(element).items():
            if elements:
                losses[other] = self.areas[other].without_all(elements)
        return losses

    def without_rack(self, name: str | None, switches: Sequence[Element] = ()) -> Fall:
        """Return what the loss of a rack takes: what stands in it falls too, and so do further elements of network."""
        key = name, tuple(switches)
        if key not in self._falls:
            inside = {area: outages.by_rack.get(name or "", {}) for area, outages in self._trials.items()}
            standing = self._standing.get(name or "", {})
            self._falls[key] = self._without({**standing, "network": [*standing.get("network", ()), *switches]}, inside)
        return self._falls[key]

    def without_room(self, name: str) -> Fall:
        """Return what the loss of a room takes. Hosts and racks whose room is not said are taken to be in it."""

        def inside(member: Member) -> bool:
            return member.room == name or (member.room is None and member.kind != "component")

        elements: defaultdict[Area, list[Element]] = defaultdict(list)
        for grid in self.facility.grids:
            elements[grid.area] += [(one,) for one, node in grid.nodes.items() if node.room == name]
        return self._without(elements, {area: _members(outages, inside) for area, outages in self._trials.items()})

    @cached_property
    def _falls(self) -> dict[tuple[str | None, tuple[Element, ...]], Fall]:
        return {}

    @cached_property
    def _standing(self) -> Mapping[str, Mapping[Area, Sequence[Element]]]:
        """Rack → area → the elements that stand in it."""
        found: defaultdict[str, defaultdict[Area, list[Element]]] = defaultdict(lambda: defaultdict(list))
        for grid in self.facility.grids:
            for name, node in grid.nodes.items():
                if node.rack:
                    found[node.rack][grid.area].append((name,))
        return found

    @cached_property
    def _trials(self) -> Mapping[Area, Outages]:
        return {**self.areas, "power": self.whole}

    def _without(
        self, elements: Mapping[Area, Sequence[Element]], inside: Mapping[Area, Mapping[int, Sequence[Member]]]
    ) -> Fall:
        power = self.whole.without_all(elements.get("power", ()), inside.get("power"))
        stopped = self._by_area(power)
        losses: dict[Area, Loss] = {"power": self._of_racks(power)}
        out: dict[Area, tuple[Element, ...]] = {"power": tuple(elements.get("power", ()))}
        for area in POWERED:
            out[area] = tuple(dict.fromkeys((*elements.get(area, ()), *stopped[area])))
            losses[area] = self.areas[area].without_all(out[area], inside.get(area))
        lost = {}
        for area in AREAS:
            gone = {member for members in inside.get(area, {}).values() for member in members}
            members = self._trials[area].members(losses[area].loads)
            lost[area] = tuple(member for member in members if member not in gone)
        return Fall(out, lost)

    def _of_racks(self, loss: Loss) -> Loss:
        """Return a loss of the whole as one of hosts and racks alone."""
        mine = frozenset(range(self._racks))
        return Loss(loss.severed & mine, loss.short & mine, loss.watts)

    @property
    def _racks(self) -> int:
        """How many loads of the whole are hosts and racks; what is driven comes after."""
        return len(self.facility.power.loads)

    @cached_property
    def _driven(self) -> tuple[tuple[Area, Member], ...]:
        power = self.facility.power
        return tuple(
            (area, Member(name, "component", node.rack, node.room, node.draws))
            for area in POWERED
            for name, node in self.areas[area].grid.nodes.items()
            if node.feeds and power.nodes
        )

    @cached_property
    def whole(self) -> Outages:
        """All that hangs on power: hosts and racks, then components of cooling and network, each a load of its own."""
        power = self.facility.power
        loads = tuple(
            Load(self.areas[area].grid.nodes[member.name].feeds & power.nodes.keys(), member.room, (member,))
            for area, member in self._driven
        )
        return Outages(replace(power, loads=(*power.loads, *loads)))


def _members(outages: Outages, inside: Callable[[Member], bool]) -> Mapping[int, Sequence[Member]]:
    found: dict[int, Sequence[Member]] = {}
    for number, load in enumerate(outages.grid.loads):
        if members := _those(load.members, inside):
            found[number] = members
    return found


def _those(members: Iterable[Member], inside: Callable[[Member], bool]) -> list[Member]:
    return [member for member in members if inside(member)]
