"""Allowed signers are read more strictly than ssh-keygen does."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest

from gcloud_pk.registry import approvers

NAMESPACES = 'namespaces="gcloud-pk-approval"'
# {a}, {b}: public keys of alice and bob; {cert}: a certificate; {rsa2048}, {dsa}: weak keys.
INVALID = {
    "wildcard": (f"*@ntc.example {NAMESPACES} {{a}}", "a wildcard"),
    "wildcard alone": (f"* {NAMESPACES} {{a}}", "a wildcard"),
    "negation": (f"!alice {NAMESPACES} {{a}}", "a wildcard"),
    "list of principals": (f"alice,bob {NAMESPACES} {{a}}", "a list of principals"),
    "quoted principal": (f'"alice" {NAMESPACES} {{a}}', "not a principal"),
    "capitals": (f"Alice {NAMESPACES} {{a}}", "not a principal"),
    "path as a principal": (f"../alice {NAMESPACES} {{a}}", "not a principal"),
    "certificate authority": (f"alice cert-authority,{NAMESPACES} {{a}}", "cert-authority"),
    "certificate key": (f"alice {NAMESPACES} {{cert}}", "certificate"),
    "no namespaces": ("alice {a}", "no namespaces="),
    "only a time": ('alice valid-after="20260101" {a}', "namespaces"),
    "empty namespaces": ('alice namespaces="" {a}', "namespaces names ''"),
    "namespace with wildcard": ('alice namespaces="gcloud-pk-*" {a}', "namespaces names"),
    "namespaces twice": (f'alice {NAMESPACES},namespaces="file" {{a}}', "twice"),
    "unknown option": (f"alice {NAMESPACES},no-touch-required {{a}}", "not known"),
    "capital option": (f'alice {NAMESPACES},Valid-After="20260101" {{a}}', "not known"),
    "no key": (f"alice {NAMESPACES} ssh-ed25519", "there is no key"),
    "weak RSA": (f"alice {NAMESPACES} {{rsa2048}}", "2048 bits"),
    "DSA": (f"alice {NAMESPACES} {{dsa}}", "not admitted"),
    "key of another type than it says": (f"alice {NAMESPACES} ecdsa-sha2-nistp256 {{a_blob}}", "another type"),
    "key cut short": (f"alice {NAMESPACES} ssh-ed25519 {{a_cut}}", "cannot be read"),
    "no base64": (f"alice {NAMESPACES} ssh-ed25519 !!!!", "cannot be read"),
    "no time": (f'alice {NAMESPACES},valid-before="soon" {{a}}', "not a time"),
    "no day": (f'alice {NAMESPACES},valid-before="20260231" {{a}}', "not a time"),
    "tab": (f"alice\t{NAMESPACES} {{a}}", "tab"),
    "carriage return": (f"alice {NAMESPACES} {{a}}\r", "carriage return"),
    "principal twice": (f"alice {NAMESPACES} {{a}}\nalice {NAMESPACES} {{b}}", "stands in line 1"),
    "one key under two names": (f"alice {NAMESPACES} {{a}}\nbob {NAMESPACES} {{a}}", "that of 'alice' in line 1"),
}


@pytest.fixture(scope="module")
def texts(keys: Path, public: Callable[[str], str]) -> dict[str, str]:
    blob = public("alice").split()[1]
    dsa = base64.b64encode(b"\0\0\0\x07ssh-dss" + b"\0\0\0\x01\x01" * 4).decode()
    return {
        "a": public("alice"),
        "b": public("bob"),
        "a_blob": blob,
        "a_cut": base64.b64encode(base64.b64decode(blob)[:-3]).decode(),
        "cert": " ".join((keys / "alice-cert.pub").read_text().split()[:2]),
        "rsa2048": public("rsa2048"),
        "dsa": f"ssh-dss {dsa}",
    }


@pytest.mark.parametrize("case", INVALID)
def test_a_line_that_could_count_for_more_than_one_key_of_one_person_is_refused(
    case: str, texts: dict[str, str]
) -> None:
    text, expected = INVALID[case]
    found = approvers.parse((text.format(**texts) + "\n").encode(), "approvers").problems
    assert len(found) == 1
    assert expected in found[0].message
    assert found[0].line == (2 if "\n" in text else 1)
    assert found[0].expected


def test_a_proper_line_is_read_with_its_times_in_utc(texts: dict[str, str]) -> None:
    text = (
        "# keepers\n\n"
        'alice@ntc.example namespaces="gcloud-pk-approval,gcloud-pk-state",valid-after="20260101",'
        f'valid-before="202801021530Z" {texts["a"]} a comment\n'
    )
    found = approvers.parse(text.encode(), "approvers")
    assert found.problems == ()
    (signer,) = found.listed
    assert (signer.principal, signer.line) == ("alice@ntc.example", 3)
    assert signer.namespaces == {"gcloud-pk-approval", "gcloud-pk-state"}
    assert signer.valid_after == dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    assert signer.valid_before == dt.datetime(2028, 1, 2, 15, 30, tzinfo=dt.UTC)
    assert approvers.parse(signer.as_line().encode(), "again").listed[0].key == signer.key


@pytest.mark.parametrize("name", ["alice", "ecdsa"])
def test_the_fingerprint_is_what_ssh_keygen_prints(keys: Path, public: Callable[[str], str], name: str) -> None:
    import subprocess

    printed = subprocess.run(
        ["ssh-keygen", "-l", "-f", keys / f"{name}.pub"], capture_output=True, text=True, check=True
    )
    kind, encoded = public(name).split()
    assert approvers.public_key(kind, encoded).fingerprint == printed.stdout.split()[1]


def test_bytes_that_are_no_text_are_a_problem_with_a_line() -> None:
    found = approvers.parse(b"# fine\n\xff\n", "approvers")
    assert [(p.line, p.message) for p in found.problems] == [(2, "is not UTF-8")]
