"""Cilium's programs, and the sources that its agent compiles: from a folder, from the cache, from the module."""

from pathlib import Path

import pytest

from gcloud_pk.console import Console
from gcloud_pk.errors import UnavailableError
from gcloud_pk.programs import cilium, pins, sourcing, toolchain
from gcloud_pk.programs.sourcing import Program, Wish

FOUND = {"cilium-agent": Program("cilium-agent", "1.15.19", "cache", Path("/cilium-agent"))}


@pytest.fixture(autouse=True)
def _programs_are_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sourcing, "obtain", lambda *_: FOUND)
    monkeypatch.setattr(toolchain, "obtain", lambda *_: Path("go"))


def sources(folder: Path) -> Path:
    (folder / "bpf" / "lib").mkdir(parents=True)
    for name in ("bpf_lxc.c", "lib/policy.h"):
        (folder / "bpf" / name).write_text(name)
        (folder / "bpf" / name).chmod(0o444)
    (folder / "bpf" / "lib").chmod(0o555)
    return folder


def from_module(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    asked: list[str] = []

    def answer(_go: Path, where: Path, module: str) -> Path:
        assert where == pins.sources("cilium")
        asked.append(module)
        return folder

    monkeypatch.setattr(toolchain, "module_folder", answer)
    return asked


def test_the_sources_are_taken_from_the_module_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = from_module(monkeypatch, sources(tmp_path / "module"))
    for _ in range(2):
        found = cilium.obtain(Wish(), Console())
        assert found.programs == FOUND
        assert (found.bpf / "lib/policy.h").read_text() == "lib/policy.h"
    assert asked == ["github.com/cilium/cilium"]
    assert found.bpf.is_relative_to(tmp_path / "cache")


def test_what_was_copied_can_be_removed_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from_module(monkeypatch, sources(tmp_path / "module"))
    folder = cilium.obtain(Wish(), Console()).bpf
    assert {path.stat().st_mode & 0o200 for path in [folder, *folder.rglob("*")]} == {0o200}


def test_what_a_killed_copy_left_is_made_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = from_module(monkeypatch, sources(tmp_path / "module"))
    folder = cilium.obtain(Wish(), Console()).bpf
    (folder / "bpf_lxc.c").unlink()
    (folder.parent / ".bpf.part" / "lib").mkdir(parents=True)
    assert (cilium.obtain(Wish(), Console()).bpf / "bpf_lxc.c").is_file()
    assert len(asked) == 2


def test_a_folder_of_programs_may_have_the_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = from_module(monkeypatch, sources(tmp_path / "module"))
    given = sources(tmp_path / "given")
    assert cilium.obtain(Wish(folder=given), Console()).bpf == given / "bpf"
    assert asked == []


def test_offline_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = from_module(monkeypatch, sources(tmp_path / "module"))
    with pytest.raises(UnavailableError, match="--offline"):
        cilium.obtain(Wish(offline=True), Console())
    assert asked == []


def test_a_module_that_is_not_to_be_had_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Path:
        raise toolchain.BuildError("the source of it is not to be had", ["403 Forbidden"])

    monkeypatch.setattr(toolchain, "module_folder", refuse)
    with pytest.raises(UnavailableError, match="not to be had") as caught:
        cilium.obtain(Wish(), Console())
    assert "403 Forbidden" in [problem.message for problem in caught.value.details]


def go(folder: Path, script: str) -> Path:
    path = folder / "go"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_go_says_where_the_source_of_a_module_lies(tmp_path: Path) -> None:
    said = go(tmp_path, 'echo "{\\"Dir\\": \\"/modules/$4\\"}"')
    assert toolchain.module_folder(said, pins.sources("cilium"), "m") == Path("/modules/m")


@pytest.mark.parametrize(
    ("script", "reason"),
    [('echo \'{"Error": "gone"}\'; exit 1', "gone"), ("echo nonsense", "Expecting value"), ("exit 1", "not to be had")],
    ids=["it is gone", "it says something else", "it says nothing"],
)
def test_a_source_that_go_cannot_have_is_an_error_with_its_words(tmp_path: Path, script: str, reason: str) -> None:
    with pytest.raises(toolchain.BuildError) as caught:
        toolchain.module_folder(go(tmp_path, script), pins.sources("cilium"), "m")
    assert reason in " ".join([str(caught.value), *caught.value.log])
