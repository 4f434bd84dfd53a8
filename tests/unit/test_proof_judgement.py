"""From an answer to a verdict: only the expected wall that names the expected field passes."""

from __future__ import annotations

import pytest

from gcloud_pk.cluster.transport import Answer
from gcloud_pk.model.finding import Verdict
from gcloud_pk.proof.call import Call, Resource
from gcloud_pk.proof.judgement import expectation, judge
from gcloud_pk.proof.probe import Refused

PODS = Call("create", Resource.parse("v1/pods"), "moitt-eoffice", body={})
POLICY = Refused.model_validate({"by": "gpk-images", "rule": "GPK-IMG-01", "field": "spec.containers[0].image"})
RBAC = Refused.model_validate({"by": "rbac"})
ADDRESSES = Refused.model_validate(
    {"by": "gpk-services", "rule": "GPK-SVC-02", "field": "spec.externalIPs", "earlier": "external-ips"}
)
BY_PLUGIN = 'services "a" is forbidden: Use of external IPs is denied by admission control.'

BY_POLICY = "pods \"a\" is forbidden: ValidatingAdmissionPolicy '{}' with binding 'b' denied request: {}"
BY_RBAC = 'pods is forbidden: User "gcloud-pk:probe" cannot {} resource "{}" in API group "{}" {}'


def answer(message: str, status: int = 403) -> Answer:
    return Answer(status, {"message": message})


@pytest.mark.parametrize(
    ("expected", "answered", "verdict"),
    [
        pytest.param(
            POLICY, answer(BY_POLICY.format("gpk-images", "[GPK-IMG-01] spec.containers[0].image: x")), "pass",
            id="the expected policy names the expected field",
        ),
        pytest.param(POLICY, Answer(201, {}), "fail", id="a broken object is admitted"),
        pytest.param(
            POLICY, answer(BY_POLICY.format("gpk-images", "[GPK-IMG-01] spec.initContainers[0].image: x")), "error",
            id="the expected policy names another field",
        ),
        pytest.param(
            POLICY, answer(BY_POLICY.format("gpk-images", "[GPK-IMG-02] spec.containers[0].image: x")), "error",
            id="another rule of the expected policy names the expected field",
        ),
        pytest.param(
            POLICY, answer(BY_POLICY.format("gpk-images", "spec.containers[0].image: [GPK-IMG-01] x")), "error",
            id="the rule stands elsewhere than at the beginning",
        ),
        pytest.param(
            POLICY, answer(BY_POLICY.format("gpk-services", "[GPK-IMG-01] spec.containers[0].image: x")), "error",
            id="another policy names the expected field",
        ),
        pytest.param(
            POLICY,
            answer('spec.containers[0].image "spec.containers[0].image" is forbidden: ValidatingAdmissionPolicy '
                   "'gpk-images' with binding 'b' denied request: [GPK-IMG-01] no"),
            "error",
            id="the field stands only in the object's own name",
        ),
        pytest.param(ADDRESSES, answer(BY_PLUGIN), "pass", id="a wall that may stand in front refuses"),
        pytest.param(
            ADDRESSES, answer(BY_POLICY.format("gpk-services", "[GPK-SVC-02] spec.externalIPs: 192.0.2.1")), "pass",
            id="the policy behind a wall that may stand in front refuses",
        ),
        pytest.param(
            ADDRESSES, answer('services "a" is forbidden: exceeded quota: tenant, requested: services=1'), "error",
            id="another wall than those two refuses",
        ),
        pytest.param(POLICY, answer(BY_PLUGIN), "error", id="a wall in front of another policy refuses"),
        pytest.param(POLICY, answer("boom", 500), "error", id="the server fails"),
        pytest.param(POLICY, answer("not found", 404), "error", id="something is not found"),
        pytest.param(
            POLICY, answer(BY_RBAC.format("create", "pods", "", 'in the namespace "moitt-eoffice"')), "error",
            id="RBAC refuses before the policy is asked",
        ),
        pytest.param(
            RBAC, answer(BY_RBAC.format("create", "pods", "", 'in the namespace "moitt-eoffice"')), "pass",
            id="RBAC refuses this very request",
        ),
        pytest.param(
            RBAC, answer(BY_RBAC.format("create", "pods", "", 'in the namespace "moitt-other"')), "error",
            id="RBAC speaks of another namespace",
        ),
        pytest.param(
            RBAC, answer(BY_RBAC.format("list", "pods", "", 'in the namespace "moitt-eoffice"')), "error",
            id="RBAC speaks of another verb",
        ),
        pytest.param(
            RBAC,
            answer('pods is forbidden: User "gcloud-pk:verifier" cannot impersonate-on:user-info:create resource "pods"'
                   ' in API group "" in the namespace "moitt-eoffice"'),
            "error",
            id="the verifier may not impersonate, which is no wall",
        ),
        pytest.param("admitted", Answer(201, {}), "pass", id="a control is admitted"),
        pytest.param(
            "admitted", answer(BY_RBAC.format("create", "pods", "", 'in the namespace "moitt-eoffice"')), "fail",
            id="a control is refused by RBAC",
        ),
        pytest.param(
            "admitted", answer('pods "a" is forbidden: exceeded quota: tenant, requested: pods=1'), "not-checked",
            id="a control meets a quota that is used up",
        ),
        pytest.param("admitted", answer("boom", 500), "error", id="a control meets a failing server"),
    ],
)  # fmt: skip
def test_the_verdict_follows_from_who_refused_and_what_he_named(
    expected: Refused, answered: Answer, verdict: str
) -> None:
    judgement = judge(expected, PODS, answered)
    assert judgement.verdict == Verdict(verdict)
    assert (judgement.reason is None) == (verdict == "pass")


def test_a_missing_right_to_impersonate_is_named() -> None:
    message = 'pods is forbidden: User "v" cannot impersonate-on:user-info:create resource "pods" in API group ""'
    assert judge(RBAC, PODS, answer(message)).reason == (
        'the verifier lacks a right: User "v" cannot impersonate-on:user-info:create resource "pods" in API group ""'
    )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (PODS, 'cannot create resource "pods" in API group "" in the namespace "moitt-eoffice"'),
        (
            Call("list", Resource.parse("rbac.authorization.k8s.io/v1/rolebindings"), None),
            'cannot list resource "rolebindings" in API group "rbac.authorization.k8s.io" at the cluster scope',
        ),
        (
            Call("patch", Resource.parse("v1/namespaces"), "a", "b", "status"),
            'cannot patch resource "namespaces/status" in API group "" in the namespace "b"',
        ),
        (
            Call("list", Resource.parse("v1/namespaces"), None),
            'cannot list resource "namespaces" in API group "" at the cluster scope',
        ),
    ],
    ids=["in a namespace", "in the cluster", "a namespace's subresource", "all namespaces"],
)
def test_what_rbac_must_say_follows_from_the_request(call: Call, words: str) -> None:
    assert expectation(RBAC, call).endswith(words)
