"""What pods of a cluster are allowed to do on their nodes: those of the platform's own namespace aside. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_PLATFORM = "kube-system"
"""The one namespace that Pod Security does not judge (role cluster_control_plane)."""


def liberties(pods: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return by liberty which pods take it: `namespace/name`, sorted."""
    found: dict[str, set[str]] = {name: set() for name in _NAMES}
    for pod in pods:
        meta = pod["metadata"]
        if meta.get("namespace") == "default":
            found["in_default"].add(f"default/{meta['name']}")
        for name in _taken(pod.get("spec") or {}) if meta.get("namespace") != _PLATFORM else ():
            found[name].add(f"{meta.get('namespace')}/{meta['name']}")
    return {name: sorted(each) for name, each in found.items()}


_HOST = {"hostPID": "host_pid", "hostIPC": "host_ipc", "hostNetwork": "host_network"}
_NAMES = (
    *_HOST.values(),
    "host_path",
    "host_ports",
    "privileged",
    "escalation",
    "root",
    "net_raw",
    "capabilities",
    "windows_host",
    "default_account",
    "in_default",
)


def _taken(spec: Mapping[str, Any]) -> Iterator[str]:
    yield from (name for field, name in _HOST.items() if spec.get(field) is True)
    if any("hostPath" in volume for volume in spec.get("volumes") or ()):
        yield "host_path"
    if spec.get("serviceAccountName", "default") == "default" and spec.get("automountServiceAccountToken") is not False:
        yield "default_account"
    whole = spec.get("securityContext") or {}
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(kind) or ():
            yield from _of_container(container, whole)


def _of_container(container: Mapping[str, Any], whole: Mapping[str, Any]) -> Iterator[str]:
    own = container.get("securityContext") or {}
    capabilities = own.get("capabilities") or {}
    added, dropped = set(capabilities.get("add") or ()), set(capabilities.get("drop") or ())
    if any(port.get("hostPort") for port in container.get("ports") or ()):
        yield "host_ports"
    if own.get("privileged") is True:
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "escalation"
    if own.get("runAsNonRoot", whole.get("runAsNonRoot")) is not True:
        yield "root"
    if not dropped & {"ALL", "NET_RAW"} or "NET_RAW" in added:
        yield "net_raw"
    if "ALL" not in dropped or added - {"NET_BIND_SERVICE"}:
        yield "capabilities"
    if (own.get("windowsOptions") or whole.get("windowsOptions") or {}).get("hostProcess") is True:
        yield "windows_host"
