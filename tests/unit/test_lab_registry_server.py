"""What the registry of images serves lies where the registry looks for it, is read only, and speaks TLS alone."""

import json
import os
from pathlib import Path

import pytest

from gcloud_pk.lab.datacenter import registry_server
from gcloud_pk.lab.nodes.layout import DATACENTER, Layout
from gcloud_pk.programs import oci
from gcloud_pk.programs.images import Images
from gcloud_pk.programs.oci import Entry, Image
from gcloud_pk.programs.sourcing import Program

REPOSITORIES = "images/storage/docker/registry/v2/repositories"
BLOBS = "images/storage/docker/registry/v2/blobs/sha256"


@pytest.fixture
def lab(tmp_path: Path) -> Layout:
    folder = tmp_path / "labs" / "d"
    (folder / "images" / "pki").mkdir(parents=True)
    (folder / "images" / "pki" / "images.crt").write_text("certificate")
    return Layout(folder, DATACENTER)


def made(folder: Path, key: str = "k1", content: bytes = b"x") -> Images:
    folder.mkdir(parents=True)
    found = oci.write(
        folder,
        [Image("pause", "3.10.2", {"/pause": Entry(content)}), Image("probe", "1.0.0", {"/probe": Entry(b"y")})],
        "amd64",
        registry_server.PREFIX,
    )
    return Images(folder, key, registry_server.PREFIX, tuple(found))


def repository_of(lab: Layout, name: str) -> dict[str, str]:
    home = lab.folder / REPOSITORIES / name
    return {str(link.parent.relative_to(home)): link.read_text() for link in home.rglob("link")}


def test_an_image_lies_in_the_storage_as_the_registry_writes_it(lab: Layout, tmp_path: Path) -> None:
    images = made(tmp_path / "layout")
    registry_server._fill(lab, images)
    pause = images.images[0]
    manifest = pause.manifest.digest
    as_path = manifest.replace(":", "/")
    assert repository_of(lab, "k8s/pause") == {
        **{f"_layers/{blob.digest.replace(':', '/')}": blob.digest for blob in pause.blobs},
        f"_manifests/revisions/{as_path}": manifest,
        f"_manifests/tags/3.10.2/index/{as_path}": manifest,
        "_manifests/tags/3.10.2/current": manifest,
    }
    for blob in (pause.manifest, *pause.blobs):
        hexadecimal = blob.digest.removeprefix("sha256:")
        data = lab.folder / BLOBS / hexadecimal[:2] / hexadecimal / "data"
        assert data.read_bytes() == oci.blob_file(images.folder, blob.digest).read_bytes()


def test_nothing_is_copied_where_a_link_will_do(lab: Layout, tmp_path: Path) -> None:
    images = made(tmp_path / "layout")
    registry_server._fill(lab, images)
    assert all(file.stat().st_nlink == 2 for file in (images.folder / "blobs/sha256").iterdir())


def test_across_file_systems_it_is_copied(lab: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    images = made(tmp_path / "layout")
    registry_server._fill(lab, images)
    assert len(list((lab.folder / BLOBS).rglob("data"))) == 6


def test_a_storage_that_a_killed_run_left_half_made_does_not_count(lab: Layout, tmp_path: Path) -> None:
    (lab.folder / "images/storage.new/docker").mkdir(parents=True)
    (lab.folder / "images/storage").mkdir()
    assert registry_server._filled(lab) is None
    registry_server._fill(lab, made(tmp_path / "layout"))
    assert registry_server._filled(lab) == "k1"
    assert not (lab.folder / "images/storage.new").exists()


def test_other_images_take_the_place_of_the_former(lab: Layout, tmp_path: Path) -> None:
    registry_server._fill(lab, made(tmp_path / "one"))
    registry_server._fill(lab, made(tmp_path / "two", "k2", b"other"))
    assert registry_server._filled(lab) == "k2"
    assert len(list((lab.folder / REPOSITORIES / "k8s/pause/_manifests/revisions/sha256").iterdir())) == 1


def test_an_image_is_published_under_a_tenants_path_too(lab: Layout, tmp_path: Path) -> None:
    images = made(tmp_path / "layout")
    registry_server._fill(lab, images)
    name = registry_server.publish(lab, images, "probe", "moitt/probe")
    assert name == "registry.lab.example:5000/moitt/probe:1.0.0"
    assert repository_of(lab, "moitt/probe") == repository_of(lab, "k8s/probe")


def test_the_server_takes_no_push_and_speaks_tls_on_the_spine_alone(lab: Layout) -> None:
    document = json.loads(registry_server._configuration(lab))
    assert document["storage"]["maintenance"]["readonly"] == {"enabled": True}
    assert document["http"]["addr"] == "10.207.0.1:5000"
    assert document["http"]["tls"]["minimumtls"] == "tls1.2"
    assert set(document["http"]) == {"addr", "tls"}


def test_a_renewed_certificate_or_another_program_makes_another_configuration(lab: Layout) -> None:
    def written(program: str) -> str:
        text = registry_server._configuration(lab)
        return registry_server._write(lab, text, Program("registry", "3.1.2", "cache", Path(program))).name

    first = written("/a/registry")
    assert written("/a/registry") == first
    other = written("/b/registry")
    (lab.folder / "images/pki/images.crt").write_text("renewed")
    renewed = written("/b/registry")
    assert len({first, other, renewed}) == 3
    assert [file.name for file in (lab.folder / "images").glob("configuration-*")] == [renewed]
