"""Ansible module: many configuration files in one call, all validated before the first is written."""

from __future__ import annotations

import functools
import os
import re
import shlex
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from playbooks.module_utils import node_owners, node_paths, node_settings
    from playbooks.module_utils.node_paths import Refused
else:
    from ansible.module_utils import node_owners, node_paths, node_settings
    from ansible.module_utils.node_paths import Refused

DOCUMENTATION = r"""
module: node_files
short_description: Puts many configuration files in place in one call
description:
  - Writes whole files, sets single keys in files that others own too, makes folders and removes files.
  - Every candidate is validated before the first one is written; each is then written aside, synced and renamed.
  - Symbolic links are followed only where nobody but root could have made them.
options:
  files:
    description: Files that are wholly ours.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Absolute path., type: path, required: true}
      content: {description: The whole text., type: str, required: true}
      mode: {description: Four octal digits., type: str, default: "0644"}
      owner: {description: User by name or number., type: str, default: root}
      group: {description: Group by name or number., type: str, default: root}
      validate: {description: A command that judges the candidate; C(%s) is its path. No shell., type: str}
  settings:
    description: Keys in files that others own too. Owner and mode of an existing file stay.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Absolute path., type: path, required: true}
      separator: {description: What stands between key and value., type: str, default: " "}
      comment: {description: What begins a comment., type: str, default: "#"}
      values: {description: Key to value; null comments the key out., type: dict, required: true}
      validate: {description: As for files., type: str}
  replacements:
    description: Texts that are replaced in existing files that others own, such as a word that switches a check off.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Absolute path or pattern., type: str, required: true}
      regexp: {description: A regular expression of Python; C(^) and C($) match at lines., type: str, required: true}
      replace: {description: What stands there instead; C(\1) is the first group., type: str, required: true}
  folders:
    description: Folders that exist with exactly this mode and owner.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Absolute path., type: path, required: true}
      mode: {description: Four octal digits., type: str, default: "0755"}
      owner: {description: User by name or number., type: str, default: root}
      group: {description: Group by name or number., type: str, default: root}
  links:
    description: Symbolic links with exactly this target. What stands there is replaced, unless it is a folder.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Absolute path., type: path, required: true}
      target: {description: What the link says., type: str, required: true}
  absent:
    description: Paths or patterns that are removed; a folder only if its path ends with a slash.
    type: list
    elements: str
    default: []
author: [gcloud-pk]
attributes:
  check_mode: {support: full, description: Says exactly what a run would change.}
  diff_mode: {support: full, description: Shows texts, modes and owners.}
"""

EXAMPLES = r"""
- name: The sudo policy
  node_files:
    files:
      - path: /etc/sudoers.d/10-baseline
        content: "{{ lookup('ansible.builtin.template', 'baseline.j2') }}"
        mode: "0440"
        validate: visudo -cf %s
    settings:
      - path: /etc/login.defs
        values: {UMASK: "027"}
    absent: [/etc/sudoers.d/*-cloud-init]
"""

RETURN = r"""
paths:
  description: What changed.
  type: list
  elements: str
  returned: always
"""


class Change(NamedTuple):
    """One thing to do, with what is shown of it."""

    path: str
    act: Callable[[], None]
    before: str
    after: str
    header: str = ""

    def diff(self) -> dict[str, str]:
        """Return the change as Ansible shows it."""
        return {
            "before": self.before,
            "after": self.after,
            "before_header": self.path + self.header,
            "after_header": self.path + self.header,
        }


class Candidate(NamedTuple):
    """A text that waits for its validator."""

    path: str
    content: str
    validate: str | None


class Plan(NamedTuple):
    """What would be done, in order, and the texts that have to be judged before."""

    changes: list[Change]
    candidates: list[Candidate]
    unknown: list[str]


def mode_of(text: str) -> int:
    """Return the bits of four octal digits; raises `Refused` for anything else."""
    if len(text) != 4 or not set(text) <= set("01234567"):
        raise Refused(f"{text!r}: a mode is four octal digits in quotes, such as '0640'")
    return int(text, 8)


class Edit(NamedTuple):
    """A file of others: what it is (None: not there), what it becomes, and its validator."""

    before: str | None
    after: str
    validate: str | None


def plan(given: dict[str, Any]) -> Plan:
    """Compare what is wanted (the module's options) with what is there; reads only. Raises `Refused`."""
    changes: list[Change] = []
    candidates: list[Candidate] = []
    unknown: list[str] = []
    for one in given["folders"]:
        changes += _folder(one, unknown)
    for one in given["files"]:
        found = _file(one, unknown)
        changes += found
        if found:
            candidates.append(Candidate(one["path"], one["content"], one.get("validate")))
    for path, edit in _edits(given).items():
        if edit.before != edit.after and (edit.before is not None or edit.after):
            changes.append(_edited(path, edit))
            candidates.append(Candidate(path, edit.after, edit.validate))
    for one in given["links"]:
        changes += _link(one["path"], one["target"])
    for pattern in given["absent"]:
        changes += _absent(pattern)
    return Plan(changes, candidates, unknown)


