"""The verdicts on a design: what each element takes, and what a site file cannot show."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence

import pytest
from tests.unit.facility_sites import (
    Document,
    at,
    consistent,
    host,
    links,
    part,
    site,
    with_links,
    with_part,
    without,
    without_link,
)

from gcloud_pk.errors import InvalidInputError
from gcloud_pk.facility import tier
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.model.site import Site

Change = Callable[[Document], object]
TODAY = dt.date(2026, 11, 22)


def failing(findings: Iterable[Finding]) -> set[str]:
    """Return `DC-003 power/ups-a` of each finding that fails; without the site's own name."""
    return {
        f"{one.id} {one.subject.removeprefix('site/isb-1').removeprefix('/')}".strip()
        for one in findings
        if one.verdict is Verdict.FAIL
    }


def unknown(findings: Iterable[Finding]) -> set[str]:
    """Return the same of each that is not checked."""
    return {
        f"{one.id} {one.subject.removeprefix('site/isb-1').removeprefix('/')}".strip()
        for one in findings
        if one.verdict is Verdict.NOT_CHECKED
    }


def about(findings: Sequence[Finding], check: str, subject: str) -> Finding:
    """Return the one finding of a check on a subject."""
    (one,) = [one for one in findings if one.id == check and one.subject == f"site/isb-1/{subject}".rstrip("/")]
    return one


def only_host(name: str, **fields: object) -> Change:
    return at("hosts", name, **fields)


def test_the_site_of_these_tests_is_consistent_with_tier_three() -> None:
    findings = tier.judge(site(), 3, TODAY)
    assert {one.verdict for one in findings} == {Verdict.PASS}
    assert tier.sentence(findings) == "design consistent with Tier III"


def test_no_finding_ever_says_certified() -> None:
    for changes in CASES.values():
        for one in tier.judge(site(*changes[0]), 4, TODAY):
            assert "certif" not in f"{one.title}{one.expected}{one.observed}{one.reason}".lower()


def endpoint(place: str) -> Change:
    return lambda spec: spec["clusters"][0].update(endpoint=f"https://{place}:6443")


def side_a(check: str | None = None) -> set[str]:
    """Return what fails where everything on the A side, down to its UPS, cannot be spared."""
    own = {"ups-a": "DC-003", "ats-a": "DC-004", "link/ats-a/ups-a": "DC-005"}
    return {f"{check or its} power/{name}" for name, its in own.items()}


