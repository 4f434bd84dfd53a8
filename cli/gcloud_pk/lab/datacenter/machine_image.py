"""What lies on the nodes' image in a lab data centre: a container runtime, and the programs of Kubernetes.

A data centre's machine image has them too. The layer is made once for an image and programs, in the images' cache, and
each node has it between the image and what it writes itself.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gcloud_pk import paths
from gcloud_pk.console import Console
from gcloud_pk.lab.nodes import image
from gcloud_pk.programs import files
from gcloud_pk.programs.sourcing import Program

PACKAGES = (
    "conntrack", "containerd", "containernetworking-plugins", "curl", "ebtables", "ethtool", "ipset", "iptables",
    "keepalived", "runc", "socat",
)  # fmt: skip
"""What a node of a Kubernetes cluster runs on beyond the nodes' image."""

PROGRAMS = ("kubelet", "kubeadm", "kubectl", "etcdctl", "etcdutl")
"""What lies in a node's /usr/local/bin."""

_BUILDER = 1
"""Raised with every change of what is done to a layer below."""

_UNIT = "gcloud-pk-lab-node.service"
_PREPARE = Path("usr/local/lib/gcloud-pk-lab/prepare")

# An overlay over the image, in a mount namespace of its own; names are relative, so that no character of a path is
# read as an option. Packages are taken from the archive inside the image where they are there.
_INSTALL = """\
set -e
cd "$1"
ln -sfn "$2" lower
shift 2
mkdir -p scratch merged
mount -t overlay -o lowerdir=lower,upperdir=root,workdir=scratch overlay merged
cp /etc/resolv.conf merged/etc/resolv.conf
chroot merged "$@" || { chroot merged apt-get update --quiet && chroot merged "$@"; }
: >merged/etc/resolv.conf
rm -rf merged/var/cache/apt/*.bin merged/var/log/apt merged/var/log/dpkg.log merged/var/log/alternatives.log
umount merged
"""


def _machine(name: str) -> Path:
    return paths.package("lab", "datacenter", "machine", name)


def key(base: str, programs: Mapping[str, Program]) -> str:
    """Return the name under which the layer is cached: it follows from the image, the packages and the programs."""
    about: list[Any] = [_BUILDER, PACKAGES, [_machine(name).read_text() for name in (_UNIT, _PREPARE.name)]]
    for name in PROGRAMS:
        found = programs[name].path.stat()
        about.append([name, str(programs[name].path), found.st_size, found.st_mtime_ns])
    return image.layer_key(base, json.dumps(about))


def ensure(base: str, programs: Mapping[str, Program], console: Console) -> str:
    """Return the layer's key; it is made where it is not cached. Raises UnavailableError.

    `base`: key of the image that it lies on; `programs`: by name, at least PROGRAMS.
    """
    words = "container runtime and programs of Kubernetes, half a minute, 500 MB"
    return image.obtain(key(base, programs), words, lambda work: _build(work, base, programs, console), console)


def _build(work: Path, base: str, programs: Mapping[str, Program], console: Console) -> dict[str, Any]:
    command = ["sh", "-c", _INSTALL, "sh", str(work), str(image.root(base)), *image.APT, *PACKAGES]
    image.step("container runtime", command, work / "log", console)
    tree = work / "root"
    for name in PROGRAMS:
        target = _folder(tree / "usr/local/bin") / name
        shutil.copyfile(programs[name].path, target)
        target.chmod(0o755)
    _folder((tree / _PREPARE).parent)
    files.write(tree / _PREPARE, _machine(_PREPARE.name).read_text(), 0o755)
    units = _folder(tree / "etc/systemd/system/multi-user.target.wants").parent
    files.write(units / _UNIT, _machine(_UNIT).read_text(), 0o644)
    (units / "multi-user.target.wants" / _UNIT).symlink_to(f"/etc/systemd/system/{_UNIT}")
    for left in ("scratch", "merged"):
        shutil.rmtree(work / left)
    return {"on": base, "packages": PACKAGES, "programs": {name: programs[name].as_dict() for name in PROGRAMS}}


def _folder(path: Path) -> Path:
    """Make a folder that everybody may read, as the image has those of its own."""
    if not path.is_dir():
        _folder(path.parent)
        path.mkdir(mode=0o755)
        path.chmod(0o755)
    return path
