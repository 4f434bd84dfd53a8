"""`gcloud-pk audit nodes` and `gcloud-pk node waivers`: one report, honest exit codes, waivers by the registry."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from tests.unit.test_node_command import HOSTS

from gcloud_pk import paths
from gcloud_pk.main import main
from gcloud_pk.model.site import Host, Site
from gcloud_pk.nodes import gather
from gcloud_pk.nodes.call import Answer
from gcloud_pk.nodes.catalogue import load
from gcloud_pk.nodes.check import Catalogue
from gcloud_pk.nodes.collector import MARK
from gcloud_pk.nodes.outcome import Diagnosis
from gcloud_pk.registry.approvers import WAIVER

CATALOGUE = """
role: kernel_parameters
controls:
  - id: GPK-KRN-014
    title: A node does not route
    level: cl1
    instruments: [{instrument: PISF, document: "04 System and Communication Protection", standing: stated}]
    remediation: kernel_parameters
    checks: [NODE-KRN-053]
  - id: GPK-KRN-001
    title: Kernel messages are for root
    level: cl3
    instruments: [{instrument: PISF, document: "04 System and Communication Protection", standing: stated}]
    remediation: kernel_parameters
    checks: [NODE-KRN-003, NODE-KRN-004]
checks:
  - {id: NODE-KRN-053, title: It does not route, fact: "sysctl.live[net.ipv4.ip_forward]", expect: {equals: 0}}
  - {id: NODE-KRN-003, title: Only root reads them, fact: "sysctl.live[kernel.dmesg_restrict]", expect: {equals: 1}}
  - {id: NODE-KRN-004, title: Only few ports answer, fact: outside.ports.open, expect: {subset_of: [22]}}
"""

Answers = dict[str, Any]


@pytest.fixture
def registry(registry_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return a registry whose site isb-1 has the hosts node-1 and node-2."""
    path = registry_folder / "sites/isb-1.yaml"
    second = HOSTS.split("hosts:")[1].replace("node-1", "node-2").replace("127.0.0.1", "127.0.0.2")
    path.write_text(path.read_text().rstrip() + HOSTS + second.replace("IKoRC", "IKoRD").strip("\n") + "\n")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    approvers = registry_folder / "approvers"
    approvers.write_text(approvers.read_text().replace("gcloud-pk-state", f"gcloud-pk-state,{WAIVER}"))
    (tmp_path / "catalogue").mkdir()
    (tmp_path / "catalogue" / "kernel_parameters.yaml").write_text(CATALOGUE)
    monkeypatch.setattr("gcloud_pk.nodes.catalogue.standard", lambda: catalogue(tmp_path))
    return registry_folder


