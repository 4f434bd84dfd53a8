"""Processes that outlive their starter: recognised again, not mistaken, ended."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gcloud_pk.lab import processes
from gcloud_pk.lab.processes import Process

Spawn = Callable[..., Process]


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawn]:
    started: list[Process] = []

    def start(*command: str) -> Process:
        started.append(processes.spawn(command, tmp_path, "etcd", tmp_path / "etcd.log"))
        return started[-1]

    yield start
    for process in started:
        if processes.alive(process):
            os.kill(process.pid, signal.SIGKILL)
        processes.exit_status(process)


def marked(folder: Path) -> list[Process]:
    return [process for process, where, _ in processes.marked() if where == folder]


def settled(process: Process) -> str:
    end = time.monotonic() + 60
    while (how := processes.exit_status(process)) is None:
        assert time.monotonic() < end
        time.sleep(0.01)
    return how


def test_a_started_process_is_alive_until_it_is_stopped(spawn: Spawn) -> None:
    process = spawn("/bin/sleep", "60")
    assert processes.alive(process)
    assert processes.stop([process], 60) == []
    assert not processes.alive(process)


def test_a_used_again_id_is_another_process(spawn: Spawn) -> None:
    process = spawn("/bin/sleep", "60")
    earlier = Process(process.pid, process.started - 1)
    assert not processes.alive(earlier)
    processes.stop([earlier], 0.2)
    assert processes.alive(process)


def test_a_name_full_of_brackets_does_not_confuse_the_start_time(spawn: Spawn, tmp_path: Path) -> None:
    odd = tmp_path / "x) S 1 (y"
    odd.symlink_to("/bin/sleep")
    process = spawn(str(odd), "60")
    assert processes.start_time(process.pid) == process.started > 0
    assert processes.alive(process)


def test_one_that_ignores_sigterm_is_killed_after_the_limit(spawn: Spawn, tmp_path: Path) -> None:
    process = spawn("/bin/sh", "-c", f"trap '' TERM; echo ready > {tmp_path}/ready; while :; do sleep 0.1; done")
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    assert processes.stop([process], 0.3) == [process]
    assert not processes.alive(process)


def test_a_suspended_one_is_ended_too(spawn: Spawn) -> None:
    process = spawn("/bin/sleep", "60")
    os.kill(process.pid, signal.SIGSTOP)
    processes.stop([process], 0.2)
    assert not processes.alive(process)


@pytest.mark.parametrize(
    ("command", "how"),
    [
        (("/bin/sh", "-c", "exit 3"), "exited with 3"),
        (("/bin/sh", "-c", "kill -9 $$"), "was ended by SIGKILL"),
    ],
)
def test_how_a_process_ended_is_told(spawn: Spawn, command: tuple[str, ...], how: str) -> None:
    assert settled(spawn(*command)) == how


def test_a_zombie_does_not_run(spawn: Spawn) -> None:
    process = spawn("/bin/true")
    end = time.monotonic() + 60
    while processes.alive(process):  # never waited for: it stays a zombie
        assert time.monotonic() < end
        time.sleep(0.01)


def test_output_of_both_kinds_goes_to_the_log_and_is_appended(spawn: Spawn, tmp_path: Path) -> None:
    for word in ("one", "two"):
        settled(spawn("/bin/sh", "-c", f"echo {word}; echo {word}-err >&2"))
    assert (tmp_path / "etcd.log").read_text().split() == ["one", "one-err", "two", "two-err"]
    assert (tmp_path / "etcd.log").stat().st_mode & 0o777 == 0o600


def test_it_has_a_session_of_its_own_and_nothing_of_the_callers_environment(
    spawn: Spawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETCD_DATA_DIR", "/elsewhere")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid")
    process = spawn("/bin/sleep", "60")
    assert os.getsid(process.pid) == process.pid != os.getsid(0)
    assert marked(tmp_path) == [process]
    environment = Path(f"/proc/{process.pid}/environ").read_bytes()
    assert b"ETCD_DATA_DIR" not in environment
    assert b"PROXY" not in environment


def test_it_outlives_a_starter_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, pathlib; from gcloud_pk.lab import processes\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "processes.spawn(['/bin/sleep', '60'], folder, 'etcd', folder / 'log')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=60)
    found = marked(tmp_path)
    assert len(found) == 1
    processes.stop(found, 5)
    assert not processes.alive(found[0])


def test_a_process_is_found_by_its_marks(spawn: Spawn, tmp_path: Path) -> None:
    process = spawn("/bin/sleep", "60")
    assert marked(tmp_path) == [process]


def test_a_process_shows_its_marks_from_the_moment_it_is_started(spawn: Spawn) -> None:
    # On one processor the starter goes on in the middle of the program's execve(2) nearly every time.
    whole = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(whole)})
    try:
        shown = [Path(f"/proc/{spawn('/bin/sleep', '60').pid}/environ").read_bytes() for _ in range(20)]
    finally:
        os.sched_setaffinity(0, whole)
    assert all(processes.MARK_FOLDER.encode() in environment for environment in shown)


def test_a_program_that_is_not_there_is_an_os_error(spawn: Spawn, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        spawn(str(tmp_path / "missing"))
