"""What a suspension saves and what is believed of it; what the cluster says against a tenant; the folder for GitOps."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.registry_world import tree
from tests.unit.tenants import a_request_document, a_tenant

from gcloud_pk.commands.connection import Connection
from gcloud_pk.commands.suspension import _Writer
from gcloud_pk.console import Console
from gcloud_pk.errors import GcloudPkError, InvalidInputError, PartialError, RefusedError, UnavailableError
from gcloud_pk.main import main
from gcloud_pk.model import labels
from gcloud_pk.model.advice import is_overdue
from gcloud_pk.model.resources import Suspended
from gcloud_pk.model.state import State
from gcloud_pk.onboarding import suspension as closing
from gcloud_pk.onboarding.account import account
from gcloud_pk.onboarding.closures import (
    Tombstone,
    closed_since,
    is_opened,
    refuse_offboarded,
    refuse_suspended,
    unfinished,
)
from gcloud_pk.onboarding.intake import take_in
from gcloud_pk.onboarding.output import close_folder, write_folder
from gcloud_pk.onboarding.standing import Standing as Meant
from gcloud_pk.onboarding.suspension import Place, Scene
from gcloud_pk.registry import suspension
from gcloud_pk.registry.folder import Registry
from gcloud_pk.registry.history import Act
from gcloud_pk.registry.standing import Standing
from gcloud_pk.registry.suspension import Saved, of, stripped
from gcloud_pk.render.network import default_deny, denial

UID = "6c0e0000-0000-4000-8000-000000000001"
SINCE = "2026-11-22T12:00:00Z"


def binding(name: str, namespace: str = "moitt-prod", role: str = "reader", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
        "subjects": [{"kind": "Group", "name": "oidc:moitt-developers"}],
    }


def saved(*objects: dict[str, Any], how: Suspended = "suspended") -> Saved:
    return Saved("moitt", UID, how, objects)


# What is saved


def test_what_the_server_sets_itself_is_not_saved_and_all_else_is() -> None:
    own: dict[str, Any] = {
        "labels": {"team": "payroll"},
        "annotations": {"ticket": "17"},
        "finalizers": ["example.com/hold"],
    }
    servers: dict[str, Any] = {"uid": "u", "resourceVersion": "7", "creationTimestamp": SINCE, "generation": 2}
    servers |= {"managedFields": [{}], "selfLink": "/x"}
    live = binding("readers", **own, **servers) | {"status": {"conditions": []}}
    assert stripped(live) == binding("readers", **own)


def test_the_same_objects_give_the_same_bytes_in_whatever_order_they_came() -> None:
    one, other = binding("a"), binding("b", "moitt-dev")
    assert saved(one, other).data == saved(other, one).data
    assert of(saved(one, other).data, "bindings.json").objects == (other, one)
    assert of(saved(one).data, "bindings.json").digest == saved(one).digest


def test_what_is_live_now_wins_and_what_was_saved_before_is_kept() -> None:
    before = saved(binding("a", role="old"), binding("gone"))
    after = before.united([binding("a", role="new", uid="u"), binding("c")], "suspended")
    roles = {one["metadata"]["name"]: one["roleRef"]["name"] for one in after.objects}
    assert roles == {"a": "new", "gone": "reader", "c": "reader"}
    assert all("uid" not in one["metadata"] for one in after.objects)


@pytest.mark.parametrize(
    ("was", "asked", "then"),
    [
        ("suspended", "suspended", "suspended"),
        ("suspended", "quarantined", "quarantined"),
        ("quarantined", "suspended", "quarantined"),
    ],
)
def test_a_quarantine_that_was_meant_once_stays(was: Suspended, asked: Suspended, then: Suspended) -> None:
    assert saved(how=was).united([], asked).how == then


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b'{"tenant": "moitt"}',
        b'{"tenant": "moitt", "cluster": "u", "how": "open", "objects": []}',
        b'{"tenant": "moitt", "cluster": "u", "how": "suspended", "objects": [7]}',
        b'{"tenant": "moitt", "cluster": "u", "how": "suspended", "objects": [{"kind": "RoleBinding"}]}',
        b'{"tenant": "moitt", "cluster": "u", "how": "suspended", "objects": 5, "more": 1}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_a_file_that_no_suspension_wrote_is_refused_and_named(data: bytes) -> None:
    with pytest.raises(RefusedError, match=r"bindings\.json is not what a suspension saved"):
        of(data, "bindings.json")


# What is believed of it


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    folder = tmp_path / "registry" / "tenants" / "moitt"
    folder.mkdir(parents=True)
    (tmp_path / "registry" / "approvers").write_text("")
    (tmp_path / "registry" / "organisations.yaml").write_text("[]\n")
    (folder / "request.yaml").write_text(yaml.safe_dump(a_request_document()))
    return Registry.open(tmp_path / "registry")


def named(registry: Registry, made: Saved, act: str = "suspend") -> Registry:
    """Have the history name a file."""
    registry.record("moitt", act, "op@desk", detail={"saved": made.digest, "objects": 1})  # type: ignore[arg-type]
    return Registry.open(registry.path)


def test_a_file_counts_when_the_last_suspension_names_it(registry: Registry) -> None:
    made = saved(binding("a"))
    registry = named(registry, made)
    suspension.put(registry, "moitt", made)
    assert suspension.intact(registry, registry.entry("moitt")).objects == made.objects


@pytest.mark.parametrize("change", ["changed", "missing", "an earlier one"])
def test_another_file_does_not(registry: Registry, change: str) -> None:
    first, last = saved(binding("a")), saved(binding("a"), binding("b"))
    registry = named(named(registry, first), last)
    if change != "missing":
        suspension.put(registry, "moitt", first if change == "an earlier one" else saved(binding("a", role="admin")))
    with pytest.raises(RefusedError, match="is not what the history names") as caught:
        suspension.intact(registry, registry.entry("moitt"))
    assert str(caught.value.details[0].file).endswith("suspended/bindings.json")
    assert last.digest in str(caught.value.details[0].expected)


def test_only_a_suspension_that_the_cluster_knows_says_what_is_given_back(registry: Registry) -> None:
    made, wider = saved(binding("a")), saved(binding("a"), binding("b", role="admin"))
    registry = named(registry, made)
    head = registry.entry("moitt").chain.head
    assert head is not None
    registry = named(named(registry, wider), wider, "resume")
    suspension.put(registry, "moitt", wider)
    with pytest.raises(RefusedError, match="is not what the history names") as caught:
        suspension.intact(registry, registry.entry("moitt"), head)
    (wrong,) = caught.value.details
    assert "line 2 by op@desk names, and this cluster does not know that line" in str(wrong)
    assert made.digest in str(wrong)
    suspension.put(registry, "moitt", made)
    assert suspension.intact(registry, registry.entry("moitt"), head).objects == made.objects


def test_a_suspension_that_a_later_line_of_the_cluster_follows_is_known(registry: Registry) -> None:
    made = saved(binding("a"))
    registry = named(registry, made)
    registry.record("moitt", "verify", "op@desk")
    suspension.put(registry, "moitt", made)
    entry = Registry.open(registry.path).entry("moitt")
    assert suspension.intact(registry, entry, entry.chain.head).digest == made.digest


@pytest.mark.parametrize(
    ("kind", "name", "comes"),
    [
        ("RoleBinding", "tenant-admins", True),
        ("RoleBinding", "tenant-owners", False),
        ("NetworkPolicy", "declared-flows", True),
        ("NetworkPolicy", "tenant-admins", False),
    ],
)
def test_what_says_that_it_is_the_platform_s_comes_back_only_under_the_platform_s_names(
    kind: str, name: str, comes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = "networking.k8s.io/v1" if kind == "NetworkPolicy" else "rbac.authorization.k8s.io/v1"
    one = binding(name, labels={labels.MANAGED: labels.MANAGED_BY_PLATFORM}) | {"kind": kind, "apiVersion": version}
    monkeypatch.setattr(closing, "_create", lambda *_: True)
    restored = closing.Restored()
    closing._restore(Cluster(), one, {"moitt-prod": place()}, restored)  # type: ignore[arg-type]
    assert (len(restored.created), len(restored.refused)) == ((1, 0) if comes else (0, 1))
    if not comes:
        assert f"{kind} moitt-prod/{name} says that it is the platform's" in restored.refused[0][1]


def test_without_a_suspension_in_the_history_nothing_is_given_back(registry: Registry) -> None:
    suspension.put(registry, "moitt", saved(binding("a")))
    with pytest.raises(RefusedError, match="names nothing that a suspension saved"):
        suspension.intact(registry, registry.entry("moitt"))


def test_the_check_of_a_registry_names_a_file_that_was_changed_or_lost(registry: Registry) -> None:
    made = saved(binding("a"))
    registry = named(registry, made)
    file = registry.path / "tenants/moitt/suspended/bindings.json"
    assert [(p.file, p.message) for p in suspension.problems(registry, registry.entry("moitt"))] == [
        (str(file), "is missing")
    ]
    suspension.put(registry, "moitt", made)
    assert suspension.problems(registry, registry.entry("moitt")) == []
    file.write_bytes(made.data.replace(b"reader", b"writer"))
    found = [p for p in Registry.open(registry.path).problems if p.file == str(file)]
    assert [p.message for p in found] == ["was changed since the suspension saved it"]


def test_a_resumption_that_was_cut_short_after_its_line_still_knows_the_file(registry: Registry) -> None:
    made = saved(binding("a"))
    registry = named(named(registry, made), made, "resume")
    suspension.put(registry, "moitt", made)
    assert suspension.intact(registry, registry.entry("moitt")).digest == made.digest


def test_a_suspension_goes_on_from_any_file_that_it_named_and_sets_a_strange_one_aside(registry: Registry) -> None:
    first, last = saved(binding("a")), saved(binding("a"), binding("b"))
    registry = named(named(registry, first), last)
    suspension.put(registry, "moitt", first)  # killed before the last was written
    before, strange = suspension.continued(registry, registry.entry("moitt"))
    assert (before, strange) == (first, None)
    forged = saved(binding("a", role="admin"))
    suspension.put(registry, "moitt", forged)
    assert suspension.continued(registry, registry.entry("moitt")) == (None, forged.data)
    aside = suspension.set_aside(registry, "moitt", forged.data)
    assert Path(aside).read_bytes() == forged.data


def test_what_an_earlier_suspension_left_behind_is_not_given_back_a_second_time(registry: Registry) -> None:
    made = saved(binding("a"))
    registry = named(named(registry, made), made, "resume")
    suspension.put(registry, "moitt", made)
    assert suspension.continued(registry, registry.entry("moitt")) == (None, None)
    suspension.clear(registry, "moitt")
    assert not (registry.path / "tenants" / "moitt" / "suspended").exists()


def test_a_file_that_cannot_be_read_counts_as_quarantine_for_the_folder_of_gitops(registry: Registry) -> None:
    assert suspension.how(registry, registry.entry("moitt")) == "suspended"
    suspension.put(registry, "moitt", saved(how="quarantined"))
    assert suspension.how(registry, registry.entry("moitt")) == "quarantined"
    (registry.path / "tenants/moitt/suspended/bindings.json").write_text("{")
    assert suspension.how(registry, registry.entry("moitt")) == "quarantined"


# What is on the cluster


def place(said: Suspended | None = None, *, bindings: int = 0, flows: int = 0) -> Place:
    made = tuple(binding(f"b{number}") for number in range(bindings))
    others = tuple({"kind": "NetworkPolicy", "metadata": {"name": f"n{number}"}} for number in range(flows))
    return Place("moitt-prod", "prod", False, made, others, None, {"spec": {"suspended": said} if said else {}}, 0)


def scene(phase: str, *places: Place) -> Scene:
    return Scene("moitt", {"status": {"phase": phase}}, places)


@pytest.mark.parametrize(
    ("seen", "how", "closed"),
    [
        (scene("Suspended", place("suspended", flows=2)), "suspended", True),
        (scene("Suspended", place("suspended", flows=2)), "quarantined", False),
        (scene("Quarantined", place("quarantined")), "quarantined", True),
        (scene("Quarantined", place("quarantined")), "suspended", True),
        (scene("Suspended", place("suspended", bindings=1)), "suspended", False),
        (scene("Suspended", place("suspended"), place()), "suspended", False),
        (scene("Suspending", place("suspended")), "suspended", False),
        (scene("Ready", place("suspended")), "suspended", False),
    ],
)
def test_a_tenant_is_closed_when_nothing_open_is_left_and_all_that_speaks_says_so(
    seen: Scene, how: Suspended, closed: bool
) -> None:
    assert seen.is_closed(how) is closed


def test_a_suspension_never_loosens_a_quarantine() -> None:
    assert scene("Suspending", place("quarantined"), place()).tightest("suspended") == "quarantined"
    assert scene("Quarantined", place()).tightest("suspended") == "quarantined"
    assert scene("Suspended", place("suspended")).tightest("suspended") == "suspended"


def test_access_is_taken_before_flows_and_flows_in_quarantine_only() -> None:
    seen = scene("Ready", place(bindings=1, flows=1), place(bindings=1, flows=1))
    assert [one["kind"] for one in seen.to_take("suspended")] == ["RoleBinding"] * 2
    assert [one["kind"] for one in seen.to_take("quarantined")] == ["RoleBinding"] * 2 + ["NetworkPolicy"] * 2


def test_the_denial_by_names_is_the_one_that_onboarding_applies() -> None:
    assert denial("moitt", "moitt-eoffice", "eoffice") == default_deny(a_tenant(), "eoffice")


# What the cluster says against a tenant


@pytest.mark.parametrize(
    ("status", "since"),
    [
        (None, None),
        ({}, None),
        ({"phase": "Ready"}, None),
        ({"phase": "Applying"}, None),
        ({"phase": "Suspended", "suspendedAt": SINCE}, SINCE),
        ({"phase": "Ready", "suspendedAt": SINCE}, SINCE),
        ({"phase": "Suspending"}, "an unknown time"),
        ({"phase": "Quarantined"}, "an unknown time"),
    ],
)
def test_a_tenant_says_since_when_it_is_suspended(status: dict[str, Any] | None, since: str | None) -> None:
    assert closed_since(None if status is None else {"status": status}) == since


def standing(time: str, signer: str | None = "head@ntc.example", state: str = "active") -> Standing:
    record = State.model_validate({"state": state, "by": "head", "reason": "r", "time": time})
    return Standing(record.state, record, signer)


@pytest.mark.parametrize(
    ("stands", "opened"),
    [
        (standing("2026-11-22T12:00:01Z"), True),
        (standing("2026-11-22T11:59:59Z"), False),
        (standing("2026-11-22T12:00:01Z", None), False),
        (standing("2026-11-22T12:00:01Z", state="suspended"), False),
        (Standing("active"), False),
    ],
    ids=["signed since", "signed before", "not signed", "says suspended", "no state at all"],
)
def test_only_an_active_that_was_signed_since_opens(stands: Standing, opened: bool) -> None:
    assert is_opened(stands, SINCE) is opened
    parent = {"status": {"phase": "Suspended", "suspendedAt": SINCE}}
    with pytest.raises(RefusedError) as caught:
        refuse_suspended("moitt", parent, stands)
    assert ("run resume again" in str(caught.value.resolution)) is opened
    assert ("no approver has resumed it" in caught.value.message) is not opened


def test_a_time_that_is_none_opens_nothing() -> None:
    assert not is_opened(standing("2026-11-22T12:00:01Z"), "an unknown time")


def test_a_tombstone_refuses_and_says_when() -> None:
    refuse_offboarded("moitt", None)
    with pytest.raises(RefusedError, match=f"saw tenant moitt offboarded at {SINCE}"):
        refuse_offboarded("moitt", Tombstone("moitt", SINCE))


# Closing that stops


class Cluster:
    """Stands in for the transport: nothing was stored so far."""

    persisted = 0


@pytest.fixture
def lonely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "Lease", lambda *_, **__: contextlib.nullcontext())
    monkeypatch.setattr(closing, "look", lambda *_: scene("Ready", place(bindings=1)))


@pytest.mark.usefixtures("lonely")
@pytest.mark.parametrize(
    ("persisted", "written", "kind", "said"),
    [
        (0, False, UnavailableError, "nothing was written, and tenant moitt is NOT suspended"),
        (0, True, PartialError, "the registry says so, and tenant moitt is still open on this cluster"),
        (3, True, PartialError, "until then tenant moitt may be open in part"),
    ],
    ids=["before anything", "after the registry", "on the cluster"],
)
def test_a_suspension_that_stops_says_what_is_closed_by_then(
    persisted: int, written: bool, kind: type[GcloudPkError], said: str
) -> None:
    def save(*_: Any) -> tuple[str, str | None]:
        raise UnavailableError("the file system is read-only")

    api = Cluster()
    api.persisted = persisted
    with pytest.raises(kind) as caught:
        closing.suspend(api, "moitt", "suspended", save=save, written=lambda: written)  # type: ignore[arg-type]
    assert said in f"{caught.value.message}; {caught.value.resolution}"
    assert "stays closed" not in str(caught.value.resolution)


def test_what_the_registry_could_not_take_was_not_written(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    connection = Connection(registry, Cluster(), Meant(UID, "a lab", None, None))  # type: ignore[arg-type]
    writer = _Writer(connection, Console(), "moitt", "an inquiry", None)
    with monkeypatch.context() as full:
        full.setattr(Path, "replace", no_space)
        with pytest.raises(UnavailableError, match="the disk is full"):
            writer.save("suspended", [binding("a")])
    assert not writer.written()
    writer.save("suspended", [binding("a")])
    assert writer.written()


@pytest.mark.usefixtures("lonely")
def test_a_resumption_that_somebody_s_suspension_came_before_opens_nothing() -> None:
    def called(*_: Any) -> Any:
        raise AssertionError("nothing is to be opened")

    with pytest.raises(RefusedError, match="somebody else has acted on tenant moitt meanwhile"):
        closing.resume(Cluster(), "moitt", [], head="f" * 64, opened=called, record=called)  # type: ignore[arg-type]


@pytest.mark.parametrize("verb", ["suspend", "resume"])
@pytest.mark.parametrize("reason", ["", "two\nlines"])
def test_a_reason_that_cannot_be_recorded_is_refused_before_anything(
    registry: Registry, verb: str, reason: str
) -> None:
    before = tree(registry.path)
    words = ["--registry", str(registry.path), "--kubeconfig", "/nonexistent"]
    assert main([*words, "tenant", verb, "moitt", "--reason", reason, "--yes"]) == 2
    assert tree(registry.path) == before


# What the registry says and the cluster does not


@pytest.mark.parametrize(
    ("phase", "state", "said"),
    [
        ("Ready", "suspended", "still open on this cluster: gcloud-pk tenant suspend moitt"),
        ("Suspending", "suspended", "may still be open in part on this cluster: gcloud-pk tenant suspend moitt"),
        ("Suspended", "suspended", None),
        ("Quarantined", "suspended", None),
        ("Ready", "active", None),
        ("Ready", "offboarded", None),
        (None, "suspended", None),
    ],
)
def test_a_suspension_that_was_begun_and_not_finished_is_named(phase: str | None, state: str, said: str | None) -> None:
    parent = None if phase is None else {"status": {"phase": phase}}
    found = unfinished("moitt", parent, standing(SINCE, state=state))
    assert (found is None) if said is None else (said in str(found))


def test_all_are_onboarded_but_one_that_is_half_suspended_which_is_an_error(registry: Registry) -> None:
    registry.set_state("moitt", "suspended", "op@desk", "an inquiry")
    registry = Registry.open(registry.path)
    (waits,) = take_in(registry, None, None, {"moitt": {"status": {"phase": "Suspended"}}}).skipped
    assert (waits.reason, waits.error) == ("suspended", None)
    (skipped,) = take_in(registry, None, None, {"moitt": {"status": {"phase": "Ready"}}}).skipped
    assert skipped.error is not None
    assert skipped.error.code == 4
    assert "still open on this cluster" in skipped.reason


def test_the_account_is_the_registry_s_and_without_one_the_cluster_s(registry: Registry) -> None:
    parent = {"status": {"phase": "Quarantined", "suspendedAt": SINCE}}
    assert str(account(parent)) == f"quarantined since {SINCE}"
    assert account({"status": {"phase": "Ready"}}, registry, "moitt") is None
    registry.set_state("moitt", "suspended", "op@desk", "an inquiry")
    said = account(parent, Registry.open(registry.path), "moitt")
    assert said is not None
    assert str(said) == f"quarantined since {said.since} by op@desk: an inquiry"
    registry.record("moitt", "suspend", "op@desk", detail={"reason": "an inquiry"})
    (registry.path / "tenants/moitt/state.yaml").unlink()
    said = account(parent, Registry.open(registry.path), "moitt")
    assert said is not None
    assert (said.by, said.reason) == ("op@desk", "an inquiry")


# What the history says of it


@pytest.mark.parametrize(
    ("acts", "resumed"),
    [
        ([], False),
        (["submit"], False),
        (["suspend"], False),
        (["suspend", "resume", "verify"], True),
        (["suspend", "resume", "suspend"], False),
        (["suspend", "resume", "reject"], True),
        (["suspend", "resume", "offboard"], False),
    ],
    ids=lambda value: ", then ".join(value) if isinstance(value, list) else str(value),
)
def test_only_a_resumption_that_nothing_followed_is_renewed(registry: Registry, acts: list[Act], resumed: bool) -> None:
    for act in acts:
        registry.record("moitt", act, "op@desk")
    chain = Registry.open(registry.path).entry("moitt").chain
    assert suspension.is_resumed(chain) is resumed


def test_a_tenant_is_closed_as_it_is_since_the_line_that_says_so(registry: Registry) -> None:
    for how in ("quarantined", "resume", "suspended", "quarantined"):
        act: Act = "resume" if how == "resume" else "suspend"
        registry.record("moitt", act, "op@desk", detail={"how": how})
    chain = Registry.open(registry.path).entry("moitt").chain
    lines = [suspension.closed_as(chain, how) for how in ("suspended", "quarantined")]
    assert [line and line.number for line in lines] == [3, 4]


def test_what_is_not_taken_is_not_named() -> None:
    seen = place(bindings=1, flows=1)
    assert seen.as_dict("suspended")["networkPolicies"] == []
    assert seen.as_dict("quarantined")["networkPolicies"] == ["n0"]


# The folder for GitOps


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


@pytest.mark.parametrize("how", ["suspended", "quarantined"])
def test_the_folder_of_a_suspended_tenant_gives_no_access(tmp_path: Path, how: Suspended) -> None:
    write_folder(tmp_path, a_tenant(environments=("prod", "dev")))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.yaml")}
    assert close_folder(tmp_path, "moitt", how)
    for namespace in ("moitt-prod", "moitt-dev"):
        folder = tmp_path / "moitt" / namespace
        assert not (folder / "07-rolebinding.yaml").exists()
        (parameters,) = documents(folder / "02-tenantpolicy.yaml")
        assert parameters["spec"]["suspended"] == how
        flows = {one["metadata"]["name"] for one in documents(folder / "05-networkpolicy.yaml")}
        assert flows == ({"default-deny"} if how == "quarantined" else {"default-deny", "declared-flows"})
    close_folder(tmp_path, "moitt", how)
    write_folder(tmp_path, a_tenant(environments=("prod", "dev")))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.yaml")} == before


def test_a_folder_that_is_not_there_needs_no_closing_and_a_strange_one_is_named(tmp_path: Path) -> None:
    assert not close_folder(tmp_path, "moitt", "suspended")
    write_folder(tmp_path, a_tenant())
    policy = tmp_path / "moitt" / "moitt-eoffice" / "02-tenantpolicy.yaml"
    policy.write_text("[not: [yaml")
    with pytest.raises(InvalidInputError, match="02-tenantpolicy"):
        close_folder(tmp_path, "moitt", "suspended")


# Reviews


@pytest.mark.parametrize(
    ("day", "overdue"),
    [(None, False), ("2026-11-21", True), ("2026-11-22", False), ("2026-11-23", False), ("soon", False)],
)
def test_a_review_is_overdue_from_the_day_after(day: str | None, overdue: bool) -> None:
    assert is_overdue(day, dt.date(2026, 11, 22)) is overdue


def test_what_is_saved_reads_as_json_by_anybody() -> None:
    assert json.loads(saved(binding("a")).data)["objects"][0]["metadata"]["name"] == "a"
