"""The report of drills for people: what was taken out, how long it was felt, the verdicts; text and a page. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape as xml

from gcloud_pk.evidence.report import Report, conclusion, counted, in_full, in_short, line
from gcloud_pk.render.page import Block, Figure, Page, Paragraph, Section, Table, Value
from gcloud_pk.text import number_of

_HEADS = (
    "element", "reads", "writes", "service", "not Ready after", "pods back", "nodes Ready", "all as before", "lost"
)  # fmt: skip


def to_drill(report: Report, *, every: bool = False) -> str:
    """Return the report for people."""
    lines: list[str] = []
    drills = report["measures"]["drills"]
    for one in drills:
        lines += list(_drill(one))
    if len(drills) > 1:
        lines.append("")
        lines += [f"{name}: {text}" for name, text in _together(report["measures"])]
    lines.append("")
    for result in report["results"]:
        wrong = result["verdict"] in ("fail", "error", "not-checked", "waived")
        lines += in_full(result) if wrong or every else in_short({**result, "reason": None})
        if not wrong and not every:
            lines.append(f"{' ' * 18}{line(result['observed'])}")
    if report["omitted"]:
        lines += ["", f"left out: {len(report['omitted'])} (-v names them)"]
        if every:
            why = report.get("omittedWhy", {})
            lines += [f"  {line(name)}: {line(why.get(name, ''))}" for name in report["omitted"]]
    lines += ["", f"{conclusion(report)}: {counted(report['verdicts'])}"]
    return "\n".join(lines)


def _drill(one: Mapping[str, Any]) -> Iterator[str]:
    hosts = ", ".join(one["hosts"]) or "no host"
    yield f"{line(one['element'])}: {line(hosts)}, out for {one['outSeconds']:.0f} s ({line(one['by'])})"
    for kind in ("reads", "writes", "service"):
        if (seen := one.get(kind)) is not None:
            yield f"  {kind:<9} {_seen(seen)}"
    if ledger := one["ledger"]:
        there = ledger["unknownThere"]
        yield (
            f"  {'ledger':<9} {ledger['acknowledged']} acknowledged, {ledger['lost']} lost, "
            f"{there + ledger['unknownGone']} without an answer, {there} of them there"
        )
    pods = one["pods"]
    if pods["displaced"]:
        back = _seconds(pods["back"])
        yield f"  {'pods':<9} {number_of(len(pods['displaced']), 'set')} displaced, all as many elsewhere after {back}"
    recovery = one["recovery"]
    yield (
        f"  {'return':<9} API after {_seconds(recovery['api'])}, nodes Ready after {_seconds(recovery['nodes'])}, "
        f"all as before after {_seconds(recovery['all'])}"
    )
    for jump in one["clock"]["jumps"]:
        yield f"  {'clock':<9} the wall clock jumped by {jump['seconds']} s; gaps are by another clock"


def _seen(seen: Mapping[str, Any]) -> str:
    gaps = seen["gaps"]
    told = f"longest gap {seen['loss']:.2f} s at the loss, {seen['return']:.2f} s at the return" if gaps else "no gap"
    more = f" ({len(gaps)} in all, median {seen['p50']:.2f} s)" if len(gaps) > 1 else ""
    latency = seen["latency"]["p50"]
    pace = f", answers in {latency * 1000:.0f} ms (median)" if latency is not None else ""
    end = ", not over at the end" if seen["open"] else ""
    return f"{told}{more}{end}; {seen['failed']} of {seen['probes']} probes failed{pace}"


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"


def _together(measures: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for kind in ("reads", "writes", "service"):
        if found := measures.get(kind):
            loss, back = found["loss"], found["return"]
            lost = f"longest gap at the loss, median {loss['p50']:.2f} s, at most {loss['max']:.2f} s"
            yield kind, f"{lost}; at the return {back['p50']:.2f} s, {back['max']:.2f} s"
    found = measures["ledger"]
    yield "ledger", f"{found['acknowledged']} acknowledged, {found['lost']} lost"


def page(report: Report, site: str) -> Page:
    """Return the page: a table of drills, a drawing of each, and every verdict."""
    measures = report["measures"]
    drills: Sequence[Mapping[str, Any]] = measures["drills"]
    blocks: list[Block] = [_table(drills)]
    blocks += [Paragraph((f"{name}: {text}.",)) for name, text in _together(measures)] if len(drills) > 1 else []
    sections = [
        Section("drills", ("What was taken out, and what was felt of it",), tuple(blocks)),
        Section(
            "time",
            ("In time",),
            tuple(
                Figure((_value(f"{one['element']}, drill {number}: seconds since it went"),), _drawing(one))
                for number, one in enumerate(drills, 1)
            ),
        ),
        Section("verdicts", ("Verdicts",), (_verdicts(report["results"]),)),
    ]
    if report["omitted"]:
        why = report.get("omittedWhy", {})
        rows = tuple(((_value(name),), (_value(why.get(name, "")),)) for name in report["omitted"])
        sections.append(
            Section("omitted", ("What was left out",), (Table(("Elements",), (("Element",), ("Why",)), rows),))
        )
    return Page(
        language="en",
        direction="ltr",
        title=("Drill of data centre ", _value(site)),
        lead=(_value(f"{conclusion(report)}: {counted(report['verdicts'])}"), "."),
        sections=tuple(sections),
        footer=(
            _value(f"By {report['operator']}, {report['started']} to {report['finished']}. "),
            "A gap is the time from one answer to the next.",
        ),
        frame={"skip": ("To the figures",), "contents": ("Contents",)},
        landscape=True,
    )


def _value(text: object) -> Value:
    return Value(str(text))


def _table(drills: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for one in drills:
        service = one.get("service")
        cells = (
            one["element"],
            _phases(one["reads"]),
            _phases(one["writes"]),
            _phases(service) if service else "not probed",
            _seconds(one["notReadyAfter"]) if one["notReadyAfter"] is not None else "not noticed",
            _seconds(one["pods"]["back"]) if one["pods"]["displaced"] else "none displaced",
            _seconds(one["recovery"]["nodes"]),
            _seconds(one["recovery"]["all"]),
            str(one["ledger"]["lost"]) if one["ledger"] else "not known",
        )
        rows.append(tuple((_value(cell),) for cell in cells))
    heads = tuple((head[0].upper() + head[1:],) for head in _HEADS)
    return Table(("Longest gaps (at the loss; at the return), and how long everything took",), heads, tuple(rows))


def _phases(seen: Mapping[str, Any]) -> str:
    return f"{seen['loss']:.2f} s; {seen['return']:.2f} s"


def _verdicts(results: Sequence[Mapping[str, Any]]) -> Table:
    rows = tuple(
        tuple((_value(result[name] or ""),) for name in ("verdict", "id", "subject", "title", "observed", "reason"))
        for result in results
    )
    heads = tuple((head,) for head in ("Verdict", "Check", "Element", "What is asked", "Observed", "Why"))
    return Table(("Every check",), heads, rows)


_WIDE, _ROW, _LEFT = 900.0, 26.0, 90.0


def _drawing(one: Mapping[str, Any]) -> str:
    """Return an SVG: a bar for reads, writes and service each, with its gaps; above, when the element was out."""
    kinds = [kind for kind in ("reads", "writes", "service") if one.get(kind)]
    total = max(one["seconds"], 1.0)
    scale = (_WIDE - _LEFT - 10) / total
    high = _ROW * (len(kinds) + 2)

    def bar(top: float, begin: float, seconds: float, style: str, title: str) -> str:
        at = _LEFT + max(0.0, begin) * scale
        wide = max(1.5, seconds * scale)
        return (
            f'<rect x="{at:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{_ROW - 10:.1f}" {style}>'
            f"<title>{xml(title)}</title></rect>"
        )

    parts = [
        f'<text x="0" y="{_ROW - 11:.0f}">out</text>',
        bar(2, 0, one["outSeconds"], 'fill="#999"', f"out for {one['outSeconds']:.0f} s"),
    ]
    for number, kind in enumerate(kinds, 1):
        top = _ROW * number + 2
        parts.append(f'<text x="0" y="{top + _ROW - 13:.0f}">{kind}</text>')
        parts.append(bar(top, 0, total, 'fill="#dfe9df" stroke="#555"', f"{kind} answered"))
        parts += [
            bar(top, gap["at"], gap["seconds"], 'fill="#b00020"', f"no answer for {gap['seconds']:.2f} s")
            for gap in one[kind]["gaps"]
        ]
    step = next(size for size in (1, 5, 10, 30, 60, 300, 3600, 10**9) if total / size <= 12)
    for second in range(0, int(total) + 1, step):
        at = _LEFT + second * scale
        parts.append(f'<text x="{at:.1f}" y="{high - 8:.0f}" text-anchor="middle">{second}</text>')
    told = {kind: [f"{gap['seconds']:.2f} s at {gap['at']:.1f} s" for gap in one[kind]["gaps"]] for kind in kinds}
    summary = "; ".join(f"{kind}: {', '.join(found) or 'no gap'}" for kind, found in told.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDE:.0f} {high:.0f}" role="img" '
        f'font-family="sans-serif" font-size="12"><title>{xml(str(one["element"]))}</title>'
        f"<desc>{xml(summary)}</desc>{''.join(parts)}</svg>"
    )
