"""The registry decides who gets what: approvals, states, trust and history, attacked."""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gcloud_pk.errors import ExitCode, GcloudPkError, InvalidInputError, RefusedError, UnavailableError
from gcloud_pk.model.request import TenantRequest
from gcloud_pk.registry import acts, documents
from gcloud_pk.registry.approvers import APPROVAL, REGISTRY, REQUEST, STATE
from gcloud_pk.registry.folder import Registry
from gcloud_pk.registry.readings import load

Sign = Callable[..., bytes]
ALICE, BOB, CAROL = "alice@ntc.example", "bob@ntc.example", "carol@ntc.example"


def again(registry: Registry) -> Registry:
    return Registry.open(registry.path)


def place(registry: Registry, name: str, data: bytes) -> None:
    path = registry.path / "tenants" / "moitt" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def bytes_of(registry: Registry) -> bytes:
    return (registry.path / "tenants" / "moitt" / "request.yaml").read_bytes()


@pytest.fixture
def submitted(registry_folder: Path, request_file: Path) -> Registry:
    registry = Registry.open(registry_folder)
    acts.submit(registry, request_file)
    return again(registry)


@pytest.fixture
def secret(registry_folder: Path, request_file: Path) -> Registry:
    """Return a registry with a request for secret data, which two must approve."""
    text = request_file.read_text().replace("restricted", "secret").replace("namespace\n", "dedicated-nodes\n")
    request_file.write_text(text.replace("recovery: lhe-1", "recovery: isb-2"))
    registry = Registry.open(registry_folder)
    acts.submit(registry, request_file)
    return again(registry)


def status(registry: Registry) -> str:
    registry = again(registry)
    return registry.status(registry.entry("moitt"))


def refused(registry: Registry) -> str:
    """Return the words with which the tenant is refused."""
    with pytest.raises(RefusedError) as caught:
        again(registry).accepted("moitt")
    return " ".join([caught.value.message, *map(str, caught.value.details)])


# --- approvals ---


def test_a_submitted_request_is_pending_until_an_approver_has_signed_its_bytes(submitted: Registry, sign: Sign) -> None:
    assert status(submitted) == "pending"
    words = refused(submitted)
    assert "0 of 1 approvals" in words
    assert ALICE in words
    place(submitted, f"approvals/{ALICE}.sig", sign(bytes_of(submitted), "alice", APPROVAL))
    tenant = again(submitted).accepted("moitt")
    assert tenant.approvers == (ALICE,)
    assert tenant.digest == hashlib.sha256(bytes_of(submitted)).hexdigest()
    assert tenant.site is not None
    assert tenant.site.metadata.name == "isb-1"
    assert status(submitted) == "approved"


