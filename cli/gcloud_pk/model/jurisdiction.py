"""Jurisdiction: what a province, or a tier of organisations, decides for its own tenants beside the federal rules."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gcloud_pk.model.base import DnsLabel, Model, Principal, RegistryPrefix, Unique
from gcloud_pk.model.classification import Classification, Exposure, Isolation

JurisdictionTier = Literal["soe", "authority", "private"]
"""Tiers of organisations that may have rules of their own."""


class Jurisdiction(Model):
    """Own approvers, sites and stricter rules. It tightens the federal ones and never loosens them."""

    approvers: Annotated[tuple[Principal, ...], Field(max_length=50), Unique] = Field(
        (),
        description="principals of the file `approvers` who approve for its tenants only; one of them is needed too",
    )
    sites: Annotated[tuple[DnsLabel, ...], Field(min_length=1, max_length=100), Unique] | None = Field(
        None, description="the sites where its tenants run and recover; absent: every site"
    )
    approvals: dict[Classification, Annotated[int, Field(ge=1, le=10, strict=True)]] = Field(
        default_factory=dict, description="how many distinct keys must approve a request of each class, all together"
    )
    signed_requests: Annotated[tuple[Classification, ...], Field(max_length=5), Unique] = Field(
        (), description="further classes whose requests need the requester's own signature"
    )
    exposure: dict[Classification, Exposure] = Field(
        default_factory=dict, description="the widest exposure of each class: internal, government or internet"
    )
    isolation: dict[Classification, Isolation] = Field(
        default_factory=dict,
        description="the weakest isolation of each class: namespace, dedicated-nodes or dedicated-cluster",
    )
    base_registries: Annotated[tuple[RegistryPrefix, ...], Field(max_length=50), Unique] | None = Field(
        None, description="those of the base registries that its tenants may take images from; absent: all of them"
    )
