"""The command reference, from the Click tree: `python -m gcloud_pk.commands.reference > docs/commands.md`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

_HEAD = """\
# Commands

Written from the program by `python -m gcloud_pk.commands.reference > docs/commands.md`; a test keeps it current.

"""

_EXIT_CODES = """\
## Exit codes

| Code | Meaning |
|---|---|
| 0 | done, nothing wrong |
| 1 | a defect in this program |
| 2 | wrong usage |
| 3 | invalid input: a request or the registry breaks a rule; all problems are named at once |
| 4 | refused: approval, signature, trust, state, wrong cluster, declined or missing confirmation |
| 5 | something that is needed is not there or does not answer; nothing was written |
| 6 | checked, and something failed |
| 7 | not everything could be checked, nothing failed |
| 8 | stopped or failed half way, something was written; run it again to converge |
| 130 | interrupted, or nobody was left to read what it prints |

With `--format json` an error is the one document on standard output:
`{"error": {"code", "message", "details": [{"file", "line", "field", "message", "expected"}], "resolution"}}`.

"""


def commands(root: click.Group, name: str = "gcloud-pk") -> Iterator[tuple[click.Context, click.Command]]:
    """Yield every command with a context that knows its full name, groups before what is in them."""

    def walk(command: click.Command, ctx: click.Context) -> Iterator[tuple[click.Context, click.Command]]:
        yield ctx, command
        if isinstance(command, click.Group):
            for word in command.list_commands(ctx):
                below = command.get_command(ctx, word)
                if below is not None and not below.hidden:
                    yield from walk(below, click.Context(below, parent=ctx, info_name=word))

    return walk(root, click.Context(root, info_name=name))


def reference(root: click.Group) -> str:
    """Return the reference of a command tree as Markdown."""
    parts = [_HEAD]
    for ctx, command in commands(root):
        if ctx.parent is None:
            parts += ["## Global options\n\n", *_table(ctx, command), _EXIT_CODES]
        else:
            parts += _section(ctx, command)
    return "".join(parts).rstrip("\n") + "\n"


def _section(ctx: click.Context, command: click.Command) -> Iterator[str]:
    level = "##" if ctx.parent is not None and ctx.parent.parent is None else "###"
    yield f"{level} {ctx.command_path}\n\n"
    yield from _prose(command.help or "")
    if not isinstance(command, click.Group):
        pieces = " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])
        yield f"```\n{pieces}\n```\n\n"
        yield from _table(ctx, command)


def _prose(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        # Click keeps the lines of a paragraph that begins with a backspace: examples and tables.
        kept = paragraph.removeprefix("\b\n")
        if kept != paragraph:
            yield f"```\n{kept}\n```\n\n"
        else:
            yield " ".join(paragraph.split()) + "\n\n"


def _table(ctx: click.Context, command: click.Command) -> Iterator[str]:
    options = [p for p in command.get_params(ctx) if isinstance(p, click.Option) and not p.hidden]
    shown = [option for option in options if not {"--help", "--version"} & set(option.opts)]
    if ctx.parent is not None:
        shown = [option for option in shown if option.expose_value]  # the global ones have a table of their own
    if not shown:
        return
    yield "| Option | |\n|---|---|\n"
    for option in shown:
        record = option.get_help_record(ctx)
        assert record is not None  # noqa: S101 - hidden options were left out
        names, text = record
        yield f"| `{_cell(names)}` | {_cell(' '.join(text.split()))} |\n"
    yield "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    from gcloud_pk.main import cli

    click.echo(reference(cli), nl=False)
