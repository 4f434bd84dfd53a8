"""A restore, over all control planes of a cluster: each step on all of them before the next begins anywhere.

Order (architecture, Order that must hold): the API is closed to the outside before anything is taken away, and opens
only when the registry's tenants were brought again. A run that is killed leaves it closed; the next goes on.
"""

from __future__ import annotations

import hashlib
import io
import secrets
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from gcloud_pk.errors import PartialError, RefusedError, UnavailableError
from gcloud_pk.stack.recovery.doors import Door, NodeError, backup_program, restore_program
from gcloud_pk.stack.recovery.judging import LEASED, compared
from gcloud_pk.stack.recovery.opening import ENCRYPTION
from gcloud_pk.stack.recovery.snapshot import BrokenError, Snapshot

BUMP = 1_000_000_000
"""How far etcd's revision goes ahead: beyond every revision that a watcher can have seen (etcd, disaster recovery)."""

_MADE_ANEW = frozenset({"gcloud-pk/kubeadm.yaml"})
"""Of what a backup keeps: what `datacenter up` writes by itself from the site file."""

_PATIENCE = 240.0
_SPARE = 64 * 1024 * 1024


@dataclass
class Restoring:
    """One restore. `id`: of this restore on all nodes; `begun`: what earlier runs of it did, by node."""

    doors: Sequence[Door]
    snapshot: Snapshot
    say: Callable[[str], None]
    id: str = ""
    begun: dict[str, list[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    # --- before anything is touched ---

    def look(self) -> None:
        """See that every control plane is there and has what it needs; learn whether an earlier run is to go on.

        Raises UnavailableError, RefusedError where another restore is under way.
        """
        found, errors = self._all("look")
        if errors:
            raise UnavailableError(
                "not every control plane answers as it has to; nothing was touched",
                details=[str(one) for one in errors],
                resolution="mend them, or take a control plane that is gone out of the site file; then run it again",
            )
        problems = []
        others = set()
        for door in self.doors:
            said = found[door.name]
            if state := said.get("state"):
                if (state.get("snapshot") or {}).get("sha256") == self.snapshot.sha256:
                    self.id = self.id or str(state["id"])
                    self.begun[door.name] = list(state.get("done", []))
                if str(state.get("id")) != self.id:
                    others.add(f"{door.name}: {(state.get('snapshot') or {}).get('name')}")
            free, needed = int(said.get("free", 0)), 2 * self.snapshot.size + _SPARE
            if "received" not in self.begun.get(door.name, []) and free < needed:
                problems.append(f"{door.name}: {free // 2**20} MiB free for etcd, {needed // 2**20} MiB are needed")
            if "etcd" not in said.get("manifests", []):
                problems.append(f"{door.name}: it is no control plane with etcd that gcloud-pk made")
        if others:
            raise RefusedError(
                "the restore of another snapshot is under way; nothing was touched",
                details=sorted(others),
                resolution="bring that to its end: run restore with that snapshot",
            )
        if problems:
            raise UnavailableError("it cannot be restored there; nothing was touched", details=problems)
        self.id = self.id or f"{self.snapshot.name.lower()}-{secrets.token_hex(3)}"

    @property
    def goes_on(self) -> bool:
        """Whether an earlier run of this restore was stopped half way."""
        return bool(self.begun)

    @property
    def is_opening(self) -> bool:
        """Whether an earlier run had begun to open the API: tenants were brought before that."""
        return self._past("opening")

    def _past(self, step: str) -> bool:
        """Whether an earlier run had come to a step on any node."""
        return any(step in done for done in self.begun.values())

    def seed(self, keys: Mapping[str, bytes]) -> str:
        """Put the keys on the first control plane, where no cluster is; return its name. Raises UnavailableError."""
        door = self.doors[0]
        sent = {name: data for name, data in keys.items() if name not in _MADE_ANEW}

        def give(stream: IO[bytes]) -> None:
            with tarfile.open(fileobj=stream, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
                _add(tar, sent)

        self.id = self.id or self.snapshot.name.lower()
        order = {**self.order(door, "seed"), "files": _digests(sent)}
        try:
            door.ask(restore_program(), order, give=give)
        except NodeError as error:
            raise UnavailableError(
                "the keys were not put in place", details=[str(error)], resolution="see docs/backup.md, New machines"
            ) from None
        return door.name

    # --- the way ---

    def data(self, file: Path, keys: Mapping[str, bytes]) -> None:
        """Bring the snapshot into etcd on all members, and have the API servers run, closed. Raises PartialError."""
        if self._past("opening"):
            return
        sent = {f"keys/{ENCRYPTION}": keys[ENCRYPTION]}
        digests = {"snapshot.db": self.snapshot.sha256, **_digests(sent)}

        def give(stream: IO[bytes]) -> None:
            with tarfile.open(fileobj=stream, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
                tar.add(file, "snapshot.db", recursive=False)
                _add(tar, sent)

        more = {"files": digests, "bytes": self.snapshot.size}
        self._step("send", "the snapshot goes to every control plane", "receive", more, give=give)
        self._step("close", "closing the API to the outside", "close")
        self._step("stop", "stopping API servers and etcd", "stop")
        self._step("replace", "etcd's old data go aside, those of the snapshot in their place", "replace")
        self._step("etcd", "starting etcd", "start-etcd")
        with self._timed("quorum"):
            self._quorum()
            if not self._past("servers"):
                self._compare()
        self._step("servers", "starting the API servers, closed to the outside", "start-servers")

    def serve(self) -> None:
        """Wait until every API server takes connections of its own node. Raises PartialError."""
        end = time.monotonic() + _PATIENCE
        with self._timed("serving"):
            while True:
                found, errors = self._all("serving")
                silent = [name for name, said in found.items() if not said["serving"]]
                if not silent and not errors:
                    return
                if time.monotonic() > end:
                    told = [str(one) for one in errors] + [f"{name}: its API server is silent" for name in silent]
                    raise self._half_way("the API servers do not come up", told)
                time.sleep(1)

    def open(self) -> dict[str, str]:
        """Open the API to everybody; return where etcd's old data lie, by node. Raises PartialError."""
        if not self._past("opening"):
            self._step("opening", "opening the API", "opening")
        with self._timed("open"):
            # A node that was opened by an earlier run has forgotten the restore, and is opened again: that is nothing.
            found = self._done("open", *self._all("open"))
        return {name: str(said.get("aside", "")) for name, said in found.items()}

    def order(self, door: Door, act: str) -> dict[str, Any]:
        """Return an order for a node."""
        ground = door.ground
        return {
            "act": act,
            "id": self.id,
            "node": door.name,
            "address": door.address,
            "kubernetes": ground.kubernetes,
            "data": ground.data,
            "etcd": dict(ground.etcd),
            "ports": dict(ground.ports),
            "firewall": ground.firewall,
            "bump": BUMP,
            "members": {one.name: self._peer(one) for one in self.doors},
            "snapshot": {"name": self.snapshot.name, "sha256": self.snapshot.sha256},
        }

    def _peer(self, door: Door) -> str:
        host = f"[{door.address}]" if ":" in door.address else door.address
        return f"https://{host}:{door.ground.ports['peer']}"

    def _quorum(self) -> None:
        """Wait until every member has all others, and is beyond every revision that was. Raises PartialError."""
        names = sorted(door.name for door in self.doors)
        end = time.monotonic() + _PATIENCE
        while True:
            found, errors = self._all("etcd")
            short = [str(one) for one in errors]
            short += [
                f"{name}: members {', '.join(said['members'])}, revision {said['revision']}"
                for name, said in found.items()
                if said["members"] != names or not said["leader"] or said["revision"] < self.snapshot.revision + BUMP
            ]
            if not short:
                return
            if time.monotonic() > end:
                raise self._half_way("etcd does not come up", short)
            time.sleep(0.5)

    def _compare(self) -> None:
        """Compare what etcd holds with the manifest, before any API server writes. Raises PartialError."""
        door = self.doors[0]
        order = {"act": "survey", "etcd": dict(door.ground.etcd), "revision": None}
        try:
            compared(self.snapshot.objects, door.ask(backup_program(), order)["objects"], LEASED)
        except (NodeError, BrokenError) as error:
            raise self._half_way("etcd does not hold what the snapshot held", [str(error)]) from None

    def _step(
        self,
        name: str,
        words: str,
        act: str,
        more: Mapping[str, Any] | None = None,
        give: Callable[[IO[bytes]], None] | None = None,
    ) -> None:
        self.say(words)
        with self._timed(name):
            self._done(words, *self._all(act, more, give))

    def _done(
        self, words: str, found: dict[str, dict[str, Any]], errors: Sequence[NodeError]
    ) -> dict[str, dict[str, Any]]:
        if errors:
            raise self._half_way(words, [str(one) for one in errors])
        return found

    def _half_way(self, words: str, details: Sequence[str]) -> PartialError:
        return PartialError(
            f"the restore stopped half way: {words}",
            details=details,
            resolution="mend what it says and run the same command again: it goes on from here; until then the API "
            "is closed, and etcd's old data lie aside on every control plane",
        )

    def _all(
        self, act: str, more: Mapping[str, Any] | None = None, give: Callable[[IO[bytes]], None] | None = None
    ) -> tuple[dict[str, dict[str, Any]], list[NodeError]]:
        """Ask all control planes at once; return answers by node, and errors."""

        def one(door: Door) -> dict[str, Any] | NodeError:
            try:
                return door.ask(restore_program(), {**self.order(door, act), **(more or {})}, give=give, seconds=3600)
            except NodeError as error:
                return error

        with ThreadPoolExecutor(max_workers=max(1, len(self.doors))) as pool:
            answers = list(zip(self.doors, pool.map(one, self.doors), strict=True))
        return (
            {door.name: said for door, said in answers if not isinstance(said, NodeError)},
            [said for _, said in answers if isinstance(said, NodeError)],
        )

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - began, 2)


def _digests(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def _add(tar: tarfile.TarFile, files: Mapping[str, bytes]) -> None:
    for name, data in sorted(files.items()):
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
