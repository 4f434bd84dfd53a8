"""What a cluster's API says of it: nodes, kubelets' configuration in force, kubeadm's, rights, pods. Reads only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from gcloud_pk.cluster import kinds
from gcloud_pk.cluster.kinds import Kind
from gcloud_pk.errors import GcloudPkError

if TYPE_CHECKING:
    from gcloud_pk.cluster.transport import Api

_LISTS: Mapping[str, Kind] = {
    "nodes": kinds.NODE,
    "pods": kinds.POD,
    "namespaces": kinds.NAMESPACE,
    "network_policies": kinds.NETWORK_POLICY,
    "cluster_roles": kinds.CLUSTER_ROLE,
    "cluster_role_bindings": kinds.CLUSTER_ROLE_BINDING,
    "roles": kinds.ROLE,
    "role_bindings": kinds.ROLE_BINDING,
    "requests": Kind("certificates.k8s.io", "v1", "CertificateSigningRequest", "certificatesigningrequests", False),
}
_KUBEADM = kinds.CONFIG_MAP.path("kube-system", "kubeadm-config")
_PROXY = kinds.CONFIG_MAP.path("kube-system", "kube-proxy")


@dataclass
class Said:
    """What the API says. `lists`: objects by kind; `kubelets`: configz by node, or why not.

    `refused`: why a part is lacking; `unanswered`: why it says nothing at all; `uid`: of kube-system.
    """

    lists: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    kubelets: dict[str, Mapping[str, Any] | str] = field(default_factory=dict)
    configuration: str | None = None
    proxy: str | None = None
    version: str | None = None
    uid: str | None = None
    refused: dict[str, str] = field(default_factory=dict)
    unanswered: str | None = None

    def kubelet(self, node: str) -> Mapping[str, Any] | str:
        """Return a kubelet's configuration in force, or why the API does not say it."""
        return self.unanswered or self.kubelets.get(node) or f"the API knows no node {node}"


def silent(why: str) -> Said:
    """Return what an API says that does not answer."""
    return Said(unanswered=f"the API does not answer: {why}")


def ask(api: Api) -> Said:
    """Ask a cluster's API for all that checks rest on. What it refuses is noted, and the rest is asked all the same."""
    from gcloud_pk.cluster.identity import cluster_uid

    said = Said()
    try:
        said.version = str(api.get("/version").get("gitVersion", "")).removeprefix("v") or None
    except GcloudPkError as error:
        return silent(error.message)
    with ThreadPoolExecutor(6) as pool:
        waiting = {name: pool.submit(_tried, said, name, partial(api.list, kind)) for name, kind in _LISTS.items()}
        configuration = pool.submit(_tried, said, "configuration", partial(api.get, _KUBEADM))
        proxy = pool.submit(_tried, said, "proxy", partial(api.get, _PROXY))
        uid = pool.submit(_tried, said, "uid", partial(cluster_uid, api))
        said.lists = {name: found for name, one in waiting.items() if (found := one.result()) is not None}
        names = [str(node["metadata"]["name"]) for node in said.lists.get("nodes", ())]
        kubelets = {name: pool.submit(_kubelet, api, name) for name in names}
        said.kubelets = {name: one.result() for name, one in kubelets.items()}
        kept = configuration.result()
        said.configuration = None if kept is None else str((kept.get("data") or {}).get("ClusterConfiguration", ""))
        told = proxy.result()
        said.proxy = None if told is None else str((told.get("data") or {}).get("config.conf", ""))
        said.uid = uid.result()
    return said


def _tried(said: Said, name: str, source: Callable[[], Any]) -> Any:
    try:
        return source()
    except GcloudPkError as error:
        said.refused[name] = f"the API does not tell {name.replace('_', ' ')}: {error.message}"
        return None


def _kubelet(api: Api, node: str) -> Mapping[str, Any] | str:
    """Return `/configz` of a kubelet, by way of the API server, which checks its certificate."""
    try:
        found = api.get(f"/api/v1/nodes/{node}/proxy/configz").get("kubeletconfig")
    except GcloudPkError as error:
        return f"the API does not tell the kubelet's configuration: {error.message}"
    return found if isinstance(found, Mapping) else "the kubelet's configuration has another form than was asked for"


def names(objects: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of objects."""
    return [str(one["metadata"]["name"]) for one in objects]
