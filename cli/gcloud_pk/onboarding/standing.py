"""Is this the cluster that is meant, and may it be written to? (architecture: Order that must hold 4; Trust)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gcloud_pk.errors import RefusedError
from gcloud_pk.model.request import TenantRequest
from gcloud_pk.model.rules import clusters_for, sharing_problem
from gcloud_pk.model.site import Cluster, Site
from gcloud_pk.model.tenant import UNREGISTERED, place
from gcloud_pk.registry.folder import Registry
from gcloud_pk.registry.trust import TrustState


@dataclass(frozen=True)
class Standing:
    """What a cluster is to a registry. `uid`: of its kube-system namespace; `lab`: name of the lab it belongs to."""

    uid: str
    lab: str | None
    site: Site | None
    cluster: Cluster | None
    warnings: tuple[str, ...] = ()
    trust: TrustState = field(default_factory=lambda: TrustState(False))

    def describe(self) -> str:
        """Return the cluster in words."""
        if self.site and self.cluster:
            return f"cluster {self.cluster.name} of site {self.site.metadata.name}"
        return f"lab {self.lab}" if self.lab else f"unregistered cluster {self.uid}"


def recognise(
    registry: Registry, uid: str, *, labs: Mapping[str, str], trust: Path | None, allow_unregistered: bool = False
) -> Standing:
    """Return the cluster's standing for writing. `labs`: UID → name of this machine's labs.

    Raises RefusedError where the registry is not trusted or no site names the cluster.
    """
    lab = labs.get(uid)
    trusted = registry.trust(trust)
    warnings: list[str] = []
    if not trusted.trusted:
        if lab is None:
            raise RefusedError(
                f"the registry {registry.path} is not trusted: {trusted.reason}",
                resolution="name the signers of the registry with --trust FILE (kept outside the registry); "
                "without trust only a lab is written to",
            )
        warnings.append(f"the registry is not trusted ({trusted.reason}); going on because the cluster is lab {lab}")
    known = registry.cluster_by_uid(uid)
    if known is None:
        if lab is None and not allow_unregistered:
            named = [
                f"{site.metadata.name}/{cluster.name}: {cluster.uid or 'no UID yet'}"
                for site in registry.sites.values()
                for cluster in site.spec.clusters
            ]
            raise RefusedError(
                f"no site of the registry names this cluster (UID of kube-system: {uid})",
                details=named or ["the registry has no site"],
                resolution="check --kubeconfig and --context; if it is the right one: gcloud-pk cluster register SITE, "
                "or --allow-unregistered-cluster",
            )
        if lab is None:
            warnings.append(f"no site names this cluster ({uid}); going on because of --allow-unregistered-cluster")
        return Standing(uid, lab, None, None, tuple(warnings), trusted)
    return Standing(uid, lab, *known, tuple(warnings), trusted)


def home(request: TenantRequest, registry: Registry, standing: Standing | None) -> tuple[Site | None, Cluster] | str:
    """Return the site and cluster a tenant is rendered for, or why it does not belong on this cluster.

    Without a standing (no cluster is asked) the first cluster of the tenant's site that it may use counts. A cluster
    that is one tenant's own (`dedicatedTo`) is nobody else's, and `isolation: dedicated-cluster` goes to no other.
    """
    site = place(request, registry.sites, registry.demand(request).binding)
    if site is None:
        if registry.sites:
            return "no site of the registry has a cluster that may hold its class at its isolation"
        if request.spec.isolation == "dedicated-cluster":
            return "the registry has no site, so no cluster is its own"
        return None, UNREGISTERED
    clusters = clusters_for(site, request)
    if not clusters:
        return "; expected ".join(sharing_problem(site, request) or ())
    if standing is None:
        return site, clusters[0]
    if standing.site is not None and standing.cluster is not None:
        if site.metadata.name != standing.site.metadata.name:
            return f"its site is {site.metadata.name}"
        if standing.cluster in clusters:
            return site, standing.cluster
        own = ", ".join(cluster.name for cluster in clusters)
        if (held := request.spec.classification) not in site.spec.classes_of(standing.cluster):
            return f"the cluster does not admit {held} data; of its site it may use {own}"
        if standing.cluster.dedicated_to is not None:
            return f"the cluster is of tenant {standing.cluster.dedicated_to} alone; of its site it may use {own}"
        return f"the cluster is shared, and it asks for one of its own, which is {own}"
    if any(cluster.uid for cluster in site.spec.clusters):
        return f"its site is {site.metadata.name}, which has another cluster"
    # Nobody has registered a cluster for the site yet: a lab, or an allowed cluster, may stand in for it.
    return site, clusters[0]


def observe(registry: Registry, uid: str, *, labs: Mapping[str, str], trust: Path | None) -> Standing:
    """Return the cluster's standing for reading: an unknown cluster is no obstacle, a broken trust is."""
    trusted = registry.trust(trust)
    site, cluster = registry.cluster_by_uid(uid) or (None, None)
    return Standing(uid, labs.get(uid), site, cluster, trust=trusted)
