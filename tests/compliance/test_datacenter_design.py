"""`gcloud-pk datacenter validate|show`: honest exit codes, one JSON shape, a page that stands by itself."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from tests.unit.facility_sites import Document, at, consistent, host, without

from gcloud_pk.errors import ExitCode
from gcloud_pk.evidence.design import to_design
from gcloud_pk.evidence.report import report
from gcloud_pk.main import cli, main
from gcloud_pk.model.finding import Finding, Verdict

Change = Callable[[Document], object]
Ended = tuple[int, str, str]
Run = Callable[..., Ended]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command line; return (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)

    def in_process(*words: str | Path) -> Ended:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return (int(code), *capsys.readouterr())

    return in_process


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the consistent site, changed, to a file outside of any registry."""

    def written(*changes: Change, name: str = "isb-1") -> Path:
        document = consistent()
        document["metadata"]["name"] = name
        for one in document["spec"]["hosts"]:
            one["cluster"] = "isb-1-a"
        for change in changes:
            change(document["spec"])
        path = tmp_path / f"{name}.yaml"
        # Through JSON: what stands in two places must not become an alias.
        path.write_text(yaml.safe_dump(json.loads(json.dumps(document)), sort_keys=False))
        return path

    return written


LONELY = without("power", "pdu-2-b")


def lonely(spec: Document) -> None:
    """Leave rack-2 with one PDU."""
    LONELY(spec)
    for one in (*spec["racks"], *spec["network"]["components"], *spec["cooling"]["components"]):
        if "feeds" in one:
            one["feeds"] = [name for name in one["feeds"] if name != "pdu-2-b"]


def test_a_design_that_holds_is_called_consistent_and_never_more_than_that(
    write: Callable[..., Path], run: Run
) -> None:
    code, out, err = run("datacenter", "validate", write())
    assert (code, err) == (0, "")
    assert out.rstrip().endswith("isb-1: design consistent with Tier III")
    assert "certif" not in out.lower()
    assert "FAIL" not in out


def test_what_breaks_it_is_named_with_its_loads_and_the_exit_code_is_6(write: Callable[..., Path], run: Run) -> None:
    code, out, _ = run("datacenter", "validate", write(lonely))
    assert code == ExitCode.FAILED
    assert re.search(r"FAIL +DC-004  pdu-2-a: ", out)
    assert re.search(r"observed: .*2 hosts.*rack-2.*c2, w2", out)
    assert "design not consistent with Tier III" in out.splitlines()[-1]


def test_what_the_file_does_not_say_is_not_checked_and_the_exit_code_is_7(write: Callable[..., Path], run: Run) -> None:
    def silent(spec: Document) -> None:
        del spec["cooling"]
        for rack in spec["racks"]:
            del rack["cooling"]

    code, out, _ = run("datacenter", "validate", write(silent))
    assert code == ExitCode.NOT_CHECKED
    assert "NOT-CHECKED" in out
    assert "design consistent" not in out.splitlines()[-1]


def test_a_file_that_breaks_a_rule_is_not_judged_and_all_of_it_is_told_at_once(
    write: Callable[..., Path], run: Run
) -> None:
    path = write(at("racks", "rack-1", feeds=["pdu-x"]), at("hosts", "w2", rack="rack-9"), name="bad")
    code, out, err = run("datacenter", "validate", path)
    assert (code, out) == (ExitCode.INVALID, "")
    assert re.search(r"bad\.yaml:\d+: spec\.racks\[0\]\.feeds\[0\]: .*pdu-x", err)
    assert re.search(r"bad\.yaml:\d+: spec\.hosts\[4\]\.rack: .*rack-9", err)
    code, out, _ = run("datacenter", "validate", path, "--format", "json")
    assert len(json.loads(out)["error"]["details"]) >= 2


