"""Several drills in a row: of one element again and again, or of all that the Tier III check calls survivable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gcloud_pk.errors import GcloudPkError, PartialError
from gcloud_pk.facility.casualties import Casualties
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.proof.drill.ledger import Balance
from gcloud_pk.proof.drill.measures import of_all, of_drill
from gcloud_pk.proof.drill.run import Ground, Restored, Wish, drill
from gcloud_pk.proof.drill.verdicts import CHECKS, Outcome, findings

_SOUND = 60.0
"""Seconds that a site has to be sound again before it loses the next element."""


@dataclass
class Series:
    """What drills in a row brought. `failed`: the drill that could not be made, and why; no other came after it."""

    outcomes: list[Outcome] = field(default_factory=list)
    failed: tuple[Casualties, GcloudPkError] | None = None
    restored: list[Restored] = field(default_factory=list)

    def findings(self) -> list[Finding]:
        """Return one verdict for each check and element, and those on the ledgers of drills that were killed."""
        by_subject: dict[str, list[Outcome]] = {}
        for one in self.outcomes:
            by_subject.setdefault(one.lost.subject, []).append(one)
        found = [finding for outcomes in by_subject.values() for finding in findings(outcomes)]
        found += [of_killed(one) for one in self.restored]
        if self.failed:
            lost, error = self.failed
            found.append(
                Finding(
                    "DRL-013",
                    "All drills of the series were made",
                    lost.subject,
                    "each drill of the series is made",
                    f"after {len(self.outcomes)} drills no further one could be made",
                    Verdict.ERROR,
                    (CHECKS["DRL-003"].control,),
                    "; ".join([error.message, *(detail.message for detail in error.details[:3])]),
                )
            )
        return found

    def measures(self, by: str) -> dict[str, Any]:
        """Return `measures` of the report."""
        return of_all([of_drill(one, by) for one in self.outcomes])


def series(ground: Ground, elements: Sequence[Casualties], wish: Wish, times: int) -> Series:
    """Drill each element in turn, `times` over. The first drill's errors are raised; later ones end the series.

    Before a further drill the site may take a minute to be sound again: a node that has just come back may falter.

    Raises PartialError wherever an element could not be brought back.
    """
    found = Series()
    for number in range(times):
        for lost in elements:
            if len(elements) * times > 1:
                done = number * len(elements) + elements.index(lost) + 1
                ground.say(f"drill {done} of {len(elements) * times}: {lost.target}")
            try:
                outcome = drill(ground, lost, replace(wish, sound=_SOUND) if found.outcomes else wish)
            except PartialError:
                raise
            except GcloudPkError as error:
                if not found.outcomes:
                    raise
                found.failed = (lost, error)
                return found
            found.outcomes.append(outcome)
            if outcome.interrupted or outcome.all is None:
                return found
    return found


def of_killed(one: Restored) -> Finding:
    """Return the verdict on the ledger of a drill that was killed."""
    balance = one.balance or Balance()
    lost = (*balance.lost, *balance.altered)
    check = CHECKS["DRL-003"]
    verdict = Verdict.FAIL if lost else Verdict.PASS if balance.acknowledged else Verdict.NOT_CHECKED
    reason = {
        Verdict.FAIL: f"lost or altered: {', '.join(f'write-{number}' for number in lost[:5])}",
        Verdict.NOT_CHECKED: "nothing had been acknowledged when the drill was killed",
    }.get(verdict)
    return Finding(
        "DRL-003",
        f"{check.title}: a drill that was killed",
        f"drill/{one.out.site}/{one.out.run}",
        check.expected,
        f"{one.out.element}: {balance.acknowledged} acknowledged, {len(lost)} of them lost or altered",
        verdict,
        (check.control,),
        reason,
    )
