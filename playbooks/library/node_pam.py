"""Ansible module: PAM through the distribution's own pam-auth-update, proved before it counts."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from playbooks.module_utils import node_paths
    from playbooks.module_utils.node_paths import Refused
else:
    from ansible.module_utils import node_paths
    from ansible.module_utils.node_paths import Refused

DOCUMENTATION = r"""
module: node_pam
short_description: Puts profiles and services of PAM in place, proved before they count
description:
  - Profiles go to /usr/share/pam-configs; pam-auth-update makes common-* of them and of those that packages brought.
  - It is run on a copy first. Every module that the result names must be installed, and the accounts that must open
    must pass the account stage of each service that they come in by. Only then is anything written; if the live result
    then differs from the copy, the previous files come back.
options:
  profiles:
    description: Name to text of profiles that are ours (pam-auth-update(8)).
    type: dict
    default: {}
  disabled:
    description: Profiles of packages that ours replace.
    type: list
    elements: str
    default: []
  services:
    description: Name to text of files of /etc/pam.d that are wholly ours.
    type: dict
    default: {}
  accounts:
    description: Who must pass.
    type: list
    elements: str
    default: []
  entrances:
    description: The services that they come in by.
    type: list
    elements: str
    default: [sshd, sudo, cron]
author: [gcloud-pk]
attributes:
  check_mode: {support: full, description: Says exactly what a run would change.}
  diff_mode: {support: full, description: Shows the texts.}
"""

EXAMPLES = r"""
- name: Failed logins lock for a time
  node_pam:
    profiles: {gcloud-pk: "{{ lookup('ansible.builtin.template', 'pam-profile.j2') }}"}
    disabled: [unix]
    accounts: [root, gcloud-pk]
"""

RETURN = r"""
paths:
  description: What changed.
  type: list
  elements: str
  returned: always
"""

SERVICES = "/etc/pam.d"
PROFILES = "/usr/share/pam-configs"
KEPT = "/var/lib/pam"
MODULES = ("/lib/x86_64-linux-gnu/security", "/lib/aarch64-linux-gnu/security", "/lib/security")
COMMON = ("account", "auth", "password", "session", "session-noninteractive")


class Copy:
    """A copy of what PAM reads, below a private folder, in which pam-auth-update is tried."""

    def __init__(self, folder: str, profiles: Mapping[str, str], services: Mapping[str, str]) -> None:
        self.folder = Path(folder)
        for path in (SERVICES, PROFILES, KEPT):
            shutil.copytree(path, f"{folder}{path}", dirs_exist_ok=True)
        # Without them nothing is merged: what somebody added to a line by hand (nullok) goes.
        for name in COMMON:
            for path in (f"{SERVICES}/common-{name}", f"{KEPT}/{name}"):
                Path(f"{folder}{path}").unlink(missing_ok=True)
        for path, texts in ((PROFILES, profiles), (SERVICES, services)):
            for name, text in texts.items():
                Path(f"{folder}{path}/{name}").write_text(text, encoding="utf-8")

    def debconf(self) -> str:
        """Make a copy of what debconf remembers, and return the file that names it (debconf.conf(5))."""
        for name in ("config", "templates"):
            shutil.copyfile(f"/var/cache/debconf/{name}.dat", self.folder / f"{name}.dat")
        file = self.folder / "debconf.conf"
        databases = [
            f"Name: {name}\nDriver: File\nFilename: {self.folder}/{name}.dat" for name in ("config", "templates")
        ]
        file.write_text("\n\n".join(["Config: config\nTemplates: templates", *databases]) + "\n", encoding="utf-8")
        return str(file)

    def text(self, path: str) -> str:
        """Return what the copy has at the node's `path`; empty where it has nothing."""
        file = Path(f"{self.folder}{path}")
        return file.read_text(encoding="utf-8", errors="surrogateescape") if file.is_file() else ""

    def missing(self) -> list[str]:
        """Return the modules that the copy's services name and that are not installed."""
        named = set()
        for file in sorted((self.folder / SERVICES.lstrip("/")).iterdir()):
            for line in self.text(f"{SERVICES}/{file.name}").splitlines():
                words = line.partition("#")[0].split()
                optional = line.startswith("-") or "module_unknown=ignore" in line
                named |= set() if optional else {word for word in words if word.endswith(".so")}
        return sorted(one for one in named if not any((Path(folder) / one).exists() for folder in MODULES))


