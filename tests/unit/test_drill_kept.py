"""What is kept of drills: an element that is out is not forgotten, and nobody drills beside somebody else."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from gcloud_pk.errors import RefusedError, UnavailableError
from gcloud_pk.proof.drill import kept as module
from gcloud_pk.proof.drill.kept import Kept, Out

OUT = Out("r1", "isb-1", "rack:rack-1", "lab", ("c1", "w1"), "uid", "20261122T170000Z", "somebody")


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    found = Kept(tmp_path / "drills")
    with found.alone():
        pass
    return found


def test_what_is_out_is_remembered_until_it_is_back(kept: Kept) -> None:
    assert kept.out() is None
    kept.set_out(OUT)
    assert Kept(kept.home).out() == OUT
    kept.clear()
    assert kept.out() is None
    kept.clear()


def test_what_is_kept_is_its_owners_alone(kept: Kept) -> None:
    kept.set_out(OUT)
    folder = kept.folder("r1")
    assert stat.S_IMODE(kept.home.stat().st_mode) == stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((kept.home / "out.json").stat().st_mode) == 0o600


def test_a_second_drill_of_a_site_is_refused_while_one_is_under_way(kept: Kept) -> None:
    with kept.alone(), pytest.raises(RefusedError, match="another drill"), Kept(kept.home).alone():
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", '{"run": "r1"}', '{"hosts": 1}'])
def test_a_memory_that_cannot_be_read_is_told_of_and_never_taken_for_nothing(kept: Kept, content: str) -> None:
    (kept.home / "out.json").write_text(content)
    with pytest.raises(UnavailableError, match="cannot be read"):
        kept.out()


def test_a_folder_that_cannot_be_made_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = Kept(tmp_path / "file" / "drills")
    with pytest.raises(UnavailableError, match="cannot be written"), found.alone():
        pass


def test_of_many_drills_the_oldest_go_but_not_the_one_that_is_out(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 3)
    kept.set_out(OUT)
    for number in range(1, 7):
        kept.folder(f"r{number}")
    assert sorted(one.name for one in kept.home.iterdir() if one.is_dir()) == ["r1", "r4", "r5", "r6"]
