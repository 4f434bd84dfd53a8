"""Each admission policy on a real API server: what lies beside it in admitted/ and denied/, and what no file says."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.e2e import policy_world
from tests.e2e.conftest import RunningLab, running
from tests.e2e.policy_world import IDENTITIES, Fixture

from gcloud_pk.cluster.kinds import (
    CRON_JOB,
    DEPLOYMENT,
    NAMESPACE,
    NETWORK_POLICY,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    TENANT_POLICY,
    VALIDATING_ADMISSION_POLICY,
    VALIDATING_ADMISSION_POLICY_BINDING,
    Kind,
    key_of,
)
from gcloud_pk.cluster.transport import JSON_PATCH, Answer, Api
from gcloud_pk.model import labels
from gcloud_pk.render import platform

FIXTURES = policy_world.fixtures()
ADMITTED = [f for f in FIXTURES if not f.denied]
DENIED = [f for f in FIXTURES if f.denied]
REGISTRY = "registry.gcloud.gov.pk/fixture/"


@pytest.fixture(scope="module")
def api(lab: RunningLab) -> Iterator[Api]:
    """The shared control plane as its administrator, with the platform and the fixtures' world."""
    with policy_world.inhabited(lab) as api:
        yield api


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


def eventually(ask: Any, what: str, seconds: float = 60) -> Any:
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


@pytest.mark.parametrize("policy", sorted({f.of for f in DENIED}))
def test_without_its_binding_a_denied_object_is_admitted(scratch: Api, policy: str) -> None:
    denied = [f for f in DENIED if f.of == policy and (f.otherwise or not f.earlier)]
    assert not refused_without_its_binding(scratch, policy, denied)


def refused_without_its_binding(scratch: Api, policy: str, denied: list[Fixture]) -> dict[str, str]:
    """Return what is refused (or not answered as the fixture says) although the policy is not in force."""
    path = VALIDATING_ADMISSION_POLICY_BINDING.path(name=policy)
    (binding,) = policy_world.bindings(policy)
    assert scratch.request("DELETE", path).ok
    try:
        answers: dict[str, Answer] = {}
        eventually(lambda: not policy_world.refused_by(policy, policy_world.send(scratch, denied[0])), "still in force")
        for fixture in denied:
            answers[str(fixture)] = answer = policy_world.send(scratch, fixture)
            if not fixture.dry_run and answer.ok:
                # What was written or deleted in earnest is put back for the next.
                policy_world.build(scratch)
        return {
            str(f): answers[str(f)].message
            for f in denied
            if not (f.otherwise in answers[str(f)].message if f.otherwise else answers[str(f)].ok)
        }
    finally:
        policy_world.apply(scratch, binding)


# Two policies judge pods in all of these, through `dyn`, of which type checking knows nothing.
OF_PODS = ("gpk-images", "gpk-placement")
TEMPLATE = "spec.template.spec"
POD_SPECS = {
    "pods": "spec",
    "podtemplates": "template.spec",
    "replicationcontrollers": TEMPLATE,
    "daemonsets": TEMPLATE,
    "deployments": TEMPLATE,
    "replicasets": TEMPLATE,
    "statefulsets": TEMPLATE,
    "jobs": TEMPLATE,
    "cronjobs": f"spec.jobTemplate.{TEMPLATE}",
}


def typed(spec: dict[str, Any], resource: str | None) -> Iterator[tuple[str, str]]:
    """Yield variables and what stands for them, where a part of the object hides in a variable: those have no type.

    `resource`: the kind that a policy on pods is to match alone.
    """
    if resource is not None:
        (rule,) = [rule for rule in spec["matchConstraints"]["resourceRules"] if resource in rule["resources"]]
        spec["matchConstraints"]["resourceRules"] = [{**rule, "resources": [resource]}]
        yield "pod", f"object.{POD_SPECS[resource]}"
        yield "was", f"oldObject.{POD_SPECS[resource]}"
        yield "tolerations", f"object.{POD_SPECS[resource]}.?tolerations.orValue([])"
    elif any(variable["name"] == "ingress" for variable in spec.get("variables", [])):
        yield "ingress", "object.spec.?ingress.orValue([])"
        yield "egress", "object.spec.?egress.orValue([])"


