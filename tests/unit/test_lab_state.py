"""A lab's memory: written whole, read with care."""

import fcntl
import os
import stat
import threading
from pathlib import Path

import pytest

from gcloud_pk.errors import UnavailableError, WrongUsageError
from gcloud_pk.lab import state
from gcloud_pk.lab.processes import Process
from gcloud_pk.lab.state import State
from gcloud_pk.programs import files


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def remembered(name: str, uid: str | None = None) -> State:
    files.make_folder(state.layout(name).folder)
    made = State(
        name,
        wanted=True,
        ports={"etcd": 20001},
        processes={"etcd": Process(7, 99)},
        uid=uid,
        programs={"etcd": {"version": "3.7.3", "source": "PATH", "path": "/etcd", "origin": None}},
    )
    state.save(made)
    return made


def test_what_is_saved_is_loaded() -> None:
    made = remembered("default", "6c0e")
    assert state.load("default") == made


def test_no_lab_is_none() -> None:
    assert state.load("default") is None


def test_the_file_and_its_folders_are_for_their_owner_alone(home: Path) -> None:
    remembered("default")
    where = state.layout("default").state
    assert stat.S_IMODE(where.stat().st_mode) == 0o600
    for folder in (where.parent, where.parent.parent, home / "gcloud-pk"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"version": 99}',
        b'{"version": 1}',
        b'{"version": 1, "name": "x", "processes": 3, "ports": {}}',
        b'{"version": 1, "name": "x", "processes": {"etcd": {}}, "ports": {}}',
        b"\xff\xfe",
        b'{"version": 1, "name": "x", "processes": {}, "ports": {}, "more": 1}',
    ],
)
def test_an_unreadable_state_is_an_error_that_says_how_to_go_on(content: bytes) -> None:
    remembered("default")
    state.layout("default").state.write_bytes(content)
    with pytest.raises(UnavailableError) as caught:
        state.load("default")
    assert caught.value.resolution is not None
    assert "--purge" in caught.value.resolution


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a.b", "../x", "a/b", "a" * 64, "ä", "a\n"])
def test_a_name_that_is_no_dns_label_is_refused(name: str) -> None:
    with pytest.raises(WrongUsageError):
        state.check_name(name)


@pytest.mark.parametrize("name", ["a", "default", "e2e-123", "a" * 63])
def test_dns_labels_are_names(name: str) -> None:
    assert state.check_name(name) == name


def test_known_uids_lists_labs_that_have_been_up_and_leaves_out_what_is_broken(home: Path) -> None:
    remembered("one", "uid-1")
    remembered("two", "uid-2")
    remembered("never-up")
    remembered("broken", "uid-4")
    state.layout("broken").state.write_text("{")
    (home / "gcloud-pk" / "labs" / "stray-file").write_text("")
    assert state.known_uids() == {"uid-1": "one", "uid-2": "two"}


def test_known_uids_without_any_lab_is_empty() -> None:
    assert state.known_uids() == {}


def test_the_lock_is_held_by_one_and_the_other_is_told(home: Path) -> None:
    order: list[str] = []
    waits = threading.Event()

    def second() -> None:
        with state.lock("default", waits.set):
            order.append("second")

    with state.lock("default", lambda: order.append("unexpected")):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(5)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]


def test_a_lock_file_that_is_purged_between_opening_and_locking_is_not_taken_for_the_lock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    where, lock_it, purges = state.lock_file("default"), fcntl.flock, [1]

    def purged_first(handle: int, how: int) -> None:
        if purges:
            purges.pop()
            where.unlink()
        lock_it(handle, how)

    monkeypatch.setattr(fcntl, "flock", purged_first)
    with state.lock("default", lambda: None):
        assert where.exists()  # else the next command would make, and hold, another one


def test_a_failed_write_leaves_the_old_file_and_no_rest(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home / "file"
    files.write(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in home.iterdir()] == ["file"]


def test_an_unchanged_file_is_not_written(home: Path) -> None:
    path = home / "file"
    assert files.write_if_changed(path, "same")
    before = path.stat().st_ino
    assert not files.write_if_changed(path, "same")
    assert path.stat().st_ino == before
    assert files.write_if_changed(path, "other")