def refused(services: str, accounts: Sequence[str], entrances: Sequence[str]) -> list[str]:
    """Return who does not pass the account stage of which service, as the files of folder `services` have it.

    pam_acct_mgmt(3): what is asked of one who comes by a key, a timer or sudo without a password.
    """
    pam = ctypes.CDLL("libpam.so.0")
    pam.pam_strerror.restype = ctypes.c_char_p
    pam.pam_strerror.argtypes = [ctypes.c_void_p, ctypes.c_int]
    pam.pam_acct_mgmt.argtypes = [ctypes.c_void_p, ctypes.c_int]
    pam.pam_end.argtypes = [ctypes.c_void_p, ctypes.c_int]
    silent = (ctypes.c_void_p * 2)()  # struct pam_conv without a function: nobody is asked anything
    found = []
    for service in entrances:
        if not (Path(services) / service).is_file():
            continue
        for account in accounts:
            handle = ctypes.c_void_p()
            code = pam.pam_start_confdir(
                service.encode(), account.encode(), ctypes.byref(silent), services.encode(), ctypes.byref(handle)
            )
            code = code or pam.pam_acct_mgmt(handle, 0)
            if code:
                found.append(f"{service} would refuse {account}: {pam.pam_strerror(handle, code).decode()}")
            pam.pam_end(handle, code)
    return found


def live(path: str) -> str | None:
    """Return a file's text; None if there is none."""
    found = node_paths.read(path)
    return found[0] if found else None


def put(texts: Mapping[str, str | None]) -> None:
    """Write files of root's that all may read; remove those without a text."""
    for path, text in texts.items():
        if text is not None:
            node_paths.write(path, text, mode=0o644, owner=0, group=0)
            continue
        with node_paths.parent_of(path) as entry:
            node_paths.remove(entry, tree=False)


def main() -> None:
    texts = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        argument_spec={
            "profiles": {"type": "dict", "default": {}},
            "disabled": texts,
            "services": {"type": "dict", "default": {}},
            "accounts": texts,
            "entrances": {**texts, "default": ["sshd", "sudo", "cron"]},
        },
        supports_check_mode=True,
    )
    given: dict[str, Any] = module.params
    folder = Path(module.tmpdir) / "pam"
    folder.mkdir(mode=0o700)
    os.umask(0o022)  # what debconf and PAM keep, others read
    try:
        copy = Copy(str(folder), given["profiles"], given["services"])
    except OSError as error:
        module.fail_json(msg=f"Nothing was written. {error}")

    def update(*, in_copy: bool) -> None:
        command = [module.get_bin_path("pam-auth-update", required=True), "--package"]
        command += ["--enable", *given["profiles"], "--disable", *given["disabled"]]
        environment = {"DEBIAN_FRONTEND": "noninteractive"}
        if in_copy:
            command += ["--force", "--root", str(folder)]
            environment["DEBCONF_SYSTEMRC"] = copy.debconf()
        code, output, errors = module.run_command(command, environ_update=environment)
        if code:
            raise Refused(f"pam-auth-update: {(output + errors).strip()[:1000]}")

    paths = [f"{PROFILES}/{name}" for name in given["profiles"]]
    paths += [f"{SERVICES}/{name}" for name in given["services"]]
    made = [f"{SERVICES}/common-{kind}" for kind in COMMON]
    before: dict[str, str | None] = {}
    changed: list[str] = []
    try:
        update(in_copy=True)
        for path in (*paths, *made, *(f"{KEPT}/{name}" for name in ("seen", *COMMON))):
            before[path] = live(path)
        changed = [path for path in before if copy.text(path) != (before[path] or "")]
        problems = [f"{one} is not installed" for one in copy.missing()] if changed and not module.check_mode else []
        problems += refused(f"{folder}{SERVICES}", given["accounts"], given["entrances"]) if changed else []
        if problems:
            module.fail_json(msg=f"Nothing was written. {'; '.join(problems)}")
        if changed and not module.check_mode:
            put({path: copy.text(path) for path in changed})
            try:
                # It finds its own work already there, and remembers the choice for the packages to come.
                update(in_copy=False)
                problems = [f"{path} is not as in the trial" for path in made if live(path) != copy.text(path)]
                problems += refused(SERVICES, given["accounts"], given["entrances"])
            except (Refused, OSError) as error:
                problems = [str(error)]
            if problems:
                put({path: before[path] for path in changed})
                module.fail_json(msg=f"The previous files are back. {'; '.join(problems)}")
    except (Refused, OSError) as error:
        module.fail_json(msg=str(error))
    diff = [
        {"before": before[one] or "", "after": copy.text(one), "before_header": one, "after_header": one}
        for one in changed
    ]
    module.exit_json(changed=bool(changed), paths=changed, diff=diff)


if __name__ == "__main__":
    main()
