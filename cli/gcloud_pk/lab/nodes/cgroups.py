"""A cgroup in every hierarchy for each node: systemd inside gets a tree of its own, and all it runs is found again.

A process cannot leave its cgroup by dying or forking, so that what a killed run left is found without any record.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_PROCS = "cgroup.procs"
_POLL = 0.02
_PATIENCE = 10.0
"""Seconds until the kernel has ended what was killed; one in uninterruptible sleep is the kernel's."""


def hierarchies(mountinfo: str) -> list[Path]:
    """Return where cgroup hierarchies (version 1 or 2) are mounted, from the text of /proc/PID/mountinfo (proc(5))."""
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        where = before.split(" ")[4]
        if after.split(" ")[0] in {"cgroup", "cgroup2"} and Path(where).is_relative_to(_ROOT):
            found.append(Path(where))
    return sorted(set(found))


def mounted() -> list[Path]:
    """Return where cgroup hierarchies are mounted on this machine."""
    return hierarchies(Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace"))


def make(name: str) -> list[Path]:
    """Make the cgroup `name` (a path below the root) in every hierarchy; return the files that take a process's id."""
    entries = []
    for hierarchy in mounted():
        group = hierarchy
        for part in Path(name).parts:
            parent, group = group, group / part
            group.mkdir(exist_ok=True)
            _inherit_processors(parent, group)
        entries.append(group / _PROCS)
    return entries


def _inherit_processors(parent: Path, group: Path) -> None:
    """Copy processors and memory nodes: a cpuset of version 1 takes no process without them (cpuset(7))."""
    if not (group / "cgroup.clone_children").exists() or not (group / "cpuset.cpus").exists():
        return  # another controller, or version 2
    for name in ("cpuset.cpus", "cpuset.mems"):
        if not (group / name).read_text(encoding="ascii").strip():
            (group / name).write_text((parent / name).read_text(encoding="ascii"), encoding="ascii")
    (group / "cgroup.clone_children").write_text("1", encoding="ascii")


def join(name: str) -> None:
    """Move this process into the cgroup `name` of every hierarchy."""
    for entry in make(name):
        entry.write_text(str(os.getpid()), encoding="ascii")


def members(name: str) -> set[int]:
    """Return the ids of all processes in the cgroup `name` and below, in any hierarchy."""
    return {pid for hierarchy in mounted() for pid in _members(hierarchy / name)}


def _members(group: Path) -> Iterator[int]:
    for folder, _, _ in os.walk(group):
        # A group can vanish while we look; one of version 2 that is threaded lists no processes.
        with suppress(OSError):
            yield from map(int, (Path(folder) / _PROCS).read_text(encoding="ascii").split())


def end(name: str) -> None:
    """Kill all that is in the cgroup `name`, wait until it is gone, and remove the cgroup."""
    limit = time.monotonic() + _PATIENCE
    while left := members(name):
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > limit:
            break
        time.sleep(_POLL)
    remove(name)


def remove(name: str) -> None:
    """Remove the cgroup `name` and those below it, where no process is left in them."""
    for hierarchy in mounted():
        for folder, _, _ in os.walk(hierarchy / name, topdown=False):
            with suppress(OSError):
                Path(folder).rmdir()


def left(name: str) -> list[Path]:
    """Return where the cgroup `name` is still there."""
    return [hierarchy / name for hierarchy in mounted() if (hierarchy / name).is_dir()]
