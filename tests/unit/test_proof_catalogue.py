"""Probes are data, and a probe that could pass for no reason is refused when it is read."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from tests.unit.proof_server import a_control, a_probe

from gcloud_pk import paths
from gcloud_pk.proof.call import Resource
from gcloud_pk.proof.probe import Refused, catalogue, needed_rights, standard

OBJECTS: dict[str, dict[str, Any]] = {"pod": {"spec": {}}, "service": {"spec": {}}}


def test_the_standard_catalogue_is_sound_and_has_every_wall() -> None:
    known = standard()
    walls = {p.expect.by for p in known.probes.values() if isinstance(p.expect, Refused)}
    assert walls == {
        "gpk-claims", "gpk-images", "gpk-ingresses", "gpk-network-policies", "gpk-placement", "gpk-platform-objects",
        "gpk-role-bindings", "gpk-services",
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
    ],
)  # fmt: skip
def test_an_unsound_probe_is_refused_when_it_is_read(
    probe: dict[str, Any], control: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        catalogue([control, probe], [], OBJECTS)


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
