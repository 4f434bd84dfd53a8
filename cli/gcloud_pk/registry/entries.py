"""One tenant's folder as it was read, and what it keeps of requests that were accepted."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from gcloud_pk.errors import Problem, problem
from gcloud_pk.model.request import TenantRequest
from gcloud_pk.model.state import State
from gcloud_pk.registry import standing
from gcloud_pk.registry.approval import Signed
from gcloud_pk.registry.history import FILE, Chain
from gcloud_pk.registry.history import read as read_history
from gcloud_pk.registry.readings import Reading


@dataclass(frozen=True)
class Accepted:
    """A request that was accepted once, kept under `history/<sha256>/`.

    `request`: with wrong values replaced where the formats of today are stricter, for comparing; what may be acted on
    is `reading.model`.
    """

    digest: str
    request: TenantRequest
    signed: Signed
    folder: Path
    reading: Reading[TenantRequest]

    @property
    def revision(self) -> int:
        """The request's revision."""
        return self.request.metadata.revision


@dataclass(frozen=True)
class Entry:
    """One tenant's folder. `reading` is None where request.yaml is missing or is no YAML; `problems` then says why.

    `state_file`, `state_signature` and `history_file` are bytes, or None where there is none. `broken`: what lies under
    `history/` and is not an accepted request, intact. `now`: when it was read.
    """

    name: str
    folder: Path
    file: str
    signed: Signed | None
    reading: Reading[TenantRequest] | None
    problems: tuple[Problem, ...]
    history: tuple[Accepted, ...]
    state_file: bytes | None = None
    state_signature: bytes | None = None
    history_file: bytes | None = None
    broken: tuple[Problem, ...] = ()
    now: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))

    @property
    def data(self) -> bytes | None:
        """The bytes of request.yaml."""
        return self.signed.data if self.signed else None

    @cached_property
    def digest(self) -> str | None:
        """SHA-256 of request.yaml's bytes, hexadecimal."""
        return sha256(self.signed.data).hexdigest() if self.signed else None

    @property
    def request(self) -> TenantRequest | None:
        """The request, where it is well formed."""
        return self.reading.model if self.reading else None

    def kept(self, digest: str | None) -> Accepted | None:
        """Return the accepted request of a digest, where history holds it intact."""
        return next((accepted for accepted in self.history if accepted.digest == digest), None)

    @property
    def last_accepted(self) -> Accepted | None:
        """The accepted request of the highest revision."""
        return max(self.history, key=lambda accepted: (accepted.revision, accepted.digest), default=None)

    @cached_property
    def state(self) -> tuple[State | None, tuple[Problem, ...]]:
        """What state.yaml says, whether it is to be believed or not."""
        if self.state_file is None:
            return None, ()
        return standing.read(self.state_file, str(Path(self.file).with_name("state.yaml")))

    @cached_property
    def chain(self) -> Chain:
        """What history.jsonl says; empty where there is none: a registry made by hand has none."""
        file = str(Path(self.file).with_name(FILE))
        return Chain(file) if self.history_file is None else read_history(self.history_file, file, self.name, self.now)

    @property
    def lost_history(self) -> Problem | None:
        """That requests were accepted and history.jsonl is not there: somebody took it away, or it never was."""
        if self.history_file is not None or not (self.history or self.broken):
            return None
        return problem(
            "is not there, and accepted requests are kept beside it: whoever removed it removed what it closed too",
            file=self.chain.file,
            expected="the file, from version control; none where the registry is older than histories",
        )

    @property
    def notes(self) -> tuple[Problem, ...]:
        """What somebody should know of, and need not mend."""
        lost = self.lost_history
        return (lost,) if lost else self.chain.notes
