"""One writer at a time: a Lease of the cluster, renewed while it is held, taken over when its holder is dead.

Rule: coordination.k8s.io/v1 Lease; every write carries the `resourceVersion` that was read, so that of two one wins.
"""

from __future__ import annotations

import getpass
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gcloud_pk.cluster.answer import refusal
from gcloud_pk.cluster.kinds import LEASE
from gcloud_pk.cluster.transport import Api
from gcloud_pk.errors import GcloudPkError, PartialError, UnavailableError
from gcloud_pk.model.labels import FIELD_MANAGER, GROUP, SYSTEM_NAMESPACE

DURATION = 15.0
"""Seconds after which a lease that was not renewed is nobody's."""
RENEWAL = 5.0
"""Seconds between two renewals."""

_LONG_DEAD = 300.0
"""Seconds: so old a renewal is no matter of two clocks that differ."""
_POLL = 0.3
_MACHINE = f"{GROUP}/holder-machine"
_STARTED = f"{GROUP}/holder-started"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lease; `machine` (boot and process namespace) and `started` (clock ticks) make the pid unique."""

    identity: str
    pid: int
    machine: str
    started: str

    @classmethod
    def here(cls) -> Holder:
        """Return this process as a holder; the random part tells two leases of one process apart."""
        pid = os.getpid()
        identity = f"{_user()}@{socket.gethostname()}:{pid}:{secrets.token_hex(4)}"
        return cls(identity, pid, _machine(), _started(pid) or "")

    @classmethod
    def of(cls, lease: dict[str, Any]) -> Holder:
        """Return the holder that a live Lease names."""
        identity = str(lease.get("spec", {}).get("holderIdentity") or "")
        match = re.search(r":(\d{1,9}):[0-9a-f]+$", identity)
        annotations = lease["metadata"].get("annotations") or {}
        return cls(
            identity, int(match[1]) if match else 0, annotations.get(_MACHINE, ""), annotations.get(_STARTED, "")
        )

    def is_dead(self) -> bool:
        """Whether the holder ran on this machine and does no longer; False when that cannot be told."""
        if not self.pid or not self.started or not self.machine or self.machine != _machine():
            return False
        return _started(self.pid) != self.started


class Lease:
    """A lease to be held with `with`. Entering waits at most `wait` seconds; `on_wait(holder, since)` is told once.

    Raises UnavailableError when somebody else holds it for longer, or the platform's namespace is not there.
    """

    def __init__(
        self,
        api: Api,
        name: str,
        *,
        wait: float = 60.0,
        namespace: str = SYSTEM_NAMESPACE,
        on_wait: Callable[[str, str], None] | None = None,
    ) -> None:
        self.api = api
        self.name = name
        self.wait = wait
        self.namespace = namespace
        self.on_wait = on_wait
        self.holder = Holder.here()
        self._live: dict[str, Any] = {}
        self._renewed = float("-inf")
        self._lost: str | None = None
        self._released = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._acquire()
        self._thread = threading.Thread(target=self._keep, name=f"lease-{self.name}", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        if self._thread is not None:
            self._thread.join(timeout=DURATION)
        if self._lost is None:
            self._release()

    def check(self) -> None:
        """Raise when the lease is no longer held: PartialError when something was written, else UnavailableError.

        To be called before each group of writes.
        """
        lost = self._lost
        if lost is None and _now() - self._renewed > DURATION - RENEWAL:
            lost = "it could not be renewed in time"
        if lost is None:
            return
        message = f"the lease {self.name!r} was lost: {lost}"
        resolution = "see who else works on it, then run the same command again"
        raise (PartialError if self.api.persisted else UnavailableError)(message, resolution=resolution)

    def _acquire(self) -> None:
        deadline = _now() + self.wait
        version, seen_at, told = "", 0.0, False
        live = self._create()
        while live is not None:
            if live["metadata"]["resourceVersion"] != version:
                version, seen_at = live["metadata"]["resourceVersion"], _now()
            # Judged by our own clock, from when we saw it renewed: the clocks of two machines may differ.
            expired = _now() - seen_at > DURATION or _age(live) > _LONG_DEAD
            if (expired or Holder.of(live).is_dead()) and self._take_over(live):
                return
            if _now() >= deadline:
                raise self._held(live)
            if self.on_wait is not None and not told:
                self.on_wait(Holder.of(live).identity, _since(live))
                told = True
            if not self.api.pause(min(_POLL, max(deadline - _now(), 0.01))):
                raise self._held(live)
            live = self._read() or self._create()

    def _create(self) -> dict[str, Any] | None:
        """Create the lease; return that of somebody else who has it, None when it is ours now."""
        while True:
            started = _now()
            answer = self.api.request("POST", LEASE.path(self.namespace), params=_PARAMS, body=self._manifest({}, 0))
            if answer.ok:
                self._hold(answer.body, started)
                return None
            if answer.status == 404:
                raise UnavailableError(
                    f"this cluster is not prepared for tenants: namespace {self.namespace} is not there",
                    resolution="run `gcloud-pk cluster init` as a cluster administrator",
                )
            if answer.status != 409:
                raise refusal(answer, self._title)
            live = self._read()
            if live is None:
                continue  # released between the two requests
            if Holder.of(live).identity != self.holder.identity:
                return live
            self._hold(live, started)  # the answer to our own creation was lost
            return None

    def _read(self) -> dict[str, Any] | None:
        answer = self.api.request("GET", self._path)
        if answer.ok:
            return answer.body
        if answer.status == 404:
            return None
        raise refusal(answer, self._title)

    def _take_over(self, live: dict[str, Any]) -> bool:
        started = _now()
        transitions = int(live.get("spec", {}).get("leaseTransitions") or 0) + 1
        answer = self.api.request("PUT", self._path, params=_PARAMS, body=self._manifest(live["metadata"], transitions))
        if answer.ok:
            self._hold(answer.body, started)
            return True
        if answer.status in {404, 409}:  # released, or another was faster
            return False
        raise refusal(answer, self._title)

    def _keep(self) -> None:
        while not self._released.wait(RENEWAL):
            started = _now()
            body = self._live | {"spec": self._live["spec"] | {"renewTime": _stamp()}}
            try:
                answer = self.api.request("PUT", self._path, params=_PARAMS, body=body, patience=RENEWAL)
            except GcloudPkError:
                continue  # `check` counts the time
            if answer.ok:
                self._hold(answer.body, started)
            elif answer.status in {404, 409} and (other := self._other_holder(started)) is not None:
                self._lost = other
                return

    def _other_holder(self, started: float) -> str | None:
        """Return who has the lease instead; None when it is ours (the renewal's answer was lost) or cannot be read."""
        try:
            answer = self.api.request("GET", self._path, patience=RENEWAL)
        except GcloudPkError:
            return None
        if answer.status == 404:
            return "somebody deleted it"
        if not answer.ok:
            return None
        holder = Holder.of(answer.body).identity
        if holder != self.holder.identity:
            return f"{holder} took it"
        self._hold(answer.body, started)
        return None

    def _release(self) -> None:
        metadata = self._live["metadata"]
        preconditions = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions}
        try:
            self.api.request("DELETE", self._path, body=body, patience=RENEWAL)
        except GcloudPkError:
            return  # it expires by itself; the error under way matters more

    def _hold(self, live: dict[str, Any], since: float) -> None:
        self._live, self._renewed = live, since

    def _held(self, live: dict[str, Any]) -> UnavailableError:
        return UnavailableError(
            f"{Holder.of(live).identity} works on {self.name!r} since {_since(live)} and holds its lease",
            resolution="wait until that run is done, then run the command again; a lease whose holder died "
            f"is free after {DURATION:.0f} s",
        )

    @property
    def _path(self) -> str:
        return LEASE.path(self.namespace, self.name)

    @property
    def _title(self) -> str:
        return f"Lease {self.namespace}/{self.name}"

    def _manifest(self, metadata: dict[str, Any], transitions: int) -> dict[str, Any]:
        now = _stamp()
        kept = {name: metadata[name] for name in ("uid", "resourceVersion") if name in metadata}
        return {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": kept
            | {
                "name": self.name,
                "namespace": self.namespace,
                "annotations": {_MACHINE: self.holder.machine, _STARTED: self.holder.started},
            },
            "spec": {
                "holderIdentity": self.holder.identity,
                "leaseDurationSeconds": int(DURATION),
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": transitions,
            },
        }


_PARAMS = {"fieldManager": FIELD_MANAGER}


def _now() -> float:
    """Return seconds that also pass while the machine sleeps."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _age(lease: dict[str, Any]) -> float:
    renewed = str(lease.get("spec", {}).get("renewTime") or "")
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(renewed)).total_seconds()
    except (ValueError, TypeError):
        return 0.0


def _since(lease: dict[str, Any]) -> str:
    return str(lease.get("spec", {}).get("acquireTime") or "an unknown time")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())


def _machine() -> str:
    """Return what tells this boot and this process namespace; empty where the system does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """Return when a process started, in clock ticks since boot; None when there is none (proc(5), stat, field 22)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    # A zombie holds nothing any more.
    return None if fields[0] in {"Z", "X"} else fields[19]
