"""The program that makes and keeps snapshots on control planes: its rule, what it counts, what it refuses."""

from __future__ import annotations

import datetime as dt
import errno
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.backup_program import program

NOW = dt.datetime(2026, 11, 22, 12, 30, tzinfo=dt.UTC)
HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)
OURS, OTHERS = "ours", "others"
RULE = program.Rule()


def kept(*ages: dt.timedelta, uid: str = OURS, first: int = 1) -> list[Any]:
    """Return snapshots of ages, the oldest first in etcd's eyes."""
    ordered = sorted(ages, reverse=True)
    return [program.Kept(f"{uid}-{age}", NOW - age, first + number, uid) for number, age in enumerate(ordered)]


def hourly(days: int) -> list[Any]:
    return kept(*(HOUR * number for number in range(24 * days)))


def stay(found: list[Any], now: dt.datetime = NOW, rule: Any = RULE) -> list[Any]:
    names = program.retained(found, now, rule, OURS)
    return [one for one in found if one.name in names]


def test_all_of_a_day_stay_and_one_a_day_of_the_week_before() -> None:
    left = stay(hourly(30))
    assert sum(one.time > NOW - DAY for one in left) == 24
    older = [one.time.date() for one in left if one.time <= NOW - DAY]
    assert len(older) == len(set(older))
    assert {NOW.date() - DAY * number for number in range(1, 8)} <= {one.time.date() for one in left}
    assert len(left) <= 24 + 8


def test_any_day_of_the_last_seven_can_be_gone_back_to_at_any_hour_of_the_timer() -> None:
    found: list[Any] = []
    for hour in range(24 * 12):
        now = NOW + HOUR * hour
        found = stay([*found, program.Kept(str(hour), now, hour, OURS)], now)
        if hour > 24 * 9:
            assert {now.date() - DAY * number for number in range(8)} <= {one.time.date() for one in found}
            assert len(found) <= 24 + 8 + 1


def test_of_a_day_the_newest_stays() -> None:
    found = kept(DAY * 3, DAY * 3 + HOUR, DAY * 3 + 2 * HOUR)
    assert [one.time for one in stay(found, rule=program.Rule(least=0))] == [NOW - DAY * 3]


def test_a_clock_that_jumped_ahead_costs_no_snapshot() -> None:
    found = hourly(8)
    before = {one.name for one in stay(found)}
    ahead = [*found, program.Kept("ahead", NOW + 1000 * DAY, 10_000, OURS)]
    after = {one.name for one in stay(ahead, NOW + 1000 * DAY)}
    days = {one.time.date() for one in found if one.name in after}
    assert len(days) >= 7
    assert len(after & before) >= 24


def test_a_clock_that_jumped_back_costs_no_snapshot_and_what_is_dated_ahead_takes_no_days_place() -> None:
    found = [*hourly(8), *(program.Kept(f"ahead-{n}", NOW + (100 + n) * DAY, 9_000 + n, OURS) for n in range(10))]
    left = stay(found)
    assert {one.name for one in found if one.name.startswith("ahead")} <= {one.name for one in left}
    assert {NOW.date() - DAY * number for number in range(8)} <= {one.time.date() for one in left}


def test_few_snapshots_all_stay_however_old() -> None:
    found = kept(*(DAY * 100 * number for number in range(1, 20)))
    assert stay(found) == found


def test_snapshots_of_another_cluster_are_left_alone() -> None:
    found = [*hourly(20), *kept(*(DAY * number for number in range(50, 90)), uid=OTHERS)]
    assert sum(one.uid == OTHERS for one in stay(found)) == 40


@pytest.mark.parametrize(
    ("key", "resource"),
    [
        (b"/registry/pods/moitt-prod/web-1", "pods"),
        (b"/registry/namespaces/kube-system", "namespaces"),
        (b"/registry/gcloud.gov.pk/tenants/moitt", "gcloud.gov.pk/tenants"),
        (b"/registry/apiregistration.k8s.io/apiservices/v1.", "apiregistration.k8s.io/apiservices"),
        (b"/registry/masterleases/10.207.0.11", "masterleases"),
        (b"/registry/secrets/a.b/c", "secrets"),
        (b"compact_rev_key", "other"),
        (b"/elsewhere/pods/a/b", "other"),
    ],
)
def test_a_key_of_etcd_tells_its_resource(key: bytes, resource: str) -> None:
    assert program.resource_of(key) == resource


def test_keys_are_counted_and_the_empty_lines_of_etcdctl_are_not() -> None:
    lines = [b"/registry/pods/a/b", b"", b"/registry/pods/a/c", b"", b"/registry/secrets/a/b", b""]
    assert program.counted(lines) == {"pods": 2, "secrets": 1}


def a_snapshot(folder: Path, taken: dt.datetime, revision: int, uid: str = OURS) -> Path:
    made = folder / f"{taken:%Y%m%dT%H%M%SZ}-r{revision:012d}"
    made.mkdir(parents=True)
    manifest = {"format": program.FORMAT, "taken": taken.isoformat(), "revision": revision, "uid": uid}
    (made / "manifest.json").write_text(json.dumps(manifest))
    return made


