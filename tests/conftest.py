"""What several rooms use: surroundings of their own, keys (made once in a session), and a registry."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

DATA = Path(__file__).parent / "unit" / "data"

# As gcloud_pk.stack has it, in whatever order files are loaded: a fork is nothing that gRPC should take part in.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

# Images for CI often forbid bytecode. Some thousand starts of the CLI would compile this package each time, and each
# of pytest-xdist's workers every test: a minute and more of two cores.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_configure() -> None:
    """Let programs be interrupted: a run in the background of a shell starts them with Ctrl-C ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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
