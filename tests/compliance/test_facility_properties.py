"""What holds for every design: less is never better, more is never worse, and a slow judge says the same."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import networkx as nx
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.facility_sites import Document, consistent, links, part

from gcloud_pk.facility import tier
from gcloud_pk.model.finding import Verdict
from gcloud_pk.model.site import Site

AREAS = ("power", "cooling", "network")
SOURCES = {"power": "generator", "cooling": "chiller", "network": "carrier"}
TAPS = {"power": "feeds", "cooling": "cooling", "network": "switches"}


def ringed(spec: Document) -> None:
    """Put a ring main of four pipes in the place of the two pipes."""
    cooling = spec["cooling"]
    cooling["components"] = [one for one in cooling["components"] if one["kind"] != "pipe"]
    cooling["components"] += [part(f"ring-{n}", "pipe", kw) for n, kw in enumerate((8, 12, 8, None))]
    cooling["links"] = links(
        "chiller-1, chiller-2, chiller-3 > pump-1, pump-2",
        "pump-1 > ring-0",
        "pump-2 > ring-2",
        *(f"ring-{n} > ring-{(n + 1) % 4} > ring-{n}" for n in range(4)),
        "ring-1 > ahu-1",
        "ring-3 > ahu-2",
    )


@st.composite
def designs(draw: Any) -> Document:
    """Return a site with some links and components gone, other capacities, taps and loads: good ones and bad ones."""
    document = consistent()
    spec = document["spec"]
    if draw(st.booleans()):
        ringed(spec)
    if draw(st.booleans()):
        spec["power"]["components"].append(part("sts-1", "point-of-use-switch", 4))
        spec["power"]["links"] += links("pdu-1-a, pdu-1-b > sts-1")
        spec["hosts"][3]["powerSupplies"] = ["sts-1"]
    for area in AREAS:
        grid = spec[area]
        for _ in range(draw(st.integers(0, 2))):
            grid["links"].pop(draw(st.integers(0, len(grid["links"]) - 1)))
        if draw(st.integers(0, 3)) == 0:
            take_out(spec, area, (draw(st.sampled_from(grid["components"]))["name"],))
        for one in grid["components"]:
            if "kw" in one and area != "network" and draw(st.integers(0, 4)) == 0:
                one["kw"] = draw(st.sampled_from([1, 2, 3, 5, 8, 13]))
    for rack in spec["racks"]:
        for field in TAPS.values():
            if draw(st.integers(0, 7)) == 0:
                rack[field] = rack[field][:1]
    for one in spec["hosts"]:
        one["kw"] = draw(st.sampled_from([0.5, 1.5, 1.5, 2]))
        one["rack"] = f"rack-{draw(st.sampled_from([int(one['name'][1]), 1, 2, 3]))}"
    return document


def take_out(spec: Document, area: str, element: tuple[str, ...]) -> None:
    """Take out a component with its links, or a link in both directions, in place."""
    grid = spec[area]
    if len(element) == 2:
        grid["links"] = [one for one in grid["links"] if {one["from"], one["to"]} != set(element)]
        return
    grid["components"] = [one for one in grid["components"] if one["name"] not in element]
    grid["links"] = [one for one in grid["links"] if not {one["from"], one["to"]} & set(element)]


def elements(spec: Document) -> list[tuple[str, tuple[str, ...]]]:
    return [(area, (one["name"],)) for area in AREAS for one in spec[area]["components"]] + [
        (area, (one["from"], one["to"])) for area in AREAS for one in spec[area]["links"]
    ]


def verdicts(document: Document, level: int = 4) -> dict[tuple[str, str], Verdict]:
    findings = tier.judge(Site.model_validate(copy.deepcopy(document)), level)
    assert len({(one.id, one.subject) for one in findings}) == len(findings)
    return {(one.id, one.subject): one.verdict for one in findings}


@settings(max_examples=25, deadline=None)
@given(designs(), st.data())
def test_taking_a_link_or_a_component_away_never_turns_a_failure_into_a_pass(document: Document, data: Any) -> None:
    before = verdicts(document)
    less = copy.deepcopy(document)
    take_out(less["spec"], *data.draw(st.sampled_from(elements(document["spec"]))))
    after = verdicts(less)
    assert not [key for key, verdict in after.items() if verdict is Verdict.PASS and before.get(key) is Verdict.FAIL]
    if Verdict.FAIL in before.values():
        assert Verdict.FAIL in after.values()


MORE: dict[str, Callable[[Document], None]] = {
    "a generator": lambda spec: _more(spec, "power", part("gen-9", "generator", 9), "gen-9 > ats-a, ats-b"),
    "a UPS beside": lambda spec: _more(
        spec, "power", part("ups-9", "ups", 9), "ats-b > ups-9 > pdu-1-a, pdu-2-a, pdu-3-a, pdu-1-b"
    ),
    "a cross link": lambda spec: _more(spec, "power", None, "ups-a > pdu-1-b, pdu-2-b", "ats-a > ups-b"),
    "a chiller": lambda spec: _more(
        spec,
        "cooling",
        part("chiller-9", "chiller", 9, feeds=["plant-panel-a", "plant-panel-b"]),
        "chiller-9 > pump-1, pump-2",
    ),
    "a pipe": lambda spec: _more(spec, "cooling", part("pipe-9", "pipe"), "pump-1, pump-2 > pipe-9 > ahu-1, ahu-2"),
    "a carrier": lambda spec: _more(spec, "network", part("carrier-9", "carrier"), "carrier-9 > core-1, core-2"),
    "a core switch": lambda spec: _more(
        spec,
        "network",
        part("core-9", "core-switch", feeds=["pdu-2-a", "pdu-2-b"]),
        "carrier-1, carrier-2 > core-9 > tor-1-a, tor-2-a, tor-3-b",
    ),
    "a second supply": lambda spec: spec["hosts"][4].update(powerSupplies=["pdu-2-a", "pdu-2-b", "pdu-3-a"]),
    "a third air handler": lambda spec: spec["racks"][0]["cooling"].extend(
        one for one in ("ahu-1", "ahu-2") if one not in spec["racks"][0]["cooling"]
    ),
}


def _more(spec: Document, area: str, component: Document | None, *chains: str) -> None:
    if component:
        spec[area]["components"].append(component)
    have = {one["name"] for one in spec[area]["components"]}
    listed = [(one["from"], one["to"]) for one in spec[area]["links"]]
    spec[area]["links"] += [
        one for one in links(*chains) if {one["from"], one["to"]} <= have and (one["from"], one["to"]) not in listed
    ]


@settings(max_examples=25, deadline=None)
@given(designs(), st.sampled_from(sorted(MORE)))
def test_a_redundant_way_never_turns_a_pass_into_a_failure(document: Document, what: str) -> None:
    more = copy.deepcopy(document)
    if what == "a second supply":
        document["spec"]["hosts"][4]["powerSupplies"] = ["pdu-2-a", "pdu-2-b"]
    before = verdicts(document)
    MORE[what](more["spec"])
    after = verdicts(more)
    assert not [key for key, verdict in after.items() if verdict is Verdict.FAIL and before.get(key) is Verdict.PASS]


@settings(max_examples=12, deadline=None)
@given(designs(), st.sampled_from([2, 7, 1000]))
def test_capacities_and_loads_scaled_together_change_no_verdict(document: Document, factor: int) -> None:
    scaled = copy.deepcopy(document)
    spec = scaled["spec"]
    for one in (*(one for area in AREAS for one in spec[area]["components"]), *spec["racks"], *spec["hosts"]):
        for field in {"kw", "draws"} & one.keys():
            one[field] *= factor
    assert verdicts(scaled) == verdicts(document)


@settings(max_examples=12, deadline=None)
@given(designs(), st.randoms(use_true_random=False))
def test_the_order_in_the_file_changes_no_verdict(document: Document, random: Any) -> None:
    shuffled = copy.deepcopy(document)
    spec = shuffled["spec"]
    for listed in (
        *(spec[area][key] for area in AREAS for key in ("components", "links")),
        spec["racks"],
        spec["hosts"],
    ):
        random.shuffle(listed)

    def known(document: Document) -> dict[tuple[str, str], Verdict]:
        # a link written in both directions is named by the direction that stands first
        return {(key[0], "/".join(sorted(key[1].split("/")))): verdict for key, verdict in verdicts(document).items()}

    assert known(shuffled) == known(document)


class SlowJudge:
    """Judges one area with one element out anew: reachability, and a maximum flow by somebody else's algorithm."""

    def __init__(self, spec: Document, area: str, out: tuple[str, ...] = ()) -> None:
        self.area = area
        self.graph: nx.DiGraph[str] = nx.DiGraph()
        kinds = {one["name"]: one["kind"] for one in spec[area]["components"]}
        self.graph.add_node("source")
        for one in spec[area]["components"]:
            name = one["name"]
            if name in out and len(out) == 1:
                continue
            capacity = {} if one.get("kw") is None or area == "network" else {"capacity": round(one["kw"] * 1000)}
            self.graph.add_edge(f"{name}<", f"{name}>", **capacity)
            if one["kind"] == SOURCES[area]:
                self.graph.add_edge("source", f"{name}<")
        for one in spec[area]["links"]:
            ends = (one["from"], one["to"])
            if set(ends) == set(out) or (len(out) == 1 and out[0] in ends):
                continue
            ways = [ends, ends[::-1]] if area == "network" and kinds[ends[0]] == kinds[ends[1]] else [ends]
            self.graph.add_edges_from((f"{source}>", f"{target}<") for source, target in ways)
        self.wanted = dict(self._loads(spec, out))

    def _loads(self, spec: Document, out: tuple[str, ...]) -> Iterator[tuple[str, int]]:
        racks = {one["name"]: one for one in spec["racks"]}
        filled = {one["rack"] for one in spec["hosts"]}
        for one in (*spec["hosts"], *(rack for rack in spec["racks"] if rack["name"] not in filled)):
            taps = racks[one.get("rack", one["name"])][TAPS[self.area]]
            if self.area == "power":
                taps = one.get("powerSupplies", taps)
            if out == ("sts-1",) and taps == ["sts-1"]:
                continue  # a point-of-use switch is part of its load
            watts = round(one["kw"] * 1000)
            self.graph.add_node(one["name"])
            self.graph.add_edges_from((f"{tap}>", one["name"]) for tap in taps)
            self.graph.add_edge(one["name"], "sink", capacity=watts)
            yield one["name"], watts

    @property
    def broken(self) -> bool:
        reached = nx.descendants(self.graph, "source")
        if not set(self.wanted) <= reached:
            return True
        if self.area == "network" or not self.wanted:
            return False
        return bool(nx.maximum_flow_value(self.graph, "source", "sink") < sum(self.wanted.values()))


