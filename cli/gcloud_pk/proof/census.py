"""Census: what stands on the whole cluster and has a say about tenants, read once, with LISTs only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from gcloud_pk.cluster import kinds
from gcloud_pk.cluster.answer import NotFoundError
from gcloud_pk.cluster.kinds import Kind
from gcloud_pk.cluster.transport import Api
from gcloud_pk.errors import GcloudPkError
from gcloud_pk.proof.bootstrap import minor_of

Object = Mapping[str, Any]

_ADMISSION = "admissionregistration.k8s.io"

MUTATING_WEBHOOK = Kind(
    _ADMISSION, "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", namespaced=False
)
VALIDATING_WEBHOOK = Kind(
    _ADMISSION, "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", namespaced=False
)
MUTATING_POLICY = Kind(_ADMISSION, "v1", "MutatingAdmissionPolicy", "mutatingadmissionpolicies", namespaced=False)
MUTATING_POLICY_BINDING = Kind(
    _ADMISSION, "v1", "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings", namespaced=False
)
API_SERVICE = Kind("apiregistration.k8s.io", "v1", "APIService", "apiservices", namespaced=False)
RUNTIME_CLASS = Kind("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses", namespaced=False)
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", namespaced=True)

OPTIONAL = (MUTATING_POLICY, MUTATING_POLICY_BINDING, RUNTIME_CLASS)
"""Kinds that a cluster may do without: where they are not served, there is none."""

KINDS = (
    kinds.NAMESPACE,
    kinds.TENANT,
    kinds.CLUSTER_ROLE,
    kinds.CLUSTER_ROLE_BINDING,
    kinds.ROLE,
    kinds.ROLE_BINDING,
    MUTATING_WEBHOOK,
    VALIDATING_WEBHOOK,
    kinds.VALIDATING_ADMISSION_POLICY,
    kinds.VALIDATING_ADMISSION_POLICY_BINDING,
    MUTATING_POLICY,
    MUTATING_POLICY_BINDING,
    API_SERVICE,
    kinds.CUSTOM_RESOURCE_DEFINITION,
    kinds.PERSISTENT_VOLUME,
    kinds.PRIORITY_CLASS,
    kinds.STORAGE_CLASS,
    RUNTIME_CLASS,
    ENDPOINT_SLICE,
)

WIDE_POLICIES: Mapping[str, str] = {
    "adminnetworkpolicies.policy.networking.k8s.io": "decides before every NetworkPolicy",
    "baselineadminnetworkpolicies.policy.networking.k8s.io": "decides where no NetworkPolicy does",
    "clusternetworkpolicies.policy.networking.k8s.io": "decides before or after every NetworkPolicy",
    "ciliumclusterwidenetworkpolicies.cilium.io": "adds to what the NetworkPolicies allow",
    "ciliumnetworkpolicies.cilium.io": "adds to what the NetworkPolicies allow",
    "clusternetworkpolicies.crd.antrea.io": "may decide before every NetworkPolicy",
    "networkpolicies.crd.antrea.io": "may decide before every NetworkPolicy",
    "globalnetworkpolicies.crd.projectcalico.org": "may decide before every NetworkPolicy",
    "networkpolicies.crd.projectcalico.org": "may decide before every NetworkPolicy",
}
"""CustomResourceDefinitions of network policies beside Kubernetes' own → what they can do to those."""

GATES: Mapping[str, str] = {
    "gateways.gateway.networking.k8s.io": "listens in a tenant's namespace, for whoever made it",
    "referencegrants.gateway.networking.k8s.io": "lets routes of another namespace in",
}
"""CustomResourceDefinitions of what is the platform's of the Gateway API → what one in a tenant's namespace does."""


@dataclass(frozen=True)
class Reading:
    """The objects of one kind, or why they could not be read. `absent`: the cluster does not serve the kind."""

    objects: tuple[Object, ...] = ()
    refused: str | None = None
    absent: bool = False


@dataclass(frozen=True)
class Census:
    """Everything that was read. `wide`, `gates`: objects of `WIDE_POLICIES` and `GATES` by definition, where served."""

    minor: str
    readings: Mapping[Kind, Reading]
    wide: Mapping[str, Reading]
    unversioned: str | None = None
    """Why the server's version is not known."""
    gates: Mapping[str, Reading] = field(default_factory=dict)

    def all(self, kind: Kind) -> tuple[Object, ...]:
        """Return the objects of a kind by namespace and name; none where they could not be read."""
        return self.readings[kind].objects

    def named(self, kind: Kind) -> dict[tuple[str, str], Object]:
        """Return the objects of a kind by (namespace, name)."""
        return {place(made): made for made in self.all(kind)}


def place(made: Object) -> tuple[str, str]:
    """Return (namespace, name); the namespace is empty for what has none."""
    metadata = made["metadata"]
    return str(metadata.get("namespace") or ""), str(metadata["name"])


def read(api: Api, *, threads: int = 8) -> Census:
    """Read the cluster. Raises nothing for what is refused or not answered: the reading says it."""
    try:
        minor, unversioned = minor_of(api.get("/version")), None
    except GcloudPkError as error:
        minor, unversioned = "unknown", error.message
    with ThreadPoolExecutor(threads, thread_name_prefix="census") as pool:
        readings = dict(zip(KINDS, pool.map(lambda kind: _list(api, kind), KINDS), strict=True))
        there = list(_served(readings[kinds.CUSTOM_RESOURCE_DEFINITION].objects))
        custom = dict(zip((k.resource for k in there), pool.map(lambda kind: _list(api, kind), there), strict=True))
    wide, gates = ({name: custom[name] for name in custom if name in known} for known in (WIDE_POLICIES, GATES))
    return Census(minor, readings, wide, unversioned, gates)


def _list(api: Api, kind: Kind) -> Reading:
    try:
        found = api.list(kind)
    except NotFoundError:
        return Reading(absent=True)
    except GcloudPkError as error:
        return Reading(refused=error.message)
    return Reading(tuple(sorted(found, key=place)))


def _served(definitions: Iterable[Object]) -> Iterable[Kind]:
    for made in definitions:
        spec = made["spec"]
        served = [version["name"] for version in spec["versions"] if version.get("served")]
        if made["metadata"]["name"] in {*WIDE_POLICIES, *GATES} and served:
            names = spec["names"]
            yield Kind(spec["group"], served[0], names["kind"], names["plural"], spec["scope"] == "Namespaced")
