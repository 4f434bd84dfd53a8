"""The drawing of a site: nothing overlaps, nothing crosses, nothing is lost, and nothing of a file is believed."""

from __future__ import annotations

import datetime as dt
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.facility_sites import Document, at, consistent, host, links, part, site, with_links, without

from gcloud_pk.facility.blocks import blocks_of, natural
from gcloud_pk.facility.drawing import Box, Drawing, Rect, draw, draw_cooling, fitted, text_width, wrapped
from gcloud_pk.facility.labels import power, quorum_of
from gcloud_pk.facility.layers import placed
from gcloud_pk.facility.marks import marks_of
from gcloud_pk.facility.sides import sides_of
from gcloud_pk.facility.svg import STYLE, svg
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.model.site import Site
from gcloud_pk.registry.sites import read_file

VALID = sorted((Path(__file__).parents[1] / "unit/data/sites/valid").glob("*.yaml"))
DAY = dt.date(2026, 11, 1)


def grown(racks: int, *, rooms: int = 1, rows: int = 1, hosts: int = 2, shared: bool = False) -> Document:
    """Return a site of many racks with PDUs and switches of their own, or `shared` by the racks of a room."""
    document = consistent()
    spec: dict[str, Any] = document["spec"]
    spec["power"]["components"] = [one for one in spec["power"]["components"] if one["kind"] != "pdu"]
    spec["network"]["components"] = [one for one in spec["network"]["components"] if one["kind"] != "rack-switch"]
    spec["power"]["links"] = links("utility-a, gen-1, gen-2, gen-3 > ats-a, ats-b", "ats-a > ups-a", "ats-b > ups-b")
    spec["network"]["links"] = links("carrier-1 > core-1", "carrier-2 > core-2")
    spec["racks"], spec["hosts"] = [], []
    for number in range(1, racks + 1):
        room = (number - 1) * rooms // racks + 1
        own = f"room{room}" if shared else f"r{number}"
        for side in "ab":
            if not any(one["name"] == f"pdu-{own}-{side}" for one in spec["power"]["components"][-2:]):
                spec["power"]["components"].append(part(f"pdu-{own}-{side}", "pdu", 40))
                spec["network"]["components"].append(part(f"tor-{own}-{side}", "rack-switch"))
                spec["power"]["links"] += links(f"ups-{side} > pdu-{own}-{side}")
                spec["network"]["links"] += links(f"core-1, core-2 > tor-{own}-{side}")
        spec["racks"].append(
            {
                "name": f"rack-{number}",
                "room": f"hall-{room}",
                "row": "abcdefgh"[(number - 1) % rows],
                "kw": 8,
                "feeds": [f"pdu-{own}-a", f"pdu-{own}-b"],
                "cooling": ["ahu-1", "ahu-2"],
                "switches": [f"tor-{own}-a", f"tor-{own}-b"],
            }
        )
        for place in range(hosts):
            name = f"c{number}" if place == 0 and number in (1, 2, 3) else f"w{number}-{place}"
            role = "control-plane" if name[0] == "c" else "worker"
            one = host(name, f"rack-{number}", 0, role, 0.4)
            spec["hosts"].append(one | {"address": f"10.{number // 250}.{number % 250}.{place + 1}"})
    return document


def drawings(of: Site, findings: tuple[Finding, ...] = ()) -> Iterator[Drawing]:
    yield draw(of, findings)
    yield draw_cooling(of, findings)


def inner(rect: Rect, by: float = 0.5) -> Rect:
    """Return a rectangle that is a little smaller: what only touches is no overlap."""
    return Rect(rect.x + by, rect.y + by, rect.width - 2 * by, rect.height - 2 * by)


