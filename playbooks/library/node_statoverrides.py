"""Ansible module: modes of packaged programs that outlive an upgrade of the package."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from playbooks.module_utils import node_owners, node_paths
    from playbooks.module_utils.node_paths import Refused
else:
    from ansible.module_utils import node_owners, node_paths
    from ansible.module_utils.node_paths import Refused

DOCUMENTATION = r"""
module: node_statoverrides
short_description: Fixes modes and owners of packaged programs for good
description:
  - dpkg gives a program its packaged mode back at each upgrade. An override (dpkg-statoverride) keeps ours.
  - Programs that are not there are passed over. Mode and owner of the file itself are set too.
options:
  overrides:
    description: The programs.
    type: list
    elements: dict
    required: true
    suboptions:
      path: {description: "Absolute path, or a pattern.", type: str, required: true}
      mode: {description: Four octal digits., type: str, required: true}
      owner: {description: User by name., type: str, default: root}
      group: {description: Group by name., type: str, default: root}
author: [gcloud-pk]
attributes:
  check_mode: {support: full, description: Says exactly what a run would change.}
  diff_mode: {support: full, description: Shows modes and owners.}
"""

EXAMPLES = r"""
- name: Nobody mounts but root
  node_statoverrides:
    overrides:
      - {path: /usr/bin/mount, mode: "0755"}
"""

RETURN = r"""
paths:
  description: What changed.
  type: list
  elements: str
  returned: always
"""

_DATABASE = "/var/lib/dpkg/statoverride"
_PROGRAM = "dpkg-statoverride"
_TIMEOUT = 60  # seconds; dpkg may be waiting for its lock


class Override(NamedTuple):
    """Who owns a path, and its mode in octal without leading zeros, as dpkg writes it."""

    owner: str
    group: str
    mode: str

    def shown(self) -> str:
        """Return the override as the diff shows it."""
        return f"{self.owner} {self.group} {int(self.mode, 8):04o}\n"


def overrides_of(database: str) -> dict[str, Override]:
    """Return path → override of dpkg's database (dpkg-statoverride(1)); lines that are none are passed over."""
    found = {}
    for line in database.splitlines():
        fields = line.split(" ", 3)
        if len(fields) == 4:
            owner, group, mode, path = fields
            found[path] = Override(owner, group, mode.lstrip("0") or "0")
    return found


def wanted_of(entries: list[dict[str, Any]]) -> dict[str, Override]:
    """Return path → override for the programs that are there, links left out. Raises `Refused` for what is no mode."""
    found = {}
    for one in entries:
        mode = one["mode"]
        if len(mode) != 4 or not set(mode) <= set("01234567"):
            raise Refused(f"{one['path']}: not a mode of four octal digits: {mode!r}")
        for path in node_paths.find(one["path"]):
            if node_paths.target_of(path) == path:
                found[path] = Override(one["owner"], one["group"], mode.lstrip("0") or "0")
    return found


def on_disk(path: str, wanted: Override) -> bool:
    """Whether a file has the mode and owner of an override."""
    with node_paths.parent_of(path) as entry:
        found = node_paths.status(entry)
    return found is not None and (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (
        int(wanted.mode, 8),
        node_owners.user_of(wanted.owner),
        node_owners.group_of(wanted.group),
    )


def _set(path: str, wanted: Override) -> None:
    arguments = [_PROGRAM, "--force-all", "--update", "--add", wanted.owner, wanted.group, f"0{wanted.mode}", path]
    answer = subprocess.run(arguments, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    if answer.returncode:
        raise Refused(f"{path}: {answer.stderr.strip()}")


def main() -> None:
    entry = {
        "path": {"type": "str", "required": True},
        "mode": {"type": "str", "required": True},
        "owner": {"type": "str", "default": "root"},
        "group": {"type": "str", "default": "root"},
    }
    module = AnsibleModule(
        argument_spec={"overrides": {"type": "list", "elements": "dict", "options": entry, "required": True}},
        supports_check_mode=True,
    )
    done: list[str] = []
    try:
        read = node_paths.read(_DATABASE)
        now = overrides_of(read[0]) if read else {}
        changes = {
            path: wanted
            for path, wanted in wanted_of(module.params["overrides"]).items()
            if now.get(path) != wanted or not on_disk(path, wanted)
        }
        for path, wanted in {} if module.check_mode else changes.items():
            _set(path, wanted)
            done.append(path)
    except (Refused, OSError, subprocess.TimeoutExpired) as error:
        module.fail_json(msg=str(error), paths=done, changed=bool(done))
    module.exit_json(
        changed=bool(changes),
        paths=list(changes),
        diff=[
            {
                "before": now[path].shown() if path in now else "",
                "after": wanted.shown(),
                "before_header": path,
                "after_header": path,
            }
            for path, wanted in changes.items()
        ],
    )


if __name__ == "__main__":
    main()
