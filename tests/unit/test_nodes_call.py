"""One question to a node, by a stand-in for ssh: what hostile, slow and broken nodes make of it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.unit.test_nodes_inventory import site

from gcloud_pk.nodes.call import Answer, ask
from gcloud_pk.nodes.inventory import Route


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where a shell script goes that stands in for ssh."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder / "ssh"


def asked(ssh: Path, script: str, *, program: bytes = b"", limit: int = 1_000_000, seconds: float = 10) -> Answer:
    ssh.write_text("#!/bin/sh\n" + script)
    ssh.chmod(0o755)
    given = site()
    return ask(given, given.spec.hosts[0], Route(Path("/k")), "cat", program, limit=limit, seconds=seconds)


def test_what_the_program_says_is_the_answer(ssh: Path) -> None:
    assert asked(ssh, "cat", program=b"hello") == Answer(b"hello")


def test_large_questions_and_answers_do_not_wait_for_each_other(ssh: Path) -> None:
    program = b"x" * 900_000
    assert asked(ssh, "cat", program=program).output == program


def test_who_does_not_read_the_question_may_answer_all_the_same(ssh: Path) -> None:
    assert asked(ssh, "echo done", program=b"x" * 900_000) == Answer(b"done\n")


@pytest.mark.parametrize("stream", ["1", "2"])
def test_a_node_that_never_stops_is_not_listened_to(ssh: Path, stream: str) -> None:
    found = asked(ssh, f"exec yes >&{stream}")
    assert found.output == b""
    assert found.diagnosis is not None
    assert "more than 1000000 bytes" in found.diagnosis.words


def test_a_node_that_says_nothing_is_waited_for_only_so_long(ssh: Path) -> None:
    before = time.monotonic()
    found = asked(ssh, "sleep 300 & sleep 300", seconds=0.5)
    assert time.monotonic() - before < 60
    assert found.diagnosis is not None
    assert "in time" in found.diagnosis.words


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("echo 'Host key verification failed.' >&2; exit 255", "wrong-host-key"),
        ("echo 'amna@n: Permission denied (publickey).' >&2; exit 255", "no-access"),
        ("echo 'sudo: a password is required' >&2; exit 1", "no-sudo"),
        ("echo 'Host key verification failed.' >&2; exit 1", "failed"),
        ("exit 7", "failed"),
        ("exit 255", "unreachable"),
    ],
)
def test_how_it_failed_is_told_in_words(ssh: Path, script: str, kind: str) -> None:
    found = asked(ssh, script)
    assert found.diagnosis is not None
    assert found.diagnosis.kind == kind


def test_what_is_given_to_ssh_names_the_host_its_user_and_its_port(ssh: Path) -> None:
    words = asked(ssh, 'printf "%s\\n" "$@"').output.decode().splitlines()
    assert words[-6:] == ["-p", "2222", "-l", "platform", "cp-1", "cat"]
    assert "HostName=10.207.0.11" in words
