"""Ansible module: the configuration of sshd, which comes back unless a new connection proves it."""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from playbooks.module_utils import node_paths, node_users
    from playbooks.module_utils.node_paths import Refused
else:
    from ansible.module_utils import node_paths, node_users
    from ansible.module_utils.node_paths import Refused

DOCUMENTATION = r"""
module: node_sshd
short_description: Configures sshd so that nobody is locked out
description:
  - C(present) writes the configuration after C(sshd -t) accepts it, after its effective values let those in who must
    come in, and after a timer is armed that puts the previous one back. Then it reloads sshd; sessions stay.
  - C(confirmed) is for a new connection, one that the new configuration let in. It disarms the timer. If the timer was
    faster, it fails.
options:
  state:
    description: What to do.
    type: str
    choices: [present, confirmed]
    default: present
  config:
    description: The text of sshd_config; the line C(@HOST_KEYS@) becomes the host keys that are offered.
    type: str
    default: ""
  host_key_types:
    description: Types of host keys that may be offered, in this order; weak ones never are.
    type: list
    elements: str
    default: [ed25519, ecdsa, rsa]
  rsa_bits:
    description: The least size of an RSA key.
    type: int
    default: 3072
  moduli_bits:
    description: The least size of a group in /etc/ssh/moduli; smaller ones are removed.
    type: int
    default: 3072
  must_open:
    description: Accounts that must be able to come in by a key.
    type: list
    elements: str
    default: []
  return_after:
    description: Seconds until the previous configuration comes back.
    type: int
    default: 60
author: [gcloud-pk]
attributes:
  check_mode: {support: full, description: Says exactly what a run would change.}
  diff_mode: {support: full, description: Shows the texts.}
"""

EXAMPLES = r"""
- name: Configuration of sshd
  node_sshd:
    config: "{{ lookup('ansible.builtin.template', 'sshd_config.j2') }}"
    must_open: [gcloud-pk]
  register: ssh_written

- name: A new connection
  ansible.builtin.wait_for_connection:
  when: ssh_written.armed

- name: Keep it
  node_sshd:
    state: confirmed
  when: ssh_written.armed
"""

RETURN = r"""
armed:
  description: Whether the previous configuration comes back unless C(confirmed) follows.
  type: bool
  returned: always
"""

CONFIG = "/etc/ssh/sshd_config"
MODULI = "/etc/ssh/moduli"
UNIT = "gcloud-pk-sshd-return"
WAITING = Path("/var/lib/gcloud-pk/sshd-return")
"""While it is there, a configuration waits for its proof; it holds the previous one."""

_RETURN = f"""#!/bin/sh
# Puts the previous configuration of sshd back. Started by {UNIT}.timer unless a new connection came first.
set -eu
cp -p {WAITING}/sshd_config {CONFIG}.previous
mv -f {CONFIG}.previous {CONFIG}
rm -rf {WAITING}
systemctl reload-or-restart ssh.service
logger -p auth.warning -t gcloud-pk "sshd_config was put back: no new connection proved the new one"
"""

Run = Callable[[Sequence[str]], "tuple[int, str]"]


def offered(types: Sequence[str], least: int) -> tuple[list[str], list[str]]:
    """Return the host keys to offer, and what is wrong with those of the node that are not."""
    keys, weak = [], []
    for kind in types:
        public = node_paths.read(f"/etc/ssh/ssh_host_{kind}_key.pub")
        if public is None or not Path(f"/etc/ssh/ssh_host_{kind}_key").is_file():
            continue
        bits = node_users.rsa_bits(public[0])
        if bits is not None and bits < least:
            weak.append(
                f"the RSA host key has {bits} bits and is not offered: make one of {least} and name it in the site"
            )
        else:
            keys.append(f"/etc/ssh/ssh_host_{kind}_key")
    return keys, weak


def large(text: str, bits: int) -> str:
    """Return moduli(5) without groups of fewer bits; its fifth field is the size less one."""
    kept = []
    for line in text.splitlines():
        fields = line.split()
        if line.startswith("#") or (len(fields) == 7 and int(fields[4]) + 1 >= bits):
            kept.append(line)
    return "".join(f"{line}\n" for line in kept)


def shown(path: str, text: str) -> str:
    """Return what of a file a person wants to see."""
    if path != MODULI:
        return text
    sizes = sorted({int(line.split()[4]) + 1 for line in text.splitlines() if line.strip() and line[0] != "#"})
    return f"groups of {', '.join(map(str, sizes))} bits\n"


def closed(run: Run, candidate: str, accounts: Sequence[str], least: int) -> list[str]:
    """Return why an account would not come in, by the effective values of a candidate (sshd(8), -T) and by its keys."""
    known = node_paths.read("/etc/passwd")
    by_name = {one.name: one for one in node_users.accounts(known[0] if known else "", "")}
    found = []
    for name in accounts:
        code, said = run(["sshd", "-T", "-f", candidate, "-C", f"user={name}", "-C", "host=a", "-C", "addr=127.0.0.1"])
        values = [tuple(line.split(None, 1)) for line in said.splitlines() if " " in line]
        allowed = {value.partition("@")[0] for key, value in values if key == "allowusers"}
        keys = node_paths.read(f"{by_name[name].home}/.ssh/authorized_keys") if name in by_name else None
        sizes = [node_users.rsa_bits(line) for line in node_users.keys(keys[0] if keys else "")]
        if code or ("pubkeyauthentication", "yes") not in values:
            found.append(f"{name}: keys would open nothing")
        elif allowed and name not in allowed:
            found.append(f"{name}: would not be allowed in")
        elif not any(size is None or size >= least for size in sizes):
            found.append(f"{name}: has no key that is strong enough (RSA: {least} bits)")
    return found


