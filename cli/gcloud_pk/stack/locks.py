"""Locks of a stack, as the engine writes them into a backend of files or objects: who holds one, and whether he lives.

Source of the form: Pulumi's DIY backend (pkg/backend/diy/lock.go): `{"pid", "username", "hostname", "timestamp"}`; a
second run is told of `created by USER@HOST (pid N) at TIME`.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SAID = re.compile(r"created by (?P<user>[^\s@]*)@(?P<host>\S+) \(pid (?P<pid>\d{1,9})\) at (?P<since>\S+)")
_TOLERANCE = 5.0
"""Seconds by which a process may seem to have begun after it wrote its lock: the clock may have been set."""


@dataclass(frozen=True)
class Lock:
    """One lock. `since` is as the engine wrote it, RFC 3339."""

    user: str
    host: str
    pid: int
    since: str

    def __str__(self) -> str:
        return f"{self.user}@{self.host} since {self.since}, process {self.pid}"

    @property
    def here(self) -> bool:
        """Whether a process of this machine wrote it, as far as its name says."""
        return self.host == socket.gethostname()

    def is_dead(self) -> bool:
        """Whether its process ran on this machine and does not any more; False where that cannot be told."""
        if not self.here:
            return False
        begun = began(self.pid)
        if begun is None:
            return True
        taken = _moment(self.since)
        # Another process can have the number by now.
        return taken is not None and begun > taken + _TOLERANCE


def from_words(text: str) -> list[Lock]:
    """Return the locks that the engine names where it refuses."""
    return [Lock(m["user"], m["host"], int(m["pid"]), m["since"]) for m in _SAID.finditer(text)]


def from_folder(folder: Path) -> list[Lock]:
    """Return the locks of one stack in a backend of files; what cannot be read is somebody's, nobody knows whose."""
    return list(_read(folder))


def _read(folder: Path) -> Iterator[Lock]:
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(".json"))
    except FileNotFoundError:
        return
    for name in names:
        try:
            said = json.loads((folder / name).read_bytes())
            yield Lock(str(said["username"]), str(said["hostname"]), int(said["pid"]), str(said["timestamp"]))
        except FileNotFoundError:
            continue  # given back meanwhile
        except (ValueError, KeyError, TypeError):
            yield Lock("somebody", "unknown", 0, "an unknown time")


def began(pid: int) -> float | None:
    """Return when a process began, in seconds since the epoch; None where there is none, or it is a zombie.

    Source: proc(5), /proc/PID/stat field 22, and btime of /proc/stat.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = re.search(r"^btime (\d+)$", Path("/proc/stat").read_text(encoding="ascii"), re.MULTILINE)
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    if fields[0] in {"Z", "X"}:
        return None
    return (int(boot[1]) if boot else 0) + int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _moment(text: str) -> float | None:
    # Go writes nanoseconds and `Z` or an offset; Python reads microseconds.
    trimmed = re.sub(r"(\.\d{6})\d+", r"\1", text)
    try:
        return dt.datetime.fromisoformat(trimmed).timestamp()
    except ValueError:
        return None
