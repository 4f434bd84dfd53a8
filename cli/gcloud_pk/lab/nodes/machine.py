"""One node's life: made from the image, started, stopped. What it writes lies in its folder's `upper`."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gcloud_pk.lab import processes
from gcloud_pk.lab.nodes import access, cgroups, network, supervisor
from gcloud_pk.lab.nodes.layout import ADMIN_USER, Layout, Node
from gcloud_pk.lab.processes import Process
from gcloud_pk.programs import files

HOST_KEYS = ("ed25519", "ecdsa", "rsa")
"""The kinds that Debian's own set-up makes."""

SHUTDOWN = 15.0
"""Seconds that a node may take to shut down before it is killed."""


def make(lab: Layout, node: Node, image: Path, layer: Path | None, neighbours: tuple[Node, ...]) -> None:
    """Make a node's folder, or complete it; `image`: the root file system that it stands on, `layer`: what is on it."""
    ensure_host_keys(lab, node)
    folder = lab.node(node)
    made = folder / "made"
    if not made.exists():
        remove(folder)  # a run was killed while it made the node, or removed it
    for part in ("upper", "work", "root"):
        files.make_folder(folder / part)
    (folder / "upper").chmod(0o755)  # it is the root folder that the node's users see
    for disk in lab.kind.disks:
        files.make_folder(lab.disk(node, disk))
    _point(folder / "lower", image)
    _point(folder / "layer", layer)
    if not made.exists():
        _furnish(lab, node, image, neighbours)
        files.write(made, "")


def _point(link: Path, target: Path | None) -> None:
    """Let a link lead to `target`, or be none."""
    if link.is_symlink() and link.readlink() == target:
        return
    link.unlink(missing_ok=True)
    if target is not None:
        link.symlink_to(target)


def _furnish(lab: Layout, node: Node, image: Path, neighbours: tuple[Node, ...]) -> None:
    """Write what each node has of its own, before its first boot: name, identity, host keys, the key that is let in.

    Never later: what a node has made of its files since is not to be followed.
    """
    folder = lab.node(node)
    known = ((other.address, other.name) for other in neighbours)
    hosts = "".join(f"{address} {name}\n" for address, name in (*known, *lab.kind.names))
    _place(folder, image, "etc/hosts", f"127.0.0.1 localhost\n::1 localhost\n{hosts}")
    _place(folder, image, "etc/hostname", f"{node.name}\n")
    _place(folder, image, "etc/machine-id", f"{secrets.token_hex(16)}\n", mode=0o444)
    # Nobody answers there, and it refuses at once; without a server the resolver asks 127.0.0.1, which does too.
    servers = "".join(f"nameserver {address}\n" for address in lab.kind.name_servers)
    _place(folder, image, "etc/resolv.conf", f"# there is no way out of the lab\n{servers}")
    for kind in HOST_KEYS:
        key = _host_key(lab, node, kind)
        _place(folder, image, f"etc/ssh/{key.name}", key.read_bytes(), mode=0o600)
        _place(folder, image, f"etc/ssh/{key.name}.pub", key.with_suffix(".pub").read_bytes())
    home = f"home/{ADMIN_USER}"
    owner = (image / home).stat()
    public = lab.key("admin").with_suffix(".pub").read_text(encoding="ascii")
    _place(folder, image, f"{home}/.ssh/authorized_keys", public, mode=0o600)
    for path in (f"{home}/.ssh", f"{home}/.ssh/authorized_keys"):
        os.chown(folder / "upper" / path, owner.st_uid, owner.st_gid)
    (folder / "upper" / home / ".ssh").chmod(0o700)


def _place(folder: Path, image: Path, name: str, content: str | bytes, *, mode: int = 0o644) -> None:
    """Write a file of the node; folders above it are as the image has them (those of the upper layer count)."""
    for parent in reversed(Path(name).parents):
        if parent.name:
            _folder(folder / "upper" / parent, image / parent)
    files.write(folder / "upper" / name, content, mode)


def _folder(target: Path, model: Path) -> None:
    if target.is_dir():
        return
    target.mkdir(mode=0o755)
    if model.is_dir():
        found = model.stat()
        os.chown(target, found.st_uid, found.st_gid)
        target.chmod(found.st_mode & 0o7777)


def _host_key(lab: Layout, node: Node, kind: str) -> Path:
    """Return one of the node's private host keys; it stays the same when the node is made anew."""
    return lab.folder / "host-keys" / node.name / f"ssh_host_{kind}_key"


