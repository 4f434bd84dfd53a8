"""Drawing: a site as boxes, lines and labels with places on a sheet. Pure; `svg.py` writes them down.

Power comes from above, the network from below, the racks with their hosts stand between in their rooms. Cooling has a
sheet of its own. Lengths are pixels of CSS at full size; a sheet is at least 1,120 wide, the shape of A4 landscape.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from gcloud_pk.facility.blocks import AnyComponent, Block, Group, blocks_of, groups_of, natural
from gcloud_pk.facility.labels import KINDS, ROLES, SHORT, power, quorums, role_counts
from gcloud_pk.facility.layers import BOX_HEIGHT, Item, Layers, Sink, arrange
from gcloud_pk.facility.marks import Mark, marks_of
from gcloud_pk.facility.sides import Side, sides_of
from gcloud_pk.model.finding import Finding
from gcloud_pk.model.site import Host, Site
from gcloud_pk.text import number_of

Area = Literal["power", "cooling", "network"]

# Base lines of a box's text, by how many lines follow its name.
_BASES = ((29.0,), (21.0, 39.0), (16.0, 30.0, 44.0))

SHEET = 1120.0
_EDGE = 12.0
_WORDS = 112.0
_STRIP = 24.0
_ROOM_GAP, _ROOM_END, _ROOM_PAD = 14.0, 10.0, 12.0
_BLOCK_GAP, _BLOCK_LEAST, _BLOCK_MOST = 14.0, 150.0, 300.0
_LINE = 19.0
_CHIPS = 6
_PLANES = 4
TEXT, SMALL = 12.0, 11.0


@dataclass(frozen=True)
class Rect:
    """A rectangle: its upper left corner and its size."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """The x of its right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """The y of its lower edge."""
        return self.y + self.height

    def overlaps(self, other: Rect) -> bool:
        """Whether both cover some of the same area; touching is none."""
        return self.x < other.right and other.x < self.right and self.y < other.bottom and other.y < self.bottom

    def holds(self, other: Rect) -> bool:
        """Whether `other` lies wholly inside."""
        return self.x <= other.x and other.right <= self.right and self.y <= other.y and other.bottom <= self.bottom


@dataclass(frozen=True)
class Label:
    """A line of text. `x` is its beginning, middle or end by `anchor`; `y` its base line; `turned`: reads upwards."""

    text: str
    x: float
    y: float
    size: float = TEXT
    bold: bool = False
    anchor: Literal["start", "middle", "end"] = "start"
    look: Literal["plain", "soft", "broken", "light"] = "plain"
    turned: bool = False

    @property
    def rect(self) -> Rect:
        """The room that it takes, by an estimate that is rather too wide."""
        width = text_width(self.text, self.size, bold=self.bold)
        shift = {"start": 0.0, "middle": width / 2, "end": width}[self.anchor]
        if self.turned:
            return Rect(self.x - self.size, self.y - width + shift, self.size * 1.25, width)
        return Rect(self.x - shift, self.y - self.size, width, self.size * 1.25)


Look = Literal["element", "block", "room", "bar", "fill", "badge", "legend"]
Shape = Literal["diamond", "circle", "square", "triangle", "dash"]


@dataclass(frozen=True)
class Box:
    """A rectangle that stands for something; `title` tells all of it."""

    rect: Rect
    look: Look
    title: str = ""
    side: Side = ""
    mark: Literal["", "broken", "unknown"] = ""


@dataclass(frozen=True)
class Sign:
    """A host's role, as a shape as high as a letter; `x` and `y`: its middle."""

    shape: Shape
    x: float
    y: float
    title: str = ""


@dataclass(frozen=True)
class Line:
    """A line of a path through (x, y) points."""

    points: tuple[tuple[float, float], ...]
    side: Side
    broken: bool = False


@dataclass(frozen=True)
class Drawing:
    """A sheet. `title` and `description` say in words what it shows."""

    name: str
    title: str
    description: str
    width: float
    height: float
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    labels: tuple[Label, ...]
    signs: tuple[Sign, ...]

    def leaves(self) -> tuple[Box, ...]:
        """Return the boxes that hold no other box: none of them may overlap."""
        return tuple(box for box in self.boxes if box.look in ("element", "block"))


