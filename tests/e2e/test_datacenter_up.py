"""A data centre made for real: `datacenter up` over the bare nodes of a lab, judged by kubectl, kubeadm and etcdctl."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import CLI
from tests.e2e.datacenter import bare_centre
from tests.e2e.nodes import Nodes
from tests.stacks import engine

from gcloud_pk import paths
from gcloud_pk.console import Console
from gcloud_pk.lab.datacenter import racks

pytestmark = pytest.mark.slow

SITE = "lab-dc"
PKI = "/etc/kubernetes/pki/etcd"
ETCDCTL = (
    f"sudo etcdctl --endpoints=https://127.0.0.1:2379 --cacert {PKI}/ca.crt "
    f"--cert {PKI}/healthcheck-client.crt --key {PKI}/healthcheck-client.key"
)


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """A lab data centre of three nodes that was made a cluster by the ordinary command."""
    program = engine.program()
    if program is None:
        pytest.skip("no Pulumi engine on PATH, in the cache, or by GCLOUD_PK_TEST_ENGINE")
    with bare_centre(tmp_path_factory.mktemp("made")) as own:
        own.env["GCLOUD_PK_ENGINE"] = str(program)
        made = datacenter(own, "up", "--yes")
        assert made["outcome"] == "done", made
        yield own


def datacenter(centre: Nodes, act: str, *words: str, code: int = 0) -> Any:
    done = centre.gcloud_pk("datacenter", act, SITE, *words, "--format", "json", check=code, timeout=2400)
    return json.loads(done.stdout)


def kubectl(centre: Nodes, *words: str) -> Any:
    program = shutil.which("kubectl") or str(next(paths.cache().glob("programs/*/kubectl")))
    path = datacenter(centre, "kubeconfig")["kubeconfig"]
    command = [program, "--kubeconfig", path, *words, "-o", "json"]
    return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)


def settle(centre: Nodes, seconds: float = 120) -> Any:
    """Return the cluster's status as soon as nothing is down."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done = centre.gcloud_pk("datacenter", "status", SITE, "--format", "json")
        if done.returncode == 0:
            return json.loads(done.stdout)["clusters"][0]
        time.sleep(2)
    raise AssertionError(f"it never settled: {done.stdout}")


def test_a_second_up_has_nothing_to_do_and_says_so_soon(centre: Nodes) -> None:
    started = time.monotonic()
    again = datacenter(centre, "up", "--yes")

    assert again["outcome"] == "unchanged"
    assert again["uid"] == kubectl(centre, "get", "namespace", "kube-system")["metadata"]["uid"]
    assert time.monotonic() - started < 60  # 30 s on two quiet cores


def test_status_says_of_nodes_what_kubectl_says(centre: Nodes) -> None:
    state = settle(centre)
    nodes = kubectl(centre, "get", "nodes")["items"]

    ready = {
        node["metadata"]["name"]: any(
            c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"]
        )
        for node in nodes
    }
    assert {node["name"]: node["ready"] for node in state["nodes"]} == ready
    assert {node["version"] for node in state["nodes"]} == {
        node["status"]["nodeInfo"]["kubeletVersion"].removeprefix("v") for node in nodes
    }


def test_status_says_of_certificates_what_kubeadm_says(centre: Nodes) -> None:
    state = settle(centre)
    said = json.loads(centre.ssh("c1", "sudo kubeadm certs check-expiration -o json 2>/dev/null").stdout)

    told = {
        one["name"].removesuffix(".crt").removeprefix("pki/").replace("/", "-"): one["expires"]
        for one in state["certificates"]
        if one["node"] == "c1"
    }
    for one in (found for found in said["certificates"] if not found.get("missing")):
        # kubeadm calls etcd/server.crt etcd-server, and admin.conf by its file's name.
        expires = dt.datetime.fromisoformat(one["expirationDate"]).astimezone(dt.UTC)
        assert told[one["name"]] == f"{expires:%Y-%m-%dT%H:%M:%SZ}", one["name"]


def test_status_says_of_etcd_what_etcdctl_says(centre: Nodes) -> None:
    state = settle(centre)
    said = json.loads(centre.ssh("c1", f"{ETCDCTL} endpoint health --cluster -w json").stdout)

    assert len(state["etcd"]) == len(said) == 3
    assert all(one["healthy"] for one in state["etcd"])
    assert all(one["health"] for one in said)


def test_the_kubeconfig_is_private_and_has_a_context_for_each_identity(centre: Nodes) -> None:
    told = datacenter(centre, "kubeconfig")

    assert sorted(told["contexts"]) == ["admin", "auditor", "onboarder", "verifier"]
    assert stat.S_IMODE(Path(told["kubeconfig"]).stat().st_mode) == 0o600


def test_no_credential_stands_in_the_state_in_clear(centre: Nodes) -> None:
    kubeconfig = Path(datacenter(centre, "kubeconfig")["kubeconfig"])
    keys = [line.split(": ")[1] for line in kubeconfig.read_text().splitlines() if "client-key-data" in line]

    assert len(keys) == 4
    for path in (centre.folder / "stacks").rglob("*"):
        if path.is_file() and path != kubeconfig:
            data = path.read_bytes()
            assert not any(key.encode() in data for key in keys), path


def test_a_lost_rack_is_down_until_it_is_back(centre: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", centre.env["XDG_STATE_HOME"])
    settle(centre)
    try:
        racks.pull(centre.name, "rack-3", Console())
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            state = datacenter(centre, "status", code=6)["clusters"][0]
            if any("c3 is not Ready" in fault for fault in state["faults"]):
                break
        assert any("c3 is not Ready" in fault for fault in state["faults"]), state["faults"]
        assert "c3" in state["silent"]
    finally:
        racks.give_back(centre.name, "rack-3", Console())
    assert settle(centre)["faults"] == []


def test_a_run_killed_while_it_changes_nodes_is_taken_up_again(centre: Nodes) -> None:
    file = centre.registry / "sites" / f"{SITE}.yaml"
    text = file.read_text()
    assert text.count("maxPods: 60") == 1
    file.write_text(text.replace("maxPods: 60", "maxPods: 70"))
    centre.gcloud_pk("registry", "sign", "--key", centre.said["keeper"]["key"], check=0)
    env = centre.env | {"GCLOUD_PK_REGISTRY": str(centre.registry), "GCLOUD_PK_TRUST": str(centre.trust)}
    with subprocess.Popen(
        [CLI, "datacenter", "up", SITE, "--yes"], env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stderr
        for line in process.stderr:
            if line.startswith("up of site"):
                break
        time.sleep(8)
        os.kill(process.pid, signal.SIGKILL)

    again = datacenter(centre, "up", "--yes")

    assert again["outcome"] == "done"
    capacity = {node["status"]["capacity"]["pods"] for node in kubectl(centre, "get", "nodes")["items"]}
    assert capacity == {"70"}
    assert datacenter(centre, "up", "--yes")["outcome"] == "unchanged"


def test_destroy_takes_the_cluster_down_and_gives_the_labs_machines_back(centre: Nodes) -> None:
    gone = datacenter(centre, "destroy", "--yes")

    assert gone["outcome"] == "done"
    assert not any(node["running"] for node in centre.json("status", check=None)["nodes"])
    assert datacenter(centre, "status", code=6)["clusters"][0]["api"]["answers"] is False
    assert datacenter(centre, "destroy", "--yes")["outcome"] == "unchanged"
