"""The self-test's data and arithmetic: what is taken away, what must notice, and what is said where it does not."""

from __future__ import annotations

import dataclasses
from functools import cache

import pytest

from gcloud_pk.cluster.kinds import VALIDATING_ADMISSION_POLICY, VALIDATING_ADMISSION_POLICY_BINDING, ObjectKey
from gcloud_pk.lab.judge import _NAME
from gcloud_pk.lab.selftest import scratches, variables
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.proof import checks, mutation
from gcloud_pk.proof.foresight import Foreseen, Key, Scene, _Forecast, foreseen
from gcloud_pk.proof.mutation import Backing, Exemption, Mutation, Plan
from gcloud_pk.proof.notice import Notice, finding, stood, unmoved, unshown
from gcloud_pk.proof.probe import Refused, standard
from gcloud_pk.proof.world import Act, World, _matches, merged, rules_of
from gcloud_pk.render.platform import platform_objects

ID = "ISO-222"
"""A probe of GPK-CLM-02 alone."""


@cache
def plan() -> Plan:
    return mutation.read(variables(scratches()))


@cache
def shared() -> World:
    return World.of(platform_objects())


@cache
def whole() -> World:
    return World.of([*platform_objects(), *(made for scratch in scratches().values() for made in scratch.manifests)])


@cache
def scene(tenant: str) -> Scene:
    return Scene(whole(), scratches()[tenant].target, standard())


@cache
def everything() -> dict[str, Mutation]:
    found = mutation.mutations(plan(), shared(), standard(), scratches()["single"].target)
    return {each.id: each for each in found}


def a_finding(check: str, subject: str, verdict: Verdict = Verdict.PASS, observed: str = "as expected") -> Finding:
    return Finding(check, check, subject, "so", observed, verdict)


def baseline(tenant: str) -> dict[Key, Finding]:
    keys = [key for key, said in _Forecast(scene(tenant), plan()).all() if said.verdict is Verdict.PASS]
    target = scene(tenant).target
    for environment in target.environments:
        of = checks.RETIRED if environment.retired else checks.ACTIVE
        keys += [(check.id, f"tenant/{target.tenant}/{environment.name}") for check in of]
    keys += [(name, "cluster") for name in ("ISO-630", "ISO-631", "ISO-632", "ISO-633", "ISO-634")]
    return {key: a_finding(*key) for key in keys}


def changed(name: str) -> dict[Key, Foreseen]:
    made = everything()[name]
    usual, before = baseline(made.tenant), scene(made.tenant)
    expected = foreseen(before, before.beside(whole().after(made.acts)), made, plan(), usual)
    return {key: each for key, each in expected.items() if each.verdict is not Verdict.PASS}


def verdicts(name: str) -> dict[str, Verdict]:
    return {check: each.verdict for (check, _), each in changed(name).items()}


def probes_of(by: str, rule: str | None = None) -> set[str]:
    known = {check for check, _ in baseline("single")}
    return {
        p.id
        for p in standard().probes.values()
        if isinstance(p.expect, Refused) and p.expect.by == by and rule in {None, p.expect.rule} and p.id in known
    }


def test_every_mutation_changes_a_world_in_which_its_objects_are() -> None:
    for made in everything().values():
        after = whole().after(made.acts)
        assert all(after.objects.get(a.key) != whole().objects.get(a.key) for a in made.acts), made.id


def test_every_policy_binding_and_rule_is_taken_away() -> None:
    names = {key.name for key in shared().objects if key.kind == VALIDATING_ADMISSION_POLICY}
    assert {f"{name}-unbound" for name in names} <= everything().keys()
    rules = {r for name in names for r in rules_of(shared().objects[ObjectKey(VALIDATING_ADMISSION_POLICY, "", name)])}
    assert {f"{rule}-gone" for rule in rules} <= everything().keys()
    assert len(rules) > 40


