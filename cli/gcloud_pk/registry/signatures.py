"""OpenSSH signatures, made and verified by ssh-keygen: agents and security keys work, an auditor gets the same answer.

The envelope is opened here only to know whose key it names, for the choice of signer and for words; whether it holds is
ssh-keygen's answer alone. Source: PROTOCOL.sshsig; ssh-keygen(1).
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from gcloud_pk.errors import RefusedError, UnavailableError
from gcloud_pk.registry.approvers import REGISTRY, PublicKey, Signer, Signers, read_public_key, string

_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_TIMEOUT = 30.0
THREADS = 4


class Fault(StrEnum):
    """Why a signature does not count."""

    MALFORMED = "malformed"
    NAMESPACE = "namespace"
    UNKNOWN_KEY = "unknown-key"
    REVOKED = "revoked"
    NOT_ENTITLED = "not-entitled"
    NOT_VALID = "not-valid"
    OTHER_BYTES = "other-bytes"


class SignatureError(Exception):
    """A signature that does not count; `fault` says of which sort, the message why."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message


@dataclass(frozen=True)
class Envelope:
    """What a signature says of itself."""

    key: bytes
    namespace: str


def envelope(signature: bytes) -> Envelope:
    """Read the outside of an armoured signature. Raises SignatureError; proves nothing."""
    malformed = SignatureError(Fault.MALFORMED, "is not an OpenSSH signature")
    try:
        text = signature.decode("ascii").strip()
        blob = base64.b64decode("".join(text[len(_BEGIN) : -len(_END)].split()), validate=True)
        key, rest = string(blob[10:])
        namespace = string(rest)[0].decode("utf-8")
    except (ValueError, binascii.Error):
        raise malformed from None
    # Version 1 of the format (PROTOCOL.sshsig).
    if not (text.startswith(_BEGIN) and text.endswith(_END) and blob.startswith(b"SSHSIG\0\0\0\1")):
        raise malformed
    return Envelope(key, namespace)


@dataclass(frozen=True)
class Claim:
    """Something to verify: that `signature` is over `data` in `namespace`, by one of `signers`, at a moment (UTC)."""

    data: bytes
    signature: bytes
    namespace: str
    signers: Signers
    at: dt.datetime


def verify(data: bytes, signature: bytes, namespace: str, signers: Signers, at: dt.datetime) -> Signer:
    """Return who signed `data`. Raises SignatureError where the signature does not count at `at`."""
    outside = envelope(signature)
    if outside.namespace != namespace:
        raise SignatureError(Fault.NAMESPACE, f"is made for namespace {outside.namespace!r}, not for {namespace!r}")
    signer = signers.by_key.get(outside.key)
    if revoked := signers.revocations.get(outside.key):
        raise SignatureError(Fault.REVOKED, f"does not count: {revoked}")
    if signer is None:
        raise SignatureError(Fault.UNKNOWN_KEY, f"is by a key that is not in {signers.file}")
    if namespace not in signer.namespaces:
        raise SignatureError(
            Fault.NOT_ENTITLED, f"is by {signer.principal}, who may not sign in namespace {namespace!r}"
        )
    if reason := signer.invalid_at(at):
        raise SignatureError(Fault.NOT_VALID, f"does not count: {reason}")
    if not _holds(data, signature, namespace, signer, at):
        raise SignatureError(
            Fault.OTHER_BYTES, f"by {signer.principal} is over other bytes than these: superseded, or damaged"
        )
    return signer


def holds_over(data: bytes, signature: bytes, namespace: str) -> bool:
    """Whether a signature was made over these bytes by the key that it holds, whoever's that is or was."""
    with tempfile.TemporaryDirectory(prefix="gcloud-pk-") as folder:
        signed = Path(folder, "signature")
        signed.write_bytes(signature)
        return _run(["-Y", "check-novalidate", "-n", namespace, "-s", str(signed)], data).returncode == 0


def verify_all(claims: Sequence[Claim]) -> list[Signer | SignatureError]:
    """Verify many, a few at a time (most of the time goes to starting ssh-keygen); answers in the order of `claims`."""

    def one(claim: Claim) -> Signer | SignatureError:
        try:
            return verify(claim.data, claim.signature, claim.namespace, claim.signers, claim.at)
        except SignatureError as error:
            return error

    if len(claims) < 2:
        return [one(claim) for claim in claims]
    with ThreadPoolExecutor(min(THREADS, len(claims))) as pool:
        return list(pool.map(one, claims))


def _program() -> str:
    found = shutil.which("ssh-keygen")
    if found is None:
        raise UnavailableError(
            "ssh-keygen is not in PATH", resolution="install the OpenSSH client (package openssh-client), 8.9 or later"
        )
    return found


def _environment() -> dict[str, str]:
    # Times in allowed signers are UTC here, wherever the machine stands; the answers are matched in English.
    return {**os.environ, "TZ": "UTC0", "LC_ALL": "C"}


