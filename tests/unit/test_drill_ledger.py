"""The ledger: on the disk before a write is sent, judged even when the drill was killed; what is unknown stays so."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcloud_pk.errors import UnavailableError
from gcloud_pk.proof.drill.ledger import Balance, Entry, Ledger, Outcome, balance, read

KEPT, REFUSED, UNSENT, UNKNOWN = Outcome.ACKNOWLEDGED, Outcome.REFUSED, Outcome.UNSENT, Outcome.UNKNOWN


def ledger(*outcomes: Outcome) -> dict[int, Entry]:
    return {number: Entry(number, f"t{number}", outcome) for number, outcome in enumerate(outcomes)}


def test_what_was_acknowledged_and_is_not_there_is_lost() -> None:
    found = balance(ledger(KEPT, KEPT, KEPT), {0: "t0", 2: "t2"})
    assert (found.kept, found.lost, found.acknowledged) == ((0, 2), (1,), 3)


def test_what_is_there_with_another_content_is_altered_and_counts_as_acknowledged() -> None:
    found = balance(ledger(KEPT), {0: "other"})
    assert (found.altered, found.lost, found.acknowledged) == ((0,), (), 1)


def test_what_was_not_answered_may_be_there_or_not() -> None:
    found = balance(ledger(UNKNOWN, UNKNOWN), {0: "t0"})
    assert (found.arrived, found.missing, found.lost, found.strange) == ((0,), (1,), (), ())


@pytest.mark.parametrize("outcome", [REFUSED, UNSENT])
def test_what_was_refused_or_never_sent_is_strange_where_it_is_there(outcome: Outcome) -> None:
    assert balance(ledger(outcome), {}) == Balance(refused=(0,))
    assert balance(ledger(outcome), {0: "t0"}) == Balance(strange=(0,))


def test_what_nobody_wrote_down_is_strange() -> None:
    assert balance({}, {7: "t7"}) == Balance(strange=(7,))


def test_an_intention_without_an_outcome_is_unknown(tmp_path: Path) -> None:
    """As a drill that was killed leaves it."""
    path = tmp_path / "ledger.jsonl"
    written = Ledger(path)
    written.intend(0, "a")
    written.close_entry(0, KEPT)
    written.intend(1, "b")
    assert read(path.read_text().splitlines()) == {0: Entry(0, "a", KEPT), 1: Entry(1, "b", UNKNOWN)}


def test_a_ledger_that_was_cut_off_is_read_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    written = Ledger(path)
    for number in range(5):
        written.intend(number, "x")
        written.close_entry(number, KEPT)
    written.close()
    whole = path.read_bytes()
    for size in range(len(whole)):
        entries = read(whole[:size].decode().splitlines())
        assert len(entries) <= 5
        assert all(one.outcome in {KEPT, UNKNOWN} for one in entries.values())
    assert len(read(whole.decode().splitlines())) == 5


def test_an_intention_is_on_the_disk_before_it_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.jsonl"
    synced: list[str] = []
    monkeypatch.setattr(os, "fdatasync", lambda _: synced.append(path.read_text()))
    written = Ledger(path)
    written.intend(3, "token")
    assert [json.loads(one) for one in synced] == [{"n": 3, "token": "token"}]
    written.close_entry(3, KEPT)
    assert len(synced) == 1


def test_a_ledger_is_its_owners_alone(tmp_path: Path) -> None:
    Ledger(tmp_path / "ledger.jsonl").close()
    assert stat.S_IMODE((tmp_path / "ledger.jsonl").stat().st_mode) == 0o600


def test_a_ledger_that_cannot_be_written_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="cannot be written") as told:
        Ledger(tmp_path / "missing" / "ledger.jsonl")
    assert "nothing is taken out" in str(told.value.resolution)


def test_a_link_in_the_place_of_a_ledger_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnavailableError):
        Ledger(tmp_path / "ledger.jsonl")
    assert not (tmp_path / "elsewhere").exists()


@given(
    st.lists(st.sampled_from(Outcome), max_size=40),
    st.sets(st.integers(0, 45)),
    st.sets(st.integers(0, 45)),
)
def test_every_write_is_counted_once_and_none_that_was_acknowledged_is_overlooked(
    outcomes: list[Outcome], there: set[int], altered: set[int]
) -> None:
    entries = ledger(*outcomes)
    found = {number: "other" if number in altered else f"t{number}" for number in there}
    made = balance(entries, found)
    sorts = (made.kept, made.lost, made.altered, made.arrived, made.missing, made.refused, made.strange)
    numbers = [number for sort in sorts for number in sort]
    assert sorted(numbers) == sorted(entries.keys() | there)
    acknowledged = {number for number, one in entries.items() if one.outcome is KEPT}
    assert set(made.lost) == acknowledged - there
    assert acknowledged - set(made.lost) - set(made.altered) == set(made.kept)
    assert sum(made.as_dict()[name] for name in ("kept", "lost")) <= made.acknowledged
