"""How the nodes are reached: keys, known hosts and the configuration of OpenSSH's client.

Connections go into the lab's network by a ProxyCommand that enters the spine's namespace. Host keys were made before
the first boot, so that a node that shows another is refused from the first connection on.
"""

from __future__ import annotations

import select
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from gcloud_pk.errors import UnavailableError
from gcloud_pk.lab.nodes.children import DIES_WITH_US, require
from gcloud_pk.lab.nodes.layout import ADMIN_USER, AUDIT_USER, Layout, Node
from gcloud_pk.programs import files

KEYS = ("admin", "audit", "approver", "keeper")
AUDIT_PREFIX = "audit-"


def ensure_keys(lab: Layout) -> None:
    """Make the lab's keys where they are missing: Ed25519, no passphrase, for their owner alone."""
    files.make_folder(lab.keys)
    for name in KEYS:
        key = lab.key(name)
        if not (key.is_file() and key.with_suffix(".pub").is_file()):
            make_key(key, "ed25519", f"{name} of a lab of nodes")


def make_key(key: Path, kind: str, comment: str) -> None:
    """Make a private key and its `.pub` with ssh-keygen, in place of half a pair. Raises UnavailableError."""
    for half in (key, key.with_suffix(".pub")):
        half.unlink(missing_ok=True)
    command = [*DIES_WITH_US, "ssh-keygen", "-q", "-t", kind, "-N", "", "-C", comment, "-f", str(key)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnavailableError(f"ssh-keygen makes no {kind} key", details=done.stderr.splitlines()[:5])


def read_public(key: Path) -> str:
    """Return the public part of a private key, `TYPE KEY`."""
    return " ".join(key.with_suffix(".pub").read_text(encoding="ascii").split()[:2])


def public_key(lab: Layout, name: str) -> str:
    """Return one of the lab's public keys, `TYPE KEY`."""
    return read_public(lab.key(name))


def known_hosts(keys: Sequence[tuple[Node, tuple[str, ...]]]) -> str:
    """Return the content of known_hosts (sshd(8)): each node by name and address."""
    return "".join(f"{node.name},{node.address} {key}\n" for node, own in keys for key in own)


def configuration(lab: Layout, nodes: Sequence[Node]) -> str:
    """Return the content of ssh_config(5): `node-1` for who hardens, `audit-node-1` for who audits."""
    quoted = _files(lab)
    lines = ["# Made by gcloud-pk lab nodes up. ssh -F this file node-1; audit-node-1 for the audit user.", ""]
    for node in nodes:
        lines += [
            f"Host {AUDIT_PREFIX}{node.name}",
            f"    User {AUDIT_USER}",
            f"Host {node.name} {AUDIT_PREFIX}{node.name}",
            f"    HostName {node.address}",
        ]
    ours = " ".join([f"{AUDIT_PREFIX}*", *(f"{node.name} {node.address}" for node in nodes)])
    proxy = f"nsenter --net=/run/netns/{lab.spine} socat - TCP:%h:%p"
    lines += [
        f"Match host {','.join(node.address for node in nodes)} user {AUDIT_USER}",
        f"    IdentityFile {quoted['audit']}",
        f"Host {ours}",
        f"    User {ADMIN_USER}",
        f"    IdentityFile {quoted['admin']}",
        "    IdentitiesOnly yes",
        "    PreferredAuthentications publickey",
        "    StrictHostKeyChecking yes",
        "    UpdateHostKeys no",
        f"    UserKnownHostsFile {quoted['known_hosts']}",
        "    GlobalKnownHostsFile none",
        f"    ProxyCommand {proxy}",
        "    ControlMaster auto",
        f"    ControlPath {quoted['sockets']}",
        "    ControlPersist 300",
        "    ConnectTimeout 10",
        "    ServerAliveInterval 15",
        "    ForwardAgent no",
        "    LogLevel ERROR",
    ]
    return "\n".join(lines) + "\n"


def _files(lab: Layout) -> dict[str, str]:
    # A percent sign begins a token of ssh_config(5); %C tells connections apart by user, host and port.
    names = {"admin": lab.key("admin"), "audit": lab.key("audit"), "known_hosts": lab.known_hosts}
    files = {name: str(path).replace("%", "%%") for name, path in names.items()}
    return {name: f'"{path}"' for name, path in {**files, "sockets": f"{lab.sockets}/%C"}.items()}


@contextmanager
def knocking(lab: Layout, node: Node) -> Iterator[Callable[[float], bool]]:
    """Knock at a node's sshd until it opens. Yields a function: seconds to wait → whether sshd has spoken.

    One program that tries again and again: starting ssh as often would take the processor that the node boots with.
    """
    door = f"TCP:{node.address}:22,connect-timeout=0.3,interval=0.1,forever"
    command = [*DIES_WITH_US, "nsenter", f"--net=/run/netns/{lab.spine}", "socat", "-u", door, "STDOUT"]
    knocker = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    said = knocker.stdout
    assert said is not None  # noqa: S101 - asked for above
    try:
        yield lambda seconds: bool(select.select([said], [], [], seconds)[0])
    finally:
        knocker.kill()
        knocker.wait()
        said.close()


def run(lab: Layout, node: Node, script: str, patience: float) -> subprocess.CompletedProcess[str]:
    """Run a shell command on a node as its administrator; where it takes longer than `patience` seconds it failed."""
    command = [*DIES_WITH_US, "ssh", "-F", str(lab.ssh_config), "-o", "ControlPath=none", "-o", "ControlMaster=no"]
    command += ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={max(1, round(patience))}", node.name, script]
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=patience
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 255, "", f"no answer in {patience:.0f} s")


def answers(lab: Layout, node: Node, patience: float = 3) -> bool:
    """Whether the node lets its administrator in over SSH, with the host key that it was given."""
    return run(lab, node, "true", patience).returncode == 0


def all_answers(lab: Layout, nodes: Sequence[Node]) -> dict[Node, bool]:
    """Ask all nodes at once whether they answer. Raises UnavailableError where a program for it is not there."""
    if nodes:
        require("setpriv", "ssh")
    with ThreadPoolExecutor(max(1, min(len(nodes), 8))) as pool:
        return dict(zip(nodes, pool.map(lambda node: answers(lab, node), nodes), strict=True))


def close(lab: Layout) -> None:
    """Remove the sockets of connections that were kept open; they end with the spine that they go through."""
    shutil.rmtree(lab.sockets, ignore_errors=True)
    with suppress(OSError):
        lab.sockets.parent.rmdir()  # another lab may have its own there
