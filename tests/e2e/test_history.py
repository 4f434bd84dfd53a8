"""A tenant's history, and the cluster that bears it out: what was done is recorded, its head is on the Tenant."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import RunningLab
from tests.e2e.ministry import Ministry

PERSISTING = {"create", "update", "patch", "delete", "deletecollection"}


@pytest.fixture
def ministry(lab: RunningLab, tmp_path: Path) -> Ministry:
    return Ministry.found(lab, tmp_path / "registry")


def file_of(ministry: Ministry, tenant: str) -> Path:
    return ministry.folder / "tenants" / tenant / "history.jsonl"


def lines_of(ministry: Ministry, tenant: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file_of(ministry, tenant).read_bytes().splitlines()]


def head_on_cluster(ministry: Ministry, tenant: str) -> str:
    said = ministry.lab.kubectl("get", "tenant", tenant, "-o", "jsonpath={.status.historyHead}")
    return said.stdout


def test_onboarding_is_recorded_and_the_tenant_names_its_line(ministry: Ministry) -> None:
    ministry.write("annals", "prod", "dev")
    ministry.onboard("annals")
    onboarded, verified = lines_of(ministry, "annals")
    uid = ministry.lab.kubectl("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}").stdout
    assert (onboarded["act"], onboarded["cluster"], onboarded["detail"]) == ("onboard", uid, {"created": 23})
    assert (verified["act"], verified["detail"]["suite"]) == ("verify", "quick")
    assert verified["detail"]["pass"] > 50
    first = file_of(ministry, "annals").read_bytes().splitlines(keepends=True)[0]
    assert head_on_cluster(ministry, "annals") == hashlib.sha256(first).hexdigest()
    ministry.run("tenant", "verify", "annals")
    assert [line["act"] for line in lines_of(ministry, "annals")] == ["onboard", "verify", "verify"]
    assert lines_of(ministry, "annals")[2]["detail"]["suite"] == "full"
    shown = ministry.run("registry", "history", "annals", "--verify", "--kubeconfig", ministry.lab.kubeconfig).stdout
    assert re.search(r"cluster: +pass", shown)


def test_a_second_run_writes_nothing_to_the_registry_or_the_cluster_though_the_history_grew(
    ministry: Ministry,
) -> None:
    ministry.write("ditto")
    ministry.onboard("ditto")
    ministry.run("tenant", "verify", "ditto", "--quick")
    before = file_of(ministry, "ditto").read_bytes()
    size = ministry.audit_size()
    ministry.onboard("ditto")
    assert file_of(ministry, "ditto").read_bytes() == before
    writes = [
        e
        for e in ministry.audited(size, "ditto")
        if e["verb"] in PERSISTING
        and e["user"]["username"] == "gcloud-pk:onboarder"
        and "dryRun=All" not in e["requestURI"]
    ]
    assert writes == []


def test_mended_drift_is_an_act_of_its_own_and_moves_the_head(ministry: Ministry) -> None:
    ministry.write("mend")
    ministry.onboard("mend", "--no-verify")
    first = head_on_cluster(ministry, "mend")
    ministry.lab.kubectl("delete", "limitrange", "--all", "-n", "mend-prod")
    ministry.onboard("mend", "--no-verify")
    assert [line["act"] for line in lines_of(ministry, "mend")] == ["onboard", "onboard"]
    assert lines_of(ministry, "mend")[1]["previous"] == first
    assert head_on_cluster(ministry, "mend") not in {"", first}


def test_retiring_and_offboarding_an_environment_are_recorded(ministry: Ministry) -> None:
    ministry.write("dwindle", "prod", "old")
    ministry.onboard("dwindle", "--no-verify")
    ministry.write("dwindle", "prod", revision=2)
    for _ in range(2):
        ministry.onboard("dwindle", "--no-verify")
    ministry.run("tenant", "offboard", "dwindle", "--environment", "old", "--confirm", "dwindle")
    acts = [(line["act"], line["detail"].get("environment")) for line in lines_of(ministry, "dwindle")]
    assert acts == [("onboard", None), ("retire", "old"), ("onboard", None), ("offboard", "old")]
    ministry.onboard("dwindle", "--no-verify")  # the tenant itself is as open as it was
    ministry.run("tenant", "offboard", "dwindle", "--confirm", "dwindle")
    assert lines_of(ministry, "dwindle")[-1]["act"] == "offboard"
    (ministry.folder / "tenants" / "dwindle" / "state.yaml").unlink()
    refused = ministry.run("onboard", "dwindle", "--yes", check=4)
    assert "history says offboarded" in refused.stderr


def test_a_history_that_was_shortened_is_told_and_found(ministry: Ministry) -> None:
    ministry.write("curtailed")
    ministry.onboard("curtailed", "--no-verify")
    head = head_on_cluster(ministry, "curtailed")
    file_of(ministry, "curtailed").unlink()
    assert head in ministry.run("onboard", "curtailed", "--yes", "--no-verify").stderr
    assert head in ministry.run("tenant", "verify", "curtailed", "--quick").stderr
    found = ministry.run("registry", "history", "curtailed", "--verify", "--format", "json", check=6)
    problems = json.loads(found.stdout)["verified"]["problems"]
    assert problems[0]["field"] == "status.historyHead"


def test_a_history_that_was_changed_stops_the_next_onboarding_and_no_proof(ministry: Ministry) -> None:
    ministry.write("altered")
    ministry.onboard("altered")
    file = file_of(ministry, "altered")
    file.write_bytes(file.read_bytes().replace(b'"act": "onboard"', b'"act": "approve"'))
    size = ministry.audit_size()
    refused = ministry.run("onboard", "altered", "--yes", check=4)
    assert f"{file}:2: the line before it was changed or is missing" in refused.stderr
    assert [
        (e["verb"], e["requestURI"])
        for e in ministry.audited(size, "altered")
        if e["verb"] in PERSISTING and "dryRun=All" not in e["requestURI"] and "gcloud-pk" in e.get("userAgent", "")
    ] == []
    assert "was not recorded" in ministry.run("tenant", "verify", "altered", "--quick").stderr