def unrolled(policy: str, change: tuple[str, str] = ("", ""), resource: str | None = None) -> dict[str, Any]:
    """Return a copy of a policy in which each variable is a validation too; one on pods as of one kind.

    The server type-checks validations only; what is wrong inside a variable it would keep to itself until run time.
    """
    found = next(
        m for m in platform.platform_objects()
        if m["kind"] == "ValidatingAdmissionPolicy" and m["metadata"]["name"] == policy
    )  # fmt: skip
    spec = copy.deepcopy(found["spec"])
    for name, place in typed(spec, resource):
        for each in spec["variables"]:
            part = place.replace("object.", "dyn(object).", 1).replace("oldObject.", "dyn(oldObject).", 1)
            assert each["name"] != name or place in each["expression"] or part in each["expression"]
            each["expression"] = re.sub(rf"variables\.{name}\b", place, each["expression"])
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


@pytest.mark.parametrize("policy", [policy for policy in policy_world.policies() if policy not in OF_PODS])
def test_a_policy_type_checks(api: Api, policy: str) -> None:
    assert warnings(api, unrolled(policy)) == []


@pytest.mark.parametrize("resource", ["pods", "podtemplates", "deployments", "cronjobs"])
@pytest.mark.parametrize("policy", OF_PODS)
def test_a_policy_on_pods_type_checks_as_of_each_kind(api: Api, policy: str, resource: str) -> None:
    assert warnings(api, unrolled(policy, resource=resource)) == []


@pytest.mark.parametrize("policy", OF_PODS)
def test_a_policy_on_pods_matches_all_that_makes_them(policy: str) -> None:
    matched = {
        resource for rule in unrolled(policy)["spec"]["matchConstraints"]["resourceRules"]
        for resource in rule["resources"]
    }  # fmt: skip
    assert matched - {"pods/ephemeralcontainers"} == set(POD_SPECS)
    # What is scaled, or says how it is, is not judged anew.
    assert not any(resource.endswith(("/scale", "/status")) for resource in matched)


@pytest.mark.parametrize(
    ("policy", "right", "wrong"),
    [
        ("gpk-images", "params.spec.registries", "params.spec.registriez"),
        ("gpk-images", "spec.containers.transformList", "spec.containerz.transformList"),
        ("gpk-images", "c.?imagePullPolicy", "c.?imagePullPolicies"),
        ("gpk-images", "v.image.?pullPolicy", "v.image.?pullPolicies"),
        ("gpk-images", "params.spec.waivers", "params.spec.waiverz"),
        ("gpk-waivers", "params.spec.waivers", "params.spec.waiverz"),
        ("gpk-role-bindings", "params.spec.namespaces", "params.spec.namespacez"),
        ("gpk-services", "object.spec.?type", "object.spec.?typ"),
        ("gpk-network-policies", "params.spec.?egressFlows", "params.spec.?egressFlowz"),
        ("gpk-network-policies", "r.?ports", "r.?portz"),
        ("gpk-network-policies", "q.?protocol", "q.?protocols"),
        ("gpk-network-policies", "params.spec.?reservedCidrs", "params.spec.?reservedCidrz"),
        ("gpk-network-policies", "p.ipBlock.?except", "p.ipBlock.?excepts"),
        ("gpk-network-policies", "p.namespaceSelector.?matchLabels", "p.namespaceSelector.?matchLabelz"),
        ("gpk-ingresses", "params.spec.domains", "params.spec.domainz"),
        ("gpk-ingresses", "t.?hosts", "t.?hostz"),
        ("gpk-claims", "object.spec.?volumeName", "object.spec.?volume"),
        ("gpk-placement", "params.spec.isolation", "params.spec.isolatio"),
        ("gpk-placement", "t.?effect", "t.?effects"),
        ("gpk-placement", "spec.?runtimeClassName", "spec.?runtimeClass"),
        ("gpk-placement", "spec.?priorityClassName", "spec.?priorityClass"),
        ("gpk-cron-jobs", "object.spec.?failedJobsHistoryLimit", "object.spec.?failedJobsLimit"),
        ("gpk-namespaces", "object.metadata.?labels", "object.metadata.?labelz"),
        ("gpk-tenant-policies", "oldObject.metadata.deletionTimestamp", "oldObject.metadata.deletedAt"),
    ],
)
def test_type_checking_would_see_a_misspelt_field(api: Api, policy: str, right: str, wrong: str) -> None:
    said = warnings(api, unrolled(policy, (right, wrong), "statefulsets" if policy in OF_PODS else None))
    field = re.findall(r"\w+", wrong)[-1 if right.rpartition(".")[0] == wrong.rpartition(".")[0] else -2]
    assert f"undefined field '{field}'" in str(said)


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


