"""The inputs of the provider's resources: what a change of the site file is compared by."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from gcloud_pk.model.base import DnsLabel, Model, Str
from gcloud_pk.model.baseline import Level
from gcloud_pk.model.site import HostAddress, Keys, Networks


class MachineInputs(Model):
    """A machine of the site. `machines`: the name of its provider."""

    site: DnsLabel
    name: DnsLabel
    address: HostAddress
    host_keys: Keys = Field(min_length=1)
    machines: Str
    rack: DnsLabel | None = None
    machine_class: DnsLabel | None = None


class HardenedNodeInputs(Model):
    """A machine at its baseline. `baseline`: digest of playbook and roles; `settings`: variables of its inventory."""

    site: DnsLabel
    name: DnsLabel
    machine: Str | None = None  # the engine withholds it where the machine failed; it then goes no further by itself
    level: Level
    baseline: Str
    settings: dict[str, Any]


class ControlPlaneInputs(Model):
    """The API of a cluster. `roles`: digest of the playbook of clusters and its roles."""

    site: DnsLabel
    cluster: DnsLabel
    version: Str
    endpoint: Str
    networks: Networks
    control_planes: tuple[DnsLabel, ...] = Field(min_length=1)
    failure_detection: Str
    images: Str | None = None
    backup: dict[str, Any] = Field(default_factory=dict)
    roles: Str


class MemberInputs(Model):
    """A node of a cluster. `node`: its hardened node; `authority`: digest of the CA of its registry of images."""

    site: DnsLabel
    cluster: DnsLabel
    name: DnsLabel
    role: Literal["control-plane", "worker", "storage", "gateway"]
    node: Str | None = None  # likewise
    version: Str
    failure_detection: Str
    kubelet: dict[str, Any] = Field(default_factory=dict)
    rack: DnsLabel | None = None
    images: Str | None = None
    authority: Str | None = None
    roles: Str


class AddonsInputs(Model):
    """What all nodes of a cluster share."""

    site: DnsLabel
    cluster: DnsLabel
    members: tuple[DnsLabel, ...] = Field(min_length=1)
    network_plugin: Literal["bridge", "cilium"]
    version: Str
    images: Str | None = None
    roles: Str