def test_every_object_of_a_scratch_namespace_is_taken_away_or_weakened() -> None:
    touched = {act.key for made in everything().values() for act in made.acts}
    namespace = scene("single").target.active[0].namespace
    own = {key for key in whole().objects if namespace in {key.namespace, key.name}}
    assert own <= touched


def test_a_binding_that_goes_is_missed_by_exactly_the_probes_of_its_policy() -> None:
    said = verdicts("gpk-claims-unbound")
    assert said == {**dict.fromkeys(probes_of("gpk-claims"), Verdict.FAIL), "ISO-630": Verdict.FAIL}
    assert len(said) > 3


def test_a_rule_that_goes_is_missed_by_exactly_its_probes() -> None:
    said = verdicts("GPK-CLM-02-gone")
    assert said == {**dict.fromkeys(probes_of("gpk-claims", "GPK-CLM-02"), Verdict.FAIL), "ISO-630": Verdict.FAIL}
    assert ID in said


def test_a_policy_that_only_writes_to_the_audit_log_refuses_nothing() -> None:
    assert verdicts("gpk-claims-audit-only") == verdicts("gpk-claims-unbound") == verdicts("gpk-claims-narrowed")


def test_what_a_wall_backs_ends_as_an_error_that_names_it() -> None:
    said = {check: each for (check, _), each in changed("gpk-services-unbound").items()}
    assert said["ISO-040"] == Foreseen(Verdict.ERROR, ("quota",))
    assert said["ISO-042"] == Foreseen(Verdict.FAIL)


def test_without_their_binding_admins_are_refused_and_what_depends_on_them_is_not_checked() -> None:
    said = changed("admins-unbound-of-several")
    subject = f"tenant/{scene('plain').target.tenant}/eoffice"
    assert said["ISO-001", subject].verdict is Verdict.FAIL
    assert said["ISO-020", subject].verdict is Verdict.NOT_CHECKED
    assert said["ISO-109", subject].verdict is Verdict.FAIL
    assert said["ISO-151", subject].verdict is Verdict.FAIL
    assert ("ISO-002", subject) not in said
    assert {s for _, s in said} <= {subject, "cluster"}


def test_a_right_too_many_is_missed_by_what_says_that_nobody_has_it() -> None:
    said = verdicts("right-own-developers-services")
    assert said["ISO-162"] is Verdict.FAIL
    assert said["ISO-632"] is Verdict.FAIL


def test_an_opened_list_is_missed_where_it_stands_only() -> None:
    said = changed("parameters-registries-of-several")
    subject = f"tenant/{scene('plain').target.tenant}/eoffice"
    assert {s for _, s in said} == {subject}
    assert said["ISO-020", subject].verdict is said["ISO-107", subject].verdict is Verdict.FAIL
    assert ("ISO-021", subject) not in said


def test_what_aims_at_an_object_that_is_gone_is_not_checked() -> None:
    said = verdicts("quota-gone")
    assert said["ISO-103"] is Verdict.FAIL
    assert said["ISO-033"] is said["ISO-060"] is Verdict.NOT_CHECKED


def test_where_no_policy_is_bound_the_canary_and_the_plug_in_are_missed() -> None:
    said = verdicts("no-policy-bound")
    assert said["ISO-630"] is said["ISO-631"] is said["ISO-633"] is Verdict.FAIL
    assert "ISO-634" not in said


# What the self-test says of itself.


def a_notice(observed: dict[Key, Finding], expected: dict[Key, Foreseen] | None = None) -> Notice:
    made = everything()["GPK-CLM-02-gone"]
    key, other = (ID, "tenant/t/e"), ("ISO-001", "tenant/t/e")
    usual = {key: Verdict.PASS, other: Verdict.PASS}
    expected = expected or {key: Foreseen(Verdict.FAIL), other: Foreseen(Verdict.PASS)}
    return Notice(made, usual, expected, {key: a_finding(*key), other: a_finding(*other), **observed})


KEY, OTHER = (ID, "tenant/t/e"), ("ISO-001", "tenant/t/e")
FAILED = a_finding(*KEY, Verdict.FAIL, "admitted (201)")


