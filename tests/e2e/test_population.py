"""The whole population of a real cluster: nothing is found on one as it must be, and each thing that is planted is."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.e2e.conftest import RunningLab, running
from tests.e2e.ministry import Ministry
from tests.e2e.policy_world import administrator

from gcloud_pk import paths
from gcloud_pk.cluster.kubeconfig import load
from gcloud_pk.cluster.transport import Api
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.onboarding.inhabitants import known
from gcloud_pk.onboarding.population import tenants_in_place
from gcloud_pk.onboarding.standing import Standing
from gcloud_pk.proof import bootstrap, population
from gcloud_pk.proof.population import CHECKS, Known
from gcloud_pk.registry.folder import Registry

MERGE = "application/merge-patch+json"
CASES: list[dict[str, Any]] = list(yaml.safe_load_all(Path(__file__).with_name("population.yaml").read_text()))
PLANTED_BY_TESTS = {"ISO-600", "ISO-601", "ISO-602", "ISO-603", "ISO-609"}
RECORDED = paths.data("policies") / "cluster"


@dataclass(frozen=True)
class Country:
    """A cluster with its registry. `admin` may change anything, `verifier` is the audit's own credential."""

    ministry: Ministry
    admin: Api
    onboarder: Api
    verifier: Api

    @property
    def lab(self) -> RunningLab:
        return self.ministry.lab

    def known(self) -> Known:
        registry = Registry.open(self.ministry.folder)
        uid = self.admin.get("/api/v1/namespaces/kube-system")["metadata"]["uid"]
        return known(registry, Standing(uid, "cluster", None, None), tenants_in_place(self.verifier))

    def findings(self) -> list[Finding]:
        return population.findings(self.verifier, self.known())

    def found(self) -> list[str]:
        odd = [f for f in self.findings() if f.verdict not in {Verdict.PASS, Verdict.NOT_APPLICABLE}]
        assert {f.verdict for f in odd} <= {Verdict.FAIL}, odd
        return sorted(f"{f.id} {f.subject.removeprefix('cluster/cluster/')}" for f in odd)


@pytest.fixture(scope="module")
def country(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Country]:
    folder = tmp_path_factory.mktemp("population")
    # Its own lab: in a shared one, what other tests do would be found.
    with running(f"population-{os.getpid()}", folder / "labs") as lab:
        ministry = Ministry.found(lab, folder / "registry")
        ministry.write("moitt", "prod", "old", storageClasses=["encrypted"])
        ministry.onboard("moitt")
        ministry.write("moitt", "prod", revision=2, storageClasses=["encrypted"])
        ministry.write("fbr", "tax")
        ministry.onboard("--all", "--allow-removals", "9")
        ministry.write("late", "prod")  # approved, and not brought yet
        contexts = (Api(load(str(lab.kubeconfig), name)) for name in ("onboarder", "verifier"))
        yield Country(ministry, administrator(lab.kubeconfig), *contexts)


def test_what_kubernetes_makes_by_itself_is_recorded(country: Country) -> None:
    made = bootstrap.record(country.admin)
    minor = yaml.safe_load(made)["minor"]
    file = RECORDED / f"kubernetes-{minor}.yaml"
    if os.environ.get("GCLOUD_PK_UPDATE_CLUSTER"):
        file.write_text(made)
    assert yaml.safe_load(file.read_text()) == yaml.safe_load(made)


def test_on_a_cluster_as_it_must_be_nothing_is_found_with_the_verifiers_own_credential(country: Country) -> None:
    found = country.findings()
    odd = {f.id: f.verdict for f in found if f.verdict is not Verdict.PASS}
    # The cluster has no network policies of another kind, and no Gateway API.
    assert odd == {"ISO-619": Verdict.NOT_APPLICABLE, "ISO-623": Verdict.NOT_APPLICABLE}
    assert [f.id for f in found] == [check.id for check in CHECKS]


def test_every_check_has_something_planted_for_it() -> None:
    told = {line.split()[0] for case in CASES for line in case["finds"]}
    assert told | PLANTED_BY_TESTS == {check.id for check in CHECKS}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_what_is_planted_is_found_by_exactly_the_checks_that_must(country: Country, case: Mapping[str, Any]) -> None:
    with planted(country.admin, case):
        assert country.found() == sorted(case["finds"])


def test_what_was_planted_is_gone_and_nothing_is_found_again(country: Country) -> None:
    assert country.found() == []


@contextmanager
def planted(admin: Api, case: Mapping[str, Any]) -> Iterator[None]:
    with ExitStack() as stack:
        for made in case.get("objects", ()):
            path = stack.enter_context(created(admin, made))
            if "status" in made:
                answer = admin.request("PATCH", f"{path}/status", body={"status": made["status"]}, content_type=MERGE)
                assert answer.ok, answer.message
        for change in case.get("changes", ()):
            stack.enter_context(changed(admin, change["path"], change["patch"]))
        yield


