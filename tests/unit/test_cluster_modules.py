"""The rules by which nodes join and leave a cluster: who may go, whose certificate is signed, what is due."""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cluster_modules import (
    cluster_departure,
    cluster_etcd,
    cluster_invitation,
    cluster_member,
    cluster_node,
    cluster_objects,
    cluster_observation,
    cluster_programs,
    cluster_quorum,
    cluster_serving,
    cluster_settled,
    cluster_shared_settings,
    cluster_standing,
    cluster_store,
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
GOOD = cluster_serving.Request("system:node:w1", frozenset({"DNS:w1", "IP Address:10.207.0.21"}))


def request(**changes: Any) -> dict[str, Any]:
    spec = {
        "signerName": "kubernetes.io/kubelet-serving",
        "username": "system:node:w1",
        "groups": ["system:nodes", "system:authenticated"],
        "usages": ["digital signature", "server auth"],
    }
    return {"metadata": {"name": "csr-1"}, "spec": {**spec, **changes}}


def test_a_node_gets_a_certificate_for_its_own_name_and_address() -> None:
    assert cluster_serving.refusal(request(), GOOD, NODES) is None


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
        ({}, GOOD._replace(names=frozenset({"DNS:w1"})), "does not ask for all of w1's names: IP Address:10.207.0.21"),
    ],
)
def test_a_request_for_anything_else_is_not_approved(changes: dict[str, Any], asked: Any, why: str) -> None:
    assert why in str(cluster_serving.refusal(request(**changes), asked, NODES))


def a_request(*names: x509.GeneralName, others: Sequence[x509.ExtensionType] = ()) -> dict[str, Any]:
    """Return a request of w1 as Kubernetes has it: for `names`, with `others` before them."""
    subject = [(NameOID.ORGANIZATION_NAME, "system:nodes"), (NameOID.COMMON_NAME, "system:node:w1")]
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(oid, value) for oid, value in subject])
    )
    for extension in (*others, *([x509.SubjectAlternativeName(names)] if names else [])):
        builder = builder.add_extension(extension, critical=False)
    made = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    pem = made.public_bytes(serialization.Encoding.PEM)
    return request(request=base64.b64encode(pem).decode())


NAME, ADDRESS = x509.DNSName("w1"), x509.IPAddress(ipaddress.ip_address("10.207.0.21"))


def test_what_a_kubelet_asks_for_is_read() -> None:
    assert cluster_serving.decoded(a_request(NAME, ADDRESS)) == GOOD


NAMES = b"\x30\x0a\x82\x02w1\x87\x04\x0a\xcf\x00\x15"
SAID = b"\n            X509v3 Subject Alternative Name: \n                DNS:w1, IP Address:10.207.0.21\n"


@pytest.mark.parametrize(
    "item",
    [
        pytest.param(
            a_request(
                x509.IPAddress(ipaddress.ip_address("10.207.0.10")),
                others=[x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), SAID)],
            ),
            id="an extension that openssl prints as harmless names",
        ),
        pytest.param(
            a_request(others=[x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), NAMES)]),
            id="its own names in another extension",
        ),
        pytest.param(a_request(), id="no names"),
        pytest.param(a_request(NAME, ADDRESS, others=[x509.BasicConstraints(ca=True, path_length=None)]), id="a CA"),
        pytest.param(a_request(NAME, x509.UniformResourceIdentifier("spiffe://x")), id="a name of another kind"),
        pytest.param(request(request=base64.b64encode(b"x").decode()), id="no PEM"),
        pytest.param(request(request="%"), id="no base64"),
    ],
)
def test_a_request_that_no_kubelet_writes_is_nobodys(item: dict[str, Any]) -> None:
    assert cluster_serving.decoded(item) is None
    assert cluster_serving.judged([item], NODES) == {"csr-1": "its subject is not the node that asks"}


@given(at=st.integers(0, 2_000), value=st.integers(0, 255))
def test_a_request_with_any_byte_changed_never_asks_for_more(at: int, value: int) -> None:
    item = GOOD_REQUEST
    der = bytearray(pem_bytes(item))
    der[at % len(der)] = value
    try:
        read = cluster_serving.parsed(bytes(der))
    except (ValueError, IndexError):
        return
    assert cluster_serving.refusal(request(), read, NODES) is not None or read == GOOD


GOOD_REQUEST = a_request(NAME, ADDRESS)


def pem_bytes(item: dict[str, Any]) -> bytes:
    """Return the DER of a request."""
    lines = base64.b64decode(item["spec"]["request"]).splitlines()
    return base64.b64decode(b"".join(lines[1:-1]))


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


