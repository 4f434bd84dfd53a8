"""The rules by which nodes join and leave a cluster: who may go, whose certificate is signed, what is due."""

from __future__ import annotations

import base64
import ipaddress
import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cluster_modules import (
    cluster_departure,
    cluster_etcd,
    cluster_images,
    cluster_invitation,
    cluster_member,
    cluster_node,
    cluster_objects,
    cluster_observation,
    cluster_programs,
    cluster_quorum,
    cluster_settled,
    cluster_standing,
)


def member(name: str, *, healthy: bool = True, learner: bool = False) -> Any:
    number = int(name.removeprefix("c"))
    return cluster_quorum.Member(f"{number:x}", name, (f"https://10.207.0.1{number}:2380",), learner, healthy)


@pytest.mark.parametrize(
    ("members", "leaving", "refused"),
    [
        pytest.param("c1 c2 c3", "c3", None, id="one of three, all well"),
        pytest.param("c1 c2! c3", "c2", None, id="the sick one of three"),
        pytest.param("c1 c2! c3", "c3",
                     "2 of etcd's 2 members that stay must be healthy; 1 are (not: c2)", id="a well one"),
        pytest.param("c1 c2", "c2", None, id="one of two"),
        pytest.param("c1 c2!", "c2", "etcd has no majority: 1 of 2 members are healthy", id="the sick one of two"),
        pytest.param("c1", "c1", "it is the last member of etcd: what the cluster holds would be gone", id="the last"),
        pytest.param("c1 c2! c3~", "c3", None, id="a learner, whoever is sick"),
        pytest.param("c1 c2 c3 c4! c5!", "c3", "3 of etcd's 4 members that stay must be healthy; 2 are (not: c4, c5)",
                     id="one of five, two sick"),
    ],
)  # fmt: skip
def test_a_member_leaves_etcd_only_where_a_majority_of_those_that_stay_is_well(
    members: str, leaving: str, refused: str | None
) -> None:
    known = [member(one.strip("!~"), healthy="!" not in one, learner="~" in one) for one in members.split()]
    going = next(one for one in known if one.name == leaving)
    assert cluster_quorum.refusal(known, going) == refused


def test_what_etcdctl_says_is_read_with_each_members_health() -> None:
    listed = {
        "members": [
            {"ID": 16045690984503098046, "name": "c1", "peerURLs": ["https://10.207.0.11:2380"],
             "clientURLs": ["https://10.207.0.11:2379"]},
            {"ID": 2, "peerURLs": ["https://10.207.0.12:2380"], "isLearner": True},
        ]
    }  # fmt: skip
    health = [{"endpoint": "https://10.207.0.11:2379", "health": True, "took": "9ms"}]
    first, second = cluster_etcd.parsed(json.dumps(listed), json.dumps(health))
    assert (int(first.id, 16), first.name, first.healthy, first.learner) == (16045690984503098046, "c1", True, False)
    assert (second.name, second.healthy, second.learner) == ("", False, True)
    assert cluster_quorum.of_address([first, second], "10.207.0.12") == [second]
    assert cluster_quorum.of_address([first, second], "10.207.0.1") == []


NODES = {"w1": "10.207.0.21", "w2": "10.207.0.22"}
GOOD = cluster_settled.Request("system:node:w1", frozenset({"DNS:w1", "IP Address:10.207.0.21"}))


def request(**changes: Any) -> dict[str, Any]:
    spec = {
        "signerName": "kubernetes.io/kubelet-serving",
        "username": "system:node:w1",
        "groups": ["system:nodes", "system:authenticated"],
        "usages": ["digital signature", "server auth"],
    }
    return {"metadata": {"name": "csr-1"}, "spec": {**spec, **changes}}


def test_a_node_gets_a_certificate_for_its_own_name_and_address() -> None:
    assert cluster_settled.refusal(request(), GOOD, NODES) is None


