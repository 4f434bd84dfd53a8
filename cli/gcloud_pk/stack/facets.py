"""What of a site each resource is compared by: its facets. Pure, but for the digests of playbooks.

A change of the site file touches exactly those resources whose facets hold what was changed.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

from gcloud_pk import paths
from gcloud_pk.model.site import Cluster, Host, Site
from gcloud_pk.nodes.inventory import Route, inventory
from gcloud_pk.nodes.record import digest

_APART = ("power", "cooling", "network", "tables", "accreditation")
"""What of a site no machine is told of."""

_CLUSTER_ROLES = "cluster_"
"""What the names of roles of clusters begin with."""


def document(site: Site) -> str:
    """Return the site as the provider is told of it, as JSON: without what no machine needs."""
    whole = site.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    spec = {name: value for name, value in whole["spec"].items() if name not in _APART}
    return json.dumps({**whole, "spec": spec}, sort_keys=True, separators=(",", ":"))


def provisioned(site: Site, cluster: Cluster) -> bool:
    """Whether a cluster is ours to make: it says its version, endpoint and networks, and has a control plane."""
    return bool(cluster.version and cluster.endpoint and cluster.networks and site.spec.control_planes(cluster))


def machine(site: Site, host: Host) -> dict[str, Any]:
    """Return the facets of a machine."""
    return {
        "site": site.metadata.name,
        "name": host.name,
        "address": host.address,
        "hostKeys": list(host.host_keys),
        "machines": site.spec.provider,
        "rack": host.rack,
        "machineClass": host.machine,
    }


def hardened_node(site: Site, host: Host) -> dict[str, Any]:
    """Return the facets of a machine at its baseline, but for the machine itself."""
    everything = inventory(site, [host], Route(Path("known_hosts")))["all"]
    settings = {**everything["vars"], **everything["hosts"][host.name]}
    return {
        "site": site.metadata.name,
        "name": host.name,
        "level": site.spec.level_of(host),
        "baseline": baseline_digest(),
        "settings": {name: value for name, value in sorted(settings.items()) if name.startswith("node_")},
    }


def control_plane(site: Site, cluster: Cluster) -> dict[str, Any]:
    """Return the facets of a cluster's API."""
    return {
        "site": site.metadata.name,
        "cluster": cluster.name,
        "version": cluster.version,
        "endpoint": cluster.endpoint,
        "networks": cluster.networks and cluster.networks.model_dump(by_alias=True),
        "controlPlanes": [host.name for host in site.spec.control_planes(cluster)],
        "failureDetection": cluster.failure_detection,
        "images": cluster.images,
        "backup": {
            **cluster.backup.model_dump(by_alias=True, mode="json", exclude={"recipients"}),
            "recipients": _digest_of(cluster.backup.recipients) or "",
        },
        "roles": cluster_digest(),
    }


def member(site: Site, cluster: Cluster, host: Host) -> dict[str, Any]:
    """Return the facets of a node of a cluster, but for its hardened node."""
    return {
        "site": site.metadata.name,
        "cluster": cluster.name,
        "name": host.name,
        "role": host.role,
        "version": cluster.version,
        "failureDetection": cluster.failure_detection,
        "kubelet": cluster.kubelet.model_dump(by_alias=True, exclude_none=True, mode="json"),
        "rack": host.rack,
        "images": cluster.images,
        "authority": _digest_of(cluster.registry_authority),
        "roles": cluster_digest(),
    }


def _digest_of(text: str | None) -> str | None:
    return hashlib.sha256(text.encode()).hexdigest() if text else None


def addons(site: Site, cluster: Cluster) -> dict[str, Any]:
    """Return the facets of what the nodes of a cluster share."""
    return {
        "site": site.metadata.name,
        "cluster": cluster.name,
        "members": [host.name for host in site.spec.hosts_of(cluster)],
        "networkPlugin": cluster.network_plugin,
        "version": cluster.version,
        "images": cluster.images,
        "roles": cluster_digest(),
    }


@cache
def baseline_digest() -> str:
    """Return the digest of what hardens machines: the playbook, its roles and modules."""
    root = paths.data("playbooks")
    roles = [role for role in _roles() if not role.name.startswith(_CLUSTER_ROLES)]
    return _digest([root / "harden.yml"], [*roles, root / "library", root / "module_utils"])


@cache
def cluster_digest() -> str:
    """Return the digest of what makes clusters: playbooks and roles."""
    files = sorted(paths.data("playbooks").glob("cluster*.yml"))
    return _digest(files, [role for role in _roles() if role.name.startswith(_CLUSTER_ROLES)])


def _roles() -> list[Path]:
    return sorted(path for path in paths.data("playbooks", "roles").iterdir() if path.is_dir())


def _digest(files: list[Path], folders: list[Path]) -> str:
    found = hashlib.sha256()
    for path in files:
        found.update(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n".encode())
    for folder in folders:
        found.update(f"{digest(folder)}  {folder.name}/\n".encode())
    return found.hexdigest()
