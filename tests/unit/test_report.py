"""One report of every audit, in three formats; none of them makes a finding look better than it is."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from gcloud_pk import __version__, paths
from gcloud_pk.console import Console
from gcloud_pk.evidence import report as reports
from gcloud_pk.evidence.report import commit, present, report, to_junit, to_text
from gcloud_pk.model.finding import Finding, Verdict

STARTED = datetime(2026, 11, 22, 5, 0, 0, tzinfo=timezone(timedelta(hours=5)))
FINISHED = datetime(2026, 11, 22, 0, 0, 2, 500_000, tzinfo=UTC)

HOSTILE = "a\x1b[31m<b>&\"'\u202e\x00\ud800\ufffe]]>\n\tz"


def finding(verdict: str, number: int = 1, **fields: Any) -> Finding:
    values = {"title": "A wall stands", "subject": "tenant/moitt/eoffice", "expected": "refused", "observed": "seen"}
    reason = None if verdict == "pass" else "because"
    return Finding(**{"id": f"ISO-{number:03}", "verdict": Verdict(verdict), "reason": reason, **values, **fields})


def made(*findings: Finding, omitted: tuple[str, ...] = ()) -> dict[str, Any]:
    return report("isolation", findings, "officer", STARTED, FINISHED, omitted)


def test_a_report_has_the_shape_of_the_architecture() -> None:
    shape = made(finding("fail", 2), finding("pass"), omitted=("ISO-090", "ISO-089"))
    assert list(shape) == ["suite", "tool", "operator", "started", "finished", "results", "omitted", "verdicts"]
    assert shape["suite"] == "isolation"
    assert shape["tool"] == {"version": __version__, "commit": commit()}
    assert (shape["started"], shape["finished"]) == ("2026-11-22T00:00:00.000Z", "2026-11-22T00:00:02.500Z")
    assert [r["id"] for r in shape["results"]] == ["ISO-001", "ISO-002"]
    assert shape["omitted"] == ["ISO-089", "ISO-090"]
    assert shape["verdicts"]["fail"] == 1
    assert sum(shape["verdicts"].values()) == 2


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        report("isolation", [], "officer", datetime(2026, 1, 1), FINISHED)  # noqa: DTZ001 - the case


@pytest.mark.parametrize(
    ("verdict", "outcome"),
    [
        ("pass", None),
        ("fail", "failure"),
        ("error", "error"),
        ("not-checked", "error"),
        ("not-applicable", "skipped"),
        ("waived", "skipped"),
    ],
)
def test_junit_says_of_each_verdict_what_it_is(verdict: str, outcome: str | None) -> None:
    root = ET.fromstring(to_junit(made(finding(verdict))))
    case = root.find("./testsuite/testcase")
    assert case is not None
    assert [child.tag for child in case] == ([outcome] if outcome else [])
    if outcome:
        assert (case[0].get("type"), case[0].get("message")) == (verdict, "because")


def test_every_verdict_is_known_to_junit_and_only_pass_is_silent() -> None:
    root = ET.fromstring(to_junit(made(*(finding(v.value, n) for n, v in enumerate(Verdict)))))
    silent = [case.get("name") for case in root.iter("testcase") if not len(case)]
    assert silent == ["ISO-000 A wall stands"]
    assert {name: root.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "6", "failures": "1", "errors": "2", "skipped": "2",
    }  # fmt: skip


def test_junit_groups_by_subject() -> None:
    root = ET.fromstring(to_junit(made(finding("pass"), finding("fail", subject="tenant/moitt"))))
    assert {suite.get("name"): suite.get("failures") for suite in root.iter("testsuite")} == {
        "tenant/moitt": "1",
        "tenant/moitt/eoffice": "0",
    }


def test_hostile_text_is_escaped_in_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    fields: dict[str, Any] = dict.fromkeys(("title", "subject", "expected", "observed", "reason"), HOSTILE)
    shape = made(finding("fail", **fields, evidence={"refusal": HOSTILE}))
    root = ET.fromstring(to_junit(shape))
    assert "\\u202e" in str(root.find("./testsuite/testcase/failure").attrib)  # type: ignore[union-attr]
    json.dumps(shape, ensure_ascii=False).encode()
    for output in ("text", "json", "junit"):
        present(Console(format=output), shape)
    printed = capsys.readouterr()
    assert printed.err == ""
    assert not {"\x1b", "\x00", "\u202e"} & set(to_text(shape) + to_junit(shape))


def test_people_see_in_full_what_is_wrong_or_waived_and_the_rest_counted() -> None:
    text = to_text(
        made(
            finding("pass", 1, title="Fine"),
            finding("not-checked", 2, title="Unseen"),
            finding("fail", 3, title="Broken"),
            finding("waived", 4, title="Excused"),
            finding("not-applicable", 5, title="Elsewhere"),
            omitted=("ISO-090",),
        )
    )
    assert "Fine" not in text
    assert "Elsewhere" not in text
    assert text.index("Broken") < text.index("Unseen") < text.index("Excused")
    assert "\nleft out of this run: 1 checks\n" in text
    assert text.endswith("failed: 1 pass, 1 fail, 1 not-applicable, 1 not-checked, 1 waived")


def test_who_asks_for_every_check_sees_why_one_does_not_apply_and_which_were_left_out() -> None:
    applies_not = finding("not-applicable", 5, title="Elsewhere", reason="the request names no domain")
    text = to_text(made(finding("pass"), applies_not, omitted=("ISO-090",)), every=True)
    assert "ISO-005  Elsewhere\n                  reason: the request names no domain\n" in text
    assert "ISO-001  A wall stands\n  NOT-APPLICABLE" in text
    assert "left out of this run: 1 checks (ISO-090)" in text


@pytest.mark.parametrize(
    ("verdicts", "conclusion"),
    [
        (("pass",), "nothing wrong: 1 pass"),
        (("pass", "error"), "not everything could be checked: 1 pass, 1 error"),
        (("fail", "error"), "failed: 1 fail, 1 error"),
        ((), "not everything could be checked: nothing checked"),
    ],
)
def test_the_last_line_is_the_conclusion(verdicts: tuple[str, ...], conclusion: str) -> None:
    text = to_text(made(*(finding(v, n) for n, v in enumerate(verdicts))))
    assert text.splitlines()[-1] == conclusion


def test_the_commit_comes_from_the_build_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "commit").write_text("0123abcd\n")
    monkeypatch.setattr(paths, "package", tmp_path.joinpath)
    commit.cache_clear()
    try:
        assert commit() == "0123abcd"
    finally:
        commit.cache_clear()


@pytest.mark.parametrize("tracked", [True, False], ids=["its own checkout", "somebody else's repository"])
def test_the_commit_comes_from_git_only_where_the_package_is_part_of(
    tracked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (tmp_path / "other").write_text("")
    git("init", "-q")
    git("add", "package/__init__.py" if tracked else "other")
    git("commit", "-q", "-m", "first")
    monkeypatch.setattr(paths, "package", package.joinpath)
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    found = reports._commit_of_checkout()
    monkeypatch.delenv("GIT_DIR")
    assert found == (git("rev-parse", "HEAD") if tracked else "unknown")
    if tracked:
        (package / "__init__.py").write_text("changed")
        assert reports._commit_of_checkout() == git("rev-parse", "HEAD") + "-dirty"
