"""The two custom resources; the CRDs' schemas are generated from these models."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gcloud_pk.model.base import Digest, DnsLabel, Domain, Line, Model, OrganisationCode, RegistryPrefix
from gcloud_pk.model.classification import Classification, Exposure, Isolation
from gcloud_pk.model.request import Cidr, Tier

BoundGroup = Annotated[str, Field(min_length=1, max_length=256)]


class TenantEnvironment(Model):
    """One environment as the cluster shows it."""

    name: DnsLabel
    namespace: DnsLabel
    tier: Tier
    exposure: Exposure


class TenantSpec(Model):
    """What was asked, by which request."""

    organisation: OrganisationCode
    classification: Classification
    isolation: Isolation
    personal_data: bool = False
    critical_infrastructure: bool = False
    site: DnsLabel | None = None
    revision: Annotated[int, Field(ge=1)]
    request_digest: Digest
    environments: Annotated[tuple[TenantEnvironment, ...], Field(max_length=20)]
    review_after: Annotated[str, Field(max_length=10)] | None = None


class TenantStatus(Model):
    """What is in place. Times are UTC, RFC 3339."""

    phase: Literal["Applying", "Ready", "Suspended", "Offboarding"]
    revision: Annotated[int, Field(ge=1)]
    request_digest: Digest
    accepted_at: Annotated[str, Field(max_length=32)]
    """When the approvals of this digest were first judged on this cluster: the moment at which keys must be valid."""
    approvers: Annotated[tuple[Line, ...], Field(max_length=50)] = ()
    namespaces: Annotated[tuple[DnsLabel, ...], Field(max_length=100)] = ()
    retired: Annotated[tuple[DnsLabel, ...], Field(max_length=100)] = ()
    tool_version: Line


class TenantPolicySpec(Model):
    """The tenant's own values for the admission policies; an empty list allows nothing."""

    tenant: DnsLabel
    environment: DnsLabel
    classification: Classification
    isolation: Isolation
    namespaces: Annotated[tuple[DnsLabel, ...], Field(max_length=100)]
    groups: Annotated[tuple[BoundGroup, ...], Field(max_length=100)]
    registries: Annotated[tuple[RegistryPrefix, ...], Field(max_length=100)] = ()
    domains: Annotated[tuple[Domain, ...], Field(max_length=1000)] = ()
    storage_classes: Annotated[tuple[DnsLabel, ...], Field(max_length=100)] = ()
    egress_cidrs: Annotated[tuple[Cidr, ...], Field(max_length=1000)] = ()
    ingress_cidrs: Annotated[tuple[Cidr, ...], Field(max_length=1000)] = ()
