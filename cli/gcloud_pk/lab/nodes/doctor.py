"""What a lab of nodes needs, and what of it this machine has. Nothing is changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from gcloud_pk import paths
from gcloud_pk.errors import UnavailableError
from gcloud_pk.lab.doctor import Finding, code
from gcloud_pk.lab.nodes import cgroups, image, inotify

__all__ = ["Finding", "code", "examine", "require"]

_PROGRAMS = {
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "socat": "socat",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}
_BUILDERS = {"mmdebstrap": "mmdebstrap"}
_NODES = 3
"""How many nodes a lab has where nobody says."""
_LAB_GIGABYTES = 1
_IMAGE_GIGABYTES = 2


def examine(*, image_at_hand: bool = False) -> list[Finding]:
    """Look at the machine, its rights, programs, kernel, disk and the cached image.

    `image_at_hand`: nothing is to be built, whatever today's image would be.
    """
    if not sys.platform.startswith("linux"):
        return [Finding("machine", "missing", sys.platform, "use a machine with Linux; nodes are namespaces of it")]
    try:
        wanted = image.recipe()
    except UnavailableError as error:
        return [Finding("machine", "missing", error.message, error.resolution)]
    findings = [Finding("machine", "ok", f"Linux on {wanted.architecture}")]
    cached = image_at_hand or image.cached(wanted.key)
    findings += _programs(_PROGRAMS if cached else {**_PROGRAMS, **_BUILDERS})
    if not cached:
        findings.append(_keyring())
    findings += _disk(cached)
    if os.geteuid() != 0:
        findings.append(Finding("rights", "missing", "not root", "run it as root: nodes are namespaces and mounts"))
    else:
        findings.append(Finding("rights", "ok", "root"))
        findings += [_namespaces(), _overlay(), _cgroups()]
    findings += [*instances(), _image(wanted.key)]
    return findings


def require(*, image_at_hand: bool = False) -> None:
    """Return where nothing is missing. Raises UnavailableError with what is, in the doctor's words."""
    missing = [f for f in examine(image_at_hand=image_at_hand) if f.state == "missing"]
    if missing:
        raise UnavailableError(
            "a lab of nodes cannot run here",
            details=[f"{f.subject}: {f.found}" for f in missing],
            resolution="; ".join(dict.fromkeys(f.remedy for f in missing if f.remedy)),
        )


def _programs(programs: dict[str, str]) -> list[Finding]:
    findings = []
    for program, package in programs.items():
        found = shutil.which(program)
        findings.append(
            Finding(program, "ok", found)
            if found
            else Finding(program, "missing", "not on PATH", f"apt-get install {package}")
        )
    return findings


def _keyring() -> Finding:
    if image.KEYRING.is_file():
        return Finding("Debian's keys", "ok", str(image.KEYRING))
    return Finding(
        "Debian's keys", "missing", f"{image.KEYRING} is not there", "apt-get install debian-archive-keyring"
    )


def _disk(cached: bool) -> list[Finding]:
    findings = []
    needs = (
        ("disk for the image", paths.cache(), 0 if cached else _IMAGE_GIGABYTES, "XDG_CACHE_HOME"),
        ("disk for nodes", paths.state(), _LAB_GIGABYTES, "XDG_STATE_HOME"),
    )
    for subject, folder, gigabytes, variable in needs:
        there = _existing(folder)
        free = shutil.disk_usage(there).free / 1e9
        if not os.access(there, os.W_OK):
            findings.append(Finding(subject, "missing", f"{there} cannot be written", f"set {variable}"))
        elif free < gigabytes:
            found = f"{free:.1f} GB free at {there}, {gigabytes} GB are needed"
            findings.append(Finding(subject, "missing", found, f"make room or set {variable}"))
        else:
            findings.append(Finding(subject, "ok", f"{free:.0f} GB free at {there}"))
    return findings


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _namespaces() -> Finding:
    done = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "true"], capture_output=True, text=True, check=False
    ) if shutil.which("unshare") else None  # fmt: skip
    if done is None:
        return Finding("namespaces", "missing", "unshare is not there to try them", "apt-get install util-linux")
    if done.returncode:
        said = done.stderr.strip().splitlines()
        return Finding(
            "namespaces",
            "missing",
            said[0] if said else "refused",
            "run it with CAP_SYS_ADMIN, in no container",
        )
    return Finding("namespaces", "ok", "network, mount and process namespaces can be made")


def _overlay() -> Finding:
    """Mount an overlay where the nodes' folders would lie, in a mount namespace that goes with the process."""
    script = 'cd "$1" && mkdir l u w r && mount -t overlay -o lowerdir=l,upperdir=u,workdir=w overlay r && : >r/file'
    remedy = "use a kernel with overlayfs, and set XDG_STATE_HOME to a folder on ext4, xfs or the like"
    if not shutil.which("unshare"):
        return Finding("overlayfs", "missing", "unshare is not there to try it", "apt-get install util-linux")
    try:
        with tempfile.TemporaryDirectory(prefix=".gcloud-pk-", dir=_existing(paths.state())) as folder:
            command = ["unshare", "--mount", "sh", "-c", script, "sh", folder]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return Finding("overlayfs", "missing", f"cannot be tried: {error.strerror}", remedy)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        return Finding("overlayfs", "missing", said[0] if said else "refused", remedy)
    return Finding("overlayfs", "ok", f"can be mounted at {_existing(paths.state())}")


def _cgroups() -> Finding:
    found = cgroups.mounted()
    remedy = "mount the cgroup hierarchies for writing below /sys/fs/cgroup"
    closed = [str(path) for path in found if not os.access(path, os.W_OK) or _read_only(path)]
    if not found or closed:
        said = f"{', '.join(closed)} cannot be written" if closed else "no hierarchy is mounted"
        return Finding("cgroups", "missing", said, remedy)
    return Finding("cgroups", "ok", f"{len(found)} {'hierarchies' if len(found) > 1 else 'hierarchy'}")


def _read_only(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def instances() -> list[Finding]:
    """Return whether there is room for a lab's nodes by the machine's inotify instances."""
    room = inotify.room()
    if room is None:
        return []
    few = not room.enough(_NODES)
    return [Finding("inotify instances", "note" if few else "ok", room.words, room.remedy if few else None)]


def _image(key: str) -> Finding:
    when = image.built(key)
    if when is None:
        return Finding("image", "note", f"{key} is not cached", "nothing: `lab nodes up` builds it")
    return Finding("image", "ok", f"{key}, built on {when:%Y-%m-%d}")
