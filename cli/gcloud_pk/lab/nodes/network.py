"""The lab's network: one bridge for each rack, joined by a spine; each in a network namespace of its own.

Nothing of it is in the machine's own namespace, and nothing leads out: the spine answers as the default gateway and
forwards nothing. A node's namespace is made anew at every boot, so that what it set at run time is gone, as on a
real machine.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from gcloud_pk.errors import UnavailableError
from gcloud_pk.lab.nodes.layout import GATEWAY, Layout, Node

_NAMESPACES = Path("/run/netns")
_PROC = Path("/proc")
_POLL = 0.02


def _ip(*arguments: str, batch: Sequence[str] = ()) -> None:
    """Run ip(8), with the lines of `batch` where there are any. Raises UnavailableError."""
    command = ["ip", *arguments, *(("-batch", "-") if batch else ())]
    done = subprocess.run(
        command, input="".join(f"{line}\n" for line in batch), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UnavailableError(
            "the lab's network cannot be made",
            details=[f"{' '.join(command)}: {line}" for line in done.stderr.strip().splitlines()[:5]],
            resolution="see what is missing: gcloud-pk lab nodes doctor",
        )


def namespaces(lab: Layout) -> set[str]:
    """Return the names of the lab's network namespaces."""
    if not _NAMESPACES.is_dir():
        return set()
    return {entry.name for entry in _NAMESPACES.iterdir() if entry.name.startswith(lab.prefix)}


def fabric(lab: Layout, racks: int) -> set[str]:
    """Return the namespaces that a lab of `racks` racks has when none of its nodes runs."""
    return {lab.spine, *(lab.rack(rack) for rack in range(1, racks + 1))}


def _whole(racks: int) -> str:
    """Return the mark of a fabric that was made to its end."""
    return f"gcloud-pk {racks}"


def has_fabric(lab: Layout, racks: int) -> bool:
    """Whether the spine and `racks` racks are there, joined: who was killed half way left no mark."""
    if not fabric(lab, racks) <= namespaces(lab):
        return False
    command = ["ip", "-n", lab.spine, "link", "show", "br0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return any(line.strip() == f"alias {_whole(racks)}" for line in done.stdout.splitlines())


def make_fabric(lab: Layout, racks: int) -> None:
    """Make the spine and the racks; a former fabric must be gone. Raises UnavailableError."""
    _ip(batch=[f"netns add {name}" for name in sorted(fabric(lab, racks))])
    _ip(
        "-n",
        lab.spine,
        batch=[
            "link set lo up",
            "link add br0 type bridge",
            f"addr add {GATEWAY}/24 dev br0",
            "link set br0 up",
            *(f"link add rack-{k} type veth peer name uplink netns {lab.rack(k)}" for k in range(1, racks + 1)),
            *(f"link set rack-{k} master br0 up" for k in range(1, racks + 1)),
        ],
    )
    for rack in range(1, racks + 1):
        _ip(
            "-n",
            lab.rack(rack),
            batch=["link set lo up", "link add br0 type bridge", "link set br0 up", "link set uplink master br0 up"],
        )
    _ip("-n", lab.spine, "link", "set", "br0", "alias", _whole(racks))


def connect_rack(lab: Layout, rack: int, *, up: bool) -> None:
    """Take a rack's uplink up or down, at the spine. Raises UnavailableError."""
    _ip("-n", lab.spine, "link", "set", f"rack-{rack}", "up" if up else "down")


def attach(lab: Layout, node: Node) -> None:
    """Give a node a fresh namespace, joined to its rack. Raises UnavailableError."""
    detach(lab, node)
    name = lab.namespace(node)
    _ip("netns", "add", name)
    _ip(
        "-n",
        lab.rack(node),
        batch=[
            f"link add {node.name} type veth peer name eth0 netns {name} address {node.mac}",
            f"link set {node.name} master br0 up",
        ],
    )
    _ip(
        "-n",
        name,
        batch=[
            "link set lo up",
            f"addr add {node.address}/24 dev eth0",
            "link set eth0 up",
            f"route add default via {GATEWAY}",
        ],
    )


def detach(lab: Layout, node: Node) -> None:
    """Take a node's namespace away, its link (a namespace whose last process just went can linger), and connections.

    A connection that is kept open for the next command would wait for an answer that never comes.
    """
    for pid in inhabitants([lab.spine]):
        if f"TCP:{node.address}:".encode() in _command(pid):
            _kill(pid)
    for command in (
        ["ip", "-n", lab.rack(node), "link", "del", node.name],
        ["ip", "netns", "del", lab.namespace(node)],
    ):
        subprocess.run(command, capture_output=True, check=False)


def inhabitants(names: Iterable[str]) -> set[int]:
    """Return the ids of processes whose network namespace is one of these; never those of our own."""
    wanted = {_identity(_NAMESPACES / name) for name in names} - {_identity(_PROC / "self" / "ns" / "net"), None}
    return {
        int(entry.name)
        for entry in _PROC.iterdir()
        if entry.name.isdigit() and _identity(entry / "ns" / "net") in wanted
    }


def _command(pid: int) -> bytes:
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return b""


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a namespace from others; the device too, because a leftover file has a number as well."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def end(lab: Layout) -> None:
    """Kill all that is in the lab's namespaces (connections into it too), and remove them."""
    names = namespaces(lab)
    limit = time.monotonic() + 5
    while left := inhabitants(names):
        for pid in left:
            _kill(pid)
        if time.monotonic() > limit:
            break
        time.sleep(_POLL)
    for name in sorted(names):
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        # What ip(8) was killed over is a plain file.
        with suppress(OSError):
            (_NAMESPACES / name).unlink()
