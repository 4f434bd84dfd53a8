"""RBAC arithmetic: what rules give, to whom, and what of it goes beyond other rules. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]
Rule = Mapping[str, Any]

ALL = "*"


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One verb on one resource, or on one URL path (then `resource` begins with a slash).

    `names`: the only objects that it is for; none means all.
    """

    verb: str
    group: str
    resource: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        of = f".{self.group}" if self.group else ""
        only = f" {', '.join(self.names)}" if self.names else ""
        return f"{self.verb} {self.resource}{of}{only}"

    def covers(self, other: Right) -> bool:
        """Whether whoever holds this holds the other (apiserver, `rbac/v1/evaluation_helpers.go`)."""
        return (
            self.verb in {ALL, other.verb}
            and self.group in {ALL, other.group}
            and _resource_covers(self.resource, other.resource)
            and (not self.names or (bool(other.names) and set(other.names) <= set(self.names)))
        )


def _resource_covers(held: str, asked: str) -> bool:
    if held.startswith("/") or asked.startswith("/"):
        if not (held.startswith("/") and asked.startswith("/")):
            return False
        return held == asked or (held.endswith(ALL) and asked.startswith(held[:-1]))
    if held in {ALL, asked}:
        return True
    _, slash, subresource = asked.partition("/")
    return bool(slash) and held == f"{ALL}/{subresource}"


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """Who is bound. A service account is one in whichever of its two spellings it is bound."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


def rights(role: Object) -> Iterator[Right]:
    """Yield what a Role or ClusterRole gives, one by one; aggregated rules are in `rules` of a live object."""
    for rule in role.get("rules") or ():
        names = tuple(sorted(rule.get("resourceNames") or ()))
        for verb in rule.get("verbs") or ():
            for resource in rule.get("resources") or ():
                for group in rule.get("apiGroups") or ():
                    yield Right(verb, group, resource, names)
            for path in rule.get("nonResourceURLs") or ():
                yield Right(verb, "", f"/{path.removeprefix('/')}")


def beyond(held: Iterable[Right], allowed: Iterable[Right]) -> list[Right]:
    """Return the rights that no allowed one covers, each once, sorted."""
    allowed = list(allowed)
    exact = set(allowed)
    return sorted({one for one in held if one not in exact and not any(other.covers(one) for other in allowed)})


def subjects(binding: Object) -> tuple[Subject, ...]:
    """Return whom a binding lets in, in the order of the binding."""
    return tuple(_subject(found, binding) for found in binding.get("subjects") or ())


def _subject(found: Mapping[str, Any], binding: Object) -> Subject:
    kind, name = str(found.get("kind")), str(found.get("name"))
    if kind == "ServiceAccount":
        return Subject(kind, str(found.get("namespace") or binding["metadata"].get("namespace") or ""), name)
    parts = name.split(":")
    if kind == "User" and parts[:2] == ["system", "serviceaccount"] and len(parts) == 4:
        return Subject("ServiceAccount", parts[2], parts[3])
    return Subject(kind, "", name)


def role_of(binding: Object) -> tuple[str, str, str]:
    """Return (kind, namespace, name) of the role that is bound; a ClusterRole has no namespace."""
    role = binding["roleRef"]
    namespace = binding["metadata"].get("namespace", "") if role["kind"] == "Role" else ""
    return str(role["kind"]), str(namespace), str(role["name"])


def in_words(found: Sequence[object], *, most: int = 6) -> str:
    """Return the first few, and how many more there are."""
    shown = ", ".join(str(one) for one in found[:most])
    return shown if len(found) <= most else f"{shown} and {len(found) - most} more"
