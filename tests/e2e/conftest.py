"""One running control plane for all end-to-end tests; each test keeps to its own tenants and namespaces."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.e2e.surviving import Surviving

CLI = Path(sys.executable).parent / "gcloud-pk"
NOT_TO_BE_HAD = "programs are not to be had"


@dataclass(frozen=True)
class RunningLab:
    """A lab and the environment in which the CLI finds it. `env` is for subprocesses of any kind."""

    name: str
    folder: Path
    kubeconfig: Path
    env: dict[str, str]
    programs: dict[str, Path]

    def gcloud_pk(
        self,
        *args: str | Path,
        input: str | None = None,  # noqa: A002 - as subprocess.run names it
        check: int | None = None,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 900,
    ) -> subprocess.CompletedProcess[str]:
        """Run the installed CLI; with `check`, its exit code must be that."""
        done = subprocess.run(
            [CLI, *args],
            input=input,
            capture_output=True,
            text=True,
            cwd=cwd,
            timeout=timeout,
            env=self.env | (env or {}),
            stdin=subprocess.DEVNULL if input is None else None,
        )
        if check is not None:
            assert done.returncode == check, f"gcloud-pk {args} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *args: str | Path, check: int | None = 0) -> Any:
        """Run the CLI with `--format json`; return its document."""
        return json.loads(self.gcloud_pk(*args, "--format", "json", check=check).stdout)

    def kubectl(
        self,
        *args: str,
        context: str = "admin",
        input: str | None = None,  # noqa: A002 - likewise
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run the lab's kubectl as one of its identities."""
        command = [str(self.programs["kubectl"]), "--context", context, *args]
        done = subprocess.run(command, input=input, capture_output=True, text=True, env=self.env, timeout=60)
        assert not check or done.returncode == 0, f"kubectl {args}: {done.stderr}"
        return done

    def audit_written(self) -> None:
        """Wait until the audit log has what was asked of the API server so far: a line follows its answer.

        A question that nobody else asks is the last in order: it is sent when every earlier answer has arrived.
        """
        word = f"fence-{secrets.token_hex(8)}"
        log = self.folder / "log" / "audit.log"
        size = log.stat().st_size
        self.kubectl("get", "--raw", f"/api/v1/namespaces/default/configmaps/{word}", check=False)
        deadline = time.monotonic() + 60
        while not self._logged(log, size, word):
            assert time.monotonic() < deadline, "the audit log does not go on"
            time.sleep(0.02)

    @staticmethod
    def _logged(log: Path, since: int, word: str) -> bool:
        with log.open("rb") as stream:
            # A log that became too large begins anew.
            stream.seek(since if since <= log.stat().st_size else 0)
            return any(word in line and '"ResponseComplete"' in line for line in stream.read().decode().splitlines())


def environment(state: Path) -> dict[str, str]:
    """Return this process's environment without what would point the CLI elsewhere; labs lie under `state`."""
    kept = {"GCLOUD_PK_PROGRAMS", "GCLOUD_PK_MIRROR", "GCLOUD_PK_DEBUG"}
    env = {
        name: value
        for name, value in os.environ.items()
        if name in kept or not name.startswith(("GCLOUD_PK_", "KUBECONFIG"))
    }
    return env | {"XDG_STATE_HOME": str(state), "NO_COLOR": "1"}


def start(name: str, env: dict[str, str]) -> RunningLab:
    """Start a lab. Skips the test where its programs cannot be had."""
    up = subprocess.run([CLI, "lab", "up", "--name", name, "--format", "json"], capture_output=True, text=True, env=env)
    if up.returncode == 5 and NOT_TO_BE_HAD in up.stderr:
        pytest.skip(up.stderr.strip())
    assert up.returncode == 0, up.stderr
    return found(json.loads(up.stdout), env)


def _remove(name: str, env: dict[str, str]) -> None:
    subprocess.run([CLI, "lab", "down", "--purge", "--name", name], capture_output=True, env=env, check=True)


@contextmanager
def running(name: str, state: Path) -> Iterator[RunningLab]:
    """Start a lab, and remove it with all it holds."""
    env = environment(state)
    try:
        yield start(name, env)
    finally:
        _remove(name, env)


def found(said: dict[str, Any], env: dict[str, str]) -> RunningLab:
    """Return the lab that `lab up` or `lab status` described."""
    programs = {program: Path(entry["path"]) for program, entry in said["programs"].items()}
    return RunningLab(
        said["name"], Path(said["folder"]), Path(said["kubeconfig"]), env | {"KUBECONFIG": said["kubeconfig"]}, programs
    )


@contextmanager
def _shared(folder: Path) -> Iterator[RunningLab]:
    """Share one lab among pytest-xdist's workers: the first starts it, the last stops it."""
    name = f"e2e-{os.environ['PYTEST_XDIST_TESTRUNUID'][:12]}"
    env = environment(folder)
    with _locked(folder / "lock"):
        users = folder / "users"
        count = int(users.read_text()) if users.exists() else 0
        own = start(name, env)
        users.write_text(str(count + 1))
    try:
        yield own
    finally:
        with _locked(folder / "lock"):
            count = int(users.read_text()) - 1
            users.write_text(str(count))
            if count == 0:
                _remove(name, env)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """The control plane that all end-to-end tests share. Programs come from the user's cache."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = tmp_path_factory.getbasetemp().parent / "shared-lab"
        folder.mkdir(exist_ok=True)
        with _shared(folder) as shared:
            yield shared
        return
    with running(f"e2e-{os.getpid()}", tmp_path_factory.mktemp("labs")) as own:
        yield own


@pytest.fixture(scope="session")
def survivor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surviving]:
    """Return a provisioned data centre that slow tests break and mend: those of one session share it."""
    from tests.e2e.surviving import surviving

    with surviving(tmp_path_factory.mktemp("surviving")) as made:
        yield made
