"""Who may sign what: OpenSSH allowed signers, read more strictly than ssh-keygen does.

A wildcard, a list of principals, a certificate authority or a line without `namespaces=` would let one key count under
many names or for anything. Source: ssh-keygen(1), ALLOWED SIGNERS; architecture, Signatures.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from gcloud_pk.errors import Problem, problem
from gcloud_pk.text import stamp, unsafe_characters

APPROVAL = "gcloud-pk-approval"
REQUEST = "gcloud-pk-request"
REGISTRY = "gcloud-pk-registry"
STATE = "gcloud-pk-state"
WAIVER = "gcloud-pk-waiver"
APPROVER_NAMESPACES = (APPROVAL, STATE, WAIVER)
"""What an approver of tenants signs; the registry itself and requests are others' to sign unless the line says so."""

# No dot in front: what begins with one is not looked at in a folder. No hyphen: programs take it for an option.
PRINCIPAL = re.compile(r"[a-z0-9_][a-z0-9._@-]{0,127}")
_NAMESPACE = re.compile(r"[a-z0-9][a-z0-9.@_-]{0,127}")
_OPTION = re.compile(r'([A-Za-z-]+)(?:="([^" ]*)")?(,| )')
_TIME = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})(?:([0-9]{2})([0-9]{2})([0-9]{2})?)?Z?")
_OPTIONS = ("namespaces", "valid-after", "valid-before")

RSA_BITS = 3072
KEY_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)


@dataclass(frozen=True)
class PublicKey:
    """A public key: its type and its blob as RFC 4253 writes it."""

    type: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """`SHA256:...`, as `ssh-keygen -l` prints it."""
        return f"SHA256:{base64.b64encode(hashlib.sha256(self.blob).digest()).rstrip(b'=').decode()}"

    @property
    def material(self) -> tuple[bytes, ...]:
        """What two keys have in common where one private key answers for both, whatever types they claim.

        The curve and point of an elliptic curve, the modulus of RSA; a security key's application is left out.
        """
        parts = list(_strings(self.blob))[1:]
        if self.type == "ssh-rsa":
            return (b"rsa", parts[1])
        return (b"ed25519", parts[0]) if "ed25519" in self.type else (parts[0], parts[1])

    def __str__(self) -> str:
        return f"{self.type} {base64.b64encode(self.blob).decode()}"


@dataclass(frozen=True)
class Signer:
    """One line of allowed signers. Times are UTC."""

    principal: str
    key: PublicKey
    namespaces: frozenset[str]
    valid_after: dt.datetime | None = None
    valid_before: dt.datetime | None = None
    line: int = 0

    def invalid_at(self, at: dt.datetime) -> str | None:
        """Return why the key does not count at a moment, or None."""
        if self.valid_after and at < self.valid_after:
            return f"the key of {self.principal} is valid only from {self.valid_after:%Y-%m-%d %H:%M} UTC"
        if self.valid_before and at >= self.valid_before:
            return f"the key of {self.principal} expired on {self.valid_before:%Y-%m-%d %H:%M} UTC"
        return None

    def as_line(self) -> str:
        """Return the line that ssh-keygen is given: what was parsed, and nothing else."""
        options = [f'namespaces="{",".join(sorted(self.namespaces))}"']
        if self.valid_after:
            options.append(f'valid-after="{self.valid_after:%Y%m%d%H%M%S}"')
        if self.valid_before:
            options.append(f'valid-before="{self.valid_before:%Y%m%d%H%M%S}"')
        return f"{self.principal} {','.join(options)} {self.key}\n"


@dataclass(frozen=True)
class Revoked:
    """A line that was revoked: it stays as a comment, so that what it signed can be verified by hand. Time: UTC."""

    signer: Signer
    time: dt.datetime
    by: str
    reason: str

    def __str__(self) -> str:
        when = f"{self.time:%Y-%m-%d %H:%M} UTC"
        return f"the key of {self.signer.principal} was revoked on {when} by {self.by}: {self.reason}"


@dataclass(frozen=True)
class Signers:
    """All lines of a file, and those revoked; any problem makes the whole file unfit."""

    file: str
    listed: tuple[Signer, ...]
    problems: tuple[Problem, ...] = ()
    revoked: tuple[Revoked, ...] = ()

    @cached_property
    def revocations(self) -> dict[bytes, Revoked]:
        """Key blob → how it was revoked."""
        return {one.signer.key.blob: one for one in self.revoked}

    @cached_property
    def by_key(self) -> dict[bytes, Signer]:
        """Key blob → signer."""
        return {signer.key.blob: signer for signer in self.listed}

    @cached_property
    def by_principal(self) -> dict[str, Signer]:
        """Principal → signer."""
        return {signer.principal: signer for signer in self.listed}

    def may(self, namespace: str) -> tuple[Signer, ...]:
        """Return who may sign in a namespace, by principal."""
        return tuple(sorted((s for s in self.listed if namespace in s.namespaces), key=lambda s: s.principal))


