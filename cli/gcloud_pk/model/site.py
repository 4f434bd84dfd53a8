"""Site: a data centre, its clusters and its machines."""

from __future__ import annotations

import re
from functools import cached_property
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from gcloud_pk.model.base import API_VERSION, Checked, DnsLabel, Line, Model, ObjectName, Province, Str, Unique, matches
from gcloud_pk.model.baseline import Level, highest, level_for
from gcloud_pk.model.classification import Classification, Isolation, SiteKind
from gcloud_pk.model.facility import (
    Accreditation,
    Cooling,
    DesignTier,
    Kilowatts,
    MachineClass,
    Names,
    Network,
    Power,
    Rack,
    Tables,
    watts,
)
from gcloud_pk.model.quantity import Quantity
from gcloud_pk.model.request import TENANT_LENGTH, Cidr

ClusterUid = Annotated[
    Str, matches(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "the UID of the cluster's kube-system namespace")
]


def _lone(value: str) -> str:
    """Return an address as the Internet knows it: no zone (`fe80::1%…`, any text), no IPv4 in IPv6's clothes.

    Raises ValueError for anything else.
    """
    address = ip_address(value)
    if "%" in value or address.is_multicast or address.is_unspecified:
        raise ValueError
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        raise ValueError
    return str(address)


def _address(value: object) -> str:
    try:
        if isinstance(value, str) and "%" not in value:
            return str(ip_network(value, strict=True)) if "/" in value else _lone(value)
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


KubernetesVersion = Annotated[
    Str,
    matches(r"1\.(0|[1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,2})", "a release of Kubernetes without `v`, such as 1.36.3"),
]

ImagePrefix = Annotated[
    Str,
    Field(max_length=255),
    matches(
        r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*)*",
        "a registry's host, port and path without a final '/', such as registry.gcloud.gov.pk/k8s",
    ),
]


_PEM = r"[A-Za-z0-9+/=\n -]+"