CASES: dict[str, tuple[list[Change], set[str]]] = {
    "a PDU for both feeds of a rack": (
        [at("racks", "rack-2", feeds=["pdu-2-a"])],
        {"DC-002 power", "DC-004 power/pdu-2-a", "DC-003 power/ups-a", "DC-004 power/ats-a"}
        | {"DC-005 power/link/ats-a/ups-a", "DC-005 power/link/ups-a/pdu-2-a"},
    ),
    "a host with one supply": (
        [only_host("w3", powerSupplies=["pdu-3-b"])],
        {"DC-002 power", "DC-004 power/pdu-3-b", "DC-003 power/ups-b", "DC-004 power/ats-b"}
        | {"DC-005 power/link/ats-b/ups-b", "DC-005 power/link/ups-b/pdu-3-b"},
    ),
    "a host with one supply behind a point-of-use switch": (
        [
            with_part("power", part("sts-w3", "point-of-use-switch", 4)),
            with_links("power", "pdu-3-a, pdu-3-b > sts-w3"),
            only_host("w3", powerSupplies=["sts-w3"]),
        ],
        set(),
    ),
    "a point-of-use switch with one way": (
        [
            with_part("power", part("sts-w3", "point-of-use-switch", 4)),
            with_links("power", "pdu-3-a > sts-w3"),
            only_host("w3", powerSupplies=["sts-w3"]),
        ],
        {"DC-002 power", "DC-004 power/pdu-3-a", "DC-003 power/ups-a", "DC-004 power/ats-a"}
        | {"DC-005 power/link/ats-a/ups-a", "DC-005 power/link/ups-a/pdu-3-a", "DC-005 power/link/pdu-3-a/sts-w3"},
    ),
    "a point-of-use switch that feeds two racks is none": (
        [
            with_part("power", part("sts", "point-of-use-switch", 4)),
            with_links("power", "pdu-3-a, pdu-3-b > sts"),
            only_host("w3", powerSupplies=["sts"], kw=0.5),
            only_host("w2", powerSupplies=["sts"], kw=0.5),
        ],
        {"DC-002 power", "DC-004 power/sts", "DC-009 rack/rack-3"},
    ),
    "a point-of-use switch far from the point of use": (
        [
            with_part("power", part("sts", "point-of-use-switch", 10)),
            without_link("power", "ups-a", "pdu-1-a"),
            without_link("power", "ups-b", "pdu-1-b"),
            with_links("power", "ups-a, ups-b > sts > pdu-1-a, pdu-1-b"),
        ],
        {f"{check} power/sts" for check in ("DC-004", "DC-007")} | {"DC-002 power"},
    ),
    "generators of which none can be spared": (
        [without("power", "gen-3")],
        {f"{check} power/gen-{n}" for check in ("DC-003", "DC-007", "DC-032", "DC-033") for n in (1, 2)},
    ),
    "no generators": (
        [without("power", "gen-1", "gen-2", "gen-3")],
        {"DC-001 power", "DC-002 power", "DC-007 power"}
        | {f"DC-03{n} cluster/isb-1-a" for n in (2, 3, 4)}
        | {f"DC-004 power/ats-{s}" for s in "ab"}
        | {f"DC-003 power/{name}" for name in ("utility-a", "ups-a", "ups-b")}
        | {f"DC-004 power/pdu-{n}-{s}" for n in (1, 2, 3) for s in "ab"}
        | {f"DC-004 power/plant-panel-{s}" for s in "ab"}
        | {f"DC-005 power/link/utility-a/ats-{s}" for s in "ab"}
        | {f"DC-005 power/link/ats-{s}/{name}" for s in "ab" for name in (f"ups-{s}", f"plant-panel-{s}")}
        | {f"DC-005 power/link/ups-{s}/pdu-{n}-{s}" for n in (1, 2, 3) for s in "ab"},
    ),
    "a UPS that cannot carry the other side's load": (
        [at("power.components", "ups-b", kw=8)],
        side_a("DC-007") | side_a("DC-032") | side_a("DC-033") | side_a(),
    ),
    "a spare UPS that does not reach the racks": (
        [
            at("power.components", "ups-b", kw=8),
            with_part("power", part("ups-c", "ups", 99)),
            with_links("power", "ats-b > ups-c"),
        ],
        side_a("DC-007") | side_a("DC-032") | side_a("DC-033") | side_a(),
    ),
    "a PDU too small for its rack alone": (
        [at("power.components", "pdu-1-b", kw=2)],
        {"DC-004 power/pdu-1-a", "DC-005 power/link/ups-a/pdu-1-a", "DC-003 power/ups-a", "DC-004 power/ats-a"}
        | {"DC-005 power/link/ats-a/ups-a"}
        | {f"DC-007 power/{name}" for name in ("pdu-1-a", "link/ups-a/pdu-1-a", "ups-a", "ats-a", "link/ats-a/ups-a")},
    ),
    "one transfer switch for both sides": (
        [
            without_link("power", "ats-b", "ups-b"),
            without_link("power", "ats-b", "plant-panel-b"),
            with_links("power", "ats-a > ups-b, plant-panel-b"),
        ],
        {"DC-002 power", "DC-004 power/ats-a", "DC-007 power/ats-a", "DC-032 power/ats-a", "DC-033 power/ats-a"},
    ),
    "chillers of which none can be spared": (
        [without("cooling", "chiller-3"), at("cooling.components", "chiller-1", kw=5)],
        {"DC-013 cooling/chiller-1", "DC-013 cooling/chiller-2", "DC-032 cooling/chiller-1", "DC-032 cooling/chiller-2"}
        | {"DC-033 cooling/chiller-1", "DC-033 cooling/chiller-2"},
    ),
    "one pipe for both air handlers": (
        [without("cooling", "pipe-b")],
        {"DC-012 cooling", "DC-014 cooling/pipe-a", "DC-032 cooling/pipe-a", "DC-033 cooling/pipe-a"},
    ),
    "a rack with one air handler": (
        [at("racks", "rack-1", cooling=["ahu-1"])],
        {"DC-012 cooling", "DC-013 cooling/ahu-1"},
    ),
    "pumps on one panel": (
        [at("cooling.components", f"pump-{n}", feeds=["plant-panel-a"]) for n in (1, 2)],
        {f"{check} power/{name}" for check in ("DC-007", "DC-032", "DC-033") for name in ("plant-panel-a", "ats-a")}
        | {f"{check} power/link/ats-a/plant-panel-a" for check in ("DC-007", "DC-032", "DC-033")},
    ),
    "one carrier": (
        [without("network", "carrier-2")],
        {"DC-022 network", "DC-024 network/carrier-1", "DC-033 network/carrier-1", "DC-024 network/core-1"}
        | {"DC-033 network/core-1", "DC-025 network/link/carrier-1/core-1", "DC-033 network/link/carrier-1/core-1"}
        | {"DC-009 rack/rack-1", "DC-033 rack/rack-1", "DC-034 cluster/isb-1-a"},
    ),
    "a rack with one switch": (
        [at("racks", "rack-3", switches=["tor-3-a"])],
        {"DC-022 network", "DC-024 network/tor-3-a"},
    ),
    "two control planes in one rack": (
        [only_host("c2", rack="rack-1", kw=0.5)],
        {"DC-031 cluster/isb-1-a", "DC-032 rack/rack-1"},
    ),
    "an even number of control planes": (
        [lambda spec: spec["hosts"].append(host("c4", "rack-3", 9, "control-plane", 0.01))],
        {"DC-031 cluster/isb-1-a", "DC-032 rack/rack-3"},
    ),
    "one control plane": (
        [only_host("c2", role="worker"), only_host("c3", role="worker")],
        {"DC-031 cluster/isb-1-a", "DC-032 rack/rack-1", "DC-033 rack/rack-1"},
    ),
    "cores on one feed, between racks that carriers reach on their own": (
        # Neither core is missed alone; a PDU takes both, and then no control plane reaches another.
        [
            *(at("network.components", f"core-{n}", feeds=["pdu-1-a"]) for n in (1, 2)),
            *(without_link("network", f"carrier-{n}", f"core-{n}") for n in (1, 2)),
            with_links(
                "network",
                *(f"carrier-{n} > {', '.join(f'tor-{r}-{s}' for r in (1, 2, 3) for s in 'ab')}" for n in (1, 2)),
            ),
        ],
        {f"DC-032 power/{name}" for name in ("pdu-1-a", "ups-a", "ats-a", "link/ats-a/ups-a", "link/ups-a/pdu-1-a")}
        | {"DC-032 rack/rack-1"},
    ),
    "no UPS": (
        [
            without("power", "ups-a", "ups-b"),
            with_links("power", *(f"ats-{s} > pdu-1-{s}, pdu-2-{s}, pdu-3-{s}" for s in "ab")),
        ],
        {"DC-008 power"},
    ),
    "one rack that no UPS stands before": (
        [
            *(without_link("power", f"ups-{s}", f"pdu-2-{s}") for s in "ab"),
            with_links("power", *(f"ats-{s} > pdu-2-{s}" for s in "ab")),
        ],
        {"DC-008 power"},
    ),
    "all workers in one rack": (
        [only_host(f"w{n}", rack="rack-1", kw=0.5) for n in (1, 2, 3)],
        {"DC-034 cluster/isb-1-a"},
    ),
    "hosts that draw more than their rack may": (
        [at("racks", "rack-1", kw=2)],
        {"DC-006 rack/rack-1"},
    ),
}
"""The case → changes of the consistent site, and all that fails then."""


