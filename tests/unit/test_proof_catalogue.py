"""Probes are data, and a probe that could pass for no reason is refused when it is read."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from tests.unit.proof_server import a_control, a_probe

from gcloud_pk import paths
from gcloud_pk.proof.call import Resource
from gcloud_pk.proof.checks import ACTIVE, Check
from gcloud_pk.proof.probe import Probe, Refused, Review, catalogue, needed_rights, standard
from gcloud_pk.proof.review import questions

OBJECTS: dict[str, dict[str, Any]] = {"pod": {"spec": {}}, "service": {"spec": {}}}


def test_the_standard_catalogue_is_sound_and_has_every_wall() -> None:
    known = standard()
    walls = {p.expect.by for p in known.probes.values() if isinstance(p.expect, Refused)}
    assert walls == {
        "gpk-claims", "gpk-cron-jobs", "gpk-images", "gpk-ingresses", "gpk-network-policies", "gpk-placement",
        "gpk-platform-objects", "gpk-role-bindings", "gpk-routes", "gpk-services",
        "limit-range", "pod-security", "quota", "rbac", "rbac-escalation",
    }  # fmt: skip


def test_the_quick_selection_has_every_wall_and_every_control_it_depends_on() -> None:
    known = standard()
    quick = {name: p for name, p in known.probes.items() if p.quick}
    walls = {p.expect.by for p in quick.values() if isinstance(p.expect, Refused)}
    assert walls == {p.expect.by for p in known.probes.values() if isinstance(p.expect, Refused)}
    assert {p.control for p in quick.values() if p.control} <= set(quick)


@pytest.mark.parametrize(
    ("probe", "control", "message"),
    [
        pytest.param(a_probe(control=None), a_control(), "names no control", id="no control"),
        pytest.param(a_probe(control="ISO-999"), a_control(), "names no control", id="a control that is not there"),
        pytest.param(
            a_probe(), a_control(identity="developers"), "acts as developers", id="a control of another identity"
        ),
        pytest.param(
            a_probe(), a_control(object="service"), "does not send the unbroken pod", id="a control of another object"
        ),
        pytest.param(
            a_probe(), a_control(request={"verb": "create", "resource": "v1/services"}),
            "does not send the unbroken pod", id="a control of another request",
        ),
        pytest.param(
            a_probe(), a_control(edits=[{"path": "/spec/hostPID", "value": True}], control="ISO-900"), "is no control",
            id="a control that is broken itself",
        ),
        pytest.param(
            a_probe(), a_control(expect={"by": "rbac"}, control="ISO-900"), "is no control",
            id="a control that is refused itself",
        ),
        pytest.param(a_probe(object="cart"), a_control(), "no control object cart", id="an unknown object"),
        pytest.param(a_probe(id="ISO-900"), a_control(), "same id twice: ISO-900", id="an id twice"),
        pytest.param(
            a_probe(expect={"by": "gpk-images"}), a_control(), "must name a field", id="a policy without its field"
        ),
        pytest.param(
            a_probe(expect={"by": "anything", "field": "x"}), a_control(), "expected one of", id="an unknown wall"
        ),
        pytest.param(a_probe(expects="admitted"), a_control(), "expects", id="a misspelt key"),
        pytest.param(
            a_probe(request={"verb": "create", "resource": "pods"}), a_control(), "expected version/plural",
            id="a resource without a version",
        ),
        pytest.param(a_probe(controls=[]), a_control(), "controls", id="a probe of no control clause"),
        pytest.param(
            a_probe(expect={"by": "pod-security", "field": "x", "earlier": "rbac"}), a_control(),
            "in front of a wall stands one of", id="a wall in front that would hide everything",
        ),
    ],
)  # fmt: skip
def test_an_unsound_probe_is_refused_when_it_is_read(
    probe: dict[str, Any], control: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        catalogue([control, probe], [], OBJECTS)


BENCHMARKS = yaml.safe_load(paths.data("policies", "controls", "mtb.yaml").read_bytes())["benchmarks"]


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda each: each["title"])
def test_each_multi_tenancy_benchmark_is_answered_by_checks_that_say_so(benchmark: dict[str, Any]) -> None:
    assert benchmark["checks"]
    controls = controls_of_every_check()
    assert [i for i in benchmark["checks"] if benchmark["id"] not in controls.get(i, ())] == []


def test_there_are_eighteen_multi_tenancy_benchmarks_and_no_check_names_another() -> None:
    assert len({each["title"] for each in BENCHMARKS}) == 18
    named = {c for controls in controls_of_every_check().values() for c in controls if c.startswith("MTB-")}
    assert named - {each["id"] for each in BENCHMARKS} == {"MTB-PL2-CC-TI-1"}


def controls_of_every_check() -> dict[str, tuple[str, ...]]:
    known = standard()
    everything: list[Probe | Review | Check] = [*known.probes.values(), *known.reviews.values(), *ACTIVE]
    return {each.id: each.controls for each in everything}


# Volumes of the API that `restricted` has not on its list (Pod Security Standards, "Volume Types").
RESTRICTED_VOLUMES = {
    "awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "fc", "flexVolume", "flocker",
    "gcePersistentDisk", "gitRepo", "glusterfs", "hostPath", "iscsi", "nfs", "photonPersistentDisk", "portworxVolume",
    "quobyte", "rbd", "scaleIO", "storageos", "vsphereVolume",
}  # fmt: skip
# Their other fields; of initContainers[*] those that a container has by itself.
RESTRICTED_FIELDS = {
    "hostIPC", "hostNetwork", "hostPID",
    *(f"securityContext.{name}" for name in (
        "appArmorProfile", "runAsNonRoot", "runAsUser", "seLinuxOptions", "seccompProfile", "sysctls", "windowsOptions",
    )),
    *(f"containers.0.securityContext.{name}" for name in (
        "allowPrivilegeEscalation", "appArmorProfile", "capabilities", "capabilities.add", "capabilities.drop",
        "privileged", "procMount", "runAsNonRoot", "runAsUser", "seLinuxOptions", "seccompProfile", "windowsOptions",
    )),
    *(f"initContainers.0.securityContext.{name}" for name in (
        "allowPrivilegeEscalation", "appArmorProfile", "capabilities.add", "capabilities.drop", "privileged",
        "procMount", "runAsNonRoot", "runAsUser", "seLinuxOptions", "seccompProfile",
    )),
    *(f"containers.0.{probe}.{how}" for how in ("httpGet", "tcpSocket") for probe in (
        "lifecycle.postStart", "lifecycle.preStop", "livenessProbe", "readinessProbe", "startupProbe",
    )),
    "containers.0.ports", "initContainers.0.ports",
}  # fmt: skip


def test_every_field_of_pod_security_restricted_is_broken_by_a_probe_of_its_own() -> None:
    broken = [p.edits[0] for p in standard().probes.values() if by(p) == "pod-security"]
    fields = [e.path.removeprefix("/spec/").replace("/", ".") for e in broken]
    volumes = [set(e.value[0]) - {"name"} for e in broken if e.path == "/spec/volumes"]
    assert sorted(v for each in volumes for v in each) == sorted(RESTRICTED_VOLUMES)
    assert RESTRICTED_FIELDS - set(fields) == set()


def by(probe: Probe) -> str | None:
    return probe.expect.by if isinstance(probe.expect, Refused) else None


def test_no_probe_asks_for_what_has_no_dry_run_or_would_read_a_secret() -> None:
    connects = {"attach", "exec", "log", "portforward", "proxy", "token"}
    requests = [p.request for p in standard().probes.values()]
    assert [r for r in requests if r.subresource in connects or r.resource.plural == "secrets"] == []


def test_most_of_the_catalogue_is_left_to_full_audits() -> None:
    known = standard()
    everything: list[Probe | Review] = [*known.probes.values(), *known.reviews.values()]
    assert len(everything) > 250
    assert sum(each.quick for each in everything) < 0.35 * len(everything)


def test_a_sound_probe_with_its_control_is_read() -> None:
    known = catalogue([a_control(), a_probe()], [], OBJECTS)
    assert list(known.probes) == ["ISO-900", "ISO-901"]


def test_the_verifiers_role_allows_what_the_probes_send_and_no_secret() -> None:
    documents = yaml.safe_load_all(paths.data("policies", "rbac", "verifier.yaml").read_bytes())
    rules = next(d for d in documents if d["kind"] == "ClusterRole")["rules"]
    granted = {
        (verb.removeprefix("impersonate-on:user-info:"), group, resource)
        for rule in rules
        for verb in rule["verbs"]
        for group in rule.get("apiGroups", ())
        for resource in rule.get("resources", ())
        if verb.startswith("impersonate-on:user-info:")
    }
    assert needed_rights(standard()) <= granted
    assert not {right for right in granted if right[2].startswith("secrets")}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("v1/pods", "/api/v1/namespaces/a/pods/b"),
        ("apps/v1/deployments", "/apis/apps/v1/namespaces/a/deployments/b"),
        ("v1/namespaces", "/api/v1/namespaces/b"),
    ],
)
def test_a_resource_knows_its_path(text: str, path: str) -> None:
    assert Resource.parse(text).path("a", "b") == path


def test_a_name_cannot_leave_its_place_in_the_path() -> None:
    assert Resource.parse("v1/pods").path("a", "../../secrets?x") == "/api/v1/namespaces/a/pods/..%2F..%2Fsecrets%3Fx"


def test_a_review_asks_for_a_name_by_itself_and_for_every_group_of_other_tenants() -> None:
    review = Review.model_validate({
        "id": "ISO-166", "title": "t", "controls": ["c"], "identity": "members", "where": "cluster",
        "verbs": ["impersonate"], "resources": ["v1/groups"], "names": ["system:masters", "${strangers}"],
        "expect": "denied",
    })  # fmt: skip
    asked = [q.body["spec"]["resourceAttributes"] for q in questions(review, ("a",), (None,), ("b", "c"))]
    common = {"verb": "impersonate", "resource": "groups"}
    assert asked == [{**common, "name": name} for name in ("system:masters", "b", "c")]