def test_json_is_the_shape_of_every_audit(write: Callable[..., Path], run: Run) -> None:
    code, out, _ = run("datacenter", "validate", write(lonely), "--format", "json")
    made = json.loads(out)
    assert code == ExitCode.FAILED
    assert list(made)[:7] == ["suite", "tool", "operator", "started", "finished", "results", "omitted"]
    assert made["suite"] == "datacenter"
    assert sum(made["verdicts"].values()) == len(made["results"])
    assert made["omitted"]
    failed = [result for result in made["results"] if result["verdict"] == "fail"]
    assert {"id", "title", "controls", "subject", "expected", "observed", "reason", "seconds"} <= set(failed[0])
    assert "site/isb-1/power/pdu-2-a" in {result["subject"] for result in failed}
    assert made["conclusions"][0].startswith("isb-1: design not consistent with Tier III")


def test_junit_counts_what_was_not_checked_as_an_error(write: Callable[..., Path], run: Run) -> None:
    code, out, _ = run("--format", "junit", "datacenter", "validate", write(lonely))
    root = ET.fromstring(out)
    assert code == ExitCode.FAILED
    assert int(str(root.get("failures"))) >= 3
    assert root.get("name") == "datacenter"


def test_the_graph_is_drawn_for_graphviz_with_what_is_broken_marked(write: Callable[..., Path], run: Run) -> None:
    code, out, _ = run("datacenter", "validate", write(lonely), "--format", "dot")
    assert code == ExitCode.FAILED
    assert out.startswith("digraph")
    assert "pdu-2-a" in out
    assert run("datacenter", "show", write(), "--format", "dot")[1].startswith("digraph")


def test_the_tier_is_the_one_that_is_asked_for_else_the_one_that_is_claimed(
    write: Callable[..., Path], run: Run
) -> None:
    assert run("datacenter", "validate", write())[0] == 0
    code, out, _ = run("datacenter", "validate", write(), "--tier", "4")
    assert code in (ExitCode.FAILED, ExitCode.NOT_CHECKED)
    assert "Tier IV" in out.splitlines()[-1]

    def claims(spec: Document) -> None:
        spec["tier"] = 4

    assert "Tier IV" in run("datacenter", "validate", write(claims))[1].splitlines()[-1]
    assert run("datacenter", "validate", write(claims), "--tier", "3")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["validate"], "name one SITE, or all of them"),
        (["validate", "isb-1", "--all"], "name one SITE, or all of them"),
        (["validate", "--all", "--format", "dot"], "draws one site"),
        (["validate", "isb-1", "--format", "html"], "this one knows text, json, junit and dot"),
        (["show", "isb-1", "--format", "junit"], "this one knows text, json, dot and html"),
        (["show", "isb-1", "--html", "--format", "json"], "two wishes"),
        (["show", "isb-1", "-o", "x.html"], "-o is for --html"),
        (["validate", "isb-1", "--tier", "5"], "'5' is not one of '3', '4'"),
    ],
)
def test_options_that_do_not_fit_together_are_wrong_usage(run: Run, words: list[str], said: str) -> None:
    code, _, err = run("datacenter", *words)
    assert (code, said in err) == (ExitCode.USAGE, True), err


def test_a_format_that_only_others_draw_is_refused_before_anything_is_read(run: Run) -> None:
    code, _, err = run("--format", "html", "registry", "check")
    assert code == ExitCode.USAGE
    assert "--format html is for commands that draw; this one knows text and json" in err


def test_a_site_of_the_registry_is_named_by_its_name(
    registry_folder: Path, run: Run, write: Callable[..., Path]
) -> None:
    (registry_folder / "sites" / "isb-1.yaml").write_bytes(write().read_bytes())
    code, out, _ = run("--registry", registry_folder, "datacenter", "validate", "isb-1")
    assert (code, out.splitlines()[-1]) == (0, "isb-1: design consistent with Tier III")
    code, _, err = run("--registry", registry_folder, "datacenter", "validate", "isb-9")
    assert code == ExitCode.INVALID
    assert "its sites: isb-1" in err


