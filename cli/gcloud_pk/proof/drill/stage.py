"""What a drill puts into a cluster: a namespace, the writes of its ledger and, on wish, a service; all of it goes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gcloud_pk.cluster.answer import refusal
from gcloud_pk.cluster.kinds import CONFIG_MAP, DEPLOYMENT, NAMESPACE, SERVICE
from gcloud_pk.cluster.readiness import is_ready
from gcloud_pk.cluster.transport import Api
from gcloud_pk.errors import UnavailableError
from gcloud_pk.proof.drill.prober import LABEL

OWN = "gcloud-pk-drill"
"""The namespace, and the name of the service in it."""

PORT = 8080
REPLICAS = 3
_SLOW = 1.0
_AT_ONCE = 4
_BACKGROUND = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}


def namespace() -> dict[str, Any]:
    """Return the drill's namespace; pods in it keep the strictest of Kubernetes' standards for pods.

    It does not say that it is the platform's: `cluster init` removes what says so and is not known to it.
    """
    labels = {LABEL: "namespace", "pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OWN, "labels": labels}}


def deployment(image: str) -> dict[str, Any]:
    """Return what serves: one pod in each rack while there are three, two while one is out."""
    labels = {"app": OWN}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": OWN, "namespace": OWN},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": 1,
                    "topologySpreadConstraints": [
                        {
                            "maxSkew": 1,
                            "topologyKey": "topology.kubernetes.io/zone",
                            "whenUnsatisfiable": "ScheduleAnyway",
                            "labelSelector": {"matchLabels": labels},
                        }
                    ],
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 65532,
                        "runAsGroup": 65532,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [
                        {
                            "name": "serve",
                            "image": image,
                            "command": ["python3", "-I", "-m", "http.server", str(PORT), "--directory", "/"],
                            "ports": [{"containerPort": PORT}],
                            "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 2},
                            "resources": {
                                "requests": {"cpu": "10m", "memory": "32Mi"},
                                "limits": {"cpu": "250m", "memory": "96Mi"},
                            },
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "readOnlyRootFilesystem": True,
                                "capabilities": {"drop": ["ALL"]},
                            },
                        }
                    ],
                },
            },
        },
    }


def service() -> dict[str, Any]:
    """Return the service before it, at a port of every node."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": OWN, "namespace": OWN},
        "spec": {"type": "NodePort", "selector": {"app": OWN}, "ports": [{"port": PORT, "targetPort": PORT}]},
    }


def prepare(api: Api, image: str | None, seconds: float) -> int | None:
    """Make the namespace and, of an image, the service; return the service's port on every node once all pods serve.

    Raises UnavailableError where pods are not ready within `seconds`, RefusedError and others as the API refuses.
    """
    _make(api, NAMESPACE.path(), NAMESPACE.path(name=OWN), namespace())
    if image is None:
        return None
    own = DEPLOYMENT.path(OWN, OWN)
    _make(api, DEPLOYMENT.path(OWN), own, deployment(image))
    made = _make(api, SERVICE.path(OWN), SERVICE.path(OWN, OWN), service())
    port = int(made["spec"]["ports"][0]["nodePort"])
    end = time.monotonic() + seconds
    while True:
        status = api.get(own).get("status") or {}
        if status.get("readyReplicas") == REPLICAS and status.get("updatedReplicas") == REPLICAS:
            return port
        if time.monotonic() > end or not api.pause(_SLOW):
            ready = status.get("readyReplicas") or 0
            raise UnavailableError(
                f"the drill's own service has {ready} of {REPLICAS} pods ready after {seconds:.0f} s",
                resolution=f"see why: kubectl -n {OWN} describe pods; or name a service with --service URL",
            )


def _make(api: Api, collection: str, own: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Create an object; one that a killed drill left is taken as it is. Raises as the API refuses."""
    answer = api.request("POST", collection, body=manifest)
    if answer.status == 409:
        return api.get(own)
    if not answer.ok:
        raise refusal(answer, own)
    return answer.body


def written(api: Api, run: str, surely: Iterable[int]) -> dict[int, str]:
    """Return the writes of a run that the cluster holds: number → token. Raises as the API refuses.

    `surely`: numbers of those that must be there: each is read by itself, which etcd's leader answers. A list may come
    from an API server's own memory, and that may still hold what etcd has lost.
    """
    found: dict[int, str] = {}
    for one in api.list(CONFIG_MAP, namespace=OWN, selector=f"{LABEL}={run}"):
        data = one.get("data") or {}
        if str(data.get("number", "")).isdigit():
            found[int(data["number"])] = str(data.get("token"))

    def read(number: int) -> tuple[int, str | None]:
        answer = api.request("GET", CONFIG_MAP.path(OWN, f"write-{run}-{number}"))
        if answer.status == 404:
            return number, None
        if not answer.ok:
            raise refusal(answer, f"write-{run}-{number}")
        return number, str((answer.body.get("data") or {}).get("token"))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for number, token in pool.map(read, surely):
            found.pop(number, None)
            if token is not None:
                found[number] = token
    return found


def sweep(api: Api) -> None:
    """Remove the namespace with all that is in it; it may go on ending for some seconds. Raises as the API refuses."""
    answer = api.request("DELETE", NAMESPACE.path(name=OWN), body=_BACKGROUND)
    if not answer.ok and answer.status != 404:
        raise refusal(answer, f"namespace {OWN}")


def gone(api: Api, seconds: float) -> bool:
    """Wait until the namespace of an earlier drill is gone; False where it is not after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        answer = api.request("GET", NAMESPACE.path(name=OWN))
        if answer.status == 404:
            return True
        if not (answer.body.get("metadata") or {}).get("deletionTimestamp"):
            sweep(api)
        if time.monotonic() > end or not api.pause(_SLOW):
            return False


def address_of(nodes: Sequence[Mapping[str, Any]], avoid: Sequence[str]) -> str | None:
    """Return the internal address of a node that is Ready and not one of `avoid`; None where there is none."""
    for node in nodes:
        if not is_ready(node) or node["metadata"]["name"] in avoid:
            continue
        for one in node["status"].get("addresses") or []:
            if one.get("type") == "InternalIP":
                return str(one["address"])
    return None