# --- the largest objects that are judged ------------------------------------------------------------------------------

LONG = [f"{REGISTRY}{'x' * 200}{number:03}/" for number in range(100)]
WAIVED = [f"docker.io/library/{'y' * 20}-{number:02}:1" for number in range(20)]
TAINTS = [f"pool-{number:02} Equal gpu NoSchedule" for number in range(20)]
DECLARED = [f"10.{number}.0.0/{16 + number % 8}" for number in range(100)]
RESERVED = [f"172.{number}.0.0/16" for number in range(50)]
# As many as a request may declare, all at the same ports but the first.
FLOWS = [
    {"to": f"10.{number}.0.0/16", "ports": [{"port": port, "protocol": "TCP"} for port in range(first, first + 20)]}
    for number in range(50)
    for first in [5000 if number else 6000]
]


@contextmanager
def parameters(api: Api, **changed: Any) -> Iterator[None]:
    """Give environment test other parameters for a while; they are in force when this begins."""
    path = TENANT_POLICY.path("fixture-test", labels.TENANT_POLICY_NAME)
    before = api.get(path)["spec"]
    changed.setdefault("registries", [*before.get("registries", ()), "registry.gcloud.gov.pk/in-force/"])
    image = f"{changed['registries'][-1]}web:1"
    answer = api.request("PATCH", path, body={"spec": changed}, content_type=policy_world.PATCH)
    assert answer.ok, answer.message
    try:
        deadline = time.monotonic() + 60
        while "[GPK-IMG-01]" in tried(api, POD, large(POD, [image])).message:
            assert time.monotonic() < deadline, "the server does not take new parameters in"
            time.sleep(0.05)
        yield
    finally:
        back = [{"op": "replace", "path": "/spec", "value": before}]
        assert api.request("PATCH", path, body=back, content_type=JSON_PATCH).ok


def large(kind: Kind, images: list[str], **spec: Any) -> dict[str, Any]:
    """Return a workload of as many containers as there are images."""
    made = pod("large", "fixture-test")
    (container,) = made["spec"]["containers"]
    containers = [
        {**container, "name": f"c{i}", "image": image, "imagePullPolicy": "Always"} for i, image in enumerate(images)
    ]
    made["spec"] |= {"containers": containers, **spec}
    if kind == POD:
        return made
    template = {"metadata": {"labels": {"app": "large"}}, "spec": made["spec"]}
    body: dict[str, Any] = {"selector": {"matchLabels": {"app": "large"}}, "template": template}
    if kind == CRON_JOB:
        template["spec"]["restartPolicy"] = "Never"
        body = {"schedule": "@hourly", "jobTemplate": {"spec": {"template": template}}}
    return made | {"apiVersion": kind.api_version, "kind": kind.kind, "spec": body}


def tried(api: Api, kind: Kind, body: dict[str, Any]) -> Answer:
    return api.request("POST", kind.path("fixture-test"), body=body, params={"dryRun": "All"})


@pytest.mark.parametrize("kind", [POD, DEPLOYMENT, CRON_JOB], ids=lambda kind: kind.kind)
def test_a_hundred_containers_against_a_hundred_long_registries_are_judged(api: Api, kind: Kind) -> None:
    with parameters(api, registries=LONG):
        own = tried(api, kind, large(kind, [f"{LONG[-1]}web{i}:1" for i in range(100)]))
        assert own.ok, own.message
        refused = tried(api, kind, large(kind, ["docker.io/library/web:1"] * 100))
        assert "spec.containers[0].image: docker.io/library/web:1" in refused.message
        assert "and 97 more" in refused.message


