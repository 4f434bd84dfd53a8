"""`gcloud-pk datacenter forget`: the stack lets go of a cluster whose machines are lost, and touches none of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gcloud_pk.commands.base import Command, Invocation, pass_invocation
from gcloud_pk.commands.connection import open_registry
from gcloud_pk.commands.datacenter_life import Surroundings, on_stack
from gcloud_pk.commands.node import cluster_of, ssh_config_of
from gcloud_pk.errors import RefusedError
from gcloud_pk.text import in_line, number_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gcloud_pk.model.site import Site


@click.command(cls=Command)
@on_stack
@click.option("--cluster", "name", metavar="NAME", required=True, help="Which cluster of the site.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask for the cluster's name.")
@pass_invocation
def forget(
    invocation: Invocation,
    site_name: str,
    backend_url: str | None,
    engine_file: Path | None,
    ssh_config: Path | None,
    name: str,
    yes: bool,
) -> None:
    """Have the stack forget a cluster whose machines are lost, or were made anew. No machine is touched.

    `up` never begins a cluster anew in the place of one that it made, and lets no machine go that etcd
    needs. After the loss of all control planes that is in the way: this forgets the cluster and its
    machines, and the next `up` takes the site's machines for new ones (docs/backup.md, New machines).

    Refused while any machine of it still carries the cluster; to take one down that lives: `destroy`.
    """
    around = Surroundings(invocation, site_name, backend_url, engine_file, ssh_config)
    console = invocation.console
    ready = around.ready(open_registry(invocation), writes=True)
    with around.open(ready, f"forget of cluster {name}") as one:
        from gcloud_pk.stack.forgetting import members

        former = members(one.resources(), name)
        if not former:
            cluster_of(ready.site, name)
        silent = _require_lost(invocation, ready.site, name, former, ssh_config)
        for host, why in silent.items():
            console.warn(f"{host} does not say what it carries; it must not come back as it was: {in_line(why)}")
        console.confirm_name(f"Forget cluster {name} of site {site_name}?", "cluster", name, yes=yes)
        count = one.forget(name)
    if console.machine:
        outcome = "forgotten" if count else "unchanged"
        console.document({"site": site_name, "cluster": name, "outcome": outcome, "silent": sorted(silent)})
    elif count:
        console.show(f"Site {site_name}: cluster {name} and {number_of(len(former), 'machine')} are forgotten.")
        console.note(f"next: gcloud-pk datacenter up {site_name}; with keys of a snapshot first: docs/backup.md")
    else:
        console.show(f"Site {site_name}: the stack knows no cluster {name}.")


def _require_lost(
    invocation: Invocation,
    site: Site,
    cluster: str,
    former: Mapping[str, Mapping[str, Any]],
    ssh_config: Path | None,
) -> dict[str, str]:
    """See that no machine carries the cluster; return why some do not say so. Raises RefusedError."""
    from gcloud_pk.model.site import Host
    from gcloud_pk.stack.recovery import doors
    from gcloud_pk.stack.recovery.traces import traces

    way = ssh_config_of(invocation, site.metadata.name, ssh_config)
    now = {host.name: host for host in site.spec.hosts if host.cluster == cluster or host.name in former}
    before = {name: Host.model_validate(document) for name, document in former.items() if document}
    others = [host for host in before.values() if host.name not in now or host.address != now[host.name].address]
    alive: list[str] = []
    silent: dict[str, str] = {}
    for hosts in (list(now.values()), others):
        with doors.of(site, hosts, way) as ways:
            carried, unsaid = traces(ways)
        where = {host.name: f"{host.name} ({host.address})" for host in hosts}
        alive += [
            f"{where[name]} still carries it: {in_line(', '.join(found))}" for name, found in carried.items() if found
        ]
        silent |= {where[name]: why for name, why in unsaid.items()}
    if alive:
        raise RefusedError(
            f"cluster {cluster} is not lost; nothing was forgotten",
            details=alive,
            resolution=f"mend it; or take it down: gcloud-pk datacenter destroy {site.metadata.name}",
        )
    return silent
