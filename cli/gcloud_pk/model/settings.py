"""`settings.yaml`: what a registry decides for all its tenants. Every field has a safe default."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gcloud_pk.model.base import Email, Line, Model, NotReserved, Province, RegistryPrefix, Str, Unique, matches
from gcloud_pk.model.classification import CLASSES, FLOOR, Classification
from gcloud_pk.model.jurisdiction import Jurisdiction, JurisdictionTier


def _default_approvals() -> dict[Classification, int]:
    return {name: FLOOR[name].approvals for name in CLASSES}


Certificate = Annotated[
    Str,
    Field(max_length=20_000),
    matches(
        r"(-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/=]+\n)+-----END CERTIFICATE-----\n?)+",
        "certificates in PEM, from -----BEGIN CERTIFICATE----- on; never a key",
    ),
]
"""One certificate or more, PEM. No key: it stands in what is handed out."""

Scope = Annotated[Str, Field(max_length=100), matches(r"[\x21\x23-\x5b\x5d-\x7e]+", "a scope of OAuth 2.0 (RFC 6749)")]


class SignIn(Model):
    """The identity provider that people sign in with: OpenID Connect. A client of it that has no secret."""

    issuer: Annotated[
        Str, Field(max_length=500), matches(r"https://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~/-]*)?", "an https:// URL")
    ] = Field(description="the URL of the identity provider, as the API server has it")
    client_id: Annotated[Str, Field(max_length=200), matches(r"[A-Za-z0-9._:/@-]+", "a client's id")] = Field(
        description="the id of the public client that kubectl signs in as"
    )
    scopes: Annotated[tuple[Scope, ...], Field(max_length=10), Unique] = Field(
        (), description="scopes to ask for beside openid, such as groups"
    )
    ca: Certificate | None = Field(None, description="the certificate (PEM) of the provider's own authority")


class PlatformContact(Model):
    """Whom a ministry calls."""

    name: Line = Field(description="who it is, such as National Government Cloud, service desk")
    email: Email = Field(description="an e-mail address that is read")
    phone: Line | None = Field(None, description="a telephone number, in quotes")
    hours: Line | None = Field(None, description="when somebody answers, such as Monday to Friday, 08:00-16:00")


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
    sign_in: SignIn | None = Field(None, description="how people sign in: {issuer, clientId, scopes, ca}")
    contact: PlatformContact | None = Field(None, description="whom ministries call: {name, email, phone, hours}")
    provinces: dict[Province, Jurisdiction] = Field(
        default_factory=dict, description="what a province decides for its tenants: approvers, sites, stricter rules"
    )
    tiers: dict[JurisdictionTier, Jurisdiction] = Field(
        default_factory=dict, description="the same for organisations of a tier: soe, authority or private"
    )

    def approvals_for(self, classification: Classification) -> int:
        """Return how many distinct keys must approve."""
        return max(self.approvals.get(classification, 0), FLOOR[classification].approvals)

    def bound_group(self, group: str) -> str:
        """Return the group's name as the API server sees it."""
        return f"{self.groups_prefix}{group}"
