"""Does a tenant's past hold together: its history, the requests that were accepted, their signatures? Pure.

Signatures are judged at the moment that the history gives for them, by the keys of that moment: a key that was revoked
since is said, and fails nothing; what it opened is another question (`approver revoke` lists it).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from gcloud_pk.errors import Problem, problem
from gcloud_pk.registry.approvers import APPROVAL, REQUEST, Signer, Signers
from gcloud_pk.registry.entries import Accepted, Entry
from gcloud_pk.registry.history import Act, Chain, Line
from gcloud_pk.registry.signatures import Claim, Fault, SignatureError

_UNKNOWN = {Fault.UNKNOWN_KEY, Fault.NOT_ENTITLED}


@dataclass(frozen=True)
class Kept:
    """A signature that lies beside a kept request. `name`: whose it should be; `claim`: what there is to verify."""

    accepted: Accepted
    name: str | None
    claim: Claim

    @property
    def file(self) -> str:
        """Where it lies."""
        return str(self.accepted.folder / (f"approvals/{self.name}.sig" if self.name else "request.yaml.sig"))


@dataclass(frozen=True)
class Review:
    """What was found. `unchecked`: signatures by keys that nobody knows any more; `notes`: what is worth knowing."""

    chain: tuple[Problem, ...]
    requests: tuple[Problem, ...]
    signatures: tuple[Problem, ...]
    unchecked: tuple[Problem, ...]
    notes: tuple[Problem, ...]


def moment(chain: Chain, digest: str, act: Act, signature: bytes) -> dt.datetime | None:
    """Return when a signature on a request was made, as the history has it (UTC).

    The line of its `act` (approve, submit) that names the signature counts: others may have approved the same request
    since its key was revoked. Else, when the request was approved last; else, when it was first onboarded.
    """
    named = sha256(signature).hexdigest()
    made = [
        line.time
        for line in chain.lines
        if line.act == act and line.digest == digest and line.detail.get("signature") == named
    ]
    if made:
        return min(made)
    onboarded = [line.time for line in chain.lines if line.act == "onboard" and line.digest == digest]
    return chain.approved_at(digest) or min(onboarded, default=None)


def signers_then(signers: Signers, at: dt.datetime) -> Signers:
    """Return the signers with those who were revoked after a moment."""
    since = tuple(one for one in signers.revoked if one.time > at)
    if not since:
        return signers
    before = tuple(one for one in signers.revoked if one.time <= at)
    return Signers(signers.file, (*signers.listed, *(one.signer for one in since)), signers.problems, before)


def kept_signatures(entry: Entry, signers: Signers, now: dt.datetime) -> list[Kept]:
    """Return the signatures beside an entry's kept requests, with what there is to verify."""
    found: list[Kept] = []
    for accepted in entry.history:
        signed = accepted.signed
        found += [
            _kept(entry, accepted, name, signed.approvals[name], signers, now) for name in sorted(signed.approvals)
        ]
        if signed.request is not None:
            found.append(_kept(entry, accepted, None, signed.request, signers, now))
    return found


def _kept(
    entry: Entry, accepted: Accepted, name: str | None, signature: bytes, signers: Signers, now: dt.datetime
) -> Kept:
    act: Act = "approve" if name else "submit"
    at = moment(entry.chain, accepted.digest, act, signature) or now
    namespace = APPROVAL if name else REQUEST
    return Kept(accepted, name, Claim(accepted.signed.data, signature, namespace, signers_then(signers, at), at))


def review(entry: Entry, kept: Sequence[Kept], verdicts: Sequence[Signer | SignatureError], signers: Signers) -> Review:
    """Judge a tenant's past. `verdicts`: of the claims of `kept`, in their order."""
    failed, unchecked, notes = list(_replaced(entry)), list[Problem](), list(entry.chain.notes)
    for one, verdict in zip(kept, verdicts, strict=True):
        if not isinstance(verdict, SignatureError):
            if one.name not in {None, verdict.principal}:
                failed.append(problem(f"is by {verdict.principal}, not by {one.name}", file=one.file))
            elif revoked := signers.revocations.get(verdict.key.blob):
                notes.append(problem(f"held then; {revoked}", file=one.file))
        elif verdict.fault in _UNKNOWN:
            unchecked.append(problem(f"cannot be checked: it {verdict.message}", file=one.file))
        else:
            failed.append(problem(verdict.message, file=one.file))
    return Review(
        entry.chain.problems,
        (*entry.broken, *_lost(entry)),
        tuple(failed),
        tuple(unchecked),
        tuple(notes),
    )


def damaged(kept: Sequence[Kept], verdicts: Mapping[Claim, Signer | SignatureError]) -> Iterator[Problem]:
    """Yield the signatures that cannot have been made over what they lie beside, whoever may sign today."""
    never = {Fault.MALFORMED, Fault.NAMESPACE, Fault.OTHER_BYTES}
    for one in kept:
        verdict = verdicts[one.claim]
        if isinstance(verdict, SignatureError) and verdict.fault in never:
            yield problem(verdict.message, file=one.file)


def accepts(line: Line) -> bool:
    """Whether a line says that its request was accepted."""
    have, need = line.detail.get("have"), line.detail.get("need")
    return line.act == "onboard" or (isinstance(have, int) and isinstance(need, int) and have >= need)


def _lost(entry: Entry) -> Iterator[Problem]:
    """Yield the lines that say a request was accepted which is not kept; each request once."""
    missing = {accepted.digest for accepted in entry.history}
    for line in entry.chain.lines:
        if line.digest is None or line.digest in missing or not accepts(line):
            continue
        missing.add(line.digest)
        yield problem(
            "the request that was accepted is not kept intact",
            file=entry.chain.file,
            line=line.number,
            field="digest",
            expected=str(entry.folder / "history" / line.digest),
        )


def _replaced(entry: Entry) -> Iterator[Problem]:
    """Yield the kept approvals that are not those which the history names."""
    named: dict[tuple[str | None, str], set[str | int]] = {}
    for line in entry.chain.lines:
        if line.act == "approve" and "signature" in line.detail:
            named.setdefault((line.digest, line.actor), set()).add(line.detail["signature"])
    for accepted in entry.history:
        for name, signature in sorted(accepted.signed.approvals.items()):
            known = named.get((accepted.digest, name))
            if known and sha256(signature).hexdigest() not in known:
                yield problem(
                    "is not the signature that the history names",
                    file=accepted.folder / "approvals" / f"{name}.sig",
                    expected=f"SHA-256 {' or '.join(sorted(map(str, known)))}",
                )
