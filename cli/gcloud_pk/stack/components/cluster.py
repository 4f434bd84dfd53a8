"""KubernetesCluster → ControlPlane, WorkerPool → Member; Addons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from gcloud_pk.model.site import Cluster, Host, Site
from gcloud_pk.stack import facets
from gcloud_pk.stack.components.resources import Addons, ControlPlane, HardenedNode, Member


class WorkerPool(pulumi.ComponentResource):
    """The nodes of a cluster that are no control planes."""

    def __init__(self, cluster: Cluster, options: pulumi.ResourceOptions) -> None:
        super().__init__("gcloudpk:index:WorkerPool", cluster.name, {}, options)
        self.members: dict[str, Member] = {}

    def add(self, name: str, member: Member) -> None:
        """Count a member in."""
        self.members[name] = member


class KubernetesCluster(pulumi.ComponentResource):
    """A cluster: made on its first control plane, joined by all others, then given what its nodes share.

    All members depend on the control plane alone: those that come together join in one run, in which control planes
    take turns. The add-ons wait for members that are joining, and come even where one of these fails.
    """

    def __init__(
        self, site: Site, cluster: Cluster, nodes: Mapping[str, HardenedNode], options: pulumi.ResourceOptions
    ) -> None:
        super().__init__("gcloudpk:index:KubernetesCluster", cluster.name, {}, options)
        here = pulumi.ResourceOptions(parent=self)
        control_planes = site.spec.control_planes(cluster)
        self.control_plane = ControlPlane(
            cluster.name,
            facets.control_plane(site, cluster),
            pulumi.ResourceOptions(parent=self, depends_on=[nodes[control_planes[0].name]]),
        )
        self.workers = WorkerPool(cluster, here)
        after = [self.control_plane]
        for host in site.spec.hosts_of(cluster):
            worker = host.role != "control-plane"
            options_of = pulumi.ResourceOptions(parent=self.workers if worker else self, depends_on=after)
            member = Member(host.name, _member(site, cluster, host, nodes), options_of)
            if worker:
                self.workers.add(host.name, member)
        self.workers.register_outputs({})
        self.addons = Addons(
            cluster.name, facets.addons(site, cluster), pulumi.ResourceOptions(parent=self, depends_on=after)
        )
        self.facts: dict[str, Any] = {
            "endpoint": cluster.endpoint,
            "ca": self.control_plane.ca,
            "uid": self.control_plane.uid,
            "etcdMembers": self.addons.etcd_members,
        }
        self.register_outputs({})


def _member(site: Site, cluster: Cluster, host: Host, nodes: Mapping[str, HardenedNode]) -> dict[str, Any]:
    return {**facets.member(site, cluster, host), "node": nodes[host.name].id}
