"""Gathering of a cluster: its nodes over SSH, what they answer to strangers, and what follows from both."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gcloud_pk import paths
from gcloud_pk.errors import UnavailableError
from gcloud_pk.model.site import Cluster, Host, Site, Ssh
from gcloud_pk.nodes.call import Answer, ask
from gcloud_pk.nodes.check import Check, wanted
from gcloud_pk.nodes.cluster import certificates, settings, unnamed
from gcloud_pk.nodes.facts import Facts, Form
from gcloud_pk.nodes.gather import COMMAND, SECONDS, Gathered, each, gathered
from gcloud_pk.nodes.inventory import API_PORT, Route
from gcloud_pk.nodes.judge import SELF
from gcloud_pk.nodes.site_words import SECTION
from gcloud_pk.nodes.wire import way_to

OF_CLUSTER = Form(
    frozenset(
        {"node", "paths", "units", "programs", "texts", "certificates", "kubeconfigs", "missing"}
        | {"encryption", "etcd", "backup", "kubelet_file", "services"}
    )
)
"""What a node of a cluster sends."""

MADE = frozenset({"outside", "kubelet", "drift", "authentication", "recording", "admission", "authorities"})
"""Sections that are made here, of what a node sends, of what its ports show and of what the API says of it."""

_LOADED = """
import json, sys, types
for name, source in json.loads({sources!r}):
    made = types.ModuleType(name)
    sys.modules[name] = made
    exec(compile(source, name, "exec"), made.__dict__)
collector, cluster = (sys.modules[name] for name in {names!r})
collector.main(json.loads({request!r}), cluster.of_cluster)
"""
_MODULES = {
    "gcloud_pk.nodes.collector": ("nodes", "collector.py"),
    "gcloud_pk.nodes.cluster.collector": ("nodes", "cluster", "collector.py"),
}


def program(ssh: Ssh, checks: Iterable[Check], nonce: str, *, control_plane: bool, service: str | None = None) -> bytes:
    """Return the program that is sent: the collector of nodes, that of clusters, and what they are asked for.

    `service`: the API's address as a Service.
    """
    request = {
        "admin": ssh.user,
        "audit": ssh.audit_user,
        "nonce": nonce,
        "wanted": wanted(checks),
        "control_plane": control_plane,
        "service": service,
    }
    sources = [(name, paths.package(*parts).read_text(encoding="utf-8")) for name, parts in _MODULES.items()]
    made = _LOADED.format(sources=json.dumps(sources), names=tuple(_MODULES), request=json.dumps(request))
    return made.encode()


@dataclass(frozen=True)
class Asked:
    """What nodes are measured by. `flags`, `kubelet`: what the roles would give (module wanted); `now`: aware."""

    flags: Mapping[str, Mapping[str, str]]
    kubelet: Callable[[bool], Mapping[str, Any]]
    now: dt.datetime


@dataclass(frozen=True)
class Found:
    """What one host of a cluster gave. `seen`: what it answers to strangers, None where nobody looked (`unseen`)."""

    said: Gathered
    seen: Mapping[str, Any] | None = None
    unseen: str | None = None

    @property
    def host(self) -> Host:
        """Which it is."""
        return self.said.host


def gather(
    site: Site, cluster: Cluster, hosts: Sequence[Host], checks: Sequence[Check], route: Route, user: str | None = None
) -> list[Found]:
    """Ask every host of a cluster, and look at it from outside meanwhile; in the order of the hosts."""
    service = _service(cluster)
    seen = each(lambda host: _look(site, host, route), hosts)
    told = each(lambda host: _told(site, host, checks, route, user, service), hosts)
    return [Found(one.result(), *view.result()) for one, view in zip(told, seen, strict=True)]


def _service(cluster: Cluster) -> str | None:
    """Return the first address of the range of services: the API's (kube-apiserver --service-cluster-ip-range)."""
    return None if cluster.networks is None else str(ipaddress.ip_network(cluster.networks.services)[1])


