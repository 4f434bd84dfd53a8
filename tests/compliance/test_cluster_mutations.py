"""The audit of a cluster is audited: each single weakening of a recorded cluster is noticed by exactly its checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.cluster_record import changed, findings, weakened

from gcloud_pk.nodes.catalogue import CLUSTER, standard

MUTATIONS: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parents[1] / "e2e/data/cluster-mutations.yaml").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[one["name"] for one in MUTATIONS])
def test_exactly_the_checks_concerned_turn_to_fail(mutation: dict[str, Any]) -> None:
    assert changed(findings(weakened(mutation))) == {"fail": set(mutation["breaks"])}


def test_each_weakening_has_a_name_of_its_own_and_says_what_it_breaks() -> None:
    names = [one["name"] for one in MUTATIONS]
    assert len(set(names)) == len(names) >= 25
    assert {check for one in MUTATIONS for check in one["breaks"]} <= set(standard(CLUSTER).checks)


def test_what_is_done_to_a_real_node_is_undone() -> None:
    assert [one["name"] for one in MUTATIONS if ("do" in one) != ("undo" in one)] == []
