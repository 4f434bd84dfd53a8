"""The stack of a data centre: what `gcloud-pk datacenter up` and plain `pulumi up` both run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pulumi

from gcloud_pk.errors import InvalidInputError, RefusedError
from gcloud_pk.model.site import Site
from gcloud_pk.registry.folder import Registry
from gcloud_pk.stack.components.site import DataCenter

REGISTRY = "GCLOUD_PK_REGISTRY"
TRUST = "GCLOUD_PK_TRUST"
SITE = "GCLOUD_PK_SITE"


def main() -> None:
    """Declare the site that the environment, the stack's config or the stack's name says."""
    declare(site())


def program(found: Site) -> Callable[[], None]:
    """Return the program of a site that was read already, for the Automation API."""

    def run() -> None:
        declare(found)

    return run


def declare(found: Site) -> DataCenter:
    """Declare a site and export what others need of it."""
    centre = DataCenter(found)
    for name, value in centre.outputs().items():
        pulumi.export(name, value)
    return centre


def site() -> Site:
    """Read the site from its registry, which the signers of a trust file vouch for where one is named.

    By the environment, else by config (`datacenter:registry`, `datacenter:trust`, `datacenter:site`). Raises
    UnavailableError, InvalidInputError, RefusedError as reading a registry does.
    """
    config = pulumi.Config("datacenter")
    folder = os.environ.get(REGISTRY) or config.get("registry")
    trust = os.environ.get(TRUST) or config.get("trust")
    name = os.environ.get(SITE) or config.get("site") or pulumi.get_stack()
    if not folder:
        raise InvalidInputError(
            "no registry is named", resolution=f"set {REGISTRY}, or: pulumi config set datacenter:registry DIR"
        )
    registry = Registry.open(Path(folder))
    state = registry.trust(Path(trust) if trust else None)
    if not state.trusted and config.get_bool("untrusted") is not True and not os.environ.get("GCLOUD_PK_SESSION"):
        raise RefusedError(
            f"the registry {registry.path} is not trusted: {state.reason}",
            resolution=f"set {TRUST}, or datacenter:trust; for a lab: pulumi config set datacenter:untrusted true",
        )
    sites = registry.sites
    if name not in sites:
        raise InvalidInputError(
            f"the registry {registry.path} has no site {name!r}",
            details=[f"its sites: {', '.join(sorted(sites)) or 'none'}"],
            resolution=f"name one by {SITE}, by datacenter:site, or by the stack's name",
        )
    return sites[name]
