"""A tenant's history: lines bound by hashes, so that what was changed, lost or moved is named."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gcloud_pk.errors import InvalidInputError, RefusedError, UnavailableError
from gcloud_pk.login import operator_name
from gcloud_pk.main import main
from gcloud_pk.onboarding.intake import take_in
from gcloud_pk.onboarding.provenance import disagreements, stray_head
from gcloud_pk.registry import acts, files, history, suspension
from gcloud_pk.registry.approvers import revocation_line
from gcloud_pk.registry.entries import Entry
from gcloud_pk.registry.folder import Registry
from gcloud_pk.registry.history import Act, Chain, read
from gcloud_pk.registry.standing import Standing

ALICE, BOB = "alice@ntc.example", "bob@ntc.example"
NOON = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
NOW = NOON + dt.timedelta(days=1)
DIGEST, UID = "d" * 64, "6c0e0000-0000-4000-8000-000000000001"


def grown(data: bytes, act: Act, actor: str = ALICE, minutes: int = 0, **more: Any) -> bytes:
    """Return a history with one act more."""
    known = {"digest": DIGEST, "revision": 3, "cluster": None, "detail": {}, **more}
    chain = read(data, "history.jsonl", "moitt", NOW) if data else Chain("history.jsonl")
    return data + history.line(chain, "moitt", act, actor, time=NOON + dt.timedelta(minutes=minutes), **known)


def five() -> bytes:
    """Return a history of five acts, a minute apart."""
    data = b""
    for minute, act in enumerate(("submit", "approve", "onboard", "verify", "suspend")):
        data = grown(data, act, minutes=minute)  # type: ignore[arg-type]
    return data


def chain_of(data: bytes) -> Chain:
    return read(data, "history.jsonl", "moitt", NOW)


def lines_of(data: bytes) -> list[bytes]:
    return data.splitlines(keepends=True)


class Run:
    """Runs one command line in this process; keeps what it printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, *words: object) -> int:
        code = main([str(word) for word in words])
        self.out, self.err = self._capsys.readouterr()
        return code


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(capsys)


# --- reading ---


def test_each_line_names_the_sha256_of_the_line_before_with_its_newline() -> None:
    lines = lines_of(five())
    said = [json.loads(line) for line in lines]
    assert said[0]["previous"] == "0" * 64
    for before, line in zip(lines, said[1:], strict=False):
        assert line["previous"] == hashlib.sha256(before).hexdigest()
    assert chain_of(five()).head == hashlib.sha256(lines[-1]).hexdigest()


def test_a_line_has_the_keys_of_the_contract_in_their_order() -> None:
    line = json.loads(grown(b"", "approve", detail={"need": 1, "signature": "s"}))
    assert list(line) == [
        "time", "tenant", "act", "actor", "revision", "digest", "cluster", "tool", "detail", "previous"
    ]  # fmt: skip
    assert line["time"] == "2026-11-20T12:00:00Z"


def test_a_history_that_nobody_touched_has_nothing_wrong() -> None:
    chain = chain_of(five())
    assert (chain.problems, chain.notes) == ((), ())
    assert [line.act for line in chain.lines] == ["submit", "approve", "onboard", "verify", "suspend"]


def swapped(lines: list[bytes], a: int, b: int) -> bytes:
    lines[a], lines[b] = lines[b], lines[a]
    return b"".join(lines)


