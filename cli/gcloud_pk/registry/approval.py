"""Do the approvals of a request suffice? Distinct keys of approvers, none of them the requester's."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gcloud_pk.model.request import TenantRequest
from gcloud_pk.registry.approvers import APPROVAL, REQUEST, Signer, Signers
from gcloud_pk.registry.demand import Awaited, Demand
from gcloud_pk.registry.signatures import Claim, Fault, SignatureError, envelope

Verifier = Callable[[Sequence[Claim]], Sequence[Signer | SignatureError]]


@dataclass(frozen=True)
class Signed:
    """A request's bytes and the signatures that lie beside them. `approvals`: file name without `.sig` → signature."""

    data: bytes
    approvals: Mapping[str, bytes] = field(default_factory=dict)
    request: bytes | None = None


@dataclass(frozen=True)
class Refusal:
    """A signature that does not count. `superseded`: an approver's over other bytes, or by a revoked key; not wrong."""

    file: str
    message: str
    superseded: bool = False


@dataclass(frozen=True)
class Approvals:
    """`have`: principals that count, sorted, of `need`; `refused`: what does not count; `requester`: who signed it.

    `unsigned`: why the requester's own signature does not hold where settings demand one. `awaits`: whose approvals
    are outstanding: there may be as many as needed, and none of the tenant's province among them.
    """

    need: int
    have: tuple[str, ...]
    refused: tuple[Refusal, ...] = ()
    requester: str | None = None
    unsigned: str | None = None
    awaits: tuple[Awaited, ...] = ()

    @property
    def sufficient(self) -> bool:
        """Whether the request may be acted on."""
        return len(self.have) >= self.need and not self.awaits and self.unsigned is None

    @property
    def missing(self) -> str:
        """What is outstanding, in words; empty where nothing is."""
        return "; ".join(map(str, self.awaits))

    def as_dict(self) -> dict[str, Any]:
        """Return the shape of `approvals` in `request list|show --format json`."""
        return {
            "have": list(self.have),
            "need": self.need,
            "awaits": [one.as_dict() for one in self.awaits],
            "refused": [{"file": one.file, "reason": one.message} for one in self.refused],
        }


def claims(signed: Signed, signers: Signers, at: dt.datetime) -> list[Claim]:
    """Return what there is to verify: approvals by file name, then the requester's signature where there is one."""
    found = [Claim(signed.data, signed.approvals[name], APPROVAL, signers, at) for name in sorted(signed.approvals)]
    if signed.request is not None:
        found.append(Claim(signed.data, signed.request, REQUEST, signers, at))
    return found


def requester_key(signed: Signed) -> bytes | None:
    """Return the key that the requester's signature names, whether it holds or not: it approves nothing either way."""
    if signed.request is None:
        return None
    try:
        return envelope(signed.request).key
    except SignatureError:
        return None


def objection(signer: Signer, request: TenantRequest, signed: Signed, demand: Demand) -> str | None:
    """Return why an approval of a signer cannot count for this request, or None."""
    if signer.key.blob == requester_key(signed):
        return f"{signer.principal} signed the request itself"
    if signer.principal == request.spec.requested_by.email.lower():
        return f"{signer.principal} is who asks"
    return demand.objection(signer.principal)


def judge(
    signed: Signed, request: TenantRequest, demand: Demand, signers: Signers, at: dt.datetime, verifier: Verifier
) -> Approvals:
    """Judge a request's signatures at a moment (UTC)."""
    names = sorted(signed.approvals)
    verdicts = list(verifier(claims(signed, signers, at)))
    counted: dict[bytes, str] = {}
    refused: list[Refusal] = []
    for name, verdict in zip(names, verdicts, strict=False):
        file = f"approvals/{name}.sig"
        if isinstance(verdict, SignatureError):
            ended = verdict.fault in {Fault.OTHER_BYTES, Fault.REVOKED}
            refused.append(Refusal(file, verdict.message, superseded=ended))
        elif verdict.principal != name:
            refused.append(Refusal(file, f"is by {verdict.principal}: the file's name must be the signer's"))
        elif reason := objection(verdict, request, signed, demand):
            refused.append(Refusal(file, f"does not count: {reason}"))
        else:
            counted[verdict.key.blob] = verdict.principal
    requester, unsigned = None, None
    if signed.request is not None:
        verdict = verdicts[-1]
        if isinstance(verdict, SignatureError):
            unsigned = verdict.message
            refused.append(Refusal("request.yaml.sig", verdict.message))
        else:
            requester = verdict.principal
    if not demand.signature:
        unsigned = None
    elif signed.request is None:
        unsigned = "is missing"
    have = tuple(sorted(counted.values()))
    awaits = demand.awaits(have, eligible(request, signed, demand, signers, at))
    return Approvals(demand.total, have, tuple(refused), requester, unsigned, awaits)


def eligible(
    request: TenantRequest, signed: Signed, demand: Demand, signers: Signers, at: dt.datetime
) -> tuple[str, ...]:
    """Return the principals whose approval of this request would count at a moment."""
    return tuple(
        signer.principal
        for signer in signers.may(APPROVAL)
        if not signer.invalid_at(at) and not objection(signer, request, signed, demand)
    )
