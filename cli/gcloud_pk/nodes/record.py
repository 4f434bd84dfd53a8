"""What is kept of runs on this machine: one record for each, private, and the lock that lets one at a time begin.

Records are for people who ask what was done when. No audit reads them: it looks at the nodes.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcloud_pk import paths
from gcloud_pk.errors import InvalidInputError, RefusedError, UnavailableError
from gcloud_pk.registry import files
from gcloud_pk.text import as_json, stamp

_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9]+\.json")
_LARGEST = 64 * 1024 * 1024


def folder(site: str) -> Path:
    """Return where runs over a site are kept."""
    return paths.state("nodes", site)


@contextmanager
def alone(home: Path, holder: Mapping[str, Any]) -> Iterator[int]:
    """Hold the site's lock; yield its descriptor, for processes that outlive this one to hold it too.

    `holder`: who it is, for him who comes second. Raises UnavailableError at once where another run holds it, and where
    it cannot be written.
    """
    lock = home / "lock"
    with _writing(lock):
        _make(home)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UnavailableError(
                f"another run over site {home.name} is at work; nothing was written",
                details=[_holder(os.pread(descriptor, 65536, 0))],
                resolution="wait until it is done, then run it again",
            ) from None
        with _writing(lock):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield descriptor
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise files.unwritable(path, error) from None


def busy(home: Path) -> bool:
    """Whether a run over the site is at work."""
    try:
        descriptor = os.open(home / "lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _holder(said: bytes) -> str:
    try:
        known = json.loads(said)
        return f"{known['operator']} since {known['started']}, process {known['pid']}: {known['what']}"
    except (ValueError, KeyError, TypeError):
        return "it has just begun"


def _make(home: Path) -> None:
    missing = [one for one in (home, *home.parents) if not one.exists()]
    for one in reversed(missing):
        with suppress(FileExistsError):
            one.mkdir(mode=0o700)


@dataclass(frozen=True)
class Record:
    """The record of one run, written anew as it goes."""

    home: Path
    name: str

    @classmethod
    def begin(cls, home: Path, moment: dt.datetime) -> Record:
        """Return a record that no run has yet. The caller holds the lock."""
        runs = home / "runs"
        with _writing(runs):
            _make(runs)
        base = moment.astimezone(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
        number = next(n for n in range(1, 10**6) if not (runs / f"{base}-{n}.json").exists())
        return cls(home, f"{base}-{number}.json")

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.home / "runs" / self.name

    def write(self, document: Mapping[str, Any]) -> None:
        """Write it, whole or not at all. Raises UnavailableError."""
        files.write(self.path, (as_json(document) + "\n").encode(), root=self.home, mode=0o600)


def records(home: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return name and content of the records of a site, the newest first; what cannot be read is passed over."""
    found = []
    runs = home / "runs"
    names = [entry.name for entry in os.scandir(runs)] if runs.is_dir() else []
    for name in sorted((one for one in names if _NAME.fullmatch(one)), reverse=True):
        with suppress(InvalidInputError, RefusedError, ValueError, RecursionError):
            document = json.loads(files.read(runs / name, root=home, limit=_LARGEST))
            if isinstance(document, dict):
                found.append((name.removesuffix(".json"), document))
    return found


def digest(root: Path) -> str:
    """Return the SHA-256 over names and contents of the files below a folder, compiled Python aside."""
    found = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            found.update(f"{content}  {path.relative_to(root).as_posix()}\n".encode())
    return found.hexdigest()


def moment() -> dt.datetime:
    """Return the time, UTC."""
    return dt.datetime.now(dt.UTC)


def shown(time: dt.datetime) -> str:
    """Return a time as records have it."""
    return stamp(time)
