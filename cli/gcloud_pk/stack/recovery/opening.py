"""Opening what is sealed: CMS by openssl, the keys that come out, and whether they belong together."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from gcloud_pk.errors import UnavailableError
from gcloud_pk.stack.recovery.snapshot import BrokenError, Sealed, Snapshot

_LARGEST_KEYS = 16 * 1024 * 1024
_PAIRS = (("pki/ca.crt", "pki/ca.key"), ("pki/front-proxy-ca.crt", "pki/front-proxy-ca.key"),
          ("pki/etcd/ca.crt", "pki/etcd/ca.key"))  # fmt: skip
ENCRYPTION = "gcloud-pk/api-server/encryption.yaml"
AUTHORITY = "pki/ca.crt"
_SERVICE_ACCOUNTS = ("pki/sa.pub", "pki/sa.key")


def _opened(file: Path, key: Path, target: Path) -> None:
    """Open one sealed file. Raises BrokenError, UnavailableError where openssl is missing."""
    words = ["openssl", "cms", "-decrypt", "-binary", "-inform", "DER", "-in", str(file), "-inkey", str(key)]
    try:
        # Its standard input stays: a key under a passphrase is asked for on the terminal.
        done = subprocess.run([*words, "-out", str(target)], capture_output=True, check=False)
    except FileNotFoundError:
        raise UnavailableError("openssl is not here", resolution="install openssl, at least 3.0") from None
    if done.returncode:
        raise BrokenError(f"{file.name} cannot be opened with {key.name}: it is damaged, or sealed to others")


def _check(file: Path, sealed: Sealed) -> None:
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sealed.plain_sha256 or file.stat().st_size != sealed.plain_bytes:
        raise BrokenError(f"{sealed.name} holds something else than the manifest says")


def open_etcd(snapshot: Snapshot, key: Path, work: Path) -> Path:
    """Return etcd's snapshot, opened and put together in a private folder. Raises BrokenError."""
    target = work / "snapshot.db"
    whole = hashlib.sha256()
    with target.open("xb") as stream:
        for piece in snapshot.pieces:
            part = work / "piece"
            _opened(snapshot.folder / piece.name, key, part)
            _check(part, piece)
            with part.open("rb") as source:
                while data := source.read(1024 * 1024):
                    whole.update(data)
                    stream.write(data)
            part.unlink()
    if whole.hexdigest() != snapshot.sha256 or target.stat().st_size != snapshot.size:
        raise BrokenError("the pieces put together are not the snapshot that the manifest names")
    return target


def open_keys(snapshot: Snapshot, key: Path) -> dict[str, bytes]:
    """Return the keys by their path below /etc/kubernetes; they stay in memory. Raises BrokenError."""
    with tempfile.TemporaryDirectory(prefix="gcloud-pk-", dir=_memory()) as folder:
        file = Path(folder, "keys.tar")
        _opened(snapshot.folder / snapshot.keys.name, key, file)
        _check(file, snapshot.keys)
        if file.stat().st_size > _LARGEST_KEYS:
            raise BrokenError("its keys are too large to be keys")
        data = file.read_bytes()
    found = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for entry in tar:
                source = tar.extractfile(entry)
                if source is None or entry.name.startswith("/") or ".." in Path(entry.name).parts:
                    raise BrokenError("its keys hold something that is no file")
                found[entry.name] = source.read()
    except tarfile.TarError:
        raise BrokenError("its keys are no tar") from None
    return found


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a folder of our own is made in it


def check_keys(keys: dict[str, bytes], secrets: dict[str, int]) -> str:
    """Return in words that authorities have their keys, and that every secret's key is among them.

    `secrets`: how many are encrypted by what (`secretbox:v1:first`). Raises BrokenError.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    def public(data: Any) -> bytes:
        return bytes(data.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))

    missing = [
        name for name in (ENCRYPTION, *_SERVICE_ACCOUNTS, *(one for pair in _PAIRS for one in pair)) if name not in keys
    ]
    if missing:
        raise BrokenError(f"the keys lack {', '.join(missing)}")
    try:
        for certificate, key in _PAIRS:
            theirs = public(x509.load_pem_x509_certificate(keys[certificate]).public_key())
            if theirs != public(serialization.load_pem_private_key(keys[key], None).public_key()):
                raise BrokenError(f"{key} is not that of {certificate}")
        verifies, signs = _SERVICE_ACCOUNTS
        theirs = public(serialization.load_pem_public_key(keys[verifies]))
        if theirs != public(serialization.load_pem_private_key(keys[signs], None).public_key()):
            raise BrokenError(f"{signs} is not that of {verifies}")
    except (ValueError, TypeError):
        raise BrokenError("one of the keys cannot be read as a key") from None
    known = encrypting(keys[ENCRYPTION])
    unknown = sorted(one for one in secrets if one != "plain" and one not in known)
    if unknown:
        raise BrokenError(f"secrets are encrypted by {', '.join(unknown)}, which {ENCRYPTION} does not have")
    plain = secrets.get("plain", 0)
    if plain:
        raise BrokenError(f"{plain} secrets are not encrypted in etcd")
    return f"{len(_PAIRS)} authorities, service accounts' key, and the keys of {sum(secrets.values())} secrets"


def encrypting(document: bytes) -> set[str]:
    """Return what an EncryptionConfiguration can read, as values in etcd name it: `secretbox:v1:first`."""
    import yaml

    found = set()
    try:
        for rule in yaml.safe_load(document)["resources"]:
            for provider in rule["providers"]:
                for name, about in provider.items():
                    version = "v2" if name == "kms" and (about or {}).get("apiVersion") == "v2" else "v1"
                    names = [about["name"]] if name == "kms" else [key["name"] for key in (about or {}).get("keys", ())]
                    found |= {f"{name}:{version}:{one}" for one in names}
    except (yaml.YAMLError, KeyError, TypeError, AttributeError):
        raise BrokenError(f"{ENCRYPTION} cannot be read") from None
    return found
