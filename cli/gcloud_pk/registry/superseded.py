"""Approvals that a new revision leaves behind: they say nothing of its bytes, and an auditor stumbles over them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

from gcloud_pk.registry import files, review
from gcloud_pk.registry.approvers import APPROVAL
from gcloud_pk.registry.entries import Entry
from gcloud_pk.registry.folder import Registry
from gcloud_pk.registry.signatures import holds_over


def left_behind(registry: Registry, entry: Entry, data: bytes) -> dict[str, bytes]:
    """Return the approvals of an entry, by principal, that are of an earlier request than `data`.

    Only what is lost nowhere: it is kept beside the accepted request that it speaks of, or that request was never
    accepted. `entry`: as it was before the new request was written, or as an interrupted submission left it.
    """
    approvals = entry.signed.approvals if entry.signed else {}
    if not approvals:
        return {}
    accepted = {line.digest for line in entry.chain.lines if review.accepts(line)}
    accepted |= {kept.digest for kept in entry.history}
    if entry.request and registry.approvals(entry).sufficient:
        accepted.add(entry.digest)  # approved by hand, and not kept yet
    found = {}
    for name, signature in approvals.items():
        spoken = set(_kept_of(entry, name, signature)) or (_spoken_of(entry, signature) - accepted)
        if spoken and not holds_over(data, signature, APPROVAL):
            found[name] = signature
    return found


def _kept_of(entry: Entry, name: str, signature: bytes) -> Iterator[str | None]:
    """Yield the accepted requests beside which a signature is kept."""
    return (kept.digest for kept in entry.history if kept.signed.approvals.get(name) == signature)


def _spoken_of(entry: Entry, signature: bytes) -> set[str | None]:
    """Return the requests that a signature is over, as far as it can be known."""
    named = sha256(signature).hexdigest()
    found = {
        line.digest for line in entry.chain.lines if line.act == "approve" and line.detail.get("signature") == named
    }
    if entry.signed and holds_over(entry.signed.data, signature, APPROVAL):
        found.add(entry.digest)
    return found


def remove(root: Path, entry: Entry, superseded: Mapping[str, bytes]) -> None:
    """Remove approvals, unless another signature was put in place of one. The caller holds the registry's lock."""
    for name, signature in superseded.items():
        file = entry.folder / "approvals" / f"{name}.sig"
        if file.exists() and files.read(file, root=root) == signature:
            files.remove(file, root=root)
