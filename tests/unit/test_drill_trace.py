"""Gaps as a drill measures them: from answer to answer, whatever the wall clock does and however probes overlap."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcloud_pk.proof.drill.trace import (
    Gap,
    Pause,
    Sample,
    first_answer,
    gaps,
    jumps,
    longest,
    measures,
    pauses,
    read,
    share,
    steady,
    unseen,
)

DATA = Path(__file__).parent / "data" / "drill"
RECORDED = sorted(DATA.glob("*.trace"))


def probes(*spans: tuple[float, float, bool], wall: float = 0.0) -> list[Sample]:
    """Return probes every 100 ms of spans (begin, end, answered), each of which takes 10 ms."""
    found = []
    for begin, end, ok in spans:
        count = round((end - begin) / 0.1)
        found += [Sample(begin + 0.1 * n, 0.01, ok, "200" if ok else "TimeoutError", wall) for n in range(count)]
    return found


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_a_recorded_trace_has_the_gap_that_its_name_tells(path: Path) -> None:
    """`reads-stopped-3.00s`: recorded while a real API server was stopped for that long, by the test's own clock."""
    seconds = float(path.stem.rpartition("-")[2].removesuffix("s"))
    samples = read(path.read_text().splitlines())
    assert len(samples) > 100
    found = gaps(samples, samples[0].at, max(one.end for one in samples))
    assert len(found) == 1
    assert found[0].seconds == pytest.approx(seconds, abs=0.35)
    assert not found[0].open
    assert pauses(samples, 0.1) == []


def test_there_are_recorded_traces() -> None:
    assert len(RECORDED) >= 2


def test_probes_that_are_all_answered_leave_no_gap() -> None:
    assert gaps(probes((0, 5, True)), 0, 5) == []


def test_a_gap_goes_from_the_last_answer_before_to_the_first_one_after() -> None:
    (gap,) = gaps(probes((0, 2, True), (2, 3.4, False), (3.4, 6, True)), 0, 6)
    assert gap.begin == pytest.approx(1.91)
    assert gap.end == pytest.approx(3.41)
    assert gap.failed == 14


def test_a_probe_that_hung_and_was_answered_in_the_end_ends_the_gap_when_it_was_answered() -> None:
    samples = [*probes((0, 2, True)), Sample(2.0, 1.2, True, "200"), *probes((2.1, 4, False))]
    (first, second) = gaps(samples, 0, 4)
    assert first.end == pytest.approx(3.2)
    assert second.open


def test_a_trace_that_ends_without_an_answer_ends_in_an_open_gap() -> None:
    (gap,) = gaps(probes((0, 2, True), (2, 8, False)), 0, 10)
    assert gap.open
    assert gap.seconds == pytest.approx(10 - 1.91)


def test_a_trace_without_any_answer_is_one_open_gap() -> None:
    assert gaps(probes((0, 3, False)), 0, 3) == [Gap(0, 3, 30, open=True)]
    assert gaps([], 0, 3) == [Gap(0, 3, 0, open=True)]


def test_what_is_shorter_than_half_a_second_is_no_gap() -> None:
    assert gaps(probes((0, 1, True), (1, 1.4, False), (1.4, 3, True)), 0, 3) == []
    assert len(gaps(probes((0, 1, True), (1, 1.5, False), (1.5, 3, True)), 0, 3)) == 1


def test_answers_outside_of_the_time_that_is_looked_at_do_not_count() -> None:
    (gap,) = gaps(probes((0, 2, True), (8, 9, True)), 3, 7)
    assert (gap.begin, gap.end) == (3, 7)


def test_a_prober_that_was_stopped_is_told_from_a_server_that_was() -> None:
    samples = [*probes((0, 2, True)), *probes((5, 7, True))]
    (gap,) = gaps(samples, 0, 7)
    (pause,) = pauses(samples, 0.1)
    assert pause.end - pause.begin == pytest.approx(3.1)
    assert gap.seconds - unseen(gap, [pause]) < 0.2


def test_a_pause_elsewhere_takes_nothing_from_a_gap() -> None:
    assert unseen(Gap(5, 7, 0), [Pause(1, 3)]) == 0
    assert unseen(Gap(5, 7, 0), [Pause(4, 6), Pause(6.5, 9)]) == 1.5


