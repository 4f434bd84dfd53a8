"""Comparing and planning: pure, without a server. The managedFields are as kube-apiserver 1.36 writes them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcloud_pk.cluster.compare import differences
from gcloud_pk.cluster.kinds import KINDS, NAMESPACE, NETWORK_POLICY, ObjectKey, key_of, keyed
from gcloud_pk.cluster.plan import Action, Plan, plan
from gcloud_pk.model.labels import CONTENT_HASH, FIELD_MANAGER


def quota(**hard: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "q", "namespace": "a-prod", "annotations": {CONTENT_HASH: str(sorted(hard.items()))}},
        "spec": {"hard": hard},
    }


def network_policy(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "default-deny", "namespace": "a-prod", "annotations": {CONTENT_HASH: "h"}},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} | spec,
    }


def fields_of(value: Any) -> dict[str, Any]:
    """Return FieldsV1 of a map; lists and empty maps are atomic."""
    return {f"f:{name}": fields_of(below) if isinstance(below, dict) else {} for name, below in value.items()}


def owner(manager: str, operation: str, fields: dict[str, Any], **more: str) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "fieldsType": "FieldsV1", "fieldsV1": fields, **more}


def stored(desired: dict[str, Any], *owners: dict[str, Any]) -> dict[str, Any]:
    """Return what the server would hold after our apply."""
    live = copy.deepcopy(desired)
    body = {name: value for name, value in desired.items() if name not in {"apiVersion", "kind", "metadata"}}
    ours = fields_of(body) | {"f:metadata": {"f:annotations": {".": {}, f"f:{CONTENT_HASH}": {}}}}
    managed = [owner(FIELD_MANAGER, "Apply", ours), *owners]
    live["metadata"] |= {"uid": "u", "resourceVersion": "1", "managedFields": managed}
    return live


def one(desired: dict[str, Any], live: dict[str, Any]) -> Any:
    (change,) = plan([desired], keyed([live])).changes
    return change


def test_an_object_that_is_not_there_is_created() -> None:
    result = plan([quota(cpu="8")], {})
    assert result.counts() == {"created": 1, "changed": 0, "removed": 0, "unchanged": 0}
    assert result.writes[0].action is Action.CREATE


def test_an_object_that_is_as_desired_is_kept() -> None:
    result = plan([quota(cpu="8")], keyed([stored(quota(cpu="8"))]))
    assert result.counts()["unchanged"] == 1
    assert result.writes == ()


def test_an_object_that_nobody_desires_is_removed_after_the_rest() -> None:
    result = plan([network_policy()], keyed([stored(quota(cpu="8"))]))
    assert [(change.action, str(change.key)) for change in result.changes] == [
        (Action.CREATE, "NetworkPolicy a-prod/default-deny"),
        (Action.REMOVE, "ResourceQuota a-prod/q"),
    ]


def test_an_object_desired_twice_is_a_defect_of_the_caller() -> None:
    with pytest.raises(ValueError, match="ResourceQuota a-prod/q is desired twice"):
        plan([quota(cpu="1"), quota(cpu="2")], {})


def test_a_changed_field_is_shown_with_both_values() -> None:
    change = one(quota(cpu="16"), stored(quota(cpu="8")))
    assert change.action is Action.CHANGE
    assert [str(field) for field in change.fields] == ["spec.hard.cpu: 8 → 16"]


def test_a_key_with_dots_is_shown_in_brackets() -> None:
    change = one(quota(**{"requests.cpu": "16"}), stored(quota(**{"requests.cpu": "8"})))
    assert change.fields[0].path == "spec.hard[requests.cpu]"


def test_a_field_that_left_the_request_is_shown_as_removed() -> None:
    change = one(quota(cpu="8"), stored(quota(cpu="8", pods="10")))
    assert [str(field) for field in change.fields] == ["spec.hard.pods: 10 → (none)"]
    assert not change.conflicts


def test_a_content_hash_that_differs_alone_is_a_change() -> None:
    desired, live = quota(cpu="8"), stored(quota(cpu="8"))
    live["metadata"]["annotations"][CONTENT_HASH] = "other"
    assert [field.path for field in one(desired, live).fields] == [f"metadata.annotations[{CONTENT_HASH}]"]


def test_defaults_of_the_server_and_its_status_are_no_change() -> None:
    live = stored(quota(cpu="8"))
    live["spec"]["scopes"] = ["NotTerminating"]  # owned by nobody: a default
    live["status"] = {"hard": {"cpu": "8"}}
    live["metadata"]["managedFields"].append(
        owner("kube-controller-manager", "Update", {"f:status": {"f:hard": {}}}, subresource="status")
    )
    assert one(quota(cpu="8"), live).action is Action.KEEP


def test_a_status_that_we_wrote_ourselves_is_not_given_up_with_the_next_revision() -> None:
    live = stored(quota(cpu="8"))
    live["status"] = {"phase": "Ready"}
    live["metadata"]["managedFields"].append(
        owner(FIELD_MANAGER, "Apply", {"f:status": {"f:phase": {}}}, subresource="status")
    )
    assert [field.path for field in one(quota(cpu="16"), live).fields] == ["spec.hard.cpu"]


RULES: list[dict[str, Any]] = [
    {"from": [{"podSelector": {}}]},
    {"from": [{"ipBlock": {"cidr": "10.8.0.0/16"}}]},
    {"ports": [{"port": 443}]},
]
DEV, PROD, TEST = ({"name": name, "tier": "sandbox"} for name in ("dev", "prod", "test"))
LISTS: list[tuple[str, Any, Any, list[str]]] = [
    ("an allow-all among rules", [*RULES, {}], RULES, ["spec.a[3]: {} → (none)"]),
    ("an allow-all before the rules", [{}, *RULES], RULES, ["spec.a[0]: {} → (none)"]),
    ("a rule more", RULES[:2], RULES, ['spec.a[2]: (none) → {"ports": [{"port": 443}]}']),
    ("one rule twice", [*RULES, RULES[0]], RULES, ['spec.a[3]: {"from": [{"podSelector": {}}]} → (none)']),
    ("one rule changed, one gone", [*RULES[:2], {"ports": [{"port": 1}]}, {}], RULES,
     ["spec.a[2].ports[0].port: 1 → 443", "spec.a[3]: {} → (none)"]),
    ("rules where none are wanted", [*RULES, {}], None,
     ['spec.a[0]: {"from": [{"podSelector": {}}]} → (none)',
      'spec.a[1]: {"from": [{"ipBlock": {"cidr": "10.8.0.0/16"}}]} → (none)',
      'spec.a[2]: {"ports": [{"port": 443}]} → (none)', "spec.a[3]: {} → (none)"]),
    ("a default of the server inside", [RULES[2] | {"to": []}, {}], [RULES[2]], ["spec.a[1]: {} → (none)"]),
    ("plain values", ["a", "b", "c"], ["b", "d"], ["spec.a: -a, -c, +d"]),
    ("plain values, one twice", ["a", "a"], ["a"], ["spec.a: -a"]),
    ("many plain values where none are wanted", [f"moitt-environment-{n}" for n in range(4)], None,
     ["spec.a: " + ", ".join(f"-moitt-environment-{n}" for n in range(4))]),
    ("plain values in another order", ["a", "b", "a"], ["a", "a", "b"], ["spec.a[1]: b → a", "spec.a[2]: a → b"]),
    ("a named element more", [DEV, PROD, TEST], [DEV, TEST],
     ['spec.a[name=prod]: {"name": "prod", "tier": "sandbox"} → (none)']),
    ("a named element for another", [DEV, PROD], [DEV, TEST],
     ['spec.a[name=prod]: {"name": "prod", "tier": "sandbox"} → (none)',
      'spec.a[name=test]: (none) → {"name": "test", "tier": "sandbox"}']),
    ("a named element changed, another new", [DEV], [DEV | {"tier": "production"}, PROD],
     ["spec.a[name=dev].tier: sandbox → production",
      'spec.a[name=prod]: (none) → {"name": "prod", "tier": "sandbox"}']),
    ("named elements in another order", [{"name": "a"}, {"name": "b"}], [{"name": "b"}, {"name": "a"}],
     ['spec.a: [{"name": "a"}, {"name": "b"}] → [{"name": "b"}, {"name": "a"}]']),
    ("long texts that begin alike", "x" * 90 + "old", "x" * 90 + "new", [f"spec.a: …{'x' * 12}old → …{'x' * 12}new"]),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "shown"), [case[1:] for case in LISTS], ids=[case[0] for case in LISTS])
def test_a_list_is_shown_by_what_differs_in_it(before: Any, after: Any, shown: list[str]) -> None:
    live, desired = network_policy(a=before), network_policy(**({} if after is None else {"a": after}))
    if after is None:
        live = stored(desired)
        live["spec"]["a"] = before
        by_hand(live, {"f:spec": {"f:a": {}}})
        shown = [f"{line} (by kubectl-edit)" for line in shown]
    else:
        live = stored(live)
    assert [str(field) for field in one(desired, live).fields] == shown


def test_what_is_being_deleted_is_a_change_whatever_else_it_says() -> None:
    live = stored(quota(cpu="9"))
    live["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["example.com/hold"]}
    change = one(quota(cpu="8"), live)
    assert (change.action, change.is_leaving, change.conflicts) == (Action.CHANGE, True, ())
    assert [str(field) for field in change.fields] == [
        "is being deleted since 2026-01-01T00:00:00Z: waited for until it is gone, then created anew"
    ]


def by_hand(
    live: dict[str, Any], fields: dict[str, Any], manager: str = "kubectl-edit", operation: str = "Update"
) -> None:
    live["metadata"]["managedFields"].append(owner(manager, operation, fields, time="2026-01-01T00:00:00Z"))


def test_drift_names_the_hand_that_made_it() -> None:
    live = stored(quota(cpu="8"))
    live["spec"]["hard"]["cpu"] = "800"
    live["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:hard"] = {}
    by_hand(live, {"f:spec": {"f:hard": {"f:cpu": {}}}})
    (field,) = one(quota(cpu="8"), live).fields
    assert (field.before, field.after, field.manager, field.applied) == ("800", "8", "kubectl-edit", False)


def test_an_allow_rule_added_to_a_default_deny_is_seen() -> None:
    live = stored(network_policy())
    live["spec"]["ingress"] = [{}]
    by_hand(live, {"f:spec": {"f:ingress": {}}})
    (field,) = one(network_policy(), live).fields
    assert str(field) == "spec.ingress: [{}] → (none) (by kubectl-edit)"


def test_an_update_by_our_own_name_is_somebody_elses_because_we_apply() -> None:
    live = stored(network_policy())
    live["spec"]["ingress"] = [{}]
    by_hand(live, {"f:spec": {"f:ingress": {}}}, FIELD_MANAGER)
    (field,) = one(network_policy(), live).fields
    assert str(field) == "spec.ingress: [{}] → (none) (by gcloud-pk)"


RULE: dict[str, Any] = {"to": [{"podSelector": {}}], "ports": [{"port": 53}]}
OPENED: list[tuple[str, dict[str, Any], str]] = [
    ("a rule list", {"ingress": [{}]}, "spec.ingress"),
    ("a peer that selects every namespace", {"egress": [RULE | {"to": [{"podSelector": {}, "namespaceSelector": {}}]}]},
     "spec.egress[0].to[0].namespaceSelector"),
    ("a range of ports", {"egress": [RULE | {"ports": [{"port": 53, "endPort": 99}]}]},
     "spec.egress[0].ports[0].endPort"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "path"), [case[1:] for case in OPENED], ids=[case[0] for case in OPENED])
def test_what_was_added_is_seen_though_nobody_is_said_to_own_it(more: dict[str, Any], path: str) -> None:
    desired = network_policy(egress=[RULE])
    live = stored(desired)
    live["spec"] |= more
    assert one(desired, live).action is Action.KEEP, "a default of the server, by what the object says"
    assert [f.path for f in plan([desired], keyed([live]), exactly=True).writes[0].fields] == [path]
    live["metadata"]["managedFields"] = []
    assert [field.path for field in one(desired, live).fields] == [path]


def test_known_defaults_are_no_change_though_nobody_is_said_to_own_the_object() -> None:
    desired = network_policy(egress=[RULE])
    live = stored(desired)
    live["spec"]["egress"] = [RULE | {"ports": [{"port": 53, "protocol": "TCP"}]}]
    live["metadata"]["managedFields"] = []
    assert plan([desired], keyed([live]), exactly=True).writes == ()
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}
    there = {**namespace, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
    assert plan([namespace], keyed([there]), exactly=True).writes == ()


@pytest.mark.parametrize("key", ["gcloud.gov.pk/retired", "pod-security.kubernetes.io/exempt"])
def test_a_label_of_a_namespace_that_reads_as_the_platforms_is_taken_off(key: str) -> None:
    desired = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "labels": {"own": "x"}}}
    live = stored({**desired, "metadata": {"name": "a", "labels": {"own": "x", "theirs": "y", key: "true"}}})
    desired["metadata"] = {"name": "a", "labels": {"own": "x"}}
    assert [str(field) for field in one(desired, live).fields] == [f"metadata.labels[{key}]: true → (none)"]


def test_what_suspends_a_tenant_is_not_taken_off_by_onboarding() -> None:
    desired = {
        "apiVersion": "gcloud.gov.pk/v1alpha1", "kind": "TenantPolicy",
        "metadata": {"name": "tenant", "namespace": "a"},
        "spec": {"tenant": "a"},
    }  # fmt: skip
    live = {**desired, "spec": {"tenant": "a", "suspended": "quarantined"}}
    assert plan([desired], keyed([live]), exactly=True).writes == ()


def test_a_narrowed_selector_is_seen_because_an_empty_map_means_empty() -> None:
    live = stored(network_policy())
    live["spec"]["podSelector"] = {"matchLabels": {"app": "x"}}
    assert [field.path for field in one(network_policy(), live).fields] == ["spec.podSelector"]


def test_an_extra_key_in_what_is_owned_as_a_whole_is_seen() -> None:
    selector = {"matchLabels": {"app": "x"}}
    live = stored(network_policy(podSelector=selector))
    live["spec"]["podSelector"] = {"matchLabels": {"app": "x", "tier": "y"}}
    del live["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:podSelector"]
    by_hand(live, {"f:spec": {"f:podSelector": {}}})
    (field,) = one(network_policy(podSelector=selector), live).fields
    assert (field.path, field.after) == ("spec.podSelector", selector)


def test_labels_and_annotations_of_others_are_left_alone() -> None:
    live = stored(network_policy())
    live["metadata"]["annotations"]["note"] = "mine"
    by_hand(live, {"f:metadata": {"f:annotations": {"f:note": {}}}})
    assert one(network_policy(), live).action is Action.KEEP


def test_a_manager_that_applies_the_same_values_is_no_change() -> None:
    live = stored(network_policy())
    by_hand(live, {"f:spec": {"f:podSelector": {}, "f:policyTypes": {}}}, "argocd", "Apply")
    assert one(network_policy(), live).action is Action.KEEP


def test_what_another_owns_with_us_is_no_change_though_the_server_filled_in_defaults() -> None:
    desired = network_policy(egress=[{"ports": [{"port": 53}]}])
    live = stored(desired)
    live["spec"]["egress"] = [{"ports": [{"port": 53, "protocol": "TCP"}]}]
    by_hand(live, {"f:spec": {"f:egress": {}}}, "argocd", "Apply")
    assert one(desired, live).action is Action.KEEP


def test_an_element_whose_key_is_a_default_is_not_shown_as_given_up() -> None:
    desired = network_policy(ports=[{"port": 53}])
    live = stored(desired)
    live["metadata"]["annotations"][CONTENT_HASH] = "other"
    live["spec"]["ports"] = [{"port": 53, "protocol": "TCP"}]
    key = 'k:{"port":53,"protocol":"TCP"}'
    live["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:ports"] = {key: {".": {}, "f:port": {}}}
    assert [field.path for field in one(desired, live).fields] == [f"metadata.annotations[{CONTENT_HASH}]"]


def test_a_keyed_element_that_another_added_is_named_by_its_key() -> None:
    desired = network_policy(ports=[{"port": 53}])
    live = stored(desired)
    key = 'k:{"port":80}'
    live["spec"]["ports"] = [{"port": 53}, {"port": 80}]
    by_hand(live, {"f:spec": {"f:ports": {key: {".": {}, "f:port": {}}}}})
    fields = one(desired, live).fields
    assert [str(field) for field in fields] == ['spec.ports[1]: {"port": 80} → (none) (by kubectl-edit)']
    assert fields[0].steps == ("spec", "ports"), "what is written is the list as a whole"


def test_another_apply_manager_is_a_conflict() -> None:
    live = stored(network_policy())
    live["spec"]["policyTypes"] = ["Ingress"]
    del live["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:policyTypes"]
    by_hand(live, {"f:spec": {"f:policyTypes": {}}}, "argocd", "Apply")
    result = plan([network_policy()], keyed([live]))
    ((change, field),) = result.conflicts
    assert (str(change.key), field.path, field.manager) == (
        "NetworkPolicy a-prod/default-deny", "spec.policyTypes", "argocd",
    )  # fmt: skip


def test_a_finalizer_of_a_controller_beside_ours_is_no_change() -> None:
    desired = network_policy()
    desired["metadata"]["finalizers"] = ["gcloud.gov.pk/param-guard"]
    live = stored(desired)
    live["metadata"]["finalizers"] = ["other", "gcloud.gov.pk/param-guard"]
    assert one(desired, live).action is Action.KEEP
    live["metadata"]["finalizers"] = ["other"]
    assert [field.path for field in one(desired, live).fields] == ["metadata.finalizers"]


SAME: list[tuple[str, Any, Any]] = [
    ("an empty list is dropped by the server", {"ingress": []}, {}),
    ("a null rule list", {"rules": []}, {"rules": None}),
    ("a default inside a list element", {"ports": [{"port": 1}]}, {"ports": [{"port": 1, "protocol": "TCP"}]}),
]
DIFFERENT: list[tuple[str, Any, Any]] = [
    ("a list in another order", {"a": ["x", "y"]}, {"a": ["y", "x"]}),
    ("a longer list", {"a": ["x"]}, {"a": ["x", "y"]}),
    ("a shorter list", {"a": ["x", "y"]}, {"a": ["x"]}),
    ("true is not false", {"a": True}, {"a": False}),
    ("false is not absent: a default could be true", {"a": False}, {}),
    ("an empty text is not absent: it can mean none", {"a": ""}, {}),
    ("an empty selector is not absent: it selects everything", {"a": [{"namespaceSelector": {}}]}, {"a": [{}]}),
    ("an empty element is not any element", {"a": [{}]}, {"a": [{"from": []}]}),
    ("a text is not a map", {"a": {"b": 1}}, {"a": "b"}),
    ("a map is not a text", {"a": "b"}, {"a": {"b": 1}}),
]


def in_spec(spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "x"}, "spec": spec}


@pytest.mark.parametrize(("desired", "live"), [case[1:] for case in SAME], ids=[case[0] for case in SAME])
def test_counts_as_the_same(desired: Any, live: Any) -> None:
    assert differences(in_spec(desired), in_spec(live)) == []


@pytest.mark.parametrize(("desired", "live"), [case[1:] for case in DIFFERENT], ids=[case[0] for case in DIFFERENT])
def test_counts_as_different(desired: Any, live: Any) -> None:
    assert differences(in_spec(desired), in_spec(live))


scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3)
names = st.text("abc./-", min_size=1, max_size=3)
bodies = st.recursive(scalars, lambda below: st.lists(below, max_size=3) | st.dictionaries(names, below, max_size=3))
objects = st.builds(
    lambda spec, annotations, name: {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "n", "annotations": annotations | {CONTENT_HASH: "h"}},
        "spec": spec,
    },
    st.dictionaries(names, bodies, max_size=4),
    st.dictionaries(names, st.text(max_size=3), max_size=2),
    st.text("abc", min_size=1, max_size=3),
)


def without_empty(value: Any) -> Any:
    """Drop what Go's omitempty drops of lists and nulls, at every depth of maps."""
    if isinstance(value, dict):
        return {k: without_empty(v) for k, v in value.items() if v is not None and v != []}
    return value


