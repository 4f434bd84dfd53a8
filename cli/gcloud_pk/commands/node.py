"""`gcloud-pk node`: a site's machines brought to the national baselines."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gcloud_pk.commands.base import Group, Invocation, operator_name, pass_invocation
from gcloud_pk.commands.connection import open_registry
from gcloud_pk.commands.node_waivers import waivers
from gcloud_pk.errors import (
    ExitCode,
    GcloudPkError,
    InvalidInputError,
    PartialError,
    RefusedError,
    UnavailableError,
    WrongUsageError,
)
from gcloud_pk.model.baseline import LEVELS
from gcloud_pk.text import number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gcloud_pk.model.baseline import Level
    from gcloud_pk.model.site import Cluster, Site
    from gcloud_pk.nodes.outcome import Run
    from gcloud_pk.nodes.run import Order
    from gcloud_pk.registry.folder import Registry


@click.group(cls=Group)
def node() -> None:
    """Bring the machines of a site to the national baselines, and keep account of it.

    Hosts, their addresses and their host keys stand in sites/SITE.yaml of the registry.
    """


node.add_command(waivers)


def ssh_config_option(more: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return what adds `--ssh-config`; `more` is said of it in the help."""
    return click.option(
        "--ssh-config",
        metavar="FILE",
        envvar="GCLOUD_PK_SSH_CONFIG",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help=f"ssh_config with jump hosts and keys, by `Host NAME`{more}.  "
        "[default: that of the lab, or your own; env: GCLOUD_PK_SSH_CONFIG]",
    )


