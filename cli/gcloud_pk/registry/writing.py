"""A TenantRequest as YAML for people: block style, in the model's order, with a comment where one helps."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gcloud_pk.errors import Problem
from gcloud_pk.text import escape

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9 ._@/()+-]*[A-Za-z0-9)/.]|[A-Za-z]")
# Texts that some reader of YAML takes for something else.
_AMBIGUOUS = re.compile(r"(?i:y|n|yes|no|on|off|true|false|null|e[0-9]+|inf|nan)")

COMMENTS: Mapping[str, str] = {
    "metadata.name": "the tenant: a DNS label, at most 30 characters",
    "metadata.revision": "counts up with each change of a submitted request",
    "spec.organisation": "a code in organisations.yaml",
    "spec.classification": "open | public | restricted | confidential | secret",
    "spec.isolation": "namespace | dedicated-nodes | dedicated-cluster",
    "spec.site": "placed by classification where absent",
    "spec.contacts.technical": "at least one",
    "spec.access": "groups of the identity provider; they belong to this tenant only",
    "spec.budget": "the sum over environments must fit",
    "spec.environments[].name": "namespace <tenant>-<name>",
    "spec.environments[].tier": "production | staging | development | sandbox",
    "spec.environments[].domains": "under the organisation's own; unique among all tenants",
    "spec.environments[].exposure": "internal | government | internet",
    "spec.environments[].allowFrom": "networks that may reach it from outside the cluster",
    "spec.environments[].egress": "networks that it reaches outside the cluster: {to, ports, reason}",
    "spec.registries": "where images come from: paths that end in /",
    "spec.reviewAfter": "YYYY-MM-DD",
}


def request_yaml(fields: Mapping[str, Any]) -> str:
    """Return commented YAML of a request's fields (YAML names, plain values)."""
    head = [
        "# A request for a tenant of the government cloud.",
        "# Check it: gcloud-pk request validate FILE     Hand it in: gcloud-pk request submit FILE",
    ]
    return "\n".join([*head, *_mapping(fields, "", 0)]) + "\n"


def draft_yaml(fields: Mapping[str, Any], problems: Iterable[Problem]) -> str:
    """Return the YAML of fields that make no valid request yet, headed by what is to be mended."""
    mend = [f"#   {one.field or 'it'}: {one.message}; expected {one.expected or 'otherwise'}" for one in problems]
    return escape("\n".join(["# A draft. To mend before it is submitted:", *mend, request_yaml(fields)]))


def list_entry(fields: Mapping[str, Any], indent: str = "") -> str:
    """Return fields (YAML names, plain values) as one entry of a list in block style."""
    first, *rest = _mapping(fields, "", 0)
    return "".join(f"{indent}{line}\n" for line in (f"- {first}", *(f"  {line}" for line in rest)))


def _mapping(fields: Mapping[str, Any], path: str, depth: int) -> Iterator[str]:
    for name, value in fields.items():
        where = f"{path}.{name}" if path else name
        yield from _entry(name, value, where, depth)


def _entry(name: str, value: Any, path: str, depth: int) -> Iterator[str]:
    indent = "  " * depth
    comment = f"  # {COMMENTS[path]}" if path in COMMENTS else ""
    if isinstance(value, Mapping) and not _short(value, indent + name):
        yield f"{indent}{name}:{comment}"
        yield from _mapping(value, path, depth + 1)
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        yield f"{indent}{name}:{comment}"
        for entry in value:
            if _short(entry, indent):
                yield f"{indent}  - {_flow(entry)}"
                continue
            first, *rest = _mapping(entry, f"{path}[]", depth + 2)
            yield f"{indent}  - {first.lstrip()}"
            yield from rest
    else:
        yield f"{indent}{name}: {_flow(value)}{comment}"


def _short(value: Mapping[str, Any], before: str) -> bool:
    flat = all(not isinstance(inner, Mapping | list) for inner in value.values())
    return flat and len(before) + len(_flow(value)) < 90 and "apiVersion" not in value


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_flow(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(inner) for inner in value) + "]"
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and not _AMBIGUOUS.fullmatch(value) and "  " not in value
        return value if plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)
