"""Who may approve: one more line in `approvers`, a line revoked, and what a revoked key had approved."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from gcloud_pk.errors import InvalidInputError, RefusedError, UnavailableError, problem
from gcloud_pk.model import federation
from gcloud_pk.model.settings import Settings
from gcloud_pk.registry.approval import Signed
from gcloud_pk.registry.approvers import APPROVAL, Signer, Signers, parse, revocation_line
from gcloud_pk.registry.entries import Entry
from gcloud_pk.registry.folder import Registry
from gcloud_pk.registry.signatures import Claim, SignatureError, envelope, verify_all
from gcloud_pk.text import stamp

SOON = dt.timedelta(days=30)
"""A key that expires within this time is said to."""


def with_approver(data: bytes, signers: Signers, signer: Signer) -> bytes:
    """Return the bytes of `approvers` with one more line at the end; the same bytes where it is there already.

    Raises RefusedError where the key was revoked, or the principal or the key is another line's; InvalidInputError for
    a principal or a namespace that cannot be one.
    """
    if revoked := signers.revocations.get(signer.key.blob):
        raise RefusedError(f"{revoked}; a revoked key never comes back", resolution="make a new key")
    line = signer.as_line()
    other = signers.by_principal.get(signer.principal) or signers.by_key.get(signer.key.blob)
    if other is not None and other.as_line() == line:
        return data
    if other is not None and other.principal == signer.principal:
        raise RefusedError(
            f"{signer.principal} stands in line {other.line} of {signers.file}, with {other.key.fingerprint}",
            resolution="revoke that first, or give the second key a name of its own",
        )
    if other is not None:
        raise RefusedError(
            f"the key {signer.key.fingerprint} is {other.principal}'s (line {other.line} of {signers.file})",
            resolution="each key has one name: it would count twice",
        )
    read = parse(line.encode(), "the new line")
    wrong = [problem(one.message, expected=one.expected) for one in read.problems]
    if wrong or [one.principal for one in read.listed] != [signer.principal]:
        raise InvalidInputError(f"{signer.principal!r} cannot be an approver so", details=wrong)
    return data + (b"" if not data or data.endswith(b"\n") else b"\n") + line.encode()


def without_approver(data: bytes, signer: Signer, time: dt.datetime, by: str, reason: str) -> bytes:
    """Return the bytes of `approvers` with the signer's line as a comment; no other byte changes.

    `time`: UTC. Raises InvalidInputError for a reason that cannot stand there.
    """
    lines = data.decode("utf-8").split("\n")
    try:
        lines[signer.line - 1] = revocation_line(time, by, reason, lines[signer.line - 1].strip(" "))
    except ValueError as error:
        raise InvalidInputError(f"the reason cannot be kept in the file: {error}", resolution="word it anew") from None
    return "\n".join(lines).encode()


def listed(signers: Signers, principal: str) -> Signer:
    """Return the line of a principal. Raises UnavailableError where there is none."""
    if found := signers.by_principal.get(principal):
        return found
    from difflib import get_close_matches

    revoked = [str(one) for one in signers.revoked if one.signer.principal == principal]
    near = get_close_matches(principal, signers.by_principal, n=1)
    raise UnavailableError(
        f"{principal} is not in {signers.file}",
        details=revoked,
        resolution=f"did you mean {near[0]}?" if near and not revoked else "see: gcloud-pk approver list",
    )


@dataclass(frozen=True)
class Approved:
    """A request that a key approved. `request`: the tenant's present one, or the one accepted last.

    `sufficient`: whether it has enough approvals without that key; `missing`: what is outstanding, in words.
    """

    tenant: str
    revision: int
    digest: str
    request: Literal["present", "accepted"]
    sufficient: bool
    missing: str

    def as_dict(self) -> dict[str, Any]:
        """Return the shape of `approved[]` in `approver revoke --format json`."""
        return {
            "tenant": self.tenant,
            "revision": self.revision,
            "digest": self.digest,
            "request": self.request,
            "sufficient": self.sufficient,
            "missing": self.missing or None,
        }


def approved_by(registry: Registry, signer: Signer) -> list[Approved]:
    """Return what a signer approved, by tenant, judged as the registry stands: open it anew after the revocation.

    Other keys are judged at the moment of the last approval in history, so that one that expired since is no obstacle.
    """
    alone = Signers(registry.approvers.file, (replace(signer, valid_after=None, valid_before=None),))
    return [found for entry in registry.tenants.values() for found in _approved(registry, entry, alone)]


def _approved(registry: Registry, entry: Entry, alone: Signers) -> Iterator[Approved]:
    last = entry.last_accepted
    if entry.signed and entry.request and entry.digest and _signs(entry.signed, alone, registry.now):
        found = registry.judged(entry.signed, entry.request, entry.chain.approved_at(entry.digest))
        revision = entry.request.metadata.revision
        yield Approved(entry.name, revision, entry.digest, "present", found.sufficient, found.missing)
    if last and last.digest != entry.digest and _signs(last.signed, alone, registry.now):
        found = registry.judged(last.signed, last.request, entry.chain.approved_at(last.digest))
        yield Approved(entry.name, last.revision, last.digest, "accepted", found.sufficient, found.missing)


def opened_by(registry: Registry, signer: Signer) -> list[str]:
    """Return the tenants whose state a signer opened: without the signature they count as closed."""
    return [
        entry.name
        for entry in registry.tenants.values()
        if entry.state[0] and entry.state[0].state == "active" and _key(entry.state_signature) == signer.key.blob
    ]


def _key(signature: bytes | None) -> bytes | None:
    try:
        return envelope(signature).key if signature else None
    except SignatureError:
        return None


def _signs(signed: Signed, alone: Signers, at: dt.datetime) -> bool:
    """Whether an approval is by the one signer, over these very bytes: a superseded one approves something else."""
    claims = [Claim(signed.data, signature, APPROVAL, alone, at) for signature in signed.approvals.values()]
    return any(isinstance(verdict, Signer) for verdict in verify_all(claims))


@dataclass(frozen=True)
class Appointment:
    """One line of `approvers` in people's words. `status`: valid, not yet, expired, expires soon or revoked."""

    signer: Signer
    status: str
    jurisdiction: str
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the shape of `approvers[]` in `approver list --format json`. Times are UTC."""
        return {
            "principal": self.signer.principal,
            "fingerprint": self.signer.key.fingerprint,
            "type": self.signer.key.type,
            "namespaces": sorted(self.signer.namespaces),
            "validAfter": _utc(self.signer.valid_after),
            "validBefore": _utc(self.signer.valid_before),
            "status": self.status,
            "jurisdiction": self.jurisdiction,
            "reason": self.reason,
        }


def _utc(moment: dt.datetime | None) -> str | None:
    return stamp(moment) if moment else None


def appointments(signers: Signers, settings: Settings, at: dt.datetime) -> list[Appointment]:
    """Return all lines in the file's order, revoked ones last; judged at a moment (UTC)."""
    owners = federation.owners(settings)

    def made(signer: Signer, status: str, reason: str | None = None) -> Appointment:
        return Appointment(signer, status, owners.get(signer.principal, federation.FEDERAL), reason)

    found = [made(signer, _status(signer, at)) for signer in signers.listed]
    return found + [made(one.signer, "revoked", str(one)) for one in signers.revoked]


def _status(signer: Signer, at: dt.datetime) -> str:
    if signer.valid_after and at < signer.valid_after:
        return "not yet"
    if signer.valid_before and at >= signer.valid_before:
        return "expired"
    if signer.valid_before and at >= signer.valid_before - SOON:
        return f"expires within {SOON.days} days"
    return "valid"


def namespaces_of(words: Iterable[str]) -> frozenset[str]:
    """Return the namespaces that comma-separated words name."""
    return frozenset(name for word in words for name in word.split(",") if name)
