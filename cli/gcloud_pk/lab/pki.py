"""Keys and certificates of a lab: three authorities, and what they vouch for. EC P-256, keys 0600.

Each certificate is checked when the lab comes up and made anew when it is missing, half written, of another
authority, or past two thirds of its life.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from gcloud_pk.programs import files

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

AUTHORITY_LIFE = timedelta(days=3650)
LEAF_LIFE = timedelta(days=90)
SHORT_LIFE = timedelta(hours=8)
"""Life of a certificate made for a person: the API server knows no revocation list."""

_BACKDATED = timedelta(minutes=5)
_RENEW_AFTER = 2 / 3

ETCD_CA, CLUSTER_CA, FRONT_PROXY_CA = "etcd-ca", "cluster-ca", "front-proxy-ca"
AUTHORITIES = (ETCD_CA, CLUSTER_CA, FRONT_PROXY_CA)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate to have: who signs it, its subject, where it serves (`hosts`; none for clients only)."""

    name: str
    authority: str
    user: str
    groups: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    client: bool = True


@dataclass(frozen=True, slots=True)
class Pair:
    """Where a certificate and its key lie."""

    certificate: Path
    key: Path


LOOPBACK = ("localhost", "127.0.0.1")


def leaves(service_ip: str) -> tuple[Leaf, ...]:
    """Return the leaf certificates of a control plane. `service_ip` is that of the Service `kubernetes`."""
    api = (
        *LOOPBACK,
        service_ip,
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    )
    return (
        Leaf("etcd", ETCD_CA, "etcd", hosts=LOOPBACK),  # etcd's gateway is a client of its own port
        Leaf("etcd-peer", ETCD_CA, "etcd-peer", hosts=LOOPBACK),
        Leaf("apiserver-etcd", ETCD_CA, "kube-apiserver"),
        Leaf("apiserver", CLUSTER_CA, "kube-apiserver", hosts=api, client=False),
        Leaf("controller-manager", CLUSTER_CA, "system:kube-controller-manager", hosts=LOOPBACK),
        Leaf("scheduler", CLUSTER_CA, "system:kube-scheduler", hosts=LOOPBACK),
        Leaf("front-proxy", FRONT_PROXY_CA, "front-proxy-client"),
        *(Leaf(context, CLUSTER_CA, f"gcloud-pk:{context}", (group,)) for context, group in CONTEXTS.items()),
    )


CONTEXTS = {
    "onboarder": "gcloud:platform",
    "verifier": "gcloud:verifiers",
    "auditor": "gcloud:auditors",
    "admin": "system:masters",
}
"""The kubeconfig's contexts and the group of each; the first is the current one (architecture, Identities)."""


def pair(folder: Path, name: str) -> Pair:
    """Return where the certificate and key of `name` lie."""
    return Pair(folder / f"{name}.crt", folder / f"{name}.key")


def ensure(folder: Path, service_ip: str, now: datetime | None = None) -> list[str]:
    """Make what is missing or due in `folder`; return the names of what was made."""
    now = now or datetime.now(UTC)
    files.make_folder(folder)
    made = [name for name in AUTHORITIES if ensure_authority(folder, name, now)]
    made += [leaf.name for leaf in leaves(service_ip) if ensure_leaf(folder, leaf, now)]
    if not _key_is_whole(folder / "service-accounts.key"):
        key = _new_key()
        files.write(folder / "service-accounts.key", _key_bytes(key))
        made.append("service-accounts")
    if "service-accounts" in made or not (folder / "service-accounts.pub").is_file():
        files.write(folder / "service-accounts.pub", _public_bytes(folder / "service-accounts.key"), 0o644)
    return made


def issue(folder: Path, leaf: Leaf, life: timedelta, now: datetime | None = None) -> tuple[bytes, bytes]:
    """Return certificate and key (PEM) of a new leaf; nothing is written."""
    now = now or datetime.now(UTC)
    authority, signer = _load(pair(folder, leaf.authority))
    key = _new_key()
    return _certificate(leaf, key, authority, signer, now, life), _key_bytes(key)


def expires(certificate: Path) -> datetime:
    """Return the end of a certificate's life, UTC."""
    from cryptography import x509

    return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc


def _new_key() -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _key_bytes(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load_key(path: Path) -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path} is not an EC key")
    return key


def _public_bytes(path: Path) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return (
        _load_key(path)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def _key_is_whole(path: Path) -> bool:
    try:
        _load_key(path)
    except (OSError, ValueError, TypeError):
        return False
    return True


def _load(where: Pair) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    """Return a certificate and its key. Raises OSError, ValueError or TypeError when they are not one pair."""
    from cryptography import x509

    certificate, key = x509.load_pem_x509_certificate(where.certificate.read_bytes()), _load_key(where.key)
    if certificate.public_key() != key.public_key():
        raise ValueError(f"{where.certificate} is not of {where.key}")
    return certificate, key


def _due(certificate: x509.Certificate, now: datetime) -> bool:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return not start <= now < start + (end - start) * _RENEW_AFTER


def ensure_authority(folder: Path, name: str, now: datetime) -> bool:
    """Make the authority `name` where it is missing or due; return whether it was made."""
    where = pair(folder, name)
    try:
        certificate, _ = _load(where)
        if not _due(certificate, now):
            return False
    except (OSError, ValueError, TypeError):
        pass
    key = _new_key()
    # The key goes first: a certificate that stands has its key beside it, or does not fit and is made again.
    files.write(where.key, _key_bytes(key))
    files.write(where.certificate, _authority(name, key, now), 0o644)
    return True


def ensure_leaf(folder: Path, leaf: Leaf, now: datetime) -> bool:
    """Make a leaf certificate where it is missing, due or of another authority; return whether it was made."""
    where = pair(folder, leaf.name)
    authority, signer = _load(pair(folder, leaf.authority))
    try:
        certificate, _ = _load(where)
        certificate.verify_directly_issued_by(authority)
        if not _due(certificate, now) and certificate.subject == _subject(leaf.user, leaf.groups):
            return False
    except Exception as error:  # whatever is wrong with it, a new one is right
        from cryptography.exceptions import InvalidSignature

        if not isinstance(error, (OSError, ValueError, TypeError, InvalidSignature)):
            raise
    key = _new_key()
    files.write(where.key, _key_bytes(key))
    files.write(where.certificate, _certificate(leaf, key, authority, signer, now, LEAF_LIFE), 0o644)
    return True


def _subject(user: str, groups: Sequence[str]) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name(
        [
            *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups),
            x509.NameAttribute(NameOID.COMMON_NAME, user),
        ]
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _authority(name: str, key: EllipticCurvePrivateKey, now: datetime) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    subject = _subject(f"gcloud-pk lab {name}", ())
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _certificate(
    leaf: Leaf,
    key: EllipticCurvePrivateKey,
    authority: x509.Certificate,
    signer: EllipticCurvePrivateKey,
    now: datetime,
    life: timedelta,
) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import ExtendedKeyUsageOID

    uses = [ExtendedKeyUsageOID.SERVER_AUTH] * bool(leaf.hosts) + [ExtendedKeyUsageOID.CLIENT_AUTH] * leaf.client
    builder = (
        x509.CertificateBuilder()
        .subject_name(_subject(leaf.user, leaf.groups))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + life)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if leaf.hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_host(h) for h in leaf.hosts]), critical=False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _host(host: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
