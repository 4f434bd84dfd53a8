"""`gcloud-pk datacenter status | kubeconfig`: what a site's clusters are like, and the way into them."""

from __future__ import annotations

import datetime as dt
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gcloud_pk.commands.base import Command, Invocation, pass_invocation
from gcloud_pk.commands.connection import open_registry
from gcloud_pk.commands.datacenter_life import Surroundings, on_stack
from gcloud_pk.commands.node import ssh_config_of
from gcloud_pk.errors import ExitCode, GcloudPkError, NotCheckedError, RefusedError, UnavailableError
from gcloud_pk.text import in_line, stamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gcloud_pk.cluster.transport import Api
    from gcloud_pk.console import Console
    from gcloud_pk.model.site import Site
    from gcloud_pk.stack.backend import Place
    from gcloud_pk.stack.session import Session
    from gcloud_pk.stack.status import ClusterState

_PATIENCE = 5.0
"""Seconds that an API gets to answer."""


@click.command(cls=Command)
@on_stack
@pass_invocation
def kubeconfig(
    invocation: Invocation, site_name: str, backend_url: str | None, engine_file: Path | None, ssh_config: Path | None
) -> None:
    """Write the kubeconfig of the site's clusters (0600) and print its path.

    Contexts: admin, onboarder, verifier, auditor; of several clusters CLUSTER.admin and so on.

    \b
    export KUBECONFIG=$(gcloud-pk datacenter kubeconfig isb-1)
    """  # noqa: D301 - Click reads the backspace as: keep these lines
    from gcloud_pk.cluster.kubeconfig import contexts
    from gcloud_pk.programs import files

    around = Surroundings(invocation, site_name, backend_url, engine_file, ssh_config)
    ready = around.ready(open_registry(invocation), writes=False)
    with around.open(ready, "kubeconfig") as one:
        text = _kubeconfig(ready.site, _kept(one))
    path = ready.place.kubeconfig
    files.write(path, text)
    if invocation.console.machine:
        invocation.console.document({"site": site_name, "kubeconfig": str(path), "contexts": contexts(str(path))})
    else:
        click.echo(str(path))


@click.command(cls=Command)
@on_stack
@pass_invocation
def status(
    invocation: Invocation, site_name: str, backend_url: str | None, engine_file: Path | None, ssh_config: Path | None
) -> int:
    """Say how the site's clusters are: nodes, control plane, etcd, certificates. Reads only.

    Exit 0 where all is well, 6 where something is down.
    """
    from gcloud_pk.nodes import record
    from gcloud_pk.stack import status as states

    console = invocation.console
    around = Surroundings(invocation, site_name, backend_url, engine_file, ssh_config)
    ready = around.ready(open_registry(invocation), writes=False)
    site = ready.site
    with around.open(ready, "status") as one:
        ways = _ways(site, ready.place, _kept(one))
    reach = ssh_config_of(invocation, site_name, ssh_config)
    found = [
        states.look(site, cluster, ways.get(cluster.name, _unmade(site_name)), reach)
        for cluster in site.spec.clusters
        if cluster.version
    ]
    if not found:
        raise NotCheckedError(
            f"site {site_name} has no cluster that was made from here",
            resolution="a cluster that is to be made says its version in the site file",
        )
    now = dt.datetime.now(dt.UTC)
    last = next((kept for _, kept in record.records(ready.place.home) if kept.get("act") == "up"), None)
    faults = [fault for one_of in found for fault in one_of.faults(now)]
    if console.machine:
        last_up = {key: last.get(key) for key in ("started", "finished", "outcome", "operator")} if last else None
        clusters = [one_of.as_dict(now) for one_of in found]
        console.document({"site": site_name, "up": not faults, "clusters": clusters, "lastUp": last_up})
    else:
        for one_of in found:
            _show(console, one_of, now)
        if last:
            console.show(f"last up: {last.get('started')} by {in_line(last.get('operator'))}: {last.get('outcome')}")
    return ExitCode.FAILED if faults else ExitCode.DONE