def sound(drawing: Drawing) -> None:
    """Assert what must hold for every drawing."""
    leaves = drawing.leaves()
    for one, other in itertools.combinations(leaves, 2):
        assert not one.rect.overlaps(other.rect), (one, other)
    rooms = [box for box in drawing.boxes if box.look == "room"]
    for one, other in itertools.combinations(rooms, 2):
        assert not one.rect.overlaps(other.rect), (one, other)
    for leaf in leaves:
        around = [room for room in rooms if room.rect.overlaps(leaf.rect)]
        assert all(room.rect.holds(leaf.rect) for room in around), leaf
        assert bool(around) == (leaf.look == "block"), leaf
    sheet = Rect(0, 0, drawing.width, drawing.height)
    for rect in [box.rect for box in drawing.boxes] + [label.rect for label in drawing.labels]:
        assert sheet.holds(rect), rect
    words = [(inner(label.rect, 1), label.text) for label in drawing.labels]
    for first, second in itertools.combinations(words, 2):
        assert not first[0].overlaps(second[0]), (first, second)
    shrunk = [inner(leaf.rect) for leaf in leaves]
    edges = {
        (round(y, 3), round(leaf.rect.x, 3), round(leaf.rect.right, 3))
        for leaf in leaves
        for y in (leaf.rect.y, leaf.rect.bottom)
    }
    tips = Counter((round(x, 3), round(y, 3)) for line in drawing.lines for x, y in (line.points[0], line.points[-1]))
    for line in drawing.lines:
        if line.points[0][1] != line.points[-1][1]:  # a line of the key lies flat
            for x, y in ((round(x, 3), round(y, 3)) for x, y in (line.points[0], line.points[-1])):
                arrives = any(edge == y and left <= x <= right for edge, left, right in edges)
                assert arrives or tips[x, y] > 1, (line, x, y)
        for (x1, y1), (x2, y2) in itertools.pairwise(line.points):
            assert x1 == x2 or y1 == y2, line
            stroke = Rect(min(x1, x2), min(y1, y2), max(abs(x1 - x2), 0.01), max(abs(y1 - y2), 0.01))
            assert sheet.holds(stroke), line
            crossed = [rect for rect in shrunk if rect.overlaps(stroke)]
            assert not crossed, (line, crossed)


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_no_valid_site_is_drawn_with_an_overlap(path: Path) -> None:
    found = read_file(path).site
    assert found is not None
    for drawing in drawings(found):
        sound(drawing)


@pytest.mark.parametrize(
    ("racks", "rooms", "rows", "grain"),
    [
        (1, 1, 1, "rack"),
        (3, 1, 1, "rack"),
        (6, 2, 1, "rack"),
        (7, 1, 2, "row"),
        (24, 2, 2, "row"),
        (60, 4, 3, "room"),
        (200, 5, 4, "room"),
        (200, 20, 2, "room"),
    ],
)
def test_many_racks_are_drawn_by_row_or_room(racks: int, rooms: int, rows: int, grain: str) -> None:
    found = Site.model_validate(grown(racks, rooms=rooms, rows=rows))
    blocks = blocks_of(found)
    assert {block.grain for block in blocks} == {grain}
    assert Counter(rack.name for block in blocks for rack in block.racks) == {rack.name: 1 for rack in found.spec.racks}
    for drawing in drawings(found):
        sound(drawing)
        assert len(drawing.leaves()) < 120


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_site_whatsoever_is_drawn_with_an_overlap(data: st.DataObject) -> None:
    racks = data.draw(st.integers(1, 20))
    document = grown(
        racks,
        rooms=data.draw(st.integers(1, min(racks, 9))),
        rows=data.draw(st.integers(1, 4)),
        hosts=data.draw(st.integers(0, 9)),
        shared=data.draw(st.booleans()),
    )
    spec = document["spec"]
    for area in ("power", "cooling", "network"):
        names = [one["name"] for one in spec[area]["components"]]
        order = {name: place for place, name in enumerate(names)}
        for one, other in data.draw(st.lists(st.tuples(st.sampled_from(names), st.sampled_from(names)), max_size=12)):
            if order[one] < order[other]:
                spec[area]["links"].append({"from": one, "to": other})
        gone = data.draw(st.sets(st.sampled_from(names), max_size=4))
        without(area, *gone)(spec)
        field = {"power": "feeds", "cooling": "cooling", "network": "switches"}[area]
        for rack in spec["racks"]:
            rack[field] = [name for name in rack[field] if name not in gone]
    longest = data.draw(st.sampled_from(["ups-a", "ats-b", "chiller-1", "core-2"]))
    renamed = Site.model_validate_json(
        Site.model_validate(document).model_dump_json(by_alias=True).replace(f'"{longest}"', f'"{"long-name-" * 5}x"')
    )
    for drawing in drawings(renamed):
        sound(drawing)


@pytest.mark.parametrize("sources", range(4, 10))
def test_lines_of_many_sources_end_at_the_box_that_they_lead_to(sources: int) -> None:
    names = [f"gen-{number}" for number in range(4, sources + 1)]
    more = [part(name, "generator", 5, group="gens") for name in names]
    found = site(
        lambda spec: spec["power"]["components"].extend([*more, part("utility-b", "utility", 40)]),
        with_links("power", *(f"{name} > ats-a, ats-b" for name in names), "utility-b > ats-b"),
    )
    sound(draw(found))


