"""What the roles of a cluster put on nodes, judged by the programs that will read it."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.cluster_variables import evaluated, template
from tests.unit.role_templates import program

from gcloud_pk import paths
from gcloud_pk.lab import configuration, pki


@functools.cache
def built(name: str) -> str:
    """Return a program of Kubernetes that was obtained on this machine; skips where it was not."""
    found = sorted(paths.cache("programs").glob(f"*/{name}"))
    if not found:
        pytest.skip(f"{name} was not obtained on this machine (gcloud-pk lab datacenter up does)")
    return str(found[-1])


def documents(**known: Any) -> dict[str, dict[str, Any]]:
    """Return the documents of kubeadm by their kind."""
    text = template("cluster_control_plane", "kubeadm.yaml.j2", **known)
    return {one["kind"]: one for one in yaml.safe_load_all(text)}


def flags(kind: str, **known: Any) -> dict[str, str]:
    cluster = documents(**known)["ClusterConfiguration"]
    part = cluster["etcd"]["local"] if kind == "etcd" else cluster[kind]
    return {one["name"]: one["value"] for one in part["extraArgs"]}


@pytest.mark.parametrize("detection", ["default", "fast"])
@pytest.mark.parametrize("shared", [True, False])
def test_kubeadm_takes_the_configuration(detection: str, shared: bool, tmp_path: Path) -> None:
    file = tmp_path / "kubeadm.yaml"
    known = {"cluster_failure_detection": detection, "node_shared_kernel": shared}
    file.write_text(template("cluster_control_plane", "kubeadm.yaml.j2", **known))
    done = subprocess.run([built("kubeadm"), "config", "validate", "--config", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "unknown field" not in done.stderr


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("apiServer", "kube-apiserver"),
        ("controllerManager", "kube-controller-manager"),
        ("scheduler", "kube-scheduler"),
        ("etcd", "etcd"),
    ],
)
def test_every_flag_is_one_that_the_program_knows(part: str, name: str) -> None:
    said = subprocess.run([built(name), "--help"], capture_output=True, text=True)
    known = set(re.findall(r"^\s*--([a-z0-9-]+)", said.stdout + said.stderr, re.MULTILINE))
    assert sorted(set(flags(part, cluster_failure_detection="fast")) - known) == []


def test_the_kubelet_asks_everybody_who_they_are_and_what_they_may() -> None:
    kubelet = documents()["KubeletConfiguration"]
    assert kubelet["authentication"]["anonymous"] == {"enabled": False}
    assert kubelet["authentication"]["webhook"] == {"enabled": True}
    assert kubelet["authorization"] == {"mode": "Webhook"}
    assert kubelet["readOnlyPort"] == 0
    assert kubelet["protectKernelDefaults"] is True
    assert (kubelet["rotateCertificates"], kubelet["serverTLSBootstrap"]) == (True, True)


SHARED_ONLY = {"failCgroupV1", "evictionHard", "imageGCHighThresholdPercent"}


def test_what_only_a_container_needs_never_comes_to_a_machine() -> None:
    machine, container = documents(), documents(node_shared_kernel=True)
    assert not SHARED_ONLY & set(machine["KubeletConfiguration"])
    assert set(container["KubeletConfiguration"]) >= SHARED_ONLY
    assert machine["KubeletConfiguration"]["cgroupDriver"] == "systemd"
    assert container["KubeletConfiguration"]["cgroupDriver"] == "cgroupfs"
    assert "conntrack" not in machine["KubeProxyConfiguration"]
    assert container["KubeProxyConfiguration"]["conntrack"]["maxPerCore"] == 0
    registration = "{{ cluster_control_plane_registration.ignorePreflightErrors }}"
    assert evaluated(registration) == []
    assert evaluated(registration, node_shared_kernel=True) == ["SystemVerification"]


def test_a_site_settings_of_the_kubelet_win() -> None:
    kubelet = documents(cluster_kubelet={"maxPods": 60, "systemReserved": {"memory": "22Gi"}})["KubeletConfiguration"]
    assert (kubelet["maxPods"], kubelet["systemReserved"]) == (60, {"memory": "22Gi"})


def test_a_lost_node_is_noticed_soon_only_where_the_site_asks_for_it() -> None:
    assert "node-monitor-grace-period" not in flags("controllerManager")
    fast = flags("controllerManager", cluster_failure_detection="fast")
    assert fast["node-monitor-grace-period"] == "16s"
    assert flags("apiServer", cluster_failure_detection="fast")["default-unreachable-toleration-seconds"] == "30"


def test_profiling_is_off_and_no_old_cipher_is_on() -> None:
    for part in ("apiServer", "controllerManager", "scheduler"):
        assert flags(part)["profiling"] == "false"
        assert flags(part)["tls-min-version"] == "VersionTLS12"
        assert all("_GCM_" in one or "CHACHA20" in one for one in flags(part)["tls-cipher-suites"].split(","))


def test_the_platforms_admission_is_that_of_the_embedded_control_plane() -> None:
    ours = yaml.safe_load(template("cluster_control_plane", "admission.yaml.j2"))["plugins"]
    (theirs,) = json.loads(configuration.admission())["plugins"]
    assert next(one for one in ours if one["name"] == "PodSecurity") == theirs
    assert yaml.safe_load(template("cluster_control_plane", "audit.yaml.j2")) == json.loads(configuration.audit())
    embedded = next(
        one.partition("=")[2].split(",")
        for one in configuration.arguments("kube-apiserver", configuration.Layout(Path("/x")), _Ports())
        if one.startswith("--enable-admission-plugins=")
    )
    assert set(embedded) <= set(flags("apiServer")["enable-admission-plugins"].split(","))


class _Ports(dict[str, int]):
    def __missing__(self, key: str) -> int:
        return 1


def test_identities_are_those_of_the_embedded_control_plane() -> None:
    ours = evaluated("{{ cluster_credentials_identities }}")
    # But for the administrator's group: on a cluster that stays, what he may do can be taken away.
    assert {one["name"]: one["group"] for one in ours} == {**pki.CONTEXTS, "admin": "kubeadm:cluster-admins"}
    assert {one["user"] for one in ours} == {f"gcloud-pk:{name}" for name in pki.CONTEXTS}


def test_nobody_without_a_name_reaches_more_than_three_questions() -> None:
    anonymous = yaml.safe_load(template("cluster_control_plane", "authentication.yaml.j2"))["anonymous"]
    assert anonymous == {"enabled": True, "conditions": [{"path": f"/{one}"} for one in ("livez", "readyz", "healthz")]}
    assert "anonymous-auth" not in flags("apiServer")


def test_the_api_server_sees_the_files_that_its_flags_name_and_no_credentials() -> None:
    mounts = {one["hostPath"]: one for one in documents()["ClusterConfiguration"]["apiServer"]["extraVolumes"]}
    named = [value for name, value in flags("apiServer").items() if value.startswith("/etc/kubernetes/gcloud-pk")]
    assert named
    assert all(str(Path(value).parent) == "/etc/kubernetes/gcloud-pk/api-server" for value in named)
    assert mounts["/etc/kubernetes/gcloud-pk/api-server"]["readOnly"] is True
    assert "/etc/kubernetes/gcloud-pk" not in mounts


@pytest.mark.parametrize(("host", "priority"), [("c1", 110), ("c2", 109), ("c3", 108)])
def test_control_planes_carry_the_address_in_the_sites_order(host: str, priority: int) -> None:
    text = template("cluster_endpoint", "keepalived.conf.j2", host=host)
    assert f"priority {priority}" in text
    assert f"unicast_src_ip 10.207.0.1{host[1]}" in text
    peers = re.search(r"unicast_peer \{\s*([^}]*)\}", text)
    assert peers is not None
    assert peers.group(1).split() == [f"10.207.0.1{n}" for n in (1, 2, 3) if f"c{n}" != host]
    assert "--insecure" not in text
    assert "--cacert" in text
    assert "10.207.0.10/32" in text


def test_a_lost_api_server_counts_more_than_the_order_of_control_planes() -> None:
    weight = re.search(r"weight (\d+)", template("cluster_endpoint", "keepalived.conf.j2"))
    assert weight is not None
    assert int(weight.group(1)) > 2


def test_a_node_has_a_route_to_every_others_pods_and_none_to_its_own() -> None:
    lines = template("cluster_network", "routes.j2", host="c2").split("\n")
    assert lines[0] == "route flush proto 207"
    assert "route replace 10.208.4.0/24 via 10.207.0.21 proto 207" in lines
    assert not any("10.208.2.0/24" in line for line in lines)
    assert len([line for line in lines if line.startswith("route replace")]) == 5


def test_the_pods_network_is_whole() -> None:
    conflist = json.loads(template("cluster_network", "bridge.conflist.j2", host="w1"))
    assert conflist["plugins"][0]["ipam"]["ranges"] == [[{"subnet": "10.208.4.0/24"}]]


@pytest.mark.skipif(program("nft") is None, reason="no nft on this machine")
def test_nft_takes_the_rules_of_the_pods_network(tmp_path: Path) -> None:
    file = tmp_path / "pods.nft"
    file.write_text(template("cluster_network", "pods.nft.j2"))
    done = subprocess.run(["unshare", "--map-root-user", "--net", program("nft") or "", "--check", "--file", file],
                          capture_output=True, text=True)  # fmt: skip
    if "Operation not permitted" in done.stderr:
        pytest.skip("no network namespace of its own on this machine")
    assert done.returncode == 0, done.stderr


def test_containerd_believes_the_sites_registry_by_its_authority_alone() -> None:
    hosts = tomllib.loads(template("cluster_runtime", "hosts.toml.j2", cluster_registry_authority="PEM"))
    (mirror,) = hosts["host"].values()
    assert mirror["ca"] == "/etc/containerd/certs.d/registry.example:5000/ca.crt"
    assert "skip_verify" not in mirror
    assert "ca" not in next(iter(tomllib.loads(template("cluster_runtime", "hosts.toml.j2"))["host"].values()))


def test_the_runtime_and_the_kubelet_agree_on_control_groups() -> None:
    for shared in (True, False):
        config = tomllib.loads(template("cluster_runtime", "config.toml.j2", node_shared_kernel=shared))
        runc = config["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"]["runc"]["options"]
        driver = documents(node_shared_kernel=shared)["KubeletConfiguration"]["cgroupDriver"]
        assert runc["SystemdCgroup"] is (driver == "systemd")


def test_hardening_leaves_the_runtimes_settings_of_a_cluster_alone() -> None:
    text = template("cluster_runtime", "config.toml.j2")
    tasks = (Path(__file__).parents[2] / "playbooks/roles/kubernetes_node/tasks/node.yml").read_text()
    mark = re.search(r"'(Written by gcloud-pk[^']*)' in kubernetes_node_text", tasks)
    assert mark is not None
    assert mark.group(1) not in text


@pytest.mark.parametrize(("nameservers", "asked"), [([], False), (["10.1.1.1"], True)])
def test_dns_asks_others_only_where_a_node_knows_whom(nameservers: list[str], asked: bool) -> None:
    found = {"cluster_seed_found": {"nameservers": nameservers}, "cluster_addons_members": ["c1"]}
    objects = list(yaml.safe_load_all(template("cluster_addons", "objects.yaml.j2", **found)))
    assert ("forward . /etc/resolv.conf" in objects[0]["data"]["Corefile"]) is asked


def test_servers_of_dns_stand_in_two_racks_where_there_are_two() -> None:
    patch = json.loads(template("cluster_control_plane", "patch-dns.json.j2"))
    (spread,) = patch["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert (spread["minDomains"], spread["whenUnsatisfiable"]) == (2, "DoNotSchedule")
    one = {"c1": {"address": "10.207.0.11", "role": "control-plane", "rack": "rack-1"}}
    alone = json.loads(template("cluster_control_plane", "patch-dns.json.j2", cluster_hosts=one))
    assert alone["spec"]["template"]["spec"]["topologySpreadConstraints"][0]["minDomains"] == 1


def standings(**standing: str) -> dict[str, Any]:
    """Return what was found on hosts, by name; hosts that are not named were not asked."""
    return {
        "ansible_play_hosts": list(standing),
        "ansible_play_hosts_all": list(standing),
        "hostvars": {
            name: {"inventory_hostname": name, "cluster_found": {"standing": one}} for name, one in standing.items()
        },
    }


def beyond(found: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the same, with what control planes beyond the run answered."""
    first = found["ansible_play_hosts"][0]
    hostvars = {**found["hostvars"], first: {**found["hostvars"][first], "cluster_beyond": {"results": results}}}
    return {**found, "hostvars": hostvars}


