"""The command line itself: what is loaded, which options stand where, how it ends, and what reaches a terminal."""

from __future__ import annotations

import importlib
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from tests.unit.cluster_server import Asked, serving
from tests.unit.command_line import parsed

from gcloud_pk import main
from gcloud_pk.commands.base import Command, Invocation
from gcloud_pk.console import Console
from gcloud_pk.registry.folder import Registry
from gcloud_pk.text import as_json, escape

CLI = Path(sys.executable).parent / "gcloud-pk"
HEAVY = ("pydantic", "yaml", "urllib3", "cryptography", "rich", "kubernetes", "ruamel.yaml")
# What changes how a terminal shows what follows, or in which direction.
HOSTILE = "evil\x1b[31m\x1b]0;title\x07\u202e\u2066\u200b\x9b31m\u2028\r\ttail"
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200b\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's own settings."""
    for variable in list(os.environ):
        if variable.startswith("GCLOUD_PK_") or variable in {"KUBECONFIG", "NO_COLOR"}:
            monkeypatch.delenv(variable)
    for variable in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def run(quiet: None, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in this process."""

    def in_process(*words: str | Path) -> Ended:
        capfd.readouterr()
        argv = [str(word) for word in words]
        monkeypatch.setattr(sys, "argv", ["gcloud-pk", *argv])
        code = main.main(argv)
        return Ended(int(code), *capfd.readouterr())

    return in_process


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GCLOUD_PK_") and k != "KUBECONFIG"}
    return kept | {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")} | more


# What is loaded.


ASKED = [
    "--help", "-h", "--version", "onboard --help", "completion bash", "nonsense", *(f"{n} --help" for n in main.NOUNS),
]  # fmt: skip
EACH_IN_A_CHILD = """
import json, os, sys
from gcloud_pk.main import main
heavy, asked = json.loads(sys.argv[1])
for words in asked:
    if os.fork() == 0:
        main(words.split())
        print("\\nloaded", json.dumps([words, [m for m in heavy if m in sys.modules]]), file=sys.stderr, flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, list[str]]:
    """Return what of the heavy packages each command line loads, by the line."""
    command = [sys.executable, "-c", EACH_IN_A_CHILD, json.dumps([list(HEAVY), ASKED])]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()
    return dict(json.loads(line.removeprefix("loaded ")) for line in said if line.startswith("loaded "))


@pytest.mark.parametrize("words", ASKED)
def test_help_loads_nothing_heavy(loaded: dict[str, list[str]], words: str) -> None:
    assert loaded[words] == []


def test_help_is_a_page_that_a_newcomer_can_act_on(run: Run) -> None:
    page = run("--help").out
    for word in ("Start here:", "gcloud-pk lab up", "gcloud-pk onboard moitt", "Exit codes:", "docs/README.md"):
        assert word in page
    for noun, purpose in main.NOUNS.items():
        assert re.search(rf"^  {noun}\s+{re.escape(purpose)}", page, re.MULTILINE)


@pytest.mark.parametrize("noun", main.NOUNS)
def test_every_noun_has_a_module_a_command_and_a_help_text(noun: str) -> None:
    command = getattr(importlib.import_module(f"gcloud_pk.commands.{noun}"), noun)
    assert isinstance(command, click.Command)
    assert command.help
    assert len(main.NOUNS[noun]) < 80


def test_the_commands_that_start_here_names_are_commands() -> None:
    page = re.sub(r"\\\n\s*", " ", main._EPILOG)
    lines = re.findall(r"^  gcloud-pk (.*?)(?:\s{2,}.*)?$", page, re.MULTILINE)
    assert len(lines) >= 5
    for line in lines:
        parsed(line.split())


# Global options and their environment.

OPTIONS = {
    "registry": ("GCLOUD_PK_REGISTRY", "one", "two"),
    "trust": ("GCLOUD_PK_TRUST", "one", "two"),
    "kubeconfig": ("KUBECONFIG", "one", "two"),
    "context": ("GCLOUD_PK_CONTEXT", "one", "two"),
    "verify_context": ("GCLOUD_PK_VERIFY_CONTEXT", "one", "two"),
    "format": ("GCLOUD_PK_FORMAT", "json", "text"),
}


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_global_option_stands_before_the_noun_after_it_and_after_the_command(
    quiet: None, name: str, position: int
) -> None:
    words = ["tenant", "list"]
    words[position:position] = [flag(name), OPTIONS[name][1]]
    assert parsed(words)[1].values == {name: OPTIONS[name][1]}


@pytest.mark.parametrize("name", OPTIONS)
def test_what_stands_last_counts_and_the_environment_only_where_nothing_is_said(
    quiet: None, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    variable, one, two = OPTIONS[name]
    assert parsed([flag(name), one, "tenant", "list", flag(name), two])[1].values == {name: two}
    monkeypatch.setenv(variable, one)
    assert parsed(["tenant", "list"])[1].values == {name: one}
    assert parsed([flag(name), two, "tenant", "list"])[1].values == {name: two}
    assert parsed(["tenant", "list", flag(name), two])[1].values == {name: two}


@pytest.mark.parametrize("words", [["-v", "tenant", "list"], ["tenant", "-v", "list"], ["tenant", "list", "-v"]])
def test_verbosity_and_colour_are_accepted_everywhere_too(quiet: None, words: list[str]) -> None:
    invocation = parsed([*words, "--no-color"])[1]
    assert invocation.values == {"verbose": 1, "no_color": True}
    assert (invocation.console.verbosity, invocation.console.color) == (1, False)
    assert parsed(["-vv", "tenant", "list"])[1].console.verbosity == 2


def test_no_color_of_the_environment_is_obeyed(quiet: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Invocation().console.color
    monkeypatch.setenv("NO_COLOR", "1")
    assert not Invocation().console.color


# Wrong usage.


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["onbord", "moitt"], "Did you mean 'onboard'?"),
        (["tenants"], "Did you mean 'tenant'?"),
        (["xyzzy"], "See gcloud-pk --help."),
        (["tenant", "lst"], "Did you mean 'list'?"),
        (["tenant", "list", "--formt", "json"], "Did you mean '--format'?"),
        (["onboard", "moitt", "--dryrun"], "Did you mean '--dry-run'?"),
        (["onboard", "moitt", "--format", "yaml"], "'yaml' is not one of 'text', 'json', 'junit'"),
        (["tenant", "show"], "Missing argument 'TENANT'"),
        (["onboard"], "name tenants, or give --all"),
        (["tenant", "list", "--format", "junit"], "--format junit is for commands that check"),
        (["--format", "junit", "request", "list"], "this one knows text and json"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2_and_says_what_was_meant(run: Run, words: list[str], hint: str) -> None:
    ended = run(*words)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: ")
    assert hint in ended.err
    assert "\nwhat to do: " in ended.err


def test_junit_is_known_where_the_check_is_and_nowhere_else() -> None:
    """These print verdicts; whoever gets the right to `junit` has to print them too."""
    root = click.Context(main.cli)
    knows = set()
    for noun in main.NOUNS:
        command = main.cli.get_command(root, noun)
        below = command.commands.values() if isinstance(command, click.Group) else [command]
        knows |= {f"{noun} {c.name}" for c in below if isinstance(c, Command) and c.junit}
    assert knows == {
        *("audit cluster", "audit impact", "audit isolation", "audit nodes"),
        *("datacenter backup", "datacenter drill", "datacenter validate"),
        "tenant verify",
    }


def test_who_gives_no_command_gets_the_help_page_not_an_error(run: Run) -> None:
    for words in ([], ["tenant"]):
        ended = run(*words)
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.startswith("Usage: gcloud-pk")
    assert json.loads(run("tenant", "--format", "json").out)["error"]["code"] == 2


# Completion.


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_one_that_the_shell_reads(run: Run, tmp_path: Path, shell: str) -> None:
    script = run("completion", shell).out
    assert "_GCLOUD_PK_COMPLETE" in script
    if shutil.which(shell) is None:
        assert shell != "bash"
        return  # the words are there; whether this shell reads them, only a machine with it can tell
    path = tmp_path / "script"
    path.write_text(script)
    assert subprocess.run([shell, "-n", path]).returncode == 0


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("gcloud-pk te", {"tenant"}),
        ("gcloud-pk ", set(main.NOUNS)),
        ("gcloud-pk tenant o", {"offboard"}),
        ("gcloud-pk onboard --dr", {"--dry-run"}),
        ("gcloud-pk tenant list --format j", {"json", "junit"}),
        ("gcloud-pk completion z", {"zsh"}),
    ],
)
def test_completion_offers_what_fits(tmp_path: Path, typed: str, offered: set[str]) -> None:
    asked = {
        "_GCLOUD_PK_COMPLETE": "bash_complete",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split(" ")) - 1),
    }
    done = subprocess.run([CLI], env=environment(tmp_path, **asked), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert {line.partition(",")[2] for line in done.stdout.split()} == offered


# Defects.

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----"


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("secret", [KEY, KEY[:60], "Authorization: Bearer abc.def-ghi"])
def test_a_defect_is_1_reported_as_one_and_shows_no_secret(
    run: Run, monkeypatch: pytest.MonkeyPatch, secret: str, debug: bool
) -> None:
    def broken(_path: Path) -> Registry:
        raise KeyError(f"{secret} and {HOSTILE}")

    monkeypatch.setattr(Registry, "open", broken)
    if debug:
        monkeypatch.setenv("GCLOUD_PK_DEBUG", "1")
    ended = run("registry", "check", "--format", "json")
    assert ended.code == 1
    error = json.loads(ended.out)["error"]
    assert error["code"] == 1
    assert error["message"].startswith("a defect in gcloud-pk ")
    assert "KeyError" in error["message"]
    assert "GCLOUD_PK_DEBUG=1" in error["resolution"]
    assert ("Traceback" in ended.err) is debug
    for part in ("b3BlbnNzaC", "abc.def-ghi"):
        assert part not in ended.out + ended.err
    assert not RAW.search(ended.out + ended.err)


def test_an_interrupted_command_is_130_in_the_shape_of_an_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_path: Path) -> Registry:
        raise KeyboardInterrupt

    monkeypatch.setattr(Registry, "open", interrupted)
    ended = run("registry", "check", "--format", "json")
    assert ended.code == 130
    assert json.loads(ended.out) == {
        "error": {"code": 130, "message": "interrupted", "details": [], "resolution": None}
    }


