"""The cluster as a whole: its API, its etcd and its site file held against each other. Pure."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gcloud_pk.cluster.readiness import is_ready
from gcloud_pk.model.site import Cluster, Host
from gcloud_pk.nodes.cluster import settings
from gcloud_pk.nodes.cluster.api import Said, names
from gcloud_pk.nodes.cluster.pods import liberties
from gcloud_pk.nodes.cluster.rights import holders, wildcards
from gcloud_pk.nodes.facts import Facts

SECTION = "cluster"
"""The section of facts that is of no single node."""

OLDER_MINORS = 3
"""How many minor releases a kubelet may be older than the API server (Kubernetes: Version Skew Policy)."""

_WITHOUT_POLICY = frozenset({"kube-node-lease", "kube-public", "kube-system"})
_NEED = {
    "nodes": "nodes",
    "versions": "nodes",
    "rights": "cluster_role_bindings",
    "wildcards": "cluster_roles",
    "pods": "pods",
    "unguarded": "network_policies",
    "pending": "requests",
    "drift": "configuration",
    "proxy_measures": "proxy",
}
"""What of the API each fact rests on."""


def facts(
    said: Said,
    hosts: Sequence[Host],
    cluster: Cluster,
    told: Mapping[str, Facts],
    wanted: Mapping[str, Mapping[str, str]],
    now: dt.datetime,
) -> Facts:
    """Return the section `cluster`. `told`: what its nodes say, by name; `wanted`: the flags that the roles give."""
    refused: dict[str, str] = {}
    values: dict[str, Any] = {"plugin": cluster.network_plugin}
    made: dict[str, Callable[[], Any]] = {
        "nodes": lambda: nodes(said.lists["nodes"], hosts),
        "versions": lambda: versions(said, cluster),
        "rights": lambda: holders(said.lists),
        "wildcards": lambda: wildcards(said.lists),
        "pods": lambda: liberties(said.lists["pods"]),
        "unguarded": lambda: unguarded(said.lists),
        "pending": lambda: pending(said.lists["requests"]),
        "drift": lambda: drift(said.configuration or "", cluster, wanted),
        "proxy_measures": lambda: proxy_measures(said.proxy or ""),
    }
    for name, make in made.items():
        why = said.unanswered or said.refused.get(_NEED[name])
        if why:
            refused[f"{SECTION}.{name}"] = why
        else:
            values[name] = make()
    values["etcd"], why = etcd(told, [host.name for host in hosts if host.role == "control-plane"])
    if why:
        refused[f"{SECTION}.etcd"] = why
    values["authorities"] = authorities(told)
    if values["authorities"] is None:
        refused[f"{SECTION}.authorities"] = "no control plane tells of its certificates"
    values["backup"] = backup(told, said.uid or cluster.uid, now)
    if values["backup"] is None:
        refused[f"{SECTION}.backup"] = "no backup of this cluster is known"
    return Facts({SECTION: values}, refused)


def nodes(found: Sequence[Mapping[str, Any]], hosts: Sequence[Host]) -> dict[str, list[str]]:
    """Return how the cluster's nodes differ from the site's hosts, and which are not well."""
    known = {str(node["metadata"]["name"]): node for node in found}
    wrong: dict[str, list[str]] = {
        "missing": [host.name for host in hosts if host.name not in known],
        "unknown": sorted(set(known) - {host.name for host in hosts}),
        "not_ready": [name for name, node in sorted(known.items()) if not is_ready(node)],
        "cordoned": [name for name, node in sorted(known.items()) if (node.get("spec") or {}).get("unschedulable")],
        "misplaced": [],
    }
    for host in hosts:
        labels = known.get(host.name, {}).get("metadata", {}).get("labels") or {}
        addresses = [
            one.get("address") for one in (known.get(host.name, {}).get("status") or {}).get("addresses") or ()
        ]
        if host.name not in known:
            continue
        rack = labels.get("gcloud.gov.pk/rack") or labels.get("topology.kubernetes.io/zone")
        if host.rack and rack != host.rack:
            wrong["misplaced"].append(f"{host.name} is labelled as in rack {rack}, the site has {host.rack}")
        if ("node-role.kubernetes.io/control-plane" in labels) is not (host.role == "control-plane"):
            wrong["misplaced"].append(f"{host.name} is {host.role} in the site, and not so in the cluster")
        if host.address not in addresses:
            wrong["misplaced"].append(f"{host.name} has {host.address} in the site, {addresses} in the cluster")
    return wrong


def _minor(version: str) -> int | None:
    match = re.match(r"v?1\.([0-9]{1,4})\.", version)
    return int(match[1]) if match else None


def versions(said: Said, cluster: Cluster) -> dict[str, Any]:
    """Return versions that do not fit: `skew` by Kubernetes' policy, `other` than the site's."""
    api = said.version or ""
    found = {f"API server at {cluster.endpoint}": api}
    for pod in said.lists.get("pods", ()):
        name = (pod["metadata"].get("labels") or {}).get("component")
        if name in settings.COMPONENTS and name != "etcd":
            image = str(((pod.get("spec") or {}).get("containers") or [{}])[0].get("image", ""))
            tag = image.partition("@")[0].rpartition(":")[2].removeprefix("v")
            found[f"{name} on {(pod.get('spec') or {}).get('nodeName')}"] = tag
    kubelets = {
        f"kubelet on {node['metadata']['name']}": str(
            ((node.get("status") or {}).get("nodeInfo") or {}).get("kubeletVersion", "")
        ).removeprefix("v")
        for node in said.lists.get("nodes", ())
    }
    mine = _minor(api)
    skew = []
    for who, version in {**found, **kubelets}.items():
        theirs, least = _minor(version), OLDER_MINORS if who in kubelets else 1
        if mine is None or theirs is None or not mine - least <= theirs <= mine:
            skew.append(f"{who} is {version or 'unknown'}, the API server {api or 'unknown'}")
    wanted = cluster.version
    other = [f"{who} is {version}" for who, version in {**found, **kubelets}.items() if wanted and version != wanted]
    return {"skew": skew, "other": other, "api": api}


def unguarded(lists: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Return the namespaces with pods and without any NetworkPolicy; Kubernetes' own aside."""
    guarded = {one["metadata"].get("namespace") for one in lists.get("network_policies", ())}
    used = {one["metadata"].get("namespace") for one in lists.get("pods", ())}
    return sorted(str(name) for name in used - guarded if name not in _WITHOUT_POLICY)