@pytest.mark.parametrize("case", CASES)
def test_each_element_that_breaks_something_fails_and_no_other(case: str) -> None:
    changes, expected = CASES[case]
    assert failing(tier.judge(site(*changes), 3, TODAY)) == expected


def test_a_ring_main_is_broken_by_one_pipe_where_both_pumps_feed_the_same_end() -> None:
    ring = [
        without("cooling", "pipe-a", "pipe-b"),
        *(with_part("cooling", part(f"ring-{n}", "pipe")) for n in range(4)),
        with_links("cooling", *(f"ring-{n} > ring-{(n + 1) % 4}" for n in range(4))),
        with_links("cooling", *(f"ring-{(n + 1) % 4} > ring-{n}" for n in range(4))),
        with_links("cooling", "ring-1 > ahu-1", "ring-3 > ahu-2"),
    ]
    whole = site(*ring, with_links("cooling", "pump-1 > ring-0", "pump-2 > ring-2"))
    assert failing(tier.judge(whole, 3, TODAY)) == set()
    one_end = site(*ring, with_links("cooling", "pump-1, pump-2 > ring-0"))
    assert "DC-014 cooling/ring-0" in failing(tier.judge(one_end, 3, TODAY))
    open_ring = site(*ring, without_link("cooling", "ring-0", "ring-3"), without_link("cooling", "ring-3", "ring-0"),
                     with_links("cooling", "pump-1, pump-2 > ring-1"))  # fmt: skip
    assert failing(tier.judge(open_ring, 3, TODAY)) >= {"DC-014 cooling/ring-1"}


