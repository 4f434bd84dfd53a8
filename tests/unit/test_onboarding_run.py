"""What a run prepares for objects that somebody deleted and something still holds. Nothing is asked of a server."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from tests.unit.cluster_server import serving, status
from tests.unit.tenants import a_tenant

from gcloud_pk.cluster.kinds import keyed
from gcloud_pk.cluster.plan import Action
from gcloud_pk.errors import UnavailableError
from gcloud_pk.model.tenant import Tenant
from gcloud_pk.onboarding.population import Population
from gcloud_pk.onboarding.run import Prepared, prepare
from gcloud_pk.render.tenant import render

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
