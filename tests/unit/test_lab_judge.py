"""The judge's control plane: gone after its question, and after a run that was killed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from gcloud_pk.cluster.transport import Api
from gcloud_pk.console import Console
from gcloud_pk.errors import UnavailableError
from gcloud_pk.lab import controlplane, judge, state
from gcloud_pk.lab.state import State


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("GCLOUD_PK_PROGRAMS", raising=False)
    return tmp_path


def a_lab(name: str) -> None:
    state.layout(name).folder.mkdir(parents=True)
    state.save(State(name))


def labs() -> set[str]:
    return {lab.name for lab in state.labs()}


def ended() -> int:
    """Return the id of a process that is no more."""
    process = subprocess.Popen(["/bin/true"])
    process.wait()
    return process.pid


def test_judges_of_killed_runs_are_removed_and_other_labs_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    living = f"judge-{os.getppid()}"
    for name in ("default", "judge-of-mine", living, f"judge-{ended()}"):
        a_lab(name)
    with pytest.raises(UnavailableError), judge.bench(Console()):
        pass
    assert labs() == {"default", "judge-of-mine", living}


def test_without_programs_nothing_is_fetched_and_the_remedy_is_named() -> None:
    with pytest.raises(UnavailableError, match="not to be had") as error, judge.bench(Console()):
        pass
    assert "gcloud-pk lab up" in str(error.value.resolution)
    assert labs() == set()


def test_a_judge_is_removed_whatever_its_question_came_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def up(name: str, **_: object) -> controlplane.Lab:
        a_lab(name)
        return controlplane.Lab(name, Path(), Path("kubeconfig"), "", None, wanted=True, running=True, ready=True)

    monkeypatch.setattr(controlplane, "up", up)
    monkeypatch.setattr("gcloud_pk.cluster.kubeconfig.load", lambda *_: None)
    monkeypatch.setattr(judge, "Api", lambda _: object.__new__(Api))

    def interrupted() -> None:
        with judge.bench(Console()):
            assert labs() == {f"judge-{os.getpid()}"}
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert labs() == set()
