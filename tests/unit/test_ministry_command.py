"""`tenant welcome` and `request diff` on a registry: which request they speak of, and when they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gcloud_pk.main import main


class Run:
    """Runs one command line on a registry in this process; keeps what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str], registry: Path) -> None:
        self._capsys, self.registry = capsys, registry
        self.out = self.err = ""

    def __call__(self, *words: object) -> int:
        code = main(["--registry", str(self.registry), *map(str, words)])
        self.out, self.err = self._capsys.readouterr()
        assert "Traceback" not in self.err
        assert "defect" not in self.err
        return code

    def json(self, *words: object) -> Any:
        assert self(*words, "--format", "json") == 0, self.err
        return json.loads(self.out)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], registry_folder: Path) -> Run:
    return Run(capsys, registry_folder)


@pytest.fixture
def accepted(run: Run, request_file: Path, keys: Path) -> Run:
    """Return a registry in which revision 3 of tenant moitt is accepted."""
    assert run("request", "submit", request_file) == 0
    assert run("request", "approve", "moitt", "--key", keys / "alice", "--yes") == 0
    return run


def propose(run: Run, request_file: Path, *changes: tuple[str, str]) -> None:
    text = request_file.read_text().replace("revision: 3", "revision: 4")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    request_file.write_text(text)
    assert run("request", "submit", request_file) == 0, run.err


WIDER = (
    ('cpu: "16"', 'cpu: "17"'),
    ("[moitt-auditors]", "[moitt-auditors, moitt-ops]"),
    ('budget:\n    cpu: "24"', 'budget:\n    cpu: "25"'),
)


# --- request diff -----------------------------------------------------------------------------------------------------


def test_diff_says_what_is_proposed_with_what_opens_first(accepted: Run, request_file: Path) -> None:
    propose(accepted, request_file, *WIDER)
    assert accepted("request", "diff", "moitt") == 0
    assert accepted.out.splitlines() == [
        "tenant moitt, revision 4 (pending):",
        "changed since revision 3, which was accepted last; 1 of 3 open something (they stand first):",
        "  +access     group moitt-ops may read all but secrets",
        "  +size       budget of cpu 24 → 25",
        "  +size       cpu 16 → 17 in eoffice-prod",
    ]


def test_diff_approve_and_show_use_the_same_words(accepted: Run, request_file: Path, keys: Path) -> None:
    propose(accepted, request_file, *WIDER)
    accepted("request", "diff", "moitt")
    words = accepted.out.splitlines()[2:]
    for command in (["show", "moitt"], ["approve", "moitt", "--key", keys / "bob", "--yes"]):
        assert accepted("request", *command) == 0
        assert all(line in accepted.out.splitlines() for line in words)


def test_diff_is_a_document_for_machines(accepted: Run, request_file: Path) -> None:
    propose(accepted, request_file, *WIDER)
    said = accepted.json("request", "diff", "moitt")
    assert (said["tenant"], said["state"]) == ("moitt", "pending")
    assert (said["accepted"]["revision"], said["proposed"]["revision"]) == (3, 4)
    assert said["changes"][0] == {
        "field": "spec.access.auditors[moitt-ops]",
        "before": None,
        "after": "auditors",
        "words": "group moitt-ops may read all but secrets",
        "mark": "+access",
        "opens": True,
    }


def test_diff_says_when_there_is_nothing_to_compare(accepted: Run, request_file: Path) -> None:
    assert accepted("request", "diff", "moitt") == 0
    assert accepted.out == "nothing is proposed: revision 3 is what was accepted\n"
    propose(accepted, request_file)
    assert accepted("request", "diff", "moitt") == 0
    assert accepted.out == "revision 4 asks for the same as revision 3\n"


def test_diff_says_that_nothing_was_accepted_yet(run: Run, request_file: Path) -> None:
    run("request", "submit", request_file)
    assert run("request", "diff", "moitt") == 0
    assert run.out.startswith("no request of tenant moitt was accepted yet, so all of it is new\n")
    said = run.json("request", "diff", "moitt")
    assert (said["accepted"], said["changes"]) == (None, [])


