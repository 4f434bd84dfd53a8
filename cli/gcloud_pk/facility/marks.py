"""Marks: what the verdicts say of each element of a site, for a table or a drawing. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gcloud_pk.model.finding import Finding, Verdict

_WORST = (Verdict.FAIL, Verdict.ERROR, Verdict.NOT_CHECKED)


@dataclass(frozen=True)
class Mark:
    """What is wrong with one element. `loads`: how many loads its failure takes, 0 where nobody counted."""

    broken: bool
    loads: int
    findings: tuple[Finding, ...]

    @property
    def word(self) -> str:
        """A few characters for a box."""
        if not self.broken:
            return "? not checked"
        if self.loads:
            return f"✗ takes {self.loads}"
        return "✗ short already" if all(map(is_old, self.findings)) else "✗ breaks it"


def place_of(finding: Finding) -> tuple[str, str]:
    """Return (area, element) of a subject such as `site/isb-1/power/ups-a`; of a link, `link/ats-a/ups-a`.

    What is about an area as a whole has an empty element; the site itself has ("site", its name).
    """
    parts = finding.subject.split("/", 3)
    if parts[0] != "site" or len(parts) < 3:
        return parts[0], "/".join(parts[1:])
    return parts[2], parts[3] if len(parts) > 3 else ""


def loads_of(finding: Finding) -> int:
    """Return how many loads an element's loss takes, over those that are not carried with everything in place."""
    fresh = finding.evidence.get("fresh", finding.evidence.get("count", 0))
    return fresh if isinstance(fresh, int) else 0


def is_old(finding: Finding) -> bool:
    """Whether an element fails only because something is not carried with everything in place either."""
    taken_out = bool(finding.evidence.keys() & {"element", "link"})
    return taken_out and finding.verdict is Verdict.FAIL and loads_of(finding) == 0 < finding.evidence.get("count", 0)


def marks_of(findings: Iterable[Finding]) -> Mapping[tuple[str, str], Mark]:
    """Return (area, element) → its mark, for those that are broken or could not be checked."""
    found: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        if finding.verdict in _WORST:
            found.setdefault(place_of(finding), []).append(finding)
    return {
        place: Mark(
            any(one.verdict == Verdict.FAIL for one in those),
            max(map(loads_of, those)),
            tuple(sorted(those, key=lambda one: (_WORST.index(one.verdict), -loads_of(one)))),
        )
        for place, those in found.items()
    }