def parse(data: bytes, file: str) -> Signers:
    """Read allowed signers. Never raises for what the file holds."""
    found: list[Signer] = []
    revoked: list[Revoked] = []
    problems: list[Problem] = []
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        where = data.count(b"\n", 0, error.start) + 1
        return Signers(file, (), (problem("is not UTF-8", file=file, line=where, expected="a text in UTF-8"),))
    for number, line in enumerate(text.split("\n"), 1):
        try:
            _all_visible(line)
            if line.startswith(_REVOKED):
                revoked.append(_revocation(line, number))
            elif line.strip(" ") and not line.lstrip(" ").startswith("#"):
                found.append(_signer(line, number))
        except _LineError as error:
            problems.append(problem(error.message, file=file, line=number, expected=error.expected))
    problems.extend(_repeated(found, file))
    problems.extend(_come_back(found, revoked, file))
    return Signers(file, tuple(found), tuple(sorted(problems, key=lambda p: p.line or 0)), tuple(revoked))


def _come_back(found: list[Signer], revoked: list[Revoked], file: str) -> Iterator[Problem]:
    gone = {one.signer.key.material: one for one in revoked}
    for signer in found:
        if signer.key.material in gone:
            once = gone[signer.key.material]
            yield problem(
                f"the key of {signer.principal!r} was revoked (line {once.signer.line}) and never comes back",
                file=file, line=signer.line, expected="a new key",
            )  # fmt: skip


def _repeated(found: list[Signer], file: str) -> Iterator[Problem]:
    principals: dict[str, int] = {}
    keys: dict[tuple[bytes, ...], Signer] = {}
    for signer in found:
        if signer.principal in principals:
            yield problem(
                f"principal {signer.principal!r} stands in line {principals[signer.principal]} already",
                file=file, line=signer.line, expected="each principal once (a second key gets a name of its own)",
            )  # fmt: skip
        principals.setdefault(signer.principal, signer.line)
        if signer.key.material in keys:
            other = keys[signer.key.material]
            yield problem(
                f"the key of {signer.principal!r} is that of {other.principal!r} in line {other.line}",
                file=file, line=signer.line, expected="each key once (it would count twice)",
            )  # fmt: skip
        keys.setdefault(signer.key.material, signer)


class _LineError(Exception):
    def __init__(self, message: str, expected: str) -> None:
        super().__init__(message)
        self.message = message
        self.expected = expected


_LINE = 'PRINCIPAL namespaces="..." KEYTYPE KEY'

_REVOKED = "# revoked "
_REVOCATION = re.compile(r"# revoked (\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z) by ([^ ]+), ")
_REVOCATION_LINE = "# revoked YYYY-MM-DDThh:mm:ssZ by WHO, REASON: THE LINE"


def revocation_line(time: dt.datetime, by: str, reason: str, line: str) -> str:
    """Return the comment that a revoked line becomes. Raises ValueError for a reason that could be taken for a line."""
    text = f"# revoked {stamp(time)} by {by}, {reason}: {line}"
    try:
        kept = _revocation(text, 0)
    except _LineError as error:
        raise ValueError(error.message) from None
    if kept.reason != reason or kept.by != by:
        raise ValueError("the reason reads like a line of the file")
    return text


def _revocation(line: str, number: int) -> Revoked:
    """Read a revoked line. One that cannot be read is a problem: else its key could come back unseen."""
    match = _REVOCATION.match(line)
    if match is None:
        raise _LineError("is not a revoked line", _REVOCATION_LINE)
    try:
        time = dt.datetime.fromisoformat(match[1])
    except ValueError:
        raise _LineError(f"{match[1]!r} is not a time", _REVOCATION_LINE) from None
    position = match.end()
    # The first text after a colon that is a line; the comment after a key may hold colons of its own.
    while (colon := line.find(": ", position)) >= 0:
        try:
            return Revoked(_signer(line[colon + 2 :], number), time, match[2], line[match.end() : colon])
        except _LineError:
            position = colon + 2
    raise _LineError("a revoked line does not hold the line that it was", _REVOCATION_LINE)


def _signer(line: str, number: int) -> Signer:
    if "\r" in line or "\t" in line:
        raise _LineError("holds a tab or a carriage return", "fields separated by a space, lines ended by LF")
    principal, _, rest = line.strip(" ").partition(" ")
    if not PRINCIPAL.fullmatch(principal):
        what = "a list of principals" if "," in principal else "a wildcard" if set(principal) & set("*?!") else None
        raise _LineError(
            f"{principal!r} is {what or 'not a principal'}",
            "one principal of lower-case letters, digits, '.', '_', '@', '-'",
        )
    rest = rest.strip(" ")
    if rest.split(" ", 1)[0] in KEY_TYPES or "=" not in rest:
        raise _LineError("there is no namespaces=", _LINE)
    options, rest = _options(rest)
    if "cert-authority" in options:
        raise _LineError("cert-authority lets others make signers", "a key")
    if unknown := [name for name in options if name not in _OPTIONS]:
        raise _LineError(f"the option {unknown[0]!r} is not known", f"of {', '.join(_OPTIONS)}")
    namespaces = (options.get("namespaces") or "").split(",")
    for name in namespaces:
        if not _NAMESPACE.fullmatch(name):
            raise _LineError(f"namespaces names {name!r}", f"names such as {APPROVAL}, without wildcard")
    parts = rest.split(" ")
    if len(parts) < 2:
        raise _LineError("there is no key", _LINE)
    return Signer(
        principal,
        public_key(parts[0], parts[1]),
        frozenset(namespaces),
        _time(options.get("valid-after")),
        _time(options.get("valid-before")),
        number,
    )


