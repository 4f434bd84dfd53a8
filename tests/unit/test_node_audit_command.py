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
from gcloud_pk.errors import RefusedError
from gcloud_pk.main import main
from gcloud_pk.model.site import Host, Site
from gcloud_pk.nodes import gather
from gcloud_pk.nodes.call import Answer
from gcloud_pk.nodes.catalogue import load
from gcloud_pk.nodes.check import Catalogue
from gcloud_pk.nodes.collector import MARK
from gcloud_pk.nodes.outcome import Diagnosis
from gcloud_pk.registry import waiving
from gcloud_pk.registry.approvers import WAIVER
from gcloud_pk.registry.folder import Registry
from gcloud_pk.registry.waivers import Case

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
    monkeypatch.setattr("gcloud_pk.nodes.catalogue.standard", lambda *_: catalogue(tmp_path))
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


def test_where_nobody_answers_no_control_is_said_to_have_passed_and_nothing_has_a_source(
    registry: Path, nodes: Answers, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes["node-1"] = nodes["node-2"] = Diagnosis("unreachable", "it does not answer in time", "see that it runs")
    code, report = run(capsys, registry, *AUDIT, "--level", "cl3")
    assert code == 7
    assert {r["id"] for r in report["results"] if not r.get("evidence")} == {
        "NODE-KRN-003", "NODE-KRN-004", "NODE-KRN-053",
    }  # fmt: skip
    _, text = run(capsys, registry, *AUDIT, "--level", "cl3", form="text")
    assert "\n2 controls not checked (0 of them in part)\n" in text
    assert "passed" not in text
    assert "by source" not in text
    assert "self-reported" not in text


def test_a_control_that_one_host_passes_and_another_does_not_say_is_checked_in_part(
    registry: Path, nodes: Answers, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes["node-2"] = Diagnosis("unreachable", "it does not answer in time", "see that it runs")
    _, text = run(capsys, registry, *AUDIT, "--level", "cl1", form="text")
    assert "\n1 control not checked (1 of them in part)\n" in text
    nodes["node-2"] = nodes["node-1"]
    _, text = run(capsys, registry, *AUDIT, "--level", "cl1", form="text")
    assert "\n1 control passed\n" in text


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
    assert code == 3
    assert said["error"]["resolution"] == "did you mean GPK-KRN-014?"
    assert run(capsys, registry, *AUDIT, "--checks", "")[0] == 3


REBOOT = ("node", "reboot-check", "--site", "isb-1")


@pytest.mark.parametrize(
    "words",
    [AUDIT, (*AUDIT, "--limit", "nobody"), (*AUDIT, "--checks", "NODE-XYZ-999"), REBOOT, (*REBOOT, "--limit", "none")],
    ids=" ".join,
)
def test_a_registry_that_nobody_vouches_for_is_told_before_anything_else(
    registry: Path,
    tmp_path: Path,
    public: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
) -> None:
    trust = tmp_path / "trust"
    trust.write_text(f'keeper@ntc.example namespaces="gcloud-pk-registry" {public("keeper")}\n')
    assert run(capsys, registry, *words, "--trust", str(trust))[0] == 4


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


@pytest.mark.parametrize(
    ("control", "subject", "why"),
    [
        ("GPK-KRN-*", "node/isb-1", "control: "),
        ("GPK-NOPE-999", "node/isb-1", "GPK-NOPE-999 is no control and no check of nodes"),
        ("GPK-KRN-014", "node/*", "subject: "),
        ("GPK-KRN-014", "node/isb-1/*", "subject: "),
        ("GPK-KRN-014", "node/ISB-1", "there is no site 'ISB-1'"),
        ("GPK-KRN-014", "node/isb-1/node-9", "has no host 'node-9'"),
        ("GPK-KRN-014", "node/isb-1/node-1", None),
        ("GPK-NOPE-999", "tenant/moitt", None),
        ("GPK-NOPE-999", "node/lhe-1", None),
    ],
)
def test_a_waiver_that_can_never_match_is_warned_of_where_it_would_be_looked_for(
    registry: Path,
    nodes: Answers,
    sign: Callable[..., bytes],
    capsys: pytest.CaptureFixture[str],
    control: str,
    subject: str,
    why: str | None,
) -> None:
    file = registry / "waivers/wide.yaml"
    file.parent.mkdir()
    file.write_text(
        f'control: "{control}"\nsubject: "{subject}"\nreason: it routes\nauthor: dd@moitt.gov.pk\nexpires: {day(9)}\n'
    )
    file.with_name("wide.yaml.alice@ntc.example.sig").write_bytes(sign(file.read_bytes(), "alice", WAIVER))
    assert main([*AUDIT, "--level", "cl1", "--registry", str(registry), "--format", "json"]) == 0
    warned = [line for line in capsys.readouterr().err.splitlines() if "excepts nothing" in line]
    assert len(warned) == (why is not None)
    assert all(f"waiver wide (subject {subject})" in line and str(why) in line for line in warned)


def test_what_is_proposed_already_is_not_written_again(
    registry: Path, proposals: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("node", "waivers", "--site", "isb-1", "--propose", "--author", "dd@moitt.gov.pk")
    assert run(capsys, registry, *words)[1]["written"] == ["isb-1-routing"]
    assert run(capsys, registry, *words)[1]["written"] == []


def test_what_a_site_has_no_need_of_is_not_proposed(
    registry: Path, proposals: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proposals.write_text(proposals.read_text() + "where: {timeServers: true, timeNts: false}\n")
    words = ("node", "waivers", "--site", "isb-1", "--propose", "--author", "dd@moitt.gov.pk")
    _, said = run(capsys, registry, *words)
    assert said["written"] == []
    assert said["proposals"][0]["standing"] == "not needed: the site says nothing under timeServers"
    site = registry / "sites/isb-1.yaml"
    site.write_text(site.read_text() + "  timeServers: [ntp.gov.pk]\n  timeNts: true\n")
    assert run(capsys, registry, *words)[1]["written"] == []
    site.write_text(site.read_text().replace("timeNts: true", "timeNts: false"))
    assert run(capsys, registry, *words)[1]["written"] == ["isb-1-routing"]


@pytest.mark.parametrize("where", ["clocks", "{clocks: true}", "{timeServers: 2}"])
def test_a_condition_of_a_proposal_is_of_fields_of_a_site(
    registry: Path, proposals: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    proposals.write_text(proposals.read_text() + f"where: {where}\n")
    code, said = run(capsys, registry, "node", "waivers", "--site", "isb-1")
    assert code == 3
    assert said["error"]["details"][0]["field"].startswith("where")


def test_several_waivers_are_approved_in_one_go(
    registry: Path, proposals: Path, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proposals.with_name("messages.yaml").write_text("control: GPK-KRN-001\nreason: a console shows them\n")
    _, text = run(
        capsys, registry, "node", "waivers", "--site", "isb-1", "--propose", "--author", "dd@moitt.gov.pk", form="text"
    )
    assert text.count("waiver approve") == 1
    assert "gcloud-pk waiver approve isb-1-messages isb-1-routing --key KEY" in text
    approve = ("waiver", "approve", "isb-1-messages", "isb-1-routing", "--key", str(keys / "alice"))
    assert run(capsys, registry, *approve)[0] == 4  # nobody is there to ask
    assert not list(registry.glob("waivers/*.sig"))
    code, text = run(capsys, registry, *approve, "--yes", form="text")
    assert code == 0
    assert text.count("written by") == 2
    assert "unknown (the history does not say)" in text
    assert sorted(path.name for path in registry.glob("waivers/*.sig")) == [
        "isb-1-messages.yaml.alice@ntc.example.sig", "isb-1-routing.yaml.alice@ntc.example.sig",
    ]  # fmt: skip
    _, said = run(capsys, registry, *approve, "--yes")
    assert [one["approvers"] for one in said["waivers"]] == [["alice@ntc.example"]] * 2


def test_an_approval_that_fails_half_way_names_what_is_signed(
    registry: Path, proposals: Path, keys: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    proposals.with_name("messages.yaml").write_text("control: GPK-KRN-001\nreason: a console shows them\n")
    run(capsys, registry, "node", "waivers", "--site", "isb-1", "--propose", "--author", "dd@moitt.gov.pk")
    real = waiving.approve

    def approve(opened: Registry, found: Case, key: Path) -> Case:
        if found.name == "isb-1-routing":
            raise RefusedError("the key was not touched", resolution="touch it")
        return real(opened, found, key)

    monkeypatch.setattr(waiving, "approve", approve)
    names = ("isb-1-messages", "isb-1-routing")
    code, said = run(capsys, registry, "waiver", "approve", *names, "--key", str(keys / "alice"), "--yes")
    assert code == 8
    assert said["error"]["message"] == "isb-1-routing was not signed: the key was not touched"
    assert said["error"]["details"][0]["message"] == "isb-1-messages: in force"
    assert [path.name for path in registry.glob("waivers/*.sig")] == ["isb-1-messages.yaml.alice@ntc.example.sig"]


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"net.ipv4.ip_forward": "0"}, "is not needed: GPK-KRN-014 passes"),
        (Diagnosis("unreachable", "it is silent", "look"), "covers nothing in this run: GPK-KRN-014 was not checked"),
        (None, "covers nothing in this run: GPK-KRN-014 was checked only in part"),
    ],
    ids=["passes", "not-checked", "in-part"],
)
def test_a_waiver_that_covers_nothing_is_told_with_why(
    registry: Path,
    nodes: Answers,
    proposals: Path,
    keys: Path,
    capsys: pytest.CaptureFixture[str],
    answers: Any,
    words: str,
) -> None:
    if answers is None:
        nodes["node-2"] = Diagnosis("unreachable", "it is silent", "look")
    else:
        nodes["node-1"] = nodes["node-2"] = answers
    run(capsys, registry, "node", "waivers", "--site", "isb-1", "--propose", "--author", "dd@moitt.gov.pk")
    run(capsys, registry, "waiver", "approve", "isb-1-routing", "--key", str(keys / "alice"), "--yes")
    main([*AUDIT, "--level", "cl1", "--registry", str(registry)])
    assert f"waiver isb-1-routing {words}" in " ".join(capsys.readouterr().err.split())


def test_a_proposal_of_a_control_that_is_not_there_is_told_with_its_line(
    registry: Path, proposals: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proposals.write_text("reason: none\ncontrol: GPK-KRN-999\n")
    code, said = run(capsys, registry, "node", "waivers", "--site", "isb-1")
    assert code == 3
    assert (said["error"]["details"][0]["line"], said["error"]["details"][0]["field"]) == (2, "control")
