"""What a run that was killed left at work: an engine, a plug-in. Found by the mark that each has in its environment.

Only for him who holds the site's lock on this machine: then whoever carries the mark is of a run that is over.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gcloud_pk.stack.locks import began

MARK = "GCLOUD_PK_SESSION"
"""The environment variable that tells a site's engine and plug-ins from others: the folder of the site's runs."""

GENTLE = 60.0
"""Seconds that what is in flight gets to come to an end: a task on a node is not torn off where it can be helped."""
FIRM = 10.0
"""Seconds from SIGTERM to SIGKILL."""


@dataclass(frozen=True)
class Leftover:
    """One process. `start`: when it began, so that its number is not mistaken for another's."""

    pid: int
    name: str
    start: float

    @property
    def alive(self) -> bool:
        """Whether it is still there."""
        return began(self.pid) == self.start

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it is still the same."""
        if self.alive:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, number)


def find(mark: str) -> list[Leftover]:
    """Return the processes of this user that carry the mark, this one aside."""
    return list(_marked(f"{MARK}={mark}".encode()))


def _marked(word: bytes) -> Iterator[Leftover]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            if word in (entry / "environ").read_bytes().split(b"\0"):
                start = began(int(entry.name))
                name = (entry / "comm").read_text(encoding="utf-8", errors="replace").strip()
                if start is not None:
                    yield Leftover(int(entry.name), name, start)


def clear(
    mark: str, say: Callable[[str], None], *, gentle: float = GENTLE, firm: float = FIRM, pause: float = 0.2
) -> int:
    """Have them come to an end: engines asked first, then told, then killed. Returns how many there were.

    Plug-ins end by themselves when their engine has gone and nothing is in flight.
    """
    found = find(mark)
    if not found:
        return 0
    say(f"a run that was stopped is still at work ({', '.join(f'{one.name} {one.pid}' for one in found)}): waiting")
    for one in found:
        if one.name == "pulumi":
            one.send(signal.SIGINT)
    if not _gone(mark, gentle, pause):
        for one in find(mark):
            one.send(signal.SIGTERM)
        if not _gone(mark, firm, pause):
            for one in find(mark):
                one.send(signal.SIGKILL)
            _gone(mark, firm, pause)
    return len(found)


def _gone(mark: str, patience: float, pause: float) -> bool:
    end = time.monotonic() + patience
    while find(mark):
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True
