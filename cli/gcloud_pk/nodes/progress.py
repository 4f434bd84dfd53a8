"""Progress of a run, hosts by roles: a table that changes for a person, a line for each role in a log."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gcloud_pk.nodes.events import Event, Result, Start, Task
from gcloud_pk.nodes.outcome import HostRun, Run
from gcloud_pk.text import escape, in_line, number_of

if TYPE_CHECKING:
    from gcloud_pk.console import Console

_WORST = ("failed", "unreachable", "refused", "going", "waiting", "done")

_LONG = 60
"""Seconds after which it is told that a host says nothing."""


def trouble(host: HostRun) -> str:
    """Return in a line what is wrong with a host."""
    where = f" in role {host.failed_in.role}" if host.failed_in and host.failed_in.role else ""
    return f"{host.host.name}: {host.state}{where}: {host.diagnosis.words if host.diagnosis else ''}"


@dataclass
class Silence:
    """Who was asked and says nothing, and for how long: one host that hangs holds up the others."""

    asked: dict[str, tuple[float, str]] = field(default_factory=dict)
    told: dict[str, float] = field(default_factory=dict)

    def __call__(self, run: Run, event: Event | None) -> list[str]:
        """Take in what happened; return a line for each host to tell of: after a minute, then after twice as long."""
        now = time.monotonic()
        if isinstance(event, Start) and event.host in run.hosts:
            self.asked[event.host] = now, event.task
        if isinstance(event, Result):
            self.asked.pop(event.host, None)
            self.told.pop(event.host, None)
        lines = []
        for host, (since, task) in self.asked.items():
            seconds = now - since
            if seconds >= max(_LONG, 2 * self.told.get(host, 0)) and not run.ended:
                self.told[host] = seconds
                lines.append(f"{host} has said nothing for {seconds:.0f} s{_at(run.tasks.get(task))}")
        return lines


def _at(task: Task | None) -> str:
    return f", in role {task.role}: {in_line(task.name)}" if task and task.role else ""


@dataclass
class _Lines:
    """For a log: one line when a role is over, one for each host that falls out. `after`: its handlers are at work."""

    console: Console
    role: str | None = None
    after: bool = False
    since: float = field(default_factory=time.monotonic)
    results: Counter[str] = field(default_factory=Counter)
    seen: set[str] = field(default_factory=set)
    told: set[str] = field(default_factory=set)
    silence: Silence = field(default_factory=Silence)

    def __call__(self, run: Run, event: Event | None) -> None:
        for line in self.silence(run, event):
            self.console.note(line)
        if isinstance(event, Task) and (event.role, event.kind == "handler") != (self.role, self.after):
            self.over(run)
            self.role, self.after, self.since = event.role, event.kind == "handler", time.monotonic()
        task = run.tasks.get(event.task) if isinstance(event, Result) else None
        # A role of which only the variables were looked at was not run: --tags named others.
        if isinstance(event, Result) and not (task and task.kind == "arguments" and event.status == "ok"):
            self.results[event.status] += 1
            if event.status in {"failed", "unreachable"}:
                self.seen.discard(event.host)
            else:
                self.seen.add(event.host)
        for host in run.hosts.values():
            if host.diagnosis is not None and host.host.name not in self.told and not run.ended:
                self.told.add(host.host.name)
                self.console.note(trouble(host))

    def over(self, run: Run) -> None:
        """Tell of the role that is over."""
        if self.role is not None and self.results:
            # Handlers of earlier roles come between and after: a number of theirs would count back.
            place = f"{run.roles.index(self.role) + 1}/{len(run.roles)}" if self.role in run.roles else ""
            changed = number_of(self.results["changed"], "change") if self.results["changed"] else "no change"
            done = [number_of(len(self.seen), "host"), changed] if self.seen or self.results["changed"] else []
            # Nobody shall take a host for unchanged that fell out here, or that the run was stopped on.
            stopped = sum(host.state in {"half-done", "not-begun"} for host in run.hosts.values())
            fallen = {"failed": self.results["failed"], "unreachable": self.results["unreachable"], "stopped": stopped}
            told = ", ".join([*done, *(f"{number} {word}" for word, number in fallen.items() if number)])
            self.console.note(
                f"{'then:' if self.after else place:>6} {self.role}: {told} ({time.monotonic() - self.since:.1f} s)"
            )
        self.results.clear()
        self.seen.clear()


def _rows(run: Run, room: int, silent: frozenset[str] = frozenset()) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield host, roles begun, what it is at, changes and refusals; those that matter where not all have room."""
    hosts = sorted(run.hosts.values(), key=lambda host: _WORST.index(host.state) if host.state in _WORST else 0)
    chosen = {host.host.name for host in hosts[:room]}
    for host in run.hosts.values():
        if host.host.name not in chosen:
            continue
        role = host.at.role if host.at else None
        bar = "█" * round(10 * host.reached / len(run.roles)) if run.roles else ""
        at = host.diagnosis.words if host.diagnosis else f"{role}: {host.at.name}" if host.at and role else host.state
        if host.host.name in silent:
            at = f"nothing said for long, after {at}"
        yield (
            host.host.name,
            f"{bar:░<10} {host.reached}/{len(run.roles)}",
            in_line(escape(at))[:70],
            str(len(host.changes)),
            str(len(host.refused)),
        )


def _table(run: Run, silent: Iterable[str] = ()) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    room = max(3, shutil.get_terminal_size().lines - 6)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, expand=True)
    for name in ("host", "roles", "at", "would change" if run.check else "changed", "refused"):
        table.add_column(name, overflow="ellipsis", no_wrap=True, ratio=1 if name == "at" else None)
    for row in _rows(run, room, frozenset(silent)):
        table.add_row(*(Text(cell) for cell in row))  # Text: never read as markup
    if len(run.hosts) > room:
        table.add_row(f"and {len(run.hosts) - room} more", "", "", "", "")
    return table


@contextmanager
def shown(console: Console, run_words: str) -> Iterator[Any]:
    """Show a run on standard error while it goes; yields what `run.play` tells."""
    if sys.stderr is None or not (sys.stderr.isatty() and console.color):
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

        silence = Silence()

        def draw(run: Run, event: Event | None) -> None:
            nonlocal drawn
            silence(run, event)
            if time.monotonic() - drawn > 0.2:
                drawn = time.monotonic()
                live.update(_table(run, silence.told), refresh=True)

        yield draw
