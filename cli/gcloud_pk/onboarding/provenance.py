"""What a cluster's Tenant says of the registry's history: does the one bear the other out? Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gcloud_pk.errors import Problem, problem
from gcloud_pk.registry.history import Chain


def head_of(parent: Mapping[str, Any] | None) -> str | None:
    """Return the history's last line (SHA-256) when the Tenant was last written, where it says so."""
    return ((parent or {}).get("status") or {}).get("historyHead")


def stray_head(name: str, chain: Chain, parent: Mapping[str, Any] | None) -> str | None:
    """Return words for an operator whose registry lacks the line that the cluster names, or None.

    No refusal: whoever has not fetched another operator's lines must be able to repair all the same.
    """
    head = head_of(parent)
    if head is None or head in chain.hashes:
        return None
    return (
        f"tenant {name}: the cluster names the line {head} of its history, and this registry has none such; fetch what "
        f"other operators committed; if nobody has it, somebody shortened the history: "
        f"gcloud-pk registry history {name} --verify"
    )


def disagreements(name: str, chain: Chain, parent: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what a Tenant says that the history does not: its head, its revision, its request."""
    spec, status = parent.get("spec") or {}, parent.get("status") or {}
    where = f"Tenant {name}"
    head = head_of(parent)
    if head is not None and head not in chain.hashes:
        yield problem(
            "names a line that the history lacks: it was shortened, or is not the newest",
            file=where,
            field="status.historyHead",
            expected=f"a line of {chain.file}; the Tenant says {head}",
        )
    onboarded = {line.digest for line in chain.lines if line.act == "onboard"}
    digest = spec.get("requestDigest")
    if head is not None and digest not in onboarded:
        yield problem(
            "is of a request that the history did not onboard",
            file=where,
            field="spec.requestDigest",
            expected=f"a line of {chain.file} that onboards {digest}",
        )
    newest = max((line.revision or 0 for line in chain.lines), default=0)
    revision = max(spec.get("revision") or 0, status.get("revision") or 0)
    if head is not None and revision > newest:
        yield problem(
            f"has revision {revision}, and the history ends with {newest}",
            file=where,
            field="status.revision",
            expected=f"at most {newest}",
        )
