"""DataCenter → Rack → Machine → HardenedNode: the machines of a site, by the racks that they stand in."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import pulumi

from gcloud_pk.model.site import Host, Site
from gcloud_pk.stack import facets
from gcloud_pk.stack.components.cluster import KubernetesCluster
from gcloud_pk.stack.components.resources import HardenedNode, Machine

NO_RACK = "unplaced"
"""The component of machines of which the site file does not say where they stand."""


class SiteProvider(pulumi.ProviderResource):
    """Our provider, told of the site: it works on no other."""

    def __init__(self, site: Site, options: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("gcloudpk", "site", {"site": facets.document(site)}, options)


class Rack(pulumi.ComponentResource):
    """A rack: its machines, each brought to the baseline."""

    def __init__(self, name: str, site: Site, hosts: tuple[Host, ...], options: pulumi.ResourceOptions) -> None:
        super().__init__("gcloudpk:index:Rack", name, {}, options)
        here = pulumi.ResourceOptions(parent=self)
        self.nodes: dict[str, HardenedNode] = {}
        for host in hosts:
            machine = Machine(host.name, facets.machine(site, host), here)
            inputs = {**facets.hardened_node(site, host), "machine": machine.id}
            self.nodes[host.name] = HardenedNode(host.name, inputs, here)
        self.register_outputs({})


class DataCenter(pulumi.ComponentResource):
    """A site: racks with their machines, and the clusters that these make up."""

    def __init__(self, site: Site) -> None:
        name = site.metadata.name
        provider = SiteProvider(site)
        super().__init__("gcloudpk:index:DataCenter", name, {}, pulumi.ResourceOptions(providers=[provider]))
        here = pulumi.ResourceOptions(parent=self)
        hosts = site.spec.hosts
        names = sorted({host.rack or NO_RACK for host in hosts})
        self.racks = {
            rack: Rack(rack, site, tuple(host for host in hosts if (host.rack or NO_RACK) == rack), here)
            for rack in names
        }
        self.clusters = {
            cluster.name: KubernetesCluster(site, cluster, self.nodes, here)
            for cluster in site.spec.clusters
            if facets.provisioned(site, cluster)
        }
        self.register_outputs({})

    @cached_property
    def nodes(self) -> Mapping[str, HardenedNode]:
        """Every hardened node, by its name."""
        return {name: node for rack in self.racks.values() for name, node in rack.nodes.items()}

    def outputs(self) -> dict[str, Any]:
        """Return what the stack tells of its clusters; credentials are secret. Flat: of the first cluster."""
        plain = {name: cluster.facts for name, cluster in self.clusters.items()}
        found: dict[str, Any] = {
            "clusters": plain,
            "kubeconfigs": pulumi.Output.secret(
                {name: cluster.control_plane.kubeconfigs for name, cluster in self.clusters.items()}
            ),
            "endpoints": [facts["endpoint"] for facts in plain.values()],
        }
        for name, cluster in list(self.clusters.items())[:1]:
            found |= {key: plain[name][key] for key in ("ca", "uid", "etcdMembers")}
            found["kubeconfig"] = cluster.control_plane.kubeconfigs.apply(lambda all_of: (all_of or {}).get("admin"))
        return found
