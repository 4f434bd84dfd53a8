"""Placement: what a tenant with nodes of its own must write, in all that makes pods."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest

from gcloud_pk.proof.placement import PLACES, placed, pod_spec
from gcloud_pk.proof.probe import standard

MAKERS = {str(body["kind"]): body for body in standard().objects.values() if body["kind"] in PLACES}
TAINT = {"key": "gcloud.gov.pk/tenant", "operator": "Equal", "value": "moitt", "effect": "NoSchedule"}


def test_there_is_a_control_object_of_every_kind_that_makes_pods() -> None:
    assert set(MAKERS) == set(PLACES)


@pytest.mark.parametrize("kind", PLACES)
def test_a_tenants_own_nodes_are_written_where_the_pod_stands(kind: str) -> None:
    body = MAKERS[kind]
    before = copy.deepcopy(body)
    made = placed(body, "moitt", "dedicated-nodes")
    assert pod_spec(made)["nodeSelector"] == {"gcloud.gov.pk/tenant": "moitt"}
    assert pod_spec(made)["tolerations"] == [TAINT]
    assert body == before
    for added in ("nodeSelector", "tolerations"):
        pod_spec(made).pop(added)
    assert made == before


@pytest.mark.parametrize("isolation", ["namespace", "dedicated-cluster"])
def test_on_shared_nodes_nothing_is_written(isolation: str) -> None:
    assert all(placed(body, "moitt", isolation) is body for body in MAKERS.values())


def test_what_holds_no_pod_is_left_as_it_is() -> None:
    service: Mapping[str, Any] = standard().objects["service"]
    assert placed(dict(service), "moitt", "dedicated-nodes") == service
    assert pod_spec(service) is None
