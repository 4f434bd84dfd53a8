"""`gcloud-pk lab nodes`: real Debian nodes on this machine."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from gcloud_pk.commands.base import Group, Invocation, pass_invocation
from gcloud_pk.console import Console
from gcloud_pk.errors import ExitCode, WrongUsageError

if TYPE_CHECKING:
    from gcloud_pk.lab.doctor import Finding
    from gcloud_pk.lab.nodes.life import Standing

lab_name = click.option(
    "--name", metavar="NAME", default="default", show_default=True, help="Which lab; several can run side by side."
)


_MIRROR = re.compile(r"(https?://[A-Za-z0-9\[][^\s]*|(file|copy):/[^\s]*)")
"""What apt takes as the address of an archive (sources.list(5)), of the kinds that mmdebstrap goes by."""


@click.group(cls=Group)
def nodes() -> None:
    """Run real Debian 12 nodes on this machine, to harden, audit and break.

    systemd-nspawn machines with systemd and sshd, spread over racks, in network namespaces of their own; and a
    registry with a site `lab-nodes` of them. Needs root.
    """


def _mirror(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value and not _MIRROR.fullmatch(value):
        msg = f"{value!r} is no address of a mirror; such as https://mirror.example"
        raise click.BadParameter(msg)
    return value or None


mirror_of_debian = click.option(
    "--mirror",
    metavar="URL",
    envvar="GCLOUD_PK_DEBIAN_MIRROR",
    callback=_mirror,
    help="A mirror of Debian's archive in place of http://deb.debian.org.  [env: GCLOUD_PK_DEBIAN_MIRROR]",
)


@nodes.command()
@lab_name
@click.option("--count", metavar="N", type=click.IntRange(1, 64), help="How many.  [default: as it was, or 3]")
@click.option(
    "--racks", metavar="R", type=click.IntRange(1, 64), help="Over how many racks.  [default: as it was, or 3]"
)
@click.option("--fresh", is_flag=True, help="Throw away what the nodes wrote: begin with the plain image.")
@mirror_of_debian
@pass_invocation
def up(
    invocation: Invocation, name: str, count: int | None, racks: int | None, fresh: bool, mirror: str | None
) -> None:
    """Bring the nodes up, or mend what does not run.

    The first run builds the image (about a minute); with it at hand, nodes answer after some seconds.
    What nodes wrote is kept; --count adds and removes nodes.
    """
    from gcloud_pk.lab.nodes import life

    console = invocation.console
    begun = time.monotonic()
    lab = life.up(name, life.Wish(count, racks, fresh, mirror), console)
    seconds = round(time.monotonic() - begun, 3)
    if console.machine:
        console.document({**lab.as_dict(), "seconds": seconds})
        return
    names = ", ".join(one.node.name for one in lab.nodes)
    console.show(f"lab {name}: {names} answer over SSH ({seconds:.1f} s)")
    console.show(f"  go in:     gcloud-pk lab nodes ssh{life.option(name)} {lab.nodes[0].node.name}")
    console.show(f"  registry:  export GCLOUD_PK_REGISTRY={lab.layout.registry} GCLOUD_PK_TRUST={lab.layout.trust}")
    console.show(f"  stop it:   gcloud-pk lab nodes down{life.option(name)}          (--purge removes what they wrote)")


@nodes.command()
@lab_name
@click.option("--purge", is_flag=True, help="Remove the nodes, keys and the registry too.")
@pass_invocation
def down(invocation: Invocation, name: str, purge: bool) -> None:
    """Stop the nodes; nothing of them is left on this machine but their folders.

    What they wrote stays, unless --purge.
    """
    from gcloud_pk.lab.nodes import life

    console = invocation.console
    begun = time.monotonic()
    stopped = life.down(name, purge=purge, console=console)
    tell_stopped(console, f"lab {name}", name, stopped, purged=purge, seconds=time.monotonic() - begun)


def tell_stopped(
    console: Console, lab: str, name: str, stopped: Sequence[str], *, purged: bool, seconds: float
) -> None:
    """Say which nodes of a lab were stopped. `lab`: what a person calls it."""
    if console.machine:
        console.document({"name": name, "stopped": stopped, "purged": purged, "seconds": round(seconds, 3)})
        return
    console.show(
        f"{lab}: "
        + (f"stopped {', '.join(stopped)}" if stopped else "nothing was running")
        + ("; its folder is removed" if purged else "")
    )


@nodes.command()
@lab_name
@pass_invocation
def status(invocation: Invocation, name: str) -> int:
    """Say how the nodes are, and where the lab's registry is.

    Exit 0 when all is well, 5 without such a lab, 6 when a node that should run does not answer.
    """
    from gcloud_pk.lab.nodes import life

    console = invocation.console
    lab = life.status(name)
    if console.machine:
        console.document(lab.as_dict())
        return lab.code
    said = lab.as_dict()
    tell_nodes(console, lab.nodes, said, ("site", "registry", "trust", "ssh_config"))
    console.show(f"{'approver':<10}  {said['approver']['principal']}, {said['approver']['key']}")
    if lab.code:
        console.note(f"what to do: gcloud-pk lab nodes up{life.option(name)} mends it")
    return lab.code


def tell_nodes(console: Console, nodes: Sequence[Standing], said: Mapping[str, Any], heads: Sequence[str]) -> None:
    """Show the nodes of a lab as a table, and below it what `said`, its JSON, has under each of `heads`."""
    rows = [
        (one.node.name, one.node.rack_name, one.node.address, _yes(one.running), one.pid or "-", _yes(one.answers))
        for one in nodes
    ]
    console.table(("node", "rack", "address", "runs", "pid", "answers"), rows)
    for head in heads:
        console.show(f"{head.replace('_', ' '):<10}  {said[head]}")


def _yes(value: bool) -> str:
    return "yes" if value else "no"


@nodes.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@lab_name
@click.argument("node", metavar="NODE")
@click.argument("command", metavar="[-- CMD...]", nargs=-1, type=click.UNPROCESSED)
@pass_invocation
def ssh(_invocation: Invocation, name: str, node: str, command: tuple[str, ...]) -> int:
    """Go to a node, or run a command there: `node-1` as gcloud-pk, `audit-node-1` as the audit user.

    Exits as the command does; 255 where SSH fails. Options stand before NODE.
    """
    from gcloud_pk.lab.nodes import life

    return life.execute(name, node, ssh_words(f"lab nodes ssh {node}", command))


def ssh_words(call: str, command: tuple[str, ...]) -> tuple[str, ...]:
    """Return the command to run on a node. Raises WrongUsageError for an option that stands behind the node."""
    if command and command[0].startswith("-") and command[0] != "--":
        raise WrongUsageError(
            f"{command[0]} stands behind the node",
            resolution=f"options stand before it, a command behind `--`: gcloud-pk {call} -- uptime",
        )
    return command


@nodes.command()
@pass_invocation
def doctor(invocation: Invocation) -> int:
    """Say what a lab of nodes needs, and what is missing: exit 0, or 5."""
    from gcloud_pk.lab.nodes import doctor as examination

    findings = examination.examine()
    return tell_findings(invocation.console, findings, examination.code(findings))


def tell_findings(console: Console, findings: Sequence[Finding], code: ExitCode) -> ExitCode:
    """Show what a doctor found; return `code`."""
    if console.machine:
        console.document({"well": not code, "findings": [f.as_dict() for f in findings]})
        return code
    console.table(
        ("what", "state", "found", "what to do"), [(f.subject, f.state, f.found, f.remedy or "") for f in findings]
    )
    return code
