"""Programs that outlive the command that starts them: started, recognised again, stopped.

A process is known by its id and its start time, because ids are used again; and it carries the lab's folder in its
environment, so that one whose start nobody recorded (a run killed in between) is still found.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARK_FOLDER = "GCLOUD_PK_LAB"
MARK_PROGRAM = "GCLOUD_PK_LAB_PROGRAM"
_PROC = Path("/proc")
_POLL = 0.02


@dataclass(frozen=True, slots=True)
class Process:
    """A process: `started` is field 22 of /proc/PID/stat, in clock ticks since the machine came up."""

    pid: int
    started: int


def start_time(pid: int) -> int | None:
    """Return when the process that runs under `pid` was started; None when none runs (a zombie does not)."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    # The command's name, in brackets, may hold anything: count from its end (proc(5)).
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else int(fields[19])


def alive(process: Process | None) -> bool:
    """Whether this very process still runs."""
    return process is not None and start_time(process.pid) == process.started


def spawn(command: Sequence[str], folder: Path, program: str, log: Path) -> Process:
    """Start a program in a session of its own, its output appended to `log`. Raises OSError."""
    # Nothing of the caller's environment: etcd takes ETCD_* for flags, and proxies are not for loopback.
    environment = {"PATH": os.defpath, "HOME": str(folder), MARK_FOLDER: str(folder), MARK_PROGRAM: program}
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    pid = os.posix_spawn(
        command[0],
        list(command),
        environment,
        file_actions=actions,
        setsid=True,
        setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP],
    )
    # The call returns in the middle of the child's execve(2): until the kernel has laid out the new image, its
    # environment reads as empty, and nobody would find its marks.
    while (started := start_time(pid)) is not None and _environment(pid) == b"":
        time.sleep(_POLL)
    # One that is gone already is told from others by a time that none has.
    return Process(pid, -1 if started is None else started)


def exit_status(process: Process) -> str | None:
    """Return how a process ended, in words; None while it runs."""
    if alive(process):
        return None
    with suppress(ChildProcessError):
        pid, status = os.waitpid(process.pid, os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(status)
            return f"exited with {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"
    return "ended"


def stop(stopping: Sequence[Process], limit: float) -> list[Process]:
    """End processes: SIGTERM, after `limit` seconds SIGKILL. Return those that had to be killed, when all are gone."""
    for process in stopping:
        _send(process, signal.SIGTERM)
    left = _wait(stopping, limit)
    for process in left:
        _send(process, signal.SIGKILL)
    # A process in uninterruptible sleep is the kernel's to end; waiting longer would not help.
    _wait(left, 10)
    return left


def kill(ending: Sequence[Process]) -> None:
    """End processes at once, and wait until they are gone."""
    for process in ending:
        _send(process, signal.SIGKILL)
    _wait(ending, 10)


def _send(process: Process, number: signal.Signals) -> None:
    if alive(process):
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _wait(waiting: Sequence[Process], limit: float) -> list[Process]:
    end = time.monotonic() + limit
    while True:
        left = [process for process in waiting if exit_status(process) is None]
        if not left or time.monotonic() >= end:
            return left
        time.sleep(_POLL)


def marked() -> Iterator[tuple[Process, Path, str]]:
    """Yield this user's processes that some lab started: the process, the lab's folder, the program's name."""
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        marks = _marks(_environment(int(entry.name)) or b"")
        started = start_time(int(entry.name))
        if MARK_FOLDER in marks and MARK_PROGRAM in marks and started is not None:
            yield Process(int(entry.name), started), Path(marks[MARK_FOLDER]), marks[MARK_PROGRAM]


def _environment(pid: int) -> bytes | None:
    try:
        return (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return None  # gone, or another user's


def _marks(environment: bytes) -> Mapping[str, str]:
    if MARK_FOLDER.encode() not in environment:
        return {}
    pairs = (entry.partition(b"=") for entry in environment.split(b"\0"))
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}
