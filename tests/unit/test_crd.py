"""The definitions of Tenant and TenantPolicy: structural, bounded, and of one mind with the models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import Field

from gcloud_pk.model import labels
from gcloud_pk.model.base import Model
from gcloud_pk.model.resources import TenantPolicySpec, TenantSpec, TenantStatus
from gcloud_pk.render import crd

TENANT, POLICY = crd.definitions()


def schema(definition: dict[str, Any], part: str = "spec") -> dict[str, Any]:
    (version,) = definition["spec"]["versions"]
    found: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"][part]
    return found


def nodes(value: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, value
    for name, part in value.get("properties", {}).items():
        yield from nodes(part, f"{path}.{name}")
    if "items" in value:
        yield from nodes(value["items"], f"{path}[]")


PARTS = [(TENANT, "spec"), (TENANT, "status"), (POLICY, "spec")]
NODES = [
    (f"{definition['spec']['names']['kind']}.{part}{path}", node)
    for definition, part in PARTS
    for path, node in nodes(schema(definition, part))
]


@pytest.mark.parametrize(("path", "node"), NODES, ids=[path for path, _ in NODES])
def test_a_schema_is_structural_and_bounded(path: str, node: dict[str, Any]) -> None:
    assert node["type"] in {"object", "array", "string", "integer", "boolean"}
    assert not {"$ref", "anyOf", "oneOf", "allOf", "const", "title", "additionalProperties", "$defs"} & set(node)
    if node["type"] == "string":
        assert "enum" in node or node["maxLength"] > 0
    if node["type"] == "array":
        assert node["maxItems"] > 0
    if "pattern" in node:
        assert node["pattern"].startswith("^")
        assert node["pattern"].endswith("$")
        assert not re.search(r"\(\?[=!<]", node["pattern"])


def test_the_fields_are_those_of_the_models() -> None:
    models: list[type[Model]] = [TenantSpec, TenantStatus, TenantPolicySpec]
    for (definition, part), model in zip(PARTS, models, strict=True):
        names = {field.alias for field in model.model_fields.values()}
        assert set(schema(definition, part)["properties"]) == names


def test_a_registry_must_end_in_a_slash_and_stay_in_lower_case() -> None:
    validator = Draft202012Validator(schema(POLICY)["properties"]["registries"])
    assert validator.is_valid(["registry.gcloud.gov.pk/moitt/"])
    for wrong in ("registry.gcloud.gov.pk/moitt", "Registry/x/", "a/../b/", "a b/", "/"):
        assert not validator.is_valid([wrong]), wrong


def test_lists_that_are_left_out_allow_nothing() -> None:
    properties = schema(POLICY)["properties"]
    for name in ("registries", "domains", "storageClasses", "egressFlows", "ingressCidrs"):
        assert properties[name]["default"] == []
        assert name not in schema(POLICY)["required"]


def test_tenant_is_an_applyset_parent_of_cluster_scope_with_a_status_of_its_own() -> None:
    assert TENANT["metadata"]["labels"][labels.APPLYSET_IS_PARENT_TYPE] == "true"
    assert TENANT["spec"]["scope"] == "Cluster"
    assert TENANT["spec"]["versions"][0]["subresources"] == {"status": {}}
    assert [c["name"] for c in TENANT["spec"]["versions"][0]["additionalPrinterColumns"]] == [
        "Organisation", "Class", "Isolation", "Site", "Revision", "Phase", "Age",
    ]  # fmt: skip


def test_tenant_policy_lives_in_a_namespace() -> None:
    assert POLICY["spec"]["scope"] == "Namespaced"
    assert POLICY["metadata"]["name"] == "tenantpolicies.gcloud.gov.pk"


class _Inner(Model):
    """What is inside."""

    text: str


class _Outer(Model):
    inner: Annotated[tuple[_Inner, ...], Field(max_length=3)]
    maybe: str | None = None


def test_references_are_inlined_nulls_dropped_and_texts_bounded() -> None:
    made = crd.structural(_Outer.model_json_schema(by_alias=True))
    assert made["properties"]["inner"]["items"] == {
        "type": "object",
        "properties": {"text": {"type": "string", "maxLength": crd.MAX_TEXT}},
        "required": ["text"],
        "description": "What is inside.",
    }
    assert made["properties"]["maybe"] == {"type": "string", "maxLength": crd.MAX_TEXT}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("[a-z]+", "^(?:[a-z]+)$"),
        ("^[a-z]+$", "^[a-z]+$"),
        (r"(?=.{1,253}$)[a-z]+(\.[a-z]+)+", r"^(?:[a-z]+(\.[a-z]+)+)$"),
        (r"^(?=.{1,253}$)[a-z]+$", "^[a-z]+$"),
        ("a|b", "^(?:a|b)$"),
    ],
    ids=["unanchored", "anchored", "a length by look-ahead", "the same, anchored", "alternatives"],
)
def test_a_pattern_matches_the_whole_and_is_one_of_re2(pattern: str, expected: str) -> None:
    assert crd.structural({"type": "string", "pattern": pattern})["pattern"] == expected


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"type": "array", "items": {"type": "string"}}, "without maxItems"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "no alternatives"),
        ({"type": "number"}, "'number'"),
        ({"type": "string", "pattern": "(?!x)y"}, "look-around"),
    ],
    ids=["an unbounded list", "alternatives", "a fraction", "a look-around"],
)
def test_what_a_structural_schema_cannot_say_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        crd.structural(wrong)
