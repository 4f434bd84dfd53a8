"""What a tenant writes: whatever the independent judge sees opened, ISO-111 must find, and admission must refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.e2e import policy_world
from tests.e2e.conftest import RunningLab
from tests.e2e.netpol import Judge, judging
from tests.e2e.test_network_matrix import GOVERNMENT, INTERNAL, NAME, Row, Subject, rows, subjects, tenant

from gcloud_pk.cluster.kinds import NETWORK_POLICY
from gcloud_pk.cluster.removal import remove_namespaces
from gcloud_pk.cluster.transport import Api, Identity
from gcloud_pk.onboarding.verification import environment
from gcloud_pk.proof import flows
from gcloud_pk.render.tenant import render

ASKING = ("government", "internet", "ipv6", "internal")


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with judging() as made:
        yield made


def opened(judge: Judge, subject: Subject, spec: dict[str, Any]) -> list[Row]:
    """Return the rows of the table that a further policy of the tenant opens, and that are not the tenant's to open."""
    policy = {"metadata": {"name": "own", "namespace": subject.namespace}, "spec": spec}
    verdicts = judge.verdicts(subject.scene, [*subject.policies, policy], subject.flows)
    return [row for row, v in zip(rows(), verdicts, strict=True) if row.passes(v) and row.cells[subject.column] == "n"]


def found(subject: Subject, spec: dict[str, Any]) -> list[str]:
    """Return what ISO-111 says of the same."""
    spec_of = {e.name: e for e in subject.tenant.request.spec.environments}
    own = [*subject.tenant.request.namespaces(), f"{subject.tenant.name}-old"]
    live = [p for p in subject.policies if p["metadata"]["namespace"] == subject.namespace]
    policy = {"metadata": {"name": "own", "namespace": subject.namespace}, "spec": spec}
    return flows.problems([*live, policy], own, environment(subject.tenant, spec_of[subject.environment]))


KEYS = {NAME: ("moitt-government", "moitt-internal", "portal-second", "six-second", "fbr-tax", "gateway", "monitoring",
               "kube-system", "gcloud-pk-system"),
        "gcloud.gov.pk/tenant": ("moitt", "portal", "six", "fbr", "kube")}  # fmt: skip
BLOCKS = (
    "10.20.0.0/16", "10.20.4.0/24", "10.20.0.0/15", "10.8.0.0/16", "10.8.4.0/24", "10.0.0.0/8", "10.208.0.0/16",
    "10.208.1.4/32", "10.209.0.0/16", "10.207.0.0/24", "10.207.0.10/32", "169.254.169.254/32", "169.254.0.0/16",
    "169.254.20.10/32", "0.0.0.0/0", "0.0.0.0/1", "203.0.113.0/24", "203.0.113.128/25", "198.51.100.0/24", "::/0",
    "2001:db8:20::/48", "2001:db8:20:1::/64", "2001:db8::/32", "fd42:208::/56", "fd42:207::/64", "8000::/1",
)  # fmt: skip


def selectors(keys: dict[str, tuple[str, ...]]) -> st.SearchStrategy[dict[str, Any]]:
    """All shapes of a selector, over keys that every object of the scene has."""
    labels = st.sampled_from([*keys]).flatmap(lambda k: st.sampled_from(keys[k]).map(lambda v: {k: v}))
    expressions = st.sampled_from([*keys]).flatmap(
        lambda k: st.one_of(
            st.builds(
                lambda operator, values: {"key": k, "operator": operator, "values": values},
                st.sampled_from(["In", "NotIn"]),
                st.lists(st.sampled_from(keys[k]), min_size=1, max_size=3, unique=True),
            ),
            st.sampled_from(["Exists", "DoesNotExist"]).map(lambda operator: {"key": k, "operator": operator}),
        )
    )
    return st.one_of(
        st.just({}),
        labels.map(lambda found: {"matchLabels": found}),
        st.lists(expressions, min_size=1, max_size=2).map(lambda found: {"matchExpressions": found}),
        st.builds(lambda one, other: {"matchLabels": one, "matchExpressions": [other]}, labels, expressions),
    )


