"""The definitions of the Gateway API: from the cache, else by a Go that downloads the module whose sum is compared."""

import json
from pathlib import Path

import pytest

from gcloud_pk import paths
from gcloud_pk.console import Console
from gcloud_pk.lab import gateway_api
from gcloud_pk.programs.toolchain import BuildError

DEFINITION = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: routes}\n"
BESIDE = "kind: Kustomization\n---\napiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\n"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module as Go unpacks it, and an empty cache."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for channel in ("standard", "experimental"):
        folder = tmp_path / "module" / "config" / "crd" / channel
        folder.mkdir(parents=True)
        (folder / "a.yaml").write_text(DEFINITION)
        (folder / "b.yaml").write_text(BESIDE)
        (folder / "a.yaml").chmod(0o444)
    return tmp_path / "module"


def go_says(tmp_path: Path, code: int = 0, **said: str) -> None:
    go = tmp_path / "go"
    version = "go version go1.99.0 linux/amd64"
    go.write_text(f"#!/bin/sh\n[ $1 = version ] && echo {version} && exit\necho '{json.dumps(said)}'\nexit {code}\n")
    go.chmod(0o755)


def test_the_definitions_are_fetched_once_and_nothing_beside_them_is_taken(module: Path, tmp_path: Path) -> None:
    go_says(tmp_path, Dir=str(module), Sum=gateway_api.SUM)
    names = [d["metadata"]["name"] for d in gateway_api.definitions("standard", Console())]
    assert names == ["routes"]
    go_says(tmp_path, 1, Error="no network")
    assert gateway_api.definitions("experimental", Console())
    assert [path.name for path in paths.cache("gateway-api").iterdir()] == [gateway_api.VERSION]


def test_a_module_of_another_checksum_is_refused(module: Path, tmp_path: Path) -> None:
    go_says(tmp_path, Dir=str(module), Sum="h1:another=")
    with pytest.raises(BuildError, match="has the checksum h1:another="):
        gateway_api.definitions("standard", Console())
    assert not paths.cache("gateway-api").exists()


def test_what_go_says_of_a_failure_is_told(module: Path, tmp_path: Path) -> None:
    assert module.is_dir()
    go_says(tmp_path, 1, Error="dial tcp: no network")
    with pytest.raises(BuildError) as told:
        gateway_api.definitions("standard", Console())
    assert told.value.log == ("dial tcp: no network",)
