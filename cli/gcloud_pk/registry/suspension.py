"""`tenants/<tenant>/suspended/`: what a suspension took from the cluster, to be given back exactly as it was.

The file is named by the history before it is written (its SHA-256 stands in the line of the suspension), so that a
changed one is known; a suspension that goes on after an interruption adds to it and loses nothing.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from gcloud_pk.errors import InvalidInputError, Problem, RefusedError, problem
from gcloud_pk.model.resources import Suspended
from gcloud_pk.registry import files
from gcloud_pk.registry.history import CLOCKS, Act, Chain, Line
from gcloud_pk.render.metadata import canonical

if TYPE_CHECKING:
    from gcloud_pk.registry.entries import Entry
    from gcloud_pk.registry.folder import Registry

FOLDER = "suspended"
FILE = "bindings.json"
REFUSED = "refused.json"
"""What could not be given back, because the policies of the day refuse it."""

LIMIT = 16 * 1024 * 1024
"""Bytes: the largest file that is read; some 20,000 bindings."""

_SERVERS = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink")
_KEYS = {"tenant", "cluster", "how", "objects"}
STATES: frozenset[Act] = frozenset({"suspend", "resume", "offboard"})
"""Acts that set a tenant's state; a rejection speaks of one request."""

Identity = tuple[str, str, str]


def identity(made: Mapping[str, Any]) -> Identity:
    """Return (kind, namespace, name) of an object."""
    return made["kind"], made["metadata"].get("namespace", ""), made["metadata"]["name"]


def stripped(live: Mapping[str, Any]) -> dict[str, Any]:
    """Return a live object without what the API server sets itself."""
    metadata = {name: value for name, value in live["metadata"].items() if name not in _SERVERS}
    return {**{name: value for name, value in live.items() if name != "status"}, "metadata": metadata}


@dataclass(frozen=True)
class Saved:
    """What was taken. `cluster`: UID of its kube-system; `objects`: RoleBindings and NetworkPolicies, each once."""

    tenant: str
    cluster: str
    how: Suspended
    objects: tuple[dict[str, Any], ...] = ()

    @property
    def data(self) -> bytes:
        """The bytes of the file: canonical JSON, objects by kind, namespace and name."""
        said = {
            "tenant": self.tenant,
            "cluster": self.cluster,
            "how": self.how,
            "objects": sorted(self.objects, key=identity),
        }
        return canonical(said) + b"\n"

    @property
    def digest(self) -> str:
        """SHA-256 of `data`, hexadecimal."""
        return sha256(self.data).hexdigest()

    def united(self, live: Iterable[Mapping[str, Any]], how: Suspended) -> Saved:
        """Return this with what is live now, which wins object by object; quarantine, once meant, stays."""
        found = {identity(one): one for one in self.objects} | {identity(one): stripped(one) for one in live}
        stays: Suspended = "quarantined" if "quarantined" in {self.how, how} else "suspended"
        return replace(self, how=stays, objects=tuple(found.values()))


def _parsed(data: bytes) -> Saved:
    said = json.loads(data)
    if set(said) != _KEYS or said["how"] not in get_args(Suspended):
        raise ValueError("has other keys than a suspension writes")
    made = Saved(said["tenant"], said["cluster"], said["how"], tuple(said["objects"]))
    for one in made.objects:
        identity(one)
    return made


def of(data: bytes, file: str) -> Saved:
    """Read the bytes of a saved file. Raises RefusedError where they are none."""
    try:
        made = _parsed(data)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise RefusedError(
            f"{file} is not what a suspension saved",
            details=[problem("cannot be read", file=file, expected="what gcloud-pk tenant suspend wrote")],
            resolution="restore it from version control",
        ) from None
    return made


def named(chain: Chain) -> list[str]:
    """Return the SHA-256 of every file that suspensions which no resumption follows have named, the last one last."""
    closed = {line.hash for line in chain.closed}
    return _digests(chain, "suspend", closed)


def _digests(chain: Chain, act: Act, among: Collection[str] | None = None) -> list[str]:
    return [
        digest
        for line in chain.lines
        if line.act == act
        and (among is None or line.hash in among)
        and isinstance(digest := line.detail.get("saved"), str)
    ]


def _naming(chain: Chain, digest: str) -> Line | None:
    return next((line for line in chain.lines if line.detail.get("saved") == digest), None)


def found(registry: Registry, entry: Entry) -> bytes | None:
    """Return the bytes that are saved of a tenant, whether they are to be believed or not; None where nothing is."""
    path = entry.folder / FOLDER / FILE
    return files.read(path, root=registry.path, limit=LIMIT) if os.path.lexists(path) else None


def continued(registry: Registry, entry: Entry) -> tuple[Saved | None, bytes | None]:
    """Return what a suspension that began earlier has saved, and bytes that lie there and that no history names.

    What a suspension saved that has ended since is neither.
    """
    data = found(registry, entry)
    if data is None:
        return None, None
    digest = sha256(data).hexdigest()
    if digest in named(entry.chain):
        return of(data, str(entry.folder / FOLDER / FILE)), None
    return None, None if digest in _digests(entry.chain, "suspend") else data


