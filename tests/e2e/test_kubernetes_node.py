"""A hardened node is still a Kubernetes node: containers start, pods reach the network, a CNI's rules survive ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.nodes import Nodes, plain_nodes

NODE, OTHER, OTHER_ADDRESS = "node-1", "node-2", "10.207.0.12"
IMAGE = "localhost/probe:1"
BUILDER = Path(__file__).parent / "data" / "probe_image.py"
RUNTIME = """
# An overlay file system cannot lie on another; a node of iron has its disk here.
mountpoint -q /var/lib/containerd || { mkdir -p /var/lib/containerd; mount -t tmpfs tmpfs /var/lib/containerd; }
DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes containerd runc containernetworking-plugins iptables
"""
WRITABLE = """
for group in /sys/fs/cgroup/*; do
    if mountpoint -q "$group"; then mount -o remount,rw,bind "$group" || true; fi
done
"""
POD_NETWORK = {
    "cniVersion": "0.4.0",
    "name": "pods",
    "type": "bridge",
    "bridge": "cni0",
    "isGateway": True,
    "ipMasq": True,
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.208.1.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]},
}
PLUGIN = "env CNI_COMMAND={act} CNI_CONTAINERID={pod} CNI_NETNS=/run/netns/{pod} CNI_IFNAME=eth0 CNI_PATH=/usr/lib/cni"
READ_BANNER = 'exec 3<>/dev/tcp/{address}/22 && read -r -t 5 line <&3 && echo "$line"'


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """Yield two hardened nodes, the first with containerd and two pods' network namespaces that a CNI plug-in wired."""
    with plain_nodes(2, tmp_path_factory.mktemp("lab")) as lab:
        lab.sudo(NODE, RUNTIME, timeout=300)
        lab.gcloud_pk("node", "harden", "--site", "lab-nodes", "--yes", check=0)
        lab.sudo(NODE, WRITABLE)
        lab.ssh(NODE, "sudo sh -c 'cat > /root/probe_image.py'", input=BUILDER.read_text())
        lab.sudo(NODE, "python3 /root/probe_image.py /root/probe.tar && ctr image import /root/probe.tar")
        for pod in ("pod-a", "pod-b"):
            lab.sudo(NODE, f"ip netns add {pod}")
            plugin = PLUGIN.format(act="ADD", pod=pod)
            lab.ssh(NODE, f"sudo {plugin} /usr/lib/cni/bridge", input=json.dumps(POD_NETWORK))
        yield lab


def in_pod(nodes: Nodes, pod: str, script: str) -> str:
    """Run a script in a container that lies in a pod's network namespace; return what it printed."""
    command = f"ctr run --rm --with-ns network:/run/netns/{pod} {IMAGE} probe-{pod} /bin/bash -c '{script}'"
    return nodes.sudo(NODE, command).stdout


def address(nodes: Nodes, pod: str) -> str:
    said = nodes.sudo(NODE, f"ip -json -4 -n {pod} address show dev eth0").stdout
    found = json.loads(said)[0]["addr_info"][0]["local"]
    assert isinstance(found, str)
    return found


def rules(nodes: Nodes) -> str:
    """Return all tables but ours, without counters."""
    return nodes.sudo(
        NODE,
        "for table in $(nft list tables | grep -v gcloud_pk | cut -d' ' -f2- | tr ' ' /); do "
        "nft --stateless list table ${table%/*} ${table#*/}; done",
    ).stdout


def test_the_runtime_runs(nodes: Nodes) -> None:
    assert nodes.sudo(NODE, "systemctl is-active containerd").stdout == "active\n"


def test_a_container_runs_on_overlay(nodes: Nodes) -> None:
    root = in_pod(nodes, "pod-a", "cat /proc/self/mountinfo").splitlines()[0]
    assert root.split()[4] == "/"
    assert root.partition(" - ")[2].split()[0] == "overlay"


def test_a_container_has_a_proc_that_hides_nothing_from_it(nodes: Nodes) -> None:
    mounts = in_pod(nodes, "pod-a", "cat /proc/self/mountinfo")
    assert "hidepid" not in next(line for line in mounts.splitlines() if line.split()[4] == "/proc")


def test_a_pod_leaves_no_memory_dump(nodes: Nodes) -> None:
    limits = in_pod(nodes, "pod-a", "cat /proc/self/limits").splitlines()
    assert next(line for line in limits if "core file" in line).split()[4:6] == ["0", "0"]


def test_the_node_routes_ipv4(nodes: Nodes) -> None:
    assert nodes.sudo(NODE, "sysctl -n net.ipv4.ip_forward").stdout == "1\n"


def test_a_pod_reaches_another_node(nodes: Nodes) -> None:
    assert in_pod(nodes, "pod-a", READ_BANNER.format(address=OTHER_ADDRESS)).startswith("SSH-2.0-")


def test_a_pod_reaches_another_pod_of_its_node(nodes: Nodes) -> None:
    listener = (
        "ip netns exec pod-b python3 -c 'import socket; s = socket.create_server((chr(48), 22)); "
        'c, _ = s.accept(); c.sendall(b"SSH-2.0-pod\\n")\' >/dev/null 2>&1 </dev/null &\n'
        "for turn in 1 2 3 4 5 6 7 8 9 10; do "
        "if [ -n \"$(ip netns exec pod-b ss -Hltn 'sport = 22')\" ]; then exit 0; fi; sleep 0.3; done; exit 1"
    )
    nodes.sudo(NODE, listener)
    assert in_pod(nodes, "pod-a", READ_BANNER.format(address=address(nodes, "pod-b"))) == "SSH-2.0-pod\n"


@pytest.mark.parametrize("act", ["reload", "restart", "stop", "start"])
def test_the_pod_network_and_its_rules_survive_our_firewall(nodes: Nodes, act: str) -> None:
    before = rules(nodes)
    assert "10.208.1." in before, "the plug-in's masquerading is there"
    nodes.sudo(NODE, f"systemctl {act} nftables")
    assert rules(nodes) == before
    assert in_pod(nodes, "pod-a", READ_BANNER.format(address=OTHER_ADDRESS)).startswith("SSH-2.0-")


def test_the_pod_network_survives_another_run_of_the_hardening(nodes: Nodes) -> None:
    before = rules(nodes)
    nodes.gcloud_pk("node", "harden", "--site", "lab-nodes", "--limit", NODE, "--yes", check=0)
    assert rules(nodes) == before
    assert in_pod(nodes, "pod-a", READ_BANNER.format(address=OTHER_ADDRESS)).startswith("SSH-2.0-")


def test_mount_options_and_routing_hold_after_a_restart_of_the_node(nodes: Nodes) -> None:
    nodes.ssh(OTHER, "sudo systemctl reboot", check=False)
    nodes.lab("up", "--count", "2")
    said = nodes.sudo(OTHER, "sysctl -n net.ipv4.ip_forward; findmnt --json --list --output TARGET,OPTIONS").stdout
    forwarding, _, table = said.partition("\n")
    options = {one["target"]: set(one["options"].split(",")) for one in json.loads(table)["filesystems"]}
    assert forwarding == "1"
    for path in ("/tmp", "/var/tmp", "/dev/shm", "/var/log", "/home"):
        assert {"nodev", "nosuid", "noexec"} <= options[path], path
    assert "hidepid=invisible" in options["/proc"]
