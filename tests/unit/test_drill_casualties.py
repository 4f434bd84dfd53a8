"""What goes with an element, from the site's graph, and what the Tier III check promises of it."""

from __future__ import annotations

import pytest
from tests.unit.facility_sites import Document, site

from gcloud_pk.errors import WrongUsageError
from gcloud_pk.facility import tier
from gcloud_pk.facility.casualties import Casualties, Promise, casualties, left_with, survivable, target
from gcloud_pk.model.site import Site


def lose(word: str, where: Site | None = None) -> Casualties:
    where = where or site()
    return casualties(where, target(word), tier.judge(where))


def of(found: Casualties) -> Promise:
    (promise,) = found.promises
    return promise


def on_one_feed(spec: Document) -> None:
    """Hang rack-2 on one PDU alone, and its switches on that PDU too."""
    spec["racks"][1]["feeds"] = ["pdu-2-a"]
    for one in spec["network"]["components"]:
        if one["name"].startswith("tor-2-"):
            one["feeds"] = ["pdu-2-a"]


def two_control_planes_in_one_rack(spec: Document) -> None:
    spec["hosts"][1]["rack"] = "rack-1"


@pytest.mark.parametrize(
    ("word", "down"),
    [
        ("host:w2", ("w2",)),
        ("rack:rack-2", ("c2", "w2")),
        ("feed:pdu-2-a", ()),
        ("feed:ups-a", ()),
        ("site", ("c1", "c2", "c3", "w1", "w2", "w3")),
    ],
)
def test_a_target_takes_what_hangs_on_it_alone(word: str, down: tuple[str, ...]) -> None:
    assert set(lose(word).down) == set(down)


def test_a_feed_takes_the_hosts_that_have_no_other_and_the_switches_that_stop() -> None:
    found = lose("feed:pdu-2-a", site(on_one_feed))
    assert found.down == ("c2", "w2")
    assert found.stopped == ("tor-2-a", "tor-2-b")
    assert found.cut_off == ()  # they are down, and so nobody misses their network
    assert found.subject == "site/isb-1/power/pdu-2-a"


def test_a_switch_that_is_the_only_one_cuts_its_rack_off() -> None:
    def one_switch(spec: Document) -> None:
        spec["racks"][2]["switches"] = ["tor-3-a"]

    found = lose("feed:tor-3-a", site(one_switch))
    assert (found.down, found.cut_off) == ((), ("c3", "w3"))


@pytest.mark.parametrize("word", ["rack:rack-1", "host:c1", "host:w1", "feed:pdu-1-a", "feed:core-1", "feed:chiller-1"])
def test_a_consistent_site_survives_each_element(word: str) -> None:
    assert of(lose(word)).survives is True
    assert lose(word).survivable


def test_nobody_promises_that_a_site_survives_its_own_loss() -> None:
    assert of(lose("site")).survives is False


def test_a_rack_with_the_majority_of_control_planes_is_not_survived_and_says_by_which_check() -> None:
    where = site(two_control_planes_in_one_rack)
    assert of(lose("rack:rack-1", where)).survives is False
    assert "DC-032" in of(lose("rack:rack-1", where)).why
    assert of(lose("rack:rack-3", where)).survives is True
    # One host of that rack leaves two of three members.
    assert of(lose("host:c1", where)).survives is True
    assert "2 of 3" in of(lose("host:c1", where)).why


def test_a_single_control_plane_is_not_survived() -> None:
    def single(spec: Document) -> None:
        spec["hosts"] = [one for one in spec["hosts"] if one["name"] not in {"c2", "c3"}]

    assert of(lose("host:c1", site(single))).survives is False


def test_what_the_check_could_not_judge_is_no_promise() -> None:
    def unknown(spec: Document) -> None:
        spec["clusters"][0].pop("endpoint")

    promise = of(lose("rack:rack-1", site(unknown)))
    assert promise.survives is None
    assert "endpoint" in promise.why


def test_a_cluster_without_hosts_is_promised_nothing() -> None:
    def second(spec: Document) -> None:
        for one in spec["hosts"]:
            one["cluster"] = "isb-1-a"
        spec["clusters"].append({"name": "isb-1-b"})

    found = lose("rack:rack-1", site(second))
    assert [one.survives for one in found.promises] == [True, None]
    assert not found.survivable


def test_the_suite_has_every_rack_and_component_that_the_check_calls_survivable_and_no_other() -> None:
    names = [str(one.target) for one in survivable(site(), tier.judge(site()))]
    assert names[:3] == ["rack:rack-1", "rack:rack-2", "rack:rack-3"]
    assert {"feed:ups-a", "feed:core-1", "feed:chiller-2", "feed:pdu-3-b"} <= set(names)
    assert "site" not in names
    where = site(two_control_planes_in_one_rack)
    assert "rack:rack-1" not in [str(one.target) for one in survivable(where, tier.judge(where))]


def test_a_component_whose_loss_takes_loads_is_not_of_the_suite_although_quorum_stays() -> None:
    where = site(on_one_feed)
    names = [str(one.target) for one in survivable(where, tier.judge(where))]
    assert "feed:pdu-2-a" not in names


@pytest.mark.parametrize("word", ["", "rack", "rack:", "site:isb-1", "room:hall-1", "c1"])
def test_a_word_that_names_no_element_is_refused(word: str) -> None:
    with pytest.raises(WrongUsageError, match="names no element"):
        target(word)


@pytest.mark.parametrize(
    ("word", "near"), [("rack:rack1", "rack:rack-1"), ("host:w11", "host:w1"), ("feed:pdu-1", "feed:pdu-1-")]
)
def test_an_element_that_does_not_exist_is_refused_and_a_near_one_named(word: str, near: str) -> None:
    with pytest.raises(WrongUsageError, match=f"did you mean {near}"):
        lose(word)


def test_what_would_be_left_of_etcd_counts_what_is_down_already() -> None:
    where = site()
    assert left_with(where, where.spec.clusters[0], {"c1"}) == (2, 3, 2)
    assert left_with(where, where.spec.clusters[0], {"c1", "c2", "w3"}) == (1, 3, 2)