def arm(run: Run, seconds: int) -> None:
    """Keep the configuration in force, and have it put back after some seconds; one that still waits is older."""
    if not WAITING.is_dir():
        WAITING.mkdir(mode=0o700, parents=True)
        shutil.copy2(CONFIG, WAITING / "sshd_config")
    script = WAITING / "return.sh"
    script.write_text(_RETURN, encoding="utf-8")
    disarm(run)
    command = ["systemd-run", f"--unit={UNIT}", f"--on-active={seconds}", "--timer-property=AccuracySec=1s"]
    code, said = run([*command, "/bin/sh", str(script)])
    if code:
        shutil.rmtree(WAITING)
        raise Refused(f"Nothing was written: no timer to put the configuration back. {said.strip()[:500]}")


def disarm(run: Run) -> None:
    """Stop the timer, if there is one."""
    run(["systemctl", "stop", f"{UNIT}.timer"])
    run(["systemctl", "reset-failed", f"{UNIT}.service"])


def reload(run: Run) -> str | None:
    """Have sshd read its configuration; return what went wrong. One that a socket starts reads it anyway."""
    if run(["systemctl", "is-active", "--quiet", "ssh.service"])[0]:
        return None
    code, said = run(["systemctl", "reload", "ssh.service"])
    for _ in range(10):
        # It starts itself anew: one that cannot is gone within moments.
        time.sleep(0.1)
        if run(["systemctl", "is-active", "--quiet", "ssh.service"])[0]:
            return "sshd ended"
    return said.strip()[:500] if code else None


def put_back(run: Run) -> None:
    """Put the previous configuration back at once, without the timer."""
    disarm(run)
    run(["/bin/sh", str(WAITING / "return.sh")])


def present(module: Any, run: Run) -> None:
    given = module.params
    keys, weak = offered(given["host_key_types"], given["rsa_bits"])
    for one in weak:
        module.warn(one)
    if not keys:
        module.fail_json(
            msg=f"Nothing was written: no host key of {', '.join(given['host_key_types'])} is strong enough."
        )
    text = given["config"].replace("@HOST_KEYS@", "\n".join(f"HostKey {key}" for key in keys))
    changes = []
    for path, wanted, mode in ((CONFIG, text, 0o600), (MODULI, None, 0o644)):
        found = node_paths.read(path)
        before = found[0] if found else ""
        after = large(before, given["moduli_bits"]) if wanted is None else wanted
        if before != after or (found and found[1].st_mode & 0o7777 != mode):
            act = functools.partial(node_paths.write, path, after, mode=mode, owner=0, group=0)
            changes.append((path, before, after, act))
    waiting = WAITING.is_dir()
    if any(path == CONFIG for path, *_ in changes) or waiting:
        candidate = Path(module.tmpdir) / "sshd_config"
        candidate.touch(mode=0o600)
        candidate.write_text(text, encoding="utf-8")
        code, said = run(["sshd", "-t", "-f", str(candidate)])
        problems = [f"sshd -t: {said.strip()[:1000]}"] if code else []
        problems = problems or closed(run, str(candidate), given["must_open"], given["rsa_bits"])
        if problems:
            module.fail_json(msg=f"Nothing was written. {'; '.join(problems)}")
    armed = False
    if not module.check_mode:
        if waiting or any(path == CONFIG for path, *_ in changes):
            arm(run, given["return_after"])
            armed = True
        for _, _, _, act in changes:
            act()
        wrong = reload(run) if armed else None
        if wrong:
            put_back(run)
            module.fail_json(msg=f"sshd did not take its configuration; the previous one is back. {wrong}")
    diff = [
        {"before": shown(path, before), "after": shown(path, after), "before_header": path, "after_header": path}
        for path, before, after, _ in changes
    ]
    module.exit_json(changed=bool(changes) or waiting, armed=armed, diff=diff)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "confirmed"], "default": "present"},
            "config": {"type": "str", "default": ""},
            "host_key_types": {
                "type": "list",
                "elements": "str",
                "default": ["ed25519", "ecdsa", "rsa"],
                "no_log": False,
            },
            "rsa_bits": {"type": "int", "default": 3072},
            "moduli_bits": {"type": "int", "default": 3072},
            "must_open": {"type": "list", "elements": "str", "default": []},
            "return_after": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )

    def run(command: Sequence[str]) -> tuple[int, str]:
        code, output, errors = module.run_command([module.get_bin_path(command[0], required=True), *command[1:]])
        return code, output + errors

    try:
        if module.params["state"] == "present":
            present(module, run)
        disarm(run)
        if not WAITING.is_dir():
            module.fail_json(msg="The new configuration of sshd let nobody in. The previous one is back.")
        shutil.rmtree(WAITING)
        module.exit_json(changed=False, armed=False)
    except (Refused, OSError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
