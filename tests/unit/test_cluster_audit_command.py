"""`gcloud-pk audit cluster`: one report, honest exit codes, the cluster that is meant and no other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from tests.unit.cluster_record import found, record, site

from gcloud_pk.errors import UnavailableError
from gcloud_pk.main import main
from gcloud_pk.model.site import Host
from gcloud_pk.nodes.cluster.api import Said
from gcloud_pk.nodes.cluster.gather import Found

AUDIT = ("audit", "cluster", "--site", "lab-dc")


@pytest.fixture
def registry(registry_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a registry with the site of the record, whose nodes and API say what was recorded."""
    _write(registry_folder, _site())

    def gathered(_: Any, _of: Any, hosts: Sequence[Host], *__: Any, **___: Any) -> list[Found]:
        return [found(record(), host.name) for host in hosts]

    monkeypatch.setattr("gcloud_pk.nodes.cluster.gather.gather", gathered)
    monkeypatch.setattr("gcloud_pk.nodes.cluster.api.ask", lambda _: Said(**record()["api"]))
    monkeypatch.setattr("gcloud_pk.commands.cluster_audit.open_api", lambda _: None)
    return registry_folder


def _site() -> dict[str, Any]:
    """Return the site's file, without its networks: another site of the registry has the same."""
    document: dict[str, Any] = site().model_dump(by_alias=True, mode="json", exclude_unset=True)
    del document["spec"]["clusters"][0]["networks"]
    return document


def _write(folder: Path, document: dict[str, Any]) -> None:
    (folder / "sites/lab-dc.yaml").write_text(json.dumps(document), encoding="utf-8")


def run(capsys: pytest.CaptureFixture[str], registry: Path, *words: str, form: str = "json") -> tuple[int, Any]:
    code = main([*words, "--registry", str(registry), "--format", form])
    out = capsys.readouterr().out
    return code, json.loads(out) if form == "json" else out


def test_one_report_of_nodes_and_cluster(registry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, made = run(capsys, registry, *AUDIT)
    assert code == 6
    assert made["suite"] == "cluster"
    assert {one["subject"] for one in made["results"]} == {
        *(f"node/lab-dc/{name}" for name in ("c1", "c2", "c3", "w1")),
        "cluster/lab-dc/lab-dc-a",
    }
    assert made["omitted"] == sorted(made["unchecked"])
    assert made["cluster"]["etcd"]["members"] == 3
    assert {one["id"] for one in made["results"] if one["verdict"] == "fail"} == {"CIS-1.1.12", "CIS-5.3.1"}


def test_people_are_told_the_same_in_words(registry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(capsys, registry, *AUDIT, form="text")
    assert code == 6
    assert "CIS-1.1.12" in text
    assert "to remedy it:" in text
    assert "said by the API server" in text.splitlines()[-1]


def test_a_machine_is_told_by_junit(registry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = run(capsys, registry, *AUDIT, "--checks", "CIS-2.2", form="junit")
    assert code == 0
    assert ET.fromstring(text).get("failures") == "0"


def test_some_checks_and_some_nodes(registry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, made = run(capsys, registry, *AUDIT, "--checks", "GPK-CLU-005,CIS-2.2", "--limit", "c2")
    assert code == 0
    assert {one["id"] for one in made["results"] if one["subject"] == "node/lab-dc/c2"} == {"CIS-2.2", "NODE-000"}
    assert {one["id"] for one in made["results"] if one["subject"].startswith("cluster/")} == {
        f"CLU-ETC-{n:03}" for n in range(4, 13)
    }
    assert "CIS-1.2.1" in made["omitted"]


def test_without_a_way_to_the_api_what_it_alone_says_is_not_checked(
    registry: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(_: Any) -> None:
        raise UnavailableError("there is no kubeconfig")

    monkeypatch.setattr("gcloud_pk.commands.cluster_audit.open_api", none)
    code, made = run(capsys, registry, *AUDIT, "--checks", "CIS-4.2.1")
    assert code == 7
    assert {one["verdict"] for one in made["results"] if one["id"] == "CIS-4.2.1"} == {"not-checked"}


def test_the_api_of_another_cluster_is_not_asked_on(registry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = _site()
    document["spec"]["clusters"][0]["uid"] = "4b1d3f8a-0000-4000-8000-000000000000"
    _write(registry, document)
    code, made = run(capsys, registry, *AUDIT)
    assert code == 4
    assert "this is not cluster lab-dc-a" in made["error"]["message"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--cluster", "lab-dc-b"), "has no cluster 'lab-dc-b'"),
        (("--checks", "CIS-1.2.99"), "names no check"),
        (("--limit", "c9"), "names no host"),
    ],
)
def test_what_is_not_there_is_named(
    registry: Path, capsys: pytest.CaptureFixture[str], words: Sequence[str], said: str
) -> None:
    code, made = run(capsys, registry, *AUDIT, *words)
    assert code == 3
    assert said in made["error"]["message"]


def test_of_several_clusters_one_has_to_be_named(registry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = _site()
    document["spec"]["clusters"].append({"name": "lab-dc-b"})
    for host in document["spec"]["hosts"]:
        host["cluster"] = "lab-dc-a"
    _write(registry, document)
    code, made = run(capsys, registry, *AUDIT)
    assert code == 3
    assert made["error"]["resolution"] == "name one with --cluster: lab-dc-a, lab-dc-b"
    assert run(capsys, registry, *AUDIT, "--cluster", "lab-dc-a")[0] == 6
