"""The process beside each node: boots it, boots it again when it asks for a reboot, and goes when it went.

`python -m gcloud_pk.lab.nodes.supervisor KIND FOLDER NUMBER RACK LABEL`, with standard input a pipe: it begins when a
byte comes, and leaves when the pipe is closed before (whoever started it was killed, and nobody would know of it).
SIGTERM shuts the node down in order. A node whose supervisor was killed runs on unattended, and counts as one that
does not run: the next `up` or `down` ends it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from gcloud_pk.lab.nodes import cgroups, network
from gcloud_pk.lab.nodes.layout import KINDS, Layout, Node

REBOOT = 133
"""What systemd-nspawn exits with when the machine asks for a reboot and nobody else would boot it (--keep-unit)."""

# In a mount namespace of its own: an overlay that no one sees outside is never left behind. The marks of
# systemd-nspawn go to a file system of their own for the same reason. Paths are relative to the node's folder, so that
# no character of them is read as an option. `volatile` spares the machine's disk the synchronising of every package; it
# leaves a mark, lest anybody trust what was written when the machine itself went down: a lab does.
_BOOT = """\
set -eu
while [ "$1" != -- ]; do echo $$ >"$1"; shift; done
shift
mkdir -p /run/systemd/nspawn
mount -t tmpfs -o mode=700 tmpfs /run/systemd/nspawn
rm -rf work/work/incompat
below=lower
[ ! -L layer ] || below=layer:lower
mount -t overlay -o lowerdir=$below,upperdir=upper,workdir=work,volatile overlay root 2>/dev/null ||
  mount -t overlay -o lowerdir=$below,upperdir=upper,workdir=work overlay root
exec "$@"
"""


def watch_group(lab: Layout) -> str:
    """Return the cgroup of the supervisors."""
    return f"{lab.cgroup}/supervisors"


def group(lab: Layout, node: Node) -> str:
    """Return a node's cgroup."""
    return f"{lab.cgroup}/{node.name}"


def boot_command(lab: Layout, node: Node) -> list[str]:
    """Return systemd-nspawn's command line. Source: the node lab's measurements.

    CAP_NET_ADMIN is not granted with a namespace of its own; keyrings are what runc asks for. All capabilities would
    let a node set the machine's clock.
    """
    return [
        "systemd-nspawn",
        "--quiet",
        "--directory=root",
        f"--machine={lab.prefix}{node.name}",
        f"--hostname={node.name}",
        "--boot",
        "--register=no",
        "--keep-unit",
        f"--network-namespace-path=/run/netns/{lab.namespace(node)}",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--console=pipe",
        f"--capability={','.join(lab.kind.capabilities)}",
        f"--system-call-filter={' '.join(lab.kind.system_calls)}",
        *(f"--bind={_escaped(lab.disk(node, disk))}:{disk}" for disk in lab.kind.disks),
    ]


def _escaped(path: Path) -> str:
    """Return a path as systemd-nspawn(1) takes it in front of a colon."""
    return str(path).replace("\\", "\\\\").replace(":", "\\:")


def arguments(lab: Layout, node: Node) -> list[str]:
    """Return what a supervisor is started with: whose it is."""
    return [lab.kind.name, str(lab.folder), str(node.number), str(node.rack), node.label]


def _boot(lab: Layout, node: Node) -> subprocess.Popen[bytes]:
    entries = [str(path) for path in cgroups.make(group(lab, node))]
    command = ["unshare", "--mount", "--propagation", "slave"]
    command += ["sh", "-c", _BOOT, "sh", *entries, "--", *boot_command(lab, node)]
    return subprocess.Popen(
        command,
        cwd=lab.node(node),
        stdin=subprocess.DEVNULL,
        # Of its own kernel settings a node may write those of its network, which is a namespace of its own.
        env={"PATH": os.environ.get("PATH", os.defpath), "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"},
    )


def run(lab: Layout, node: Node) -> None:
    """Keep a node running until it powers off or SIGTERM comes."""
    stopping = False
    machine: subprocess.Popen[bytes] | None = None

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        if machine is not None:
            machine.terminate()

    signal.signal(signal.SIGTERM, stop)
    status = REBOOT
    while status == REBOOT and not stopping:
        network.attach(lab, node)
        machine = _boot(lab, node)
        if stopping:  # the signal came before there was a machine
            machine.terminate()
        status = machine.wait()
        cgroups.end(group(lab, node))
    network.detach(lab, node)


def main(words: list[str]) -> None:
    """Wait for the word, then run."""
    kind, folder, number, rack, label = words
    lab, node = Layout(Path(folder), KINDS[kind]), Node(int(number), int(rack), label)
    cgroups.join(watch_group(lab))
    if sys.stdin.buffer.read(1):
        run(lab, node)


if __name__ == "__main__":
    main(sys.argv[1:])
