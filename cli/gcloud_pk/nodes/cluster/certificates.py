"""Certificates of a cluster, as a node tells of them: what they are, how long they hold, who signed them. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_PKI = "/etc/kubernetes/pki/"
_ISSUERS = {
    "apiserver": "ca",
    "apiserver-kubelet-client": "ca",
    "apiserver-etcd-client": "etcd/ca",
    "front-proxy-client": "front-proxy-ca",
    "etcd/server": "etcd/ca",
    "etcd/peer": "etcd/ca",
    "etcd/healthcheck-client": "etcd/ca",
}
"""Which authority a certificate has to be of (Kubernetes: PKI certificates and requirements)."""


def rows(pem: Mapping[str, Any], kubeconfigs: Mapping[str, Any], now: dt.datetime) -> list[dict[str, Any]]:
    """Return a row for each certificate: name, what it says, days until it ends, whether its own authority signed it.

    `signed` is None where the authority is not on this node. What cannot be read as a certificate has no `days`.
    """
    texts = {file: text for file, text in pem.items() if isinstance(text, str)}
    texts |= {
        file: one["certificate"]
        for file, one in kubeconfigs.items()
        if isinstance(one, Mapping) and isinstance(one.get("certificate"), str)
    }
    read = {file: _read(text) for file, text in texts.items()}
    return [_row(file, found, read, now) for file, found in sorted(read.items())]


@lru_cache(maxsize=64)
def _read(text: str) -> Certificate | None:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(text.encode())
    except ValueError:
        return None


def _row(
    file: str, found: Certificate | None, known: Mapping[str, Certificate | None], now: dt.datetime
) -> dict[str, Any]:
    if found is None:
        return {"file": file, "days": None}
    return {
        "file": file,
        "subject": found.subject.rfc4514_string(),
        "groups": [str(one.value) for one in found.subject if one.oid.dotted_string == "2.5.4.10"],
        "days": (found.not_valid_after_utc - now).days,
        "began": found.not_valid_before_utc <= now,
        "authority": _is_authority(found),
        "names": _names(found),
        "key": _key(found),
        "signed": _signed(file, found, known),
        "fingerprint": _fingerprint(found),
    }


def _is_authority(found: Certificate) -> bool:
    from cryptography import x509

    try:
        return found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _names(found: Certificate) -> list[str]:
    """Return the names and addresses that it is for, sorted."""
    from cryptography import x509

    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    dns = names.get_values_for_type(x509.DNSName)
    return sorted({*dns, *(str(one) for one in names.get_values_for_type(x509.IPAddress))})


def _key(found: Certificate) -> str:
    """Return kind and size of the key, such as `EC 256`."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    key = found.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.key_size}"
    return "Ed25519" if isinstance(key, ed25519.Ed25519PublicKey) else type(key).__name__


def _fingerprint(found: Certificate) -> str:
    from cryptography.hazmat.primitives.hashes import SHA256

    return found.fingerprint(SHA256()).hex()


def _signed(file: str, found: Certificate, known: Mapping[str, Certificate | None]) -> bool | None:
    name = file.removeprefix(_PKI).removesuffix(".crt")
    issuer = name if name in _ISSUERS.values() else _ISSUERS.get(name, "ca")
    authority = known.get(f"{_PKI}{issuer}.crt")
    if authority is None:
        return None
    from cryptography.exceptions import InvalidSignature

    try:
        found.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def of_etcd(flags: Mapping[str, Any], pem: Mapping[str, Any]) -> str:
    """Return `its own` where etcd believes one authority, which is no other's; else what is so, in words."""
    own = f"{_PKI}etcd/ca.crt"
    named = {str(flags.get(name)) for name in ("trusted-ca-file", "peer-trusted-ca-file")}
    if named != {own}:
        return f"it believes {' and '.join(sorted(named))}"
    if _public(pem.get(own)) is None:
        return f"{own} is not to be read"
    others = [f"{_PKI}{name}.crt" for name in ("ca", "front-proxy-ca")]
    same = [file for file in others if _public(pem.get(file)) == _public(pem.get(own))]
    return f"it has the key of {' and '.join(same)}" if same else "its own"


def _public(text: Any) -> bytes | None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    found = _read(text) if isinstance(text, str) else None
    return None if found is None else found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
