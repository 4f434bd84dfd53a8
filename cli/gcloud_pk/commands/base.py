"""What every command shares: global options, accepted before and after the noun, and the invocation they fill."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from gcloud_pk.console import Console
from gcloud_pk.login import operator_name

__all__ = ["GLOBAL_OPTIONS_HELP", "Command", "Group", "Invocation", "operator_name", "pass_invocation"]

GLOBAL_OPTIONS_HELP = (
    "Global options stand before or after the noun: --registry, --trust, --kubeconfig, --context, "
    "--verify-context, --format, -v, --no-color."
)


@dataclass
class Invocation:
    """The global options of one run, as given."""

    values: dict[str, Any] = field(default_factory=dict)

    @property
    def registry(self) -> Path:
        """The registry folder; ./registry by default."""
        return Path(self.values.get("registry") or "registry")

    @property
    def trust(self) -> Path | None:
        """The file of those whose signature on the registry counts; none by default."""
        value = self.values.get("trust")
        return Path(value) if value else None

    @property
    def kubeconfig(self) -> str | None:
        """Kubeconfig files, separated as in KUBECONFIG; None means KUBECONFIG, then ~/.kube/config."""
        return self.values.get("kubeconfig")

    @property
    def context(self) -> str | None:
        """The kubeconfig's context to write with; its current one by default."""
        return self.values.get("context")

    @property
    def verify_context(self) -> str | None:
        """The context to verify with; `verifier` wherever a context of that name exists."""
        return self.values.get("verify_context")

    @property
    def console(self) -> Console:
        """Output as the options ask."""
        no_color = bool(self.values.get("no_color")) or bool(os.environ.get("NO_COLOR"))
        return Console(self.values.get("format") or "text", int(self.values.get("verbose") or 0), not no_color)


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    invocation = ctx.find_object(Invocation)
    if invocation is None or value in (None, (), False, 0):
        return
    source = ctx.get_parameter_source(str(param.name))
    # The environment must not override what stood before the noun.
    if source is click.core.ParameterSource.COMMANDLINE or param.name not in invocation.values:
        invocation.values[str(param.name)] = value


_DRAWN = ("dot", "html")


class _Formats(click.Choice[str]):
    """Names the formats that a command knows; those that others draw are read too, for a better refusal."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value in _DRAWN else super().convert(value, param, ctx)


def _global_options(hidden: bool, draws: tuple[str, ...] = ()) -> list[click.Option]:
    def option(*names: str, shown: bool = False, **kw: Any) -> click.Option:
        return click.Option(names, expose_value=False, callback=_keep, hidden=hidden and not shown, **kw)

    return [
        option(
            "--registry",
            metavar="DIR",
            envvar="GCLOUD_PK_REGISTRY",
            help="Registry folder.  [default: ./registry; env: GCLOUD_PK_REGISTRY]",
        ),
        option(
            "--trust",
            metavar="FILE",
            envvar="GCLOUD_PK_TRUST",
            help="OpenSSH allowed signers of the registry, kept outside of it.  [env: GCLOUD_PK_TRUST]",
        ),
        option(
            "--kubeconfig",
            metavar="FILE",
            envvar="KUBECONFIG",
            help="Kubeconfig file.  [default: ~/.kube/config; env: KUBECONFIG]",
        ),
        option(
            "--context",
            metavar="NAME",
            envvar="GCLOUD_PK_CONTEXT",
            help="Context to act with.  [default: the current one; env: GCLOUD_PK_CONTEXT]",
        ),
        option(
            "--verify-context",
            metavar="NAME",
            envvar="GCLOUD_PK_VERIFY_CONTEXT",
            help="Context to verify with.  [default: verifier, where there is one; env: GCLOUD_PK_VERIFY_CONTEXT]",
        ),
        option(
            "--format",
            type=_Formats(["text", "json", "junit", *draws]),
            envvar="GCLOUD_PK_FORMAT",
            shown=True,
            help="Output: text for people, json one document, junit (checks only).  "
            "[default: text; env: GCLOUD_PK_FORMAT]",
        ),
        option("-v", "--verbose", count=True, help="Say more."),
        option("--no-color", is_flag=True, help="No colours.  [env: NO_COLOR]"),
    ]


class Command(click.Command):
    """A command that accepts the global options too.

    `junit` says that it can print JUnit XML, `draws` which of dot and html it can.
    """

    def __init__(self, *args: Any, junit: bool = False, draws: tuple[str, ...] = (), **kw: Any) -> None:
        super().__init__(*args, **kw)
        self.junit = junit
        self.formats = ("text", "json", *(("junit",) if junit else ()), *draws)
        self.params.extend(_global_options(hidden=True, draws=draws))

    def invoke(self, ctx: click.Context) -> Any:
        """Refuse a format that the command does not know, then run it."""
        invocation = ctx.find_object(Invocation)
        chosen = invocation.values.get("format") if invocation else None
        if chosen and chosen not in self.formats:
            *most, last = self.formats
            others = "draw" if chosen in _DRAWN else "check"
            msg = f"--format {chosen} is for commands that {others}; this one knows {', '.join(most)} and {last}"
            raise click.UsageError(msg, ctx)
        return super().invoke(ctx)


class Group(click.Group):
    """A noun: its commands are `Command`s, and it accepts the global options."""

    command_class = Command

    def __init__(self, *args: Any, **kw: Any) -> None:
        super().__init__(*args, **kw)
        root = type(self).__name__ == "Main"
        self.params.extend(_global_options(hidden=not root))


Group.group_class = Group

pass_invocation = click.make_pass_decorator(Invocation)
