"""What a stack knows of a cluster, to be forgotten: its resources in the state, and those of its machines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
"""A resource of the state, as the engine exports it."""

_CLUSTER = "gcloudpk:index:KubernetesCluster"
_MEMBER = "gcloudpk:index:Member"
_OF_A_MACHINE = frozenset({"gcloudpk:index:Machine", "gcloudpk:index:HardenedNode"})


def members(resources: Sequence[Record], cluster: str) -> dict[str, Mapping[str, Any]]:
    """Return the hosts that the state has as members of a cluster: the site file's entry of then, by name."""
    return {
        _name(one): (one.get("outputs") or {}).get("host") or {}
        for one in resources
        if one["type"] == _MEMBER and (one.get("inputs") or {}).get("cluster") == cluster
    }


def of_cluster(resources: Sequence[Record], cluster: str) -> set[str]:
    """Return the URNs of what a state has of a cluster: it, its parts, its machines, and what rests on them."""
    hosts = members(resources, cluster)
    gone = {
        str(one["urn"])
        for one in resources
        if (one["type"] == _CLUSTER and _name(one) == cluster) or (one["type"] in _OF_A_MACHINE and _name(one) in hosts)
    }
    while more := {str(one["urn"]) for one in resources if one["urn"] not in gone and gone & set(_rests_on(one))}:
        gone |= more
    return gone


def _name(resource: Record) -> str:
    return str(resource["urn"]).rpartition("::")[2]


def _rests_on(resource: Record) -> Iterator[str]:
    """Yield the URNs without which the engine takes a state for broken."""
    yield str(resource.get("parent") or "")
    yield str(resource.get("deletedWith") or "")
    yield from resource.get("dependencies") or ()
    for names in (resource.get("propertyDependencies") or {}).values():
        yield from names or ()
