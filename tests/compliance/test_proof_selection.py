"""Selection: what a run tries where, and that nothing that is left out is hidden."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.proof_server import FakeServer, live_objects, other_namespaces, refused, target

from gcloud_pk.errors import UnavailableError, WrongUsageError
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.proof.contents import chosen, items
from gcloud_pk.proof.ground import Ground
from gcloud_pk.proof.plugins import PLUGINS, Tally
from gcloud_pk.proof.probe import Refused, standard
from gcloud_pk.proof.selection import GATE, WHOLE, Selection, selected, stratified, tried
from gcloud_pk.proof.target import Target
from gcloud_pk.proof.verify import audit

ENVIRONMENTS = ("dev", "prod", "stage", "test")
STRANGERS = {"other_namespaces": ("fbr-tax",), "other_groups": ("oidc:fbr-admins",)}
WALLS = {
    (p.expect.by, p.expect.rule)
    for p in standard().probes.values()
    if isinstance(p.expect, Refused) and not p.isolation
}


def population(number: int) -> list[Target]:
    whole = target(*ENVIRONMENTS, **STRANGERS)
    return [replace(whole, tenant=f"tenant-{n:03d}") for n in range(number)]


@pytest.fixture(scope="module")
def shares() -> list[Selection]:
    return stratified(selected(standard()), population(200))


def test_every_wall_and_every_rule_of_a_policy_is_tried_on_every_tenant(shares: list[Selection]) -> None:
    for share in shares:
        assert share.share is not None
        probes = [standard().probes.get(name) for names in share.share.values() for name in names]
        assert {(p.expect.by, p.expect.rule) for p in probes if p and isinstance(p.expect, Refused)} >= WALLS


def test_over_the_population_every_probe_and_review_is_tried_in_every_environment(shares: list[Selection]) -> None:
    pairs = {(name, place) for share in shares for place, names in (share.share or {}).items() for name in names}
    wanted = {(p.id, e) for p in standard().probes.values() for e in (ENVIRONMENTS if p.where == "own" else (WHOLE,))}
    assert wanted - pairs == set()
    assert tried(standard(), shares) >= {*standard().probes}


def test_what_is_tried_is_a_small_part_and_comes_with_its_controls(shares: list[Selection]) -> None:
    whole = sum(4 if p.where == "own" else 1 for p in standard().probes.values())
    for share, aim in zip(shares, population(200), strict=True):
        assert share.share is not None
        probes = [
            (standard().probes[n], e) for e, names in share.share.items() for n in names & standard().probes.keys()
        ]
        assert len(probes) < whole / 3
        for probe, place in probes:
            there = place if place != WHOLE else aim.active[0].name
            assert probe.control is None or probe.control in share.share[there]
            assert GATE in share.share[there]


def test_no_environment_is_favoured(shares: list[Selection]) -> None:
    counts = Counter(
        place for share in shares for place, names in (share.share or {}).items() for _ in names if place != WHOLE
    )
    assert max(counts.values()) < 1.5 * min(counts.values())


def test_what_is_left_out_of_an_environment_is_named_there(shares: list[Selection]) -> None:
    aim, share = population(200)[17], shares[17]
    left = share.left_out(aim)
    assert set(left) <= {*ENVIRONMENTS, WHOLE}
    for place, names in left.items():
        assert names == sorted(names)
        assert not set(names) & (share.share or {}).get(place, frozenset())
    whole = {p.id for p in standard().probes.values() if p.where == "own"}
    assert whole <= {*left["prod"], *(share.share or {})["prod"]}
    assert selected(standard()).left_out(aim) == {}


def test_of_one_tenant_nothing_is_left_out() -> None:
    [aim] = population(1)
    [share] = stratified(selected(standard()), [aim])
    assert share.left_out(aim) == {}


def test_a_wall_is_shown_where_the_request_has_something_to_show_it_with() -> None:
    whole = target(*ENVIRONMENTS, **STRANGERS)
    bare = [replace(e, domains=(), storage_classes=()) for e in whole.environments[:3]]
    aims = [replace(whole, tenant=f"t{n}", environments=(*bare, whole.environments[3])) for n in range(300)]
    needing = {"gpk-ingresses", "gpk-claims"}
    rules = {rule for by, rule in WALLS if by in needing}
    for share in stratified(selected(standard()), aims):
        expected = [p.expect for i in (share.share or {})["test"] if (p := standard().probes.get(i))]
        assert {e.rule for e in expected if isinstance(e, Refused) and e.by in needing} == rules


def test_a_stratified_run_judges_every_object_and_sends_no_more_than_its_share() -> None:
    aims = population(60)[41:42]
    share = stratified(selected(standard()), population(60))[41:42]
    objects = live_objects(*ENVIRONMENTS) + other_namespaces()
    answers = FakeServer(objects=objects)
    answers.allowed = lambda spec: "system:masters" in spec["groups"]
    [found] = audit(Ground(answers.api()), aims, share, settle=0)
    places = {(f.id, f.subject.split("/")[2] if f.subject.count("/") == 2 else WHOLE) for f in found}
    probes = {(i, e) for i, e in places if i in standard().probes}
    assert probes == {(i, e) for e, names in (share[0].share or {}).items() for i in names if i in standard().probes}
    assert {("ISO-101", e) for e in ENVIRONMENTS} <= places


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (("ISO-020",), {"ISO-020"}),
        (("iso-020,ISO-102", "ISO-151"), {"ISO-020", "ISO-102", "ISO-151"}),
        (("GPK-QUO-002",), {"ISO-105"}),
    ],
)
def test_checks_are_chosen_by_id_and_by_control(names: tuple[str, ...], ids: set[str]) -> None:
    assert chosen(names, items(standard())) >= ids


def test_an_unknown_name_is_refused_with_the_nearest_known_ones_all_at_once() -> None:
    with pytest.raises(WrongUsageError) as error:
        chosen(("ISO-02O", "GPK-IMG-01", "ISO-020"), items(standard()))
    said = [str(detail) for detail in error.value.details]
    assert len(said) == 2
    assert "GPK-IMG-001" in said[1]


@pytest.mark.parametrize("names", [("",), (",",)])
def test_a_choice_of_nothing_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(WrongUsageError, match="names nothing"):
        chosen(names, items(standard()))


def test_every_check_has_one_line_among_the_contents() -> None:
    ids = [item.id for item in items(standard())]
    assert sorted(set(ids)) == ids


def a_finding(name: str, verdict: Verdict, evidence: dict[str, Any]) -> Finding:
    return Finding(name, "t", "tenant/moitt", "e", "o", verdict, evidence=evidence)


@pytest.mark.parametrize(
    ("verdicts", "verdict"),
    [
        ((Verdict.PASS, Verdict.FAIL), Verdict.PASS),
        ((Verdict.FAIL, Verdict.FAIL), Verdict.FAIL),
        ((Verdict.FAIL, Verdict.ERROR), Verdict.FAIL),
        ((Verdict.ERROR,), Verdict.NOT_CHECKED),
        ((), Verdict.NOT_CHECKED),
    ],
)
def test_a_plug_in_is_believed_by_what_it_refused(verdicts: tuple[Verdict, ...], verdict: Verdict) -> None:
    name = next(p.id for p in standard().probes.values() if getattr(p.expect, "by", "") == "pod-security")
    tally = Tally(standard())
    tally.add(a_finding(name, each, {"requests": [{}]}) for each in verdicts)
    tally.add([a_finding(name, Verdict.PASS, {})])  # what was not sent shows nothing
    found = {f.id: f.verdict for f in tally.findings()}
    assert found["ISO-634"] is verdict
    assert {v for name, v in found.items() if name != "ISO-634"} == {Verdict.NOT_CHECKED}


def test_a_probe_that_either_of_two_walls_may_refuse_vouches_for_none() -> None:
    expected = {p.id: p.expect for p in standard().probes.values() if isinstance(p.expect, Refused)}
    either = [name for name, expect in expected.items() if expect.earlier is not None]
    assert either
    tally = Tally(standard())
    tally.add(a_finding(name, Verdict.PASS, {"requests": [{}]}) for name in either)
    assert {f.verdict for f in tally.findings()} == {Verdict.NOT_CHECKED}


def test_a_plug_in_at_which_nothing_that_was_chosen_knocks_is_not_judged() -> None:
    names = [p.id for p in standard().probes.values() if getattr(p.expect, "by", "") == "pod-security"]
    found = {f.id: f for f in Tally(selected(standard(), only=frozenset(names[:1])).known).findings()}
    assert {name: f.verdict for name, f in found.items()} == {
        p.id: Verdict.NOT_CHECKED if p.id == "ISO-634" else Verdict.NOT_APPLICABLE for p in PLUGINS
    }
    assert all(f.reason for f in found.values())


def test_an_api_server_that_runs_no_plug_in_is_found() -> None:
    answers = FakeServer(objects=live_objects() + other_namespaces())
    answers.allowed = lambda spec: "system:masters" in spec["groups"]
    tally = Tally(standard())
    for found in audit(Ground(answers.api()), [target(**STRANGERS)], [selected(standard())], settle=0):
        tally.add(found)
    assert {f.id: f.verdict for f in tally.findings()} == {p.id: Verdict.FAIL for p in PLUGINS}


def test_after_a_server_fell_silent_every_check_that_is_left_has_an_ending_and_none_is_good() -> None:
    aims = [target(**STRANGERS), replace(target(**STRANGERS), tenant="moitt")]
    sent = 0

    def script(request: Any) -> Any:
        nonlocal sent
        sent += 1
        return UnavailableError("the API server does not answer") if sent > 120 else None

    answers = FakeServer(script, live_objects() + other_namespaces())
    answers.allowed = lambda spec: "system:masters" in spec["groups"]
    first, second = audit(Ground(answers.api()), aims, [selected(standard())] * 2, settle=0, threads=2)
    assert {f.id for f in first} == {f.id for f in second}
    assert {f.verdict for f in second} == {Verdict.ERROR}
    assert sent < 130


def test_a_missing_right_to_impersonate_is_said_once_for_each_tenant() -> None:
    denied = 'x is forbidden: User "v" cannot impersonate-on:user-info:list resource "configmaps" in API group ""'
    answers = FakeServer(lambda r: refused(denied) if r.identity else None, live_objects() + other_namespaces())
    answers.allowed = lambda spec: "system:masters" in spec["groups"]
    [found] = audit(Ground(answers.api()), [target()], [selected(standard())], settle=0)
    assert [(f.id, f.verdict) for f in found if f.verdict is Verdict.ERROR] == [(GATE, Verdict.ERROR)]
