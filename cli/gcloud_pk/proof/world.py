"""World: the objects that keep a tenant in, as they are written, and what of it holds. Pure.

It is what a mutation changes. What follows from a change is worked out here a second time, from the semantics of RBAC,
admission bindings and Pod Security, so that the audit's own opinion is compared with another one.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from pydantic import model_validator

from gcloud_pk.cluster.kinds import (
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    KINDS,
    NAMESPACE,
    ROLE,
    ROLE_BINDING,
    VALIDATING_ADMISSION_POLICY,
    VALIDATING_ADMISSION_POLICY_BINDING,
    Kind,
    ObjectKey,
    key_of,
    keyed,
)
from gcloud_pk.cluster.transport import Answer
from gcloud_pk.model.base import Line, Model
from gcloud_pk.proof import surroundings
from gcloud_pk.proof.patch import Edit, apply
from gcloud_pk.proof.rbac import ALL, Right, rights, role_of, subjects
from gcloud_pk.proof.surroundings import Surroundings

Manifest = dict[str, Any]

POLICIES = (VALIDATING_ADMISSION_POLICY, VALIDATING_ADMISSION_POLICY_BINDING)
_ACCESS = (CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING)
_ENFORCE = "pod-security.kubernetes.io/enforce"
_EVERYBODY = "system:authenticated"

KIND_NAMES: Mapping[str, Kind] = {kind.kind: kind for kind in KINDS.values()}
"""By the kind's name alone: no two that this program writes share one."""


class Act(Model):
    """One change of one object: exactly one of the last five.

    `merge`: a merge patch (RFC 7386); `edits`: as probes make them; `create`: the rest of the object; `hold`: its
    deletion is asked for, and a finalizer holds it.
    """

    kind: Line
    name: Line
    namespace: Line | None = None
    delete: bool = False
    hold: bool = False
    merge: dict[str, Any] | None = None
    edits: tuple[Edit, ...] = ()
    create: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _one_change(self) -> Act:
        if sum((self.delete, self.hold, self.merge is not None, bool(self.edits), self.create is not None)) != 1:
            raise ValueError("an act is one of delete, hold, merge, edits and create")
        if self.kind not in KIND_NAMES:
            raise ValueError(f"{self.kind} is of no known kind")
        return self

    @property
    def key(self) -> ObjectKey:
        """The object that is changed."""
        kind = KIND_NAMES[self.kind]
        return ObjectKey(kind, (self.namespace or "") if kind.namespaced else "", self.name)

    def as_dict(self) -> dict[str, Any]:
        """Return the act as evidence shows it."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


@dataclass(frozen=True)
class Held:
    """What somebody holds in one place: rights without names or wildcards, and the others."""

    exact: frozenset[tuple[str, str, str]]
    others: tuple[Right, ...]

    def covers(self, asked: Right) -> bool:
        """Whether the right is held."""
        if (asked.verb, asked.group, asked.resource) in self.exact:
            return True
        return any(other.covers(asked) for other in self.others)


@dataclass(frozen=True)
class World:
    """Objects by key. Equal objects mean the same; nothing is changed in place."""

    objects: Mapping[ObjectKey, Manifest] = field(repr=False)
    _rights: dict[tuple[frozenset[str], str], Held] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, manifests: Iterable[Manifest]) -> World:
        """Return the world of these objects."""
        return cls(keyed(manifests))

    def after(self, acts: Sequence[Act]) -> World:
        """Return the world in which the acts were done, in order. Raises ValueError for an object that is not there."""
        objects = dict(self.objects)
        for act in acts:
            changed = _done(act, objects.get(act.key))
            if changed is None:
                del objects[act.key]
            else:
                objects[act.key] = changed
        same_access = not any(act.key.kind in _ACCESS for act in acts)
        return World(objects, self._rights if same_access else {})

    def differences(self, other: World) -> list[ObjectKey]:
        """Return the keys of what is not the same there, sorted."""
        keys = {*self.objects, *other.objects}
        return sorted(key for key in keys if self.objects.get(key) != other.objects.get(key))

    def labels(self, namespace: str) -> Mapping[str, str]:
        """Return a namespace's labels; the one that the API server sets, where the namespace is none of ours."""
        found = self.objects.get(ObjectKey(NAMESPACE, "", namespace))
        own = (found or {}).get("metadata", {}).get("labels") or {}
        return {"kubernetes.io/metadata.name": namespace, **own}

    def pod_security(self, namespace: str) -> str:
        """Return the level that Pod Security enforces; what a lab's API server says where the label does not."""
        return self.labels(namespace).get(_ENFORCE, "restricted")

    def enforces(self, policy: str, rule: str | None, namespace: str | None) -> bool:
        """Whether a policy (and its rule, where one is named) denies in a namespace; None is the cluster itself."""
        made = self.objects.get(ObjectKey(VALIDATING_ADMISSION_POLICY, "", policy))
        if made is None or not any(self._denies(binding, policy, namespace) for binding in self._policy_bindings):
            return False
        constraints = made["spec"].get("matchConstraints") or {}
        return self._selects(constraints, namespace) and (rule is None or rule in rules_of(made))

    @cached_property
    def _policy_bindings(self) -> tuple[Manifest, ...]:
        return tuple(o for k, o in self.objects.items() if k.kind == VALIDATING_ADMISSION_POLICY_BINDING)

    def _denies(self, binding: Manifest, policy: str, namespace: str | None) -> bool:
        spec = binding["spec"]
        return (
            spec.get("policyName") == policy
            and "Deny" in (spec.get("validationActions") or ())
            and self._selects(spec.get("matchResources") or {}, namespace)
        )

    def _selects(self, constraints: Mapping[str, Any], namespace: str | None) -> bool:
        selector = constraints.get("namespaceSelector") or {}
        return namespace is None or _matches(selector, self.labels(namespace))

    def held(self, groups: Collection[str], namespace: str | None) -> Held:
        """Return what somebody of these groups, who is logged in, holds in a namespace (or the cluster, None)."""
        everybody = frozenset({*groups, _EVERYBODY})
        key = everybody, namespace or ""
        if key not in self._rights:
            self._rights[key] = _sorted_out(self._granted(everybody, namespace))
        return self._rights[key]

    def _granted(self, groups: frozenset[str], namespace: str | None) -> Iterable[Right]:
        for key, binding in self.objects.items():
            here = key.kind == CLUSTER_ROLE_BINDING or (key.kind == ROLE_BINDING and key.namespace == namespace)
            if here and any(s.kind == "Group" and s.name in groups for s in subjects(binding)):
                kind, at, name = role_of(binding)
                role = self.objects.get(ObjectKey(CLUSTER_ROLE if kind == "ClusterRole" else ROLE, at, name))
                yield from rights(role or {})

    def around(self, namespace: str) -> Surroundings:
        """Return a namespace's objects as the verifier would read them, without what controllers write."""
        answers = {}
        for plural, resource in surroundings.KINDS.items():
            items = [
                made
                for key, made in self.objects.items()
                if key.namespace == namespace and key.kind.plural == plural and key.kind.group == resource.group
            ]
            answers[plural] = Answer(200, {"items": items})
        itself = self.objects.get(ObjectKey(NAMESPACE, "", namespace))
        answers["namespaces"] = Answer(200, itself) if itself else Answer(404, {})
        return Surroundings(namespace, answers)