PODS = selectors({"app": ("web", "db", "none", "gateway", "prometheus"), "k8s-app": ("kube-dns", "none")})


def block(cidr: str, spared: list[str]) -> dict[str, Any]:
    outer = ip_network(cidr)
    inner = [n for n in spared if n != cidr and ip_network(n).version == outer.version and _inside(n, cidr)]
    return {"ipBlock": {"cidr": cidr, **({"except": inner} if inner else {})}}


def _inside(inner: str, outer: str) -> bool:
    return ip_network(inner).subnet_of(ip_network(outer))  # type: ignore[arg-type]  # of one version


SPACES = selectors(KEYS)
PEER = st.one_of(
    PODS.map(lambda pods: {"podSelector": pods}),
    SPACES.map(lambda spaces: {"namespaceSelector": spaces}),
    st.builds(lambda pods, spaces: {"podSelector": pods, "namespaceSelector": spaces}, PODS, SPACES),
    st.builds(block, st.sampled_from(BLOCKS), st.lists(st.sampled_from(BLOCKS), max_size=6, unique=True)),
)
PORT = st.one_of(
    st.builds(
        lambda port, protocol: {"port": port, "protocol": protocol},
        st.sampled_from([53, 80, 443, 5432, 5433, 8080, 9090, 10250]),
        st.sampled_from(["TCP", "UDP", "SCTP"]),
    ),
    st.sampled_from(["TCP", "UDP", "SCTP"]).map(lambda protocol: {"protocol": protocol}),
    st.builds(
        lambda port, more, protocol: {"port": port, "endPort": port + more, "protocol": protocol},
        st.sampled_from([1, 443, 5432, 8080]),
        st.sampled_from([0, 1, 2000, 57000]),
        st.sampled_from(["TCP", "UDP"]),
    ),
)


def ruled(peers: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {}, optional={peers: st.lists(PEER, max_size=3), "ports": st.lists(PORT, min_size=1, max_size=2)}
    )


SPECS = st.fixed_dictionaries(
    {"podSelector": PODS, "policyTypes": st.sampled_from([["Ingress"], ["Egress"], ["Ingress", "Egress"]])},
    optional={"ingress": st.lists(ruled("from"), max_size=2), "egress": st.lists(ruled("to"), max_size=2)},
)


# One peer and one list of ports at a time: that is how the audit's judge looks at them.
PORTS: tuple[list[dict[str, Any]], ...] = (
    [],
    [{"protocol": "TCP"}],
    [{"port": 5432, "protocol": "TCP"}],
    [{"port": 443, "protocol": "TCP"}],
    [{"port": 5432, "protocol": "UDP"}],
    [{"port": 5432, "endPort": 5433, "protocol": "TCP"}],
    [{"port": 5432, "protocol": "TCP"}, {"port": 5433, "protocol": "TCP"}],
)
CLUSTERS = ["10.208.0.0/16", "10.209.0.0/16", "10.207.0.0/24", "169.254.0.0/16", "fd42:208::/56", "fd42:207::/64"]


def towards_networks() -> Iterator[dict[str, Any]]:
    for direction, key in (("ingress", "from"), ("egress", "to")):
        for cidr in BLOCKS:
            for peer in (block(cidr, []), block(cidr, CLUSTERS)):
                for ports in PORTS:
                    rule = {key: [peer], **({"ports": ports} if ports else {})}
                    yield {"podSelector": {}, "policyTypes": [direction.capitalize()], direction: [rule]}


@pytest.mark.parametrize("column", ASKING)
def test_every_network_that_a_policy_of_the_tenant_opens_is_found(judge: Judge, column: str) -> None:
    subject = subjects()[column]
    missed = []
    for spec in towards_networks():
        through = opened(judge, subject, spec)
        if through and not found(subject, spec):
            missed.append((spec, str(through[0])))
    assert missed == []