def _edits(given: dict[str, Any]) -> dict[str, Edit]:
    """Return the files of others that are named, by the path that holds the text."""
    edits: dict[str, Edit] = {}
    whole = {node_paths.target_of(one["path"]) for one in given["files"]}
    for one in given["settings"]:
        path = node_paths.target_of(one["path"])
        if path in whole:
            raise Refused(f"{path}: both under files and under settings")
        edits[path] = _settled(path, one, edits.get(path))
    for one in given["replacements"]:
        for path in node_paths.find(one["path"]):
            found = edits.get(path) or _read(path)
            if path in whole or found is None:
                continue
            edits[path] = found._replace(after=re.sub(one["regexp"], one["replace"], found.after, flags=re.MULTILINE))
    return edits


def _read(path: str) -> Edit | None:
    """Return a regular file as it is; None for what is not there, and for links and folders."""
    with node_paths.parent_of(path) as entry:
        status = node_paths.status(entry)
    if status is None or not stat.S_ISREG(status.st_mode):
        return None
    found = node_paths.read(path)
    return None if found is None else Edit(found[0], found[0], None)


def _names(one: dict[str, Any], unknown: list[str]) -> tuple[int, int]:
    owner, group = node_owners.user_of(one["owner"]), node_owners.group_of(one["group"])
    if owner == node_owners.UNKNOWN:
        unknown.append(f"{one['path']}: no user {one['owner']}")
    if group == node_owners.UNKNOWN:
        unknown.append(f"{one['path']}: no group {one['group']}")
    return owner, group


def _shown(mode: int, owner: int, group: int) -> str:
    return f"mode {mode:04o}, owner {owner}:{group}\n"


def _status_shown(found: os.stat_result) -> str:
    return _shown(stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)


def _same_status(found: os.stat_result, mode: int, owner: int, group: int) -> bool:
    return (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid) == (mode, owner, group)


def _folder(one: dict[str, Any], unknown: list[str]) -> list[Change]:
    mode = mode_of(one["mode"])
    owner, group = _names(one, unknown)
    path = node_paths.target_of(one["path"])
    try:
        with node_paths.parent_of(path) as entry:
            found = node_paths.status(entry)
    except FileNotFoundError:
        found = None
    if found is not None and not stat.S_ISDIR(found.st_mode):
        raise Refused(f"{path}: not a folder")
    if found is not None and _same_status(found, mode, owner, group):
        return []

    def act() -> None:
        os.close(node_paths.open_folder(path, make=0o755))
        with node_paths.parent_of(path) as entry:
            node_paths.set_status(entry, mode=mode, owner=owner, group=group)

    before = "absent\n" if found is None else _status_shown(found)
    return [Change(path, act, before, _shown(mode, owner, group))]


def _file(one: dict[str, Any], unknown: list[str]) -> list[Change]:
    path, content, mode = one["path"], one["content"], mode_of(one["mode"])
    owner, group = _names(one, unknown)
    try:
        with node_paths.parent_of(path) as entry:
            status = node_paths.status(entry)
    except FileNotFoundError:
        status = None
    link = status is not None and stat.S_ISLNK(status.st_mode)  # replaced by the file, never written through
    found = None if link else node_paths.read(path)

    def write() -> None:
        node_paths.write(path, content, mode=mode, owner=owner, group=group)

    def restate() -> None:
        with node_paths.parent_of(path) as entry:
            node_paths.set_status(entry, mode=mode, owner=owner, group=group)

    if found is None:
        return [Change(path, write, "", content)]
    before, status = found
    same = _same_status(status, mode, owner, group)
    if before != content:
        return [Change(path, write, before, content)]
    return [] if same else [Change(path, restate, _status_shown(status), _shown(mode, owner, group), " (status)")]


def _settled(path: str, one: dict[str, Any], known: Edit | None) -> Edit:
    values: dict[str, str | None] = {}
    for key, value in one["values"].items():
        if isinstance(value, bool):
            raise Refused(f"{path}: {key}: write 'yes' or 'no' in quotes, not a truth value")
        values[str(key)] = None if value is None else str(value)
        if "\n" in f"{key}{value}":
            raise Refused(f"{path}: {key}: a value is one line")
    if known is None:
        found = node_paths.read(path)
        known = Edit(found[0], found[0], None) if found else Edit(None, "", None)
    after = node_settings.edited(known.after, values, separator=one["separator"], comment=one["comment"])
    return Edit(known.before, after, one.get("validate") or known.validate)


def _edited(path: str, edit: Edit) -> Change:
    def act() -> None:
        found = node_paths.read(path)
        mode, owner, group = 0o644, 0, 0
        if found is not None:
            mode, owner, group = stat.S_IMODE(found[1].st_mode), found[1].st_uid, found[1].st_gid
        node_paths.write(path, edit.after, mode=mode, owner=owner, group=group)

    return Change(path, act, edit.before or "", edit.after)


