"""Probers as a drill has them: started together, watched, ended; what they saw is read from their traces."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from gcloud_pk.cluster.kubeconfig import Access
from gcloud_pk.errors import UnavailableError
from gcloud_pk.proof.drill import prober
from gcloud_pk.proof.drill.trace import Sample, read

INTERVAL = 0.1
READ_PATIENCE, WRITE_PATIENCE, SERVICE_PATIENCE = 2.0, 4.0, 2.0
"""Seconds for one probe. Probes overlap: patience makes no gap longer."""

READ_PATH = "/api/v1/namespaces/kube-system?resourceVersion=0"
"""A read as informers and kubelets make it: an object, from whatever the API server knows. What has to be the latest
waits for etcd's leader, and fares as writes do."""

_START = 20.0
_END = 8.0


@dataclass(frozen=True)
class Aim:
    """What is probed: the API at `access`, writes into `namespace` as `run`, `service`: a URL or None."""

    access: Access
    namespace: str
    run: str
    service: str | None = None


class Probers:
    """The probers of a drill, while the body runs. `prefix`: what their commands begin with, to enter a network."""

    def __init__(self, folder: Path, aim: Aim, prefix: Sequence[str] = ()) -> None:
        self.folder = folder
        self._prefix = prefix
        self._orders = list(_orders(folder, aim))
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is probed: read, write and, where there is one, service."""
        return tuple(order["kind"] for order in self._orders)

    def __enter__(self) -> Self:
        """Start them; return when all of them probe. Raises UnavailableError."""
        try:
            for order in self._orders:
                self._start(order)
            end = time.monotonic() + _START
            for kind, process in self._running.items():
                self._await(kind, process, end)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End them."""
        self.stop()

    def _start(self, order: dict[str, Any]) -> None:
        kind = order["kind"]
        log = self.folder / f"{kind}.log"
        environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [*self._prefix, sys.executable, "-m", prober.__name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is for the drill, which ends its probers last
                env={"LC_ALL": "C.UTF-8", **environment},
            )
        self._running[kind] = process
        assert process.stdin is not None  # noqa: S101 - asked for above
        try:
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass  # it is told of when it is waited for

    def _await(self, kind: str, process: subprocess.Popen[bytes], end: float) -> None:
        import select

        said: IO[bytes] | None = process.stdout
        assert said is not None  # noqa: S101 - asked for at its start
        ready, _, _ = select.select([said], [], [], max(0.0, end - time.monotonic()))
        if not ready or said.readline() != b"ready\n":
            raise UnavailableError(f"the prober of {kind}s does not start", details=self._last_words(kind))

    def dead(self) -> dict[str, list[str]]:
        """Return the probers that ended by themselves, with their last words: of those, nothing is known any more."""
        return {kind: self._last_words(kind) for kind, process in self._running.items() if process.poll() is not None}

    def _last_words(self, kind: str) -> list[str]:
        try:
            return (self.folder / f"{kind}.log").read_text("utf-8", "replace").splitlines()[-3:]
        except OSError:
            return []

    def samples(self, kind: str) -> list[Sample]:
        """Return what a prober has seen so far."""
        return samples(self.folder, kind)

    def stop(self) -> None:
        """Have all end: what is under way ends first. Who does not is killed."""
        for process in self._running.values():
            for end in (process.stdin, process.stdout):
                if end is not None:
                    end.close()
        limit = time.monotonic() + _END
        for process in self._running.values():
            try:
                process.wait(max(0.1, limit - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()


def samples(folder: Path, kind: str) -> list[Sample]:
    """Return the samples of a kind's trace in a run's folder; none where there is no trace."""
    try:
        with (folder / f"{kind}.trace").open(encoding="ascii", errors="replace") as lines:
            return read(lines)
    except FileNotFoundError:
        return []


def _orders(folder: Path, aim: Aim) -> list[dict[str, Any]]:
    words = prober.access_words(aim.access)
    path = f"/api/v1/namespaces/{aim.namespace}/configmaps"
    kinds: list[tuple[str, float, dict[str, Any]]] = [
        ("read", READ_PATIENCE, {"access": words, "path": READ_PATH}),
        (
            "write",
            WRITE_PATIENCE,
            {"access": words, "path": path, "run": aim.run, "ledger": str(folder / "ledger.jsonl")},
        ),
    ]
    if aim.service:
        kinds.append(("service", SERVICE_PATIENCE, {"url": aim.service}))
    return [
        {
            "kind": kind,
            "trace": str(folder / f"{kind}.trace"),
            "interval": INTERVAL,
            "patience": patience,
            "most": round(patience / INTERVAL) + 10,
            **more,
        }
        for kind, patience, more in kinds
    ]
