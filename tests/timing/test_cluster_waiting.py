"""Waiting for quotas and policies, and removing namespaces, against a tiny local server (`cluster_server.py`)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.cluster_server import Asked, serving, status

from gcloud_pk.cluster.answer import ForbiddenError
from gcloud_pk.cluster.kinds import NAMESPACE, ROLE_BINDING, TENANT_POLICY, ObjectKey
from gcloud_pk.cluster.removal import Remains, finish_deletions, remove_namespaces
from gcloud_pk.cluster.waiting import policies_in_force, quotas_counted
from gcloud_pk.errors import PartialError, UnavailableError


def quota(namespace: str, *, hard: Any = None, used: Any = None) -> dict[str, Any]:
    counted = {"hard": hard, "used": used} if hard is not None else {}
    return {"metadata": {"name": "q", "namespace": namespace}, "spec": {"hard": {"pods": "5"}}, "status": counted}


COUNTED = {"hard": {"pods": "5"}, "used": {"pods": "0"}}


def test_quotas_are_waited_for_until_all_are_counted() -> None:
    answers = iter([[quota("a")], [quota("a", hard={"pods": "3"}, used={"pods": "0"})], [quota("a", **COUNTED)]])
    with serving(lambda _: (200, {"items": next(answers)})) as server:
        quotas_counted(server.api(), ["a"])
        assert len(server.asked) == 3


def test_a_quota_whose_use_is_not_counted_is_not_counted() -> None:
    answers = iter([[quota("a", hard={"pods": "5"}, used={})], [quota("a", **COUNTED)]])
    with serving(lambda _: (200, {"items": next(answers)})) as server:
        quotas_counted(server.api(), ["a"])
        assert len(server.asked) == 2


def test_one_request_asks_for_all_namespaces_when_a_selector_is_given() -> None:
    items = [quota("a", **COUNTED), quota("b", **COUNTED), quota("somebody-elses")]
    with serving(lambda _: (200, {"items": items})) as server:
        quotas_counted(server.api(), ["a", "b"], selector="t=x")
        assert [(asked.path, asked.params["labelSelector"]) for asked in server.asked] == [
            ("/api/v1/resourcequotas", "t=x")
        ]


def test_a_quota_that_is_never_counted_is_named() -> None:
    with serving(lambda _: (200, {"items": [quota("a")]})) as server:
        with pytest.raises(UnavailableError, match="1 quota not counted") as caught:
            quotas_counted(server.api(), ["a"], timeout=0.1)
        assert str(caught.value.details[0]) == "a/q"


EXPECTED = "platform 0.1.0 abc"


def refused(revision: str) -> Any:
    return status(403, f"configmaps is forbidden: ValidatingAdmissionPolicy 'gpk-canary' denied request: {revision}")


def test_policies_are_in_force_when_the_canary_says_the_revision() -> None:
    answers = iter([(201, {}), refused("platform 0.1.0 old"), refused(EXPECTED)])
    with serving(lambda _: next(answers)) as server:
        api = server.api()
        policies_in_force(api, EXPECTED)
        assert api.persisted == 0
        assert {asked.params["dryRun"] for asked in server.asked} == {"All"}


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((201, {}), "the canary was admitted"),
        (status(404, 'namespaces "gcloud-pk-system" not found'), "not prepared for tenants"),
        (refused("platform 0.9.0 def"), r"another revision: version 0\.9\.0 \(def\), this program expects platform 0"),
        (status(422, "something else"), "cannot be told: something else"),
    ],
    ids=["no policy", "no namespace", "another version", "another refusal"],
)
def test_policies_that_are_not_in_force_are_told_apart(reply: Any, words: str) -> None:
    with serving(lambda _: reply) as server, pytest.raises(UnavailableError, match=words) as caught:
        policies_in_force(server.api(), EXPECTED, timeout=0.1)
    assert "gcloud-pk cluster init" in str(caught.value.resolution)


def test_waiting_in_vain_after_a_write_is_partial() -> None:
    with serving(lambda asked: (200, {"items": [quota("a")]} if asked.method == "GET" else {})) as server:
        api = server.api()
        assert api.request("PATCH", "/api/v1/namespaces/a", body={}).ok
        with pytest.raises(PartialError, match="not counted"):
            quotas_counted(api, ["a"], timeout=0.1)
        with pytest.raises(PartialError, match="the canary was admitted"):
            policies_in_force(api, EXPECTED, timeout=0.1)


def test_a_missing_right_to_ask_is_named() -> None:
    message = 'User "x" cannot create resource "configmaps" in API group "" in the namespace "gcloud-pk-system"'
    with serving(lambda _: status(403, message)) as server, pytest.raises(ForbiddenError, match="create configmaps"):
        policies_in_force(server.api(), EXPECTED, timeout=0.1)


def condition(sort: str, message: str) -> dict[str, str]:
    return {"type": sort, "status": "True", "message": message}


CONTENT = "Some resources are remaining: "
FINALIZERS = "Some content in the namespace has finalizers remaining: "
GUARD_ONLY = [
    condition("NamespaceContentRemaining", CONTENT + "tenantpolicies.gcloud.gov.pk has 1 resource instances"),
    condition("NamespaceFinalizersRemaining", FINALIZERS + "gcloud.gov.pk/param-guard in 1 resource instances"),
]
MORE = [
    condition(
        "NamespaceContentRemaining",
        CONTENT + "configmaps. has 2 resource instances, tenantpolicies.gcloud.gov.pk has 1 resource instances",
    ),
    condition(
        "NamespaceFinalizersRemaining",
        FINALIZERS + "example.com/hold in 2 resource instances, gcloud.gov.pk/param-guard in 1 resource instances",
    ),
]


def test_what_remains_is_read_from_the_conditions() -> None:
    remains = Remains.of({"status": {"conditions": MORE}})
    assert remains.content == {"configmaps": 2, "tenantpolicies.gcloud.gov.pk": 1}
    assert remains.finalizers == {"example.com/hold": 2, "gcloud.gov.pk/param-guard": 1}
    assert "2 configmaps left" in remains.in_words()
    assert "finalizer example.com/hold on 2 of them" in remains.in_words()


@pytest.mark.parametrize(
    ("conditions", "only"),
    [
        (GUARD_ONLY, True),
        (MORE, False),
        ([], False),
        (GUARD_ONLY[:1], False),
        (GUARD_ONLY[1:], False),
        ([*GUARD_ONLY, condition("NamespaceDeletionDiscoveryFailure", "metrics")], False),
        ([*GUARD_ONLY, condition("NamespaceDeletionContentFailure", "refused")], False),
        ([c | {"status": "False"} for c in GUARD_ONLY], False),
    ],
    ids=["guard only", "more", "nothing said", "no finalizers", "no content", "discovery", "failure", "false"],
)
def test_the_guard_goes_only_when_nothing_else_can_remain(conditions: Any, only: bool) -> None:
    assert Remains.of({"status": {"conditions": conditions}}).only_the_guard is only


class FakeNamespace:
    """A namespace that finishes when its TenantPolicy's guard was taken away."""

    def __init__(self, conditions: list[dict[str, str]]) -> None:
        self.conditions = conditions
        self.deleting = self.gone = False
        self.patches: list[Any] = []

    def __call__(self, asked: Asked) -> Any:
        if "tenantpolicies" in asked.path:
            metadata = {"name": "tenant", "resourceVersion": "3", "deletionTimestamp": "now",
                        "finalizers": ["other", "gcloud.gov.pk/param-guard"]}  # fmt: skip
            if asked.method == "GET":
                return 200, {"items": [{"metadata": metadata}]}
            self.patches.append(asked.body)
            self.gone = True
            return 200, {}
        if self.gone:
            return status(404, "not found")
        if asked.method == "DELETE":
            assert asked.body["preconditions"] == {"uid": "u"}
            self.deleting = True
        deleting = {"deletionTimestamp": "now"} if self.deleting else {}
        return 200, {
            "metadata": {"name": "n", "uid": "u"} | deleting,
            "status": {"conditions": self.conditions if self.deleting else []},
        }


