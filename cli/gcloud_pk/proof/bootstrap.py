"""What a cluster has by itself: the roles, bindings and namespaces that Kubernetes makes, recorded by minor version.

The label `kubernetes.io/bootstrapping` proves nothing, because anybody may set it: what is compared is the content
(`policies/cluster/kubernetes-<minor>.yaml`, taken from an API server that nobody else had used).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from gcloud_pk.cluster.kinds import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, NAMESPACE, ROLE, ROLE_BINDING, Kind
from gcloud_pk.cluster.transport import Api
from gcloud_pk.model import labels
from gcloud_pk.proof.surroundings import label
from gcloud_pk.render import data

Object = dict[str, Any]
Key = tuple[str, str, str]
"""(kind, namespace, name)"""

_KINDS = (NAMESPACE, CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING)
_PARTS = ("aggregationRule", "rules", "roleRef", "subjects")

_HEADER = """\
# What Kubernetes {minor} makes by itself, from a fresh API server ({version}): rules, bindings and namespaces that are
# no finding of `audit isolation --all`. Made anew by: GCLOUD_PK_UPDATE_CLUSTER=1 pytest tests/e2e/test_population.py
"""


@dataclass(frozen=True)
class Bootstrap:
    """The objects that Kubernetes of one minor version makes. `objects` is empty where it was not recorded."""

    minor: str
    objects: Mapping[Key, Object] = field(default_factory=dict)

    @property
    def namespaces(self) -> frozenset[str]:
        """Namespaces that every cluster has."""
        return frozenset(name for kind, _, name in self.objects if kind == NAMESPACE.kind) or _EVERYWHERE


_EVERYWHERE = frozenset({"default", "kube-node-lease", "kube-public", "kube-system"})


def key(made: Mapping[str, Any]) -> Key:
    """Return the key of an object."""
    metadata = made["metadata"]
    return str(made["kind"]), str(metadata.get("namespace") or ""), str(metadata["name"])


def minor_of(version: Mapping[str, Any]) -> str:
    """Return `1.36` of what `/version` says; some distributions write the minor as `36+`."""
    return f"{version.get('major')}.{str(version.get('minor')).rstrip('+')}"


@cache
def bootstrap(minor: str) -> Bootstrap:
    """Return what was recorded of a minor version; nothing where it was not recorded."""
    name = f"kubernetes-{minor}.yaml"
    if name not in recorded_files():
        return Bootstrap(minor)
    found = data.documents("policies", "cluster", name)[0]
    return Bootstrap(minor, {key(made): made for made in found["objects"]})


@cache
def recorded_files() -> frozenset[str]:
    """Return the names of the files under `policies/cluster`."""
    from gcloud_pk import paths

    return frozenset(path.name for path in (paths.data("policies") / "cluster").glob("kubernetes-*.yaml"))


def record(api: Api) -> str:
    """Return the YAML text for an API server that nobody has used; the platform's own objects are left out."""
    import yaml

    version = api.get("/version")
    made = [_recorded(kind, live) for kind in _KINDS for live in api.list(kind) if _of_kubernetes(live)]
    document = {"minor": minor_of(version), "objects": sorted(made, key=key)}
    header = _HEADER.format(minor=minor_of(version), version=version["gitVersion"])
    return header + yaml.safe_dump(document, default_flow_style=None, sort_keys=False, width=150)


def _of_kubernetes(live: Object) -> bool:
    return label(live, labels.MANAGED) is None and label(live, labels.TENANT) is None


def _recorded(kind: Kind, live: Object) -> Object:
    metadata = {name: live["metadata"][name] for name in ("namespace", "name") if live["metadata"].get(name)}
    return {"kind": kind.kind, "metadata": metadata, **{name: live[name] for name in _PARTS if live.get(name)}}
