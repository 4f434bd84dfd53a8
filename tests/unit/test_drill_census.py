"""Nodes and pods during a drill: what was displaced, when it was back, and that a stale Ready is no return."""

from __future__ import annotations

from typing import Any

import pytest

from gcloud_pk.proof.drill.census import (
    Census,
    Pods,
    Return,
    census,
    displaced,
    fell,
    noticed,
    side_of,
    tenant_namespaces,
)

WEB = ("moitt-web", "ReplicaSet", "web-1")


def node(name: str, status: str = "True") -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": status}]}}


def lease(name: str, renewed: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"renewTime": renewed}}


def pod(name: str, where: str, owner: tuple[str, str] | None = ("ReplicaSet", "web-1"), **more: Any) -> dict[str, Any]:
    """Return a pod of namespace moitt-web; `ready`, `phase` and `going` as they are given."""
    meta: dict[str, Any] = {"name": name, "namespace": more.get("namespace", "moitt-web")}
    if owner:
        meta["ownerReferences"] = [{"kind": owner[0], "name": owner[1], "controller": True}]
    if more.get("going"):
        meta["deletionTimestamp"] = "2026-11-22T17:00:00Z"
    ready = "True" if more.get("ready", True) else "False"
    return {
        "metadata": meta,
        "spec": {"nodeName": where},
        "status": {"phase": more.get("phase", "Running"), "conditions": [{"type": "Ready", "status": ready}]},
    }


def at(
    moment: float, ready: dict[str, bool], pods: dict[str, int] | None = None, renewed: str = "1", wanting: Any = ()
) -> Census:
    return Census(moment, ready, dict.fromkeys(ready, renewed), {WEB: Pods(pods or {})}, wanting)


ALL = {"c1": True, "w1": True, "w2": True}


def test_pods_count_by_who_keeps_them_and_where_they_are_ready() -> None:
    found = census(
        1.0,
        [node("c1"), node("w1", "Unknown")],
        [lease("c1", "a")],
        [
            pod("web-a", "w1"),
            pod("web-b", "w2"),
            pod("web-c", "w2", ready=False),
            pod("web-d", "w2", going=True),
            pod("web-e", "w1", phase="Failed"),
            pod("agent", "w1", ("DaemonSet", "agent")),
            pod("alone", "w1", None),
        ],
    )
    assert found.pods == {WEB: Pods({"w1": 1, "w2": 1})}
    assert found.ready == {"c1": True, "w1": False}
    assert found.renewed == {"c1": "a"}


def test_a_program_of_a_control_plane_that_is_not_ready_is_told_of() -> None:
    found = census(1.0, [], [], [pod("etcd-c1", "c1", ("Node", "c1"), ready=False, namespace="kube-system")])
    assert found.wanting == ("kube-system/etcd-c1",)


def test_what_had_pods_on_hosts_that_went_is_back_when_as_many_are_ready_elsewhere() -> None:
    before = at(0, ALL, {"w1": 2, "w2": 1})
    during = [at(11, ALL, {"w1": 2, "w2": 1}), at(40, ALL, {"w1": 2, "w2": 2}), at(50, ALL, {"w1": 2, "w2": 3})]
    (found,) = displaced(before, during, ["w1"], 10, {"moitt-web": "tenant"})
    assert (found.wanted, found.standing, found.back, found.side) == (3, 1, 40, "tenant")


def test_pods_that_still_seem_ready_on_hosts_that_went_do_not_count() -> None:
    (found,) = displaced(at(0, ALL, {"w1": 2}), [at(11, ALL, {"w1": 2})], ["w1"], 10, {})
    assert (found.standing, found.back) == (0, None)


def test_what_lost_nothing_is_not_displaced() -> None:
    assert displaced(at(0, ALL, {"w2": 2}), [], ["w1"], 10, {}) == []


def test_looks_from_before_the_loss_do_not_count() -> None:
    (found,) = displaced(at(0, ALL, {"w1": 1}), [at(9, ALL, {"w2": 1})], ["w1"], 10, {})
    assert found.back is None


@pytest.mark.parametrize(
    ("looks", "seconds"),
    [
        ([(12, {"w1": True}), (30, {"w1": False})], 20),
        ([(12, {"w1": True})], None),
        ([(12, {"w1": False, "c1": True}), (20, {"w1": False, "c1": False})], 2),
    ],
)
def test_a_loss_is_noticed_when_no_host_that_went_is_ready(looks: Any, seconds: float | None) -> None:
    assert noticed([at(moment, ready) for moment, ready in looks], ["w1"], 10) == seconds
    assert noticed([at(moment, ready) for moment, ready in looks], [], 10) is None


def test_a_host_that_was_to_stay_and_was_not_ready_fell() -> None:
    during = [at(11, ALL), at(20, ALL | {"w2": False}), at(30, ALL)]
    assert fell(during, at(0, ALL), ["w1"], 10) == ["w2"]
    assert fell(during, at(0, ALL), ["w2"], 10) == []
    assert fell(during, at(0, ALL | {"w2": False}), [], 10) == []  # it was down before
    assert fell([at(11, {"c1": True, "w1": True})], at(0, ALL), [], 10) == ["w2"]  # it is no node any more


def test_a_node_that_is_ready_still_is_back_only_when_it_has_renewed_its_lease() -> None:
    back = Return(100, at(0, ALL, {"w1": 1}), ["w1"], at(99, ALL, {"w1": 1}, renewed="7"))
    assert not back.take(at(101, ALL, {"w1": 1}, renewed="7"))
    assert back.missing == ["w1"]
    assert back.take(at(104, ALL, {"w1": 1}, renewed="8"))
    assert (back.nodes, back.all) == (4, 4)


def test_all_is_as_before_when_pods_and_control_planes_are_too() -> None:
    back = Return(100, at(0, ALL, {"w1": 2}), ["w1"], at(99, ALL | {"w1": False}))
    assert not back.take(at(105, ALL, {"w2": 1}, renewed="2", wanting=("kube-system/etcd-c1",)))
    assert (back.nodes, back.all) == (5, None)
    assert back.missing == ["moitt-web/web-1", "kube-system/etcd-c1"]
    assert back.take(at(109, ALL, {"w2": 2}, renewed="3"))
    assert (back.nodes, back.all) == (5, 9)


def test_whose_a_namespace_is() -> None:
    tenants = tenant_namespaces(
        [{"metadata": {"name": "moitt-web", "labels": {"gcloud.gov.pk/tenant": "moitt"}}}, {"metadata": {"name": "x"}}]
    )
    names = ("moitt-web", "gcloud-pk-drill", "kube-system", "gcloud-pk-system", "x")
    sides = [side_of(name, tenants, "gcloud-pk-drill") for name in names]
    assert sides == ["tenant", "drill", "platform", "platform", "other"]
