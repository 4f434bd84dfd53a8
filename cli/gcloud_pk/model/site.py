"""Site: a data centre, as far as onboarding needs it."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from gcloud_pk.model.base import API_VERSION, DnsLabel, Line, Model, ObjectName, Province, Str, Unique, matches
from gcloud_pk.model.classification import Classification, Isolation, SiteKind
from gcloud_pk.model.request import TENANT_LENGTH, Cidr

ClusterUid = Annotated[
    Str, matches(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "the UID of the cluster's kube-system namespace")
]


def _address(value: object) -> str:
    try:
        if isinstance(value, str):
            return str(ip_network(value, strict=True) if "/" in value else ip_address(value))
    except ValueError:
        pass
    raise ValueError("expected an IP address or network, such as 169.254.20.10 or 10.8.0.0/16")


Address = Annotated[
    str, BeforeValidator(_address), WithJsonSchema({"type": "string", "pattern": "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"})
]
"""An IP address or network in canonical notation."""

_Labels = dict[
    Annotated[Str, matches(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", "a label's key")],
    Annotated[Str, matches(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?", "a label's value")],
]


LINK_LOCAL = ("169.254.0.0/16", "fe80::/10")
"""Link-local ranges (RFC 3927, RFC 4291 section 2.5.6): metadata services answer there."""


class Dns(Model):
    """The cluster's DNS: pods by namespace and labels, and addresses for a node-local cache."""

    namespace: DnsLabel = Field("kube-system", description="the namespace of the DNS pods")
    selector: Annotated[_Labels, Field(min_length=1, max_length=10)] = Field(
        default_factory=lambda: {"k8s-app": "kube-dns"}, description="labels of the DNS pods"
    )
    addresses: Annotated[tuple[Address, ...], Field(max_length=10), Unique] = Field(
        (), description="addresses of a node-local DNS cache"
    )


class Networks(Model):
    """Ranges that belong to the cluster itself; no tenant's egress may overlap them."""

    pods: Cidr = Field(description="the range of pods")
    services: Cidr = Field(description="the range of services")
    nodes: Cidr = Field(description="the range of nodes")


class Cluster(Model):
    """One Kubernetes cluster of a site. `uid` is that of its kube-system namespace."""

    name: DnsLabel = Field(description="the cluster's name")
    uid: ClusterUid | None = Field(None, description="the UID of its kube-system namespace")
    endpoint: Annotated[Str, matches(r"https://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9./-]*)?", "an https:// URL")] | None = (
        Field(None, description="the URL of its API server")
    )
    dns: Dns = Field(Dns(), description="where its DNS is found")
    ingress_namespace: DnsLabel = Field("gateway", description="the namespace that traffic enters by")
    monitoring_namespace: DnsLabel = Field("monitoring", description="the namespace that metrics are read from")
    networks: Networks | None = Field(None, description="its own ranges: {pods, services, nodes}")
    dedicated_to: Annotated[DnsLabel, Field(max_length=TENANT_LENGTH)] | None = Field(
        None, description="the only tenant that it is for; tenants of isolation dedicated-cluster need one of their own"
    )
    priority_classes: Annotated[tuple[ObjectName, ...], Field(max_length=50), Unique] = Field(
        (), description="PriorityClasses that tenants may name; a global default of the cluster must be among them"
    )
    runtime_classes: Annotated[tuple[ObjectName, ...], Field(max_length=50), Unique] = Field(
        (), description="RuntimeClasses that tenants may name"
    )

    def admits(self, tenant: str, isolation: Isolation) -> bool:
        """Whether a tenant of a level of isolation may come here: nobody may share a cluster that is somebody's own."""
        return self.dedicated_to == tenant or (self.dedicated_to is None and isolation != "dedicated-cluster")

    @property
    def reserved(self) -> tuple[str, ...]:
        """Ranges that are the cluster's own and no tenant's: its networks and the link-local ones, sorted."""
        networks = (self.networks.pods, self.networks.services, self.networks.nodes) if self.networks else ()
        return tuple(sorted({*networks, *LINK_LOCAL}))


class Location(Model):
    """Where it stands."""

    city: Line = Field(description="the city")
    province: Province = Field(description="ict, punjab, sindh, kp, balochistan, gb or ajk")
    seismic_zone: Line | None = Field(None, description="the zone of the Building Code of Pakistan, such as 2b")
    kind: SiteKind = Field(description="government or public-cloud")


class SiteSpec(Model):
    """Operator, place, admitted classes and clusters."""

    operator: Line = Field(description="who runs it, such as NTC")
    location: Location = Field(description="{city, province, seismicZone, kind}")
    admits: Annotated[tuple[Classification, ...], Field(min_length=1, max_length=5), Unique] = Field(
        description="a list of the classes it may hold"
    )
    clusters: Annotated[tuple[Cluster, ...], Field(min_length=1, max_length=50)] = Field(
        description="a list of at least one cluster"
    )


class SiteMetadata(Model):
    """The site's name."""

    name: DnsLabel = Field(description="the site's name, the same as its file's")


class Site(Model):
    """`sites/<site>.yaml`."""

    api_version: Literal["gcloud.gov.pk/v1alpha1"] = Field(alias="apiVersion", description=API_VERSION)
    kind: Literal["Site"] = Field(description="Site")
    metadata: SiteMetadata = Field(description="{name}")
    spec: SiteSpec = Field(description="operator, place, classes and clusters")
