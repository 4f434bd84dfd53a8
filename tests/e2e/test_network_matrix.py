"""What the rendered network policies let through, judged by an implementation of the semantics that is not ours."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.netpol import End, Flow, Judge, Scene, Verdict, judging
from tests.unit.tenants import a_tenant

from gcloud_pk.model.site import Cluster, Dns, Networks
from gcloud_pk.model.tenant import Tenant
from gcloud_pk.render.network import ALLOW_NAME, DENY_NAME, denial
from gcloud_pk.render.tenant import render

TABLE = Path(__file__).with_name("data") / "network-matrix.csv"
COLUMNS = ("internal", "government", "internet", "ipv6", "retired", "quarantined")
NAME = "kubernetes.io/metadata.name"

FOUR = Cluster(
    name="four",
    endpoint="https://10.207.0.10:6443",
    networks=Networks(pods="10.208.0.0/16", services="10.209.0.0/16", nodes="10.207.0.0/24"),
    dns=Dns(addresses=("169.254.20.10",)),
)
SIX = Cluster(
    name="six",
    endpoint="https://[fd42:207::10]:6443",
    networks=Networks(pods="fd42:208::/56", services="fd42:209::/112", nodes="fd42:207::/64"),
    dns=Dns(addresses=("fd42:53::a",)),
)
QUOTA = {"cpu": "4", "memory": "8Gi", "storage": "20Gi", "pods": 20}


def wish(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "tier": "production", "quota": QUOTA, **fields}


def out(to: str, *ports: tuple[int, str]) -> dict[str, Any]:
    return {"to": to, "ports": [{"port": port, "protocol": protocol} for port, protocol in ports], "reason": "a peer"}


INTERNAL = wish("internal")
GOVERNMENT = wish(
    "government",
    exposure="government",
    domains=["eoffice.moitt.gov.pk"],
    allowFrom=["10.8.0.0/16"],
    egress=[out("10.20.0.0/16", (5432, "TCP"))],
)
INTERNET = wish(
    "internet",
    exposure="internet",
    domains=["www.moitt.gov.pk"],
    allowFrom=["0.0.0.0/0"],
    egress=[out("203.0.113.0/24", (443, "TCP"), (4500, "UDP"))],
)
IPV6 = wish(
    "internet",
    exposure="internet",
    domains=["www.moitt.gov.pk"],
    allowFrom=["::/0"],
    egress=[out("2001:db8:20::/48", (5432, "TCP"))],
)


def tenant(name: str, *environments: dict[str, Any], cluster: Cluster = FOUR) -> Tenant:
    return replace(a_tenant(name, environments), cluster=cluster)


ADDRESSES = {
    "the node-local DNS address": ("169.254.20.10", "fd42:53::a"),
    "the address beside it": ("169.254.20.11", "fd42:53::b"),
    "the API server's address": ("10.207.0.10", "fd42:207::10"),
    "the API server's service address": ("10.209.0.1", "fd42:209::1"),
    "a node": ("10.207.0.21", "fd42:207::21"),
    "another address of the services' range": ("10.209.255.254", "fd42:209::fffe"),
    "an unknown address of the pods' range": ("10.208.255.254", "fd42:208:0:ff::1"),
    "the metadata service": ("169.254.169.254", "fe80::a9fe:a9fe"),
    "the metadata service of IPv6": ("fd00:ec2::254", "fd00:ec2::254"),
    "the internet": ("198.51.100.7", "2001:db8:ffff::7"),
    "a network of allowFrom": ("10.8.255.255", "2001:db8:8::7"),
    "the address before that network": ("10.7.255.255", "2001:db8:7::7"),
    "the address after that network": ("10.9.0.0", "2001:db8:9::7"),
}
EGRESS = {
    "internet": ("203.0.113.255", "203.0.112.255", "203.0.114.0"),
    "ipv6": ("2001:db8:20:ffff::1", "2001:db8:1f:ffff::1", "2001:db8:21::"),
}
OTHERS_EGRESS = ("10.20.0.0", "10.19.255.255", "10.21.0.0")
PEERS = {
    "a pod of its own with the same labels": "same",
    "a pod of its own with other labels": "other",
    "a pod of the tenant's other environment": "sibling",
    "a pod of the tenant's retired environment": "retired",
    "a pod of another tenant": "stranger",
    "a pod of another tenant with the labels of DNS": "impostor",
    "a pod of the gateway's namespace": "gateway",
    "a pod of the monitoring namespace": "monitoring",
    "a DNS pod": "dns",
    "another pod of DNS's namespace": "controller",
    "a pod of gcloud-pk-system": "system",
}


@dataclass(frozen=True)
class Subject:
    """An environment of one column, in its world."""

    column: str
    tenant: Tenant
    environment: str
    sibling: str
    policies: tuple[dict[str, Any], ...]

    @property
    def namespace(self) -> str:
        return self.tenant.request.namespace(self.environment)

    @property
    def family(self) -> int:
        """The place of the address family in a pair of addresses."""
        return 1 if self.tenant.cluster is SIX else 0

    @cached_property
    def flows(self) -> list[Flow]:
        """The table's rows as this environment's flows."""
        return [self.flow(row) for row in rows()]

    @cached_property
    def scene(self) -> Scene:
        cluster = self.tenant.cluster
        web, dns = {"app": "web"}, dict(cluster.dns.selector)
        own, sibling, retired = self.namespace, self.tenant.request.namespace(self.sibling), f"{self.tenant.name}-old"
        pods = {
            "subject": (own, web),
            "same": (own, web),
            "other": (own, {"app": "db"}),
            "sibling": (sibling, web),
            "retired": (retired, web),
            "stranger": ("fbr-tax", web),
            "impostor": ("fbr-tax", dns),
            "gateway": (cluster.ingress_namespace, {"app": "gateway"}),
            "monitoring": (cluster.monitoring_namespace, {"app": "prometheus"}),
            "dns": (cluster.dns.namespace, dns),
            "controller": (cluster.dns.namespace, {"app": "controller"}),
            "system": ("gcloud-pk-system", web),
        }
        # The labels that a selector may ask for are there on all: absent keys are judged otherwise by the module.
        pods = {name: (where, {"app": "none", "k8s-app": "none", **its}) for name, (where, its) in pods.items()}
        namespaces = {
            where: {NAME: where, "gcloud.gov.pk/tenant": where.partition("-")[0]} for where, _ in pods.values()
        }
        return Scene(namespaces, pods)

    def end(self, peer: str) -> End:
        pods = [*self.scene.pods]
        if peer in PEERS:
            number = pods.index(PEERS[peer]) + 1
            return End((f"10.208.1.{number}", f"fd42:208::{number}")[self.family], PEERS[peer])
        edge = {"the declared egress": 0, "the address before the declared egress": 1,
                "the address after the declared egress": 2}.get(peer)  # fmt: skip
        if edge is not None:
            return End(EGRESS.get(self.column, OTHERS_EGRESS)[edge])
        return End(ADDRESSES[peer][self.family])

    def flow(self, row: Row) -> Flow:
        this = End(("10.208.1.1", "fd42:208::1")[self.family], "subject")
        ends = (this, self.end(row.peer)) if row.direction == "to" else (self.end(row.peer), this)
        return Flow(*ends, row.port, row.protocol)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    direction: str
    peer: str
    protocol: str
    port: int
    cells: dict[str, str]

    def __str__(self) -> str:
        return f"{self.direction} {self.peer}, {self.protocol} {self.port}"

    def passes(self, verdict: Verdict) -> bool:
        """Whether the subject's own policies let it through: it is not saved by what somebody else's stop."""
        return verdict.sent if self.direction == "to" else verdict.received


@cache
def rows() -> tuple[Row, ...]:
    lines = [line for line in TABLE.read_text().splitlines() if not line.startswith("#")]
    return tuple(
        Row(r["direction"], r["peer"], r["protocol"], int(r["port"]), {column: r[column] for column in COLUMNS})
        for r in csv.DictReader(lines)
    )


@cache
def subjects() -> dict[str, Subject]:
    moitt, portal = tenant("moitt", INTERNAL, GOVERNMENT), tenant("portal", INTERNET, wish("second"))
    closed, six = tenant("closed", INTERNAL, GOVERNMENT), tenant("six", IPV6, wish("second"), cluster=SIX)
    fbr = tenant("fbr", wish("tax", allowFrom=["10.8.0.0/16"]))
    open_ = [m for t in (moitt, portal, six, fbr) for m in render(t, () if t is fbr else ("old",))]
    denied = [denial("closed", closed.request.namespace(e), e) for e in ("internal", "government", "old")]
    policies = tuple(m for m in [*open_, *denied] if m["kind"] == "NetworkPolicy")

    def subject(column: str, of: Tenant, environment: str, sibling: str) -> Subject:
        return Subject(column, of, environment, sibling, policies)

    return {
        "internal": subject("internal", moitt, "internal", "government"),
        "government": subject("government", moitt, "government", "internal"),
        "internet": subject("internet", portal, "internet", "second"),
        "ipv6": subject("ipv6", six, "internet", "second"),
        "retired": subject("retired", moitt, "old", "government"),
        "quarantined": subject("quarantined", closed, "government", "internal"),
    }


def differences(judge: Judge, subject: Subject) -> list[str]:
    """Return in words each cell of a column that is not as the table has it."""
    verdicts = judge.verdicts(subject.scene, subject.policies, subject.flows)
    found = []
    for row, verdict in zip(rows(), verdicts, strict=True):
        expected = row.cells[subject.column] == "y"
        if row.passes(verdict) is not expected:
            found.append(f"{row}: {'stopped' if expected else 'PASSES'}")
    return found


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with judging() as made:
        yield made


@pytest.mark.parametrize("column", COLUMNS)
def test_every_cell_is_as_the_table_has_it(judge: Judge, column: str) -> None:
    assert differences(judge, subjects()[column]) == []


@pytest.mark.parametrize("column", COLUMNS)
def test_what_passes_at_one_end_between_tenants_pods_passes_at_both(judge: Judge, column: str) -> None:
    subject = subjects()[column]
    inside = [row for row in rows() if row.peer in PEERS]
    for row, verdict in zip(
        inside, judge.verdicts(subject.scene, subject.policies, [subject.flow(row) for row in inside]), strict=True
    ):
        assert (verdict.sent and verdict.received) is (row.cells[column] == "y"), str(row)


def test_the_table_has_every_peer_and_every_cell_a_letter() -> None:
    ends = {*PEERS, *ADDRESSES, "the declared egress"}
    ends |= {"the address before the declared egress", "the address after the declared egress"}
    assert {row.peer for row in rows()} == ends
    assert {cell for row in rows() for cell in row.cells.values()} == {"y", "n", "t"}
    keys = [str(row) for row in rows()]
    assert len(keys) == len({*keys})


# The table has teeth: each policy that is dropped or widened fails just the cells that rest on it.

Policies = list[dict[str, Any]]


def without(*names: str) -> Callable[[Policies], Policies]:
    return lambda own: [policy for policy in own if policy["metadata"]["name"] not in names]


def edited(name: str, edit: Callable[[dict[str, Any]], None]) -> Callable[[Policies], Policies]:
    def change(own: Policies) -> Policies:
        found = [policy for policy in own if policy["metadata"]["name"] == name]
        assert len(found) == 1
        edit(found[0]["spec"])
        return own

    return change


def every_namespace_as_monitoring(spec: dict[str, Any]) -> None:
    (peer,) = [rule["from"][0] for rule in spec["ingress"] if names(rule["from"][0]) == "monitoring"]
    peer["namespaceSelector"] = {}


def every_pod_as_dns(spec: dict[str, Any]) -> None:
    (peer,) = [rule["to"][0] for rule in spec["egress"] if names(rule["to"][0]) == "kube-system"]
    del peer["podSelector"]


def every_port_of_dns(spec: dict[str, Any]) -> None:
    (rule,) = [rule for rule in spec["egress"] if names(rule["to"][0]) == "kube-system"]
    del rule["ports"]


def nothing_excepted(spec: dict[str, Any]) -> None:
    (peer,) = [rule["from"][0] for rule in spec["ingress"] if "ipBlock" in rule["from"][0]]
    del peer["ipBlock"]["except"]


def every_port_of_egress(spec: dict[str, Any]) -> None:
    del declared(spec)["ports"]


def twice_the_network(spec: dict[str, Any]) -> None:
    declared(spec)["to"][0]["ipBlock"]["cidr"] = "10.20.0.0/15"


def declared(spec: dict[str, Any]) -> dict[str, Any]:
    (rule,) = [rule for rule in spec["egress"] if "ipBlock" in rule["to"][0]]
    found: dict[str, Any] = rule
    return found


def names(peer: dict[str, Any]) -> str | None:
    name: str | None = peer.get("namespaceSelector", {}).get("matchLabels", {}).get(NAME)
    return name


@pytest.mark.parametrize(
    ("column", "change", "fails"),
    [
        pytest.param("retired", without(DENY_NAME), lambda row, cell: True, id="retired, nothing denied"),
        pytest.param("quarantined", without(DENY_NAME), lambda row, cell: True, id="quarantined, nothing denied"),
        pytest.param(
            "quarantined", edited(DENY_NAME, lambda spec: spec.update(policyTypes=["Ingress"])),
            lambda row, cell: row.direction == "to", id="quarantined, one direction denied",
        ),
        pytest.param(
            "retired", edited(DENY_NAME, lambda spec: spec.update(podSelector={"matchLabels": {"app": "db"}})),
            lambda row, cell: True, id="retired, other pods denied",
        ),
        pytest.param(
            "government", without(DENY_NAME, ALLOW_NAME), lambda row, cell: cell != "y", id="in use, no policy at all",
        ),
        pytest.param("government", without(ALLOW_NAME), lambda row, cell: cell == "y", id="in use, nothing allowed"),
        pytest.param(
            "government", without(DENY_NAME), lambda row, cell: False,
            id="in use, nothing denied: what allows some flows denies the rest",
        ),
        pytest.param(
            "government", edited(ALLOW_NAME, every_namespace_as_monitoring),
            lambda row, cell: cell != "y" and row.direction == "from" and row.peer in PEERS,
            id="every namespace is monitoring",
        ),
        pytest.param(
            "government", edited(ALLOW_NAME, every_pod_as_dns),
            lambda row, cell: str(row) == "to another pod of DNS's namespace, UDP 53", id="every pod is DNS",
        ),
        pytest.param(
            "government", edited(ALLOW_NAME, every_port_of_dns),
            lambda row, cell: cell != "y" and row.direction == "to" and row.peer in
            {"a DNS pod", "the node-local DNS address"},
            id="every port is DNS",
        ),
        pytest.param(
            "internet", edited(ALLOW_NAME, nothing_excepted),
            lambda row, cell: cell != "y" and row.direction == "from", id="the cluster is the internet",
        ),
        pytest.param(
            "government", edited(ALLOW_NAME, every_port_of_egress),
            lambda row, cell: cell != "y" and row.direction == "to" and row.peer == "the declared egress",
            id="every port of the declared egress",
        ),
        pytest.param(
            "government", edited(ALLOW_NAME, twice_the_network),
            lambda row, cell: str(row) == "to the address after the declared egress, TCP 5432",
            id="twice the declared network",
        ),
    ],
)  # fmt: skip
def test_a_policy_that_is_dropped_or_widened_fails_just_its_cells(
    judge: Judge, column: str, change: Callable[[Policies], Policies], fails: Callable[[Row, str], bool]
) -> None:
    subject = subjects()[column]
    others = [p for p in subject.policies if p["metadata"]["namespace"] != subject.namespace]
    own = [deepcopy(p) for p in subject.policies if p["metadata"]["namespace"] == subject.namespace]
    found = differences(judge, replace(subject, policies=(*others, *change(own))))
    assert {words.rpartition(": ")[0] for words in found} == {
        str(row) for row in rows() if fails(row, row.cells[column])
    }


def test_a_selector_on_which_the_judge_and_kubernetes_differ_is_not_judged(judge: Judge) -> None:
    subject = subjects()["government"]
    absent = {"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["moitt"]}]}
    spec = {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"namespaceSelector": absent}]}]}
    policy = {"metadata": {"name": "own", "namespace": subject.namespace}, "spec": spec}
    with pytest.raises(ValueError, match="differ on whether team notin"):
        judge.verdicts(subject.scene, [policy], [])