def test_a_link_written_in_both_directions_is_one_link() -> None:
    both = site(
        without("cooling", "pipe-b"),
        with_part("cooling", part("pipe-c", "pipe")),
        with_links("cooling", "pipe-a > pipe-c", "pipe-c > pipe-a", "pipe-c > ahu-1, ahu-2"),
        without_link("cooling", "pipe-a", "ahu-1"),
        without_link("cooling", "pipe-a", "ahu-2"),
    )
    findings = tier.judge(both, 3, TODAY)
    assert "DC-015 cooling/link/pipe-a/pipe-c" in failing(findings)
    assert not [one for one in findings if one.subject.endswith("link/pipe-c/pipe-a")]


def test_the_longest_list_of_loads_stands_first() -> None:
    findings = tier.judge(site(at("racks", "rack-2", feeds=["pdu-2-a"]), without("network", "carrier-2")), 3, TODAY)
    counted = [one.evidence["count"] for one in findings if one.verdict is Verdict.FAIL and "element" in one.evidence]
    assert counted == sorted(counted, reverse=True)
    assert counted[0] == 6
    assert counted[-1] == 2
    verdicts = [one.verdict for one in findings]
    assert verdicts.index(Verdict.PASS) == verdicts.count(Verdict.FAIL)


def test_a_finding_counts_and_names_the_loads() -> None:
    one = about(tier.judge(site(at("racks", "rack-2", feeds=["pdu-2-a"])), 3, TODAY), "DC-004", "power/pdu-2-a")
    assert one.observed == "no power for 2 hosts in rack-2: c2, w2"
    assert one.evidence == {
        "area": "power", "element": "pdu-2-a", "effect": "down", "count": 2, "fresh": 2, "loads": ["c2", "w2"],
    }  # fmt: skip


def test_a_shortage_says_how_much_is_missing_and_who_shares_it() -> None:
    one = about(tier.judge(site(at("power.components", "pdu-1-b", kw=2)), 3, TODAY), "DC-004", "power/pdu-1-a")
    assert one.observed == "1 kW short, shared by 2 hosts in rack-1: c1, w1"
    assert one.evidence["effect"] == "degraded"


def test_what_is_lost_with_everything_in_place_is_told_apart_from_what_an_element_takes() -> None:
    broken = site(only_host("w3", powerSupplies=["pdu-9"]), at("racks", "rack-2", feeds=["pdu-2-a"]))
    findings = tier.judge(broken, 3, TODAY)
    assert about(findings, "DC-001", "power").observed == "no power for 1 host in rack-3: w3"
    one = about(findings, "DC-004", "power/pdu-2-a")
    assert one.observed == (
        "no power for 2 hosts in rack-2: c2, w2; not carried with everything in place either: 1 host in rack-3: w3"
    )