def _link(path: str, target: str) -> list[Change]:
    try:
        with node_paths.parent_of(path) as entry:
            found = node_paths.status(entry)
            link = found is not None and stat.S_ISLNK(found.st_mode)
            now = os.readlink(entry.name, dir_fd=entry.folder) if link else None
    except FileNotFoundError:
        found, now = None, None
    if now == target:
        return []
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise Refused(f"{path}: a folder stands where a link belongs")
    before = "absent\n" if found is None else "a file\n" if now is None else f"link to {now}\n"
    return [Change(path, functools.partial(node_paths.link, path, target), before, f"link to {target}\n")]


def _absent(pattern: str) -> list[Change]:
    tree = pattern.endswith("/")
    changes = []
    for path in node_paths.find(pattern):
        with node_paths.parent_of(path) as entry:
            found = node_paths.status(entry)
        if found is None:
            continue
        if stat.S_ISDIR(found.st_mode) and not tree:
            raise Refused(f"{path}: a folder; end its path with / to have it removed")
        changes.append(Change(path, functools.partial(_remove, path, tree=tree), "present\n", "absent\n"))
    return changes


def _remove(path: str, *, tree: bool) -> None:
    with node_paths.parent_of(path) as entry:
        node_paths.remove(entry, tree=tree)


def judge(
    candidates: list[Candidate],
    folder: str,
    run: Callable[[list[str]], tuple[int, str]],
) -> list[str]:
    """Return what the validators say against the candidates, each written to `folder` (private) for it.

    `run` starts a command (no shell) and returns its exit code and what it said; FileNotFoundError: no such program.
    """
    problems = []
    for number, one in enumerate(candidates):
        if one.validate is None:
            continue
        command = shlex.split(one.validate)
        if "%s" not in command:
            problems.append(f"{one.path}: its validator does not take %s: {one.validate}")
            continue
        aside = Path(folder) / f"{number}-{Path(one.path).name}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with open(os.open(aside, flags, 0o600), "wb") as file:  # noqa: PTH123  (a descriptor)
            file.write(one.content.encode("utf-8", "surrogateescape"))
        try:
            code, said = run([str(aside) if word == "%s" else word for word in command])
        except FileNotFoundError:
            problems.append(f"{one.path}: its validator is not installed: {command[0]}")
            continue
        if code:
            problems.append(f"{one.path}: {command[0]} refuses it: {said.strip()[:2000]}")
    return problems


_REPLACEMENT = ("path", "regexp", "replace")


def _spec() -> dict[str, Any]:
    path = {"type": "path", "required": True}
    owned = {"owner": {"type": "str", "default": "root"}, "group": {"type": "str", "default": "root"}}
    many = {"type": "list", "elements": "dict", "default": []}
    return {
        "files": {
            **many,
            "options": {
                "path": path,
                "content": {"type": "str", "required": True},
                "mode": {"type": "str", "default": "0644"},
                "validate": {"type": "str"},
                **owned,
            },
        },
        "settings": {
            **many,
            "options": {
                "path": path,
                "separator": {"type": "str", "default": " "},
                "comment": {"type": "str", "default": "#"},
                "values": {"type": "dict", "required": True},
                "validate": {"type": "str"},
            },
        },
        "replacements": {**many, "options": {name: {"type": "str", "required": True} for name in _REPLACEMENT}},
        "folders": {**many, "options": {"path": path, "mode": {"type": "str", "default": "0755"}, **owned}},
        "links": {**many, "options": {"path": path, "target": {"type": "str", "required": True}}},
        "absent": {"type": "list", "elements": "str", "default": []},
    }


def main() -> None:
    module = AnsibleModule(argument_spec=_spec(), supports_check_mode=True)
    given = module.params
    done: list[str] = []

    def run(command: list[str]) -> tuple[int, str]:
        program = module.get_bin_path(command[0])
        if program is None:
            raise FileNotFoundError(command[0])
        code, output, errors = module.run_command([program, *command[1:]])
        return code, output + errors

    try:
        found = plan(given)
        with tempfile.TemporaryDirectory(dir="/run" if os.access("/run", os.W_OK) else None) as folder:
            problems = judge(found.candidates, folder, run)
        missing = [one for one in problems if "is not installed" in one] if module.check_mode else []
        problems = [one for one in problems if one not in missing]
        if not module.check_mode:
            problems += found.unknown
        if problems:
            module.fail_json(msg="Nothing was written. " + " | ".join(problems), paths=[])
        for one in [] if module.check_mode else found.changes:
            one.act()
            done.append(one.path)
    except (Refused, OSError, re.error) as error:
        module.fail_json(msg=str(error), paths=done, changed=bool(done))
    for problem in missing:
        module.warn(f"Not validated in check mode: {problem}")
    module.exit_json(
        changed=bool(found.changes),
        paths=[one.path for one in found.changes],
        diff=[one.diff() for one in found.changes],
    )


if __name__ == "__main__":
    main()
