"""Waivers: one workload, exact values, until a day, signed by another than who asks; everything else does not count."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import time_machine
import yaml
from tests.unit.proof_server import FakeServer, live_objects, moitt, target
from tests.unit.test_request_command import Run

from gcloud_pk.cluster.kinds import keyed
from gcloud_pk.cluster.plan import plan
from gcloud_pk.console import Console
from gcloud_pk.errors import InvalidInputError, Problem, RefusedError
from gcloud_pk.model.finding import Finding, Verdict, exit_code
from gcloud_pk.model.waiver import Fixture, Grant, Waiver
from gcloud_pk.onboarding.verification import environment
from gcloud_pk.onboarding.waivers import in_words
from gcloud_pk.proof import checks
from gcloud_pk.proof.surroundings import read
from gcloud_pk.registry import acts, documents, waivers, waiving
from gcloud_pk.registry.approvers import APPROVAL, WAIVER
from gcloud_pk.registry.folder import Registry
from gcloud_pk.registry.readings import load
from gcloud_pk.render import data
from gcloud_pk.render.tenant import render

DATA = Path(__file__).parents[1] / "unit" / "data"
VALID = sorted((DATA / "waivers" / "valid").glob("*.yaml"))
INVALID = sorted((DATA / "waivers" / "invalid").glob("*.yaml"))
NOW = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
TODAY = NOW.date()
_HEAD = re.compile(r"# line (\d+): (\S+): (.*); expected (.*)")

ALICE, BOB, CAROL = "alice@ntc.example", "bob@ntc.example", "carol@ntc.example"
IMAGE = "docker.io/library/portal:4.2"
Sign = Callable[..., bytes]


@pytest.fixture(autouse=True)
def _noon() -> Iterator[None]:
    """Let the clock begin at NOW: what is written is dated by it, and the waivers of these tests end in its year."""
    with time_machine.travel(NOW):
        yield


# --- what a waiver may say ---


@pytest.fixture(scope="module")
def around() -> waivers.Circumstances:
    return Registry(DATA / "registries" / "three-tenants", NOW).circumstances


def problems_of(path: Path, around: waivers.Circumstances) -> list[Problem]:
    try:
        reading = load(documents.parse(path.read_bytes(), path.name), Waiver)
    except InvalidInputError as error:
        return list(error.details)
    if reading.model is None:
        return list(reading.problems)
    return [reading.document.located(found) for found in waivers.rule_problems(reading.model, around)]


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_a_valid_waiver_has_no_problem(path: Path, around: waivers.Circumstances) -> None:
    assert problems_of(path, around) == []


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_what_is_wrong_with_a_waiver_is_named_by_line_and_field(path: Path, around: waivers.Circumstances) -> None:
    expected = [match.groups() for line in path.read_text().split("\n") if (match := _HEAD.fullmatch(line))]
    assert expected
    assert [(str(p.line), p.field or "-", p.message, p.expected) for p in problems_of(path, around)] == expected


def test_every_rule_that_can_be_waived_is_one_of_its_policy_which_looks_for_waivers_of_it() -> None:
    policies = {d["metadata"]["name"]: d for d in data.documents("policies", "admission", "*", "policy.yaml")
                if d["kind"] == "ValidatingAdmissionPolicy"}  # fmt: skip
    for rule, waivable in waivers.waivable().items():
        spec = policies[waivable.policy]["spec"]
        assert any(v["message"].startswith(f"[{rule}] ") for v in spec["validations"])
        assert f"w.rule == '{rule}'" in next(v["expression"] for v in spec["variables"] if v["name"] == "waivers")


def test_the_policies_know_the_pods_of_a_workload_in_the_same_way() -> None:
    found = {}
    for rule, waivable in waivers.waivable().items():
        (policy, _) = data.documents("policies", "admission", waivable.policy, "policy.yaml")
        known = {v["name"]: v["expression"].replace(rule, "RULE") for v in policy["spec"]["variables"]}
        found[rule] = [known[name] for name in ("owners", "makers", "waivers")]
    assert len(found) > 1
    assert len({str(said) for said in found.values()}) == 1


def test_what_the_cluster_takes_for_waivable_is_what_the_registry_does() -> None:
    (policy, _) = data.documents("policies", "admission", "gpk-tenant-policies", "policy.yaml")
    said = next(v["expression"] for v in policy["spec"]["variables"] if v["name"] == "unwaivable")
    found = re.findall(
        r"w\.rule == '([^']*)' \? w\.allows\.filter\(v,\s+"
        r"!v\.matches\(r'\^\(\?:([^']*)\)\$'\)\s+\|\| v\.matches\(r'\^\(\?:([^']*)\)\$'\)\)",
        said,
    )
    assert said.count("w.rule == ") == len(found)
    known = waivers.waivable().items()
    assert {rule: (pattern, never) for rule, pattern, never in found} == {r: (w.pattern, w.never) for r, w in known}


# --- who may approve, and until when it counts ---


@pytest.fixture
def registry_folder(registry_folder: Path) -> Path:
    """Return the fresh registry, whose approvers may approve waivers too."""
    file = registry_folder / "approvers"
    file.write_text(file.read_text().replace('gcloud-pk-state"', 'gcloud-pk-state,gcloud-pk-waiver"').replace(
        "gcloud-pk-request", "gcloud-pk-waiver,gcloud-pk-request"))  # fmt: skip
    return registry_folder


@pytest.fixture
def registry(registry_folder: Path, request_file: Path, sign: Sign) -> Registry:
    acts.submit(Registry.open(registry_folder), request_file)
    approval = registry_folder / "tenants" / "moitt" / "approvals" / f"{ALICE}.sig"
    approval.parent.mkdir()
    approval.write_bytes(sign(request_file.read_bytes(), "alice", APPROVAL))
    return again(registry_folder)


def again(folder: Path | Registry, now: dt.datetime = NOW) -> Registry:
    return Registry(folder.path if isinstance(folder, Registry) else folder, now)


def fields(**changes: Any) -> dict[str, Any]:
    return {
        "control": "GPK-IMG-01",
        "subject": "tenant/moitt/eoffice-prod/Deployment/portal",
        "allows": [IMAGE],
        "reason": "vendor image; rebuilt by January",
        "author": "dd@moitt.gov.pk",
        "expires": "2027-01-31",
    } | changes


def file_of(registry: Registry, name: str = "portal") -> Path:
    return registry.path / "waivers" / f"{name}.yaml"


def put(registry: Registry, sign: Sign | None = None, key: str = "alice", name: str = "portal", **said: Any) -> Path:
    """Write a waiver by hand, and sign it by hand where a signer is given; return its file."""
    path = file_of(registry, name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(waiving.document(fields(**said)))
    if sign:
        signature(path, key).write_bytes(sign(path.read_bytes(), key, WAIVER))
    return path


def signature(path: Path, key: str = "alice") -> Path:
    return path.with_name(f"{path.name}.{key}@ntc.example.sig")


def state(registry: Registry, name: str = "portal", now: dt.datetime = NOW) -> str:
    return again(registry, now).waivers.cases[name].state


def granted(registry: Registry, now: dt.datetime = NOW) -> tuple[Grant, ...]:
    return again(registry, now).accepted("moitt").waivers


def test_a_proposed_waiver_grants_nothing_and_an_approved_one_what_it_says(registry: Registry, keys: Path) -> None:
    waiving.propose(registry, "portal", fields(), "dd@desk")
    assert state(registry) == "proposed"
    assert granted(registry) == ()
    found, signer = waiving.approvable(again(registry), "portal", keys / "alice")
    assert signer.principal == ALICE
    assert waiving.approve(again(registry), found, keys / "alice").state == "in force"
    (grant,) = granted(registry)
    assert grant == Grant(
        "GPK-IMG-01", "Deployment", "portal", (IMAGE,), dt.date(2027, 1, 31), "portal", "eoffice-prod",
        "vendor image; rebuilt by January", "dd@moitt.gov.pk", (ALICE,),
    )  # fmt: skip
    assert again(registry).problems == ()


def test_an_object_of_a_cluster_is_told_to_its_audit_where_it_was_approved_and_until_after_its_day(
    registry: Registry, sign: Sign
) -> None:
    digest = f"sha256:{'a' * 64}"
    said: dict[str, Any] = {
        "control": "ISO-605",
        "subject": "cluster/isb-1-a/ClusterRoleBinding/cilium",
        "allows": [digest],
    }
    path = put(registry, **said)
    assert again(registry).waivers.tolerances("isb-1-a") == ()
    signature(path, "alice").write_bytes(sign(path.read_bytes(), "alice", WAIVER))
    (found,) = again(registry).waivers.tolerances("isb-1-a")
    assert found.fixture == Fixture("isb-1-a", "ClusterRoleBinding", "", "cilium")
    assert (found.control, found.allows, found.approvers) == ("ISO-605", (digest,), (ALICE,))
    assert again(registry).waivers.tolerances("lhe-1-a") == ()
    assert granted(registry) == ()
    late = NOW + dt.timedelta(days=365)
    assert [one.expires for one in again(registry, late).waivers.tolerances("isb-1-a")] == [dt.date(2027, 1, 31)]
    waiving.end(again(registry), "portal", "dd@desk", "gone")
    assert again(registry).waivers.tolerances("isb-1-a") == ()


def test_a_signature_by_hand_counts_the_same(registry: Registry, sign: Sign) -> None:
    put(registry, sign)
    assert state(registry) == "in force"


@pytest.mark.parametrize(
    ("day", "expected"),
    [("2026-12-31", "in force"), ("2027-01-01", "expires soon"), ("2027-01-31", "expires soon"),
     ("2027-02-01", "expired")],
)  # fmt: skip
def test_a_waiver_counts_until_the_end_of_its_day_and_is_warned_of_for_thirty_days(
    registry: Registry, sign: Sign, day: str, expected: str
) -> None:
    put(registry, sign)
    now = dt.datetime.fromisoformat(f"{day}T23:59:59Z")
    assert state(registry, now=now) == expected
    assert bool(granted(registry, now)) == (expected != "expired")
    notes = again(registry, now).waivers.notes("moitt", now.date())
    assert bool(notes) == (expected == "expires soon")


def _by_the_author(registry: Registry, sign: Sign) -> None:
    put(registry, sign, author=ALICE)


def _by_the_key_of_the_author(registry: Registry, sign: Sign) -> None:
    # The author's name on a signature by alice's key: who holds the key holds both names.
    path = put(registry, sign, author="dd@moitt.gov.pk")
    path.with_name(f"{path.name}.dd@moitt.gov.pk.sig").write_bytes(signature(path).read_bytes())


def _for_approvals(registry: Registry, sign: Sign) -> None:
    path = put(registry)
    signature(path).write_bytes(sign(path.read_bytes(), "alice", APPROVAL))


def _of_another_waiver(registry: Registry, sign: Sign) -> None:
    path = put(registry, allows=["docker.io/library/other:1"])
    other = sign(path.read_bytes(), "alice", WAIVER)
    put(registry)
    signature(path).write_bytes(other)


def _changed_afterwards(registry: Registry, sign: Sign) -> None:
    path = put(registry, sign)
    path.write_bytes(path.read_bytes().replace(b"portal:4.2", b"portal:4.3"))


def _prolonged_afterwards(registry: Registry, sign: Sign) -> None:
    path = put(registry, sign)
    path.write_bytes(path.read_bytes().replace(b"2027-01-31", b"2027-10-31"))


def _under_another_name(registry: Registry, sign: Sign) -> None:
    path = put(registry, sign)
    signature(path).rename(signature(path, "bob"))


def _by_a_stranger(registry: Registry, sign: Sign) -> None:
    path = put(registry, sign, "stranger")
    signature(path, "stranger").rename(signature(path))


def _by_a_key_that_is_gone(registry: Registry, sign: Sign) -> None:
    put(registry, sign)
    approvers = registry.path / "approvers"
    lines = approvers.read_text().splitlines(keepends=True)
    approvers.write_text("".join(line for line in lines if not line.startswith("alice")))


def _by_a_key_that_expired(registry: Registry, sign: Sign) -> None:
    put(registry, sign)
    approvers = registry.path / "approvers"
    approvers.write_text(approvers.read_text().replace(
        'alice@ntc.example namespaces="', 'alice@ntc.example valid-before="20261101",namespaces="'))  # fmt: skip


def _by_one_who_may_not_approve_waivers(registry: Registry, sign: Sign) -> None:
    put(registry, sign)
    approvers = registry.path / "approvers"
    approvers.write_text(approvers.read_text().replace(",gcloud-pk-waiver", ""))


def _garbage(registry: Registry, _: Sign) -> None:
    signature(put(registry)).write_text("approved\n")


def _nothing(registry: Registry, _: Sign) -> None:
    put(registry)


@pytest.mark.parametrize(
    "attack",
    [_by_the_author, _by_the_key_of_the_author, _for_approvals, _of_another_waiver, _changed_afterwards,
     _prolonged_afterwards, _under_another_name, _by_a_stranger, _by_a_key_that_is_gone, _by_a_key_that_expired,
     _by_one_who_may_not_approve_waivers, _garbage, _nothing],
    ids=lambda attack: attack.__name__.strip("_").replace("_", "-"),
)  # fmt: skip
def test_a_waiver_that_nobody_entitled_approved_is_proposed_and_grants_nothing(
    registry: Registry, sign: Sign, attack: Callable[[Registry, Sign], None]
) -> None:
    attack(registry, sign)
    assert state(registry) == "proposed"
    assert again(registry).waivers.grants("moitt") == ()


def test_one_who_approves_for_another_province_only_approves_nothing_here(registry: Registry, sign: Sign) -> None:
    put(registry, sign)
    case = again(registry).waivers.cases["portal"]
    assert case.waiver is not None
    there = replace(again(registry).circumstances, foreign=lambda _, principal: f"{principal} is of punjab")
    (judged,) = waivers.judge([case.filed], [], there).cases.values()
    assert judged.state == "proposed"
    assert "is of punjab" in judged.refused[0].message


def test_a_waiver_of_an_approver_whose_key_no_longer_counts_is_warned_of(registry: Registry, sign: Sign) -> None:
    _by_a_key_that_expired(registry, sign)
    (note,) = again(registry).waivers.notes("moitt", TODAY)
    assert "does not count" in note
    assert "expired on 2026-11-01" in note


def test_a_link_out_of_the_registry_is_refused(registry: Registry, sign: Sign, tmp_path: Path) -> None:
    path = put(registry, sign)
    outside = tmp_path / "outside.yaml"
    path.rename(outside)
    path.symlink_to(outside)
    with pytest.raises(RefusedError):
        _ = again(registry).waivers


@pytest.mark.parametrize("stray", ["Portal.yaml", "portal.yml", "portal.yaml.sig", "a.b.yaml", "portal.yaml.A@B.sig"])
def test_what_is_no_waiver_is_named_and_grants_nothing(registry: Registry, sign: Sign, stray: str) -> None:
    put(registry, sign)
    file_of(registry).rename(file_of(registry).with_name(stray))
    signature(file_of(registry)).unlink()
    assert granted(registry) == ()
    assert [p.file for p in again(registry).problems] == [str(registry.path / "waivers" / stray)]


def test_an_invalid_waiver_grants_nothing_and_the_check_of_the_registry_names_it(
    registry: Registry, sign: Sign
) -> None:
    path = put(registry, sign, subject="tenant/moitt/nowhere/Deployment/portal")
    assert state(registry) == "invalid"
    assert granted(registry) == ()
    (wrong,) = again(registry).problems
    assert (wrong.file, wrong.line, wrong.field) == (str(path), 2, "subject")
    assert "no environment 'nowhere'" in again(registry).waivers.notes("moitt", TODAY)[0]


# --- the end ---


def test_an_ended_waiver_grants_nothing_whoever_ends_it(registry: Registry, sign: Sign) -> None:
    put(registry, sign)
    assert waiving.end(again(registry), "portal", "dd@desk", "rebuilt") is None
    assert state(registry) == "ended"
    assert granted(registry) == ()
    assert again(registry).problems == ()


def test_an_ending_that_cannot_be_read_ends_nonetheless(registry: Registry, sign: Sign) -> None:
    put(registry, sign).with_name("portal.ended.yaml").write_text("{")
    assert state(registry) == "ended"


def test_taking_the_ending_away_revives_nothing(registry: Registry, sign: Sign) -> None:
    path = put(registry, sign)
    waiving.end(again(registry), "portal", "dd@desk", "rebuilt")
    path.with_name("portal.ended.yaml").unlink()
    assert state(registry) == "ended"
    (wrong,) = again(registry).problems
    assert "portal.ended.yaml is missing" in wrong.message


@pytest.mark.parametrize("kept", [True, False], ids=["beside-the-old-name", "instead-of-the-old-name"])
def test_the_same_bytes_under_another_name_revive_nothing(registry: Registry, sign: Sign, kept: bool) -> None:
    path = put(registry, sign)
    waiving.end(again(registry), "portal", "dd@desk", "rebuilt")
    other = file_of(registry, "other")
    shutil.copy(path, other)
    shutil.copy(signature(path), signature(other))
    if not kept:
        for file in path.parent.glob("portal.*"):
            file.unlink()
    assert state(registry, "other") == "ended"
    assert granted(registry) == ()


def test_where_no_history_speaks_of_it_an_ending_ends_its_bytes_under_every_name(
    registry: Registry, sign: Sign
) -> None:
    path = put(registry, sign, subject="node/worker-3")
    shutil.copy(path, other := file_of(registry, "other"))
    shutil.copy(signature(path), signature(other))
    waiving.end(again(registry), "portal", "dd@desk", "rebuilt")
    assert state(registry, "other") == "ended"


def test_a_broken_history_keeps_no_waiver_open_and_lets_none_begin(registry: Registry, sign: Sign, keys: Path) -> None:
    put(registry, sign)
    history = registry.path / "tenants" / "moitt" / "history.jsonl"
    history.write_bytes(history.read_bytes().replace(b'"moitt"', b'"other"', 1))
    put(registry, name="next", allows=["docker.io/library/next:1"])
    with pytest.raises(RefusedError):
        waiving.approvable(again(registry), "next", keys / "bob")
    with pytest.raises(RefusedError):
        waiving.propose(again(registry), "third", fields(reason="another"), "dd@desk")
    assert not file_of(registry, "third").exists()
    assert waiving.end(again(registry), "portal", "dd@desk", "rebuilt") is not None
    assert state(registry) == "ended"


# --- acts ---


def test_every_step_stands_in_the_tenants_history_once(registry: Registry, keys: Path) -> None:
    waiving.propose(again(registry), "portal", fields(), "dd@desk")
    waiving.propose(again(registry), "portal", fields(), "dd@desk")
    found, _ = waiving.approvable(again(registry), "portal", keys / "alice")
    waiving.approve(again(registry), found, keys / "alice")
    waiving.end(again(registry), "portal", "dd@desk", "rebuilt")
    waiving.end(again(registry), "portal", "dd@desk", "rebuilt")
    lines = [line for line in again(registry).entry("moitt").chain.lines if line.act == "waiver"]
    assert [(line.actor, line.detail["step"]) for line in lines] == [
        ("dd@desk", "proposed"), (ALICE, "approved"), ("dd@desk", "ended")
    ]  # fmt: skip
    assert {line.detail["waiver"] for line in lines} == {"portal"}
    assert {line.detail["digest"] for line in lines} == {found.filed.digest}


def test_an_approval_that_was_stopped_before_it_was_recorded_is_recorded_by_the_next(
    run: Run, registry: Registry, sign: Sign, keys: Path
) -> None:
    path = put(registry, expires=a_day(9))
    signature(path).write_bytes(sign(path.read_bytes(), "alice", WAIVER))
    for _ in range(2):
        assert run("waiver", "approve", "portal", "--key", keys / "alice") == 0
        assert "nothing was changed" in run.err
    lines = [line for line in again(registry).entry("moitt").chain.lines if line.act == "waiver"]
    assert [line.detail["step"] for line in lines] == ["approved"]


def test_a_proposal_is_written_over_until_somebody_approved_it(registry: Registry, keys: Path) -> None:
    waiving.propose(again(registry), "portal", fields(), "dd@desk")
    waiving.propose(again(registry), "portal", fields(expires="2026-12-24"), "dd@desk")
    found, _ = waiving.approvable(again(registry), "portal", keys / "alice")
    waiving.approve(again(registry), found, keys / "alice")
    before = file_of(registry).read_bytes()
    with pytest.raises(RefusedError, match="was approved"):
        waiving.propose(again(registry), "portal", fields(), "dd@desk")
    assert file_of(registry).read_bytes() == before


def test_what_has_ended_is_not_proposed_again_with_the_same_bytes_or_name(registry: Registry, sign: Sign) -> None:
    put(registry, sign)
    waiving.end(again(registry), "portal", "dd@desk", "rebuilt")
    for name, said in (("portal", fields(reason="another")), ("other", fields())):
        with pytest.raises(RefusedError):
            waiving.propose(again(registry), name, said, "dd@desk")


def test_a_waiver_that_was_changed_after_it_was_shown_is_not_signed(registry: Registry, keys: Path) -> None:
    waiving.propose(again(registry), "portal", fields(), "dd@desk")
    found, _ = waiving.approvable(again(registry), "portal", keys / "alice")
    put(registry, allows=["docker.io/library/evil:1"])
    with pytest.raises(RefusedError, match="changed meanwhile"):
        waiving.approve(again(registry), found, keys / "alice")
    assert not signature(file_of(registry)).exists()


PROPOSE = [
    "waiver", "propose", "portal", "--control", "GPK-IMG-01", "--tenant", "moitt", "--environment", "eoffice-prod",
    "--workload", "Deployment/portal", "--allow", IMAGE, "--reason", "vendor image",
]  # fmt: skip


def a_day(days: int) -> str:
    return (TODAY + dt.timedelta(days=days)).isoformat()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], registry: Registry) -> Run:
    return Run(capsys, registry.path)


def test_a_waiver_goes_from_proposal_to_its_end(run: Run, keys: Path) -> None:
    assert run(*PROPOSE, "--author", "dd@moitt.gov.pk", "--expires", a_day(20)) == 0
    assert "can be moved" in run.err
    assert run("waiver", "approve", "portal", "--key", keys / "alice") == 4
    assert run("waiver", "approve", "portal", "--key", keys / "alice", "--yes") == 0
    assert "Deployment portal of environment eoffice-prod of tenant moitt" in run.out
    assert "images from other registries" in run.out
    (shown,) = run.json("waiver", "list")["waivers"]
    assert (shown["state"], shown["approvers"], shown["expires"]) == ("expires soon", [ALICE], a_day(20))
    assert run("registry", "check") == 0
    assert run("waiver", "expire", "portal", "--reason", "rebuilt") == 0
    assert run.json("waiver", "list")["waivers"] == []
    (shown,) = run.json("waiver", "list", "--expired")["waivers"]
    assert (shown["state"], shown["ended"]["reason"]) == ("ended", "rebuilt")


@pytest.mark.parametrize(
    ("author", "expires", "name", "code", "words"),
    [
        ("dd@moitt.gov.pk", a_day(-1), "portal", 3, "is past"),
        ("dd@moitt.gov.pk", a_day(367), "portal", 3, "over 366 days"),
        ("dd@moitt.gov.pk", "soon", "portal", 3, "YYYY-MM-DD"),
        ("DD", a_day(9), "portal", 3, "author"),
        ("dd@moitt.gov.pk", a_day(9), "../portal", 3, "DNS label"),
        ("dd@moitt.gov.pk", a_day(9), "portal.ended", 3, "DNS label"),
    ],
)
def test_a_proposal_that_breaks_a_rule_writes_nothing(
    run: Run, registry: Registry, author: str, expires: str, name: str, code: int, words: str
) -> None:
    line = [name if word == "portal" else word for word in PROPOSE]
    assert run(*line, "--author", author, "--expires", expires) == code
    assert words in run.err
    assert not (registry.path / "waivers").exists()


def test_who_proposes_cannot_approve(run: Run, keys: Path, registry: Registry) -> None:
    assert run(*PROPOSE, "--author", ALICE, "--expires", a_day(9)) == 0
    assert run("waiver", "approve", "portal", "--key", keys / "alice", "--yes") == 4
    assert "who proposes it" in run.err
    assert not list((registry.path / "waivers").glob("*.sig"))
    assert run("waiver", "approve", "portal", "--key", keys / "bob", "--yes") == 0


def test_who_wrote_a_proposal_cannot_approve_it_whoever_its_author_is_said_to_be(
    registry: Registry, keys: Path, sign: Sign
) -> None:
    waiving.propose(registry, "portal", fields(author="madeup@moitt.gov.pk"), ALICE)
    with pytest.raises(RefusedError, match=f"{ALICE} proposed it"):
        waiving.approvable(again(registry), "portal", keys / "alice")
    path = file_of(registry)
    signature(path).write_bytes(sign(path.read_bytes(), "alice", WAIVER))  # by hand
    assert state(registry) == "proposed"
    assert granted(registry) == ()
    signature(path, "bob").write_bytes(sign(path.read_bytes(), "bob", WAIVER))
    assert again(registry).waivers.cases["portal"].approvers == (BOB,)


def test_the_author_of_a_proposal_with_a_key_is_whose_key_it_is(run: Run, keys: Path, registry: Registry) -> None:
    assert run(*PROPOSE, "--expires", a_day(9)) == 2
    assert run(*PROPOSE, "--key", keys / "alice", "--author", "madeup@moitt.gov.pk", "--expires", a_day(9)) == 2
    assert f"is {ALICE}'s" in run.err
    assert run(*PROPOSE, "--key", keys / "stranger", "--expires", a_day(9)) == 4
    assert not (registry.path / "waivers").exists()
    assert run(*PROPOSE, "--key", keys / "alice", "--expires", a_day(9)) == 0
    (line,) = [line for line in again(registry).entry("moitt").chain.lines if line.act == "waiver"]
    assert (line.actor, run.json("waiver", "list")["waivers"][0]["author"]) == (ALICE, ALICE)
    assert run("waiver", "approve", "portal", "--key", keys / "alice", "--yes") == 4


def test_an_approver_is_told_that_nobody_proves_the_author_and_who_wrote_it(
    run: Run, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gcloud_pk.commands.waiver.operator_name", lambda: "mallory@desk")
    assert run(*PROPOSE, "--author", "dd@moitt.gov.pk", "--expires", a_day(9)) == 0
    assert run("waiver", "list") == 0
    assert "AUTHOR (NOT PROVEN)" in run.out
    assert run("waiver", "approve", "portal", "--key", keys / "alice", "--yes") == 0
    assert "author        dd@moitt.gov.pk (not proven)" in run.out
    assert "written by    mallory@desk, as the history says" in run.out


FORGED = "vendor image\n  author        secretary@cabinet.gov.pk\nSHA-256 0000 (verified)"


@pytest.mark.parametrize("reason", [FORGED, "x" * 64 + "SHA-256 0000 (verified)"], ids=["newlines", "folding"])
def test_a_reason_cannot_look_like_rows_of_what_is_signed(
    run: Run, keys: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    words = [reason if word == "vendor image" else word for word in PROPOSE]
    assert run(*words, "--author", "dd@moitt.gov.pk", "--expires", a_day(9)) == 0
    monkeypatch.setattr(Console, "_person", lambda *_: True)
    monkeypatch.setenv("COLUMNS", "80")
    assert run("waiver", "approve", "portal", "--key", keys / "alice", "--yes") == 0
    lines = run.out.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" " * 16 + "│ ")] == [
        "rule", "for", "allows", "until", "because", "author", "written", "SHA-256", "waiver", "next:"
    ]  # fmt: skip
    assert all(len(line) <= 80 for line in lines[:-3])
    (shown,) = run.json("waiver", "list")["waivers"]
    assert shown["reason"] == reason


def test_a_waiver_that_is_not_there_names_the_nearest(run: Run) -> None:
    assert run(*PROPOSE, "--author", ALICE, "--expires", a_day(9)) == 0
    assert run("waiver", "expire", "portl", "--reason", "x") == 5
    assert "did you mean portal?" in run.err


# --- rendered, and looked at live ---


GRANT = Grant(
    "GPK-IMG-01", "Deployment", "legacy", (IMAGE,), dt.date(2027, 1, 31), "portal", "eoffice", "vendor image",
    "dd@moitt.gov.pk", (ALICE,),
)  # fmt: skip
LIVE = {
    "rule": "GPK-IMG-01", "kind": "Deployment", "name": "legacy", "allows": [IMAGE], "expires": "2027-01-31"
}  # fmt: skip


def parameters(objects: list[dict[str, Any]], namespace: str = "moitt-eoffice") -> dict[str, Any]:
    found = (o for o in objects if o["kind"] == "TenantPolicy" and o["metadata"]["namespace"] == namespace)
    return next(found)


def test_a_waiver_is_rendered_into_its_environment_and_nowhere_else() -> None:
    plain, excepted = moitt("eoffice", "portal"), replace(moitt("eoffice", "portal"), waivers=(GRANT,))
    assert parameters(render(excepted))["spec"]["waivers"] == [LIVE]
    rest = [o for o in render(excepted) if o != parameters(render(excepted))]
    assert rest == [o for o in render(plain) if o != parameters(render(plain))]


def test_without_a_waiver_the_parameters_say_nothing_of_any() -> None:
    assert all("waivers" not in o.get("spec", {}) for o in render(moitt("eoffice", "portal"), ["old"]))


def judged(live: list[dict[str, Any]], *grants: Grant, today: dt.date = TODAY) -> dict[str, Finding]:
    """Return findings that did not pass, by id, of a namespace with `live` waivers where the registry has `grants`."""
    tenant = replace(moitt("eoffice"), waivers=grants)
    objects = live_objects("eoffice")
    parameters(objects)["spec"]["waivers"] = live
    aim = replace(target("eoffice"), today=today)
    chosen = environment(tenant, tenant.request.spec.environments[0])
    around = read(FakeServer(objects=objects).api(), chosen.namespace)
    found = checks.run(around, aim, chosen, "tenant/moitt/eoffice")
    return {f.id: f for f in found if f.verdict is not Verdict.PASS}


def test_no_waiver_is_no_finding() -> None:
    assert judged([]) == {}


def test_a_waiver_in_force_is_shown_as_waived_with_reason_expiry_and_approver() -> None:
    (finding,) = judged([LIVE], GRANT).values()
    assert (finding.id, finding.verdict) == ("ISO-112", Verdict.WAIVED)
    assert finding.subject == "tenant/moitt/eoffice/Deployment/legacy"
    for words in ("vendor image", "2027-01-31", ALICE, "dd@moitt.gov.pk"):
        assert words in str(finding.reason)
    assert exit_code([finding]) == 0


def test_a_waiver_counts_on_its_last_day_and_fails_on_the_next() -> None:
    assert judged([LIVE], GRANT, today=dt.date(2027, 1, 31))["ISO-112"].verdict is Verdict.WAIVED
    found = judged([LIVE], today=dt.date(2027, 2, 1))
    assert {f.verdict for f in found.values()} == {Verdict.FAIL}
    assert "expired on 2027-01-31" in str(found["ISO-112"].reason)


@pytest.mark.parametrize(
    "change",
    [{"allows": [IMAGE, "docker.io/library/evil:1"]}, {"name": "other"}, {"kind": "StatefulSet"},
     {"rule": "GPK-PLC-02"}, {"expires": "2027-12-31"}],
    ids=["another-value", "another-workload", "another-kind", "another-rule", "a-later-day"],
)  # fmt: skip
def test_a_live_waiver_that_the_registry_does_not_hold_fails(change: dict[str, Any]) -> None:
    found = judged([{**LIVE, **change}], GRANT)
    assert {name: f.verdict for name, f in found.items()} == {"ISO-107": Verdict.FAIL, "ISO-112": Verdict.FAIL}
    assert "that the registry does not" in found["ISO-107"].observed


def test_an_approved_waiver_that_is_not_live_yet_is_a_difference() -> None:
    found = judged([], GRANT)
    assert list(found) == ["ISO-107"]
    assert "lacks portal" in found["ISO-107"].observed


def test_the_plan_says_in_words_what_becomes_of_waivers() -> None:
    with_it, without = render(replace(moitt("eoffice"), waivers=(GRANT,))), render(moitt("eoffice"))
    said = list(in_words(plan(without, keyed(with_it)).changes, dt.date(2027, 2, 1)))
    assert said == [
        f"the waiver of GPK-IMG-01 for Deployment legacy ({IMAGE}) leaves moitt-eoffice: it expired on 2027-01-31"
    ]
    said = list(in_words(plan(with_it, keyed(without)).changes, TODAY))
    assert said == [f"a waiver of GPK-IMG-01 for Deployment legacy ({IMAGE}) comes to moitt-eoffice, until 2027-01-31"]


def test_a_value_is_written_as_yaml_that_says_the_same() -> None:
    said = fields(reason='"quoted": {no} # comment\nnext line', author="dd@moitt.gov.pk")
    assert yaml.safe_load(waiving.document(said)) == json.loads(json.dumps(said))