_NARROW, _WIDE = frozenset("iljtfrI.,:;-'|()[]/ ·"), frozenset("mwMW@%—✗")


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Return an estimate of a text's width that is rather too great, for fonts as wide as Verdana."""

    def one(letter: str) -> float:
        if letter in _NARROW:
            return 0.42
        if letter in _WIDE or not letter.isascii():
            return 1.0
        return 0.72 if letter.isupper() else 0.64

    return sum(map(one, text)) * size * (1.1 if bold else 1.0)


def fitted(text: str, width: float, size: float = TEXT, *, bold: bool = False) -> str:
    """Return a text that is no wider than `width`: its middle is left out where it is."""
    if text_width(text, size, bold=bold) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        short = f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"
        if text_width(short, size, bold=bold) <= width:
            return short
    return "…"


def draw(site: Site, findings: Iterable[Finding] = ()) -> Drawing:
    """Return the sheet of power, racks and network. `findings`: verdicts whose elements are marked."""
    marks = marks_of(findings)
    sheet = _Sheet(site, blocks_of(site), marks)
    sheet.band("power", "above")
    sheet.blocks(hosts=True)
    sheet.band("network", "below")
    sheet.legend()
    return sheet.done(
        "power",
        f"Site {site.metadata.name}: power, racks and network",
        "Power comes from above, from its sources through switches, UPS and PDUs to the racks, which stand in their "
        "rooms with their hosts; the network comes from below. Path A is drawn solid, path B dashed, what both share "
        "dotted; each box carries the letter of its path. " + " ".join(quorums(site)),
    )


def draw_cooling(site: Site, findings: Iterable[Finding] = ()) -> Drawing:
    """Return the sheet of cooling: from chillers to the racks that air handlers cool."""
    sheet = _Sheet(site, blocks_of(site), marks_of(findings))
    sheet.band("cooling", "above")
    sheet.blocks(hosts=False)
    sheet.legend(hosts=False, paths=False)
    return sheet.done(
        "cooling",
        f"Site {site.metadata.name}: cooling",
        "Cold comes from above, from chillers through pumps, pipes and air handlers to the racks below.",
    )


