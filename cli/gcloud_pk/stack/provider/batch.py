"""Calls that come together become one: a run of Ansible over six hosts takes little longer than over one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gcloud_pk.errors import UnavailableError

Item = TypeVar("Item")
Result = TypeVar("Result")

LONGEST = 30.0
"""Seconds without anything new after which a call waits no more for others that may come of what is under way."""

FORBEARANCE = 15.0
"""The same, where nothing is under way that they could come of: a busy machine may be slow to ask for them."""


class StoppedError(UnavailableError):
    """The engine is to stop, or is gone: what had not begun does not begin."""


@dataclass
class Flow:
    """The calls under way, by kind. `turn`: one batch at a time is worked on; `halt`: nothing new begins.

    `quiet`: seconds without another call after which those that came go on; `moved`: when a call last came or ended.
    """

    quiet: float = 0.6
    moved: float = 0.0
    halt: threading.Event = field(default_factory=threading.Event)
    turn: threading.Lock = field(default_factory=threading.Lock)
    _counts: dict[str, int] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def enter(self, kind: str) -> None:
        """Count a call of a kind."""
        with self._guard:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self.moved = time.monotonic()

    def leave(self, kind: str) -> None:
        """Count it off."""
        with self._guard:
            self._counts[kind] -= 1
            self.moved = time.monotonic()

    def busy(self, kinds: Sequence[str]) -> bool:
        """Whether a call of one of these kinds is under way."""
        with self._guard:
            return any(self._counts.get(kind) for kind in kinds)

    def check(self) -> None:
        """Raise StoppedError where nothing new is to begin."""
        if self.halt.is_set():
            raise StoppedError("it was stopped before it began; nothing was written", resolution="run it again")

    @property
    def total(self) -> int:
        """How many calls are under way."""
        with self._guard:
            return sum(self._counts.values())


@dataclass
class Batch(Generic[Item, Result]):
    """Calls of one sort. `missing`: whether somebody is expected yet, given those who came; without it, quiet decides.

    `after`: kinds of calls under way that more calls of this sort may come of; `patient`: these are waited for without
    end, because this sort must come after them.
    """

    flow: Flow
    act: Callable[[Mapping[Hashable, Item]], Mapping[Hashable, Result]]
    missing: Callable[[Mapping[Hashable, Item]], bool] | None = None
    after: Sequence[str] = ()
    patient: bool = False
    _waiting: dict[Hashable, tuple[Item, Future[Result]]] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _last: float = 0.0

    def submit(self, key: Hashable, item: Item) -> Result:
        """Have `item` carried out with whatever else comes soon; return its own result or raise what `act` raised."""
        mine: Future[Result] = Future()
        with self._guard:
            first = not self._waiting
            self._waiting[key] = (item, mine)
            self._last = time.monotonic()
        if first:
            self._lead()
        return mine.result()

    def _complete(self) -> bool:
        """Whether those who came are all that are to be waited for."""
        if self.flow.halt.is_set():
            return True
        now = time.monotonic()
        if self.missing is None:
            return now - self._last >= self.flow.quiet
        with self._guard:
            here = {key: item for key, (item, _) in self._waiting.items()}
        if not self.missing(here) and not (self.patient and self.flow.busy(self.after)):
            # A resource that was left half done comes although nothing of it differs.
            return now - self._last >= self.flow.quiet
        still = now - max(self._last, self.flow.moved)
        if self.flow.busy(self.after):
            return not self.patient and still >= LONGEST
        return still >= FORBEARANCE

    def _lead(self) -> None:
        while not self._complete():
            time.sleep(0.05)
        with self.flow.turn:
            # Who came while another batch was at work comes along.
            with self._guard:
                taken, self._waiting = self._waiting, {}
            try:
                self.flow.check()
                results = self.act({key: item for key, (item, _) in taken.items()})
                for key, (_, future) in taken.items():
                    future.set_result(results[key])
            except BaseException as error:  # noqa: BLE001 - each of those who wait has to hear of it
                for _, future in taken.values():
                    if not future.done():
                        future.set_exception(error)
