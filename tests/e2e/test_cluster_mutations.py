"""A real cluster is weakened in single ways, and the audit notices each by exactly its checks.

The cluster is a lab data centre's own; or, where `GCLOUD_PK_CLUSTER_LAB` names the folder of one that may be broken and
`GCLOUD_PK_CLUSTER_KUBECONFIG` a kubeconfig with a context `admin` of it, that one.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.e2e.cluster_mutations import Bench, Mutation, mutations
from tests.e2e.surviving import SITE, Surviving

pytestmark = pytest.mark.slow
RESTARTS = ("arguments", "kubelet")
"""What only counts when a program starts anew: up to three minutes each."""
ALL = [
    pytest.param(one, id=one["name"], marks=[pytest.mark.restarts] if any(kind in one for kind in RESTARTS) else [])
    for one in mutations()
]


@pytest.fixture(scope="module")
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    if named := os.environ.get("GCLOUD_PK_CLUSTER_LAB"):
        user = os.environ.get("GCLOUD_PK_CLUSTER_USER")
        made = Bench(Path(named), os.environ["GCLOUD_PK_CLUSTER_KUBECONFIG"], user)
    else:
        survivor: Surviving = request.getfixturevalue("survivor")
        centre = survivor.cloud.centre
        # The timers of the nodes make backups meanwhile; one that was tried is there from now on.
        shelf = tmp_path_factory.mktemp("shelf")
        survivor.cloud.gcloud_pk("datacenter", "backup", SITE, "now", "--to", shelf)
        words = ("datacenter", "backup", SITE, "verify", "--to", shelf, "--key", survivor.recipient)
        survivor.cloud.gcloud_pk(*words)
        made = Bench(centre.folder, str(survivor.cloud.kubeconfig), env=centre.env)
    # Whether secrets are encrypted can be told only where there is one.
    secret = "kubectl create secret generic of-a-test --from-literal=a=b --dry-run=client -o yaml | kubectl apply -f -"
    made.root("c1", f"export KUBECONFIG=/etc/kubernetes/admin.conf; {secret}")
    return made


@pytest.fixture(scope="module")
def clean(bench: Bench) -> dict[tuple[str, str], str]:
    return bench.verdicts()


def test_before_it_is_weakened_the_cluster_fails_nothing_but_what_is_known(
    clean: dict[tuple[str, str], str],
) -> None:
    assert {name for (_, name), verdict in clean.items() if verdict in {"fail", "error"}} <= {"CIS-1.1.12", "CIS-5.3.1"}


def test_an_auditor_who_may_not_reach_kubelets_finds_the_same(bench: Bench, clean: dict[tuple[str, str], str]) -> None:
    assert bench.verdicts("auditor") == clean


@pytest.mark.parametrize("mutation", ALL)
def test_exactly_the_checks_concerned_turn_to_fail(
    mutation: Mutation, bench: Bench, clean: dict[tuple[str, str], str]
) -> None:
    different = bench.broken(mutation, clean)
    if mutation.get("silences"):
        different.pop("not-checked", None)
    assert different == {"fail": set(mutation["breaks"])}


def test_what_is_undone_leaves_no_trace(bench: Bench, clean: dict[tuple[str, str], str]) -> None:
    assert bench.verdicts() == clean
