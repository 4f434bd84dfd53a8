"""A judge of NetworkPolicies that is not this project's: the program of `tests/tools/netpol`, built once and kept."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gcloud_pk import paths
from gcloud_pk.console import Console
from gcloud_pk.errors import UnavailableError
from gcloud_pk.programs import files, pins, toolchain

SOURCES = Path(__file__).parents[1] / "tools" / "netpol"
MODULE = "github.com/mattfenwick/cyclonus"


@dataclass(frozen=True)
class End:
    """One end of a flow: a pod of the scene, or an address outside."""

    ip: str
    pod: str | None = None


@dataclass(frozen=True)
class Flow:
    """What is tried."""

    source: End
    destination: End
    port: int
    protocol: str


@dataclass(frozen=True)
class Verdict:
    """Whether the source may send it, and whether the destination may receive it."""

    sent: bool
    received: bool


@dataclass(frozen=True)
class Scene:
    """Namespaces with their labels, and pods: name → namespace and labels."""

    namespaces: dict[str, dict[str, str]]
    pods: dict[str, tuple[str, dict[str, str]]]


class Judge:
    """The running program."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def verdicts(self, scene: Scene, policies: Sequence[dict[str, Any]], flows: Sequence[Flow]) -> list[Verdict]:
        """Judge flows under policies. Raises ValueError with the program's words on what it cannot judge."""
        asked = {
            "policies": policies,
            "namespaces": scene.namespaces,
            "pods": {name: {"namespace": where, "labels": its} for name, (where, its) in scene.pods.items()},
            "queries": [
                {"from": _end(f.source), "to": _end(f.destination), "port": f.port, "protocol": f.protocol}
                for f in flows
            ],
        }
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        reply = json.loads(self._process.stdout.readline())
        if "error" in reply:
            raise ValueError(reply["error"])
        return [Verdict(one["egress"], one["ingress"]) for one in reply.get("answers", [])]


def _end(of: End) -> dict[str, str]:
    return {"ip": of.ip, **({"pod": of.pod} if of.pod else {})}


@contextmanager
def judging() -> Iterator[Judge]:
    """Run the program; skip the test where it is not to be had."""
    with subprocess.Popen([built()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Judge(process)
        finally:
            assert process.stdin
            process.stdin.close()


def built() -> Path:
    """Return the program from the cache, else build it with the lab's toolchain. Skips the test where that fails."""
    sources = [SOURCES / name for name in ("go.mod", "go.sum", "main.go")]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    pinned = re.search(rf"{re.escape(MODULE)} v(\S+)", sources[0].read_text())
    assert pinned
    folder = paths.cache("netpol", f"cyclonus-{pinned[1]}-{digest}")
    program = folder / "netpol"
    with files.locked(folder / ".lock", lambda: None):
        if not program.is_file():
            _build(folder, pinned[1])
    return program


def _build(folder: Path, version: str) -> None:
    work = Path(tempfile.mkdtemp(dir=folder, prefix=".build-"))
    console = Console()
    try:
        go = toolchain.obtain(pins.load().go, SOURCES, paths.cache("go"), console)
        pin = pins.Pin("netpol", version, MODULE, ".", "judges flows by network policies", None)
        toolchain.build(go, (pin,), SOURCES, work, console)
        (work / "netpol").replace(folder / "netpol")
    except (toolchain.BuildError, UnavailableError) as error:
        said = "; ".join(getattr(error, "log", ())[-1:])
        pytest.skip(f"the independent judge of network policies is not to be had: {error} {said}")
    finally:
        shutil.rmtree(work, ignore_errors=True)