def test_a_reader_who_leaves_is_no_defect_and_no_success(tmp_path: Path) -> None:
    command = subprocess.Popen([CLI, "schema", "TenantRequest"], env=environment(tmp_path), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    assert command.stdout is not None
    assert command.stderr is not None
    command.stdout.close()
    assert command.wait(timeout=60) == 130
    assert command.stderr.read() == ""
    command.stderr.close()


def test_a_full_standard_output_is_5(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([CLI, "schema", "Site"], env=environment(tmp_path), stdout=full,
                              stderr=subprocess.PIPE, text=True)  # fmt: skip
    assert done.returncode == 5
    assert done.stderr.startswith("error: cannot write: No space left on device\nwhat to do: ")


# Untrusted text.


@pytest.mark.parametrize(
    "words",
    [
        [HOSTILE], ["tenant", HOSTILE], ["onboard", HOSTILE], ["onboard", "--all", f"--{HOSTILE}"],
        ["--registry", HOSTILE, "registry", "check"], ["--kubeconfig", HOSTILE, "tenant", "list"],
        ["--format", HOSTILE, "tenant", "list"], ["request", "validate", HOSTILE], ["request", "show", HOSTILE],
        ["registry", "init", "new", "--approver", HOSTILE], ["lab", "status", "--name", HOSTILE],
        ["schema", HOSTILE], ["request", "list", "--state", HOSTILE], ["tenant", "show", "\udcff\udcfe"],
    ],
    ids=lambda words: escape(" ".join(words))[:40],
)  # fmt: skip
@pytest.mark.parametrize("form", ["text", "json"])
def test_hostile_arguments_are_shown_escaped(run: Run, words: list[str], form: str) -> None:
    ended = run(*(["--format", form] if "--format" not in words else []), *words)
    assert ended.code in {2, 3, 5}
    assert ended.err
    assert not RAW.search(ended.out + ended.err)
    if form == "json" and "--format" not in words:
        assert json.loads(ended.out)["error"]["code"] == ended.code


def hostile_cluster(asked: Asked) -> Any:
    """A cluster whose tenant says hostile things wherever it may."""
    if asked.path.endswith("/tenants"):
        named = ("organisation", "classification", "isolation", "site", "reviewAfter")
        spec: dict[str, Any] = dict.fromkeys(named, HOSTILE)
        spec |= {"revision": 1, "environments": [{"name": "prod", "namespace": HOSTILE}], "requestDigest": HOSTILE}
        tenant = {"metadata": {"name": HOSTILE, "labels": {"gcloud.gov.pk/tenant": "evil"}}, "spec": spec,
                  "status": {"phase": HOSTILE, "approvers": [HOSTILE], "retired": [HOSTILE]}}  # fmt: skip
        return 200, {"kind": "TenantList", "items": [tenant]}
    if asked.path.endswith("/namespaces"):
        labelled = {"name": HOSTILE, "labels": {"gcloud.gov.pk/tenant": "nobody" + HOSTILE}}
        return 200, {"kind": "NamespaceList", "items": [{"metadata": labelled}]}
    if asked.path == "/version":
        return 200, {"gitVersion": HOSTILE}
    if asked.path.endswith("/kube-system"):
        return 200, {"metadata": {"uid": HOSTILE}}
    return 403, {"kind": "Status", "message": f'User "{HOSTILE}" cannot create resource "configmaps"'}


def kubeconfig(path: Path, server: str) -> Path:
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "c", "clusters": [{"name": "c", "cluster": {"server": server}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
            }
        )
    )  # fmt: skip
    return path


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("words", [["tenant", "list"], ["tenant", "show", "evil"], ["cluster", "status"]], ids=" ".join)
def test_what_a_hostile_cluster_says_is_shown_escaped(run: Run, tmp_path: Path, words: list[str], form: str) -> None:
    with serving(hostile_cluster) as server:
        ended = run("--kubeconfig", kubeconfig(tmp_path / "kc", server.url), "--format", form, *words)
    assert ended.out + ended.err
    assert "evil" in ended.out + ended.err
    assert not RAW.search(ended.out + ended.err)
    if form == "json":
        json.loads(ended.out)


def test_what_a_hostile_cluster_says_is_escaped_on_a_terminal_too(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    with serving(hostile_cluster) as server:
        path = kubeconfig(tmp_path / "kc", server.url)
        env = environment(tmp_path, TERM="xterm-256color", COLUMNS="400")
        command = subprocess.Popen([CLI, "--kubeconfig", path, "tenant", "list"], env=env, cwd=tmp_path,
                                   stdin=theirs, stdout=theirs, stderr=theirs)  # fmt: skip
        os.close(theirs)
        shown = b""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            shown += part
        command.wait(timeout=60)
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())  # colours of our own
    assert command.returncode == 0, text
    assert "\\x1b[31m" in text
    assert "\x1b[31m" not in shown.decode()
    assert not RAW.search(text.replace("\r\n", "\n"))


def test_json_says_the_same_with_hostile_characters_escaped() -> None:
    value = {"name": HOSTILE, "ur": "وزارتِ انفارمیشن", "half": "\ud800", "tag": "\U000e0041"}
    text = as_json(value)
    assert json.loads(text) == value
    assert not RAW.search(text)
    assert "وزارتِ انفارمیشن" in text


def test_a_table_and_a_note_escape_their_cells(capfd: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.table(("ONE", "TWO"), [(HOSTILE, "[bold red]markup[/]"), ("a\nforged line", None)])
    console.note(HOSTILE)
    console.warn(HOSTILE)
    console.show_styled(console.styled(HOSTILE, fg="red"))
    out, err = capfd.readouterr()
    assert not RAW.search(out + err)
    assert "[bold red]markup[/]" in out
    assert "a\\nforged line" in out
