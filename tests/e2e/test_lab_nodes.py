"""Lab nodes as a user has them: real machines, booted, rebooted, killed, mended, removed."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from tests.e2e.conftest import CLI, environment
from tests.e2e.nodes import Nodes, plain_nodes, require

from gcloud_pk.lab.nodes import cgroups, machine, network
from gcloud_pk.lab.nodes.layout import Layout, Node, plan


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with plain_nodes(3, tmp_path_factory.mktemp("nodes")) as own:
        yield own


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Nodes]:
    """A lab of one node, for what no other test should feel."""
    with plain_nodes(1, tmp_path, name=f"one-{os.getpid()}") as own:
        yield own


def status(nodes: Nodes, code: int = 0) -> dict[str, dict[str, object]]:
    """Return the nodes by name. Where all is to be well, a node that a busy machine keeps waiting is asked again."""
    end = time.monotonic() + 60
    while (done := nodes.lab("status", "--format", "json", check=None)).returncode != code:
        assert time.monotonic() < end, done.stdout + done.stderr
    return {node["name"]: node for node in json.loads(done.stdout)["nodes"]}


def pids(nodes: Nodes) -> dict[str, object]:
    return {name: node["pid"] for name, node in status(nodes).items()}


def commands_with(word: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if word in command:
                found.append(command)
    return found


def leftovers(lab: Layout) -> dict[str, object]:
    """What of a lab is on this machine outside of its folder: to be nothing."""
    found: dict[str, object] = {
        "cgroups": [str(path) for path in cgroups.left(lab.cgroup)],
        "namespaces": sorted(network.namespaces(lab)),
        "mounts": [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(lab.folder) in line],
        "processes": [*commands_with(f"{lab.folder}/"), *commands_with(lab.prefix), *commands_with(f"{lab.folder} ")],
        "sockets": [str(lab.sockets)] if lab.sockets.exists() else [],
        "marks": [str(path) for path in Path("/run/systemd/nspawn").rglob(f"*{lab.id}*")],
    }
    return {what: there for what, there in found.items() if there}


def links_of_this_machine() -> str:
    """Network devices of our own namespace; other users' come and go, ours must not be among them."""
    return subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout


def test_nodes_answer_soon_when_the_image_is_cached(nodes: Nodes) -> None:
    # 3 s on two idle cores; a test run has them for itself at no time. Making the image takes minutes.
    assert nodes.json("up")["seconds"] < 60
    begun = time.monotonic()
    nodes.lab("up", "--fresh")
    assert time.monotonic() - begun < 90
    assert all(node["answers"] for node in status(nodes).values())


def test_fresh_nodes_are_plain_and_the_site_names_them_as_before(nodes: Nodes) -> None:
    site = (nodes.registry / "sites" / "lab-nodes.yaml").read_text()
    nodes.sudo("node-1", "touch /etc/mark")
    nodes.lab("up", "--fresh")
    assert nodes.ssh("node-1", "ls /etc/mark", check=False).returncode != 0
    assert (nodes.registry / "sites" / "lab-nodes.yaml").read_text() == site


def test_up_on_running_nodes_changes_nothing(nodes: Nodes) -> None:
    before = pids(nodes)
    nodes.lab("up")
    assert pids(nodes) == before


def test_nodes_stand_in_racks_in_turn_and_have_fixed_addresses(nodes: Nodes) -> None:
    found = [(node["name"], node["rack"], node["address"]) for node in status(nodes).values()]
    assert found == [(f"node-{k}", f"rack-{k}", f"10.207.0.{10 + k}") for k in (1, 2, 3)]
    assert "02:00:0a:cf:00:0b" in nodes.ssh("node-1", "ip link show eth0").stdout


def test_a_node_is_debian_12_with_systemd_that_came_up_whole(nodes: Nodes) -> None:
    for name in nodes.names:
        assert nodes.ssh(name, ". /etc/os-release; echo $ID $VERSION_ID").stdout.split() == ["debian", "12"]
        assert nodes.ssh(name, "systemctl is-system-running --wait", check=False).stdout.strip() == "running"
        assert nodes.ssh(name, "hostname").stdout.strip() == name


def test_the_only_login_is_the_administrators_and_by_key(nodes: Nodes) -> None:
    shadow = nodes.sudo("node-1", "cat /etc/shadow").stdout
    assert not [line for line in shadow.splitlines() if line.split(":")[1] not in {"*", "!", "!*"}]
    assert nodes.ssh("node-1", "sudo -n id -un").stdout.strip() == "root"
    assert nodes.ssh("node-1", "-l", "root", "true", check=False).returncode == 255


