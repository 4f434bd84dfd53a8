"""Signings are counted: what the first line of registry.sha256 says, and what comes next."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gcloud_pk.errors import RefusedError
from gcloud_pk.registry import acts, keeping, trust
from gcloud_pk.registry.approvers import REGISTRY
from gcloud_pk.registry.folder import Registry
from gcloud_pk.registry.trust import HIGHEST, Version

NOON = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
FILES = {"approvers": b"a\n", "organisations.yaml": b"[]\n"}


def test_the_first_line_says_which_signing_it_is_and_when() -> None:
    assert trust.manifest(FILES, Version(7, NOON)).splitlines()[0] == b"# serial 7, 2026-11-20T12:00:00Z"
    assert trust.read_version(trust.manifest(FILES, Version(7, NOON))) == Version(7, NOON)


def test_sha256sum_passes_over_it(tmp_path: Path) -> None:
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    command = ["sha256sum", "--check", "--strict", "--quiet", "-"]
    data = trust.manifest(FILES, Version(7, NOON))
    done = subprocess.run(command, input=data, cwd=tmp_path, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


def without_head(data: bytes) -> bytes:
    return data.partition(b"\n")[2]


def test_digests_of_before_there_were_serials_are_serial_0_and_hold() -> None:
    older = without_head(trust.manifest(FILES, Version(7, NOON)))
    assert trust.read_version(older) == Version(0)
    assert list(trust.differences(FILES, older)) == []


NO_HEADS = {
    "a zero in front": b"# serial 07, 2026-11-20T12:00:00Z",
    "none": b"# serial 0, 2026-11-20T12:00:00Z",
    "less than none": b"# serial -7, 2026-11-20T12:00:00Z",
    "more than there are": b"# serial 1000000000000000, 2026-11-20T12:00:00Z",
    "digits of another script": "# serial \N{ARABIC-INDIC DIGIT SEVEN}, 2026-11-20T12:00:00Z".encode(),
    "no time": b"# serial 7",
    "a day that is none": b"# serial 7, 2026-11-31T12:00:00Z",
    "a time with an offset": b"# serial 7, 2026-11-20T12:00:00+05:00",
    "something after it": b"# serial 7, 2026-11-20T12:00:00Z # serial 9",
    "another line's end": b"# serial 7, 2026-11-20T12:00:00Z\r",
    "a space in front": b" # serial 7, 2026-11-20T12:00:00Z",
    "another comment": b"# made by hand",
    "nothing": b"",
}


@pytest.mark.parametrize("case", NO_HEADS)
def test_a_first_line_that_is_none_is_a_problem_and_counts_for_nothing(case: str) -> None:
    data = NO_HEADS[case] + b"\n" + without_head(trust.manifest(FILES, Version(7, NOON)))
    assert trust.read_version(data) == Version(0)
    assert [found.line for found in trust.differences(FILES, data)] == [1]


@pytest.mark.parametrize("line", [b"# serial 7, 2026-11-20T12:00:00Z", b"# serial 9, 2026-11-20T12:00:00Z", b"# so"])
def test_a_second_comment_is_a_problem_and_named_by_line(line: bytes) -> None:
    data = trust.manifest(FILES, Version(7, NOON)) + line + b"\n"
    assert [(found.line, "a comment" in found.message) for found in trust.differences(FILES, data)] == [(4, True)]


CONFLICT = (
    b"<<<<<<< ours\n# serial 8, 2026-11-20T12:00:00Z\n=======\n# serial 9, 2026-11-20T12:00:05Z\n>>>>>>> theirs\n"
)
PRESENT = {
    "nothing": (None, 1),
    "digests without a serial": (without_head(trust.manifest(FILES, Version(7, NOON))), 1),
    "digests": (trust.manifest(FILES, Version(7, NOON)), 8),
    "both sides of a conflict": (CONFLICT, 10),
    "no text at all": (b"\xff\x00", 1),
}


@pytest.mark.parametrize("case", PRESENT)
def test_the_next_serial_is_above_every_one_that_lies_there(case: str) -> None:
    present, serial = PRESENT[case]
    assert trust.next_version(present, NOON) == Version(serial, NOON)


def test_what_else_is_known_to_be_taken_counts_where_it_is_more() -> None:
    present = trust.manifest(FILES, Version(7, NOON))
    assert trust.next_version(present, NOON, 12).serial == 12
    assert trust.next_version(present, NOON, 3).serial == 8


def test_where_no_number_is_left_nobody_signs() -> None:
    with pytest.raises(RefusedError, match="the last there is"):
        trust.next_version(trust.manifest(FILES, Version(HIGHEST, NOON)), NOON)


@pytest.fixture
def registry(registry_folder: Path) -> Registry:
    return Registry.open(registry_folder)


@pytest.fixture
def trusting(public: Callable[[str], str], tmp_path: Path) -> Path:
    lines = [f'keeper@ntc.example namespaces="{REGISTRY}" {public("keeper")}\n']
    lines += [f'second@ntc.example namespaces="{REGISTRY}",valid-before="20200101" {public("stranger")}\n']
    lines += [f'other@ntc.example namespaces="gcloud-pk-approval" {public("bob")}\n']
    path = tmp_path / "trust"
    path.write_text("".join(lines))
    return path


def test_each_signing_counts_one_more_and_trust_says_which_it_is(
    registry: Registry, keys: Path, trusting: Path
) -> None:
    assert [acts.sign_registry(Registry.open(registry.path), keys / "keeper").serial for _ in range(3)] == [1, 2, 3]
    opened = Registry.open(registry.path)
    said = opened.trust(trusting)
    assert (said.serial, said.signer) == (3, "keeper@ntc.example")
    assert said.version.time is not None
    assert opened.now - said.version.time < dt.timedelta(minutes=1)


def test_trust_names_every_key_that_may_sign_the_registry_though_its_time_is_over(
    registry: Registry, keys: Path, trusting: Path
) -> None:
    key = acts.sign_registry(registry, keys / "keeper").key
    said = Registry.open(registry.path).trust(trusting)
    assert said.key == key
    assert said.keepers[key] == "keeper@ntc.example"
    assert sorted(said.keepers.values()) == ["keeper@ntc.example", "second@ntc.example"]


def test_an_edit_that_is_signed_at_once_counts_too(registry: Registry, keys: Path, trusting: Path) -> None:
    acts.sign_registry(registry, keys / "keeper")
    opened = Registry.open(registry.path)
    done = keeping.edit(opened, "approvers", lambda g: g.files["approvers"] + b"# more\n", keys / "keeper", trusting)
    assert done.serial == 2
    assert Registry.open(registry.path).trust(trusting).serial == 2


def test_of_two_who_sign_at_once_in_one_folder_the_second_is_refused(registry: Registry, keys: Path) -> None:
    acts.sign_registry(registry, keys / "keeper")
    slow = Registry.open(registry.path)
    assert slow.manifest is not None
    acts.sign_registry(Registry.open(registry.path), keys / "keeper")
    before = (registry.path / trust.MANIFEST).read_bytes()
    with pytest.raises(RefusedError, match="somebody else signed"):
        acts.sign_registry(slow, keys / "keeper")
    assert (registry.path / trust.MANIFEST).read_bytes() == before


@pytest.mark.skipif(shutil.which("git") is None, reason="git is missing")
def test_two_keepers_who_sign_at_once_get_a_conflict_and_whoever_signs_the_result_is_above_both(
    registry: Registry, keys: Path, trusting: Path, tmp_path: Path
) -> None:
    def git(*args: str | Path, check: bool = True) -> int:
        config = ("-c", "user.name=k", "-c", "user.email=k@ntc.example", "-c", "commit.gpgsign=false")
        return subprocess.run(["git", *config, *args], capture_output=True, check=check).returncode

    def act(folder: Path, name: str) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes() + b"# more\n")
        acts.sign_registry(Registry.open(folder), keys / "keeper")
        git("-C", folder, "add", "-A")
        git("-C", folder, "commit", "-m", name)

    here, there = registry.path, tmp_path / "clone"
    (here / ".gitattributes").write_text(acts.GIT_ATTRIBUTES)
    git("init", here)
    act(here, "approvers")
    git("clone", here, there)
    act(here, "approvers")
    act(there, "settings.yaml")
    act(there, "settings.yaml")
    assert git("-C", here, "pull", "--no-rebase", there, check=False) != 0
    assert acts.sign_registry(Registry.open(here), keys / "keeper").serial == 4
    assert Registry.open(here).trust(trusting).serial == 4


def test_a_key_that_the_trust_file_does_not_name_signs_nothing_and_leaves_what_holds(
    registry: Registry, keys: Path, trusting: Path
) -> None:
    acts.sign_registry(registry, keys / "keeper", trust_file=trusting)
    before = {path.name: path.read_bytes() for path in registry.path.glob("registry.sha256*")}
    for key in ("alice", "bob", "stranger"):
        with pytest.raises(RefusedError):
            acts.sign_registry(Registry.open(registry.path), keys / key, trust_file=trusting)
    assert {path.name: path.read_bytes() for path in registry.path.glob("registry.sha256*")} == before
    assert Registry.open(registry.path).trust(trusting).serial == 1
