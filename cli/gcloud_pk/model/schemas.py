"""JSON Schema (draft 2020-12) of the kinds that people write, generated from the models, for editors and CI."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from gcloud_pk.model.organisation import Organisations
from gcloud_pk.model.request import TenantRequest
from gcloud_pk.model.settings import Settings
from gcloud_pk.model.site import Site
from gcloud_pk.model.state import State
from gcloud_pk.model.waiver import Waiver

KINDS: dict[str, type[BaseModel]] = {
    "TenantRequest": TenantRequest,
    "Site": Site,
    "Organisations": Organisations,
    "Settings": Settings,
    "State": State,
    "Waiver": Waiver,
}

FILES: dict[str, str] = {
    "TenantRequest": "tenant-request.schema.json",
    "Site": "site.schema.json",
    "Organisations": "organisations.schema.json",
    "Settings": "settings.schema.json",
    "State": "state.schema.json",
    "Waiver": "waiver.schema.json",
}


class _Generator(GenerateJsonSchema):
    """Without titles made from names, which say nothing, and with optional fields as they may be written."""

    def field_title_should_be_set(self, schema: core_schema.CoreSchema | Any) -> bool:  # noqa: ARG002 - pydantic's
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        found = super().default_schema(schema)
        if found.get("default", ...) is None:
            del found["default"]
        return found


def schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of a kind."""
    found = KINDS[kind].model_json_schema(by_alias=True, mode="validation", schema_generator=_Generator)
    for definition in found.get("$defs", {}).values():
        definition.pop("title", None)
    found.pop("title", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"https://gcloud.gov.pk/schemas/v1alpha1/{FILES[kind]}",
        "title": kind,
        **found,
    }
