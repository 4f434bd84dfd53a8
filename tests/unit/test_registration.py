"""A cluster's UID is written into one site of the registry, and into no second one."""

from __future__ import annotations

from pathlib import Path

import pytest

from gcloud_pk.errors import RefusedError
from gcloud_pk.registry.folder import Registry
from gcloud_pk.registry.registration import register_cluster

UID = "6c0e0000-0000-4000-8000-000000000001"
OTHER = "6c0e0000-0000-4000-8000-000000000002"


def register(folder: Path, site: str, uid: str, *, replace: bool = False) -> str:
    return register_cluster(folder, Registry.open(folder).sites[site], uid, replace=replace)


def test_a_uid_is_written_with_the_comments_left_as_they_are(registry_folder: Path) -> None:
    path = registry_folder / "sites/isb-1.yaml"
    path.write_text("# kept\n" + path.read_text())
    assert register(registry_folder, "isb-1", UID) == "isb-1-a"
    assert path.read_text().startswith("# kept\n")
    assert Registry.open(registry_folder).cluster_by_uid(UID)
    before = path.read_bytes()
    assert register(registry_folder, "isb-1", UID) == "isb-1-a"
    assert path.read_bytes() == before


@pytest.mark.parametrize("replace", [False, True])
def test_a_uid_that_another_site_has_is_refused_and_the_site_named(registry_folder: Path, replace: bool) -> None:
    register(registry_folder, "isb-1", UID)
    before = (registry_folder / "sites/lhe-1.yaml").read_bytes()
    with pytest.raises(RefusedError, match="isb-1-a of site isb-1"):
        register(registry_folder, "lhe-1", UID, replace=replace)
    assert (registry_folder / "sites/lhe-1.yaml").read_bytes() == before
    assert Registry.open(registry_folder).problems == ()


def test_another_uid_replaces_only_when_asked_to(registry_folder: Path) -> None:
    register(registry_folder, "isb-1", UID)
    with pytest.raises(RefusedError, match="another UID"):
        register(registry_folder, "isb-1", OTHER)
    register(registry_folder, "isb-1", OTHER, replace=True)
    assert Registry.open(registry_folder).cluster_by_uid(UID) is None
