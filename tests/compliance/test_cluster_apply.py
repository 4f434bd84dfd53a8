"""Writing and applying against a tiny local server that answers as kube-apiserver does (`cluster_server.py`)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.cluster_server import DROP, Asked, Server, serving, status

from gcloud_pk.cluster.answer import ConflictError
from gcloud_pk.cluster.apply import Conveyor, apply
from gcloud_pk.cluster.kinds import (
    NAMESPACE,
    NETWORK_POLICY,
    RESOURCE_QUOTA,
    ROLE_BINDING,
    TENANT_POLICY,
    ObjectKey,
    keyed,
)
from gcloud_pk.cluster.live import fetch, fetch_named
from gcloud_pk.cluster.plan import Action, Change, plan
from gcloud_pk.cluster.write import write, write_status
from gcloud_pk.errors import PartialError, RefusedError, UnavailableError


def quota(name: str = "q", **hard: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": name, "namespace": "a-prod"},
        "spec": {"hard": hard or {"cpu": "8"}},
    }


def live(manifest: dict[str, Any], *owners: tuple[str, str, dict[str, Any]]) -> dict[str, Any]:
    managed = [{"manager": m, "operation": o, "fieldsV1": f} for m, o, f in owners]
    more = {"uid": "u", "resourceVersion": "7", "managedFields": managed}
    return manifest | {"metadata": manifest["metadata"] | more}


CPU: dict[str, Any] = {"f:spec": {"f:hard": {"f:cpu": {}}}}
BY_HAND = ("kubectl-edit", "Update", CPU)
BY_ARGO = ("argocd", "Apply", CPU)


def conflict(manager: str) -> Any:
    message = f'conflict with "{manager}" using v1'
    cause = {"reason": "FieldManagerConflict", "message": message, "field": ".spec.hard.cpu"}
    return status(409, "Apply failed with 1 conflict", "Conflict", [cause])


def creations(count: int) -> list[Change]:
    return list(plan([quota(f"q{n}") for n in range(count)], {}).changes)


def drift(*owners: tuple[str, str, dict[str, Any]], cpu: str = "800") -> Change:
    (change,) = plan([quota()], keyed([live(quota(cpu=cpu), *owners)])).changes
    return change


def created(asked: Asked) -> Any:
    return 201, asked.body


def test_an_apply_is_ours_strict_and_not_forced() -> None:
    with serving(created) as server:
        write(server.api(), creations(1)[0])
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("PATCH", "/api/v1/namespaces/a-prod/resourcequotas/q0")
    assert asked.params == {"fieldManager": "gcloud-pk", "fieldValidation": "Strict"}
    assert asked.header("Content-Type") == ["application/apply-patch+yaml"]
    assert asked.body == quota("q0")


def contested(found: dict[str, Any], manager: str) -> Callable[[Asked], Any]:
    """Refuse until forced; then do it, if it is the state that was looked at."""

    def reply(asked: Asked) -> Any:
        if asked.method == "GET":
            return 200, found
        if asked.params.get("force") == "true":
            assert asked.body["metadata"]["resourceVersion"] == "7"
            return 200, asked.body
        return conflict(manager)

    return reply


def test_a_hand_edit_that_the_plan_showed_is_taken_back() -> None:
    change = drift(BY_HAND)
    with serving(contested(change.live or {}, "kubectl-edit")) as server:
        assert write(server.api(), change).ok
    assert [asked.params.get("force") for asked in server.asked] == [None, None, "true"]


def test_a_hand_edit_that_the_plan_did_not_show_is_named_and_not_forced() -> None:
    change = drift(cpu="4")  # nobody's field when the plan was made
    with serving(contested(live(quota(cpu="800"), BY_HAND), "kubectl-edit")) as server:
        with pytest.raises(ConflictError) as caught:
            write(server.api(), change)
        assert not any(asked.params.get("force") for asked in server.asked)
    assert "the plan did not show it" in caught.value.message
    assert "kubectl-edit" in str(caught.value.details[0])


def test_a_conflict_that_only_the_server_sees_is_named_and_not_forced() -> None:
    change = drift(BY_HAND)
    with serving(contested(change.live or {}, "somebody-else")) as server:
        with pytest.raises(ConflictError) as caught:
            write(server.api(), change)
        assert not any(asked.params.get("force") for asked in server.asked)
    assert "somebody-else" in str(caught.value.details)


def test_a_field_of_another_apply_manager_is_never_forced() -> None:
    change = drift(BY_ARGO)
    with serving(contested(change.live or {}, "argocd")) as server:
        with pytest.raises(ConflictError, match=r"ResourceQuota a-prod/q: spec.hard.cpu is kept by 'argocd'"):
            write(server.api(), change)
        assert not any(asked.params.get("force") for asked in server.asked)


def test_a_field_of_another_apply_manager_is_forced_when_asked_for() -> None:
    change = drift(BY_ARGO)
    with serving(contested(change.live or {}, "argocd")) as server:
        assert write(server.api(), change, force_conflicts=True).ok


def test_conflicts_of_the_plan_are_refused_before_the_first_write() -> None:
    with serving(created) as server:
        with pytest.raises(ConflictError) as caught:
            apply(server.api(), [creations(3), [drift(BY_ARGO)]])
        assert server.asked == []
    assert caught.value.code == 4
    assert "argocd" in str(caught.value.details[0])


def test_a_takeover_is_prepared_anew_when_the_object_changed_meanwhile() -> None:
    change = drift(BY_HAND)
    versions = iter(["7", "8"])

    def reply(asked: Asked) -> Any:
        if asked.method == "GET":
            found = change.live or {}
            return 200, found | {"metadata": found["metadata"] | {"resourceVersion": next(versions)}}
        if asked.params.get("force") != "true":
            return conflict("kubectl-edit")
        if asked.body["metadata"]["resourceVersion"] == "7":
            return status(409, "the object has been modified", "Conflict")
        return 200, asked.body

    with serving(reply) as server:
        assert write(server.api(), change).ok


def test_what_others_added_is_taken_out_against_the_state_that_was_seen() -> None:
    found = live(
        quota() | {"spec": {"hard": {"cpu": "8"}, "scopes": ["BestEffort"]}},
        ("gcloud-pk", "Apply", CPU),
        ("kubectl-edit", "Update", {"f:spec": {"f:scopes": {}}}),
    )
    (change,) = plan([quota()], keyed([found])).changes
    with serving(lambda _: (200, found)) as server:
        write(server.api(), change)
    assert server.asked[1].header("Content-Type") == ["application/json-patch+json"]
    assert server.asked[1].body == [
        {"op": "replace", "path": "/metadata/resourceVersion", "value": "7"},
        {"op": "remove", "path": "/spec/scopes"},
    ]


def test_an_element_that_was_added_leaves_with_the_apply_of_the_list_which_stays() -> None:
    rules = [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]
    wanted = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "p", "namespace": "a-prod"},
        "spec": {"egress": rules},
    }
    there = live(wanted | {"spec": {"egress": [*rules, {}]}}, ("kubectl-edit", "Update", {"f:spec": {"f:egress": {}}}))
    (change,) = plan([wanted], keyed([there])).changes
    assert [(field.path, field.after, field.manager) for field in change.fields] == [
        ("spec.egress[1]", None, "kubectl-edit")
    ]
    with serving(lambda asked: (200, live(asked.body))) as server:
        write(server.api(), change)
    assert [asked.header("Content-Type") for asked in server.asked] == [["application/apply-patch+yaml"]]


def test_an_object_that_was_somebody_elses_is_not_called_created() -> None:
    found = live(
        quota() | {"spec": {"hard": {"cpu": "8"}, "scopes": ["BestEffort"]}},
        ("kubectl-create", "Update", {"f:spec": {"f:scopes": {}}}),
    )
    with serving(lambda _: (200, found)) as server, pytest.raises(ConflictError, match="was there already"):
        write(server.api(), plan([quota()], {}).changes[0])


@pytest.mark.parametrize(
    "passing",
    [
        status(403, "no params found for policy binding with `Deny` parameterNotFoundAction", "Forbidden"),
        status(422, "failed to configure policy: failed to find resource referenced by paramKind: 'x'", "Invalid"),
        status(404, 'namespaces "a-prod" not found', "NotFound"),
        status(409, 'resourcequotas "q" already exists', "AlreadyExists"),
        status(503, "etcdserver: leader changed", "ServiceUnavailable"),
    ],
    ids=["parameter", "paramKind", "namespace", "created by another", "unavailable"],
)
def test_a_state_that_passes_is_waited_for(passing: Any) -> None:
    replies = iter([passing, passing])

    def reply(asked: Asked) -> Any:
        return next(replies, None) or created(asked)

    with serving(reply) as server:
        assert write(server.api(patience=5), creations(1)[0]).ok
        assert len(server.asked) == 3


@pytest.mark.parametrize(
    "lasting",
    [
        status(403, 'namespaces "x" is forbidden: denied by gpk-namespaces', "Forbidden"),
        status(404, 'namespaces "another" not found', "NotFound"),
        status(422, "spec.hard: Invalid value", "Invalid"),
    ],
)
def test_a_refusal_that_stays_is_not_repeated(lasting: Any) -> None:
    with serving(lambda _: lasting) as server:
        with pytest.raises((RefusedError, UnavailableError)):
            write(server.api(patience=5), creations(1)[0])
        assert len(server.asked) == 1


def removal() -> Change:
    return Change(Action.REMOVE, ObjectKey(RESOURCE_QUOTA, "a-prod", "q"), None, live(quota()))


def test_a_removal_is_of_the_very_object_that_was_planned() -> None:
    with serving(lambda _: (200, {})) as server:
        write(server.api(), removal())
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("DELETE", "/api/v1/namespaces/a-prod/resourcequotas/q")
    assert asked.body["preconditions"] == {"uid": "u"}


def test_what_is_gone_already_is_removed() -> None:
    with serving(lambda _: status(404, "not found")) as server:
        assert write(server.api(), removal()).status == 404


def test_another_object_of_the_same_name_is_not_removed() -> None:
    message = "the UID in the precondition (u) does not match the UID in record (v)"
    with (
        serving(lambda _: status(409, message, "Conflict")) as server,
        pytest.raises(ConflictError, match="was replaced by another object"),
    ):
        write(server.api(), removal())


HELD = ObjectKey(ROLE_BINDING, "a-prod", "stay")


def held(*finalizers: str, uid: str = "u") -> dict[str, Any]:
    metadata = {"name": "stay", "namespace": "a-prod", "uid": uid, "resourceVersion": "7"}
    return {"metadata": metadata | {"finalizers": list(finalizers), "deletionTimestamp": "2026-11-22T00:00:00Z"}}


def holding(*finalizers: str, after: Any = None, collects: bool = True) -> Callable[[Asked], Any]:
    """Answer as an API server for a binding; without a garbage collector, `orphan` stays until somebody takes it."""
    left = ["orphan", *finalizers]

    def reply(asked: Asked) -> Any:
        nonlocal left
        if asked.method == "PATCH":
            left = asked.body["metadata"]["finalizers"] or []
        elif asked.method == "GET":
            if not left:
                return after or status(404, "not found")
            if collects and left == ["orphan"]:
                left = []
        return 200, held(*left)

    return reply


def test_a_binding_that_others_hold_is_let_go_and_what_belongs_to_it_stays() -> None:
    with serving(holding("x.example/hold")) as server:
        write(server.api(), Change(Action.REMOVE, HELD, None, held("x.example/hold")))
    deleted, patched, *_ = server.asked
    assert deleted.body["propagationPolicy"] == "Orphan"
    assert patched.body["metadata"] == {"finalizers": ["orphan"], "resourceVersion": "7"}
    assert [asked.method for asked in server.asked] == ["DELETE", "PATCH", "GET", "GET"]


def test_a_new_binding_of_the_same_name_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gcloud_pk.cluster.write._COLLECTOR_SECONDS", 0.05)
    with serving(holding(after=(200, held(uid="v")), collects=False)) as server:
        write(server.api(), Change(Action.REMOVE, HELD, None, held()))


def test_access_does_not_wait_for_a_garbage_collector_that_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gcloud_pk.cluster.write._COLLECTOR_SECONDS", 0.05)
    with serving(holding(collects=False)) as server:
        write(server.api(), Change(Action.REMOVE, HELD, None, held()))
    assert next(a.body["metadata"]["finalizers"] for a in server.asked if a.method == "PATCH") is None


def test_a_binding_that_stays_in_force_is_not_called_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gcloud_pk.cluster.write._COLLECTOR_SECONDS", 0.05)
    monkeypatch.setattr("gcloud_pk.cluster.write._HELD_SECONDS", 0.05)
    with (
        serving(lambda asked: (200, held("x.example/hold"))) as server,
        pytest.raises(PartialError, match="in force still"),
    ):
        write(server.api(), Change(Action.REMOVE, HELD, None, held("x.example/hold")))


def test_a_status_is_applied_to_its_subresource() -> None:
    tenant = {"apiVersion": "gcloud.gov.pk/v1alpha1", "kind": "Tenant", "metadata": {"name": "a"}, "status": {"x": 1}}
    with serving(lambda asked: (200, asked.body)) as server:
        write_status(server.api(), tenant)
    assert server.methods() == ["PATCH /apis/gcloud.gov.pk/v1alpha1/tenants/a/status"]


def test_stages_follow_each_other_and_unchanged_objects_are_not_sent() -> None:
    first, second = creations(4), [Change(Action.KEEP, creations(1)[0].key), removal()]
    done: list[str] = []
    with serving(created) as server:
        tally = apply(server.api(), [first, second], on_done=lambda change, answer: done.append(change.action))
        assert [asked.method for asked in server.asked] == ["PATCH"] * 4 + ["DELETE"]
    assert (tally.created, tally.changed, tally.removed, tally.total) == (4, 0, 1, 5)
    assert done == ["create"] * 4 + ["remove"]


def test_a_stage_waits_for_all_of_the_stage_before() -> None:
    events: list[str] = []
    lock = threading.Lock()

    def reply(asked: Asked) -> Any:
        if asked.method == "PATCH":
            time.sleep(0.05)
        with lock:
            events.append(asked.method)
        return created(asked)

    with serving(reply) as server:
        apply(server.api(), [creations(6), [removal()]])
    assert events == ["PATCH"] * 6 + ["DELETE"]


def test_inside_a_stage_eight_requests_run_at_once() -> None:
    barrier = threading.Barrier(8, timeout=60)

    def reply(asked: Asked) -> Any:
        barrier.wait()
        return created(asked)

    with serving(reply) as server:
        assert apply(server.api(), [creations(8)]).created == 8


def test_several_tenants_share_one_conveyor() -> None:
    with serving(created) as server, Conveyor(server.api()) as conveyor:
        tallies: list[int] = []
        threads = [
            threading.Thread(target=lambda: tallies.append(conveyor.run([creations(5), creations(3)]).done))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert tallies == [8, 8, 8, 8]


def test_nothing_is_begun_after_the_check_before_a_stage_refused() -> None:
    calls: list[int] = []

    def check() -> None:
        calls.append(len(server.asked))
        if len(calls) == 2:
            raise PartialError("the lease was lost")

    with serving(created) as server, Conveyor(server.api()) as conveyor:
        with pytest.raises(PartialError, match="lease was lost"):
            conveyor.run([creations(2), [removal()]], check=check)
        assert calls == [0, 2]
        assert len(server.asked) == 2


def failing_at(count: int, failure: Any) -> Callable[[Asked], Any]:
    done: list[str] = []

    def reply(asked: Asked) -> Any:
        done.append(asked.path)
        return created(asked) if len(done) <= count else failure

    return reply


def run_against(reply: Callable[[Asked], Any], stages: Any, patience: float = 0.3) -> tuple[Server, Any]:
    with serving(reply) as server:
        with pytest.raises((RefusedError, UnavailableError, PartialError)) as caught:
            apply(server.api(patience=patience), stages)
        return server, caught.value


def test_a_refusal_before_anything_was_written_is_refused() -> None:
    _, error = run_against(failing_at(0, status(422, "spec.hard: no")), [creations(1)])
    assert type(error) is RefusedError
    assert "ResourceQuota a-prod/q0: spec.hard: no" in error.message


def test_a_server_that_is_away_from_the_start_is_unavailable() -> None:
    with serving(created) as server:
        api = server.api(patience=0.3)
    with pytest.raises(UnavailableError):
        apply(api, [creations(3)])
    assert api.persisted == 0


def test_a_failure_after_a_write_is_partial_and_says_what_was_done_and_what_failed() -> None:
    server, error = run_against(failing_at(2, status(422, "spec.hard: no")), [creations(2), [removal()], creations(4)])
    assert isinstance(error, PartialError)
    assert "2 of 7 changes done (2 created, 0 changed, 0 removed)" in error.message
    assert "the first failure: the API server refused ResourceQuota a-prod/q: spec.hard: no" in error.message
    assert "run the same command again" in str(error.resolution)
    assert len(server.asked) == 3, "after a failure nothing more is begun"


def test_after_the_first_failure_not_one_more_change_is_begun() -> None:
    with serving(lambda _: status(422, "no")) as server:
        with pytest.raises(RefusedError):
            apply(server.api(), [creations(200)], threads=1)
        assert len(server.asked) == 1


def test_a_failure_of_the_one_who_watches_is_not_swallowed() -> None:
    def watch(change: Change, answer: Any) -> None:
        raise LookupError(str(change.key))

    with serving(created) as server, pytest.raises(LookupError, match="ResourceQuota"):
        apply(server.api(), [creations(3)], on_done=watch)


def test_a_server_that_goes_away_half_way_is_partial() -> None:
    _, error = run_against(failing_at(2, DROP), [creations(2), creations(2)])
    assert isinstance(error, PartialError)
    assert "does not answer" in error.message


def test_a_stopped_conveyor_begins_nothing_more() -> None:
    with serving(created) as server, Conveyor(server.api()) as conveyor:
        conveyor.stop()
        with pytest.raises(UnavailableError, match="stopped"):
            conveyor.run([creations(3)])
        assert server.asked == []


def test_an_interrupt_ends_a_back_off_at_once() -> None:
    with serving(lambda _: status(503, "later")) as server:
        conveyor = Conveyor(server.api(patience=300))
        failures: list[BaseException] = []

        def run() -> None:
            try:
                conveyor.run([creations(1)])
            except UnavailableError as error:
                failures.append(error)

        def interrupted() -> None:
            with conveyor:
                thread.start()
                while not server.asked:
                    time.sleep(0.01)
                raise KeyboardInterrupt

        thread = threading.Thread(target=run)
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        thread.join()
        assert time.monotonic() - started < 60
        assert len(failures) == 1


def test_live_objects_are_fetched_by_kind_and_selector() -> None:
    def reply(asked: Asked) -> Any:
        assert asked.params["labelSelector"] == "a=b"
        if asked.path.endswith("/namespaces"):
            return 200, {"items": [{"metadata": {"name": "n"}}]}
        if asked.path.endswith("/resourcequotas"):
            return 200, {"items": [{"metadata": {"name": "q", "namespace": "n", "managedFields": [{}]}}]}
        return status(404, "the server could not find the requested resource")

    with serving(reply) as server:
        objects = fetch(server.api(), [NAMESPACE, RESOURCE_QUOTA, NETWORK_POLICY], "a=b")
    assert {str(key) for key in objects} == {"Namespace n", "ResourceQuota n/q"}
    assert objects[ObjectKey(RESOURCE_QUOTA, "n", "q")]["metadata"]["managedFields"] == [{}]


def test_named_objects_are_fetched_whatever_they_carry_and_by_the_right_to_list() -> None:
    keys = [ObjectKey(NAMESPACE, "", "there"), ObjectKey(NAMESPACE, "", "gone"), ObjectKey(TENANT_POLICY, "there", "x")]

    def reply(asked: Asked) -> Any:
        if asked.path.endswith("/tenantpolicies"):
            return status(404, "the server could not find the requested resource")
        assert asked.path == "/api/v1/namespaces"
        there = asked.params["fieldSelector"] == "metadata.name=there"
        return 200, {"items": [{"metadata": {"name": "there"}}] if there else []}

    with serving(reply) as server:
        found = fetch_named(server.api(), keys)
    assert {key: live["metadata"]["name"] for key, live in found.items()} == {keys[0]: "there"}
