"""What is done on a cluster is written to the history; a registry that cannot be written stops nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.tenants import a_tenant

from gcloud_pk.cluster.plan import Plan
from gcloud_pk.commands.recording import Recorder, stray_heads
from gcloud_pk.console import Console
from gcloud_pk.errors import UnavailableError
from gcloud_pk.login import operator_name
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.model.resources import TenantStatus
from gcloud_pk.onboarding.run import Prepared
from gcloud_pk.onboarding.stages import stage
from gcloud_pk.registry import acts
from gcloud_pk.registry.folder import Registry

UID = "6c0e0000-0000-4000-8000-000000000001"


def prepared(*retiring: str) -> Prepared:
    tenant = a_tenant()
    ready = TenantStatus(
        phase="Ready", revision=1, requestDigest=tenant.digest, acceptedAt="2026-11-22T03:10:00Z", toolVersion="0"
    )
    return Prepared(tenant, retiring, Plan(()), stage([]), ready, ready, retiring)


def finding(verdict: Verdict) -> Finding:
    return Finding("ISO-001", "a wall", "tenant/moitt", "denied", "denied", verdict)


@pytest.fixture
def recorder(registry_folder: Path, request_file: Path) -> Recorder:
    acts.submit(Registry.open(registry_folder), request_file)
    return Recorder(Registry.open(registry_folder), Console(), UID)


def lines(recorder: Recorder) -> list[tuple[Any, ...]]:
    chain = Registry.open(recorder.registry.path).entry("moitt").chain
    assert chain.problems == ()
    return [(line.act, line.actor, line.cluster, line.detail) for line in chain.lines[1:]]


def test_what_leaves_use_stands_before_what_was_brought(recorder: Recorder) -> None:
    head = recorder.onboard(prepared("old", "older"))
    assert head == Registry.open(recorder.registry.path).entry("moitt").chain.head
    who = operator_name()
    assert lines(recorder) == [
        ("retire", who, UID, {"environment": "old"}),
        ("retire", who, UID, {"environment": "older"}),
        ("onboard", who, UID, {}),
    ]
    assert recorder.onboarded == {"moitt"}


def test_verdicts_are_counted_with_their_suite(recorder: Recorder) -> None:
    recorder.verify(a_tenant(), [finding(Verdict.PASS), finding(Verdict.PASS), finding(Verdict.FAIL)], quick=False)
    assert [line[3] for line in lines(recorder)] == [{"suite": "full", "pass": 2, "fail": 1}]


def test_a_registry_that_cannot_be_written_gives_a_warning_and_no_head(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise UnavailableError("cannot write: the file system is read-only")

    monkeypatch.setattr("gcloud_pk.registry.files.write", full)
    assert recorder.onboard(prepared()) is None
    recorder.verify(a_tenant(), [finding(Verdict.PASS)], quick=True)
    said = capsys.readouterr().err
    assert said.count("warning: tenant moitt") == 2
    assert "read-only" in said


def test_only_a_head_that_the_registry_lacks_is_warned_of(recorder: Recorder) -> None:
    head = recorder.onboard(prepared())
    known, lost = {"status": {"historyHead": head}}, {"status": {"historyHead": "f" * 64}}
    fresh = Registry.open(recorder.registry.path)
    for parent, warnings in ((known, 0), (lost, 1), ({}, 0), ({"status": {}}, 0)):
        assert len(list(stray_heads(fresh, ["moitt"], {"moitt": parent}))) == warnings
    assert list(stray_heads(fresh, ["moitt"], {})) == []