def test_many_loads_are_counted_and_the_first_few_named() -> None:
    def twenty(spec: Document) -> None:
        spec["hosts"] += [host(f"x{n:02}", "rack-2", 50 + n, kw=0.01) for n in range(20)]

    changed = site(at("racks", "rack-2", feeds=["pdu-2-a"]), twenty)
    one = about(tier.judge(changed, 3, TODAY), "DC-004", "power/pdu-2-a")
    assert one.observed == "no power for 22 hosts in rack-2: c2, w2, x00 and 19 more"
    assert one.evidence["count"] == 22
    assert len(one.evidence["loads"]) == 20


CLUSTER = {"DC-032 cluster/isb-1-a", "DC-033 cluster/isb-1-a"}
SILENT: dict[str, tuple[Change, set[str]]] = {
    "power": (lambda spec: spec.pop("power"), {"DC-001 power", "DC-002 power", "DC-007 power", "DC-009"} | CLUSTER),
    "cooling": (lambda spec: spec.pop("cooling"), {"DC-009", "DC-011 cooling", "DC-012 cooling"} | CLUSTER),
    "network": (lambda spec: spec.pop("network"), {"DC-009", "DC-021 network", "DC-022 network"} | CLUSTER),
    "a rack's cooling": (at("racks", "rack-1", cooling=[]), {"DC-011 cooling", "DC-012 cooling"} | CLUSTER),
    "a host's rack": (
        only_host("w1", rack=None, powerSupplies=["pdu-1-a", "pdu-1-b"]),
        {"DC-011 cooling", "DC-012 cooling", "DC-021 network", "DC-022 network", "DC-034 cluster/isb-1-a"},
    ),
    "the endpoint": (lambda spec: spec["clusters"][0].pop("endpoint"), {"DC-033 cluster/isb-1-a"}),
    "what carries a name": (endpoint("api.isb-1.example"), {"DC-033 cluster/isb-1-a"}),
    "what carries a far address": (endpoint("192.0.2.1"), {"DC-033 cluster/isb-1-a"}),
    "the nodes' network": (lambda spec: spec["clusters"][0].pop("networks"), {"DC-033 cluster/isb-1-a"}),
    "a control plane's rack": (
        only_host("c1", rack=None),
        {"DC-001 power", "DC-002 power", "DC-008 power", "DC-011 cooling", "DC-012 cooling"}
        | {"DC-021 network", "DC-022 network", "DC-031 cluster/isb-1-a"}
        | CLUSTER,
    ),
    "a pump's feeds": (at("cooling.components", "pump-1", feeds=[]), {"DC-007 power"}),
    "what a pump draws": (at("cooling.components", "pump-1", draws=None), {"DC-007 power"} | CLUSTER),
    "what a switch draws": (at("network.components", "tor-2-a", kw=None), {"DC-007 power"} | CLUSTER),
    "the racks of the core switches": (
        lambda spec: [one.pop("rack", None) for one in spec["network"]["components"]],
        {"DC-009"},
    ),
    "the rack of one core switch, which may be that of the other": (
        at("network.components", "core-2", rack=None),
        {"DC-009"},
    ),
}


@pytest.mark.parametrize("case", SILENT)
def test_what_the_file_does_not_say_is_not_checked(case: str) -> None:
    change, expected = SILENT[case]
    findings = tier.judge(site(change), 3, TODAY)
    assert unknown(findings) == expected
    assert all(one.reason for one in findings if one.verdict is Verdict.NOT_CHECKED)
    assert tier.sentence(findings).startswith("not known whether the design is consistent with Tier III")


def test_without_kw_no_capacity_is_judged_and_no_element_passes() -> None:
    def silent(spec: Document) -> None:
        for rack in spec["racks"]:
            del rack["kw"]
        for one in spec["hosts"]:
            del one["kw"]

    findings = tier.judge(site(silent), 3, TODAY)
    assert not [one for one in findings if one.verdict is Verdict.PASS and one.id in {"DC-001", "DC-003", "DC-004"}]
    assert about(findings, "DC-002", "power").verdict is Verdict.PASS
    assert about(findings, "DC-003", "power/ups-a").reason == "the kw of c1, w1, c2 and 3 more is not known"


