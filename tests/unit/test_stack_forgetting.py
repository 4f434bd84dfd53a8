"""What of a state goes when a cluster is forgotten: it, its machines, what rests on them; nothing of another."""

from __future__ import annotations

from typing import Any

import pytest

from gcloud_pk.stack.forgetting import members, of_cluster

HEAD = "urn:pulumi:isb-1::datacenter::"
TYPE = "gcloudpk:index:"


def urn(kind: str, name: str) -> str:
    return f"{HEAD}{TYPE}DataCenter${TYPE}{kind}::{name}"


def record(kind: str, name: str, parent: str = "", *dependencies: str, **more: Any) -> dict[str, Any]:
    return {"urn": urn(kind, name), "type": f"{TYPE}{kind}", "parent": parent, "dependencies": dependencies, **more}


def cluster(name: str, *hosts: str) -> list[dict[str, Any]]:
    whole, plane = urn("KubernetesCluster", name), urn("ControlPlane", name)
    found = [record("KubernetesCluster", name, urn("DataCenter", "isb-1")), record("ControlPlane", name, whole)]
    for host in hosts:
        machine, node = urn("Machine", host), urn("HardenedNode", host)
        found += [
            record("Machine", host, urn("Rack", "rack-1")),
            record("HardenedNode", host, urn("Rack", "rack-1"), machine),
            record("Member", host, whole, plane, node, inputs={"cluster": name}, outputs={"host": {"name": host}}),
        ]
    return [*found, record("Addons", name, whole, plane)]


COMMON = [record("DataCenter", "isb-1"), record("Rack", "rack-1", urn("DataCenter", "isb-1"))]
SITE = [*COMMON, *cluster("isb-1-a", "c1", "w1"), *cluster("isb-1-b", "c4")]


def test_the_cluster_its_parts_and_its_machines_go_and_no_others() -> None:
    gone = of_cluster(SITE, "isb-1-a")
    assert gone == {one["urn"] for one in cluster("isb-1-a", "c1", "w1")}


def test_its_members_are_told_with_the_hosts_that_they_were() -> None:
    assert members(SITE, "isb-1-a") == {"c1": {"name": "c1"}, "w1": {"name": "w1"}}


@pytest.mark.parametrize(
    "bond",
    [
        {"parent": urn("Machine", "c1")},
        {"dependencies": [urn("ControlPlane", "isb-1-a")]},
        {"propertyDependencies": {"node": [urn("HardenedNode", "w1")]}},
        {"deletedWith": urn("Machine", "w1")},
    ],
    ids=["parent", "dependency", "dependency of a property", "deleted with"],
)
def test_whatever_rests_on_what_goes_goes_too(bond: dict[str, Any]) -> None:
    other = {**record("Other", "x"), **bond}
    assert urn("Other", "x") in of_cluster([*SITE, other], "isb-1-a")


def test_a_cluster_that_is_not_there_takes_nothing_along() -> None:
    assert of_cluster(SITE, "isb-1-x") == set()