def test_the_registry_of_the_lab_is_valid_trusted_and_names_the_nodes(nodes: Nodes) -> None:
    said = json.loads(nodes.gcloud_pk("registry", "check", "--format", "json", check=0).stdout)
    assert (said["valid"], said["trusted"]) == (True, True)
    site = yaml.safe_load((nodes.registry / "sites" / "lab-nodes.yaml").read_text())["spec"]
    shown = {host["name"]: (host["address"], host["rack"], len(host["hostKeys"])) for host in site["hosts"]}
    assert shown == {name: (str(n["address"]), str(n["rack"]), 3) for name, n in status(nodes).items()}
    private = [nodes.said["approver"]["key"], nodes.said["keeper"]["key"], *(nodes.folder / "keys").glob("a*[a-z]")]
    assert {stat.S_IMODE(Path(path).stat().st_mode) for path in private if Path(path).suffix != ".pub"} == {0o600}


def test_what_others_put_into_the_registry_stays(nodes: Nodes) -> None:
    where = nodes.registry / "sites" / "lab-nodes.yaml"
    edited = where.read_text().replace("operator: gcloud-pk lab", "operator: somebody")
    where.write_text(edited)
    nodes.lab("up")
    assert where.read_text() == edited


def test_host_keys_of_the_site_are_those_that_the_nodes_show(nodes: Nodes) -> None:
    site = yaml.safe_load((nodes.registry / "sites" / "lab-nodes.yaml").read_text())["spec"]
    for host in site["hosts"]:
        shown = nodes.sudo(host["name"], "cut -d' ' -f1,2 /etc/ssh/ssh_host_*_key.pub").stdout.split("\n")
        assert set(host["hostKeys"]) == {line for line in shown if line}