@pytest.mark.parametrize(
    ("found", "seed", "begun"),
    [
        (standings(c1="absent", c2="absent", c3="absent"), "c1", False),
        (standings(c1="absent", c2="member", c3="member"), "c2", True),
        (standings(c1="half", c2="absent", c3="absent"), "c1", False),
        (beyond(standings(w1="absent"), [{"item": "c1", "unreachable": True}, {"item": "c3", "standing": "member"},
                                         {"item": "c2", "standing": "absent"}]), "c3", True),
    ],
)  # fmt: skip
def test_the_seed_is_the_first_control_plane_that_carries_the_cluster(
    found: dict[str, Any], seed: str, begun: bool
) -> None:
    assert evaluated("{{ cluster_seed }}", **found) == seed
    assert evaluated("{{ cluster_begun }}", **found) is begun


def refusal(**known: Any) -> str:
    """Return what the role `cluster` refuses with."""
    tasks = yaml.safe_load((Path(__file__).parents[2] / "playbooks/roles/cluster/tasks/main.yml").read_text())
    said = next(task["vars"] for task in tasks if task["name"] == "What must not be done")
    return str(evaluated(said["cluster_refusal"], **said, **known)).strip()


def test_a_second_cluster_is_not_begun_while_a_control_plane_does_not_answer() -> None:
    found = beyond(standings(c1="absent"), [{"item": "c2", "standing": "absent"}])
    assert "Control planes do not answer (c3)" in refusal(**found)
    assert refusal(**standings(c1="absent", c2="absent", c3="absent")) == ""


