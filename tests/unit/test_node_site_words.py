"""What a site says of its hosts, in the expectations of checks."""

from __future__ import annotations

from typing import Any

import pytest

from gcloud_pk.nodes import expectation
from gcloud_pk.nodes.site_words import NAMES, bound, named

WORDS: dict[str, Any] = {"admin": "ops", "audit": "eyes", "ssh_port": 2222, "time_servers": ["t1.example", "t2.org"]}


def made(written: dict[str, Any]) -> expectation.Expectation:
    return expectation.parse(written)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ({"equals": "$admin"}, "ops"),
        ({"equals": "$ssh_port"}, "2222"),
        ({"matches": ".*dport ${ssh_port} accept"}, "tcp dport 2222 accept"),
        ({"one_of": ["root", "$audit"]}, "eyes"),
        ({"subset_of": ["$time_servers"]}, ["t2.org", "t1.example"]),
        ({"each": {"fields": {"users": {"subset_of": ["$admin", "$audit"]}}}}, [{"users": ["ops"]}]),
        ({"either": [{"equals": "x"}, {"none": {"equals": "$admin"}}]}, ["root"]),
    ],
)
def test_the_words_of_the_site_stand_where_an_expectation_names_them(written: dict[str, Any], value: Any) -> None:
    assert not made(written).met(value) or "none" in str(written)
    assert bound(made(written), WORDS).met(value)


def test_what_is_expected_of_one_site_is_not_met_by_the_name_of_another() -> None:
    assert not bound(made({"one_of": ["root", "$admin"]}), WORDS).met("gcloud-pk")


def test_a_node_that_calls_a_user_by_the_sign_itself_gains_nothing() -> None:
    assert not bound(made({"equals": "$admin"}), WORDS).met("$admin")


def test_a_word_of_the_site_is_no_pattern_in_a_pattern() -> None:
    dotted = bound(made({"matches": "to ${admin}"}), {"admin": "a.b"})
    assert dotted.met("to a.b")
    assert not dotted.met("to axb")


def test_an_expectation_without_names_is_left_as_it_is() -> None:
    plain = made({"equals": "no"})
    assert bound(plain, WORDS) is plain


def test_the_names_that_an_expectation_uses_are_found_at_any_depth() -> None:
    nested = made({"none": {"fields": {"binding": {"not": {"subset_of": ["$admin", "root"]}}}}, "empty": False})
    assert named(nested) == {"admin"}
    assert named(nested) <= NAMES