@settings(max_examples=10, deadline=None)
@given(designs())
def test_each_element_is_judged_as_by_taking_it_out_and_counting_anew(document: Document) -> None:
    spec = document["spec"]
    found = verdicts(document, 3)
    ids = {"power": ("DC-003", "DC-004", "DC-005"), "cooling": ("DC-013", "DC-014", "DC-015"),
           "network": ("DC-024", "DC-025")}  # fmt: skip
    for area, element in elements(spec):
        at = f"site/isb-1/{area}/" + (element[0] if len(element) == 1 else "/".join(("link", *element)))
        own = [found[check, at] for check in ids[area] if (check, at) in found]
        if not own:  # the other direction of a link
            assert f"site/isb-1/{area}/link/{element[1]}/{element[0]}" in {subject for _, subject in found}
            continue
        assert own == [Verdict.FAIL if SlowJudge(spec, area, element).broken else Verdict.PASS], (area, element)
    for area, check in (("power", "DC-001"), ("cooling", "DC-011"), ("network", "DC-021")):
        assert (found[check, f"site/isb-1/{area}"] is Verdict.FAIL) == SlowJudge(spec, area).broken


@settings(max_examples=12, deadline=None)
@given(designs())
def test_a_host_has_two_ways_exactly_where_two_can_be_found_that_share_nothing(document: Document) -> None:
    spec = document["spec"]
    slow = SlowJudge(spec, "power")
    graph: nx.DiGraph[str] = nx.DiGraph()
    for source, target in slow.graph.edges:
        plain = {"capacity": 1} if source != "source" and target != "sink" else {}
        graph.add_edge(source, target, **plain)
    own = {one["name"] for one in spec["hosts"] if one.get("powerSupplies") == ["sts-1"]}
    wanted = [*(name for name in slow.wanted if name not in own), *(["sts-1<"] if own else [])]
    single = any(name not in graph or nx.maximum_flow_value(graph, "source", name) < 2 for name in wanted)
    assert (verdicts(document, 3)["DC-002", "site/isb-1/power"] is Verdict.FAIL) == single


