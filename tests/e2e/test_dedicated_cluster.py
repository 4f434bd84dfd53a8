"""A cluster of one tenant's own, on a real cluster: its tenant comes, nobody else does, and it goes nowhere else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.e2e.conftest import running
from tests.e2e.ministry import Ministry
from tests.unit.test_dedicated import site_document


@pytest.fixture(scope="module")
def ministry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministry]:
    folder = tmp_path_factory.mktemp("dedicated")
    # Its own lab: a cluster that holds others is nobody's own.
    with running(f"dedicated-{os.getpid()}", folder / "labs") as lab:
        made = Ministry.found(lab, folder / "registry")
        made.write("owned", "prod", isolation="dedicated-cluster")
        made.write("other", "prod")
        yield made


def site(ministry: Ministry, *, here: str | None, there: str | None, spare: bool = False) -> None:
    """Write the site: `here` is this lab, `there` a cluster that is somewhere else; each somebody's own, or shared."""
    uid = ministry.lab.kubectl("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}").stdout
    clusters: list[dict[str, Any]] = [
        {"name": "here", "uid": uid, "ingressNamespace": "doors-here"},
        {"name": "there", "ingressNamespace": "doors-there"},
    ]
    for cluster, tenant in zip(clusters, (here, there), strict=True):
        if tenant is not None:
            cluster["dedicatedTo"] = tenant
    if spare:
        clusters.append({"name": "spare"})
    (ministry.folder / "sites").mkdir(exist_ok=True)
    (ministry.folder / "sites" / "isb.yaml").write_text(yaml.safe_dump(site_document("isb", clusters)))


def refused(ministry: Ministry, *args: str, check: int) -> str:
    return ministry.run(*args, check=check).stderr


def test_a_request_without_a_cluster_of_its_own_is_invalid_and_says_what_to_write(ministry: Ministry) -> None:
    site(ministry, here=None, there=None)
    said = refused(ministry, "onboard", "owned", "--yes", check=3)
    assert "site 'isb' has no cluster of tenant 'owned' alone; it has here (shared), there (shared)" in said
    assert "`dedicatedTo: owned` at a cluster" in said
    assert "dedicatedTo: owned" in refused(ministry, "registry", "check", check=3)


def test_a_plan_for_a_shared_cluster_is_refused(ministry: Ministry) -> None:
    site(ministry, here=None, there="owned")
    said = refused(ministry, "onboard", "owned", "--yes", check=4)
    assert "the cluster is shared, and it asks for one of its own, which is there" in said
    assert ministry.labelled("owned") == []


def test_the_tenant_comes_to_its_own_cluster_and_nobody_else_does(ministry: Ministry) -> None:
    site(ministry, here="owned", there=None)
    document = ministry.onboard("--all")
    assert [tenant["name"] for tenant in document["tenants"]] == ["owned"]
    reason = "the cluster is of tenant owned alone; of its site it may use there"
    assert [(skip["name"], skip["reason"]) for skip in document["skipped"]] == [("other", reason)]
    assert reason in refused(ministry, "onboard", "other", "--yes", check=4)
    assert ministry.labelled("other") == []


def test_a_cluster_that_holds_somebody_else_becomes_nobodys_own(ministry: Ministry) -> None:
    ministry.write("late", "prod", isolation="dedicated-cluster")
    site(ministry, here="late", there="owned", spare=True)
    assert "this one holds owned" in refused(ministry, "onboard", "late", "--yes", check=4)
    assert "is kept for" not in ministry.run("registry", "check").stderr
    ministry.write("late", "prod", revision=2)  # and it asks for no cluster of its own any more


def test_files_are_written_for_the_cluster_that_each_may_use(ministry: Ministry) -> None:
    domains = [{"name": "prod", "tier": "production", "domains": ["x.moitt.gov.pk"], "exposure": "government",
                "quota": {"cpu": "1", "memory": "1Gi", "storage": "1Gi", "pods": 5}}]  # fmt: skip
    ministry.write("owned", *domains, revision=2, isolation="dedicated-cluster")
    domains[0]["domains"] = ["y.moitt.gov.pk"]
    ministry.write("other", *domains, revision=2)
    site(ministry, here="owned", there=None)
    folder = ministry.folder.parent / "manifests"
    ministry.run("onboard", "owned", "other", "--output-dir", folder)
    doors = {
        tenant: next((folder / tenant / f"{tenant}-prod").glob("*tenantpolicy.yaml")).read_text()
        for tenant in ("owned", "other")
    }
    assert "doors-here" in doors["owned"]
    assert "doors-there" in doors["other"]


def test_a_cluster_kept_for_nobody_is_told_by_registry_check(ministry: Ministry) -> None:
    site(ministry, here="owned", there="nobody-yet", spare=True)
    assert "cluster there is kept for tenant nobody-yet, which is not in the registry" in (
        ministry.run("registry", "check").stderr
    )
