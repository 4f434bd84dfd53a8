"""Network policies add up: whatever one of them allows beyond the request is named."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.proof_server import moitt

from gcloud_pk.model import labels
from gcloud_pk.model.request import Port
from gcloud_pk.model.resources import EgressFlow
from gcloud_pk.model.site import Cluster, Networks
from gcloud_pk.onboarding.verification import environment
from gcloud_pk.proof.flows import holding, problems, undeclared
from gcloud_pk.proof.target import TargetEnvironment
from gcloud_pk.render.tenant import render

OWN = ("moitt-eoffice", "moitt-portal")
NAME = "kubernetes.io/metadata.name"


PORTS: list[dict[str, Any]] = [{"port": 5432, "protocol": "TCP"}, {"port": 5433, "protocol": "TCP"}]
FLOWS = {"podSelector": {}, "egress": [{"ports": PORTS, "to": [{"ipBlock": {"cidr": "10.20.0.0/16"}}]}]}
DECLARED = {
    "metadata": {"name": "declared-flows", "labels": {labels.MANAGED: labels.MANAGED_BY_PLATFORM}},
    "spec": FLOWS,
}


def asked(**fields: Any) -> TargetEnvironment:
    values: dict[str, Any] = {
        "egress_flows": (EgressFlow(to="10.20.0.0/16", ports=tuple(Port(**port) for port in PORTS)),),
        "ingress_cidrs": ("10.8.0.0/16",), "flows": FLOWS,
    }  # fmt: skip
    return TargetEnvironment("eoffice", "moitt-eoffice", **{**values, **fields})


def policy(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "own"}, "spec": {"podSelector": {}, **spec}}


def named(*names: str) -> dict[str, Any]:
    if len(names) == 1:
        return {"namespaceSelector": {"matchLabels": {NAME: names[0]}}}
    return {"namespaceSelector": {"matchExpressions": [{"key": NAME, "operator": "In", "values": list(names)}]}}


def block(cidr: str, *excepted: str) -> dict[str, Any]:
    return {"ipBlock": {"cidr": cidr, **({"except": list(excepted)} if excepted else {})}}


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"policyTypes": ["Ingress"]}, id="nothing at all"),
        pytest.param({"ingress": [{"from": [{"podSelector": {}}]}]}, id="its own namespace"),
        pytest.param({"egress": [{"to": [named("moitt-portal")]}]}, id="its other namespace"),
        pytest.param({"ingress": [{"from": [named(*OWN)]}]}, id="its namespaces in a list"),
        pytest.param(
            {"ingress": [{"from": [{"namespaceSelector": {**named(*OWN, "fbr-tax")["namespaceSelector"],
                                                          **named("moitt-portal")["namespaceSelector"]}}]}]},
            id="its own by one term, more by another: all must hold",
        ),
        pytest.param({"egress": [{"ports": PORTS, "to": [block("10.20.0.0/16")]}]}, id="a declared network"),
        pytest.param(
            {"egress": [{"ports": [{"port": 5432, "endPort": 5433}], "to": [block("10.20.4.0/24")]}]},
            id="a part of a declared network, at declared ports as a range",
        ),
        pytest.param({"ingress": [{"from": [block("10.8.4.0/24")]}]}, id="a part of a declared network"),
    ],
)  # fmt: skip
def test_a_policy_of_the_tenant_may_allow(spec: dict[str, Any]) -> None:
    assert problems([DECLARED, policy(**spec)], OWN, asked()) == []


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        pytest.param({"ingress": [{}]}, "spec.ingress[0] names no peer", id="a rule without peers"),
        pytest.param({"egress": [{"to": []}]}, "spec.egress[0] names no peer", id="a rule with a list of no peers"),
        pytest.param(
            {"egress": [{"ports": [{"port": 443}]}]}, "spec.egress[0] names no peer", id="a port to everywhere"
        ),
        pytest.param(
            {"ingress": [{"from": [{"namespaceSelector": {}}]}]},
            "spec.ingress[0].from[0] selects namespaces otherwise", id="every namespace",
        ),
        pytest.param(
            {"ingress": [{"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"a": "b"}}}]}]},
            "selects namespaces otherwise", id="some pods of every namespace",
        ),
        pytest.param(
            {"ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": "moitt"}}}]}]},
            "selects namespaces otherwise", id="namespaces by a label that anybody may set",
        ),
        pytest.param(
            {"ingress": [{"from": [{"namespaceSelector": {"matchExpressions": [
                {"key": NAME, "operator": "NotIn", "values": ["moitt-eoffice"]}]}}]}]},
            "selects namespaces otherwise", id="every namespace but one",
        ),
        pytest.param(
            {"ingress": [{"from": [{"podSelector": {}}, named("fbr-tax")]}]},
            "spec.ingress[0].from[1] selects fbr-tax", id="another tenant beside its own",
        ),
        pytest.param({"egress": [{"to": [named("moitt-portal", "fbr-tax")]}]}, "selects fbr-tax", id="both in a list"),
        pytest.param({"egress": [{"to": [block("0.0.0.0/0")]}]}, "is 0.0.0.0/0, which the", id="every address"),
        pytest.param({"egress": [{"to": [block("::/0")]}]}, "is ::/0, which the request", id="every address of IPv6"),
        pytest.param({"egress": [{"to": [block("10.20.0.0/15")]}]}, "10.20.0.0/15", id="more than what was declared"),
        pytest.param(
            {"egress": [{"to": [block("10.8.0.0/16")]}]}, "10.8.0.0/16", id="out to where only the way in was declared"
        ),
        pytest.param({"ingress": [{"from": [{}]}]}, "is of no known kind", id="a peer that says nothing"),
        pytest.param(
            {"egress": [{"to": [block("10.20.0.0/16")]}]}, "is 10.20.0.0/16 at every port", id="every port and protocol"
        ),
        pytest.param(
            {"egress": [{"ports": [{"protocol": "TCP"}], "to": [block("10.20.0.0/16")]}]}, "at every port",
            id="every port of a protocol",
        ),
        pytest.param(
            {"egress": [{"ports": [*PORTS, {"port": 22, "protocol": "TCP"}], "to": [block("10.20.0.0/16")]}]},
            "at TCP 22, which the request does not declare", id="another port beside declared ones",
        ),
        pytest.param(
            {"egress": [{"ports": [{"port": 5432, "endPort": 65535, "protocol": "TCP"}],
                         "to": [block("10.20.0.0/16")]}]},
            "at TCP 5434, which the request does not declare", id="ports from a declared one on",
        ),
        pytest.param(
            {"egress": [{"ports": [{"port": 5432, "protocol": "UDP"}], "to": [block("10.20.0.0/16")]}]},
            "at UDP 5432, which the request does not declare", id="the declared port of another protocol",
        ),
        pytest.param(
            {"egress": [{"ports": [{"port": "postgres"}], "to": [block("10.20.0.0/16")]}]},
            "at port postgres, a name", id="a port by its name",
        ),
    ],
)  # fmt: skip
def test_a_policy_of_the_tenant_may_not_allow(spec: dict[str, Any], problem: str) -> None:
    found = problems([DECLARED, policy(**spec)], OWN, asked())
    assert len(found) == 1
    assert found[0].startswith("NetworkPolicy own: ")
    assert problem in found[0]


WIDE = {
    "name": "eoffice",
    "tier": "production",
    "quota": {"cpu": "4", "memory": "8Gi", "storage": "20Gi", "pods": 20},
    "exposure": "government",
    "allowFrom": ["10.0.0.0/8"],
}
CLUSTER = Cluster(name="main", networks=Networks(pods="10.244.0.0/16", services="10.96.0.0/12", nodes="10.1.0.0/24"))


@pytest.mark.parametrize(
    ("peer", "allowed"),
    [
        (block("10.0.0.0/8", "10.244.0.0/16", "10.96.0.0/12", "10.1.0.0/24"), True),
        (block("10.0.0.0/8", "10.244.0.0/15", "10.96.0.0/12", "10.1.0.0/24"), True),
        (block("10.8.0.0/16"), True),
        (block("10.0.0.0/8"), False),
        (block("10.0.0.0/8", "10.96.0.0/12", "10.1.0.0/24"), False),
        (block("10.244.7.0/24"), False),
    ],
    ids=["all left out", "more left out", "beside them", "nothing left out", "pods not left out", "pods alone"],
)
def test_a_wide_network_never_means_the_clusters_own_ranges(peer: dict[str, Any], allowed: bool) -> None:
    made = moitt("eoffice")
    document = made.request.model_dump(mode="json", by_alias=True, exclude_none=True)
    document["spec"]["environments"] = [WIDE]
    tenant = type(made)(
        type(made.request).model_validate(document), made.digest, made.organisation, made.settings, cluster=CLUSTER
    )
    aim = environment(tenant, tenant.request.spec.environments[0])
    declared = [o for o in render(tenant) if o["kind"] == "NetworkPolicy"]
    assert problems(declared, OWN, aim) == []
    found = problems([*declared, policy(ingress=[{"from": [peer]}])], OWN, aim)
    assert (found == []) is allowed
    assert allowed or "which is the cluster's own" in found[0]


def test_flows_of_which_the_request_knows_nothing_are_found() -> None:
    label = {labels.MANAGED: labels.MANAGED_BY_PLATFORM}
    live = {"metadata": {"name": "declared-flows", "labels": label}, "spec": {"podSelector": {}, "ingress": [{}]}}
    assert problems([live], OWN, asked(flows={})) == [
        "NetworkPolicy declared-flows: spec.ingress is not what the request implies",
        "NetworkPolicy declared-flows: spec.podSelector is not what the request implies",
    ]


def test_an_address_that_is_none_is_refused_to_be_judged() -> None:
    with pytest.raises(ValueError, match="nowhere"):
        problems([policy(egress=[{"to": [block("nowhere")]}])], OWN, asked())


@pytest.mark.parametrize(
    ("declared", "foreign"),
    [
        ((), "192.0.2.0/24"),
        (("192.0.0.0/16",), "198.51.100.0/24"),
        (("0.0.0.0/0",), "2001:db8::/32"),
        (("0.0.0.0/0", "::/0"), None),
    ],
)
def test_a_network_is_found_that_no_request_declared(declared: tuple[str, ...], foreign: str | None) -> None:
    assert undeclared(declared) == foreign


@pytest.mark.parametrize(
    ("declared", "found"),
    [
        pytest.param(("10.8.0.0/16",), None, id="beside the cluster"),
        pytest.param(("10.8.0.0/16", "0.0.0.0/0"), ("0.0.0.0/0", "10.207.0.0/24"), id="the world"),
        pytest.param(("10.208.0.0/16",), ("10.208.0.0/16", "10.208.0.0/16"), id="a range itself"),
        pytest.param(("10.208.7.0/24",), None, id="a part of a range"),
        pytest.param(("::/0",), None, id="of another version"),
    ],
)
def test_a_declared_network_that_holds_a_range_of_the_cluster_is_found(
    declared: tuple[str, ...], found: tuple[str, str] | None
) -> None:
    assert holding(declared, ("10.207.0.0/24", "10.208.0.0/16")) == found
