"""What would be refused is named before anything is enforced: exactly that, and the cluster is only read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from tests.e2e import legacy
from tests.e2e.conftest import RunningLab
from tests.e2e.ministry import Ministry
from tests.unit.tenants import a_request_document

TENANT = f"imp{os.getpid()}"
NAMESPACE = f"{TENANT}-prod"


def environment(tenant: str) -> dict[str, Any]:
    made: dict[str, Any] = a_request_document(tenant, ["prod"])["spec"]["environments"][0]
    return made | {"domains": [f"{tenant}.moitt.gov.pk"], "exposure": "government"}


@pytest.fixture(scope="module")
def ministry(lab: RunningLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministry]:
    """A request that nobody has approved, and a namespace of its name that has been in use for years."""
    made = Ministry.found(lab, tmp_path_factory.mktemp("impact") / "registry")
    made.write(TENANT, environment(TENANT), approve=False, storageClasses=["encrypted"])
    legacy.settle(made, TENANT, NAMESPACE)
    yield made
    lab.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture(scope="module")
def since(ministry: Ministry) -> int:
    return ministry.audit_size()


@pytest.fixture(scope="module")
def ahead(ministry: Ministry, since: int) -> dict[str, Any]:
    """What `audit impact` says before adoption."""
    done = ministry.run("audit", "impact", NAMESPACE, "--tenant", TENANT, "--format", "json", check=6)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def of(document: dict[str, Any], verdict: str) -> list[dict[str, Any]]:
    return [result for result in document["results"] if result["verdict"] == verdict]


def named(result: dict[str, Any]) -> str:
    """Return `Kind/name`."""
    return "/".join(result["subject"].split("/")[2:])


def test_exactly_what_would_be_refused_is_named_with_who_refuses_it(ahead: dict[str, Any]) -> None:
    found = {
        (named(r), r["id"], r["observed"].removeprefix("refused by ").partition(":")[0]) for r in of(ahead, "fail")
    }
    assert found == legacy.REFUSED


def test_what_would_be_admitted_passes(ahead: dict[str, Any]) -> None:
    refused = {name for name, _, _ in legacy.REFUSED}
    assert {named(r) for r in of(ahead, "pass")} - refused == legacy.ADMITTED | {""}
    assert of(ahead, "error") == of(ahead, "not-checked") == []


def test_the_report_says_who_judged_by_which_request_and_both_versions(ahead: dict[str, Any]) -> None:
    (control,) = [r for r in ahead["results"] if r["id"] == "IMP-000"]
    assert control["verdict"] == "pass"
    assert control["observed"].count("v1.") == 2
    assert "an embedded API server" in control["observed"]
    assert "revision 1, pending" in control["observed"]


def place(event: dict[str, Any]) -> str | None:
    """Return the namespace that a request of the audit log concerns."""
    namespace: str | None = event.get("objectRef", {}).get("namespace")
    return namespace


def test_the_cluster_is_only_read(ministry: Ministry, since: int, ahead: dict[str, Any]) -> None:
    assert ahead["results"]
    reads = {"get", "list", "watch"}
    mine = [
        e
        for e in ministry.audited(since)
        # Other files' audits of their own namespaces stand in the same log.
        if e["user"]["username"] == "gcloud-pk:verifier" and place(e) in {NAMESPACE, None}
    ]
    assert [e for e in mine if place(e) == NAMESPACE]
    stored = [e["requestURI"] for e in mine if e["verb"] not in reads and "dryRun=All" not in e["requestURI"]]
    assert [uri for uri in stored if not uri.startswith("/apis/authorization.k8s.io/")] == []


def test_nothing_is_left_of_the_judge(ministry: Ministry, ahead: dict[str, Any]) -> None:
    assert ahead["results"]
    judges = ministry.lab.folder.parent.glob("judge-*")
    assert [one for one in judges if not Path("/proc", one.name.split("-")[1]).exists()] == []  # others are at work


def test_where_the_reader_may_rehearse_the_label_the_cluster_itself_names_the_pods(ministry: Ministry) -> None:
    done = ministry.run(
        "--verify-context", "admin", "audit", "impact", NAMESPACE, "--tenant", TENANT, "--format", "json", check=6
    )
    (itself,) = [r for r in json.loads(done.stdout)["results"] if r["subject"] == f"namespace/{NAMESPACE}"
                 and r["id"] == "IMP-001"]  # fmt: skip
    assert itself["verdict"] == "fail"
    # Of pods that break the same, the server names one and counts the others.
    assert "(and 1 other pod)" in itself["observed"]
    assert "tool: host namespaces" in itself["observed"]
    live = next(n for n in ministry.live("namespaces") if n["metadata"]["name"] == NAMESPACE)
    assert live["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"


def test_without_the_programs_of_a_judge_nothing_is_judged_and_that_is_said(ministry: Ministry, tmp_path: Path) -> None:
    ministry.env |= {"XDG_CACHE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "GCLOUD_PK_PROGRAMS": str(tmp_path)}
    try:
        done = ministry.run("audit", "impact", NAMESPACE, "--tenant", TENANT, "--format", "json", check=7)
    finally:
        ministry.env.clear()
    (result,) = json.loads(done.stdout)["results"]
    assert result["verdict"] == "not-checked"
    assert "no judge is to be had: programs are not to be had" in result["reason"]


def test_without_the_right_to_list_a_kind_it_is_not_passed_over(settled: Ministry) -> None:
    name, who = f"impl{os.getpid()}", f"impact-{os.getpid()}"
    new = {"daemonsets", "deployments", "replicasets", "statefulsets", "cronjobs", "jobs", "replicationcontrollers"}
    (role,) = [r for r in settled.live("clusterroles") if r["metadata"]["name"] == "gcloud-pk:verifier"]
    rules = [rule for rule in role["rules"] if rule["verbs"] != ["list"]]
    assert {r for rule in role["rules"] if rule["verbs"] == ["list"] for r in rule["resources"]} >= new
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": who}
    group = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": who}
    less = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": who}}
    bound = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": who}}
    both = {"apiVersion": "v1", "kind": "List", "items": [
        less | {"rules": rules}, bound | {"roleRef": ref, "subjects": [group]}]}  # fmt: skip
    lab = settled.lab
    lab.kubectl("apply", "-f", "-", input=json.dumps(both))
    try:
        made = lab.gcloud_pk("lab", "kubeconfig", "--name", lab.name, "--group", who, "--user", who, check=0)
        done = settled.run("--kubeconfig", f"{lab.kubeconfig}:{made.stdout.strip()}", "--verify-context", who,
                           "audit", "impact", f"{name}-prod", "--format", "json", check=7)  # fmt: skip
    finally:
        lab.kubectl("delete", "clusterrole,clusterrolebinding", who)
    told = " ".join(r["reason"] for r in of(json.loads(done.stdout), "error"))
    for plural in (*new, "persistentvolumeclaims"):
        assert f" {plural}" in told


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        ((f"{TENANT}-prood",), 5, f"did you mean {NAMESPACE}?"),
        ((NAMESPACE,), 2, "--tenant TENANT"),
        (("default", "--tenant", TENANT), 4, "asks for no environment in namespace default"),
        ((NAMESPACE, "--tenant", "nobody"), 5, "has no tenant 'nobody'"),
    ],
    ids=["unknown", "of nobody", "of another name", "of an unknown tenant"],
)
def test_a_namespace_that_cannot_be_judged_is_told_in_words(
    ministry: Ministry, args: tuple[str, ...], code: int, says: str
) -> None:
    done = ministry.run("audit", "impact", *args, check=code)
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def settled(lab: RunningLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministry]:
    """A tenant in place, which has changed its registry since its pods were made."""
    name = f"impl{os.getpid()}"
    made = Ministry.found(lab, tmp_path_factory.mktemp("settled") / "registry")
    made.write(name, "prod", "test", registries=[f"registry.gcloud.gov.pk/{name}/", "registry.gcloud.gov.pk/base/"])
    made.onboard(name, "--no-verify")
    namespace = f"{name}-prod"
    objects = [
        legacy.controller("Deployment", "web", namespace, legacy.pod(name)),
        legacy.controller("Deployment", "left", namespace, legacy.pod(name, image="registry.gcloud.gov.pk/base/web:1")),
        legacy.binding("own", namespace, {"kind": "ClusterRole", "name": "gcloud-pk:tenant-auditor"},
                       {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": f"oidc:{name}-auditors"}),
    ]  # fmt: skip
    lab.kubectl("apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    made.write(name, "prod", revision=2)
    made.onboard(name, "--no-verify")
    yield made
    made.run("tenant", "offboard", name, "--confirm", name, "--delete-data")


def test_in_a_tenants_namespace_the_cluster_itself_is_asked_as_the_tenant(settled: Ministry) -> None:
    name = f"impl{os.getpid()}"
    begun = settled.audit_size()
    done = settled.run("audit", "impact", "--tenant", name, "--format", "json", check=6)
    document = json.loads(done.stdout)
    assert [(named(r), r["id"]) for r in of(document, "fail")] == [("Deployment/left", "IMP-002")]
    assert {named(r) for r in of(document, "pass")} == {"", "Deployment/web", "Deployment/left", "RoleBinding/own"}
    (control,) = [r for r in document["results"] if r["id"] == "IMP-000"]
    assert "the cluster itself" in control["observed"]
    asked = [
        e
        for e in settled.audited(begun)
        # Other files' audits of their own tenants stand in the same log.
        if e.get("impersonatedUser", {}).get("username") == "gcloud-pk:probe" and (place(e) or "").startswith(name)
    ]
    assert asked
    assert {e["verb"] for e in asked} == {"create"}
    assert all("dryRun=All" in e["requestURI"] for e in asked)


def test_all_tenants_namespaces_are_looked_at_and_retired_ones_are_told_of(settled: Ministry) -> None:
    name = f"impl{os.getpid()}"
    done = settled.run("audit", "impact", f"{name}-prod", f"{name}-test", "--format", "junit", check=6)
    suites = {suite.attrib["name"]: suite for suite in ET.fromstring(done.stdout)}
    assert suites[f"namespace/{name}-prod/Deployment/left"].attrib["failures"] == "1"
    assert suites[f"namespace/{name}-test"].attrib["skipped"] == "1"


def test_a_judge_whose_policies_are_not_in_force_is_not_believed(settled: Ministry) -> None:
    name = f"impl{os.getpid()}"
    groups: dict[str, Any] = {"spec": {"groups": []}}
    patch = ("patch", "tenantpolicy", "tenant", "-n", f"{name}-prod", "--type=merge", "-p")
    before = settled.live("tenantpolicies", f"{name}-prod")[0]["spec"]["groups"]
    settled.lab.kubectl(*patch, json.dumps(groups))
    try:
        document = json.loads(
            settled.run("audit", "impact", f"{name}-prod", "--format", "json", check=7).stdout
        )  # nobody to act as: everything is refused, and for a reason that says nothing
    finally:
        settled.lab.kubectl(*patch, json.dumps({"spec": {"groups": before}}))
    (control,) = [r for r in document["results"] if r["id"] == "IMP-000"]
    assert control["verdict"] == "error"
    assert of(document, "fail") == []
    assert {named(r) for r in of(document, "not-checked")} == {"Deployment/web", "Deployment/left", "RoleBinding/own"}
