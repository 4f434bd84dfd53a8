"""Text that goes to standard output or, with `-o`, to a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gcloud_pk.errors import RefusedError, UnavailableError

if TYPE_CHECKING:
    from gcloud_pk.console import Console


def check_output(output: Path | None, *, force: bool) -> None:
    """Refuse a file that cannot be meant, before any work is done for it. Raises UnavailableError, RefusedError."""
    if output is None:
        return
    if not output.parent.is_dir():
        raise UnavailableError(f"there is no folder {output.parent}", resolution="make it, or name another file")
    if output.is_dir():
        raise RefusedError(f"{output} is a folder", resolution="name a file in it")
    if not force and (output.exists() or output.is_symlink()):
        raise RefusedError(f"{output} is there already", resolution="name another file, or give --force")


def write_output(console: Console, text: str, output: Path | None, *, mode: int = 0o644) -> None:
    """Write to a file, or print: what somebody waited for is shown rather than lost where it cannot be written."""
    from gcloud_pk.registry import files

    if output is None:
        click.echo(text, nl=False, err=console.machine)
        return
    try:
        with files.locked(output.parent):
            files.write(output, text.encode(), root=output.parent, mode=mode)
    except UnavailableError:
        click.echo(text, nl=False, err=console.machine)
        raise
