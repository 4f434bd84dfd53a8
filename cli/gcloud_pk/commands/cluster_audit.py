"""`gcloud-pk audit cluster`: does a site's cluster keep to the benchmark, and is it whole? Reads only."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gcloud_pk.commands.base import Command, Invocation, operator_name, pass_invocation
from gcloud_pk.commands.connection import open_api, open_registry
from gcloud_pk.commands.node import cluster_of, on_hosts, site_of, ssh_config_of
from gcloud_pk.commands.nodes_audit import chosen, ended, unneeded
from gcloud_pk.errors import GcloudPkError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gcloud_pk.model.finding import Finding
    from gcloud_pk.model.site import Cluster
    from gcloud_pk.nodes.cluster.api import Said
    from gcloud_pk.nodes.cluster.gather import Asked


@click.command(cls=Command, junit=True)
@on_hosts
@click.option(
    "--cluster", "cluster_name", metavar="CLUSTER", help="Which of the site's clusters, where it has several."
)
@click.option(
    "--checks",
    "names",
    multiple=True,
    metavar="ID,…",
    help="Only these, by id (CIS-1.2.1, CLU-ETC-007) or control (GPK-CLU-004).",
)
@click.option("--user", metavar="USER", help="Who looks, on hosts that have no auditor yet: somebody with sudo.")
@pass_invocation
def cluster(
    invocation: Invocation,
    site_name: str,
    cluster_name: str | None,
    limit: tuple[str, ...],
    ssh_config: Path | None,
    names: tuple[str, ...],
    user: str | None,
) -> int:
    """Check a cluster of a site: against the CIS Kubernetes Benchmark 1.12, and whether it is whole.

    What is in force counts: arguments that programs run with, the kubelets' configuration as the API has
    it, modes and owners of files, certificates, what etcd really keeps, what strangers are answered. Asked of
    the services: members of etcd and how far behind they are, certificates' ends, versions, nodes and
    racks against the site file, settings against the roles', the newest backup.

    The API is asked with --context; without a way to it, what it alone can say is not-checked. Approved
    waivers (subjects node/SITE, node/SITE/HOST, cluster/SITE/CLUSTER) turn a fail into waived.

    Exit 6 where something failed, 7 where something could not be checked.

    \b
    gcloud-pk audit cluster --site isb-1 --context admin
    gcloud-pk audit cluster --site isb-1 --checks GPK-CLU-005,CIS-1.2.1 --format junit
    """  # noqa: D301 - Click reads the backspace as: keep these lines
    from gcloud_pk.evidence.report import report
    from gcloud_pk.nodes.catalogue import CLUSTER, standard
    from gcloud_pk.nodes.cluster import audit, whole
    from gcloud_pk.nodes.cluster.gather import facts_of, gather
    from gcloud_pk.nodes.gather import route_to
    from gcloud_pk.nodes.inventory import select
    from gcloud_pk.nodes.waivers import exemptions

    console = invocation.console
    started = dt.datetime.now(dt.UTC)
    catalogue = standard(CLUSTER)
    registry = open_registry(invocation)
    registry.trust(invocation.trust)
    only = chosen(catalogue, names, "policies/controls/cluster/")
    site = site_of(registry, site_name)
    meant = cluster_of(site, cluster_name)
    members = site.spec.hosts_of(meant)
    hosts = [host for host in select(site, limit) if host in members]
    waivers = exemptions(registry.waivers, site_name, {*catalogue.checks, *catalogue.controls})
    checks = [one for one in catalogue.checks.values() if only is None or one.id in only]
    said = _said(invocation, meant)
    asked = _asked(meant, started)
    found: list[Finding] = []
    told = {}
    with (
        route_to(site, hosts, ssh_config_of(invocation, site_name, ssh_config)) as route,
        console.progress("audit", len(hosts)) as progress,
    ):
        for one in gather(site, meant, hosts, checks, route, user):
            host = one.host
            mine = audit.for_host(checks, host)
            told[host.name] = facts = facts_of(one, asked, said.kubelet(host.name), meant)
            found += audit.findings(one, facts, mine, catalogue, audit.of_node(site, host), waivers)
            progress.advance(note=host.name)
    everywhere = [one for one in checks if audit.is_whole(one)]
    facts = whole.facts(said, members, meant, told, asked.flags, started)
    found += audit.of_whole(facts, everywhere, catalogue, audit.of_cluster(site, meant), waivers)
    made = report(
        "cluster",
        found,
        operator=operator_name(),
        started=started,
        finished=dt.datetime.now(dt.UTC),
        omitted={*catalogue.checks, *catalogue.unchecked} - {one.id for one in checks},
    )
    made["unchecked"] = dict(catalogue.unchecked)
    made["cluster"] = _summary(meant, said, facts.values[whole.SECTION])
    return ended(console, made, found, unneeded(found, waivers))


def _said(invocation: Invocation, meant: Cluster) -> Said:
    """Return what the cluster's API says. Raises RefusedError where it is that of another cluster."""
    from gcloud_pk.nodes.cluster.api import ask, silent

    try:
        said = ask(open_api(invocation))
    except GcloudPkError as error:
        return silent(error.message)
    if meant.uid and said.uid and said.uid != meant.uid:
        raise RefusedError(
            f"this is not cluster {meant.name}: its UID is {said.uid}, the site has {meant.uid}",
            resolution="name the kubeconfig and the context of that cluster: --kubeconfig, --context",
        )
    return said


def _asked(meant: Cluster, now: dt.datetime) -> Asked:
    from gcloud_pk.nodes.cluster import wanted
    from gcloud_pk.nodes.cluster.gather import Asked
    from gcloud_pk.stack.cluster_variables import kubelet

    own = kubelet(meant)
    return Asked(wanted.flags(meant), lambda shared: wanted.kubelet(meant, own, shared_kernel=shared), now)


def _summary(meant: Cluster, said: Said, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cluster in short: what the checks of health rest on."""
    versions = facts.get("versions")
    parts: Sequence[str] = ("etcd", "backup")
    return {
        "name": meant.name,
        "uid": said.uid or meant.uid,
        "version": versions.get("api") if isinstance(versions, dict) else None,
        **{part: facts.get(part) for part in parts},
    }
