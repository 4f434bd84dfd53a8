"""Lab data centres for end-to-end tests: bare nodes over three racks, as `gcloud-pk lab datacenter up` makes them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import CLI, environment
from tests.e2e.nodes import Nodes

from gcloud_pk.lab.nodes.layout import DATACENTER, Layout


def require(nodes: int = 3) -> None:
    """Skip the test where a lab data centre cannot run, in the doctor's words."""
    words = ["lab", "datacenter", "doctor", "--nodes", str(nodes), "--format", "json"]
    done = subprocess.run([CLI, *words], capture_output=True, text=True)
    assert done.returncode in {0, 5}, done.stderr
    wanting = [f for f in json.loads(done.stdout)["findings"] if f["state"] == "missing" or f["subject"] == "programs"]
    lacking = [f for f in wanting if f["state"] != "ok"]
    if lacking:
        pytest.skip(
            "no lab data centre: " + "; ".join(f"{f['subject']}: {f['found']} ({f['remedy']})" for f in lacking)
        )


def layout_of(said: dict[str, Any]) -> Layout:
    """Return where the lab of a document lies."""
    return Layout(Path(said["folder"]), DATACENTER)


@contextmanager
def bare_centre(state: Path, *, count: int = 3, name: str | None = None, network: str | None = None) -> Iterator[Nodes]:
    """Bring up a lab data centre that lies under `state`, and remove it with all it wrote."""
    require(count)
    name = name or f"t{os.getpid()}"
    env = environment(state)
    words = ["lab", "datacenter", "up", "--name", name, "--nodes", str(count), "--format", "json"]
    words += ["--network", network] if network else []
    try:
        up = subprocess.run([CLI, *words], capture_output=True, text=True, env=env, timeout=900)
        assert up.returncode == 0, up.stderr
        yield Nodes(name, env, json.loads(up.stdout), "datacenter")
    finally:
        words = ["lab", "datacenter", "down", "--purge", "--name", name]
        down = subprocess.run([CLI, *words], capture_output=True, env=env, timeout=300)
        assert down.returncode in {0, 5}, down.stderr  # 5: the test has purged it already


def begin_proxies_anew(centre: Nodes) -> None:
    """Have every node's kube-proxy replaced by a new pod, and wait until that is done."""
    rollout = "sudo kubectl --kubeconfig /etc/kubernetes/admin.conf -n kube-system rollout"
    centre.ssh("c1", f"{rollout} restart daemonset kube-proxy")
    centre.ssh("c1", f"{rollout} status --timeout 100s daemonset kube-proxy")
