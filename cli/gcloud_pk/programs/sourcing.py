"""Where programs come from: a folder given, PATH, the cache, official downloads, a build from source."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gcloud_pk import paths
from gcloud_pk.console import Console
from gcloud_pk.errors import UnavailableError
from gcloud_pk.programs import download, files, toolchain
from gcloud_pk.programs.pins import Module, Pin, Pins
from gcloud_pk.programs.pins import sources as go_sources

_RECORD = "origins.json"
_NUMBER = r"(\d+\.\d+\.\d+\S*)"


@dataclass(frozen=True, slots=True)
class Program:
    """A program that is there. `source`: folder, PATH, cache, download or build; `origin`: how the cache got it."""

    name: str
    version: str
    source: str
    path: Path
    origin: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        """Return the shape of `programs.NAME` in JSON."""
        return {"version": self.version, "source": self.source, "path": str(self.path), "origin": self.origin}


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user said about sources: a folder of programs, a mirror's base URL, no network."""

    folder: Path | None = None
    mirror: str | None = None
    offline: bool = False


@dataclass
class Search:
    """The programs found so far, and why the rest was not found where it was looked for."""

    pins: Pins
    found: dict[str, Program] = field(default_factory=dict)
    misses: list[str] = field(default_factory=list)

    @property
    def missing(self) -> list[Pin]:
        """The programs that no source has given yet."""
        return [pin for pin in self.pins.programs.values() if pin.name not in self.found]

    def missing_of(self, module: Module) -> list[Pin]:
        """Those of them that `module` builds."""
        return [pin for pin in self.missing if pin.source == module.name]