def test_a_namespace_is_deleted_and_its_guard_taken_away_last() -> None:
    told: list[tuple[str, str]] = []
    fake = FakeNamespace(GUARD_ONLY)
    with serving(fake) as server:
        remove_namespaces(server.api(), ["n"], timeout=60, on_progress=lambda name, state: told.append((name, state)))
    assert told == [("n", "deleting"), ("n", "emptied"), ("n", "gone")]
    assert fake.patches == [[
        {"op": "replace", "path": "/metadata/resourceVersion", "value": "3"},
        {"op": "replace", "path": "/metadata/finalizers", "value": ["other"]},
    ]]  # fmt: skip


def test_a_namespace_that_is_kept_by_others_is_reported_and_its_guard_stays() -> None:
    fake = FakeNamespace(MORE)
    words = "1 namespace still being deleted: n"
    with serving(fake) as server, pytest.raises(PartialError, match=words) as caught:
        remove_namespaces(server.api(), ["n"], timeout=0.5)
    assert "finalizer example.com/hold on 2 of them" in str(caught.value.details[0])
    assert fake.patches == []


def test_a_namespace_that_is_gone_is_removed() -> None:
    with serving(lambda _: status(404, "not found")) as server:
        remove_namespaces(server.api(), ["n"], timeout=60)
        assert server.methods() == ["GET /api/v1/namespaces/n"]


