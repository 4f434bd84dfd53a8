"""Dangerous rights: those that make a wall of RBAC worth nothing to whoever has them. Pure.

Sources: Kubernetes documentation, "RBAC good practices, privilege escalation risks"; KEP-5284 for the verbs of
constrained impersonation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from gcloud_pk.proof.rbac import ALL, Object, Right, Rule, Subject, rights, role_of, subjects

_AUTHENTICATION = "authentication.k8s.io"
_RBAC = "rbac.authorization.k8s.io"


@dataclass(frozen=True)
class Danger:
    """Rights of one sort. `prefix`: every verb that begins so, whatever it is for, is one too.

    `within_namespaces`: those that a RoleBinding gives count as well.
    """

    targets: tuple[Right, ...]
    prefix: str | None = None
    within_namespaces: bool = False

    @cached_property
    def verbs(self) -> frozenset[str]:
        """The verbs of its targets, and what stands for any."""
        return frozenset({ALL, *(target.verb for target in self.targets)})

    def may_be_in(self, rule: Rule) -> bool:
        """Whether a rule has a verb of it; most have none, and need not be written out."""
        verbs = rule.get("verbs") or ()
        return not self.verbs.isdisjoint(verbs) or any(self.prefix and verb.startswith(self.prefix) for verb in verbs)


IMPERSONATE = Danger(
    (
        *(Right("impersonate", "", resource) for resource in ("groups", "serviceaccounts", "users")),
        *(Right("impersonate", _AUTHENTICATION, resource) for resource in ("uids", "userextras")),
        *(Right("impersonate:user-info", _AUTHENTICATION, r) for r in ("groups", "uids", "userextras", "users")),
        Right("impersonate:serviceaccount", _AUTHENTICATION, "serviceaccounts"),
        Right("impersonate:arbitrary-node", _AUTHENTICATION, "nodes"),
        Right("impersonate:associated-node", _AUTHENTICATION, "nodes"),
    ),
    prefix="impersonate",
    within_namespaces=True,
)
ESCALATE = Danger(
    tuple(Right(verb, _RBAC, role) for verb in ("bind", "escalate") for role in ("clusterroles", "roles")),
    within_namespaces=True,
)
REACH = Danger(
    (
        Right("create", "", "serviceaccounts/token"),
        *(Right(verb, "", "nodes/proxy") for verb in ("get", "create", "update", "patch", "delete")),
        *(
            Right(verb, "", f"pods/{what}")
            for what in ("attach", "exec", "portforward", "proxy")
            for verb in ("get", "create")
        ),
        *(Right(verb, "", "pods/ephemeralcontainers") for verb in ("update", "patch")),
        *(Right(verb, "", "secrets") for verb in ("get", "list", "watch")),
    )
)
"""Cluster-wide only: in a namespace it is what its owner may do."""


def dangerous(role: Object, danger: Danger) -> list[Right]:
    """Return what of a danger a role gives; wildcards are written out."""
    found: set[Right] = set()
    for right in rights({"rules": [rule for rule in role.get("rules") or () if danger.may_be_in(rule)]}):
        if danger.prefix and right.verb.startswith(danger.prefix):
            found.add(right)
            continue
        everywhere = Right(right.verb, right.group, right.resource)
        for target in danger.targets:
            if everywhere.covers(target):
                found.add(Right(target.verb, target.group, target.resource, right.names))
    return sorted(found)


def given(binding: Object, roles: Mapping[tuple[str, str, str], Object], danger: Danger) -> list[Right]:
    """Return what of a danger a binding gives; nothing where its role is not there."""
    role = roles.get(role_of(binding))
    return dangerous(role, danger) if role is not None else []


@dataclass(frozen=True)
class Held:
    """Dangerous rights by who has them; `everywhere`: by cluster-wide bindings, `within`: by namespace too."""

    everywhere: Mapping[Subject, frozenset[Right]]
    within: Mapping[tuple[Subject, str], frozenset[Right]]

    def of(self, subject: Subject, namespace: str) -> frozenset[Right]:
        """Return what a subject is known to have in a namespace, or cluster-wide where that is empty."""
        own = self.everywhere.get(subject, frozenset())
        return own | self.within.get((subject, namespace), frozenset()) if namespace else own


def held(made: Mapping[tuple[str, str, str], Object]) -> Held:
    """Return the dangerous rights that a set of roles and bindings gives."""
    everywhere: dict[Subject, set[Right]] = {}
    within: dict[tuple[Subject, str], set[Right]] = {}
    for (kind, namespace, _), binding in made.items():
        if kind not in {"ClusterRoleBinding", "RoleBinding"}:
            continue
        found = {right for danger in (IMPERSONATE, ESCALATE, REACH) for right in given(binding, made, danger)}
        for subject in subjects(binding):
            if kind == "ClusterRoleBinding":
                everywhere.setdefault(subject, set()).update(found)
            else:
                within.setdefault((subject, namespace), set()).update(found)
    return Held(
        {subject: frozenset(rights_) for subject, rights_ in everywhere.items()},
        {key: frozenset(rights_) for key, rights_ in within.items()},
    )
