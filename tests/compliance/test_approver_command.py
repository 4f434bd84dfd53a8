"""`gcloud-pk approver`: appoint, revoke and list; the file changes by one line, or not at all."""

from __future__ import annotations

import datetime as dt
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.test_request_command import Run

from gcloud_pk.errors import RefusedError
from gcloud_pk.registry import acts, approvers, signatures
from gcloud_pk.registry import trust as trust_of
from gcloud_pk.registry.folder import Registry
from gcloud_pk.registry.governance import Governance
from gcloud_pk.registry.keeping import edit

ALICE, BOB, CAROL = "alice@ntc.example", "bob@ntc.example", "carol@ntc.example"
DAVE = "dave@ntc.example"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], registry_folder: Path) -> Run:
    return Run(capsys, registry_folder)


@pytest.fixture
def file(registry_folder: Path) -> Path:
    path = registry_folder / "approvers"
    path.write_bytes(b"# who may sign\n\n" + path.read_bytes().rstrip(b"\n"))  # the last line has no end
    return path


@pytest.fixture
def trust(tmp_path: Path, public: Callable[[str], str]) -> Path:
    path = tmp_path / "trust"
    path.write_text(f'keeper@ntc.example namespaces="gcloud-pk-registry" {public("keeper")}\n')
    return path


def signers(file: Path) -> approvers.Signers:
    return approvers.parse(file.read_bytes(), "approvers")


# --- add ---


def test_one_more_line_stands_at_the_end_and_no_other_byte_changes(
    run: Run, file: Path, keys: Path, public: Callable[[str], str]
) -> None:
    before = file.read_bytes()
    told = run.json("approver", "add", DAVE, keys / "stranger.pub", "--valid-after", "2026-01-31",
                    "--valid-before", "2999-01-31T12:00:00Z", "--namespaces", "gcloud-pk-approval")  # fmt: skip
    assert (told["changed"], told["signed"], told["namespaces"]) == (True, False, ["gcloud-pk-approval"])
    assert (
        file.read_bytes()
        == before
        + (
            f'\n{DAVE} namespaces="gcloud-pk-approval",valid-after="20260131000000",valid-before="29990131120000" '
            f"{public('stranger')}\n"
        ).encode()
    )


def test_the_same_again_changes_nothing(run: Run, file: Path, keys: Path) -> None:
    assert run("approver", "add", DAVE, keys / "stranger.pub") == 0
    assert "registry sign --key KEY" in run.out
    before = file.read_bytes()
    assert run("approver", "add", DAVE, keys / "stranger.pub") == 0
    assert "nothing was changed" in run.out
    assert file.read_bytes() == before


# (principal, key, options, exit code, words)
NOT_ADDED = {
    "a key that is another's": ("dave@ntc.example", "alice", [], 4, "is alice@ntc.example's"),
    "a second key of one": (ALICE, "stranger", [], 4, "alice@ntc.example stands in line 3"),
    "a wildcard": ("*@ntc.example", "stranger", [], 3, "a wildcard"),
    "a path as a name": ("../dave", "stranger", [], 3, "not a principal"),
    "two lines in one": ("dave {}\nbob", "stranger", [], 3, "cannot be an approver so"),
    "a weak key": (DAVE, "rsa2048", [], 3, "2048 bits"),
    "a certificate": (DAVE, "alice-cert", [], 3, "certificate"),
    "namespaces with a wildcard": (DAVE, "stranger", ["--namespaces", "gcloud-pk-*"], 3, "namespaces names"),
    "no namespace": (DAVE, "stranger", ["--namespaces", ""], 3, "namespaces names ''"),
    "never valid": (DAVE, "stranger", ["--valid-after", "2027-01-01", "--valid-before", "2026-01-01"], 2, "never be"),
    "no day": (DAVE, "stranger", ["--valid-before", "2026-02-31"], 2, "is not a time"),
    "a key that nobody may sign the registry with": (DAVE, "stranger", ["--sign", "/nowhere"], 5, "there is no key"),
}