def texts(drawing: Drawing) -> list[str]:
    return [label.text for label in drawing.labels]


def test_every_element_rack_and_host_of_a_small_site_has_its_name_in_the_drawing() -> None:
    found = site()
    names = {one.name for one in (*found.spec.power.components, *found.spec.network.components)}
    names |= {rack.name for rack in found.spec.racks} | {one.name for one in found.spec.hosts}
    assert names <= set(texts(draw(found)))
    assert {one.name for one in found.spec.cooling.components} <= set(texts(draw_cooling(found)))


def test_every_link_between_elements_is_a_line() -> None:
    found = Site.model_validate(grown(3))
    drawing = draw(found)
    boxes = {box.title.split(":")[0]: box.rect for box in drawing.boxes if box.look == "element"}
    for link in found.spec.power.links:
        arrived = [
            line
            for line in drawing.lines
            if line.points[0][1] == boxes[link.source].bottom and line.points[-1][1] == boxes[link.target].y
            and boxes[link.source].x <= line.points[0][0] <= boxes[link.source].right
            and boxes[link.target].x <= line.points[-1][0] <= boxes[link.target].right
        ]  # fmt: skip
        assert len(arrived) == 1, link


def test_a_link_between_two_that_stand_side_by_side_is_a_line_too() -> None:
    whole = draw(site())
    boxes = {box.title.split(":")[0]: box.rect for box in whole.boxes if box.look == "element"}
    core = boxes["core-1"], boxes["core-2"]
    flat = [(line.points[0][0], line.points[-1][0]) for line in whole.lines
            if core[0].y < line.points[0][1] == line.points[-1][1] < core[0].bottom]  # fmt: skip
    assert flat == [(core[0].right, core[1].x)]


@pytest.mark.parametrize("racks", [1, 3, 6, 24, 200])
def test_lines_of_different_elements_never_lie_on_each_other(racks: int) -> None:
    for drawing in drawings(Site.model_validate(grown(racks, rooms=min(racks, 4), rows=2))):
        # On the same x or y: (from, to, where the line begins).
        spans: dict[tuple[str, float], list[tuple[float, float, object]]] = {}
        for line in drawing.lines:
            for (x1, y1), (x2, y2) in itertools.pairwise(line.points):
                if x1 == x2:
                    spans.setdefault(("x", round(x1)), []).append((min(y1, y2), max(y1, y2), line.points[0]))
                else:
                    spans.setdefault(("y", round(y1)), []).append((min(x1, x2), max(x1, x2), line.points[0]))
        for those in spans.values():
            for one, other in itertools.combinations(those, 2):
                assert one[2] == other[2] or one[1] <= other[0] or other[1] <= one[0], (one, other)


def test_what_a_path_belongs_to_is_told_by_letter_and_dash_and_not_by_colour_alone() -> None:
    drawing = draw(site())
    sides = {box.title.split(":")[0]: box.side for box in drawing.boxes if box.look == "element"}
    assert sides["ups-a"] == sides["pdu-1-a"] == sides["tor-1-a"] == "A"
    assert sides["ups-b"] == sides["pdu-3-b"] == "B"
    assert sides["gen-1"] == sides["utility-a"] == "AB"
    assert {"A", "B", "A+B"} <= set(texts(drawing))
    dashes = dict(re.findall(r"\.site \.wire-(\w+) \{[^}]*stroke-dasharray: ([^;]+);", STYLE))
    assert set(dashes) == {"b", "ab"}
    assert len(set(dashes.values())) == 2
    assert {"path A", "path B", "shared by A and B"} <= set(texts(drawing))


@pytest.mark.parametrize(
    ("ends", "by_position", "expected"),
    [
        pytest.param([("left", "right"), ("left", "right")], True, {"left": "A", "right": "B"}, id="by-position"),
        pytest.param([("left", "right")], False, {"left": "", "right": ""}, id="no-letter-where-none-is-said"),
        pytest.param([("pdu-b", "pdu-a")], True, {"pdu-a": "A", "pdu-b": "B"}, id="names-before-position"),
        pytest.param([("one", "two"), ("two", "one")], True, {"one": "AB", "two": "AB"}, id="crossed-over"),
    ],
)
def test_the_side_of_an_element(ends: list[tuple[str, ...]], by_position: bool, expected: dict[str, str]) -> None:
    assert sides_of([], ends, by_position=by_position) == expected


