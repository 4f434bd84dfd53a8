"""`audit isolation` on a real API server: what it proves, what it finds, and that it writes nothing."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.e2e.conftest import RunningLab, running
from tests.e2e.ministry import Ministry
from tests.e2e.policy_world import administrator

from gcloud_pk.cluster.transport import Api
from gcloud_pk.errors import UnavailableError
from gcloud_pk.lab.configuration import Layout, arguments
from gcloud_pk.programs.pins import API_SERVER

BINDINGS = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"
MERGE = "application/merge-patch+json"
FURNISHED: dict[str, Any] = {
    "name": "prod",
    "tier": "production",
    "quota": {"cpu": "4", "memory": "8Gi", "storage": "20Gi", "pods": 20},
    "domains": ["prod.moitt.gov.pk"],
    "exposure": "government",
    "allowFrom": ["10.8.0.0/16"],
    "egress": [{"to": "10.20.0.0/16", "ports": [{"port": 5432, "protocol": "TCP"}], "reason": "database"}],
}


@pytest.fixture(scope="module")
def ministry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministry]:
    """A lab of its own: what is taken away here is what all tenants share."""
    with running(f"isolation-{os.getpid()}", tmp_path_factory.mktemp("labs")) as lab:
        made = Ministry.found(lab, tmp_path_factory.mktemp("registries") / "registry")
        made.write("moitt", FURNISHED, "test", storageClasses=["encrypted"])
        made.write("nitb", "prod", "test", access={"admins": ["nitb-admins"]})
        made.onboard("--all", "--no-verify")
        yield made


def audit(ministry: Ministry, *args: str, check: int | None = None, **kw: Any) -> dict[str, Any]:
    done = ministry.run("audit", "isolation", *args, "--format", "json", check=check, **kw)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def verdicts(report: dict[str, Any], subject: str = "cluster") -> dict[str, str]:
    return {r["id"]: r["verdict"] for r in report["results"] if r["subject"] == subject}


def wrong(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    settled = {"pass", "not-applicable"}
    return [(r["subject"], r["id"], r["reason"]) for r in report["results"] if r["verdict"] not in settled]


@dataclass(frozen=True)
class Proof:
    """A report on everybody, and what the API server itself recorded meanwhile, by Audit-Id."""

    report: dict[str, Any]
    log: dict[str, dict[str, Any]]

    @property
    def requests(self) -> list[dict[str, Any]]:
        return [each for r in self.report["results"] for each in r.get("evidence", {}).get("requests", ())]


@pytest.fixture(scope="module")
def proof(ministry: Ministry) -> Proof:
    before = ministry.audit_size()
    report = audit(ministry, "--all")
    return Proof(report, {line["auditID"]: line for line in ministry.audited(before)})


def test_every_tenant_is_proven_to_be_kept_apart(proof: Proof) -> None:
    assert wrong(proof.report) == []
    subjects = {r["subject"] for r in proof.report["results"]}
    assert subjects >= {"cluster", "tenant/moitt", "tenant/moitt/prod", "tenant/moitt/test", "tenant/nitb/prod"}


def test_each_result_carries_what_was_sent_and_received_and_the_servers_own_log_confirms_it(proof: Proof) -> None:
    assert len(proof.requests) > 500
    for each in proof.requests:
        said = proof.log[each["auditId"]]
        assert said["responseStatus"]["code"] == each["status"]
        assert said["user"]["username"] == "gcloud-pk:verifier"
        assert said["verb"] not in {"create", "update", "patch"} or each["sent"]
        assert each["status"] < 300 or each["refusal"]


def test_the_verifier_writes_nothing_and_reads_no_secret_by_its_own_credential(proof: Proof) -> None:
    own = [line for line in proof.log.values() if line["user"]["username"] == "gcloud-pk:verifier"]
    acts = [line for line in own if line["verb"] not in {"get", "list", "watch"}]
    assert len(acts) > 300
    assert [line["requestURI"] for line in acts if "dryRun=All" not in line["requestURI"]] == []
    assert [line["requestURI"] for line in own if (line.get("objectRef") or {}).get("resource") == "secrets"] == []


def test_a_stratified_run_says_what_it_left_out_where(ministry: Ministry) -> None:
    report = audit(ministry, "moitt", "nitb", "--stratified", "--probes", "GPK-IMG-001", check=0)
    left = report["omittedBySubject"]
    tried = {(r["subject"], r["id"]) for r in report["results"]}
    assert left
    assert not tried & {(subject, name) for subject, names in left.items() for name in names}


def test_chosen_checks_run_with_their_controls_and_the_rest_is_omitted(ministry: Ministry) -> None:
    report = audit(ministry, "moitt", "--probes", "ISO-020,GPK-QUO-002", check=0)
    ids = {r["id"] for r in report["results"]}
    assert {"ISO-000", "ISO-001", "ISO-020", "ISO-105"} <= ids
    assert "ISO-024" in report["omitted"]
    assert not ids & set(report["omitted"])


def test_an_unknown_tenant_is_told_with_the_nearest_known_one(ministry: Ministry) -> None:
    done = ministry.run("audit", "isolation", "moit", check=5)
    assert "did you mean moitt?" in done.stderr


def test_a_user_who_may_not_impersonate_is_told_the_right_that_is_missing(ministry: Ministry) -> None:
    done = ministry.run("audit", "isolation", "moitt", "--verify-context", "onboarder", check=7)
    assert 'User "gcloud-pk:onboarder" cannot impersonate' in done.stdout


def test_people_see_what_is_wrong_in_full_and_the_rest_counted(ministry: Ministry) -> None:
    done = ministry.run("audit", "isolation", "moitt", "nitb", "--probes", "GPK-IMG-001", check=0)
    assert "tenant/moitt/prod: " in done.stdout
    assert "GPK-IMG-001" in done.stdout
    assert "nothing wrong: " in done.stdout


FOUNDATION = "ISO-020,ISO-630,ISO-631,ISO-632"


@contextmanager
def patched(ministry: Ministry, path: str, body: dict[str, Any]) -> Iterator[None]:
    """Change an object as the administrator, and put it back."""
    admin = administrator(ministry.lab.kubeconfig)
    before = admin.get(path)
    assert admin.request("PATCH", path, body=body, content_type=MERGE).ok
    try:
        time.sleep(1.3)  # the API server takes policies up once a second
        yield
    finally:
        kept = {key: before[key] for key in body if key != "metadata"}
        kept["metadata"] = {"annotations": before["metadata"].get("annotations")}
        assert admin.request("PATCH", path, body=kept, content_type=MERGE).ok
        time.sleep(1.3)


@pytest.mark.parametrize("actions", [["Audit"], ["Warn"]], ids=["Audit", "Warn"])
def test_a_binding_that_only_tells_is_found_by_what_is_stored_and_by_what_is_admitted(
    ministry: Ministry, actions: list[str]
) -> None:
    with patched(
        ministry, f"{BINDINGS}/gpk-images", {"spec": {"policyName": "gpk-images", "validationActions": actions}}
    ):
        report = audit(ministry, "moitt", "--probes", FOUNDATION, check=6)
    assert verdicts(report) == {"ISO-630": "fail", "ISO-631": "pass", "ISO-632": "pass"}
    assert "gpk-images refuses nothing" in next(r["observed"] for r in report["results"] if r["id"] == "ISO-630")
    assert verdicts(report, "tenant/moitt/prod")["ISO-020"] == "fail"


def test_a_platform_of_another_version_is_found(ministry: Ministry) -> None:
    path = "/apis/rbac.authorization.k8s.io/v1/clusterroles/gcloud-pk:tenant-auditor"
    with patched(ministry, path, {"metadata": {"annotations": {"gcloud.gov.pk/platform-version": "9.9.9"}}}):
        report = audit(ministry, "moitt", "--probes", FOUNDATION, check=6)
    assert verdicts(report)["ISO-632"] == "fail"
    assert "9.9.9" in next(r["observed"] for r in report["results"] if r["id"] == "ISO-632")


def _wait_until_it_serves(api: Api) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        with suppress(UnavailableError):
            if api.request("GET", "/readyz").status == 200:
                return
        time.sleep(0.1)
    raise AssertionError("the second API server does not serve")


@contextmanager
def another_server(lab: RunningLab, folder: Path, *flags: str) -> Iterator[Path]:
    """Start a second API server with other flags on the lab's etcd; yield a kubeconfig that leads to it."""
    layout = Layout(lab.folder)
    state = json.loads(layout.state.read_text())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = [
        argument
        for argument in arguments(API_SERVER, layout, {**state["ports"], API_SERVER: port})
        if not argument.startswith("--audit-log-path")
    ]
    config = yaml.safe_load(lab.kubeconfig.read_text())
    for cluster in config["clusters"]:
        cluster["cluster"]["server"] = f"https://127.0.0.1:{port}"
    kubeconfig = folder / "kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(yaml.safe_dump(config))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([lab.programs[API_SERVER], *told, *flags], stdout=log, stderr=log)
    try:
        _wait_until_it_serves(administrator(kubeconfig))
        yield kubeconfig
    finally:
        process.kill()
        process.wait()


def test_an_api_server_whose_admission_is_switched_off_is_found_by_name(ministry: Ministry, tmp_path: Path) -> None:
    plugins = "ValidatingAdmissionPolicy,PodSecurity,ResourceQuota,LimitRanger"
    with another_server(ministry.lab, tmp_path, f"--disable-admission-plugins={plugins}") as kubeconfig:
        report = audit(ministry, "moitt", "--quick", "--kubeconfig", str(kubeconfig), check=6)
    cluster = verdicts(report)
    assert {name for name, verdict in cluster.items() if verdict == "fail"} == {
        "ISO-631", "ISO-633", "ISO-634", "ISO-635", "ISO-636",
    }  # fmt: skip
    assert cluster["ISO-630"] == cluster["ISO-637"] == "pass"  # what is stored is as it was, and RBAC is asked
    assert {"ISO-020", "ISO-024"} <= {name for name, v in verdicts(report, "tenant/moitt/prod").items() if v == "fail"}
