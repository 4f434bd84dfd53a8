"""What a node sends is untrusted: one document of the right form for the question asked, or nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gcloud_pk.nodes.collector import MARK
from gcloud_pk.nodes.facts import DEPTH, LIMIT, SECTIONS, VALUES, DishonestError, read

NONCE = "4d2f"
NODE = {"os": {"id": "debian"}, "kernel": "6.1", "virtualization": "none", "shared_kernel": False}


def document(**changes: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "nonce": NONCE,
        "seconds": 0.5,
        "refused": {},
        "broken": {},
        "facts": {"node": NODE, "units_enabled": ["ssh.service"], "nft": None},
    } | changes


def sent(said: Any, before: str = "") -> bytes:
    text = said if isinstance(said, str) else json.dumps(said)
    return f"{before}\n{MARK}{text}\n".encode()


def facts(**sections: Any) -> dict[str, Any]:
    return document(facts={"node": NODE, **sections})


def test_an_honest_answer_is_read_whatever_the_login_shell_said_before() -> None:
    found = read(sent(document(refused={"nft": "not allowed"}), before="Welcome to node-1!"), NONCE)
    assert found.values["units_enabled"] == ["ssh.service"]
    assert found.refused == {"nft": "not allowed"}
    assert not found.shared_kernel


def nested(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "other-text": b"bash: python3: command not found\n",
    "no-json": sent("{'a': 1}"),
    "half-a-document": sent(json.dumps(document())[:-5]),
    "not-a-number": sent('{"version": 1, "nonce": "4d2f", "facts": {"swaps": [NaN]}}'),
    "a-list": sent([1, 2]),
    "another-version": sent(document(version=2)),
    "an-old-answer": sent(document(nonce="0000")),
    "no-facts": sent(document(facts=[])),
    "a-section-of-its-own": sent(facts(outside={"ports": {"open": []}})),
    "a-list-of-its-own": sent(facts(outside=[])),
    "what-the-site-says": sent(facts(site={"admin": "eve"})),
    "a-section-of-another-kind": sent(facts(users={"root": 0})),
    "a-text-for-a-list": sent(facts(units_enabled="ssh.service")),
    "a-user-without-uid": sent(facts(users=[{"name": "root"}])),
    "a-flag-for-a-number": sent(
        facts(
            users=[
                {"name": "r", "uid": False, "gid": 0, "home": "/", "shell": "", "login": True, "groups": []},
            ]
        )
    ),
    "a-machine-that-does-not-say": sent(document(facts={"node": {"shared_kernel": "yes"}})),
    "no-machine": sent(document(facts={})),
    "too-deep": sent(facts(banners={"issue": nested(DEPTH)})),
    "deep-enough-for-recursion": sent("[" * 200_000),
    "too-many-values": sent(facts(swaps=["x"] * (VALUES + 1))),
    "a-number-of-a-thousand-digits": sent(facts(banners={"issue": 10**1000})),
    "a-number-of-a-million-digits": sent('{"version": ' + "1" * 1_000_000 + "}"),
    "too-large": sent(facts(banners={"issue": "x" * LIMIT})),
    "a-text-too-long": sent(facts(banners={"issue": "x" * (2 << 20)})),
    "reasons-that-are-no-texts": sent(document(refused={"nft": 1})),
    "reasons-that-are-a-list": sent(document(broken=["nft"])),
    "withholding-what-is-seen-from-outside": sent(document(refused={"outside.ports": "no"})),
    "a-name-twice": sent('{"version": 1, "version": 1, "nonce": "4d2f"}'),
    "bytes-that-are-no-text": b"\n" + MARK.encode() + b"\xff\xfe{}",
}  # fmt: skip


@pytest.mark.parametrize("answer", HOSTILE.values(), ids=HOSTILE)
def test_what_no_honest_collector_sends_is_refused_as_a_whole(answer: bytes) -> None:
    with pytest.raises(DishonestError):
        read(answer, NONCE)


def test_every_section_of_the_collector_is_known() -> None:
    from gcloud_pk.nodes.collector import _SECTIONS

    assert set(_SECTIONS) | {"missing"} == SECTIONS
