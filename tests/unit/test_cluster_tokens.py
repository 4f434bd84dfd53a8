"""Tokens that are bound to nodes: which are kept, and which are made anew."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from tests.unit.cluster_modules import cluster_tokens

NODE = {"name": "c1", "uid": "u1"}
NOW, HOURS = 1_000_000.0, 900


def token(**claims: Any) -> str:
    whole = {"exp": NOW + HOURS * 3600, "kubernetes.io": {"node": NODE}} | claims
    middle = base64.urlsafe_b64encode(json.dumps(whole).encode()).rstrip(b"=").decode()
    return f"head.{middle}.signature"


def test_a_token_of_this_very_node_and_far_from_its_end_is_kept() -> None:
    assert cluster_tokens.fresh(token(), NODE, HOURS, NOW)


@pytest.mark.parametrize(
    "made",
    [
        "",
        "no.token",
        "head.%%%.signature",
        token(exp=NOW + HOURS * 3600 / 3),
        token(exp="soon"),
        token(**{"kubernetes.io": {"node": {"name": "c1", "uid": "of a node before it"}}}),
        token(**{"kubernetes.io": {}}),
        token(**{"kubernetes.io": None}),
    ],
    ids=["none", "no token", "torn", "due", "no time", "of a former node", "of no node", "of nothing"],
)
def test_any_other_is_made_anew(made: str) -> None:
    assert not cluster_tokens.fresh(made, NODE, HOURS, NOW)
