"""Racks that are lost for real: a lab data centre, provisioned by the ordinary path, is drilled as a user drills it."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import time
from subprocess import PIPE
from typing import Any

import pytest
from tests.e2e.conftest import CLI
from tests.e2e.live_tenants import eventually, ready
from tests.e2e.nodes import Nodes
from tests.e2e.surviving import SITE, Surviving

from gcloud_pk.console import Console
from gcloud_pk.lab.datacenter import racks

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


def test_a_person_at_a_terminal_takes_a_rack_out_and_brings_it_back(
    centre: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", centre.env["XDG_STATE_HOME"])  # where racks find the lab
    words = [str(CLI), "datacenter", "drill", SITE, "--context", "admin", "--guided", "--lose", "rack:rack-2"]
    env = centre.env | {"GCLOUD_PK_REGISTRY": str(centre.registry), "GCLOUD_PK_TRUST": str(centre.trust)}
    person, terminal = pty.openpty()
    command = [*words, "--for", "15s", "--format", "json"]
    with subprocess.Popen(command, stdin=terminal, stdout=PIPE, stderr=PIPE, env=env) as run:
        try:
            for words_of, deed in (
                ("begin?", None),
                ("Switch off rack rack-2: both of its feeds, and its uplinks. Say yes when it is off.", racks.pull),
                ("Switch on rack rack-2: both of its feeds, and its uplinks. Say yes when it is on.", racks.give_back),
            ):
                until_said(run, words_of)
                if deed:
                    deed(centre.name, "rack-2", Console())
                os.write(person, b"y\n")
            told = json.loads(run.communicate(timeout=400)[0])
        finally:
            run.kill()
            os.close(person)
            os.close(terminal)
            racks.give_back(centre.name, "rack-2", Console())
    assert run.returncode in {0, *MISSED}
    (one,) = told["measures"]["drills"]
    assert one["by"] == "guided"
    assert one["ledger"]["acknowledged"] > 50
    assert verdicts(told)["DRL-003"] == "pass"
    assert one["recovery"]["all"] is not None


def until_said(run: subprocess.Popen[bytes], words: str, seconds: float = 180) -> None:
    """Wait until a program has said something on its standard error, of which the rest is left."""
    assert run.stderr is not None
    said, end = "", time.monotonic() + seconds
    while words not in " ".join(said.split()):
        assert time.monotonic() < end, said
        if select.select([run.stderr], [], [], 1)[0]:
            data = os.read(run.stderr.fileno(), 1)
            assert data, said
            said += data.decode("utf-8", "replace")


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
