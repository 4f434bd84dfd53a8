"""`gcloud-pk lab datacenter`: a data centre in a box, to provision by the real path."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gcloud_pk.commands.base import Group, Invocation, pass_invocation
from gcloud_pk.commands.lab_nodes import (
    lab_name,
    mirror_of_debian,
    ssh_words,
    tell_findings,
    tell_nodes,
    tell_stopped,
)
from gcloud_pk.console import Console

if TYPE_CHECKING:
    from gcloud_pk.lab.datacenter.life import Centre

_nodes = click.option(
    "--nodes", "count", metavar="N", type=click.Choice(["3", "6"]),
    help="3: control planes that take workloads; 6: three of each kind.  [default: as it was, or 6]",
)  # fmt: skip


def _programs(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where programs may come from."""
    for option in (
        click.option("--offline", is_flag=True, help="Download and build no programs."),
        click.option(
            "--programs",
            metavar="DIR",
            envvar="GCLOUD_PK_PROGRAMS",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="Folder with kubelet, kubeadm and the others.  [env: GCLOUD_PK_PROGRAMS]",
        ),
    ):
        command = option(command)
    return command


@click.group(cls=Group)
def datacenter() -> None:
    """Run the machines of a data centre here: bare Debian 12 nodes in three racks.

    With them come a registry with the site `lab-dc` that names them, and a registry of Kubernetes' images.
    `datacenter up lab-dc` then makes a cluster of them, as of any site. Needs root.
    """


@datacenter.command()
@lab_name
@_nodes
@click.option(
    "--network",
    type=click.Choice(["bridge", "cilium"]),
    help="How pods reach each other; bridge is quick and enforces no NetworkPolicy.  [default: as it was, or bridge]",
)
@click.option("--fresh", is_flag=True, help="Throw away what the nodes wrote: begin with the plain image.")
@mirror_of_debian
@_programs
@click.option("--provision", is_flag=True, help="Then make a cluster of them, as `datacenter up lab-dc --yes` does.")
@pass_invocation
def up(
    invocation: Invocation,
    name: str,
    count: str | None,
    network: str | None,
    fresh: bool,
    mirror: str | None,
    offline: bool,
    programs: Path | None,
    provision: bool,
) -> int:
    """Bring the nodes up, or mend what does not run.

    The first run builds the image and the programs; with them at hand, nodes answer after some seconds.
    --provision then hardens them, makes a cluster of them by the ordinary way, and registers its UID.
    """
    from gcloud_pk.lab.datacenter import life
    from gcloud_pk.programs import sourcing

    console = invocation.console
    begun = time.monotonic()
    wish = life.Wish(int(count) if count else None, network, fresh, mirror, sourcing.Wish(programs, None, offline))
    centre = life.up(name, wish, console)
    seconds = time.monotonic() - begun
    if not console.machine:
        _welcome(console, centre, seconds, ready=provision)
    code, provisioned = _provision(invocation, centre) if provision else (0, None)
    if console.machine:
        found = life.status(name) if provision else centre
        more = {"datacenter": provisioned} if provision else {}
        console.document({**found.as_dict(), "seconds": round(time.monotonic() - begun, 3), **more})
    return code


def _welcome(console: Console, centre: Centre, seconds: float, *, ready: bool) -> None:
    lab = centre.layout
    names = ", ".join(one.node.name for one in centre.lab.nodes)
    console.show(f"lab data centre {centre.lab.name}: {names} answer over SSH ({seconds:.1f} s)")
    console.show(f"  registry:   export GCLOUD_PK_REGISTRY={lab.registry} GCLOUD_PK_TRUST={lab.trust}")
    if not ready:
        console.show(f"  provision:  gcloud-pk datacenter up {lab.kind.site}")
    console.show(f"  go in:      {lab.call} ssh{lab.option} {centre.lab.nodes[0].node.name}")
    console.show(f"  stop it:    {lab.call} down{lab.option}          (--purge removes what they wrote)")


def _provision(invocation: Invocation, centre: Centre) -> tuple[int, dict[str, Any]]:
    """Make a cluster of the nodes, and register it; return the exit code, and what `datacenter up` says."""
    from gcloud_pk.commands.datacenter_life import provision
    from gcloud_pk.lab.datacenter import life

    lab = centre.layout
    ours = Invocation({**invocation.values, "registry": str(lab.registry), "trust": str(lab.trust)})
    code, said = provision(ours, lab.kind.site, yes=True)
    if not code:
        life.register(centre.lab.name, life.cluster_uid(centre.lab.name), invocation.console)
    return code, said


@datacenter.command()
@lab_name
@click.option("--purge", is_flag=True, help="Remove the nodes, keys, the registry and the stack's state too.")
@pass_invocation
def down(invocation: Invocation, name: str, purge: bool) -> None:
    """Stop the nodes; nothing of them is left on this machine but their folders.

    What they wrote stays, and the cluster with it, unless --purge.
    """
    from gcloud_pk.lab.datacenter import life

    console = invocation.console
    begun = time.monotonic()
    stopped = life.down(name, purge=purge, console=console)
    seconds = time.monotonic() - begun
    tell_stopped(console, f"lab data centre {name}", name, stopped, purged=purge, seconds=seconds)


@datacenter.command()
@lab_name
@pass_invocation
def status(invocation: Invocation, name: str) -> int:
    """Say how the nodes are, and where the lab's registry is.

    Exit 0 when all is well, 5 without such a lab, 6 when a node that should run does not answer.
    """
    from gcloud_pk.lab.datacenter import life

    console = invocation.console
    centre = life.status(name)
    if console.machine:
        console.document(centre.as_dict())
        return centre.code
    said = centre.as_dict()
    heads = ("site", "registry", "trust", "ssh_config", "passphrase", "network")
    tell_nodes(console, centre.lab.nodes, said, heads)
    console.show(f"{'cluster':<10}  {said['cluster']['name']}, {said['cluster']['endpoint']}")
    if centre.code:
        console.note(f"what to do: {centre.layout.call} up{centre.layout.option} mends it")
    return centre.code


@datacenter.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@lab_name
@click.argument("node", metavar="NODE")
@click.argument("command", metavar="[-- CMD...]", nargs=-1, type=click.UNPROCESSED)
@pass_invocation
def ssh(_invocation: Invocation, name: str, node: str, command: tuple[str, ...]) -> int:
    """Go to a node, or run a command there: `c1` as gcloud-pk, `audit-c1` as the audit user.

    Exits as the command does; 255 where SSH fails. Options stand before NODE.
    """
    from gcloud_pk.lab.nodes import life
    from gcloud_pk.lab.nodes.layout import DATACENTER

    return life.execute(name, node, ssh_words(f"{DATACENTER.command} ssh {node}", command), DATACENTER)


@datacenter.command()
@_nodes
@_programs
@pass_invocation
def doctor(invocation: Invocation, count: str | None, programs: Path | None, offline: bool) -> int:
    """Say what a lab data centre needs, and what is missing: exit 0, or 5."""
    from gcloud_pk.lab.datacenter import doctor as examination
    from gcloud_pk.lab.datacenter import life
    from gcloud_pk.programs import sourcing

    findings = examination.examine(int(count) if count else life.COUNT, sourcing.Wish(programs, None, offline))
    return tell_findings(invocation.console, findings, examination.code(findings))
