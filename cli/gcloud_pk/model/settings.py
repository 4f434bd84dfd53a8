"""`settings.yaml`: what a registry decides for all its tenants. Every field has a safe default."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gcloud_pk.model.base import Model, NotReserved, RegistryPrefix, Str, Unique, matches
from gcloud_pk.model.classification import CLASSES, FLOOR, Classification


def _default_approvals() -> dict[Classification, int]:
    return {name: FLOOR[name].approvals for name in CLASSES}


class Settings(Model):
    """Rules of a registry; `approvals` counts distinct keys per class and never falls below the floor."""

    approvals: dict[Classification, Annotated[int, Field(ge=1, le=10, strict=True)]] = Field(
        default_factory=_default_approvals,
        description="how many distinct keys must approve a request of each class; never below the federal floor",
    )
    base_registries: Annotated[tuple[RegistryPrefix, ...], Field(max_length=50), Unique] = Field(
        ("registry.gcloud.gov.pk/base/",), description="registry paths that every tenant may take images from"
    )
    tenant_registries: Annotated[tuple[RegistryPrefix, ...], Field(max_length=10), Unique] = Field(
        ("registry.gcloud.gov.pk/",), description="roots under which `<tenant>/` is the tenant's own path"
    )
    groups_prefix: Annotated[
        Str, Field(max_length=64), matches(r"([A-Za-z0-9._-]+[:/#])?", "a prefix such as 'oidc:'"), NotReserved
    ] = Field("oidc:", description="what the API server puts before the identity provider's groups")
    signed_requests: Annotated[tuple[Classification, ...], Field(max_length=5), Unique] = Field(
        (), description="classes whose requests need the requester's own signature (`request.yaml.sig`)"
    )

    def approvals_for(self, classification: Classification) -> int:
        """Return how many distinct keys must approve."""
        return max(self.approvals.get(classification, 0), FLOOR[classification].approvals)

    def bound_group(self, group: str) -> str:
        """Return the group's name as the API server sees it."""
        return f"{self.groups_prefix}{group}"
