"""How a cluster is: its nodes and control plane as its API says, etcd and certificates as its control planes say.

What is judged is plain: a node is Ready or it is not. The referees are kubectl, `etcdctl endpoint health` and
`kubeadm certs check-expiration`.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcloud_pk.errors import GcloudPkError
from gcloud_pk.nodes.call import ask
from gcloud_pk.nodes.inventory import Route, known_hosts
from gcloud_pk.text import stamp

if TYPE_CHECKING:
    from gcloud_pk.cluster.transport import Api
    from gcloud_pk.model.site import Cluster, Host, Site

SOON = dt.timedelta(days=30)
"""A certificate that expires sooner is told of: kubeadm renews with an upgrade, and else somebody has to."""

COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")

# Public parts only: of a kubeconfig just the line with the certificate. One question, however many files.
_QUESTION = b"""\
set -u
sudo -n sh -s <<'END'
for file in /etc/kubernetes/pki/*.crt /etc/kubernetes/pki/etcd/*.crt; do
  [ -f "$file" ] || continue
  printf '== certificate %s\\n' "$file"
  cat "$file"
done
for file in /etc/kubernetes/*.conf; do
  [ -f "$file" ] || continue
  printf '== kubeconfig %s\\n' "$file"
  sed -n 's/^ *client-certificate-data: *//p' "$file"
done
printf '== etcd\\n'
PATH=$PATH:/usr/local/bin
export ETCDCTL_API=3 ETCDCTL_ENDPOINTS=https://127.0.0.1:2379
pki=/etc/kubernetes/pki/etcd
etcdctl --cacert $pki/ca.crt --cert $pki/healthcheck-client.crt --key $pki/healthcheck-client.key \\
  --dial-timeout=3s --command-timeout=5s endpoint health -w json 2>/dev/null || true
printf '\\n== end\\n'
END
"""
_SECONDS = 30.0


@dataclass(frozen=True)
class NodeState:
    """A node: of the site, of the cluster, or of both. `ready`: None where the cluster does not know it."""

    name: str
    role: str
    rack: str | None
    ready: bool | None
    version: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Component:
    """A program of the control plane on one node."""

    node: str
    name: str
    ready: bool


@dataclass(frozen=True)
class EtcdMember:
    """A member of etcd; `healthy` as it says of itself."""

    name: str
    healthy: bool
    reason: str | None = None


@dataclass(frozen=True)
class Certificate:
    """A certificate of a control plane. `name`: its file below /etc/kubernetes."""

    node: str
    name: str
    expires: dt.datetime


@dataclass
class ClusterState:
    """A cluster as it was found. `unanswered`: why the API says nothing; `silent`: control planes without an answer."""

    name: str
    endpoint: str | None
    version: str | None = None
    uid: str | None = None
    unanswered: str | None = None
    nodes: list[NodeState] = field(default_factory=list)
    components: list[Component] = field(default_factory=list)
    etcd: list[EtcdMember] = field(default_factory=list)
    certificates: list[Certificate] = field(default_factory=list)
    silent: dict[str, str] = field(default_factory=dict)

    def faults(self, now: dt.datetime) -> list[str]:
        """Return what is down, in words."""
        found = [f"the API at {self.endpoint} does not answer: {self.unanswered}"] if self.unanswered else []
        found += [f"{host} does not answer over SSH: {why}" for host, why in sorted(self.silent.items())]
        if not self.unanswered:
            for node in self.nodes:
                if node.ready is None:
                    found.append(f"{node.name} is no node of the cluster")
                elif not node.ready:
                    found.append(f"{node.name} is not Ready: {node.reason or 'no reason given'}")
        found += [f"{one.name} on {one.node} is not ready" for one in self.components if not one.ready]
        found += [f"etcd on {one.name} is not healthy: {one.reason}" for one in self.etcd if not one.healthy]
        return found + [
            f"{one.name} on {one.node} expired on {stamp(one.expires)}"
            for one in self.certificates
            if one.expires <= now
        ]

    def warnings(self, now: dt.datetime) -> list[str]:
        """Return what will be down before long."""
        return [
            f"{one.name} on {one.node} expires on {stamp(one.expires)}"
            for one in self.certificates
            if now < one.expires <= now + SOON
        ]

    def as_dict(self, now: dt.datetime) -> dict[str, Any]:
        """Return the shape of `clusters[]` in JSON."""
        return {
            "name": self.name,
            "endpoint": self.endpoint,
            "version": self.version,
            "uid": self.uid,
            "api": {"answers": self.unanswered is None, "reason": self.unanswered},
            "nodes": [
                {
                    "name": one.name,
                    "role": one.role,
                    "rack": one.rack,
                    "ready": one.ready,
                    "version": one.version,
                    "reason": one.reason,
                }
                for one in self.nodes
            ],
            "controlPlane": [{"node": one.node, "component": one.name, "ready": one.ready} for one in self.components],
            "etcd": [{"name": one.name, "healthy": one.healthy, "reason": one.reason} for one in self.etcd],
            "certificates": [
                {"node": one.node, "name": one.name, "expires": stamp(one.expires)} for one in self.certificates
            ],
            "silent": dict(self.silent),
            "faults": self.faults(now),
            "warnings": self.warnings(now),
        }


def look(site: Site, cluster: Cluster, api: Api | GcloudPkError, ssh_config: Path | None) -> ClusterState:
    """Look at a cluster. `api`: the way to it, or why there is none."""
    state = ClusterState(cluster.name, cluster.endpoint)
    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = pool.submit(_ask_control_planes, site, cluster, ssh_config)
        if isinstance(api, GcloudPkError):
            state.unanswered = api.message
        else:
            try:
                _ask_api(state, site, cluster, api)
            except GcloudPkError as error:
                state.unanswered = error.message
        for host, said in answers.result().items():
            if isinstance(said, str):
                state.silent[host] = said
            else:
                certificates, member = read(host, said)
                state.certificates += certificates
                state.etcd.append(member)
    return state


def _ask_api(state: ClusterState, site: Site, cluster: Cluster, api: Api) -> None:
    from gcloud_pk.cluster.identity import cluster_uid

    state.version = str(api.get("/version").get("gitVersion", "")).removeprefix("v") or None
    state.uid = cluster_uid(api)
    nodes = api.get("/api/v1/nodes").get("items") or []
    state.nodes = list(nodes_of(nodes, site.spec.hosts_of(cluster)))
    pods = api.get("/api/v1/namespaces/kube-system/pods", {"labelSelector": "tier=control-plane"}).get("items") or []
    state.components = list(components_of(pods))


def nodes_of(found: Sequence[Mapping[str, Any]], hosts: Sequence[Host]) -> Iterator[NodeState]:
    """Yield the site's hosts as the cluster has them, then nodes that the site does not know."""
    known = {str(node["metadata"]["name"]): node for node in found}
    for host in hosts:
        node = known.pop(host.name, None)
        if node is None:
            yield NodeState(host.name, host.role, host.rack, None)
        else:
            yield _node(node, host.role, host.rack)
    for node in known.values():
        yield _node(node, "unknown to the site", None)