@st.composite
def thirsty(draw: Any) -> Document:
    """Return such a site whose pumps, air handlers and switches draw more or less, from fewer or more feeds."""
    document: Document = draw(designs())
    spec = document["spec"]
    power = [one["name"] for one in spec["power"]["components"] if one["kind"] in {"panel", "pdu", "ups"}]
    for area, field in (("cooling", "draws"), ("network", "kw")):
        for one in spec[area]["components"]:
            if "feeds" in one:
                one[field] = draw(st.sampled_from([0.05, 0.2, 0.5, 1]))
                if power and draw(st.integers(0, 5)) == 0:
                    one["feeds"] = draw(st.lists(st.sampled_from(power), min_size=1, max_size=2, unique=True))
    return document


@settings(max_examples=15, deadline=None)
@given(thirsty())
def test_what_power_drives_is_short_exactly_where_counting_it_with_the_hosts_says_so(document: Document) -> None:
    spec = document["spec"]
    findings = tier.judge(Site.model_validate(copy.deepcopy(document)), 3)
    told = {
        one.subject.removeprefix("site/isb-1/power").removeprefix("/")
        for one in findings
        if one.id == "DC-007" and one.verdict is Verdict.FAIL and " short, shared by " in one.observed
    }
    trials: list[tuple[str, ...]] = [()]
    trials += [(one["name"],) for one in spec["power"]["components"]]
    trials += [(one["from"], one["to"]) for one in spec["power"]["links"]]
    base = _short_with_what_is_driven(SlowJudge(spec, "power"), spec)
    for out in trials:
        at = "/".join(("link", *out)) if len(out) == 2 else "".join(out)
        judge = SlowJudge(spec, "power", out)
        alone = nx.maximum_flow_value(judge.graph, "source", "sink") < _reachable(judge)
        short = _short_with_what_is_driven(judge, spec)
        if not short:
            assert at not in told, at
        elif not alone and (not out or not base):  # hosts alone are carried: what is driven is what makes it short
            assert at in told, at


def _reachable(judge: SlowJudge) -> int:
    reached = nx.descendants(judge.graph, "source")
    return sum(watts for name, watts in judge.wanted.items() if name in reached)


def _short_with_what_is_driven(judge: SlowJudge, spec: Document) -> bool:
    graph = judge.graph.copy()
    reached = nx.descendants(graph, "source")
    wanted = _reachable(judge)
    for area, field in (("cooling", "draws"), ("network", "kw")):
        for one in spec[area]["components"]:
            taps = [f"{tap}>" for tap in one.get("feeds", ()) if f"{tap}>" in reached]
            if taps:
                graph.add_edges_from((tap, f"{area} {one['name']}") for tap in taps)
                graph.add_edge(f"{area} {one['name']}", "sink", capacity=round(one[field] * 1000))
                wanted += round(one[field] * 1000)
    return bool(nx.maximum_flow_value(graph, "source", "sink") < wanted)
