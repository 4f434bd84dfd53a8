"""Ansible module: the accounts of a node, all of them in one call."""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from playbooks.module_utils import node_paths, node_users
    from playbooks.module_utils.node_paths import Refused
    from playbooks.module_utils.node_users import Account, Ageing
else:
    from ansible.module_utils import node_paths, node_users
    from ansible.module_utils.node_paths import Refused
    from ansible.module_utils.node_users import Account, Ageing

DOCUMENTATION = r"""
module: node_accounts
short_description: Brings all accounts of a node to the baseline in one call
description:
  - Makes groups and accounts, sets who is in which group and which keys open an account.
  - Locks accounts of the system and passwords that are empty, ages passwords, closes home folders.
  - What only a person can put right (an id that is used twice, a second uid 0) is closed where it can be, and reported.
  - Nothing is done if an account that must open would be left without a key.
options:
  groups:
    description: Groups of the system that must be there.
    type: list
    elements: str
    default: []
  accounts:
    description: Accounts that must be there.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: The account's name., type: str, required: true}
      comment: {description: Who it is, for a new one., type: str, default: ""}
      groups: {description: Groups that it is in; it stays in others., type: list, elements: str, default: []}
      keys: {description: "Exactly these open it; none: those in place stay.", type: list, elements: str, default: []}
      key_options: {description: Options before each of the keys., type: str, default: ""}
      must_open: {description: Refuse to leave it without a key., type: bool, default: false}
  ageing:
    description: Days C(least), C(most), C(warn), C(inactive) of accounts of people and tools.
    type: dict
    required: true
  root_ageing:
    description: The same for root.
    type: dict
    required: true
  home_mode:
    description: What a home folder may allow at most.
    type: str
    default: "0700"
  start_files:
    description: Files in a home folder that only their user may read and write.
    type: list
    elements: str
    default: []
  forbidden_files:
    description: Files in a home folder that are removed.
    type: list
    elements: str
    default: []
author: [gcloud-pk]
attributes:
  check_mode: {support: full, description: Says exactly what a run would change.}
  diff_mode: {support: full, description: Shows accounts without their hashes.}
"""

EXAMPLES = r"""
- name: The two accounts of the platform
  node_accounts:
    groups: [sudogrp]
    accounts:
      - {name: gcloud-pk, groups: [sudogrp], must_open: true}
    ageing: {least: 7, most: 60, warn: 7, inactive: 30}
    root_ageing: {least: 7, most: 365, warn: 7, inactive: 30}
"""

RETURN = r"""
stale:
  description: Whether the session that runs this was opened before its user came into a group that C(accounts) names.
  type: bool
  returned: always
"""


_KEYS = ".ssh/authorized_keys"
_ASIDE = 100  # names that are tried


class Step(NamedTuple):
    """One thing to do, with what is shown of it."""

    subject: str
    before: str
    after: str
    act: Callable[[], None]

    def diff(self) -> dict[str, str]:
        """Return the step as Ansible shows it."""
        return {
            "before": f"{self.before}\n",
            "after": f"{self.after}\n",
            "before_header": self.subject,
            "after_header": self.subject,
        }


class Node:
    """The node's accounts, as they are now. `left`: what was left as it is, and why."""

    def __init__(self, run: Callable[[Sequence[str]], None], left: list[str] | None = None) -> None:
        self.run = run
        self.left: list[str] = [] if left is None else left
        passwd, shadow, group = (node_paths.read(f"/etc/{name}") for name in ("passwd", "shadow", "group"))
        if passwd is None or shadow is None or group is None:
            raise Refused("/etc/passwd, /etc/shadow and /etc/group are not all there")
        self.accounts = node_users.accounts(passwd[0], shadow[0])
        self.groups = node_users.groups(group[0])
        self.by_name = {one.name: one for one in reversed(self.accounts)}

    def step(self, subject: str, before: str, after: str, *commands: Sequence[str]) -> Step:
        """Return a step that is done by commands, one after the other."""

        def act() -> None:
            for command in commands:
                self.run(command)

        return Step(subject, before, after, act)


