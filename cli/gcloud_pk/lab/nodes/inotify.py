"""How many more nodes the machine's inotify instances are enough for (inotify(7), fs.inotify of sysctl).

They are counted for each user, and the roots of all nodes are one user: without one, a node's systemd boots but
starts no sshd.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

EACH = 9
"""Instances that a booted node of Debian 12 takes: 128 are used up by 14 nodes."""

LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")
_PLENTY = 1024


@dataclass(frozen=True)
class Room:
    """Instances that root may have, and those that it has."""

    limit: int
    used: int

    def enough(self, nodes: int) -> bool:
        """Whether so many nodes more can boot."""
        return self.limit - self.used >= nodes * EACH

    @property
    def words(self) -> str:
        """What was found."""
        left = max(0, self.limit - self.used)
        return f"{left} of {self.limit} are left (fs.inotify.max_user_instances), and a node takes about {EACH}"

    @property
    def remedy(self) -> str:
        """What to do where they are too few."""
        return f"sysctl -w fs.inotify.max_user_instances={max(_PLENTY, 2 * self.limit)}"


def room() -> Room | None:
    """Return what there is now; None where the kernel does not say."""
    try:
        limit = int(LIMIT.read_text())
    except (OSError, ValueError):
        return None
    return Room(limit, sum(_instances(folder) for folder in Path("/proc").iterdir() if folder.name.isdigit()))


def _instances(process: Path) -> int:
    found = 0
    with suppress(OSError):  # it is gone, or somebody else's
        if process.stat().st_uid != 0:
            return 0
        for entry in (process / "fd").iterdir():
            with suppress(OSError):
                found += str(entry.readlink()) == "anon_inode:inotify"
    return found
