"""What every policy and every fixture must have, and what the roles must never hold; no server needed."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from gcloud_pk.model import labels
from gcloud_pk.render import data
from gcloud_pk.render.access import ROLES

POLICIES = Path(__file__).parents[2] / "policies" / "admission"
FOLDERS = sorted(path.parent for path in POLICIES.glob("*/policy.yaml"))
FIXTURES = sorted(POLICIES.glob("*/*ed/*.yaml"))
NAMED = {"as", "operation", "policy", "field", "subresource", "dry-run", "earlier", "otherwise", "needs"}


def pair(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    policy, binding = yaml.safe_load_all((folder / "policy.yaml").read_text())
    return policy, binding


def header(path: Path) -> dict[str, str]:
    lines = [line[2:] for line in path.read_text().splitlines() if line.startswith("# ")]
    return dict(line.split(": ", 1) for line in lines)


@pytest.fixture(params=FOLDERS, ids=lambda path: path.name)
def folder(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def test_no_folder_is_without_a_policy() -> None:
    assert {path.name for path in POLICIES.iterdir() if path.is_dir()} == {path.name for path in FOLDERS}


def test_a_policy_has_one_binding_and_both_are_named_as_their_folder(folder: Path) -> None:
    policy, binding = pair(folder)
    assert (policy["kind"], binding["kind"]) == ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    assert policy["metadata"]["name"] == binding["metadata"]["name"] == binding["spec"]["policyName"] == folder.name
    assert folder.name.startswith("gpk-")


def test_a_policy_fails_closed_and_its_binding_denies_and_notes(folder: Path) -> None:
    policy, binding = pair(folder)
    assert policy["apiVersion"] == "admissionregistration.k8s.io/v1"
    assert policy["spec"]["failurePolicy"] == "Fail"
    assert binding["spec"]["validationActions"] == ["Deny", "Audit"]


# It matches every kind, what controllers put into a new namespace included, and only ever takes away.
WITHOUT_PARAMETERS_NOTHING = {"gpk-suspended"}


def test_a_missing_parameter_denies_and_has_a_fixture(folder: Path) -> None:
    policy, binding = pair(folder)
    if "paramKind" not in policy["spec"]:
        assert "paramRef" not in binding["spec"]
        return
    action, verdict = ("Allow", "admitted") if folder.name in WITHOUT_PARAMETERS_NOTHING else ("Deny", "denied")
    assert policy["spec"]["paramKind"] == {"apiVersion": "gcloud.gov.pk/v1alpha1", "kind": "TenantPolicy"}
    assert binding["spec"]["paramRef"] == {"name": labels.TENANT_POLICY_NAME, "parameterNotFoundAction": action}
    assert (folder / verdict / "parameters-are-missing.yaml").is_file()


def test_a_policy_that_matches_every_kind_asks_little_of_tenants_that_are_not_suspended() -> None:
    policy, _ = pair(POLICIES / "gpk-suspended")
    assert [c["expression"] for c in policy["spec"]["matchConditions"]] == ["has(params.spec.suspended)"]


def test_a_selector_stands_in_the_policy_never_in_the_binding(folder: Path) -> None:
    # A binding's selector does not bound configuration errors: a missing definition would stop every namespace.
    assert "matchResources" not in pair(folder)[1]["spec"]


def test_a_policy_with_parameters_is_for_tenants_namespaces_only(folder: Path) -> None:
    policy, _ = pair(folder)
    if "paramKind" in policy["spec"]:
        (term,) = policy["spec"]["matchConstraints"]["namespaceSelector"]["matchExpressions"]
        assert term == {"key": labels.TENANT, "operator": "Exists"}


def test_every_refusal_has_a_rule_id_a_field_and_a_reason(folder: Path) -> None:
    policy, _ = pair(folder)
    for validation in policy["spec"]["validations"]:
        assert validation["reason"] == "Forbidden"
        if "@REVISION@" in validation["message"]:
            assert validation["messageExpression"] == f"'{validation['message']}'"
            continue
        rule = re.match(r"\[GPK-[A-Z]{3}-\d\d\] [a-zA-Z]+[^ ]*[:, ]", validation["message"])
        assert rule, validation["message"]
        assert validation["messageExpression"].startswith(f"'{rule[0][:12]}")
        assert "\n" not in validation["message"]


def test_rule_ids_are_unique() -> None:
    found = [
        match[0]
        for folder in FOLDERS
        for validation in pair(folder)[0]["spec"]["validations"]
        if (match := re.match(r"\[GPK-[A-Z]{3}-\d\d\]", validation["message"]))
    ]
    assert len(found) == len(set(found))


def test_every_rule_has_a_fixture_that_breaks_it(folder: Path) -> None:
    policy, _ = pair(folder)
    fields = [header(path)["field"] for path in (folder / "denied").glob("*.yaml")]
    for validation in policy["spec"]["validations"]:
        words = re.sub(r"^\[.*?\] ", "", validation["message"]).split(":")[0]
        first = words.split(",")[0].split(" ")[0]
        assert any(first in field for field in fields), f"no denied fixture names {first}"


def test_a_policy_has_admitted_and_denied_fixtures(folder: Path) -> None:
    for verdict in ("admitted", "denied"):
        assert list((folder / verdict).glob("*.yaml")), f"no {verdict} fixture"


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: f"{path.parts[-3]}/{path.parts[-2]}/{path.stem}")
def test_a_fixture_says_who_does_what_and_a_denied_one_who_refuses(path: Path) -> None:
    said = header(path)
    assert {"as", "operation"} <= set(said) <= NAMED
    if path.parent.name == "denied":
        assert said["policy"] == path.parts[-3]
        assert said["field"]
    else:
        assert not {"policy", "field"} & set(said)
    assert {"apiVersion", "kind", "metadata"} <= set(yaml.safe_load(path.read_text()))


# Roles

Right = tuple[str, str, str, str]


def rights(name: str) -> set[Right]:
    """Return (group, resource, name or *, verb) of a role file's ClusterRole."""
    return {
        (group, resource, object_name, verb)
        for document in data.documents("policies", "rbac", f"{name}.yaml")
        if document["kind"] == "ClusterRole"
        for rule in document["rules"]
        for group, resource, object_name, verb in product(
            rule.get("apiGroups", ["-"]),
            rule.get("resources") or rule["nonResourceURLs"],
            rule.get("resourceNames", ["*"]),
            rule["verbs"],
        )
    }


