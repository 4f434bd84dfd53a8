"""What goes on while the engine works: a line for each step that is over, signs of life of those that are not."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gcloud_pk.programs.heartbeat import LOG_EVERY, duration
from gcloud_pk.text import escape, in_line

if TYPE_CHECKING:
    from gcloud_pk.console import Console
    from gcloud_pk.stack.plan import Step
    from gcloud_pk.stack.session import Told

_MOST = 12
"""Things under way, and names for each, that are told at once."""


@dataclass
class _UnderWay:
    step: Step
    since: float
    at: str = ""


@dataclass
class Progress:
    """Takes in what a session tells, on any thread. `total`: steps of the plan, where it is known."""

    console: Console
    total: int = 0
    live: Any = None
    over: int = 0
    under_way: dict[tuple[str, str], _UnderWay] = field(default_factory=dict)
    said: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, told: Told) -> None:
        """Take in one thing."""
        with self.lock:
            self._take(told)
            self._draw()

    def _take(self, told: Told) -> None:
        key = (told.kind, told.name)
        step = told.step
        if step is not None and step.op == "same":
            return
        if told.what == "begins" and step is not None:
            self.under_way[key] = _UnderWay(step, time.monotonic())
        elif told.what in {"done", "failed"} and step is not None:
            begun = self.under_way.pop(key, None)
            self.over += 1
            took = f" ({duration(time.monotonic() - begun.since)})" if begun else ""
            self._line(f"{self._place()}{told.name}: {step.words}: {told.what}{took}")
        elif told.what == "says":
            if (begun := self.under_way.get(key)) is not None:
                begun.at = in_line(told.text)
        elif told.what in {"error", "warns"}:
            head = f"{told.name}: " if told.name and not told.text.startswith(f"{told.name}: ") else ""
            word = "warning: " if told.what == "warns" else ""
            self._line(f"  {word}{head}{in_line(told.text)}")

    def _place(self) -> str:
        width = len(str(self.total))
        return f"{self.over:>{width}}/{self.total} " if self.total else ""

    def _line(self, text: str) -> None:
        self.said = time.monotonic()
        if self.live is not None:
            from rich.text import Text

            self.live.console.print(Text(escape(text)))
        else:
            self.console.note(text)

    def beat(self) -> None:
        """Show that it is alive: called now and then."""
        with self.lock:
            self._draw()
            if self.live is None and self.under_way and time.monotonic() - self.said >= LOG_EVERY:
                self._line(f"  at work: {'; '.join(self.lines())}")

    def lines(self) -> list[str]:
        """Return a line for each thing that is being done, with those that it is done to; the longest first."""
        now = time.monotonic()
        together: dict[str, list[_UnderWay]] = {}
        for one in sorted(self.under_way.values(), key=lambda one: one.since):
            together.setdefault(one.at or one.step.words, []).append(one)
        shown = []
        for what, those in list(together.items())[:_MOST]:
            names = [one.step.name for one in those]
            rest = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
            shown.append(f"{', '.join(names[:_MOST])}{rest}: {what}, {duration(now - those[0].since)}")
        return shown + ([f"and {len(together) - _MOST} more"] if len(together) > _MOST else [])

    def _draw(self) -> None:
        if self.live is not None:
            from rich.text import Text

            self.live.update(Text("\n".join(escape(f"  {line}") for line in self.lines())), refresh=True)


@contextmanager
def shown(console: Console, title: str, total: int = 0) -> Iterator[Progress]:
    """Show what goes on, on standard error, while the body runs; yields what the session tells."""
    console.note(title)
    progress = Progress(console, total)
    over = threading.Event()

    def beat() -> None:
        while not over.wait(1.0):
            progress.beat()

    pulse = threading.Thread(target=beat, daemon=True, name="progress")
    if sys.stderr is None or not (sys.stderr.isatty() and console.color):
        pulse.start()
        try:
            yield progress
        finally:
            over.set()
            pulse.join()
        return
    from rich.console import Console as RichConsole
    from rich.live import Live

    with Live("", console=RichConsole(file=sys.stderr), transient=True, auto_refresh=False) as progress.live:
        pulse.start()
        try:
            yield progress
        finally:
            over.set()
            pulse.join()
