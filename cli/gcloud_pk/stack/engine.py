"""Where Pulumi's engine comes from: a file named, PATH, the cache, else obtained as a control plane's programs are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from gcloud_pk.console import Console
from gcloud_pk.errors import GcloudPkError, UnavailableError

NAME = "pulumi"
LEAST = (3, 205, 1)
"""The oldest engine that sends its events over a socket, as the driver reads them."""

_ADVICE = (
    "install Pulumi, name its program with --engine FILE, or let gcloud-pk obtain it "
    "(it fetches or builds it once, from your Go module proxy)"
)


@dataclass(frozen=True)
class Engine:
    """An engine that runs. `source`: given, PATH, cache, download or build."""

    path: Path
    version: str
    source: str


def find(given: Path | None, console: Console, *, offline: bool = False) -> Engine:
    """Return the engine. Raises UnavailableError with what to do where none is to be had.

    The file that was named must do; one on PATH that is too old is passed over.
    """
    if given is not None:
        return _running(given.absolute(), "given")
    if found := shutil.which(NAME):
        try:
            return _running(Path(found).absolute(), "PATH")
        except UnavailableError as error:
            console.note(f"{error.message}; looking further")
    from gcloud_pk.programs import pins, sourcing

    try:
        program = sourcing.obtain(pins.load("engine"), sourcing.Wish(offline=offline), console)[NAME]
    except GcloudPkError as error:
        raise UnavailableError(
            "Pulumi's engine is not to be had; nothing was written", details=error.details, resolution=_ADVICE
        ) from error
    return _running(program.path, program.source)


def said_version(path: Path) -> str | None:
    """Return the version that an engine says it has, such as 3.259.0; None where it does not run."""
    environment = {**os.environ, "PULUMI_SKIP_UPDATE_CHECK": "true"}
    try:
        said = subprocess.run(
            [path, "version"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            stdin=subprocess.DEVNULL,
            env=environment,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.strip().removeprefix("v") or None if said.returncode == 0 else None


def parsed(version: str) -> tuple[int, int, int] | None:
    """Return a version as numbers, what follows the patch aside; None where it is none."""
    found = re.match(r"(\d+)\.(\d+)\.(\d+)(?![.\d])", version)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def _running(path: Path, source: str) -> Engine:
    version = said_version(path)
    number = parsed(version) if version else None
    if version is None or number is None:
        raise UnavailableError(f"{path} is no Pulumi engine that runs here; nothing was written", resolution=_ADVICE)
    if number < LEAST or number[0] != LEAST[0]:
        least = ".".join(str(part) for part in LEAST)
        raise UnavailableError(
            f"{path} is Pulumi {version}; {least} or newer is needed (and below {LEAST[0] + 1})", resolution=_ADVICE
        )
    return Engine(path, version, source)
