"""A snapshot as it lies in a folder: its manifest, its digests, its signature. Untrusted until it is judged.

The form is that of the program that makes it (playbooks/roles/cluster_backup/files/cluster_backup.py).
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcloud_pk.errors import RefusedError, UnavailableError
from gcloud_pk.registry import signatures

FORMAT = "gcloud-pk-backup/1"
NAMESPACE = "gcloud-pk-backup"
NAME = re.compile(r"\d{8}T\d{6}Z-r(\d{12,19})")
MANIFEST, SUMS, SIGNATURE, KEYS = "manifest.json", "SHA256SUMS", "SHA256SUMS.sig", "keys.cms"

_PIECE = re.compile(r"etcd-(\d{3})\.cms")
_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9.-]{1,80})")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LARGEST = 16 * 1024 * 1024
"""Bytes of a manifest: one resource has a line."""


@dataclass(frozen=True)
class Sealed:
    """One sealed file: its digest and size, and those of what is in it."""

    name: str
    sha256: str
    plain_sha256: str
    plain_bytes: int


@dataclass(frozen=True)
class Snapshot:
    """What a manifest tells. `objects`: by resource; `members`: of etcd, by name, to the URL of their peers."""

    folder: Path
    site: str
    cluster: str
    uid: str
    node: str
    taken: dt.datetime
    revision: int
    objects: Mapping[str, int]
    sha256: str
    size: int
    versions: Mapping[str, str]
    recipients: tuple[str, ...]
    pieces: tuple[Sealed, ...]
    keys: Sealed

    @property
    def name(self) -> str:
        """Its folder's name."""
        return self.folder.name

    @property
    def total(self) -> int:
        """How many objects it holds."""
        return sum(self.objects.values())


class BrokenError(Exception):
    """A part of a snapshot that is not as it has to be; the text says which."""


def read(folder: Path) -> Snapshot:
    """Return what a snapshot's manifest tells. Raises UnavailableError where none is, RefusedError."""
    if not folder.is_dir():
        raise UnavailableError(f"there is no snapshot {folder}", resolution="gcloud-pk datacenter backup SITE list")
    file = folder / MANIFEST
    try:
        with file.open("rb") as stream:
            return _parsed(folder, json.loads(stream.read(_LARGEST)))
    except OSError as error:
        raise UnavailableError(
            f"{file} cannot be read: {error.strerror}",
            resolution="name the folder of one snapshot, which holds its manifest.json",
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise RefusedError(
            f"{file} is no manifest of a snapshot: {error}", resolution="take another snapshot"
        ) from None


def _parsed(folder: Path, document: Any) -> Snapshot:
    if document["format"] != FORMAT:
        raise ValueError(f"its format is {str(document['format'])[:40]!r}, not {FORMAT!r}")
    files: Mapping[str, Any] = document["files"]
    pieces = [_sealed(name, about) for name, about in sorted(files.items()) if _PIECE.fullmatch(name)]
    if [one.name for one in pieces] != [f"etcd-{number:03d}.cms" for number in range(len(pieces))] or not pieces:
        raise ValueError("pieces of etcd's snapshot are missing")
    if set(files) != {*(one.name for one in pieces), KEYS}:
        raise ValueError("it names other files")
    taken = dt.datetime.fromisoformat(_text(document["taken"]))
    if taken.tzinfo is None:
        raise ValueError("its time has no zone")
    objects = {_text(name): _count(number) for name, number in document["objects"].items()}
    return Snapshot(
        folder,
        _text(document["site"]),
        _text(document["cluster"]),
        _text(document["uid"]),
        _text(document["node"]),
        taken.astimezone(dt.UTC),
        _count(document["revision"]),
        objects,
        _digest(document["snapshot"]["sha256"]),
        _count(document["snapshot"]["bytes"]),
        {_text(name): _text(one) for name, one in document["versions"].items()},
        tuple(_digest(one) for one in document["recipients"]),
        tuple(pieces),
        _sealed(KEYS, files[KEYS]),
    )


def _sealed(name: str, about: Mapping[str, Any]) -> Sealed:
    plain = about["plain"]
    return Sealed(name, _digest(about["sha256"]), _digest(plain["sha256"]), _count(plain["bytes"]))


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > 500:
        raise ValueError("a text is expected")
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("a count is expected")
    return value


def _digest(value: object) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise ValueError("a SHA-256 is expected")
    return value


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file. Raises OSError."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_whole(snapshot: Snapshot) -> int:
    """Compare every file with the list of digests; return how many there are. Raises BrokenError."""
    try:
        lines = (snapshot.folder / SUMS).read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BrokenError(f"{SUMS} cannot be read: {error}") from None
    sums: dict[str, str] = {}
    for line in lines:
        found = _LINE.fullmatch(line)
        if found is None or found[2] in sums:
            raise BrokenError(f"{SUMS} is no list of digests")
        sums[found[2]] = found[1]
    expected = {MANIFEST, KEYS, *(piece.name for piece in snapshot.pieces)}
    if set(sums) != expected:
        raise BrokenError(f"{SUMS} names {', '.join(sorted(set(sums) ^ expected))} otherwise than the manifest does")
    wrong = list(_wrong(snapshot.folder, sums))
    sealed = {one.name: one.sha256 for one in (*snapshot.pieces, snapshot.keys)}
    wrong += [f"{name} is not what the manifest says" for name, one in sealed.items() if sums[name] != one]
    if wrong:
        raise BrokenError("; ".join(wrong))
    return len(sums)


def _wrong(folder: Path, sums: Mapping[str, str]) -> Iterator[str]:
    for name, digest in sums.items():
        try:
            if file_digest(folder / name) != digest:
                yield f"{name} is damaged, cut or another file ({(folder / name).stat().st_size} bytes)"
        except OSError as error:
            yield f"{name} cannot be read: {error.strerror}"


def check_signed(snapshot: Snapshot, keys: Mapping[str, str]) -> str:
    """Return whose key signed the digests. `keys`: `TYPE KEY` of those who may, to their names. Raises BrokenError."""
    try:
        data = (snapshot.folder / SUMS).read_bytes()
        signature = (snapshot.folder / SIGNATURE).read_bytes()
    except OSError as error:
        raise BrokenError(f"{SIGNATURE} cannot be read: {error.strerror}") from None
    try:
        outside = signatures.envelope(signature)
    except signatures.SignatureError as error:
        raise BrokenError(f"{SIGNATURE} {error.message}") from None
    known = {_blob(key): name for key, name in keys.items()}
    signer = known.get(outside.key)
    if signer is None:
        raise BrokenError(f"{SIGNATURE} is by a key that is none of {', '.join(sorted(set(keys.values()))[:10])}")
    if outside.namespace != NAMESPACE or not signatures.holds_over(data, signature, NAMESPACE):
        raise BrokenError(f"{SIGNATURE} by {signer} is over other bytes than {SUMS}")
    return signer


def _blob(key: str) -> bytes:
    return base64.b64decode(key.split()[1] + "==")


def signers_of(lines: Iterable[str]) -> dict[str, str]:
    """Return the keys of an OpenSSH file of allowed signers or public keys: `TYPE KEY` to a name."""
    found = {}
    for line in lines:
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        at = next((i for i, word in enumerate(words) if word.startswith(("ssh-", "ecdsa-", "sk-"))), None)
        if at is not None and at + 1 < len(words):
            found[f"{words[at]} {words[at + 1]}"] = words[0] if at else " ".join(words[2:]) or "a signer"
    return found
