"""The process between gcloud-pk and Ansible: whatever happens to the first, nothing of the second goes on alone.

Started as a program of its own, with the standard library alone: `python keeper.py LIFELINE EVENTS FOLDER COMMAND…`.
The pipe LIFELINE brings `i` (interrupt) and `k` (kill); its end means that gcloud-pk is gone: then FOLDER, which holds
nothing that anybody else needs, is removed too. Workers of Ansible and masters of ssh leave their process group, so
they are found as descendants: the keeper adopts orphans (prctl(2), PR_SET_CHILD_SUBREAPER). Its exit code is the
command's; 128 and the signal's number where one ended it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_SET_PDEATHSIG = 1
_SET_CHILD_SUBREAPER = 36
_MEMORY = 2 * 1024**3
"""Bytes of address space for each process of Ansible: a node that sends without end fills no more, and fails alone."""

_PATIENCE = 1.0
"""Seconds from SIGTERM to SIGKILL for what is left in the end."""


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _bound_to(parent: int) -> Callable[[], None]:
    """Return what a child does first: it dies with its parent, even if that one is gone already."""

    def bind() -> None:
        _prctl(_SET_PDEATHSIG, signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        if os.getppid() != parent:
            os._exit(1)

    return bind


def descendants(pid: int) -> list[int]:
    """Return the processes below `pid`, zombies aside."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, ValueError):
                stat = (entry / "stat").read_text(encoding="ascii", errors="replace")
                fields = stat[stat.rindex(")") + 2 :].split()
                if fields[0] not in "ZX":
                    below.setdefault(int(fields[1]), []).append(int(entry.name))
    found, ahead = [], [pid]
    while ahead:
        children = below.get(ahead.pop(), [])
        found += children
        ahead += children
    return found


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _end_all(first: signal.Signals) -> None:
    """End every descendant; SIGKILL after a while, or at once."""
    deadline = time.monotonic() + (_PATIENCE if first != signal.SIGKILL else 0)
    told: set[int] = set()
    while left := descendants(os.getpid()):
        late = time.monotonic() >= deadline
        for pid in left:
            if late or pid not in told:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL if late else first)
                told.add(pid)
        _reap()
        time.sleep(0.02)


def keep(lifeline: int, folder: str, command: list[str], passed: list[int]) -> int:
    """Run a command until it ends, or until it has to; return its exit code."""
    awake, bell = socket.socketpair()
    for end in (awake, bell):
        end.setblocking(False)
    signal.set_wakeup_fd(bell.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: stopping.append(number))
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        pass_fds=passed,
        preexec_fn=_bound_to(os.getpid()),  # noqa: PLW1509 - nothing else runs in this process: no thread, no lock
    )
    for descriptor in passed:
        os.close(descriptor)
    while child.poll() is None:
        ready, _, _ = select.select([lifeline, awake.fileno()], [], [])
        if awake.fileno() in ready:
            with suppress(BlockingIOError):
                awake.recv(4096)
        word = os.read(lifeline, 4096) if lifeline in ready else b"-"
        if not word or b"k" in word or stopping:
            _end_all(signal.SIGKILL)
            child.wait()
        elif b"i" in word:
            child.send_signal(signal.SIGINT)
        if not word:
            shutil.rmtree(folder, ignore_errors=True)
    _end_all(signal.SIGTERM)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def main(words: list[str]) -> int:
    """Run as a program."""
    lifeline, events, folder, *command = words
    _prctl(_SET_CHILD_SUBREAPER, 1)
    return keep(int(lifeline), folder, command, [int(events)])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
