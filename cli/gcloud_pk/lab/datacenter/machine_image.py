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
from gcloud_pk.programs.cilium import Cilium
from gcloud_pk.programs.sourcing import Program

PACKAGES = (
    "conntrack", "containerd", "containernetworking-plugins", "curl", "ebtables", "ethtool", "ipset", "iptables",
    "keepalived", "runc", "socat",
)  # fmt: skip
"""What a node of a Kubernetes cluster runs on beyond the nodes' image."""

PROGRAMS = ("kubelet", "kubeadm", "kubectl", "etcdctl", "etcdutl")
"""What lies in a node's /usr/local/bin."""

PACKAGES_OF_CILIUM = ("bpftool", "clang-14", "llvm-14")
"""What Cilium's agent probes the kernel and compiles its programs with, on the node."""

CILIUM = {
    "cilium-agent": "usr/local/bin",
    "cilium-operator": "usr/local/bin",
    "cilium-dbg": "usr/local/bin",
    "cilium-cni": "usr/lib/cni",
}
"""Cilium's programs, and the folder of each."""

_BPF = Path("var/lib/cilium/bpf")
_CALLED = {"clang": "/usr/bin/clang-14", "llc": "/usr/bin/llc-14"}
"""The names by which the agent calls the compiler."""

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


def key(base: str, programs: Mapping[str, Program], cilium: Cilium | None = None) -> str:
    """Return the name under which the layer is cached: it follows from the image, the packages and the programs."""
    about: list[Any] = [_BUILDER, PACKAGES, [_machine(name).read_text() for name in (_UNIT, _PREPARE.name)]]
    about += [_told(programs[name]) for name in PROGRAMS]
    if cilium:
        about += [PACKAGES_OF_CILIUM, *(_told(cilium.programs[name]) for name in CILIUM)]
    return image.layer_key(base, json.dumps(about))


def _told(program: Program) -> list[Any]:
    """Return what tells a program's file from others."""
    found = program.path.stat()
    return [program.name, str(program.path), found.st_size, found.st_mtime_ns]


def ensure(base: str, programs: Mapping[str, Program], console: Console, cilium: Cilium | None = None) -> str:
    """Return the layer's key; it is made where it is not cached. Raises UnavailableError.

    `base`: key of the image that it lies on; `programs`: by name, at least PROGRAMS; `cilium`: where nodes run it.
    """
    words = (
        "container runtime, programs of Kubernetes, Cilium and its compiler, two minutes, 1.4 GB"
        if cilium
        else "container runtime and programs of Kubernetes, half a minute, 500 MB"
    )
    wanted = key(base, programs, cilium)
    return image.obtain(wanted, words, lambda work: _build(work, base, programs, cilium, console), console)


def _build(
    work: Path, base: str, programs: Mapping[str, Program], cilium: Cilium | None, console: Console
) -> dict[str, Any]:
    packages = (*PACKAGES, *(PACKAGES_OF_CILIUM if cilium else ()))
    command = ["sh", "-c", _INSTALL, "sh", str(work), str(image.root(base)), *image.APT, *packages]
    image.step("container runtime", command, work / "log", console)
    tree = work / "root"
    for name in PROGRAMS:
        _place(programs[name], tree / "usr/local/bin")
    if cilium:
        _place_cilium(cilium, tree)
    _folder((tree / _PREPARE).parent)
    files.write(tree / _PREPARE, _machine(_PREPARE.name).read_text(), 0o755)
    units = _folder(tree / "etc/systemd/system/multi-user.target.wants").parent
    files.write(units / _UNIT, _machine(_UNIT).read_text(), 0o644)
    (units / "multi-user.target.wants" / _UNIT).symlink_to(f"/etc/systemd/system/{_UNIT}")
    for left in ("scratch", "merged"):
        shutil.rmtree(work / left)
    lying = {name: programs[name] for name in PROGRAMS} | dict(cilium.programs if cilium else {})
    return {"on": base, "packages": packages, "programs": {name: program.as_dict() for name, program in lying.items()}}


def _place(program: Program, folder: Path) -> None:
    target = _folder(folder) / program.name
    shutil.copyfile(program.path, target)
    target.chmod(0o755)


def _place_cilium(cilium: Cilium, tree: Path) -> None:
    for name, folder in CILIUM.items():
        _place(cilium.programs[name], tree / folder)
    shutil.copytree(cilium.bpf, _folder((tree / _BPF).parent) / _BPF.name)
    for name, target in _CALLED.items():
        (tree / "usr/local/bin" / name).symlink_to(target)


def _folder(path: Path) -> Path:
    """Make a folder that everybody may read, as the image has those of its own."""
    if not path.is_dir():
        _folder(path.parent)
        path.mkdir(mode=0o755)
        path.chmod(0o755)
    return path
