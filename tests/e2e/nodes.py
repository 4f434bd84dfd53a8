"""Lab nodes for end-to-end tests: real Debian machines, as `gcloud-pk lab nodes up` makes them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import CLI, environment


@dataclass(frozen=True)
class Nodes:
    """A lab of nodes and the environment in which the CLI finds it. `said`: the document of `lab nodes status`.

    `kind`: nodes or datacenter.
    """

    name: str
    env: dict[str, str]
    said: dict[str, Any]
    kind: str = "nodes"

    @property
    def folder(self) -> Path:
        return Path(self.said["folder"])

    @property
    def registry(self) -> Path:
        return Path(self.said["registry"])

    @property
    def trust(self) -> Path:
        return Path(self.said["trust"])

    @property
    def ssh_config(self) -> Path:
        return Path(self.said["ssh_config"])

    @property
    def names(self) -> list[str]:
        return [node["name"] for node in self.said["nodes"]]

    def gcloud_pk(
        self, *args: str | Path, check: int | None = None, timeout: float = 900
    ) -> subprocess.CompletedProcess[str]:
        """Run the installed CLI on the lab's registry; with `check`, its exit code must be that."""
        env = self.env | {"GCLOUD_PK_REGISTRY": str(self.registry), "GCLOUD_PK_TRUST": str(self.trust)}
        done = subprocess.run(
            [CLI, *args], capture_output=True, text=True, timeout=timeout, env=env, stdin=subprocess.DEVNULL
        )
        if check is not None:
            assert done.returncode == check, f"gcloud-pk {args} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def lab(self, act: str, *args: str, check: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run `lab nodes ACT` on this lab, or `lab datacenter ACT`."""
        return self.gcloud_pk("lab", self.kind, act, "--name", self.name, *args, check=check)

    def json(self, act: str, *args: str, check: int | None = 0) -> Any:
        """Run `lab nodes ACT` with `--format json`; return its document."""
        return json.loads(self.lab(act, *args, "--format", "json", check=check).stdout)

    def ssh(
        self,
        node: str,
        *command: str,
        check: bool = True,
        input: str | None = None,  # noqa: A002 - as subprocess.run names it
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a node (`node-1`, `audit-node-1`); several words are joined by a space."""
        done = subprocess.run(
            ["ssh", "-F", self.ssh_config, node, *command],
            capture_output=True, text=True, timeout=timeout, input=input,
            stdin=subprocess.DEVNULL if input is None else None,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{node}: {command}: {done.stdout}\n{done.stderr}"
        return done

    def sudo(
        self, node: str, script: str, *, check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell script as root on a node."""
        return self.ssh(node, "sudo sh -eu", check=check, input=script, timeout=timeout)

    def reset(self) -> None:
        """Throw away what the nodes wrote: plain nodes again, with the same host keys (some seconds)."""
        self.lab("up", "--fresh")


def require() -> None:
    """Skip the test where lab nodes cannot run, in the doctor's words."""
    done = subprocess.run([CLI, "lab", "nodes", "doctor", "--format", "json"], capture_output=True, text=True)
    if done.returncode == 5:
        missing = [f for f in json.loads(done.stdout)["findings"] if f["state"] == "missing"]
        pytest.skip("no lab nodes: " + "; ".join(f"{f['subject']}: {f['found']} ({f['remedy']})" for f in missing))
    assert done.returncode == 0, done.stderr


@contextmanager
def plain_nodes(count: int, state: Path, *, racks: int | None = None, name: str | None = None) -> Iterator[Nodes]:
    """Bring up a lab of plain nodes that lies under `state`, and remove it with all it wrote.

    The image comes from the user's cache (XDG_CACHE_HOME) and is built there when it is missing.
    """
    require()
    name = name or f"t{os.getpid()}"
    env = environment(state)
    env |= {key: os.environ[key] for key in ("GCLOUD_PK_DEBIAN_MIRROR",) if key in os.environ}
    words = ["--count", str(count), *(["--racks", str(racks)] if racks else []), "--format", "json"]
    try:
        up = subprocess.run(
            [CLI, "lab", "nodes", "up", "--name", name, *words], capture_output=True, text=True, env=env, timeout=900
        )
        assert up.returncode == 0, up.stderr
        yield Nodes(name, env, json.loads(up.stdout))
    finally:
        down = subprocess.run([CLI, "lab", "nodes", "down", "--purge", "--name", name], capture_output=True, env=env)
        assert down.returncode in {0, 5}, down.stderr  # 5: the test has purged it already