def _holds(data: bytes, signature: bytes, namespace: str, signer: Signer, at: dt.datetime) -> bool:
    with tempfile.TemporaryDirectory(prefix="gcloud-pk-") as folder:
        allowed, signed = Path(folder, "allowed"), Path(folder, "signature")
        allowed.write_text(signer.as_line())
        signed.write_bytes(signature)
        moment = at.astimezone(dt.UTC).strftime("%Y%m%d%H%M%S")
        answer = _run(
            ["-Y", "verify", "-f", str(allowed), "-I", signer.principal, "-n", namespace, "-s", str(signed),
             f"-Overify-time={moment}"],
            data,
        )  # fmt: skip
    return answer.returncode == 0


def _run(arguments: Iterable[str], data: bytes, *, person: bool = False) -> subprocess.CompletedProcess[bytes]:
    """Run ssh-keygen; `person`: somebody may be asked for a passphrase or a touch, so it takes what time it takes."""
    try:
        return subprocess.run(
            [_program(), *arguments],
            input=data,
            stdout=subprocess.PIPE,
            stderr=None if person and sys.stderr.isatty() else subprocess.PIPE,
            timeout=None if person else _TIMEOUT,
            env=_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError("ssh-keygen does not answer", resolution="run it by hand to see why") from None
    except OSError as error:
        raise UnavailableError(f"ssh-keygen cannot be started: {error.strerror}") from None


def sign(data: bytes, key: Path, namespace: str) -> bytes:
    """Return the armoured signature of `data` by a key: private, or public with the agent holding the rest.

    A passphrase, or the touch of a security key, is asked for on the terminal. Raises UnavailableError.
    """
    answer = _run(["-q", "-Y", "sign", "-n", namespace, "-f", str(key)], data, person=True)
    if answer.returncode != 0 or _BEGIN.encode() not in answer.stdout:
        raise UnavailableError(
            f"cannot sign with {key}", details=_said(answer), resolution="check the key with: ssh-keygen -y -f KEY"
        )
    return answer.stdout


def _said(answer: subprocess.CompletedProcess[bytes]) -> list[str]:
    lines = (answer.stderr or b"").decode("utf-8", "replace").splitlines()
    return [line for line in lines if line.strip()][:5]


def public_key_of(key: Path) -> PublicKey:
    """Return the public part of a key at a path: the file itself, its `.pub`, or what ssh-keygen says.

    Raises UnavailableError where there is no key, RefusedError where it is of a kind that is not admitted.
    """
    if not key.is_file():
        raise UnavailableError(f"there is no key at {key}", resolution="give --key the path of an OpenSSH key")
    beside = key if key.suffix == ".pub" else key.with_name(key.name + ".pub")
    if beside.is_file():
        text = beside.read_text("utf-8", "replace")
    else:
        answer = _run(["-y", "-f", str(key)], b"", person=True)
        if answer.returncode != 0:
            raise UnavailableError(f"cannot read the key {key}", details=_said(answer))
        text = answer.stdout.decode("utf-8", "replace")
    found, reason = read_public_key(text, str(beside))
    if found is None:
        raise RefusedError(f"{key} cannot be used to sign", details=[reason] if reason else [])
    return found


def sign_as(data: bytes, key: Path, namespace: str, signers: Signers, at: dt.datetime) -> tuple[bytes, Signer]:
    """Sign, and verify what was made before anybody relies on it. Raises RefusedError where it would not count."""
    made = sign(data, key, namespace)
    try:
        return made, verify(data, made, namespace, signers, at)
    except SignatureError as error:
        raise RefusedError(f"the signature by {key} would not count: it {error.message}") from None


def entitled(key: Path, namespace: str, signers: Signers, at: dt.datetime) -> Signer:
    """Return the signer that a key is, before anything is signed. Raises RefusedError."""
    public = public_key_of(key)
    signer = signers.by_key.get(public.blob)
    hint = _who_may(namespace, signers, at)
    if revoked := signers.revocations.get(public.blob):
        raise RefusedError(str(revoked), resolution=hint)
    if signer is None:
        raise RefusedError(
            f"the key {public.fingerprint} ({key}) is not in {signers.file}",
            resolution=hint,
        )
    if namespace not in signer.namespaces:
        raise RefusedError(f"{signer.principal} may not sign in namespace {namespace!r}", resolution=hint)
    if reason := signer.invalid_at(at):
        raise RefusedError(reason, resolution=hint)
    return signer


def _who_may(namespace: str, signers: Signers, at: dt.datetime) -> str:
    """Say whose key counts at a moment, or how somebody gets one that does."""
    names = [signer.principal for signer in signers.may(namespace) if not signer.invalid_at(at)]
    if names:
        return f"use the key of one of: {', '.join(names)}"
    if namespace == REGISTRY:
        return f"nobody may sign there now; {signers.file} names the keepers"
    return f"nobody may sign there now: gcloud-pk approver add PRINCIPAL PUBKEYFILE --namespaces {namespace}"