def _certificates(value: str) -> str:
    blocks = re.findall(r"-----(BEGIN|END) ([A-Z0-9 ]+)-----", value)
    whole = blocks and [side for side, _ in blocks] == ["BEGIN", "END"] * (len(blocks) // 2)
    if not whole or {what for _, what in blocks} != {"CERTIFICATE"} or not re.fullmatch(_PEM, value):
        # The value is not shown: it may be a private key.
        raise ValueError("is no certificate; expected certificates in PEM, and nothing else")
    return value


Certificates = Annotated[Str, Field(max_length=64 * 1024), Checked(_certificates, {"pattern": f"^{_PEM}$"})]
"""X.509 certificates in PEM (RFC 7468)."""


class Kubelet(Model):
    """Settings of the kubelet of every host of a cluster; what is not said is the baseline's or Kubernetes' own."""

    max_pods: Annotated[int, Field(ge=10, le=1000, strict=True)] | None = Field(None, description="pods on one host")
    pod_pids_limit: Annotated[int, Field(ge=100, le=1_000_000, strict=True)] | None = Field(
        None, description="processes in one pod"
    )
    system_reserved_cpu: Quantity | None = Field(None, description="cores kept from pods, such as 500m")
    system_reserved_memory: Quantity | None = Field(None, description="memory kept from pods, such as 2Gi")


class Backup(Model):
    """Snapshots that the control planes of a cluster make of it by themselves; only recipients can open them."""

    recipients: Certificates | None = Field(
        None, description="certificates of those who can open them, in PEM; none: no snapshot is made"
    )
    every_minutes: Annotated[int, Field(ge=5, le=1440, strict=True)] = Field(60, description="minutes between two")
    keep_hours: Annotated[int, Field(ge=1, le=720, strict=True)] = Field(24, description="all of so many hours stay")
    keep_days: Annotated[int, Field(ge=7, le=3650, strict=True)] = Field(
        8, description="and the newest of each of so many days"
    )


NetworkPlugin = Literal["cilium", "bridge"]
"""How pods reach each other. `bridge` is for laboratories: it enforces no NetworkPolicy."""


_NAME = r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"
_PLACE = re.compile(r"(\[(?P<six>[^]]*)\]|(?P<four>[0-9.]+)|(?P<name>[^]:[]+))(:(?P<port>[0-9]{1,5}))?")


def _reachable(value: str) -> str:
    """Return a URL whose host is a name or an address, and whose port is one: 10.207.0.300 is no name."""
    place = _PLACE.fullmatch(value.removeprefix("https://").partition("/")[0])
    try:
        fine = place is not None and 1 <= int(place["port"] or 443) <= 65535
        if place and (address := place["six"] or place["four"]):
            fine = fine and ip_address(address).version == (6 if place["six"] else 4)
        elif place:
            fine = fine and bool(place["name"]) and re.fullmatch(_NAME, place["name"]) is not None
    except ValueError:
        fine = False
    if not fine:
        raise ValueError("expected an https:// URL of a name or an address, such as https://10.207.0.10:6443")
    return value


class Cluster(Model):
    """One Kubernetes cluster of a site. `uid` is that of its kube-system namespace."""

    name: DnsLabel = Field(description="the cluster's name")
    uid: ClusterUid | None = Field(None, description="the UID of its kube-system namespace")
    endpoint: (
        Annotated[
            Str,
            matches(r"https://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9./-]*)?", "an https:// URL"),
            Checked(_reachable, {}),
        ]
        | None
    ) = Field(None, description="the URL of its API server")
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
    version: KubernetesVersion | None = Field(None, description="the release of Kubernetes that it runs")
    classes: Annotated[tuple[Classification, ...], Field(min_length=1, max_length=5), Unique] | None = Field(
        None, alias="admits", description="the classes it may hold, where they are fewer than the site's"
    )
    network_plugin: NetworkPlugin = Field("cilium", description="cilium, or bridge, which enforces no NetworkPolicy")
    images: ImagePrefix | None = Field(None, description="where its hosts pull Kubernetes' images from")
    registry_authority: Certificates | None = Field(
        None, description="certificates that its hosts believe that registry by, in PEM"
    )
    kubelet: Kubelet = Field(Kubelet(), description="{maxPods, podPidsLimit, systemReservedCpu, systemReservedMemory}")
    failure_detection: Literal["default", "fast"] = Field(
        "default", description="default, or fast: a lost host is noticed in seconds"
    )
    backup: Backup = Field(Backup(), description="{recipients, everyMinutes, keepHours, keepDays}")

    def admits(self, tenant: str, isolation: Isolation) -> bool:
        """Whether a tenant of a level of isolation may come here: nobody may share a cluster that is somebody's own."""
        return self.dedicated_to == tenant or (self.dedicated_to is None and isolation != "dedicated-cluster")

    @property
    def reserved(self) -> tuple[str, ...]:
        """Ranges that are the cluster's own and no tenant's: its networks and the link-local ones, sorted."""
        networks = (self.networks.pods, self.networks.services, self.networks.nodes) if self.networks else ()
        return tuple(sorted({*networks, *LINK_LOCAL}))

    @property
    def endpoint_host(self) -> str | None:
        """The name or address in `endpoint`, without brackets and port; None where there is no endpoint."""
        if self.endpoint is None:
            return None
        place = self.endpoint.removeprefix("https://").partition("/")[0]
        if place.startswith("["):
            return place[1:].partition("]")[0]
        return place.partition(":")[0]

    @property
    def endpoint_port(self) -> int | None:
        """The port in `endpoint`, 443 where it names none; None where there is no endpoint."""
        if self.endpoint is None:
            return None
        port = self.endpoint.removeprefix("https://").partition("/")[0].rpartition("]")[2].partition(":")[2]
        return int(port) if port.isdigit() else 443


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
            return _lone(value)
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
    kw: Kilowatts | None = Field(None, description="the most that it draws, in kW: its load")
    power_supplies: Names | None = Field(
        None, description="names of the power components its supplies hang on; none: the feeds of its rack"
    )
    machine: DnsLabel | None = Field(None, description="its class, one of the site's machines")

    @property
    def watts(self) -> int | None:
        """The most that it draws, in whole watts; None where the file says nothing."""
        return watts(self.kw)


ZONES = ("1", "2A", "2B", "3", "4")
"""Seismic zones, the quietest first (Building Code of Pakistan, Seismic Provisions 2007; secondary)."""


def _zone(value: object) -> str:
    said = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(said, str) and (zone := said.upper()) in ZONES:
        return zone
    raise ValueError(
        f"expected a seismic zone of the Building Code of Pakistan: {', '.join(ZONES[:-1])} or {ZONES[-1]}"
    )


SeismicZone = Annotated[
    str,
    BeforeValidator(_zone),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": "^(1|2[AaBb]|3|4)$"}, {"enum": [1, 3, 4]}]}),
]
"""A zone of the Building Code of Pakistan, in capitals."""


class Location(Model):
    """Where it stands."""

    city: Line = Field(description="the city")
    province: Province = Field(description="ict, punjab, sindh, kp, balochistan, gb or ajk")
    seismic_zone: SeismicZone | None = Field(
        None, description="the zone of the Building Code of Pakistan: 1, 2A, 2B, 3 or 4"
    )
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
    accreditation: Accreditation | None = Field(None, description="{scheme, number, expires}")
    tier: DesignTier | None = Field(None, description="3 or 4: what the design claims")
    provider: DnsLabel = Field("ssh", description="how its machines are had: ssh, lab, or another plug-in's name")
    rooms: Annotated[tuple[DnsLabel, ...], Field(max_length=1000), Unique] = Field(
        (), description="names of its rooms; none: those that racks and components name"
    )
    power: Power = Field(Power(), description="{components, links}: from utilities and generators to PDUs")
    cooling: Cooling = Field(Cooling(), description="{components, links}: from chillers to air handlers")
    network: Network = Field(Network(), description="{components, links}: from carriers to rack switches")
    racks: Annotated[tuple[Rack, ...], Field(max_length=10_000)] = Field((), description="its racks")
    machines: Annotated[tuple[MachineClass, ...], Field(max_length=1000)] = Field(
        (), description="classes of machines: {name, cpu, memory}"
    )
    tables: Tables = Field(Tables(), description="CSV files beside this one whose rows are added to its lists")

    def level_of(self, host: Host) -> Level:
        """Return the level that a host must meet: that of its data, raised by the site's or its own."""
        return highest([level_for(host.holds or self.admits), *(one for one in (self.level, host.level) if one)])

    @cached_property
    def _racks(self) -> dict[str, Rack]:
        return {rack.name: rack for rack in self.racks}

    @cached_property
    def _machines(self) -> dict[str, MachineClass]:
        return {machine.name: machine for machine in self.machines}

    def rack(self, name: str | None) -> Rack | None:
        """Return the rack of a name; None where the file tells of none."""
        return self._racks.get(name or "")

    def machine(self, name: str | None) -> MachineClass | None:
        """Return the class of machines of a name; None where the file tells of none."""
        return self._machines.get(name or "")

    def supplies_of(self, host: Host) -> tuple[str, ...]:
        """Return the power components that a host's supplies hang on: its own, or else its rack's feeds."""
        if host.power_supplies is not None:
            return host.power_supplies
        rack = self.rack(host.rack)
        return rack.feeds if rack else ()

    def cluster(self, name: str) -> Cluster | None:
        """Return the cluster of a name, or None."""
        return next((cluster for cluster in self.clusters if cluster.name == name), None)

    def hosts_of(self, cluster: Cluster | str) -> tuple[Host, ...]:
        """Return the hosts of a cluster, in the file's order; plain hosts belong to none.

        A host that names no cluster is of the site's only one, if there is one only.
        """
        name = cluster if isinstance(cluster, str) else cluster.name
        only = self.clusters[0].name if len(self.clusters) == 1 else None
        return tuple(host for host in self.hosts if host.role != "plain" and (host.cluster or only) == name)

    def control_planes(self, cluster: Cluster | str) -> tuple[Host, ...]:
        """Return the control planes of a cluster, which are its etcd members too."""
        return tuple(host for host in self.hosts_of(cluster) if host.role == "control-plane")

    def workers(self, cluster: Cluster | str) -> tuple[Host, ...]:
        """Return the hosts of a cluster that are there for tenants' pods: none that serves storage or as a gateway."""
        return tuple(host for host in self.hosts_of(cluster) if host.role == "worker")

    def hosts_for_tenants(self, cluster: Cluster | str) -> tuple[Host, ...]:
        """Return the hosts that run tenants' pods: workers, or control planes where there is nothing else."""
        hosts = self.hosts_of(cluster)
        return hosts if all(host.role == "control-plane" for host in hosts) else self.workers(cluster)

    def classes_of(self, cluster: Cluster) -> tuple[Classification, ...]:
        """Return the classes that a cluster may hold: its own, or else the site's."""
        return cluster.classes or self.admits


class SiteMetadata(Model):
    """The site's name."""

    name: DnsLabel = Field(description="the site's name, the same as its file's")


class Site(Model):
    """`sites/<site>.yaml`."""

    api_version: Literal["gcloud.gov.pk/v1alpha1"] = Field(alias="apiVersion", description=API_VERSION)
    kind: Literal["Site"] = Field(description="Site")
    metadata: SiteMetadata = Field(description="{name}")
    spec: SiteSpec = Field(description="operator, place, classes and clusters")
