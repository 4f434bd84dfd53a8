"""What a cluster's nodes and pods are like at one moment, and what several moments say of a drill. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gcloud_pk.cluster.readiness import is_ready
from gcloud_pk.model.labels import SYSTEM_NAMESPACE, TENANT

Owner = tuple[str, str, str]
"""Namespace, kind and name of what keeps pods: they are made anew elsewhere."""

_STAYS = {"DaemonSet", "Node"}
"""Owners whose pods belong to one node each: they go and come back with it."""

_DONE = {"Succeeded", "Failed"}


@dataclass(frozen=True, slots=True)
class Pods:
    """Pods of one owner at one moment: how many are ready on each node."""

    ready: Mapping[str, int]

    def without(self, nodes: Collection[str]) -> int:
        """Return how many are ready elsewhere than on these nodes."""
        return sum(number for node, number in self.ready.items() if node not in nodes)

    @property
    def all(self) -> int:
        """How many are ready."""
        return sum(self.ready.values())


@dataclass(frozen=True, slots=True)
class Census:
    """One moment: `ready` and `renewed` (its lease) by node, pods by owner, unready programs of control planes."""

    at: float
    ready: Mapping[str, bool]
    renewed: Mapping[str, str]
    pods: Mapping[Owner, Pods]
    wanting: tuple[str, ...] = ()


def census(
    at: float,
    nodes: Iterable[Mapping[str, Any]],
    leases: Iterable[Mapping[str, Any]],
    pods: Iterable[Mapping[str, Any]],
) -> Census:
    """Read what the API lists; `leases`: those of the namespace kube-node-lease."""
    counted: dict[Owner, Counter[str]] = {}
    wanting: list[str] = []
    for pod in pods:
        meta, spec, status = pod.get("metadata") or {}, pod.get("spec") or {}, pod.get("status") or {}
        if status.get("phase") in _DONE:
            continue
        serves = is_ready(pod) and not meta.get("deletionTimestamp")
        node, namespace = str(spec.get("nodeName") or ""), str(meta.get("namespace"))
        owner = next((one for one in meta.get("ownerReferences") or [] if one.get("controller")), None)
        if owner and owner.get("kind") not in _STAYS:
            key = (namespace, str(owner.get("kind")), str(owner.get("name")))
            counted.setdefault(key, Counter())[node] += serves
        elif owner and owner.get("kind") == "Node" and not serves:
            wanting.append(f"{namespace}/{meta.get('name')}")
    return Census(
        at,
        {str(node["metadata"]["name"]): is_ready(node) for node in nodes},
        {str(one["metadata"]["name"]): str((one.get("spec") or {}).get("renewTime")) for one in leases},
        {key: Pods({node: number for node, number in by_node.items() if number}) for key, by_node in counted.items()},
        tuple(sorted(wanting)),
    )


@dataclass(frozen=True, slots=True)
class Displaced:
    """What kept pods on hosts that went: `wanted` of them ready before, `standing` elsewhere, `back` after seconds.

    `back`: None where it never was as before on other hosts while the element was out.
    """

    owner: Owner
    side: str
    wanted: int
    standing: int
    back: float | None

    @property
    def name(self) -> str:
        """`namespace/name`."""
        return f"{self.owner[0]}/{self.owner[2]}"

    def as_dict(self) -> dict[str, Any]:
        """Return the shape of `measures.pods.displaced[]`."""
        return {
            "namespace": self.owner[0],
            "kind": self.owner[1],
            "name": self.owner[2],
            "side": self.side,
            "ready": self.wanted,
            "elsewhere": self.standing,
            "back": None if self.back is None else round(self.back, 2),
        }


def side_of(namespace: str, tenants: Collection[str], own: str) -> str:
    """Return whose a namespace is: `tenant`, `drill`, `platform` or `other`."""
    if namespace in tenants:
        return "tenant"
    if namespace == own:
        return "drill"
    return "platform" if namespace.startswith("kube-") or namespace == SYSTEM_NAMESPACE else "other"


def tenant_namespaces(namespaces: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Return the names of those that are a tenant's."""
    return frozenset(
        str(one["metadata"]["name"]) for one in namespaces if TENANT in (one["metadata"].get("labels") or {})
    )


def displaced(
    before: Census,
    during: Sequence[Census],
    out: Collection[str],
    since: float,
    sides: Mapping[str, str],
) -> list[Displaced]:
    """Return what had ready pods on hosts that went, and when as many were ready elsewhere. `sides`: by namespace."""
    found = []
    for owner, pods in sorted(before.pods.items()):
        if pods.without(out) == pods.all:
            continue
        there = [one for one in during if one.at >= since]
        back = next((one.at for one in there if _elsewhere(one, owner, out) >= pods.all), None)
        found.append(
            Displaced(
                owner,
                sides.get(owner[0], "other"),
                pods.all,
                pods.without(out),
                None if back is None else back - since,
            )
        )
    return found


def _elsewhere(one: Census, owner: Owner, out: Collection[str]) -> int:
    pods = one.pods.get(owner)
    return pods.without(out) if pods else 0


def noticed(during: Iterable[Census], out: Collection[str], since: float) -> float | None:
    """Return the seconds until all hosts that went were not Ready; None where that never was."""
    if not out:
        return None
    return next(
        (one.at - since for one in during if one.at >= since and not any(one.ready.get(name) for name in out)), None
    )


def fell(during: Iterable[Census], before: Census, out: Collection[str], since: float) -> list[str]:
    """Return the nodes that were to stay and were not Ready at some time: more went than was said."""
    stood = [name for name, ready in before.ready.items() if ready and name not in out]
    return [name for name in stood if any(one.at >= since and not one.ready.get(name) for one in during)]


@dataclass
class Return:
    """What came back, moment by moment, since an element was given back at `since` (monotonic seconds).

    A node is back when it is Ready and has renewed its lease since: before it was noticed to be gone it is Ready too.
    """

    since: float
    before: Census
    out: Collection[str]
    gone: Census | None
    nodes: float | None = None
    all: float | None = None
    missing: list[str] = field(default_factory=list)

    def take(self, one: Census) -> bool:
        """Take one more moment; return whether everything is as it was."""
        behind = [name for name, ready in self.before.ready.items() if ready and not self._is_back(one, name)]
        short = [
            f"{owner[0]}/{owner[2]}"
            for owner, pods in self.before.pods.items()
            if pods.all and one.pods.get(owner, Pods({})).all < pods.all
        ]
        programs = [name for name in one.wanting if name not in self.before.wanting]
        self.missing = [*behind, *short, *programs]
        if not behind and self.nodes is None:
            self.nodes = one.at - self.since
        if not self.missing and self.all is None:
            self.all = one.at - self.since
        return not self.missing

    def _is_back(self, one: Census, name: str) -> bool:
        if not one.ready.get(name):
            return False
        last = self.gone or self.before
        return name not in self.out or one.renewed.get(name) != last.renewed.get(name)
