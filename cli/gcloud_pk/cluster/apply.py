"""Apply: changes in stages, many at once inside a stage, over one pool of threads that several tenants share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from gcloud_pk.cluster.answer import Answer
from gcloud_pk.cluster.plan import Action, Change
from gcloud_pk.cluster.transport import Api
from gcloud_pk.cluster.write import refuse_conflicts, write
from gcloud_pk.errors import GcloudPkError, PartialError, UnavailableError

Stages = Sequence[Sequence[Change]]
OnDone = Callable[[Change, Answer], None]
"""Called for each change that is done, from a thread of the pool."""

_AGAIN = "then run the same command again: it goes on from here"


@dataclass
class Tally:
    """What a run has written so far, of how much."""

    total: int
    created: int = 0
    changed: int = 0
    removed: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def done(self) -> int:
        """How many changes are done."""
        return self.created + self.changed + self.removed

    def count(self, action: Action) -> None:
        """Count one change that is done."""
        with self.lock:
            self.created += action is Action.CREATE
            self.changed += action is Action.CHANGE
            self.removed += action is Action.REMOVE

    def __str__(self) -> str:
        return (
            f"{self.done} of {self.total} changes done "
            f"({self.created} created, {self.changed} changed, {self.removed} removed)"
        )


class Conveyor:
    """One pool of threads that carries changes to one API server. Thread-safe: each tenant runs its own stages.

    Eight threads saturate an API server (measured); the objects of several tenants fill each other's gaps.
    """

    def __init__(self, api: Api, threads: int = 8, *, force_conflicts: bool = False) -> None:
        self.api = api
        self.force_conflicts = force_conflicts
        self._pool = ThreadPoolExecutor(threads, "gcloud-pk-apply")
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and not issubclass(kind, Exception):
            self.stop()  # Ctrl-C
        self._pool.shutdown(wait=True, cancel_futures=True)

    def stop(self) -> None:
        """Begin nothing more and end all back-offs: every `run` under way raises soon."""
        self._stopped.set()
        self.api.hurry()

    def run(self, stages: Stages, on_done: OnDone | None = None, *, check: Callable[[], None] | None = None) -> Tally:
        """Write stage after stage, in parallel inside each; KEEP is skipped. `check` runs before each stage.

        Raises ConflictError before the first write when the plan shows another Apply manager's field. After a failure
        nothing more is begun; raised is then the failure itself (RefusedError, UnavailableError) when nothing was
        written through this Api, else PartialError, which says what was done and what failed first.
        """
        work = [[change for change in stage if change.action is not Action.KEEP] for stage in stages]
        tally = Tally(sum(len(stage) for stage in work))
        try:
            if not self.force_conflicts:
                refuse_conflicts([change for stage in work for change in stage])
            for stage in work:
                if check is not None:
                    check()
                self._run_stage(stage, tally, on_done)
        except PartialError:
            raise
        except GcloudPkError as error:
            if not self.api.persisted:
                raise
            raise PartialError(
                f"stopped half way, {tally}; the first failure: {error.message}",
                details=error.details,
                resolution="; ".join(part for part in (error.resolution, _AGAIN) if part),
            ) from error
        return tally

    def _run_stage(self, stage: list[Change], tally: Tally, on_done: OnDone | None) -> None:
        failed = threading.Event()
        errors: list[BaseException] = []

        def carry(change: Change) -> None:
            if failed.is_set() or self._stopped.is_set():
                return
            try:
                answer = write(self.api, change, force_conflicts=self.force_conflicts)
                tally.count(change.action)
                if on_done is not None:
                    on_done(change, answer)
            except BaseException as error:
                errors.append(error)  # atomic: the first in time stays first
                failed.set()
                raise

        if not self._stopped.is_set():
            wait([self._pool.submit(carry, change) for change in stage])
        if errors:
            raise errors[0]
        if self._stopped.is_set():
            raise UnavailableError("stopped before everything was written")


def apply(
    api: Api, stages: Stages, *, force_conflicts: bool = False, on_done: OnDone | None = None, threads: int = 8
) -> Tally:
    """Write stage after stage over a pool of its own; raises as `Conveyor.run` does."""
    with Conveyor(api, threads, force_conflicts=force_conflicts) as conveyor:
        return conveyor.run(stages, on_done)