def test_sides_go_up_every_link_even_in_a_ring() -> None:
    found = sides_of([("top", "pdu-a"), ("pdu-a", "top"), ("top", "pdu-b")], [("pdu-a", "pdu-b")], by_position=True)
    assert found["top"] == "AB"


def finding(subject: str, verdict: Verdict, count: int = 0, **evidence: Any) -> Finding:
    return Finding("DC-003", "t", subject, "e", "o", verdict, evidence={"count": count, **evidence})


def box_of(drawing: Drawing, name: str) -> Box:
    (found,) = [box for box in drawing.boxes if box.look in ("element", "block") and re.match(rf"{name}\b", box.title)]
    return found


def test_what_breaks_the_design_is_marked_with_the_loads_that_it_takes() -> None:
    findings = [
        finding("site/isb-1/power/ups-a", Verdict.FAIL, 6),
        finding("site/isb-1/power/ups-a", Verdict.NOT_CHECKED),
        finding("site/isb-1/network/core-1", Verdict.NOT_CHECKED),
        finding("site/isb-1/power/ups-b", Verdict.PASS),
        finding("site/isb-1/rack/rack-2", Verdict.FAIL, 2),
        finding("site/isb-1/power/link/ats-b/ups-b", Verdict.FAIL, 1),
    ]
    drawing = draw(site(), findings)
    sound(drawing)
    assert [box_of(drawing, name).mark for name in ("ups-a", "core-1", "ups-b", "rack-2", "rack-1")] == [
        "broken", "unknown", "", "broken", "",
    ]  # fmt: skip
    assert {"✗ takes 6", "✗ takes 2", "? not checked", "✗ its loss takes loads"} <= set(texts(drawing))
    assert sum(line.broken for line in drawing.lines) == 1
    assert "✗ its loss takes loads" not in texts(draw(site()))


def test_what_drives_cooling_or_network_alone_says_so_and_has_its_side() -> None:
    found = site(
        lambda spec: spec["power"]["components"].append(part("mech-a", "panel")),
        with_links("power", "ats-a > mech-a"),
        lambda spec: [one.update(feeds=["mech-a", "pdu-1-b"]) for one in spec["cooling"]["components"][:1]],
    )
    drawing = draw(found)
    sound(drawing)
    assert box_of(drawing, "mech-a").side == "A"
    assert "for cooling" in texts(drawing)
    assert not any(text.endswith("kW, for cooling") for text in texts(drawing))


def test_a_broken_element_among_many_stands_by_itself() -> None:
    found = Site.model_validate(grown(24, rooms=2, rows=2))
    drawing = draw(found, [finding("site/isb-1/power/pdu-r4-b", Verdict.FAIL, 2)])
    sound(drawing)
    assert box_of(drawing, "pdu-r4-b").mark == "broken"
    assert "pdu-r2-b" not in box_of(drawing, "pdu-r4-b").title
    assert sum(box.mark == "broken" for box in drawing.leaves()) == 1
    assert any(text.endswith(" +5") for text in texts(drawing))


def test_loads_that_are_not_carried_in_any_case_are_not_blamed_on_an_element() -> None:
    (mark,) = marks_of([finding("site/isb-1/power/ups-a", Verdict.FAIL, 6, fresh=0, element="ups-a")]).values()
    assert mark.word == "✗ short already"


def test_a_site_without_anything_says_so_in_words() -> None:
    found = site(
        lambda spec: [spec.pop(name) for name in ("power", "cooling", "network", "racks", "hosts", "machines")]
    )
    for drawing in drawings(found):
        sound(drawing)
    assert {"The site file says nothing of power.", "The site file names no racks."} <= set(texts(draw(found)))
    assert "Cluster isb-1-a: the site file names no control plane." in texts(draw(found))


def test_control_planes_are_marked_and_their_quorum_is_told() -> None:
    drawing = draw(site())
    assert sum(sign.shape == "diamond" for sign in drawing.signs) == 3 + 1  # the key shows one
    assert any("etcd needs 2 of 3; in 3 racks: any one of them may be lost" in text for text in texts(drawing))


@pytest.mark.parametrize(
    ("racks", "expected"),
    [
        (("rack-1", "rack-2", "rack-3"), "any one of them may be lost"),
        (("rack-1", "rack-1", "rack-3"), "without rack rack-1 there is no quorum"),
        (("rack-1", "rack-2", None), "does not say in which racks"),
    ],
)
def test_a_quorum_is_counted_by_racks(racks: tuple[str | None, ...], expected: str) -> None:
    moves = [at("hosts", f"c{number}", rack=rack) for number, rack in enumerate(racks, start=1)]
    found = site(*moves)
    assert expected in quorum_of(found, found.spec.clusters[0])


