"""Ansible module: modes and owners of many paths in one call."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from playbooks.module_utils import node_modes_rules, node_owners, node_paths
    from playbooks.module_utils.node_paths import Refused
else:
    from ansible.module_utils import node_modes_rules, node_owners, node_paths
    from ansible.module_utils.node_paths import Refused

DOCUMENTATION = r"""
module: node_modes
short_description: Sets modes and owners of many paths in one call
description:
  - Paths and patterns; what is not there is fine. Symbolic links are never followed and never changed.
  - In a folder where others may put names, a file with more than one hard link is left alone and reported.
options:
  paths:
    description: The paths; later entries win over earlier ones.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Absolute path, or a pattern with C(*), C(?), C([…]), C(**) (any depth).
        type: str
        required: true
      mode: {description: "Four octal digits (exact) or symbolic as chmod(1) has it, such as C(go-w,o-rwx).", type: str}
      owner: {description: User by name or number., type: str}
      group: {description: Group by name or number., type: str}
      kind: {description: Which of the matches are meant., type: str, choices: [file, folder, any], default: any}
author: [gcloud-pk]
attributes:
  check_mode: {support: full, description: Says exactly what a run would change.}
  diff_mode: {support: full, description: Shows modes and owners.}
"""

EXAMPLES = r"""
- name: Nobody but root reads planned jobs
  node_modes:
    paths:
      - {path: /etc/crontab, mode: "0600", owner: root, group: root}
      - {path: "/var/log/**", mode: "o-rwx", kind: file}
"""

RETURN = r"""
paths:
  description: What changed.
  type: list
  elements: str
  returned: always
passed_over:
  description: Matches that were left alone, with the reason.
  type: list
  elements: str
  returned: always
"""


class State(NamedTuple):
    """Mode (12 bits), owner and group of a path."""

    mode: int
    owner: int
    group: int

    def shown(self) -> str:
        """Return the state as the diff shows it."""
        return f"mode {self.mode:04o}, owner {self.owner}:{self.group}\n"


class Wish(NamedTuple):
    """One entry, its names resolved; None: as it is."""

    path: str
    mode: str | None
    owner: int | None
    group: int | None
    kind: str


def wishes(entries: list[dict[str, Any]], unknown: list[str]) -> list[Wish]:
    """Resolve the names of owners; those that nobody has go to `unknown`. Raises `Refused` for a mode that is none."""
    found = []
    for one in entries:
        mode = one.get("mode")
        if mode is not None:
            try:
                node_modes_rules.changed(mode, 0, folder=False)
            except ValueError as error:
                raise Refused(f"{one['path']}: {error}") from error
        owner = node_owners.user_of(one["owner"]) if one.get("owner") else None
        group = node_owners.group_of(one["group"]) if one.get("group") else None
        if node_owners.UNKNOWN in {owner, group}:
            unknown.append(f"{one['path']}: no user or group {one.get('owner')}:{one.get('group')}")
        found.append(Wish(one["path"], mode, owner, group, one.get("kind") or "any"))
    return found


def plan(wished: list[Wish], passed_over: list[str]) -> dict[str, tuple[State, State]]:
    """Return what changes: path → state now and state wanted. Reads only."""
    states: dict[str, tuple[State, State]] = {}
    for wish in wished:
        for path in node_paths.find(wish.path):
            now = _now(path, wish.kind, passed_over)
            if now is None:
                continue
            found, before = now
            reached = states[path][1] if path in states else before
            states[path] = (before, _wanted(wish, reached, folder=stat.S_ISDIR(found.st_mode)))
    return {path: state for path, state in states.items() if state[0] != state[1]}


def _now(path: str, kind: str, passed_over: list[str]) -> tuple[os.stat_result, State] | None:
    try:
        with node_paths.parent_of(path) as entry:
            found = node_paths.status(entry)
            safe = node_paths.trusted(entry.folder)
    except FileNotFoundError:
        return None
    if found is None or stat.S_ISLNK(found.st_mode):
        return None
    folder = stat.S_ISDIR(found.st_mode)
    if (kind == "folder" and not folder) or (kind == "file" and not stat.S_ISREG(found.st_mode)):
        return None
    if not folder and found.st_nlink > 1 and not safe:
        passed_over.append(f"{path}: {found.st_nlink} hard links in a folder where others may make them")
        return None
    return found, State(stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)


def _wanted(wish: Wish, now: State, *, folder: bool) -> State:
    return State(
        now.mode if wish.mode is None else node_modes_rules.changed(wish.mode, now.mode, folder=folder),
        now.owner if wish.owner is None else wish.owner,
        now.group if wish.group is None else wish.group,
    )


def main() -> None:
    entry = {
        "path": {"type": "str", "required": True},
        "mode": {"type": "str"},
        "owner": {"type": "str"},
        "group": {"type": "str"},
        "kind": {"type": "str", "choices": ["file", "folder", "any"], "default": "any"},
    }
    module = AnsibleModule(
        argument_spec={"paths": {"type": "list", "elements": "dict", "options": entry, "required": True}},
        supports_check_mode=True,
    )
    done: list[str] = []
    passed_over: list[str] = []
    unknown: list[str] = []
    try:
        changes = plan(wishes(module.params["paths"], unknown), passed_over)
        if unknown and not module.check_mode:
            module.fail_json(msg="Nothing was changed. " + " | ".join(unknown), paths=[])
        for path, (_, wanted) in {} if module.check_mode else changes.items():
            with node_paths.parent_of(path) as found:
                node_paths.set_status(found, mode=wanted.mode, owner=wanted.owner, group=wanted.group)
            done.append(path)
    except (Refused, OSError) as error:
        module.fail_json(msg=str(error), paths=done, changed=bool(done))
    if passed_over:
        module.warn("Left alone: " + "; ".join(passed_over))
    module.exit_json(
        changed=bool(changes),
        paths=list(changes),
        passed_over=passed_over,
        diff=[
            {"before": before.shown(), "after": after.shown(), "before_header": path, "after_header": path}
            for path, (before, after) in changes.items()
        ],
    )


if __name__ == "__main__":
    main()
