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
_FOLDED = 12

Result = Mapping[str, Any]


def to_overview(report: Report, *, every: bool = False, fold: bool = False) -> str:
    """Return the report for people. With `every`, each check has a line, and what was left out its ids.

    With `fold`, what could not be checked for one and the same reason has one line together; controls that passed,
    that were not checked and that do not apply are counted in a line of each.

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
        for alike in _folded(full, told) if fold and not every else [[result] for result in full]:
            lines += in_full(alike[0]) if len(alike) == 1 else _together(alike)
            lines += _elsewhere(told[alike[0]["subject"], alike[0]["id"]])
        if every:
            lines += [text for r in results if r["verdict"] not in SHOWN_IN_FULL for text in in_short(r)]
    if silent:
        lines.append(f"{number_of(silent, 'more subject')}: nothing wrong")
    lines += ["", *_by_control(report["results"], fold=fold and not every), ""]
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


def _folded(results: Sequence[Result], told: Mapping[tuple[str, str], list[str]]) -> list[list[Result]]:
    """Return results in their order, those not checked for the same reason in the same places together."""
    groups: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        places = told[result["subject"], result["id"]]
        alike = result["verdict"] == "not-checked"
        key = (str(result["reason"]), *places) if alike else (str(result["id"]), "")
        groups.setdefault((result["verdict"], *key), []).append(result)
    return list(groups.values())


def _together(alike: Sequence[Result]) -> Iterator[str]:
    yield f"  {alike[0]['verdict'].upper():<14}  {number_of(len(alike), 'check')}: {line(alike[0]['reason'])}"
    ids = [line(result["id"]) for result in alike]
    yield f"{' ' * 18}{', '.join(ids[:_FOLDED])}" + (f" and {len(ids) - _FOLDED} more" if ids[_FOLDED:] else "")


def _elsewhere(subjects: Sequence[str]) -> Iterator[str]:
    if subjects:
        named = ", ".join(line(subject) for subject in subjects[:_NAMED])
        more = f" and {len(subjects) - _NAMED} more" if len(subjects) > _NAMED else ""
        yield f"{' ' * 18}the same: {named}{more}"


def _by_control(results: Sequence[Result], *, fold: bool) -> Iterator[str]:
    controls: dict[str, Counter[str]] = {}
    for result in results:
        for control in result["controls"]:
            controls.setdefault(control, Counter())[result["verdict"]] += 1
    if fold:
        quiet = {name: set(found) for name, found in controls.items() if not set(found) & {"fail", "error", "waived"}}
        passed = [name for name, found in quiet.items() if "pass" in found and "not-checked" not in found]
        unchecked = [name for name, found in quiet.items() if "not-checked" in found]
        partly = [name for name in unchecked if quiet[name] != {"not-checked"}]
        if passed:
            yield f"{number_of(len(passed), 'control')} passed"
        if unchecked:
            yield f"{number_of(len(unchecked), 'control')} not checked ({len(partly)} of them in part)"
        if rest := len(quiet) - len(passed) - len(unchecked):
            yield f"{number_of(rest, 'control')} not applicable"
        controls = {name: verdicts for name, verdicts in controls.items() if name not in quiet}
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
