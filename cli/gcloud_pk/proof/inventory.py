"""Inventory: what lies in a namespace, and what would be sent to the API server if it were made anew.

Fields that the server or a controller sets are left out of what is sent: Kubernetes v1 `PodSpec`, `ServiceSpec`,
`PersistentVolumeClaimSpec`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gcloud_pk.cluster.answer import ForbiddenError
from gcloud_pk.cluster.kinds import (
    CRON_JOB,
    DAEMON_SET,
    DEPLOYMENT,
    INGRESS,
    JOB,
    NETWORK_POLICY,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    ROLE_BINDING,
    SERVICE,
    STATEFUL_SET,
    Kind,
)
from gcloud_pk.cluster.transport import Api
from gcloud_pk.proof.surroundings import Object, label

_TEMPLATE = ("spec", "template")
_CONTROLLERS: dict[Kind, tuple[str, ...]] = {
    DEPLOYMENT: _TEMPLATE,
    STATEFUL_SET: _TEMPLATE,
    DAEMON_SET: _TEMPLATE,
    REPLICA_SET: _TEMPLATE,
    REPLICATION_CONTROLLER: _TEMPLATE,
    JOB: _TEMPLATE,
    CRON_JOB: ("spec", "jobTemplate", "spec", "template"),
}
"""Kinds that make pods, and where their pod template stands."""
_OTHERS = (SERVICE, INGRESS, PERSISTENT_VOLUME_CLAIM, NETWORK_POLICY, ROLE_BINDING)
KINDS: tuple[Kind, ...] = (*_CONTROLLERS, POD, *_OTHERS)

_NAME = "gpk-impact-"
_TOKEN_VOLUME = "kube-api-access-"  # noqa: S105 - the name that the API server gives to the volume
_OF_A_POD_THAT_RUNS = ("nodeName", "priority", "preemptionPolicy", "overhead", "ephemeralContainers")
_OF_A_JOB = (
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
    "controller-uid",
    "job-name",
)
_OF_THE_SERVER = (
    "kubectl.kubernetes.io/last-applied-configuration",
    "kubernetes.io/config.",
    "pv.kubernetes.io/",
    "volume.kubernetes.io/",
    "volume.beta.kubernetes.io/",
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An object that may be refused one day. `sent`: what is created when it restarts or is made anew.

    `restarts`: pods come of it, so that the day is its next restart.
    """

    kind: str
    name: str
    sent: tuple[tuple[Kind, dict[str, Any]], ...] = field(hash=False)
    restarts: bool


@dataclass(frozen=True)
class Inventory:
    """The live objects of a namespace. `unread`: kinds that could not be read, and the API server's words."""

    namespace: str
    objects: Mapping[Kind, tuple[Object, ...]]
    unread: Mapping[Kind, str] = field(default_factory=dict)

    def all(self, kind: Kind) -> tuple[Object, ...]:
        """Return the objects of a kind that stay, by name; those of the platform are not the tenant's."""
        return tuple(
            sorted(
                (
                    o
                    for o in self.objects.get(kind, ())
                    if not o["metadata"].get("deletionTimestamp") and label(o, "gcloud.gov.pk/managed") is None
                ),
                key=_name,
            )
        )


def read(api: Api, namespace: str, kinds: Iterable[Kind] = KINDS, audit_ids: list[str] | None = None) -> Inventory:
    """Read what is judged in a namespace, in pages. Raises UnavailableError; a missing right is told in `unread`.

    `audit_ids`: gets those of the reads.
    """
    objects: dict[Kind, tuple[Object, ...]] = {}
    unread: dict[Kind, str] = {}
    for kind in kinds:
        try:
            objects[kind] = tuple(api.list(kind, namespace=namespace, audit_ids=audit_ids))
        except ForbiddenError as error:
            unread[kind] = error.message
    return Inventory(namespace, objects, unread)


def candidates(inventory: Inventory) -> list[Candidate]:
    """Return everything that is to be judged, by kind and name: each controller once, pods of nobody, other objects."""
    found: dict[tuple[str, str], Candidate] = {}
    for made in (*_workloads(inventory), *_others(inventory), *_claims_to_come(inventory)):
        found.setdefault((made.kind, made.name), made)
    return [found[key] for key in sorted(found)]