TENANT_ROLES = ("tenant-admin", "tenant-developer", "tenant-auditor")
ALL_ROLES = (*TENANT_ROLES, "onboarder", "verifier", "auditor")


def test_admins_hold_what_developers_hold_and_developers_what_auditors_hold() -> None:
    assert rights("tenant-auditor") < rights("tenant-developer") < rights("tenant-admin")


def test_the_renderer_binds_the_roles_that_are_installed() -> None:
    names = {d["metadata"]["name"] for d in data.documents("policies", "rbac", "tenant-*.yaml")}
    assert set(ROLES.values()) == names


@pytest.mark.parametrize("role", ["tenant-auditor", "onboarder", "verifier", "auditor"])
def test_a_role_has_no_word_of_secrets(role: str) -> None:
    assert not {right for right in rights(role) if right[1].startswith(("secrets", "serviceaccounts/token"))}
    assert not {right for right in rights(role) if right[0] in {"", "*"} and right[1] == "*"}


@pytest.mark.parametrize("role", ALL_ROLES)
def test_a_role_has_no_wildcard_verb_and_no_legacy_impersonation(role: str) -> None:
    verbs = {verb for *_, verb in rights(role)}
    assert not verbs & {"*", "impersonate", "escalate"}
    assert not {right for right in rights(role) if right[1] in {"nodes/proxy", "pods/proxy", "services/proxy"}}


@pytest.mark.parametrize("role", TENANT_ROLES)
def test_a_tenants_role_names_every_resource_and_writes_no_subresource_of_the_system(role: str) -> None:
    for _, resource, _, verb in rights(role):
        assert "*" not in resource
        assert not resource.endswith(("/status", "/finalize"))
        assert verb in {"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}
    writes = {resource for _, resource, _, verb in rights(role) if verb in {"create", "update", "patch", "delete"}}
    assert not writes & {"endpoints", "endpointslices", "namespaces", "resourcequotas", "limitranges", "tenantpolicies"}


def test_only_the_onboarder_manages_and_it_binds_the_tenants_roles_only() -> None:
    for role in ALL_ROLES:
        held = rights(role)
        assert (("gcloud.gov.pk", "platform", "*", "manage") in held) == (role == "onboarder")
        bound = {right[1:3] for right in held if right[3] == "bind"}
        # Any Role of a namespace, to give back what a suspension took: gpk-onboarder keeps that to tenants' namespaces,
        # gpk-role-bindings to tenants' subjects.
        allowed = {("roles", "*"), *(("clusterroles", f"gcloud-pk:{name}") for name in TENANT_ROLES)}
        assert bound == (allowed if role == "onboarder" else set())


def test_what_the_onboarder_writes_in_namespaces_is_kept_inside_tenants_by_a_policy() -> None:
    policy, _ = pair(POLICIES / "gpk-onboarder")
    kept = {
        (group, resource)
        for rule in policy["spec"]["matchConstraints"]["resourceRules"]
        for group, resource in product(rule["apiGroups"], rule["resources"])
    }
    elsewhere = {
        ("", "namespaces"),  # gpk-namespaces
        ("gcloud.gov.pk", "tenantpolicies"),  # gpk-tenant-policies
        ("gcloud.gov.pk", "tenants"),  # cluster scope, its own
        ("gcloud.gov.pk", "tenants/status"),
    }
    writes = {
        (group, resource)
        for group, resource, _, verb in rights("onboarder")
        if verb in {"create", "patch", "update", "delete", "deletecollection"}
    }
    assert writes == kept | elsewhere


def test_a_verifier_acts_as_the_probe_user_only_and_every_right_to_act_is_constrained() -> None:
    acting = {right for right in rights("verifier") if right[3].startswith("impersonate")}
    assert {right[2] for right in acting if right[1] == "users"} == {labels.PROBE_USER}
    for _, _, _, verb in acting:
        assert verb == "impersonate:user-info" or verb.startswith("impersonate-on:user-info:")
    own = {right[3] for right in rights("verifier") - acting if right[0] != "authorization.k8s.io"}
    assert own == {"get", "list"}


def test_an_auditor_reads() -> None:
    assert {verb for *_, verb in rights("auditor")} == {"get", "list", "watch"}
