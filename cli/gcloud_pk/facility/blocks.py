"""Blocks: what of a site is drawn as one box, so that a drawing of 200 racks is as readable as one of three. Pure.

A few racks are drawn one by one, more of them row by row, many room by room. Elements of a path that are of one kind
and lead to the same boxes are drawn together where their layer would hold too many.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gcloud_pk.facility.upstream import carried
from gcloud_pk.model.facility import CoolingComponent, NetworkComponent, PowerComponent, Rack
from gcloud_pk.model.site import Host, Site

MOST_BOXES = 6
"""Boxes side by side that can still be read on a sheet of A4."""

Grain = Literal["rack", "row", "room"]
AnyComponent = PowerComponent | CoolingComponent | NetworkComponent


@dataclass(frozen=True)
class Block:
    """Racks that are drawn as one box: one rack, a row, or a room. `place` is what they stand in."""

    name: str
    grain: Grain
    place: str
    racks: tuple[Rack, ...]
    hosts: tuple[Host, ...]

    def ends(self, area: str) -> tuple[str, ...]:
        """Return the names of what ends at these racks: feeds, cooling or switches; each once."""
        field = {"power": "feeds", "cooling": "cooling", "network": "switches"}[area]
        return tuple(dict.fromkeys(name for rack in self.racks for name in getattr(rack, field)))

    @property
    def control_planes(self) -> tuple[Host, ...]:
        """The hosts that carry a control plane and a member of etcd."""
        return tuple(host for host in self.hosts if host.role == "control-plane")

    @property
    def roles(self) -> Mapping[str, int]:
        """How many hosts there are of each role."""
        return Counter(host.role for host in self.hosts)

    @property
    def load(self) -> int | None:
        """What its hosts draw, in watts; None where one does not say."""
        return total(host.watts for host in self.hosts)

    @property
    def capacity(self) -> int | None:
        """The most that its racks may draw, in watts; None where one does not say."""
        return total(rack.watts for rack in self.racks)


def total(watts: Iterable[int | None]) -> int | None:
    """Return the sum; None where a part of it is not known."""
    found = 0
    for one in watts:
        if one is None:
            return None
        found += one
    return found


def blocks_of(site: Site, most: int = MOST_BOXES) -> tuple[Block, ...]:
    """Return the boxes of a site's racks, room by room: the finest grain that has at most `most`; else rooms."""
    hosts: dict[str, list[Host]] = {}
    for host in site.spec.hosts:
        if host.rack is not None:
            hosts.setdefault(host.rack, []).append(host)
    racks = sorted(site.spec.racks, key=lambda rack: (rack.room or "", rack.row or "", natural(rack.name)))
    by_rack: dict[tuple[str, ...], list[Rack]]
    by_rack = {(rack.room or "", rack.row or "", rack.name): [rack] for rack in racks}
    by_row: dict[tuple[str, ...], list[Rack]] = {}
    by_room: dict[tuple[str, ...], list[Rack]] = {}
    for rack in racks:
        by_row.setdefault((rack.room or "", rack.row or ""), []).append(rack)
        by_room.setdefault((rack.room or "",), []).append(rack)
    grains: tuple[tuple[Grain, Mapping[tuple[str, ...], list[Rack]]], ...] = (
        ("rack", by_rack), ("row", by_row), ("room", by_room),
    )  # fmt: skip
    grain, groups = next((pair for pair in grains if len(pair[1]) <= most), grains[-1])
    return tuple(
        Block(
            key[-1],
            grain,
            key[0] if grain != "room" else "",
            tuple(members),
            tuple(host for rack in members for host in hosts.get(rack.name, ())),
        )
        for key, members in groups.items()
    )


def natural(name: str) -> tuple[int | str, ...]:
    """Return a key that sorts rack-9 before rack-10."""
    return tuple(int(part) if index % 2 else part for index, part in enumerate(re.split(r"([0-9]+)", name)))


@dataclass(frozen=True)
class Group:
    """Elements that are drawn as one box: one, or several of one kind that lead to the same boxes."""

    kind: str
    members: tuple[AnyComponent, ...]

    @property
    def key(self) -> str:
        """Its name among the groups of an area."""
        return self.members[0].name

    @property
    def watts(self) -> int | None:
        """What its members can carry together; None where one does not say."""
        return total(one.watts for one in self.members)


def groups_of(
    components: Sequence[AnyComponent],
    links: Sequence[tuple[str, str]],
    blocks: Sequence[Block],
    area: str,
    marked: Mapping[str, str],
    most: int = MOST_BOXES,
) -> tuple[Group, ...]:
    """Return the boxes of an area's elements: kinds with more than twice `most` elements are drawn together.

    Together are those of one kind that lead to the same blocks; those with different marks (`marked`: name → mark, such
    as the verdict on it) stay apart.
    """
    count = Counter(one.kind for one in components)
    reached = _reached(links, blocks, area)
    groups: dict[tuple[object, ...], list[AnyComponent]] = {}
    for one in components:
        many = count[one.kind] > 2 * most
        key: tuple[object, ...] = (one.name,)
        if many:
            key = (one.kind, marked.get(one.name), one.name[-2:] if one.name.endswith(("-a", "-b")) else "")
            key += (frozenset(reached.get(one.name, ())),)
        groups.setdefault(key, []).append(one)
    return tuple(Group(members[0].kind, tuple(members)) for members in groups.values())


def _reached(links: Sequence[tuple[str, str]], blocks: Sequence[Block], area: str) -> Mapping[str, set[int]]:
    """Return which blocks each element leads to, by their position."""
    found: dict[str, set[int]] = {}
    for position, block in enumerate(blocks):
        for name in block.ends(area):
            found.setdefault(name, set()).add(position)
    return carried(links, found)
