"""How many more nodes the machine's inotify instances are enough for (inotify(7), fs.inotify of sysctl).

They are counted for each user, and the roots of all nodes are one user: without one, a node's systemd boots but
starts no sshd.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

EACH = 9
"""Instances that a booted node of Debian 12 takes: 128 are used up by 14 nodes."""

_PROC = Path("/proc")
LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")
_PLENTY = 1024

IN_A_CLUSTER = 24
"""Instances of a node with containerd, kubelet and a control plane's pods: six nodes use up 128."""


@dataclass(frozen=True)
class Room:
    """Instances that root may have, and those that it has."""

    limit: int
    used: int
    each: int = EACH

    def enough(self, nodes: int) -> bool:
        """Whether so many nodes more can boot."""
        return self.limit - self.used >= nodes * self.each

    @property
    def words(self) -> str:
        """What was found."""
        left = max(0, self.limit - self.used)
        return f"{left} of {self.limit} are left (fs.inotify.max_user_instances), and a node takes about {self.each}"

    @property
    def remedy(self) -> str:
        """What to do where they are too few."""
        return f"sysctl -w fs.inotify.max_user_instances={max(_PLENTY, 2 * self.limit)}"


def room(each: int = EACH, own: Collection[int] = ()) -> Room | None:
    """Return what there is now, for nodes that take so many each; None where the kernel does not say.

    `own`: processes of the nodes that are asked about, which have some already, or give them back when they go.
    """
    try:
        limit = int(LIMIT.read_text())
    except (OSError, ValueError):
        return None
    processes = (folder for folder in _PROC.iterdir() if folder.name.isdigit() and int(folder.name) not in own)
    used = sum(map(_instances, processes))
    return Room(limit, used, each)


def _instances(process: Path) -> int:
    found = 0
    with suppress(OSError):  # it is gone, or somebody else's
        if process.stat().st_uid != 0:
            return 0
        for entry in (process / "fd").iterdir():
            with suppress(OSError):
                found += str(entry.readlink()) == "anon_inode:inotify"
    return found