def test_a_wall_clock_that_jumps_is_told_and_changes_no_gap() -> None:
    still = probes((0, 2, True), (2, 3, False), (3, 5, True))
    jumped = [Sample(one.at, one.seconds, one.ok, one.said, 3600.0 if one.at >= 2.5 else 0.0) for one in still]
    assert gaps(jumped, 0, 5) == gaps(still, 0, 5)
    assert jumps(still) == []
    assert [(round(at, 1), seconds) for at, seconds in jumps(jumped)] == [(2.5, 3600.0)]
    back = [Sample(one.at, one.seconds, one.ok, one.said, -one.wall) for one in jumped]
    assert [seconds for _, seconds in jumps(back)] == [-3600.0]


def test_a_clock_that_is_slewed_by_a_time_server_does_not_jump() -> None:
    slewed = [Sample(n * 0.1, 0.01, ok=True, said="200", wall=n * 0.0005) for n in range(600)]
    assert jumps(slewed) == []


def test_a_trace_of_a_killed_prober_is_read_up_to_the_line_that_was_cut_off() -> None:
    lines = [one.line() for one in probes((0, 1, True))]
    cut = "\n".join(lines)[:-9]
    assert len(read(cut.splitlines())) == 9
    assert read(["nothing", "[1,2]", "{}", '[1,"x",1,"200",0]']) == []


def test_a_line_holds_what_a_sample_is() -> None:
    sample = Sample(12.3456, 0.0123, ok=False, said="ConnectionRefusedError", wall=-0.5)
    assert read([sample.line()]) == [sample]


def test_the_first_answer_after_a_moment_is_one_to_a_probe_that_began_after_it() -> None:
    samples = [Sample(0.9, 2.0, ok=True, said="200"), *probes((1, 3, False), (3, 4, True))]
    assert first_answer(samples, 1.0) == pytest.approx(3.01)
    assert first_answer(samples, 9.0) is None


def test_answers_are_back_when_they_go_on_and_not_with_a_lone_one() -> None:
    samples = probes((0, 1, True), (1, 4, False), (4, 4.1, True), (4.1, 9, False), (9, 14, True))
    assert steady(samples, 1.0, 14, 1.5, 3.0) == pytest.approx(9.01)
    assert steady(samples, 1.0, 11, 1.5, 3.0) is None
    assert steady(samples, 1.0, 14, 5.0, 3.0) == pytest.approx(4.01)
    assert steady([], 0, 9, 1.5, 3.0) is None


@pytest.mark.parametrize(("part", "wanted"), [(0.5, 2), (0.99, 4), (0, 1)])
def test_a_share_is_by_nearest_rank(part: float, wanted: int) -> None:
    assert share([4, 1, 3, 2], part) == wanted
    assert share([], part) is None


def test_figures_count_from_when_the_element_went() -> None:
    samples = probes((0, 4, True), (4, 6, False), (6, 9, True))
    found = measures(samples, 3, 9, 4)
    assert found["longest"] == pytest.approx(2.1)
    assert found["gaps"] == [{"at": -0.09, "seconds": 2.1, "failed": 20}]
    assert (found["probes"], found["failed"], found["open"]) == (60, 20, False)
    assert found["refusals"] == {"TimeoutError": 20}
    assert json.loads(json.dumps(found)) == found


@given(
    st.lists(st.tuples(st.floats(0, 60), st.floats(0.001, 5), st.booleans()), max_size=60),
    st.floats(0, 30),
    st.floats(30, 70),
)
def test_gaps_cover_all_that_was_not_answered_and_nothing_else(
    spans: list[tuple[float, float, bool]], begin: float, end: float
) -> None:
    samples = [Sample(at, seconds, ok, "") for at, seconds, ok in spans]
    found = gaps(samples, begin, end, floor=0.5)
    answers = [one.end for one in samples if one.ok and begin <= one.end <= end]
    assert all(gap.seconds > 0.5 for gap in found)
    assert all(one.end <= other.begin for one, other in pairwise(found))
    assert not any(gap.begin < answer < gap.end for gap in found for answer in answers)
    # Whatever lies further than half a second from both of its neighbours lies in a gap.
    edges = sorted([begin, *answers, end])
    wide = [(one, other) for one, other in pairwise(edges) if other - one > 0.5]
    assert [(gap.begin, gap.end) for gap in found] == wide
    worst = longest(found)
    assert (worst.seconds if worst else 0) == max((other - one for one, other in wide), default=0)


@given(st.permutations(probes((0, 2, True), (2, 3, False), (3, 4, True))))
def test_the_order_in_which_answers_came_is_no_matter(shuffled: list[Sample]) -> None:
    lines = [one.line() for one in shuffled]
    (gap,) = gaps(read(lines), 0, 4)
    assert (round(gap.begin, 2), round(gap.end, 2)) == (1.91, 3.01)
