"""Ansible module: one walk over a node's own files for what stands out. Changes nothing."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]

DOCUMENTATION = r"""
module: node_scan
short_description: Finds privileged, world-writable and ownerless files in one walk
description:
  - Walks the root file system and the other local file systems that are mounted below it; symbolic links, network file
    systems, pseudo file systems and the folders in O(skip) are passed over. Reads only.
options:
  skip:
    description: Folders that are not walked into, such as those of containers.
    type: list
    elements: path
    default: []
  look_for:
    description: Paths of files that are looked up beside the walk.
    type: list
    elements: path
    default: []
  system:
    description: Folders in which nobody but root writes; what a group or everybody may write to there is C(loose).
    type: list
    elements: path
    default: []
  known_privileged:
    description: Programs that may have privileges; others are told in a warning. None means that nothing is told.
    type: list
    elements: path
    default: []
  warn_ownerless:
    description: Whether files that nobody owns are told in a warning.
    type: bool
    default: false
author: [gcloud-pk]
attributes:
  check_mode: {support: full, description: It changes nothing in either mode.}
"""

EXAMPLES = r"""
- name: What stands out
  node_scan:
    skip: [/var/lib/containerd]
  register: found
"""

RETURN = r"""
privileged:
  description: Programs with a set-user-id or set-group-id bit, sorted.
  type: list
  elements: str
  returned: always
capable:
  description: Other programs with file capabilities, sorted.
  type: list
  elements: str
  returned: always
world_writable:
  description: Files that everybody may write to, sorted.
  type: list
  elements: str
  returned: always
not_sticky:
  description: Folders that everybody may write to, without the sticky bit, sorted.
  type: list
  elements: str
  returned: always
present:
  description: Those of O(look_for) that are regular files, in their order.
  type: list
  elements: str
  returned: always
loose:
  description: Files and folders of O(system) that a group other than root's, or everybody, may write to, sorted.
  type: list
  elements: str
  returned: always
ownerless:
  description: Files and folders whose owner or group does not exist, sorted.
  type: list
  elements: str
  returned: always
"""

LOCAL = {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "overlay", "tmpfs", "vfat"}
_SHOWN = 20  # paths of a warning
_CAPABILITY = "security.capability"


def mount_points(mountinfo: str) -> dict[str, str]:
    """Return mount point → type of file system, the last mount of a point counting (proc(5), mountinfo)."""
    found = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, rest = before.split(), after.split()
        if len(fields) > 4 and rest:
            found[fields[4].encode("latin-1", "replace").decode("unicode_escape")] = rest[0]
    return found


class Found:
    """What a walk collects."""

    def __init__(self, users: set[int], groups: set[int], system: tuple[str, ...]) -> None:
        self.users = users
        self.groups = groups
        self.system = system
        self.loose: list[str] = []
        self.privileged: list[str] = []
        self.capable: list[str] = []
        self.world_writable: list[str] = []
        self.not_sticky: list[str] = []
        self.ownerless: list[str] = []

    def take(self, path: str, found: os.stat_result) -> None:
        """Sort one entry, which is no link, into where it belongs."""
        mode = found.st_mode
        if found.st_uid not in self.users or found.st_gid not in self.groups:
            self.ownerless.append(path)
        writable = mode & 0o002 or (mode & 0o020 and found.st_gid != 0)
        if writable and path.startswith(self.system) and not (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
            self.loose.append(path)
        if stat.S_ISDIR(mode):
            if mode & 0o002 and not mode & stat.S_ISVTX:
                self.not_sticky.append(path)
        elif stat.S_ISREG(mode):
            if mode & 0o002:
                self.world_writable.append(path)
            if mode & 0o111 and mode & (stat.S_ISUID | stat.S_ISGID):
                self.privileged.append(path)
            elif mode & 0o111 and _has_capabilities(path):
                self.capable.append(path)


def _has_capabilities(path: str) -> bool:
    try:
        return bool(os.getxattr(path, _CAPABILITY, follow_symlinks=False))
    except OSError:
        return False


def walk(top: str, skip: set[str]) -> Iterator[tuple[str, os.stat_result]]:
    """Yield path and status of what lies below a folder, the folder too; no links, nothing below `skip`."""
    pending = [top]
    with contextlib.suppress(OSError):
        yield top, os.lstat(top)
    while pending:
        folder = pending.pop()
        try:
            entries = os.scandir(folder)
        except OSError:
            continue  # it went away
        with entries:
            for entry in entries:
                if entry.path in skip or entry.is_symlink():
                    continue
                try:
                    found = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                yield entry.path, found
                if stat.S_ISDIR(found.st_mode):
                    pending.append(entry.path)


def _listed(paths: list[str]) -> str:
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return ", ".join(paths[:_SHOWN]) + more


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "skip": {"type": "list", "elements": "path", "default": []},
            "look_for": {"type": "list", "elements": "path", "default": []},
            "system": {"type": "list", "elements": "path", "default": []},
            "known_privileged": {"type": "list", "elements": "path", "default": []},
            "warn_ownerless": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    mounts = mount_points(Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace"))
    foreign = {point for point, kind in mounts.items() if kind not in LOCAL and point != "/"}
    found = Found(
        {one.pw_uid for one in pwd.getpwall()},
        {one.gr_gid for one in grp.getgrall()},
        tuple(f"{one.rstrip('/')}/" for one in module.params["system"]),
    )
    for path, status in walk("/", {*module.params["skip"], *foreign, "/proc", "/sys", "/dev"}):
        found.take(path, status)
    # Packages name programs in /bin, which is /usr/bin.
    known = {os.path.realpath(one) for one in module.params["known_privileged"]}
    unknown = sorted({*found.privileged, *found.capable} - known) if known else []
    if unknown:
        module.warn(f"Programs that have privileges and that nobody named: {_listed(unknown)}")
    if found.ownerless and module.params["warn_ownerless"]:
        module.warn(f"Files that no user or group of this node owns: {_listed(sorted(found.ownerless))}")
    module.exit_json(
        changed=False,
        loose=sorted(found.loose),
        privileged=sorted(found.privileged),
        capable=sorted(found.capable),
        world_writable=sorted(found.world_writable),
        not_sticky=sorted(found.not_sticky),
        ownerless=sorted(found.ownerless),
        present=[one for one in module.params["look_for"] if Path(one).is_file() and not Path(one).is_symlink()],
    )


if __name__ == "__main__":
    main()
