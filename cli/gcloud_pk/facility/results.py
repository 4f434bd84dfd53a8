"""One thing found out about a design, before it becomes a finding of the audits' one shape."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gcloud_pk.facility.checks import CHECKS
from gcloud_pk.facility.graph import Area, Element
from gcloud_pk.facility.words import spoken
from gcloud_pk.model.finding import Finding, Verdict

LISTED = 20
"""How many loads a finding's evidence names; `count` says how many there are."""


@dataclass(frozen=True, slots=True)
class Result:
    """A verdict on a subject. `loads`: names of what is lost, `count` of them, `fresh` by this element alone."""

    check: str
    subject: str
    observed: str
    verdict: Verdict
    element: Element = ()
    area: Area | None = None
    reason: str | None = None
    count: int = 0
    fresh: int = 0
    loads: tuple[str, ...] = ()
    degraded: bool = False

    def finding(self) -> Finding:
        """Return it in the audits' one shape."""
        check = CHECKS[self.check]
        expected = check.expected.replace("{element}", spoken(self.element) if self.element else "any one")
        return Finding(
            self.check,
            check.title,
            self.subject,
            expected,
            self.observed,
            self.verdict,
            (check.control,),
            self.reason or (self.observed if self.verdict is Verdict.FAIL else None),
            evidence=self._evidence(),
        )

    def _evidence(self) -> dict[str, Any]:
        shape: dict[str, Any] = {}
        if self.area:
            shape["area"] = self.area
        if len(self.element) == 1:
            shape["element"] = self.element[0]
        elif self.element:
            shape["link"] = list(self.element)
        if self.element or self.count:
            effect = "none" if not self.count else "degraded" if self.degraded else "down"
            shape |= {"effect": effect, "count": self.count, "fresh": self.fresh, "loads": list(self.loads[:LISTED])}
        return shape


_ORDER = {Verdict.FAIL: 0, Verdict.ERROR: 1, Verdict.NOT_CHECKED: 2}


def ordered(results: Iterable[Result]) -> list[Finding]:
    """Return findings: what fails first, the longest list of loads before the shorter, then what is not known."""
    merged = sorted(
        _merged(results),
        key=lambda one: (_ORDER.get(one.verdict, 3), -one.fresh, -one.count, one.check, one.subject),
    )
    return [one.finding() for one in merged]


def _merged(results: Iterable[Result]) -> Iterable[Result]:
    """Return one result for each check and subject: an element may break several clusters."""
    seen: dict[tuple[str, str], Result] = {}
    for one in results:
        before = seen.get((one.check, one.subject))
        if before is None:
            seen[one.check, one.subject] = one
            continue
        loads = (*before.loads, *one.loads)
        seen[one.check, one.subject] = Result(
            one.check,
            one.subject,
            f"{before.observed}; {one.observed}",
            one.verdict,
            one.element,
            one.area,
            one.reason,
            before.count + one.count,
            before.fresh + one.fresh,
            loads,
        )
    return seen.values()
