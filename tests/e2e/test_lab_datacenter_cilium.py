"""Real pods of two tenants on a lab data centre whose network enforces NetworkPolicy: Cilium, as it runs in the lab.

The whole matrix is judged by packets: what must be open lets them through, what must be closed drops them, DNS and a
machine's credentials at 169.254.169.254 included. All of it again after a rack was lost and came back; and a policy
that is taken away is noticed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.live_tenants import ALPHA, CLOSED, Cloud, provisioned, without

from gcloud_pk.cluster.kinds import POD
from gcloud_pk.proof.live.plan import CHECKS
from gcloud_pk.proof.live.pods import LABEL

pytestmark = pytest.mark.slow

HOLDS, BROKEN = 0, 6
NOT_DECLARED = {"portal ISO-714"}
"""A flow that the request does not declare, and so has none to judge."""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with provisioned(tmp_path_factory.mktemp("cilium"), "cilium") as cloud:
        yield cloud


def judged(found: dict[str, dict[str, Any]]) -> None:
    """Expect every flow of the matrix to be judged, and to be as it must."""
    assert found.keys() == {f"{environment} {check}" for environment in ("eoffice", "portal") for check in CHECKS}
    others = {name: each for name, each in found.items() if each["verdict"] != "pass"}
    assert {name: each["verdict"] for name, each in others.items()} == dict.fromkeys(NOT_DECLARED, "not-applicable")
    for environment in ("eoffice", "portal"):
        for check in CLOSED:
            tried = found[f"{environment} {check}"]["evidence"]["tried"]
            assert {each["came_back"] for each in tried} == {"nothing"}, (environment, check, tried)


def test_whatever_must_be_closed_drops_packets_and_whatever_must_be_open_lets_them_through(cloud: Cloud) -> None:
    judged(cloud.audit(ALPHA, HOLDS))
    assert cloud.api.list(POD, selector=LABEL) == []


def test_it_is_so_again_after_a_rack_was_lost_and_came_back(cloud: Cloud) -> None:
    with without(cloud, "rack-2", left={"c1", "c3"}):
        pass
    judged(cloud.audit(ALPHA, HOLDS))
    assert cloud.api.list(POD, selector=LABEL) == []


def test_a_network_that_enforces_no_more_fails_every_closed_flow_and_no_open_one(cloud: Cloud) -> None:
    try:
        enforcement(cloud, "never")
        found = cloud.audit(ALPHA, BROKEN)
    finally:
        enforcement(cloud, "default")
    failed = {name for name, each in found.items() if each["verdict"] == "fail"}
    assert failed == {f"{environment} {check}" for environment in ("eoffice", "portal") for check in CLOSED}
    judged(cloud.audit(ALPHA, HOLDS))


def enforcement(cloud: Cloud, how: str) -> None:
    """Have every node's agent enforce policies, or none."""
    for name in cloud.centre.names:
        cloud.centre.ssh(name, "sudo", "cilium-dbg", "config", f"PolicyEnforcement={how}")
