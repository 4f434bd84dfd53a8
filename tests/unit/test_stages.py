"""The order that must hold: what closes comes first, what opens comes last."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from tests.unit.tenants import a_tenant

from gcloud_pk.cluster.kinds import key_of, keyed
from gcloud_pk.cluster.plan import Action, plan
from gcloud_pk.onboarding.stages import removal_share, stage
from gcloud_pk.render.tenant import render

Manifest = dict[str, Any]


def kinds(changes: list[Any]) -> list[str]:
    return sorted({change.key.kind.kind for change in changes})


def binding(manifests: list[Manifest], role: str) -> Manifest:
    return next(m for m in manifests if m["kind"] == "RoleBinding" and m["metadata"]["name"] == f"tenant-{role}")


def test_a_new_tenant_gets_namespaces_then_parameters_then_controls_and_access_last() -> None:
    stages = stage(plan(render(a_tenant()), {}).changes)
    assert stages.closing == []
    assert [kinds(wave) for wave in stages.controls] == [
        ["Namespace", "Tenant"],
        ["TenantPolicy"],
        ["LimitRange", "NetworkPolicy", "ResourceQuota", "ServiceAccount"],
    ]
    assert kinds(stages.access) == ["RoleBinding"]
    assert stages.leftovers == []


def test_a_group_that_loses_access_loses_it_before_anything_else_happens() -> None:
    desired = render(a_tenant())
    live = deepcopy(desired)
    binding(live, "admins")["subjects"].append(
        {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "oidc:left"}
    )
    stages = stage(plan(desired, keyed(live)).changes)
    assert [str(c.key) for c in stages.closing] == ["RoleBinding moitt-eoffice/tenant-admins"]
    assert stages.access == []


def test_a_binding_that_loses_one_group_and_gains_another_is_removed_first_and_made_anew_last() -> None:
    desired = render(a_tenant())
    live = deepcopy(desired)
    binding(live, "admins")["subjects"][0]["name"] = "oidc:left"
    stages = stage(plan(desired, keyed(live)).changes)
    assert [(c.action, c.key.name) for c in stages.closing] == [(Action.REMOVE, "tenant-admins")]
    assert [(c.action, c.key.name) for c in stages.access] == [(Action.CREATE, "tenant-admins")]


def test_a_binding_to_another_role_is_removed_first_because_its_role_cannot_change() -> None:
    desired = render(a_tenant())
    live = deepcopy(desired)
    binding(live, "auditors")["roleRef"]["name"] = "cluster-admin"
    stages = stage(plan(desired, keyed(live)).changes)
    assert [(c.action, c.key.name) for c in stages.closing] == [(Action.REMOVE, "tenant-auditors")]
    assert [(c.action, c.key.name) for c in stages.access] == [(Action.CREATE, "tenant-auditors")]


def test_a_binding_that_only_gains_waits_for_the_controls() -> None:
    desired = render(a_tenant())
    live = deepcopy(desired)
    del binding(live, "admins")["subjects"][0]
    stages = stage(plan(desired, keyed(live)).changes)
    assert stages.closing == []
    assert [c.key.name for c in stages.access] == ["tenant-admins"]


def test_an_environment_that_left_the_request_loses_access_and_flows_first_and_keeps_its_walls() -> None:
    live = keyed(render(a_tenant(environments=("eoffice", "sandbox"))))
    desired = render(a_tenant(environments=("eoffice",)), retired=["sandbox"])
    stages = stage(plan(desired, live).changes)
    closed = {(c.action, c.key.kind.kind, c.key.name) for c in stages.closing}
    assert closed == {
        (Action.REMOVE, "RoleBinding", "tenant-admins"),
        (Action.REMOVE, "RoleBinding", "tenant-auditors"),
        (Action.REMOVE, "RoleBinding", "tenant-developers"),
        (Action.REMOVE, "NetworkPolicy", "declared-flows"),
    }
    kept = {key_of(m).kind.kind for m in desired if m["metadata"].get("namespace") == "moitt-sandbox"}
    assert kept == {"TenantPolicy", "ResourceQuota", "NetworkPolicy", "ServiceAccount"}
    assert {c.key.kind.kind for c in stages.leftovers} == {"LimitRange"}


def test_an_object_that_is_as_asked_needs_no_stage() -> None:
    desired = render(a_tenant())
    assert stage(plan(desired, keyed(deepcopy(desired))).changes).writes() == []


def test_the_removal_share_counts_what_is_in_place() -> None:
    desired = render(a_tenant())
    live = keyed(deepcopy(desired))
    extra = deepcopy(binding(desired, "admins"))
    extra["metadata"]["name"] = "old"
    live[key_of(extra)] = extra
    assert removal_share(plan(desired, live).changes) == (1, len(desired) + 1)
