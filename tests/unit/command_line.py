"""Command lines taken apart as the program does, without running them."""

from __future__ import annotations

from collections.abc import Sequence

import click

from gcloud_pk.commands.base import Invocation
from gcloud_pk.main import cli


def parsed(words: Sequence[str]) -> tuple[click.Context, Invocation]:
    """Return the context of the command that `words` name, and the global options. Raises click.UsageError."""
    invocation = Invocation()
    ctx = cli.make_context("gcloud-pk", list(words), obj=invocation)
    while isinstance(ctx.command, click.Group):
        name, command, rest = ctx.command.resolve_command(ctx, [*ctx._protected_args, *ctx.args])
        assert command is not None
        ctx = command.make_context(name, rest, parent=ctx)
    return ctx, invocation
