"""Ansible module: mount options that hold now and after a reboot, for file systems, folders and swap."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from playbooks.module_utils import node_fstab, node_owners, node_paths
    from playbooks.module_utils.node_fstab import Wanted
else:
    from ansible.module_utils import node_fstab, node_owners, node_paths
    from ansible.module_utils.node_fstab import Wanted

DOCUMENTATION = r"""
module: node_mounts
short_description: Gives paths their mount options, in /etc/fstab and on the running node
description:
  - A path that is a file system of its own keeps it and gets the options.
  - A folder that is none becomes a mount of its own, bound onto itself, with the options.
  - What cannot be done on the running node without loss is written for the next start and returned in C(refused).
options:
  mounts:
    description: Paths and their options.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Absolute path., type: path, required: true}
      options:
        description: Mount options; a group after C(gid=) may be given by name.
        type: list
        elements: str
        required: true
      type: {description: The file system of a new line; none binds the folder., type: str, default: none}
      make: {description: "The mode of a missing folder; without it, it is passed over.", type: str}
  swap:
    description: false takes swap lines out of /etc/fstab and stops swapping.
    type: bool
    default: true
author: [gcloud-pk]
attributes:
  check_mode: {support: full, description: Says exactly what a run would change.}
  diff_mode: {support: full, description: Shows /etc/fstab and the options of the running node.}
"""

EXAMPLES = r"""
- name: Temporary folders
  node_mounts:
    mounts:
      - {path: /tmp, options: [nodev, nosuid, noexec], type: tmpfs}
      - {path: /var/tmp, options: [nodev, nosuid, noexec]}
    swap: false
"""

RETURN = r"""
paths:
  description: What changed.
  type: list
  elements: str
  returned: always
refused:
  description: Paths whose options do not hold on the running node, with the reason.
  type: list
  elements: dict
  returned: always
missing:
  description: Paths that do not exist.
  type: list
  elements: str
  returned: always
"""

FSTAB = "/etc/fstab"
MOUNTS = "/proc/self/mountinfo"
SWAPS = "/proc/swaps"
CONTAINER = "/run/systemd/container"  # systemd's own mark (org.freedesktop.systemd1: Virtualization)


def wanted_of(one: dict[str, Any]) -> Wanted:
    """Return an entry with its group as a number; an unknown group stays a name, which check mode shows."""
    options = []
    for option in one["options"]:
        key, sign, value = option.partition("=")
        number = node_owners.group_of(value) if key == "gid" and sign else node_owners.UNKNOWN
        options.append(option if number == node_owners.UNKNOWN else f"gid={number}")
    return Wanted(one["path"], tuple(options), one["type"])


def _swapping() -> bool:
    """Whether this node's own kernel swaps; a container shows its host's."""
    return not Path(CONTAINER).exists() and len(Path(SWAPS).read_text(encoding="utf-8").splitlines()) > 1


class Node:
    """The running node: its programs, and what was refused on it."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.refused: list[dict[str, str]] = []

    def refuse(self, path: str, why: str) -> None:
        """Note that the options of a path do not hold now."""
        self.refused.append({"key": path, "wanted": "mount options", "live": "as before", "why": why})

    def run(self, path: str, *command: str) -> bool:
        """Run a program without a shell; a failure is noted against `path`."""
        code, output, errors = self.module.run_command([self.module.get_bin_path(command[0], True), *command[1:]])
        if code:
            self.refuse(path, (output + errors).strip()[:300])
        return not code

    def follow(self, steps: list[node_fstab.Step]) -> list[node_fstab.Step]:
        """Do the steps; return those that held."""
        return [step for step in steps if all(self.run(step.path, *command) for command in step.commands)]


def main() -> None:
    entry = {
        "path": {"type": "path", "required": True},
        "options": {"type": "list", "elements": "str", "required": True},
        "type": {"type": "str", "default": "none"},
        "make": {"type": "str"},
    }
    module = AnsibleModule(
        argument_spec={
            "mounts": {"type": "list", "elements": "dict", "default": [], "options": entry},
            "swap": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    node = Node(module)
    given = module.params
    try:
        made = [one["path"] for one in given["mounts"] if one["make"] and not Path(one["path"]).is_dir()]
        there = [one for one in given["mounts"] if one["make"] or Path(one["path"]).is_dir()]
        missing = [one["path"] for one in given["mounts"] if one not in there]
        wanted = node_fstab.combined([wanted_of(one) for one in there])
        live = node_fstab.live(Path(MOUNTS).read_text(encoding="utf-8"))
        found = node_paths.read(FSTAB)
        before = found[0] if found else ""
        table = node_fstab.edited(before, wanted, live, swap=given["swap"])
        steps, late = node_fstab.steps(wanted, live)
        if not given["swap"] and _swapping():
            steps.append(node_fstab.Step("swap", "on\n", "off\n", (("swapoff", "-a"),)))
        if not module.check_mode:
            for one in there:
                if one["path"] in made:
                    os.close(node_paths.open_folder(one["path"], make=int(one["make"], 8)))
            if table.text != before:
                mode = stat.S_IMODE(found[1].st_mode) if found else 0o644
                node_paths.write(FSTAB, table.text, mode=mode, owner=0, group=0)
                module.run_command([module.get_bin_path("systemctl", True), "daemon-reload"])
            steps = node.follow(steps)
    except (node_paths.Refused, OSError, ValueError) as error:
        module.fail_json(msg=str(error))
    for path, why in [*table.foreign, *late]:
        node.refuse(path, why)
    diff = [
        {"before": step.before, "after": step.after, "before_header": step.path, "after_header": step.path}
        for step in steps
    ]
    if table.text != before:
        diff.insert(0, {"before": before, "after": table.text, "before_header": FSTAB, "after_header": FSTAB})
    if node.refused:
        module.warn("; ".join(f"{one['key']}: {one['why']}" for one in node.refused))
    module.exit_json(
        changed=bool(diff or made),
        paths=[one["before_header"] for one in diff],
        diff=diff,
        refused=node.refused,
        missing=missing,
    )


if __name__ == "__main__":
    main()
