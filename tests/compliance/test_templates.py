"""Requests from templates: what one province proved, another repeats; and answers that are never lost."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gcloud_pk import paths
from gcloud_pk.main import main
from gcloud_pk.registry import templates
from gcloud_pk.registry.documents import parse
from gcloud_pk.registry.folder import Registry

SHIPPED = ("eoffice", "registry-database", "web-portal")
PEOPLE = (
    "spec.requestedBy={name: Director IT, designation: Director, email: it@fbr.gov.pk}",
    "spec.contacts.owner.name=Member: Administration",
    "spec.contacts.owner.email=member@fbr.gov.pk",
    "spec.contacts.technical[0].name=NOC",
    "spec.contacts.technical[0].email=noc@fbr.gov.pk",
)


class Run:
    """Runs `request new` in this process on a registry; standard input holds the answers."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._capsys, self._monkeypatch = folder, capsys, monkeypatch
        self.out = self.err = ""

    def __call__(self, *words: object, answers: str = "", sets: tuple[str, ...] = ()) -> int:
        self._monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(answers.encode()), encoding="utf-8"))
        more = [word for one in sets for word in ("--set", one)]
        code = main(["--registry", str(self.folder), "request", "new", *map(str, words), *more])
        self.out, self.err = self._capsys.readouterr()
        assert "Traceback" not in self.err
        assert "defect" not in self.err
        return code


