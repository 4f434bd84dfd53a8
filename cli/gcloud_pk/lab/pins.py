"""The programs that a lab runs: their pinned versions and where each can come from (`programs.yaml`)."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gcloud_pk import paths
from gcloud_pk.errors import UnavailableError

ETCD = "etcd"
API_SERVER = "kube-apiserver"
CONTROLLER_MANAGER = "kube-controller-manager"
SCHEDULER = "kube-scheduler"
KUBECTL = "kubectl"

_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True, slots=True)
class Download:
    """A file of an official release. `sha256` is of the file as it is published, in lower-case hex."""

    base: str
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Pin:
    """One program: its version, its Go package, and its official download for this machine if there is one."""

    name: str
    version: str
    module: str
    package: str
    purpose: str
    download: Download | None

    @property
    def minor(self) -> str:
        """Major and minor version, such as 1.36: what a program found on the machine must have."""
        return ".".join(self.version.split(".")[:2])


@dataclass(frozen=True, slots=True)
class GoPin:
    """The Go toolchain as a Python wheel, and what a build with it costs (megabytes fetched, minutes on two cores)."""

    version: str
    requirement: str
    megabytes: int
    sha256: tuple[str, ...]
    modules_megabytes: int
    minutes: int


@dataclass(frozen=True, slots=True)
class Pins:
    """All pins for one architecture (`amd64` or `arm64`)."""

    architecture: str
    programs: dict[str, Pin]
    go: GoPin

    @property
    def key(self) -> str:
        """The cache's folder of these versions."""
        return (
            f"etcd-{self.programs[ETCD].version}-kubernetes-{self.programs[API_SERVER].version}"
            f"-linux-{self.architecture}"
        )


def architecture() -> str:
    """Return this machine's architecture in Go's words. Raises UnavailableError where no lab can run."""
    machine = platform.machine().lower()
    if platform.system() != "Linux" or machine not in _ARCHITECTURES:
        raise UnavailableError(
            f"a lab runs on Linux on amd64 or arm64; this is {platform.system()} on {machine}",
            resolution="use a Linux machine or virtual machine, or a cluster that you have (--kubeconfig)",
        )
    return _ARCHITECTURES[machine]


def parse(document: dict[str, Any], arch: str) -> Pins:
    """Return the pins that `document` (the content of programs.yaml) has for `arch`."""

    def download(entry: dict[str, Any]) -> Download | None:
        found = entry.get("download")
        if not found or arch not in found["sha256"]:
            return None
        return Download(found["base"].rstrip("/"), found["path"].format(architecture=arch), found["sha256"][arch])

    programs = {
        name: Pin(name, entry["version"], entry["module"], entry["package"], entry["purpose"], download(entry))
        for name, entry in document["programs"].items()
    }
    go = document["go"]
    return Pins(
        arch,
        programs,
        GoPin(
            go["version"],
            go["requirement"],
            go["megabytes"],
            tuple(go["sha256"]),
            go["modules_megabytes"],
            go["minutes"],
        ),
    )


def sources() -> Path:
    """Return the folder with the Go module that pins and builds the programs."""
    return paths.package("lab", "programs")


@cache
def load() -> Pins:
    """Return the pins of this version of gcloud-pk for this machine."""
    import yaml

    text = paths.package("lab", "programs.yaml").read_text(encoding="utf-8")
    return parse(yaml.safe_load(text), architecture())
