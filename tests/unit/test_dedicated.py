"""A cluster that is one tenant's own: who may come, who may not, and what everybody is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.tenants import a_request_document, a_tenant

from gcloud_pk.errors import RefusedError
from gcloud_pk.model import rules
from gcloud_pk.model.organisation import Organisation
from gcloud_pk.model.request import TenantRequest
from gcloud_pk.model.site import Site
from gcloud_pk.model.tenant import place
from gcloud_pk.onboarding.intake import _check_shared
from gcloud_pk.onboarding.standing import Standing, home
from gcloud_pk.registry.folder import Registry

ORGANISATION = {"code": "MOITT", "name": {"en": "MoITT"}, "tier": "federal", "domains": ["moitt.gov.pk"]}
SHARED = {"name": "a"}
OWN = {"name": "b", "dedicatedTo": "moitt"}
FOREIGN = {"name": "c", "dedicatedTo": "nadra"}

Clusters = Sequence[Mapping[str, str]]


def site_document(name: str, clusters: Clusters) -> dict[str, Any]:
    return {
        "apiVersion": "gcloud.gov.pk/v1alpha1",
        "kind": "Site",
        "metadata": {"name": name},
        "spec": {
            "operator": "NTC",
            "location": {"city": "Islamabad", "province": "ict", "kind": "government"},
            "admits": ["open", "public", "restricted", "confidential", "secret"],
            "clusters": [dict(cluster) for cluster in clusters],
        },
    }


def sites(**clusters: Clusters) -> dict[str, Site]:
    return {name: Site.model_validate(site_document(name, found)) for name, found in clusters.items()}


def request(isolation: str, **spec: Any) -> TenantRequest:
    return TenantRequest.model_validate(a_request_document(isolation=isolation, **spec))


def problems(isolation: str, there: dict[str, Site], **spec: Any) -> list[tuple[str, str, str]]:
    around = rules.Surroundings({"MOITT": Organisation.model_validate(ORGANISATION)}, sites=there)
    found = rules.request_problems(request(isolation, **spec), around)
    return [(str(p.field), p.message, str(p.expected)) for p in found]


HERE = {"site": {"primary": "isb"}}


@pytest.mark.parametrize(
    ("isolation", "clusters"),
    [
        ("dedicated-cluster", [OWN]),
        ("dedicated-cluster", [SHARED, FOREIGN, OWN]),
        ("namespace", [SHARED]),
        ("namespace", [FOREIGN, SHARED]),
        ("namespace", [OWN]),
        ("dedicated-nodes", [SHARED]),
    ],
)
@pytest.mark.parametrize("spec", [HERE, {}], ids=["site named", "site placed"])
def test_a_request_finds_its_cluster(isolation: str, clusters: Clusters, spec: dict[str, Any]) -> None:
    assert problems(isolation, sites(isb=clusters), **spec) == []


def test_a_site_without_a_cluster_of_the_tenant_alone_is_refused_with_what_to_write() -> None:
    ((field, message, expected),) = problems("dedicated-cluster", sites(isb=[SHARED, FOREIGN]), **HERE)
    assert field == "spec.site.primary"
    assert message == "site 'isb' has no cluster of tenant 'moitt' alone; it has a (shared), c (of nadra alone)"
    assert expected == "`dedicatedTo: moitt` at a cluster of sites/isb.yaml that holds nobody else"


def test_a_site_whose_clusters_are_all_others_own_is_no_place_for_a_shared_tenant() -> None:
    ((field, message, expected),) = problems("namespace", sites(isb=[FOREIGN]), **HERE)
    assert field == "spec.site.primary"
    assert message == "every cluster of site 'isb' is another tenant's own: c (of nadra alone)"
    assert "without dedicatedTo" in expected


def test_the_recovery_site_must_have_room_as_well() -> None:
    there = sites(isb=[OWN], lhe=[SHARED])
    ((field, _, _),) = problems("dedicated-cluster", there, site={"primary": "isb", "recovery": "lhe"})
    assert field == "spec.site.recovery"


def test_where_no_site_is_named_one_must_have_room() -> None:
    ((field, message, _),) = problems("dedicated-cluster", sites(isb=[SHARED], lhe=[FOREIGN]))
    assert field == "spec.isolation"
    assert "site 'isb' has no cluster of tenant 'moitt' alone" in message
    assert "site 'lhe'" in message
    assert [field for field, _, _ in problems("dedicated-cluster", {})] == ["spec.isolation"]
    assert [field for field, _, _ in problems("namespace", sites(isb=[FOREIGN]))] == ["spec.site"]
    assert problems("namespace", {}) == []


def test_a_tenant_is_placed_where_there_is_room_for_it() -> None:
    there = sites(isb=[SHARED], lhe=[OWN], khi=[FOREIGN])
    assert place(request("dedicated-cluster"), there) is there["lhe"]
    assert place(request("namespace"), there) is there["isb"]
    assert place(request("dedicated-cluster"), sites(isb=[SHARED])) is None


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    made = tmp_path / "registry"
    (made / "sites").mkdir(parents=True)
    (made / "tenants").mkdir()
    (made / "approvers").write_text("")
    (made / "organisations.yaml").write_text(yaml.safe_dump([ORGANISATION]))
    (made / "sites" / "isb.yaml").write_text(yaml.safe_dump(site_document("isb", [SHARED, OWN, FOREIGN])))
    return Registry.open(made)


def on(registry: Registry, name: str) -> Standing:
    site = registry.sites["isb"]
    return Standing("uid", None, site, next(c for c in site.spec.clusters if c.name == name))


@pytest.mark.parametrize(
    ("isolation", "cluster", "says"),
    [
        ("dedicated-cluster", "b", None),
        ("dedicated-cluster", "a", "the cluster is shared, and it asks for one of its own, which is b"),
        ("dedicated-cluster", "c", "the cluster is of tenant nadra alone; of its site it may use b"),
        ("namespace", "a", None),
        ("namespace", "c", "the cluster is of tenant nadra alone; of its site it may use a, b"),
    ],
)
def test_a_plan_is_for_no_cluster_that_is_not_the_tenants(
    registry: Registry, isolation: str, cluster: str, says: str | None
) -> None:
    found = home(request(isolation), registry, on(registry, cluster))
    if says is None:
        assert not isinstance(found, str)
        assert found[1].name == cluster
    else:
        assert found == says


def test_without_a_cluster_and_for_a_lab_the_tenants_own_one_counts(registry: Registry) -> None:
    for standing in (None, Standing("uid", "lab", None, None)):
        found = home(request("dedicated-cluster"), registry, standing)
        assert not isinstance(found, str)
        assert found[1].name == "b"


def test_a_registry_without_sites_has_no_cluster_of_ones_own(registry: Registry) -> None:
    (registry.path / "sites" / "isb.yaml").unlink()
    bare = Registry.open(registry.path)
    assert isinstance(home(request("dedicated-cluster"), bare, None), str)
    assert not isinstance(home(request("namespace"), bare, None), str)


def test_a_cluster_that_holds_somebody_is_nobodys_own_whatever_its_site_says(registry: Registry) -> None:
    site = registry.sites["isb"]
    own = replace(a_tenant(isolation="dedicated-cluster"), site=site, cluster=site.spec.clusters[1])
    with pytest.raises(RefusedError, match="this one holds fbr") as caught:
        _check_shared(own, {"fbr": {"spec": {"isolation": "namespace"}}}, [])
    assert "dedicatedTo: moitt" in str(caught.value.resolution)
    shared = replace(a_tenant("fbr"), site=site, cluster=site.spec.clusters[1])
    with pytest.raises(RefusedError, match="dedicated to tenant moitt"):
        _check_shared(shared, {}, [own])
    elsewhere = replace(shared, cluster=site.spec.clusters[0])
    _check_shared(elsewhere, {}, [own])
    _check_shared(own, {"moitt": {"spec": {}}}, [elsewhere])


def test_a_cluster_that_is_kept_for_nobody_is_told(registry: Registry) -> None:
    folder = registry.path / "tenants" / "moitt"
    folder.mkdir()
    (folder / "request.yaml").write_text(yaml.safe_dump(a_request_document()))
    said = [note.message for note in Registry.open(registry.path).notes]
    assert said == [
        "cluster b is kept for tenant moitt, which asks for no cluster of its own",
        "cluster c is kept for tenant nadra, which is not in the registry",
    ]
    (folder / "request.yaml").write_text(yaml.safe_dump(a_request_document(isolation="dedicated-cluster")))
    assert [note.message for note in Registry.open(registry.path).notes] == [said[1]]
