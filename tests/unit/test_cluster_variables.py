"""What the playbook of a cluster is told is what the site says: nothing more, and never half."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from gcloud_pk.errors import InvalidInputError
from gcloud_pk.model.site import Site
from gcloud_pk.stack.cluster_variables import IMAGES, variables

PLAYBOOKS = Path(__file__).parents[2] / "playbooks"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO2MIH7AQvRCb/+J/2kJ2SvS8xduRxWQWOMWWhmTZLJR"
CLUSTER: dict[str, Any] = {
    "name": "isb-1-a",
    "version": "1.36.3",
    "endpoint": "https://10.207.0.10:6443",
    "networks": {"pods": "10.208.0.0/16", "services": "10.209.0.0/16", "nodes": "10.207.0.0/24"},
    "networkPlugin": "bridge",
}


def host(name: str, address: str, role: str = "control-plane", **more: Any) -> dict[str, Any]:
    return {"name": name, "address": address, "role": role, "hostKeys": [KEY], **more}


def site(*hosts: dict[str, Any], **changes: Any) -> Site:
    """Return a site of one cluster; a change to None takes a field out."""
    cluster = {name: value for name, value in {**CLUSTER, **changes}.items() if value is not None}
    return Site.model_validate(
        {
            "apiVersion": "gcloud.gov.pk/v1alpha1",
            "kind": "Site",
            "metadata": {"name": "isb-1"},
            "spec": {
                "operator": "NTC",
                "location": {"city": "Islamabad", "province": "ict", "kind": "government"},
                "admits": ["open", "public", "restricted"],
                "clusters": [cluster],
                "hosts": list(hosts) or [host("c1", "10.207.0.11")],
            },
        }
    )


def told(*hosts: dict[str, Any], **changes: Any) -> dict[str, Any]:
    made = site(*hosts, **changes)
    return variables(made, made.spec.clusters[0])


def test_every_variable_is_one_that_the_playbook_takes_and_none_that_it_demands_is_missing() -> None:
    spec = yaml.safe_load((PLAYBOOKS / "roles/cluster/meta/argument_specs.yml").read_text(encoding="utf-8"))
    options = spec["argument_specs"]["main"]["options"]
    assert sorted(set(told()) - set(options)) == []
    assert sorted(name for name, option in options.items() if option.get("required") and name not in told()) == []
    kinds = {"str": str, "int": int, "dict": dict}
    assert [name for name, value in told().items() if not isinstance(value, kinds[options[name]["type"]])] == []


def test_the_variables_are_plain_json() -> None:
    made = told(kubelet={"maxPods": 60, "systemReservedMemory": "22Gi"}, images="registry.example:5000/k8s")
    assert json.loads(json.dumps(made)) == made


def test_what_a_site_does_not_say_is_what_the_playbook_has_by_itself() -> None:
    defaults = yaml.safe_load((PLAYBOOKS / "roles/cluster/defaults/main.yml").read_text(encoding="utf-8"))
    assert {name: told()[name] for name in defaults if name != "cluster_site"} == {
        name: value for name, value in defaults.items() if name != "cluster_site"
    }
    assert told()["cluster_image_prefix"] == IMAGES


def test_hosts_stand_in_the_order_of_the_site_which_decides_who_carries_the_address() -> None:
    made = told(
        host("c2", "10.207.0.12", rack="rack-2"), host("c1", "10.207.0.11"), host("w1", "10.207.0.21", "worker")
    )
    assert list(made["cluster_hosts"]) == ["c2", "c1", "w1"]
    assert made["cluster_hosts"]["c2"] == {"address": "10.207.0.12", "role": "control-plane", "rack": "rack-2"}
    assert made["cluster_hosts"]["w1"]["rack"] == ""


def test_hosts_of_no_cluster_are_none_of_its_business() -> None:
    assert list(told(host("c1", "10.207.0.11"), host("store", "10.207.0.40", "plain"))["cluster_hosts"]) == ["c1"]


def test_settings_of_the_kubelet_are_named_as_kubernetes_names_them() -> None:
    given = {"maxPods": 60, "podPidsLimit": 2048, "systemReservedCpu": "500m", "systemReservedMemory": "2Gi"}
    assert told(kubelet=given)["cluster_kubelet"] == {
        "maxPods": 60,
        "podPidsLimit": 2048,
        "systemReserved": {"cpu": "500m", "memory": "2Gi"},
    }
    assert told()["cluster_kubelet"] == {}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"version": None}, "spec.clusters[0].version"),
        ({"networks": None}, "spec.clusters[0].networks"),
        ({"endpoint": None}, "spec.clusters[0].endpoint"),
        ({"endpoint": "https://api.isb-1.example:6443"}, "spec.clusters[0].endpoint"),
    ],
)
def test_a_site_that_says_too_little_is_refused_with_the_field_that_lacks(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        told(**changes)
    assert [getattr(one, "field", None) for one in refused.value.details] == [field]


def test_all_that_lacks_is_said_at_once() -> None:
    with pytest.raises(InvalidInputError) as refused:
        told(host("w1", "10.207.0.21", "worker"), version=None, networks=None, endpoint=None)
    assert len(refused.value.details) == 4