def members(node: Node, given: dict[str, Any]) -> Iterator[Step]:
    """Yield what makes the groups and the accounts, and puts these into those."""
    for name in given["groups"]:
        if name not in node.groups:
            yield node.step(f"group {name}", "absent", "present", ["groupadd", "--system", name])
    for one in given["accounts"]:
        name = one["name"]
        if name not in node.by_name:
            yield Step(f"account {name}", "absent", "present", functools.partial(_make, node, given, one))
        missing = [group for group in one["groups"] if name not in node.groups.get(group, (0, ()))[1]]
        if missing:
            command = ["usermod", "--append", "--groups", ",".join(missing), name]
            yield node.step(f"account {name}", f"not in {', '.join(missing)}", f"in {', '.join(missing)}", command)


def _make(node: Node, given: dict[str, Any], one: dict[str, Any]) -> None:
    command = ["useradd", "--create-home", "--user-group", "--shell", "/bin/bash", "--comment", one["comment"]]
    node.run([*command, one["name"]])
    # Its home folder is as it must be from the first moment; what useradd copies into it is open to all.
    made = Node(node.run, node.left)
    made.accounts = [made.by_name[one["name"]]]
    for step in homes(made, given):
        step.act()


def passwords(node: Node, given: dict[str, Any]) -> Iterator[Step]:
    """Yield what locks: accounts of the system, root's password, passwords that are empty, a second uid 0."""
    if any(not one.shadowed or one.password is None for one in node.accounts):
        yield node.step("/etc/passwd", "hashes or accounts outside /etc/shadow", "all in /etc/shadow", ["pwconv"])
    # One that must open may have been made with a system's number: it keeps its shell.
    named = {one["name"] for one in given["accounts"]}
    for one in node.accounts:
        subject = f"account {one.name}"
        system = not one.ordinary and one.name not in named
        if not one.locked and (system or not one.password):
            yield node.step(subject, "a password opens it", "locked", ["usermod", "--lock", one.name])
        if system and one.opens and one.name != "root":
            command = ["usermod", "--shell", node_users.NOLOGIN[0], one.name]
            yield node.step(subject, f"shell {one.shell}", f"shell {node_users.NOLOGIN[0]}", command)


def aged(node: Node, given: dict[str, Any]) -> Iterator[Step]:
    """Yield what sets the ages of passwords. They count where a password opens the account, now or later."""
    for one in node.accounts:
        if one.ordinary or one.name == "root":
            wanted = Ageing(**{key: int(value) for key, value in _ages(given, one).items()})
            if one.ageing != wanted:
                ages = ["--mindays", str(wanted.least), "--maxdays", str(wanted.most)]
                ages += ["--warndays", str(wanted.warn), "--inactive", str(wanted.inactive)]
                yield node.step(f"account {one.name}", str(one.ageing), str(wanted), ["chage", *ages, one.name])


def _ages(given: dict[str, Any], account: Account) -> dict[str, Any]:
    ages: dict[str, Any] = given["root_ageing" if account.name == "root" else "ageing"]
    return ages


def keyed(node: Node, given: dict[str, Any]) -> Iterator[Step]:
    """Yield what makes exactly the given keys open the accounts."""
    for one in given["accounts"]:
        account = node.by_name.get(one["name"])
        wanted = "".join(f"{one['key_options']} {key}".strip() + "\n" for key in one["keys"])
        if not wanted:
            continue
        folder = f"{account.home if account else '/home/' + one['name']}/.ssh"
        path = f"{folder}/authorized_keys"
        before = ""
        if account:
            # Its owner may have put something else there, on which a run must not end: it goes aside, unfollowed.
            stray = _stray(folder, path)
            if stray is None:
                found = node_paths.read(path)
                before = found[0] if found else ""
            else:
                aside = _aside(stray)
                node.left.append(f"{stray} was not what keys are kept in: it is set aside as {aside}; see what it was")
                yield Step(
                    stray, "in the way of keys", f"aside as {aside}", functools.partial(_set_aside, stray, aside)
                )
        if before != wanted:
            yield Step(path, before, wanted, functools.partial(_put_keys, path, wanted, account))


