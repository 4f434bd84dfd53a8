"""Notice: what a mutation should have shown, what it showed, and which checks never said no. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.proof.foresight import Foreseen, Key
from gcloud_pk.proof.mutation import Mutation, Plan

SUITE = "isolation-self-test"
SAID_NO = frozenset({Verdict.FAIL, Verdict.ERROR})

_BY = re.compile(r"refused by (\S+) \(")
_RULE = re.compile(r"\[(GPK-[A-Z]{3}-[0-9]{2})\]")
_SHOWN = 6


@dataclass(frozen=True)
class Notice:
    """One mutation: how every check had to end, how it ended, and whether that is the same.

    `usual`: the verdicts of the unbroken tenant. `trouble`: why the mutation could not be made or looked at.
    """

    mutation: Mutation
    usual: Mapping[Key, Verdict]
    expected: Mapping[Key, Foreseen]
    observed: Mapping[Key, Finding]
    seconds: float = 0.0
    trouble: str | None = None

    @property
    def noticed(self) -> dict[Key, Finding]:
        """The checks that said no, and do not for the unbroken tenant."""
        return {k: f for k, f in self.observed.items() if f.verdict in SAID_NO and self.usual.get(k) != f.verdict}

    @property
    def backed(self) -> dict[Key, str]:
        """The wall that refused in place of the one that was gone, by check."""
        return {
            key: by
            for key, found in self.noticed.items()
            if key in self.expected and self.expected[key].by and (by := stood(found))
        }

    def differences(self) -> list[str]:
        """Return in words where it is not as foreseen, sorted."""
        return sorted(text for key in {*self.expected, *self.observed} if (text := self._difference(key)) is not None)

    def _difference(self, key: Key) -> str | None:
        check = _named(key)
        expected, found = self.expected.get(key), self.observed.get(key)
        if found is None:
            return f"{check} was not looked at"
        if expected is None:
            return f"{check} is {found.verdict}, and is none of the unbroken tenant's: {found.observed}"
        if found.verdict is not expected.verdict:
            said = f" ({found.observed})" if found.verdict is not Verdict.PASS else ""
            return f"{check} is {found.verdict}, not {expected.verdict}{said}"
        by = stood(found)
        if expected.by and by not in expected.by:
            return f"{check} is backed by {by}, not by {' or '.join(expected.by)}"
        return None


def stood(found: Finding) -> str | None:
    """Return the wall that a finding says refused, with the policy's rule; None where nothing did."""
    by = _BY.search(found.observed)
    if by is None:
        return None
    rule = _RULE.search(found.observed) if by[1].startswith("gpk-") else None
    return f"{by[1]} {rule[1]}" if rule else by[1]


def _named(key: Key) -> str:
    check, subject = key
    return f"{check} ({subject})"


def finding(notice: Notice) -> Finding:
    """Return the verdict on one mutation: exactly what depends on the control must have noticed that it was gone."""
    mutation = notice.mutation
    changed = {k: f for k, f in notice.expected.items() if f.verdict is not notice.usual.get(k)}
    seen = {k: f for k, f in notice.observed.items() if f.verdict is not notice.usual.get(k)}
    verdict, reason = _verdict(notice)
    return Finding(
        id=mutation.id,
        title=mutation.title,
        subject=f"control/{mutation.control.partition('/')[0]}",
        expected=_set({key: each.verdict for key, each in changed.items()}),
        observed=_set({key: each.verdict for key, each in seen.items()}),
        verdict=verdict,
        reason=reason,
        seconds=notice.seconds,
        evidence={
            "control": mutation.control,
            "acts": [act.as_dict() for act in mutation.acts],
            "expected": {_named(key): each.verdict.value for key, each in sorted(changed.items())},
            "observed": {_named(key): each.verdict.value for key, each in sorted(seen.items())},
            **({"differences": differences} if (differences := notice.differences()) else {}),
            **({"backedBy": {_named(k): by for k, by in sorted(notice.backed.items())}} if notice.backed else {}),
        },
    )