def _show(console: Console, state: ClusterState, now: dt.datetime) -> None:
    console.show(f"cluster {state.name}  {state.endpoint}  Kubernetes {state.version or 'unknown'}")
    console.table(
        ("node", "role", "rack", "ready", "version", "note"),
        [
            (
                one.name,
                one.role,
                one.rack,
                {True: "yes", False: "no", None: "missing"}[one.ready],
                one.version,
                one.reason,
            )
            for one in state.nodes
        ],
    )
    if state.components or state.etcd:
        etcd = {one.name: one.healthy for one in state.etcd}
        nodes = sorted({one.node for one in state.components} | set(etcd))
        parts = {(one.node, one.name): one.ready for one in state.components}
        names = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
        console.table(
            ("control plane", *names, "etcd"),
            [(node, *(_word(parts.get((node, name))) for name in names), _word(etcd.get(node))) for node in nodes],
        )
    if state.certificates:
        first = min(state.certificates, key=lambda one: one.expires)
        console.show(f"certificates: {first.name} on {first.node} is the first to expire, on {stamp(first.expires)}")
    for text in state.warnings(now):
        console.warn(text)
    for text in state.faults(now):
        console.show_styled(console.styled(f"down: {in_line(text)}", fg="red"))


def _word(ready: bool | None) -> str:
    return {True: "up", False: "down", None: "-"}[ready]


def _unmade(site: str) -> UnavailableError:
    return UnavailableError("it was not made yet", resolution=f"gcloud-pk datacenter up {site}")


def _kept(one: Session) -> dict[str, dict[str, str]]:
    """Return the kubeconfigs that the stack keeps, by cluster and identity."""
    kept = one.outputs().get("kubeconfigs")
    known = kept.items() if isinstance(kept, dict) else ()
    return {name: texts for name, texts in known if isinstance(texts, dict) and texts}


def _kubeconfig(site: Site, kept: dict[str, dict[str, str]]) -> str:
    from gcloud_pk.stack import machines
    from gcloud_pk.stack.credentials import merged

    if not kept:
        raise RefusedError(
            f"site {site.metadata.name} has no cluster yet",
            resolution=f"gcloud-pk datacenter up {site.metadata.name}",
        )
    return merged(kept, machines.provider(site.spec.provider).api_proxy(site))


def _ways(site: Site, place: Place, kept: dict[str, dict[str, str]]) -> dict[str, Api | GcloudPkError]:
    """Return the way to each cluster's API as its administrator, or why there is none; nothing stays on the disk.

    Of those too that were made, and that the site file does not name any more. `kept`: kubeconfigs of the stack.
    """
    from gcloud_pk.cluster import kubeconfig as files
    from gcloud_pk.cluster.transport import Api

    names = dict.fromkeys([*(cluster.name for cluster in site.spec.clusters), *kept])
    try:
        text = _kubeconfig(site, kept)
    except GcloudPkError as error:
        return dict.fromkeys(names, error)
    found: dict[str, Api | GcloudPkError] = {}
    with tempfile.NamedTemporaryFile(dir=place.home, prefix=".kubeconfig-") as file:
        file.write(text.encode())
        file.flush()
        known = files.contexts(file.name)
        for name in names:
            context = f"{name}.admin" if f"{name}.admin" in known else "admin"
            try:
                # Without contexts of its own another's would be taken for it.
                whole = name in kept
                api = Api(files.load(file.name, context), patience=_PATIENCE) if whole else _unmade(site.metadata.name)
                found[name] = api
            except GcloudPkError as error:
                found[name] = error
    return found


def tenants_on(site: Site, place: Place, one: Session) -> dict[str, list[str] | str]:
    """Return the tenants of each cluster that was made, or why it does not say."""
    from gcloud_pk.cluster.answer import NotFoundError
    from gcloud_pk.cluster.kinds import TENANT

    made = _kept(one)
    found: dict[str, list[str] | str] = {}
    for name, api in _ways(site, place, made).items():
        if name not in made:
            continue
        if isinstance(api, GcloudPkError):
            found[name] = api.message
            continue
        try:
            tenants = api.get(TENANT.path()).get("items") or []
            found[name] = sorted(str(tenant["metadata"]["name"]) for tenant in tenants)
        except NotFoundError:
            found[name] = []  # no cluster of tenants: the kind is not known there
        except GcloudPkError as error:
            found[name] = error.message
    return found


def behind(site: Site, place: Place, one: Session, wished: Mapping[str, str]) -> dict[str, list[str]]:
    """Return, in words, what of each cluster is not of the release it is wished to be of. `wished`: by cluster."""
    from gcloud_pk.stack.versions import others

    made = _kept(one)
    found: dict[str, list[str]] = {}
    for name, api in _ways(site, place, made).items():
        if name not in wished:
            continue
        if isinstance(api, GcloudPkError):
            found[name] = [f"it does not say which release it is of: {api.message}"]
            continue
        try:
            settings = api.get("/api/v1/namespaces/kube-system/configmaps/kubeadm-config")
            nodes = api.get("/api/v1/nodes").get("items") or []
            found[name] = list(others(settings, nodes, wished[name]))
        except GcloudPkError as error:
            found[name] = [f"it does not say which release it is of: {error.message}"]
    return found
