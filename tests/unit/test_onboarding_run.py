"""What a run prepares for objects that somebody deleted and something still holds. Nothing is asked of a server."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.cluster_server import Asked, Reply, serving, status
from tests.unit.tenants import a_request_document, a_tenant

from gcloud_pk.cluster.kinds import keyed
from gcloud_pk.cluster.plan import Action
from gcloud_pk.errors import GcloudPkError, RefusedError, UnavailableError
from gcloud_pk.model.tenant import Tenant
from gcloud_pk.onboarding.population import Population
from gcloud_pk.onboarding.run import Prepared, Run, prepare
from gcloud_pk.registry.folder import Registry
from gcloud_pk.registry.history import Act
from gcloud_pk.render.tenant import render


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    folder = tmp_path / "registry" / "tenants" / "moitt"
    folder.mkdir(parents=True)
    (tmp_path / "registry" / "approvers").write_text("")
    (tmp_path / "registry" / "organisations.yaml").write_text("[]\n")
    (folder / "request.yaml").write_text(yaml.safe_dump(a_request_document()))
    return Registry.open(tmp_path / "registry")


LEAVING = {"deletionTimestamp": "2026-01-01T00:00:00Z", "uid": "u", "finalizers": ["example.com/hold"]}


def planned(tenant: Tenant, live: list[dict[str, Any]]) -> Prepared:
    with serving(lambda _: status(500, "a plan of what is all in place asks nothing")) as server:
        (prepared,) = prepare(server.api(), [tenant], population=Population({tenant.name: keyed(live)}))
        assert server.asked == []
    return prepared


def leaving(tenant: Tenant, kind: str, name: str, retired: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Return all that is in place of a tenant, one object of it being deleted."""
    live = deepcopy(render(tenant, retired))
    next(m for m in live if (m["kind"], m["metadata"]["name"]) == (kind, name))["metadata"] |= LEAVING
    return live


def test_a_binding_that_is_being_deleted_is_made_anew_with_access_and_not_when_access_is_narrowed() -> None:
    tenant = a_tenant()
    live = leaving(tenant, "RoleBinding", "tenant-admins")
    next(m for m in live if m["metadata"].get("uid") == "u")["subjects"].append({"kind": "Group", "name": "oidc:more"})
    prepared = planned(tenant, live)
    assert prepared.plan.counts()["changed"] == 1
    assert prepared.stages.closing == []
    assert [(str(change.key), change.action) for change in prepared.stages.access] == [
        ("RoleBinding moitt-eoffice/tenant-admins", Action.CREATE)
    ]


def test_all_that_a_namespace_holds_that_is_being_deleted_is_made_anew() -> None:
    tenant = a_tenant()
    live = leaving(tenant, "Namespace", "moitt-eoffice")
    prepared = planned(tenant, live)
    assert prepared.plan.counts() == {"created": len(live) - 2, "changed": 1, "removed": 0, "unchanged": 1}
    assert {change.action for change in prepared.stages.writes()} == {Action.CREATE}


def test_a_deleted_namespace_of_an_environment_that_left_the_request_is_offboarding_s_to_finish() -> None:
    live = leaving(a_tenant(environments=["eoffice", "old"]), "Namespace", "moitt-old")
    with pytest.raises(UnavailableError, match="moitt-old of the retired environment 'old'") as caught:
        planned(a_tenant(), live)
    assert "gcloud-pk tenant offboard moitt --environment old" in str(caught.value.resolution)


# What was closed while a run waited for its answer


def cluster(parents: list[dict[str, Any] | None], stone: dict[str, Any] | None = None) -> Callable[[Asked], Reply]:
    """Return a cluster of one tenant, whose Tenant is asked for in turn, that refuses every other write."""
    left = list(parents)

    def reply(asked: Asked) -> Reply:
        if asked.path.endswith("/leases/tenant-moitt"):
            return status(404, "no lease") if asked.method == "GET" else (200, {})
        if asked.path.endswith("/leases"):
            return 201, {**asked.body, "metadata": {**asked.body["metadata"], "uid": "l", "resourceVersion": "1"}}
        if asked.path.endswith("/leases/offboarded-moitt"):
            return status(404, "no tombstone") if stone is None else (200, stone)
        if asked.method == "GET" and asked.path.endswith("/tenants/moitt"):
            live = left.pop(0)
            return status(404, "no such Tenant") if live is None else (200, live)
        if asked.method == "GET":
            return nothing_there(asked)
        return status(403, f"{asked.method} {asked.path}")

    return reply


def nothing_there(asked: Asked) -> Reply:
    """Answer for a cluster without anything."""
    if "/namespaces/" in asked.path:
        return status(404, "no such namespace")
    return 200, {"items": []}


