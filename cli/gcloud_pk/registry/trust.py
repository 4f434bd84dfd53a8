"""Is the registry what its keepers signed? Digests of what decides for others, signed by those named outside of it."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gcloud_pk.errors import Problem, problem
from gcloud_pk.registry.approvers import REGISTRY, Signers
from gcloud_pk.registry.signatures import SignatureError, verify

MANIFEST = "registry.sha256"
SIGNATURE = "registry.sha256.sig"

_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9._/-]+)")


@dataclass(frozen=True)
class TrustState:
    """Whether the registry's keepers vouch for it; `signer`: the principal; `reason`: why not."""

    trusted: bool
    signer: str | None = None
    reason: str | None = None


def manifest(files: Mapping[str, bytes]) -> bytes:
    """Return what `sha256sum` prints for the files that trust covers, sorted by path."""
    return "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)).encode()


def differences(files: Mapping[str, bytes], signed: bytes) -> Iterator[Problem]:
    """Yield how the files differ from a signed manifest: changed, added, missing; and lines that are none."""
    listed: dict[str, str] = {}
    for number, line in enumerate(signed.decode("utf-8", "replace").removesuffix("\n").split("\n"), 1):
        match = _LINE.fullmatch(line)
        if match is None or match[2] in listed:
            yield problem("is not a line of sha256sum, or a second one", file=MANIFEST, line=number)
            continue
        listed[match[2]] = match[1]
    for name in sorted({*files, *listed}):
        if name not in listed:
            yield problem("was added since the registry was signed", file=name, expected="a file the signature covers")
        elif name not in files:
            yield problem("is missing since the registry was signed", file=name, expected=f"SHA-256 {listed[name]}")
        elif (found := hashlib.sha256(files[name]).hexdigest()) != listed[name]:
            yield problem(
                f"was changed since the registry was signed (SHA-256 {found})",
                file=name,
                expected=f"SHA-256 {listed[name]}",
            )


def judge(
    files: Mapping[str, bytes], signed: bytes, signature: bytes, signers: Signers, at: dt.datetime
) -> tuple[str | None, list[Problem]]:
    """Return who signed the manifest, and everything that keeps it from holding."""
    try:
        signer = verify(signed, signature, REGISTRY, signers, at).principal
    except SignatureError as error:
        # The digests are worth nothing then, but what differs still helps to see what happened.
        return None, [problem(error.message, file=SIGNATURE), *differences(files, signed)]
    return signer, list(differences(files, signed))
