"""Images: keyed by what decides about them, whole or not there, kept while somebody stands on them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import yaml

from gcloud_pk import paths
from gcloud_pk.console import Console
from gcloud_pk.errors import UnavailableError
from gcloud_pk.lab.nodes import doctor, image, life
from gcloud_pk.lab.nodes.image import Recipe


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return paths.cache("nodes")


def there(key: str) -> Path:
    folder = paths.cache("nodes", key)
    (folder / "root").mkdir(parents=True)
    (folder / "image.json").write_text('{"built": "2026-01-02T03:04:05Z"}')
    forget(key)
    return folder


def forget(key: str) -> None:
    """Let an image have been used long ago."""
    lock = image._lock(key)
    lock.touch()
    os.utime(lock, (0, 0))


def test_apt_has_at_hand_all_that_the_role_packages_installs() -> None:
    defaults = yaml.safe_load(paths.data("playbooks/roles/packages/defaults/main.yml").read_text())
    wanted = {package for packages in defaults["packages_by_concern"].values() for package in packages}
    assert wanted
    assert wanted <= set(image.archived())
    assert {"containerd", "openscap-scanner", "lynis"} <= set(image.archived())


def test_an_image_of_other_packages_or_another_machine_is_another_image() -> None:
    keys = [Recipe("amd64", ("a",)).key, Recipe("amd64", ("a", "b")).key, Recipe("arm64", ("a",)).key]
    assert len(set(keys)) == 3
    assert Recipe("amd64", ("a",)).key == keys[0]


def test_a_machine_of_another_kind_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "s390x")
    with pytest.raises(UnavailableError, match="s390x"):
        image.recipe()
    assert [f.state for f in doctor.examine()] == ["missing"]


def test_packages_are_verified_with_debians_keys() -> None:
    sources = image._sources("http://mirror.example/")
    assert sources == [
        "deb http://mirror.example/debian bookworm main",
        "deb http://mirror.example/debian bookworm-updates main",
        "deb http://mirror.example/debian-security bookworm-security main",
    ]


def test_a_cached_image_is_taken_as_it_is(home: Path) -> None:
    wanted = Recipe("amd64", ("a",))
    there(wanted.key)
    assert image.ensure(wanted, None, Console()) == wanted.key
    assert str(image.built(wanted.key)) == "2026-01-02 03:04:05+00:00"


def test_what_a_killed_builder_left_is_removed_before_the_next_builds(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = home / ".building-old" / "root" / "etc"
    left.mkdir(parents=True)
    monkeypatch.setattr(image, "_build", lambda *_: {})
    image.ensure(Recipe("amd64", ()), None, Console())
    assert not (home / ".building-old").exists()


def test_old_images_go_but_not_those_that_somebody_stands_on(home: Path) -> None:
    for key in ("old", "kept", "used"):
        there(key)
    with image.in_use("used"):
        assert image.remove_old({"kept"}) == ["old"]
    assert image.cached("kept")
    assert image.cached("used")
    assert image.remove_old({"kept"}) == [], "a stopped lab may stand on it"
    forget("used")
    assert image.remove_old({"kept"}) == ["used"]
    assert sorted(entry.name for entry in home.iterdir() if "lock" not in entry.name) == ["kept"]


def test_of_what_lies_on_an_image_that_is_kept_the_newest_is_kept_too(home: Path) -> None:
    for key, day in (("kept", 1), ("kept+old", 1), ("kept+new", 2), ("gone", 1), ("gone+new", 2)):
        (there(key) / "image.json").write_text(f'{{"built": "2026-01-0{day}T00:00:00Z"}}')
    assert image.remove_old({"kept"}) == ["gone", "gone+new", "kept+old"]


def test_whoever_inherits_the_descriptor_keeps_the_image(home: Path) -> None:
    there("used")
    with image.in_use("used") as handle:
        inherited = os.dup(handle)
    forget("used")
    assert image.remove_old(set()) == []
    os.close(inherited)
    assert image.remove_old(set()) == ["used"]


def test_a_folder_in_which_something_is_mounted_is_never_removed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = there("old")
    monkeypatch.setattr(image, "_mounts", lambda: [folder / "root" / "dev"])
    with pytest.raises(UnavailableError, match="mounted"):
        image._remove(folder)
    assert image.remove_old(set()) == []
    assert (folder / "root").is_dir()


def test_nodes_that_have_written_are_not_put_on_another_image(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gcloud_pk.errors import RefusedError
    from gcloud_pk.lab.nodes import layout
    from gcloud_pk.lab.nodes.memory import Memory

    lab = layout.layout("default")
    (lab.nodes / "node-1").mkdir(parents=True)
    known = Memory("default", 1, 1, "gone")
    with pytest.raises(RefusedError) as error:
        life._image(lab, known, life.Wish(), Console())
    assert "--fresh" in str(error.value.resolution)
    monkeypatch.setattr(image, "ensure", lambda *_: "today")
    assert life._image(lab, known, life.Wish(fresh=True), Console()) == "today"


@pytest.mark.parametrize(
    ("program", "package"),
    [("systemd-nspawn", "systemd-container"), ("mmdebstrap", "mmdebstrap"), ("socat", "socat"), ("ip", "iproute2")],
)
def test_the_doctor_names_the_package_of_a_program_that_is_missing(
    program: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("shutil.which", lambda name: None if name == program else f"/usr/bin/{name}")
    found = {f.subject: f for f in doctor.examine()}
    assert (found[program].state, found[program].remedy) == ("missing", f"apt-get install {package}")
    assert found["rights"].state == "missing"
    with pytest.raises(UnavailableError) as error:
        doctor.require()
    assert f"apt-get install {package}" in str(error.value.resolution)
    assert "run it as root" in str(error.value.resolution)


def test_nothing_that_builds_is_needed_where_nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert {"mmdebstrap", "Debian's keys"} <= {f.subject for f in doctor.examine()}
    assert not {"mmdebstrap", "Debian's keys"} & {f.subject for f in doctor.examine(image_at_hand=True)}


def test_a_disk_that_is_full_is_found_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage._replace(free=10**8))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    found = {f.subject: f.state for f in doctor.examine()}
    assert (found["disk for the image"], found["disk for nodes"]) == ("missing", "missing")