# what somebody did to the file → (the change, the line that is named, words)
TAMPERED: dict[str, tuple[Callable[[list[bytes]], bytes], int, str]] = {
    "a byte of line 3 changed": (
        lambda ls: b"".join([*ls[:2], ls[2].replace(b"alice", b"malik"), *ls[3:]]),
        4,
        "the line before it was changed or is missing",
    ),
    "line 3 gone": (lambda ls: b"".join(ls[:2] + ls[3:]), 3, "the line before it was changed or is missing"),
    "line 1 gone": (lambda ls: b"".join(ls[1:]), 1, "the line before it was changed or is missing"),
    "lines 2 and 3 swapped": (lambda ls: swapped(ls, 1, 2), 2, "stands above line 3, which it follows"),
    "a line inserted": (lambda ls: b"".join([*ls[:2], grown(b"", "resume"), *ls[2:]]), 3, "begins anew"),
    "line 2 is no JSON": (lambda ls: b"".join([ls[0], b"approved, honestly\n", *ls[2:]]), 2, "is no JSON object"),
    "an empty line": (lambda ls: b"".join([*ls, b"\n"]), 6, "is no JSON object"),
    "a key twice": (lambda ls: b"".join(ls[:4]) + ls[4].replace(b"{", b'{"act": "resume", ', 1), 5, "each key once"),
    "a key missing": (lambda ls: b"".join(ls[:4]) + ls[4].replace(b'"cluster": null, ', b""), 5, "lacks cluster"),
    "a key too many": (lambda ls: b"".join(ls[:4]) + ls[4].replace(b"{", b'{"note": "x", ', 1), 5, "'note'"),
    "an act that is none": (lambda ls: b"".join(ls[:4]) + ls[4].replace(b"suspend", b"bless"), 5, "act has not"),
    "a time with an offset": (lambda ls: b"".join(ls[:4]) + ls[4].replace(b":00Z", b":00+05:00"), 5, "time has not"),
    "a day that is none": (lambda ls: b"".join(ls[:4]) + ls[4].replace(b"-11-20", b"-11-31"), 5, "time has not"),
    "a time before the line it follows": (
        lambda ls: b"".join(ls[:4]) + ls[4].replace(b"T12:04", b"T11:04"),
        5,
        "its time is before that of line 4",
    ),
    "a line of another tenant": (lambda ls: b"".join(ls[:4]) + ls[4].replace(b"moitt", b"mofa"), 5, "tenant 'mofa'"),
    "cut off in the last line": (lambda ls: b"".join(ls)[:-30], 5, "ends in the middle of a line"),
    "the last newline gone": (lambda ls: b"".join(ls)[:-1], 5, "ends in the middle of a line"),
    "DOS line ends": (lambda ls: b"".join(ls).replace(b"\n", b"\r\n"), 1, "every line ends in CR LF"),
    "DOS line ends of two lines": (
        lambda ls: b"".join([*ls[:3], *(line.replace(b"\n", b"\r\n") for line in ls[3:])]),
        1,
        "2 lines end in CR LF",
    ),
    "joins what nobody knows": (
        lambda ls: b"".join(ls[:4]) + ls[4].replace(b"}\n", b', "joins": ["' + b"a" * 64 + b'"]}\n'),
        5,
        "a line that it joins was changed or is missing",
    ),
    "not UTF-8": (lambda ls: b"".join(ls[:4]) + ls[4].replace(b"alice", b"\xff\xfe"), 5, "is no JSON object"),
    "a history too deep": (lambda ls: b"".join(ls) + b"[" * 100_000 + b"\n", 6, "is no JSON object"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_what_was_done_to_a_history_is_named_by_line(case: str) -> None:
    tamper, line, words = TAMPERED[case]
    problems = chain_of(tamper(lines_of(five()))).problems
    assert any(found.line == line and words in found.message for found in problems), problems
    assert all(found.file == "history.jsonl" for found in problems)


def test_an_empty_history_is_named() -> None:
    assert "is empty" in chain_of(b"").problems[0].message


# --- two people at once ---


def forked() -> bytes:
    """Return a history to which two people appended at once, as git's union leaves it."""
    base = grown(b"", "submit")
    ours, theirs = grown(base, "approve", ALICE, 1), grown(base, "approve", BOB, 2)
    return ours + theirs[len(base) :]


def test_a_history_with_two_ends_is_whole_and_says_so() -> None:
    chain = chain_of(forked())
    assert chain.problems == ()
    assert "has 2 ends (lines 2, 3)" in chain.notes[0].message


def test_the_next_act_joins_both_ends() -> None:
    data = grown(forked(), "onboard", minutes=3)
    lines = lines_of(data)
    last = json.loads(lines[-1])
    assert last["previous"] == hashlib.sha256(lines[2]).hexdigest()
    assert last["joins"] == [hashlib.sha256(lines[1]).hexdigest()]
    assert (chain_of(data).problems, chain_of(data).notes) == ((), ())


def test_a_line_that_a_merge_wrote_twice_counts_once() -> None:
    data = forked()
    chain = chain_of(data + lines_of(data)[1])
    assert chain.problems == ()
    assert len(chain.lines) == 3
    assert chain.head == hashlib.sha256(lines_of(data)[2]).hexdigest()


def test_an_old_resumption_put_in_again_opens_nothing() -> None:
    data = grown(grown(grown(five(), "resume", minutes=5), "verify", minutes=6), "suspend", minutes=7)
    assert [line.number for line in chain_of(data + lines_of(data)[5]).closed] == [8]


def test_of_a_suspension_and_a_resumption_at_once_the_suspension_holds() -> None:
    base = five()
    suspended, resumed = grown(base, "suspend", BOB, 5), grown(base, "resume", ALICE, 5)
    merged = suspended + resumed[len(base) :]
    assert [line.actor for line in chain_of(merged).closed] == [BOB]
    assert chain_of(grown(merged, "resume", minutes=6)).closed == ()


# --- appending ---


def test_a_clock_that_is_behind_never_makes_a_chain_go_back() -> None:
    data = grown(five(), "resume", minutes=-60)
    assert chain_of(data).problems == ()
    assert chain_of(data).lines[-1].time == NOON + dt.timedelta(minutes=4)


def test_a_name_with_strange_letters_is_written_so_that_it_reads_as_the_same() -> None:
    data = grown(b"", "submit", actor="عائشہ\n\u202e@host")
    assert data.count(b"\n") == 1
    assert chain_of(data).lines[0].actor == "عائشہ\n\u202e@host"
    assert chain_of(grown(b"", "submit", actor="\udcff@host")).lines[0].actor == "\udcff@host"


@pytest.fixture
def registry(registry_folder: Path, request_file: Path) -> Registry:
    opened = Registry.open(registry_folder)
    acts.submit(opened, request_file)
    return Registry.open(registry_folder)


def file_of(registry: Registry) -> Path:
    return registry.path / "tenants" / "moitt" / history.FILE


def entry_of(registry: Registry) -> Entry:
    return Registry.open(registry.path).entry("moitt")


def test_record_appends_and_returns_the_new_head(registry: Registry) -> None:
    head = registry.record("moitt", "onboard", "op@host", cluster=UID, detail={"pass": 12})
    chain = entry_of(registry).chain
    assert (chain.head, chain.problems) == (head, ())
    assert head == hashlib.sha256(lines_of(file_of(registry).read_bytes())[-1]).hexdigest()
    last = chain.lines[-1]
    assert (last.revision, last.digest, last.cluster) == (3, entry_of(registry).digest, UID)


def test_sha256sum_of_a_line_gives_what_the_next_one_says(registry: Registry) -> None:
    for _ in range(3):
        registry.record("moitt", "verify", "op@host")
    file = file_of(registry)
    said = json.loads(lines_of(file.read_bytes())[2])["previous"]
    command = ["sh", "-c", f"sed -n 2p '{file}' | sha256sum"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0] == said


def test_an_act_that_is_repeated_after_an_interruption_stands_once(registry: Registry) -> None:
    first = registry.record("moitt", "approve", ALICE, detail={"signature": "s", "have": 0}, once=True)
    assert registry.record("moitt", "approve", ALICE, detail={"signature": "s", "have": 1}, once=True) == first
    assert registry.record("moitt", "approve", BOB, detail={"signature": "t", "have": 1}, once=True) != first
    assert [line.actor for line in entry_of(registry).chain.lines if line.act == "approve"] == [ALICE, BOB]


def test_a_second_suspension_is_another_act_than_the_first(registry: Registry) -> None:
    for act in ("suspend", "suspend", "resume", "suspend"):
        registry.record("moitt", act, ALICE, once=True)
    acts_of = [line.act for line in entry_of(registry).chain.lines]
    assert acts_of[-3:] == ["suspend", "resume", "suspend"]


def test_nothing_is_opened_on_a_history_that_was_changed(registry: Registry) -> None:
    registry.record("moitt", "verify", "op@host")
    file = file_of(registry)
    file.write_bytes(file.read_bytes().replace(b'"previous": "0', b'"previous": "1'))
    before = file.read_bytes()
    for act in ("approve", "onboard", "resume", "waiver", "submit", "verify", "retire"):
        with pytest.raises(RefusedError) as caught:
            registry.record("moitt", act, ALICE)
        assert caught.value.details[0].line == 1
        assert "version control" in str(caught.value.resolution)
    assert file.read_bytes() == before


@pytest.mark.parametrize("act", sorted(history.CLOSING))
def test_what_closes_is_recorded_on_any_history(registry: Registry, act: Act) -> None:
    registry.record("moitt", "verify", "op@host")
    file = file_of(registry)
    file.write_bytes(file.read_bytes()[:-40])
    registry.record("moitt", act, ALICE)
    chain = entry_of(registry).chain
    assert chain.lines[-1].act == act
    assert chain.problems


def test_a_history_that_leads_out_of_the_registry_is_refused(registry: Registry, tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere.jsonl"
    outside.write_bytes(five())
    file_of(registry).unlink(missing_ok=True)
    file_of(registry).symlink_to(outside)
    with pytest.raises(RefusedError):
        Registry.open(registry.path).tenants  # noqa: B018 - it is read then
    assert outside.read_bytes() == five()


def test_a_history_larger_than_any_is_named(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    file_of(registry).write_bytes(b"x" * (files.LIMIT + 1))
    assert entry_of(registry).history_file  # more than a request may hold is read
    monkeypatch.setattr(history, "LIMIT", files.LIMIT)
    assert "larger than 1 MiB" in str(entry_of(registry).problems)
    with pytest.raises(InvalidInputError, match="larger than 1 MiB"):
        registry.record("moitt", "verify", "op@host")


def test_acts_of_a_tenant_that_is_not_there_are_not_recorded(registry: Registry) -> None:
    with pytest.raises(UnavailableError):
        registry.record("nobody", "verify", "op@host")


# --- what people do is written down ---


def acts_in(registry: Registry) -> list[tuple[str, str]]:
    return [(line.act, line.actor) for line in entry_of(registry).chain.lines]


def approve(registry: Registry, keys: Path, who: str) -> None:
    opened = Registry.open(registry.path)
    acts.approve(opened, opened.entry("moitt"), keys / who)


def test_submitting_approving_and_rejecting_are_recorded(
    registry: Registry, registry_folder: Path, request_file: Path, keys: Path
) -> None:
    approve(registry, keys, "alice")
    request_file.write_text(request_file.read_text().replace("revision: 3", "revision: 4"))
    acts.submit(Registry.open(registry_folder), request_file, keys / "carol")
    acts.reject(Registry.open(registry_folder), "moitt", "registrar", "no budget line", None)
    assert acts_in(registry) == [
        ("submit", operator_name()),
        ("approve", ALICE),
        ("submit", "carol@ntc.example"),
        ("reject", "registrar"),
    ]
    lines = entry_of(registry).chain.lines
    assert [line.revision for line in lines] == [3, 3, 4, 4]
    signature = (
        registry_folder / "tenants/moitt/history" / str(lines[1].digest) / f"approvals/{ALICE}.sig"
    ).read_bytes()
    assert lines[1].detail == {"have": 1, "need": 1, "signature": hashlib.sha256(signature).hexdigest()}
    assert lines[3].detail == {"reason": "no budget line"}
    assert Registry.open(registry_folder).problems == ()


def test_the_same_bytes_submitted_again_are_recorded_once(registry: Registry, request_file: Path) -> None:
    acts.submit(Registry.open(registry.path), request_file)
    assert len(acts_in(registry)) == 1
    file_of(registry).unlink()  # somebody was stopped before the line was written
    acts.submit(Registry.open(registry.path), request_file)
    assert len(acts_in(registry)) == 1


def test_an_approver_who_was_stopped_before_it_was_recorded_runs_it_again(
    run: Run, registry: Registry, keys: Path
) -> None:
    approve(registry, keys, "alice")
    file_of(registry).write_bytes(lines_of(file_of(registry).read_bytes())[0])
    for _ in range(2):
        assert run("request", "approve", "moitt", "--key", keys / "alice", "--yes", "--registry", registry.path) == 0
    assert [act for act, _ in acts_in(registry)] == ["submit", "approve"]


def test_on_a_changed_history_nobody_submits_approves_or_onboards(
    registry: Registry, request_file: Path, keys: Path
) -> None:
    file = file_of(registry)
    file.write_bytes(file.read_bytes().replace(b'"revision": 3', b'"revision": 3.0'))
    before = {path: path.read_bytes() for path in registry.path.rglob("*") if path.is_file()}
    request_file.write_text(request_file.read_text().replace("revision: 3", "revision: 4"))
    opened = Registry.open(registry.path)
    for act in (
        lambda: acts.submit(opened, request_file),
        lambda: acts.approvable(opened, "moitt"),
        lambda: take_in(opened, None, ["moitt"], {}),
    ):
        with pytest.raises(RefusedError, match="history of tenant moitt"):
            act()
    assert opened.status(opened.entry("moitt")) == "invalid"
    assert [(found.file, found.line) for found in opened.problems] == [(str(file), 1)]
    assert before == {path: path.read_bytes() for path in registry.path.rglob("*") if path.is_file()}


# --- what the history closed stays closed ---


def closed_by(registry: Registry, act: Act, **detail: str) -> None:
    """Record an act a minute after the last."""
    opened = entry_of(registry).chain
    assert opened.time
    line = history.line(
        opened, "moitt", act, BOB, time=opened.time + dt.timedelta(minutes=1), digest=entry_of(registry).digest,
        revision=3, cluster=None, detail=detail,
    )  # fmt: skip
    file_of(registry).write_bytes(file_of(registry).read_bytes() + line)


def stands(registry: Registry) -> Standing:
    opened = Registry.open(registry.path)
    return opened.standing(opened.entry("moitt"))


@pytest.mark.parametrize(
    ("act", "state"), [("suspend", "suspended"), ("offboard", "offboarded"), ("reject", "rejected")]
)
def test_a_tenant_whose_state_was_taken_away_stays_as_closed_as_its_history_says(
    registry: Registry, act: Act, state: str
) -> None:
    closed_by(registry, act)
    found = stands(registry)
    assert found.state == state
    assert f"history says {state}" in found.problems[0].message
    assert "state.yaml is gone" in found.problems[0].message
    assert any("state.yaml is gone" in one.message for one in Registry.open(registry.path).problems)
    with pytest.raises(RefusedError, match=state):
        Registry.open(registry.path).accepted("moitt")


def signed_state(registry: Registry, sign: Callable[..., bytes], **fields: str) -> None:
    known = {"by": ALICE, "reason": "it is well", "tenant": "moitt", "digest": str(entry_of(registry).digest), **fields}
    data = "".join(f"{name}: {json.dumps(value)}\n" for name, value in known.items()).encode()
    folder = registry.path / "tenants" / "moitt"
    (folder / "state.yaml").write_bytes(data)
    (folder / "state.yaml.sig").write_bytes(sign(data, "alice", "gcloud-pk-state"))


def test_an_active_from_before_a_suspension_does_not_open_and_one_from_after_does(
    registry: Registry, sign: Callable[..., bytes]
) -> None:
    signed_state(registry, sign, state="active", time="2026-01-01T00:00:00Z")
    assert stands(registry).state == "active"
    closed_by(registry, "suspend")
    assert stands(registry).state == "suspended"
    assert "'active' of an earlier moment" in stands(registry).problems[0].message
    later = max(line.time for line in entry_of(registry).chain.lines) + dt.timedelta(minutes=1)
    signed_state(registry, sign, state="active", time=later.strftime("%Y-%m-%dT%H:%M:%SZ"))
    assert stands(registry).state == "active"


def test_what_is_set_by_a_clock_that_is_behind_is_not_older_than_the_history(registry: Registry, keys: Path) -> None:
    closed_by(registry, "suspend")  # a minute ahead of this clock
    opened = Registry.open(registry.path)
    opened.set_state("moitt", "active", BOB, "it is well", keys / "bob")
    assert stands(registry).state == "active"


def test_a_resumption_in_the_history_opens_nothing_without_the_signed_active(registry: Registry, keys: Path) -> None:
    closed_by(registry, "suspend")
    closed_by(registry, "resume")
    assert stands(registry).state == "suspended"
    assert "state.yaml is gone" in stands(registry).problems[0].message
    Registry.open(registry.path).set_state("moitt", "active", BOB, "it is well", keys / "bob")
    assert stands(registry).state == "active"


def test_an_active_must_be_as_late_as_the_latest_suspension_whatever_resumed_since(
    registry: Registry, sign: Callable[..., bytes]
) -> None:
    closed_by(registry, "suspend")
    first = f"{entry_of(registry).chain.lines[-1].time:%Y-%m-%dT%H:%M:%SZ}"
    closed_by(registry, "resume")
    signed_state(registry, sign, state="active", time=first)
    assert stands(registry).state == "active"
    closed_by(registry, "suspend")
    closed_by(registry, "resume")
    assert stands(registry).state == "suspended"


@pytest.mark.parametrize("order", [("offboard", "resume"), ("suspend", "offboard", "resume")])
def test_no_resumption_undoes_an_offboarding_not_even_a_signed_one(
    registry: Registry, keys: Path, order: tuple[Act, ...]
) -> None:
    for act in order:
        closed_by(registry, act)
    assert entry_of(registry).chain.closed[-1].act == "offboard"
    assert stands(registry).state == "offboarded"
    Registry.open(registry.path).set_state("moitt", "active", BOB, "it is well", keys / "bob")
    assert stands(registry).state == "offboarded"


@pytest.fixture
def resumed(registry: Registry, keys: Path) -> Registry:
    """Return a registry whose tenant was accepted, suspended and properly resumed."""
    approve(registry, keys, "alice")
    registry.record("moitt", "suspend", BOB)
    Registry.open(registry.path).set_state("moitt", "active", BOB, "it is well", keys / "bob")
    registry.record("moitt", "resume", BOB)
    assert stands(registry).state == "active"
    return registry


def revised(registry: Registry, request_file: Path, revision: int) -> None:
    before = f"revision: {revision - 1}"
    assert before in request_file.read_text()
    request_file.write_text(request_file.read_text().replace(before, f"revision: {revision}"))
    acts.submit(Registry.open(registry.path), request_file)


def test_a_resumed_tenant_stays_open_through_later_revisions(resumed: Registry, request_file: Path, keys: Path) -> None:
    for revision in (4, 5):
        revised(resumed, request_file, revision)
        assert stands(resumed).state == "active"
    approve(resumed, keys, "alice")
    assert Registry.open(resumed.path).accepted("moitt").revision == 5


def test_a_tenant_that_is_resumed_while_a_revision_waits_stays_open_when_another_follows(
    resumed: Registry, request_file: Path, keys: Path
) -> None:
    revised(resumed, request_file, 4)
    Registry.open(resumed.path).set_state("moitt", "active", BOB, "signed anew", keys / "bob")
    revised(resumed, request_file, 5)
    assert stands(resumed).state == "active"


@pytest.mark.parametrize("key", [None, "bob"])
def test_a_rejection_leaves_a_resumed_tenant_open_with_what_was_accepted(
    resumed: Registry, request_file: Path, keys: Path, key: str | None
) -> None:
    accepted = str(entry_of(resumed).digest)
    revised(resumed, request_file, 4)
    for _ in range(2):  # what is run again changes nothing
        acts.reject(Registry.open(resumed.path), "moitt", "op@host", "too much", keys / key if key else None)
    assert [line.act for line in entry_of(resumed).chain.lines][-2:] == ["submit", "reject"]
    assert stands(resumed).state == "rejected"
    opened = Registry.open(resumed.path)
    assert opened.standing(opened.entry("moitt"), accepted).state == "active"
    assert opened.standing_request("moitt", accepted).revision == 3
    revised(resumed, request_file, 5)
    assert stands(resumed).state == "active"


def test_a_suspension_is_of_the_time_of_its_line_whatever_an_unsigned_state_says(registry: Registry) -> None:
    registry.record("moitt", "suspend", BOB)
    line = entry_of(registry).chain.lines[-1]
    for time in ("2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"):
        state = f"state: suspended\nby: me\nreason: none\ntime: {time}\ntenant: moitt\n"
        (registry.path / "tenants/moitt/state.yaml").write_text(state)
        assert suspension.moment(entry_of(registry)) == line.time
    ahead(registry, "suspend")
    assert suspension.moment(entry_of(registry)) == line.time


def test_a_state_that_says_less_than_the_history_does_not_count(registry: Registry, sign: Callable[..., bytes]) -> None:
    closed_by(registry, "offboard")
    signed_state(registry, sign, state="suspended", time="2036-01-01T00:00:00Z")
    assert stands(registry).state == "offboarded"


def test_an_environment_that_was_offboarded_closes_no_tenant(registry: Registry) -> None:
    closed_by(registry, "offboard", environment="old")
    assert stands(registry).state == "active"


def test_a_rejection_in_the_history_speaks_of_its_own_request_alone(registry: Registry, request_file: Path) -> None:
    closed_by(registry, "reject")
    request_file.write_text(request_file.read_text().replace("revision: 3", "revision: 4"))
    acts.submit(Registry.open(registry.path), request_file)
    assert stands(registry).state == "active"


# --- times to come, and a history that is gone ---


@pytest.mark.parametrize(("seconds", "wrong"), [(0, False), (300, False), (301, True)])
def test_a_line_may_be_as_far_ahead_as_clocks_differ_and_no_more(seconds: int, wrong: bool) -> None:
    data = grown(five(), "verify", minutes=10)
    now = NOON + dt.timedelta(minutes=10) - dt.timedelta(seconds=seconds)
    problems = read(data, "history.jsonl", "moitt", now).problems
    assert [(found.line, found.field) for found in problems] == ([(6, "time")] if wrong else [])
    assert all("its time is yet to come (2026-11-20 12:10:00 UTC)" in found.message for found in problems)


def ahead(registry: Registry, act: Act = "verify") -> None:
    """Append an honest line of an hour to come."""
    chain, digest = entry_of(registry).chain, entry_of(registry).digest
    time = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    line = history.line(
        chain, "moitt", act, BOB, time=time, digest=digest, revision=3, cluster=None, detail={}
    )  # fmt: skip
    file_of(registry).write_bytes(file_of(registry).read_bytes() + line)


def test_after_a_line_of_a_time_to_come_nothing_is_opened_and_what_closes_is_of_now(registry: Registry) -> None:
    before = file_of(registry).read_bytes()
    ahead(registry)
    with pytest.raises(RefusedError, match="does not hold together"):
        registry.record("moitt", "onboard", ALICE)
    Registry.open(registry.path).set_state("moitt", "suspended", BOB, "why")
    registry.record("moitt", "suspend", BOB)
    file_of(registry).write_bytes(before)  # restored from version control
    record = entry_of(registry).state[0]
    assert record is not None
    assert record.time < dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1), "or nobody could resume it for an hour"


def test_accepted_requests_without_a_history_are_noted_and_onboarding_warns(run: Run, lived: Registry) -> None:
    file = file_of(lived)
    where = ("--registry", lived.path)
    assert run("registry", "check", *where, "--format", "json") == 0
    assert json.loads(run.out)["notes"] == []
    file.unlink()
    assert run("registry", "check", *where, "--format", "json") == 0
    (note,) = json.loads(run.out)["notes"]
    assert note["file"] == str(file)
    assert "accepted requests are kept beside it" in note["message"]
    assert run("onboard", "moitt", "--output-dir", lived.path.with_name("manifests"), *where) == 0
    assert f"tenant moitt: {file}: is not there" in run.err


# --- two people, with git ---


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


def test_two_people_who_approve_at_once_merge_cleanly_and_the_next_act_joins_them(
    run: Run, registry: Registry, keys: Path, tmp_path: Path
) -> None:
    (registry.path / ".gitattributes").write_bytes(acts.GIT_ATTRIBUTES.encode())
    git(registry.path, "init")
    git(registry.path, "add", "-A")
    git(registry.path, "commit", "-m", "a request")
    clones = {who: tmp_path / who for who in ("alice", "bob")}
    for who, folder in clones.items():
        git(tmp_path, "clone", str(registry.path), str(folder))
        approve(Registry.open(folder), keys, who)
        git(folder, "add", "-A")
        git(folder, "commit", "-m", f"{who} approves")
    git(clones["alice"], "pull", "--no-rebase", "--no-edit", str(clones["bob"]), "main")
    merged = Registry.open(clones["alice"])
    assert sorted(acts_in(merged)[1:]) == [("approve", ALICE), ("approve", BOB)]
    assert merged.problems == ()
    assert run("registry", "check", "--registry", merged.path) == 0
    assert "has 2 ends (lines 2, 3)" in run.err
    merged.record("moitt", "verify", "op@host")
    assert run("registry", "check", "--registry", merged.path) == 0
    assert "ends" not in run.err
    assert len(entry_of(merged).chain.lines[-1].joins) == 1


# --- registry history ---


@pytest.fixture
def lived(registry: Registry, request_file: Path, keys: Path) -> Registry:
    """Return a registry whose tenant has a past: revision 3 accepted by alice, 4 by bob and onboarded."""
    approve(registry, keys, "alice")
    request_file.write_text(request_file.read_text().replace("revision: 3", "revision: 4"))
    acts.submit(Registry.open(registry.path), request_file)
    approve(registry, keys, "bob")
    registry.record("moitt", "onboard", "op@host", cluster=UID, detail={"created": 41})
    return Registry.open(registry.path)


def verified(run: Run, registry: Registry, *more: str) -> tuple[int, dict[str, Any]]:
    code = run("registry", "history", "moitt", "--verify", "--format", "json", "--registry", registry.path, *more)
    document: dict[str, Any] = json.loads(run.out)
    return code, document


def test_a_past_that_nobody_touched_verifies(run: Run, lived: Registry) -> None:
    code, document = verified(run, lived)
    assert code == 0
    assert [line["act"] for line in document["lines"]] == ["submit", "approve", "submit", "approve", "onboard"]
    assert document["head"] == entry_of(lived).chain.head
    assert document["verified"] == {
        "chain": "pass",
        "requests": "pass",
        "signatures": "pass",
        "clusterHead": "not-checked",
        "problems": [],
        "unchecked": [],
        "notes": [],
    }


def test_people_see_a_line_for_each_act_and_what_was_not_compared(run: Run, lived: Registry) -> None:
    assert run("registry", "history", "moitt", "--verify", "--registry", lived.path) == 0
    digest = str(entry_of(lived).digest)
    row = next(line for line in run.out.splitlines() if " onboard " in line)
    assert {"op@host", "4", digest[:12], UID, "created", "41"} <= set(row.split())
    assert "not compared (give --kubeconfig)" in run.out


def kept_files(registry: Registry, revision: int) -> Path:
    return next(kept.folder for kept in entry_of(registry).history if kept.revision == revision)


def a_signature_of_other_bytes(registry: Registry, keys: Path) -> Path:
    path = kept_files(registry, 3) / f"approvals/{ALICE}.sig"
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", "gcloud-pk-approval", "-f", str(keys / "alice")]
    path.write_bytes(subprocess.run(command, input=b"else", capture_output=True, check=True).stdout)
    return path


def a_kept_request_changed(registry: Registry, keys: Path) -> Path:
    path = kept_files(registry, 3) / "request.yaml"
    path.write_bytes(path.read_bytes() + b"\n")
    return path


def a_kept_request_gone(registry: Registry, keys: Path) -> Path:
    shutil.rmtree(kept_files(registry, 3))
    return file_of(registry)


def a_line_changed(registry: Registry, keys: Path) -> Path:
    file_of(registry).write_bytes(file_of(registry).read_bytes().replace(b'"actor": "alice', b'"actor": "malik'))
    return file_of(registry)


def a_time_to_come(registry: Registry, keys: Path) -> Path:
    file = file_of(registry)
    *before, last = lines_of(file.read_bytes())
    said = json.loads(last)
    said["time"] = "2099-01-01T00:00:00Z"
    file.write_bytes(b"".join([*before, json.dumps(said).encode() + b"\n"]))
    return file


def another_signer_under_the_name(registry: Registry, keys: Path) -> Path:
    folder = kept_files(registry, 3) / "approvals"
    (folder / f"{ALICE}.sig").rename(folder / f"{BOB}.sig")
    return folder / f"{BOB}.sig"


# what is done → (the part that fails, whether registry check finds it too)
DAMAGE: dict[Callable[[Registry, Path], Path], tuple[str, bool]] = {
    a_signature_of_other_bytes: ("signatures", True),
    a_kept_request_changed: ("requests", True),
    a_kept_request_gone: ("requests", False),
    a_line_changed: ("chain", True),
    a_time_to_come: ("chain", True),
    another_signer_under_the_name: ("signatures", False),
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_what_was_done_to_a_past_fails_and_is_named_by_file(
    run: Run, lived: Registry, keys: Path, damage: Callable[[Registry, Path], Path]
) -> None:
    part, seen_by_check = DAMAGE[damage]
    file = damage(lived, keys)
    code, document = verified(run, lived)
    assert code == 6
    assert document["verified"][part] == "fail"
    assert str(file) in {found["file"] for found in document["verified"]["problems"]}
    assert run("registry", "check", "--registry", lived.path) == (3 if seen_by_check else 0)


def test_a_kept_signature_that_is_not_the_one_recorded_is_named(run: Run, registry: Registry, keys: Path) -> None:
    approve(registry, keys, "alice")
    recorded = str(entry_of(registry).chain.lines[-1].detail["signature"])
    file_of(registry).write_bytes(file_of(registry).read_bytes().replace(recorded.encode(), b"e" * 64))
    code, document = verified(run, registry)
    assert code == 6
    assert document["verified"]["chain"] == "pass"
    assert "is not the signature that the history names" in document["verified"]["problems"][0]["message"]


def test_a_key_that_was_revoked_since_is_said_and_fails_nothing(run: Run, lived: Registry) -> None:
    approvers = lived.path / "approvers"
    lines = approvers.read_text().splitlines()
    alice = next(line for line in lines if line.startswith(ALICE))
    gone = revocation_line(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1), BOB, "left the service", alice)
    approvers.write_text("\n".join([gone, *(line for line in lines if line != alice)]) + "\n")
    code, document = verified(run, lived)
    assert code == 0
    assert any("left the service" in note["message"] for note in document["verified"]["notes"])


def test_a_key_that_nobody_knows_any_more_leaves_its_signature_unchecked(run: Run, lived: Registry) -> None:
    approvers = lived.path / "approvers"
    approvers.write_text("".join(f"{line}\n" for line in approvers.read_text().splitlines() if ALICE not in line))
    code, document = verified(run, lived)
    assert code == 7
    assert document["verified"]["signatures"] == "not-checked"


def test_a_tenant_without_a_history_has_nothing_to_check(run: Run, lived: Registry) -> None:
    file_of(lived).unlink()
    assert run("registry", "history", "moitt", "--registry", lived.path) == 0
    assert "has no history yet" in run.out
    assert verified(run, lived)[0] == 7
    assert run("registry", "check", "--registry", lived.path) == 0


# --- what the cluster says of it ---


def a_parent(registry: Registry, **status: Any) -> dict[str, Any]:
    entry = entry_of(registry)
    known = {"historyHead": entry.chain.head, "revision": 4, **status}
    return {"spec": {"requestDigest": entry.digest, "revision": 4}, "status": known}


def test_a_tenant_that_its_history_bears_out_disagrees_in_nothing(lived: Registry) -> None:
    chain = entry_of(lived).chain
    assert list(disagreements("moitt", chain, a_parent(lived))) == []
    assert stray_head("moitt", chain, a_parent(lived)) is None
    lived.record("moitt", "verify", "op@host")
    assert stray_head("moitt", entry_of(lived).chain, a_parent(lived, historyHead=chain.head)) is None


def test_a_history_that_was_shortened_is_found_by_the_head_that_the_cluster_keeps(lived: Registry) -> None:
    parent = a_parent(lived)
    lines = lines_of(file_of(lived).read_bytes())
    file_of(lived).write_bytes(b"".join(lines[:3]))
    chain = entry_of(lived).chain
    assert chain.problems == ()
    warning = stray_head("moitt", chain, parent)
    assert warning is not None
    assert parent["status"]["historyHead"] in warning
    fields = [found.field for found in disagreements("moitt", chain, parent)]
    assert fields == ["status.historyHead", "spec.requestDigest"]


def test_a_tenant_of_a_revision_that_its_history_never_saw_is_found(lived: Registry) -> None:
    found = list(disagreements("moitt", entry_of(lived).chain, a_parent(lived, revision=9)))
    assert [one.field for one in found] == ["status.revision"]
