"""The folder for GitOps: what lies in it after each turn of a tenant's life."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tests.unit.tenants import a_tenant

from gcloud_pk.errors import RefusedError, UnavailableError
from gcloud_pk.onboarding.output import close_folder, remove_folder, write_folder


def under(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.yaml")}


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    first = write_folder(tmp_path, a_tenant())
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.yaml")}
    assert write_folder(tmp_path, a_tenant()) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.yaml")} == times


def test_an_environment_that_left_the_request_is_retired_in_the_folder_too(tmp_path: Path) -> None:
    write_folder(tmp_path, a_tenant(environments=("prod", "dev")))
    written = write_folder(tmp_path, a_tenant(environments=("prod",)))
    assert written.retired == ["dev"]
    left = {path for path in under(tmp_path) if path.startswith("moitt/moitt-dev/")}
    assert "moitt/moitt-dev/07-rolebinding.yaml" not in left
    assert "moitt/moitt-dev/05-networkpolicy.yaml" in left
    quotas = yaml.safe_load_all((tmp_path / "moitt/moitt-dev/03-resourcequota.yaml").read_text())
    assert next(q for q in quotas if q["metadata"]["name"] == "tenant")["spec"]["hard"]["pods"] == "0"


def test_files_of_others_stay_and_are_named(tmp_path: Path) -> None:
    write_folder(tmp_path, a_tenant())
    (tmp_path / "moitt" / "theirs.yaml").write_text("kind: Secret\n")
    assert write_folder(tmp_path, a_tenant()).foreign == ["moitt/theirs.yaml"]
    assert (tmp_path / "moitt" / "theirs.yaml").exists()


def test_an_offboarded_tenant_leaves_nothing_that_would_bring_it_back(tmp_path: Path) -> None:
    write_folder(tmp_path, a_tenant())
    write_folder(tmp_path, a_tenant("nadra"))
    assert remove_folder(tmp_path, "moitt")
    assert not remove_folder(tmp_path, "moitt")
    assert {path.split("/")[0] for path in under(tmp_path)} == {"nadra"}
    assert not (tmp_path / "moitt").exists()


@pytest.mark.parametrize("link", ["moitt", "moitt/moitt-prod"])
@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda folder: remove_folder(folder, "moitt"), id="remove"),
        pytest.param(lambda folder: close_folder(folder, "moitt", "quarantined"), id="close"),
        pytest.param(lambda folder: write_folder(folder, a_tenant()), id="write"),
    ],
)
def test_a_link_out_of_the_folder_is_refused_and_nothing_behind_it_is_touched(
    tmp_path: Path, act: Callable[[Path], object], link: str
) -> None:
    write_folder(tmp_path / "out", a_tenant(environments=("prod",)))
    victim = tmp_path / "victim"
    (tmp_path / "out" / link).rename(victim)
    (tmp_path / "out" / link).symlink_to(victim)
    (victim / "99-mine.yaml").write_text("kind: Mine\n")
    before = {path: path.read_bytes() for path in victim.rglob("*") if path.is_file()}
    with pytest.raises(RefusedError, match="is a symbolic link"):
        act(tmp_path / "out")
    assert {path: path.read_bytes() for path in victim.rglob("*") if path.is_file()} == before


def test_a_folder_that_cannot_be_written_is_said_and_is_no_defect(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="cannot write"):
        write_folder(tmp_path / "file", a_tenant())