@pytest.fixture
def written(node: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """What kubeadm wrote on a control plane that is whole, by what it is of; as it was noted."""
    files = {"kubelet": tmp_path / "config.yaml", "control_plane": node / "manifests/kube-apiserver.yaml"}
    for file in files.values():
        file.parent.mkdir(exist_ok=True)
        file.write_text("as kubeadm wrote it")
        file.chmod(0o644)
    (node / "kubelet.conf").touch()
    monkeypatch.setattr(cluster_node, "KUBELET_SETTINGS", files["kubelet"])
    monkeypatch.setattr(cluster_node, "KUBELET_FLAGS", tmp_path / "kubeadm-flags.env")
    monkeypatch.setattr(cluster_node, "KUBELET_KEYS", tmp_path / "pki")
    (tmp_path / "kubeadm-flags.env").touch(0o644)
    (tmp_path / "pki").mkdir(0o755)
    monkeypatch.setattr(cluster_node, "WRITTEN", {of: (file,) for of, file in files.items()})
    cluster_member.Work({"cluster": "a", "control_plane": True, "digests": DIGESTS}, 0).noted()
    return files


DIGESTS = {"kubelet": "k", "control_plane": "c", "shared": "s"}


def test_settings_that_are_as_they_were_noted_are_in_force(written: dict[str, Path]) -> None:
    found = cluster_node.standing()
    assert (found.known["digests"], found.known["drifted"]) == (DIGESTS, [])
    assert not cluster_member.due("configure", found, DIGESTS, control_plane=True)
    modes = {path.name: path.stat().st_mode & 0o777 for path in written["kubelet"].parent.iterdir()}
    assert {name: modes[name] for name in ("config.yaml", "kubeadm-flags.env", "pki")} == {
        "config.yaml": 0o600,
        "kubeadm-flags.env": 0o600,
        "pki": 0o700,
    }


@pytest.mark.parametrize("of", ["kubelet", "control_plane"])
@pytest.mark.parametrize("act", [lambda file: file.write_text("anonymous-auth: true"), Path.unlink])
def test_settings_that_somebody_changed_on_the_node_are_due(
    of: str, act: Callable[[Path], object], written: dict[str, Path]
) -> None:
    act(written[of])
    found = cluster_node.standing()
    assert found.known["drifted"] == [of]
    assert found.known["digests"] == {name: digest for name, digest in DIGESTS.items() if name != of}
    assert cluster_member.due("configure", found, DIGESTS, control_plane=True)


def test_a_node_that_was_noted_before_files_were_is_believed(node: Path) -> None:
    (node / "kubelet.conf").touch()
    (node / "gcloud-pk/member.json").write_text(json.dumps({"cluster": "a", "digests": DIGESTS}))
    assert cluster_node.standing().known["digests"] == DIGESTS


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


def test_an_invitation_that_breaks_off_is_withdrawn(monkeypatch: pytest.MonkeyPatch, node: Path) -> None:
    (node / "pki").mkdir()
    (node / "pki/ca.crt").write_bytes(b"PEM")
    stored: list[str] = []

    def kubectl(*words: str, given: str = "", **_: Any) -> Any:
        if words[0] == "create":
            stored.append(json.loads(given)["metadata"]["name"])
        if "delete" in words:
            stored.clear()

    def broken() -> str:
        raise cluster_node.Failed("kubeadm init failed")

    found = {"metadata": {"name": "bootstrap-token-aaaaaa"}, "type": cluster_invitation.TOKEN}
    found["data"] = {"description": base64.b64encode(cluster_invitation.MINE.encode()).decode()}
    monkeypatch.setattr(cluster_node, "kubectl", kubectl)
    monkeypatch.setattr(cluster_node, "objects", lambda *_, **__: [found] if stored else [])
    monkeypatch.setattr(cluster_invitation, "_upload", broken)

    with pytest.raises(cluster_node.Failed, match="kubeadm init failed"):
        cluster_invitation.invite({"minutes": 15, "endpoint": "10.207.0.10:6443", "control_planes": True})
    assert stored == []


LIVE = """\
apiVersion: kubeadm.k8s.io/v1beta4
clusterName: isb-1-a
controlPlaneEndpoint: 10.207.0.10:6443
kind: ClusterConfiguration
kubernetesVersion: v1.36.3
networking:
  dnsDomain: cluster.local
  podSubnet: 10.208.0.0/16
  serviceSubnet: 10.209.0.0/16
"""


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("", "", ""),
        ("controlPlaneEndpoint: 10.207.0.10:6443", 'controlPlaneEndpoint: "10.207.0.10:6443"', ""),
        ("v1.36.3", "v1.35.9", "kubernetesVersion: it is v1.36.3, asked for is v1.35.9"),
        ("v1.36.3", "v1.37.0", "kubernetesVersion: it is v1.36.3, asked for is v1.37.0"),
        ("10.208.0.0", "10.218.0.0", "podSubnet: it is 10.208.0.0/16"),
        ("10.209.0.0", "10.219.0.0", "serviceSubnet: it is 10.209.0.0/16"),
        ("0.10:6443", "0.99:6443", "controlPlaneEndpoint: it is 10.207.0.10:6443"),
        ("isb-1-a", "isb-1-b", "clusterName: it is isb-1-a"),
    ],
)
def test_what_a_living_cluster_cannot_take_is_refused_by_the_playbook_too(old: str, new: str, why: str) -> None:
    # Without a state (lost, or another machine's) nobody else remembers what the cluster is.
    wished = LIVE.replace(old, new) + "---\nkind: KubeletConfiguration\n"
    found = cluster_shared_settings.refusal(LIVE, wished)
    assert (why in found) if why else found == ""


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