def _all_visible(line: str) -> None:
    if hidden := unsafe_characters(line.removesuffix("\r").replace("\t", " ")):
        raise _LineError(f"holds {hidden[0]}", "no characters that hide what the line says")


def _options(rest: str) -> tuple[dict[str, str | None], str]:
    options: dict[str, str | None] = {}
    position = 0
    while True:
        match = _OPTION.match(rest, position)
        if match is None:
            raise _LineError("the options cannot be read", _LINE)
        if match[1] in options:
            raise _LineError(f"the option {match[1]!r} stands twice", "each option once")
        options[match[1]] = match[2]
        position = match.end()
        if match[3] == " ":
            return options, rest[position:].lstrip(" ")


def _time(text: str | None) -> dt.datetime | None:
    if text is None:
        return None
    match = _TIME.fullmatch(text)
    try:
        if match:
            return dt.datetime(*(int(part or 0) for part in match.groups()), tzinfo=dt.UTC)  # type: ignore[arg-type,misc]
    except ValueError:
        pass
    raise _LineError(f"{text!r} is not a time", "YYYYMMDD or YYYYMMDDhhmm[ss], UTC")


def public_key(kind: str, encoded: str) -> PublicKey:
    """Read a key as it stands in allowed signers or a `.pub` file. Raises an error with message and expectation."""
    if kind not in KEY_TYPES:
        cause = "is a certificate's" if "-cert-v0" in kind else "is not admitted"
        raise _LineError(
            f"the key type {kind!r} {cause}", "Ed25519, ECDSA, RSA of at least 3072 bits, or a security key"
        )
    try:
        blob = base64.b64decode(encoded, validate=True)
        written, rest = string(blob)
        parts = list(_strings(rest))
    except (binascii.Error, ValueError):
        raise _LineError("the key cannot be read", "the base64 text of a public key") from None
    if written.decode("ascii", "replace") != kind:
        raise _LineError(f"the key is of another type than {kind!r}", "the type that the key has")
    if not _is_plain(kind, parts):
        # A leading zero, a byte behind the key: one key could be written in two ways, and count twice.
        raise _LineError("the key is not written as ssh-keygen writes it", "the line of the .pub file")
    if kind == "ssh-rsa":
        bits = int.from_bytes(parts[1], "big").bit_length()
        if bits < RSA_BITS:
            raise _LineError(f"the RSA key has {bits} bits", f"at least {RSA_BITS}")
    return PublicKey(kind, blob)


_POINTS = {b"nistp256": 65, b"nistp384": 97, b"nistp521": 133}
"""Bytes of a point that is not compressed (SEC 1, 2.3.3), the one form that OpenSSH reads."""


def _is_plain(kind: str, parts: list[bytes]) -> bool:
    """Whether a key is written in the one form it has (RFC 4253 6.6, RFC 5656 3.1, RFC 8709 4, PROTOCOL.u2f)."""
    if kind.startswith("sk-"):
        *parts, application = parts or [b""]
        if not application:
            return False
    if kind == "ssh-rsa":
        return len(parts) == 2 and all(part == _number(int.from_bytes(part, "big")) for part in parts)
    if "ed25519" in kind:
        return [len(part) for part in parts] == [32]
    if len(parts) != 2 or parts[0] != kind.partition("@")[0].rpartition("-")[2].encode():
        return False
    return len(parts[1]) == _POINTS[parts[0]] and parts[1][:1] == b"\x04"


def _number(value: int) -> bytes:
    """Return a positive number as an mpint's bytes (RFC 4251, section 5)."""
    return value.to_bytes(value.bit_length() // 8 + 1, "big")


def string(data: bytes) -> tuple[bytes, bytes]:
    """Split the first length-prefixed string off (RFC 4251, section 5). Raises ValueError."""
    if len(data) < 4 or len(data) - 4 < (size := int.from_bytes(data[:4], "big")):
        raise ValueError("cut short")
    return data[4 : 4 + size], data[4 + size :]


def _strings(data: bytes) -> Iterator[bytes]:
    while data:
        part, data = string(data)
        yield part


def read_public_key(text: str, file: str) -> tuple[PublicKey | None, Problem | None]:
    """Read the line of a `.pub` file; the problem says why it cannot be one."""
    words = text.strip().split(" ")
    if len(words) < 2 or "\n" in text.strip():
        return None, problem("is not a public key", file=file, line=1, expected="one line: KEYTYPE KEY COMMENT")
    try:
        return public_key(words[0], words[1]), None
    except _LineError as error:
        return None, problem(error.message, file=file, line=1, expected=error.expected)
