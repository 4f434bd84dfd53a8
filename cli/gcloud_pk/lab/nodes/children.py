"""How a program is started that must not outlive the one that started it, however that one ends."""

from __future__ import annotations

import shutil

from gcloud_pk.errors import UnavailableError

DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")
"""Begins a command line: the kernel kills the program when the thread that started it is gone (prctl(2))."""


def require(*programs: str) -> None:
    """Return where programs are on PATH. Raises UnavailableError, which names the doctor."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise UnavailableError(
            f"not on PATH: {', '.join(missing)}", resolution="see what is missing: gcloud-pk lab nodes doctor"
        )