# (what lies in approvals/, words of the refusal). {sign} makes a signature by hand.
ATTACKS: dict[str, tuple[Callable[[bytes, Sign], dict[str, bytes]], str]] = {
    "signature over other bytes": (lambda d, s: {ALICE: s(d + b"\n", "alice", APPROVAL)}, "superseded"),
    "signature of another namespace": (lambda d, s: {ALICE: s(d, "alice", STATE)}, "namespace"),
    "key that is no approver's": (lambda d, s: {"stranger": s(d, "stranger", APPROVAL)}, "not in"),
    "another's name on the file": (lambda d, s: {BOB: s(d, "alice", APPROVAL)}, "file's name must be the signer's"),
    "no signature at all": (lambda d, s: {ALICE: b"approved, honestly"}, "not an OpenSSH signature"),
    "signature with a byte too many": (
        lambda d, s: {ALICE: s(d, "alice", APPROVAL).replace(b"U1NI", b"U1NJ", 1)},
        "not an OpenSSH signature",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_approval_that_is_none_does_not_count_and_is_named(submitted: Registry, sign: Sign, attack: str) -> None:
    make, words = ATTACKS[attack]
    for name, signature in make(bytes_of(submitted), sign).items():
        place(submitted, f"approvals/{name}.sig", signature)
    assert words in refused(submitted)
    assert status(submitted) == "pending"
    problems = " ".join(map(str, again(submitted).problems))
    assert (words in problems) == (words != "superseded")  # an earlier approval is in order, and merely does not count


def test_one_approver_counts_once_however_many_files(secret: Registry, sign: Sign) -> None:
    signature = sign(bytes_of(secret), "alice", APPROVAL)
    for name in (ALICE, BOB, CAROL):
        place(secret, f"approvals/{name}.sig", signature)
    assert "1 of 2 approvals" in refused(secret)
    place(secret, f"approvals/{BOB}.sig", sign(bytes_of(secret), "bob", APPROVAL))
    assert again(secret).accepted("moitt").approvers == (ALICE, BOB)


def test_one_key_under_two_names_makes_the_registry_invalid(submitted: Registry, public: Callable[[str], str]) -> None:
    with (submitted.path / "approvers").open("a") as file:
        file.write(f'dave@ntc.example namespaces="{APPROVAL}" {public("alice")}\n')
    with pytest.raises(InvalidInputError) as caught:
        again(submitted).accepted("moitt")
    assert caught.value.details[0].line == 4


@pytest.mark.parametrize("line", ['*@ntc.example namespaces="gcloud-pk-approval" {}', "dave@ntc.example {}"])
def test_a_line_of_approvers_that_gives_too_much_makes_the_registry_invalid(
    submitted: Registry, public: Callable[[str], str], line: str
) -> None:
    with (submitted.path / "approvers").open("a") as file:
        file.write(line.format(public("stranger")) + "\n")
    with pytest.raises(InvalidInputError):
        again(submitted).accepted("moitt")


def test_who_signed_the_request_cannot_approve_it(submitted: Registry, sign: Sign) -> None:
    data = bytes_of(submitted)
    place(submitted, "request.yaml.sig", sign(data, "carol", REQUEST))
    place(submitted, f"approvals/{CAROL}.sig", sign(data, "carol", APPROVAL))
    assert "signed the request itself" in refused(submitted)


def test_who_asks_cannot_approve_even_unsigned(registry_folder: Path, request_file: Path, sign: Sign) -> None:
    request_file.write_text(request_file.read_text().replace("email: director.it@moitt.gov.pk}\n  purpose",
                                                             "email: Alice@NTC.example}\n  purpose"))  # fmt: skip
    registry = Registry.open(registry_folder)
    acts.submit(registry, request_file)
    place(registry, f"approvals/{ALICE}.sig", sign(bytes_of(registry), "alice", APPROVAL))
    assert "is who asks" in refused(registry)


def expire(registry: Registry, moment: str) -> None:
    path = registry.path / "approvers"
    line = f'alice@ntc.example namespaces="{APPROVAL},{STATE}"'
    path.write_text(path.read_text().replace(line, f'{line},valid-before="{moment}"'))


def test_an_expired_key_counts_for_what_was_accepted_before_and_not_for_what_is_new(
    submitted: Registry, sign: Sign
) -> None:
    place(submitted, f"approvals/{ALICE}.sig", sign(bytes_of(submitted), "alice", APPROVAL))
    expire(submitted, "20260101")
    assert "expired on 2026-01-01" in refused(submitted)
    accepted_at = dt.datetime(2025, 12, 31, tzinfo=dt.UTC)
    assert again(submitted).accepted("moitt", accepted_at).approvers == (ALICE,)


def test_a_removed_key_counts_at_no_time(submitted: Registry, sign: Sign) -> None:
    place(submitted, f"approvals/{ALICE}.sig", sign(bytes_of(submitted), "alice", APPROVAL))
    path = submitted.path / "approvers"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(RefusedError, match="0 of 1"):
        again(submitted).accepted("moitt", dt.datetime(2025, 12, 31, tzinfo=dt.UTC))


def test_settings_may_demand_the_requesters_signature(submitted: Registry, sign: Sign) -> None:
    data = bytes_of(submitted)
    place(submitted, f"approvals/{ALICE}.sig", sign(data, "alice", APPROVAL))
    (submitted.path / "settings.yaml").write_text("signedRequests: [restricted]\n")
    assert "requester's signature is missing" in refused(submitted)
    place(submitted, "request.yaml.sig", sign(data, "alice", REQUEST))
    assert "may not sign in namespace" in refused(submitted)
    place(submitted, "request.yaml.sig", sign(data, "carol", REQUEST))
    assert again(submitted).accepted("moitt").approvers == (ALICE,)


def test_judging_one_tenant_verifies_no_other_tenants_signatures(
    submitted: Registry, sign: Sign, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytes_of(submitted)
    place(submitted, f"approvals/{ALICE}.sig", sign(data, "alice", APPROVAL))
    other = Path(__file__).parents[1] / "unit/data/registries/three-tenants/tenants/nadra"
    shutil.copytree(other, submitted.path / "tenants" / "nadra")
    shutil.copytree(submitted.path / "tenants/moitt/approvals", submitted.path / "tenants/nadra/approvals")
    seen: list[bytes] = []
    from gcloud_pk.registry import signatures

    real = signatures.verify

    def counting(signed: bytes, *rest: object) -> object:
        seen.append(signed)
        return real(signed, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(signatures, "verify", counting)
    again(submitted).accepted("moitt")
    assert seen == [data]


# --- the request itself ---


def test_changed_content_after_approval_is_pending_again(submitted: Registry, sign: Sign) -> None:
    place(submitted, f"approvals/{ALICE}.sig", sign(bytes_of(submitted), "alice", APPROVAL))
    place(submitted, "request.yaml", bytes_of(submitted).replace(b"pods: 50", b"pods: 500"))
    assert status(submitted) == "pending"
    assert "superseded" in refused(submitted)


def test_a_request_in_another_tenants_folder_is_invalid(submitted: Registry, sign: Sign) -> None:
    place(submitted, f"approvals/{ALICE}.sig", sign(bytes_of(submitted), "alice", APPROVAL))
    (submitted.path / "tenants" / "moitt").rename(submitted.path / "tenants" / "finance")
    with pytest.raises(InvalidInputError) as caught:
        again(submitted).accepted("finance")
    assert any(p.field == "metadata.name" for p in caught.value.details)


def test_an_invalid_request_of_one_tenant_does_not_stop_another(submitted: Registry, sign: Sign) -> None:
    place(submitted, f"approvals/{ALICE}.sig", sign(bytes_of(submitted), "alice", APPROVAL))
    broken = submitted.path / "tenants" / "nadra"
    broken.mkdir()
    (broken / "request.yaml").write_bytes(b"\xff")
    assert again(submitted).accepted("moitt")
    assert again(submitted).problems


def test_a_link_out_of_the_registry_is_refused(submitted: Registry, tmp_path: Path) -> None:
    outside = tmp_path / "outside.yaml"
    outside.write_bytes(bytes_of(submitted))
    path = submitted.path / "tenants" / "moitt" / "request.yaml"
    path.unlink()
    path.symlink_to(outside)
    assert "leads out of" in refused(submitted)


def test_a_missing_tenant_names_the_nearest(submitted: Registry) -> None:
    with pytest.raises(UnavailableError) as caught:
        submitted.accepted("moit")
    assert "moitt" in str(caught.value.resolution)


@pytest.mark.parametrize("missing", ["organisations.yaml", "approvers", None])
def test_what_is_no_registry_says_how_to_make_one(registry_folder: Path, missing: str | None) -> None:
    if missing:
        (registry_folder / missing).unlink()
    with pytest.raises(UnavailableError) as caught:
        Registry.open(registry_folder if missing else registry_folder / "none")
    assert "registry init" in str(caught.value.resolution)


STRAYS = {
    "tenants/NADRA/request.yaml": "is not a tenant's folder",
    "tenants/notes.txt": "is not a tenant's folder",
    "sites/isb-1.yml": "is not a site",
    "tenants/moitt/approvals/../approvals/notes.txt": "is not an approval",
    "tenants/empty/notes.txt": "does not exist",
}


@pytest.mark.parametrize("stray", STRAYS)
def test_files_that_mean_nothing_are_named(submitted: Registry, stray: str) -> None:
    (submitted.path / "tenants/moitt/approvals").mkdir()
    path = submitted.path / stray
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    assert [p.message for p in again(submitted).problems] == [STRAYS[stray]]


GOVERNANCE = {
    "settings that loosen the floor": ("settings.yaml", "approvals: {secret: 1}\n", "loosen the federal floor"),
    "settings with an unknown field": ("settings.yaml", "approval: {secret: 3}\n", "is not a field here"),
    "organisations that are no list": ("organisations.yaml", "MOITT: {}\n", "expected a list"),
    "organisation twice": (
        "organisations.yaml",
        "- {code: A, name: {en: A}, tier: federal, domains: [a.pk]}\n" * 2,
        "is used twice",
    ),
    "site in a file of another name": ("sites/khi-1.yaml", None, "calls itself"),
    "settings with an alias": ("settings.yaml", "approvals: &a {secret: 3}\n", "an anchor"),
}


@pytest.mark.parametrize("case", GOVERNANCE)
def test_what_decides_for_all_must_be_valid_before_anything_is_decided(submitted: Registry, case: str) -> None:
    name, text, words = GOVERNANCE[case]
    text = (submitted.path / "sites/lhe-1.yaml").read_text() if text is None else text
    (submitted.path / name).write_text(text)
    with pytest.raises(InvalidInputError) as caught:
        again(submitted).accepted("moitt")
    assert words in " ".join(map(str, caught.value.details))
    assert all(p.file and p.line for p in caught.value.details)


# --- revisions and history ---


def submit_changed(registry: Registry, file: Path, revision: int, pods: int) -> None:
    text = file.read_text().replace("revision: 3", f"revision: {revision}").replace("pods: 50", f"pods: {pods}")
    changed = file.with_name("changed.yaml")
    changed.write_text(text)
    acts.submit(again(registry), changed)


def test_an_accepted_request_is_kept_with_its_signatures(submitted: Registry, keys: Path) -> None:
    acts.approve(submitted, submitted.entry("moitt"), keys / "alice")
    (kept,) = again(submitted).entry("moitt").history
    assert kept.digest == hashlib.sha256(bytes_of(submitted)).hexdigest()
    assert (kept.folder / "request.yaml").read_bytes() == bytes_of(submitted)
    assert (kept.folder / "approvals" / f"{ALICE}.sig").exists()
    assert again(submitted).problems == ()
    again(submitted).keep("moitt")  # and once more changes nothing
    assert len(again(submitted).entry("moitt").history) == 1


def test_an_act_that_was_stopped_before_keeping_is_completed_by_the_next(
    submitted: Registry, sign: Sign, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from gcloud_pk.main import main

    place(submitted, f"approvals/{ALICE}.sig", sign(bytes_of(submitted), "alice", APPROVAL))
    assert main(["--registry", str(submitted.path), "request", "approve", "moitt", "--key", str(keys / "alice")]) == 0
    assert len(again(submitted).entry("moitt").history) == 1
    assert "already" in capsys.readouterr().err


def test_a_request_that_lacks_approvals_is_not_kept(secret: Registry, keys: Path) -> None:
    acts.approve(secret, secret.entry("moitt"), keys / "alice")
    assert again(secret).entry("moitt").history == ()
    with pytest.raises(RefusedError):
        again(secret).keep("moitt")
    acts.approve(again(secret), again(secret).entry("moitt"), keys / "bob")
    assert len(again(secret).entry("moitt").history) == 1


@pytest.mark.parametrize("revision", [1, 2, 3])
def test_there_is_no_way_back_to_an_older_revision_nor_to_another_of_the_same(
    submitted: Registry, request_file: Path, revision: int
) -> None:
    with pytest.raises(RefusedError) as caught:
        submit_changed(submitted, request_file, revision, pods=49)
    assert "metadata.revision: 4" in str(caught.value.resolution)


def test_a_revision_that_was_accepted_once_counts_even_when_the_present_file_is_replaced(
    submitted: Registry, request_file: Path, keys: Path
) -> None:
    acts.approve(submitted, submitted.entry("moitt"), keys / "alice")
    place(submitted, "request.yaml", bytes_of(submitted).replace(b"revision: 3", b"revision: 1"))
    with pytest.raises(RefusedError):
        submit_changed(submitted, request_file, 2, pods=49)


def test_the_same_bytes_again_change_nothing(submitted: Registry, request_file: Path) -> None:
    assert not acts.submit(submitted, request_file).changed


def test_an_old_approval_does_not_revive_when_old_bytes_come_back(
    submitted: Registry, request_file: Path, keys: Path
) -> None:
    acts.approve(submitted, submitted.entry("moitt"), keys / "alice")
    submit_changed(submitted, request_file, 4, pods=49)
    assert status(submitted) == "pending"
    with pytest.raises(RefusedError):
        acts.submit(again(submitted), request_file)


def test_history_that_was_tampered_with_is_named_and_does_not_count(submitted: Registry, keys: Path) -> None:
    acts.approve(submitted, submitted.entry("moitt"), keys / "alice")
    (kept,) = again(submitted).entry("moitt").history
    (kept.folder / "request.yaml").write_bytes(bytes_of(submitted).replace(b"pods: 50", b"pods: 51"))
    assert again(submitted).entry("moitt").history == ()
    assert [p.message for p in again(submitted).problems] == ["is not the request that was accepted"]


def test_what_a_tenant_holds_stays_its_own_while_a_new_revision_waits(
    submitted: Registry, request_file: Path, keys: Path, tmp_path: Path
) -> None:
    acts.approve(submitted, submitted.entry("moitt"), keys / "alice")
    changed = tmp_path / "changed.yaml"
    text = request_file.read_text()
    changed.write_text(text.replace("revision: 3", "revision: 4").replace("[eoffice.moitt", "[other.moitt"))
    acts.submit(again(submitted), changed)
    rival = tmp_path / "rival.yaml"
    rival.write_text(
        text.replace("name: moitt\n", "name: rival\n").replace("moitt-", "rival-").replace("pk/moitt/", "pk/rival/")
    )
    with pytest.raises(InvalidInputError) as caught:
        acts.submit(again(submitted), rival)
    assert "overlaps 'eoffice.moitt.gov.pk' of tenant 'moitt'" in str(caught.value.details[0])


# --- states ---


def test_what_closes_counts_unsigned_and_what_opens_only_signed(submitted: Registry, keys: Path) -> None:
    acts.approve(submitted, submitted.entry("moitt"), keys / "alice")
    submitted.set_state("moitt", "suspended", "operator", "incident 7")
    assert status(submitted) == "suspended"
    assert "incident 7" in refused(submitted)
    with pytest.raises(RefusedError):
        again(submitted).set_state("moitt", "active", "operator", "over")
    place(
        submitted, "state.yaml", b"state: active\nby: me\nreason: please\ntime: 2026-01-01T00:00:00Z\ntenant: moitt\n"
    )
    assert status(submitted) == "invalid"
    assert "only when an approver has signed it" in refused(submitted)
    again(submitted).set_state("moitt", "active", "-", "over", keys / "bob")
    assert status(submitted) == "approved"
    assert again(submitted).entry("moitt").state[0].by == BOB  # type: ignore[union-attr]
    assert again(submitted).problems == ()


STATES = {
    "changed after signing": lambda data, s: (data.replace(b"over", b"0ver"), s(data, "alice", STATE)),
    "signed as an approval": lambda data, s: (data, s(data, "alice", APPROVAL)),
    "signed by a stranger": lambda data, s: (data, s(data, "stranger", STATE)),
    "another tenant's": lambda data, s: (
        data.replace(b"tenant: moitt", b"tenant: nadra"),
        s(data.replace(b"tenant: moitt", b"tenant: nadra"), "alice", STATE),
    ),
    "of no request of this tenant": lambda data, s: (
        data[:-3] + b"00\n",
        s(data[:-3] + b"00\n", "alice", STATE),
    ),
    "not YAML": lambda data, s: (b"{", s(b"{", "alice", STATE)),
    "unknown state": lambda data, s: (b"state: fine\n", s(b"state: fine\n", "alice", STATE)),
    "empty": lambda data, s: (b"", s(b"", "alice", STATE)),
}


@pytest.mark.parametrize("case", STATES)
def test_a_state_that_cannot_be_believed_closes(submitted: Registry, keys: Path, sign: Sign, case: str) -> None:
    acts.approve(submitted, submitted.entry("moitt"), keys / "alice")
    digest = again(submitted).entry("moitt").digest
    honest = (
        f"state: active\nby: {ALICE}\nreason: over\ntime: 2026-01-01T00:00:00Z\ntenant: moitt\ndigest: {digest}\n"
    ).encode()
    place(submitted, "state.yaml", honest)
    place(submitted, "state.yaml.sig", sign(honest, "alice", STATE))
    assert status(submitted) == "approved"
    data, signature = STATES[case](honest, sign)  # type: ignore[no-untyped-call]
    place(submitted, "state.yaml", data)
    place(submitted, "state.yaml.sig", signature)
    assert status(submitted) == "invalid"
    assert "does not hold" in refused(submitted)
    assert again(submitted).problems


def test_a_rejection_speaks_of_one_request(submitted: Registry, request_file: Path, keys: Path) -> None:
    assert acts.reject(submitted, "moitt", "operator", "too much storage", None) == "operator"
    assert status(submitted) == "rejected"
    assert "too much storage" in refused(submitted)
    submit_changed(submitted, request_file, 4, pods=49)
    assert status(submitted) == "pending"
    acts.approve(again(submitted), again(submitted).entry("moitt"), keys / "alice")
    assert status(submitted) == "approved"


def test_a_rejected_request_that_was_never_accepted_holds_nothing(
    submitted: Registry, tmp_path: Path, request_file: Path
) -> None:
    rival = tmp_path / "rival.yaml"
    text = request_file.read_text().replace("name: moitt\n", "name: rival\n").replace("pk/moitt/", "pk/rival/")
    rival.write_text(text)
    with pytest.raises(InvalidInputError):
        acts.submit(again(submitted), rival)
    acts.reject(submitted, "moitt", "operator", "no", None)
    assert acts.submit(again(submitted), rival).changed
    assert again(submitted).problems == ()
    assert status(submitted) == "rejected"


@pytest.mark.parametrize("state", ["suspended", "offboarded"])
def test_a_rejection_never_undoes_a_stronger_state(submitted: Registry, state: str) -> None:
    submitted.set_state("moitt", state, "operator", "why")  # type: ignore[arg-type]
    with pytest.raises(RefusedError):
        acts.reject(again(submitted), "moitt", "operator", "no", None)
    assert status(submitted) == state


def test_the_name_of_an_offboarded_tenant_is_never_given_again(submitted: Registry, request_file: Path) -> None:
    submitted.set_state("moitt", "offboarded", "operator", "closed down")
    with pytest.raises(RefusedError, match="name stays reserved"):
        submit_changed(submitted, request_file, 4, pods=49)


def rival_of(request_file: Path, name: str = "rival") -> Path:
    """Return a request of the same groups and domains under another name."""
    text = request_file.read_text()
    path = request_file.with_name(f"{name}.yaml")
    path.write_text(text.replace("name: moitt\n", f"name: {name}\n").replace("pk/moitt/", f"pk/{name}/"))
    return path


def test_an_offboarded_tenant_releases_groups_and_domains_and_keeps_its_name(
    submitted: Registry, request_file: Path, keys: Path
) -> None:
    acts.approve(submitted, submitted.entry("moitt"), keys / "alice")
    with pytest.raises(InvalidInputError):
        acts.submit(again(submitted), rival_of(request_file))
    again(submitted).set_state("moitt", "offboarded", "operator", "closed down")
    assert "stay held until an approver signs" in _resolution(submitted)
    with pytest.raises(InvalidInputError):
        acts.submit(again(submitted), rival_of(request_file))
    again(submitted).set_state("moitt", "offboarded", "operator", "closed down", keys / "bob")
    assert "its groups and domains are free" in _resolution(submitted)
    with pytest.raises(InvalidInputError) as caught:
        acts.submit(again(submitted), rival_of(request_file, "moitt-new"))
    assert [p.field for p in caught.value.details] == ["metadata.name"]
    acts.submit(again(submitted), rival_of(request_file))
    acts.approve(again(submitted), again(submitted).entry("rival"), keys / "alice")
    assert again(submitted).accepted("rival").name == "rival"
    assert again(submitted).problems == ()


UNSIGNED: dict[str, Callable[[bytes, Sign], tuple[bytes, bytes]]] = {
    "signed by a stranger": lambda data, s: (data, s(data, "stranger", STATE)),
    "signed as an approval": lambda data, s: (data, s(data, "alice", APPROVAL)),
    "changed after signing": lambda data, s: (data.replace(b"down", b"d0wn"), s(data, "alice", STATE)),
    "another tenant's": lambda data, s: (
        data.replace(b'"moitt"', b'"nadra"'), s(data.replace(b'"moitt"', b'"nadra"'), "alice", STATE)
    ),
    "a signature of nothing": lambda data, s: (data, b""),
    "of no tenant by name": lambda data, s: (
        data.replace(b'tenant: "moitt"\n', b""), s(data.replace(b'tenant: "moitt"\n', b""), "alice", STATE)
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UNSIGNED)
def test_an_offboarding_that_no_approver_signed_releases_nothing(
    submitted: Registry, request_file: Path, sign: Sign, case: str
) -> None:
    submitted.set_state("moitt", "offboarded", "operator", "closed down")
    data, signature = UNSIGNED[case]((submitted.path / "tenants/moitt/state.yaml").read_bytes(), sign)
    place(submitted, "state.yaml", data)
    place(submitted, "state.yaml.sig", signature)
    with pytest.raises(InvalidInputError):
        acts.submit(again(submitted), rival_of(request_file))
    assert status(submitted) != "approved"


def rejection_of(registry: Registry) -> bytes:
    digest = again(registry).entry("moitt").digest
    said = f"state: rejected\nby: me\nreason: no\ntime: 2026-01-31T09:00:00Z\ntenant: moitt\ndigest: {digest}\n"
    return said.encode()


def test_a_rejection_releases_what_was_never_accepted_and_nothing_else(
    submitted: Registry, request_file: Path, keys: Path
) -> None:
    def rival_may_be_handed_in() -> bool:
        reading = load(documents.parse(rival_of(request_file).read_bytes(), "rival.yaml"), TenantRequest)
        return not again(submitted).request_problems(reading)

    assert not rival_may_be_handed_in()
    place(submitted, "state.yaml", rejection_of(submitted))
    assert rival_may_be_handed_in()
    (submitted.path / "tenants/moitt/state.yaml").unlink()
    acts.approve(again(submitted), again(submitted).entry("moitt"), keys / "alice")
    place(submitted, "state.yaml", rejection_of(submitted))
    assert status(submitted) == "rejected"
    assert not rival_may_be_handed_in()
    (submitted.path / "tenants/moitt/state.yaml").unlink()
    submit_changed(submitted, request_file, 4, pods=49)
    place(submitted, "state.yaml", rejection_of(submitted))
    assert not rival_may_be_handed_in()


def _resolution(registry: Registry) -> str:
    with pytest.raises(RefusedError) as caught:
        again(registry).accepted("moitt")
    return str(caught.value.resolution)


def test_an_offboarded_state_of_another_tenant_releases_nothing(submitted: Registry, request_file: Path) -> None:
    submitted.set_state("moitt", "offboarded", "operator", "closed down")
    path = submitted.path / "tenants/moitt/state.yaml"
    path.write_text(path.read_text().replace('tenant: "moitt"', 'tenant: "nadra"'))
    with pytest.raises(InvalidInputError):
        acts.submit(again(submitted), rival_of(request_file))


# --- an accepted request stands while another waits ---


@pytest.fixture
def standing(submitted: Registry, request_file: Path, keys: Path) -> tuple[Registry, str]:
    """Return a registry with revision 3 accepted and revision 4 waiting, and the digest of revision 3."""
    acts.approve(submitted, submitted.entry("moitt"), keys / "alice")
    digest = str(again(submitted).entry("moitt").digest)
    submit_changed(submitted, request_file, 4, pods=49)
    return again(submitted), digest


def _broken(registry: Registry) -> None:
    place(registry, "request.yaml", b"\xff")


def _missing(registry: Registry) -> None:
    (registry.path / "tenants/moitt/request.yaml").unlink()


def _rejected(registry: Registry) -> None:
    acts.reject(again(registry), "moitt", "operator", "too much", None)


WAITING: dict[str, Callable[[Registry], object]] = {
    "pending": lambda registry: None, "rejected": _rejected, "invalid": _broken, "missing": _missing,
}  # fmt: skip


@pytest.mark.parametrize("case", WAITING)
def test_what_was_accepted_stands_while_the_present_request_does_not(standing: tuple[Registry, str], case: str) -> None:
    registry, digest = standing
    WAITING[case](registry)
    with pytest.raises(GcloudPkError):
        again(registry).accepted("moitt")
    tenant = again(registry).standing_request("moitt", digest)
    assert (tenant.revision, tenant.digest, tenant.approvers) == (3, digest, (ALICE,))
    assert tenant.request.spec.environments[0].quota.pods == 100
    assert tenant.site is not None


def test_the_present_request_stands_where_it_is_approved(submitted: Registry, sign: Sign, keys: Path) -> None:
    place(submitted, f"approvals/{ALICE}.sig", sign(bytes_of(submitted), "alice", APPROVAL))
    digest = str(again(submitted).entry("moitt").digest)
    assert again(submitted).standing_request("moitt", digest).digest == digest  # not kept yet
    again(submitted).keep("moitt")
    assert again(submitted).standing_request("moitt", digest).digest == digest


def test_a_waiting_request_never_stands(standing: tuple[Registry, str]) -> None:
    registry, _ = standing
    with pytest.raises(RefusedError, match="0 of 1 approvals"):
        registry.standing_request("moitt", str(registry.entry("moitt").digest))
    with pytest.raises(RefusedError, match="keeps no accepted request"):
        registry.standing_request("moitt", "0" * 64)


@pytest.mark.parametrize("state", ["suspended", "offboarded"])
def test_a_closed_tenants_accepted_request_does_not_stand(standing: tuple[Registry, str], state: str) -> None:
    registry, digest = standing
    registry.set_state("moitt", state, "operator", "why")  # type: ignore[arg-type]
    with pytest.raises(RefusedError, match=state):
        again(registry).standing_request("moitt", digest)


def test_a_state_that_cannot_be_believed_closes_what_was_accepted_too(standing: tuple[Registry, str]) -> None:
    registry, digest = standing
    place(registry, "state.yaml", b"state: active\nby: me\nreason: please\ntime: 2026-01-01T00:00:00Z\n")
    with pytest.raises(RefusedError, match="does not hold"):
        again(registry).standing_request("moitt", digest)


def test_a_rejection_that_names_the_accepted_request_closes_it(standing: tuple[Registry, str]) -> None:
    registry, digest = standing
    place(
        registry,
        "state.yaml",
        f"state: rejected\nby: me\nreason: no\ntime: 2026-01-01T00:00:00Z\ndigest: {digest}\n".encode(),
    )
    with pytest.raises(RefusedError, match="is rejected by me"):
        again(registry).standing_request("moitt", digest)


def test_keys_of_an_accepted_request_are_judged_at_its_acceptance_and_must_still_be_listed(
    standing: tuple[Registry, str],
) -> None:
    registry, digest = standing
    expire(registry, "20260101")
    accepted_at = dt.datetime(2025, 12, 31, tzinfo=dt.UTC)
    assert again(registry).standing_request("moitt", digest, accepted_at).approvers == (ALICE,)
    with pytest.raises(RefusedError, match="no longer hold: 0 of 1") as caught:
        again(registry).standing_request("moitt", digest)
    assert "expired on 2026-01-01" in str(caught.value.details[0])
    path = registry.path / "approvers"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(RefusedError, match="no longer hold"):
        again(registry).standing_request("moitt", digest, accepted_at)


def _other_bytes(kept: Path, data: bytes) -> None:
    (kept / "request.yaml").write_bytes(data.replace(b"pods: 50", b"pods: 500"))


def _without_approvals(kept: Path, _: bytes) -> None:
    shutil.rmtree(kept / "approvals")


def _approval_of_other_bytes(kept: Path, _: bytes) -> None:
    (kept / "approvals" / f"{ALICE}.sig").write_bytes(b"approved, honestly")


@pytest.mark.parametrize("tamper", [_other_bytes, _without_approvals, _approval_of_other_bytes])
def test_history_that_was_tampered_with_does_not_stand(
    standing: tuple[Registry, str], tamper: Callable[[Path, bytes], None]
) -> None:
    registry, digest = standing
    kept = registry.path / "tenants/moitt/history" / digest
    tamper(kept, (kept / "request.yaml").read_bytes())
    with pytest.raises(RefusedError):
        again(registry).standing_request("moitt", digest)


def test_an_accepted_request_that_breaks_a_rule_of_today_does_not_stand(standing: tuple[Registry, str]) -> None:
    registry, digest = standing
    path = registry.path / "organisations.yaml"
    path.write_text(path.read_text().replace("code: MOITT", "code: MOST"))
    with pytest.raises(InvalidInputError, match="no longer valid"):
        again(registry).standing_request("moitt", digest)


def test_an_accepted_request_cannot_be_rejected(submitted: Registry, keys: Path) -> None:
    acts.approve(submitted, submitted.entry("moitt"), keys / "alice")
    with pytest.raises(RefusedError, match="was accepted already") as caught:
        acts.reject(again(submitted), "moitt", "operator", "second thoughts", None)
    assert "submit revision 4" in str(caught.value.resolution)
    assert "offboard" in str(caught.value.resolution)
    assert not (submitted.path / "tenants/moitt/state.yaml").exists()
    assert again(submitted).accepted("moitt")


def test_a_reason_that_cannot_be_shown_is_refused(submitted: Registry) -> None:
    with pytest.raises(InvalidInputError):
        acts.reject(submitted, "moitt", "operator", "fine\u202eenif", None)
    assert not (submitted.path / "tenants/moitt/state.yaml").exists()


# --- trust ---


@pytest.fixture
def trusted(submitted: Registry, keys: Path, public: Callable[[str], str], tmp_path: Path) -> tuple[Registry, Path]:
    acts.sign_registry(submitted, keys / "keeper")
    trust = tmp_path / "trust"
    trust.write_text(f'keeper@ntc.example namespaces="{REGISTRY}" {public("keeper")}\n')
    return again(submitted), trust


def test_a_signed_registry_is_trusted_by_those_who_name_its_keeper(trusted: tuple[Registry, Path]) -> None:
    registry, trust = trusted
    state = registry.trust(trust)
    assert (state.trusted, state.signer) == (True, "keeper@ntc.example")


def test_without_a_trust_file_nothing_is_trusted_and_the_reason_is_said(trusted: tuple[Registry, Path]) -> None:
    state = trusted[0].trust(None)
    assert not state.trusted
    assert "--trust" in str(state.reason)


def test_an_auditor_checks_the_same_with_sha256sum_and_ssh_keygen(trusted: tuple[Registry, Path]) -> None:
    registry, trust = trusted
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "registry.sha256"], cwd=registry.path, check=True)
    options = ["-f", str(trust), "-I", "keeper@ntc.example", "-n", REGISTRY, "-s", "registry.sha256.sig"]
    command = ["ssh-keygen", "-Y", "verify", *options]
    subprocess.run(
        command,
        input=(registry.path / "registry.sha256").read_bytes(),
        cwd=registry.path,
        check=True,
        capture_output=True,
    )


def resign(registry: Path, keys: Path, name: str = "keeper", namespace: str = REGISTRY) -> None:
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(keys / name)]
    done = subprocess.run(command, input=(registry / "registry.sha256").read_bytes(), capture_output=True, check=True)
    (registry / "registry.sha256.sig").write_bytes(done.stdout)


def append(name: str) -> Callable[[Path, Path], None]:
    def change(registry: Path, _: Path) -> None:
        (registry / name).write_bytes((registry / name).read_bytes() + b"\n")

    return change


def double(registry: Path, keys: Path) -> None:
    path = registry / "registry.sha256"
    path.write_bytes(path.read_bytes() * 2)
    resign(registry, keys)


def drop_line(registry: Path, name: str) -> None:
    path = registry / "registry.sha256"
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if name not in line))


def unlisted(registry: Path, keys: Path) -> None:
    drop_line(registry, "approvers")
    resign(registry, keys)


TAMPERED: dict[str, tuple[Callable[[Path, Path], object], str, str]] = {
    "settings changed": (append("settings.yaml"), "settings.yaml", "changed"),
    "organisations changed": (append("organisations.yaml"), "organisations.yaml", "changed"),
    "approvers changed": (append("approvers"), "approvers", "changed"),
    "site changed": (append("sites/isb-1.yaml"), "sites/isb-1.yaml", "changed"),
    "settings removed": (lambda r, k: (r / "settings.yaml").unlink(), "settings.yaml", "is missing"),
    "site removed": (lambda r, k: (r / "sites/lhe-1.yaml").unlink(), "sites/lhe-1.yaml", "is missing"),
    "site added": (
        lambda r, k: shutil.copy(r / "sites/isb-1.yaml", r / "sites/khi-1.yaml"), "sites/khi-1.yaml", "added"
    ),
    "file not listed though signed": (unlisted, "approvers", "was added"),
    "manifest changed": (lambda r, k: drop_line(r, "approvers"), "registry.sha256.sig", "other bytes"),
    "manifest with a second line of a file": (double, "registry.sha256", "a comment"),
    "signed by a stranger": (lambda r, k: resign(r, k, "stranger"), "registry.sha256.sig", "not in"),
    "signed by an approver": (lambda r, k: resign(r, k, "alice"), "registry.sha256.sig", "not in"),
    "signed in another namespace": (lambda r, k: resign(r, k, namespace=APPROVAL), "registry.sha256.sig", "namespace"),
    "signature removed": (lambda r, k: (r / "registry.sha256.sig").unlink(), "registry.sha256.sig", "is missing"),
    "manifest removed": (lambda r, k: (r / "registry.sha256").unlink(), "registry.sha256", "is missing"),
}  # fmt: skip


@pytest.mark.parametrize("case", TAMPERED)
def test_a_registry_that_is_not_what_its_keepers_signed_is_refused_and_the_file_named(
    trusted: tuple[Registry, Path], keys: Path, case: str
) -> None:
    registry, trust = trusted
    tamper, file, words = TAMPERED[case]
    tamper(registry.path, keys)
    with pytest.raises(RefusedError) as caught:
        again(registry).trust(trust)
    found = [str(p) for p in caught.value.details if p.file == str(registry.path / file)]
    assert found
    assert words in found[0]


def make_link(path: Path, target: Path) -> Path:
    path.symlink_to(target)
    return path


def test_a_trust_file_beside_the_registry_may_be_named_from_inside(trusted: tuple[Registry, Path]) -> None:
    registry, trust = trusted
    assert registry.trust(registry.path / ".." / trust.name).trusted
    assert registry.trust(make_link(trust.with_name("link"), trust)).trusted


def outside_trust(case: str, registry: Registry, trust: Path, public: Callable[[str], str]) -> Path:
    if case == "inside the registry":
        return Path(shutil.copy(trust, registry.path / "trust"))
    if case == "a link inside that leads out":
        inside = registry.path / "trust"
        inside.symlink_to(trust)
        return inside
    if case == "outside through a link inside":
        (registry.path / "trust").symlink_to(trust)
        return make_link(trust.with_name("second"), registry.path / "trust")
    if case == "in a folder that is a link inside":
        (registry.path / "keys").symlink_to(trust.parent)
        return make_link(trust.with_name("alias"), registry.path) / "keys" / "trust"
    if case == "inside by a link":
        inside = registry.path / "trust"
        trust.rename(inside)
        trust.symlink_to(inside)
    elif case == "a wildcard":
        trust.write_text(f'* namespaces="{REGISTRY}" {public("keeper")}\n')
    elif case == "another's key":
        trust.write_text(f'keeper@ntc.example namespaces="{REGISTRY}" {public("stranger")}\n')
    elif case == "for another namespace":
        trust.write_text(f'keeper@ntc.example namespaces="{APPROVAL}" {public("keeper")}\n')
    elif case == "expired":
        trust.write_text(f'keeper@ntc.example namespaces="{REGISTRY}",valid-before="20200101" {public("keeper")}\n')
    elif case == "empty":
        trust.write_text("")
    elif case == "one byte of the key changed":
        text = trust.read_text()
        at = len(text) - 12
        trust.write_text(text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :])
    return trust


