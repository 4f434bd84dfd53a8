"""What `playbooks/cluster.yml` is told of a cluster: pure; the same site gives the same variables.

The names are the contract with `playbooks/roles/cluster*`; `roles/cluster/meta/argument_specs.yml` is the list.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from gcloud_pk.errors import InvalidInputError, Problem, problem
from gcloud_pk.model.site import Cluster, Site

IMAGES = "registry.k8s.io"
"""Where Kubernetes' images come from when a site names no registry of its own."""


def variables(site: Site, cluster: Cluster) -> dict[str, Any]:
    """Return the variables of a cluster, for all of its hosts alike; JSON throughout.

    Raises InvalidInputError with all that the site does not say and a cluster cannot be made without.
    """
    problems = [*_missing(site, cluster)]
    if problems or cluster.networks is None or cluster.version is None:
        raise InvalidInputError(
            f"cluster {cluster.name} of site {site.metadata.name} cannot be made as the site has it",
            details=problems,
            resolution=f"complete sites/{site.metadata.name}.yaml, then: gcloud-pk registry sign",
        )
    networks = cluster.networks
    return {
        "cluster_name": cluster.name,
        "cluster_site": site.metadata.name,
        "cluster_uid": cluster.uid or "",
        "cluster_version": cluster.version,
        "cluster_endpoint_address": cluster.endpoint_host,
        "cluster_endpoint_port": cluster.endpoint_port,
        "cluster_networks": {"pods": networks.pods, "services": networks.services, "nodes": networks.nodes},
        "cluster_network_plugin": cluster.network_plugin,
        "cluster_image_prefix": cluster.images or IMAGES,
        "cluster_registry_authority": cluster.registry_authority or "",
        "cluster_kubelet": kubelet(cluster),
        "cluster_failure_detection": cluster.failure_detection,
        "cluster_backup_recipients": cluster.backup.recipients or "",
        "cluster_backup_minutes": cluster.backup.every_minutes,
        "cluster_backup_hours": cluster.backup.keep_hours,
        "cluster_backup_days": cluster.backup.keep_days,
        "cluster_hosts": {
            host.name: {"address": host.address, "role": host.role, "rack": host.rack or ""}
            for host in site.spec.hosts_of(cluster)
        },
    }


def kubelet(cluster: Cluster) -> dict[str, Any]:
    """Return the settings that a site gives its kubelets, as fields of KubeletConfiguration (v1beta1)."""
    given = cluster.kubelet
    reserved = {
        name: str(value)
        for name, value in (("cpu", given.system_reserved_cpu), ("memory", given.system_reserved_memory))
        if value is not None
    }
    chosen = {
        "maxPods": given.max_pods,
        "podPidsLimit": given.pod_pids_limit,
        "systemReserved": reserved or None,
    }
    return {name: value for name, value in chosen.items() if value is not None}


def _missing(site: Site, cluster: Cluster) -> list[Problem]:
    """Return what a cluster cannot be made without, and what it cannot be made with."""
    where = f"spec.clusters[{site.spec.clusters.index(cluster)}]"
    file = f"sites/{site.metadata.name}.yaml"
    found = []
    for name, value, expected in (
        ("version", cluster.version, "a release of Kubernetes, such as 1.36.3"),
        ("networks", cluster.networks, "{pods, services, nodes}"),
        ("endpoint", cluster.endpoint, "https://ADDRESS:6443, an address of the nodes' network that no host has"),
    ):
        if value is None:
            found.append(problem("missing", file=file, field=f"{where}.{name}", expected=expected))
    if cluster.endpoint is not None and not _is_address(cluster.endpoint_host or ""):
        found.append(
            problem(
                f"{cluster.endpoint_host!r} is no address; the control planes carry one by keepalived",
                file=file,
                field=f"{where}.endpoint",
                expected="an address of the nodes' network that no host has",
            )
        )
    if not site.spec.control_planes(cluster):
        found.append(problem("has no control plane", file=file, field="spec.hosts", expected="1, 3 or 5 of them"))
    return found


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
