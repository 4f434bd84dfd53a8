"""Judging: facts, checks, a host and its waivers in; findings out. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gcloud_pk.model.baseline import Level, within
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.nodes.check import Catalogue, Check
from gcloud_pk.nodes.expectation import Expectation, shown
from gcloud_pk.nodes.facts import Facts
from gcloud_pk.nodes.path import EVERY, items, parse
from gcloud_pk.nodes.site_words import SECTION, bound

ANSWERS = "NODE-000"
"""The check that a host answers at all."""

TELLS = "NODE-001"
"""Stands in a report where a host answers and yet withholds most of what it is asked."""

_MANY = 10
"""Checks below which nobody calls it most of them: a single right may be missing."""

SELF = "self-reported by the node"
OUTSIDE = "seen from outside"
SHARED = "not verifiable here: shared kernel"

_LONGEST = 600
"""Characters of what was observed that a finding shows."""

_OFFENDERS = 8


@dataclass(frozen=True)
class Subject:
    """A host as it is judged."""

    site: str
    host: str
    role: str
    level: Level

    def __str__(self) -> str:
        return f"node/{self.site}/{self.host}"


@dataclass(frozen=True)
class Exemption:
    """A waiver that an approver signed, for a host or a whole site. `subject`: node/<site>[/<host>].

    `control`: the id of a control or of a check; `expires`: its last day; `standing`: why it counts no more, or None.
    """

    name: str
    control: str
    subject: str
    reason: str
    author: str
    approvers: tuple[str, ...]
    expires: dt.date
    standing: str | None = None

    def covers(self, subject: Subject, names: Iterable[str]) -> bool:
        """Whether it is of this host, and of one of these ids."""
        return self.subject in {str(subject), f"node/{subject.site}"} and self.control in set(names)

    def __str__(self) -> str:
        who = f"approved by {', '.join(self.approvers)}, proposed by {self.author}"
        return f"waiver {self.name}, {who}, until {self.expires}: {self.reason}"


def selected(catalogue: Catalogue, level: Level, only: frozenset[str] | None = None) -> list[Check]:
    """Return the checks that count at a level, in the order of their ids; of `only` these where it is given."""
    levels = within(level)
    return [
        check
        for check in catalogue.checks.values()
        if catalogue.level_of(check) in levels and (only is None or check.id in only)
    ]


def judge(
    facts: Facts, checks: Sequence[Check], catalogue: Catalogue, subject: Subject, waivers: Sequence[Exemption] = ()
) -> list[Finding]:
    """Return a finding for each check."""
    found = [_finding(facts, check, catalogue, subject) for check in checks]
    return list(_waived(found, subject, waivers))


def without_facts(
    checks: Sequence[Check], catalogue: Catalogue, subject: Subject, verdict: Verdict, reason: str
) -> list[Finding]:
    """Return the findings on a host that gave nothing to judge by; without a source: nothing was observed."""
    return [
        replace(_blank(check, catalogue, subject), verdict=verdict, reason=reason, evidence={})
        for check in checks
    ]  # fmt: skip


def answers(subject: Subject, verdict: Verdict, observed: str, reason: str | None, seconds: float = 0.0) -> Finding:
    """Return the finding on whether a host answers."""
    return Finding(
        ANSWERS, "The node answers, with a host key of the site's", str(subject), "an answer to the auditor", observed,
        verdict, reason=reason, seconds=seconds, evidence={"source": OUTSIDE},
    )  # fmt: skip


def withheld(facts: Facts, checks: Sequence[Check], subject: Subject) -> Finding | None:
    """Return the finding that a host withholds most of what it is asked, each refusal well formed; None otherwise.

    A node that holds back everything would otherwise look like one where a few rights are missing.
    """
    asked = [
        check
        for check in checks
        if not check.outside
        and not (check.roles and subject.role not in check.roles)
        and not (check.where == "own-kernel" and facts.shared_kernel)
    ]
    reasons = [reason for check in asked if (reason := _gap(facts.refused, check)) is not None]
    if len(reasons) < _MANY or 2 * len(reasons) <= len(asked):
        return None
    return Finding(
        TELLS, "The node tells what it is asked", str(subject), "the facts that the checks rest on",
        f"the node withholds what {len(reasons)} of {len(asked)} checks rest on", Verdict.ERROR,
        reason=f"most often: {shown(max(sorted(set(reasons)), key=reasons.count))}; see that the auditor may run what "
        "role sudo allows; where he may, the node is not to be trusted",
        evidence={"source": SELF},
    )  # fmt: skip


def _blank(check: Check, catalogue: Catalogue, subject: Subject) -> Finding:
    return Finding(
        id=check.id,
        title=check.title,
        subject=str(subject),
        expected=check.expected,
        observed="",
        verdict=Verdict.NOT_CHECKED,
        controls=catalogue.controls_of(check.id),
        evidence={"source": OUTSIDE if check.outside else SELF},
    )


def _finding(facts: Facts, check: Check, catalogue: Catalogue, subject: Subject) -> Finding:
    check = _in_words_of(facts.values.get(SECTION), check)
    verdict, observed, reason = _verdict(facts, check, subject)
    found = replace(_blank(check, catalogue, subject), verdict=verdict, observed=observed, reason=reason)
    # From where nobody looked, nothing was seen; that something is hidden within is the node's own word.
    return replace(found, evidence={}) if check.outside and verdict is Verdict.NOT_CHECKED else found


def _in_words_of(site: Any, check: Check) -> Check:
    words = site if isinstance(site, Mapping) else {}
    rows = bound(check.rows, words) if check.rows else None
    return replace(check, expect=bound(check.expect, words), rows=rows)


def _verdict(facts: Facts, check: Check, subject: Subject) -> tuple[Verdict, str, str | None]:
    if check.roles and subject.role not in check.roles:
        return Verdict.NOT_APPLICABLE, "", f"it is for {' and '.join(check.roles)}; this host is {subject.role}"
    if check.where == "own-kernel" and facts.shared_kernel:
        return Verdict.NOT_CHECKED, "", SHARED
    if (gap := _gap(facts.broken, check)) is not None:
        return Verdict.ERROR, "", f"the collector failed there: {gap}"
    if (gap := _gap(facts.refused, check)) is not None:
        return Verdict.NOT_CHECKED, "", gap
    need = check.needs
    if need is not None and not need.expect.met(need.path.find(facts.values)):
        return Verdict.NOT_APPLICABLE, shown(need.path.find(facts.values)), need.because
    values = [_looked_at(_there(path.find(facts.values)), check.rows) for path in check.paths]
    observed = _observed(check, values)
    if all(check.expect.met(value) for value in values):
        return Verdict.PASS, observed, None
    if check.absent != "fail" and all(value is None or check.expect.met(value) for value in values):
        gone = check.absent == "not-applicable" and all(value is None for value in values)
        return Verdict.NOT_APPLICABLE if gone else Verdict.PASS, observed, "it is not there"
    return Verdict.FAIL, observed, _why_missing(facts, check)


def _there(value: Any) -> Any:
    """Return a value; None for a path that the node says it does not have."""
    return None if isinstance(value, Mapping) and value.get("exists") is False else value


def _looked_at(value: Any, rows: Expectation | None) -> Any:
    if rows is None:
        return value
    found = items(value)
    return None if found is None else [item for item in found if rows.met(item)]


def _why_missing(facts: Facts, check: Check) -> str | None:
    missing = facts.values.get("missing")
    lacking = [str(missing[p.root]) for p in check.paths if isinstance(missing, Mapping) and p.root in missing]
    return f"{lacking[0]} is not on the node" if lacking else None


def _observed(check: Check, values: Sequence[Any]) -> str:
    said = []
    for path, value in zip(check.paths, values, strict=True):
        offenders = check.expect.offenders(value)
        if offenders:
            few = shown(offenders[:_OFFENDERS])
            text = f"{len(offenders)} of {len(items(value) or ())}: {few}" + (" …" if offenders[_OFFENDERS:] else "")
        else:
            text = shown(value)
        said.append(f"{path.text}: {text}" if len(values) > 1 else text)
    whole = "; ".join(said)
    return whole if len(whole) <= _LONGEST else f"{whole[:_LONGEST]} … ({len(whole)} characters)"


def _gap(gaps: Mapping[str, str], check: Check) -> str | None:
    """Return the reason why something that a check reads could not be had; None where all of it could."""
    for name, reason in gaps.items():
        try:
            gap = parse(name).steps
        except ValueError:
            gap = (name.partition(".")[0].partition("[")[0],)
        for path in check.every_path:
            pairs = zip(gap, path.steps, strict=False)  # one of them may end early: a part of the other is lacking
            if all(mine == theirs or EVERY in (mine, theirs) for mine, theirs in pairs):
                return reason
    return None


def _waived(found: Sequence[Finding], subject: Subject, waivers: Sequence[Exemption]) -> Iterator[Finding]:
    failing = {name for one in found if one.verdict is Verdict.FAIL for name in (one.id, *one.controls)}
    for one in found:
        mine = [waiver for waiver in waivers if waiver.covers(subject, (one.id, *one.controls))]
        counting = next((waiver for waiver in mine if waiver.standing is None), None)
        if one.verdict is Verdict.FAIL and counting is not None:
            evidence = {**one.evidence, "waiver": counting.name}
            yield replace(one, verdict=Verdict.WAIVED, reason=str(counting), evidence=evidence)
        elif one.verdict is Verdict.FAIL and mine:
            said = f"waiver {mine[0].name} does not count: {mine[0].standing}"
            yield replace(one, reason=f"{one.reason}; {said}" if one.reason else said)
        elif one.verdict is Verdict.PASS and counting is not None and counting.control not in failing:
            said = f"waiver {counting.name} is not needed here"
            yield replace(one, reason=f"{one.reason}; {said}" if one.reason else said)
        else:
            yield one
