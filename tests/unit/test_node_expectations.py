"""Expectations are total: whatever a node sends, they answer yes or no, and what is absent is never a yes."""

from __future__ import annotations

import json
from pathlib import Path as File
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gcloud_pk.nodes import expectation, path
from gcloud_pk.nodes.expectation import LONGEST, WrittenWrongError

CASES = yaml.safe_load(File(__file__).with_name("data").joinpath("nodes", "expectations.yaml").read_text())

ALL: list[dict[str, Any]] = [
    {"equals": "no"},
    {"one_of": ["a", 1]},
    {"at_least": 3},
    {"at_most": 3},
    {"matches": "(a+)+b"},
    {"mode_at_most": "0640"},
    {"present": True},
    {"empty": True},
    {"empty": False},
    {"contains_all": ["a"]},
    {"contains_any": ["a"]},
    {"lacks": ["a"]},
    {"subset_of": ["a"]},
    {"ordered": ["a", "b"]},
    {"count": {"at_most": 0}},
    {"each": {"equals": "a"}},
    {"any": {"equals": "a"}},
    {"none": {"equals": "a"}},
    {"fields": {"mode": {"mode_at_most": "0600"}}},
    {"not": {"equals": "a"}},
    {"either": [{"equals": "a"}, {"not": {"equals": "b"}}]},
]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: json.dumps(case["expect"])[:60])
def test_an_expectation_is_met_by_what_it_says_and_by_nothing_else(case: dict[str, Any]) -> None:
    expect = expectation.parse(case["expect"])
    assert [value for value in case["meets"] if not expect.met(value)] == []
    assert [value for value in case["misses"] if expect.met(value)] == []


def test_every_operator_has_cases_of_both_kinds() -> None:
    assert {name for case in CASES for name in case["expect"]} == {name for one in ALL for name in one}
    assert all(case["meets"] and case["misses"] for case in CASES)


@pytest.mark.parametrize("written", ALL, ids=str)
def test_what_is_absent_meets_nothing(written: dict[str, Any]) -> None:
    assert not expectation.parse(written).met(None)


def test_only_present_false_is_met_by_what_is_absent() -> None:
    assert expectation.parse({"present": False}).met(None)
    assert not expectation.parse({"present": False}).met("")


@settings(max_examples=60, deadline=None)
@given(JSON)
def test_no_value_makes_an_operator_raise(value: Any) -> None:
    for written in ALL:
        made = expectation.parse(written)
        assert made.met(value) in {True, False}
        made.offenders(value)
        expectation.shown(value)


def test_a_text_that_is_too_long_is_not_matched() -> None:
    expect = expectation.parse({"matches": "a*"})
    assert expect.met("a" * LONGEST)
    assert not expect.met("a" * (LONGEST + 1))


def test_those_that_offend_are_named() -> None:
    assert expectation.parse({"each": {"equals": "no"}}).offenders(["no", "yes"]) == ["yes"]
    assert expectation.parse({"lacks": ["3des"]}).offenders(["aes", "3des"]) == ["3des"]
    assert expectation.parse({"equals": "no"}).offenders("yes") is None


@pytest.mark.parametrize(
    ("written", "where", "message"),
    [
        ({"equal": "no"}, ("equal",), "there is no operator 'equal'"),
        ({}, (), "is no expectation"),
        ("no", (), "is no expectation"),
        ({"each": {"at_least": "3"}}, ("each", "at_least"), "3 does not fit"),
        ({"matches": "("}, ("matches",), "( does not fit"),
        ({"mode_at_most": "640x"}, ("mode_at_most",), "640x does not fit"),
        ({"one_of": []}, ("one_of",), "[] does not fit"),
        ({"either": [{"equals": 1}]}, ("either",), "is no list of expectations"),
        ({"fields": {"a": {"b": 1}}}, ("fields", "a", "b"), "there is no operator 'b'"),
    ],
)
def test_what_is_written_wrong_is_named_with_its_place(written: Any, where: tuple[str, ...], message: str) -> None:
    with pytest.raises(WrittenWrongError) as caught:
        expectation.parse(written)
    assert (caught.value.problems[0][0], caught.value.problems[0][1]) == (where, message)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("sysctl.live[net.ipv4.ip_forward]", "1"),
        ("paths[/etc/shadow].mode", "0640"),
        ("sshd.contexts[*].permitrootlogin", ["no", None]),
        ("users[*].name", ["root"]),
        ("users[*].name[*]", [None]),
        ("paths[/etc/none].mode", None),
        ("default_target[*]", None),
        ("default_target.name", None),
    ],
)
def test_a_path_leads_to_what_it_names_or_to_nothing(text: str, value: Any) -> None:
    facts = {
        "sysctl": {"live": {"net.ipv4.ip_forward": "1"}},
        "paths": {"/etc/shadow": {"mode": "0640"}},
        "sshd": {"contexts": {"root": {"permitrootlogin": "no"}, "audit": {}}},
        "users": [{"name": "root"}],
        "default_target": "multi-user.target",
    }
    assert path.parse(text).find(facts) == value


@pytest.mark.parametrize("text", ["", ".a", "[a]", "a..b", "a[b", "a]b", "a b", "a.", "a[]"])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no path"):
        path.parse(text)


def test_the_values_of_a_mapping_are_rows_that_know_their_name() -> None:
    assert path.items({"a": {"mode": "0600"}}) == [{"name": "a", "mode": "0600"}]
    assert path.items("text") is None
