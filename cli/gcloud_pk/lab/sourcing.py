"""Where the lab's programs come from: a folder given, PATH, the cache, official downloads, a build from source."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gcloud_pk import paths
from gcloud_pk.console import Console
from gcloud_pk.errors import UnavailableError
from gcloud_pk.lab import download, files, toolchain
from gcloud_pk.lab.pins import KUBECTL, Pin, Pins
from gcloud_pk.lab.pins import sources as go_sources

_RECORD = "origins.json"
_VERSION = re.compile(r"(?:Kubernetes|etcd Version:|Client Version:) v?(\d+\.\d+\.\d+\S*)")


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


def said_version(path: Path, name: str) -> str | None:
    """Return the version that a program says it has; None when it does not run or says something else."""
    command = [str(path), "version", "--client"] if name == KUBECTL else [str(path), "--version"]
    try:
        said = subprocess.run(
            command, capture_output=True, text=True, timeout=20, check=False, stdin=subprocess.DEVNULL, errors="replace"
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(said)
    return found[1] if found else None


def cache_folder(pins: Pins) -> Path:
    """Return the cache's folder of these versions."""
    return paths.cache("programs", pins.key)


def look(pins: Pins, wish: Wish) -> Search:
    """Look in the folder given, on PATH and in the cache: quick, and nothing is written."""
    search = Search(pins)
    if wish.folder is not None:
        _look_in(search, "folder", lambda pin: _executable(wish.folder, pin.name), str(wish.folder))
    _look_in(search, "PATH", lambda pin: _which(pin.name), "PATH")
    _look_in_cache(search)
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
        version = said_version(path, pin.name)
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


def _look_in_cache(search: Search) -> None:
    folder = cache_folder(search.pins)
    records = _records(folder)
    for pin in search.missing:
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
    folder = cache_folder(pins)
    files.make_folder(folder)
    with files.locked(folder / ".lock", lambda: console.note("waiting: another run is downloading or building")):
        _look_in_cache(search)  # the other run may have brought them
        _sweep(folder)
        if search.missing:
            console.note(f"programs to fetch or build, once: {', '.join(pin.name for pin in search.missing)}")
            for miss in search.misses:
                console.debug(f"  {miss}")
            _download(search, folder, wish.mirror, console)
        if search.missing:
            _build(search, folder, console)
    if search.missing:
        raise _nowhere(search)
    return search.found


def _nowhere(search: Search) -> UnavailableError:
    names = ", ".join(pin.name for pin in search.missing)
    versions = ", ".join(f"{pin.name} {pin.version}" for pin in search.missing)
    wanted = {pin.name for pin in search.missing}
    reasons = [
        miss for miss in search.misses if miss.split(":")[0] in wanted or miss.split(":")[0] not in search.pins.programs
    ]
    return UnavailableError(
        f"the lab's programs are not to be had: {names}",
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


def _download(search: Search, folder: Path, mirror: str | None, console: Console) -> None:
    dead: dict[str, str] = {}
    for pin in search.missing:
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


def _build(search: Search, folder: Path, console: Console) -> None:
    pins, go_pin = search.missing, search.pins.go
    console.note(
        f"building from source: {', '.join(pin.name for pin in pins)} (first time about {go_pin.minutes} minutes "
        f"on two cores, {go_pin.modules_megabytes} MB of Go modules from your module proxy; later runs use the cache)"
    )
    work = Path(tempfile.mkdtemp(dir=folder, prefix=".build-"))
    try:
        go = toolchain.obtain(go_pin, go_sources(), paths.cache("go"), console)
        toolchain.build(go, pins, go_sources(), work, console)
        number = toolchain.version(go)
        origin = f"go build with Go {toolchain.dotted(number or ())}"
        for pin in pins:
            built = work / pin.name
            _record(folder, pin.name, pin.version, origin, built.stat().st_size)
            built.replace(folder / pin.name)
            search.found[pin.name] = Program(pin.name, pin.version, "build", folder / pin.name, origin)
    except toolchain.BuildError as error:
        search.misses.append(f"go build: {error}")
        search.misses.extend(f"go build said: {line}" for line in error.log)
    finally:
        with suppress(OSError):
            shutil.rmtree(work)


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