def on_hosts(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which hosts, and how they are reached."""
    for option in (
        ssh_config_option("; host keys stay the site's"),
        click.option(
            "--limit",
            metavar="HOST|GROUP,…",
            multiple=True,
            help="Only these: names or addresses of hosts, racks, clusters, roles, levels.",
        ),
        click.option("--site", "site_name", metavar="SITE", required=True, help="The site, as sites/SITE.yaml has it."),
    ):
        command = option(command)
    return command


def site_of(registry: Registry, name: str) -> Site:
    """Return a site of the registry. Raises InvalidInputError, which names those that there are."""
    return registry.site(name, " with --site")


def cluster_of(site: Site, name: str | None, *, made: bool = False) -> Cluster:
    """Return the cluster of a site that is meant; without a name, the only one. Raises InvalidInputError.

    `made`: only one with control planes counts.
    """
    known = {one.name: one for one in site.spec.clusters if not made or site.spec.control_planes(one)}
    if name is None and len(known) == 1:
        return next(iter(known.values()))
    if name in known:
        return known[name]
    such, where = (" with control planes", "spec.clusters, spec.hosts") if made else ("", "spec.clusters")
    raise InvalidInputError(
        f"site {site.metadata.name} has no cluster {name!r}{such}"
        if name is not None
        else f"site {site.metadata.name} has {number_of(len(known), 'cluster')}{such}",
        resolution=f"name one with --cluster: {', '.join(known)}" if known else f"a site file names them: {where}",
    )


def ssh_config_of(invocation: Invocation, site: str, given: Path | None) -> Path | None:
    """Return the ssh_config to reach a site with: the one given, else the lab's where the registry is a lab's own."""
    from gcloud_pk.lab.nodes import ssh_config_for

    return given or ssh_config_for(invocation.registry, site)


def writable(invocation: Invocation, registry: Registry) -> int:
    """Return the serial of the registry. Raises RefusedError where its keepers do not vouch for it; a lab's may go."""
    from gcloud_pk.lab.nodes import is_lab_registry

    trusted = registry.trust(invocation.trust)
    if trusted.trusted:
        return trusted.serial
    if not is_lab_registry(invocation.registry):
        raise RefusedError(
            f"the registry {registry.path} is not trusted: {trusted.reason}",
            resolution="name the signers of the registry with --trust FILE (kept outside the registry); "
            "without trust only a lab's nodes are written to",
        )
    invocation.console.warn(f"the registry is not trusted ({trusted.reason}); going on because it is a lab's own")
    return 0


def home_of(invocation: Invocation, site: str) -> Path:
    """Return the folder of the runs over a site: the lab's where the registry is a lab's own, else the user's."""
    from gcloud_pk.lab.nodes.layout import of_registry
    from gcloud_pk.nodes import record

    lab = of_registry(invocation.registry)
    return lab.runs(site) if lab else record.folder(site)


@node.command()
@on_hosts
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    help="Up to this level, in place of each host's own (of the site, its data and its entry).",
)
@click.option("--check", is_flag=True, help="Change nothing; say what would change.")
@click.option("--diff", is_flag=True, help="Show the differences of files.")
@click.option("--tags", metavar="ROLE|CONTROL,…", multiple=True, help="Only these roles or controls.")
@click.option(
    "--accept-state", is_flag=True, help="Take the files as they are now for AIDE's record, what it reported included."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@pass_invocation
def harden(
    invocation: Invocation,
    site_name: str,
    limit: tuple[str, ...],
    ssh_config: Path | None,
    level: Level | None,
    check: bool,
    diff: bool,
    tags: tuple[str, ...],
    accept_state: bool,
    yes: bool,
) -> int:
    """Bring the hosts of a site to the baseline, by Ansible over SSH.

    What is so already stays as it is; a run that failed or was stopped is run again, and goes on.
    Host keys come from the site: a host that shows another is not spoken to. A record of each run
    is kept (gcloud-pk node runs).

    Exit 0, 5 where nothing was written because hosts do not answer or may not be written to, 8 where
    some hosts are done and others not.

    \b
    gcloud-pk node harden --site isb-1 --check --diff
    gcloud-pk node harden --site isb-1 --limit rack-1,db-7
    """  # noqa: D301 - Click reads the backspace as: keep these lines
    from gcloud_pk.nodes.inventory import below, select
    from gcloud_pk.nodes.run import Order

    console = invocation.console
    registry = open_registry(invocation)
    site = site_of(registry, site_name)
    # Trust before content: hosts that nobody vouches for are not even named.
    serial = writable(invocation, registry) if not check else registry.trust(invocation.trust).serial
    hosts = select(site, limit)
    chosen = known_tags(tags, accept_state=accept_state)
    if level and (short := below(site, hosts, level)):
        console.warn(f"{level} is less than the data of these hosts ask for: {', '.join(short[:20])}")
    order = Order(
        site,
        hosts,
        ssh_config_of(invocation, site_name, ssh_config),
        level,
        check=check,
        diff=diff,
        tags=chosen,
        accept_state=accept_state,
    )
    if not check:
        from gcloud_pk.lab.nodes import is_lab_registry

        _agreed(invocation, order, yes=yes or is_lab_registry(invocation.registry))
    return run_harden(invocation, order, home_of(invocation, site_name), site_files(registry, site), serial)


def site_files(registry: Registry, site: Site) -> dict[str, bytes]:
    """Return the bytes that say which hosts there are, by path: the site's file and its tables."""
    said = site.spec.tables.model_dump(exclude_none=True).values()
    names = [f"{site.metadata.name}.yaml", *sorted(str(name) for name in said)]
    return {f"sites/{name}": registry.governance.files[f"sites/{name}"] for name in names}


@node.command("reboot-check")
@on_hosts
@pass_invocation
def reboot_check(invocation: Invocation, site_name: str, limit: tuple[str, ...], ssh_config: Path | None) -> int:
    """Say what a reboot would change on the hosts of a site. Reads only.

    Kernel, boot parameters, kernel parameters, modules, units and mounts: as they are against as
    they would be; programs that still run what was replaced; the machine's own notice.

    Exit 0, 5 where no host answers, 7 where some do not.
    """
    from gcloud_pk.commands.node_reboot import check
    from gcloud_pk.nodes.inventory import select

    registry = open_registry(invocation)
    registry.trust(invocation.trust)
    site = site_of(registry, site_name)
    return check(invocation.console, site, select(site, limit), ssh_config_of(invocation, site_name, ssh_config))


@node.command()
@click.option("--site", "site_name", metavar="SITE", required=True, help="The site.")
@click.option("--last", type=click.IntRange(min=1), default=20, show_default=True, help="How many at most.")
@pass_invocation
def runs(invocation: Invocation, site_name: str, last: int) -> None:
    """List the runs over a site that were started on this machine, the newest first."""
    from gcloud_pk.nodes import record

    console = invocation.console
    home = home_of(invocation, site_of(open_registry(invocation), site_name).metadata.name)
    busy = record.busy(home)
    found = record.records(home)[:last]
    for number, (_, kept) in enumerate(found):
        # One that says running while nobody holds the lock was killed.
        if kept.get("outcome") == "running" and (number or not busy):
            kept["outcome"] = "killed"
    if console.machine:
        console.document({"site": site_name, "runs": [{"run": name, **kept} for name, kept in found]})
        return
    rows = [
        (
            name,
            "check" if kept.get("check") else "harden",
            kept.get("operator"),
            kept.get("outcome"),
            kept.get("summary"),
        )
        for name, kept in found
    ]
    console.table(("run", "what", "operator", "outcome", "summary"), rows)
    console.note(f"records: {home / 'runs'}")


def _agreed(invocation: Invocation, order: Order, *, yes: bool) -> None:
    levels = sorted({order.level or order.site.spec.level_of(host) for host in order.hosts})
    names = ", ".join(host.name for host in order.hosts[:10]) + (" …" if len(order.hosts) > 10 else "")
    invocation.console.confirm(
        f"Harden {number_of(len(order.hosts), 'host')} of site {order.site.metadata.name} to {', '.join(levels)} "
        f"({names}){', and accept their files as they are' if order.accept_state else ''}?",
        yes=yes,
    )


def known_tags(tags: tuple[str, ...], *, accept_state: bool = False) -> tuple[str, ...]:
    """Return tags one by one.

    Raises InvalidInputError for one that no role and no control has, or that no task serves; WrongUsageError where a
    state is to be accepted and the role that does it is left out.
    """
    from gcloud_pk.nodes.tags import standard

    chosen = standard().chosen(tags) if tags else ()
    if accept_state and chosen and "file_integrity" not in chosen:
        raise WrongUsageError(
            "--accept-state is the work of role file_integrity, and --tags leaves it out",
            resolution=f"add it: --tags {','.join((*chosen, 'file_integrity'))}",
        )
    return chosen


def run_harden(invocation: Invocation, order: Order, home: Path, sources: Mapping[str, bytes], serial: int) -> int:
    """Run an order, show it, keep its record; return the exit code.

    `home`: where runs over the site are kept; `sources`: path → bytes of what says which hosts there are.
    """
    import hashlib

    from gcloud_pk import __version__
    from gcloud_pk.evidence.report import commit
    from gcloud_pk.nodes import record, summary
    from gcloud_pk.nodes.progress import shown
    from gcloud_pk.nodes.run import play

    console = invocation.console
    name = order.site.metadata.name
    started = record.moment()
    levels = {host.name: order.level or order.site.spec.level_of(host) for host in order.hosts}
    what = f"{'checking' if order.check else 'hardening'} {number_of(len(order.hosts), 'host')} of site {name}"
    digests = {file: hashlib.sha256(data).hexdigest() for file, data in sources.items()}
    head: dict[str, Any] = {
        "site": name,
        "check": order.check,
        "level": order.level,
        "tags": list(order.tags),
        "acceptState": order.accept_state,
        "operator": operator_name(),
        "tool": {"version": __version__, "commit": commit()},
        "playbook": {"name": order.file.name, "sha256": record.digest(order.file.parent)},
        "registry": {"path": str(invocation.registry.resolve()), "serial": serial},
        "siteFile": digests.get(f"sites/{name}.yaml"),
        "siteFiles": digests,
        "started": record.shown(started),
    }
    holder = {"operator": head["operator"], "pid": os.getpid(), "started": head["started"], "what": what}
    with record.alone(home, holder) as lock:
        kept = record.Record.begin(home, started)
        kept.write({**head, "outcome": "running", "hosts": [{"name": host.name} for host in order.hosts]})
        try:
            with shown(console, what) as tell:
                played = play(order, tell, say=console.note, held=[lock])
        except GcloudPkError as error:
            kept.write({**head, "outcome": "not-begun", "error": error.as_dict()})
            raise
        code = played.run.code(interrupted=played.interrupted)
        said = summary.words(played.run, code=code)
        full: dict[str, Any] = {
            **head,
            "finished": record.shown(record.moment()),
            "outcome": code.name.lower(),
            "summary": said,
            "hosts": summary.document(played.run, levels),
        }
        kept.write(full)
    if not played.run.work and not played.run.problems:
        console.warn("no task ran: no task has these tags")
    if not played.run.ended and not played.interrupted:
        console.warn("Ansible ended before the playbook did")
        for line in played.tail.splitlines()[-10:]:
            console.note(f"  {line}")
    failure = error_of(order, played.run, code, said)
    if console.machine:
        console.document({**full, "record": str(kept.path), **({"error": failure.as_dict()} if failure else {})})
    else:
        summary.show(console, played.run, levels, code=code, diff=order.diff)
        console.note(f"record: {kept.path}")
    return int(code)


class _InterruptedError(GcloudPkError):
    """Ctrl-C, SIGTERM or the end of the terminal."""

    code = ExitCode.INTERRUPTED


def error_of(order: Order, run: Run, code: int, said: str) -> GcloudPkError | None:
    """Return the error that a document of a run has; None where all went well."""
    if not code:
        return None
    kinds: dict[int, type[GcloudPkError]] = {5: UnavailableError, 8: PartialError, 130: _InterruptedError}
    details = [f"{host.host.name}: {host.diagnosis.words if host.diagnosis else host.state}" for host in run.problems]
    again = ",".join(host.host.name for host in run.problems[:20])
    mend = (
        "run it again: it goes on from here"
        if code == ExitCode.INTERRUPTED
        else "mend what `failure` of each host says"
    )
    return kinds[code](
        said,
        details=details,
        resolution=f"{mend}{':' if code == ExitCode.INTERRUPTED else ', then:'} "
        f"gcloud-pk node harden --site {order.site.metadata.name}{f' --limit {again}' if again else ''}",
    )
