"""Tenant: an accepted request with all that rendering needs to know; and where it is placed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from gcloud_pk.model.federation import Bond, admitted_by_all
from gcloud_pk.model.organisation import Organisation
from gcloud_pk.model.request import Environment, TenantRequest
from gcloud_pk.model.rules import clusters_for, site_problem
from gcloud_pk.model.settings import Settings
from gcloud_pk.model.site import Cluster, Site
from gcloud_pk.model.waiver import Grant

UNREGISTERED = Cluster(name="unregistered")
"""The cluster's particulars where no site describes it: the names that Kubernetes distributions use."""


@dataclass(frozen=True)
class Tenant:
    """An accepted request. `digest`: SHA-256 of the request's bytes, hexadecimal."""

    request: TenantRequest
    digest: str
    organisation: Organisation
    settings: Settings
    site: Site | None = None
    cluster: Cluster = UNREGISTERED
    approvers: tuple[str, ...] = ()
    waivers: tuple[Grant, ...] = ()
    """What is excepted now, sorted; each for one workload of one environment."""

    @property
    def name(self) -> str:
        """The tenant's name."""
        return self.request.metadata.name

    @property
    def revision(self) -> int:
        """The request's revision."""
        return self.request.metadata.revision

    def namespace(self, environment: Environment) -> str:
        """Return the namespace of an environment."""
        return self.request.namespace(environment.name)

    def bound(self, groups: tuple[str, ...]) -> tuple[str, ...]:
        """Return groups as the API server sees them, sorted."""
        return tuple(sorted(self.settings.bound_group(group) for group in groups))


def place(request: TenantRequest, sites: Mapping[str, Site], binding: Collection[Bond] = ()) -> Site | None:
    """Return the primary site: as asked, else the first by name with a cluster for it; None where there is none.

    A cluster for it: at a site that may hold the class, and shared or its own as its isolation demands. `binding`: the
    jurisdictions that bind the tenant; a site that one of them does not name is none.
    """
    admitted = {name: site for name, site in sites.items() if admitted_by_all(name, binding)}
    if request.spec.site is not None:
        return admitted.get(request.spec.site.primary)
    fit = (site for _, site in sorted(admitted.items()) if site_problem(site, request) is None)
    return next((site for site in fit if clusters_for(site, request)), None)