def said_version(path: Path, pin: Pin) -> str | None:
    """Return the version that the program at `path` says it has; None when it does not run or says something else."""
    asked = pin.version_in
    try:
        done = subprocess.run(
            [str(path), *asked.arguments],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            stdin=subprocess.DEVNULL,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    # What a CNI plug-in says to people goes to standard error.
    found = re.search(rf"(?:^|\s){re.escape(asked.after)}v?{_NUMBER}", f"{done.stdout}\n{done.stderr}")
    return found[1] if found else None


def cache_folder(module: Module) -> Path:
    """Return the cache's folder of the programs that `module` builds."""
    return paths.cache("programs", module.key)


def look(pins: Pins, wish: Wish) -> Search:
    """Look in the folder given, on PATH and in the cache: quick, and nothing is written."""
    search = Search(pins)
    if wish.folder is not None:
        _look_in(search, "folder", lambda pin: _executable(wish.folder, pin.name), str(wish.folder))
    if pins.from_path:
        _look_in(search, "PATH", lambda pin: _which(pin.name), "PATH")
    for module in pins.modules.values():
        _look_in_cache(search, module)
    return search


def _executable(folder: Path | None, name: str) -> Path | None:
    path = (folder or Path()).absolute() / name
    return path if path.is_file() and os.access(path, os.X_OK) else None


def _which(name: str) -> Path | None:
    found = shutil.which(name)
    return Path(found).absolute() if found else None


def _look_in(search: Search, source: str, where: Any, words: str) -> None:
    for pin in search.missing:
        path = where(pin)
        if path is None:
            search.misses.append(f"{pin.name}: not in {words}")
            continue
        version = said_version(path, pin)
        if version is None:
            search.misses.append(f"{pin.name}: {path} does not say its version")
        elif version.split(".")[:2] != pin.minor.split("."):
            search.misses.append(f"{pin.name}: {path} is {version}; {pin.minor} is needed")
        else:
            search.found[pin.name] = Program(pin.name, version, source, path)


def _records(folder: Path) -> dict[str, Any]:
    try:
        records = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return records if isinstance(records, dict) else {}


def _look_in_cache(search: Search, module: Module) -> None:
    folder = cache_folder(module)
    records = _records(folder)
    for pin in search.missing_of(module):
        path, record = folder / pin.name, records.get(pin.name)
        # Without its record, or with another size, nobody knows what the file is.
        if isinstance(record, dict) and path.is_file() and path.stat().st_size == record.get("bytes"):
            search.found[pin.name] = Program(pin.name, pin.version, "cache", path, record.get("origin"))
        else:
            search.misses.append(f"{pin.name}: not in the cache ({folder})")


def obtain(pins: Pins, wish: Wish, console: Console) -> dict[str, Program]:
    """Return all programs; download or build what is missing. Raises UnavailableError with every reason."""
    search = look(pins, wish)
    if wish.folder is not None:
        for miss in (m for m in search.misses if str(wish.folder) in m):
            console.warn(f"--programs: {miss}; looking further")
    if not search.missing:
        return search.found
    if wish.offline:
        search.misses.append("nothing is downloaded or built: --offline")
        raise _nowhere(search)
    dead: dict[str, str] = {}
    for module in pins.modules.values():
        if search.missing_of(module):
            _fill(search, module, wish.mirror, dead, console)
    if search.missing:
        raise _nowhere(search)
    return search.found


def _fill(search: Search, module: Module, mirror: str | None, dead: dict[str, str], console: Console) -> None:
    """Download or build what is missing of `module`; one run at a time works in its folder."""
    folder = files.make_folder(cache_folder(module))
    with files.locked(folder / ".lock", lambda: console.note("waiting: another run is downloading or building")):
        _look_in_cache(search, module)  # the other run may have brought them
        _sweep(folder)
        missing = search.missing_of(module)
        if missing:
            console.note(f"programs to fetch or build, once: {', '.join(pin.name for pin in missing)}")
            for miss in search.misses:
                console.debug(f"  {miss}")
            _download(search, missing, folder, mirror, dead, console)
        missing = search.missing_of(module)
        if missing:
            _build(search, missing, module, console)


def _nowhere(search: Search) -> UnavailableError:
    names = ", ".join(pin.name for pin in search.missing)
    versions = ", ".join(f"{pin.name} {pin.version}" for pin in search.missing)
    wanted = {pin.name for pin in search.missing}
    reasons = [
        miss for miss in search.misses if miss.split(":")[0] in wanted or miss.split(":")[0] not in search.pins.programs
    ]
    return UnavailableError(
        f"programs are not to be had: {names}",
        details=dict.fromkeys(reasons),
        resolution=f"put {versions} into a folder and name it with --programs, name a mirror of the official "
        "downloads with --mirror, or install Go and let them be built",
    )


def _sweep(folder: Path) -> None:
    """Remove what killed runs left; the lock says that nobody works here."""
    for left in [*folder.glob(".*.part"), *folder.glob(".build-*")]:
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _record(folder: Path, name: str, version: str, origin: str, size: int) -> None:
    """Note where a program came from; before it gets its name, so that a kill between the two costs a repetition."""
    records = _records(folder) | {name: {"version": version, "origin": origin, "bytes": size}}
    files.write(folder / _RECORD, json.dumps(records, indent=2, sort_keys=True) + "\n")


def _download(
    search: Search, missing: Sequence[Pin], folder: Path, mirror: str | None, dead: dict[str, str], console: Console
) -> None:
    for pin in missing:
        if pin.download is None:
            search.misses.append(f"{pin.name}: no digest of an official download is pinned")
            continue
        base = mirror or pin.download.base
        if base in dead:
            search.misses.append(f"{pin.name}: {dead[base]}")
            continue
        target = folder / pin.name
        try:
            url = download.fetch(pin.download, target, mirror, console)
        except download.DownloadError as error:
            search.misses.append(f"{pin.name}: {error}")
            console.note(f"  {error}")
            if error.unreachable:
                dead[base] = f"{base} does not answer"
                console.note(f"  {base} is left alone in this run; a site without it names a mirror (--mirror)")
            continue
        _record(folder, pin.name, pin.version, f"download {url}", target.stat().st_size)
        search.found[pin.name] = Program(pin.name, pin.version, "download", target, f"download {url}")


def _build(search: Search, pins: Sequence[Pin], module: Module, console: Console) -> None:
    fetched = f", {module.megabytes} MB of Go modules from your module proxy" if module.megabytes else ""
    console.note(
        f"building from source: {', '.join(pin.name for pin in pins)} (first time up to {module.minutes} min on two "
        f"cores{fetched}; later runs use the cache)"
    )
    folder = cache_folder(module)
    work = Path(tempfile.mkdtemp(dir=folder, prefix=".build-"))
    try:
        go = toolchain.obtain(search.pins.go, go_sources(module.name), paths.cache("go"), console)
        toolchain.build(go, pins, go_sources(module.name), work, console, tags=module.tags)
        origin = f"go build with Go {toolchain.dotted(toolchain.version(go) or ())}"
        for pin in pins:
            built = work / pin.name
            _check(built, pin)
            _record(folder, pin.name, pin.version, origin, built.stat().st_size)
            built.replace(folder / pin.name)
            search.found[pin.name] = Program(pin.name, pin.version, "build", folder / pin.name, origin)
    except toolchain.BuildError as error:
        search.misses.append(f"go build: {error}")
        search.misses.extend(f"go build said: {line}" for line in error.log)
    finally:
        with suppress(OSError):
            shutil.rmtree(work)


def _check(built: Path, pin: Pin) -> None:
    """Raise BuildError where a program that was built does not say that it is what it should be."""
    said = said_version(built, pin)
    if said != pin.version:
        raise toolchain.BuildError(f"the {pin.name} that was built says it is {said}, not {pin.version}")


def names(programs: Iterable[Program]) -> str:
    """Return how many programs came from where, in words: `4 from the cache, 1 from PATH`."""
    words = {
        "folder": "the folder given",
        "PATH": "PATH",
        "cache": "the cache",
        "download": "official downloads",
        "build": "a build from source",
    }
    counts: dict[str, int] = {}
    for program in programs:
        counts[program.source] = counts.get(program.source, 0) + 1
    return ", ".join(f"{count} from {words[source]}" for source, count in counts.items())
