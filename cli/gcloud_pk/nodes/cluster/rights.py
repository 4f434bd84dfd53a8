"""Who may what by the roles of a cluster: rights from which all others follow, and who holds them. Pure.

Roles are read as the authorizer reads them (Kubernetes: Using RBAC Authorization): rules add up, nothing is taken away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Objects = Mapping[str, Sequence[Mapping[str, Any]]]

EVERYBODY = frozenset({"system:authenticated", "system:unauthenticated", "system:anonymous", "system:serviceaccounts"})
"""Subjects that are no particular somebody."""

_RIGHTS: Mapping[str, tuple[tuple[str, str, tuple[str, ...]], ...]] = {
    "secrets": (("", "secrets", ("get", "list", "watch")),),
    "pods": (("", "pods", ("create",)),),
    "roles": (
        ("rbac.authorization.k8s.io", "clusterroles", ("bind", "escalate")),
        ("rbac.authorization.k8s.io", "roles", ("bind", "escalate")),
        ("", "users", ("impersonate",)),
        ("", "groups", ("impersonate",)),
        ("", "serviceaccounts", ("impersonate",)),
    ),
    "volumes": (("", "persistentvolumes", ("create",)),),
    "kubelets": (("", "nodes/proxy", ("get", "create")),),
    "certificates": (
        ("certificates.k8s.io", "certificatesigningrequests/approval", ("update", "patch")),
        ("certificates.k8s.io", "signers", ("approve", "sign")),
    ),
    "webhooks": (
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations", ("create", "update", "patch", "delete")),
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", ("create", "update", "patch", "delete")),
    ),
    "tokens": (("", "serviceaccounts/token", ("create",)),),
}
"""Rights by which one gets others: (API group, resource, verbs), any of which counts."""


def holders(lists: Objects) -> dict[str, list[str]]:
    """Return who has each right: `Group NAME` and so on, sorted, each once.

    The API's own are left out (`system:…` but for EVERYBODY, and service accounts of kube-system): kubeadm and the
    network plug-in bring them. `administrators` are all that are bound to cluster-admin, whoever they are.
    """
    cluster_roles = {one["metadata"]["name"]: one for one in lists.get("cluster_roles", ())}
    roles = {(one["metadata"]["namespace"], one["metadata"]["name"]): one for one in lists.get("roles", ())}
    found: dict[str, set[str]] = {name: set() for name in (*_RIGHTS, "administrators", "everybody_secrets")}
    found["everybody_pods"] = set()
    for binding in (*lists.get("cluster_role_bindings", ()), *lists.get("role_bindings", ())):
        reference = binding.get("roleRef") or {}
        namespace = binding["metadata"].get("namespace")
        name = str(reference.get("name"))
        role = cluster_roles.get(name) if reference.get("kind") == "ClusterRole" else roles.get((namespace, name))
        rules = (role or {}).get("rules") or []
        for subject in binding.get("subjects") or ():
            who = _called(subject)
            if name == "cluster-admin" and namespace is None:
                found["administrators"].add(who)
            for right, wanted in _RIGHTS.items():
                if any(_gives(rule, *one) for rule in rules for one in wanted):
                    if subject.get("name") in EVERYBODY and right in {"secrets", "pods"}:
                        found[f"everybody_{right}"].add(who)
                    if namespace is None and not _own(subject):
                        found[right].add(who)
    return {name: sorted(each) for name, each in found.items()}


def _called(subject: Mapping[str, Any]) -> str:
    name = str(subject.get("name"))
    return (
        f"{subject.get('kind')} {subject['namespace']}/{name}"
        if subject.get("namespace")
        else (f"{subject.get('kind')} {name}")
    )


def _own(subject: Mapping[str, Any]) -> bool:
    if subject.get("kind") == "ServiceAccount":
        return subject.get("namespace") == "kube-system"
    name = str(subject.get("name"))
    return name.startswith("system:") and name not in EVERYBODY and not name.startswith("system:serviceaccount")


def _gives(rule: Mapping[str, Any], group: str, resource: str, verbs: Sequence[str]) -> bool:
    groups, resources = rule.get("apiGroups") or (), rule.get("resources") or ()
    whole, _, part = resource.partition("/")
    named = {resource, "*", *((f"*/{part}",) if part else ())} if whole else set()
    return bool({group, "*"} & set(groups) and named & set(resources) and {*verbs, "*"} & set(rule.get("verbs") or ()))


def wildcards(lists: Objects) -> list[str]:
    """Return the roles that name all verbs by `*`, without those that Kubernetes itself brings."""
    return sorted({name for name in _wild(lists) if name})


def _wild(lists: Objects) -> Iterator[str]:
    for kind in ("cluster_roles", "roles"):
        for role in lists.get(kind, ()):
            meta = role["metadata"]
            if (meta.get("labels") or {}).get("kubernetes.io/bootstrapping") == "rbac-defaults":
                continue
            if any("*" in (rule.get("verbs") or ()) for rule in role.get("rules") or ()):
                yield "/".join(one for one in (meta.get("namespace"), meta["name"]) if one)