def _workloads(inventory: Inventory) -> Iterator[Candidate]:
    for kind, path in _CONTROLLERS.items():
        for made in inventory.all(kind):
            owner = _controller(made)
            if (owner is not None and not _counts(inventory, made, owner)) or _finished(made):
                continue
            pod = _pod(_at(made, path), extra=[_claim_volume(name, made) for name, _ in _claims(inventory, made)])
            # What somebody else makes is judged through that; of an unknown owner, only the pods are known.
            itself = ((kind, _anew(kind, made)),) if owner is None else ()
            yield Candidate(*_named(inventory, made, owner), ((POD, pod), *itself), restarts=True)
    for made in inventory.all(POD):
        owner = _controller(made)
        known = owner is not None and any(kind.kind == owner["kind"] for kind in _CONTROLLERS)
        if (known and owner is not None and not _orphaned(inventory, owner)) or _finished(made):
            continue
        kind_and_name = ("Pod", _name(made)) if owner is None or known else (str(owner["kind"]), str(owner["name"]))
        yield Candidate(*kind_and_name, ((POD, _running_pod(made)),), restarts=True)


def _orphaned(inventory: Inventory, owner: Mapping[str, Any]) -> bool:
    """Whether a pod's controller could be read and is not there: garbage collection has not come round yet."""
    kind = next(kind for kind in _CONTROLLERS if kind.kind == owner["kind"])
    return kind in inventory.objects and all(o["metadata"]["uid"] != owner["uid"] for o in inventory.objects[kind])


def _counts(inventory: Inventory, made: Object, owner: Mapping[str, Any]) -> bool:
    """Whether a controller that has a controller is judged all the same.

    Its owner makes it: a CronJob its Jobs, a Deployment its ReplicaSets. A ReplicaSet of an earlier template whose pods
    still run would make those anew; and an owner of a kind that is not known shows no template itself.
    """
    if owner["kind"] not in {kind.kind for kind in _CONTROLLERS}:
        return bool(made.get("spec", {}).get("replicas", 1))
    if owner["kind"] != DEPLOYMENT.kind or not made.get("spec", {}).get("replicas"):
        return False
    template = next((_at(o, _TEMPLATE) for o in inventory.all(DEPLOYMENT) if _name(o) == owner["name"]), None)
    return template is not None and template.get("spec") != _at(made, _TEMPLATE).get("spec")


def _named(inventory: Inventory, made: Object, owner: Mapping[str, Any] | None) -> tuple[str, str]:
    kind = next(kind for kind in _CONTROLLERS if made in inventory.objects.get(kind, ()))
    if owner is None or owner["kind"] in {known.kind for known in _CONTROLLERS}:
        return kind.kind, _name(made)
    return str(owner["kind"]), str(owner["name"])


def _others(inventory: Inventory) -> Iterator[Candidate]:
    makers: dict[Kind, Callable[[Object], dict[str, Any]]] = {
        SERVICE: _service,
        PERSISTENT_VOLUME_CLAIM: _claim,
    }
    for kind in _OTHERS:
        for made in inventory.all(kind):
            body = makers.get(kind, _as_it_is)(made)
            yield Candidate(kind.kind, _name(made), ((kind, body),), restarts=False)


def _name(made: Object) -> str:
    return str(made["metadata"]["name"])


def _at(made: Object, path: Iterable[str]) -> Mapping[str, Any]:
    place: Any = made
    for part in path:
        place = place.get(part) or {}
    return place if isinstance(place, Mapping) else {}


def _controller(made: Object) -> Mapping[str, Any] | None:
    return next((o for o in made["metadata"].get("ownerReferences") or () if o.get("controller")), None)


def _finished(made: Object) -> bool:
    """Whether a Pod or Job has come to its end and never starts again."""
    status = made.get("status") or {}
    ended = {"Complete", "Failed"}
    return status.get("phase") in {"Succeeded", "Failed"} or any(
        c.get("type") in ended and c.get("status") == "True" for c in status.get("conditions") or ()
    )


