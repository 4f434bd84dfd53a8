"""TenantRequest: what an agency submits."""

from __future__ import annotations

import datetime as dt
import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from gcloud_pk.model.base import (
    API_VERSION,
    Distinct,
    DnsLabel,
    Domain,
    Email,
    Group,
    Line,
    Model,
    OrganisationCode,
    Prose,
    RegistryPrefix,
    Text,
)
from gcloud_pk.model.classification import Classification, Exposure, Isolation
from gcloud_pk.model.quantity import Quantity

TENANT_LENGTH = 30
ENVIRONMENT_LENGTH = 32

Tier = Literal["production", "staging", "development", "sandbox"]


def _cidr(value: object) -> str:
    if not isinstance(value, str) or "/" not in value or "%" in value:  # fe80::%…: a zone is any text
        raise ValueError("expected a network in CIDR notation, such as 10.20.0.0/16")
    try:
        network: IPv4Network | IPv6Network = ip_network(value, strict=True)
    except ValueError as error:
        raise ValueError(f"expected a network in CIDR notation, such as 10.20.0.0/16 ({error})") from None
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise ValueError("expected an IPv4 network to be written as one, not as IPv4-mapped IPv6")
    return str(network)


Cidr = Annotated[
    str, BeforeValidator(_cidr), WithJsonSchema({"type": "string", "pattern": "^[0-9A-Fa-f:.]+/[0-9]{1,3}$"})
]
"""An IP network in canonical CIDR notation."""


def _day(value: object) -> object:
    # A bare number would be read as a Unix time, and a time of day would be dropped.
    if type(value) is dt.date or (isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value)):
        return value
    raise ValueError("expected a day as YYYY-MM-DD")


Day = Annotated[dt.date, BeforeValidator(_day)]
"""A calendar day, ISO 8601."""


class Person(Model):
    """Who answers the telephone."""

    name: Line = Field(description="a name or a role, such as Director IT")
    email: Email = Field(description="an e-mail address that is read")
    phone: Line | None = Field(None, description="a telephone number, in quotes")


class Requester(Model):
    """Who asks."""

    name: Line = Field(description="the requester's name or role")
    designation: Line = Field(description="the requester's designation")
    email: Email = Field(description="the requester's e-mail address; it cannot be an approver's for this request")


class Contacts(Model):
    """Who owns the tenant and who runs it."""

    owner: Person = Field(description="who answers for the tenant: {name, email}")
    technical: Annotated[tuple[Person, ...], Field(min_length=1, max_length=10)] = Field(
        description="a list of at least one who runs it: {name, email}"
    )


class Access(Model):
    """Groups of the identity provider by role."""

    admins: Annotated[tuple[Group, ...], Field(min_length=1, max_length=20), Distinct] = Field(
        description="a list of at least one group that administers the tenant's environments"
    )
    developers: Annotated[tuple[Group, ...], Field(max_length=20), Distinct] = Field(
        (), description="groups that deploy workloads"
    )
    auditors: Annotated[tuple[Group, ...], Field(max_length=20), Distinct] = Field(
        (), description="groups that read everything but secrets"
    )

    def groups(self) -> tuple[str, ...]:
        """Return every group once, sorted."""
        return tuple(sorted({*self.admins, *self.developers, *self.auditors}))


class Placement(Model):
    """Where it runs, and where it is recovered."""

    primary: DnsLabel = Field(description="the site where it runs")
    recovery: DnsLabel | None = Field(None, description="the site where it is recovered")


class Budget(Model):
    """What all environments together may use: cores and bytes."""

    cpu: Quantity = Field(description="cores, such as 40")
    memory: Quantity = Field(description="bytes of memory, such as 96Gi")
    storage: Quantity = Field(description="bytes of storage, such as 1Ti")


class Quota(Model):
    """What one environment may use: cores, bytes and a count of pods."""

    cpu: Quantity = Field(description="cores, such as 16")
    memory: Quantity = Field(description="bytes of memory, such as 32Gi")
    storage: Quantity = Field(description="bytes of storage, such as 200Gi")
    pods: Annotated[int, Field(ge=1, le=10000, strict=True)] = Field(description="how many pods, such as 100")


class Port(Model):
    """A port of a flow."""

    port: Annotated[int, Field(ge=1, le=65535, strict=True)] = Field(description="a port number")
    protocol: Literal["TCP", "UDP", "SCTP"] = Field("TCP", description="TCP, UDP or SCTP")

    def __str__(self) -> str:
        return f"{self.protocol} {self.port}"


