"""A real Kubernetes cluster by `playbooks/cluster.yml` on bare nodes: made, run again, killed, changed, left, ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.e2e.conftest import CLI, environment

from gcloud_pk import paths
from gcloud_pk.model.site import Site
from gcloud_pk.nodes.inventory import Route, inventory, known_hosts
from gcloud_pk.stack.cluster_variables import variables

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="nodes of a lab need root"),
    pytest.mark.skipif(not [*paths.cache("programs").glob("*/kubeadm")], reason="no kubeadm was obtained here"),
]

PLAYBOOKS = paths.data("playbooks")
NAME = f"p{os.getpid()}"
ETCD = "/etc/kubernetes/pki/etcd"
ETCDCTL = (
    f"etcdctl --endpoints=https://127.0.0.1:2379 --cacert={ETCD}/ca.crt "
    f"--cert={ETCD}/healthcheck-client.crt --key={ETCD}/healthcheck-client.key"
)
PROBES = """
apiVersion: v1
kind: Namespace
metadata: {name: trial}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web, namespace: trial}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: probe
          image: registry.lab.example:5000/k8s/probe:1.0.0
          args: [serve]
          securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: trial}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""


@dataclass(frozen=True)
class Lab:
    """Bare nodes of a lab data centre, and plain Ansible over them."""

    said: dict[str, Any]
    folder: Path
    env: dict[str, str]

    def ssh(self, node: str, command: str, given: str = "", *, check: bool = True) -> str:
        """Run a command as root on a node."""
        words = ["ssh", "-F", self.said["ssh_config"], node, f"sudo sh -c {json.dumps(command)}"]
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", input=given, timeout=300)
        assert not check or done.returncode == 0, f"{node}: {command}: {done.stdout}{done.stderr}"
        return done.stdout

    def kubectl(self, words: str, given: str = "", *, node: str = "c1") -> str:
        """Run kubectl on a control plane."""
        return self.ssh(node, f"kubectl --kubeconfig=/etc/kubernetes/admin.conf {words}", given)

    def command(self, playbook: str, *words: str, **changes: Any) -> list[str]:
        """Return plain Ansible's command line; `changes` are variables of the cluster."""
        site = Site.model_validate(yaml.safe_load((Path(self.said["registry"]) / "sites/lab-dc.yaml").read_text()))
        known = self.folder / "known_hosts"
        known.write_text(known_hosts(site, site.spec.hosts))
        document = inventory(site, site.spec.hosts, Route(known, Path(self.said["ssh_config"])))
        document["all"]["vars"] |= variables(site, site.spec.clusters[0]) | changes
        file = self.folder / "inventory.json"
        file.write_text(json.dumps(document))
        ansible = Path(sys.executable).parent / "ansible-playbook"
        return [str(ansible), "-i", str(file), str(PLAYBOOKS / playbook), *words]

    def play(self, playbook: str, *words: str, check: bool = True, **changes: Any) -> str:
        """Run a playbook as an operator would, and return what it said."""
        env = self.env | {"ANSIBLE_CONFIG": str(PLAYBOOKS / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
        command = self.command(playbook, *words, **changes)
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=900)
        assert not check or done.returncode == 0, done.stdout[-6000:] + done.stderr
        return done.stdout

    def members(self) -> list[str]:
        """Return the names of etcd's members, as etcdctl says them; a learner has a `~`."""
        listed = json.loads(self.ssh("c1", f"{ETCDCTL} member list --write-out=json"))["members"]
        return sorted(one.get("name", "?") + ("~" if one.get("isLearner") else "") for one in listed)


def recap(said: str) -> dict[str, int]:
    """Return the number of changes of each host."""
    lines = [line for line in said.partition("PLAY RECAP")[2].splitlines() if "changed=" in line]
    return {line.split()[0]: int(line.partition("changed=")[2].split()[0]) for line in lines}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Yield three bare nodes in three racks."""
    folder = tmp_path_factory.mktemp("cluster")
    env = environment(folder)
    words = [str(CLI), "lab", "datacenter"]
    subprocess.run([*words, "up", "--name", NAME, "--nodes", "3"], env=env, check=True, timeout=1800)
    try:
        status = [*words, "status", "--name", NAME, "--format", "json"]
        said = json.loads(subprocess.run(status, env=env, capture_output=True, text=True, timeout=60).stdout)
        made = Lab(said, folder, env)
        for node in ("c1", "c2", "c3"):  # what hardening sets
            made.ssh(node, "sysctl -qw net.ipv4.ip_forward=1")
        yield made
    finally:
        subprocess.run([*words, "down", "--name", NAME, "--purge"], env=env, check=True, timeout=300)


@pytest.fixture(scope="module")
def cluster(lab: Lab) -> Lab:
    """Return the lab with a cluster on it."""
    lab.play("cluster.yml")
    return lab


def test_referees_agree_that_the_cluster_is_well(cluster: Lab) -> None:
    nodes = json.loads(cluster.kubectl("get nodes -o json"))["items"]
    ready = {
        node["metadata"]["name"]: condition["status"]
        for node in nodes
        for condition in node["status"]["conditions"]
        if condition["type"] == "Ready"
    }
    assert ready == {"c1": "True", "c2": "True", "c3": "True"}
    assert {node["metadata"]["labels"]["topology.kubernetes.io/zone"] for node in nodes} == {
        "rack-1",
        "rack-2",
        "rack-3",
    }
    assert cluster.members() == ["c1", "c2", "c3"]
    cluster.ssh("c1", f"{ETCDCTL} endpoint health --cluster")
    certificates = cluster.ssh("c2", "kubeadm certs check-expiration").splitlines()
    assert [line for line in certificates if "MISSING" in line and "super-admin.conf" not in line] == []


def test_a_second_run_changes_nothing(cluster: Lab) -> None:
    assert recap(cluster.play("cluster.yml")) == {"c1": 0, "c2": 0, "c3": 0}


def test_a_pod_resolves_a_service_and_reaches_pods_of_other_racks(cluster: Lab) -> None:
    cluster.kubectl("apply -f -", PROBES)
    cluster.kubectl("-n trial rollout status daemonset/web --timeout=120s")
    pods = json.loads(cluster.kubectl("-n trial get pods -o json"))["items"]
    first = pods[0]["metadata"]["name"]
    for url in ["http://web.trial.svc.cluster.local/", *(f"http://{pod['status']['podIP']}:8080/" for pod in pods)]:
        cluster.kubectl(f"-n trial exec {first} -- /usr/local/bin/probe get {url}")
    assert cluster.kubectl(f"-n trial logs {first} --tail=1") is not None  # by the kubelet's serving certificate


def test_nobody_without_a_name_learns_more_than_that_the_server_lives(cluster: Lab) -> None:
    ask = "curl -sk -o /dev/null -w '%{http_code}' https://10.207.0.10:6443"
    assert cluster.ssh("c1", f"{ask}/livez") == "200"
    assert cluster.ssh("c1", f"{ask}/api") == "401"
    assert cluster.ssh("c1", "curl -sk -o /dev/null -w '%{http_code}' https://127.0.0.1:10250/pods") == "401"


def test_secrets_are_not_stored_in_the_clear_and_no_token_stays(cluster: Lab) -> None:
    cluster.kubectl("-n default create secret generic plain --from-literal=word=in-the-clear")
    stored = cluster.ssh("c1", f"{ETCDCTL} get /registry/secrets/default/plain")
    assert "k8s:enc:secretbox:v1:" in stored
    assert "in-the-clear" not in stored
    secrets = cluster.kubectl("-n kube-system get secrets -o name")
    assert "bootstrap-token" not in secrets
    assert "kubeadm-certs" not in secrets


def test_a_changed_setting_of_the_kubelet_is_taken_in_place(cluster: Lab) -> None:
    said = cluster.play("cluster.yml", "--tags", "configure", cluster_kubelet={"maxPods": 61})
    assert "drained" not in said
    capacity = json.loads(cluster.kubectl("get nodes -o json"))["items"]
    assert {node["status"]["capacity"]["pods"] for node in capacity} == {"61"}


def test_a_control_plane_leaves_and_one_that_was_killed_in_the_middle_comes_back(cluster: Lab) -> None:
    cluster.play("cluster_leave.yml", "--limit", "c3")
    assert cluster.members() == ["c1", "c2"]
    assert cluster.ssh("c3", "ls /etc/kubernetes/manifests /var/lib/etcd") .split() == [
        "/etc/kubernetes/manifests:", "/var/lib/etcd:"]  # fmt: skip
    _killed(cluster, "--limit", "c3", "--tags", "runtime,endpoint,join")
    cluster.play("cluster.yml", "--limit", "c3", "--tags", "runtime,endpoint,join")
    cluster.play("cluster.yml", "--tags", "addons")
    assert cluster.members() == ["c1", "c2", "c3"]


def _killed(lab: Lab, *words: Sequence[str] | str) -> None:
    """Kill a join as a power cut does, once etcd's manifest is there: Ansible, its module and kubeadm, all at once."""
    env = lab.env | {"ANSIBLE_CONFIG": str(PLAYBOOKS / "ansible.cfg")}
    command = lab.command("cluster.yml", *[str(word) for word in words])
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, start_new_session=True) as run:
        end = time.monotonic() + 300
        while "etcd.yaml" not in lab.ssh("c3", "ls /etc/kubernetes/manifests 2>/dev/null", check=False):
            assert time.monotonic() < end, "the join never began"
            time.sleep(0.3)
        os.killpg(run.pid, signal.SIGKILL)
        lab.ssh("c3", "pkill -KILL -f [c]luster_member; pkill -KILL -x kubeadm; true")
    assert "begun.json" in lab.ssh("c3", "ls /etc/kubernetes/gcloud-pk")


def test_the_last_member_of_a_majority_is_not_let_go(cluster: Lab) -> None:
    cluster.ssh("c3", "systemctl stop kubelet; pkill -KILL -x etcd; true")
    said = cluster.play("cluster_leave.yml", "--limit", "c2", check=False)
    assert "c2 must not leave now" in said
    assert cluster.kubectl("get node c2 -o jsonpath={.spec.unschedulable}") == ""
    cluster.ssh("c3", "systemctl start kubelet")


def test_a_cluster_that_is_ended_leaves_bare_nodes(cluster: Lab) -> None:
    cluster.play("cluster_leave.yml", cluster_leave_dismantle=True)
    for node in ("c1", "c2", "c3"):
        assert "kube" not in cluster.ssh(
            node, "nft list tables; ls /etc/kubernetes /etc/cni/net.d", check=False
        ).replace("/etc/kubernetes", "")
        assert "10.207.0.10/" not in cluster.ssh(node, "ip address")
