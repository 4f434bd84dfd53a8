"""Is a snapshot good? Every check with a verdict; what could not be looked at is `not-checked`, never a pass."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gcloud_pk.errors import UnavailableError
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.stack.recovery import opening, scratch
from gcloud_pk.stack.recovery.snapshot import BrokenError, Snapshot, check_signed, check_whole

SUITE = "backup"
_SPARE = 64 * 1024 * 1024


@dataclass(frozen=True)
class Expected:
    """Whose snapshot it has to be. `signers`: keys of those who may sign, to their names; `uid`: None where unknown."""

    site: str
    cluster: str
    uid: str | None
    signers: Mapping[str, str]


@dataclass
class Judged:
    """What came of it. `file` and `keys` are there once it was opened: while the folder they lie in is open."""

    findings: list[Finding] = field(default_factory=list)
    file: Path | None = None
    keys: dict[str, bytes] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether every check passed."""
        return all(one.verdict is Verdict.PASS for one in self.findings)


@dataclass
class _Judging:
    snapshot: Snapshot
    judged: Judged
    stopped: str | None = None

    def check(self, number: int, title: str, expected: str, look: Callable[[], str]) -> None:
        """Add a check's verdict; once one failed, those that build on it are not made."""
        began = time.perf_counter()
        subject = f"backup/{self.snapshot.cluster}/{self.snapshot.name}"
        verdict, observed, reason = Verdict.PASS, "", None
        if self.stopped is not None:
            verdict, reason = Verdict.NOT_CHECKED, self.stopped
        else:
            try:
                observed = look()
            except BrokenError as error:
                verdict, observed, self.stopped = Verdict.FAIL, str(error), f"BKP-{number:03d} failed"
        self.judged.findings.append(
            Finding(
                f"BKP-{number:03d}",
                title,
                subject,
                expected,
                observed,
                verdict,
                reason=reason,
                seconds=time.perf_counter() - began,
            )
        )


@contextmanager
def judge(
    snapshot: Snapshot, expected: Expected, key: Path | None, programs: Callable[[], scratch.Programs]
) -> Iterator[Judged]:
    """Yield the verdicts; while it is open, what was opened lies in a private folder.

    Raises UnavailableError where this machine has no room, or lacks a program.
    """
    judged = Judged()
    work = _Judging(snapshot, judged)
    folder: list[Path] = []
    held: dict[str, Any] = {}
    try:
        work.check(1, "nothing of it is damaged, cut or added", "every file has its digest", lambda: _whole(snapshot))
        work.check(
            2,
            "a node of the site made it",
            "its digests are signed by a host key of the site",
            lambda: f"signed by {check_signed(snapshot, expected.signers)}",
        )
        work.check(3, "it is of this cluster", _whose(expected), lambda: _own(snapshot, expected))
        if key is None:
            work.stopped = work.stopped or "without the recipient's key (--key) nobody can look inside"

        def opened() -> str:
            assert key is not None  # noqa: S101 - else this check is not made
            folder.append(_private(snapshot))
            judged.keys = opening.open_keys(snapshot, key)
            judged.file = opening.open_etcd(snapshot, key, folder[0])
            return f"{snapshot.size} bytes, as the manifest says"

        work.check(4, "it opens with the recipient's key", "what the manifest says", opened)

        def restored() -> str:
            assert judged.file is not None  # noqa: S101 - the check before made it
            held.update(scratch.survey(judged.file, folder[0], programs()))
            if held["revision"] != snapshot.revision:
                raise BrokenError(f"revision {held['revision']}")
            return f"revision {held['revision']}"

        work.check(5, "it restores into a scratch etcd", f"revision {snapshot.revision}", restored)
        work.check(
            6,
            "every object is there",
            f"{snapshot.total} objects of {len(snapshot.objects)} resources",
            lambda: compared(snapshot.objects, held["objects"]),
        )
        work.check(7, "its data are the cluster's", f"uid {snapshot.uid}", lambda: _same(snapshot.uid, held["uid"]))
        work.check(
            8,
            "its keys are whole, and read its secrets",
            "pairs that belong together; every secret's key",
            lambda: opening.check_keys(judged.keys, held["secrets"]),
        )
        yield judged
    finally:
        judged.keys = {}
        for one in folder:
            shutil.rmtree(one, ignore_errors=True)


def _private(snapshot: Snapshot) -> Path:
    """Make a folder that only this user sees, where the snapshot and its restored data have room."""
    base = Path(tempfile.gettempdir())
    needed = 3 * snapshot.size + _SPARE
    if (free := shutil.disk_usage(base).free) < needed:
        raise UnavailableError(
            f"{base} has {free // 2**20} MiB free, and {needed // 2**20} MiB are needed to look into the snapshot",
            resolution="make room, or name another folder with TMPDIR",
        )
    return Path(tempfile.mkdtemp(prefix="gcloud-pk-"))


def _whole(snapshot: Snapshot) -> str:
    return f"{check_whole(snapshot)} files"


def _whose(expected: Expected) -> str:
    return f"site {expected.site}, cluster {expected.cluster}, uid {expected.uid or 'of the data'}"


def _own(snapshot: Snapshot, expected: Expected) -> str:
    said = f"site {snapshot.site}, cluster {snapshot.cluster}, uid {snapshot.uid}"
    ours = (snapshot.site, snapshot.cluster) == (expected.site, expected.cluster)
    if not ours or expected.uid not in {None, snapshot.uid}:
        raise BrokenError(f"another cluster's: {said}")
    return said


def _same(wanted: str, found: str) -> str:
    if wanted != found:
        raise BrokenError(f"uid {found}")
    return f"uid {found}"


LEASED = frozenset({"events", "masterleases", "peerserverleases"})
"""Resources whose objects live on leases of etcd: they end by themselves while no API server runs."""


def compared(wanted: Mapping[str, int], found: Mapping[str, int], fewer: Collection[str] = ()) -> str:
    """Return how many objects there are; of the resources `fewer` some may be missing.

    Raises BrokenError where there are others than wanted, with the first few.
    """
    wrong = [
        f"{name}: {found.get(name, 0)} instead of {wanted.get(name, 0)}"
        for name in sorted({*wanted, *found})
        if wanted.get(name, 0) != found.get(name, 0)
        and not (name in fewer and found.get(name, 0) < wanted.get(name, 0))
    ]
    if wrong:
        more = f" and {len(wrong) - 10} more" if len(wrong) > 10 else ""
        raise BrokenError("; ".join(wrong[:10]) + more)
    return f"{sum(found.values())} objects of {len(found)} resources"