def _stray(folder: str, path: str) -> str | None:
    """Return what is in the way of keys: a folder for them that is none, or a file of them that cannot be read."""
    try:
        with node_paths.parent_of(folder) as entry:
            found = node_paths.status(entry)
    except FileNotFoundError:
        return None
    if found is None:
        return None
    if not stat.S_ISDIR(found.st_mode):
        return folder
    try:
        node_paths.read(path)
    except Refused:
        return path
    return None


def _aside(path: str) -> str:
    """Return the first free name beside a path."""
    with node_paths.parent_of(path) as entry:
        for number in range(1, _ASIDE):
            name = f"{entry.name}.aside-{number}"
            if node_paths.status(entry._replace(name=name)) is None:
                return f"{Path(path).parent}/{name}"
    raise Refused(f"{path} is in the way of keys, and so are {_ASIDE - 1} names beside it: move it away by hand")


def _set_aside(path: str, aside: str) -> None:
    with node_paths.parent_of(path) as entry:
        # In one open folder: whatever its owner puts there meanwhile, nothing outside of it is touched.
        os.rename(entry.name, Path(aside).name, src_dir_fd=entry.folder, dst_dir_fd=entry.folder)


def _put_keys(path: str, text: str, account: Account | None) -> None:
    if account is None:
        raise Refused(f"{path}: the account is not there")
    with node_paths.parent_of(str(Path(path).parent)) as entry:
        if node_paths.status(entry) is None:
            os.mkdir(entry.name, 0o700, dir_fd=entry.folder)
            node_paths.set_status(entry, mode=0o700, owner=account.uid, group=account.gid)
    node_paths.write(path, text, mode=0o600, owner=account.uid, group=account.gid)


def homes(node: Node, given: dict[str, Any]) -> Iterator[Step]:
    """Yield what closes home folders and the start files in them, and removes what opens an account to others."""
    for one in node.accounts:
        if one.name != "root" and not one.ordinary:
            continue
        try:
            with node_paths.parent_of(one.home) as entry:
                found = node_paths.status(entry)
            # A folder that is somebody else's (/, /srv) is no home folder to close.
            if found is None or not stat.S_ISDIR(found.st_mode) or found.st_uid != one.uid:
                continue
            yield from _closed(one.home, one, int(given["home_mode"], 8))
            steps = [_closed(f"{one.home}/{name}", one, 0o700) for name in (".ssh", *given["start_files"], _KEYS)]
            steps += [_gone(f"{one.home}/{name}") for name in given["forbidden_files"]]
        except FileNotFoundError:
            continue
        for each in steps:
            try:
                yield from each
            except FileNotFoundError:
                continue
            except Refused as error:
                # Whoever owns the home must not be able to stop what is done for everybody else.
                node.left.append(f"{error}; it was left as it is: see what it is, move it away, and run again")


def _closed(path: str, account: Account, most: int) -> Iterator[Step]:
    try:
        with node_paths.parent_of(path) as entry:
            found = node_paths.status(entry)
    except (FileNotFoundError, NotADirectoryError):
        return
    if found is None or not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        return
    # A second name of the file may be one that root needs open (protected_hardlinks may be off).
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
        return
    mode = stat.S_IMODE(found.st_mode)
    if mode & ~most or found.st_uid != account.uid:
        before, after = f"{mode:04o} {found.st_uid}", f"{mode & most:04o} {account.uid}"
        yield Step(path, before, after, lambda: _close(path, mode & most, account.uid))