def intact(registry: Registry, entry: Entry, head: str | None = None) -> Saved:
    """Return what is to be given back. Raises RefusedError where it is not what the history names.

    `head`: the line that the cluster names, if it names one. What was appended after it counts for nothing here: a
    suspension has the cluster name its line, and whoever merely edits the folder cannot.
    """
    file = str(entry.folder / FOLDER / FILE)
    chain = entry.chain if head is None else entry.chain.until(head)
    # A resumption that was cut short after its line names what it was giving back.
    digests = named(chain) or _digests(chain, "resume")
    data = found(registry, entry)
    if not digests:
        raise RefusedError(
            f"the history of tenant {entry.name} names nothing that a suspension saved",
            details=[problem("has no suspension with what it saved", file=entry.chain.file)],
            resolution=f"gcloud-pk tenant suspend {entry.name} saves what is there; or restore the history from "
            "version control",
        )
    if data is None or sha256(data).hexdigest() != digests[-1]:
        wrong = "is missing" if data is None else f"was changed: its SHA-256 is {sha256(data).hexdigest()}"
        later = None if data is None else _naming(entry.chain, sha256(data).hexdigest())
        if later is not None and later.hash not in chain.hashes:
            wrong += f", which line {later.number} by {later.actor} names, and this cluster does not know that line"
        raise RefusedError(
            f"what the suspension of tenant {entry.name} saved is not what the history names",
            details=[problem(wrong, file=file, expected=f"SHA-256 {digests[-1]}")],
            resolution=f"restore it from version control; if a suspension was interrupted: gcloud-pk tenant suspend "
            f"{entry.name}, then resume",
        )
    return of(data, file)


def problems(registry: Registry, entry: Entry) -> list[Problem]:
    """Return what is wrong with what is saved of a suspended tenant."""
    digests = named(entry.chain)
    if not digests or any(line.act == "offboard" for line in entry.chain.closed):
        return []
    try:
        data = found(registry, entry)
    except InvalidInputError as error:
        return list(error.details)
    if data is not None and sha256(data).hexdigest() == digests[-1]:
        return []
    wrong = "is missing" if data is None else "was changed since the suspension saved it"
    return [problem(wrong, file=entry.folder / FOLDER / FILE, expected=f"SHA-256 {digests[-1]}")]


def is_resumed(chain: Chain) -> bool:
    """Whether the history says that a resumption followed the last suspension, and nothing closed is left.

    Nobody signs that: it opens nothing, it tells what is to be signed.
    """
    states = [one.act for one in chain.lines if one.act in STATES and "environment" not in one.detail]
    return not chain.closed and bool(states) and states[-1] == "resume"


def moment(entry: Entry) -> dt.datetime:
    """Return since when a tenant is suspended: the later of what state.yaml says and of the history's last suspension.

    Whoever edits the folder could date an unsigned state.yaml before an `active` that lies about somewhere. A time to
    come counts for nothing, nobody could resume it until then.
    """
    said = entry.state[0]
    times = [line.time for line in entry.chain.closings if line.act == "suspend"]
    times += [said.time] if said and said.state == "suspended" and said.time.tzinfo else []
    return max((time for time in times if time <= entry.now + CLOCKS), default=entry.now)


def closed_as(chain: Chain, how: Suspended) -> Line | None:
    """Return the line from which on a tenant is closed as it is; None where the history names none."""
    among = {one.hash for one in chain.closed}
    lines = [one for one in chain.lines if one.hash in among and one.act == "suspend" and one.detail.get("how") == how]
    return lines[0] if lines else None


def how(registry: Registry, entry: Entry) -> Suspended:
    """Return how a suspended tenant is closed, as far as the registry knows; a doubt closes more."""
    data = found(registry, entry)
    if data is None:
        return "suspended"
    try:
        return of(data, FILE).how
    except RefusedError:
        return "quarantined"


def put(registry: Registry, name: str, saved: Saved) -> None:
    """Write what is saved. The history must name it by then."""
    with files.locked(registry.path):
        files.write(_folder(registry, name) / FILE, saved.data, root=registry.path)


def set_aside(registry: Registry, name: str, data: bytes) -> str:
    """Keep bytes that no history names beside the file, for whoever looks into it; return the path."""
    path = _folder(registry, name) / f"{sha256(data).hexdigest()}.json"
    with files.locked(registry.path):
        files.write(path, data, root=registry.path)
    return str(path)


def clear(registry: Registry, name: str, refused: Saved | None = None) -> None:
    """Remove what was given back; what was refused is kept in `refused.json`."""
    folder = _folder(registry, name)
    with files.locked(registry.path):
        if refused is not None:
            files.write(folder / REFUSED, refused.data, root=registry.path)
        files.remove(folder / FILE, root=registry.path)
        if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
            folder.rmdir()


def _folder(registry: Registry, name: str) -> Path:
    return registry.path / "tenants" / name / FOLDER