def test_pruning_removes_only_what_is_read_as_a_snapshot(tmp_path: Path) -> None:
    old = [a_snapshot(tmp_path, NOW - DAY * 40 - HOUR * number, 100 + number) for number in range(5)]
    for number in range(40):
        a_snapshot(tmp_path, NOW - HOUR * number / 2, 1000 - number)
    strange = tmp_path / "20200101T000000Z-r000000000001"
    strange.mkdir()
    (tmp_path / "notes.txt").write_text("a person's")
    (old[0] / "manifest.json").write_text("{ torn")
    gone = program.prune(tmp_path, NOW, program.Rule(days=1), OURS)
    assert set(gone) == {one.name for one in old[1:]}
    assert strange.is_dir()
    assert old[0].is_dir()
    assert (tmp_path / "notes.txt").exists()
    assert dict(program.listed(tmp_path)["strange"]).keys() == {strange.name, old[0].name, "notes.txt"}


def failure(act: Any) -> Any:
    with pytest.raises(program.Failed) as caught:
        act()
    return caught.value


def test_a_folder_that_is_full_is_said_to_be_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program.shutil, "disk_usage", lambda _: SimpleNamespace(free=10 * 2**20))
    error = failure(lambda: program.room(tmp_path, 2**30))
    assert error.kind == "full"
    assert "10 MiB free, and 1088 MiB are needed" in str(error)


def test_a_folder_that_runs_full_keeps_nothing_of_it_and_all_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = a_snapshot(tmp_path / "kept", NOW - 100 * DAY, 1)

    def runs_full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "etcd-000.cms")

    making = program.Making(config(tmp_path), NOW)
    monkeypatch.setattr(making.etcd, "document", lambda *_: [{"Status": {"dbSize": 1}}])
    monkeypatch.setattr(making, "_filled", runs_full)
    error = failure(making.make)
    assert error.kind == "full"
    assert [path.name for path in (tmp_path / "kept").iterdir() if not path.name.startswith(".lock")] == [before.name]
    assert list((tmp_path / "work").iterdir()) == []


def test_what_openssl_could_not_write_whole_is_no_sealed_file(tmp_path: Path, recipient: str) -> None:
    sealer = program.Sealer([recipient], tmp_path)
    with (tmp_path / "plain").open("w+b") as source:
        source.write(b"x" * 100_000)
        source.seek(0)
        assert failure(lambda: sealer.seal(source, Path("/dev/full"))).kind == "seal"


def config(root: Path, **changes: Any) -> Mapping[str, Any]:
    return {
        "folder": str(root / "kept"),
        "work": str(root / "work"),
        "recipients": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "etcd": {"endpoint": "unix://nobody"},
        **changes,
    }


@pytest.fixture(scope="module")
def recipient(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("recipient")
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj"]
    words += ["/CN=recipient", "-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    subprocess.run(words, check=True, capture_output=True)
    return (folder / "certificate.pem").read_text()


@pytest.mark.parametrize(
    "text", ["", "no certificate at all", "-----BEGIN PRIVATE KEY-----\nA\n-----END PRIVATE KEY-----"]
)
def test_without_a_recipient_no_snapshot_is_made(tmp_path: Path, text: str) -> None:
    error = failure(lambda: program.Making(config(tmp_path, recipients=text), NOW))
    assert error.kind == "recipients"
    assert not (tmp_path / "kept").exists()


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(program.Path, "iterdir", refused)
    error = failure(lambda: program.scan(tmp_path))
    assert error.kind == "unreadable"
    assert f"{tmp_path} cannot be read: Permission denied" in str(error)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(program.Failed, match="cannot be written: Not a directory"),
        program.alone(tmp_path / "file/kept"),
    ):
        pass


def test_two_at_once_are_told_and_what_a_killed_run_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".making-half").mkdir()
    with program.alone(tmp_path):
        assert not (tmp_path / ".making-half").exists()
        with pytest.raises(program.Failed, match="another backup is being written"), program.alone(tmp_path):
            pass


def test_a_clock_that_went_back_and_an_etcd_that_went_back_are_told(tmp_path: Path) -> None:
    ahead = a_snapshot(tmp_path / "kept", NOW + 3 * DAY, 10)
    later = a_snapshot(tmp_path / "kept", NOW - 3 * DAY, 5000)
    warnings = program.Making(config(tmp_path), NOW)._warnings("now", 100, OURS)
    assert warnings[0].startswith(f"{ahead.name} is dated in the future")
    assert warnings[1].startswith(f"{later.name} is of a later revision")


def test_keys_that_are_missing_are_no_backup(tmp_path: Path) -> None:
    error = failure(lambda: program.keys_tar(tmp_path, ["pki/ca.key"]))
    assert error.kind == "keys"
    assert "pki/ca.key cannot be read" in str(error)


def test_its_refusal_is_one_line_of_json_and_exit_code_three(tmp_path: Path) -> None:
    order = json.dumps({"act": "fetch", "folder": str(tmp_path), "name": "../etc"})
    words = [sys.executable, "-I", program.__file__]
    done = subprocess.run(words, input=order + "\n", capture_output=True, text=True)
    assert done.returncode == 3
    assert json.loads(done.stderr)["kind"] == "missing"
    assert done.stdout == ""


def test_word_of_the_newest_is_for_everybody_and_keeps_what_was_restored(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o700)
    latest = tmp_path / "home/latest.json"
    program.note({"latest": str(latest)}, restored={"name": "a", "at": "b"})
    program.note({"latest": str(latest)}, name="c")
    assert json.loads(latest.read_text()) == {"name": "c", "restored": {"name": "a", "at": "b"}}
    assert latest.stat().st_mode & 0o777 == 0o644
    assert latest.parent.stat().st_mode & 0o777 == 0o755
    program.note({"latest": str(tmp_path / "nothing/latest.json")}, name="c")
