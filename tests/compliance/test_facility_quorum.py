"""Quorum and endpoint, element by element, against a slow judge that builds what is left anew for each of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import networkx as nx
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.facility_sites import Document, consistent, part

from gcloud_pk.facility import tier
from gcloud_pk.model.finding import Verdict
from gcloud_pk.model.site import Site

AREAS = ("power", "cooling", "network")
SOURCES = {"power": "generator", "cooling": "chiller", "network": "carrier"}
Element = tuple[str, ...]


@st.composite
def designs(draw: Any) -> Document:
    """Return a site where capacity is no matter, with links gone or added, and feeds and switches drawn anew."""
    document = consistent()
    spec = document["spec"]
    for area in AREAS:
        grid = spec[area]
        for one in grid["components"]:
            if "kw" in one and area != "network":  # there it is what it draws
                one["kw"] = 1000
        names = [one["name"] for one in grid["components"]]
        kinds = {one["name"]: one["kind"] for one in grid["components"]}
        for _ in range(draw(st.integers(0, 4))):
            grid["links"].pop(draw(st.integers(0, len(grid["links"]) - 1)))
        for _ in range(draw(st.integers(0, 3))):
            one, other = sorted(draw(st.lists(st.integers(0, len(names) - 1), min_size=2, max_size=2, unique=True)))
            link = {"from": names[one], "to": names[other]}
            if kinds[names[other]] not in {"utility", "generator", "carrier"} and link not in grid["links"]:
                grid["links"].append(link)
    feeds = st.lists(
        st.sampled_from([one["name"] for one in spec["power"]["components"] if one["kind"] in {"pdu", "panel"}]),
        min_size=1, max_size=2, unique=True,
    )  # fmt: skip
    switches = [one["name"] for one in spec["network"]["components"] if one["kind"] != "carrier"]
    for one in (*spec["cooling"]["components"], *spec["network"]["components"]):
        if "feeds" in one and draw(st.booleans()):
            one["feeds"] = draw(feeds)
    for one in spec["network"]["components"]:
        if one["kind"] == "core-switch" and draw(st.integers(0, 3)) == 0:
            one["kind"] = "router"
        if "feeds" in one and draw(st.integers(0, 3)) == 0:
            one["rack"] = f"rack-{draw(st.integers(1, 3))}"
    for rack in spec["racks"]:
        if draw(st.booleans()):
            rack["switches"] = draw(st.lists(st.sampled_from(switches), min_size=1, max_size=2, unique=True))
    return document


class SlowJudge:
    """What is left of a site with one element, or one rack, out."""

    def __init__(self, spec: Document, area: str = "", out: Element = ()) -> None:
        gone = {one: {out} if one == area else set() for one in AREAS}
        for one in AREAS if area == "rack" else ():
            gone[one] |= {(c["name"],) for c in spec[one]["components"] if self._stands(spec, one, c) == out[1]}
        live = {"power": self._live(spec, "power", gone["power"])}
        for one in ("cooling", "network"):
            dead = {(c["name"],) for c in spec[one]["components"] if "feeds" in c and not live["power"] & {*c["feeds"]}}
            gone[one] |= dead
            live[one] = self._live(spec, one, gone[one])
        racks = {one["name"]: one for one in spec["racks"] if out != ("rack", one["name"])}
        planes = [one for one in spec["hosts"] if one["role"] == "control-plane" and one["rack"] in racks]
        up = [
            racks[one["rack"]]
            for one in planes
            if live["power"] & {*racks[one["rack"]]["feeds"]} and live["cooling"] & {*racks[one["rack"]]["cooling"]}
        ]
        answering = [rack for rack in up if live["network"] & {*rack["switches"]}]
        inside = self._graph(spec, "network", gone["network"]).to_undirected()
        inside.remove_nodes_from([one["name"] for one in spec["network"]["components"] if one["kind"] == "carrier"])
        groups = [[other for other in up if other is one or self._joined(inside, one, other)] for one in up]
        largest = max(groups, key=len, default=[])
        self.together = len(largest)
        if len(largest) >= 2:  # of three: a quorum
            answering = [rack for rack in answering if rack in largest]
            segment = inside.subgraph([c["name"] for c in spec["network"]["components"] if c["kind"] != "router"])
            pairs = [(one, other) for one in answering for other in answering if one is not other]
            if not all(self._joined(segment, *pair) for pair in pairs):
                answering = []  # the endpoint's address cannot move between all of them
        self.answering = len(answering)

    @staticmethod
    def _stands(spec: Document, area: str, component: Document) -> str | None:
        field = {"power": "feeds", "cooling": "cooling", "network": "switches"}[area]
        listing = [rack["name"] for rack in spec["racks"] if component["name"] in rack[field]]
        return component.get("rack") or (listing[0] if len(listing) == 1 else None)

    @staticmethod
    def _graph(spec: Document, area: str, gone: Iterable[Element]) -> nx.DiGraph[str]:
        kinds = {one["name"]: one["kind"] for one in spec[area]["components"]}
        graph: nx.DiGraph[str] = nx.DiGraph()
        graph.add_nodes_from(kinds)
        for one in spec[area]["links"]:
            ends = (one["from"], one["to"])
            if ends not in gone:
                graph.add_edge(*ends)
                if area == "network" and kinds[ends[0]] == kinds[ends[1]]:
                    graph.add_edge(*ends[::-1])
        graph.remove_nodes_from([one[0] for one in gone if len(one) == 1])
        return graph

    def _live(self, spec: Document, area: str, gone: Iterable[Element]) -> set[str]:
        graph = self._graph(spec, area, gone)
        sources = {one["name"] for one in spec[area]["components"] if one["kind"] == SOURCES[area]} & set(graph)
        return sources.union(*(nx.descendants(graph, one) for one in sources))

    @staticmethod
    def _joined(inside: nx.Graph[str], one: Document, other: Document) -> bool:
        ends = [(a, b) for a in one["switches"] for b in other["switches"] if a in inside and b in inside]
        return any(nx.has_path(inside, a, b) for a, b in ends)


@settings(max_examples=40, deadline=None)
@given(designs())
def test_quorum_and_endpoint_are_lost_exactly_where_counting_anew_says_so(document: Document) -> None:
    spec = document["spec"]
    findings = tier.judge(Site.model_validate(document), 3)
    whole = SlowJudge(spec)
    trials = {
        f"{area}/" + (out[0] if len(out) == 1 else "/".join(("link", *out))): SlowJudge(spec, area, out)
        for area in AREAS
        for out in [
            *((one["name"],) for one in spec[area]["components"]),
            *((one["from"], one["to"]) for one in spec[area]["links"]),
        ]
    } | {f"rack/{one['name']}": SlowJudge(spec, "rack", ("rack", one["name"])) for one in spec["racks"]}
    for check, lost, all_lost in (
        ("DC-032", {at for at, left in trials.items() if left.together < 2}, whole.together < 2),
        ("DC-033", {at for at, left in trials.items() if not left.answering}, not whole.answering),
    ):
        told = {one.subject.removeprefix("site/isb-1/") for one in findings
                if one.id == check and one.verdict is Verdict.FAIL}  # fmt: skip
        assert told == ({"cluster/isb-1-a"} if all_lost else lost), check


def test_a_switch_that_has_no_power_in_any_case_joins_nobody() -> None:
    document = consistent()
    spec = document["spec"]
    spec["power"]["components"].append(part("panel-c", "panel"))  # nothing feeds it
    next(one for one in spec["network"]["components"] if one["name"] == "core-2")["feeds"] = ["panel-c"]
    findings = tier.judge(Site.model_validate(document), 3)
    lost = {one.subject for one in findings if one.id == "DC-032" and one.verdict is Verdict.FAIL}
    assert "site/isb-1/network/core-1" in lost
