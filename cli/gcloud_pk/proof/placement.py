"""Placement: where a tenant with nodes of its own must put its pods (issue: isolation levels)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from gcloud_pk.model import labels

_TEMPLATE = ("spec", "template", "spec")
PLACES: Mapping[str, tuple[str, ...]] = {
    "Pod": ("spec",),
    "PodTemplate": ("template", "spec"),
    "Deployment": _TEMPLATE,
    "StatefulSet": _TEMPLATE,
    "DaemonSet": _TEMPLATE,
    "ReplicaSet": _TEMPLATE,
    "ReplicationController": _TEMPLATE,
    "Job": _TEMPLATE,
    "CronJob": ("spec", "jobTemplate", *_TEMPLATE),
}
"""Where the spec of a pod stands, by kind: in all that the policies on images and placement judge."""


def pod_spec(body: Mapping[str, Any]) -> Any:
    """Return the spec of the pod that an object is or makes, to be read or changed; None where it holds none."""
    path = PLACES.get(str(body.get("kind")))
    place: Any = body
    for part in path or ():
        place = place[part]
    return None if path is None else place


def placed(body: dict[str, Any], tenant: str, isolation: str) -> dict[str, Any]:
    """Return a Pod, or what makes Pods, bound to the tenant's nodes and tolerating their taint, where it has any.

    What holds no pod, and what belongs to a tenant of another isolation level, is returned as it is.
    """
    if isolation != "dedicated-nodes" or body.get("kind") not in PLACES:
        return body
    made = copy.deepcopy(body)
    spec = pod_spec(made)
    spec["nodeSelector"] = {**spec.get("nodeSelector", {}), labels.TENANT: tenant}
    spec["tolerations"] = [
        *spec.get("tolerations", []),
        {"key": labels.TENANT, "operator": "Equal", "value": tenant, "effect": "NoSchedule"},
    ]
    return made