def test_a_node_with_another_host_key_is_not_spoken_to(nodes: Nodes, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    text = (nodes.folder / "known_hosts").read_text()
    known.write_text(text.replace("node-1,10.207.0.11", "x").replace("node-2,10.207.0.12", "node-1,10.207.0.11"))
    words = ["-o", f"UserKnownHostsFile={known}", "-o", "ControlPath=none"]
    done = subprocess.run(
        ["ssh", "-F", nodes.ssh_config, *words, "node-1", "true"], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 255
    assert "verification failed" in done.stderr


def test_nodes_reach_each_other_and_nothing_else(nodes: Nodes) -> None:
    reach = "timeout 3 bash -c ': </dev/tcp/{}/{}' 2>/dev/null"
    assert nodes.ssh("node-1", reach.format("10.207.0.13", 22)).returncode == 0
    for address in ("192.0.2.1", "10.207.0.1", "127.0.0.53"):
        assert nodes.ssh("node-1", reach.format(address, 53), check=False).returncode != 0
    listed = links_of_this_machine()
    assert not [name for name in ("node-1@", "rack-1@", "uplink@") if name in listed]


def test_apt_installs_what_the_roles_need_without_any_network(nodes: Nodes) -> None:
    nodes.sudo("node-3", "DEBIAN_FRONTEND=noninteractive apt-get install -qy acct >/dev/null 2>&1", timeout=180)
    assert "install ok installed" in nodes.ssh("node-3", "dpkg-query -Wf '${Status}' acct").stdout
    assert nodes.ssh("node-3", "grep -ri trusted /etc/apt/sources.list*", check=False).stdout == ""


def test_a_node_cannot_change_this_machines_kernel_but_its_own_network(nodes: Nodes) -> None:
    assert nodes.sudo("node-1", "sysctl -w net.ipv4.ip_forward=1").stdout.strip().endswith("= 1")
    before = Path("/proc/sys/kernel/panic").read_text()
    assert nodes.sudo("node-1", "sysctl -w kernel.panic=77", check=False).returncode != 0
    assert nodes.sudo("node-1", "date -s 2001-01-01", check=False).returncode != 0
    assert Path("/proc/sys/kernel/panic").read_text() == before


def test_ssh_runs_a_command_and_exits_as_it_does(nodes: Nodes) -> None:
    done = nodes.lab("ssh", "node-2", "--", "hostname; exit 7", check=7)
    assert done.stdout.strip() == "node-2"
    refused = nodes.lab("ssh", "node-9", "true", check=5)
    assert "has no node node-9" in refused.stderr


def test_a_node_that_reboots_comes_back_with_its_files_and_without_what_was_set_at_run_time(nodes: Nodes) -> None:
    others = {name: pid for name, pid in pids(nodes).items() if name != "node-2"}
    nodes.sudo("node-2", "touch /etc/mark; nft add table inet leftover; cat /proc/sys/kernel/random/boot_id")
    nodes.ssh("node-2", "sudo systemctl reboot", check=False)
    end = time.monotonic() + 60
    while nodes.ssh("node-2", "systemctl is-system-running | grep -q running", check=False).returncode:
        assert time.monotonic() < end
        time.sleep(0.3)
    assert nodes.sudo("node-2", "ls /etc/mark; nft list ruleset").stdout.strip() == "/etc/mark"
    assert {name: pid for name, pid in pids(nodes).items() if name != "node-2"} == others


def test_a_node_without_its_supervisor_is_noticed_and_mended_alone(nodes: Nodes) -> None:
    before = pids(nodes)
    supervisor = machine.recorded(Layout(nodes.folder), Node(1, 1))
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    found = status(nodes, code=6)
    assert [name for name, node in found.items() if not node["running"]] == ["node-1"]
    nodes.lab("up")
    after = pids(nodes)
    assert {name: pid for name, pid in after.items() if name != "node-1"} == {
        name: pid for name, pid in before.items() if name != "node-1"
    }
    assert after["node-1"] != before["node-1"]


def test_count_adds_and_removes_nodes_and_the_site_follows(nodes: Nodes) -> None:
    before, known = pids(nodes), (nodes.folder / "known_hosts").read_text()
    try:
        nodes.lab("up", "--count", "2", "--racks", "2")
        assert list(status(nodes)) == ["node-1", "node-2"]
        nodes.lab("up", "--count", "3")
        assert [node["rack"] for node in status(nodes).values()] == ["rack-1", "rack-2", "rack-1"]
        assert (nodes.folder / "known_hosts").read_text() == known
        assert nodes.gcloud_pk("registry", "check", check=0)
    finally:
        nodes.lab("up", "--count", "3", "--racks", "3")
    assert set(pids(nodes)) == set(before)


def test_two_ups_at_once_bring_one_lab(tmp_path: Path) -> None:
    require()
    env, name = environment(tmp_path), f"two-{os.getpid()}"
    try:
        words = [str(CLI), "lab", "nodes", "up", "--name", name, "--count", "2", "--format", "json"]
        both = [
            subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
            for _ in range(2)
        ]
        said = [json.loads(process.communicate(timeout=300)[0]) for process in both]
        assert [process.returncode for process in both] == [0, 0]
        assert [n["pid"] for n in said[0]["nodes"]] == [n["pid"] for n in said[1]["nodes"]]
    finally:
        subprocess.run([CLI, "lab", "nodes", "down", "--purge", "--name", name], env=env)
    assert leftovers(Layout(Path(said[0]["folder"]))) == {}


def test_labs_live_side_by_side(nodes: Nodes, one: Nodes) -> None:
    assert one.ssh("node-1", "hostname").stdout.strip() == "node-1"
    one.ssh("node-1", "touch mine")
    assert nodes.ssh("node-1", "ls mine", check=False).returncode != 0
    before = pids(nodes)
    one.lab("down", "--purge")
    assert pids(nodes) == before
    assert leftovers(Layout(one.folder)) == {}


def test_down_leaves_nothing_but_files_and_up_brings_them_back(one: Nodes) -> None:
    one.ssh("node-1", "touch kept; sudo touch /etc/kept")
    one.lab("down")
    assert leftovers(Layout(one.folder)) == {}
    assert status(one)["node-1"]["running"] is False
    one.lab("up")
    assert one.ssh("node-1", "ls kept /etc/kept").returncode == 0
    one.lab("down", "--purge")
    assert not one.folder.exists()
    assert "there is no lab" in one.lab("down", "--purge", check=5).stderr


def test_down_cleans_up_after_everything_was_killed_and_its_memory_lost(one: Nodes) -> None:
    lab = Layout(one.folder)
    one.ssh("node-1", "true")  # a connection that stays open
    for pid in cgroups.members(lab.cgroup):
        with suppress(ProcessLookupError):  # it went with another
            os.kill(pid, signal.SIGKILL)
    lab.state.write_text("{")
    assert "unreadable" in one.lab("status", check=5).stderr
    one.lab("down", "--purge")
    assert leftovers(lab) == {}


@pytest.mark.parametrize("seconds", [0.3, 0.8, 1.3, 2.0])
def test_an_up_that_was_killed_is_mended_by_the_next(seconds: float, tmp_path: Path) -> None:
    require()
    env, name = environment(tmp_path), f"killed-{os.getpid()}"
    lab = Layout(tmp_path / "gcloud-pk" / "node-labs" / name)
    try:
        first = subprocess.Popen(
            [CLI, "lab", "nodes", "up", "--name", name, "--count", "2"], env=env, stderr=subprocess.DEVNULL
        )
        time.sleep(seconds)
        first.kill()
        first.wait()
        done = subprocess.run(
            [CLI, "lab", "nodes", "up", "--name", name, "--count", "2"], env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert all(machine.runs(lab, node) for node in plan(2, 2))
    finally:
        subprocess.run([CLI, "lab", "nodes", "down", "--purge", "--name", name], env=env)
    assert leftovers(lab) == {}


@pytest.mark.parametrize("seconds", [0.5, 1.1])
def test_a_killed_up_is_cleaned_up_by_down(seconds: float, tmp_path: Path) -> None:
    require()
    env, name = environment(tmp_path), f"gone-{os.getpid()}"
    first = subprocess.Popen([CLI, "lab", "nodes", "up", "--name", name], env=env, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    first.kill()
    first.wait()
    subprocess.run([CLI, "lab", "nodes", "down", "--purge", "--name", name], env=env)
    assert leftovers(Layout(tmp_path / "gcloud-pk" / "node-labs" / name)) == {}


def test_where_a_lab_cannot_run_up_says_what_the_doctor_says(tmp_path: Path) -> None:
    require()
    tmp_path.chmod(0o755)
    empty = tmp_path / "bin"
    empty.mkdir()
    env = environment(tmp_path) | {"PATH": str(empty)}
    seen = subprocess.run([CLI, "lab", "nodes", "doctor", "--format", "json"], capture_output=True, text=True, env=env)
    up = subprocess.run([CLI, "lab", "nodes", "up", "--format", "json"], capture_output=True, text=True, env=env)
    assert (seen.returncode, up.returncode) == (5, 5)
    missing = [f for f in json.loads(seen.stdout)["findings"] if f["state"] == "missing"]
    error = json.loads(up.stdout)["error"]
    assert [d["message"] for d in error["details"]] == [f"{f['subject']}: {f['found']}" for f in missing]
    assert "apt-get install systemd-container" in error["resolution"]
    assert not (tmp_path / "gcloud-pk" / "node-labs" / "default").exists()


def test_a_user_who_is_not_root_is_told_so(tmp_path: Path) -> None:
    require()
    code = "import os, sys; os.geteuid = lambda: 1000; from gcloud_pk.main import run; run()"
    done = subprocess.run(
        [CLI.parent / "python", "-c", code, "lab", "nodes", "up"],
        capture_output=True, text=True, env=environment(tmp_path),
    )  # fmt: skip
    assert done.returncode == 5
    assert "not root" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_build_that_fails_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    require()
    env = environment(tmp_path) | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [CLI, "lab", "nodes", "up", "--mirror", "http://127.0.0.1:9"], capture_output=True, text=True, env=env
    )
    assert done.returncode == 5
    assert "the image of the nodes cannot be built" in done.stderr
    assert "--mirror" in done.stderr
    assert [entry.name for entry in (tmp_path / "cache/gcloud-pk/nodes").iterdir() if entry.is_dir()] == []


def test_with_a_cached_image_no_archive_is_asked(one: Nodes) -> None:
    one.lab("up", "--fresh", "--mirror", "http://127.0.0.1:9")
    assert status(one)["node-1"]["answers"]


def test_who_interrupts_up_does_not_wait_for_the_nodes(tmp_path: Path) -> None:
    require()
    env, name = environment(tmp_path), f"int-{os.getpid()}"
    try:
        first = subprocess.Popen([CLI, "lab", "nodes", "up", "--name", name], env=env, stderr=subprocess.DEVNULL)
        time.sleep(1.5)
        first.send_signal(signal.SIGINT)
        begun = time.monotonic()
        assert first.wait(timeout=120) in {0, 130}
        assert time.monotonic() - begun < 60
    finally:
        subprocess.run([CLI, "lab", "nodes", "down", "--purge", "--name", name], env=env)
    assert leftovers(Layout(tmp_path / "gcloud-pk" / "node-labs" / name)) == {}


@pytest.mark.slow
def test_from_nothing_to_three_nodes_in_three_minutes_after_a_build_that_was_killed(tmp_path: Path) -> None:
    require()
    env = environment(tmp_path) | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    home = tmp_path / "cache/gcloud-pk/nodes"
    first = subprocess.Popen([CLI, "lab", "nodes", "up"], env=env, stderr=subprocess.DEVNULL)
    time.sleep(8)
    first.kill()
    first.wait()
    assert list(home.glob(".building-*"))
    time.sleep(0.5)
    assert commands_with(f"{home}/") == []  # the builders died with it
    begun = time.monotonic()
    try:
        subprocess.run([CLI, "lab", "nodes", "up"], env=env, check=True)
        assert time.monotonic() - begun < 180
        assert not list(home.glob(".building-*"))
    finally:
        subprocess.run([CLI, "lab", "nodes", "down", "--purge"], env=env, check=True)
