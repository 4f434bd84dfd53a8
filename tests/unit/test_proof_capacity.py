"""Pods that are too large for what a namespace really has."""

from __future__ import annotations

from typing import Any

import pytest

from gcloud_pk.model.quantity import Quantity
from gcloud_pk.proof.capacity import above_limit, above_quota, claim_size, missing_defaults
from gcloud_pk.proof.patch import apply

POD: dict[str, Any] = {
    "spec": {"containers": [{"name": "probe", "image": "a", "resources": {"limits": {"cpu": "10m", "memory": "16Mi"}}}]}
}


def quota(**hard: str) -> dict[str, Any]:
    return {"spec": {"hard": {f"limits.{name}": amount for name, amount in hard.items()}}}


def limits(bound: str = "max", **amounts: str) -> dict[str, Any]:
    return {"spec": {"limits": [{"type": "Container", bound: amounts}]}}


@pytest.mark.parametrize(
    ("quotas", "limit_ranges", "containers", "resource"),
    [
        ([quota(cpu="4")], [], 1, "limits.cpu"),
        ([quota(cpu="4")], [limits(cpu="4")], 2, "limits.cpu"),
        ([quota(cpu="4")], [limits(cpu="1")], 5, "limits.cpu"),
        ([quota(cpu="4", memory="8Gi")], [limits(cpu="500m", memory="4Gi")], 3, "limits.memory"),
        ([quota(cpu="8"), quota(cpu="2")], [limits(cpu="1")], 3, "limits.cpu"),
        ([quota(cpu="8")], [limits(cpu="4"), limits(cpu="2")], 5, "limits.cpu"),
    ],
    ids=[
        "without bounds one container is enough",
        "each container keeps its bound",
        "many small containers",
        "the resource that needs fewest",
        "the tightest quota counts",
        "the tightest bound counts",
    ],
)
def test_a_pod_exceeds_the_quota_while_each_container_keeps_its_bounds(
    quotas: list[dict[str, Any]], limit_ranges: list[dict[str, Any]], containers: int, resource: str
) -> None:
    found = above_quota(POD, quotas, limit_ranges)
    assert found is not None
    assert found.resource == resource
    made = apply(POD, found.edits)["spec"]["containers"]
    assert len(made) == containers
    assert len({c["name"] for c in made}) == containers
    name = resource.removeprefix("limits.")
    asked = sum((Quantity.parse(c["resources"]["limits"][name]) for c in made), Quantity(0))
    assert all(asked > Quantity.parse(q["spec"]["hard"][resource]) for q in quotas[-1:])


@pytest.mark.parametrize(
    ("quotas", "limit_ranges"),
    [
        ([], []),
        ([{"spec": {"hard": {"pods": "5"}}}], []),
        ([quota(cpu="1000")], [limits(cpu="1")]),
        ([{**quota(cpu="1"), "spec": {"hard": {"limits.cpu": "1"}, "scopes": ["BestEffort"]}}], []),
    ],
    ids=["no quota", "no quota of compute", "too many containers", "a quota of some pods only"],
)
def test_where_no_pod_can_exceed_the_quota_none_is_made(
    quotas: list[dict[str, Any]], limit_ranges: list[dict[str, Any]]
) -> None:
    assert above_quota(POD, quotas, limit_ranges) is None


def test_a_container_exceeds_the_maximum_by_one_unit() -> None:
    found = above_limit([limits(memory="2Gi")])
    assert found is not None
    assert found.resource == "memory"
    assert apply(POD, found.edits)["spec"]["containers"][0]["resources"]["limits"]["memory"] == "3Gi"
    assert above_limit([limits("default", cpu="1")]) is None


def test_defaults_that_were_given_are_seen_and_those_that_were_not_are_named() -> None:
    given = {"spec": {"containers": [{"resources": {"limits": {"cpu": "0.5"}, "requests": {"cpu": "100m"}}}]}}
    both = [
        {"spec": {"limits": [{"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"}}]}}
    ]
    assert missing_defaults(given, both) == []
    assert missing_defaults(POD, both) == ["limits.cpu is 10m, not 500m", "requests.cpu is None, not 100m"]


@pytest.mark.parametrize(
    ("pod", "limit_ranges"),
    [({"spec": {"containers": []}}, [limits("default", cpu="1")]), (POD, []), ({}, [limits("default", cpu="1")])],
    ids=["no container", "no limit range", "an answer without a pod"],
)
def test_defaults_are_never_seen_where_nothing_was_shown(
    pod: dict[str, Any], limit_ranges: list[dict[str, Any]]
) -> None:
    assert missing_defaults(pod, limit_ranges)


@pytest.mark.parametrize(
    ("least", "size"), [((), "1Gi"), (("512Mi",), "512Mi"), (("512Mi", "2Gi"), "2Gi")], ids=["none", "one", "two"]
)
def test_a_claim_is_as_small_as_every_limit_range_lets_it_be(least: tuple[str, ...], size: str) -> None:
    ranges = [{"spec": {"limits": [{"type": "PersistentVolumeClaim", "min": {"storage": each}}]}} for each in least]
    assert claim_size([*ranges, limits("min", storage="9Gi")]) == size
