"""What every room uses: surroundings of its own, and keys, made once in a session."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GCLOUD_PK_REGISTRY", "GCLOUD_PK_TRUST", "GCLOUD_PK_FORMAT", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of private keys: alice, bob, carol, keeper, stranger (Ed25519), and others by type."""
    folder = tmp_path_factory.mktemp("keys")
    kinds = [(name, ["-t", "ed25519"]) for name in ("alice", "bob", "carol", "keeper", "stranger")]
    kinds += [("ecdsa", ["-t", "ecdsa"]), ("rsa2048", ["-t", "rsa", "-b", "2048"])]
    for name, kind in kinds:
        subprocess.run(["ssh-keygen", "-q", *kind, "-N", "", "-C", name, "-f", str(folder / name)], check=True)
    subprocess.run(
        ["ssh-keygen", "-q", "-s", folder / "keeper", "-I", "certified", "-n", "alice", folder / "alice.pub"],
        check=True,
    )
    return folder