def collection(admin: Api, made: Mapping[str, Any]) -> str:
    """Return the path of an object's collection, as discovery says it; waits for a kind that was just defined."""
    version = made["apiVersion"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    deadline = time.monotonic() + 10
    while True:
        answer = admin.request("GET", root)
        served = [r["name"] for r in answer.body.get("resources", ()) if r["kind"] == made["kind"]]
        plurals = [name for name in served if "/" not in name]
        if plurals or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    namespace = made["metadata"].get("namespace")
    return f"{root}/namespaces/{namespace}/{plurals[0]}" if namespace else f"{root}/{plurals[0]}"


@contextmanager
def created(admin: Api, made: Mapping[str, Any]) -> Iterator[str]:
    folder = collection(admin, made)
    path = f"{folder}/{made['metadata']['name']}"
    answer = admin.request("POST", folder, body=dict(made))
    assert answer.ok, answer.message
    try:
        yield path
    finally:
        admin.request("PATCH", path, body={"metadata": {"finalizers": None}}, content_type=MERGE)
        admin.request("DELETE", path)
        gone(admin, path)


@contextmanager
def changed(admin: Api, path: str, patch: Mapping[str, Any]) -> Iterator[None]:
    before = admin.get(path)
    answer = admin.request("PATCH", path, body=dict(patch), content_type=MERGE)
    assert answer.ok, answer.message
    try:
        yield
    finally:
        version = admin.get(path)["metadata"]["resourceVersion"]
        before["metadata"]["resourceVersion"] = version
        answer = admin.request("PUT", path, body=before)
        assert answer.ok, answer.message


def gone(admin: Api, path: str) -> None:
    deadline = time.monotonic() + 10
    while admin.request("GET", path).status != 404:
        assert time.monotonic() < deadline, f"{path} does not go"
        time.sleep(0.05)


def test_a_binding_of_a_stranger_in_a_tenants_namespace_is_found(country: Country) -> None:
    # gpk-role-bindings refuses it: it is planted while that policy is not bound.
    policy = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/gpk-role-bindings"
    stranger = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "planted", "namespace": "moitt-prod"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "gcloud-pk:tenant-auditor"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "oidc:fbr-admins"}],
    }
    path = "/apis/rbac.authorization.k8s.io/v1/namespaces/moitt-prod/rolebindings"
    bound = country.admin.get(policy)
    assert country.admin.request("DELETE", policy).ok
    try:
        deadline = time.monotonic() + 10
        while not (answer := country.admin.request("POST", path, body=stranger)).ok:
            assert time.monotonic() < deadline, answer.message
            time.sleep(0.1)
        assert country.found() == [
            "ISO-609 RoleBinding/moitt-prod/planted",
            "ISO-616 ValidatingAdmissionPolicyBinding/gpk-role-bindings",
        ]
    finally:
        country.admin.request("DELETE", f"{path}/planted")
        bound["metadata"] = {k: bound["metadata"][k] for k in ("name", "labels", "annotations")}
        assert country.admin.request("POST", policy.rpartition("/")[0], body=bound).ok


def test_the_auditor_who_lacks_a_right_is_told_which_and_nothing_passes_for_it(country: Country) -> None:
    nobody = Api(load(str(country.lab.kubeconfig), "onboarder"))
    found = {f.id: f for f in population.findings(nobody, country.known())}
    assert found["ISO-606"].verdict is Verdict.ERROR
    assert "list clusterroles" in str(found["ISO-606"].reason)


def audited(country: Country, *args: str, check: int) -> dict[str, Any]:
    done = country.ministry.run("audit", "isolation", "--all", *args, "--format", "json", check=check)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_the_command_looks_at_the_population_with_all_and_names_it_omitted_without(country: Country) -> None:
    document = audited(country, "--probes", "GPK-POP-002", check=0)
    assert {"ISO-604", "ISO-613"} <= {r["id"] for r in document["results"]}
    one = country.ministry.run("audit", "isolation", "moitt", "--probes", "ISO-101", "--format", "json")
    assert "ISO-604" in json.loads(one.stdout)["omitted"]


def test_an_audit_of_one_tenant_passes_and_finds_whoever_else_is_let_in(country: Country) -> None:
    def audited(check: int, *args: str) -> dict[str, Any]:
        done = country.ministry.run("audit", "isolation", "moitt", *args, "--format", "json", check=check)
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    clean = audited(0)
    assert {"ISO-604", "ISO-615"} <= {r["id"] for r in clean["results"]}
    assert {"ISO-601", "ISO-902"} & set(clean["omitted"]) == {"ISO-601"}
    audited(0, "--probes", "GPK-ADM-001")
    assert "ISO-604" in audited(0, "--quick")["omitted"]
    names = {"a user may all", "a tenant's admins have one object of kube-system"}
    cases = [one for one in CASES if one["case"] in names]
    assert len(cases) == len(names)
    for case in cases:
        with planted(country.admin, case):
            wrong = {r["id"] for r in audited(6)["results"] if r["verdict"] == "fail"}
        assert {line.split()[0] for line in case["finds"]} <= wrong, case["case"]


def test_namespaces_and_tenants_that_no_approved_request_implies_are_found(country: Country) -> None:
    """The last test of this file: what it plants stays until the lab is gone."""
    ours = "gcloud.gov.pk/"
    live = country.admin.get("/api/v1/namespaces/moitt-prod")["metadata"]["labels"]
    pod_security = {key: value for key, value in live.items() if key.startswith("pod-security.kubernetes.io/")}

    def plant(name: str, **said: str) -> None:
        marks = pod_security | {f"{ours}{key}": value for key, value in said.items()}
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": marks}}
        answer = country.onboarder.request("POST", "/api/v1/namespaces", body=made)
        assert answer.ok, answer.message

    plant("ghost-prod", managed="platform", tenant="ghost", environment="prod")
    plant("moitt-more", managed="platform", tenant="moitt", environment="more")
    for name in ("nobodys", "late-prod"):
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        assert country.admin.request("POST", "/api/v1/namespaces", body=made).ok
    tenants = "/apis/gcloud.gov.pk/v1alpha1/tenants"
    live = country.admin.get(f"{tenants}/moitt")
    live["metadata"] = {"name": "ghost"}
    answer = country.admin.request("POST", tenants, body=live)
    assert answer.ok, answer.message
    assert country.found() == [
        "ISO-600 Namespace/ghost-prod",
        "ISO-600 Namespace/moitt-more",
        "ISO-601 Namespace/nobodys",
        "ISO-602 Namespace/late-prod",
        "ISO-603 Tenant/ghost",
    ]
