"""A state that a killed engine left cut is put back from its newest whole copy, and only where nobody writes it."""

from __future__ import annotations

import gzip
import json
import os
import socket
import time
from pathlib import Path

import pytest

from gcloud_pk.errors import UnavailableError
from gcloud_pk.stack import checkpoint
from gcloud_pk.stack.backend import Place

WHOLE = '{"version": 3, "checkpoint": {"stack": "isb-1"}}'


def state(number: int) -> str:
    return json.dumps({"version": 3, "checkpoint": {"number": number}})


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    one = Place.of("isb-1", folder=tmp_path)
    file(one).parent.mkdir(parents=True)
    backup(one, 0).parent.mkdir(parents=True)
    return one


def file(place: Place, name: str = "isb-1.json") -> Path:
    assert place.state is not None
    return place.state / ".pulumi" / "stacks" / "datacenter" / name


def backup(place: Place, number: int) -> Path:
    assert place.state is not None
    return place.state / ".pulumi" / "backups" / "datacenter" / "isb-1" / f"isb-1.{number}.json"


def restored(place: Place) -> list[str]:
    told: list[str] = []
    checkpoint.restore(place, told.append)
    return told


def lock(place: Place, pid: int, host: str) -> None:
    assert place.state is not None
    folder = place.state / ".pulumi" / "locks" / "organization" / "datacenter" / "isb-1"
    folder.mkdir(parents=True)
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    held = {"pid": pid, "username": "noor", "hostname": host, "timestamp": since}
    (folder / "8d1f6a62.json").write_text(json.dumps(held))


@pytest.mark.parametrize("left", ["", WHOLE[:20], "null", "[]"], ids=["empty", "half", "null", "a-list"])
def test_a_cut_state_is_put_back_from_the_copy_beside_it_and_stays_beside(place: Place, left: str) -> None:
    file(place).write_text(left)
    file(place).chmod(0o640)
    file(place, "isb-1.json.bak").write_text(state(7))
    backup(place, 99).write_text(state(6))

    (told,) = restored(place)

    assert file(place).read_text() == state(7)
    (broken,) = file(place).parent.glob("isb-1.json.broken-*")
    assert (broken.read_text(), broken.name in told, "isb-1.json.bak is put back" in told) == (left, True, True)
    assert file(place).stat().st_mode & 0o777 == 0o640
    assert restored(place) == [], "what is whole stays"


def test_where_the_copy_beside_it_is_cut_too_the_newest_whole_backup_is_taken(place: Place) -> None:
    file(place).write_text("")
    file(place, "isb-1.json.bak").write_text("{")
    for number, text in ((9, state(9)), (100, state(100)), (101, "{")):
        backup(place, number).write_text(text)

    restored(place)

    assert file(place).read_text() == state(100)


def test_where_no_copy_is_whole_it_is_said_what_to_do_and_nothing_is_changed(place: Place) -> None:
    file(place).write_text("{")

    with pytest.raises(UnavailableError) as raised:
        restored(place)

    assert "no copy of it is whole; nothing was written" in raised.value.message
    assert str(file(place)) in str(raised.value.resolution)
    assert [path.name for path in file(place).parent.iterdir()] == ["isb-1.json"]


@pytest.mark.parametrize("host", [socket.gethostname(), "another.example"], ids=["alive", "of-another-machine"])
def test_what_somebody_may_be_writing_is_left_alone(place: Place, host: str) -> None:
    file(place).write_text("{")
    file(place, "isb-1.json.bak").write_text(state(7))
    lock(place, os.getpid(), host)

    assert restored(place) == []
    assert file(place).read_text() == "{"


@pytest.mark.parametrize("left", ["", '{"user.cache'])
def test_attributes_that_are_cut_are_set_aside_and_the_state_is_kept(place: Place, left: str) -> None:
    file(place).write_text(WHOLE)
    file(place, "isb-1.json.bak").write_text(state(7))
    file(place, "isb-1.json.attrs").write_text(left)

    (told,) = restored(place)

    assert "isb-1.json.attrs" in told
    assert not file(place, "isb-1.json.attrs").exists()
    assert file(place).read_text() == WHOLE


def test_a_state_that_is_compressed_is_read_as_one(place: Place) -> None:
    whole = gzip.compress(state(7).encode())
    name = file(place, "isb-1.json.gz")
    name.write_bytes(whole)
    assert restored(place) == []
    name.write_bytes(whole[:25])
    file(place, "isb-1.json.gz.bak").write_bytes(whole)

    assert len(restored(place)) == 1
    assert name.read_bytes() == whole


def test_no_state_and_another_backend_are_nothing_to_put_back(place: Place, tmp_path: Path) -> None:
    assert restored(place) == []
    assert restored(Place(tmp_path, "isb-1", "s3://bucket")) == []