def test_a_control_that_exactly_its_checks_miss_passes() -> None:
    said = finding(a_notice({KEY: FAILED}))
    assert (said.verdict, said.expected, said.observed) == (Verdict.PASS, f"{ID} fail", f"{ID} fail")


def test_a_check_that_does_not_notice_is_named() -> None:
    said = finding(a_notice({}))
    assert said.verdict is Verdict.FAIL
    assert f"{ID} (tenant/t/e) is pass, not fail" in str(said.reason)


def test_a_check_that_notices_what_is_none_of_its_business_is_named() -> None:
    said = finding(a_notice({KEY: FAILED, OTHER: a_finding(*OTHER, Verdict.FAIL, "refused by rbac (403): no")}))
    assert said.verdict is Verdict.FAIL
    assert "ISO-001 (tenant/t/e) is fail, not pass" in str(said.reason)


def test_a_control_that_no_check_notices_is_a_defect() -> None:
    said = finding(a_notice({}, {KEY: Foreseen(Verdict.PASS), OTHER: Foreseen(Verdict.PASS)}))
    assert (said.verdict, said.reason) == (Verdict.FAIL, "no check notices that the control is gone")


def test_another_wall_than_the_one_that_is_said_to_stand_behind_is_named() -> None:
    by_quota = a_finding(*KEY, Verdict.ERROR, "refused by quota (403): exceeded quota: tenant")
    expected = {KEY: Foreseen(Verdict.ERROR, ("gpk-placement GPK-PLC-05",)), OTHER: Foreseen(Verdict.PASS)}
    assert finding(a_notice({KEY: by_quota}, expected)).verdict is Verdict.FAIL
    expected[KEY] = Foreseen(Verdict.ERROR, ("quota",))
    said = finding(a_notice({KEY: by_quota}, expected))
    assert said.verdict is Verdict.PASS
    assert said.evidence["backedBy"] == {f"{ID} (tenant/t/e)": "quota"}


def test_a_check_that_was_not_looked_at_is_named() -> None:
    notice = a_notice({KEY: FAILED})
    said = finding(dataclasses.replace(notice, observed={KEY: FAILED}))
    assert said.verdict is Verdict.FAIL
    assert "ISO-001 (tenant/t/e) was not looked at" in str(said.reason)


def test_a_mutation_that_cannot_be_made_is_an_error() -> None:
    said = finding(dataclasses.replace(a_notice({}), trouble="not made: the API server is gone"))
    assert (said.verdict, said.reason) == (Verdict.ERROR, "not made: the API server is gone")


def of_checks(notices: list[Notice], exempt: dict[str, str]) -> dict[str, Finding]:
    unbroken = {KEY: a_finding(*KEY), OTHER: a_finding(*OTHER)}
    said = Plan((), (), tuple(Exemption(id=name, because=why) for name, why in exempt.items()))
    return {f.id: f for f in unmoved(notices, unbroken, said)}


def test_a_check_that_never_says_no_is_a_defect() -> None:
    said = of_checks([a_notice({KEY: FAILED})], {})
    assert (said[ID].verdict, said[ID].observed) == (Verdict.PASS, "first by GPK-CLM-02-gone")
    assert said["ISO-001"].verdict is Verdict.FAIL
    assert "it shows nothing" in str(said["ISO-001"].reason)


def test_an_exempt_check_is_shown_with_its_reason_and_must_need_it() -> None:
    said = of_checks([a_notice({KEY: FAILED})], {ID: "why not", "ISO-001": "the gate", "ISO-999": "gone"})
    assert (said["ISO-001"].verdict, said["ISO-001"].reason) == (Verdict.NOT_APPLICABLE, "exempt: the gate")
    assert said[ID].verdict is said["ISO-999"].verdict is Verdict.FAIL