def _verdict(notice: Notice) -> tuple[Verdict, str | None]:
    if notice.trouble is not None:
        return Verdict.ERROR, notice.trouble
    if differences := notice.differences():
        more = f" and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
        return Verdict.FAIL, "; ".join(differences[:_SHOWN]) + more
    if not notice.noticed:
        return Verdict.FAIL, "no check notices that the control is gone"
    return Verdict.PASS, None


def _set(verdicts: Mapping[Key, Verdict]) -> str:
    """Return `ISO-001 fail, ISO-002 error`, each check once, the worst of its subjects; in few words where many."""
    order = [Verdict.FAIL, Verdict.ERROR, *(v for v in Verdict if v not in SAID_NO)]
    worst: dict[str, Verdict] = {}
    for (check, _), verdict in sorted(verdicts.items()):
        worst[check] = min(worst.get(check, verdict), verdict, key=order.index)
    return ", ".join(f"{check} {verdict}" for check, verdict in worst.items()) or "nothing"


def unmoved(notices: Iterable[Notice], unbroken: Mapping[Key, Finding], plan: Plan) -> Iterator[Finding]:
    """Yield a finding for each check over all mutations: one that never says no shows nothing.

    `unbroken`: the findings on the unbroken tenants. What applies to none of them has nothing to show.
    """
    shown: dict[str, str] = {}
    for notice in notices:
        for check, _ in notice.noticed:
            shown.setdefault(check, notice.mutation.id)
    exempt = {each.id: each.because for each in plan.exemptions}
    for check in sorted({check for check, _ in unbroken} | exempt.keys()):
        found = [f for (name, _), f in unbroken.items() if name == check]
        applies = [f for f in found if f.verdict is not Verdict.NOT_APPLICABLE]
        verdict, observed, reason = _moved(shown.get(check), exempt.get(check), bool(applies), bool(found))
        yield Finding(
            id=check,
            title=found[0].title if found else check,
            subject="checks",
            expected="it says no at least once when a control is gone",
            observed=observed,
            verdict=verdict,
            controls=found[0].controls if found else (),
            reason=reason if applies or not found else found[0].reason,
        )


def _moved(shown: str | None, exempt: str | None, applies: bool, known: bool) -> tuple[Verdict, str, str | None]:
    if shown is not None and exempt is not None:
        return Verdict.FAIL, f"first by {shown}", "it is exempt, and need not be: take it off the list"
    if shown is not None:
        return Verdict.PASS, f"first by {shown}", None
    if exempt is not None and known:
        return Verdict.NOT_APPLICABLE, "never", f"exempt: {exempt}"
    if exempt is not None:
        return Verdict.FAIL, "never", "it is exempt, and there is no such check"
    if not applies:
        return Verdict.NOT_APPLICABLE, "never", "it applies to no scratch tenant"
    return Verdict.FAIL, "never", "over all mutations it never said no, so it shows nothing"


def unshown(notices: Iterable[Notice], plan: Plan) -> Iterator[Finding]:
    """Yield a finding for each wall that is said to stand behind others: each of its probes must have met it.

    Or another one that is said to stand there as well: which policy answers first is nobody's choice.
    """
    notices = list(notices)
    met = {(check, wall) for notice in notices for (check, _), wall in notice.backed.items()}
    for backing in plan.backings:
        missing = [p for p in backing.probes if not any((p, wall) in met for wall in plan.behind(p))]
        yield Finding(
            id=f"backed-by-{backing.wall.replace(' ', '-')}",
            title=backing.because,
            subject="walls",
            expected=f"{', '.join(backing.probes)} meet {backing.wall}",
            observed=f"not met by {', '.join(missing)}" if missing else "met by all",
            verdict=Verdict.FAIL if missing else Verdict.PASS,
            reason="no mutation shows it: take it off the list" if missing else None,
        )
