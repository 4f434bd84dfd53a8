"""What a registry implies of a cluster's population: by its signatures, at every point of a tenant's life."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.registry_world import World, make_keys, make_world

from gcloud_pk.onboarding.inhabitants import known
from gcloud_pk.onboarding.standing import Standing
from gcloud_pk.proof.population import Known, KnownTenant


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> World:
    return make_world(tmp_path_factory.mktemp("world") / "w", make_keys(tmp_path_factory.mktemp("k") / "keys", keys))


def implied(world: World, cluster: str = "isb-1", **in_place: dict[str, Any]) -> Known:
    registry = world.registry()
    site = registry.sites[cluster]
    return known(registry, Standing("uid", None, site, site.spec.clusters[0]), in_place)


def of(found: Known, name: str) -> KnownTenant:
    return next(tenant for tenant in found.tenants if tenant.name == name)


def test_an_accepted_tenant_implies_its_namespaces_and_groups(world: World) -> None:
    found = of(implied(world), "moitt")
    assert found.elsewhere is None
    assert all(namespace == f"moitt-{name}" for namespace, name in found.namespaces.items())
    assert "oidc:moitt-admins" in found.groups


def test_a_tenant_that_waits_or_left_implies_nothing_and_its_groups_stay_known(world: World) -> None:
    for name, why in (("nadra", "pending"), ("fbr-tax", "offboarded")):
        found = of(implied(world), name)
        assert (found.elsewhere, dict(found.namespaces)) == (why, {})
        assert found.groups


def test_a_suspended_tenant_implies_what_it_was_closed_with_only_where_it_is_in_place(world: World) -> None:
    assert of(implied(world), "itd").elsewhere == "suspended"
    digest = world.registry().entry("itd").digest
    live = {"spec": {"requestDigest": digest}, "status": {"phase": "Suspended", "suspendedAt": "2026-01-01T00:00:00Z"}}
    found = of(implied(world, itd=live), "itd")
    assert found.elsewhere is None
    assert found.namespaces


def test_a_tenant_of_another_site_implies_nothing_here(world: World) -> None:
    assert "its site is" in str(of(implied(world, "lhe-1"), "moitt").elsewhere)


def test_the_sites_own_namespaces_are_the_platforms(world: World) -> None:
    found = implied(world)
    assert found.cluster == "isb-1-a"
    assert found.namespaces == ("gateway", "kube-system", "monitoring")