def catalogue(tmp_path: Path) -> Catalogue:
    return load(tmp_path / "catalogue")


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Return what each host answers: values of kernel parameters, or why there is no answer."""
    said: Answers = {"node-1": {"net.ipv4.ip_forward": "0"}, "node-2": {"net.ipv4.ip_forward": "0"}}

    def ask(_: Site, host: Host, *arguments: Any, **__: Any) -> Answer:
        answer = said[host.name]
        if isinstance(answer, Diagnosis):
            return Answer(diagnosis=answer)
        if isinstance(answer, bytes):
            return Answer(answer)
        request = json.loads(arguments[2].decode().rpartition("json.loads('")[2].rpartition("'")[0])
        node = {"os": {}, "kernel": "6.1", "virtualization": "none", "shared_kernel": False}
        facts = {"node": node, "sysctl": {"live": answer, "boot": {}}}
        document = {"version": 1, "nonce": request["nonce"], "refused": {}, "broken": {}, "facts": facts}
        return Answer(f"\n{MARK}{json.dumps(document)}\n".encode())

    seen: dict[str, Any] = {"ports": {"open": [22], "closed": [], "silent": []}, "ssh": None, "tls": []}
    monkeypatch.setattr(gather, "ask", ask)
    monkeypatch.setattr(gather, "_look", lambda *_: (seen, None))
    return said


def run(capsys: pytest.CaptureFixture[str], registry: Path, *words: str, form: str = "json") -> tuple[int, Any]:
    code = main([*words, "--registry", str(registry), "--format", form])
    out = capsys.readouterr().out
    return code, json.loads(out) if form == "json" else out


def verdicts(report: Any) -> dict[tuple[str, str], str]:
    return {(r["subject"].rpartition("/")[2], r["id"]): r["verdict"] for r in report["results"]}


AUDIT = ("audit", "nodes", "--site", "isb-1")


def test_hosts_that_meet_their_level_pass_and_what_is_above_it_is_left_out(
    registry: Path, nodes: Answers, capsys: pytest.CaptureFixture[str]
) -> None:
    code, report = run(capsys, registry, *AUDIT, "--level", "cl1")
    assert code == 0
    assert set(verdicts(report).values()) == {"pass"}
    assert [r["subject"] for r in report["results"]] == ["node/isb-1/node-1"] * 2 + ["node/isb-1/node-2"] * 2
    assert report["omitted"] == ["NODE-KRN-003", "NODE-KRN-004"]
    assert report["suite"] == "nodes"


def test_one_host_that_fails_does_not_hide_the_others(
    registry: Path, nodes: Answers, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes["node-1"]["net.ipv4.ip_forward"] = "1"
    code, report = run(capsys, registry, *AUDIT, "--level", "cl1")
    assert code == 6
    assert verdicts(report)["node-1", "NODE-KRN-053"] == "fail"
    assert verdicts(report)["node-2", "NODE-KRN-053"] == "pass"


@pytest.mark.parametrize(
    "answer",
    [Diagnosis("unreachable", "it does not answer in time", "see that it runs"), b"who are you?"],
    ids=["no-answer", "no-honest-answer"],
)
def test_a_host_that_says_nothing_has_passed_nothing(
    registry: Path, nodes: Answers, capsys: pytest.CaptureFixture[str], answer: Any
) -> None:
    nodes["node-2"] = answer
    code, report = run(capsys, registry, *AUDIT, "--level", "cl1")
    assert code == 7
    found = verdicts(report)
    assert found["node-2", "NODE-000"] == "error"
    assert found["node-2", "NODE-KRN-053"] in {"error", "not-checked"}
    assert found["node-1", "NODE-KRN-053"] == "pass"


def test_what_is_seen_from_outside_and_what_the_node_says_are_told_apart(
    registry: Path, nodes: Answers, capsys: pytest.CaptureFixture[str]
) -> None:
    _, report = run(capsys, registry, *AUDIT, "--level", "cl3", "--limit", "node-1")
    sources = {r["id"]: r["evidence"]["source"] for r in report["results"]}
    assert sources["NODE-KRN-053"] == "self-reported by the node"
    assert sources["NODE-KRN-004"] == "seen from outside"
    _, text = run(capsys, registry, *AUDIT, "--level", "cl3", "--limit", "node-1", form="text")
    assert "by source: 2 self-reported by the node, 2 seen from outside" in text
    _, xml = run(capsys, registry, *AUDIT, "--level", "cl3", "--limit", "node-1", form="junit")
    said = {p.get("value") for p in ET.fromstring(xml).iter("property")}
    assert said == {"self-reported by the node", "seen from outside"}


def test_what_a_node_sends_is_shown_without_its_control_characters(
    registry: Path, nodes: Answers, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes["node-1"]["net.ipv4.ip_forward"] = "1\x1b[2J\u202e\nnode/isb-1/node-2: 9 pass"
    _, text = run(capsys, registry, *AUDIT, "--level", "cl1", form="text")
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\nnode/isb-1/node-2: 9 pass" not in text


def test_one_control_can_be_asked_for_alone_and_an_unknown_one_is_a_mistake(
    registry: Path, nodes: Answers, capsys: pytest.CaptureFixture[str]
) -> None:
    _, report = run(capsys, registry, *AUDIT, "--level", "cl3", "--limit", "node-1", "--checks", "GPK-KRN-014")
    assert set(verdicts(report)) == {("node-1", "NODE-000"), ("node-1", "NODE-KRN-053")}
    code, said = run(capsys, registry, *AUDIT, "--checks", "GPK-KRN-0140")
    assert code == 2
    assert said["error"]["resolution"] == "did you mean GPK-KRN-014?"


# --- waivers ---


@pytest.fixture
def proposals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have one role propose one waiver; return its file."""
    file = tmp_path / "data/playbooks/roles/kernel_parameters/waivers/routing.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("control: GPK-KRN-014\nreason: >-\n  Nodes route\n  between pods.\n")
    known = paths.data

    def data(*parts: str) -> Path:
        return tmp_path.joinpath("data", *parts) if parts[0] == "playbooks" else known(*parts)

    monkeypatch.setattr(paths, "data", data)
    return file