def tried(
    reply: Callable[[Asked], Reply], tenant: Tenant, live: Sequence[dict[str, Any]] = (), **kw: Any
) -> tuple[GcloudPkError | None, list[str]]:
    """Run what was planned before; return what stopped it, and what it asked, leases of its own apart."""
    with serving(nothing_there) as server:
        population = Population({tenant.name: keyed(live)}) if live else None
        (prepared,) = prepare(server.api(), [tenant], population=population or Population())
    assert prepared.writes
    with serving(reply) as server:
        (outcome,) = Run(server.api(), **kw).onboard([prepared])
        return outcome.error, [one for one in server.methods() if not one.endswith(("/leases", "/tenant-moitt"))]


def parent(version: str = "7", uid: str = "a", **said: Any) -> dict[str, Any]:
    """Return a live Tenant that is as it is rendered, but for its status."""
    live = deepcopy(next(made for made in render(a_tenant()) if made["kind"] == "Tenant"))
    live["metadata"] |= {"uid": uid, "resourceVersion": version}
    return live | {"status": said}


WRITES = ("POST ", "PUT ", "PATCH ", "DELETE ")


def test_a_tenant_that_was_closed_in_the_registry_meanwhile_is_not_brought_though_it_never_was_there() -> None:
    def closed(tenant: Tenant) -> None:
        raise RefusedError(f"tenant {tenant.name} is suspended")

    error, asked = tried(cluster([None]), a_tenant(), still_open=closed)
    assert error is not None
    assert error.message == "tenant moitt is suspended"
    assert [one for one in asked if one.startswith(WRITES)] == []


def test_a_tenant_that_left_meanwhile_is_not_brought_back() -> None:
    said = {"gcloud.gov.pk/offboarded-at": "2026-11-22T12:00:00Z"}
    error, asked = tried(cluster([None], {"metadata": {"annotations": said}}), a_tenant(), [parent()])
    assert error is not None
    assert "saw tenant moitt offboarded at 2026-11-22T12:00:00Z" in error.message
    assert [one for one in asked if one.startswith(WRITES)] == []


def test_a_tenant_that_was_suspended_meanwhile_is_not_opened_though_it_was_not_there_before() -> None:
    error, asked = tried(cluster([parent(phase="Suspending")]), a_tenant())
    assert error is not None
    assert "suspended on this cluster" in error.message
    assert [one for one in asked if one.startswith(WRITES)] == []


def test_a_newer_request_that_was_brought_meanwhile_is_not_taken_back() -> None:
    newer = parent("8")
    newer["spec"]["revision"] = 2
    error, asked = tried(cluster([newer]), a_tenant(), [parent()])
    assert error is not None
    assert "the cluster has accepted revision 2" in error.message
    assert [one for one in asked if one.startswith(WRITES)] == []


@pytest.mark.parametrize(
    ("now", "anew"),
    [(parent("7"), False), (parent("8"), True), (parent("9", uid="b"), True), (None, True)],
    ids=["the same", "written since", "another one", "gone"],
)
def test_what_was_planned_by_another_tenant_than_is_there_now_is_planned_anew(
    now: dict[str, Any] | None, anew: bool
) -> None:
    _, asked = tried(cluster([now]), a_tenant(), [parent()])
    assert any(one.startswith("GET ") and one.endswith("/rolebindings") for one in asked) is anew


# What the registry says by then


def test_the_registry_is_asked_anew_about_that_tenant_alone(registry: Registry) -> None:
    tenant = replace(a_tenant(), digest=registry.entry("moitt").digest or "")
    registry.check_still_open(tenant)
    other = Registry.open(registry.path)
    (registry.path / "tenants" / "broken").mkdir()
    (registry.path / "tenants" / "broken" / "request.yaml").write_text("{")
    registry.check_still_open(tenant)
    other.set_state("moitt", "suspended", "op@desk", "an inquiry")
    with pytest.raises(RefusedError, match="tenant moitt is suspended by op@desk: an inquiry"):
        registry.check_still_open(tenant)


@pytest.mark.parametrize("act", ["suspend", "offboard"])
def test_what_the_history_alone_closes_meanwhile_is_closed(registry: Registry, act: Act) -> None:
    tenant = replace(a_tenant(), digest=registry.entry("moitt").digest or "")
    assert registry.standing(registry.entry("moitt")).state == "active"
    Registry.open(registry.path).record("moitt", act, "op@desk")
    with pytest.raises(RefusedError, match=r"tenant moitt is (suspended|offboarded)"):
        registry.check_still_open(tenant)


def test_a_request_that_became_another_meanwhile_is_not_brought(registry: Registry) -> None:
    tenant = replace(a_tenant(), digest=registry.entry("moitt").digest or "")
    file = registry.path / "tenants" / "moitt" / "request.yaml"
    file.write_text(file.read_text() + "# another\n")
    with pytest.raises(RefusedError, match="the request of tenant moitt is another by now"):
        registry.check_still_open(tenant)
    shutil.rmtree(file.parent)
    with pytest.raises(RefusedError, match="unreadable"):
        registry.check_still_open(tenant)
