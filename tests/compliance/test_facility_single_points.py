"""What an assessor looks for: single points that a graph may hide. Each must be found, and told by its name."""

from __future__ import annotations

import datetime as dt

import pytest
from tests.compliance.test_facility_tier import Change, about, failing, only_host, unknown
from tests.unit.facility_sites import (
    Document,
    at,
    host,
    links,
    part,
    site,
    with_links,
    with_part,
    without,
    without_link,
)

from gcloud_pk.facility import tier
from gcloud_pk.model.finding import Verdict

TODAY = dt.date(2026, 11, 22)
TORS = [f"tor-{n}-{s}" for n in (1, 2, 3) for s in "ab"]


def routed(spec: Document) -> None:
    """Join the racks by routers alone: each rack is a network of its own."""
    for one in spec["network"]["components"]:
        if one["kind"] == "core-switch":
            one["kind"] = "router"


def stranded(spec: Document) -> None:
    """Reach c3 alone by carriers once core-1 is out, while c1 and c2 alone have a quorum."""
    spec["network"]["components"].append(
        part("core-3", "core-switch", 0.02, rack="rack-3", feeds=["pdu-3-a", "pdu-3-b"])
    )
    spec["network"]["links"] = links(
        "carrier-1, carrier-2 > core-1",
        "carrier-1, carrier-2 > core-3",
        "core-2 > tor-1-a, tor-1-b, tor-2-a, tor-2-b",
        "core-1 > tor-1-a, tor-1-b, tor-2-a, tor-2-b, tor-3-a, tor-3-b",
        "core-3 > tor-3-a, tor-3-b",
    )


def apart(spec: Document) -> None:
    """Give the workers two racks whose switches only carriers join to the rest."""
    for rack in ("rack-4", "rack-5"):
        switches = [f"tor-{rack}-{side}" for side in "ab"]
        spec["racks"].append({**spec["racks"][2], "name": rack, "switches": switches})
        for number, name in enumerate(switches, 1):
            spec["network"]["components"].append(part(name, "rack-switch", 0.01, feeds=["pdu-3-a", "pdu-3-b"]))
            spec["network"]["links"] += links(f"carrier-{number} > {name}")
    for number, one in enumerate(spec["hosts"][3:]):
        one.update(rack=("rack-4", "rack-5")[number % 2], kw=0.5)


CASES: dict[str, tuple[list[Change], set[str]]] = {
    "both feeds of a rack from one output of a UPS": (
        [
            with_part("power", part("out-a", "panel")),
            without_link("power", "ups-a", "pdu-1-a"),
            without_link("power", "ups-b", "pdu-1-b"),
            with_links("power", "ups-a > out-a > pdu-1-a, pdu-1-b"),
        ],
        {"DC-002 power", "DC-003 power/ups-a", "DC-004 power/out-a", "DC-004 power/ats-a"},
    ),
    "one transfer switch behind all generators": (
        [
            with_part("power", part("ats-0", "transfer-switch")),
            *(without_link("power", f"gen-{n}", f"ats-{s}") for n in (1, 2, 3) for s in "ab"),
            with_links("power", "gen-1, gen-2, gen-3 > ats-0 > ats-a, ats-b"),
        ],
        {"DC-002 power", "DC-004 power/ats-0", "DC-007 power/ats-0"},
    ),
    "generators that carry the hosts and not what cools them": (
        [at("cooling.components", f"chiller-{n}", draws=1) for n in (1, 2, 3)],
        {f"DC-007 power/gen-{n}" for n in (1, 2, 3)},
    ),
    "a panel too small for the pumps that hang on it": (
        [at("power.components", f"plant-panel-{s}", kw=0.2) for s in "ab"],
        {"DC-007 power"},
    ),
    "both core switches in one rack": (
        [at("network.components", "core-2", rack="rack-1", feeds=["pdu-2-a", "pdu-2-b"])],
        {"DC-009 rack/rack-1", "DC-032 rack/rack-1", "DC-033 rack/rack-1", "DC-034 cluster/isb-1-a"},
    ),
    "both core switches in a rack without hosts, which alone lists them": (
        [
            lambda spec: [one.pop("rack", None) for one in spec["network"]["components"]],
            lambda spec: spec["racks"].append({"name": "rack-n", "kw": 0.1, "feeds": ["pdu-3-a", "pdu-3-b"],
                                               "cooling": ["ahu-1", "ahu-2"], "switches": ["core-1", "core-2"]}),
        ],
        {"DC-009 rack/rack-n", "DC-032 rack/rack-n", "DC-033 rack/rack-n", "DC-034 cluster/isb-1-a"},
    ),
    "core switches in two racks, both fed from the PDUs of one": (
        [at("network.components", "core-2", feeds=["pdu-1-a", "pdu-1-b"])],
        {"DC-009 rack/rack-1"},
    ),
    "both carriers into one router": (
        [
            with_part("network", part("router-1", "router", 0.02, rack="rack-3", feeds=["pdu-3-a", "pdu-3-b"])),
            without_link("network", "carrier-1", "core-1"),
            without_link("network", "carrier-2", "core-2"),
            with_links("network", "carrier-1, carrier-2 > router-1 > core-1, core-2"),
        ],
        {"DC-022 network", "DC-024 network/router-1", "DC-033 network/router-1", "DC-009 rack/rack-3"},
    ),
    "racks that routers alone join: the address of the API cannot move": (
        [routed],
        {"DC-033 cluster/isb-1-a"},
    ),
    "one switch that joins the segment of the API, beside routers that join the racks too": (
        [
            with_part("network", part("router-9", "router", 0.02, rack="rack-3", feeds=["pdu-3-a", "pdu-3-b"])),
            at("network.components", "core-1", kind="router"),
            with_links("network", f"router-9 > {', '.join(TORS)}"),
        ],
        {"DC-033 network/core-2"},
    ),
    "a control plane that carriers reach, and none of the quorum": (
        [stranded],
        {"DC-033 network/core-1"},
    ),
    "workers that control planes reach by way of carriers only": (
        [apart],
        {"DC-034 cluster/isb-1-a"},
    ),
    "storage hosts in the other racks are no workers": (
        [only_host("w2", role="storage"), only_host("w3", role="gateway")],
        {"DC-034 cluster/isb-1-a"},
    ),
    "no host for tenants at all": (
        [only_host(f"w{n}", role="storage") for n in (1, 2, 3)],
        {"DC-034 cluster/isb-1-a"},
    ),
    "one pipe of a ring that all pumps feed": (
        [
            without_link("cooling", "pump-1", "pipe-b"),
            without_link("cooling", "pump-2", "pipe-b"),
            with_links("cooling", "pipe-a > pipe-b", "pipe-b > pipe-a"),
        ],
        {"DC-012 cooling", "DC-014 cooling/pipe-a"},
    ),
}  # fmt: skip
"""The case → changes of the consistent site, and findings that must be among those that fail."""