def test_more_images_than_can_be_judged_are_refused_in_words(api: Api) -> None:
    with parameters(api, registries=LONG):
        most = tried(api, DEPLOYMENT, large(DEPLOYMENT, [f"{LONG[-1]}web{i}:1" for i in range(150)]))
        assert most.ok, most.message
        more = tried(api, DEPLOYMENT, large(DEPLOYMENT, [f"{LONG[-1]}web{i}:1" for i in range(151)]))
        assert "[GPK-IMG-03] spec.template.spec.containers" in more.message


def test_all_waivers_of_an_environment_for_one_workload_are_judged(api: Api) -> None:
    common = {"kind": "Deployment", "name": "large", "expires": "2027-06-30"}
    images = [common | {"rule": "GPK-IMG-01", "allows": WAIVED} for _ in range(50)]
    taints = [common | {"rule": "GPK-PLC-02", "allows": TAINTS} for _ in range(50)]

    def tolerations(key: str) -> list[dict[str, str]]:
        return [{"key": key, "operator": "Equal", "value": "gpu", "effect": "NoSchedule"}] * 100

    with parameters(api, registries=LONG, waivers=images + taints):
        waived = large(DEPLOYMENT, WAIVED[-1:] * 100, tolerations=tolerations("pool-19"))
        assert (answer := tried(api, DEPLOYMENT, waived)).ok, answer.message
        foreign = large(DEPLOYMENT, ["docker.io/library/web:1"] * 100)
        assert "[GPK-IMG-01]" in tried(api, DEPLOYMENT, foreign).message
        tainted = large(DEPLOYMENT, WAIVED[:1], tolerations=tolerations("pool-20"))
        assert "[GPK-PLC-02] spec.template.spec.tolerations[0]: pool-20" in tried(api, DEPLOYMENT, tainted).message


