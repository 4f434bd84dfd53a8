"""The two custom resources; the CRDs' schemas are generated from these models."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gcloud_pk.model.base import (
    Digest,
    DnsLabel,
    Domain,
    Line,
    Model,
    ObjectName,
    OrganisationCode,
    RegistryPrefix,
    Str,
    matches,
)
from gcloud_pk.model.classification import Classification, Exposure, Isolation
from gcloud_pk.model.request import Cidr, Port, Tier
from gcloud_pk.model.waiver import MOST, Allows, Control, WorkloadKind, WorkloadName

BoundGroup = Annotated[str, Field(min_length=1, max_length=256)]

Suspended = Literal["suspended", "quarantined"]
"""How a tenant is closed: without access, or without traffic too."""


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

    phase: Literal["Applying", "Ready", "Suspending", "Suspended", "Quarantined", "Offboarding"]
    revision: Annotated[int, Field(ge=1)]
    request_digest: Digest
    accepted_at: Annotated[str, Field(max_length=32)]
    """When the approvals of this digest were first judged on this cluster: the moment at which keys must be valid."""
    approvers: Annotated[tuple[Line, ...], Field(max_length=50)] = ()
    namespaces: Annotated[tuple[DnsLabel, ...], Field(max_length=100)] = ()
    retired: Annotated[tuple[DnsLabel, ...], Field(max_length=100)] = ()
    tool_version: Line
    suspended_at: Annotated[str, Field(max_length=32)] | None = None
    """The time of the registry's `suspended`: only an `active` that an approver signed after it opens the tenant."""
    history_head: Digest | None = None
    """SHA-256 of the last line of the registry's history.jsonl when this was written: it bounds rewriting of that."""


class PolicyWaiver(Model):
    """Exact values of one rule for one workload of this namespace; CEL has no clock, so `expires` is for audits."""

    rule: Control
    kind: WorkloadKind
    name: WorkloadName
    allows: Allows
    expires: Annotated[Str, matches(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", "a day as YYYY-MM-DD")]


class EgressFlow(Model):
    """One network outside the cluster, with the ports at which it may be reached; bounds as of a request's egress."""

    to: Cidr
    ports: Annotated[tuple[Port, ...], Field(min_length=1, max_length=20)]


class TenantPolicySpec(Model):
    """The tenant's own values for the admission policies; an empty list allows nothing."""

    tenant: DnsLabel
    environment: DnsLabel
    classification: Classification
    isolation: Isolation
    suspended: Suspended | None = None
    namespaces: Annotated[tuple[DnsLabel, ...], Field(max_length=100)]
    groups: Annotated[tuple[BoundGroup, ...], Field(max_length=100)]
    registries: Annotated[tuple[RegistryPrefix, ...], Field(max_length=100)] = ()
    domains: Annotated[tuple[Domain, ...], Field(max_length=1000)] = ()
    storage_classes: Annotated[tuple[DnsLabel, ...], Field(max_length=100)] = ()
    egress_flows: Annotated[tuple[EgressFlow, ...], Field(max_length=50)] = ()
    ingress_cidrs: Annotated[tuple[Cidr, ...], Field(max_length=100)] = ()
    reserved_cidrs: Annotated[tuple[Cidr, ...], Field(max_length=50)] = ()
    """The cluster's own ranges: never within what a tenant's network policy opens, whatever else it may name."""
    gateway_namespaces: Annotated[tuple[DnsLabel, ...], Field(max_length=20)] = ()
    """Where the platform's gateways are: routes attach to those and to no other."""
    priority_classes: Annotated[tuple[ObjectName, ...], Field(max_length=50)] = ()
    runtime_classes: Annotated[tuple[ObjectName, ...], Field(max_length=50)] = ()
    waivers: Annotated[tuple[PolicyWaiver, ...], Field(max_length=MOST)] = ()
