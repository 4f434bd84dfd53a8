"""What the program declares, by Pulumi's mocks: no engine, no provider."""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi.runtime import mocks
from tests.stacks.engine import host, site

from gcloud_pk.stack.programs import datacenter

ALL = ("c1", "c2", "c3", "w1", "w2")
TOLD: dict[str, dict[str, Any]] = {
    "ControlPlane": {"ca": "CA", "uid": "u", "kubeconfigs": {"admin": "k"}},
    "Addons": {"etcdMembers": ["c1"]},
}


class Recorder(mocks.Mocks):
    """Takes down every resource that is asked for."""

    def __init__(self) -> None:
        self.resources: dict[str, dict[str, Any]] = {}

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        kind = args.typ.rpartition(":")[2]
        self.resources[f"{kind} {args.name}"] = dict(args.inputs)
        return f"id-of-{args.name}", {**args.inputs, **TOLD.get(kind, {})}

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        raise AssertionError(args.token)


def _declared(*hosts: dict[str, Any], **cluster: Any) -> dict[str, dict[str, Any]]:
    recorder = Recorder()
    mocks.set_mocks(recorder, project="datacenter", stack="lab-dc")

    @pulumi.runtime.test  # type: ignore[untyped-decorator] # it has no types
    def declare() -> None:
        datacenter.declare(site(*hosts, **cluster))

    declare()
    return recorder.resources


def test_each_host_is_a_machine_then_a_hardened_node_then_a_member() -> None:
    found = _declared()

    kinds = ("Machine", "HardenedNode", "Member")
    assert {name for name in found if name.split()[0] in kinds} == {f"{kind} {name}" for kind in kinds for name in ALL}
    assert found["HardenedNode w1"]["machine"] == "id-of-w1"
    assert found["Member w1"]["node"] == "id-of-w1"
    assert found["Member c2"]["role"] == "control-plane"
    assert {"Rack rack-1", "Rack rack-2", "Rack rack-3"} <= found.keys()


def test_a_cluster_without_version_is_not_ours_to_make() -> None:
    found = _declared(version=None)

    assert not [name for name in found if name.split()[0] in {"ControlPlane", "Member", "Addons", "KubernetesCluster"}]
    assert "HardenedNode c1" in found


def test_a_plain_host_is_hardened_and_joins_nothing() -> None:
    found = _declared(host("c1", 11), host("db1", 31, role="plain", cluster=None, rack=None))

    assert "HardenedNode db1" in found
    assert "Rack unplaced" in found
    assert "Member db1" not in found
    assert found["Addons lab-dc-a"]["members"] == ["c1"]


def test_a_host_that_names_no_cluster_is_of_the_only_one() -> None:
    found = _declared(host("c1", 11), host("w1", 21, cluster=None))

    assert "Member w1" in found
