"""What arrives, and what is left with something out: compared with a maximum flow by networkx."""

from __future__ import annotations

from typing import Any

import networkx as nx
from hypothesis import given, settings
from hypothesis import strategies as st

from gcloud_pk.facility.flow import SOURCE, Flow

Network = tuple[int, list[tuple[int, int, int]], list[tuple[int, int]]]


@st.composite
def networks(draw: Any) -> Network:
    """Return how many nodes there are beside the source, arcs (circles too), and loads at nodes that nothing leaves."""
    inner = draw(st.integers(1, 5))
    loads = draw(st.integers(1, 3))
    ends = st.integers(SOURCE, inner)
    arcs = draw(st.lists(st.tuples(ends, st.integers(1, inner), st.integers(0, 6)), max_size=14))
    drawn = draw(
        st.lists(st.tuples(ends, st.integers(inner + 1, inner + loads), st.integers(0, 6)), min_size=1, max_size=6)
    )
    wanted = [(inner + 1 + number, draw(st.integers(0, 8))) for number in range(loads)]
    return inner + loads, [arc for arc in (*arcs, *drawn) if arc[0] != arc[1]], wanted


def built(network: Network) -> tuple[Flow, list[int]]:
    nodes, arcs, loads = network
    flow = Flow()
    assert [flow.node() for _ in range(nodes)] == list(range(1, nodes + 1))
    numbers = [flow.arc(*arc) for arc in arcs]
    for node, watts in loads:
        flow.load(node, watts)
    return flow, numbers


def missing(network: Network, out: set[int]) -> int:
    """Return what does not arrive, by networkx."""
    nodes, arcs, loads = network
    graph: nx.DiGraph[object] = nx.DiGraph()
    graph.add_nodes_from([*range(nodes + 1), "sink"])
    for number, (tail, head, capacity) in enumerate(arcs):
        if number not in out:
            graph.add_edge((tail, number), head, capacity=capacity)
            graph.add_edge(tail, (tail, number))
    for node, watts in loads:
        graph.add_edge(node, "sink", capacity=watts)
    return sum(watts for _, watts in loads) - int(nx.maximum_flow_value(graph, SOURCE, "sink"))


@settings(max_examples=50, deadline=None)
@given(networks(), st.data())
def test_what_does_not_arrive_is_what_a_maximum_flow_leaves_whatever_is_out(network: Network, data: Any) -> None:
    flow, numbers = built(network)
    for _ in range(3):
        out = data.draw(st.lists(st.sampled_from(numbers), max_size=3, unique=True)) if numbers else []
        assert sum(flow.shortage(out).missing.values()) == missing(network, set(out))
    assert sum(flow.shortage().missing.values()) == missing(network, set())


@settings(max_examples=40, deadline=None)
@given(networks())
def test_a_load_shares_a_shortage_exactly_where_it_would_be_missed_less(network: Network) -> None:
    flow, _ = built(network)
    nodes, arcs, loads = network
    total = missing(network, set())
    less = {
        number
        for number, (node, watts) in enumerate(loads)
        if watts and missing((nodes, arcs, [(at, w - (at == node)) for at, w in loads]), set()) < total
    }
    assert flow.shortage().sharing == less


@settings(max_examples=30, deadline=None)
@given(networks(), st.data())
def test_what_a_load_draws_less_is_left_to_others(network: Network, data: Any) -> None:
    flow, numbers = built(network)
    nodes, arcs, loads = network
    out = data.draw(st.lists(st.sampled_from(numbers), max_size=2, unique=True)) if numbers else []
    less = {
        number: data.draw(st.integers(0, watts)) for number, (_, watts) in enumerate(loads) if data.draw(st.booleans())
    }
    rest = [(node, watts - less.get(number, 0)) for number, (node, watts) in enumerate(loads)]
    assert sum(flow.shortage(out, less).missing.values()) == missing((nodes, arcs, rest), set(out))


RING: Network = (
    7,
    [
        *[(0, 3, 3), (3, 1, 4), (1, 2, 4), (4, 3, 2), (1, 4, 2), (2, 3, 2), (0, 1, 1), (0, 4, 4)],
        *[(3, 5, 9), (1, 6, 9), (4, 7, 9)],
    ],
    [(5, 4), (6, 1), (7, 1)],
)
"""The loads of 3, 1 and 4 are led so that one unit goes 3 → 1 → 2 → 3."""


def test_what_goes_in_circles_is_not_kept() -> None:
    flow, numbers = built(RING)
    assert not flow.shortage().missing
    kept = flow._base()[0].flow
    graph: nx.DiGraph[int] = nx.DiGraph([RING[1][number][:2] for number in numbers if kept[number]])
    assert nx.is_directed_acyclic_graph(graph)
    for number in numbers:
        assert sum(flow.shortage([number]).missing.values()) == missing(RING, {number})
