"""Report: the one shape of every audit (architecture: Verdicts that cannot lie); JSON, JUnit XML, a text for people."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from gcloud_pk import __version__, paths
from gcloud_pk.model.finding import Finding, Verdict, count
from gcloud_pk.text import escape

if TYPE_CHECKING:
    from gcloud_pk.console import Console

Report = dict[str, Any]

UNKNOWN = "unknown"

_WRONG = {Verdict.FAIL.value, Verdict.ERROR.value, Verdict.NOT_CHECKED.value}
SHOWN_IN_FULL = (Verdict.FAIL.value, Verdict.ERROR.value, Verdict.NOT_CHECKED.value, Verdict.WAIVED.value)
"""Verdicts that a person should look at, the worst first."""

_INDENT = " " * 18

# XML 1.0, production Char: what is left after `escape` and still may not stand in a document.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def report(
    suite: str,
    findings: Iterable[Finding],
    operator: str,
    started: datetime,
    finished: datetime,
    omitted: Iterable[str] = (),
) -> Report:
    """Return the report of one run; results and omitted ids are sorted. Times are aware and shown in UTC.

    Raises ValueError for a time without a zone.
    """
    results = sorted(findings, key=lambda f: (f.subject, f.id))
    shape = {
        "suite": suite,
        "tool": {"version": __version__, "commit": commit()},
        "operator": operator,
        "started": _utc(started),
        "finished": _utc(finished),
        "results": [finding.as_dict() for finding in results],
        "omitted": sorted(set(omitted)),
        "verdicts": count(results),
    }
    cleaned = encodable(shape)
    assert isinstance(cleaned, dict)  # noqa: S101 - a dict stays one
    return cleaned


def _utc(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError("a report needs times with a zone")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encodable(value: Any) -> Any:
    """Return `value` without lone surrogates, which JSON can carry in and UTF-8 cannot carry out."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {encodable(key): encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encodable(item) for item in value]
    return value


@cache
def commit() -> str:
    """Return the commit this program was built from, `-dirty` where files differ; `unknown` where nobody can know.

    From the build's file `commit` beside the package's data, else from git where the package is part of its checkout.
    """
    built = paths.package("data", "commit")
    if built.is_file():
        return built.read_text(encoding="ascii", errors="replace").strip() or UNKNOWN
    return _commit_of_checkout()


def _commit_of_checkout() -> str:
    package = paths.package()
    # Variables such as GIT_DIR would name another repository.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(package), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        return done.stdout.strip()

    try:
        # Installed below somebody else's repository: its commit says nothing about this program.
        git("ls-files", "--error-unmatch", "--", "__init__.py")
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") or UNKNOWN
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN


def to_junit(report: Report) -> str:
    """Return JUnit XML: a test suite for each subject.

    `fail` is a failure; `error` and `not-checked` are errors, because what was not checked must not look passed;
    `not-applicable` and `waived` are skipped, with their reason. Any other verdict is an error too.
    """
    root = ET.Element("testsuites", {"name": _xml(report["suite"])})
    totals: Counter[str] = Counter()
    for subject, results in _by_subject(report).items():
        suite = ET.SubElement(root, "testsuite", {"name": _xml(subject), "timestamp": report["started"]})
        counts: Counter[str] = Counter(tests=len(results))
        for result in results:
            counts[_testcase(suite, report["suite"], result)] += 1
        _set_counts(suite, counts, sum(r["seconds"] for r in results))
        totals += counts
    _set_counts(root, totals, sum(r["seconds"] for r in report["results"]))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


_OUTCOMES = {
    Verdict.PASS.value: "",
    Verdict.FAIL.value: "failure",
    Verdict.NOT_APPLICABLE.value: "skipped",
    Verdict.WAIVED.value: "skipped",
}
_TOTALS = {"failure": "failures", "error": "errors", "skipped": "skipped", "": "passed"}


