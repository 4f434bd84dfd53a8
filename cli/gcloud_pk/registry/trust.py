"""Is the registry what its keepers signed? Digests of what decides for others, signed by those named outside of it.

A signature alone has no date: everything of last year, put back together, holds as well. So the first line of the
digests counts the signings, in a comment that sha256sum passes over; whoever has seen a higher serial knows an older
version (`onboarding.serials`: the cluster does). Digests without that line were signed before there were serials: 0.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gcloud_pk.errors import Problem, RefusedError, problem
from gcloud_pk.registry.approvers import REGISTRY, Signer, Signers
from gcloud_pk.registry.signatures import SignatureError, verify

MANIFEST = "registry.sha256"
SIGNATURE = "registry.sha256.sig"

HIGHEST = 10**15 - 1
"""The last serial: what JSON's numbers hold exactly, and more than anybody signs."""

_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9._/-]+)")
_HEAD = re.compile(r"# serial ([1-9][0-9]{0,14}), ([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)")
_ANY_SERIAL = re.compile(rb"^# serial ([0-9]{1,15})\b", re.MULTILINE)


@dataclass(frozen=True)
class Version:
    """Which signing it is: they count from 1; 0 is one from before they were counted. `time`: when, UTC."""

    serial: int = 0
    time: dt.datetime | None = None

    def __str__(self) -> str:
        return f"serial {self.serial}" + (f", signed on {self.time:%Y-%m-%d %H:%M} UTC" if self.time else "")


@dataclass(frozen=True)
class TrustState:
    """Whether the registry's keepers vouch for it; `reason`: why not.

    `signer`: the principal; `key`: fingerprint of the key that signed; `keepers`: fingerprint → principal of everybody
    whose signature would count.
    """

    trusted: bool
    signer: str | None = None
    reason: str | None = None
    version: Version = Version()
    key: str | None = None
    keepers: Mapping[str, str] = field(default_factory=dict)

    @property
    def serial(self) -> int:
        """Which signing it is; 0 where there is no trust."""
        return self.version.serial


def manifest(files: Mapping[str, bytes], version: Version) -> bytes:
    """Return what `sha256sum` prints for the files that trust covers, sorted by path, under a line with the version."""
    head = f"# serial {version.serial}, {version.time:%Y-%m-%dT%H:%M:%SZ}\n"
    return (head + "".join(f"{hashlib.sha256(files[n]).hexdigest()}  {n}\n" for n in sorted(files))).encode()


def read_version(signed: bytes) -> Version:
    """Return what the first line says; Version() where it is no such line."""
    match = _HEAD.fullmatch(signed.partition(b"\n")[0].decode("utf-8", "replace"))
    try:
        return Version(int(match[1]), dt.datetime.fromisoformat(match[2])) if match else Version()
    except ValueError:  # no such day
        return Version()


def next_version(present: bytes | None, time: dt.datetime, at_least: int = 1) -> Version:
    """Return the version that follows what lies there: signed, not signed, or both sides of a conflict in git.

    `at_least`: what else is known to be taken. Raises RefusedError where no number is left.
    """
    taken = max((int(found) for found in _ANY_SERIAL.findall(present or b"")), default=0)
    serial = max(taken + 1, at_least)
    if serial > HIGHEST:
        raise RefusedError(
            f"{MANIFEST} says serial {serial - 1}, the last there is; nobody signed that often",
            resolution=f"restore {MANIFEST} from version control",
        )
    return Version(serial, time.astimezone(dt.UTC))


def differences(files: Mapping[str, bytes], signed: bytes) -> Iterator[Problem]:
    """Yield how the files differ from a signed manifest: changed, added, missing; and lines that are none."""
    listed: dict[str, str] = {}
    head = 1 if read_version(signed).serial else 0
    lines = signed.decode("utf-8", "replace").removesuffix("\n").split("\n")
    for number, line in enumerate(lines[head:], head + 1):
        if line.startswith("#"):
            expected = "in the first line, and nowhere else: # serial N, YYYY-MM-DDThh:mm:ssZ"
            yield problem("is a comment that no keeper makes", file=MANIFEST, line=number, expected=expected)
            continue
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
) -> tuple[Signer | None, list[Problem]]:
    """Return who signed the manifest, and everything that keeps it from holding."""
    try:
        signer = verify(signed, signature, REGISTRY, signers, at)
    except SignatureError as error:
        # The digests are worth nothing then, but what differs still helps to see what happened.
        return None, [problem(error.message, file=SIGNATURE), *differences(files, signed)]
    return signer, list(differences(files, signed))
