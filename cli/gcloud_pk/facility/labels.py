"""Labels for the parts of a site: kinds, roles, powers, quorums. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from gcloud_pk.model.site import Cluster, Site
from gcloud_pk.text import number_of

KINDS: Mapping[str, str] = {
    "utility": "Utilities",
    "generator": "Generators",
    "transfer-switch": "Transfer switches",
    "ups": "UPS",
    "panel": "Panels",
    "pdu": "PDUs",
    "point-of-use-switch": "Point-of-use switches",
    "chiller": "Chillers",
    "pump": "Pumps",
    "pipe": "Pipes",
    "air-handler": "Air handlers",
    "carrier": "Carriers",
    "router": "Routers",
    "core-switch": "Core switches",
    "rack-switch": "Rack switches",
}
"""Kinds of components, several of them."""

SHORT: Mapping[str, str] = {kind: kind.replace("-", " ") for kind in KINDS} | {"ups": "UPS", "pdu": "PDU"}
"""Kinds of components, one of them."""

ROLES: Mapping[str, str] = {
    "control-plane": "control plane and member of etcd",
    "worker": "worker",
    "storage": "storage",
    "gateway": "gateway",
    "plain": "of no cluster",
}
"""Roles of hosts, in the order in which they are shown."""

_SEVERAL = {"control-plane": "control plane", "worker": "worker", "storage": "storage host", "gateway": "gateway"}


def power(watts: int | None) -> str:
    """Return `1,200 kW`, `0.4 kW`; an empty text for what is not said."""
    if watts is None:
        return ""
    text = f"{watts / 1000:,.3f}".rstrip("0").rstrip(".")
    return f"{text} kW"


def role_counts(roles: Mapping[str, int]) -> dict[str, str]:
    """Return role → `12 workers`, in the order of the roles."""
    return {role: number_of(roles[role], _SEVERAL.get(role, "other host")) for role in ROLES if roles.get(role)}


def quorums(site: Site) -> Iterator[str]:
    """Yield for each cluster what its control plane is, and how many members etcd needs. By counting only."""
    for cluster in site.spec.clusters:
        yield f"Cluster {cluster.name}: {quorum_of(site, cluster)}."


def quorum_of(site: Site, cluster: Cluster) -> str:
    """Return what a cluster's control plane is, and whether etcd survives the loss of its fullest rack."""
    planes = site.spec.control_planes(cluster.name)
    if not planes:
        return "the site file names no control plane"
    needed = len(planes) // 2 + 1
    text = f"{number_of(len(planes), 'control plane')}, etcd needs {needed} of {len(planes)}"
    racks = Counter(host.rack for host in planes)
    if None in racks:
        return f"{text}; the site file does not say in which racks they stand"
    most = max(racks.values())
    fullest = sorted(str(rack) for rack, number in racks.items() if number == most)
    if len(planes) - most >= needed:
        return f"{text}; in {number_of(len(racks), 'rack')}: any one of them may be lost"
    return f"{text}; without rack {' or '.join(fullest[:3])} there is no quorum"
