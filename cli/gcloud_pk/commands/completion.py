"""`gcloud-pk completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from gcloud_pk.commands.base import Command


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash: eval "$(gcloud-pk completion bash)"        in ~/.bashrc
    zsh:  eval "$(gcloud-pk completion zsh)"         in ~/.zshrc, after compinit
    fish: gcloud-pk completion fish | source         in ~/.config/fish/config.fish
    """  # noqa: D301 - Click reads the backspace as: keep these lines
    script = get_completion_class(shell)
    if script is None:  # pragma: no cover - the choice above names what Click has
        raise click.UsageError(f"no completion for {shell}")
    click.echo(script(ctx.find_root().command, {}, "gcloud-pk", "_GCLOUD_PK_COMPLETE").source())