HELD_NAMESPACE = ObjectKey(NAMESPACE, "", "n")
PARAMETERS = ObjectKey(TENANT_POLICY, "n", "tenant")
BINDING = ObjectKey(ROLE_BINDING, "n", "b")


class Deleted:
    """Objects that somebody deleted; one without finalizers is gone. `namespace`: conditions, None while it stays."""

    def __init__(self, finalizers: list[str], namespace: list[dict[str, str]] | None = None) -> None:
        self.finalizers, self.namespace = finalizers, namespace
        self.asked: list[str] = []

    def __call__(self, asked: Asked) -> Any:
        self.asked.append(asked.method)
        leaving = {"deletionTimestamp": "T0", "uid": "u", "resourceVersion": "3"}
        if asked.path == HELD_NAMESPACE.path:
            if self.namespace is None:
                return 200, {"metadata": {"name": "n", "uid": "u"}}
            gone = not self.finalizers
            return (
                status(404, "gone")
                if gone
                else (200, {"metadata": {"name": "n", **leaving}, "status": {"conditions": self.namespace}})
            )
        if asked.method == "PATCH":
            self.finalizers = asked.body[1]["value"]
            return 200, {}
        if not self.finalizers:
            return status(404, "gone")
        metadata = {"name": asked.path.rsplit("/", 1)[-1], "finalizers": self.finalizers, **leaving}
        return 200, (
            {"items": [{"metadata": metadata}]} if asked.path == TENANT_POLICY.path("n") else {"metadata": metadata}
        )


GUARD = ["gcloud.gov.pk/param-guard"]


def test_parameters_that_were_deleted_lose_their_guard_and_go() -> None:
    fake = Deleted(GUARD)
    with serving(fake) as server:
        finish_deletions(server.api(), {PARAMETERS: "u"}, timeout=60)
    assert fake.finalizers == []
    assert "DELETE" not in fake.asked


def test_parameters_of_a_namespace_that_is_leaving_keep_their_guard() -> None:
    fake = Deleted(GUARD, MORE)
    with serving(fake) as server, pytest.raises(UnavailableError, match="TenantPolicy n/tenant"):
        finish_deletions(server.api(), {PARAMETERS: "u"}, timeout=0.3)
    assert fake.finalizers == GUARD


def test_a_namespace_that_was_deleted_and_that_only_its_guard_keeps_goes_without_being_deleted_again() -> None:
    fake = Deleted(GUARD, GUARD_ONLY)
    with serving(fake) as server:
        finish_deletions(server.api(), {HELD_NAMESPACE: "u"}, timeout=60)
    assert fake.finalizers == []
    assert "DELETE" not in fake.asked


def test_a_namespace_that_more_than_the_guard_keeps_is_named_and_its_guard_stays() -> None:
    fake = Deleted(GUARD, MORE)
    with serving(fake) as server, pytest.raises(UnavailableError, match="1 object being deleted, and kept") as caught:
        finish_deletions(server.api(), {HELD_NAMESPACE: "u"}, timeout=0.3)
    assert "finalizer example.com/hold on 2 of them" in str(caught.value.details[0])
    assert fake.finalizers == GUARD


def test_what_anothers_finalizer_keeps_is_named_and_left_to_him() -> None:
    fake = Deleted(["example.com/hold"])
    with serving(fake) as server:
        api = server.api()
        with pytest.raises(UnavailableError, match="RoleBinding n/b") as caught:
            finish_deletions(api, {BINDING: "u"}, timeout=0.2)
        assert "being deleted since T0; kept by example.com/hold" in str(caught.value.details[0])
        assert api.request("PATCH", "/x", body=[0, {"value": ["example.com/hold"]}]).ok
        with pytest.raises(PartialError):
            finish_deletions(api, {BINDING: "u"}, timeout=0.2)


def test_a_new_object_under_the_name_of_one_that_is_gone_is_left_alone() -> None:
    fake = Deleted(GUARD, GUARD_ONLY)
    with serving(fake) as server:
        finish_deletions(server.api(), {HELD_NAMESPACE: "an older one"}, timeout=60)
    assert fake.asked == ["GET"]
