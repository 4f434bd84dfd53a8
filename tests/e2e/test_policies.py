"""Each admission policy on a real API server: what lies beside it in admitted/ and denied/, and what no file says."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e import policy_world
from tests.e2e.conftest import RunningLab, running
from tests.e2e.policy_world import IDENTITIES, Fixture

from gcloud_pk.cluster.kinds import (
    NAMESPACE,
    POD,
    TENANT_POLICY,
    VALIDATING_ADMISSION_POLICY,
    VALIDATING_ADMISSION_POLICY_BINDING,
)
from gcloud_pk.cluster.transport import Answer, Api
from gcloud_pk.model import labels
from gcloud_pk.render import platform

FIXTURES = policy_world.fixtures()
ADMITTED = [f for f in FIXTURES if not f.denied]
DENIED = [f for f in FIXTURES if f.denied]
REGISTRY = "registry.gcloud.gov.pk/fixture/"


@pytest.fixture(scope="module")
def api(lab: RunningLab) -> Iterator[Api]:
    """The shared control plane as its administrator, with the platform and the fixtures' world."""
    api = policy_world.administrator(lab.kubeconfig)
    policy_world.install_platform(api)
    policy_world.build(api)
    yield api
    policy_world.remove(api)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A control plane of our own, to take controls away from."""
    with running("policies-scratch", tmp_path_factory.mktemp("scratch")) as own:
        api = policy_world.administrator(own.kubeconfig)
        policy_world.install_platform(api)
        policy_world.build(api)
        yield api


def pod(name: str, namespace: str = "fixture-prod", image: str = f"{REGISTRY}web:1.0") -> dict[str, Any]:
    found = next(m for m in policy_world.world() if m["kind"] == "Pod")
    made: dict[str, Any] = copy.deepcopy(found)
    made["metadata"] = {"name": name, "namespace": namespace}
    made["spec"]["containers"][0]["image"] = image
    return made


def eventually(ask: Any, what: str, seconds: float = 15) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := ask()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("fixture", ADMITTED, ids=str)
def test_what_lies_in_admitted_is_admitted(api: Api, fixture: Fixture) -> None:
    answer = policy_world.send(api, fixture)
    assert answer.ok, answer.message


@pytest.mark.parametrize("fixture", DENIED, ids=str)
def test_what_lies_in_denied_is_refused_by_policy_and_field(api: Api, fixture: Fixture) -> None:
    answer = policy_world.send(api, fixture)
    if fixture.earlier and fixture.earlier in answer.message:
        return
    assert policy_world.refused_by(fixture.policy, answer), f"{answer.status} {answer.message}"
    assert fixture.field in answer.message


@pytest.mark.parametrize("policy", policy_world.policies())
def test_without_its_binding_a_denied_object_is_admitted(scratch: Api, policy: str) -> None:
    path = VALIDATING_ADMISSION_POLICY_BINDING.path(name=policy)
    (binding,) = policy_world.bindings(policy)
    denied = [f for f in DENIED if f.of == policy and (f.otherwise or not f.earlier)]
    assert scratch.request("DELETE", path).ok
    try:
        answers: dict[str, Answer] = {}
        eventually(lambda: not policy_world.refused_by(policy, policy_world.send(scratch, denied[0])), "still in force")
        for fixture in denied:
            answers[str(fixture)] = answer = policy_world.send(scratch, fixture)
            if not fixture.dry_run and answer.ok:
                # What was written or deleted in earnest is put back for the next.
                policy_world.build(scratch)
        wrong = {
            str(f): answers[str(f)].message
            for f in denied
            if not (f.otherwise in answers[str(f)].message if f.otherwise else answers[str(f)].ok)
        }
        assert not wrong
    finally:
        policy_world.apply(scratch, binding)


def unrolled(policy: str, change: tuple[str, str] = ("", "")) -> dict[str, Any]:
    """Return a copy of a policy in which each variable is a validation too.

    The server type-checks validations only; what is wrong inside a variable it would keep to itself until run time.
    """
    found = next(
        m for m in platform.platform_objects()
        if m["kind"] == "ValidatingAdmissionPolicy" and m["metadata"]["name"] == policy
    )  # fmt: skip
    spec = copy.deepcopy(found["spec"])
    for variable in spec.get("variables", []):
        variable["expression"] = variable["expression"].replace(*change) if change[0] else variable["expression"]
        spec["validations"].append({"expression": f"[dyn({variable['expression']})].size() == 1", "message": "typed"})
    return {**found, "metadata": {"name": f"typed-{policy}"}, "spec": spec}


def warnings(api: Api, policy: dict[str, Any]) -> list[dict[str, str]]:
    """Return what type checking says of a policy that no binding brings into force."""
    path = VALIDATING_ADMISSION_POLICY.path(name=policy["metadata"]["name"])
    policy_world.apply(api, policy)

    def checked() -> dict[str, Any] | None:
        live = api.get(path)
        status: dict[str, Any] = live.get("status") or {}
        return status if status.get("observedGeneration") == live["metadata"]["generation"] else None

    try:
        found: list[dict[str, str]] = eventually(checked, "never checked")["typeChecking"].get("expressionWarnings", [])
        return found
    finally:
        api.request("DELETE", path)


@pytest.mark.parametrize("policy", policy_world.policies())
def test_a_policy_type_checks(api: Api, policy: str) -> None:
    assert warnings(api, unrolled(policy)) == []


@pytest.mark.parametrize(
    ("policy", "right", "wrong"),
    [
        ("gpk-images", "params.spec.registries", "params.spec.registriez"),
        ("gpk-images", "object.spec.containers", "object.spec.containerz"),
        ("gpk-images", "params.spec.waivers", "params.spec.waiverz"),
        ("gpk-waivers", "params.spec.waivers", "params.spec.waiverz"),
        ("gpk-role-bindings", "params.spec.namespaces", "params.spec.namespacez"),
        ("gpk-services", "object.spec.?type", "object.spec.?typ"),
        ("gpk-network-policies", "params.spec.egressCidrs", "params.spec.egressCidrz"),
        ("gpk-network-policies", "p.namespaceSelector.?matchLabels", "p.namespaceSelector.?matchLabelz"),
        ("gpk-ingresses", "params.spec.domains", "params.spec.domainz"),
        ("gpk-ingresses", "t.?hosts", "t.?hostz"),
        ("gpk-claims", "object.spec.?volumeName", "object.spec.?volume"),
        ("gpk-placement", "params.spec.isolation", "params.spec.isolatio"),
        ("gpk-placement", "t.?effect", "t.?effects"),
        ("gpk-namespaces", "object.metadata.?labels", "object.metadata.?labelz"),
        ("gpk-tenant-policies", "oldObject.metadata.deletionTimestamp", "oldObject.metadata.deletedAt"),
    ],
)
def test_type_checking_would_see_a_misspelt_field(api: Api, policy: str, right: str, wrong: str) -> None:
    said = warnings(api, unrolled(policy, (right, wrong)))
    assert f"undefined field '{wrong.rpartition('.')[2].lstrip('?')}'" in str(said)


def test_the_canary_tells_version_and_revision(api: Api) -> None:
    asked = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": platform.CANARY_CONFIG_MAP}}
    answer = api.impersonating(IDENTITIES["onboarder"]).request(
        "POST", f"/api/v1/namespaces/{labels.SYSTEM_NAMESPACE}/configmaps", body=asked, params={"dryRun": "All"}
    )
    assert answer.status == 403
    assert f"platform 0.1.0 {platform.platform_revision()}" in answer.message


def test_a_pod_that_runs_is_not_held_up_by_a_registry_that_left(api: Api) -> None:
    old = "registry.gcloud.gov.pk/left/"
    parameters = TENANT_POLICY.path("fixture-prod", labels.TENANT_POLICY_NAME)
    before = api.get(parameters)["spec"]["registries"]

    def allow(registries: list[str]) -> None:
        body = {"spec": {"registries": registries}}
        assert api.request("PATCH", parameters, body=body, content_type=policy_world.PATCH).ok

    allow([*before, old])
    try:
        leaving = pod("leaving", image=f"{old}web:1")
        eventually(lambda: api.request("POST", POD.path("fixture-prod"), body=leaving).ok, "never admitted")
        allow(before)
        eventually(
            lambda: not api.request("POST", POD.path("fixture-prod"), body=pod("new", image=f"{old}web:1"),
                                    params={"dryRun": "All"}).ok,
            "still admitted",
        )  # fmt: skip
        labelled = {"metadata": {"labels": {"seen": "yes"}}}
        path = POD.path("fixture-prod", "leaving")
        answer = api.request("PATCH", path, body=labelled, content_type=policy_world.PATCH)
        assert answer.ok, answer.message
    finally:
        allow(before)
        api.request("DELETE", POD.path("fixture-prod", "leaving"), params={"gracePeriodSeconds": 0})


def test_a_pod_of_a_hundred_containers_against_a_hundred_long_registries_is_judged(api: Api) -> None:
    long = [f"{REGISTRY}{'x' * 200}{number:03}/" for number in range(100)]
    parameters = TENANT_POLICY.path("fixture-test", labels.TENANT_POLICY_NAME)
    before = api.get(parameters)["spec"]["registries"]

    def sent(image: str) -> Answer:
        body = pod("large", "fixture-test")
        (container,) = body["spec"]["containers"]
        body["spec"]["containers"] = [{**container, "name": f"c{i}", "image": image} for i in range(100)]
        return api.request("POST", POD.path("fixture-test"), body=body, params={"dryRun": "All"})

    def set_registries(registries: list[str]) -> None:
        body = {"spec": {"registries": registries}}
        assert api.request("PATCH", parameters, body=body, content_type=policy_world.PATCH).ok

    set_registries(long)
    try:
        answer = eventually(lambda: (a := sent(f"{long[-1]}web:1")).ok and a, "never admitted", seconds=5)
        assert answer.ok
        refused = sent("docker.io/library/web:1")
        assert "spec.containers[0].image: docker.io/library/web:1" in refused.message
        assert "and 97 more" in refused.message
    finally:
        set_registries(before)


def test_a_tenants_namespace_can_be_deleted_and_its_parameters_leave_last(api: Api) -> None:
    policy_world.build(api)
    name, onboarder = "fixture-closing", api.impersonating(IDENTITIES["onboarder"])
    made = copy.deepcopy([m for m in policy_world.world() if m["kind"] in {"Namespace", "TenantPolicy"}])
    namespace = next(m for m in made if m["metadata"]["name"] == "fixture-test")
    parameters = next(m for m in made if m["metadata"].get("namespace") == "fixture-test")
    namespace["metadata"].pop("annotations", None)  # which only an administrator sets
    namespace["metadata"]["name"] = parameters["metadata"]["namespace"] = name
    parameters["spec"] |= {"namespaces": [name], "registries": [REGISTRY]}
    policy_world.apply(onboarder, namespace)
    policy_world.apply(onboarder, parameters)
    early = policy_world.release(onboarder, name)
    assert policy_world.refused_by("gpk-tenant-policies", early)
    assert "metadata.finalizers" in early.message

    assert onboarder.request("DELETE", NAMESPACE.path(name=name)).ok

    def only_the_guard_holds_it() -> bool:
        conditions = api.get(NAMESPACE.path(name=name)).get("status", {}).get("conditions", [])
        said = {c["type"]: c["message"] for c in conditions if c["status"] == "True"}
        remaining, finalizers = said.get("NamespaceContentRemaining", ""), said.get("NamespaceFinalizersRemaining", "")
        return "tenantpolicies" in remaining and remaining.count(" has ") == 1 and labels.PARAM_GUARD in finalizers

    eventually(only_the_guard_holds_it, "something else holds it", seconds=30)
    assert policy_world.release(onboarder, name).ok
    eventually(lambda: api.request("GET", NAMESPACE.path(name=name)).status == 404, "never gone", seconds=30)
