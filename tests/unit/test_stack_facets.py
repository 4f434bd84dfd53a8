"""Facets: a change of the site file touches the resources that it is about, and no others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.stacks.engine import host, site

from gcloud_pk.model.site import Site
from gcloud_pk.stack import facets


def _all(found: Site) -> dict[str, dict[str, Any]]:
    cluster = found.spec.clusters[0]
    facts = {f"machine {one.name}": facets.machine(found, one) for one in found.spec.hosts}
    facts |= {f"node {one.name}": facets.hardened_node(found, one) for one in found.spec.hosts}
    facts |= {f"member {one.name}": facets.member(found, cluster, one) for one in found.spec.hosts_of(cluster)}
    return {**facts, "api": facets.control_plane(found, cluster), "addons": facets.addons(found, cluster)}


def _changed(document: dict[str, Any]) -> set[str]:
    before, after = _all(site()), _all(Site.model_validate(document))
    return {name for name in {*before, *after} if before.get(name) != after.get(name)}


def _document() -> dict[str, Any]:
    found: dict[str, Any] = site().model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return found


MEMBERS = {"member c1", "member c2", "member c3", "member w1", "member w2"}
NODES = {"node c1", "node c2", "node c3", "node w1", "node w2"}


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("spec.clusters.0.kubelet", {"maxPods": 90}, MEMBERS),
        ("spec.clusters.0.version", "1.37.0", MEMBERS | {"api", "addons"}),
        ("spec.clusters.0.failureDetection", "fast", MEMBERS | {"api"}),
        ("spec.clusters.0.networkPlugin", "cilium", {"addons"}),
        ("spec.clusters.0.images", "registry.example/k8s", MEMBERS | {"api", "addons"}),
        ("spec.clusters.0.backup", {"everyMinutes": 30}, {"api"}),
        ("spec.clusters.0.uid", "6c0e1c3e-0000-4000-8000-000000000001", set()),
        ("spec.timeServers", ["time.example"], NODES),
        ("spec.hosts.3.rack", "rack-2", {"machine w1", "member w1"}),
        ("spec.hosts.3.level", "cl3", {"node w1"}),
        ("spec.hosts.3.address", "10.207.0.99", {"machine w1", "node w1"}),
        ("spec.operator", "NITB", set()),
        ("spec.power", {"components": [{"name": "ups-a", "kind": "ups", "kw": 4}]}, set()),
    ],
)
def test_a_change_of_the_site_touches_what_it_is_about(path: str, value: Any, expected: set[str]) -> None:
    document = _document()
    *way, last = path.split(".")
    place: Any = document
    for step in way:
        place = place[int(step)] if step.isdecimal() else place[step]
    place[last] = value

    assert _changed(document) == expected


def test_a_host_more_touches_itself_and_what_nodes_share() -> None:
    document = _document()
    more = Site.model_validate(document).spec.hosts
    assert len(more) == 5
    document["spec"]["hosts"].append(host("w3", 23))

    assert _changed(document) == {"machine w3", "node w3", "member w3", "addons"}


def test_the_provider_is_told_of_no_power_and_reads_it_back_as_a_site() -> None:
    document = _document()
    document["spec"]["power"] = {"components": [{"name": "ups-a", "kind": "ups", "kw": 4}]}
    told = facets.document(Site.model_validate(document))

    assert "ups-a" not in told
    assert json.loads(told)["spec"]["hosts"][0]["name"] == "c1"
    assert Site.model_validate_json(told).spec.hosts == site().spec.hosts


def test_variables_of_the_connection_are_no_facet() -> None:
    settings = facets.hardened_node(site(), site().spec.hosts[0])["settings"]

    assert settings["node_address"] == "10.207.0.11"
    assert not [name for name in settings if name.startswith("ansible_")]
