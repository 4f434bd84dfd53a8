"""Organisations: who may ask for a tenant."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, RootModel

from gcloud_pk.model.base import Domain, Model, Name, OrganisationCode, Province, Unique

OrganisationTier = Literal["federal", "provincial", "attached", "authority", "soe", "private"]


class Organisation(Model):
    """A ministry, department, authority or company."""

    code: OrganisationCode = Field(description="a code of its own, such as MOITT or PUNJAB-PITB")
    name: Name = Field(description="its name: {en, ur}")
    tier: OrganisationTier = Field(description="federal, provincial, attached, authority, soe or private")
    province: Province | None = Field(None, description="its province; needed where tier is provincial")
    parent: OrganisationCode | None = Field(None, description="the code of the organisation it belongs to")
    domains: Annotated[tuple[Domain, ...], Field(min_length=1, max_length=50), Unique] = Field(
        description="a list of at least one domain of its own, such as moitt.gov.pk"
    )


class Organisations(RootModel[tuple[Organisation, ...]]):
    """`organisations.yaml`: a list."""

    root: Annotated[tuple[Organisation, ...], Field(max_length=5000)]