class _Sheet:
    """A sheet that is being filled from the top."""

    def __init__(self, site: Site, blocks: Sequence[Block], marks: Mapping[tuple[str, str], Mark]) -> None:
        self.site, self.marks = site, marks
        self.y = _EDGE
        self.boxes: list[Box] = []
        self.lines: list[Line] = []
        self.labels: list[Label] = []
        self.signs: list[Sign] = []
        self.placed = _side_by_side(blocks)
        self.folded = False
        # What drives cooling and network: the last elements of ways of power that end at no rack.
        feeding = {name for rack in site.spec.racks for name in rack.feeds}
        self.driving: list[tuple[str, ...]] = []
        self.driven: dict[str, set[str]] = {}
        for area, components in (("cooling", site.spec.cooling.components), ("network", site.spec.network.components)):
            for one in components:
                self.driving.append(one.feeds)
                for name in {*one.feeds} - feeding:
                    self.driven.setdefault(name, set()).add(area)

    # --- a band of layers -----------------------------------------------------------------------------------------

    def band(self, area: Area, where: Literal["above", "below"]) -> None:
        """Draw the layers of an area above or below the racks."""
        components: tuple[AnyComponent, ...] = getattr(self.site.spec, area).components
        links = [(link.source, link.target) for link in getattr(self.site.spec, area).links]
        blocks = [block for block, _, _ in self.placed]
        if not components:
            self.labels.append(
                Label(f"The site file says nothing of {area}.", _EDGE + _WORDS, self.y + 14, look="soft")
            )
            self.y += 30
            return
        marked = {name: mark.word for (there, name), mark in self.marks.items() if there == area}
        groups = groups_of(components, links, blocks, area, marked)
        self.folded |= any(len(group.members) > 1 for group in groups)
        group_of = {one.name: group.key for group in groups for one in group.members}
        rows = [rack_ends for block in blocks for rack_ends in _rows(block, area)]
        rows += self.driving if area == "power" else []
        sides = sides_of(links, rows, by_position=area == "power")
        items = [self._item(group, sides.get(group.key, ""), marked) for group in groups]
        sinks = [
            Sink(
                str(place), left, width,
                tuple(dict.fromkeys(group_of[name] for name in block.ends(area) if name in group_of)),
            )
            for place, (block, left, width) in enumerate(self.placed)
        ]  # fmt: skip
        between = [(group_of[a], group_of[b]) for a, b in links if a in group_of and b in group_of]
        keyed = {group.key: group for group in groups}
        self._layers(area, arrange(items, between, sinks), keyed, items, where, {frozenset(pair) for pair in between})

    def _item(self, group: Group, side: Side, marked: Mapping[str, str]) -> Item:
        name = text_width(_group_name(group), TEXT, bold=True) + {"": 0, "AB": 31}.get(side, 22)
        words = [text_width(marked.get(one.name, ""), SMALL, bold=True) for one in group.members]
        words.append(text_width(self._plain(group), SMALL))
        return Item(group.key, group.kind, min(max(name, 70.0, *words) + 16, 176.0), side)

    def _plain(self, group: Group) -> str:
        """Return what stands below a name: what it can carry, and what it drives besides racks."""
        driven = sorted({area for one in group.members for area in self.driven.get(one.name, ())})
        return ", ".join(filter(None, (_capacity(group), f"for {' and '.join(driven)}" if driven else "")))

    def _layers(
        self, area: Area, layers: Layers, groups: Mapping[str, Group], items: Sequence[Item],
        where: Literal["above", "below"], joined: Collection[frozenset[str]],
    ) -> None:  # fmt: skip
        shift = max(0.0, _EDGE + _WORDS - layers.left)
        if shift:
            self._move(shift)
        begin = self.y + (layers.depth if where == "above" else _ROOM_PAD)

        def y(depth: float) -> float:
            return begin - depth if where == "above" else begin + depth

        stub = _ROOM_PAD
        for wire in layers.wires:
            points = [(x + shift, y(depth)) for x, depth in wire.points]
            if wire.target in {str(place) for place in range(len(self.placed))} and wire.target not in groups:
                x, end = points[-1]
                points.append((x, end + stub if where == "above" else end - 2 * stub))
            self.lines.append(Line(tuple(points), wire.side, self._link_broken(area, groups, wire.source, wire.target)))
        for item in items:
            x = layers.centres[item.key] + shift - item.width / 2
            depth = layers.depths[item.key]
            top = y(depth + BOX_HEIGHT) if where == "above" else y(depth)
            self._element(area, groups[item.key], item.side, Rect(x, top, item.width, BOX_HEIGHT))
        for rank in sorted(set(layers.ranks.values())):
            here = [item for item in items if layers.ranks[item.key] == rank]
            top = layers.depths[here[0].key]
            for one, other in itertools.pairwise(sorted(here, key=lambda item: layers.centres[item.key])):
                if frozenset((one.key, other.key)) in joined:  # two core switches, side by side
                    ends = layers.centres[one.key] + one.width / 2, layers.centres[other.key] - other.width / 2
                    ways = ((one.key, other.key), (other.key, one.key))
                    broken = any(self._link_broken(area, groups, *way) for way in ways)
                    middle = y(top + BOX_HEIGHT / 2)
                    flat = tuple((x + shift, middle) for x in ends)
                    self.lines.append(Line(flat, one.side if one.side == other.side else "AB", broken))
            self._kinds(
                [KINDS[kind] for kind in dict.fromkeys(item.kind for item in here)],
                y(top + BOX_HEIGHT / 2),
            )
        self.y += layers.depth if where == "above" else layers.depth + 2 * _ROOM_PAD

    def _link_broken(self, area: Area, groups: Mapping[str, Group], source: str, target: str) -> bool:
        if source not in groups or target not in groups:
            return False
        return any(
            (mark := self.marks.get((area, f"link/{one.name}/{other.name}"))) is not None and mark.broken
            for one in groups[source].members[:50]
            for other in groups[target].members[:50]
        )

    def _move(self, shift: float) -> None:
        """Make room on the left."""
        self.placed = [(block, left + shift, width) for block, left, width in self.placed]
        self.boxes = [replace(box, rect=replace(box.rect, x=box.rect.x + shift)) for box in self.boxes]
        self.lines = [replace(line, points=tuple((x + shift, y) for x, y in line.points)) for line in self.lines]
        self.labels = [
            label if label.x < _EDGE + _WORDS else replace(label, x=label.x + shift) for label in self.labels
        ]
        self.signs = [replace(sign, x=sign.x + shift) for sign in self.signs]

    def _kinds(self, words: Sequence[str], middle: float) -> None:
        lines = [line for word in words for line in wrapped(word, _WORDS - 10, SMALL)]
        first = middle - (len(lines) - 1) * 7 + 4
        for place, line in enumerate(lines):
            self.labels.append(Label(line, _EDGE, first + place * 14, SMALL, look="soft"))

    def _element(self, area: Area, group: Group, side: Side, rect: Rect) -> None:
        marks = [mark for one in group.members if (mark := self.marks.get((area, one.name))) is not None]
        worst = max(marks, key=lambda mark: (mark.broken, mark.loads), default=None)
        said = [self._title(one) for one in group.members[:20]]
        if len(group.members) > len(said):
            said.append(f"and {len(group.members) - len(said)} more")
        said += [f"{finding.title}: {finding.observed}" for mark in marks[:3] for finding in mark.findings[:2]]
        self.boxes.append(Box(rect, "element", "\n".join(said), side, _mark(worst)))
        plain = self._plain(group)
        words: list[tuple[str, bool]] = [(plain, False)] if plain else []
        if worst is not None:
            words.append((worst.word, worst.broken))
        bases = [rect.y + base for base in _BASES[len(words)]]
        left = rect.x + 7
        if side:
            badge = Rect(rect.x + 5, bases[0] - 13, 17 if side != "AB" else 26, 17)
            self.boxes.append(Box(badge, "badge", side=side))
            letters = side if side != "AB" else "A+B"
            middle = badge.x + badge.width / 2
            self.labels.append(Label(letters, middle, badge.y + 12.5, 10.0, True, "middle", look="light"))
            left = badge.right + 5
        name = fitted(_group_name(group), rect.right - 5 - left, TEXT, bold=True)
        self.labels.append(Label(name, left, bases[0], TEXT, True))
        for base, (text, broken) in zip(bases[1:], words, strict=True):
            said_here = fitted(text, rect.width - 12, SMALL, bold=broken)
            self.labels.append(Label(said_here, rect.x + 7, base, SMALL, broken, look="broken" if broken else "soft"))

    def _title(self, one: AnyComponent) -> str:
        parts = [SHORT[one.kind], power(one.watts), f"room {one.room}" if one.room else "", one.rack or ""]
        return f"{one.name}: {', '.join(part for part in parts if part)}"

    # --- racks ----------------------------------------------------------------------------------------------------

    def blocks(self, *, hosts: bool) -> None:
        """Draw the racks in their rooms."""
        top = self.y + _ROOM_PAD
        if not self.placed:
            self.labels.append(Label("The site file names no racks.", _EDGE + _WORDS, top + 14, look="soft"))
            self.y = top + 30
            return
        chips = {index: self._chips(block) if hosts else [] for index, (block, _, _) in enumerate(self.placed)}
        height = 64 + _LINE * max(map(len, chips.values())) + (6 if hosts else 0)
        rooms: dict[str, list[Rect]] = {}
        for index, (block, left, width) in enumerate(self.placed):
            rect = Rect(left, top, width, height)
            rooms.setdefault(_room(block), []).append(rect)
            self._block(block, rect, chips[index])
        for room, rects in rooms.items():
            first, last = rects[0], rects[-1]
            around = Rect(
                first.x - _STRIP, top - _ROOM_PAD, last.right - first.x + _STRIP + _ROOM_END, height + 2 * _ROOM_PAD
            )
            mark = self.marks.get(("room", room))
            self.boxes.insert(0, Box(around, "room", f"room {room}" if room else "no room is named", "", _mark(mark)))
            name = fitted(room or "no room stated", around.height - 12, TEXT, bold=True)
            middle = around.y + around.height / 2
            self.labels.append(Label(name, around.x + 16, middle, TEXT, True, "middle", turned=True))
        self.y = top + height + _ROOM_PAD
        racks = len(self.site.spec.racks)
        words = [number_of(racks, "rack"), number_of(len(self.site.spec.hosts), "host")]
        if self.placed[0][0].grain != "rack":
            words.append(f"drawn by {self.placed[0][0].grain}")
        self._kinds(words, top + height / 2)

    def _block(self, block: Block, rect: Rect, chips: Sequence[tuple[Shape | None, str, str]]) -> None:
        marks = [mark for rack in block.racks if (mark := self.marks.get(("rack", rack.name))) is not None]
        worst = max(marks, key=lambda mark: (mark.broken, mark.loads), default=None)
        said = [_block_name(block), number_of(len(block.hosts), "host")]
        said += [f"{finding.subject}: {finding.observed}" for mark in marks[:3] for finding in mark.findings[:2]]
        self.boxes.append(Box(rect, "block", "\n".join(said), "", _mark(worst)))
        x, inner = rect.x + 9, rect.width - 18
        head = fitted(_block_name(block), inner, 13.0, bold=True)
        self.labels.append(Label(head, x, rect.y + 20, 13.0, True))
        if block.grain == "rack":
            below = f"row {block.racks[0].row}" if block.racks[0].row else "row not stated"
        else:
            below = f"{number_of(len(block.racks), 'rack')}, {number_of(len(block.hosts), 'host')}"
        if worst is not None and worst.broken:
            text = fitted(worst.word, inner, SMALL, bold=True)
            self.labels.append(Label(text, x, rect.y + 35, SMALL, bold=True, look="broken"))
        else:
            self.labels.append(Label(fitted(below, inner, SMALL), x, rect.y + 35, SMALL, look="soft"))
        self._meter(block, Rect(x, rect.y + 41, inner, 5))
        for place, (shape, text, title) in enumerate(chips):
            base = rect.y + 74 + place * _LINE
            if shape is not None:
                self.signs.append(Sign(shape, x + 6, base - 4, title))
            room = inner - (18 if shape else 0)
            self.labels.append(
                Label(
                    fitted(text, room, TEXT, bold=shape == "diamond"),
                    x + (18 if shape else 0),
                    base,
                    TEXT,
                    bold=shape == "diamond",
                )
            )

    def _meter(self, block: Block, rect: Rect) -> None:
        """Draw how much of what a block may draw its hosts do draw."""
        load, capacity = block.load, block.capacity
        if capacity:
            self.boxes.append(Box(rect, "bar"))
            if load:
                share = min(load / capacity, 1.0)
                full = replace(rect, width=rect.width * share)
                self.boxes.append(Box(full, "fill", mark="broken" if load > capacity else ""))
            text = f"{power(load) or 'load not stated'} of {power(capacity)}"
        else:
            text = f"{power(load)}, capacity not stated" if load else "load and capacity not stated"
        self.labels.append(Label(fitted(text, rect.width, SMALL), rect.x, rect.y + 17, SMALL, look="soft"))

    def _chips(self, block: Block) -> list[tuple[Shape | None, str, str]]:
        """Return the lines of a block: (shape, text, title), control planes first."""
        several = len(self.site.spec.clusters) > 1
        hosts = sorted(block.hosts, key=lambda host: (list(ROLES).index(host.role), natural(host.name)))
        if block.grain == "rack" and len(hosts) <= _CHIPS:
            return [self._chip(host, several=several) for host in hosts] or [(None, "no hosts", "")]
        planes = [host for host in hosts if host.role == "control-plane"]
        chips = [self._chip(host, several=several, rack=block.grain != "rack") for host in planes[:_PLANES]]
        if len(planes) > _PLANES:
            chips.append((None, f"and {number_of(len(planes) - _PLANES, 'control plane')} more", ""))
        chips += [
            (_SHAPES[role], text, "") for role, text in role_counts(block.roles).items() if role != "control-plane"
        ]
        return chips or [(None, "no hosts", "")]

    @staticmethod
    def _chip(host: Host, *, several: bool, rack: bool = False) -> tuple[Shape | None, str, str]:
        words = [host.name, f"({host.rack})" if rack else "", f"· {host.cluster}" if several and host.cluster else ""]
        title = ", ".join(part for part in (host.name, ROLES[host.role], host.cluster, power(host.watts)) if part)
        return _SHAPES[host.role], " ".join(word for word in words if word), title

    # --- the key --------------------------------------------------------------------------------------------------

    def legend(self, *, hosts: bool = True, paths: bool = True) -> None:
        """Write below what the signs mean, and how many members of each quorum may be lost."""
        self.y += 18
        x = _EDGE
        right = max(SHEET, self._right()) - _EDGE
        entries: list[tuple[str, str]] = []
        if paths:
            sides = {line.side for line in self.lines}
            words: dict[Side, str] = {
                "A": "path A",
                "B": "path B",
                "AB": "shared by A and B",
                "": "a path without letter",
            }
            entries += [(side, text) for side, text in words.items() if side in sides]
        if hosts:
            present = {host.role for host in self.site.spec.hosts}
            entries += [(role, ROLES[role]) for role in ROLES if role in present]
        marks = {box.mark for box in self.boxes}
        entries += [("broken", "✗ its loss takes loads")] if "broken" in marks else []
        entries += [("unknown", "? not checked")] if "unknown" in marks else []
        for sign, text in entries:
            width = 40 + text_width(text, SMALL) + 22
            if x + width > right:
                x, self.y = _EDGE, self.y + 24
            self._key(sign, x, self.y)
            self.labels.append(Label(text, x + 40, self.y + 4, SMALL))
            x += width
        notes = list(quorums(self.site)) if hosts else []
        if self.folded:
            notes.append("A name with +5 stands for six elements of one kind that lead to the same boxes.")
        self.y += 16
        for text in notes:
            for line in wrapped(text, right - _EDGE, TEXT):
                self.y += 18
                self.labels.append(Label(line, _EDGE, self.y, TEXT, True))
        self.y += 8

    def _key(self, sign: str, x: float, y: float) -> None:
        if sign in ROLES:
            self.signs.append(Sign(_SHAPES[sign], x + 27, y))
        elif sign in ("broken", "unknown"):
            mark: Literal["broken", "unknown"] = "broken" if sign == "broken" else "unknown"
            self.boxes.append(Box(Rect(x + 4, y - 8, 30, 16), "legend", mark=mark))
        else:
            side: Side = "A" if sign == "A" else "B" if sign == "B" else "AB" if sign == "AB" else ""
            self.lines.append(Line(((x, y), (x + 34, y)), side))

    def _right(self) -> float:
        return max(
            [box.rect.right for box in self.boxes]
            + [label.rect.right for label in self.labels if not label.turned]
            + [x for line in self.lines for x, _ in line.points],
            default=0.0,
        )

    def done(self, name: str, title: str, description: str) -> Drawing:
        """Return the sheet."""
        width = max(SHEET, self._right() + _EDGE)
        return Drawing(
            name, title, description, round(width), round(self.y + _EDGE),
            tuple(self.boxes), tuple(self.lines), tuple(self.labels), tuple(self.signs),
        )  # fmt: skip


