"""Site: a data centre, as far as onboarding needs it."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from gcloud_pk.model.base import API_VERSION, DnsLabel, Line, Model, ObjectName, Province, Str, Unique, matches
from gcloud_pk.model.baseline import Level, highest, level_for
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


HostRole = Literal["control-plane", "worker", "storage", "gateway", "plain"]
"""What a host is to its cluster; a plain one belongs to none."""

HostKey = Annotated[
    Str,
    Field(max_length=1200),
    matches(
        r"(ssh-rsa|(sk-)?(ssh-ed25519|ecdsa-sha2-nistp(256|384|521))(@openssh\.com)?) [A-Za-z0-9+/]+={0,3}",
        "a public key as in ssh_host_ed25519_key.pub, without its comment",
    ),
]
"""One line of an OpenSSH public key without comment (sshd(8), AUTHORIZED_KEYS FILE FORMAT)."""


def _lone_address(value: object) -> str:
    try:
        if isinstance(value, str):
            return str(ip_address(value))
    except ValueError:
        pass
    raise ValueError("expected an IP address, such as 10.207.0.11")


HostAddress = Annotated[
    str, BeforeValidator(_lone_address), WithJsonSchema({"type": "string", "pattern": "^[0-9A-Fa-f:.]+$"})
]
Keys = Annotated[tuple[HostKey, ...], Field(max_length=50), Unique]
UnixUser = Annotated[Str, matches(r"[a-z_][a-z0-9_-]{0,31}", "a user's name, such as gcloud-pk")]
ServerName = Annotated[Str, Field(max_length=253), matches(r"[A-Za-z0-9][A-Za-z0-9.:-]*", "a DNS name or an address")]
Port = Annotated[int, Field(ge=1, le=65535, strict=True)]


class Ssh(Model):
    """How hosts are reached. Host keys stand at each host: none is ever accepted on first use."""

    user: UnixUser = Field("gcloud-pk", description="who hardens: may become root by sudo")
    audit_user: UnixUser = Field("gcloud-pk-audit", description="who audits: may read what the baseline names")
    port: Port = Field(22, description="the port of sshd")
    keys: Keys = Field((), description="public keys that let the one who hardens in; none: those in place stay")
    audit_keys: Keys = Field((), description="public keys that let the auditor in")
    allow_from: Annotated[tuple[Cidr, ...], Field(max_length=50), Unique] = Field(
        (), description="networks that may reach sshd; none: all"
    )


class Host(Model):
    """One machine of the site."""

    name: DnsLabel = Field(description="the host's name")
    address: HostAddress = Field(description="where sshd answers")
    rack: DnsLabel | None = Field(None, description="the rack it stands in")
    cluster: DnsLabel | None = Field(None, description="the cluster of this site that it belongs to")
    role: HostRole = Field("worker", description="control-plane, worker, storage, gateway or plain")
    host_keys: Annotated[tuple[HostKey, ...], Field(min_length=1, max_length=8), Unique] = Field(
        description="its public host keys; a host that shows another is not spoken to"
    )
    holds: Annotated[tuple[Classification, ...], Field(min_length=1, max_length=5), Unique] | None = Field(
        None, description="the classes of data it may hold, where they are fewer than the site's"
    )
    level: Level | None = Field(None, description="cl1, cl2 or cl3: never below what its classes ask for")


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
    level: Level | None = Field(None, description="cl1, cl2 or cl3: the least level of every host")
    ssh: Ssh = Field(Ssh(), description="{user, auditUser, port, keys, auditKeys, allowFrom}")
    time_servers: Annotated[tuple[ServerName, ...], Field(max_length=10), Unique] = Field(
        (), description="names or addresses of the time servers of its hosts"
    )
    time_nts: bool = Field(False, strict=True, description="whether its time servers speak NTS (RFC 8915)")
    log_host: ServerName | None = Field(None, description="where its hosts send their logs, over TLS")
    hosts: Annotated[tuple[Host, ...], Field(max_length=10_000)] = Field((), description="its machines")

    def level_of(self, host: Host) -> Level:
        """Return the level that a host must meet: that of its data, raised by the site's or its own."""
        return highest([level_for(host.holds or self.admits), *(one for one in (self.level, host.level) if one)])


class SiteMetadata(Model):
    """The site's name."""

    name: DnsLabel = Field(description="the site's name, the same as its file's")


class Site(Model):
    """`sites/<site>.yaml`."""

    api_version: Literal["gcloud.gov.pk/v1alpha1"] = Field(alias="apiVersion", description=API_VERSION)
    kind: Literal["Site"] = Field(description="Site")
    metadata: SiteMetadata = Field(description="{name}")
    spec: SiteSpec = Field(description="operator, place, classes and clusters")