@given(objects)
def test_an_object_as_stored_needs_no_write(desired: dict[str, Any]) -> None:
    live = stored(desired) | {"spec": without_empty(desired["spec"])}
    assert one(desired, live).action is Action.KEEP


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of everything that is neither a map nor a list with something in it."""
    if isinstance(value, dict) and value:
        return [leaf for name, below in value.items() for leaf in leaves(below, (*path, name))]
    if isinstance(value, list) and value:
        return [leaf for index, below in enumerate(value) for leaf in leaves(below, (*path, index))]
    return [path]


@given(objects.filter(lambda manifest: bool(manifest["spec"])), st.data())
def test_any_one_value_that_was_changed_is_seen_and_named(desired: dict[str, Any], data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(leaves(desired["spec"])))
    live = stored(desired)
    place = live["spec"]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = "changed by hand"
    (field,) = one(desired, live).fields
    assert field.steps == ("spec", *path)
    assert field.before == "changed by hand"


@given(st.lists(objects, max_size=4, unique_by=lambda o: o["metadata"]["name"]))
def test_what_is_planned_and_stored_is_planned_no_more(desired: list[dict[str, Any]]) -> None:
    first = plan(desired, {})
    assert first.counts()["created"] == len(desired)
    assert plan(desired, keyed(stored(manifest) for manifest in desired)).writes == ()


def test_thousands_of_objects_that_are_as_desired_need_no_write() -> None:
    desired, live = [], {}
    for n in range(2_000):
        manifest = network_policy(egress=[{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 53}]}])
        manifest["metadata"] = manifest["metadata"] | {"name": f"p{n}"}
        desired.append(manifest)
        live[key_of(manifest)] = stored(manifest)
    assert plan(desired, live).counts()["unchanged"] == 2_000


def test_a_key_reads_as_people_name_objects() -> None:
    assert str(ObjectKey(NETWORK_POLICY, "moitt-eoffice-prod", "default-deny")) == (
        "NetworkPolicy moitt-eoffice-prod/default-deny"
    )
    assert str(ObjectKey(NAMESPACE, "", "moitt-eoffice-prod")) == "Namespace moitt-eoffice-prod"


def test_paths_of_the_core_group_and_of_others() -> None:
    assert ObjectKey(NAMESPACE, "", "a").path == "/api/v1/namespaces/a"
    assert ObjectKey(NETWORK_POLICY, "n", "a").path == "/apis/networking.k8s.io/v1/namespaces/n/networkpolicies/a"
    assert NETWORK_POLICY.path() == "/apis/networking.k8s.io/v1/networkpolicies"


def test_a_namespace_in_a_cluster_scoped_object_does_not_split_its_key() -> None:
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "namespace": "a"}}
    assert key_of(manifest).namespace == ""


def test_every_kind_is_found_by_its_own_name() -> None:
    assert all(KINDS[kind.api_version, kind.kind] == kind for kind in KINDS.values())
    assert len({kind.resource for kind in KINDS.values()}) == len(KINDS)


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(KeyError, match=r"example\.org/v1 Thing"):
        key_of({"apiVersion": "example.org/v1", "kind": "Thing", "metadata": {"name": "a"}})


def test_an_empty_plan_counts_nothing() -> None:
    assert sum(Plan(()).counts().values()) == 0