@pytest.mark.parametrize("case", NOT_ADDED)
def test_what_may_not_stand_there_is_refused_and_nothing_is_written(
    run: Run, file: Path, keys: Path, public: Callable[[str], str], case: str
) -> None:
    principal, key, options, code, words = NOT_ADDED[case]
    principal = principal.format(f'namespaces="a" {public("ecdsa")}')
    before = file.read_bytes()
    assert run("approver", "add", principal, keys / f"{key}.pub", *options) == code, run.err
    assert words in run.err
    assert file.read_bytes() == before


def test_a_registry_that_is_not_valid_is_mended_first(run: Run, file: Path, keys: Path) -> None:
    (file.parent / "organisations.yaml").write_text("- code: moitt\n")
    before = file.read_bytes()
    assert run("approver", "add", DAVE, keys / "stranger.pub") == 3
    assert file.read_bytes() == before


# --- revoke ---


def revoked(file: Path, principal: str) -> str:
    return next(line for line in file.read_text().split("\n") if line.startswith("# revoked") and principal in line)


def test_a_revoked_line_becomes_a_comment_and_no_other_byte_changes(run: Run, file: Path) -> None:
    before = file.read_text().split("\n")
    told = run.json("approver", "revoke", BOB, "--reason", "left: the division, in May")
    after = file.read_text().split("\n")
    changed = [i for i, (one, other) in enumerate(zip(before, after, strict=True)) if one != other]
    assert changed == [3]
    assert after[3].endswith(f", left: the division, in May: {before[3]}")
    (one,) = signers(file).revoked
    assert (one.signer.principal, one.reason, one.by) == (BOB, "left: the division, in May", told["by"])
    assert signers(file).problems == ()
    assert BOB not in signers(file).by_principal


