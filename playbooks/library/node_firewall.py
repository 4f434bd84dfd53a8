"""Ansible module: one nftables table, replaced whole and alone, which never locks out who runs this."""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from playbooks.module_utils import node_paths
    from playbooks.module_utils.node_paths import Refused
else:
    from ansible.module_utils import node_paths
    from ansible.module_utils.node_paths import Refused

DOCUMENTATION = r"""
module: node_firewall
short_description: Puts one nftables table in force and in its file, and touches no other table
description:
  - The candidate is loaded in a network namespace that is thrown away; what the kernel makes of it there is compared
    with what is in force, so that a rule that somebody took out by hand is noticed and put back.
  - The file replaces its own table in one transaction; tables of others (a CNI, kube-proxy) stay as they are.
  - Before anything changes, the SSH connection that this comes through is held against the rules of the candidate for
    SSH; if a new connection like it would be dropped, the module refuses.
options:
  path: {description: The file that is loaded at boot., type: path, required: true}
  content: {description: The whole text of the file., type: str, required: true}
  table: {description: Family and name of the table that the file defines., type: str, required: true}
  ssh_port: {description: The port that the rules open for SSH., type: int, required: true}
  ssh_allow_from:
    description: Networks that the rules let in to SSH; none means all.
    type: list
    elements: str
    default: []
author: [gcloud-pk]
attributes:
  check_mode: {support: full, description: Says exactly what a run would change.}
  diff_mode: {support: full, description: Shows the file and the table in force.}
"""

EXAMPLES = r"""
- name: The firewall
  node_firewall:
    path: /etc/nftables.conf
    table: inet gcloud_pk
    ssh_port: 22
    ssh_allow_from: [10.8.0.0/16]
    content: "{{ lookup('ansible.builtin.template', 'nftables.conf.j2') }}"
"""

RETURN = r"""
paths:
  description: The file, if it changed.
  type: list
  elements: str
  returned: always
reloaded:
  description: Whether the table in force was, or would be, another one.
  type: bool
  returned: always
"""

_TIMEOUT = 30  # seconds of one call of nft
_ANCESTORS = 64
_FLUSH = re.compile(r"^\s*flush\s+ruleset\b", re.MULTILINE)


class Connection(NamedTuple):
    """The two ends of an SSH connection that count here."""

    source: str
    port: int


def connection(text: str) -> Connection | None:
    """Return the ends that an SSH_CONNECTION variable names (sshd(8): client, its port, server, its port)."""
    words = text.split()
    if len(words) != 4 or not words[3].isdecimal():
        return None
    return Connection(words[0].split("%")[0], int(words[3]))


def locked_out(found: Connection | None, port: int, networks: list[str]) -> str | None:
    """Return why a new connection like `found` would be dropped, None if it would not be.

    Raises `Refused` for a network that is none.
    """
    try:
        allowed = [ipaddress.ip_network(one, strict=False) for one in networks]
    except ValueError as error:
        raise Refused(f"ssh_allow_from: {error}") from error
    if found is None:
        return None
    if found.port != port:
        return f"this connection comes in by port {found.port}, and the firewall would open {port} only"
    try:
        source = ipaddress.ip_address(found.source)
    except ValueError:
        return None
    mapped = getattr(source, "ipv4_mapped", None)
    source = mapped or source
    if not allowed or source.is_loopback or any(source in one for one in allowed):
        return None
    return f"this connection comes from {source}, which none of {', '.join(networks)} holds"


def ssh_connection() -> Connection | None:
    """Return the SSH connection that this process descends from: sudo clears the variable, its ancestors have it."""
    pid = os.getpid()
    for _ in range(_ANCESTORS):
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        except OSError:
            return None
        for one in variables:
            if one.startswith(b"SSH_CONNECTION="):
                return connection(one.partition(b"=")[2].decode("ascii", "replace"))
        parent = re.search(r"^PPid:\s*(\d+)$", status, re.MULTILINE)
        pid = int(parent[1]) if parent else 0
        if pid <= 1:
            return None
    return None


class Nft:
    """The nft program. Every method raises `Refused` with what nft said when it fails."""

    def __init__(self, program: str, table: str) -> None:
        self.program = program
        self.table = table.split()

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(arguments, capture_output=True, text=True, timeout=_TIMEOUT, check=False)

    def in_force(self) -> str:
        """Return the table as the kernel has it, without counts; empty if there is none."""
        answer = self._run(self.program, "-s", "list", "table", *self.table)
        if answer.returncode and "No such file" not in answer.stderr:
            raise Refused(f"nft cannot list {' '.join(self.table)}: {answer.stderr.strip()}")
        return "" if answer.returncode else answer.stdout

    def would_be(self, content: str) -> str:
        """Return the table that a file makes, as the kernel shows it: loaded twice into a network that goes at once."""
        with tempfile.NamedTemporaryFile("w", suffix=".nft", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            listing = f"{self.program} -s list table {' '.join(self.table)}"
            script = f"{self.program} -f {file.name} && {self.program} -f {file.name} && {listing}"
            answer = self._run("unshare", "--net", "sh", "-c", script)
        if answer.returncode:
            raise Refused(f"nft does not take the rules: {answer.stderr.strip()}")
        return answer.stdout

    def load(self, path: str) -> None:
        """Put a file in force, whole or not at all."""
        answer = self._run(self.program, "-f", path)
        if answer.returncode:
            raise Refused(f"nft does not load {path}: {answer.stderr.strip()}")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "content": {"type": "str", "required": True},
            "table": {"type": "str", "required": True},
            "ssh_port": {"type": "int", "required": True},
            "ssh_allow_from": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    path, content, table = (module.params[one] for one in ("path", "content", "table"))
    try:
        _judge(content, table)
        why = locked_out(ssh_connection(), module.params["ssh_port"], module.params["ssh_allow_from"])
        if why:
            module.fail_json(msg=f"You would lock yourself out: {why}. Nothing was changed.")
        _converge(module, path, content, table)
    except (Refused, OSError, subprocess.TimeoutExpired) as error:
        module.fail_json(msg=str(error))


def _judge(content: str, table: str) -> None:
    if not re.fullmatch(r"(inet|ip|ip6) [a-z][a-z0-9_]*", table):
        raise Refused(f"not a table: {table!r} (expected as inet name)")
    if _FLUSH.search(content):
        raise Refused("the rules flush the rule set of everybody")


def _converge(module: AnsibleModule, path: str, content: str, table: str) -> None:
    program = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None and not module.check_mode:
        raise Refused("nft is not installed")
    before = node_paths.read(path)
    written = before is None or before[0] != content or before[1].st_mode & 0o7777 != 0o600 or before[1].st_uid != 0
    now, wanted = "", content  # where nft is not there yet, the whole table will be new
    if program is not None:
        nft = Nft(program, table)
        now, wanted = nft.in_force(), nft.would_be(content)
        if not module.check_mode:
            if written:
                node_paths.write(path, content, mode=0o600, owner=0, group=0)
            if now != wanted:
                nft.load(path)
    reloaded = now != wanted
    module.exit_json(
        changed=written or reloaded,
        paths=[path] if written else [],
        reloaded=reloaded,
        diff=[
            {"before": before[0] if before else "", "after": content, "before_header": path, "after_header": path},
            {"before": now, "after": wanted, "before_header": f"table {table}", "after_header": f"table {table}"},
        ],
    )


if __name__ == "__main__":
    main()