@pytest.mark.parametrize("column", ASKING)
def test_whatever_else_a_policy_of_the_tenant_opens_is_found(judge: Judge, column: str) -> None:
    subject = subjects()[column]

    @settings(max_examples=100, deadline=None, database=None, derandomize=True,
              suppress_health_check=[HealthCheck.too_slow])  # fmt: skip
    @given(SPECS)
    def holds(spec: dict[str, Any]) -> None:
        through = opened(judge, subject, spec)
        assert not through or found(subject, spec), f"{through[0]} and {len(through) - 1} more"

    holds()


# At admission, on a live API server.

LIVE = "judged"


@pytest.fixture(scope="module")
def admins(lab: RunningLab) -> Iterator[Api]:
    api = policy_world.administrator(lab.kubeconfig)
    policy_world.install_platform(api)
    made = tenant(LIVE, INTERNAL, GOVERNMENT)
    for manifest in render(made):
        if manifest["kind"] in {"Namespace", "TenantPolicy", "RoleBinding"}:
            policy_world.apply(api, manifest)
    yield api.impersonating(Identity("somebody", made.bound(("judged-admins",))))
    remove_namespaces(api, made.request.namespaces())


def admitted(admins: Api, spec: dict[str, Any]) -> tuple[bool, str]:
    """Whether a tenant's admin may create the policy, and what is said; own names are the live tenant's."""
    there = json.loads(json.dumps(spec).replace("moitt", LIVE))
    policy = {
        "apiVersion": NETWORK_POLICY.api_version,
        "kind": "NetworkPolicy",
        "metadata": {"name": "own"},
        "spec": there,
    }
    path = NETWORK_POLICY.path(f"{LIVE}-government")
    answer = admins.request("POST", path, body=policy, params={"dryRun": "All"})
    assert answer.ok or answer.status in {403, 422}, answer.message
    return answer.ok, answer.message


def test_every_network_that_the_audit_would_find_is_refused_at_once(admins: Api) -> None:
    subject = subjects()["government"]
    answers = [(spec, bool(found(subject, spec)), admitted(admins, spec)) for spec in towards_networks()]
    assert [(spec, message) for spec, wrong, (ok, message) in answers if wrong is ok] == []
    assert {ok for _, _, (ok, _) in answers} == {True, False}


def test_what_a_policy_of_the_tenant_opens_is_refused_at_once(judge: Judge, admins: Api) -> None:
    subject = subjects()["government"]
    said: set[bool] = set()

    @settings(max_examples=150, deadline=None, database=None, derandomize=True,
              suppress_health_check=[HealthCheck.too_slow])  # fmt: skip
    @given(SPECS)
    def holds(spec: dict[str, Any]) -> None:
        through = opened(judge, subject, spec)
        ok, message = admitted(admins, spec)
        said.add(ok)
        assert ok or "gpk-network-policies" in message, message
        assert not (through and ok), f"{through[0]} and {len(through) - 1} more"

    holds()
    assert said == {True, False}


@pytest.mark.parametrize(
    ("direction", "cidr"),
    [
        ("ingress", "::ffff:10.8.0.0/112"),
        ("ingress", "::ffff:10.208.0.0/112"),
        ("egress", "::ffff:169.254.169.254/128"),
        ("egress", "010.20.0.0/16"),
        ("egress", "10.20.5.5/8"),
        ("egress", "10.20.0.0/0"),
        ("ingress", "10.8.0.0/016"),
        ("ingress", "8.10.0.0/8"),
    ],
)
def test_a_network_that_is_written_otherwise_opens_nothing(admins: Api, direction: str, cidr: str) -> None:
    rule = {{"ingress": "from", "egress": "to"}[direction]: [{"ipBlock": {"cidr": cidr}}]}
    ok, message = admitted(admins, {"podSelector": {}, "policyTypes": [direction.capitalize()], direction: [rule]})
    assert not ok, message
