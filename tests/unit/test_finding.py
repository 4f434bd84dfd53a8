"""From verdicts to the exit code."""

from __future__ import annotations

import pytest

from gcloud_pk.errors import ExitCode
from gcloud_pk.model.finding import Finding, Verdict, count, exit_code


def findings(*verdicts: str) -> list[Finding]:
    return [Finding(f"ISO-{n:03}", "t", "s", "e", "o", Verdict(v)) for n, v in enumerate(verdicts)]


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ((), ExitCode.NOT_CHECKED),
        (("pass",), ExitCode.DONE),
        (("pass", "waived", "not-applicable"), ExitCode.DONE),
        (("pass", "not-checked"), ExitCode.NOT_CHECKED),
        (("pass", "error"), ExitCode.NOT_CHECKED),
        (("error", "not-checked", "fail"), ExitCode.FAILED),
    ],
    ids=["nothing at all", "all pass", "waived", "not checked", "error", "a failure outweighs all"],
)
def test_the_worst_verdict_decides(verdicts: tuple[str, ...], code: ExitCode) -> None:
    assert exit_code(findings(*verdicts)) == code


def test_every_verdict_is_counted_even_where_there_is_none() -> None:
    assert count(findings("pass", "pass", "fail")) == {
        "pass": 2, "fail": 1, "error": 0, "not-applicable": 0, "not-checked": 0, "waived": 0,
    }  # fmt: skip


def test_a_finding_has_the_shape_of_the_architecture() -> None:
    finding = Finding("ISO-014", "t", "tenant/a/b", "e", "o", Verdict.PASS, ("GPK-NET-001",), seconds=0.01234567)
    assert finding.as_dict() == {
        "id": "ISO-014", "title": "t", "controls": ["GPK-NET-001"], "subject": "tenant/a/b", "expected": "e",
        "observed": "o", "verdict": "pass", "reason": None, "seconds": 0.0123,
    }  # fmt: skip
