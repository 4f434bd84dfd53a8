"""The three areas together: a power element that is out may stop a pump or a switch, and so the racks behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from gcloud_pk.facility.graph import Area, Element, Facility, Load, Member
from gcloud_pk.facility.outage import Loss, Outages

POWERED: tuple[Area, ...] = ("cooling", "network")
"""Areas whose components need power."""


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

    def stopped(self, element: Element) -> Mapping[Area, tuple[Element, ...]]:
        """Return the components of cooling and network that have no way of power with a power element out."""
        if element not in self._knocked:
            self._knocked[element] = self._by_area(self._wards.without(element))
        return self._knocked[element]

    def stopped_by(self, elements: Sequence[Element]) -> Mapping[Area, tuple[Element, ...]]:
        """Return the same with several power elements out at once."""
        return self._by_area(self._wards.without_all(elements))

    @cached_property
    def unpowered(self) -> Mapping[Area, tuple[Element, ...]]:
        """The components of cooling and network that have no way of power with everything in place."""
        return self._by_area(self._wards.base)

    def base(self, area: Area) -> Loss:
        """Return what is not carried with everything in place, for want of power to a pump or a switch included."""
        dead = self.unpowered.get(area)
        return self.areas[area].without_all(dead) if dead else self.areas[area].base

    def _by_area(self, loss: Loss) -> Mapping[Area, tuple[Element, ...]]:
        members = self._wards.members(loss.severed)
        return {area: tuple((member.name,) for member in members if member.room == area) for area in POWERED}

    def after(self, area: Area, element: Element) -> Mapping[Area, Loss]:
        """Return what is not carried with an element out, in its own area and, by way of power, in others."""
        dead = self.unpowered.get(area, ())
        outages = self.areas[area]
        losses = {area: outages.without_all([element, *dead]) if dead else outages.without(element)}
        if area == "power":
            for other, elements in self.stopped(element).items():
                if elements:
                    losses[other] = self.areas[other].without_all(elements)
        return losses

    @cached_property
    def _wards(self) -> Outages:
        """The power grid with the components that it powers in the place of hosts; their area stands for their room."""
        power = self.areas["power"].grid
        loads = tuple(
            Load(node.feeds & power.nodes.keys(), area, (Member(name, "host", None, area, 0),))
            for area in POWERED
            for name, node in self.areas[area].grid.nodes.items()
            if node.feeds and power.nodes
        )
        return Outages(replace(power, loads=loads, unsaid=()))