TRUST_FILES = (
    "inside the registry",
    "inside by a link",
    "a link inside that leads out",
    "outside through a link inside",
    "in a folder that is a link inside",
    "a wildcard",
    "another's key",
    "for another namespace",
    "expired",
    "empty",
    "one byte of the key changed",
)


@pytest.mark.parametrize("case", TRUST_FILES)
def test_a_trust_file_that_does_not_hold_is_refused(
    trusted: tuple[Registry, Path], public: Callable[[str], str], case: str
) -> None:
    registry, trust = trusted
    with pytest.raises(RefusedError):
        again(registry).trust(outside_trust(case, registry, trust, public))


def test_a_missing_trust_file_is_not_the_same_as_none(trusted: tuple[Registry, Path], tmp_path: Path) -> None:
    with pytest.raises(UnavailableError):
        trusted[0].trust(tmp_path / "none")


def test_the_bytes_that_were_verified_are_the_bytes_that_are_used(trusted: tuple[Registry, Path]) -> None:
    registry, trust = trusted
    assert registry.trust(trust).trusted
    before = registry.settings
    (registry.path / "settings.yaml").write_text("groupsPrefix: 'evil:'\n")
    assert registry.settings == before


def test_what_is_not_valid_is_not_signed(submitted: Registry, keys: Path) -> None:
    (submitted.path / "settings.yaml").write_text("approvals: {secret: 1}\n")
    with pytest.raises(InvalidInputError):
        acts.sign_registry(again(submitted), keys / "keeper")
    assert not (submitted.path / "registry.sha256").exists()


def test_a_cluster_is_found_by_its_uid(submitted: Registry) -> None:
    path = submitted.path / "sites/isb-1.yaml"
    uid = "6c0e0000-0000-4000-8000-000000000001"
    path.write_text(path.read_text().replace("- name: isb-1-a", f"- uid: {uid}\n      name: isb-1-a"))
    found = again(submitted).cluster_by_uid(uid)
    assert found
    assert (found[0].metadata.name, found[1].name) == ("isb-1", "isb-1-a")
    assert again(submitted).cluster_by_uid(uid.replace("6", "7")) is None


def test_every_error_carries_a_code_and_what_to_do(submitted: Registry) -> None:
    with pytest.raises(GcloudPkError) as caught:
        submitted.accepted("moitt")
    assert caught.value.code is ExitCode.REFUSED
    assert caught.value.resolution