def _close(path: str, mode: int, owner: int) -> None:
    with node_paths.parent_of(path) as entry:
        node_paths.set_status(entry, mode=mode, owner=owner, group=None)


def _gone(path: str) -> Iterator[Step]:
    with node_paths.parent_of(path) as entry:
        found = node_paths.status(entry)
    if found is not None and not stat.S_ISDIR(found.st_mode):
        yield Step(path, "present", "absent", lambda: _remove(path))


def _remove(path: str) -> None:
    with node_paths.parent_of(path) as entry:
        node_paths.remove(entry, tree=False)


def without_key(node: Node, given: dict[str, Any]) -> list[str]:
    """Return the accounts that must open and have no key, neither given nor in place."""
    found = []
    for one in given["accounts"]:
        if not one["must_open"] or one["keys"]:
            continue
        account = node.by_name.get(one["name"])
        text = node_paths.read(f"{account.home}/.ssh/authorized_keys") if account else None
        if not (text and node_users.keys(text[0])):
            found.append(one["name"])
    return found


def stale(node: Node, given: dict[str, Any]) -> bool:
    """Whether the session that runs this lacks a group of its user: it was opened before the user came into it.

    Such a session loses sudo the moment that only the group may start it: groups are set at login (credentials(7)).
    """
    wanted = {
        one["name"]: {node.groups[name][0] for name in one["groups"] if name in node.groups}
        for one in given["accounts"]
    }
    users = {node.by_name[name].uid: ids for name, ids in wanted.items() if name in node.by_name}
    process = os.getpid()
    while process > 1:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
        fields = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
        # The effective user: sudo itself keeps the real one, with root's groups.
        needed = users.get(int(fields["Uid"][1]))
        if needed is not None:
            return not needed <= {int(one) for one in fields["Groups"]}
        process = int(fields["PPid"][0])
    return False


def main() -> None:
    text = {"type": "str", "default": ""}
    texts = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "groups": texts,
            "accounts": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "comment": text,
                    "groups": texts,
                    "keys": {**texts, "no_log": False},
                    "key_options": {**text, "no_log": False},
                    "must_open": {"type": "bool", "default": False},
                },
            },
            "ageing": {"type": "dict", "required": True},
            "root_ageing": {"type": "dict", "required": True},
            "home_mode": {"type": "str", "default": "0700"},
            "start_files": texts,
            "forbidden_files": texts,
        },
        supports_check_mode=True,
    )
    given = module.params
    done: list[Step] = []
    left: list[str] = []

    def run(command: Sequence[str]) -> None:
        code, output, errors = module.run_command([module.get_bin_path(command[0], required=True), *command[1:]])
        if code:
            raise Refused(f"{' '.join(command)}: {(output + errors).strip()[:500]}")

    try:
        node = Node(run, left)
        if "root" in {one["name"] for one in given["accounts"]}:
            module.fail_json(msg="Nothing was changed. Root does not log in: name another account in the site.")
        missing = without_key(node, given)
        if missing:
            module.fail_json(
                msg=f"Nothing was changed. No key would open: {', '.join(missing)}. Name its keys in the site."
            )
        # Each part is planned on what the one before has left: an account that was just made has ages too.
        for part in (members, keyed, homes, passwords, aged):
            steps = list(part(node, given))
            for one in steps:
                if not module.check_mode:
                    one.act()
                done.append(one)
            if steps and not module.check_mode:
                node = Node(run, left)
        for what in dict.fromkeys(left):
            module.warn(what)
        for doubt in node_users.doubts(node.accounts, node.groups):
            module.warn(doubt)
        module.exit_json(
            changed=bool(done),
            diff=[one.diff() for one in done],
            stale=stale(node, given),
        )
    except (Refused, OSError) as error:
        module.fail_json(msg=str(error), changed=bool(done), diff=[one.diff() for one in done])


if __name__ == "__main__":
    main()
