"""The ledger of writes: what is about to be sent is on the disk before it is sent, so that no loss can be overlooked.

A line says what is intended, another one what came of it. A drill that is killed leaves a ledger that can still be
judged: what has no outcome is unknown, and may be there or not. What was acknowledged must be there.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from gcloud_pk.errors import UnavailableError


class Outcome(StrEnum):
    """What came of a write. Only what the server acknowledged must be there afterwards."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    UNSENT = "unsent"
    UNKNOWN = "unknown"


@dataclass(slots=True)
class Entry:
    """One write: its number, what it carries, and its outcome as far as it is known."""

    number: int
    token: str
    outcome: Outcome = Outcome.UNKNOWN


class Ledger:
    """A ledger that is being written, by one process. Raises UnavailableError where it cannot be."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise unwritable(path, error) from None

    def intend(self, number: int, token: str) -> None:
        """Write down that a write is about to be sent; return when it is on the disk. Raises OSError."""
        self._append({"n": number, "token": token}, lasting=True)

    def close_entry(self, number: int, outcome: Outcome) -> None:
        """Write down what came of it. Who is killed before leaves it unknown. Raises OSError."""
        self._append({"n": number, "outcome": outcome.value}, lasting=False)

    def _append(self, said: Mapping[str, Any], *, lasting: bool) -> None:
        line = (json.dumps(said, separators=(",", ":")) + "\n").encode()
        with self._lock:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._file, rest) :]
        if lasting:
            os.fdatasync(self._file)

    def close(self) -> None:
        """Bring everything to the disk."""
        os.fsync(self._file)
        os.close(self._file)


def unwritable(path: Path, error: OSError) -> UnavailableError:
    """Return the error for a ledger that cannot be written."""
    return UnavailableError(
        f"the ledger of writes cannot be written: {path}: {error.strerror or error}",
        resolution="make room, or the folder writable: without a ledger nothing is taken out",
    )


def read(lines: Iterable[str]) -> dict[int, Entry]:
    """Return the entries of a ledger by number; a line that was cut off is left out."""
    found: dict[int, Entry] = {}
    for line in lines:
        try:
            said = json.loads(line)
            number = int(said["n"])
            if "token" in said:
                found[number] = Entry(number, str(said["token"]))
            else:
                found[number].outcome = Outcome(said["outcome"])
        except (ValueError, TypeError, KeyError):
            continue
    return found


@dataclass(frozen=True)
class Balance:
    """A ledger against what the cluster holds: numbers of writes.

    `lost`: acknowledged, and not there; `altered`: there with another content; `kept`: acknowledged and there;
    `arrived`: unknown, and there; `missing`: unknown, and not there; `strange`: there though refused or never sent.
    """

    kept: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()
    altered: tuple[int, ...] = ()
    arrived: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    refused: tuple[int, ...] = ()
    strange: tuple[int, ...] = ()

    @property
    def acknowledged(self) -> int:
        """How many writes the server said yes to."""
        return len(self.kept) + len(self.lost) + len(self.altered)

    def as_dict(self) -> dict[str, int]:
        """Return the shape of `measures.writes.ledger`."""
        return {
            "acknowledged": self.acknowledged,
            "kept": len(self.kept),
            "lost": len(self.lost),
            "altered": len(self.altered),
            "unknownThere": len(self.arrived),
            "unknownGone": len(self.missing),
            "refused": len(self.refused),
            "strange": len(self.strange),
        }


def balance(entries: Mapping[int, Entry], found: Mapping[int, str]) -> Balance:
    """Compare a ledger with what is there; `found`: number → token."""
    sorts: dict[str, list[int]] = {}
    for number, entry in sorted(entries.items()):
        sorts.setdefault(_sort(entry, found.get(number)), []).append(number)
    strangers = [number for number in found if number not in entries]
    return Balance(
        **{name: tuple(numbers) for name, numbers in sorts.items() if name != "strange"},
        strange=tuple(sorted([*sorts.get("strange", []), *strangers])),
    )


def _sort(entry: Entry, token: str | None) -> str:
    if entry.outcome is Outcome.ACKNOWLEDGED:
        return "lost" if token is None else "kept" if token == entry.token else "altered"
    if entry.outcome is Outcome.UNKNOWN:
        return "missing" if token is None else "arrived" if token == entry.token else "altered"
    return "refused" if token is None else "strange"