def test_a_check_that_applies_nowhere_has_nothing_to_show() -> None:
    nowhere = a_finding(*KEY, Verdict.NOT_APPLICABLE)
    nowhere = dataclasses.replace(nowhere, reason="the cluster does not serve it")
    (said,) = unmoved([], {KEY: nowhere}, Plan((), (), ()))
    assert (said.verdict, said.reason) == (Verdict.NOT_APPLICABLE, "the cluster does not serve it")


def test_a_wall_that_is_said_to_stand_behind_and_was_not_met_is_a_defect() -> None:
    by_quota = a_finding(*KEY, Verdict.ERROR, "refused by quota (403): exceeded quota: tenant")
    expected = {KEY: Foreseen(Verdict.ERROR, ("quota",)), OTHER: Foreseen(Verdict.PASS)}
    said = Plan((), (Backing(wall="quota", because="counted", probes=(ID,)),), ())
    assert [f.verdict for f in unshown([a_notice({KEY: by_quota}, expected)], said)] == [Verdict.PASS]
    assert [f.verdict for f in unshown([a_notice({})], said)] == [Verdict.FAIL]


@pytest.mark.parametrize(
    ("observed", "wall"),
    [
        ("admitted (201)", None),
        ("refused by quota (403): exceeded quota: tenant", "quota"),
        (
            "refused by gpk-images (403): pods is forbidden: … denied request: [GPK-IMG-02] spec",
            "gpk-images GPK-IMG-02",
        ),
        ("error in 2 of 3 namespaces; in the namespace x: refused by other (404): not found", "other"),
    ],
)
def test_the_wall_that_stood_is_read_from_what_was_observed(observed: str, wall: str | None) -> None:
    assert stood(a_finding("ISO-001", "tenant/t", Verdict.ERROR, observed)) == wall


# The world.


def test_a_merge_patch_removes_what_is_null_and_leaves_the_original_alone() -> None:
    document = {"a": {"b": 1, "c": [1]}, "d": 2}
    assert merged(document, {"a": {"b": None, "c": [2]}, "e": {"f": 3}}) == {"a": {"c": [2]}, "d": 2, "e": {"f": 3}}
    assert document == {"a": {"b": 1, "c": [1]}, "d": 2}


@pytest.mark.parametrize(
    ("selector", "selects"),
    [
        ({}, True),
        ({"matchLabels": {"a": "1"}}, True),
        ({"matchLabels": {"a": "2"}}, False),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "b", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "b", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, False),
        ({"matchExpressions": [{"key": "b", "operator": "NotIn", "values": ["1"]}]}, True),
    ],
)
def test_a_label_selector_selects_as_kubernetes_says(selector: dict[str, object], selects: bool) -> None:
    assert _matches(selector, {"a": "1"}) is selects


def test_an_act_is_one_change_of_a_known_kind() -> None:
    with pytest.raises(ValueError, match="one of delete"):
        Act(kind="LimitRange", name="tenant")
    with pytest.raises(ValueError, match="no known kind"):
        Act(kind="Secret-ish", name="tenant", delete=True)
    with pytest.raises(ValueError, match="there is no LimitRange nowhere/tenant"):
        whole().after([Act(kind="LimitRange", name="tenant", namespace="nowhere", delete=True)])


def test_a_binding_without_a_policy_refuses_nothing() -> None:
    gone = whole().after([Act(kind="ValidatingAdmissionPolicy", name="gpk-claims", delete=True)])
    namespace = scene("plain").target.active[0].namespace
    assert whole().enforces("gpk-claims", "GPK-CLM-02", namespace)
    assert not whole().enforces("gpk-claims", "GPK-CLM-02", "kube-system")
    assert not gone.enforces("gpk-claims", None, namespace)
    assert ObjectKey(VALIDATING_ADMISSION_POLICY_BINDING, "", "gpk-claims") in gone.objects


def test_what_a_killed_self_test_left_is_known_by_the_process_that_made_it() -> None:
    assert [found[1] for name in ("judge-12", "judge-12-1") if (found := _NAME.fullmatch(name))] == ["12", "12"]
