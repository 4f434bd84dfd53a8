"""What a lab data centre needs beyond a lab of nodes, and what of it this machine has. Nothing is changed."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from gcloud_pk import paths
from gcloud_pk.errors import UnavailableError
from gcloud_pk.lab.doctor import Finding, code
from gcloud_pk.lab.nodes import cgroups, inotify
from gcloud_pk.lab.nodes import doctor as of_nodes
from gcloud_pk.programs import pins, sourcing

__all__ = ["Finding", "code", "examine", "require"]

CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids")
"""What kubelet and runc want of control groups of version 1."""

_GIGABYTES = {3: 6, 6: 10}
"""What the nodes of a lab write, images and etcd's data included."""


def examine(nodes: int, wish: sourcing.Wish, *, image_at_hand: bool = False, own: str | None = None) -> list[Finding]:
    """Look at what a lab of so many nodes needs: all of a lab of nodes, programs, cgroups, disk, inotify instances.

    `own`: the cgroup of that lab, if it is there already; what its processes take is its own.
    """
    findings = [f for f in of_nodes.examine(image_at_hand=image_at_hand) if f.subject not in _LOOKED_AT_HERE]
    if any(f.subject == "machine" and f.state == "missing" for f in findings):
        return findings
    mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    return [*findings, controllers(mountinfo), _instances(nodes, own), disk(nodes), *_programs(wish)]


_LOOKED_AT_HERE = {"inotify instances", "disk for nodes"}


def require(nodes: int, wish: sourcing.Wish, *, image_at_hand: bool = False, own: str | None = None) -> None:
    """Return where nothing is missing. Raises UnavailableError with what is, in the doctor's words."""
    missing = [f for f in examine(nodes, wish, image_at_hand=image_at_hand, own=own) if f.state == "missing"]
    if missing:
        raise UnavailableError(
            "a lab data centre cannot run here",
            details=[f"{f.subject}: {f.found}" for f in missing],
            resolution="; ".join(dict.fromkeys(f.remedy for f in missing if f.remedy)),
        )


def controllers(mountinfo: str) -> Finding:
    """Say whether containers of a node can have limits, from the text of /proc/PID/mountinfo (proc(5), cgroups(7))."""
    hierarchies = cgroups.hierarchies(mountinfo)
    offered = {option for line in mountinfo.splitlines() for option in re.split(r"[ ,]", line.partition(" - ")[2])}
    lacking = [name for name in CONTROLLERS if name not in offered]
    if not lacking:
        return Finding("controllers", "ok", "version 1, with all that kubelet wants")
    if hierarchies == [Path("/sys/fs/cgroup")]:
        return Finding(
            "controllers", "note", "version 2 alone: nodes boot on it, and a cluster on them is not tried",
            "nothing, or use a machine with control groups of version 1",
        )  # fmt: skip
    return Finding(
        "controllers", "missing", f"no hierarchy of {', '.join(lacking)}",
        "mount the controllers of version 1, each below /sys/fs/cgroup",
    )  # fmt: skip


def _instances(nodes: int, own: str | None) -> Finding:
    room = inotify.room(inotify.IN_A_CLUSTER, cgroups.members(own) if own else ())
    if room is None:
        return Finding("inotify instances", "note", "the kernel does not say how many there are")
    if room.enough(nodes):
        return Finding("inotify instances", "ok", room.words)
    return Finding("inotify instances", "missing", room.words, room.remedy)


def disk(nodes: int) -> Finding:
    """Say whether what the nodes write has room."""
    there = paths.state()
    while not there.exists():
        there = there.parent
    free, wanted = shutil.disk_usage(there).free / 1e9, _GIGABYTES[nodes]
    if not os.access(there, os.W_OK):
        return Finding("disk for nodes", "missing", f"{there} cannot be written", "set XDG_STATE_HOME")
    if free < wanted:
        found = f"{free:.1f} GB free at {there}, {wanted} GB are needed for {nodes} nodes"
        return Finding("disk for nodes", "missing", found, "make room or set XDG_STATE_HOME")
    return Finding("disk for nodes", "ok", f"{free:.0f} GB free at {there}")


def _programs(wish: sourcing.Wish) -> list[Finding]:
    try:
        wanted = pins.load("datacenter")
    except UnavailableError as error:
        return [Finding("programs", "missing", error.message, error.resolution)]
    search = sourcing.look(wanted, wish)
    missing = ", ".join(pin.name for pin in search.missing)
    if not missing:
        return [Finding("programs", "ok", f"{len(search.found)}, of Kubernetes {wanted.programs['kubelet'].version}")]
    if wish.offline:
        return [
            Finding("programs", "missing", f"not at hand: {missing}", "run it without --offline, or with --programs")
        ]
    return [Finding("programs", "note", f"not at hand: {missing}", "nothing: `up` has them downloaded or built")]
