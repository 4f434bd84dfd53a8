"""Whose turn it is, and since when."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.unit.test_request_command import Run

from gcloud_pk.registry.approval import Approvals
from gcloud_pk.registry.demand import Awaited
from gcloud_pk.registry.folder import Status
from gcloud_pk.registry.history import Act, Line
from gcloud_pk.registry.turn import turn

ALICE, BOB, CAROL = "alice@ntc.example", "bob@ntc.example", "carol@ntc.example"
NOW, BEFORE = "a" * 64, "b" * 64
PUNJAB = Awaited("punjab", 1, (), ("it@punjab.gov.pk",))
FEDERAL = Awaited("federal", 2, ("x@ntc.example",), (ALICE, BOB))


def at(minute: int) -> dt.datetime:
    return dt.datetime(2026, 11, 22, 3, minute, tzinfo=dt.UTC)


def line(minute: int, act: Act, digest: str | None = NOW, **detail: str) -> Line:
    return Line(minute, f"{minute:064d}", at(minute), "moitt", act, "x", 1, digest, None, "0", detail, "0" * 64)


LINES = [
    line(0, "submit", BEFORE), line(1, "approve", BEFORE), line(2, "onboard", BEFORE), line(3, "submit"),
    line(4, "approve"), line(5, "approve"),
]  # fmt: skip


def approvals(*awaits: Awaited, unsigned: str | None = None) -> Approvals:
    return Approvals(2, (), (), None, unsigned, awaits)


# status, approvals, lines → who, of, principals, since, a part of the action
TURNS: dict[str, tuple[Status, Approvals | None, list[Line], tuple[Any, ...], str]] = {
    "a province before the federal approvers": (
        "pending", approvals(PUNJAB, FEDERAL), LINES,
        ("approver", "punjab", ("it@punjab.gov.pk",), at(3)), "gcloud-pk request approve moitt --key KEY",
    ),
    "the federal approvers that are left": (
        "pending", approvals(FEDERAL), LINES, ("approver", "federal", (ALICE, BOB), at(3)), "request approve",
    ),
    "the requester where the signature is missing, whoever else is awaited": (
        "pending", approvals(PUNJAB, unsigned="is missing"), LINES, ("requester", None, (), at(3)), "--key KEY",
    ),
    "the platform where all have approved and another revision is in place": (
        "approved", approvals(), LINES, ("platform", None, (), at(5)), "gcloud-pk onboard moitt",
    ),
    "nobody where this revision is in place": (
        "approved", approvals(), [*LINES, line(6, "onboard"), line(7, "verify")],
        ("nobody", None, (), at(6)), "nothing",
    ),
    "the requester after a rejection": (
        "rejected", approvals(FEDERAL), [*LINES, line(8, "reject")], ("requester", None, (), at(8)), "higher revision",
    ),
    "the requester where the request is not valid": (
        "invalid", None, LINES, ("requester", None, (), at(3)), "gcloud-pk request show moitt names what is wrong",
    ),
    "an approver where the tenant is suspended, whatever was submitted since": (
        "suspended", approvals(), [line(1, "suspend", BEFORE), line(2, "submit")],
        ("approver", "federal", (CAROL,), at(1)), "resume",
    ),
    "nobody where it was offboarded, not only one environment of it": (
        "offboarded", approvals(), [line(1, "offboard"), line(2, "offboard", environment="prod")],
        ("nobody", None, (), at(1)), "nothing",
    ),
    "no time where there is no history": ("approved", approvals(), [], ("platform", None, (), None), "onboard"),
}  # fmt: skip


def test_a_state_that_does_not_hold_is_for_an_approver_to_sign_anew() -> None:
    made = turn("moitt", "invalid", NOW, approvals(), LINES, resumers=[CAROL], held=False)
    assert (made.who, made.principals, made.since) == ("approver", (CAROL,), None)
    assert "gcloud-pk tenant resume moitt" in made.action


@pytest.mark.parametrize("case", TURNS)
def test_who_must_act_next_is(case: str) -> None:
    status, found, lines, expected, action = TURNS[case]
    made = turn("moitt", status, NOW, found, lines, resumers=[CAROL])
    assert (made.who, made.of, made.principals, made.since) == expected
    assert action in made.action


# --- request list ---


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], registry_folder: Path) -> Run:
    return Run(capsys, registry_folder)


def submit(run: Run, file: Path, name: str, code: str, domain: str) -> None:
    text = file.read_text().replace("organisation: MOITT", f"organisation: {code}").replace("moitt.gov.pk", domain)
    path = file.with_name(f"{name}.yaml")
    path.write_text(text.replace("moitt", name))
    assert run("request", "submit", path) == 0, run.err


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the first test that needs them leaves a copy of many requests."""
    return tmp_path_factory.mktemp("many") / "registry"


