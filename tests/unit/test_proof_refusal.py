"""Who refused, read from what real API servers said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gcloud_pk.cluster.transport import Answer
from gcloud_pk.proof.refusal import missing_right, refusal

CASES: dict[str, dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "data/proof/refusals.yaml").read_bytes())


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_one_who_refused_is_known_by_the_servers_words(case: dict[str, Any]) -> None:
    received = refusal(Answer(case["status"], {"message": case["message"]}))
    assert received is not None
    assert received.by == case["by"]
    assert received.message == case["message"]
    if "said" in case:
        assert received.said == case["said"]


def test_an_admission_is_no_refusal() -> None:
    assert refusal(Answer(201, {})) is None


def test_a_missing_right_is_named_in_the_authorizers_words() -> None:
    message = CASES["the verifier may not impersonate here"]["message"]
    assert missing_right(message) == (
        'User "gcloud-pk:verifier" cannot impersonate-on:user-info:list resource "pods" in API group "" '
        'in the namespace "a"'
    )
