"""A lab data centre as a user has it: bare nodes on which kubelet runs, racks that go and come back, nothing left."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.e2e.conftest import CLI, environment
from tests.e2e.datacenter import bare_centre, layout_of, require
from tests.e2e.nodes import Nodes, plain_nodes
from tests.e2e.test_lab_nodes import leftovers

from gcloud_pk.console import Console
from gcloud_pk.lab.datacenter import racks, relay
from gcloud_pk.lab.datacenter.machines import LabMachines
from gcloud_pk.lab.nodes import cgroups, machine
from gcloud_pk.lab.nodes.layout import DATACENTER, Layout, cluster_plan
from gcloud_pk.model.site import Site
from gcloud_pk.nodes import collector

ALONE = Path(__file__).parent / "data" / "kubelet_alone.sh"
LAID_OVER = ("kernel.panic", "kernel.panic_on_oops", "vm.overcommit_memory")


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with bare_centre(tmp_path_factory.mktemp("centre")) as own:
        yield own


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Nodes]:
    """A lab data centre for what no other test should feel."""
    with bare_centre(tmp_path, name=f"other-{os.getpid()}") as own:
        yield own


@pytest.fixture
def labs(centre: Nodes, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """The lab, found by this process too."""
    monkeypatch.setenv("XDG_STATE_HOME", centre.env["XDG_STATE_HOME"])
    return centre


def status(centre: Nodes, code: int = 0) -> dict[str, dict[str, Any]]:
    return {node["name"]: node for node in centre.json("status", check=code)["nodes"]}


def site_of(centre: Nodes) -> Site:
    return Site.model_validate(yaml.safe_load((centre.registry / "sites" / "lab-dc.yaml").read_text()))


def eventually(centre: Nodes, node: str, command: str, seconds: float = 60) -> str:
    """Run a command on a node until it succeeds; return what it printed."""
    end = time.monotonic() + seconds
    while (done := centre.ssh(node, command, check=False)).returncode:
        assert time.monotonic() < end, f"{node}: {command}: {done.stdout}\n{done.stderr}"
        time.sleep(0.3)
    return done.stdout


def test_nodes_answer_soon_when_everything_is_cached(centre: Nodes) -> None:
    # 2 s on two idle cores for nodes that were there, 5 s for new ones; a test run has them for itself at no time.
    begun = time.monotonic()
    centre.lab("up", "--fresh")
    assert time.monotonic() - begun < 45
    assert all(node["answers"] for node in status(centre).values())


def test_each_rack_has_a_control_plane_at_its_address(centre: Nodes) -> None:
    found = [(node["name"], node["rack"], node["address"]) for node in status(centre).values()]
    assert found == [(f"c{k}", f"rack-{k}", f"10.207.0.{10 + k}") for k in (1, 2, 3)]
    assert centre.ssh("c1", "getent hosts api.lab.example").stdout.split()[0] == "10.207.0.10"


def test_a_node_came_up_whole_with_a_runtime_and_the_programs(centre: Nodes) -> None:
    for name in centre.names:
        assert centre.ssh(name, "systemctl is-system-running --wait", check=False).stdout.strip() == "running"
        assert centre.ssh(name, "systemctl is-active containerd").stdout.strip() == "active"
    wanted = site_of(centre).spec.clusters[0].version
    assert centre.ssh("c1", "kubelet --version; kubeadm version -o short").stdout.split() == [
        "Kubernetes", f"v{wanted}", f"v{wanted}"
    ]  # fmt: skip
    for program in ("kubectl", "etcdctl", "runc", "keepalived", "conntrack", "nft"):
        assert centre.sudo("c1", f"command -v {program}").stdout


def test_kubelet_runs_a_pod_with_a_real_limit_from_the_labs_own_registry(centre: Nodes) -> None:
    authority = site_of(centre).spec.clusters[0].registry_authority
    assert authority is not None
    centre.ssh("c1", "sudo sh -c 'cat > /root/ca.pem'", input=authority)
    try:
        centre.sudo("c1", ALONE.read_text())
        assert eventually(centre, "c1", "curl -sf http://127.0.0.1:18080/").strip() == "alone"
        limits = centre.sudo("c1", "cat $(find /sys/fs/cgroup/memory/kubepods -name memory.limit_in_bytes)").stdout
        assert str(32 * 2**20) in limits.split()
        assert centre.sudo("c1", "findmnt -no FSTYPE /var/lib/containerd").stdout.strip() != "overlay"
    finally:
        centre.lab("up", "--fresh")


def test_only_the_labs_authority_makes_its_registry_believed_and_nobody_writes_to_it(centre: Nodes) -> None:
    authority = site_of(centre).spec.clusters[0].registry_authority
    where = "https://registry.lab.example:5000/v2/"
    centre.ssh("c1", "cat > ca.pem", input=authority)
    assert centre.ssh("c1", f"curl -s {where}", check=False).returncode == 60
    listed = json.loads(centre.ssh("c1", f"curl -sf --cacert ca.pem {where}k8s/kube-apiserver/tags/list").stdout)
    assert listed["tags"] == [f"v{site_of(centre).spec.clusters[0].version}"]
    push = f"curl -s -o /dev/null -w '%{{http_code}}' --cacert ca.pem -X POST {where}k8s/x/blobs/uploads/"
    assert centre.ssh("c1", push).stdout in {"403", "405"}


def test_values_laid_over_the_kernels_are_for_kubelet_and_no_evidence(centre: Nodes) -> None:
    before = {name: Path("/proc/sys", name.replace(".", "/")).read_text() for name in LAID_OVER}
    assert centre.ssh("c1", "cat /proc/sys/kernel/panic /proc/sys/vm/overcommit_memory").stdout.split() == ["10", "1"]
    marks = centre.ssh("c1", "ls /run/gcloud-pk-lab/laid-over").stdout.split()
    assert set(marks) <= {*LAID_OVER, "vm.panic_on_oom", "kernel.keys.root_maxkeys", "kernel.keys.root_maxbytes"}
    assert centre.sudo("c1", "echo 3 > /proc/sys/kernel/panic", check=False).returncode != 0
    assert {name: Path("/proc/sys", name.replace(".", "/")).read_text() for name in LAID_OVER} == before


def test_what_collects_for_audits_refuses_a_value_that_is_laid_over(centre: Nodes) -> None:
    wanted = {"sysctl": ["kernel.panic", "kernel.ostype"]}
    request = {"admin": "gcloud-pk", "audit": "gcloud-pk-audit", "nonce": "n", "wanted": wanted}
    sent = f"{Path(collector.__file__).read_text()}\nmain(json.loads({json.dumps(request)!r}))\n"
    said = centre.ssh("c1", "python3 -I -", input=sent).stdout
    found = json.loads(said.rpartition(collector.MARK)[2])
    assert found["facts"]["sysctl"]["live"] == {"kernel.panic": None, "kernel.ostype": "Linux"}
    assert "not verifiable here" in found["refused"]["sysctl.live[kernel.panic]"]


def test_the_registry_is_valid_trusted_and_the_design_consistent(centre: Nodes) -> None:
    said = json.loads(centre.gcloud_pk("registry", "check", "--format", "json", check=0).stdout)
    assert (said["valid"], said["trusted"]) == (True, True)
    centre.gcloud_pk("datacenter", "validate", "lab-dc", check=0)
    assert [host.name for host in site_of(centre).spec.hosts] == centre.names
    assert (Path(centre.said["passphrase"]).stat().st_mode & 0o777) == 0o600


def test_a_cluster_that_was_registered_stays_so_until_nodes_are_made_anew(labs: Nodes) -> None:
    from gcloud_pk.lab.datacenter import life

    uid = "6c0e0000-0000-0000-0000-000000000000"
    life.register(labs.name, uid, Console("json"))
    assert labs.json("up")["cluster"]["uid"] == uid
    assert json.loads(labs.gcloud_pk("registry", "check", "--format", "json", check=0).stdout)["trusted"] is True
    assert labs.json("up", "--fresh")["cluster"]["uid"] is None


def test_the_api_is_reached_through_the_proxy_and_nothing_else_is(centre: Nodes) -> None:
    port = int(centre.json("status")["cluster"]["proxy"].rpartition(":")[2])
    centre.sudo("c2", "systemd-run --quiet --unit=stand-in socat TCP-LISTEN:6443,fork,reuseaddr SYSTEM:'echo here'")
    eventually(centre, "c2", "systemctl is-active stand-in")

    def ask(target: str) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=15) as connection:
            connection.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            return connection.makefile("rb").read()

    assert ask("10.207.0.12:6443").endswith(b"\r\n\r\nhere\n")
    assert b" 502 " in ask("10.207.0.13:6443")
    assert b" 403 " in ask("10.207.0.12:22")
    assert b" 403 " in ask("192.0.2.1:6443")


def test_a_rack_that_is_pulled_is_gone_at_once_and_comes_back_with_its_files(labs: Nodes) -> None:
    before = status(labs)
    labs.sudo("c2", "touch /etc/mark /var/lib/etcd/mark; sync")
    begun = time.monotonic()
    assert racks.pull(labs.name, "rack-2", Console("json")) == ["c2"]
    assert time.monotonic() - begun < 10
    found = status(labs, code=6)
    assert [name for name, node in found.items() if not node["answers"]] == ["c2"]
    assert {name: found[name]["pid"] for name in ("c1", "c3")} == {name: before[name]["pid"] for name in ("c1", "c3")}
    assert racks.give_back(labs.name, "rack-2", Console("json")) == ["c2"]
    assert labs.sudo("c2", "ls /etc/mark /var/lib/etcd/mark").stdout
    assert status(labs)["c1"]["pid"] == before["c1"]["pid"]


def test_up_mends_a_rack_that_was_pulled(labs: Nodes) -> None:
    racks.pull(labs.name, "rack-3", Console("json"))
    labs.lab("up")
    reach = "timeout 5 bash -c ': </dev/tcp/10.207.0.11/22'"
    assert labs.ssh("c3", reach).returncode == 0


def test_a_node_that_reboots_has_its_disks_and_is_prepared_again(centre: Nodes) -> None:
    centre.sudo("c3", "touch /var/lib/containerd/mark /var/lib/kubelet/mark")
    boot = centre.ssh("c3", "cat /proc/sys/kernel/random/boot_id").stdout
    centre.ssh("c3", "sudo systemctl reboot", check=False)
    again = f"systemctl is-active containerd && ! grep -qx {boot.strip()} /proc/sys/kernel/random/boot_id"
    eventually(centre, "c3", again)
    centre.ssh("c3", "sudo ls /var/lib/containerd/mark /var/lib/kubelet/mark")
    assert centre.ssh("c3", "cat /proc/sys/kernel/panic").stdout == "10\n"


def test_a_machine_that_leaves_the_site_is_wiped_and_boots_when_it_is_wanted_again(labs: Nodes) -> None:
    site, provider = site_of(labs), LabMachines()
    host = site.spec.hosts[2]
    labs.sudo("c3", "touch /etc/mark")
    assert provider.api_proxy(site) == labs.json("status")["cluster"]["proxy"]
    provider.release(site, host)
    assert not status(labs, code=6)["c3"]["running"]
    facts = provider.reach(site, host, labs.ssh_config)
    assert "Debian" in facts.system
    assert labs.ssh("c3", "ls /etc/mark", check=False).returncode != 0
    assert provider.reach(site, host, None) == facts


def test_data_centres_and_labs_of_nodes_live_side_by_side(centre: Nodes, tmp_path: Path) -> None:
    before = status(centre)
    with plain_nodes(1, tmp_path, name=centre.name) as lab:
        assert lab.ssh("node-1", "hostname").stdout.strip() == "node-1"
        assert centre.ssh("c1", "hostname").stdout.strip() == "c1"
    assert status(centre) == before


def test_down_leaves_nothing_though_containers_run_and_up_brings_the_nodes_back(other: Nodes) -> None:
    lab = layout_of(other.said)
    authority = site_of(other).spec.clusters[0].registry_authority
    other.ssh("c1", "sudo sh -c 'cat > /root/ca.pem'", input=authority)
    other.sudo("c1", ALONE.read_text())
    eventually(other, "c1", "curl -sf http://127.0.0.1:18080/")
    other.lab("down")
    assert leftovers(lab) == {}
    assert relay.url(lab) is None
    other.lab("up")
    assert other.sudo("c1", "test -s /etc/containerd/config.toml && ls /var/lib/containerd").stdout
    other.lab("down", "--purge")
    assert leftovers(lab) == {}
    assert not other.folder.exists()


def test_down_cleans_up_after_everything_was_killed_and_its_memory_lost(other: Nodes) -> None:
    lab = layout_of(other.said)
    for pid in cgroups.members(lab.cgroup):
        os.kill(pid, signal.SIGKILL)
    lab.state.write_text("{")
    assert "unreadable" in other.lab("status", check=5).stderr
    other.lab("down", "--purge")
    assert leftovers(lab) == {}


@pytest.mark.parametrize("seconds", [0.4, 0.8, 1.2, 1.8, 2.6])
def test_an_up_that_was_killed_is_mended_by_the_next(seconds: float, tmp_path: Path) -> None:
    require()
    env, name = environment(tmp_path), f"killed-{os.getpid()}"
    lab = Layout(tmp_path / "gcloud-pk" / DATACENTER.home / name, DATACENTER)
    words: list[str | Path] = [CLI, "lab", "datacenter", "up", "--name", name, "--nodes", "3"]
    try:
        first = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        first.kill()
        first.wait()
        done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert all(machine.runs(lab, node) for node in cluster_plan(3, 3))
        assert relay.url(lab) is not None
    finally:
        subprocess.run([CLI, "lab", "datacenter", "down", "--purge", "--name", name], env=env, timeout=300)
    assert leftovers(lab) == {}


@pytest.mark.parametrize("seconds", [0.6, 1.5])
def test_a_killed_up_is_cleaned_up_by_down(seconds: float, tmp_path: Path) -> None:
    require()
    env, name = environment(tmp_path), f"gone-{os.getpid()}"
    words: list[str | Path] = [CLI, "lab", "datacenter", "up", "--name", name, "--nodes", "3"]
    first = subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    first.kill()
    first.wait()
    subprocess.run([CLI, "lab", "datacenter", "down", "--purge", "--name", name], env=env, timeout=300)
    assert leftovers(Layout(tmp_path / "gcloud-pk" / DATACENTER.home / name, DATACENTER)) == {}