def test_diff_of_a_request_that_is_not_valid_shows_what_it_would_change_and_warns(
    accepted: Run, request_file: Path
) -> None:
    path = accepted.registry / "tenants/moitt/request.yaml"
    path.write_text(path.read_text().replace("revision: 3", "revision: 4").replace('cpu: "16"', 'cpu: "500"'))
    assert accepted("request", "diff", "moitt") == 0
    assert "cpu 16 → 500 in eoffice-prod" in accepted.out
    assert "the proposed request is not valid" in accepted.err
    path.write_bytes(b"\0")
    assert accepted("request", "diff", "moitt") == 3


# --- tenant welcome ---------------------------------------------------------------------------------------------------


def test_the_page_speaks_of_the_accepted_request_while_another_one_waits(accepted: Run, request_file: Path) -> None:
    propose(accepted, request_file, *WIDER)
    said = accepted.json("tenant", "welcome", "moitt")
    assert (said["revision"], said["language"], said["type"]) == (3, "en", "text/markdown")
    assert "16 cores" in said["content"]
    assert "moitt-ops" not in said["content"]


def test_the_page_speaks_of_the_new_request_once_it_is_approved(accepted: Run, request_file: Path, keys: Path) -> None:
    propose(accepted, request_file, *WIDER)
    accepted("request", "approve", "moitt", "--key", keys / "bob", "--yes")
    assert accepted.json("tenant", "welcome", "moitt")["revision"] == 4


def test_the_page_stands_though_the_next_request_was_rejected_or_is_broken(accepted: Run, request_file: Path) -> None:
    propose(accepted, request_file, *WIDER)
    assert accepted("request", "reject", "moitt", "--reason", "not now") == 0
    assert accepted.json("tenant", "welcome", "moitt")["revision"] == 3
    (accepted.registry / "tenants/moitt/request.yaml").write_bytes(b"\0")
    assert accepted.json("tenant", "welcome", "moitt")["revision"] == 3


def test_the_page_goes_to_a_file_that_is_not_there_yet(accepted: Run, tmp_path: Path) -> None:
    target = tmp_path / "moitt.html"
    assert accepted("tenant", "welcome", "moitt", "--lang", "ur", "--html", "-o", target) == 0
    page = target.read_text()
    assert page.startswith('<!doctype html>\n<html lang="ur" dir="rtl">')
    assert accepted("tenant", "welcome", "moitt", "-o", target) == 4
    assert target.read_text() == page
    assert accepted("tenant", "welcome", "moitt", "-o", target, "--force") == 0
    assert target.read_text().startswith("# Ministry")
    assert accepted("tenant", "welcome", "moitt", "-o", tmp_path / "none" / "x") == 5
    assert accepted("tenant", "welcome", "moitt", "-o", tmp_path) == 4


def test_there_is_no_page_without_an_accepted_request_or_for_a_closed_tenant(
    run: Run, request_file: Path, keys: Path
) -> None:
    assert run("tenant", "welcome", "moitt") == 5
    run("request", "submit", request_file)
    assert run("tenant", "welcome", "moitt") == 4
    assert "0 of 1 approvals" in run.err
    run("request", "approve", "moitt", "--key", keys / "alice", "--yes")
    assert run("tenant", "welcome", "moitt") == 0
    (run.registry / "tenants/moitt/state.yaml").write_text(
        "state: suspended\nby: me\nreason: r\ntime: 2026-01-01T00:00:00Z\n"
    )
    assert run("tenant", "welcome", "moitt") == 4
    assert "suspended" in run.err


def test_the_settings_say_whom_to_call_and_where_to_sign_in(accepted: Run) -> None:
    (accepted.registry / "settings.yaml").write_text(
        "signIn: {issuer: https://id.gov.example, clientId: gcloud}\ncontact: {name: Desk, email: desk@cloud.example}\n"
    )
    page = accepted.json("tenant", "welcome", "moitt")["content"]
    assert "https://id.gov.example" in page
    assert "desk@cloud.example" in page


def test_a_page_of_a_registry_that_nobody_vouches_for_says_so_beside_it(accepted: Run) -> None:
    assert accepted("tenant", "welcome", "moitt") == 0
    assert "nobody looked whether the keepers signed" in accepted.err
    assert "nobody looked" not in accepted.out