def ensure_host_keys(lab: Layout, node: Node) -> None:
    """Make the node's host keys where they are missing."""
    for kind in HOST_KEYS:
        key = _host_key(lab, node, kind)
        if not (key.is_file() and key.with_suffix(".pub").is_file()):
            files.make_folder(key.parent)
            access.make_key(key, kind, f"root@{node.name}")


def host_keys(lab: Layout, node: Node) -> tuple[str, ...]:
    """Return a node's public host keys, `TYPE KEY`, as they were made: what the node does to its own is no matter."""
    return tuple(access.read_public(_host_key(lab, node, kind)) for kind in HOST_KEYS)


def has_host_keys(lab: Layout, node: Node, keys: Collection[str]) -> bool:
    """Whether one of these public keys, `TYPE KEY`, is one that the node was given."""
    try:
        return not set(host_keys(lab, node)).isdisjoint(keys)
    except OSError:
        return False  # it was never made


def _record(lab: Layout, node: Node) -> Path:
    return lab.node(node) / "supervisor"


def recorded(lab: Layout, node: Node) -> Process | None:
    """Return the supervisor that was started last, whether it still runs or not."""
    try:
        pid, started = map(int, _record(lab, node).read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return None
    return Process(pid, started)


def attended(lab: Layout, node: Node) -> bool:
    """Whether a node's supervisor is there: without it nobody boots the node."""
    return processes.alive(recorded(lab, node))


def runs(lab: Layout, node: Node) -> bool:
    """Whether a node runs, with its supervisor beside it."""
    return attended(lab, node) and bool(cgroups.members(supervisor.group(lab, node)))


def leader(lab: Layout, node: Node) -> int | None:
    """Return the process id, on this machine, of the node's own systemd: the outermost first process."""
    first = {pid: inside for pid in network.inhabitants([lab.namespace(node)]) if (inside := _ids(pid))[-1:] == ["1"]}
    return min(first, key=lambda pid: len(first[pid]), default=None)


def _ids(pid: int) -> list[str]:
    """Return a process's ids, from this machine's namespace to its own (NSpid in proc(5))."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return []
    return next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])


def log(lab: Layout, node: Node) -> Path:
    """Return where the node's console goes."""
    return lab.node(node) / "log"


def start(lab: Layout, node: Node, images_in_use: Sequence[int]) -> None:
    """Start a node's supervisor, which boots it; what a killed run left of the node is ended first.

    `images_in_use`: the descriptors by which the supervisor keeps the images from being removed.
    """
    cgroups.end(supervisor.group(lab, node))
    environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    command = [sys.executable, "-m", supervisor.__name__, *supervisor.arguments(lab, node)]
    with log(lab, node).open("wb") as output:
        log(lab, node).chmod(files.PRIVATE_FILE)
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True, cwd="/",
            pass_fds=tuple(images_in_use),
            env={"LC_ALL": "C.UTF-8", **environment},
        )  # fmt: skip
    started = processes.start_time(process.pid)
    files.write(_record(lab, node), f"{process.pid} {-1 if started is None else started}\n")
    assert process.stdin is not None  # noqa: S101 - asked for above
    process.stdin.write(b"\n")
    process.stdin.close()
    process.returncode = 0  # it is nobody's to wait for: it outlives this command


def stop(lab: Layout, nodes: tuple[Node, ...], limit: float = SHUTDOWN) -> list[Node]:
    """Shut nodes down together, and kill what has not gone after `limit` seconds; return those that had run."""
    running = {node: recorded(lab, node) for node in nodes}
    found = {node: process for node, process in running.items() if process and processes.alive(process)}
    processes.stop(list(found.values()), limit)
    for node in nodes:
        cgroups.end(supervisor.group(lab, node))
        network.detach(lab, node)
        _record(lab, node).unlink(missing_ok=True)
    return list(found)


def kill(lab: Layout, nodes: tuple[Node, ...]) -> None:
    """End nodes at one moment, as a power cut does: none of them is told."""
    processes.kill([process for process in (recorded(lab, node) for node in nodes) if process])
    with ThreadPoolExecutor(max(1, len(nodes))) as pool:
        list(pool.map(lambda node: cgroups.end(supervisor.group(lab, node)), nodes))
    for node in nodes:
        network.detach(lab, node)
        _record(lab, node).unlink(missing_ok=True)


def remove(folder: Path) -> None:
    """Remove a stopped node's folder with all that the node wrote."""
    (folder / "made").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
