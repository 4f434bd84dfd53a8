"""How much arrives: a maximum flow from the sources to loads, and what is left of it where something is out.

The flow is kept; where an arc is lost, only what it carried is taken back and led another way (augmenting paths, Ford
and Fulkerson 1956), so that thousands of elements can be tried one by one. Amounts are whole watts: sums are exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

SOURCE = 0
"""The node that all sources hang on."""

_NOTHING: Mapping[int, int] = {}


@dataclass(frozen=True, slots=True)
class Shortage:
    """What does not arrive: watts of each load (by its number), and the loads that share what is missing."""

    missing: dict[int, int]
    sharing: frozenset[int]


class _State(NamedTuple):
    capacity: list[int]
    flow: list[int]
    served: list[int]


class Flow:
    """A network of arcs with capacities in watts. Loads draw at nodes; each node at most one load."""

    def __init__(self) -> None:
        self._tail: list[int] = []
        self._head: list[int] = []
        self._capacity: list[int] = []
        self._into: list[list[int]] = [[]]
        self._out: list[list[int]] = [[]]
        self._loads: list[tuple[int, int]] = []
        self._load_at: dict[int, int] = {}
        self._settled: tuple[_State, Shortage] | None = None

    def node(self) -> int:
        """Add a node and return its number."""
        self._into.append([])
        self._out.append([])
        return len(self._into) - 1

    def arc(self, tail: int, head: int, capacity: int) -> int:
        """Add an arc of a capacity in watts and return its number."""
        arc = len(self._tail)
        self._tail.append(tail)
        self._head.append(head)
        self._capacity.append(capacity)
        self._out[tail].append(arc)
        self._into[head].append(arc)
        return arc

    def load(self, node: int, watts: int) -> int:
        """Add a load that draws at a node and return its number."""
        self._load_at[node] = len(self._loads)
        self._loads.append((node, watts))
        return len(self._loads) - 1

    def shortage(self, out: Sequence[int] = (), less: Mapping[int, int] = _NOTHING) -> Shortage:
        """Return what does not arrive with some arcs out. `less`: watts that loads draw less meanwhile."""
        state, as_it_is = self._base()
        if not less and not any(state.flow[arc] for arc in out):
            return as_it_is
        state = _State(state.capacity.copy(), state.flow.copy(), state.served.copy())
        for arc in out:
            self._take_out(state, arc)
        for load, spared in less.items():
            node, watts = self._loads[load]
            if (over := state.served[load] - (watts - spared)) > 0:
                self._recede(state, node, over)
                state.served[load] -= over
        return self._fill(state, less)

    def _base(self) -> tuple[_State, Shortage]:
        if self._settled is None:
            state = _State(self._capacity.copy(), [0] * len(self._tail), [0] * len(self._loads))
            shortage = self._fill(state, _NOTHING)
            self._straighten(state)
            self._settled = state, shortage
        return self._settled

    def _straighten(self, state: _State) -> None:
        """Take out what goes in circles (in a ring main): it reaches nobody, and cannot be taken back."""
        done: set[int] = set()
        for start in range(len(self._into)):
            walk: list[int] = []  # arcs from `start` on
            at = start
            while at not in done:
                arc = next((one for one in self._out[at] if state.flow[one] and self._head[one] not in done), None)
                if arc is None:
                    done.add(at)
                    at = self._tail[walk.pop()] if walk else start
                    continue
                walk.append(arc)
                at = self._head[arc]
                tails = [self._tail[one] for one in walk]
                if at in tails:
                    circle = walk[tails.index(at) :]
                    least = min(state.flow[one] for one in circle)
                    for one in circle:
                        state.flow[one] -= least
                    walk = walk[: tails.index(at)]

    def _take_out(self, state: _State, arc: int) -> None:
        """Close an arc; what it carried is missing above it and below it."""
        carried, state.flow[arc], state.capacity[arc] = state.flow[arc], 0, 0
        self._recede(state, self._tail[arc], carried)
        self._drop(state, self._head[arc], carried)

    def _recede(self, state: _State, node: int, amount: int) -> None:
        """Send `amount` less to a node, up to the source."""
        rest = [(node, amount)]
        while rest:
            at, less = rest.pop()
            for arc in self._into[at] if at != SOURCE else ():
                if not less:
                    break
                taken = min(less, state.flow[arc])
                if taken:
                    state.flow[arc] -= taken
                    less -= taken
                    rest.append((self._tail[arc], taken))

    def _drop(self, state: _State, node: int, amount: int) -> None:
        """Let `amount` less leave a node, down to the loads."""
        rest = [(node, amount)]
        while rest:
            at, less = rest.pop()
            if at in self._load_at:
                state.served[self._load_at[at]] -= less
                continue
            for arc in self._out[at]:
                if not less:
                    break
                taken = min(less, state.flow[arc])
                if taken:
                    state.flow[arc] -= taken
                    less -= taken
                    rest.append((self._head[arc], taken))

    def _fill(self, state: _State, less: Mapping[int, int]) -> Shortage:
        """Lead to each load what can be led there.

        What the search for a load could not get past stays closed: all of it shares the shortage (the sink's side of
        the smallest cut, which is the same whatever flow was found).
        """
        missing: dict[int, int] = {}
        dead: set[int] = set()
        for load, (node, watts) in enumerate(self._loads):
            wanted = watts - less.get(load, 0) - state.served[load]
            while wanted and node not in dead:
                led = self._lead(state, node, wanted, dead)
                state.served[load] += led
                wanted -= led
            if wanted:
                missing[load] = wanted
        sharing = frozenset(
            load for load, (node, watts) in enumerate(self._loads) if node in dead and watts > less.get(load, 0)
        )
        return Shortage(missing, sharing)

    def _lead(self, state: _State, node: int, wanted: int, dead: set[int]) -> int:
        """Lead up to `wanted` watts to a node by one path and return them; 0, with all that was seen in `dead`."""
        step: dict[int, tuple[int, int]] = {}  # node → the next node towards the load, and the arc between (~arc: back)
        seen = {node}
        ahead, detours = [node], list[int]()
        while ahead or detours:
            at = ahead.pop() if ahead else detours.pop()
            if at == SOURCE:
                return self._push(state, node, wanted, step)
            for arc in self._out[at]:
                before = self._head[arc]
                if state.flow[arc] and before not in seen and before not in dead:
                    seen.add(before)
                    step[before] = at, ~arc
                    detours.append(before)
            for arc in self._into[at]:  # tried first: straight on to the source
                before = self._tail[arc]
                if state.flow[arc] < state.capacity[arc] and before not in seen and before not in dead:
                    seen.add(before)
                    step[before] = at, arc
                    ahead.append(before)
        dead |= seen
        return 0

    def _push(self, state: _State, node: int, wanted: int, step: dict[int, tuple[int, int]]) -> int:
        arcs: list[int] = []
        at = SOURCE
        while at != node:
            at, arc = step[at]
            arcs.append(arc)
        led = min(wanted, *(state.capacity[arc] - state.flow[arc] if arc >= 0 else state.flow[~arc] for arc in arcs))
        for arc in arcs:
            if arc >= 0:
                state.flow[arc] += led
            else:
                state.flow[~arc] -= led
        return led
