"""A judge: a control plane that lives for one question, so that policies can be tried where they are not in force yet.

It is a lab of its own under a name that nobody chooses; what a killed run left is removed by the next.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gcloud_pk.cluster import kubeconfig
from gcloud_pk.cluster.transport import Api
from gcloud_pk.console import Console
from gcloud_pk.errors import GcloudPkError, UnavailableError
from gcloud_pk.lab import controlplane, state
from gcloud_pk.programs.sourcing import Wish

_NAME = re.compile(r"judge-([0-9]+)(?:-[0-9]+)?")


@dataclass(frozen=True)
class Bench:
    """The judge's API server: as its administrator, and as its verifier."""

    administrator: Api
    verifier: Api


@contextmanager
def bench(console: Console, number: int = 0) -> Iterator[Bench]:
    """Start a control plane with what `cluster init` installs; remove it with all it holds.

    `number` tells apart those of one process; one starts at a time. Nothing is downloaded or built for it: raises
    UnavailableError where the programs are not there already.
    """
    _sweep(console)
    name = f"judge-{os.getpid()}" + (f"-{number}" if number else "")
    try:
        files = str(_started(name, console).kubeconfig)
        yield Bench(Api(kubeconfig.load(files, "admin")), Api(kubeconfig.load(files, "verifier")))
    finally:
        controlplane.down(name, purge=True, console=console)


def _started(name: str, console: Console) -> controlplane.Lab:
    folder = os.environ.get("GCLOUD_PK_PROGRAMS")
    wish = Wish(Path(folder) if folder else None, offline=True)
    try:
        return controlplane.up(name, wish=wish, console=console)
    except UnavailableError as error:
        if not any("--offline" in detail.message for detail in error.details):
            raise
        raise UnavailableError(
            error.message,
            details=error.details,
            resolution="gcloud-pk lab up brings them, once; gcloud-pk lab doctor says what is missing",
        ) from error


def _sweep(console: Console) -> None:
    """Remove the judges of runs that were killed."""
    for left in list(state.labs()):
        found = _NAME.fullmatch(left.name)
        if found and not Path("/proc", found[1]).exists():
            with suppress(GcloudPkError):
                controlplane.down(left.name, purge=True, console=console)
