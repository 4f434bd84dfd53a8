"""The report of a data centre's design for people: area by area, what breaks it in full, the rest counted. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gcloud_pk.evidence.report import Report, counted, in_full, in_short, line
from gcloud_pk.text import number_of

MOST = 20
"""Failures of an area that are told in full; of more, the first are, and the rest counted."""

_NAMED = 6

Result = Mapping[str, Any]


def to_design(
    report: Report,
    order: Mapping[tuple[str, str], int],
    sentence: str,
    limits: Mapping[str, str],
    *,
    every: bool = False,
) -> str:
    """Return the report for people, ending with `sentence`.

    `order`: (subject, id) → position; failures are told in it. `limits`: id of what was left out → why. With `every`,
    each check has a line, and nothing is cut.
    """
    areas: dict[str, list[Result]] = {}
    for result in sorted(report["results"], key=lambda one: order.get((one["subject"], one["id"]), len(order))):
        areas.setdefault(_area(result["subject"]), []).append(result)
    lines: list[str] = []
    for area in sorted(areas, key=lambda name: min(order.get((r["subject"], r["id"]), 0) for r in areas[name])):
        results = areas[area]
        lines.append(f"{line(area)}: {counted(Counter(result['verdict'] for result in results))}")
        wrong = [result for result in results if result["verdict"] in ("fail", "error", "waived")]
        if not every:
            old = [result for result in wrong if _is_old(result)]
            wrong = [result for result in wrong if not _is_old(result)]
        for result in wrong if every else wrong[:MOST]:
            lines += in_full(_told(result))
        if len(wrong) > MOST and not every:
            lines.append(f"  and {number_of(len(wrong) - MOST, 'more failure')} (-v shows all of them)")
        if not every and old:
            elements = number_of(len({result["subject"] for result in old}), "element")
            lines.append(
                f"  FAIL            the same loads, which are not carried in any case: with {elements} out, each"
            )
        lines += _unchecked(results, every=every)
        if every:
            lines += [text for result in results if result["verdict"] in _QUIET for text in _short(result)]
    if report["omitted"]:
        lines += ["", f"no site file can show: {number_of(len(report['omitted']), 'thing')}"]
        if every:
            lines += [f"  {line(name)}  {line(limits.get(name, ''))}" for name in report["omitted"]]
    lines += ["", f"{counted(report['verdicts'])}", sentence]
    return "\n".join(lines)


_QUIET = ("pass", "not-applicable")


def _area(subject: str) -> str:
    """Return `isb-1: power` of `site/isb-1/power/ups-a`."""
    parts = subject.split("/")
    if parts[0] != "site":
        return "the nation" if parts[0] == "nation" else "tenants"
    return f"{parts[1]}: {parts[2]}" if len(parts) > 2 else parts[1]


def _is_old(result: Result) -> bool:
    """Whether an element fails only because something is not carried with everything in place either."""
    evidence = result.get("evidence", {})
    taken_out = bool(evidence.keys() & {"element", "link"})
    return taken_out and result["verdict"] == "fail" and evidence.get("fresh") == 0 < evidence.get("count", 0)


def _told(result: Result) -> Result:
    """Return a result whose title names the element, and whose reason says more than what was observed."""
    element = "/".join(result["subject"].split("/")[3:])
    reason = result["reason"] if result["reason"] != result["observed"] else None
    return {**result, "title": f"{element}: {result['title']}" if element else result["title"], "reason": reason}


def _short(result: Result) -> list[str]:
    return in_short(_told(result))


def _unchecked(results: Sequence[Result], *, every: bool) -> Iterator[str]:
    """Yield what could not be checked: each check and reason once, with where."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for result in results:
        if result["verdict"] == "not-checked":
            key = (result["id"], result["title"], result["reason"] or result["observed"])
            groups.setdefault(key, []).append(result["subject"])
    for (name, title, reason), subjects in groups.items():
        yield f"  {'NOT-CHECKED':<14}  {line(name)}  {line(title)}"
        shown = subjects if every else subjects[:_NAMED]
        more = f" and {len(subjects) - len(shown)} more" if len(subjects) > len(shown) else ""
        yield f"{' ' * 18}{', '.join(map(line, shown))}{more}"
        yield f"{' ' * 18}reason: {line(reason)}"
