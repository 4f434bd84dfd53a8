"""Adoption: a namespace that exists becomes a tenant's; what runs goes on, and what would be refused is refused."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.e2e import legacy
from tests.e2e.conftest import RunningLab
from tests.e2e.ministry import Ministry
from tests.e2e.test_impact import environment, named, of

TENANT = f"adopt{os.getpid()}"
NAMESPACE = f"{TENANT}-prod"
KILLED = f"adoptk{os.getpid()}"
ANNOTATION = "gcloud.gov.pk/adopt"
OPENINGS = {"outsider", "viewers", "everybody"}


@pytest.fixture(scope="module")
def ministry(lab: RunningLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministry]:
    """An approved request, and a namespace of its name that has been in use for years."""
    made = Ministry.found(lab, tmp_path_factory.mktemp("adopt") / "registry")
    for tenant in (TENANT, KILLED):
        made.write(tenant, environment(tenant), storageClasses=["encrypted"])
    legacy.settle(made, TENANT, NAMESPACE)
    yield made
    for tenant in (TENANT, KILLED):
        made.run("tenant", "offboard", tenant, "--confirm", tenant, "--delete-data", check=None)


def eventually(ask: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := ask()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return found


def pods(ministry: Ministry, namespace: str = NAMESPACE) -> dict[str, str]:
    return {p["metadata"]["uid"]: p["metadata"]["name"] for p in ministry.live("pods", namespace)}


def namespace_of(ministry: Ministry, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(n for n in ministry.live("namespaces") if n["metadata"]["name"] == name)
    return found


def adopt(ministry: Ministry, *args: str, check: int, tenant: str = TENANT) -> Any:
    return ministry.run("onboard", tenant, "--adopt", *args, "--yes", "--format", "json", check=check)


def test_without_the_annotation_it_is_refused_and_the_command_is_named(ministry: Ministry) -> None:
    done = adopt(ministry, NAMESPACE, check=4)
    assert f"kubectl annotate namespace {NAMESPACE} {ANNOTATION}={TENANT}" in done.stderr


def test_who_onboards_may_not_name_the_tenant_himself(ministry: Ministry) -> None:
    annotate = ("annotate", "namespace", NAMESPACE, f"{ANNOTATION}={TENANT}")
    done = ministry.lab.kubectl(*annotate, context="onboarder", check=False)
    assert "GPK-NSP" in done.stderr
    assert ANNOTATION not in (namespace_of(ministry, NAMESPACE)["metadata"].get("annotations") or {})


def test_a_namespace_of_another_name_is_refused_with_words(ministry: Ministry) -> None:
    done = adopt(ministry, "default", check=4)
    assert "asks for no environment in namespace default" in done.stderr
    assert NAMESPACE in done.stderr
    missing = ministry.run("onboard", KILLED, "--adopt", f"{KILLED}-prod", "--yes", check=4)
    assert f"there is no namespace {KILLED}-prod to adopt" in missing.stderr


@pytest.fixture(scope="module")
def annotated(ministry: Ministry) -> Ministry:
    ministry.lab.kubectl("annotate", "namespace", NAMESPACE, f"{ANNOTATION}={TENANT}")
    return ministry


def test_what_would_stay_open_is_named_and_nothing_is_written(annotated: Ministry) -> None:
    since = annotated.audit_size()
    done = adopt(annotated, NAMESPACE, check=4)
    said = [line["message"] for line in json.loads(done.stdout)["error"]["details"]]
    assert len(said) == len(OPENINGS)
    for name in OPENINGS:
        assert any(f"{NAMESPACE}/{name}" in line for line in said)
    assert any("gives access to User contractor" in line for line in said)
    mine = [e for e in annotated.audited(since) if e["user"]["username"] == "gcloud-pk:onboarder"]
    assert all(e["verb"] in {"get", "list"} or "dryRun=All" in e["requestURI"] for e in mine)


def test_service_accounts_that_may_act_elsewhere_are_named_and_nothing_is_written(annotated: Ministry) -> None:
    name = f"{TENANT}-reach"
    kubectl = annotated.lab.kubectl
    kubectl("create", "clusterrolebinding", name, "--clusterrole=view", f"--serviceaccount={NAMESPACE}:builder")
    try:
        done = adopt(annotated, NAMESPACE, "--remove-openings", check=4)
    finally:
        kubectl("delete", "clusterrolebinding", name)
    assert f"ClusterRoleBinding {name} gives view to ServiceAccount {NAMESPACE}/builder" in done.stderr
    assert "gcloud.gov.pk/tenant" not in namespace_of(annotated, NAMESPACE)["metadata"]["labels"]


@pytest.fixture(scope="module")
def before(annotated: Ministry) -> dict[str, str]:
    return pods(annotated)


@pytest.fixture(scope="module")
def adopted(annotated: Ministry, before: dict[str, str]) -> dict[str, Any]:
    """What `onboard --adopt` says; by itself it verifies, so that 0 means that the walls stand."""
    assert before
    document: dict[str, Any] = json.loads(adopt(annotated, NAMESPACE, "--remove-openings", check=0).stdout)
    return document


def test_the_plan_tells_what_would_be_refused_from_then_on(adopted: dict[str, Any]) -> None:
    told = adopted["adoption"]
    assert told["namespaces"] == [NAMESPACE]
    assert {named(r) for r in told["impact"]} == {name for name, _, _ in legacy.REFUSED}
    assert len(told["openings"]) == len(OPENINGS)
    (back_door,) = (words for words in told["warnings"] if words.startswith("RoleBinding "))
    assert f"{NAMESPACE}/builders gives" in back_door
    assert f"ServiceAccount {NAMESPACE}/builder, and stays" in back_door


def test_what_ran_runs_on(adopted: dict[str, Any], annotated: Ministry, before: dict[str, str]) -> None:
    assert adopted["tenants"][0]["namespaces"] == [NAMESPACE]
    assert pods(annotated) == before


def test_the_namespace_is_the_tenants_and_the_annotation_is_gone(adopted: dict[str, Any], annotated: Ministry) -> None:
    assert adopted["findings"] == [f for f in adopted["findings"] if f["verdict"] == "not-applicable"]
    metadata = namespace_of(annotated, NAMESPACE)["metadata"]
    assert metadata["labels"]["gcloud.gov.pk/tenant"] == TENANT
    assert metadata["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert ANNOTATION not in metadata["annotations"]


def test_what_opened_too_much_is_gone_and_all_else_stayed(adopted: dict[str, Any], annotated: Ministry) -> None:
    assert adopted["tenants"]
    left = {
        o["metadata"]["name"] for kind in ("rolebindings", "networkpolicies") for o in annotated.live(kind, NAMESPACE)
    }
    assert not left & OPENINGS
    assert "builders" in left
    kept = {o["metadata"]["name"] for o in annotated.live("services,ingresses,persistentvolumeclaims", NAMESPACE)}
    assert {"open", "front", "site", "cheap", "data"} <= kept


def test_a_second_run_changes_nothing(adopted: dict[str, Any], annotated: Ministry) -> None:
    assert adopted["tenants"]
    again = json.loads(adopt(annotated, NAMESPACE, check=0).stdout)
    assert again["adoption"]["namespaces"] == []
    changes = again["tenants"][0]["changes"]
    assert changes["created"] == changes["changed"] == changes["removed"] == 0


def test_the_cluster_itself_now_says_what_the_judge_said_before(adopted: dict[str, Any], annotated: Ministry) -> None:
    assert adopted["tenants"]
    document = json.loads(annotated.run("audit", "impact", NAMESPACE, "--format", "json", check=6).stdout)
    gone = {"RoleBinding/outsider", "RoleBinding/viewers", "NetworkPolicy/everybody"}
    assert {(named(r), r["id"]) for r in of(document, "fail")} == {
        (name, wall) for name, wall, _ in legacy.REFUSED if name not in gone
    }
    assert of(document, "error") == of(document, "not-checked") == []


@pytest.mark.parametrize(("name", "by"), [("foreign", "gpk-images"), ("root", "violates PodSecurity")])
def test_what_was_named_is_really_refused_when_it_restarts(
    adopted: dict[str, Any], annotated: Ministry, name: str, by: str
) -> None:
    assert adopted["tenants"]
    annotated.lab.kubectl("delete", "pod", "-n", NAMESPACE, "-l", f"app={name}", "--now")

    def refused() -> bool:
        sets = annotated.live("replicasets", NAMESPACE, "-l", f"app={name}")
        return any(by in c["message"] for s in sets for c in s["status"].get("conditions", ()))

    eventually(refused, f"{name} was not refused by {by}")
    assert annotated.live("pods", NAMESPACE, "-l", f"app={name}") == []


@pytest.mark.parametrize("name", ["web", "db"])
def test_what_was_not_named_restarts(adopted: dict[str, Any], annotated: Ministry, name: str) -> None:
    assert adopted["tenants"]
    was = {p["metadata"]["uid"] for p in annotated.live("pods", NAMESPACE, "-l", f"app={name}")}
    annotated.lab.kubectl("delete", "pod", "-n", NAMESPACE, "-l", f"app={name}", "--now")

    def is_back() -> bool:
        now = {p["metadata"]["uid"] for p in annotated.live("pods", NAMESPACE, "-l", f"app={name}")}
        return bool(now and not now & was)

    eventually(is_back, f"{name} did not come back")


def test_an_adoption_that_was_killed_half_way_is_finished_by_the_next_run(ministry: Ministry) -> None:
    namespace = f"{KILLED}-prod"
    kubectl = ministry.lab.kubectl
    kubectl("create", "namespace", namespace)
    kubectl("annotate", "namespace", namespace, f"{ANNOTATION}={KILLED}")
    kubectl("create", "rolebinding", "outsider", "-n", namespace, "--clusterrole=edit", "--user=contractor")
    # As a run leaves it that ends after its first stage.
    labels = {"gcloud.gov.pk/managed": "platform", "gcloud.gov.pk/tenant": KILLED, "gcloud.gov.pk/environment": "prod"}
    for mode in ("enforce", "audit", "warn"):
        labels |= {f"pod-security.kubernetes.io/{mode}": "restricted"}
        labels |= {f"pod-security.kubernetes.io/{mode}-version": "v1.36"}
    kubectl("label", "namespace", namespace, *(f"{k}={v}" for k, v in labels.items()), context="onboarder")

    document = ministry.onboard(KILLED)

    assert document["tenants"][0]["changes"]["removed"] == 1
    assert {b["metadata"]["name"] for b in ministry.live("rolebindings", namespace)} == {
        "tenant-admins", "tenant-developers", "tenant-auditors"
    }  # fmt: skip
    assert ANNOTATION not in namespace_of(ministry, namespace)["metadata"]["annotations"]