def test_an_auditor_can_still_verify_what_a_revoked_key_signed(
    run: Run, file: Path, keys: Path, tmp_path: Path
) -> None:
    signature = signatures.sign(b"bytes", keys / "bob", "gcloud-pk-approval")
    run("approver", "revoke", BOB, "--reason", "left")
    (tmp_path / "sig").write_bytes(signature)
    (tmp_path / "line").write_text(revoked(file, BOB).partition(", left: ")[2] + "\n")
    command = ["ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "line"), "-I", BOB, "-n", "gcloud-pk-approval"]
    done = subprocess.run([*command, "-s", str(tmp_path / "sig")], input=b"bytes", capture_output=True)
    assert done.returncode == 0, done.stderr


def test_a_revoked_key_stops_at_once_and_what_it_approved_is_listed(
    run: Run, file: Path, keys: Path, request_file: Path
) -> None:
    run("request", "submit", request_file)
    run("request", "approve", "moitt", "--key", keys / "bob", "--yes")
    request_file.write_text(request_file.read_text().replace("revision: 3", "revision: 4"))
    run("request", "submit", request_file)
    for name in ("alice", "bob"):
        run("request", "approve", "moitt", "--key", keys / name, "--yes")
    request_file.write_text(request_file.read_text().replace("revision: 4", "revision: 5"))
    run("request", "submit", request_file)
    run("request", "approve", "moitt", "--key", keys / "bob", "--yes")
    request_file.write_text(request_file.read_text().replace("revision: 5", "revision: 6"))
    run("request", "submit", request_file)
    told = run.json("approver", "revoke", BOB, "--reason", "lost")
    assert [(one["tenant"], one["revision"], one["request"], one["sufficient"]) for one in told["approved"]] == [
        ("moitt", 5, "accepted", False)
    ]
    assert run("request", "approve", "moitt", "--key", keys / "bob", "--yes") == 4
    assert "the key of bob@ntc.example was revoked on" in run.err
    assert run("onboard", "moitt", "--output-dir", file.parent.parent / "out") == 4
    assert run("registry", "check") == 0  # that a request waits is nothing wrong


def test_what_has_enough_approvals_without_the_key_is_said_to(
    run: Run, file: Path, keys: Path, request_file: Path
) -> None:
    run("request", "submit", request_file)
    for name in ("alice", "bob"):
        run("request", "approve", "moitt", "--key", keys / name, "--yes")
    told = run.json("approver", "revoke", BOB, "--reason", "lost")
    assert [(one["request"], one["sufficient"], one["missing"]) for one in told["approved"]] == [
        ("present", True, None)
    ]
    assert run("approver", "revoke", ALICE, "--reason", "lost too") == 0
    assert f"1 federal approval ({CAROL}) is missing" in run.out
    assert "next: others approve moitt" in run.out
    shown = run.json("request", "show", "moitt")
    assert shown["state"] == "pending"
    reasons = [one["reason"] for one in shown["approvals"]["refused"]]
    assert [reason.partition(" on ")[0] for reason in reasons] == [
        f"does not count: the key of {name} was revoked" for name in (ALICE, BOB)
    ]


def test_a_tenant_that_the_key_had_opened_is_closed_and_said_to(
    run: Run, file: Path, keys: Path, request_file: Path
) -> None:
    run("request", "submit", request_file)
    run("request", "approve", "moitt", "--key", keys / "alice", "--yes")
    registry = Registry.open(file.parent)
    registry.set_state("moitt", "suspended", "somebody", "a test")
    Registry.open(file.parent).set_state("moitt", "active", "x", "over", keys / "bob")
    assert run.json("request", "show", "moitt")["state"] == "approved"
    assert run.json("approver", "revoke", BOB, "--reason", "lost")["closed"] == ["moitt"]
    assert run("onboard", "moitt", "--output-dir", file.parent.parent / "out") == 4
    assert "state.yaml does not hold" in run.err
    assert "gcloud-pk tenant resume moitt --reason TEXT --key KEY" in run.err
    (listed,) = run.json("request", "list")["requests"]
    assert (listed["next"]["who"], listed["next"]["principals"]) == ("approver", [ALICE, "carol@ntc.example"])


def test_a_revocation_says_what_is_still_open_and_what_to_run(
    run: Run, file: Path, keys: Path, request_file: Path
) -> None:
    run("request", "submit", request_file)
    Registry.open(file.parent).set_state("moitt", "active", "x", "over", keys / "bob")
    assert run("approver", "revoke", BOB, "--reason", "lost") == 0
    assert "still open on their clusters: moitt" in run.out
    assert "gcloud-pk tenant resume TENANT --reason TEXT --key KEY" in run.out
    assert "gcloud-pk tenant suspend TENANT --reason TEXT" in run.out


@pytest.mark.parametrize("name", [BOB, "bob-two@ntc.example"])
def test_a_revoked_key_never_comes_back(
    run: Run, file: Path, keys: Path, public: Callable[[str], str], name: str
) -> None:
    run("approver", "revoke", BOB, "--reason", "left")
    before = file.read_bytes()
    assert run("approver", "add", name, keys / "bob.pub") == 4
    assert "never comes back" in run.err
    assert file.read_bytes() == before
    with file.open("a") as end:
        end.write(f'\n{name} namespaces="gcloud-pk-approval" {public("bob")}\n')
    assert run("registry", "check") == 3
    assert f"approvers:6: the key of '{name}' was revoked (line 4) and never comes back" in run.err


def test_who_lost_a_key_is_given_another_under_the_same_name(run: Run, file: Path, keys: Path) -> None:
    run("approver", "revoke", BOB, "--reason", "lost")
    assert run("approver", "add", BOB, keys / "stranger.pub") == 0
    assert run("registry", "check") == 0


NOT_REVOKED = {
    "nobody of that name": (["alise@ntc.example", "--reason", "x"], 5, "did you mean alice@ntc.example?"),
    "no reason": ([BOB, "--reason", ""], 2, "--reason is empty"),
    "a reason of two lines": ([BOB, "--reason", "x\ny"], 2, "--reason holds"),
    "a reason that hides": ([BOB, "--reason", "fine\u202eenif"], 2, "U+202E"),
}


@pytest.mark.parametrize("case", NOT_REVOKED)
def test_a_revocation_that_cannot_be_written_changes_nothing(run: Run, file: Path, case: str) -> None:
    options, code, words = NOT_REVOKED[case]
    before = file.read_bytes()
    assert run("approver", "revoke", *options) == code
    assert words in run.err
    assert file.read_bytes() == before


def test_a_reason_cannot_name_another_line_in_place_of_the_revoked_one(
    run: Run, file: Path, public: Callable[[str], str]
) -> None:
    before = file.read_bytes()
    reason = f'x: mallory namespaces="a" {public("carol")} and more'
    assert run("approver", "revoke", BOB, "--reason", reason) == 3
    assert "reads like a line of the file" in run.err
    assert file.read_bytes() == before


UNREADABLE = {
    "no time": "# revoked yesterday by root@host, lost: {}",
    "a month too many": "# revoked 2026-13-22T03:10:00Z by root@host, lost: {}",
    "no line": "# revoked 2026-11-22T03:10:00Z by root@host, lost",
    "half a line": "# revoked 2026-11-22T03:10:00Z by root@host, lost: bob@ntc.example",
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_revoked_line_that_cannot_be_read_is_a_problem(public: Callable[[str], str], case: str) -> None:
    text = UNREADABLE[case].format(f'{BOB} namespaces="gcloud-pk-approval" {public("bob")}')
    (found,) = approvers.parse(f"# fine\n{text}\n".encode(), "approvers").problems
    assert found.line == 2
    assert found.expected == "# revoked YYYY-MM-DDThh:mm:ssZ by WHO, REASON: THE LINE"


# --- signed at once ---


def test_a_keeper_signs_at_once(run: Run, file: Path, keys: Path, trust: Path) -> None:
    acts.sign_registry(Registry.open(file.parent), keys / "keeper")
    assert run("--trust", trust, "approver", "add", DAVE, keys / "stranger.pub", "--sign", keys / "keeper") == 0
    assert "signed the registry with SHA256:" in run.out
    assert Registry.open(file.parent).trust(trust).signer == "keeper@ntc.example"
    assert run("--trust", trust, "approver", "revoke", DAVE, "--reason", "x", "--sign", keys / "keeper") == 0
    assert run("--trust", trust, "registry", "check") == 0


def test_an_act_that_was_stopped_before_it_was_signed_does_not_look_done(run: Run, file: Path, keys: Path) -> None:
    acts.sign_registry(Registry.open(file.parent), keys / "keeper")
    words = ["approver", "add", DAVE, keys / "stranger.pub"]
    assert run(*words) == 0
    assert run(*words, "--sign", keys / "keeper") == 4
    assert "approvers: was changed since the registry was signed" in run.err


def test_without_a_keeper_nobody_acts_until_it_is_signed_anew(run: Run, file: Path, keys: Path, trust: Path) -> None:
    acts.sign_registry(Registry.open(file.parent), keys / "keeper")
    assert run("approver", "add", DAVE, keys / "stranger.pub") == 0
    assert "next: the registry must be signed anew" in run.out
    assert run("--trust", trust, "registry", "check") == 4
    assert "approvers: was changed since the registry was signed" in run.err


@pytest.mark.parametrize("trusting", [True, False])
def test_a_keeper_does_not_sign_what_somebody_else_changed(
    run: Run, file: Path, keys: Path, trust: Path, trusting: bool
) -> None:
    acts.sign_registry(Registry.open(file.parent), keys / "keeper")
    (file.parent / "settings.yaml").write_text("signedRequests: [secret]\n")
    before = file.read_bytes()
    options = ["--trust", trust] if trusting else []
    assert run(*options, "approver", "add", DAVE, keys / "stranger.pub", "--sign", keys / "keeper") == 4
    assert "settings.yaml: was changed since the registry was signed" in run.err
    assert file.read_bytes() == before


FORGED = trust_of.Version(9, dt.datetime(2026, 11, 1, tzinfo=dt.UTC))


def forge(registry: Path) -> None:
    """Change settings and the digests, as somebody could who cannot sign."""
    (registry / "settings.yaml").write_text("signedRequests: [secret]\n")
    (registry / "registry.sha256").write_bytes(trust_of.manifest(Registry.open(registry).governance.files, FORGED))


UNSIGNED: dict[str, tuple[Callable[[Path], object], str]] = {
    "never signed": (lambda registry: (registry / "registry.sha256").unlink(), "was never signed"),
    "without the signature": (lambda registry: (registry / "registry.sha256.sig").unlink(), "was never signed"),
    "digests forged": (forge, "registry.sha256.sig: by keeper is over other bytes than these"),
}


@pytest.mark.parametrize("case", UNSIGNED)
def test_a_keeper_signs_at_once_only_what_he_signed_before(run: Run, file: Path, keys: Path, case: str) -> None:
    acts.sign_registry(Registry.open(file.parent), keys / "keeper")
    spoil, words = UNSIGNED[case]
    spoil(file.parent)
    before = file.read_bytes()
    assert run("approver", "add", DAVE, keys / "stranger.pub", "--sign", keys / "keeper") == 4
    assert words in run.err
    assert file.read_bytes() == before


def test_another_keeper_needs_the_names_of_all(run: Run, file: Path, keys: Path) -> None:
    acts.sign_registry(Registry.open(file.parent), keys / "keeper")
    assert run("approver", "add", DAVE, keys / "stranger.pub", "--sign", keys / "alice") == 4
    assert "name the keepers with --trust FILE" in run.err


def test_what_somebody_else_wrote_meanwhile_is_not_written_over(file: Path) -> None:
    registry = Registry.open(file.parent)
    theirs = file.read_bytes() + b"\n# theirs\n"

    def change(governance: Governance) -> bytes:
        file.write_bytes(theirs)
        return governance.files["approvers"] + b"\n# ours\n"

    with pytest.raises(RefusedError, match="somebody else changed"):
        edit(registry, "approvers", change)
    assert file.read_bytes() == theirs


def test_who_is_no_keeper_signs_nothing(run: Run, file: Path, keys: Path, trust: Path) -> None:
    acts.sign_registry(Registry.open(file.parent), keys / "keeper")
    before = file.read_bytes()
    words = ["--trust", trust, "approver", "add", DAVE, keys / "stranger.pub", "--sign", keys / "alice"]
    assert run(*words) == 4
    assert f"is not in {trust}" in run.err
    assert file.read_bytes() == before


# --- list ---


def test_the_list_says_until_when_and_for_whom(run: Run, file: Path, keys: Path, public: Callable[[str], str]) -> None:
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(days=29)
    for name, key, options in (
        ("soon", "stranger", ["--valid-before", f"{soon:%Y-%m-%d}"]),
        ("late", "ecdsa", ["--valid-before", "2026-01-01"]),
        ("early", "keeper", ["--valid-after", "2999-01-01"]),
    ):
        assert run("approver", "add", name, keys / f"{key}.pub", *options) == 0, run.err
    (file.parent / "settings.yaml").write_text(f"provinces: {{sindh: {{approvers: [{BOB}, {CAROL}]}}}}\n")
    run("approver", "revoke", CAROL, "--reason", "left")
    told = run.json("approver", "list")["approvers"]
    assert [(one["principal"], one["status"], one["jurisdiction"]) for one in told] == [
        (ALICE, "valid", "federal"),
        (BOB, "valid", "sindh"),
        ("soon", "expires within 30 days", "federal"),
        ("late", "expired", "federal"),
        ("early", "not yet", "federal"),
        (CAROL, "revoked", "sindh"),
    ]
    assert told[0]["fingerprint"] == approvers.public_key(*public("alice").split()).fingerprint
    assert told[3]["validBefore"] == "2026-01-01T00:00:00Z"
    assert run("approver", "list") == 0
    assert "was revoked on" in run.out