@pytest.fixture
def run(registry_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(registry_folder, capsys, monkeypatch)


FOR_FBR = ("--organisation", "FBR", "--name", "fbr")


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_template_makes_a_valid_request_and_asks_nothing_where_all_is_given(
    run: Run, tmp_path: Path, name: str
) -> None:
    target = tmp_path / "fbr.yaml"
    assert run("--template", name, *FOR_FBR, "-o", target, sets=PEOPLE) == 0, run.err
    assert "requester" not in run.err
    assert main(["--registry", str(run.folder), "request", "submit", str(target)]) == 0
    spec = parse(target.read_bytes(), "fbr.yaml").value["spec"]
    assert spec["contacts"]["owner"]["name"] == "Member: Administration"
    assert "example" not in target.read_text().lower()
    assert "${" not in target.read_text()


def test_the_shipped_templates_are_what_they_are_called() -> None:
    def spec(name: str) -> Any:
        answers = {"tenant": "fbr", "organisation": "FBR", "domain": "fbr.gov.pk"}
        return templates.filled(templates.named(name, None), answers).value["spec"]

    eoffice, portal, database = spec("eoffice"), spec("web-portal"), spec("registry-database")
    assert [e["tier"] for e in eoffice["environments"]] == ["production", "staging", "sandbox"]
    assert eoffice["environments"][0]["egress"][0]["ports"] == [{"port": 5432, "protocol": "TCP"}]
    assert (portal["classification"], portal["environments"][0]["exposure"]) == ("public", "internet")
    assert portal["environments"][0]["domains"] == ["portal.fbr.gov.pk"]
    assert (database["classification"], database["isolation"]) == ("confidential", "dedicated-nodes")
    assert database["criticalInfrastructure"] is True
    assert all("domains" not in e and "exposure" not in e for e in database["environments"])
    assert list(templates.listed(None)) == list(SHIPPED)


def test_a_new_registry_gets_them_and_the_example_has_them(tmp_path: Path) -> None:
    assert main(["registry", "init", str(tmp_path / "new")]) == 0
    copied = {path.name: path.read_bytes() for path in (tmp_path / "new/templates").iterdir()}
    assert copied == templates.shipped()
    assert Registry.open(tmp_path / "new").problems == ()
    assert templates.problems(paths.data("examples", "registry")) == []


def test_the_templates_values_are_the_usual_answers_of_the_questions(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "fbr.yaml"
    # Who asks, his designation and address; then what the template says, but for a smaller production.
    answers = ["Director IT", "Director", "it@fbr.gov.pk", *[""] * 13, "8", *[""] * 40]
    assert run("--template", "eoffice", *FOR_FBR, "-o", target, answers="\n".join(answers)) == 0, run.err
    assert "purpose, in English [E-Office for all wings]" in run.err
    assert "eoffice-prod: cpu [16]" in run.err
    spec = parse(target.read_bytes(), "fbr.yaml").value["spec"]
    assert [e["name"] for e in spec["environments"]] == ["eoffice-prod", "eoffice-staging", "eoffice-training"]
    prod = spec["environments"][0]
    assert (prod["quota"]["cpu"], prod["quota"]["pods"], prod["exposure"]) == ("8", 100, "government")
    assert prod["egress"][0]["to"] == "10.20.0.0/16"
    assert spec["storageClasses"] == ["encrypted"]
    assert spec["budget"]["cpu"] == "20"
    assert "exposure" not in spec["environments"][1] or spec["environments"][1]["exposure"] == "government"


def test_a_dash_takes_back_what_the_template_would_give(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "fbr.yaml"
    answers = ["D", "D", "it@fbr.gov.pk", *[""] * 9, "-", *[""] * 50]
    assert run("--template", "web-portal", *FOR_FBR, "-o", target, answers="\n".join(answers)) == 0, run.err
    access = parse(target.read_bytes(), "fbr.yaml").value["spec"]["access"]
    assert "groups of developers, separated by commas (- for none) [fbr-developers]" in run.err
    assert list(access) == ["admins"]


def test_the_registrys_own_template_stands_before_the_shipped_one(run: Run) -> None:
    folder = run.folder / "templates"
    folder.mkdir()
    text = paths.data("examples", "registry", "templates", "eoffice.yaml").read_text()
    (folder / "eoffice.yaml").write_text(text.replace("E-Office for all wings", "E-Office as Sindh has it"))
    (folder / "small.yaml").write_text("# A small one.\nspec: {classification: open}\n")
    assert run("--template", "eoffice", *FOR_FBR, sets=PEOPLE) == 0
    assert "E-Office as Sindh has it" in run.out
    assert run("--list-templates", "--format", "json") == 0
    listed = json.loads(run.out)["templates"]
    assert {one["name"]: one["own"] for one in listed} == {
        "eoffice": True, "registry-database": False, "small": True, "web-portal": False,
    }  # fmt: skip
    assert listed[2]["about"] == "A small one."


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--template", "eofice"], "did you mean eoffice?"),
        (["--template", "../approvers"], "there is no template '../approvers'"),
        (["--template", "eoffice", "--organisation", "NONE"], "--organisation 'NONE' is none of"),
        (["--template", "eoffice", "--organisation", "FBR", "--name", "kube-x"], "reserved for the platform"),
        (["--template", "eoffice", "--organisation", "FBR", "--name", "${domain}"], "--name ${domain}:"),
        (["--template", "eoffice", *FOR_FBR, "--set", "spec.budget"], "expected PATH=VALUE"),
        (["--template", "eoffice", *FOR_FBR, "--set", "metadata.name=x"], "expected PATH=VALUE"),
        (["--template", "eoffice", *FOR_FBR, "--set", "spec.environments[7].tier=staging"], "there is no [7]"),
        (["--template", "eoffice", *FOR_FBR, "--set", "spec.classification.x=1"], "x is no field of that"),
        (["--template", "eoffice", *FOR_FBR, "--set", "spec.budget=[&a 1, *a]"], "an anchor"),
        (["--template", "eoffice", "--from", "x.yaml"], "--from takes all answers"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(run: Run, words: list[str], said: str) -> None:
    assert run(*words) == 2
    assert said in run.err
    assert run.out == ""


def test_a_set_value_that_breaks_a_rule_is_named_by_its_field(run: Run) -> None:
    assert run("--template", "eoffice", *FOR_FBR, "--set", "spec.classification=publik") == 3
    assert "spec.classification: cannot be 'publik'" in run.err


BAD: dict[str, tuple[str, str]] = {
    "an unknown slot": ("spec: {purpose: {en: '${minister}'}}", ":1: ${minister} is no slot"),
    "an open slot": ("# x\nspec: {purpose: {en: '${tenant'}}", ":2: ${tenant"),
    "an unknown field": ("spec:\n  colour: red\n", ":2: spec.colour: is not a field here"),
    "no YAML": ("spec: [", "cannot be read"),
    "a list": ("- 1\n", "is no mapping"),
    "another kind": ("kind: Site\nspec: {}\n", "kind: cannot be 'Site'"),
    "environments of nothing": ("spec: {environments: null}\n", "spec.environments"),
    "an environment that is a text": ("spec: {environments: [x]}\n", "spec.environments[0]"),
    "access of nothing": ("spec: {access: null}\n", "spec.access"),
    "groups of numbers": ("spec: {access: {admins: [1]}}\n", "spec.access.admins[0]"),
    "hidden characters": ("spec: {purpose: {en: \u202e}}\n", "U+202E"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_template_that_cannot_be_used_is_named_with_its_line_and_asks_nothing(run: Run, case: str) -> None:
    text, said = BAD[case]
    path = run.folder / "templates" / "bad.yaml"
    path.parent.mkdir()
    path.write_text(text)
    assert run("--template", "bad", *FOR_FBR) == 3
    assert str(path) in run.err
    assert said in run.err
    assert "requester" not in run.err
    assert any(str(path) == found.file for found in Registry.open(run.folder).problems)


def test_a_template_never_leads_out_of_the_registry(run: Run, tmp_path: Path) -> None:
    (run.folder / "templates").mkdir()
    (tmp_path / "secret").write_text("spec: {classification: open}\n")
    (run.folder / "templates" / "out.yaml").symlink_to(tmp_path / "secret")
    assert run("--template", "out", *FOR_FBR) == 4
    assert "leads out of" in run.err


@pytest.mark.parametrize(
    ("name", "answer"), [("tenant", "a: b"), ("domain", "x.pk\nspec: {}"), ("organisation", "[X]"), ("tenant", "")]
)
def test_a_slot_takes_only_what_means_nothing_in_yaml(name: str, answer: str) -> None:
    answers = {"tenant": "fbr", "organisation": "FBR", "domain": "fbr.gov.pk", name: answer}
    with pytest.raises(ValueError, match="cannot be"):
        templates.filled(templates.named("eoffice", None), answers)


# --- answers are not lost ---------------------------------------------------------------------------------------------


def in_a_terminal(words: list[object], steps: list[tuple[str, bytes]]) -> tuple[int, str]:
    """Run the program in a terminal; type each answer when its question has come. Return exit code and screen."""
    pid, master = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever started the tests in the background has it ignored
        os.execv(sys.executable, [sys.executable, "-m", "gcloud_pk", *map(str, words)])
    screen, deadline = "", time.monotonic() + 60
    waiting = list(steps)
    try:
        while time.monotonic() < deadline:
            if not select.select([master], [], [], 0.5)[0]:
                if not waiting:
                    # A signal just before the terminal is read wakes nobody (CPython's input): people press again.
                    os.write(master, steps[-1][1])
                continue
            try:
                screen += os.read(master, 65536).decode(errors="replace")
            except OSError:  # it has ended
                return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), screen
            if waiting and waiting[0][0] in screen:
                os.write(master, waiting.pop(0)[1])
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        pytest.fail(f"it did not end; on its screen: {screen}")
    finally:
        os.close(master)


STEPS = [("organisation", b"FBR\n"), ("tenant's name", b"\n"), ("requester's name", b"Director IT\n")]


@pytest.mark.parametrize("key", [b"\x03", b"\x04"], ids=["Ctrl-C", "Ctrl-D"])
def test_what_was_answered_before_ctrl_c_is_kept_as_a_draft(registry_folder: Path, tmp_path: Path, key: bytes) -> None:
    target = tmp_path / "fbr.yaml"
    words: list[object] = ["--registry", registry_folder, "request", "new", "--template", "eoffice", "-o", target]
    code, screen = in_a_terminal(words, [*STEPS, ("designation", b"Director\n"), ("e-mail address", key)])
    assert code == 130, screen
    assert f"{target} holds the answers so far" in screen
    text = target.read_text()
    assert text.startswith("# A draft. To mend before it is submitted:\n")
    assert "#   spec.requestedBy: is missing" in text
    spec = parse(target.read_bytes(), "draft").value["spec"]
    assert (spec["organisation"], spec["classification"]) == ("FBR", "restricted")


def test_a_draft_takes_no_other_files_place(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "fbr.yaml"
    target.write_text("mine")
    assert run(*FOR_FBR, "-o", target, "--force", answers="Director IT\nDirector\nit@fbr.gov.pk\nE-Office\n") == 2
    assert target.read_text() == "mine"
    assert "name: Director IT" in run.out
    assert "E-Office" in run.out


def test_without_any_answer_there_is_no_draft(run: Run, tmp_path: Path) -> None:
    assert run("-o", tmp_path / "fbr.yaml") == 2
    assert not (tmp_path / "fbr.yaml").exists()
    assert run.out == ""


def test_answers_that_cannot_be_written_are_printed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gcloud_pk.registry import files

    refuse: Callable[..., None] = lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))  # noqa: E731
    monkeypatch.setattr(files, "_fill", refuse)
    assert run(*FOR_FBR, "-o", tmp_path / "fbr.yaml", answers="Director IT\nDirector\nit@fbr.gov.pk\n") == 5
    assert "it@fbr.gov.pk" in run.out
