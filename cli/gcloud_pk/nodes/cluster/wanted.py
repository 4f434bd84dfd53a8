"""What the roles would give a cluster's programs: the defaults of role cluster_control_plane, read as data. Pure.

Its defaults name each other by `{{ name }}` and `{{ name | join(',') }}` and no more; a test compares with Ansible.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from gcloud_pk import paths
from gcloud_pk.model.site import Cluster
from gcloud_pk.registry import documents

_PREFIX = "cluster_control_plane_"
_NAMED = re.compile(r"\{\{ *([a-z_]+) *(?:\| *join\(','\))? *\}\}")
_PARTS = {
    "kube-apiserver": "api_server",
    "kube-controller-manager": "controller_manager",
    "kube-scheduler": "scheduler",
    "etcd": "etcd",
}
_ELSEWHERE = frozenset({"cgroupDriver"})
"""Settings whose value another role chooses by what the node is."""


@cache
def _defaults() -> Mapping[str, Any]:
    file = paths.data("playbooks", "roles", "cluster_control_plane", "defaults", "main.yml")
    found: Mapping[str, Any] = documents.parse(file.read_bytes().removeprefix(b"---\n"), str(file)).value
    return found


def _resolved(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _resolved(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_resolved(one) for one in value]
    if not isinstance(value, str):
        return value
    whole = _NAMED.fullmatch(value)
    if whole and "join" not in value:
        return _resolved(_defaults()[whole[1]]) if whole[1] in _defaults() else value
    return _NAMED.sub(lambda m: _text(_resolved(_defaults()[m[1]])) if m[1] in _defaults() else m[0], value)


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def flags(cluster: Cluster) -> dict[str, dict[str, str]]:
    """Return the flags that the roles give each program of the control plane, by its name."""
    tuned = _defaults()[f"{_PREFIX}detection"][cluster.failure_detection]
    return {
        program: {
            name: _text(_resolved(value))
            for name, value in {**_defaults()[_PREFIX + part], **tuned.get(part, {})}.items()
        }
        for program, part in _PARTS.items()
    }


def kubelet(cluster: Cluster, own: Mapping[str, Any], *, shared_kernel: bool) -> dict[str, Any]:
    """Return the settings that the roles give a kubelet. `own`: those of the site for this cluster."""
    known = _defaults()
    tuned = known[f"{_PREFIX}detection"][cluster.failure_detection]["kubelet"]
    given = {**known[f"{_PREFIX}kubelet"], **tuned}
    if shared_kernel:
        given |= known[f"{_PREFIX}kubelet_shared_kernel"]
    return {name: value for name, value in _resolved({**given, **own}).items() if name not in _ELSEWHERE}
