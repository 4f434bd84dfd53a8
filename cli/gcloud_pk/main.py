"""Entry point: the command tree, loaded as it is used, and the one boundary that turns errors into exit codes."""

from __future__ import annotations

import errno
import inspect
import os
import re
import signal
import sys
import traceback
from typing import NoReturn

import click

from gcloud_pk import __version__
from gcloud_pk.commands.base import GLOBAL_OPTIONS_HELP, Group, Invocation
from gcloud_pk.errors import ExitCode, GcloudPkError, UnavailableError, WrongUsageError
from gcloud_pk.text import as_json, escape

# noun → (module, what it is for): the help page and the completion need no import of the modules.
NOUNS: dict[str, str] = {
    "lab": "A real control plane on this machine, to try everything with",
    "registry": "The folder of requests, approvals and sites: make, check, sign",
    "organisation": "Who may ask for a tenant: add, list with what each holds",
    "approver": "Who may approve: add, revoke, list",
    "request": "Ask for a tenant; validate, submit, approve or reject",
    "waiver": "Exceptions that expire: propose, approve, list, end",
    "cluster": "Prepare a cluster for tenants; register it for a site",
    "onboard": "Bring approved requests to the cluster: plan, apply, verify",
    "tenant": "List, show, compare, verify and offboard tenants",
    "datacenter": "A data centre from its site file: judge, draw, provision",
    "node": "Harden the nodes of a site; what a reboot would change",
    "audit": "Audits of tenants, clusters and nodes; reads only",
    "schema": "JSON Schema of every kind, for editors and CI",
    "completion": "Print the shell completion for bash, zsh or fish",
}

_EPILOG = """\b
Start here:
  gcloud-pk lab up                                a control plane on this machine
  export KUBECONFIG=$(gcloud-pk lab kubeconfig)
  ssh-keygen -t ed25519 -N '' -f approver         an approver's key
  gcloud-pk registry init ./registry --organisations examples/registry/organisations.yaml \\
    --sites examples/registry/sites --approver approver@ntc.gov.pk=approver.pub
  gcloud-pk request new -o moitt.yaml             answer questions, get a request
  gcloud-pk request submit moitt.yaml
  gcloud-pk request approve moitt --key approver
  gcloud-pk onboard moitt                         plan, confirm, apply, verify
  gcloud-pk tenant list

\b
Exit codes: 0 done, 2 usage, 3 invalid input, 4 refused, 5 something needed is missing,
6 a check failed, 7 not everything could be checked, 8 stopped half way (run again), 130 interrupted.
Guide: docs/README.md. `gcloud-pk NOUN --help` explains each command.
"""