@pytest.mark.parametrize("case", CASES)
def test_a_single_point_is_found(case: str) -> None:
    changes, expected = CASES[case]
    assert failing(tier.judge(site(*changes), 3, TODAY)) >= expected


def test_what_stands_in_a_lost_rack_falls_with_it_and_is_told_with_its_loads() -> None:
    both = site(at("network.components", "core-2", rack="rack-1", feeds=["pdu-2-a", "pdu-2-b"]))
    one = about(tier.judge(both, 3, TODAY), "DC-009", "rack/rack-1")
    assert one.observed == "no network for 4 hosts in rack-2, rack-3: c2, w2, c3 and 1 more"
    assert one.evidence["loads"] == ["c2", "w2", "c3", "w3"]


def test_switches_of_unknown_racks_in_different_rooms_fall_together_with_none() -> None:
    rooms = [at("network.components", f"core-{n}", rack=None, room=f"meet-me-{n}") for n in (1, 2)]
    assert about(tier.judge(site(*rooms), 3, TODAY), "DC-009", "").verdict is Verdict.PASS
    shared = [at("network.components", f"core-{n}", rack=None, room="meet-me-1") for n in (1, 2)]
    found = about(tier.judge(site(*shared), 3, TODAY), "DC-009", "")
    assert (found.verdict, found.reason) == (
        Verdict.NOT_CHECKED, "the rack of core-1, core-2 is not said: it may be one for all of them",
    )  # fmt: skip


def test_a_pdu_in_another_room_than_the_rack_that_lists_it_does_not_fall_with_it() -> None:
    apart = [at("power.components", f"pdu-1-{s}", room="power-room") for s in "ab"]
    fed = at("network.components", "core-2", feeds=["pdu-1-a", "pdu-1-b"])
    assert "DC-009 rack/rack-1" in failing(tier.judge(site(fed), 3, TODAY))
    assert "DC-009 rack/rack-1" not in failing(tier.judge(site(fed, *apart), 3, TODAY))


def test_a_lost_room_takes_what_stands_in_its_racks() -> None:
    def roomed(spec: Document) -> None:
        for one in spec["racks"]:
            one["room"] = "hall-2" if one["name"] == "rack-3" else "hall-1"
        for one in (*spec["power"]["components"], *spec["cooling"]["components"]):
            one["room"] = f"own-{one['name']}"

    one = about(tier.judge(site(roomed), 4, TODAY), "DC-042", "room/hall-1")
    assert one.verdict is Verdict.FAIL  # both core switches stand in racks of that room
    assert one.evidence["loads"] == ["c3", "w3"]


def test_what_is_driven_is_told_with_what_it_lacks() -> None:
    thirsty = site(*(at("cooling.components", f"chiller-{n}", draws=1) for n in (1, 2, 3)))
    one = about(tier.judge(thirsty, 3, TODAY), "DC-007", "power/gen-1")
    assert one.observed.startswith("2.4 kW short, shared by 6 hosts and 15 components in rack-1, rack-2, rack-3: ")
    assert one.evidence["effect"] == "degraded"


def test_a_host_more_than_capacity_takes_the_quorum_where_what_cools_draws_the_rest() -> None:
    thirsty = site(*(at("cooling.components", f"chiller-{n}", draws=1) for n in (1, 2, 3)))
    assert {f"DC-032 power/gen-{n}" for n in (1, 2, 3)} <= failing(tier.judge(thirsty, 3, TODAY))


def test_nothing_of_this_fails_where_a_point_is_doubled() -> None:
    fine = site(
        without("network", "carrier-2"),
        with_part("network", part("carrier-3", "carrier")),
        with_links("network", "carrier-3 > core-2"),
        lambda spec: spec["hosts"].append(host("s1", "rack-1", 40, "storage", 0.1)),
    )
    findings = tier.judge(fine, 3, TODAY)
    assert (failing(findings), unknown(findings)) == (set(), set())
