"""Records of runs, and the lock of a site: whole or not at all, for their owner alone, free when nobody runs."""

from __future__ import annotations

import datetime as dt
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gcloud_pk.errors import UnavailableError
from gcloud_pk.nodes import record
from gcloud_pk.nodes.record import Record

NOW = dt.datetime(2026, 11, 22, 10, 0, 0, tzinfo=dt.UTC)
HOLDER = {"operator": "amna@ops", "pid": 77, "started": "2026-11-22T10:00:00Z", "what": "hardening 3 hosts"}

HOLD = """
import sys, time
from pathlib import Path
from gcloud_pk.nodes import record
with record.alone(Path(sys.argv[1]), {}):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_refused_and_told_who_is_at_work(tmp_path: Path) -> None:
    home = tmp_path / "isb-1"
    with record.alone(home, HOLDER):
        assert record.busy(home)
        with pytest.raises(UnavailableError, match="isb-1 is at work") as raised, record.alone(home, {}):
            pytest.fail("it was let in")
        assert "amna@ops since 2026-11-22T10:00:00Z, process 77: hardening 3 hosts" in str(raised.value.details[0])
    assert not record.busy(home)
    with record.alone(home, HOLDER):
        pass


@pytest.mark.parametrize("said", [b"", b"{", b"[]", b"{}", b"\xff"])
def test_a_lock_whose_words_cannot_be_read_holds_all_the_same(tmp_path: Path, said: bytes) -> None:
    with record.alone(tmp_path, HOLDER):
        (tmp_path / "lock").write_bytes(said)
        with pytest.raises(UnavailableError), record.alone(tmp_path, {}):
            pytest.fail("it was let in")


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    assert record.busy(tmp_path)
    process.kill()
    process.communicate()
    assert not record.busy(tmp_path)


def test_the_lock_is_held_as_long_as_a_child_has_its_descriptor(tmp_path: Path) -> None:
    with record.alone(tmp_path, HOLDER) as lock:
        child = subprocess.Popen(["sleep", "60"], pass_fds=[lock])
    assert record.busy(tmp_path)
    child.kill()
    child.wait()
    assert not record.busy(tmp_path)


def test_records_are_private_named_by_time_and_listed_from_the_newest(tmp_path: Path) -> None:
    home = tmp_path / "nodes" / "isb-1"
    for moment in (NOW, NOW, NOW + dt.timedelta(seconds=1)):
        kept = Record.begin(home, moment)
        kept.write({"site": "isb-1"})
        kept.write({"site": "isb-1", "outcome": "done"})
        assert kept.path.stat().st_mode & 0o777 == 0o600
    assert [name for name, _ in record.records(home)] == [
        "20261122T100001Z-1",
        "20261122T100000Z-2",
        "20261122T100000Z-1",
    ]
    assert all(kept == {"site": "isb-1", "outcome": "done"} for _, kept in record.records(home))
    assert {path.stat().st_mode & 0o777 for path in (home, home.parent, home / "runs")} == {0o700}


def test_what_is_no_record_is_passed_over(tmp_path: Path) -> None:
    Record.begin(tmp_path, NOW).write({"site": "isb-1"})
    runs = tmp_path / "runs"
    (runs / "20261122T100000Z-9.json").write_text("{")
    (runs / "20261122T100000Z-8.json").write_text("[]")
    (runs / "notes.txt").write_text("{}")
    (runs / "20261122T100000Z-7.json").symlink_to("/etc/hostname")
    os.mkfifo(runs / "20261122T100000Z-6.json")
    assert [name for name, _ in record.records(tmp_path)] == ["20261122T100000Z-1"]


def test_there_are_no_records_of_a_site_that_was_never_hardened(tmp_path: Path) -> None:
    assert record.records(tmp_path / "none") == []
    assert not record.busy(tmp_path / "none")


def test_the_digest_of_playbooks_is_of_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.yml").write_text("1")
    first = record.digest(tmp_path)
    (tmp_path / "a/__pycache__").mkdir()
    (tmp_path / "a/__pycache__/x.pyc").write_text("2")
    assert record.digest(tmp_path) == first
    (tmp_path / "a/x.yml").rename(tmp_path / "a/y.yml")
    assert record.digest(tmp_path) != first


def test_a_full_disk_is_told_with_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(UnavailableError, match="the disk is full") as raised, record.alone(tmp_path / "isb-1", {}):
        pytest.fail("it went on")
    assert str(tmp_path / "isb-1/lock") in raised.value.message
