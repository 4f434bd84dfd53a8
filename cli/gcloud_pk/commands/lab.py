"""`gcloud-pk lab`: the embedded control plane."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gcloud_pk.commands.base import Group, Invocation, pass_invocation
from gcloud_pk.commands.lab_datacenter import datacenter
from gcloud_pk.commands.lab_nodes import nodes


@click.group(cls=Group)
def lab() -> None:
    """Run a real Kubernetes control plane on this machine, to try everything with.

    etcd, API server, controller manager and scheduler as processes on loopback, with their own
    certificates, RBAC, audit log and encrypted secrets. No container, no root.

    `lab nodes` runs real Debian nodes beside it, to harden and audit; `lab datacenter` a data centre of them,
    to provision.
    """


lab.add_command(nodes)
lab.add_command(datacenter)


_name = click.option(
    "--name", metavar="NAME", default="default", show_default=True, help="Which lab; several can run side by side."
)


def _sources(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where programs may come from."""
    for option in (
        click.option("--offline", is_flag=True, help="Download and build nothing."),
        click.option(
            "--mirror",
            metavar="URL",
            envvar="GCLOUD_PK_MIRROR",
            help="Base URL in place of the official downloads'.  [env: GCLOUD_PK_MIRROR]",
        ),
        click.option(
            "--programs",
            metavar="DIR",
            envvar="GCLOUD_PK_PROGRAMS",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="Folder with etcd, kube-apiserver and the others.  [env: GCLOUD_PK_PROGRAMS]",
        ),
    ):
        command = option(command)
    return command


@lab.command()
@_name
@_sources
@pass_invocation
def up(invocation: Invocation, name: str, programs: Path | None, mirror: str | None, offline: bool) -> None:
    """Start the lab, or mend it.

    What does not run is started; what runs is left alone; data are kept.

    The first run looks for the programs in --programs, on PATH, in the cache, at the official
    downloads, and builds from source what is still missing (about 5 minutes on two cores).
    """
    from gcloud_pk.lab import controlplane

    console = invocation.console
    begun = time.monotonic()
    found = controlplane.up(name, wish=controlplane.Wish(programs, mirror, offline), console=console)
    seconds = round(time.monotonic() - begun, 3)
    if console.machine:
        console.document({**found.as_dict(), "seconds": seconds})
        return
    option = "" if name == "default" else f" --name {name}"
    console.show(f"lab {name} is up at {found.server} ({seconds:.1f} s)")
    console.show(f"  use it:   export KUBECONFIG={found.kubeconfig}")
    console.show(f"  stop it:  gcloud-pk lab down{option}          (--purge removes its data)")


@lab.command()
@_name
@click.option("--purge", is_flag=True, help="Remove its data, keys and logs too.")
@pass_invocation
def down(invocation: Invocation, name: str, purge: bool) -> None:
    """Stop the lab. Its data stay, unless --purge."""
    from gcloud_pk.lab import controlplane

    console = invocation.console
    begun = time.monotonic()
    stopped = controlplane.down(name, purge=purge, console=console)
    if console.machine:
        console.document(
            {"name": name, "stopped": stopped, "purged": purge, "seconds": round(time.monotonic() - begun, 3)}
        )
        return
    console.show(
        f"lab {name}: "
        + (f"stopped {', '.join(stopped)}" if stopped else "nothing was running")
        + ("; its folder is removed" if purge else "")
    )


@lab.command()
@_name
@pass_invocation
def status(invocation: Invocation, name: str) -> int:
    """Say how the lab is.

    Exit 0 when all is well, 5 without such a lab, 6 when something that should run does not.
    """
    from gcloud_pk.lab import controlplane

    console = invocation.console
    found = controlplane.status(name)
    if console.machine:
        console.document(found.as_dict())
        return found.code
    words = "serves" if found.ready and found.running else "should run and does not" if found.wanted else "is stopped"
    console.show(f"lab {name} {words}  {found.server}")
    rows = []
    for program, entry in found.programs.items():
        process = found.processes.get(program)  # kubectl is yours to run
        runs = "-" if process is None else "yes" if process["running"] else "no"
        rows.append((program, entry["version"], (process or {}).get("pid") or "-", runs, entry["path"]))
    console.table(("program", "version", "pid", "runs", "from"), rows)
    console.show(f"kubeconfig  {found.kubeconfig}")
    console.show(f"audit log   {found.as_dict()['audit_log']}")
    if found.code:
        console.note("what to do: gcloud-pk lab up" + ("" if name == "default" else f" --name {name}") + " mends it")
    return found.code


@lab.command()
@_name
@click.option(
    "--group",
    "groups",
    metavar="GROUP",
    multiple=True,
    help="Make one with a client certificate of this group, to be a tenant with; repeat for several.",
)
@click.option("--user", metavar="NAME", help="The user's name in that certificate.  [default: lab-user]")
@pass_invocation
def kubeconfig(invocation: Invocation, name: str, groups: tuple[str, ...], user: str | None) -> None:
    """Print the path of the lab's kubeconfig.

    Its contexts: onboarder (current), verifier, auditor, admin. With --group, make one of that
    group, good for eight hours, and print its path.
    """
    from gcloud_pk.lab import controlplane

    console = invocation.console
    found = controlplane.status(name)
    path = controlplane.tenant_kubeconfig(found, groups, user) if groups or user else found.kubeconfig
    if console.machine:
        console.document({"name": name, "kubeconfig": str(path), "groups": list(groups)})
    else:
        console.show(str(path))


@lab.command()
@_name
@_sources
@pass_invocation
def doctor(invocation: Invocation, name: str, programs: Path | None, mirror: str | None, offline: bool) -> int:
    """Say what a lab needs, and what is missing.

    Exit 0, or 5 when something is missing that `lab up` cannot bring itself.
    """
    from gcloud_pk.lab import doctor as examination
    from gcloud_pk.programs.sourcing import Wish

    console = invocation.console
    findings = examination.examine(name, Wish(programs, mirror, offline))
    code = examination.code(findings)
    if console.machine:
        console.document({"name": name, "well": not code, "findings": [f.as_dict() for f in findings]})
        return code
    console.table(
        ("what", "state", "found", "what to do"), [(f.subject, f.state, f.found, f.remedy or "") for f in findings]
    )
    return code
