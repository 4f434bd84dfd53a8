"""What a run shows: one document on standard output; progress and messages on standard error.

Rich draws only when a person looks (a TTY); logs get plain lines.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import click

from gcloud_pk.errors import RefusedError
from gcloud_pk.text import as_json, escape, in_line


def somebody_answers() -> bool:
    """Whether standard input is a terminal; it may be closed."""
    return sys.stdin is not None and sys.stdin.isatty()


class Progress(Protocol):
    """A running count of finished steps."""

    def advance(self, steps: int = 1, *, note: str | None = None) -> None:
        """Count `steps` more; `note` says what is being done now."""


@dataclass
class _PlainProgress:
    """At most one line every five seconds, so that a CI log shows life and stays short."""

    console: Console
    title: str
    total: int
    done: int = 0
    printed_at: float = field(default_factory=time.monotonic)

    def advance(self, steps: int = 1, *, note: str | None = None) -> None:
        self.done += steps
        now = time.monotonic()
        if now - self.printed_at >= 5:
            self.printed_at = now
            self.console.note(f"{self.title}: {self.done}/{self.total}" + (f" {note}" if note else ""))


@dataclass
class Console:
    """Output of one invocation. `format` is text, json or junit; `verbosity` counts `-v`."""

    format: str = "text"
    verbosity: int = 0
    color: bool = True

    @property
    def machine(self) -> bool:
        """Whether standard output carries one document for a machine."""
        return self.format != "text"

    def _person(self, stream: Any) -> bool:
        # None: Python was started with that stream closed.
        return stream is not None and bool(stream.isatty()) and os.environ.get("TERM") != "dumb"

    def show(self, text: str = "") -> None:
        """Print the result for people (standard error when a machine reads standard output)."""
        click.echo(escape(text), err=self.machine, color=None)

    def row(self, head: str, text: object) -> None:
        """Print what somebody else wrote behind `head`, so that no line on the screen begins as he likes.

        It is one line; a terminal's own folding is done here, behind a bar.
        """
        line = escape(in_line(text))
        if not self._person(sys.stderr if self.machine else sys.stdout):
            self.show(head + line)
            return
        from rich.cells import cell_len, chop_cells

        indent = cell_len(head)
        room = max(8, shutil.get_terminal_size().columns - indent - 2)
        first, *more = chop_cells(line, room) or [""]
        self.show(head + first)
        for piece in more:
            self.show(f"{' ' * indent}│ {piece}")

    def styled(self, text: str, **style: Any) -> str:
        """Return `text` with terminal style where a person looks and colour is wanted."""
        stream = sys.stderr if self.machine else sys.stdout
        return click.style(escape(text), **style) if self.color and self._person(stream) else escape(text)

    def show_styled(self, text: str) -> None:
        """Print text that `styled` made; every untrusted part must have gone through it."""
        click.echo(text, err=self.machine)

    def note(self, text: str) -> None:
        """Say what goes on, on standard error."""
        click.echo(escape(text), err=True)

    def warn(self, text: str) -> None:
        """Say on standard error what a person should look at."""
        prefix = "warning: "
        if self.color and self._person(sys.stderr):
            prefix = click.style(prefix, fg="yellow", bold=True)
        click.echo(prefix + escape(text), err=True)

    def debug(self, text: str) -> None:
        """Say more, with `-v`."""
        if self.verbosity:
            click.echo(escape(text), err=True)

    def document(self, value: Any) -> None:
        """Print the one JSON document of `--format json`."""
        click.echo(as_json(value))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print rows under column heads; drawn by Rich for a person, aligned plain text otherwise."""
        # A cell is one line: what a cluster says must not look like a row of its own.
        cells = [[in_line(escape("" if cell is None else cell)) for cell in row] for row in rows]
        stream = sys.stderr if self.machine else sys.stdout
        if self._person(stream):
            from rich.box import SIMPLE_HEAD
            from rich.console import Console as RichConsole
            from rich.table import Table
            from rich.text import Text

            table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
            for name in columns:
                table.add_column(name, overflow="fold")
            for row in cells:
                table.add_row(*(Text(cell) for cell in row))  # Text: a cell is never read as markup
            RichConsole(file=stream, color_system="auto" if self.color else None).print(table)
            return
        widths = [max(len(row[i]) for row in [list(columns), *cells]) for i in range(len(columns))]
        for row in [list(columns), *cells]:
            self.show("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[Progress]:
        """Show progress of `total` steps on standard error: a bar for a person, sparse lines for a log."""
        if not self._person(sys.stderr):
            yield _PlainProgress(self, title, total)
            return
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with RichProgress(
            *columns, console=RichConsole(file=sys.stderr, color_system="auto" if self.color else None), transient=True
        ) as bar:
            task = bar.add_task(title, total=total)

            class _Bar:
                def advance(self, steps: int = 1, *, note: str | None = None) -> None:
                    bar.update(task, advance=steps, description=f"{title}: {escape(note)}" if note else title)

            yield _Bar()

    def confirm(self, question: str, *, yes: bool, how: str = "--yes") -> None:
        """Ask; return when the answer is yes. Raises RefusedError when declined or when nobody can answer."""
        if yes:
            return
        _require_somebody(question, f"answer, or give {how}")
        if not click.confirm(escape(question), err=True):
            raise RefusedError("declined; nothing was written")

    def confirm_name(self, question: str, kind: str, name: str, *, yes: bool) -> None:
        """Have the name of the thing typed that would go; return when it was. `kind`: what it is, such as `site`.

        Raises RefusedError when another was typed or when nobody can answer.
        """
        if yes:
            return
        _require_somebody(question, f"type the {kind}'s name, or give --yes")
        typed = click.prompt(escape(f"{question} Type the {kind}'s name to go on ({name})"), err=True)
        if typed.strip() != name:
            raise RefusedError(f"that is not the {kind}'s name; nothing was touched")


def _require_somebody(question: str, what: str) -> None:
    if not somebody_answers():
        raise RefusedError("confirmation is missing: " + question, resolution=f"run it in a terminal and {what}")