class Egress(Model):
    """One declared flow out of the cluster."""

    to: Cidr = Field(description="the network that is reached, such as 10.20.0.0/16")
    ports: Annotated[tuple[Port, ...], Field(min_length=1, max_length=20), Distinct] = Field(
        description="a list of at least one {port, protocol}"
    )
    reason: Prose = Field(description="why it is needed")


class Environment(Model):
    """One namespace of the tenant."""

    name: Annotated[DnsLabel, Field(max_length=ENVIRONMENT_LENGTH)] = Field(
        description="the environment's name; its namespace is <tenant>-<name>"
    )
    tier: Tier = Field(description="production, staging, development or sandbox")
    quota: Quota = Field(description="a mapping of cpu, memory, storage and pods")
    domains: Annotated[tuple[Domain, ...], Field(max_length=50), Distinct] = Field(
        (), description="host names it serves, under the organisation's own domains; no other tenant has them"
    )
    exposure: Exposure = Field("internal", description="internal, government or internet")
    allow_from: Annotated[tuple[Cidr, ...], Field(max_length=50), Distinct] = Field(
        (), description="networks outside the cluster that may reach it"
    )
    egress: Annotated[tuple[Egress, ...], Field(max_length=50)] = Field(
        (), description="networks outside the cluster that it reaches"
    )


class RequestMetadata(Model):
    """The tenant's name and the request's revision."""

    name: Annotated[DnsLabel, Field(max_length=TENANT_LENGTH)] = Field(description="the tenant's name, a DNS label")
    revision: Annotated[int, Field(ge=1, le=2**31 - 1, strict=True)] = Field(
        1, description="counts up with each change of an accepted request"
    )


class RequestSpec(Model):
    """What is asked for."""

    organisation: OrganisationCode = Field(description="a code in organisations.yaml, such as MOITT")
    requested_by: Requester = Field(description="who asks: {name, designation, email}")
    purpose: Text = Field(description="what it is for: {en, ur}")
    classification: Classification = Field(description="open, public, restricted, confidential or secret")
    personal_data: Annotated[bool, Field(strict=True)] = Field(False, description="whether it holds personal data")
    critical_infrastructure: Annotated[bool, Field(strict=True)] = Field(
        False, description="whether it is critical information infrastructure"
    )
    isolation: Isolation = Field("namespace", description="namespace, dedicated-nodes or dedicated-cluster")
    site: Placement | None = Field(None, description="{primary, recovery}; placed by classification where absent")
    contacts: Contacts = Field(description="who is called: {owner, technical}")
    access: Access = Field(description="groups of the identity provider: {admins, developers, auditors}")
    budget: Budget = Field(description="what all environments together may use: {cpu, memory, storage}")
    environments: Annotated[tuple[Environment, ...], Field(min_length=1, max_length=20)] = Field(
        description="a list of at least one environment: {name, tier, quota, ...}"
    )
    registries: Annotated[tuple[RegistryPrefix, ...], Field(min_length=1, max_length=50), Distinct] = Field(
        description="a list of at least one registry path that images come from, such as registry.gcloud.gov.pk/moitt/"
    )
    storage_classes: Annotated[tuple[DnsLabel, ...], Field(max_length=20), Distinct] = Field(
        (), description="storage classes it may use"
    )
    cost_centre: Line | None = Field(None, description="who pays")
    review_after: Day | None = Field(None, description="the day after which the tenant is reviewed, YYYY-MM-DD")


class TenantRequest(Model):
    """An agency's submission, `registry/tenants/<tenant>/request.yaml`."""

    api_version: Literal["gcloud.gov.pk/v1alpha1"] = Field(alias="apiVersion", description=API_VERSION)
    kind: Literal["TenantRequest"] = Field(description="TenantRequest")
    metadata: RequestMetadata = Field(description="{name, revision}")
    spec: RequestSpec = Field(description="what is asked for")

    def namespace(self, environment: str) -> str:
        """Return the namespace of an environment."""
        return namespace_name(self.metadata.name, environment)

    def namespaces(self) -> tuple[str, ...]:
        """Return the namespaces of all environments, sorted."""
        return tuple(sorted(self.namespace(e.name) for e in self.spec.environments))


def namespace_name(tenant: str, environment: str) -> str:
    """Return `<tenant>-<environment>`: at most 30 + 1 + 32 characters, a DNS label."""
    return f"{tenant}-{environment}"


assert API_VERSION == "gcloud.gov.pk/v1alpha1"  # noqa: S101 - the literal above must be spelled out for the type checker