@pytest.mark.parametrize(
    ("ranges", "why"),
    [
        ({"c1": "10.208.0.0/24", "w1": "10.208.1.0/24"}, ""),
        ({"c1": "10.208.0.0/24", "w1": "0.0.0.0/0"}, "w1 says 0.0.0.0/0, which is not within 10.208.0.0/16"),
        ({"c1": "10.208.0.0/24", "w1": "10.207.0.0/24"}, "w1 says 10.207.0.0/24, which is not within 10.208.0.0/16"),
        ({"c1": "10.208.0.0/24", "w1": "fd00::/64"}, "w1 says fd00::/64, which is not within 10.208.0.0/16"),
        ({"c1": "10.208.0.0/24", "w1": "10.208.0.128/25"}, "w1 says 10.208.0.128/25, which c1 has"),
    ],
)
def test_a_node_draws_no_traffic_to_itself_by_a_range_that_is_not_its_own(ranges: dict[str, str], why: str) -> None:
    # A kubelet creates its own Node, range included; all others route by what it says.
    assert cluster_objects.strange(ranges, "10.208.0.0/16") == why


def test_nodes_that_are_missing_or_not_ready_are_awaited() -> None:
    items = [
        {"metadata": {"name": "c1"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}},
        {"metadata": {"name": "c2"}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}},
    ]
    assert cluster_settled.unready(items, ["c1", "c2", "c3"]) == ["c2", "c3"]
    assert [node["ready"] for node in cluster_observation.nodes(items)] == [True, False]


NO_NETWORK = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:…"


def waiting(name: str, status: str = "False", message: str = NO_NETWORK) -> dict[str, Any]:
    condition = {"type": "Ready", "status": status, "message": message}
    return {"metadata": {"name": name}, "status": {"conditions": [condition]}}


@pytest.mark.parametrize(
    ("items", "network", "serving", "said"),
    [
        pytest.param([waiting("w1"), waiting("c1")], "install it", True, "(w1, c1): install it", id="all wait for it"),
        pytest.param([waiting("w1"), waiting("c1", "True")], "install it", True, "(w1): install it", id="a new node"),
        pytest.param([waiting("w1"), waiting("c1")], "", True, None, id="we bring it"),
        pytest.param([waiting("w1"), waiting("c1")], "install it", False, None, id="certificates are missing too"),
        pytest.param([waiting("w1"), waiting("c1", message="disk")], "install it", True, None, id="another fault too"),
        pytest.param([waiting("w1")], "install it", True, None, id="a node is missing"),
    ],
)
def test_a_network_that_somebody_else_installs_is_asked_for_at_once_where_nothing_else_is_missing(
    monkeypatch: pytest.MonkeyPatch, items: list[dict[str, Any]], network: str, said: str | None, *, serving: bool
) -> None:
    monkeypatch.setattr(cluster_node, "objects", lambda *_: items)
    monkeypatch.setattr(cluster_settled, "serves", lambda *_: serving)
    nodes = [{"name": name, "address": "10.207.0.11"} for name in ("c1", "w1")]
    work = cluster_settled.Settling({"nodes": nodes, "awaited": [], "network": network})
    if said is None:
        assert work.missing()
    else:
        with pytest.raises(cluster_settled.ForeignError, match=re.escape(said)):
            work.missing()


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


@pytest.mark.parametrize(
    ("name", "said", "wrong"),
    [
        ("kubelet", "Kubernetes v1.36.3", False),
        ("kubeadm", "v1.36.3", False),
        ("kubectl", "Client Version: v1.36.3\nKustomize Version: v5.8.1", False),
        ("kubelet", "Kubernetes v1.36.2", True),
        ("kubelet", "Kubernetes v1.36.30", True),
        ("kubelet", "", True),
        ("etcdctl", "etcdctl version: 3.7.3", False),
    ],
)
def test_a_program_without_a_digest_has_to_be_of_the_clusters_release(
    name: str, said: str, wrong: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / name
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)
    monkeypatch.setattr(cluster_programs, "roots", bool)
    assert cluster_programs.wrong({"name": name, "path": str(program)}, "1.36.3") is wrong
    assert not cluster_programs.wrong({"name": name, "path": str(program)})


def test_a_program_that_fails_or_that_others_may_write_is_of_no_release(tmp_path: Path) -> None:
    program = tmp_path / "kubelet"
    program.write_text("#!/bin/sh\necho v1.36.3; touch ran; exit 1\n")
    program.chmod(0o777)
    assert cluster_programs.release(program, ("--version",)) is None
    assert cluster_programs.wrong({"name": "kubelet", "path": str(program)}, "1.36.3")
    assert not (tmp_path / "ran").exists()


def test_only_images_that_are_not_there_are_pulled() -> None:
    assert cluster_store.missing("a/b:1\na/c:1\n", ["a/c:1", "a/d:1"]) == ["a/d:1"]


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
