"""Which step from one release of Kubernetes to another kubeadm takes. Pure.

Source: Kubernetes documentation, "Upgrading kubeadm clusters" and "Version Skew Policy": minors are not skipped, and
there is no way back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_VERSION = re.compile(r"""^kubernetesVersion: *["']?([^"'\s]+)["']? *$""", re.MULTILINE)


def step_problem(cluster: str, live: str, wished: str) -> str | None:
    """Return why kubeadm cannot bring a cluster from release `live` to `wished` in one step; None where it can."""
    old, new = _numbers(live), _numbers(wished)
    if old is None or new is None or new == old:
        return None
    if new < old:
        return f"cluster {cluster} runs {live}: Kubernetes does not go back to {wished}"
    if new[0] != old[0] or new[1] - old[1] > 1:
        return f"cluster {cluster} runs {live}: kubeadm goes up one minor release at a time, {wished} is more"
    return None


def next_step(live: str) -> str:
    """Return what can be asked for, in words: `1.36.x or 1.37.x`."""
    numbers = _numbers(live)
    return f"{numbers[0]}.{numbers[1]}.x or {numbers[0]}.{numbers[1] + 1}.x" if numbers else "the release that runs"


def others(settings: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]], wished: str) -> Iterator[str]:
    """Yield, in words, what of a cluster is of another release. `settings`: kubeadm's ConfigMap; `nodes`: its Nodes."""
    document = str((settings.get("data") or {}).get("ClusterConfiguration", ""))
    said = _VERSION.search(document)
    known = said[1] if said else "no release"
    if _numbers(known) is None or _numbers(known) != _numbers(wished):
        yield f"its control plane is of {known.removeprefix('v')}"
    for node in nodes:
        kubelet = str(((node.get("status") or {}).get("nodeInfo") or {}).get("kubeletVersion", "no release"))
        if _numbers(kubelet) is None or _numbers(kubelet) != _numbers(wished):
            yield f"the kubelet of {node['metadata']['name']} is of {kubelet.removeprefix('v')}"


def _numbers(release: str) -> tuple[int, int, int] | None:
    parts = re.split("[-+]", release.removeprefix("v"), maxsplit=1)[0].split(".")
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        return None
    return int(parts[0]), int(parts[1]), int(parts[2])