def test_a_path_that_leads_nowhere_is_told(run: Run) -> None:
    code, _, err = run("datacenter", "show", "./nothing.yaml")
    assert code == ExitCode.INVALID
    assert "nothing.yaml" in err


def test_all_sites_are_judged_and_the_nation_with_them(registry_folder: Path, run: Run) -> None:
    code, out, _ = run("--registry", registry_folder, "datacenter", "validate", "--all", "--format", "json")
    made = json.loads(out)
    subjects = {result["subject"].split("/")[0] for result in made["results"]}
    assert {"site", "nation"} <= subjects
    assert code in (ExitCode.FAILED, ExitCode.NOT_CHECKED)  # these sites say nothing of power
    assert any(sentence.startswith("the sites together, for 0 tenants: ") for sentence in made["conclusions"])
    _, out, _ = run("--registry", registry_folder, "datacenter", "validate", "--all")
    assert "the sites together, for 0 tenants: " in out.splitlines()[-1]


def expired(spec: Document) -> None:
    spec["accreditation"] = {"scheme": "an audit", "expires": "2020-01-31"}


def test_an_accreditation_that_expired_is_one_finding_among_all_that_is_wrong(
    registry_folder: Path, run: Run, write: Callable[..., Path]
) -> None:
    path = write(lonely, expired)
    (registry_folder / "sites" / "isb-1.yaml").write_bytes(path.read_bytes())
    for words in (("--registry", registry_folder, "datacenter", "validate", "isb-1"), ("datacenter", "validate", path)):
        code, out, _ = run(*words)
        assert code == ExitCode.FAILED
        assert re.search(r"FAIL +DC-051 .*\n(.*\n)*? +observed: an audit: expired on 2020-01-31", out)
        assert re.search(r"FAIL +DC-004  pdu-2-a: ", out)
        assert out.splitlines()[-1].endswith("; the accreditation has expired")


def test_an_expired_accreditation_says_nothing_against_the_design(write: Callable[..., Path], run: Run) -> None:
    code, out, _ = run("datacenter", "validate", write(expired))
    assert code == ExitCode.FAILED
    assert out.splitlines()[-1] == "isb-1: design consistent with Tier III; the accreditation has expired"
    assert run("datacenter", "show", write(expired))[0] == 0


def test_a_rack_that_draws_too_much_is_one_finding_among_all_that_is_wrong(
    write: Callable[..., Path], run: Run
) -> None:
    code, out, _ = run("datacenter", "validate", write(lonely, at("racks", "rack-1", kw=2)))
    assert code == ExitCode.FAILED
    assert re.search(r"FAIL +DC-006  .*rack-1", out)
    assert re.search(r"FAIL +DC-004  pdu-2-a: ", out)


def test_suspended_tenants_count_for_they_come_back(registry_folder: Path, run: Run) -> None:
    name = "nadra"
    shutil.copytree(
        Path(__file__).parents[1] / "unit" / "data" / "registries" / "three-tenants" / "tenants",
        registry_folder / "tenants",
        dirs_exist_ok=True,
    )
    state = "state: suspended\nby: someone@ntc.example\nreason: unpaid\ntime: 2026-11-01T00:00:00Z\n"
    (registry_folder / "tenants" / name / "state.yaml").write_text(state)
    _, out, _ = run("--registry", registry_folder, "datacenter", "validate", "--all", "--format", "json")
    made = json.loads(out)
    assert f"tenant/{name}" in {one["subject"] for one in made["results"]}
    assert any("for 3 tenants (1 of them suspended)" in one for one in made["conclusions"])


