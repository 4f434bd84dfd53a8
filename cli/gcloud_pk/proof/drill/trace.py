"""What a prober saw, and the arithmetic of gaps. Pure. All moments are seconds of one machine's monotonic clock."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

FLOOR = 0.5
"""Seconds between two answers up to which nothing is said to have been away: a probe every 100 ms, and latency."""

JUMP = 0.5
"""Seconds that the wall clock may move against the monotonic one before it is told of."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One probe: begun `at`, over after `seconds`. `wall`: wall clock minus monotonic clock, in seconds."""

    at: float
    seconds: float
    ok: bool
    said: str
    wall: float = 0.0

    @property
    def end(self) -> float:
        """When its answer was there, or given up."""
        return self.at + self.seconds

    def line(self) -> str:
        """Return its line in a trace."""
        return json.dumps([round(self.at, 4), round(self.seconds, 4), int(self.ok), self.said, round(self.wall, 3)])


@dataclass(frozen=True, slots=True)
class Gap:
    """From one answer to the next. `open`: the trace ends in it, so that it is longer than it looks."""

    begin: float
    end: float
    failed: int
    open: bool = False

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Pause:
    """A time in which the prober itself asked nothing: it says nothing of who was to answer."""

    begin: float
    end: float


def read(lines: Iterable[str]) -> list[Sample]:
    """Return the samples of a trace, in the order in which they began; a line that was cut off is left out."""
    found = []
    for line in lines:
        try:
            at, seconds, ok, said, wall = json.loads(line)
            found.append(Sample(float(at), float(seconds), bool(ok), str(said), float(wall)))
        except (ValueError, TypeError):
            continue
    return sorted(found, key=lambda one: one.at)


def gaps(samples: Sequence[Sample], begin: float, end: float, floor: float = FLOOR) -> list[Gap]:
    """Return the gaps longer than `floor` seconds between `begin` and `end`: answer to answer.

    What began before and was answered within counts; the time before the first answer and after the last counts as
    from `begin` and to `end`. Source: the lab's measurements, section 4 (success to success).
    """
    answers = sorted(one.end for one in samples if one.ok and begin <= one.end <= end)
    edges = [begin, *answers, end]
    found = []
    for number in range(1, len(edges)):
        before, after = edges[number - 1], edges[number]
        if after - before > floor:
            failed = sum(not one.ok and one.end > before and one.at < after for one in samples)
            found.append(Gap(before, after, failed, open=number == len(edges) - 1))
    return found


def longest(found: Iterable[Gap]) -> Gap | None:
    """Return the longest gap, or None."""
    return max(found, key=lambda one: one.seconds, default=None)


def pauses(samples: Sequence[Sample], interval: float, slack: float = FLOOR) -> list[Pause]:
    """Return when the prober began no probe for longer than its interval and `slack`: it was stopped, or starved."""
    starts = [one.at for one in samples]
    return [Pause(one, other) for one, other in pairwise(starts) if other - one > interval + slack]


def unseen(gap: Gap, found: Iterable[Pause]) -> float:
    """Return the seconds of a gap in which the prober itself was away."""
    return sum(max(0.0, min(gap.end, one.end) - max(gap.begin, one.begin)) for one in found)


def jumps(samples: Sequence[Sample], least: float = JUMP) -> list[tuple[float, float]]:
    """Return when the wall clock jumped, and by how many seconds: forward is positive."""
    moved = ((other.at, round(other.wall - one.wall, 3)) for one, other in pairwise(samples))
    return [(at, seconds) for at, seconds in moved if abs(seconds) >= least]


def first_answer(samples: Iterable[Sample], since: float) -> float | None:
    """Return when the first probe that began after `since` was answered; None where none was."""
    return min((one.end for one in samples if one.ok and one.at >= since), default=None)


def steady(samples: Iterable[Sample], since: float, until: float, quiet: float, lasting: float) -> float | None:
    """Return when answers began that go on, to probes that began after `since`; None where none did before `until`.

    They are not more than `quiet` seconds apart for `lasting` seconds: one answer alone is no return.
    """
    answers = sorted(one.end for one in samples if one.ok and one.at >= since and one.end <= until)
    begun: float | None = None
    for before, after in pairwise([*answers, until]):
        begun = before if begun is None else begun
        if after - before > quiet:
            begun = None
        elif after - begun >= lasting:
            return begun
    return None


def share(values: Sequence[float], part: float) -> float | None:
    """Return the value that `part` (0 to 1) of all do not exceed (nearest rank); None where there is none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def measures(samples: Sequence[Sample], begin: float, end: float, zero: float) -> dict[str, Any]:
    """Return what a trace comes to, for the report; moments count from `zero`, the element's loss."""
    within = [one for one in samples if begin <= one.at <= end]
    found = gaps(samples, begin, end)
    worst = longest(found)
    latency = [one.seconds for one in within if one.ok]
    lengths = [one.seconds for one in found]
    said: dict[str, int] = {}
    for one in within:
        if not one.ok:
            said[one.said] = said.get(one.said, 0) + 1
    return {
        "probes": len(within),
        "failed": len(within) - len(latency),
        "longest": round(worst.seconds, 3) if worst else 0.0,
        "p50": round(median(lengths), 3) if lengths else 0.0,
        "open": worst.open if worst else False,
        "gaps": [
            {"at": round(one.begin - zero, 3), "seconds": round(one.seconds, 3), "failed": one.failed} for one in found
        ],
        "latency": {"p50": _rounded(share(latency, 0.5)), "p99": _rounded(share(latency, 0.99))},
        "refusals": dict(sorted(said.items(), key=lambda item: -item[1])[:5]),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
