"""What ministries write never looks like a line of ours to the approver who reads it before he signs."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.test_request_command import ALICE, Run

from gcloud_pk.commands.onboard import show_finding
from gcloud_pk.console import Console
from gcloud_pk.model.finding import Finding, Verdict

SAID = "E-Office\n  class           public\nSHA-256 0000  (verified)\napproved by: alice@ntc.example"
LONG = "E-Office " + "x" * 200 + "SHA-256 0000  (verified)"
REASON = "replicas\n  +protection class secret\nchanged since revision 3, which was accepted last; nothing is opened:"
OURS = {"tenant", "SHA-256", "approved", "changed", "outstanding:", "next:"}
"""How lines of ours begin that are no rows."""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], registry_folder: Path) -> Run:
    return Run(capsys, registry_folder)


@pytest.fixture(params=["for a person", "for a log"])
def terminal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    person = bool(request.param == "for a person")
    monkeypatch.setattr(Console, "_person", lambda *_: person)
    monkeypatch.setenv("COLUMNS", "80")
    return person


@pytest.fixture
def proposed(run: Run, request_file: Path, keys: Path) -> str:
    """Hand in revision 3, have it accepted, hand in revision 4 with forged lines; return its purpose."""
    assert run("request", "submit", request_file) == 0
    assert run("request", "approve", "moitt", "--key", keys / "alice", "--yes") == 0
    text = request_file.read_text().replace("revision: 3", "revision: 4")
    quoted = [said.replace("\n", "\\n") for said in (SAID, LONG, REASON)]
    text = text.replace("en: E-Office for all wings", f'en: "{quoted[0]}"')
    text = text.replace("تمام شعبوں کے لیے ای آفس", f'"{quoted[1]}"')
    request_file.write_text(text.replace("reason: database servers", f'reason: "{quoted[2]}"'))
    assert run("request", "submit", request_file) == 0
    return SAID


@pytest.mark.parametrize("command", ["show", "approve", "diff"])
def test_no_text_of_a_request_gives_a_line_that_begins_like_one_of_ours(
    run: Run, keys: Path, proposed: str, terminal: bool, command: str
) -> None:
    options = ["--key", keys / "alice", "--yes"] if command == "approve" else []
    assert run("request", command, "moitt", *options) == 0, run.err
    assert proposed.partition("\n")[0] in run.out
    lines = run.out.splitlines()
    assert not [line for line in lines if line.startswith(("SHA-256 0000", "  +protection", "approved by: alice"))]
    assert sum(line.startswith("  class ") for line in lines) == (command != "diff")
    assert sum(line.startswith("changed since") for line in lines) == 1
    assert {line.split()[0] for line in lines if not line.startswith("  ")} <= OURS
    if terminal:
        assert any(line.lstrip().startswith("│ ") for line in lines)
        assert max(len(line) for line in lines if line.startswith("  ")) <= 80


def test_a_machine_gets_the_texts_as_they_are(run: Run, proposed: str) -> None:
    assert run.json("request", "show", "moitt")["request"]["spec"]["purpose"]["en"] == proposed
    assert ALICE not in run.json("request", "show", "moitt")["approvals"]["have"]


def test_the_reason_of_a_waiver_looks_like_no_finding_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    finding = Finding("ISO-112", "Waivers", "tenant/moitt", "none", "one", Verdict.WAIVED, reason="x\nfail: ISO-101")
    show_finding(Console(), finding)
    assert capsys.readouterr().out.splitlines()[1:] == [
        "    expected: none", "    observed: one", "    reason: x\\nfail: ISO-101"
    ]  # fmt: skip