def rules_of(policy: Manifest) -> tuple[str, ...]:
    """Return the ids of a policy's rules, in order: what stands in brackets before each message."""
    found = []
    for validation in policy["spec"].get("validations") or ():
        message = str(validation.get("message", ""))
        if message.startswith("[") and "]" in message and validation.get("expression") != "true":
            found.append(message[1 : message.index("]")])
    return tuple(found)


def _done(act: Act, live: Manifest | None) -> Manifest | None:
    kind = act.key.kind
    if act.create is not None:
        metadata = {"name": act.name, **({"namespace": act.key.namespace} if kind.namespaced else {})}
        metadata |= act.create.get("metadata") or {}
        made = {"apiVersion": kind.api_version, "kind": kind.kind, **act.create, "metadata": metadata}
        assert key_of(made) == act.key  # noqa: S101 - an act names what it makes
        return made
    if live is None:
        raise ValueError(f"there is no {act.key} to change")
    if act.delete:
        return None
    if act.hold:
        return {**live, "metadata": {**live["metadata"], "deletionTimestamp": HELD}}
    return apply(live, act.edits) if act.edits else merged(live, act.merge or {})


HELD = "held"
"""Stands for a deletionTimestamp, which only the API server writes."""


def merged(document: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy with a merge patch applied (RFC 7386)."""
    made = copy.deepcopy(dict(document))
    for name, value in patch.items():
        if value is None:
            made.pop(name, None)
        elif isinstance(value, Mapping):
            below = made.get(name)
            made[name] = merged(below if isinstance(below, dict) else {}, value)
        else:
            made[name] = copy.deepcopy(value)
    return made


def _sorted_out(granted: Iterable[Right]) -> Held:
    exact: set[tuple[str, str, str]] = set()
    others: list[Right] = []
    for right in granted:
        if right.names or ALL in {right.verb, right.group} or ALL in right.resource:
            others.append(right)
        else:
            exact.add((right.verb, right.group, right.resource))
    return Held(frozenset(exact), tuple(others))


_Operator = Literal["In", "NotIn", "Exists", "DoesNotExist"]


def _matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector selects (apimachinery, LabelSelector); an empty one selects everything."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(
        _term(expression["operator"], expression["key"], expression.get("values") or (), labels)
        for expression in selector.get("matchExpressions") or ()
    )


def _term(operator: _Operator, key: str, values: Collection[str], labels: Mapping[str, str]) -> bool:
    if operator in {"Exists", "DoesNotExist"}:
        return (key in labels) is (operator == "Exists")
    return (labels.get(key) in values) is (operator == "In")
