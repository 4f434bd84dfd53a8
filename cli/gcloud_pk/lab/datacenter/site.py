"""The site `lab-dc`: three racks on two ways of power, cooling and network each, and one cluster over them.

The facility is invented, and drawn as one is that can be maintained while it runs: whatever single element is taken
out, the racks keep power, cold and network. What is real of it are the hosts, their racks and the network between.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from gcloud_pk.lab.nodes import access
from gcloud_pk.lab.nodes.layout import (
    ADMIN_USER,
    AUDIT_USER,
    CLUSTER_RACKS,
    NETWORK,
    VIRTUAL_ADDRESS,
    Layout,
    Node,
)

CLUSTER = "lab-dc-a"
VERSION = "1.36.3"
ENDPOINT = f"https://{VIRTUAL_ADDRESS}:6443"
CONTROL_PLANE = "control-plane"
ROOM = "hall-1"
NETWORKS = {"pods": "10.208.0.0/16", "services": "10.209.0.0/16", "nodes": NETWORK}

_KW_RACK = 4
_KW_HOST = 0.4
_FOR_A_NODE = 2048
"""Mebibytes that each node says it has for pods; what the machine has more is shared by all of them."""


@dataclass(frozen=True)
class Wanted:
    """What decides about the site beyond its hosts.

    `network`: bridge or cilium; `images`: what the names of Kubernetes' images begin with, in a registry of which
    `authority` is the PEM; `uid`: of the cluster, once there is one.
    """

    network: str
    images: str
    authority: str
    uid: str | None = None


def document(
    hosts: Sequence[tuple[Node, tuple[str, ...]]], keys: Mapping[str, str], wanted: Wanted, megabytes: int
) -> dict[str, Any]:
    """Return the site; `hosts`: nodes with their public host keys, `keys`: those of `admin` and `audit`.

    `megabytes` (MiB): the memory that every node sees, which is this machine's.
    """
    cluster: dict[str, Any] = {
        "name": CLUSTER,
        "uid": wanted.uid,
        "version": VERSION,
        "endpoint": ENDPOINT,
        "networks": NETWORKS,
        "networkPlugin": wanted.network,
        "images": wanted.images,
        "registryAuthority": wanted.authority,
        "kubelet": {"maxPods": 60, "systemReservedMemory": f"{max(0, megabytes - _FOR_A_NODE)}Mi"},
        "failureDetection": "fast",
    }
    return {
        "apiVersion": "gcloud.gov.pk/v1alpha1",
        "kind": "Site",
        "metadata": {"name": "lab-dc"},
        "spec": {
            "operator": "gcloud-pk lab",
            "location": {"city": "Islamabad", "province": "ict", "seismicZone": "2b", "kind": "government"},
            "admits": ["open", "public", "restricted", "confidential", "secret"],
            "tier": 3,
            "provider": "lab",
            **_facility(),
            "machines": [{"name": "lab-node", "cpu": 2, "memory": f"{_FOR_A_NODE}Mi"}],
            "clusters": [{field: value for field, value in cluster.items() if value is not None}],
            "ssh": {
                "user": ADMIN_USER,
                "auditUser": AUDIT_USER,
                "keys": [keys["admin"]],
                "auditKeys": [keys["audit"]],
                "allowFrom": [NETWORK],
            },
            "hosts": [
                {
                    "name": node.name,
                    "address": node.address,
                    "rack": node.rack_name,
                    "cluster": CLUSTER,
                    "role": role(node),
                    "kw": _KW_HOST,
                    "machine": "lab-node",
                    "hostKeys": list(own),
                }
                for node, own in hosts
            ],
        },
    }


def role(node: Node) -> str:
    """Return what a node is to its cluster."""
    return CONTROL_PLANE if node.name.startswith("c") else "worker"


def _facility() -> dict[str, Any]:
    """Return power, cooling, network and racks. Rule: national-baselines, section 2 (concurrently maintainable)."""
    racks = range(1, CLUSTER_RACKS + 1)
    ways = ("a", "b")
    panels = [f"panel-{way}" for way in ways]
    return {
        "power": {
            "components": [
                *({"name": f"utility-{way}", "kind": "utility", "kw": 60} for way in ways),
                *({"name": f"gen-{k}", "kind": "generator", "kw": 30, "group": "gens"} for k in (1, 2, 3)),
                *({"name": f"ats-{way}", "kind": "transfer-switch", "kw": 60} for way in ways),
                *({"name": f"ups-{way}", "kind": "ups", "kw": 30, "group": f"ups-{way}"} for way in ways),
                *({"name": f"panel-{way}", "kind": "panel", "kw": 30} for way in ways),
                *({"name": f"pdu-r{k}-{way}", "kind": "pdu", "kw": 6, "room": ROOM} for k in racks for way in ways),
            ],
            "links": [
                *({"from": f"utility-{way}", "to": f"ats-{way}"} for way in ways),
                *({"from": f"gen-{k}", "to": f"ats-{way}"} for k in (1, 2, 3) for way in ways),
                *({"from": f"ats-{way}", "to": f"ups-{way}"} for way in ways),
                *({"from": f"ups-{way}", "to": f"panel-{way}"} for way in ways),
                *({"from": f"panel-{way}", "to": f"pdu-r{k}-{way}"} for k in racks for way in ways),
            ],
        },
        "cooling": {
            "components": [
                *(
                    {"name": f"chiller-{k}", "kind": "chiller", "kw": 15, "feeds": [*panels], "draws": 4}
                    for k in (1, 2)
                ),
                *({"name": f"pump-{k}", "kind": "pump", "kw": 15, "feeds": [*panels], "draws": 1} for k in (1, 2)),
                *({"name": f"pipe-{way}", "kind": "pipe"} for way in ways),
                *(
                    {"name": f"ahu-{k}", "kind": "air-handler", "kw": 15, "room": ROOM, "feeds": [*panels], "draws": 1}
                    for k in (1, 2)
                ),
            ],
            "links": [
                *({"from": f"chiller-{k}", "to": f"pump-{k}"} for k in (1, 2)),
                *({"from": f"pump-{k}", "to": f"pipe-{way}"} for k in (1, 2) for way in ways),
                *({"from": f"pipe-{way}", "to": f"ahu-{k}"} for way in ways for k in (1, 2)),
            ],
        },
        "network": {
            "components": [
                *({"name": f"carrier-{way}", "kind": "carrier"} for way in ways),
                *(
                    {"name": f"core-{k}", "kind": "core-switch", "kw": 0.2, "rack": f"rack-{k}", "feeds": [*panels]}
                    for k in (1, 2)
                ),
                *(
                    {"name": f"tor-r{k}-{way}", "kind": "rack-switch", "kw": 0.1, "feeds": [f"pdu-r{k}-{way}"]}
                    for k in racks
                    for way in ways
                ),
            ],
            "links": [
                *({"from": f"carrier-{way}", "to": f"core-{k}"} for way in ways for k in (1, 2)),
                *({"from": f"core-{i}", "to": f"tor-r{k}-{way}"} for i in (1, 2) for k in racks for way in ways),
            ],
        },
        "racks": [
            {
                "name": f"rack-{k}",
                "room": ROOM,
                "row": "a",
                "kw": _KW_RACK,
                "feeds": [f"pdu-r{k}-{way}" for way in ways],
                "cooling": ["ahu-1", "ahu-2"],
                "switches": [f"tor-r{k}-{way}" for way in ways],
            }
            for k in racks
        ],
    }


def content(lab: Layout, hosts: Sequence[tuple[Node, tuple[str, ...]]], wanted: Wanted) -> str:
    """Return the content of the site's file."""
    keys = {name: access.public_key(lab, name) for name in ("admin", "audit")}
    megabytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    return yaml.safe_dump(document(hosts, keys, wanted, megabytes), sort_keys=False, allow_unicode=True, width=4096)


def settings(images: str) -> str:
    """Return the settings of the lab's registry: every tenant may run what lies under `images`, the lab's own."""
    return yaml.safe_dump({"baseRegistries": [images]}, sort_keys=False)


def written_uid(lab: Layout) -> str | None:
    """Return the UID of the cluster as somebody registered it in the site's file; None where there is none."""
    try:
        found = yaml.safe_load((lab.registry / "sites" / f"{lab.kind.site}.yaml").read_text(encoding="utf-8"))
        uid = found["spec"]["clusters"][0].get("uid")
    except (OSError, yaml.YAMLError, KeyError, TypeError, IndexError, AttributeError):
        return None
    return uid if isinstance(uid, str) else None