def day(days: int) -> str:
    return (dt.datetime.now(dt.UTC).date() + dt.timedelta(days=days)).isoformat()


def test_a_proposal_counts_once_it_is_signed_and_until_its_day(
    registry: Path,
    nodes: Answers,
    proposals: Path,
    keys: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    nodes["node-1"]["net.ipv4.ip_forward"] = nodes["node-2"]["net.ipv4.ip_forward"] = "1"
    listing = ("node", "waivers", "--site", "isb-1")
    assert run(capsys, registry, *listing)[1]["proposals"][0]["standing"] == "not proposed"
    code, said = run(capsys, registry, *listing, "--propose", "--author", "dd@moitt.gov.pk", "--expires", day(40))
    assert (code, said["written"]) == (0, ["isb-1-routing"])
    assert said["proposals"][0]["standing"] == "nobody has approved it"

    code, report = run(capsys, registry, *AUDIT, "--level", "cl1")
    assert code == 6
    assert "isb-1-routing does not count: nobody has approved it" in str(report["results"])

    assert run(capsys, registry, "waiver", "approve", "isb-1-routing", "--key", str(keys / "alice"), "--yes")[0] == 0
    code, report = run(capsys, registry, *AUDIT, "--level", "cl1")
    assert code == 0
    assert verdicts(report)["node-2", "NODE-KRN-053"] == "waived"
    reason = next(r["reason"] for r in report["results"] if r["verdict"] == "waived")
    assert "approved by alice@ntc.example" in reason
    assert f"until {day(40)}: Nodes route between pods." in reason
    assert run(capsys, registry, *listing)[1]["proposals"][0]["standing"] == f"in force until {day(40)}"


def test_an_expired_waiver_changes_nothing_and_is_named(
    registry: Path, nodes: Answers, sign: Callable[..., bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    nodes["node-1"]["net.ipv4.ip_forward"] = "1"
    file = registry / "waivers/old.yaml"
    file.parent.mkdir()
    file.write_text(
        "control: GPK-KRN-014\nsubject: node/isb-1/node-1\nreason: it routes\nauthor: dd@moitt.gov.pk\n"
        f"expires: {day(-1)}\n"
    )
    file.with_name("old.yaml.alice@ntc.example.sig").write_bytes(sign(file.read_bytes(), "alice", WAIVER))
    code, report = run(capsys, registry, *AUDIT, "--level", "cl1")
    assert code == 6
    assert f"waiver old does not count: it expired on {day(-1)}" in str(report["results"])


def test_what_is_proposed_already_is_not_written_again(
    registry: Path, proposals: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("node", "waivers", "--site", "isb-1", "--propose", "--author", "dd@moitt.gov.pk")
    assert run(capsys, registry, *words)[1]["written"] == ["isb-1-routing"]
    assert run(capsys, registry, *words)[1]["written"] == []


def test_a_proposal_of_a_control_that_is_not_there_is_told_with_its_line(
    registry: Path, proposals: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proposals.write_text("reason: none\ncontrol: GPK-KRN-999\n")
    code, said = run(capsys, registry, "node", "waivers", "--site", "isb-1")
    assert code == 3
    assert (said["error"]["details"][0]["line"], said["error"]["details"][0]["field"]) == (2, "control")