def _node(node: Mapping[str, Any], role: str, rack: str | None) -> NodeState:
    status = node.get("status") or {}
    conditions = {one.get("type"): one for one in status.get("conditions") or []}
    ready = conditions.get("Ready") or {}
    is_ready = ready.get("status") == "True"
    reason = None if is_ready else str(ready.get("message") or ready.get("reason") or "it says nothing")
    version = str((status.get("nodeInfo") or {}).get("kubeletVersion", "")).removeprefix("v") or None
    if is_ready and (node.get("spec") or {}).get("unschedulable"):
        reason = "cordoned"
    return NodeState(str(node["metadata"]["name"]), role, rack, is_ready, version, reason)


def components_of(pods: Sequence[Mapping[str, Any]]) -> Iterator[Component]:
    """Yield the programs of the control plane, by node."""
    found = []
    for pod in pods:
        name = str((pod["metadata"].get("labels") or {}).get("component", ""))
        conditions = {one.get("type"): one.get("status") for one in (pod.get("status") or {}).get("conditions") or []}
        node = str((pod.get("spec") or {}).get("nodeName", ""))
        if name in COMPONENTS:
            found.append(Component(node, name, conditions.get("Ready") == "True"))
    yield from sorted(found, key=lambda one: (one.node, COMPONENTS.index(one.name)))


def _ask_control_planes(site: Site, cluster: Cluster, ssh_config: Path | None) -> dict[str, bytes | str]:
    """Return what each control plane says, untrusted; a text says why it does not."""
    hosts = site.spec.control_planes(cluster)
    if not hosts:
        return {}
    with tempfile.TemporaryDirectory(prefix="gcloud-pk-") as folder:
        known = Path(folder, "known_hosts")
        known.write_text(known_hosts(site, hosts), encoding="utf-8")
        route = Route(known, ssh_config.resolve() if ssh_config else None)

        def one(host: Host) -> bytes | str:
            answer = ask(site, host, route, "/bin/sh -s", _QUESTION, limit=1024 * 1024, seconds=_SECONDS)
            return answer.diagnosis.words if answer.diagnosis else answer.output

        with ThreadPoolExecutor(max_workers=8) as pool:
            return {host.name: said for host, said in zip(hosts, pool.map(one, hosts), strict=True)}


def read(host: str, said: bytes) -> tuple[list[Certificate], EtcdMember]:
    """Return the certificates and the member of etcd that a control plane told of."""
    text = said.decode("utf-8", "replace")
    parts = re.split(r"^== (.*)$", text, flags=re.MULTILINE)[1:]
    certificates: list[Certificate] = []
    member = EtcdMember(host, healthy=False, reason="etcdctl says nothing")
    for head, body in zip(parts[::2], parts[1::2], strict=True):
        kind, _, file = head.partition(" ")
        if kind in {"certificate", "kubeconfig"}:
            pem = body.encode() if kind == "certificate" else _decoded(body)
            if (expires := _expiry(pem)) is not None:
                certificates.append(Certificate(host, file.removeprefix("/etc/kubernetes/"), expires))
        elif kind == "etcd":
            member = _health(host, body)
    return certificates, member


def _decoded(body: str) -> bytes:
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _expiry(pem: bytes) -> dt.datetime | None:
    """Return when the first certificate of a PEM file expires; None where it holds none."""
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(pem).not_valid_after_utc
    except ValueError:
        return None


def _health(host: str, body: str) -> EtcdMember:
    """Read `etcdctl endpoint health -w json`: `[{"endpoint", "health", "took", "error"}]`."""
    try:
        first = json.loads(body)[0]
        healthy = first.get("health") is True
        return EtcdMember(host, healthy, None if healthy else str(first.get("error") or "it says no reason"))
    except (ValueError, IndexError, AttributeError, TypeError, KeyError):
        return EtcdMember(host, healthy=False, reason="etcdctl says nothing")