def test_a_city_that_may_be_a_typing_error_is_told(registry_folder: Path, run: Run) -> None:
    path = registry_folder / "sites" / "isb-2.yaml"
    path.write_text(path.read_text().replace("city: Islamabad", "city: Islmabad"))
    for words in (("datacenter", "validate", "--all"), ("registry", "check")):
        _, _, err = run("--registry", registry_folder, *words)
        assert f"{path}:6: spec.location.city: 'Islmabad' may be the 'Islamabad' of site isb-1" in err


# --- show -----------------------------------------------------------------------------------------------------------


def test_show_tells_racks_and_quorum(write: Callable[..., Path], run: Run) -> None:
    code, out, _ = run("datacenter", "show", write(lambda spec: spec["hosts"].append(host("w9", None, 99))))
    assert code == 0
    row = next(line for line in out.splitlines() if line.startswith("rack-2"))
    assert {"hall-1", "pdu-2-a,", "pdu-2-b", "ahu-1,", "tor-2-b", "1 control plane, 1 worker"} <= {
        *row.split(), "1 control plane, 1 worker" if "1 control plane, 1 worker" in row else "",
    }  # fmt: skip
    assert "in no rack: w9" in out
    assert "etcd needs 2 of 3" in out


def test_show_as_json_is_one_document(write: Callable[..., Path], run: Run) -> None:
    code, out, _ = run("datacenter", "show", write(lonely), "--format", "json")
    made = json.loads(out)
    assert code == 0
    assert [rack["name"] for rack in made["racks"]] == ["rack-1", "rack-2", "rack-3"]
    assert made["racks"][1]["hosts"] == ["c2", "w2"]
    assert made["clusters"][0]["controlPlanes"][0] == {"name": "c1", "rack": "rack-1"}
    assert ("power", "pdu-2-a", 2) in {(one["area"], one["element"], one["loads"]) for one in made["breaks"]}


def test_a_page_is_written_and_not_over_another_file(write: Callable[..., Path], run: Run, tmp_path: Path) -> None:
    page = tmp_path / "isb-1.html"
    assert run("datacenter", "show", write(), "--html", "-o", page)[0] == 0
    assert page.read_text().startswith("<!doctype html>")
    assert run("datacenter", "show", write(), "--html", "-o", page)[0] == ExitCode.REFUSED
    assert run("datacenter", "show", write(), "--html", "-o", page, "--force")[0] == 0
    assert run("datacenter", "show", write(), "--format", "html")[1].startswith("<!doctype html>")


