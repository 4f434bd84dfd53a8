"""Racks that are lost for real: a lab data centre, provisioned by the ordinary path, is drilled as a user drills it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import Any

import pytest
from tests.e2e.conftest import CLI
from tests.e2e.live_tenants import eventually, ready
from tests.e2e.nodes import Nodes
from tests.e2e.surviving import SITE, Surviving

pytestmark = pytest.mark.slow

MISSED = (6, 7)
"""What a drill exits with on a machine that others use too: its targets are for two idle cores."""


@pytest.fixture(scope="module")
def centre(survivor: Surviving) -> Nodes:
    """Return a lab data centre with a cluster of three nodes, which its registry knows."""
    own = survivor.cloud.centre
    own.env["KUBECONFIG"] = str(survivor.cloud.kubeconfig)
    return own


def drill(centre: Nodes, *words: str, codes: tuple[int, ...] = (0, *MISSED)) -> dict[str, Any]:
    command = ("datacenter", "drill", SITE, "--context", "admin", "--yes", *words, "--format", "json")
    done = centre.gcloud_pk(*command, timeout=900)
    assert done.returncode in codes, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def verdicts(told: dict[str, Any]) -> dict[str, str]:
    return {one["id"]: one["verdict"] for one in told["results"]}


def holder(centre: Nodes) -> str:
    """Return the rack whose control plane holds the API's address."""
    for number in (1, 2, 3):
        if "10.207.0.10/" in centre.ssh(f"c{number}", "ip -4 -o address show").stdout:
            return f"rack-{number}"
    raise AssertionError("nobody holds the API's address")


def test_the_rack_that_holds_the_api_is_lost_and_no_acknowledged_write_with_it(centre: Nodes) -> None:
    told = drill(centre, "--lose", f"rack:{holder(centre)}", "--for", "90s")
    (one,) = told["measures"]["drills"]
    assert one["ledger"]["acknowledged"] > 300
    assert one["ledger"]["lost"] == one["ledger"]["altered"] == 0
    assert 0.2 < one["reads"]["longest"] < 15
    assert not one["reads"]["open"]
    assert one["recovery"]["all"] is not None
    said = verdicts(told)
    for name in ("DRL-003", "DRL-007", "DRL-008", "DRL-009"):
        assert said[name] == "pass", told["results"]


def test_a_power_cut_of_everything_loses_nothing_that_was_acknowledged(centre: Nodes) -> None:
    told = drill(centre, "--lose", "site", "--for", "5s")
    (one,) = told["measures"]["drills"]
    assert one["ledger"]["acknowledged"] > 10
    assert one["ledger"]["lost"] == one["ledger"]["altered"] == 0
    assert one["recovery"]["api"] < 120
    assert verdicts(told)["DRL-003"] == "pass"


def test_a_drill_that_is_killed_is_brought_back_and_its_ledger_judged(centre: Nodes) -> None:
    words = [
        str(CLI),
        "datacenter",
        "drill",
        SITE,
        "--context",
        "admin",
        "--yes",
        "--lose",
        "rack:rack-2",
        "--for",
        "10m",
    ]
    env = centre.env | {"GCLOUD_PK_REGISTRY": str(centre.registry), "GCLOUD_PK_TRUST": str(centre.trust)}
    killed = subprocess.Popen(words, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        kept = centre.folder / "drills"
        end = time.monotonic() + 180
        while not any(
            node["name"] == "c2" and not node["running"] for node in centre.json("status", check=None)["nodes"]
        ):
            assert killed.poll() is None
            assert time.monotonic() < end
            time.sleep(1)
        time.sleep(3)
    finally:
        os.killpg(killed.pid, signal.SIGKILL)
        killed.communicate()
    assert (kept / "out.json").is_file()

    told = drill(centre, "--restore", codes=(0,))

    assert not (kept / "out.json").exists()
    (found,) = told["results"]
    assert (found["id"], found["verdict"]) == ("DRL-003", "pass")
    assert all(node["answers"] for node in centre.json("status")["nodes"])


def test_a_degraded_site_is_refused_and_says_what_would_go_down(survivor: Surviving, centre: Nodes) -> None:
    centre.sudo("c3", "systemctl stop kubelet")
    try:
        assert eventually(lambda: "c3" not in ready(survivor.cloud)), "nobody noticed that c3 is down"
        told = drill(centre, "--lose", "rack:rack-1", codes=(4,))
        said = json.dumps(told["error"])
        assert "c3 is not Ready" in said
        assert "1 of 3 members of etcd" in said
    finally:
        centre.sudo("c3", "systemctl start kubelet")
    assert eventually(lambda: "c3" in ready(survivor.cloud))