class Main(Group):
    """The root: nouns are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - Click's signature
        """Return the nouns in the order of use."""
        return list(NOUNS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002 - Click's signature
        """Import a noun's module and return its command."""
        if name not in NOUNS:
            return None
        from importlib import import_module

        command = getattr(import_module(f"gcloud_pk.commands.{name}"), name)
        assert isinstance(command, click.Command)  # noqa: S101 - a noun's module defines its command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest noun where there is no such one."""
        if args and args[0] not in NOUNS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], NOUNS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else " See gcloud-pk --help."
            ctx.fail(f"No such command '{args[0]}'.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - Click's
        """Write the nouns from the table above, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(NOUNS.items()))


@click.group(
    cls=Main, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="gcloud-pk")
def cli() -> None:
    """Onboard ministries as isolated tenants of the government cloud, and prove the isolation.

    A request (YAML, signed by approvers) becomes namespaces, quotas, network rules and admission
    policies on a Kubernetes cluster; `tenant verify` shows that the walls stand.
    """


cli.help = inspect.cleandoc(cli.help or "") + "\n\n" + GLOBAL_OPTIONS_HELP


_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
# What must stand in no report, wherever an exception's text has it from.
_SECRET = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)|(?i:bearer) [^\s'\"]+", re.DOTALL
)


class _StoppedError(GcloudPkError):
    """Ctrl-C or SIGTERM, where the command had no more to say about it."""

    code = ExitCode.INTERRUPTED


def _report(error: GcloudPkError, machine: bool) -> None:
    if machine:
        click.echo(as_json({"error": error.as_dict()}))
    click.echo(f"error: {escape(error.message)}", err=True)
    for detail in error.details:
        click.echo(f"  {escape(detail)}", err=True)
    if error.resolution:
        click.echo(f"what to do: {escape(error.resolution)}", err=True)


def _wants_machine(argv: list[str]) -> bool:
    """Whether `--format json` stands anywhere: parsing itself may be what failed."""
    chosen = os.environ.get("GCLOUD_PK_FORMAT", "text")
    for i, word in enumerate(argv):
        if word == "--":
            break
        if word == "--format" and i + 1 < len(argv):
            chosen = argv[i + 1]
        elif word.startswith("--format="):
            chosen = word.partition("=")[2]
    return chosen == "json"


def main(argv: list[str] | None = None) -> int:
    """Run one command line; return its exit code. Never raises for an expected error."""
    argv = sys.argv[1:] if argv is None else argv
    machine = _wants_machine(argv)
    stdout = sys.stdout
    try:
        result = cli.main(args=argv, prog_name="gcloud-pk", standalone_mode=False, obj=Invocation())
        return int(result) if isinstance(result, int) else ExitCode.DONE
    except GcloudPkError as error:
        _report(error, machine)
        return int(error.code)
    except click.exceptions.Exit as request:
        return request.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        _report(_StoppedError("interrupted"), machine)
        return ExitCode.INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        # Who gives no command asks what there is.
        if machine or error.ctx is None:
            _report(WrongUsageError("a command is missing", resolution="see gcloud-pk --help"), machine)
        else:
            click.echo(error.ctx.get_help(), err=True)
        return ExitCode.USAGE
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "gcloud-pk"
        _report(WrongUsageError(error.format_message(), resolution=f"see {where} --help"), machine)
        return ExitCode.USAGE
    except click.ClickException as error:
        _report(WrongUsageError(error.format_message()), machine)
        return ExitCode.USAGE
    except SystemExit:
        if sys.stdout is stdout:
            raise  # shell completion
        # Click puts another stream in its place when the reader has left (`| head`). That is no defect, and not
        # "done" either: a verdict may have gone unread.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
        return ExitCode.INTERRUPTED
    except OSError as error:
        if error.errno not in _NO_ROOM:
            _defect(error, machine)
            return ExitCode.DEFECT
        _report(
            UnavailableError(
                f"cannot write: {error.strerror}", resolution="free some space, then run the same command again"
            ),
            machine=False,  # standard output itself may be what is full
        )
        return ExitCode.UNAVAILABLE
    except Exception as error:  # noqa: BLE001 - the last line of defence: a defect is named as one
        _defect(error, machine)
        return ExitCode.DEFECT


def _defect(error: Exception, machine: bool) -> None:
    if os.environ.get("GCLOUD_PK_DEBUG") or "-v" in sys.argv:
        click.echo(escape(_SECRET.sub("(withheld)", "".join(traceback.format_exception(error)))), err=True)
    last = traceback.extract_tb(error.__traceback__)[-1] if error.__traceback__ else None
    where = f" at {last.filename}:{last.lineno}" if last else ""
    said = _SECRET.sub("(withheld)", str(error))
    report = GcloudPkError(
        f"a defect in gcloud-pk {__version__}: {type(error).__name__}: {said}{where}",
        resolution="please report it with the output of the same command under GCLOUD_PK_DEBUG=1",
    )
    _report(report, machine)


def run() -> NoReturn:
    """Console script."""
    # SIGTERM unwinds like Ctrl-C, so that locks are released and temporary files removed.
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    sys.exit(main())
