"""Registries that several unit tests use."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def public(keys: Path) -> Callable[[str], str]:
    """Return a function: key's name → `KEYTYPE KEY`."""
    return lambda name: " ".join((keys / f"{name}.pub").read_text().split()[:2])


@pytest.fixture
def registry_folder(tmp_path: Path, public: Callable[[str], str]) -> Path:
    """Return a fresh registry with the approvers alice and bob, and carol, who may sign requests too."""
    folder = tmp_path / "registry"
    shutil.copytree(DATA / "registries" / "three-tenants", folder)
    for tenant in (folder / "tenants").iterdir():
        shutil.rmtree(tenant)
    spaces = 'namespaces="gcloud-pk-approval,gcloud-pk-state'
    (folder / "approvers").write_text(
        f'alice@ntc.example {spaces}" {public("alice")}\n'
        f'bob@ntc.example {spaces}" {public("bob")}\n'
        f'carol@ntc.example {spaces},gcloud-pk-request" {public("carol")}\n'
    )
    return folder


@pytest.fixture
def request_file(tmp_path: Path) -> Path:
    """Return a valid request of tenant moitt, revision 3, restricted."""
    path = tmp_path / "moitt.yaml"
    path.write_bytes((DATA / "requests" / "valid" / "every-field.yaml").read_bytes())
    return path


@pytest.fixture(scope="session")
def sign(keys: Path) -> Callable[..., bytes]:
    """Return a function that signs by hand, as ssh-keygen(1) says: (data, key, namespace) → signature."""

    def by_hand(data: bytes, key: str, namespace: str) -> bytes:
        command = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(keys / key)]
        return subprocess.run(command, input=data, capture_output=True, check=True).stdout

    return by_hand
