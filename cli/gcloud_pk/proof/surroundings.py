"""Surroundings: the live objects of one namespace that probes aim at and object checks judge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gcloud_pk.cluster.transport import Answer, Api
from gcloud_pk.model import labels
from gcloud_pk.proof.call import Resource

Object = Mapping[str, Any]

KINDS = {
    "networkpolicies": Resource.parse("networking.k8s.io/v1/networkpolicies"),
    "resourcequotas": Resource.parse("v1/resourcequotas"),
    "limitranges": Resource.parse("v1/limitranges"),
    "roles": Resource.parse("rbac.authorization.k8s.io/v1/roles"),
    "rolebindings": Resource.parse("rbac.authorization.k8s.io/v1/rolebindings"),
    "serviceaccounts": Resource.parse("v1/serviceaccounts"),
    "tenantpolicies": Resource.parse(f"{labels.GROUP}/v1alpha1/tenantpolicies"),
}
FIXED_NAMES = {"serviceaccounts": "default", "tenantpolicies": labels.TENANT_POLICY_NAME}
NAMESPACES = Resource.parse("v1/namespaces")


@dataclass(frozen=True)
class Surroundings:
    """What the verifier itself reads in a namespace: the objects of a kind, or the answer that refused them."""

    namespace: str
    answers: Mapping[str, Answer]

    def refused(self, kind: str) -> Answer | None:
        """Return the answer where the kind could not be read; 404 of a single object is an answer too."""
        answer = self.answers[kind]
        return None if answer.ok else answer

    def all(self, kind: str) -> tuple[Object, ...]:
        """Return the objects of a kind, by name; none where they could not be read."""
        answer = self.answers[kind]
        items = answer.body.get("items", []) if answer.ok else []
        return tuple(sorted(items, key=lambda item: str(item["metadata"]["name"])))

    def platform(self, kind: str) -> tuple[Object, ...]:
        """Return the platform's own objects of a kind, by name."""
        return tuple(o for o in self.all(kind) if label(o, labels.MANAGED) == labels.MANAGED_BY_PLATFORM)

    def walls(self, kind: str) -> tuple[Object, ...]:
        """Return what keeps the tenant in by being there: the platform's objects, and those of a fixed name."""
        if kind == "namespaces":
            return (self.itself,) if self.itself else ()
        fixed = FIXED_NAMES.get(kind)
        platform = {str(o["metadata"]["name"]) for o in self.platform(kind)}
        return tuple(o for o in self.all(kind) if o["metadata"]["name"] in {*platform, fixed})

    @property
    def itself(self) -> Object:
        """The Namespace object; empty where it could not be read."""
        answer = self.answers["namespaces"]
        return answer.body if answer.ok else {}

    @property
    def default_denies(self) -> tuple[Object, ...]:
        """The platform's network policies that deny both directions to every pod."""
        return tuple(o for o in self.platform("networkpolicies") if denies_all(o))

    def names(self) -> dict[str, str]:
        """Return variable → name of the platform's objects that probes aim at; what is not there has no entry."""
        found = {
            "quota": _first(o for o in self.platform("resourcequotas") if not scoped(o)),
            "limits": _first(self.platform("limitranges")),
            "default_deny": _first(self.default_denies),
            "platform_binding": _first(self.platform("rolebindings")),
            "tenant_policy": _first(self.platform("tenantpolicies")),
            "service_account": _first(self.platform("serviceaccounts")),
        }
        return {variable: name for variable, name in found.items() if name}


def read(api: Api, namespace: str) -> Surroundings:
    """Read the namespace and the kinds of objects that are judged. Raises UnavailableError."""
    answers = {kind: api.request("GET", resource.path(namespace)) for kind, resource in KINDS.items()}
    answers["namespaces"] = api.request("GET", NAMESPACES.path(None, namespace))
    return Surroundings(namespace, answers)


def unread(namespace: str, why: str) -> Surroundings:
    """Return what is known of a namespace that could not be read at all: of every kind, why."""
    return Surroundings(namespace, dict.fromkeys((*KINDS, "namespaces"), no_answer(why)))


def no_answer(why: str) -> Answer:
    """Return what stands for the answer of a server that gave none: HTTP knows no status 0."""
    return Answer(0, {"message": why})


def without_owners(made: Object) -> dict[str, Any]:
    """Return an object as it was read, for evidence; who owns which field is long and shows nothing."""
    metadata = {name: value for name, value in made["metadata"].items() if name != "managedFields"}
    return {**made, "metadata": metadata}


def label(made: Object, key: str) -> str | None:
    """Return a label's value."""
    value = (made.get("metadata", {}).get("labels") or {}).get(key)
    return None if value is None else str(value)


def denies_all(policy: Object) -> bool:
    """Whether a NetworkPolicy selects every pod, in both directions, and allows nothing."""
    spec = policy.get("spec", {})
    return (
        not any((spec.get("podSelector") or {}).values())
        and set(spec.get("policyTypes") or []) == {"Ingress", "Egress"}
        and not spec.get("ingress")
        and not spec.get("egress")
    )


def scoped(quota: Object) -> bool:
    """Whether a quota counts only some pods."""
    spec = quota.get("spec", {})
    return bool(spec.get("scopes") or spec.get("scopeSelector"))


def _first(objects: Iterable[Object]) -> str | None:
    return next((str(made["metadata"]["name"]) for made in objects), None)
