"""Signatures are OpenSSH's: ssh-keygen by hand and this program agree, both ways round."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gcloud_pk.errors import RefusedError, UnavailableError
from gcloud_pk.registry import approvers, signatures
from gcloud_pk.registry.approvers import APPROVAL, STATE, Signers
from gcloud_pk.registry.signatures import Claim, Fault, SignatureError

NOW = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)
DATA = b"metadata: {name: moitt}\r\n\0not even text\xff"


@pytest.fixture(scope="module")
def signers(public: Callable[[str], str]) -> Signers:
    return approvers.parse(
        (
            f'alice namespaces="{APPROVAL}" {public("alice")}\n'
            f'bob namespaces="{APPROVAL}",valid-after="20260101",valid-before="20260601115959" {public("bob")}\n'
            f'carol namespaces="{STATE}" {public("carol")}\n'
            f'ecdsa namespaces="{APPROVAL}" {public("ecdsa")}\n'
        ).encode(),
        "approvers",
    )


@pytest.mark.parametrize("name", ["alice", "ecdsa"])
def test_a_signature_made_by_hand_counts(signers: Signers, sign: Callable[..., bytes], name: str) -> None:
    assert signatures.verify(DATA, sign(DATA, name, APPROVAL), APPROVAL, signers, NOW).principal == name


@pytest.mark.parametrize("name", ["alice", "ecdsa"])
def test_our_signature_is_verified_by_ssh_keygen(signers: Signers, keys: Path, tmp_path: Path, name: str) -> None:
    signature, signer = signatures.sign_as(DATA, keys / name, APPROVAL, signers, NOW)
    (tmp_path / "signature").write_bytes(signature)
    (tmp_path / "allowed").write_text(signer.as_line())
    command = ["ssh-keygen", "-Y", "verify", "-f", "allowed", "-I", name, "-n", APPROVAL, "-s", "signature"]
    done = subprocess.run(command, input=DATA, cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"Good")


def test_other_bytes_another_namespace_another_key_or_another_time_do_not_count(
    signers: Signers, sign: Callable[..., bytes]
) -> None:
    good = sign(DATA, "alice", APPROVAL)
    cases = {
        Fault.OTHER_BYTES: (DATA + b" ", good),
        Fault.NAMESPACE: (DATA, sign(DATA, "alice", STATE)),
        Fault.UNKNOWN_KEY: (DATA, sign(DATA, "stranger", APPROVAL)),
        Fault.NOT_ENTITLED: (DATA, sign(DATA, "carol", APPROVAL)),
        Fault.NOT_VALID: (DATA, sign(DATA, "bob", APPROVAL)),
    }
    for fault, (data, signature) in cases.items():
        with pytest.raises(SignatureError) as caught:
            signatures.verify(data, signature, APPROVAL, signers, NOW)
        assert caught.value.fault is fault


def test_every_changed_byte_of_a_signature_makes_it_count_no_more(signers: Signers, sign: Callable[..., bytes]) -> None:
    good = sign(DATA, "alice", APPROVAL)
    claims = []
    for position in range(40, len(good) - 40, 7):
        if good[position : position + 1] in b"\n=":
            continue
        changed = bytearray(good)
        changed[position] = ord("A") if changed[position] != ord("A") else ord("B")
        claims.append(Claim(DATA, bytes(changed), APPROVAL, signers, NOW))
    verdicts = signatures.verify_all(claims)
    assert len(verdicts) > 20
    assert all(isinstance(verdict, SignatureError) for verdict in verdicts)


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b"not a signature",
        b"-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n",
        b"-----BEGIN SSH SIGNATURE-----\nU1NIU0lHAAAAAf////8=\n-----END SSH SIGNATURE-----\n",
        b"-----BEGIN PGP SIGNATURE-----\nAAAA\n-----END PGP SIGNATURE-----\n",
        b"\xff\xfe" * 100,
    ],
)
def test_what_is_no_signature_is_named_as_none(signers: Signers, signature: bytes) -> None:
    with pytest.raises(SignatureError) as caught:
        signatures.verify(DATA, signature, APPROVAL, signers, NOW)
    assert caught.value.fault is Fault.MALFORMED


def test_a_key_counts_at_the_moment_that_is_asked_for(signers: Signers, sign: Callable[..., bytes]) -> None:
    signature = sign(DATA, "bob", APPROVAL)
    end = dt.datetime(2026, 6, 1, 11, 59, 59, tzinfo=dt.UTC)
    begin = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    moments = {begin - dt.timedelta(seconds=1): False, begin: True, end - dt.timedelta(seconds=1): True, end: False}
    for moment, counts in moments.items():
        (verdict,) = signatures.verify_all([Claim(DATA, signature, APPROVAL, signers, moment)])
        assert isinstance(verdict, SignatureError) != counts, moment


def test_the_machines_time_zone_does_not_matter(
    signers: Signers, sign: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Karachi")
    signature = sign(DATA, "bob", APPROVAL)
    moment = dt.datetime(2026, 6, 1, 11, 59, 58, tzinfo=dt.UTC)
    assert signatures.verify(DATA, signature, APPROVAL, signers, moment).principal == "bob"


def test_ssh_keygen_itself_refuses_an_expired_key_even_if_we_did_not(
    public: Callable[[str], str], sign: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f'bob namespaces="{APPROVAL}",valid-before="20260101" {public("bob")}\n'
    signers = approvers.parse(text.encode(), "approvers")
    monkeypatch.setattr(approvers.Signer, "invalid_at", lambda *_: None)
    with pytest.raises(SignatureError):
        signatures.verify(DATA, sign(DATA, "bob", APPROVAL), APPROVAL, signers, NOW)


def test_many_are_verified_in_their_order(signers: Signers, sign: Callable[..., bytes]) -> None:
    good, bad = sign(DATA, "alice", APPROVAL), sign(b"other", "alice", APPROVAL)
    claims = [Claim(DATA, s, APPROVAL, signers, NOW) for s in (good, bad, good, bad, good)]
    assert [isinstance(v, SignatureError) for v in signatures.verify_all(claims)] == [False, True, False, True, False]


def test_no_temporary_file_is_left_and_none_can_be_read_by_others(
    signers: Signers, sign: Callable[..., bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    real = subprocess.run

    def watching(*arguments: object, **options: object) -> object:
        seen.extend(folder.stat().st_mode & 0o777 for folder in tmp_path.iterdir())
        return real(*arguments, **options)  # type: ignore[call-overload]

    good = sign(DATA, "alice", APPROVAL)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(subprocess, "run", watching)
    signatures.verify(DATA, good, APPROVAL, signers, NOW)
    assert seen == [0o700]
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_would_not_count_is_refused_before_anything_is_signed(signers: Signers, keys: Path) -> None:
    for name, words in {"stranger": "is not in approvers", "carol": "may not sign", "bob": "expired"}.items():
        with pytest.raises(RefusedError, match=words):
            signatures.entitled(keys / name, APPROVAL, signers, NOW)
    assert signatures.entitled(keys / "alice", APPROVAL, signers, NOW).principal == "alice"
    with pytest.raises(RefusedError, match="cannot be used") as caught:
        signatures.entitled(keys / "rsa2048", APPROVAL, signers, NOW)
    assert "2048 bits" in caught.value.details[0].message


def test_a_key_without_its_public_half_beside_it_is_read_all_the_same(
    signers: Signers, keys: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "key"
    alone.write_bytes((keys / "alice").read_bytes())
    alone.chmod(0o600)
    assert signatures.entitled(alone, APPROVAL, signers, NOW).principal == "alice"


def test_a_missing_key_a_file_that_is_none_and_a_missing_ssh_keygen_say_what_to_do(
    keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnavailableError, match="there is no key"):
        signatures.public_key_of(tmp_path / "none")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(UnavailableError, match="cannot"):
        signatures.public_key_of(tmp_path / "text")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="ssh-keygen is not in PATH"):
        signatures.sign(DATA, keys / "alice", APPROVAL)


def test_a_key_held_by_an_agent_signs_by_its_public_half(signers: Signers, keys: Path, tmp_path: Path) -> None:
    socket = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.PIPE) as agent:
        try:
            assert agent.stdout
            agent.stdout.readline()
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("SSH_AUTH_SOCK", os.fspath(socket))
                subprocess.run(["ssh-add", "-q", keys / "alice"], check=True)
                (tmp_path / "alice.pub").write_bytes((keys / "alice.pub").read_bytes())
                made = signatures.sign_as(DATA, tmp_path / "alice.pub", APPROVAL, signers, NOW)
            assert made[1].principal == "alice"
        finally:
            agent.terminate()
