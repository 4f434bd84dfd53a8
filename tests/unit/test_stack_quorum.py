"""Which control plane may leave: etcd keeps a majority of healthy members, whoever goes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcloud_pk.stack.quorum import majority, refusal
from gcloud_pk.stack.works import EtcdMember


def _members(words: str) -> list[EtcdMember]:
    """Return members of `c1 c2! c3`: one with `!` is not healthy."""
    return [EtcdMember(word.rstrip("!"), not word.endswith("!")) for word in words.split()]


@pytest.mark.parametrize(
    ("members", "leaving", "says"),
    [
        ("c1 c2 c3", "c2", None),
        ("c1 c2 c3!", "c3", None),
        ("c1 c2 c3!", "c2", "1 of the 2 healthy members that 2 need (not healthy: c3)"),
        ("c1 c2", "c2", None),
        ("c1 c2!", "c1", "0 of the 1 healthy members that 1 need (not healthy: c2)"),
        ("c1", "c1", "the last member"),
        ("c1 c2 c3", "w1", None),
        ("c1 c2 c3 c4! c5!", "c3", "2 of the 3 healthy members that 4 need (not healthy: c4, c5)"),
        ("c1 c2 c3 c4! c5!", "c4", None),
    ],
)
def test_a_control_plane_leaves_only_where_the_others_keep_their_majority(
    members: str, leaving: str, says: str | None
) -> None:
    found = refusal(_members(members), leaving)

    assert (found is None) == (says is None)
    assert says is None or says in (found or "")


@given(st.lists(st.booleans(), min_size=2, max_size=9))
def test_whoever_is_let_go_the_rest_has_a_healthy_majority(healthy: list[bool]) -> None:
    members = [EtcdMember(f"c{number}", one) for number, one in enumerate(healthy)]
    for leaving in members:
        rest = [one.healthy for one in members if one is not leaving]
        assert (refusal(members, leaving.name) is None) == (sum(rest) >= majority(len(rest)))
