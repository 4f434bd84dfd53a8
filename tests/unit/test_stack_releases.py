"""A cluster is brought to another release by hand: asked for before that, nothing is touched."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from tests.stacks.engine import site

from gcloud_pk.errors import InvalidInputError, RefusedError
from gcloud_pk.stack import preflight
from gcloud_pk.stack.versions import others

NAME = "lab-dc-a"


def registry() -> Any:
    document = SimpleNamespace(located=lambda one: one)
    return SimpleNamespace(governance=SimpleNamespace(site_files={"lab-dc": SimpleNamespace(document=document)}))


def nobody(wished: Any) -> dict[str, list[str]]:
    pytest.fail(f"asked for {wished}")


@pytest.mark.parametrize("wished", ["1.36.4", "1.37.0"])
def test_a_release_that_the_cluster_is_not_of_yet_is_refused_with_what_to_do_by_hand(wished: str) -> None:
    asked = []

    def behind(found: Any) -> dict[str, list[str]]:
        asked.append(dict(found))
        return {NAME: ["its control plane is of 1.36.3", "the kubelet of c2 is of 1.36.3"]}

    with pytest.raises(RefusedError) as refused:
        preflight.check_releases(registry(), site(version=wished), {NAME: "1.36.3"}, behind)
    assert asked == [{NAME: wished}]
    assert [str(one) for one in refused.value.details] == [
        f"spec.clusters[0].version: cluster {NAME}: {said}; expected {wished} on it first"
        for said in ("its control plane is of 1.36.3", "the kubelet of c2 is of 1.36.3")
    ]
    assert "kubeadm upgrade apply" in str(refused.value.resolution)
    assert "nothing was touched" in refused.value.message


def test_a_release_that_was_put_into_force_by_hand_is_taken() -> None:
    preflight.check_releases(registry(), site(version="1.36.4"), {NAME: "1.36.3"}, lambda _: {NAME: []})


def test_a_cluster_is_not_asked_where_its_release_stays_or_is_its_first() -> None:
    preflight.check_releases(registry(), site(version="1.36.3"), {NAME: "1.36.3"}, nobody)
    preflight.check_releases(registry(), site(version="1.36.3"), {}, nobody)


def test_a_step_that_kubeadm_does_not_take_is_invalid_whatever_the_cluster_says() -> None:
    with pytest.raises(InvalidInputError):
        preflight.check_releases(registry(), site(version="1.35.9"), {NAME: "1.36.3"}, nobody)


def settings(version: str) -> dict[str, Any]:
    return {"data": {"ClusterConfiguration": f"clusterName: isb-1-a\nkubernetesVersion: {version}\n"}}


def node(name: str, version: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": {"nodeInfo": {"kubeletVersion": version}}}


@pytest.mark.parametrize(
    ("document", "kubelet", "told"),
    [
        (settings("v1.36.4"), "v1.36.4", []),
        (settings('"v1.36.4"'), "v1.36.4+gov", []),
        (settings("v1.36.3"), "v1.36.4", ["its control plane is of 1.36.3"]),
        (settings("v1.36.4"), "v1.36.3", ["the kubelet of c1 is of 1.36.3"]),
        ({}, "v1.36.4", ["its control plane is of no release"]),
        (settings("stable"), "", ["its control plane is of stable", "the kubelet of c1 is of "]),
    ],
)
def test_a_cluster_is_of_a_release_with_all_its_kubelets(document: Any, kubelet: str, told: list[str]) -> None:
    assert list(others(document, [node("c1", kubelet)], "1.36.4")) == told