def _told(
    site: Site, host: Host, checks: Sequence[Check], route: Route, user: str | None, service: str | None
) -> Gathered:
    def asked(host: Host, sent: bytes) -> Answer:
        return ask(site, host, route, COMMAND, sent, user=user or site.spec.ssh.audit_user, seconds=SECONDS)

    def made(ssh: Ssh, wanted_of: Iterable[Check], nonce: str) -> bytes:
        return program(ssh, wanted_of, nonce, control_plane=host.role == "control-plane", service=service)

    return gathered(site, host, checks, asked, made, OF_CLUSTER)


def _look(site: Site, host: Host, route: Route) -> tuple[dict[str, Any] | None, str | None]:
    try:
        way = way_to(site, host, route)
    except UnavailableError as error:
        return None, error.message
    return unnamed.look(way, API_PORT, control_plane=host.role == "control-plane"), None


def facts_of(found: Found, asked: Asked, kubelet: Mapping[str, Any] | str, cluster: Cluster) -> Facts:
    """Return all that is known of one host. `kubelet`: its configuration in force, or why the API does not say it.

    Then its file counts, where that is sure to be in force.
    """
    said = found.said.facts or Facts({})
    refused = dict(said.refused)
    values = {**said.values, **_made(said, asked, refused), SECTION: _words(cluster, found.host)}
    if found.seen is None:
        refused["outside"] = found.unseen or "nobody looked from outside"
    else:
        values["outside"] = found.seen
        for name in ("api", "kubelet", "etcd", "etcd_peers"):
            rows = found.seen.get(name) or ()
            if rows and all(row["answer"] in {"closed", "silent"} for row in rows):
                refused[f"outside.{name}"] = f"nothing answers there from outside ({rows[0]['answer']})"
    by: dict[str, str] = {}
    if isinstance(kubelet, str):
        kubelet = settings.kubelet_of_file(said.values, kubelet)
        by = {"kubelet": SELF}
    if isinstance(kubelet, str):
        refused["kubelet"] = kubelet
        refused["drift.kubelet"] = kubelet
    else:
        values["kubelet"] = kubelet
        values["drift"]["kubelet"] = settings.out_of_kubelet(asked.kubelet(said.shared_kernel), kubelet)
    return replace(said, values=values, refused=refused, by=by)


def _words(cluster: Cluster, host: Host) -> dict[str, Any]:
    """Return what checks may name by `$`: texts of the site."""
    return {"version": cluster.version or "", "endpoint": cluster.endpoint_host or "", "host": host.name}


def _mapping(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = values.get(name)
    return found if isinstance(found, Mapping) else {}


def _made(said: Facts, asked: Asked, refused: dict[str, str]) -> dict[str, Any]:
    """Return the sections that follow from what a node says. What rests on something refused is refused too."""
    programs, texts = _mapping(said.values, "programs"), _mapping(said.values, "texts")
    pem, kubeconfigs = _mapping(said.values, "certificates"), _mapping(said.values, "kubeconfigs")
    flags = _mapping(_mapping(programs, "kube-apiserver"), "flags")
    for name in ("recording", "admission", "authentication"):
        if "texts" in refused or "programs" in refused:
            refused[name] = refused.get("texts") or refused["programs"]
    for name in ("manifests", "roles"):
        if "texts" in refused or "programs" in refused:
            refused[f"drift.{name}"] = refused.get("texts") or refused["programs"]
    if "certificates" in refused or "programs" in refused:
        refused["authorities"] = refused.get("certificates") or refused["programs"]
    if "encryption.providers" in refused:
        refused["encryption.first"] = refused["encryption.providers"]
    encryption = _mapping(said.values, "encryption")
    providers = encryption.get("providers")
    first = providers[0] if isinstance(providers, list) and providers else None
    etcd = _mapping(_mapping(programs, "etcd"), "flags")
    return {
        "encryption": {**encryption, "first": first},
        "certificates": certificates.rows(pem, kubeconfigs, asked.now),
        "authorities": {"of_etcd": certificates.of_etcd(etcd, pem)},
        "authentication": {"open": settings.open_paths(flags, texts)},
        "recording": settings.recorded(flags, texts),
        "admission": settings.admission(flags, texts),
        "drift": {
            "manifests": settings.out_of_manifests(programs, texts),
            "roles": settings.out_of_roles(programs, asked.flags),
        },
    }