@pytest.fixture
def many(run: Run, registry_folder: Path, request_file: Path, keys: Path, made: Path) -> Run:
    """Return a registry in which every party has something to do; carol is Punjab's approver."""
    if made.exists():
        shutil.rmtree(registry_folder)
        shutil.copytree(made, registry_folder)
        return run
    (registry_folder / "settings.yaml").write_text(f"provinces: {{punjab: {{approvers: [{CAROL}]}}}}\n")
    for name, code, domain in (
        ("zeta", "PUNJAB-PITB", "pitb.gov.pk"), ("alpha", "PUNJAB-PITB", "punjab.gov.pk"),
        ("itd", "SINDH-ITD", "sindh.gov.pk"), ("mofa", "MOFA", "mofa.gov.pk"), ("fbr", "FBR", "fbr.gov.pk"),
    ):  # fmt: skip
        submit(run, request_file, name, code, domain)
    for name in ("alpha", "itd", "zeta"):
        run("request", "approve", name, "--key", keys / "alice", "--yes")
    run("request", "reject", "fbr", "--reason", "no budget")
    shutil.copytree(registry_folder, made)
    return run


def test_the_list_is_sorted_by_province_and_says_whose_turn_it_is(many: Run) -> None:
    listed = many.json("request", "list")["requests"]
    assert [(one["province"], one["tenant"], one["next"]["who"], one["next"]["of"]) for one in listed] == [
        (None, "fbr", "requester", None),
        (None, "mofa", "approver", "federal"),
        ("punjab", "alpha", "approver", "punjab"),
        ("punjab", "zeta", "approver", "punjab"),
        ("sindh", "itd", "platform", None),
    ]
    assert listed[2]["next"]["principals"] == [CAROL]
    assert listed[2]["approvals"] == {
        "have": [ALICE],
        "need": 2,
        "awaits": [{"who": "punjab", "need": 1, "have": [], "principals": [CAROL]}],
        "refused": [],
    }
    assert all(dt.datetime.fromisoformat(one["next"]["since"]).tzinfo for one in listed)
    assert many("request", "list") == 0
    assert "1 waits for federal approvers, 2 for punjab, 1 for the platform, 1 for the requester" in many.out
    assert many.out.splitlines()[3].split()[:2] == ["punjab", "alpha"]


def test_all_who_may_approve_at_once_are_named_and_counted(many: Run, request_file: Path) -> None:
    submit(many, request_file, "lahore", "PUNJAB-PITB", "lahore.punjab.gov.pk")
    (told,) = [one["next"] for one in many.json("request", "list")["requests"] if one["tenant"] == "lahore"]
    assert (told["of"], told["awaits"], told["principals"]) == ("punjab", ["punjab", "federal"], [CAROL])
    assert many("request", "list") == 0
    assert "  punjab, federal  " in next(line for line in many.out.splitlines() if " lahore " in line)
    assert "2 wait for federal approvers, 3 for punjab, 1 for the platform, 1 for the requester" in many.out


@pytest.mark.parametrize(
    ("province", "tenants"), [("federal", ["fbr", "mofa"]), ("punjab", ["alpha", "zeta"]), ("gb", [])]
)
def test_the_list_of_one_province(many: Run, province: str, tenants: list[str]) -> None:
    told = many.json("request", "list", "--province", province)["requests"]
    assert [one["tenant"] for one in told] == tenants
    if not tenants:
        many("request", "list", "--province", province, "--state", "pending")
        assert f"of {province} is pending" in many.out


def test_approving_says_what_is_outstanding(many: Run, keys: Path) -> None:
    assert many("request", "approve", "mofa", "--key", keys / "carol", "--yes") == 4
    assert "carol@ntc.example approves for tenants of punjab only" in many.err
    told = many.json("request", "approve", "zeta", "--key", keys / "bob", "--yes")
    assert (told["state"], told["approvals"]["need"], [one["who"] for one in told["approvals"]["awaits"]]) == (
        "pending",
        2,
        ["punjab"],
    )
    many("request", "show", "zeta")
    assert f"outstanding: 1 approval of punjab ({CAROL}) is missing" in many.out
    assert many("request", "approve", "zeta", "--key", keys / "carol", "--yes") == 0
    assert "3 of 2 approvals" in many.out
    assert "next: gcloud-pk onboard zeta" in many.out
