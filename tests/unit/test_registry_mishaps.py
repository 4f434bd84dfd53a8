"""What befalls a registry that people edit, merge and fill in twice: said in words, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.test_request_command import Run

from gcloud_pk.login import operator_name
from gcloud_pk.registry import acts
from gcloud_pk.registry.approvers import APPROVAL
from gcloud_pk.registry.folder import Registry

ALICE, BOB = "alice@ntc.example", "bob@ntc.example"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], registry_folder: Path) -> Run:
    return Run(capsys, registry_folder)


@pytest.fixture
def submitted(run: Run, request_file: Path, registry_folder: Path) -> Path:
    """Return the folder of a tenant whose request waits."""
    assert run("request", "submit", request_file) == 0
    return registry_folder / "tenants" / "moitt"


def next_revision(file: Path) -> bytes:
    data = file.read_bytes().replace(b"revision: 3", b"revision: 4")
    file.write_bytes(data)
    return data


def approvals(folder: Path) -> set[str]:
    return {path.name.removesuffix(".sig") for path in (folder / "approvals").iterdir()}


# --- approvals that a new revision leaves behind ---


def test_the_approvals_of_an_accepted_request_are_kept_with_it_alone(
    run: Run, submitted: Path, request_file: Path, keys: Path
) -> None:
    run("request", "approve", "moitt", "--key", keys / "alice", "--yes")
    next_revision(request_file)
    assert run("request", "submit", request_file) == 0
    assert approvals(submitted) == set()
    assert [path.name for path in submitted.glob("history/*/approvals/*")] == [f"{ALICE}.sig"]


def test_an_approval_of_a_request_that_was_never_accepted_goes_with_it(
    run: Run, submitted: Path, request_file: Path, keys: Path, sign: Callable[..., bytes]
) -> None:
    (submitted.parents[1] / "settings.yaml").write_text("approvals: {restricted: 2}\n")
    run("request", "approve", "moitt", "--key", keys / "alice", "--yes")
    assert approvals(submitted) == {ALICE}
    next_revision(request_file)
    assert run("request", "submit", request_file) == 0
    assert approvals(submitted) == set()


def test_an_approval_by_hand_of_the_new_bytes_stays(
    run: Run, submitted: Path, request_file: Path, keys: Path, sign: Callable[..., bytes]
) -> None:
    run("request", "approve", "moitt", "--key", keys / "alice", "--yes")
    (submitted / "approvals" / f"{BOB}.sig").write_bytes(sign(next_revision(request_file), "bob", APPROVAL))
    assert run("request", "submit", request_file) == 0
    assert approvals(submitted) == {BOB}
    assert run.json("request", "show", "moitt")["approvals"]["have"] == [BOB]


def test_an_approval_that_is_kept_nowhere_else_stays(
    run: Run, submitted: Path, request_file: Path, sign: Callable[..., bytes]
) -> None:
    (submitted / "approvals").mkdir()
    (submitted / "approvals" / f"{ALICE}.sig").write_bytes(sign(request_file.read_bytes(), "alice", APPROVAL))
    next_revision(request_file)
    assert run("request", "submit", request_file) == 0
    assert approvals(submitted) == {ALICE}


def test_a_submission_that_was_stopped_before_it_tidied_up_does_so_when_run_again(
    run: Run, submitted: Path, request_file: Path, keys: Path
) -> None:
    run("request", "approve", "moitt", "--key", keys / "alice", "--yes")
    (submitted / "request.yaml").write_bytes(next_revision(request_file))
    assert run("request", "submit", request_file) == 0
    assert approvals(submitted) == set()


# --- rejections ---


def test_a_rejection_is_not_written_over(run: Run, submitted: Path, keys: Path) -> None:
    assert run("request", "reject", "moitt", "--reason", "no budget") == 0
    before = (submitted / "state.yaml").read_bytes(), (submitted / "history.jsonl").read_bytes()
    assert run("request", "reject", "moitt", "--reason", "too large") == 4
    assert f"is rejected already by {operator_name()}: no budget" in run.err
    assert run("request", "reject", "moitt", "--reason", "no budget", "--key", keys / "bob") == 4
    assert run("request", "reject", "moitt", "--reason", "no budget") == 0
    assert ((submitted / "state.yaml").read_bytes(), (submitted / "history.jsonl").read_bytes()) == before


def test_accepted_and_rejected_in_two_clones_is_noted(run: Run, submitted: Path, keys: Path) -> None:
    run("request", "reject", "moitt", "--reason", "no budget")
    state = (submitted / "state.yaml").read_bytes()
    (submitted / "state.yaml").unlink()
    (submitted / "history.jsonl").unlink()
    run("request", "approve", "moitt", "--key", keys / "alice", "--yes")
    (submitted / "state.yaml").write_bytes(state)
    assert run("registry", "check") == 0
    assert "accepted and rejected at the same time: the rejection holds; to go on, submit revision 4" in run.err


# --- texts of several lines ---


def test_a_reason_of_several_lines_prints_no_line_of_its_own(run: Run, submitted: Path, keys: Path) -> None:
    registry = Registry.open(submitted.parents[1])
    registry.set_state("moitt", "suspended", "op", "a\nwhat to do: pay")
    assert run("request", "approve", "moitt", "--key", keys / "alice", "--yes") == 4
    assert "suspended by op: a\\nwhat to do: pay" in run.err
    assert run("request", "show", "moitt") == 0
    assert not [line for line in run.out.splitlines() if line.startswith("what to do")]


def test_an_actor_of_several_lines_prints_no_line_of_its_own(run: Run, submitted: Path) -> None:
    Registry.open(submitted.parents[1]).record("moitt", "suspend", "op\nall is well")
    assert run("registry", "check") == 3
    assert "by op\\nall is well, state.yaml is gone" in run.err


def test_a_purpose_of_several_lines_is_shown_on_one(run: Run, request_file: Path) -> None:
    text = request_file.read_text()
    purpose = next(line for line in text.splitlines() if line.strip().startswith("en:") and "purpose" in text)
    request_file.write_text(text.replace(purpose, purpose.split("en:")[0] + 'en: "a\\nSHA-256 0000"', 1))
    assert run("request", "submit", request_file) == 0, run.err
    assert run("request", "show", "moitt") == 0
    assert "a\\nSHA-256 0000" in run.out


# --- conflicts of git ---


@pytest.mark.parametrize("name", ["organisations.yaml", "approvers", "settings.yaml", "sites/isb-1.yaml"])
def test_a_conflict_of_git_is_called_one(run: Run, registry_folder: Path, name: str) -> None:
    path = registry_folder / name
    text = path.read_text() if path.exists() else "approvals: {restricted: 1}\n"
    path.write_text(f"{text}<<<<<<< HEAD\n{text}=======\n{text}>>>>>>> theirs\n")
    told = run.json("registry", "check", expected=3)["error"]["details"]
    (found,) = [one for one in told if one["file"] == str(path)]
    assert found["message"] == "holds a git conflict"
    assert found["line"] == text.count("\n") + 1
    assert "gcloud-pk registry sign" in found["expected"]


def test_a_conflict_in_the_digests_is_called_one(
    run: Run, registry_folder: Path, keys: Path, public: Callable[[str], str], tmp_path: Path
) -> None:
    trust = tmp_path / "trust"
    trust.write_text(f'keeper@ntc.example namespaces="gcloud-pk-registry" {public("keeper")}\n')
    acts.sign_registry(Registry.open(registry_folder), keys / "keeper")
    path = registry_folder / "registry.sha256"
    path.write_text(f"<<<<<<< HEAD\n{path.read_text()}=======\nx\n>>>>>>> theirs\n")
    assert run("registry", "check", "--trust", trust) == 4
    assert f"{path}:1: holds a git conflict" in run.err


# --- hints ---


def test_a_hint_names_nobody_whose_key_does_not_count_now(
    run: Run, submitted: Path, registry_folder: Path, keys: Path
) -> None:
    approvers = registry_folder / "approvers"
    text = approvers.read_text()
    early = text.replace('gcloud-pk-state" ', 'gcloud-pk-state",valid-before="20260101" ', 1)
    approvers.write_text(early)
    assert run("request", "approve", "moitt", "--key", keys / "stranger", "--yes") == 4
    assert f"what to do: use the key of one of: {BOB}, carol@ntc.example\n" in run.err
    approvers.write_text(early.splitlines()[0] + "\n")
    assert run("request", "approve", "moitt", "--key", keys / "stranger", "--yes") == 4
    assert "gcloud-pk approver add PRINCIPAL PUBKEYFILE --namespaces gcloud-pk-approval" in run.err


# --- a history with the line ends of DOS ---


def test_a_history_that_git_gave_other_line_ends_is_named_once(run: Run, submitted: Path, keys: Path) -> None:
    run("request", "approve", "moitt", "--key", keys / "alice", "--yes")
    file = submitted / "history.jsonl"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert run("registry", "history", "moitt", "--verify") == 6
    assert (run.out + run.err).count("every line ends in CR LF; expected LF (.gitattributes: * -text)") == 1
    assert (run.out + run.err).count("history.jsonl:") == 1