@pytest.mark.parametrize(
    ("changes", "asked", "why"),
    [
        ({"username": "system:node:w9"}, GOOD, "none of the cluster's nodes"),
        ({"username": "w1"}, GOOD, "none of the cluster's nodes"),
        ({"groups": ["system:authenticated"]}, GOOD, "not in system:nodes"),
        ({"usages": ["client auth", "server auth"]}, GOOD, "other usages"),
        ({"usages": ["digital signature"]}, GOOD, "other usages"),
        ({}, None, "its subject is not the node that asks"),
        ({}, GOOD._replace(common_name="system:node:w2"), "its subject is not the node that asks"),
        ({}, GOOD._replace(names=GOOD.names | {"DNS:api"}), "names that are not w1's: DNS:api"),
        ({}, GOOD._replace(names=GOOD.names | {"IP Address:10.207.0.22"}), "IP Address:10.207.0.22"),
        ({}, GOOD._replace(names=GOOD.names | {"URI:spiffe://x"}), "URI:spiffe://x"),
    ],
)
def test_a_request_for_anything_else_is_not_approved(changes: dict[str, Any], asked: Any, why: str) -> None:
    assert why in str(cluster_settled.refusal(request(**changes), asked, NODES))


def test_a_request_is_read_by_openssl_and_a_broken_one_is_nobodys() -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    subject = [(NameOID.ORGANIZATION_NAME, "system:nodes"), (NameOID.COMMON_NAME, "system:node:w1")]
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(oid, value) for oid, value in subject])
    )
    names = [x509.DNSName("w1"), x509.IPAddress(ipaddress.ip_address("10.207.0.21"))]
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    pem = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(
        serialization.Encoding.PEM
    )
    assert cluster_settled.decoded({"spec": {"request": base64.b64encode(pem).decode()}}) == GOOD
    torn = base64.b64encode(pem.replace(b"M", b"N", 1)).decode()
    assert cluster_settled.decoded({"spec": {"request": torn}}) is None


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A node whose folder of Kubernetes is empty."""
    kubernetes = tmp_path / "kubernetes"
    (kubernetes / "gcloud-pk").mkdir(parents=True)
    monkeypatch.setattr(cluster_node, "KUBERNETES", kubernetes)
    monkeypatch.setattr(cluster_node, "BEGUN", kubernetes / "gcloud-pk/begun.json")
    monkeypatch.setattr(cluster_node, "MEMBER", kubernetes / "gcloud-pk/member.json")
    monkeypatch.setattr(cluster_node, "TRACES", (kubernetes / "kubelet.conf", kubernetes / "admin.conf"))
    return kubernetes


@pytest.mark.parametrize(
    ("files", "standing"),
    [
        ([], "absent"),
        (["gcloud-pk/begun.json"], "half"),
        (["gcloud-pk/begun.json", "kubelet.conf", "admin.conf"], "half"),
        (["gcloud-pk/begun.json", "gcloud-pk/member.json", "kubelet.conf"], "member"),
        (["gcloud-pk/member.json"], "half"),
        (["kubelet.conf"], "foreign"),
        (["admin.conf"], "foreign"),
    ],
)
def test_what_lies_on_a_node_says_what_it_is(files: list[str], standing: str, node: Path) -> None:
    for name in files:
        (node / name).write_text("{}")
    assert cluster_node.standing().state == standing


@pytest.mark.parametrize(
    ("act", "state", "due"),
    [
        ("init", "absent", True),
        ("init", "half", True),
        ("init", "member", False),
        ("join", "absent", True),
        ("join", "half", True),
        ("join", "member", False),
        ("leave", "absent", False),
        ("leave", "half", True),
        ("leave", "member", True),
        ("configure", "absent", False),
        ("configure", "member", True),
    ],
)
def test_only_what_is_due_is_done(act: str, state: str, due: bool) -> None:
    found = cluster_node.Standing(state, {"digests": {"kubelet": "old"}})
    assert cluster_member.due(act, found, {"kubelet": "new"}, control_plane=False) is due


@pytest.mark.parametrize("act", ["init", "join", "configure", "leave"])
def test_a_kubernetes_that_is_not_ours_is_never_touched(act: str) -> None:
    with pytest.raises(cluster_node.Failed, match="did not make"):
        cluster_member.due(act, cluster_node.Standing("foreign", {}), {}, control_plane=True)


def test_a_worker_does_not_care_about_settings_of_the_control_plane() -> None:
    found = cluster_node.Standing("member", {"digests": {"kubelet": "same", "control_plane": "old"}})
    wanted = {"kubelet": "same", "control_plane": "new"}
    assert cluster_member.due("configure", found, wanted, control_plane=True)
    assert not cluster_member.due("configure", found, wanted, control_plane=False)


GIVEN = {"address": "10.207.0.12", "port": 6443, "registration": {"name": "c2"}, "token": "abcdef.0123456789abcdef"}


def test_a_control_plane_joins_by_the_authority_that_it_was_given_and_a_worker_gets_no_key() -> None:
    given = {**GIVEN, "control_plane": True, "certificate_key": "7f" * 32}
    document = cluster_member.join_document(given, Path("/run/x/discovery.conf"))
    assert document["discovery"] == {
        "file": {"kubeConfigPath": "/run/x/discovery.conf"},
        "tlsBootstrapToken": GIVEN["token"],
    }
    assert "unsafeSkipCAVerification" not in json.dumps(document)
    assert document["controlPlane"]["certificateKey"] == "7f" * 32
    worker = cluster_member.join_document({**given, "control_plane": False}, Path("/run/x"))
    assert "controlPlane" not in worker


def test_init_leaves_no_token_that_lives_on() -> None:
    document = cluster_member.init_document(GIVEN, cluster_member.throwaway_token())
    (token,) = document["bootstrapTokens"]
    assert token["ttl"] == "1m0s"
    assert len({cluster_member.throwaway_token() for _ in range(50)}) == 50


def test_a_token_of_an_invitation_may_join_and_nothing_else() -> None:
    secret = cluster_invitation.token_secret("abcdef.0123456789abcdef", "2026-11-22T13:00:00Z")["stringData"]
    assert secret["expiration"] == "2026-11-22T13:00:00Z"
    assert [name for name in secret if name.startswith("usage-")] == ["usage-bootstrap-authentication"]


def test_what_killed_runs_left_of_invitations_goes_and_tokens_of_others_stay() -> None:
    def secret(name: str, said: str, kind: str = cluster_invitation.TOKEN) -> dict[str, Any]:
        description = base64.b64encode(said.encode()).decode()
        return {"metadata": {"name": name}, "type": kind, "data": {"description": description}}

    assert cluster_invitation.ours(secret("bootstrap-token-aaaaaa", cluster_invitation.MINE))
    assert cluster_invitation.ours(secret("bootstrap-token-bbbbbb", cluster_invitation.KUBEADMS))
    assert cluster_invitation.ours({"metadata": {"name": "kubeadm-certs"}})
    assert not cluster_invitation.ours(secret("bootstrap-token-cccccc", "of an operator"))
    assert not cluster_invitation.ours(secret("database", cluster_invitation.MINE, "Opaque"))


def test_the_discovery_file_carries_the_authority_itself() -> None:
    document = json.loads(cluster_invitation.discovery("10.207.0.10:6443", b"PEM", "abcdef.0123456789abcdef"))
    cluster = document["clusters"][0]["cluster"]
    assert cluster == {"server": "https://10.207.0.10:6443", "certificate-authority-data": "UEVN"}
    assert "insecure-skip-tls-verify" not in json.dumps(document)


def test_no_secret_is_ever_read_that_was_stored_in_the_clear() -> None:
    document = cluster_member.encryption(b"k" * 32)
    (rule,) = document["resources"]
    assert rule["resources"] == ["secrets"]
    assert [list(provider) for provider in rule["providers"]] == [["secretbox"]]


def pod(name: str, owner: str = "ReplicaSet", phase: str = "Running") -> dict[str, Any]:
    metadata = {"namespace": "shop", "name": name, "ownerReferences": [{"kind": owner}]}
    return {"metadata": metadata, "status": {"phase": phase}}


def test_a_drain_that_fails_names_the_pods_that_had_to_go() -> None:
    pods = [pod("web"), pod("proxy", "DaemonSet"), pod("etcd-c3", "Node"), pod("done", "Job", "Succeeded")]
    assert cluster_departure.staying(pods) == ["shop/web"]
    why = "Cannot evict pod as it would violate the pod's disruption budget."
    said = f"evicting pod shop/web\nerror when evicting pods: global timeout reached: 15s\n{why}\n" * 3
    assert cluster_departure.reasons(said) == [why]


def test_a_heartbeat_is_no_change_of_a_node_and_a_label_is() -> None:
    def listed(version: str, zone: str) -> dict[str, Any]:
        metadata = {"name": "w1", "resourceVersion": version, "labels": {"zone": zone}}
        return {"items": [{"kind": "Node", "metadata": metadata, "status": {"at": version}}]}

    assert cluster_objects.states(listed("1", "a")) == cluster_objects.states(listed("2", "a"))
    assert cluster_objects.states(listed("1", "a")) != cluster_objects.states(listed("1", "b"))


def test_nodes_that_are_missing_or_not_ready_are_awaited() -> None:
    items = [
        {"metadata": {"name": "c1"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}},
        {"metadata": {"name": "c2"}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}},
    ]
    assert cluster_settled.unready(items, ["c1", "c2", "c3"]) == ["c2", "c3"]
    assert [node["ready"] for node in cluster_observation.nodes(items)] == [True, False]


def test_dns_is_there_when_all_of_its_servers_are() -> None:
    def deployment(**status: int) -> list[dict[str, Any]]:
        metadata = {"name": "coredns", "generation": 2}
        return [{"metadata": metadata, "spec": {"replicas": 2}, "status": {"observedGeneration": 2, **status}}]

    assert cluster_settled.available(deployment(updatedReplicas=2, availableReplicas=2))
    assert not cluster_settled.available(deployment(updatedReplicas=2, availableReplicas=1))
    assert not cluster_settled.available(deployment(updatedReplicas=1, availableReplicas=2))
    assert not cluster_settled.available([])


def test_the_interface_is_the_one_that_carries_the_address() -> None:
    listed = json.dumps([
        {"ifname": "lo", "addr_info": [{"local": "127.0.0.1"}]},
        {"ifname": "eth1", "addr_info": [{"local": "10.207.0.11"}, {"local": "fe80::1"}]},
    ])  # fmt: skip
    assert cluster_standing.interface_of(listed, "10.207.0.11") == "eth1"
    assert cluster_standing.interface_of(listed, "10.207.0.1") == ""


def test_a_resolver_of_the_nodes_own_is_none_that_pods_can_ask() -> None:
    text = (
        "search example\nnameserver 127.0.0.53\nnameserver 10.1.1.1\nnameserver\n#nameserver 9.9.9.9\nnameserver ::1\n"
    )
    assert cluster_standing.nameservers_of(text) == ["10.1.1.1"]


def test_packages_that_are_removed_but_not_purged_are_missing() -> None:
    listed = "curl\tinstall ok installed\nrunc\tdeinstall ok config-files\n"
    assert cluster_programs.absent(listed, ["curl", "runc", "socat"]) == ["runc", "socat"]


def test_a_program_with_another_digest_or_that_others_may_write_has_to_be_brought(tmp_path: Path) -> None:
    program = tmp_path / "kubelet"
    assert cluster_programs.wrong({"path": str(program)})
    program.write_bytes(b"")
    program.chmod(0o755)
    assert not cluster_programs.wrong({"path": str(program)})
    assert cluster_programs.wrong({"path": str(program), "sha256": "0" * 64})
    program.chmod(0o777)
    assert cluster_programs.digest(program) is None


def test_only_images_that_are_not_there_are_pulled() -> None:
    assert cluster_images.missing("a/b:1\na/c:1\n", ["a/c:1", "a/d:1"]) == ["a/d:1"]


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A node that is to get settings, beside c1 (a control plane) and w1; `ill` names what does not answer well."""

    def check(ill: str) -> None:
        given = {
            "peers": [{"name": "c1", "address": "10.207.0.11"}, {"name": "w1", "address": "10.207.0.21"}],
            "peers_control_planes": ["c1", "c2"],
            "port": 6443,
        }
        work = cluster_member.Work(given, 0)
        monkeypatch.setattr(cluster_member, "answers", lambda address, port: f"{address}:{port}" != ill)
        monkeypatch.setattr(work, "well", lambda url: ill not in url or not ill)
        work.peers_are_well()

    return check


def test_settings_go_on_while_all_others_are_well(peers: Any) -> None:
    peers("nobody")


@pytest.mark.parametrize(
    ("ill", "who"),
    [
        ("10.207.0.21:10250", "w1's kubelet does not answer"),
        ("10.207.0.11:10250", "c1's kubelet does not answer"),
        ("https://10.207.0.11:6443", "c1's API server is not ready"),
    ],
)
def test_settings_that_broke_one_node_come_to_no_other(ill: str, who: str, peers: Any) -> None:
    with pytest.raises(cluster_node.Failed, match=who):
        peers(ill)