def _testcase(suite: ET.Element, name: str, result: Mapping[str, Any]) -> str:
    """Append one test case; return the total that it counts to."""
    case = ET.SubElement(
        suite,
        "testcase",
        {
            "classname": _xml(f"{name}.{result['subject']}"),
            "name": _xml(f"{result['id']} {result['title']}"),
            "time": f"{result['seconds']:.4f}",
        },
    )
    if source := _source(result):
        properties = ET.SubElement(case, "properties")
        ET.SubElement(properties, "property", {"name": "source", "value": _xml(source)})
    outcome = _OUTCOMES.get(result["verdict"], "error")
    if outcome:
        said = result["reason"] or result["observed"]
        verdict = ET.SubElement(case, outcome, {"type": _xml(result["verdict"]), "message": _xml(said)})
        if outcome != "skipped":
            verdict.text = _xml(f"expected: {result['expected']}\nobserved: {result['observed']}")
    return _TOTALS[outcome]


def _source(result: Mapping[str, Any]) -> str | None:
    """Return on whose word a result rests, where its evidence says so."""
    found = result.get("evidence", {}).get("source")
    return found if isinstance(found, str) else None


def _set_counts(element: ET.Element, counts: Mapping[str, int], seconds: float) -> None:
    for name in ("tests", "failures", "errors", "skipped"):
        element.set(name, str(counts.get(name, 0)))
    element.set("time", f"{seconds:.4f}")


def _xml(value: object) -> str:
    return _NOT_XML.sub(lambda match: f"\\u{ord(match[0]):04x}", escape(value))


def _by_subject(report: Report) -> dict[str, list[dict[str, Any]]]:
    grouped: dict[str, list[dict[str, Any]]] = {}
    for result in report["results"]:
        grouped.setdefault(result["subject"], []).append(result)
    return grouped


def to_text(report: Report, *, every: bool = False) -> str:
    """Return the report for people: subject by subject, what is wrong or waived in full, the rest counted.

    With `every` the rest has a line for each check, why what does not apply does not, and the ids of what was left out.
    """
    lines: list[str] = []
    for subject, results in _by_subject(report).items():
        lines.append(f"{line(subject)}: {counted(Counter(r['verdict'] for r in results))}")
        full = [r for r in results if r["verdict"] in SHOWN_IN_FULL]
        for result in sorted(full, key=lambda r: SHOWN_IN_FULL.index(r["verdict"])):
            lines += in_full(result)
        if every:
            lines += [text for r in results if r["verdict"] not in SHOWN_IN_FULL for text in in_short(r)]
    lines.append("")
    if report["omitted"]:
        ids = f" ({', '.join(line(i) for i in report['omitted'])})" if every else ""
        lines.append(f"left out of this run: {len(report['omitted'])} checks{ids}")
    lines.append(f"{conclusion(report)}: {counted(report['verdicts'])}")
    return "\n".join(lines)


def _heading(result: Mapping[str, Any]) -> str:
    return f"  {result['verdict'].upper():<14}  {line(result['id'])}  {line(result['title'])}"


def in_short(result: Mapping[str, Any]) -> list[str]:
    """Return the line of a check, and its reason where there is one."""
    reason = [f"{_INDENT}reason: {line(result['reason'])}"] if result["reason"] else []
    return [_heading(result), *reason]


def in_full(result: Mapping[str, Any]) -> list[str]:
    """Return all lines that tell of a check what a person should know."""
    lines = [_heading(result)]
    told = {name: result[name] for name in ("expected", "observed", "reason") if result[name]}
    if source := _source(result):
        told["source"] = source
    if result["controls"]:
        told["controls"] = ", ".join(result["controls"])
    return lines + [f"{_INDENT}{name}: {line(text)}" for name, text in told.items()]


def line(text: object) -> str:
    """Return somebody else's text safe to show, in one line."""
    return escape(text).replace("\n", " ").replace("\t", " ")


def counted(verdicts: Mapping[str, int]) -> str:
    """Return `2 pass, 1 fail`."""
    return ", ".join(f"{verdicts[v.value]} {v.value}" for v in Verdict if verdicts.get(v.value)) or "nothing checked"


def conclusion(report: Report) -> str:
    """Return in words what the run came to."""
    verdicts = report["verdicts"]
    if verdicts[Verdict.FAIL.value]:
        return "failed"
    if not report["results"] or any(verdicts[name] for name in _WRONG):
        return "not everything could be checked"
    return "nothing wrong"


def present(console: Console, report: Report, text: Callable[..., str] = to_text) -> None:
    """Print the report in the format that was asked for; `text` makes the one for people."""
    if console.format == "json":
        console.document(report)
    elif console.format == "junit":
        import click

        click.echo(to_junit(report), nl=False)
    else:
        console.show(text(report, every=bool(console.verbosity)))