_SHAPES: Mapping[str, Shape] = {
    "control-plane": "diamond", "worker": "circle", "storage": "square", "gateway": "triangle", "plain": "dash",
}  # fmt: skip


def _mark(mark: Mark | None) -> Literal["", "broken", "unknown"]:
    return "" if mark is None else "broken" if mark.broken else "unknown"


def _room(block: Block) -> str:
    return block.name if block.grain == "room" else block.place


def _rows(block: Block, area: Area) -> list[tuple[str, ...]]:
    field = {"power": "feeds", "cooling": "cooling", "network": "switches"}[area]
    return [getattr(rack, field) for rack in block.racks]


def _block_name(block: Block) -> str:
    if block.grain == "rack":
        return block.name
    return f"{block.grain} {block.name}" if block.name else f"no {block.grain} stated"


def _group_name(group: Group) -> str:
    more = len(group.members) - 1
    return f"{group.key} +{more}" if more else group.key


def _capacity(group: Group) -> str:
    number, capacity = len(group.members), power(group.watts)
    return capacity if number == 1 else f"{capacity or number} in all"


def _side_by_side(blocks: Sequence[Block]) -> list[tuple[Block, float, float]]:
    """Return (block, left, width) of each, from left to right, with room for the frames of rooms."""
    rooms = len({_room(block) for block in blocks})
    free = SHEET - 2 * _EDGE - _WORDS - rooms * (_ROOM_GAP + _STRIP + _ROOM_END) - _BLOCK_GAP * len(blocks)
    width = min(max(free / max(len(blocks), 1), _BLOCK_LEAST), _BLOCK_MOST)
    found: list[tuple[Block, float, float]] = []
    x, before = _EDGE + _WORDS - _ROOM_END - _ROOM_GAP, None
    for block in blocks:
        x += _BLOCK_GAP if _room(block) == before else _ROOM_END + _ROOM_GAP + _STRIP
        before = _room(block)
        found.append((block, x, width))
        x += width
    return found


def wrapped(text: str, width: float, size: float) -> list[str]:
    """Return a text in lines no wider than `width`, broken between words; a word that is wider is shortened."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(fitted(word, width, size))
    return lines
