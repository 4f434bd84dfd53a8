"""From what drills brought to verdicts: no target is met by what was not seen, and no write is lost without a word."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.test_drill_trace import probes

from gcloud_pk.facility.casualties import Casualties, Promise, Target
from gcloud_pk.model.finding import Verdict
from gcloud_pk.proof.drill.census import Displaced
from gcloud_pk.proof.drill.ledger import Balance
from gcloud_pk.proof.drill.measures import of_all, of_drill
from gcloud_pk.proof.drill.trace import Pause, Sample
from gcloud_pk.proof.drill.verdicts import CHECKS, CONTROLS, Outcome, findings

RACK = Casualties(
    Target("rack", "rack-1"), "site/isb-1/rack/rack-1", ("c1", "w1"), (), (), (Promise("a", survives=True, why="all"),)
)
WHOLE = Casualties(Target("site"), "site/isb-1", ("c1",), (), (), (Promise("a", survives=False, why="all goes"),))
FEED = replace(RACK, target=Target("feed", "ups-a"), subject="site/isb-1/power/ups-a", down=())
WEB = Displaced(("moitt-web", "ReplicaSet", "web-1"), "tenant", 3, 2, 40.0)
DNS = Displaced(("kube-system", "ReplicaSet", "coredns-1"), "platform", 2, 1, 30.0)


def away(seconds: float) -> list[Sample]:
    """Return a trace of 100 s with a gap from 10 s on."""
    return probes((0, 10, True), (10, 9.9 + seconds, False), (9.9 + seconds, 100, True))


def outcome(**changes: Any) -> Outcome:
    """Return a drill of rack-1 that went well: out from 10 s to 80 s."""
    made: dict[str, Any] = {
        "lost": RACK,
        "cluster": "a",
        "begun": 10.0,
        "out": 10.2,
        "returned": 80.0,
        "ended": 100.0,
        "reads": away(1.0),
        "writes": away(2.0),
        "service": away(1.0),
        "balance": Balance(kept=tuple(range(900))),
        "displaced": (WEB, DNS),
        "nodes": 12.0,
        "all": 14.0,
    }
    return Outcome(**(made | changes))


def verdicts(*outcomes: Outcome) -> dict[str, Verdict]:
    return {one.id: one.verdict for one in findings(outcomes)}


def reason(name: str, *outcomes: Outcome) -> str:
    return next(str(one.reason) for one in findings(outcomes) if one.id == name)


def test_a_drill_that_went_well_passes_every_check() -> None:
    found = verdicts(outcome())
    assert set(found) == set(CHECKS) - {"DRL-010"}
    assert set(found.values()) == {Verdict.PASS}


def test_every_check_answers_a_control_that_is_written_down() -> None:
    assert {check.control for check in CHECKS.values()} == set(CONTROLS)


def test_no_drill_is_no_finding() -> None:
    assert findings([]) == []


@pytest.mark.parametrize(
    ("seconds", "verdict"), [(1.0, Verdict.PASS), (1.3, Verdict.PASS), (1.6, Verdict.FAIL), (5.0, Verdict.FAIL)]
)
def test_reads_may_be_away_for_less_than_one_and_a_half_seconds(seconds: float, verdict: Verdict) -> None:
    assert verdicts(outcome(reads=away(seconds)))["DRL-001"] is verdict


@pytest.mark.parametrize(("seconds", "verdict"), [(3.3, Verdict.PASS), (3.7, Verdict.FAIL)])
def test_writes_may_be_away_for_less_than_three_and_a_half_seconds(seconds: float, verdict: Verdict) -> None:
    assert verdicts(outcome(writes=away(seconds)))["DRL-002"] is verdict


def test_times_are_judged_by_the_median_of_five() -> None:
    five = [outcome(reads=away(seconds)) for seconds in (1.0, 1.1, 1.2, 4.0, 4.0)]
    assert verdicts(*five)["DRL-001"] is Verdict.PASS
    assert verdicts(*five[1:])["DRL-001"] is Verdict.FAIL


def test_an_api_that_never_came_back_fails_however_short_the_drill_was() -> None:
    gone = probes((0, 10, True), (10, 11, False))
    assert verdicts(outcome(reads=gone, ended=11.0))["DRL-001"] is Verdict.PASS  # under a second of it was seen
    assert verdicts(outcome(reads=gone, ended=13.0))["DRL-001"] is Verdict.FAIL


def test_a_gap_that_is_the_probers_own_is_not_checked() -> None:
    stopped = probes((0, 11, True), (16, 100, True))
    found = outcome(reads=stopped, pauses=(Pause(10.9, 16.0),))
    assert verdicts(found)["DRL-001"] is Verdict.NOT_CHECKED
    assert verdicts(found)["DRL-011"] is Verdict.NOT_CHECKED


def test_a_trace_that_is_empty_is_an_error_and_no_pass() -> None:
    assert verdicts(outcome(reads=[], writes=[], service=[])) | {} == verdicts(outcome()) | {
        "DRL-001": Verdict.ERROR, "DRL-002": Verdict.ERROR, "DRL-004": Verdict.ERROR, "DRL-009": Verdict.FAIL
    }  # fmt: skip


def test_one_lost_write_in_twenty_drills_fails() -> None:
    twenty = [outcome() for _ in range(19)] + [outcome(balance=Balance(kept=(1, 2), lost=(3,)))]
    assert verdicts(*twenty)["DRL-003"] is Verdict.FAIL
    assert "write-3" in reason("DRL-003", *twenty)


def test_an_altered_write_fails_as_a_lost_one_does() -> None:
    assert verdicts(outcome(balance=Balance(kept=(1,), altered=(2,))))["DRL-003"] is Verdict.FAIL


def test_a_ledger_that_could_not_be_compared_is_an_error() -> None:
    assert verdicts(outcome(balance=None, unread="the API is away"))["DRL-003"] is Verdict.ERROR
    assert reason("DRL-003", outcome(balance=None, unread="the API is away")) == "the API is away"


def test_nothing_acknowledged_proves_nothing() -> None:
    assert verdicts(outcome(balance=Balance(missing=(1, 2))))["DRL-003"] is Verdict.NOT_CHECKED


def test_a_service_that_nobody_named_is_not_checked() -> None:
    assert verdicts(outcome(service=None))["DRL-004"] is Verdict.NOT_CHECKED


def test_pods_that_come_back_after_ninety_seconds_fail() -> None:
    assert verdicts(outcome(displaced=(replace(WEB, back=95.0),)))["DRL-005"] is Verdict.FAIL


def test_pods_that_are_not_back_fail_once_the_element_was_out_long_enough() -> None:
    absent = replace(WEB, back=None)
    assert verdicts(outcome(displaced=(absent,)))["DRL-005"] is Verdict.NOT_CHECKED
    assert "--for" in reason("DRL-005", outcome(displaced=(absent,)))
    assert verdicts(outcome(displaced=(absent,), returned=101.0, ended=130.0))["DRL-005"] is Verdict.FAIL


def test_the_drills_own_pods_stand_for_tenants_only_where_there_are_none() -> None:
    own = replace(WEB, owner=("gcloud-pk-drill", "ReplicaSet", "x"), side="drill", back=10.0)
    assert verdicts(outcome(displaced=(own,)))["DRL-005"] is Verdict.PASS
    assert verdicts(outcome(displaced=(own, replace(WEB, back=95.0))))["DRL-005"] is Verdict.FAIL
    assert verdicts(outcome(displaced=(DNS,)))["DRL-005"] is Verdict.NOT_CHECKED


def test_dns_that_stood_on_one_rack_alone_fails() -> None:
    assert verdicts(outcome(displaced=(replace(DNS, standing=0),)))["DRL-007"] is Verdict.FAIL


def test_nodes_that_come_back_late_or_never_fail() -> None:
    assert verdicts(outcome(nodes=25.0))["DRL-006"] is Verdict.FAIL
    assert verdicts(outcome(nodes=None, all=None, missing=("w1",)))["DRL-006"] is Verdict.FAIL


def test_a_host_that_falls_besides_breaks_the_promise() -> None:
    found = outcome(fell=("w3",))
    assert verdicts(found)["DRL-008"] is Verdict.FAIL
    assert verdicts(found)["DRL-009"] is Verdict.FAIL


def test_a_promise_that_the_drill_breaks_is_a_failure_of_the_check() -> None:
    dead = probes((0, 10, True), (10, 82, False), (82, 100, True))
    assert verdicts(outcome(writes=dead))["DRL-009"] is Verdict.FAIL
    assert "failure of the check" in reason("DRL-009", outcome(writes=dead))


def test_an_element_that_was_out_for_a_moment_says_nothing_of_the_promise() -> None:
    assert verdicts(outcome(returned=12.0))["DRL-009"] is Verdict.NOT_CHECKED


def test_what_the_check_does_not_say_is_no_promise_kept() -> None:
    silent = replace(RACK, promises=(Promise("a", None, "no endpoint"),))
    assert verdicts(outcome(lost=silent))["DRL-009"] is Verdict.NOT_CHECKED
    other = replace(RACK, promises=(Promise("b", survives=True, why=""),))
    assert verdicts(outcome(lost=other))["DRL-009"] is Verdict.NOT_CHECKED


def test_a_gap_belongs_to_the_loss_or_to_the_return_by_when_it_began() -> None:
    twice = probes((0, 10, True), (10, 11, False), (11, 82, True), (82, 84, False), (84, 100, True))
    found = outcome(reads=twice)
    assert [round(gap.seconds, 1) for gap in (found.worst(twice), found.felt_again(twice)) if gap] == [1.1, 2.1]
    assert verdicts(found)["DRL-001"] is verdicts(found)["DRL-012"] is Verdict.PASS
    late = probes((0, 82, True), (82, 86, False), (86, 100, True))
    assert verdicts(outcome(reads=late))["DRL-001"] is Verdict.PASS
    assert verdicts(outcome(reads=late))["DRL-012"] is Verdict.FAIL
    across = probes((0, 79, True), (79, 86, False), (86, 100, True))
    assert verdicts(outcome(reads=across))["DRL-001"] is Verdict.FAIL


def test_a_power_cut_is_judged_by_when_the_api_is_back() -> None:
    dark = probes((0, 10, True), (10, 85, False), (85, 100, True))
    found = outcome(lost=WHOLE, reads=dark, writes=dark, service=dark, displaced=(DNS,))
    said = verdicts(found)
    assert said["DRL-010"] is said["DRL-003"] is Verdict.PASS
    for name in ("DRL-001", "DRL-002", "DRL-004", "DRL-005", "DRL-006", "DRL-007", "DRL-009", "DRL-012"):
        assert said[name] is Verdict.NOT_APPLICABLE
    # One answer early on, and nothing more for long: seen on real nodes that were starting all at once.
    lone = probes((0, 10, True), (10, 85, False), (85, 85.1, True), (85.1, 130, False), (130, 140, True))
    assert verdicts(replace(found, reads=lone, ended=140.0))["DRL-010"] is Verdict.FAIL
    late = probes((0, 10, True), (10, 115, False), (115, 120, True))
    assert verdicts(replace(found, reads=late, ended=120.0))["DRL-010"] is Verdict.FAIL
    assert verdicts(replace(found, reads=dark[:500]))["DRL-010"] is Verdict.FAIL


def test_an_element_that_takes_no_host_is_not_asked_for_nodes_and_pods() -> None:
    said = verdicts(outcome(lost=FEED, displaced=()))
    assert said["DRL-005"] is said["DRL-006"] is Verdict.NOT_APPLICABLE
    assert said["DRL-009"] is Verdict.PASS


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"dead": {"read": ["Traceback"]}}, Verdict.ERROR),
        ({"suspended": 60.0}, Verdict.NOT_CHECKED),
        ({"interrupted": True}, Verdict.NOT_CHECKED),
    ],
)
def test_a_prober_that_did_not_see_all_is_told_of(change: dict[str, Any], verdict: Verdict) -> None:
    assert verdicts(outcome(**change))["DRL-011"] is verdict


def test_figures_of_several_drills_have_their_median_their_longest_and_the_ledgers_sum() -> None:
    drills = [of_drill(outcome(reads=away(seconds)), "lab") for seconds in (1.0, 1.2, 3.0)]
    found = of_all(drills)
    assert found["reads"] == {
        "loss": {"p50": pytest.approx(1.2, abs=0.11), "max": pytest.approx(3.0, abs=0.11)},
        "return": {"p50": 0.0, "max": 0.0},
    }
    assert found["ledger"] == {"acknowledged": 2700, "lost": 0, "altered": 0, "drills": 3}
    assert found["drills"][0]["pods"]["back"] == 40.0
    assert found["drills"][0]["recovery"] == {"firstAnswer": 0.01, "api": 0.01, "nodes": 12.0, "all": 14.0}
