"""Cilium for a lab data centre: its programs, and the source of what they compile on a node and load into the kernel.

An old line (1.15), because it is the last one whose Go module and all that it needs can be had and built here. A data
centre that is none of a lab installs the current Cilium by its chart.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gcloud_pk import paths
from gcloud_pk.console import Console
from gcloud_pk.errors import UnavailableError
from gcloud_pk.programs import files, pins, sourcing, toolchain
from gcloud_pk.programs.pins import Module
from gcloud_pk.programs.sourcing import Program, Wish

MODULE = "github.com/cilium/cilium"
_BPF = "bpf"
_TELLTALE = "bpf_lxc.c"
"""A file without which no folder is Cilium's `bpf`."""


@dataclass(frozen=True, slots=True)
class Cilium:
    """Programs by name, and the folder of the sources that the agent compiles (`bpf/` of the module)."""

    programs: Mapping[str, Program]
    bpf: Path


def obtain(wish: Wish, console: Console) -> Cilium:
    """Return Cilium; what is missing is built and fetched. `wish.folder` may have `bpf` beside the programs.

    Raises UnavailableError with every reason.
    """
    pinned = pins.load("cilium")
    programs = sourcing.obtain(pinned, wish, console)
    if wish.folder is not None and _whole(wish.folder / _BPF):
        return Cilium(programs, wish.folder / _BPF)
    (module,) = pinned.modules.values()
    return Cilium(programs, _sources(pinned, module, wish, console))


def _whole(folder: Path) -> bool:
    return (folder / _TELLTALE).is_file()


def _sources(pinned: pins.Pins, module: Module, wish: Wish, console: Console) -> Path:
    """Return the folder in the cache; it stands under its name only when it is complete."""
    final = sourcing.cache_folder(module) / _BPF
    if _whole(final):
        return final
    with files.locked(files.make_folder(final.parent) / ".lock", lambda: console.note("waiting: another run builds")):
        if _whole(final):
            return final
        if wish.offline:
            raise UnavailableError(
                f"the sources of {MODULE} are not in the cache, and nothing is fetched: --offline",
                resolution=f"run it once without --offline, or put the module's {_BPF} into the folder of --programs",
            )
        aside = final.with_name(f".{_BPF}.part")
        shutil.rmtree(aside, ignore_errors=True)
        try:
            go = toolchain.obtain(pinned.go, pins.sources(module.name), paths.cache("go"), console)
            # Modules lie read-only in Go's cache; what is copied is to be removed one day.
            shutil.copytree(
                toolchain.module_folder(go, pins.sources(module.name), MODULE) / _BPF,
                aside,
                copy_function=shutil.copyfile,
            )
            for folder in (aside, *(path for path in aside.rglob("*") if path.is_dir())):
                folder.chmod(0o755)
        except toolchain.BuildError as error:
            raise UnavailableError(
                f"{error}", details=error.log, resolution="see that the Go module proxy (GOPROXY) answers"
            ) from error
        shutil.rmtree(final, ignore_errors=True)
        aside.rename(final)
    return final