def test_a_link_that_passes_a_layer_runs_between_its_boxes() -> None:
    found = site(with_links("power", "utility-a > pdu-1-a", "gen-1 > ups-b"))
    sound(draw(found))


def test_hosts_beyond_a_few_are_counted_by_role() -> None:
    drawing = draw(Site.model_validate(grown(3, hosts=20)))
    assert {"19 workers", "c1"} <= set(texts(drawing))
    assert "w1-5" not in texts(drawing)


def test_the_svg_is_one_well_formed_element_without_script_or_anything_from_elsewhere() -> None:
    for drawing in drawings(site()):
        root = ET.fromstring(svg(drawing))
        names = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert names <= {"svg", "title", "desc", "style", "rect", "polyline", "polygon", "circle", "text"}
        attributes = {name for element in root.iter() for name in element.attrib}
        assert not [name for name in attributes if name.startswith("on") or "href" in name]
        assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", svg(drawing))
        assert root[0].text == drawing.title
        assert root[1].text == drawing.description
        assert root.get("role") == "img"
        assert root.get("aria-labelledby") == f"{drawing.name}-title {drawing.name}-description"


def test_what_a_drawing_is_told_is_escaped() -> None:
    hostile = '</title><script>alert("1")</script>\u202e\x07&'
    findings = [Finding("DC-001", hostile, "site/isb-1/power/ups-a", "e", hostile, Verdict.FAIL)]
    text = svg(draw(site(), findings))
    ET.fromstring(text)
    assert "<script" not in text
    assert "\u202e" not in text
    assert "\\u202e" in text


def _luminance(color: str) -> float:
    def linear(value: int) -> float:
        share = value / 255
        return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(int(color[place : place + 2], 16)) for place in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _rules() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for names, body in re.findall(r"([^{}]+)\{([^}]*)\}", STYLE):
        for name in names.split(","):
            key = name.strip().rpartition(" ")[2].lstrip(".")
            found.setdefault(key, {}).update(re.findall(r"([a-z-]+): (#[0-9a-f]{6})", body))
    return found


def test_text_and_lines_can_be_told_from_their_ground_by_everybody() -> None:
    rules = _rules()
    grounds = [rules[name]["fill"] for name in ("paper", "element", "block", "side-a", "side-b", "room", "broken")]
    for text in ("text", "soft", "broken-text"):
        assert min(_contrast(rules[text]["fill"], ground) for ground in grounds) >= 4.5, text
    for badge in ("badge", "badge-a", "badge-b"):
        assert _contrast(rules["light"]["fill"], rules[badge]["fill"]) >= 4.5
    for stroke in ("element", "side-a", "side-b", "broken", "unknown", "wire", "wire-a", "wire-b", "wire-broken"):
        assert _contrast(rules[stroke]["stroke"], rules["paper"]["fill"]) >= 4.5, stroke


@given(st.lists(st.tuples(st.floats(-500, 500), st.floats(1, 200)), max_size=20))
def test_boxes_of_a_layer_keep_their_order_and_their_distance(wanted: list[tuple[float, float]]) -> None:
    found = placed([goal for goal, _ in wanted], [width for _, width in wanted], space=5)
    for (one, other), ((_, left), (_, right)) in zip(
        itertools.pairwise(found), itertools.pairwise(wanted), strict=True
    ):
        assert other - one >= (left + right) / 2 + 5 - 1e-6


@given(st.text(max_size=80), st.floats(20, 300))
def test_a_text_is_shortened_until_it_fits(text: str, width: float) -> None:
    short = fitted(text, width)
    assert text_width(short, 12) <= width
    assert short == text or "…" in short


def test_words_are_wrapped_and_powers_are_read_as_people_write_them() -> None:
    assert wrapped("Point-of-use switches", 90, 11) == ["Point-of-use", "switches"]
    assert [power(watts) for watts in (400, 12_000, 1_200_000, None)] == ["0.4 kW", "12 kW", "1,200 kW", ""]
    assert sorted(["rack-10", "rack-9", "rack-1-b", "rack-1"], key=natural) == [
        "rack-1",
        "rack-1-b",
        "rack-9",
        "rack-10",
    ]
