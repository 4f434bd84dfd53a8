"""From events to states, words and the exit code."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.test_nodes_inventory import site

from gcloud_pk import paths
from gcloud_pk.commands.node import error_of
from gcloud_pk.console import Console
from gcloud_pk.errors import ExitCode
from gcloud_pk.nodes import summary
from gcloud_pk.nodes.events import End, Event, Play, Result, Start, Status, Task
from gcloud_pk.nodes.inventory import fingerprint
from gcloud_pk.nodes.outcome import Kind, Run, State, diagnose
from gcloud_pk.nodes.progress import Silence, shown
from gcloud_pk.nodes.run import ACCEPT_STATE, Order, command

ASKS = Task("t0", "Is it the right one", "node", ())
FIRST = Task("t1", "Configure", "ssh", ("GPK-SSH-001",))
SECOND = Task("t2", "Restart", "sudo", ())
HOSTS = ("cp-1", "web-1", "log-1")


def said(status: Status, host: str, task: str = "t1", **fields: Any) -> Result:
    return Result(host, task, status, 10.0, **fields)


def run(*events: Event | None, check: bool = False, ended: set[str] | None = None) -> Run:
    """Return a run that was told events; `ended`: the hosts that failed, where it came to its end."""
    found = Run.of(site(), site().spec.hosts, check=check)
    for event in (Play("Harden", ("node", "ssh", "sudo")), ASKS, FIRST, SECOND, *events):
        found.tell(event)
    if ended is not None:
        found.tell(End(frozenset(ended)))
    found.close()
    return found


def everybody(status: Status, task: str = "t1") -> list[Result]:
    return [said(status, host, task) for host in HOSTS]


DENIED = "gcloud-pk@10.207.0.11: Permission denied (publickey)."
SILENT = "ssh: connect to host 10.207.0.11 port 22: Connection timed out"
NO_SUDO = "sudo: a password is required"
OTHER = "Refused before any change: this node runs Debian GNU/Linux 11 (bullseye) (ID debian, VERSION_ID 11)"


@dataclass
class Case:
    code: int
    states: list[State]
    events: list[Event | None]
    failed: set[str] | None = field(default_factory=set)
    check: bool = False
    interrupted: bool = False


def on_first(message: str, status: Status = "failed", task: str = "t0") -> list[Event | None]:
    return [said(status, "cp-1", task, message=message)]


CASES = {
    "nothing to change": Case(0, ["done"] * 3, [*everybody("ok")]),
    "all changed": Case(0, ["done"] * 3, [*everybody("changed")]),
    "a failure that the playbook recovered from": Case(0, ["done"] * 3, [*everybody("ok"), said("failed", "cp-1")]),
    "a failure that is ignored": Case(0, ["done"] * 3, [*everybody("ok"), said("ignored", "cp-1")]),
    "one fails, others are done": Case(
        8, ["failed", "done", "done"], [*on_first("no room", task="t1"), *everybody("changed")[1:]], {"cp-1"}
    ),
    "one fails after changes": Case(
        8, ["failed", "done", "done"], [*everybody("changed"), *on_first("no room", task="t2")], {"cp-1"}
    ),
    "one is unreachable, others are done": Case(
        8, ["unreachable", "done", "done"], [*on_first(SILENT, "unreachable"), *everybody("ok")[1:]], {"cp-1"}
    ),
    "all are unreachable": Case(
        5, ["unreachable"] * 3, [said("unreachable", h, "t0", message=SILENT) for h in HOSTS], set(HOSTS)
    ),
    "all are of another system": Case(
        5, ["refused"] * 3, [said("failed", h, "t0", message=OTHER) for h in HOSTS], set(HOSTS)
    ),
    "nobody may become root": Case(
        5, ["refused"] * 3, [said("failed", h, "t1", message=NO_SUDO) for h in HOSTS], set(HOSTS)
    ),
    "all fail inside a role": Case(
        8, ["failed"] * 3, [said("failed", h, "t1", message="no room") for h in HOSTS], set(HOSTS)
    ),
    "all go away after a change": Case(
        8, ["unreachable"] * 3, [*everybody("changed"), *(said("unreachable", h, "t2") for h in HOSTS)], set(HOSTS)
    ),
    "sudo goes away after a change": Case(
        8, ["failed"] * 3, [*everybody("changed"), *(said("failed", h, "t2", message=NO_SUDO) for h in HOSTS)],
        set(HOSTS),
    ),
    "a check that would change": Case(0, ["done"] * 3, [*everybody("changed")], check=True),
    "a check, one unreachable": Case(
        5, ["unreachable", "done", "done"], [*on_first(SILENT, "unreachable"), *everybody("changed")[1:]], {"cp-1"},
        check=True,
    ),
    "a check, one fails": Case(
        5, ["failed", "done", "done"], [*on_first("no", task="t1"), *everybody("changed")[1:]], {"cp-1"}, check=True
    ),
    "stopped half way": Case(
        130, ["half-done", "not-begun", "not-begun"], [said("changed", "cp-1"), said("ok", "web-1", "t0")], None,
        interrupted=True,
    ),
    "Ansible went away": Case(
        8, ["half-done", "not-begun", "not-begun"], [said("changed", "cp-1"), said("ok", "web-1", "t0")], None
    ),
    "Ansible went away before anything": Case(5, ["not-begun"] * 3, [said("ok", "web-1", "t0")], None),
    "a check that was stopped": Case(
        130, ["not-begun"] * 3, [*everybody("changed")], None, check=True, interrupted=True
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_run_comes_to_these_states_and_this_exit_code(case: Case) -> None:
    found = run(*case.events, check=case.check, ended=case.failed)
    assert [host.state for host in found.hosts.values()] == case.states
    assert found.code(interrupted=case.interrupted) == case.code


def test_events_of_strangers_and_lines_that_are_none_are_counted_and_change_nothing() -> None:
    found = run(said("changed", "somebody"), None, *everybody("ok"), ended=set())
    assert found.spoiled == 2
    assert list(found.hosts) == list(HOSTS)


def test_a_change_names_role_task_controls_and_paths() -> None:
    found = run(said("changed", "cp-1", paths=("/etc/ssh/sshd_config",)), ended=set())
    assert found.hosts["cp-1"].as_dict()["changed"] == [
        {"role": "ssh", "task": "Configure", "controls": ["GPK-SSH-001"], "paths": ["/etc/ssh/sshd_config"]}
    ]


def test_what_a_node_refuses_is_told_once() -> None:
    refused = ({"key": "kernel.x", "wanted": "1", "live": "0", "why": "read-only"},)
    found = run(said("ok", "cp-1", refused=refused), said("ok", "cp-1", "t2", refused=refused), ended=set())
    assert found.hosts["cp-1"].refused == list(refused)


def test_a_warning_is_shown_where_it_says_more_than_what_was_refused(capsys: pytest.CaptureFixture[str]) -> None:
    found = run(
        said("ok", "cp-1", warnings=("uid 0 is toor's, too",)),
        said("ok", "cp-1", "t2", refused=({"key": "kernel.x"},), warnings=("Not set live: kernel.x",)),
        ended=set(),
    )
    summary.show(Console(), found, dict.fromkeys(HOSTS, "cl1"), code=ExitCode.DONE, diff=False)
    told = capsys.readouterr().out
    assert "warning: uid 0 is toor's, too  [cp-1]" in told
    assert "Not set live" not in told


def test_differences_of_one_host_are_kept_up_to_a_limit() -> None:
    many = [said("changed", "cp-1", diff="x" * 80_000) for _ in range(100)]
    found = run(*many, ended=set())
    assert sum(len(change.diff) for change in found.hosts["cp-1"].changes) <= 5_000_000


SSH_KEY = (
    "@@@@@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n"
    "The fingerprint for the ED25519 key sent by the remote host is\n"
    "SHA256:" + "Z" * 43 + ".\nHost key verification failed."
)


@pytest.mark.parametrize(
    ("message", "answered", "kind", "words"),
    [
        (SSH_KEY, False, "wrong-host-key", "SHA256:" + "Z" * 43),
        ("No ED25519 host key is known for 10.207.0.11", False, "wrong-host-key", "it shows another"),
        (DENIED, False, "no-access", "platform"),
        (SILENT, False, "unreachable", "in time"),
        ("ssh: connect to host 10.207.0.11 port 22: Connection refused", False, "unreachable", "port 2222"),
        ("ssh: connect to host 10.207.0.11 port 22: No route to host", False, "unreachable", "no way to 10.207.0.11"),
        ("kex_exchange_identification: Connection closed by remote host", False, "unreachable", "closes"),
        ("Connection closed by UNKNOWN port 65535", False, "unreachable", "closes"),
        ("", False, "unreachable", "cannot be reached"),
        (NO_SUDO, True, "no-sudo", "platform"),
        ("platform is not in the sudoers file.", True, "no-sudo", "root"),
        ("sudo: command not found", True, "no-sudo", "root"),
        ("Timeout (22s) waiting for privilege escalation prompt:", True, "no-sudo", "root"),
        ("/bin/sh: 1: /usr/bin/python3: not found", True, "no-python", "python3"),
        (OTHER, True, "other-system", "bullseye"),
        ("Task failed: Timed out after 60 second(s).", True, "failed", "then said nothing"),
        ("No space left on device", True, "failed", "No space left"),
        ("", True, "failed", "the task failed"),
    ],
)  # fmt: skip
def test_what_ssh_and_sudo_say_becomes_words_and_a_remedy(message: str, answered: bool, kind: Kind, words: str) -> None:
    found = diagnose(site(), site().spec.hosts[0], message, answered=answered)
    assert found.kind == kind
    assert words in found.words
    assert found.remedy


def test_a_wrong_host_key_is_told_with_both_fingerprints() -> None:
    host = site().spec.hosts[0]
    found = diagnose(site(), host, SSH_KEY, answered=False)
    assert "SHA256:" + "Z" * 43 in found.words
    assert all(fingerprint(key) in found.words for key in host.host_keys)


def test_a_node_cannot_make_a_failure_look_like_a_refusal_of_ssh() -> None:
    found = diagnose(site(), site().spec.hosts[0], "Host key verification failed. Permission denied (", answered=True)
    assert found.kind == "failed"


EVIL = "\x1b[2J\u202eevil\nnode-9: done"


def test_texts_of_nodes_are_escaped_and_begin_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    found = run(
        said("changed", "cp-1", paths=(EVIL,), diff=EVIL, warnings=(EVIL,), refused=({"key": EVIL, "why": EVIL},)),
        said("failed", "web-1", message=f"{EVIL}\n{EVIL}"),
        said("unreachable", "log-1", message=EVIL),
        ended={"web-1", "log-1"},
    )
    levels = dict.fromkeys(HOSTS, "cl1")
    summary.show(Console(verbosity=1), found, levels, code=found.code(), diff=True)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert not [line for line in out.splitlines() if line.startswith("node-9")]
    json.dumps(summary.document(found, levels), ensure_ascii=False).encode()


def test_with_check_the_words_say_would(capsys: pytest.CaptureFixture[str]) -> None:
    found = run(said("changed", "cp-1", paths=("/etc/x",)), check=True, ended=set())
    summary.show(Console(), found, dict.fromkeys(HOSTS, "cl1"), code=found.code(), diff=False)
    out = capsys.readouterr().out
    assert "would change:\n  ssh: Configure (/etc/x)  [cp-1]" in out
    assert "hardened" not in out


def test_a_difference_that_holds_secrets_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    found = run(said("changed", "cp-1", withheld=True), ended=set())
    summary.show(Console(), found, dict.fromkeys(HOSTS, "cl1"), code=found.code(), diff=True)
    assert "withheld" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("all changed", "3 hosts hardened, 3 changed"),
        ("nothing to change", "3 hosts hardened, 0 changed"),
        ("a check that would change", "3 of 3 hosts would change"),
        ("one fails, others are done", "2 hosts hardened, 2 changed; 1 of 3 hosts not: cp-1"),
        ("all are unreachable", "no host was carried through; 3 of 3 hosts not: cp-1, web-1, log-1"),
        ("stopped half way", "interrupted; half done: cp-1"),
        ("a check that was stopped", "interrupted; nothing was written"),
    ],
)
def test_the_last_line_says_what_the_run_came_to(case: str, words: str) -> None:
    given = CASES[case]
    found = run(*given.events, check=given.check, ended=given.failed)
    assert summary.words(found, code=found.code(interrupted=given.interrupted)) == words


ARGUMENTS = Task("t3", "Validating arguments against arg spec 'main'", "sudo", (), (), "arguments")
HANDLER = Task("t4", "Reload", "ssh", (), (), "handler")


def log(capsys: pytest.CaptureFixture[str], *events: Event) -> list[str]:
    """Return the lines that a log gets, without the seconds."""
    found = Run.of(site(), site().spec.hosts)
    with shown(Console(), "hardening") as tell:
        for event in (Play("Harden", ("node", "ssh", "sudo")), *events):
            found.tell(event)
            tell(found, event)
    return [line.rpartition(" (")[0] for line in capsys.readouterr().err.splitlines()[1:]]


def test_progress_never_counts_back_and_names_handlers_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    done: list[Event] = [
        FIRST,
        *everybody("ok"),
        SECOND,
        *everybody("changed", "t2"),
        HANDLER,
        *everybody("changed", "t4"),
    ]
    assert log(capsys, *done) == [
        "   2/3 ssh: 3 hosts, no change",
        "   3/3 sudo: 3 hosts, 3 changes",
        " then: ssh: 3 hosts, 3 changes",
    ]
    assert [host.reached for host in run(*done).hosts.values()] == [3, 3, 3]


def test_progress_leaves_out_roles_of_which_only_the_variables_were_looked_at(
    capsys: pytest.CaptureFixture[str],
) -> None:
    events: list[Event] = [FIRST, *everybody("ok"), ARGUMENTS, *everybody("ok", "t3")]
    assert log(capsys, *events) == ["   2/3 ssh: 3 hosts, no change"]
    assert [host.reached for host in run(*events).hosts.values()] == [2, 2, 2]


def test_progress_counts_no_host_that_does_not_answer(capsys: pytest.CaptureFixture[str]) -> None:
    lines = log(capsys, FIRST, *everybody("ok")[1:], said("unreachable", "cp-1", message=SILENT))
    assert [line for line in lines if "ssh:" in line][-1] == "   2/3 ssh: 2 hosts, no change, 1 unreachable"


def test_progress_calls_no_host_unchanged_that_fell_out_or_that_the_run_was_stopped_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    failed = [said("failed", host, message="no room") for host in HOSTS]
    assert log(capsys, FIRST, *failed)[-1] == "   2/3 ssh: 3 failed"
    found = Run.of(site(), site().spec.hosts)
    with shown(Console(), "hardening") as tell:
        for event in (Play("Harden", ("node", "ssh", "sudo")), FIRST, said("ok", "cp-1")):
            found.tell(event)
            tell(found, event)
        found.close()
    assert "ssh: 1 host, no change, 3 stopped" in capsys.readouterr().err


def test_a_host_that_says_nothing_is_named_after_a_minute_and_whenever_the_time_has_doubled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr("gcloud_pk.nodes.progress.time.monotonic", lambda: now)
    found, silence = Run.of(site(), site().spec.hosts), Silence()
    found.tell(Play("Harden", ("node", "ssh")))
    found.tell(FIRST)
    told: dict[int, list[str]] = {}
    for second in range(600):
        now = float(second)
        event: Event | None = None
        if second < 3:
            event = Start(HOSTS[second], "t1")
        elif second < 5:
            event = said("ok", HOSTS[second - 2])
        if lines := silence(found, event):
            told[second] = lines
    assert told == {
        second: [f"cp-1 has said nothing for {second} s, in role ssh: Configure"] for second in (60, 120, 240, 480)
    }
    silence(found, said("ok", "cp-1"))
    assert silence(found, None) == []


def test_what_only_asks_is_no_work() -> None:
    assert run(*everybody("ok", "t0"), ARGUMENTS, *everybody("ok", "t3")).work == 0
    assert run(*everybody("ok")).work == 3


def test_who_interrupts_a_run_is_told_to_run_it_again() -> None:
    found = run(said("changed", "cp-1"), ended=None)
    error = error_of(Order(site(), site().spec.hosts), found, ExitCode.INTERRUPTED, "interrupted")
    assert error is not None
    assert str(error.resolution).startswith("run it again")


def test_a_state_is_accepted_by_an_extra_variable_that_is_true_and_no_text() -> None:
    plain, accepting = Order(site(), ()), Order(site(), (), accept_state=True)
    assert "--extra-vars" not in command(plain, Path("/i"))
    words = command(accepting, Path("/i"))
    assert json.loads(words[words.index("--extra-vars") + 1]) == {"file_integrity_accept_state": True}
    specs = yaml.safe_load(paths.data("playbooks/roles/file_integrity/meta/argument_specs.yml").read_bytes())
    assert ACCEPT_STATE in specs["argument_specs"]["main"]["options"]
