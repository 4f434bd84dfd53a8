"""The custom resource definitions, their structural schemas generated from the models.

Rules of structural schemas: kubernetes.io, "Extend the Kubernetes API with CustomResourceDefinitions"; every text and
list has a bound, because the cost of an admission policy is estimated from them.
"""

from __future__ import annotations

import re
from typing import Any

from gcloud_pk.model import labels
from gcloud_pk.model.base import Model
from gcloud_pk.model.resources import TenantPolicySpec, TenantSpec, TenantStatus
from gcloud_pk.render.metadata import Manifest

VERSION = "v1alpha1"
MAX_TEXT = 256
"""Bound of a text whose model has none: more than a domain (253), a digest (64) or a network (49) needs."""

_KEPT = (
    "type", "description", "enum", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems",
    "default",
)  # fmt: skip
# RE2, in which the API server matches, has no look-around; what these say is said by maxLength too.
_LOOKAHEAD = re.compile(r"\(\?=\.\{\d+,\d+\}\$\)")
_LOOKAROUND = re.compile(r"\(\?(?:[=!]|<[=!])")


def structural(schema: dict[str, Any], definitions: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a JSON Schema of pydantic as a structural schema: references inlined, `null` dropped, all bounded.

    Raises ValueError on what a structural schema cannot say.
    """
    definitions = schema.get("$defs", {}) if definitions is None else definitions
    if "$ref" in schema:
        return structural({**definitions[schema["$ref"].rsplit("/", 1)[-1]], **_besides(schema, "$ref")}, definitions)
    if "anyOf" in schema:
        real = [option for option in schema["anyOf"] if option.get("type") != "null"]
        if len(real) != 1:
            raise ValueError(f"a structural schema has no alternatives: {schema}")
        besides = {name: value for name, value in _besides(schema, "anyOf").items() if value is not None}
        return structural({**real[0], **besides}, definitions)
    if "const" in schema:
        schema = {**_besides(schema, "const"), "enum": [schema["const"]]}
    made = {name: schema[name] for name in _KEPT if name in schema}
    match schema.get("type"):
        case "object":
            made["properties"] = {name: structural(s, definitions) for name, s in schema["properties"].items()}
            if required := schema.get("required"):
                made["required"] = sorted(required)
        case "array":
            if "maxItems" not in schema:
                raise ValueError(f"a list without maxItems: {schema}")
            made["items"] = structural(schema["items"], definitions)
        case "string":
            if "enum" not in schema:
                made.setdefault("maxLength", MAX_TEXT)
            if "pattern" in made:
                made["pattern"] = _re2(made["pattern"])
        case "integer" | "boolean":
            pass
        case other:
            raise ValueError(f"no structural schema for type {other!r}: {schema}")
    return made


def _besides(schema: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != name}


def _re2(pattern: str) -> str:
    plain = _LOOKAHEAD.sub("", pattern)
    if _LOOKAROUND.search(plain):
        raise ValueError(f"RE2 has no look-around: {pattern}")
    # Schemas search; models match the whole.
    return plain if plain.startswith("^") and plain.endswith("$") else f"^(?:{plain})$"


def _schema(model: type[Model]) -> dict[str, Any]:
    return structural(model.model_json_schema(by_alias=True))


def _column(name: str, path: str, description: str, *, kind: str = "string", priority: int = 0) -> dict[str, Any]:
    column: dict[str, Any] = {"name": name, "type": kind, "jsonPath": path, "description": description}
    # The API server does not store a zero: written, it would differ for ever.
    return {**column, "priority": priority} if priority else column


_AGE = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


def _definition(
    kind: str,
    plural: str,
    short: str,
    *,
    scope: str,
    properties: dict[str, Any],
    columns: list[dict[str, Any]],
    own_labels: dict[str, str] | None = None,
    status: bool = False,
    description: str,
) -> Manifest:
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "description": description,
                "properties": {
                    "apiVersion": {"type": "string"},
                    "kind": {"type": "string"},
                    "metadata": {"type": "object"},
                    **properties,
                },
                "required": ["spec"],
            }
        },
        "additionalPrinterColumns": [*columns, _AGE],
    }
    if status:
        version["subresources"] = {"status": {}}
    metadata: dict[str, Any] = {"name": f"{plural}.{labels.GROUP}"}
    if own_labels:
        metadata["labels"] = own_labels
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": {
            "group": labels.GROUP,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
            },
            "scope": scope,
            "versions": [version],
        },
    }


def tenant_definition() -> Manifest:
    """Return the definition of Tenant: cluster scope, a status of its own, an ApplySet parent (KEP-3659)."""
    return _definition(
        "Tenant",
        "tenants",
        "gtn",
        scope="Cluster",
        description="An accepted request: what was asked, by which request, and what is in place.",
        properties={"spec": _schema(TenantSpec), "status": _schema(TenantStatus)},
        columns=[
            _column("Organisation", ".spec.organisation", "Code of the organisation"),
            _column("Class", ".spec.classification", "Classification of its data"),
            _column("Isolation", ".spec.isolation", "How it is kept apart"),
            _column("Site", ".spec.site", "Site of its cluster"),
            _column("Revision", ".status.revision", "Revision of the request that is in place", kind="integer"),
            _column("Phase", ".status.phase", "What is being done"),
        ],
        own_labels={labels.APPLYSET_IS_PARENT_TYPE: "true"},
        status=True,
    )


def tenant_policy_definition() -> Manifest:
    """Return the definition of TenantPolicy: the parameters of the admission policies in one namespace."""
    return _definition(
        "TenantPolicy",
        "tenantpolicies",
        "gtp",
        scope="Namespaced",
        description="What the admission policies allow in this namespace; written by the platform.",
        properties={"spec": _schema(TenantPolicySpec)},
        columns=[
            _column("Tenant", ".spec.tenant", "Whose namespace it is"),
            _column("Environment", ".spec.environment", "Which environment it is"),
            _column("Class", ".spec.classification", "Classification of its data"),
            _column("Registries", ".spec.registries", "Where images may come from", priority=1),
        ],
    )


def definitions() -> list[Manifest]:
    """Return both definitions."""
    return [tenant_definition(), tenant_policy_definition()]
