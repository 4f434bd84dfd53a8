"""Verdicts and findings: the one shape of every audit (architecture: Verdicts that cannot lie)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gcloud_pk.errors import ExitCode


class Verdict(StrEnum):
    """How a check ended. Only `pass` counts as passed."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    FAIL = "fail"
    ERROR = "error"
    NOT_APPLICABLE = "not-applicable"
    NOT_CHECKED = "not-checked"
    WAIVED = "waived"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's verdict on one subject; `reason` says why where the verdict is not `pass`; seconds are wall time."""

    id: str
    title: str
    subject: str
    expected: str
    observed: str
    verdict: Verdict
    controls: tuple[str, ...] = ()
    reason: str | None = None
    seconds: float = 0.0
    evidence: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the shape of `results[]`."""
        shape: dict[str, Any] = {
            "id": self.id,
            "title": self.title,
            "controls": list(self.controls),
            "subject": self.subject,
            "expected": self.expected,
            "observed": self.observed,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "seconds": round(self.seconds, 4),
        }
        if self.evidence:
            shape["evidence"] = self.evidence
        return shape


def count(findings: Iterable[Finding]) -> dict[str, int]:
    """Return how many findings ended in each verdict; every verdict is a key."""
    totals = {verdict.value: 0 for verdict in Verdict}
    for finding in findings:
        totals[finding.verdict.value] += 1
    return totals


def exit_code(findings: Iterable[Finding]) -> ExitCode:
    """Any `fail` → 6; else any `error` or `not-checked` → 7; else 0. No finding at all proves nothing → 7."""
    verdicts = {finding.verdict for finding in findings}
    if Verdict.FAIL in verdicts:
        return ExitCode.FAILED
    if not verdicts or verdicts & {Verdict.ERROR, Verdict.NOT_CHECKED}:
        return ExitCode.NOT_CHECKED
    return ExitCode.DONE