def test_a_cluster_that_the_site_knows_is_never_begun_anew() -> None:
    uid = "6c0e4b1a-0000-4000-8000-000000000000"
    assert "It is not begun anew" in refusal(**standings(c1="absent", c2="absent", c3="absent"), cluster_uid=uid)
    assert refusal(**standings(c1="member", c2="absent", c3="absent"), cluster_uid=uid) == ""


def test_only_those_join_that_are_no_members_and_never_the_seed() -> None:
    found = standings(c1="absent", c2="absent", c3="member", w1="member", w2="half")
    assert evaluated("{{ cluster_joining }}", **found) == ["c1", "c2", "w2"]
    first = standings(c1="absent", c2="absent", c3="absent", w1="absent")
    assert evaluated("{{ cluster_joining }}", **first) == ["c2", "c3", "w1"]
    assert evaluated("{{ cluster_join_half }}", **found) == [{"name": "w2", "address": "10.207.0.22"}]


def test_control_planes_alone_take_work_and_others_do_not() -> None:
    registration = "{{ cluster_control_plane_registration }}"
    assert "taints" not in evaluated(registration)
    assert evaluated(registration, host="w1")["taints"] == []
    one = {"c1": {"address": "10.207.0.11", "role": "control-plane", "rack": "rack-1"}}
    assert evaluated(registration, cluster_hosts=one)["taints"] == []


def test_a_node_is_registered_with_its_site_and_rack() -> None:
    arguments = evaluated("{{ cluster_control_plane_registration.kubeletExtraArgs }}", host="w2")
    labels = next(one["value"] for one in arguments if one["name"] == "node-labels")
    assert sorted(labels.split(",")) == [
        "gcloud.gov.pk/rack=rack-2",
        "topology.kubernetes.io/region=isb-1",
        "topology.kubernetes.io/zone=rack-2",
    ]


@pytest.mark.parametrize(("host", "given"), [("c2", True), ("w1", False)])
def test_the_key_of_the_clusters_certificates_comes_to_no_worker(host: str, given: bool) -> None:
    tasks = Path(__file__).parents[2] / "playbooks/roles/cluster_join/tasks/main.yml"
    (block, *_) = yaml.safe_load(tasks.read_text())
    join = next(task["cluster_member"] for task in block["block"] if task["name"] == "The node joins")
    invitation = {"discovery": "{}", "token": "abcdef.0123456789abcdef", "certificate_key": "7f" * 32}
    said = evaluated(join["certificate_key"], host=host, cluster_join_invitation=invitation, omit="nothing")
    assert said == ("7f" * 32 if given else "nothing")
