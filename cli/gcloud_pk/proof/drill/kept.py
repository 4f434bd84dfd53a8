"""What is kept of drills: a folder for each, and which element is out at this moment, so that a kill can be undone."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gcloud_pk.errors import RefusedError, UnavailableError
from gcloud_pk.programs import files

KEPT = 40
"""Folders of drills that stay: a soak of twenty, and the one before."""


@dataclass(frozen=True)
class Out:
    """What is out, or may be. Written before it is taken out, removed when it is back and judged.

    `by`: the name of the outage; `hosts`: those that go down, or that nobody reaches; `uid`: of kube-system.
    """

    run: str
    site: str
    element: str
    by: str
    hosts: tuple[str, ...]
    uid: str
    started: str
    operator: str


class Kept:
    """The folder of a site's drills. Raises UnavailableError where it cannot be written."""

    def __init__(self, home: Path) -> None:
        self.home = home

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep others from drilling the same site. Raises RefusedError at once where somebody does."""
        with self._writing(self.home):
            files.make_folder(self.home)
            lock = os.open(self.home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RefusedError(
                    "another drill of this site is under way", resolution="wait until it has ended"
                ) from None
            yield
        finally:
            os.close(lock)

    def folder(self, run: str) -> Path:
        """Make a run's folder and return it; of the oldest ones, those beyond `KEPT` go."""
        path = self.home / run
        with self._writing(path):
            files.make_folder(path)
            current = self.out()
            old = sorted(one for one in self.home.iterdir() if one.is_dir())[:-KEPT]
            for one in old:
                if current is None or one.name != current.run:
                    shutil.rmtree(one, ignore_errors=True)
        return path

    def out(self) -> Out | None:
        """Return what a drill that was killed has left out; None where nothing is. Raises UnavailableError."""
        path = self.home / "out.json"
        try:
            said: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
            return Out(**{**said, "hosts": tuple(said["hosts"])})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UnavailableError(
                f"what the last drill took out cannot be read: {path}: {error}",
                resolution="see what is out at the site, bring it back, and remove this file",
            ) from None

    def set_out(self, out: Out) -> None:
        """Remember that an element is out; it is on the disk when this returns."""
        path = self.home / "out.json"
        with self._writing(path):
            files.write(path, json.dumps(asdict(out)) + "\n")
            self._sync()

    def clear(self) -> None:
        """Forget it: it is back."""
        with self._writing(self.home):
            (self.home / "out.json").unlink(missing_ok=True)
            self._sync()

    def write(self, run: str, name: str, content: str) -> Path:
        """Write a file of a run; return its path."""
        path = self.home / run / name
        with self._writing(path):
            files.write(path, content)
        return path

    def _sync(self) -> None:
        folder = os.open(self.home, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @contextmanager
    def _writing(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UnavailableError(
                f"the drill's folder cannot be written: {error.filename or path}: {error.strerror or error}",
                resolution="make room, or the folder writable: without a ledger nothing is taken out",
            ) from None