def pending(requests: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return requests for certificates that nobody has answered: a kubelet without one cannot be spoken to."""
    open_ = [one for one in requests if not (one.get("status") or {}).get("conditions")]
    return sorted(names(open_))


def drift(configuration: str, cluster: Cluster, wanted: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return where what kubeadm keeps in its ConfigMap is not what roles and site give."""
    found = settings.parsed(configuration)
    if len(found) != 1 or not isinstance(found[0], Mapping):
        return ["the ClusterConfiguration in ConfigMap kubeadm-config is not understood"]
    kept = found[0]
    networking = kept.get("networking") or {}
    if not isinstance(networking, Mapping):
        return ["networking of the ClusterConfiguration in ConfigMap kubeadm-config is not understood"]
    endpoint = f"{cluster.endpoint_host}:{cluster.endpoint_port}"
    pairs = [
        ("kubernetesVersion", kept.get("kubernetesVersion"), f"v{cluster.version}"),
        ("controlPlaneEndpoint", kept.get("controlPlaneEndpoint"), endpoint),
    ]
    if cluster.networks is not None:
        pairs += [
            ("networking.podSubnet", networking.get("podSubnet"), cluster.networks.pods),
            ("networking.serviceSubnet", networking.get("serviceSubnet"), cluster.networks.services),
        ]
    differs = [f"{name} is {was}, the site has {is_}" for name, was, is_ in pairs if str(was) != str(is_)]
    return differs + settings.out_of_configuration(kept, wanted)


def proxy_measures(configuration: str) -> str | None:
    """Return where kube-proxy tells its measures; without a word of it, where Kubernetes has it by itself."""
    found = settings.parsed(configuration)
    if len(found) != 1 or not isinstance(found[0], Mapping):
        return None
    return str(found[0].get("metricsBindAddress") or "127.0.0.1:10249")


def etcd(told: Mapping[str, Facts], control_planes: Sequence[str]) -> tuple[dict[str, Any] | None, str | None]:
    """Return how etcd stands as a whole; None and why where no control plane tells.

    `lag`: entries by which the last member is behind the first, all asked by one node in one turn. Each node's word is
    its own: `disagreements` names what two of them tell differently.
    """
    said = {name: found.values.get("etcd") for name, found in told.items()}
    views = {
        name: one
        for name, one in said.items()
        if isinstance(one, Mapping) and isinstance(one.get("members"), list) and isinstance(one.get("status"), list)
    }
    if not views:
        lacking = [found.refused.get("etcd.members") or found.refused.get("etcd") for found in told.values()]
        return None, next((why for why in lacking if why), "no control plane tells of etcd")
    try:
        return _etcd(views, control_planes), None
    except (KeyError, TypeError, AttributeError):
        return None, "a node tells of etcd in another form than was asked for"


def _etcd(views: Mapping[str, Mapping[str, Any]], control_planes: Sequence[str]) -> dict[str, Any]:
    view = max(views.values(), key=lambda one: len(one["status"]))
    members, status = view["members"], view["status"]
    called = {str(one["name"]) for one in members}
    heard = {one["member"] for one in status}
    lists = {name: sorted(str(one["id"]) for one in one_view["members"]) for name, one_view in views.items()}
    first = next(iter(lists.values()))
    return {
        "members": len(members),
        "missing": sorted(set(control_planes) - called),
        "unknown": sorted(called - set(control_planes)),
        "learners": [str(one["name"]) for one in members if one["learner"]],
        "silent": [str(one["name"]) for one in members if one["id"] not in heard],
        "leaders": len({one["leader"] for one in status}),
        "leaderless": [one["endpoint"] for one in status if one["leader"] in {"", "0"}],
        "terms": len({one["term"] for one in status}),
        "lag": max((one["index"] for one in status), default=0) - min((one["index"] for one in status), default=0),
        "unapplied": max((one["index"] - one["applied"] for one in status), default=0),
        "bytes": max((one["bytes"] for one in status), default=0),
        "versions": sorted({str(one["version"]) for one in status}),
        "errors": [f"{one['endpoint']}: {error}" for one in status for error in one["errors"]],
        "alarms": sorted({str(alarm) for each in views.values() for alarm in each.get("alarms") or ()}),
        "disagreements": sorted(name for name, mine in lists.items() if mine != first),
        "plain": [url for one in members for url in (*one["peers"], *one["clients"]) if not url.startswith("https://")],
    }


def authorities(told: Mapping[str, Facts]) -> list[str] | None:
    """Return the authorities that are not the same on all nodes, by file; None where no node tells of any."""
    seen: dict[str, set[str]] = {}
    for found in told.values():
        rows = found.values.get("certificates")
        for row in rows if isinstance(rows, list) else ():
            if row.get("authority") and row.get("fingerprint"):
                seen.setdefault(str(row["file"]), set()).add(str(row["fingerprint"]))
    return sorted(file for file, prints in seen.items() if len(prints) > 1) if seen else None


def backup(told: Mapping[str, Facts], uid: str | None, now: dt.datetime) -> dict[str, Any] | None:
    """Return the newest backup that a control plane notes for this cluster; None where none does.

    `hours` since it was taken; `restored_days` since the last one was restored on trial, None where none ever was.
    """
    found = []
    for name, facts_ in told.items():
        note = facts_.values.get("backup")
        taken = _moment(note.get("taken")) if isinstance(note, Mapping) and note.get("cluster") == uid else None
        if taken is not None and isinstance(note, Mapping):
            found.append((taken, name, note))
    if not found:
        return None
    taken, name, note = max(found, key=lambda one: one[:2])
    restored = note.get("restored")
    at = _moment(restored.get("at")) if isinstance(restored, Mapping) else None
    return {
        "on": name,
        "name": str(note.get("name"))[:100],
        "hours": round((now - taken).total_seconds() / 3600, 1),
        "restored_days": None if at is None else (now - at).days,
        "kept": note.get("kept"),
    }


def _moment(text: Any) -> dt.datetime | None:
    try:
        found = dt.datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None
