"""A real cluster is weakened in single ways, and the audit notices each by exactly its checks.

`GCLOUD_PK_CLUSTER_LAB` names the folder of a lab data centre whose cluster may be broken, and
`GCLOUD_PK_CLUSTER_KUBECONFIG` a kubeconfig with a context `admin` of it; without them nothing is done.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.e2e.cluster_mutations import Bench, Mutation, mutations

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("GCLOUD_PK_CLUSTER_LAB" not in os.environ, reason="no cluster was named that may be broken"),
]
ALL = mutations()


@pytest.fixture(scope="module")
def bench() -> Bench:
    folder = Path(os.environ["GCLOUD_PK_CLUSTER_LAB"])
    return Bench(folder, os.environ["GCLOUD_PK_CLUSTER_KUBECONFIG"], os.environ.get("GCLOUD_PK_CLUSTER_USER"))


@pytest.fixture(scope="module")
def clean(bench: Bench) -> dict[tuple[str, str], str]:
    return bench.verdicts()


def test_before_it_is_weakened_the_cluster_fails_nothing_but_what_is_known(
    clean: dict[tuple[str, str], str],
) -> None:
    assert {name for (_, name), verdict in clean.items() if verdict == "fail"} <= {"CIS-1.1.12", "CIS-5.3.1"}


@pytest.mark.parametrize("mutation", ALL, ids=[one["name"] for one in ALL])
def test_exactly_the_checks_concerned_turn_to_fail(
    mutation: Mutation, bench: Bench, clean: dict[tuple[str, str], str]
) -> None:
    assert bench.broken(mutation, clean) == {"fail": set(mutation["breaks"])}


def test_what_is_undone_leaves_no_trace(bench: Bench, clean: dict[tuple[str, str], str]) -> None:
    assert bench.verdicts() == clean
