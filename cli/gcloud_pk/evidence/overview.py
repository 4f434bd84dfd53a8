"""Overview: the report of many tenants for people. Tenant by tenant, what is wrong in full, the rest counted. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gcloud_pk.evidence.report import SHOWN_IN_FULL, Report, conclusion, counted, in_full, in_short, line
from gcloud_pk.text import number_of

FEW = 24
"""Subjects that are shown one by one; of more, only those with something to say are."""

_NAMED = 5

Result = Mapping[str, Any]


def to_overview(report: Report, *, every: bool = False) -> str:
    """Return the report for people. With `every`, each check has a line, and what was left out its ids.

    What went wrong in the same way in several places is told once, with the other places named.
    """
    subjects: dict[str, list[Result]] = {}
    for result in report["results"]:
        subjects.setdefault(result["subject"], []).append(result)
    told = _told(report["results"])
    lines: list[str] = []
    silent = 0
    for subject, results in sorted(subjects.items(), key=lambda pair: _order(pair[0])):
        full = [r for r in results if (r["subject"], r["id"]) in told]
        full.sort(key=lambda r: SHOWN_IN_FULL.index(r["verdict"]))
        wrong = any(r["verdict"] in SHOWN_IN_FULL for r in results)
        if not wrong and not every and len(subjects) > FEW and subject.startswith("tenant/"):
            silent += 1
            continue
        lines.append(f"{line(subject)}: {counted(Counter(r['verdict'] for r in results))}")
        for result in full:
            lines += in_full(result)
            lines += _elsewhere(told[result["subject"], result["id"]])
        if every:
            lines += [text for r in results if r["verdict"] not in SHOWN_IN_FULL for text in in_short(r)]
    if silent:
        lines.append(f"{number_of(silent, 'more subject')}: nothing wrong")
    lines += ["", *_by_control(report["results"]), ""]
    lines += _left_out(report, every=every)
    lines.append(f"{conclusion(report)}: {counted(report['verdicts'])}")
    return "\n".join(lines)


def _order(subject: str) -> tuple[int, list[str]]:
    # The cluster first: where it is wrong, that is the cause of much that follows.
    return (0 if not subject.startswith("tenant/") else 1), subject.split("/")


def _told(results: Sequence[Result]) -> dict[tuple[str, str], list[str]]:
    """Return what is told in full, as (subject, id), with the other subjects of which the same is true."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for result in results:
        if result["verdict"] in SHOWN_IN_FULL:
            said = str(result["observed"]) if result["verdict"] != "not-checked" else ""
            # A namespace's name is made of tenant and environment: where only that differs, it is the same.
            _, *parts = result["subject"].split("/")
            for name in filter(None, ("-".join(parts), *parts[:1])):
                said = said.replace(name, "")
            key = (result["id"], result["verdict"], said, str(result["reason"]))
            alike.setdefault(key, []).append(result["subject"])
    found: dict[tuple[str, str], list[str]] = {}
    for (name, *_), subjects in alike.items():
        first, *more = sorted(subjects, key=_order)
        found.setdefault((first, name), []).extend(more)
    return found


def _elsewhere(subjects: Sequence[str]) -> Iterator[str]:
    if subjects:
        named = ", ".join(line(subject) for subject in subjects[:_NAMED])
        more = f" and {len(subjects) - _NAMED} more" if len(subjects) > _NAMED else ""
        yield f"{' ' * 18}the same: {named}{more}"


def _by_control(results: Sequence[Result]) -> Iterator[str]:
    controls: dict[str, Counter[str]] = {}
    for result in results:
        for control in result["controls"]:
            controls.setdefault(control, Counter())[result["verdict"]] += 1
    width = max(map(len, controls), default=0)
    for control, verdicts in sorted(controls.items()):
        yield f"{line(control).ljust(width)}  {counted(verdicts)}"


def _left_out(report: Report, *, every: bool) -> Iterator[str]:
    if report["omitted"]:
        ids = f" ({', '.join(line(name) for name in report['omitted'])})" if every else ""
        yield f"left out of this run: {number_of(len(report['omitted']), 'check')}{ids}"
    here: Mapping[str, Sequence[str]] = report.get("omittedBySubject") or {}
    if here:
        number = sum(map(len, here.values()))
        yield f"left out here and tried elsewhere: {number_of(number, 'check')} in {number_of(len(here), 'subject')}"
        if every:
            yield from (f"  {line(subject)}: {', '.join(map(line, ids))}" for subject, ids in here.items())
