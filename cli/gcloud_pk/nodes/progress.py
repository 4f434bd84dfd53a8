"""Progress of a run, hosts by roles: a table that changes for a person, a line for each role in a log."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gcloud_pk.nodes.events import Event, Result, Task
from gcloud_pk.nodes.outcome import HostRun, Run
from gcloud_pk.text import escape, in_line, number_of

if TYPE_CHECKING:
    from gcloud_pk.console import Console

_WORST = ("failed", "unreachable", "refused", "going", "waiting", "done")


def trouble(host: HostRun) -> str:
    """Return in a line what is wrong with a host."""
    where = f" in role {host.failed_in.role}" if host.failed_in and host.failed_in.role else ""
    return f"{host.host.name}: {host.state}{where}: {host.diagnosis.words if host.diagnosis else ''}"


@dataclass
class _Lines:
    """For a log: one line when a role is over, one for each host that falls out."""

    console: Console
    role: str | None = None
    since: float = field(default_factory=time.monotonic)
    results: Counter[str] = field(default_factory=Counter)
    seen: set[str] = field(default_factory=set)
    told: set[str] = field(default_factory=set)

    def __call__(self, run: Run, event: Event | None) -> None:
        if isinstance(event, Task) and event.role != self.role:
            self.over(run)
            self.role, self.since = event.role, time.monotonic()
        if isinstance(event, Result):
            self.results[event.status] += 1
            self.seen.add(event.host)
        for host in run.hosts.values():
            if host.diagnosis is not None and host.host.name not in self.told and not run.ended:
                self.told.add(host.host.name)
                self.console.note(trouble(host))

    def over(self, run: Run) -> None:
        """Tell of the role that is over."""
        if self.role is not None and self.results:
            number = f"{run.roles.index(self.role) + 1}/{len(run.roles)}" if self.role in run.roles else ""
            changed = number_of(self.results["changed"], "change") if self.results["changed"] else "no change"
            self.console.note(
                f"{number:>6} {self.role}: {number_of(len(self.seen), 'host')}, {changed} "
                f"({time.monotonic() - self.since:.1f} s)"
            )
        self.results.clear()
        self.seen.clear()


def _rows(run: Run, room: int) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield host, roles begun, what it is at, changes and refusals; those that matter where not all have room."""
    hosts = sorted(run.hosts.values(), key=lambda host: _WORST.index(host.state) if host.state in _WORST else 0)
    chosen = {host.host.name for host in hosts[:room]}
    for host in run.hosts.values():
        if host.host.name not in chosen:
            continue
        role = host.at.role if host.at else None
        place = run.roles.index(role) + 1 if role in run.roles else 0
        at = host.diagnosis.words if host.diagnosis else f"{role}: {host.at.name}" if host.at and role else host.state
        yield (
            host.host.name,
            f"{'█' * round(10 * place / len(run.roles)) if run.roles else '':░<10} {place}/{len(run.roles)}",
            in_line(escape(at))[:70],
            str(len(host.changes)),
            str(len(host.refused)),
        )


def _table(run: Run) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    room = max(3, shutil.get_terminal_size().lines - 6)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, expand=True)
    for name in ("host", "roles", "at", "would change" if run.check else "changed", "refused"):
        table.add_column(name, overflow="ellipsis", no_wrap=True, ratio=1 if name == "at" else None)
    for row in _rows(run, room):
        table.add_row(*(Text(cell) for cell in row))  # Text: never read as markup
    if len(run.hosts) > room:
        table.add_row(f"and {len(run.hosts) - room} more", "", "", "", "")
    return table


@contextmanager
def shown(console: Console, run_words: str) -> Iterator[Any]:
    """Show a run on standard error while it goes; yields what `run.play` tells."""
    if not (sys.stderr.isatty() and console.color):
        console.note(run_words)
        lines = _Lines(console)
        last: list[Run] = []

        def tell(run: Run, event: Event | None) -> None:
            last[:] = [run]
            lines(run, event)

        yield tell
        if last:
            lines.over(last[0])
        return
    from rich.console import Console as RichConsole
    from rich.live import Live

    with Live(run_words, console=RichConsole(file=sys.stderr), transient=True, auto_refresh=False) as live:
        drawn = 0.0

        def draw(run: Run, event: Event | None) -> None:  # noqa: ARG001 - the run says it all
            nonlocal drawn
            if time.monotonic() - drawn > 0.2:
                drawn = time.monotonic()
                live.update(_table(run), refresh=True)

        yield draw
