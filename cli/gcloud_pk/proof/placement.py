"""Placement: where a tenant with nodes of its own must put its pods (issue: isolation levels)."""

from __future__ import annotations

import copy
from typing import Any

from gcloud_pk.model import labels

_PLACED = {"Pod": ("spec",), "Deployment": ("spec", "template", "spec")}


def placed(body: dict[str, Any], tenant: str, isolation: str) -> dict[str, Any]:
    """Return a Pod or Deployment bound to the tenant's nodes and tolerating their taint, where it has such nodes.

    What holds no pod, and what belongs to a tenant of another isolation level, is returned as it is.
    """
    path = _PLACED.get(str(body.get("kind")))
    if isolation != "dedicated-nodes" or path is None:
        return body
    made = copy.deepcopy(body)
    spec = made
    for part in path:
        spec = spec[part]
    spec["nodeSelector"] = {**spec.get("nodeSelector", {}), labels.TENANT: tenant}
    spec["tolerations"] = [
        *spec.get("tolerations", []),
        {"key": labels.TENANT, "operator": "Equal", "value": tenant, "effect": "NoSchedule"},
    ]
    return made