class _Page(HTMLParser):
    """What of a page matters to who cannot see it."""

    VOID = frozenset({"meta", "link", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        self.words.append(text)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += text


def page_of(run: Run, path: Path) -> str:
    return run("datacenter", "show", path, "--html")[1]


def test_the_page_can_be_read_without_seeing_and_loads_nothing(write: Callable[..., Path], run: Run) -> None:
    text = page_of(run, write(lonely))
    page = _Page(text)
    names = [tag for tag, _ in page.tags]
    assert not page.open
    assert not {"script", "img", "iframe", "link", "object", "image", "use"} & set(names)
    assert not [name for _, found in page.tags for name in found if name.startswith("on")]
    assert "default-src 'none'" in text
    assert names.count("svg") == 2
    assert names.count("table") == names.count("caption") >= 6
    heads = [found.get("scope") for tag, found in page.tags if tag == "th"]
    assert heads
    assert all(heads)
    ids = [found["id"] for _, found in page.tags if "id" in found]
    assert len(set(ids)) == len(ids)
    referred = [word for _, found in page.tags for word in str(found.get("aria-labelledby") or "").split()]
    assert set(referred) <= set(ids)
    assert "@page { size: A4 landscape" in text


def test_the_page_has_all_of_the_drawing_as_tables_too(write: Callable[..., Path], run: Run) -> None:
    path = write(lonely)
    page = _Page(page_of(run, path))
    said = set(map(str.strip, page.words))
    spec = yaml.safe_load(path.read_text())["spec"]
    for area in ("power", "cooling", "network"):
        assert {one["name"] for one in spec[area]["components"]} <= said
    assert {rack["name"] for rack in spec["racks"]} <= said
    cells = {row[0]: row for row in page.rows}
    assert cells["pdu-1-a"][4:6] == ["ups-a", "rack-1"]
    assert cells["ahu-1"][5] == "rack-1, rack-2, rack-3"
    assert "power pdu-2-a" in said
    assert "✗ takes 2" in said


def test_the_page_believes_nothing_of_what_a_file_says(write: Callable[..., Path], run: Run) -> None:
    def hostile(spec: Document) -> None:
        spec["operator"] = "<script>alert(1)</script>"
        spec["location"]["city"] = '"><img src=x onerror=alert(1)>'

    text = page_of(run, write(hostile))
    assert "<script" not in text
    assert "<img" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_a_page_of_another_moment_differs_in_its_time_only(write: Callable[..., Path], run: Run) -> None:
    path = write()
    first, second = (re.sub(r"\d{4}-\d\d-\d\dT[\d:]+Z", "", page_of(run, path)) for _ in range(2))
    assert first == second


# --- the text -------------------------------------------------------------------------------------------------------


def told(*findings: Finding, every: bool = False) -> list[str]:
    now = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
    made = report("datacenter", findings, operator="somebody", started=now, finished=now, omitted=["DC-061"])
    order = {(one.subject, one.id): place for place, one in enumerate(findings)}
    return to_design(made, order, "the conclusion", {"DC-061": "fuel on site"}, every=every).splitlines()


def finding(element: str, verdict: Verdict, reason: str | None = None, **evidence: Any) -> Finding:
    return Finding("DC-003", "It holds", f"site/x/power/{element}", "e", "o", verdict, reason=reason, evidence=evidence)


def test_failures_are_told_in_the_order_of_the_judge_and_the_rest_is_counted() -> None:
    lines = told(
        finding("b", Verdict.FAIL), finding("a", Verdict.FAIL), *(finding(f"p{n}", Verdict.PASS) for n in "12")
    )
    assert lines[0] == "x: power: 2 pass, 2 fail"
    assert [line.split()[2] for line in lines if line.startswith("  FAIL")] == ["b:", "a:"]
    assert lines[-1] == "the conclusion"
    assert not any("p1" in line for line in lines)
    assert any("p1" in line for line in told(finding("p1", Verdict.PASS), every=True))


def test_what_no_file_can_show_is_counted_and_told_on_request() -> None:
    assert "no site file can show: 1 thing" in told(finding("a", Verdict.PASS))
    assert "  DC-061  fuel on site" in told(finding("a", Verdict.PASS), every=True)


def test_what_could_not_be_checked_for_one_reason_is_told_once() -> None:
    lines = told(*(finding(f"ups-{n}", Verdict.NOT_CHECKED, "its kw is not known") for n in range(9)))
    assert sum("its kw is not known" in line for line in lines) == 1
    assert any("ups-0" in line and "and 3 more" in line for line in lines)


def test_many_failures_are_cut_and_what_is_short_already_is_folded() -> None:
    lines = told(*(finding(f"pdu-{n}", Verdict.FAIL, count=1, fresh=1) for n in range(30)))
    assert any("and 10 more failures" in line for line in lines)
    old = told(*(finding(f"pdu-{n}", Verdict.FAIL, link=["x", "y"], count=9, fresh=0) for n in range(30)))
    assert any("with 30 elements out, each" in line for line in old)
    assert len(old) < 8
    assert (
        len(
            told(*(finding(f"pdu-{n}", Verdict.FAIL, link=["x", "y"], count=9, fresh=0) for n in range(30)), every=True)
        )
        > 90
    )


def test_the_group_is_in_the_house() -> None:
    command = cli.get_command(None, "datacenter")  # type: ignore[arg-type]
    assert {"validate", "show"} <= set(getattr(command, "commands", {}))
