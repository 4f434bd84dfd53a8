"""The JSON Schemas in `schemas/` are those of the models, and say what the validators say of single fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gcloud_pk import paths
from gcloud_pk.errors import InvalidInputError
from gcloud_pk.model import schemas
from gcloud_pk.registry import documents

DATA = Path(__file__).parent / "data" / "requests"


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schemas.schema("TenantRequest"))


@pytest.mark.parametrize("kind", schemas.KINDS)
def test_the_committed_schema_is_current(kind: str) -> None:
    committed = json.loads(paths.data("schemas", schemas.FILES[kind]).read_text())
    assert committed == schemas.schema(kind), "run: gcloud-pk schema --output-dir schemas"


@pytest.mark.parametrize("kind", schemas.KINDS)
def test_a_schema_is_one_and_closed_everywhere(kind: str) -> None:
    schema = schemas.schema(kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    objects = [s for s in (schema, *schema.get("$defs", {}).values()) if s.get("type") == "object"]
    assert objects
    for found in objects:
        assert found["additionalProperties"] is False
        assert all("description" in field for field in found["properties"].values())


@pytest.mark.parametrize("path", sorted((DATA / "valid").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_schema_takes_what_is_valid(path: Path, validator: jsonschema.Draft202012Validator) -> None:
    validator.validate(documents.parse(path.read_bytes(), path.name).value)


# These break a rule between fields, or one that JSON Schema cannot say; all others an editor can show.
BEYOND_A_SCHEMA = {
    "name-that-could-share-a-namespace", "name-that-another-begins-with", "name-of-the-platform",
    "name-under-the-platforms", "revision-as-fraction", "organisation-unknown",
    "secret-in-a-namespace-with-one-site-that-may-not", "confidential-to-the-internet", "restricted-on-a-public-cloud",
    "site-unknown", "site-unknown-and-ranges-of-another-site", "recovery-is-the-primary",
    "group-of-another-tenant", "group-of-another-tenant-in-other-case", "group-in-two-roles", "quotas-over-the-budget",
    "quota-of-nothing", "quantity-too-large", "quantity-finer-than-a-thousandth", "environment-twice",
    "domain-of-another-organisation", "domain-that-only-ends-like-its-own", "domain-in-two-environments",
    "domain-of-another-tenant", "domain-above-another-tenants", "domain-below-another-tenants", "egress-to-everything",
    "egress-to-metadata", "egress-to-the-pods-of-its-site", "egress-around-the-nodes-of-its-recovery-site",
    "egress-with-host-bits", "egress-mapped-ipv6", "allowed-from-everywhere-for-government",
    "allowed-from-two-halves-of-the-internet", "allowed-from-the-pods", "registry-of-another-tenant",
    "registry-that-begins-like-its-own", "registry-public-hub", "review-on-no-day",
    "name-with-a-direction-override-by-escape",
}  # fmt: skip


def readable() -> list[tuple[str, Any]]:
    found = []
    for path in sorted((DATA / "invalid").glob("*.yaml")):
        try:
            found.append((path.stem, documents.parse(path.read_bytes(), path.name).value))
        except InvalidInputError:
            continue  # no YAML that a schema could speak of
    return found


@pytest.mark.parametrize(("case", "value"), readable(), ids=lambda value: value if isinstance(value, str) else "")
def test_the_schema_refuses_what_breaks_a_single_field(
    case: str, value: Any, validator: jsonschema.Draft202012Validator
) -> None:
    assert validator.is_valid(value) == (case in BEYOND_A_SCHEMA)
