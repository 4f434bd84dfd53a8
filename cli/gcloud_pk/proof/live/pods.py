"""Probe pods: one that listens and one that calls; both keep every rule of a tenant's namespace, end and report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from gcloud_pk import paths
from gcloud_pk.model import labels
from gcloud_pk.model.quantity import Quantity
from gcloud_pk.proof.placement import placed

LABEL = f"{labels.GROUP}/probe"
"""The label of every probe pod: `<station>-<run>`."""

PREFIX = "gpk-live-"
PORT = 7654
REPORT = "/dev/termination-log"
_REPORT_BYTES = 4096
"""What the kubelet reads of a termination message."""

_RESOURCES = {
    "requests": {"cpu": "20m", "memory": "48Mi", "ephemeral-storage": "16Mi"},
    "limits": {"cpu": "250m", "memory": "96Mi", "ephemeral-storage": "16Mi"},
}
_PODS_OF_A_RUN = 2

MOST_TRIES = _REPORT_BYTES // 8
"""Tries whose outcome fits into one report: a letter, milliseconds and a comma each."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run: what its pods carry. `word` is what its listeners answer; `seconds` after which pods end themselves."""

    id: str
    word: str
    seconds: int = 300


@dataclass(frozen=True, slots=True)
class Home:
    """A namespace in which probe pods run. `tenant`: where it is known; `platform`: no policy holds what runs there."""

    namespace: str
    tenant: str | None = None
    isolation: str = "namespace"
    platform: bool = False


@cache
def program() -> str:
    """Return the program that runs in the pods."""
    return paths.package("proof", "live", "program.py").read_text(encoding="utf-8")


def name(run: Run, role: str) -> str:
    """Return the name of a run's pod in any namespace; `role` is `listen` or `call`."""
    return f"{PREFIX}{run.id}-{role}"


def listener(run: Run, home: Home, image: str) -> dict[str, Any]:
    """Return the pod that answers."""
    return _pod(run, home, image, "listen", {"port": PORT, "seconds": run.seconds, "word": run.word})


def caller(run: Run, home: Home, image: str, tries: Sequence[Sequence[Any]], patience: float) -> dict[str, Any]:
    """Return the pod that makes `tries` (as `program.call` reads them); `patience`: seconds for each attempt."""
    return _pod(run, home, image, "call", {"tries": tries, "timeout": patience, "word": run.word, "report": REPORT})


def _pod(run: Run, home: Home, image: str, role: str, order: Mapping[str, Any]) -> dict[str, Any]:
    made = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name(run, role), "namespace": home.namespace, "labels": {LABEL: run.id}},
        "spec": {
            "activeDeadlineSeconds": run.seconds,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "probe",
                    "image": image,
                    "imagePullPolicy": "Always",
                    "command": ["python3", "-I", "-c", program(), role, json.dumps(order, separators=(",", ":"))],
                    "env": [{"name": "HOST_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}],
                    "resources": _RESOURCES,
                    "terminationMessagePath": REPORT,
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }
    return placed(made, home.tenant or "", home.isolation)


def lacking(quotas: Iterable[Mapping[str, Any]]) -> str | None:
    """Return in words which quota has no room for both pods of a run; None where they fit."""
    needed = {f"{part}.{key}": amount for part, amounts in _RESOURCES.items() for key, amount in amounts.items()}
    needed |= {"pods": "1", "count/pods": "1", **_RESOURCES["requests"]}
    for quota in quotas:
        spec, status = quota.get("spec", {}), quota.get("status", {})
        if spec.get("scopes") or spec.get("scopeSelector"):
            continue
        for key, most in spec.get("hard", {}).items():
            if key not in needed:
                continue
            used = Quantity.parse((status.get("used") or {}).get(key, "0"))
            each = Quantity.parse(needed[key])
            wanted = Quantity(each.value * _PODS_OF_A_RUN, binary=each.binary)
            if Quantity.parse(most) < used + wanted:
                return (
                    f"the quota {quota['metadata']['name']} has no room for two probe pods: {key} {used} of {most} "
                    f"used, {wanted} needed"
                )
    return None


@dataclass(frozen=True, slots=True)
class Seen:
    """What a pod's status says. `waiting`: why it does not start; `report`: its termination message once it ended."""

    phase: str = "Pending"
    addresses: tuple[str, ...] = ()
    node: str | None = None
    host: str | None = None
    waiting: str | None = None
    hopeless: bool = False
    report: str | None = None
    exit_code: int | None = None
    started: str | None = None
    finished: str | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.phase in {"Succeeded", "Failed"}


# Kubelet, pkg/kubelet/images and kuberuntime: what does not pass by waiting for some seconds more.
_HOPELESS = {
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CrashLoopBackOff",
}


def seen(pod: Mapping[str, Any]) -> Seen:
    """Read a pod's status."""
    status, spec = pod.get("status") or {}, pod.get("spec") or {}
    state = next((c.get("state") or {} for c in status.get("containerStatuses") or []), {})
    ended, waits = state.get("terminated") or {}, state.get("waiting") or {}
    unscheduled = next(
        (
            f"{c.get('reason')}: {c.get('message')}"
            for c in status.get("conditions") or []
            if c.get("type") == "PodScheduled" and c.get("status") == "False"
        ),
        None,
    )
    said = ": ".join(str(part) for part in (waits.get("reason"), waits.get("message")) if part)
    broken = ": ".join(str(part) for part in (status.get("reason"), status.get("message")) if part)
    return Seen(
        phase=str(status.get("phase") or "Pending"),
        addresses=tuple(a["ip"] for a in status.get("podIPs") or [] if a.get("ip")),
        node=spec.get("nodeName"),
        host=status.get("hostIP"),
        waiting=said or broken or unscheduled,
        hopeless=waits.get("reason") in _HOPELESS,
        report=ended.get("message"),
        exit_code=ended.get("exitCode"),
        started=ended.get("startedAt"),
        finished=ended.get("finishedAt"),
    )