def _metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return labels and annotations of its author, under a name that the server makes."""
    annotations = {
        name: value
        for name, value in (metadata.get("annotations") or {}).items()
        if not name.startswith(_OF_THE_SERVER)
    }
    labels = dict(metadata.get("labels") or {})
    return {
        "generateName": _NAME,
        **({"labels": labels} if labels else {}),
        **({"annotations": annotations} if annotations else {}),
    }


def _pod(template: Mapping[str, Any], extra: Iterable[dict[str, Any]] = ()) -> dict[str, Any]:
    spec = copy.deepcopy(dict(template.get("spec") or {}))
    added = list(extra)
    if added:
        names = {volume["name"] for volume in added}
        spec["volumes"] = [v for v in spec.get("volumes") or () if v["name"] not in names] + added
    return {"apiVersion": "v1", "kind": "Pod", "metadata": _metadata(template.get("metadata") or {}), "spec": spec}


def _running_pod(made: Object) -> dict[str, Any]:
    pod = _pod(made)
    spec = pod["spec"]
    for part in _OF_A_POD_THAT_RUNS:
        spec.pop(part, None)
    if "volumes" in spec:
        spec["volumes"] = [v for v in spec["volumes"] if not v["name"].startswith(_TOKEN_VOLUME)]
    for container in (*spec.get("containers", ()), *spec.get("initContainers", ())):
        if "volumeMounts" in container:
            container["volumeMounts"] = [
                m for m in container["volumeMounts"] if not m["name"].startswith(_TOKEN_VOLUME)
            ]
    return pod


def _anew(kind: Kind, made: Object) -> dict[str, Any]:
    """Return what makes pods as its author would write it; a Job without what the server puts in to tell its pods."""
    body = {"apiVersion": kind.api_version, "kind": kind.kind, **_as_it_is(made)}
    if kind == JOB:
        spec = body["spec"]
        spec.pop("selector", None)
        spec.pop("manualSelector", None)
        metadata = spec["template"].get("metadata") or {}
        labels = {k: v for k, v in (metadata.get("labels") or {}).items() if k not in _OF_A_JOB}
        spec["template"]["metadata"] = {**metadata, "labels": labels}
    return body


def _claims_to_come(inventory: Inventory) -> Iterator[Candidate]:
    """Yield the claims of StatefulSets that have none yet; a restart takes those that are there."""
    for made in inventory.all(STATEFUL_SET):
        for name, claim in _claims(inventory, made):
            sent = ((PERSISTENT_VOLUME_CLAIM, claim),)
            yield Candidate(PERSISTENT_VOLUME_CLAIM.kind, f"{name}-{_name(made)}-0", sent, restarts=False)


def _claims(inventory: Inventory, made: Object) -> list[tuple[str, dict[str, Any]]]:
    """Return name and body of the claims that a StatefulSet makes for each pod.

    Where the template names no class, the cluster's default stands in the claims that are there.
    """
    found = []
    for template in made.get("spec", {}).get("volumeClaimTemplates") or ():
        name = str(template["metadata"]["name"])
        claim = _claim(template)
        if not claim["spec"].get("storageClassName"):
            live = (c for c in inventory.all(PERSISTENT_VOLUME_CLAIM) if _name(c).startswith(f"{name}-{_name(made)}-"))
            given = next((c["spec"].get("storageClassName") for c in live), None)
            claim["spec"] |= {"storageClassName": given} if given else {}
        found.append((name, claim))
    return found


def _claim_volume(name: str, made: Object) -> dict[str, Any]:
    return {"name": name, "persistentVolumeClaim": {"claimName": f"{name}-{_name(made)}-0"}}


def _claim(made: Object) -> dict[str, Any]:
    claim = _as_it_is(made) | {"apiVersion": "v1", "kind": PERSISTENT_VOLUME_CLAIM.kind}
    claim["spec"].pop("volumeName", None)
    return claim


def _service(made: Object) -> dict[str, Any]:
    service = _as_it_is(made)
    spec = service["spec"]
    headless = spec.get("clusterIP") == "None"
    for part in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort"):
        spec.pop(part, None)
    if headless:
        spec["clusterIP"] = "None"
    for port in spec.get("ports") or ():
        port.pop("nodePort", None)
    return service


def _as_it_is(made: Object) -> dict[str, Any]:
    body = {key: copy.deepcopy(value) for key, value in made.items() if key not in {"metadata", "status"}}
    return body | {"metadata": _metadata(made["metadata"])}