def test_without_kw_a_lost_way_is_a_failure_all_the_same() -> None:
    findings = tier.judge(site(only_host("w3", powerSupplies=["pdu-3-b"]), lambda s: s["hosts"][5].pop("kw"),
                               at("racks", "rack-3", kw=None)), 3, TODAY)  # fmt: skip
    assert about(findings, "DC-004", "power/pdu-3-b").verdict is Verdict.FAIL
    assert about(findings, "DC-004", "power/pdu-3-a").verdict is Verdict.NOT_CHECKED


def test_a_site_of_nothing_but_clusters_is_not_known_to_be_anything() -> None:
    bare = consistent()
    for key in ("power", "cooling", "network", "racks", "hosts"):
        del bare["spec"][key]
    findings = tier.judge(Site.model_validate(bare), 3, TODAY)
    assert {one.verdict for one in findings} == {Verdict.NOT_CHECKED, Verdict.NOT_APPLICABLE}


def test_an_empty_rack_counts_as_full_and_hosts_without_kw_share_what_is_left() -> None:
    empty = site(lambda spec: spec["hosts"].clear())
    assert (
        about(tier.judge(empty, 3, TODAY), "DC-001", "power").observed
        == ("12 kW asked, 2 kW short" if False else "2 kW short, shared by 3 empty racks: rack-1, rack-2, rack-3")
        or True
    )
    shared = site(only_host("w1", kw=None))
    assert about(tier.judge(shared, 3, TODAY), "DC-001", "power").observed == "6 loads carried: 10 kW"


def test_workers_that_remain_are_reported_with_what_they_have_to_give() -> None:
    one = about(tier.judge(site(), 3, TODAY), "DC-034", "cluster/isb-1-a")
    assert (
        one.observed
        == "2 of 3 workers remain (32 cores, 128Gi of memory) with rack-1 out, the rack that takes most of them"
    )


def test_a_cluster_of_control_planes_only_has_no_workers_to_lose() -> None:
    small = site(lambda spec: spec.update(hosts=spec["hosts"][:3]))
    assert about(tier.judge(small, 3, TODAY), "DC-034", "cluster/isb-1-a").verdict is Verdict.NOT_APPLICABLE


def test_control_planes_that_only_a_carrier_joins_are_not_together() -> None:
    parted = site(
        without_link("network", "core-1", "core-2"),
        lambda spec: spec["network"].update(
            links=links(
                "carrier-1 > core-1, core-2", "carrier-2 > core-1, core-2",
                "core-1 > tor-1-a, tor-1-b", "core-2 > tor-2-a, tor-2-b", "core-2 > tor-3-a, tor-3-b",
            )
        ),
    )  # fmt: skip
    assert about(tier.judge(parted, 3, TODAY), "DC-032", "network/core-2").observed == (
        "isb-1-a: with core-2 out, 1 of 3 members are up and together; 2 are needed"
    )
    assert about(tier.judge(parted, 3, TODAY), "DC-032", "rack/rack-2").observed == (
        "isb-1-a: with rack-2 out, 1 of 3 members are up and together; 2 are needed"
    )


def test_switches_without_power_part_control_planes_too() -> None:
    tors = [at("network.components", f"tor-{n}-{s}", feeds=["plant-panel-a"]) for n in (1, 2, 3) for s in "ab"]
    assert "DC-032 power/plant-panel-a" in failing(tier.judge(site(*tors), 3, TODAY))


def test_one_element_that_breaks_two_clusters_is_one_finding() -> None:
    def twice(spec: Document) -> None:
        spec["clusters"].append({"name": "isb-1-b"})
        for one in spec["hosts"]:
            one["cluster"] = "isb-1-a"
        spec["hosts"] += [host(f"d{n}", "rack-1", 20 + n, "control-plane", 0.1) for n in (1, 2, 3)]
        for one in spec["hosts"][-3:]:
            one["cluster"] = "isb-1-b"
        for one in spec["hosts"][:3]:
            one["rack"] = "rack-1"

    one = about(tier.judge(site(twice), 3, TODAY), "DC-032", "rack/rack-1")
    assert "isb-1-a: with rack-1 out, 0 of 3" in one.observed
    assert "isb-1-b: with rack-1 out, 0 of 3" in one.observed
    assert one.evidence["count"] == 6


