"""Signs of life of one long step: a line that changes for a person, a line every 15 s for a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from gcloud_pk.console import Console
from gcloud_pk.text import escape

LOG_EVERY = 15.0
"""Seconds between two lines in a log."""


def duration(seconds: float) -> str:
    """Return `seconds` as people say it: 4.2 s, 3 min 05 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02d} s"


@dataclass
class Heartbeat:
    """One step under way. Call `beat` as often as there is news."""

    console: Console
    title: str
    status: Any = None
    started: float = field(default_factory=time.monotonic)
    said: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """How long the step has taken so far."""
        return time.monotonic() - self.started

    def beat(self, news: str) -> None:
        """Show `news` with the time that has passed, if it is time to."""
        line = f"{self.title}: {news}, {duration(self.seconds)}"
        if self.status is not None:
            from rich.text import Text

            self.status.update(Text(escape(line)))
        elif time.monotonic() - self.said >= LOG_EVERY:
            self.said = time.monotonic()
            self.console.note(f"  {line}")


@contextmanager
def heartbeat(console: Console, title: str) -> Iterator[Heartbeat]:
    """Show that a step is alive while the body runs."""
    beat = Heartbeat(console, title)
    if sys.stderr is None or not sys.stderr.isatty():
        yield beat
        return
    from rich.console import Console as RichConsole

    with RichConsole(file=sys.stderr, no_color=not console.color).status(escape(title)) as beat.status:
        yield beat
