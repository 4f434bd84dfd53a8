"""What holds for every request that can be written, not only for the examples."""

from __future__ import annotations

import ipaddress
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.tenants import a_tenant

from gcloud_pk.cluster.kinds import key_of
from gcloud_pk.model import labels
from gcloud_pk.model.quantity import Quantity
from gcloud_pk.render import data
from gcloud_pk.render.folder import files, to_yaml
from gcloud_pk.render.metadata import canonical
from gcloud_pk.render.tenant import render, wave

_edge = st.sampled_from(string.ascii_lowercase + string.digits)
_label = st.builds(
    lambda first, middle, last: first + middle + last,
    _edge, st.text(string.ascii_lowercase + string.digits + "-", max_size=10), _edge,
)  # fmt: skip
_quota = st.fixed_dictionaries(
    {
        "cpu": st.sampled_from(["100m", "1", "1500m", "16", "0.5"]),
        "memory": st.sampled_from(["64Mi", "1Gi", "1.5Gi", "1000M", "34359738368"]),
        "storage": st.sampled_from(["100Mi", "1Gi", "200Gi", "1Ti"]),
        "pods": st.integers(1, 2000),
    }
)
_cidr = st.integers(1, 200).map(lambda n: f"100.{n}.0.0/16")
_egress = st.fixed_dictionaries(
    {
        "to": _cidr,
        "ports": st.just([{"port": 5432, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]),
        "reason": st.just("x"),
    }
)
_environment = st.fixed_dictionaries(
    {"name": _label, "tier": st.just("production"), "quota": _quota},
    optional={
        "domains": st.just(["a.moitt.gov.pk"]),
        "allowFrom": st.lists(_cidr, max_size=3, unique=True),
        "egress": st.lists(_egress, max_size=3),
    },
)
_environments = st.lists(_environment, min_size=1, max_size=5, unique_by=lambda e: e["name"])


@settings(max_examples=60, deadline=None)
@given(name=_label, environments=_environments, order=st.randoms(use_true_random=False))
def test_the_order_of_a_request_s_lists_does_not_change_a_byte(name: str, environments: list[Any], order: Any) -> None:
    shuffled = environments.copy()
    order.shuffle(shuffled)
    first = render(a_tenant(name, environments=environments))
    second = render(a_tenant(name, environments=shuffled))
    assert to_yaml(first) == to_yaml(second)


@settings(max_examples=60, deadline=None)
@given(name=_label, environments=_environments)
def test_every_object_is_the_platform_s_the_tenant_s_and_where_it_belongs(name: str, environments: list[Any]) -> None:
    tenant = a_tenant(name, environments=environments)
    made = render(tenant)
    assert len({key_of(m) for m in made}) == len(made)
    for manifest in made:
        metadata = manifest["metadata"]
        assert metadata["labels"][labels.MANAGED] == "platform"
        assert metadata["labels"][labels.TENANT] == name
        assert metadata["annotations"][labels.CONTENT_HASH]
        namespace = metadata["name"] if manifest["kind"] == "Namespace" else metadata.get("namespace")
        assert manifest["kind"] == "Tenant" or namespace in tenant.request.namespaces()
        assert all(len(value) <= 63 for value in metadata["labels"].values())


@settings(max_examples=60, deadline=None)
@given(environments=_environments)
def test_every_namespace_has_every_wall_before_anybody_is_let_in(environments: list[Any]) -> None:
    tenant = a_tenant(environments=environments)
    for namespace in tenant.request.namespaces():
        own = [m for m in render(tenant) if m["metadata"].get("namespace") == namespace]
        walls = {(m["kind"], m["metadata"]["name"]) for m in own}
        assert {
            ("TenantPolicy", "tenant"),
            ("ResourceQuota", "tenant"),
            ("ResourceQuota", "no-system-priority"),
            ("LimitRange", "tenant"),
            ("NetworkPolicy", "default-deny"),
            ("ServiceAccount", "default"),
        } <= walls
        access = [wave(m) for m in own if m["kind"] == "RoleBinding"]
        assert min(access) > max(wave(m) for m in own if m["kind"] != "RoleBinding")


@settings(max_examples=60, deadline=None)
@given(environments=_environments)
def test_no_default_of_a_container_exceeds_what_its_limit_range_allows(environments: list[Any]) -> None:
    for manifest in render(a_tenant(environments=environments)):
        if manifest["kind"] != "LimitRange":
            continue
        container, claim = manifest["spec"]["limits"]
        for resource, most in container["max"].items():
            assert Quantity.parse(container["default"][resource]) <= Quantity.parse(most)
            assert Quantity.parse(container["defaultRequest"][resource]) <= Quantity.parse(
                container["default"][resource]
            )
        assert Quantity.parse(claim["min"]["storage"]) <= Quantity.parse(claim["max"]["storage"])


@settings(max_examples=60, deadline=None)
@given(environments=_environments)
def test_no_network_rule_is_without_peers_and_no_block_is_everything(environments: list[Any]) -> None:
    for manifest in render(a_tenant(environments=environments)):
        if manifest["kind"] != "NetworkPolicy":
            continue
        for direction, peers in (("ingress", "from"), ("egress", "to")):
            for rule in manifest["spec"].get(direction, ()):
                assert rule[peers]
                for peer in rule[peers]:
                    assert peer.get("namespaceSelector") != {}
                    if "ipBlock" in peer:
                        assert ipaddress.ip_network(peer["ipBlock"]["cidr"]).prefixlen > 0


def test_quantities_are_written_as_the_api_server_stores_them() -> None:
    environment = {
        "name": "e",
        "tier": "sandbox",
        "quota": {"cpu": "1000m", "memory": "1024Mi", "storage": "0.5Ti", "pods": 5},
    }
    quota = next(
        m
        for m in render(a_tenant(environments=[environment]))
        if m["kind"] == "ResourceQuota" and m["metadata"]["name"] == "tenant"
    )
    hard = quota["spec"]["hard"]
    assert (hard["limits.cpu"], hard["limits.memory"], hard["requests.storage"]) == ("1", "1Gi", "512Gi")


@pytest.mark.parametrize(
    ("pods", "deployments", "replica_sets", "bindings"),
    [(5, 50, 220, 200), (100, 100, 1100, 200), (900, 900, 9900, 900)],
)
def test_what_a_tenant_writes_is_counted_by_the_pods_it_asked_for(
    pods: int, deployments: int, replica_sets: int, bindings: int
) -> None:
    size = {"cpu": "1", "memory": "1Gi", "storage": "1Gi", "pods": pods}
    made = render(a_tenant(environments=[{"name": "e", "tier": "sandbox", "quota": size}]))
    hard = next(m for m in made if (m["kind"], m["metadata"]["name"]) == ("ResourceQuota", "tenant"))["spec"]["hard"]
    assert Quantity.parse(hard["count/deployments.apps"]) == Quantity(deployments)
    assert Quantity.parse(hard["count/replicasets.apps"]) == Quantity(replica_sets)
    assert Quantity.parse(hard["count/rolebindings.rbac.authorization.k8s.io"]) == Quantity(bindings)


def test_every_kind_that_a_tenant_may_create_and_every_cluster_serves_is_counted() -> None:
    made = render(a_tenant())
    hard = next(m for m in made if (m["kind"], m["metadata"]["name"]) == ("ResourceQuota", "tenant"))["spec"]["hard"]
    (role,) = (d for d in data.documents("policies", "rbac", "tenant-admin.yaml") if d["kind"] == "ClusterRole")
    written = {
        f"count/{resource}.{group}" if group else resource
        for rule in role["rules"]
        if "create" in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        if "/" not in resource and group != "gateway.networking.k8s.io"
    }
    assert {"count/serviceaccounts" if name == "serviceaccounts" else name for name in written} <= hard.keys()


def test_a_changed_request_changes_the_hash_of_exactly_the_objects_it_touches() -> None:
    before = {key_of(m): m for m in render(a_tenant(environments=("one", "two")))}
    after = {key_of(m): m for m in render(a_tenant(environments=("one", "two"), storageClasses=["encrypted"]))}
    changed = {k.kind.kind for k in before if canonical(before[k]) != canonical(after[k])}
    assert changed == {"ResourceQuota", "TenantPolicy"}


def test_files_lie_where_the_architecture_says() -> None:
    paths = set(files("moitt", render(a_tenant())))
    assert "moitt/00-tenant.yaml" in paths
    assert "moitt/01-namespace.yaml" in paths
    assert all(
        path.startswith("moitt/moitt-eoffice/") for path in paths - {"moitt/00-tenant.yaml", "moitt/01-namespace.yaml"}
    )