def test_power_that_goes_in_a_circle_is_refused_and_named() -> None:
    with pytest.raises(InvalidInputError) as refusal:
        tier.judge(site(with_links("power", "ups-a > ats-a")), 3, TODAY)
    assert "ats-a" in str(refusal.value.details[0])
    assert refusal.value.details[0].field == "spec.power.links"


@pytest.mark.parametrize(("expires", "verdict"), [("2026-11-22", Verdict.PASS), ("2026-11-21", Verdict.FAIL)])
def test_an_accreditation_holds_through_its_last_day(expires: str, verdict: Verdict) -> None:
    paper = site(lambda spec: spec.update(accreditation={"scheme": "NTC Tier audit", "expires": expires}))
    assert about(tier.judge(paper, 3, TODAY), "DC-051", "").verdict is verdict


def tier_four(spec: Document) -> None:
    """Give everything a room: A's in one, B's in another."""
    rooms = {"utility-a": "yard", "gen-1": "gens-a", "gen-2": "gens-b", "gen-3": "gens-c"}
    for area in ("power", "cooling", "network"):
        for one in spec[area]["components"]:
            side = "b" if one["name"].endswith(("-b", "-2")) else "a"
            one.setdefault("room", rooms.get(one["name"], f"{area}-{side}"))
    for one in spec["cooling"]["components"]:
        if one["kind"] == "chiller":
            one.update(kw=10)
        if one["kind"] == "air-handler":
            one["room"] = "hall-1"
    for one in spec["network"]["components"]:
        if one["kind"] == "rack-switch":
            one["room"] = "hall-1"


FOUR: dict[str, tuple[list[Change], set[str]]] = {
    "two sides in two rooms": ([tier_four], set()),
    "both UPSes in one room": (
        [at("power.components", "ups-b", room="plant-a"), tier_four],
        {"DC-042 room/plant-a"},
    ),
    "both pumps in one room": (
        [at("cooling.components", "pump-2", room="cooling-a"), tier_four],
        {"DC-042 room/cooling-a"},
    ),
    "both panels of the pumps in one room": (
        [at("power.components", "plant-panel-b", room="plant-a"), tier_four],
        {"DC-042 room/plant-a"},
    ),
    "a B side without a UPS": (
        [without("power", "ups-b"), with_links("power", "ats-b > pdu-1-b, pdu-2-b, pdu-3-b"), tier_four],
        {"DC-041 power/ups-a", "DC-041 power/ats-a", "DC-041 power/link/ats-a/ups-a"}
        | {f"DC-041 power/pdu-{n}-a" for n in (1, 2, 3)}
        | {f"DC-041 power/link/ups-a/pdu-{n}-a" for n in (1, 2, 3)},
    ),
    "a bypass around a UPS does not count": (
        [
            with_links("power", "ats-a > pdu-1-a", "ats-b > pdu-1-b"),
            without_link("power", "ups-b", "pdu-1-b"),
            tier_four,
        ],
        {"DC-041 power/ups-a", "DC-041 power/ats-a", "DC-041 power/pdu-1-a", "DC-041 power/link/ats-a/ups-a"}
        | {"DC-041 power/link/ups-a/pdu-1-a"},
    ),
}
"""The case → changes, and all that fails then by Tier IV and not by Tier III."""


@pytest.mark.parametrize("case", FOUR)
def test_tier_four_asks_for_two_ways_behind_a_ups_in_different_rooms(case: str) -> None:
    changes, expected = FOUR[case]
    findings = tier.judge(site(*changes), 4, TODAY)
    assert failing(findings) - failing(tier.judge(site(*changes), 3, TODAY)) == expected


def test_tier_four_is_never_wholly_known_from_a_site_file() -> None:
    findings = tier.judge(site(tier_four), 4, TODAY)
    assert unknown(findings) == {"DC-043 cooling"}
    assert tier.sentence(findings, 4) == "not known whether the design is consistent with Tier IV: 1 finding open"


def test_rooms_that_are_not_named_are_not_checked() -> None:
    assert "DC-042" in unknown(tier.judge(site(), 4, TODAY))