@pytest.mark.parametrize(
    ("network", "excepted", "says"),
    [
        ("10.99.{}.{}/32", 0, ""),
        ("192.168.{}.{}/32", 0, "[GPK-NET-03] spec.ingress[0].from[0].ipBlock: 192.168.0.0/32"),
        ("0.0.0.0/0", 1, "[GPK-NET-04] spec.ingress[0].from[0].ipBlock: 0.0.0.0/0 holds 172.1.0.0/16"),
    ],
    ids=["inside", "outside", "over the cluster"],
)
def test_a_thousand_networks_are_judged(api: Api, network: str, excepted: int, says: str) -> None:
    blocks = [
        {"ipBlock": {"cidr": network.format(i // 250, i % 250), **({"except": RESERVED[:1]} if excepted else {})}}
        for i in range(1000)
    ]
    declared = [*DECLARED[:-2], "10.99.0.0/16", "0.0.0.0/0"] if excepted else [*DECLARED[:-1], "10.99.0.0/16"]
    policy = {
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "large", "namespace": "fixture-test"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": blocks}]},
    }  # fmt: skip
    with parameters(api, ingressCidrs=declared, egressFlows=FLOWS, reservedCidrs=RESERVED):
        answer = tried(api, NETWORK_POLICY, policy)
        assert answer.ok if not says else says in answer.message, answer.message
        policy["spec"] |= {"ingress": [{"from": [*blocks, *blocks[:1]]}]}  # type: ignore[operator]
        assert "[GPK-NET-05] spec.ingress" in tried(api, NETWORK_POLICY, policy).message


@pytest.mark.parametrize(
    ("network", "says"),
    [
        ("10.49.{}.{}/32", ""),
        ("10.0.{}.{}/32", "[GPK-NET-06] spec.egress[0].ports[0]: TCP 5000 of 10.0.0.0/32"),
    ],
    ids=["of the last flow", "of a flow with other ports"],
)
@pytest.mark.parametrize(
    ("rules", "peers", "ports"), [(1000, 1, 1), (1, 1000, 1), (1, 1, 1000), (20, 5, 10), (1, 50, -20)]
)
def test_a_thousand_ports_of_networks_are_judged(
    api: Api, network: str, says: str, rules: int, peers: int, ports: int
) -> None:
    """A negative count of ports: so many as one range."""
    to = [{"ipBlock": {"cidr": network.format(i // 250, i % 250)}} for i in range(peers)]
    listed = [{"port": 5000 + i % 20, "protocol": "TCP"} for i in range(ports)]
    ranged = [{"port": 5000, "endPort": 5000 - ports - 1, "protocol": "TCP"}]
    rule = {"to": to, "ports": listed or ranged}
    policy = {
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "large", "namespace": "fixture-test"},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [rule] * rules},
    }  # fmt: skip
    with parameters(api, egressFlows=FLOWS, reservedCidrs=RESERVED):
        answer = tried(api, NETWORK_POLICY, policy)
        assert answer.ok if not says else says in answer.message, answer.message
        policy["spec"]["egress"].append({**rule, "to": [to[0]]})  # type: ignore[index]
        assert "[GPK-NET-05] spec.ingress" in tried(api, NETWORK_POLICY, policy).message


WEB = "web.fixture.gov.pk"
LARGE = {"name": "large", "namespace": "fixture-prod"}
SERVED = {
    "host": WEB,
    "http": {
        "paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "own", "port": {"number": 80}}}}]
    },
}


def ingress(rules: int = 1, hosts: int = 0) -> dict[str, Any]:
    """Return an Ingress of so many rules of one path each, and so many hosts of one entry of tls."""
    tls = [{"hosts": [f"a{number}.{WEB}" for number in range(hosts)]}] if hosts else []
    spec = {"rules": [SERVED] * rules, "tls": tls}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": LARGE, "spec": spec}


def annotated(body: dict[str, Any], count: int) -> dict[str, Any]:
    key = "nginx.ingress.kubernetes.io/whitelist-source-range-" + "x" * 25
    annotations = {f"{key}{number}": "x" * 1000 for number in range(count)}
    return {**body, "metadata": {**body["metadata"], "annotations": annotations}}


def role_binding(subjects: int) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": LARGE,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "readers"},
        "subjects": [
            {"kind": "ServiceAccount", "name": f"own{n}", "namespace": "fixture-prod"} for n in range(subjects)
        ],
    }


SERVICE_OF_ITS_OWN = {"apiVersion": "v1", "kind": "Service", "metadata": LARGE, "spec": {"ports": [{"port": 80}]}}


@pytest.mark.parametrize(
    ("most", "more", "rule"),
    [
        (ingress(hosts=998), ingress(hosts=999), "GPK-ING-07"),
        (ingress(rules=500), ingress(rules=501), "GPK-ING-07"),
        (ingress(), ingress(hosts=30_000), "GPK-ING-07"),
        (annotated(ingress(), 200), annotated(ingress(), 201), "GPK-ING-08"),
        (annotated(SERVICE_OF_ITS_OWN, 200), annotated(SERVICE_OF_ITS_OWN, 201), "GPK-SVC-05"),
        (role_binding(200), role_binding(201), "GPK-RBD-03"),
        (role_binding(200), role_binding(15_000), "GPK-RBD-03"),
    ],
    ids=[
        "hosts of tls",
        "rules",
        "very many hosts",
        "annotations",
        "annotations of a service",
        "subjects",
        "very many",
    ],
)
def test_lists_longer_than_are_judged_are_refused_in_words(
    api: Api, most: dict[str, Any], more: dict[str, Any], rule: str
) -> None:
    def sent(body: dict[str, Any]) -> Answer:
        return api.request("POST", key_of(body).kind.path("fixture-prod"), body=body, params={"dryRun": "All"})

    assert (answer := sent(most)).ok, answer.message
    assert f"[{rule}] " in sent(more).message


def test_a_schedule_of_as_many_words_as_are_read_is_judged(api: Api) -> None:
    image = f"{REGISTRY}web:1"
    with parameters(api, registries=[REGISTRY]):
        for minutes, says in (("0-59/5," * 26 + "0", ""), ("0-59/4," * 26 + "0", "at minutes 0 and 4"),
                              ("0," * 200_000 + "0", "[GPK-CRN-01] spec.schedule")):  # fmt: skip
            body = large(CRON_JOB, [image])
            body["spec"]["schedule"] = f"{minutes} * * * *"
            answer = tried(api, CRON_JOB, body)
            assert answer.ok if not says else says in answer.message, answer.message


def test_what_was_made_before_the_rules_is_scaled_labelled_and_released(scratch: Api) -> None:
    old = large(DEPLOYMENT, ["docker.io/library/web:1"], tolerations=[{"operator": "Exists"}],
                priorityClassName="left", runtimeClassName="left", nodeName="node-1")  # fmt: skip
    (container,) = old["spec"]["template"]["spec"]["containers"]
    container["imagePullPolicy"] = "Never"
    old["spec"]["replicas"] = 0
    old["metadata"]["finalizers"] = ["fixture.gov.pk/held"]
    busy = large(CRON_JOB, ["docker.io/library/web:1"])
    busy["spec"] |= {"schedule": "* * * * *", "suspend": True, "successfulJobsHistoryLimit": 99}
    of = ("gpk-images", "gpk-placement", "gpk-cron-jobs")
    for policy in of:
        assert scratch.request("DELETE", VALIDATING_ADMISSION_POLICY_BINDING.path(name=policy)).ok
    try:
        for kind, body in ((DEPLOYMENT, old), (CRON_JOB, busy)):
            eventually(lambda kind=kind, body=body: scratch.request("POST", kind.path("fixture-test"), body=body).ok,
                       "still in force")  # fmt: skip
    finally:
        for policy in of:
            (binding,) = policy_world.bindings(policy)
            policy_world.apply(scratch, binding)
    deployment, cron_job = DEPLOYMENT.path("fixture-test", "large"), CRON_JOB.path("fixture-test", "large")

    def patched(path: str, body: dict[str, Any], *, dry: bool = True) -> Answer:
        params = {"dryRun": "All"} if dry else {}
        return scratch.request("PATCH", path, body=body, params=params, content_type=policy_world.PATCH)

    worse = {"spec": {"template": {"spec": {"runtimeClassName": "other"}}}}
    eventually(lambda: not patched(deployment, worse).ok, "not yet in force")
    eventually(lambda: not patched(cron_job, {"spec": {"schedule": "*/2 * * * *"}}).ok, "not yet in force")
    labelled = {"metadata": {"labels": {"seen": "yes"}}}
    for path, body in (
        (deployment, {"spec": {"replicas": 3}}),
        (f"{deployment}/scale", {"spec": {"replicas": 3}}),
        (deployment, labelled),
        (deployment, {"spec": {"template": {"metadata": {"annotations": {"restarted": "now"}}}}}),
        (cron_job, labelled),
        (cron_job, {"spec": {"suspend": False}}),
    ):
        assert (answer := patched(path, body)).ok, answer.message
    assert scratch.request("DELETE", deployment).ok
    assert patched(deployment, {"metadata": {"finalizers": None}}, dry=False).ok
    assert scratch.request("DELETE", cron_job).ok


def test_a_bound_claim_gets_no_class_of_attributes(api: Api) -> None:
    # The API server lets only a bound claim have another one, so that no fixture shows it.
    policy_world.build(api)
    claim = next(copy.deepcopy(m) for m in policy_world.world() if m["metadata"]["name"] == "waiting")
    claim["metadata"]["name"] = "bound"
    path = PERSISTENT_VOLUME_CLAIM.path("fixture-prod")
    assert api.request("POST", path, body=claim).ok
    bound = {"status": {"phase": "Bound"}}
    wanted = {"spec": {"volumeAttributesClassName": "gold"}}
    try:
        answer = api.request("PATCH", f"{path}/bound/status", body=bound, content_type=policy_world.PATCH)
        assert answer.ok, answer.message

        def asked(who: str) -> Answer:
            return api.impersonating(IDENTITIES[who]).request(
                "PATCH", f"{path}/bound", body=wanted, content_type=policy_world.PATCH, params={"dryRun": "All"}
            )

        said = "[GPK-CLM-04] spec.volumeAttributesClassName: gold refused"
        eventually(lambda: said in asked("developers").message, "never refused by the policy")
        assert asked("administrator").ok
    finally:
        api.request("DELETE", f"{path}/bound")


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

    eventually(only_the_guard_holds_it, "something else holds it")
    assert policy_world.release(onboarder, name).ok
    eventually(lambda: api.request("GET", NAMESPACE.path(name=name)).status == 404, "never gone")
