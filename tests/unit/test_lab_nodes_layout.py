"""Which nodes a lab has, what they are called, and how they are reached: all of it follows from few numbers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from gcloud_pk.console import Console
from gcloud_pk.errors import UnavailableError, WrongUsageError
from gcloud_pk.lab import nodes as lab_nodes
from gcloud_pk.lab.nodes import access, cgroups, doctor, inotify, layout, life, memory, network, supervisor
from gcloud_pk.lab.nodes.layout import Layout, Node, plan
from gcloud_pk.lab.nodes.memory import Memory
from gcloud_pk.programs import files


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def remembered(name: str) -> Layout:
    lab = layout.layout(name)
    files.make_folder(lab.registry)
    memory.save(lab, Memory(name, 3, 3, "image"))
    return lab


def test_nodes_stand_in_racks_in_turn() -> None:
    assert [(node.name, node.rack_name) for node in plan(5, 2)] == [
        ("node-1", "rack-1"),
        ("node-2", "rack-2"),
        ("node-3", "rack-1"),
        ("node-4", "rack-2"),
        ("node-5", "rack-1"),
    ]


def test_every_node_has_an_address_and_a_hardware_address_of_its_own() -> None:
    nodes = plan(layout.MOST_NODES, 3)
    assert len({node.address for node in nodes}) == len({node.mac for node in nodes}) == layout.MOST_NODES
    assert nodes[0].address == "10.207.0.11"
    assert layout.GATEWAY not in {node.address for node in nodes}
    assert all(int(node.mac[:2], 16) & 3 == 2 for node in nodes), "locally administered, no group"


@pytest.mark.parametrize(("count", "racks"), [(0, 1), (65, 1), (3, 4), (3, 0)])
def test_what_cannot_stand_is_refused(count: int, racks: int) -> None:
    with pytest.raises(WrongUsageError):
        plan(count, racks)


def test_labs_in_other_folders_share_no_name_in_the_kernel() -> None:
    one, other = Layout(Path("/a/default")), Layout(Path("/b/default"))
    assert one.prefix != other.prefix
    assert one.cgroup != other.cgroup
    assert one.sockets != other.sockets
    assert Layout(Path("/a/default")) == one


def test_names_fit_into_the_kernels_limits() -> None:
    lab, last = Layout(Path("/x")), plan(layout.MOST_NODES, layout.MOST_NODES)[-1]
    assert len(last.name) <= 15, "a device (IFNAMSIZ)"
    assert len(f"{lab.prefix}{last.name}") <= 64, "a machine's name (sethostname(2))"
    # %C is a SHA-1 in hexadecimal; ssh makes the socket with a dot and 16 more characters, then renames it.
    assert len(str(lab.sockets)) + 1 + 40 + 17 <= 107, "a socket's path (unix(7))"


def test_a_lab_remembers_what_it_was_told(home: Path) -> None:
    lab = remembered("default")
    assert memory.load(lab) == Memory("default", 3, 3, "image")
    assert memory.load(layout.layout("other")) is None


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "null", "{}", '{"version": 9}'],
    ids=["broken", "list", "null", "empty", "other-version"],
)
def test_a_memory_that_is_none_is_named_with_what_to_do(text: str) -> None:
    lab = remembered("odd")
    lab.state.write_text(text)
    with pytest.raises(UnavailableError) as error:
        memory.load(lab)
    assert "down --purge --name odd" in str(error.value.resolution)


@pytest.mark.parametrize(
    ("field", "value"), [("count", "3"), ("count", 0), ("count", True), ("racks", 9), ("wanted", 1), ("name", None)]
)
def test_a_memory_with_a_field_of_another_kind_is_none(field: str, value: object) -> None:
    document = {**json.loads(Memory("x", 3, 3, "image").as_text()), field: value}
    with pytest.raises(ValueError, match=r"not|nodes"):
        memory.parse(json.dumps(document))


def test_a_registry_is_a_labs_own_by_where_it_lies_and_nothing_else(tmp_path: Path) -> None:
    lab = remembered("default")
    link = tmp_path / "link"
    link.symlink_to(lab.registry)
    assert lab_nodes.is_lab_registry(lab.registry)
    assert lab_nodes.is_lab_registry(link)
    assert not lab_nodes.is_lab_registry(tmp_path)
    assert not lab_nodes.is_lab_registry(tmp_path / "missing")


def test_the_labs_ssh_config_is_found_for_its_own_site_only(tmp_path: Path) -> None:
    lab = remembered("default")
    assert lab_nodes.ssh_config_for(lab.registry, "lab-nodes") is None, "not yet made"
    lab.ssh_config.write_text("")
    assert lab_nodes.ssh_config_for(lab.registry, "lab-nodes") == lab.ssh_config
    assert lab_nodes.ssh_config_for(lab.registry, "isb-1") is None
    assert lab_nodes.ssh_config_for(tmp_path, "lab-nodes") is None


def ssh_settings(lab: Layout, *arguments: str) -> dict[str, list[str]]:
    lab.ssh_config.write_text(access.configuration(lab, plan(3, 3)))
    done = subprocess.run(["ssh", "-G", "-F", lab.ssh_config, *arguments], capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        key, _, value = line.partition(" ")
        found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("arguments", [["node-2"], ["gcloud-pk@10.207.0.12"], ["-l", "gcloud-pk", "node-2"]])
def test_ssh_reaches_a_node_by_name_and_address_as_its_administrator(arguments: list[str]) -> None:
    lab = remembered("default")
    found = ssh_settings(lab, *arguments)
    assert found["user"] == ["gcloud-pk"]
    assert found["hostname"] == ["10.207.0.12"]
    assert found["identityfile"] == [str(lab.key("admin"))]
    assert found["proxycommand"] == [f"nsenter --net=/run/netns/{lab.spine} socat - TCP:%h:%p"]


@pytest.mark.parametrize(
    "arguments", [["audit-node-2"], ["gcloud-pk-audit@10.207.0.12"], ["-l", "gcloud-pk-audit", "node-2"]]
)
def test_the_audit_user_has_a_key_of_its_own_and_no_other_connection(arguments: list[str]) -> None:
    lab = remembered("default")
    found = ssh_settings(lab, *arguments)
    assert found["user"] == ["gcloud-pk-audit"]
    assert found["hostname"] == ["10.207.0.12"]
    assert found["identityfile"][0] == str(lab.key("audit"))
    assert found["controlpath"] != ssh_settings(lab, "node-2")["controlpath"]


def test_host_keys_are_never_accepted_on_first_use() -> None:
    found = ssh_settings(remembered("default"), "node-1")
    assert found["stricthostkeychecking"] == ["true"]
    assert found["updatehostkeys"] == ["false"]
    assert found["userknownhostsfile"] == [str(layout.layout("default").known_hosts)]
    assert found["globalknownhostsfile"] == ["none"]


def test_paths_with_spaces_and_percent_signs_are_paths_to_ssh_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "a b%h"))
    lab = remembered("default")
    found = ssh_settings(lab, "node-1")
    assert found["identityfile"] == [str(lab.key("admin")).replace("%", "%%")]
    assert found["controlpath"][0].startswith(str(lab.sockets))


def test_known_hosts_names_each_node_by_name_and_address() -> None:
    text = access.known_hosts([(node, ("ssh-ed25519 AAAA", "ssh-rsa BBBB")) for node in plan(2, 1)])
    assert text == (
        "node-1,10.207.0.11 ssh-ed25519 AAAA\nnode-1,10.207.0.11 ssh-rsa BBBB\n"
        "node-2,10.207.0.12 ssh-ed25519 AAAA\nnode-2,10.207.0.12 ssh-rsa BBBB\n"
    )


MOUNTS: dict[str, tuple[list[str], list[str]]] = {
    "version-1-beside-2": (
        [
            "30 24 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw",
            "31 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct",
            "32 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
        ],
        ["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/unified"],
    ),
    "version-2": (["30 24 0:27 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw"], ["/sys/fs/cgroup"]),
    "elsewhere": (["30 24 0:27 / /var/lib/x/cgroup rw - cgroup2 cgroup2 rw"], []),
    "none": (["22 1 254:0 / / rw - ext4 /dev/vda rw"], []),
}


@pytest.mark.parametrize("case", MOUNTS)
def test_cgroup_hierarchies_are_found(case: str) -> None:
    lines, expected = MOUNTS[case]
    assert [str(path) for path in cgroups.hierarchies("".join(f"{line}\n" for line in lines))] == expected


def test_nobody_of_our_own_network_counts_as_an_inhabitant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_NAMESPACES", tmp_path)
    (tmp_path / "ours").symlink_to("/proc/self/ns/net")
    (tmp_path / "leftover").write_text("")
    assert network.inhabitants(["ours", "leftover", "missing"]) == set()


def test_a_node_gets_its_networks_rights_and_no_other_of_the_machines() -> None:
    lab, node = Layout(Path("/x")), Node(1, 1)
    command = supervisor.boot_command(lab, node)
    assert [word for word in command if word.startswith("--capability")] == ["--capability=CAP_NET_ADMIN"]
    assert f"--network-namespace-path=/run/netns/{lab.prefix}node-1" in command
    assert "--register=no" in command


def test_a_purge_takes_the_records_of_runs_and_the_lock_along_and_others_stay(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(life, "_stop_all", lambda *_: [])
    mine, other = remembered("mine"), remembered("mine-too")
    for lab in (mine, other):
        files.make_folder(lab.runs("lab-nodes") / "runs")
    assert life.down("mine", purge=True, console=Console()) == []
    assert not mine.folder.exists()
    assert not mine.runs("lab-nodes").exists()
    assert not layout.lock_file("mine").exists()
    assert other.folder.exists()
    assert other.runs("lab-nodes").exists()


def test_a_lab_that_nobody_has_leaves_nothing_when_it_is_stopped(home: Path) -> None:
    with pytest.raises(UnavailableError, match="there is no lab typo"):
        life.down("typo", purge=True, console=Console())
    assert list(home.rglob("*")) == []


def test_without_its_programs_a_lab_is_not_asked_and_the_doctor_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = remembered("default")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UnavailableError, match="setpriv, ssh") as raised:
        access.all_answers(lab, plan(1, 1))
    assert "lab nodes doctor" in str(raised.value.resolution)
    with pytest.raises(UnavailableError, match="ssh"):
        life.execute("default", "node-1", ())


def test_nodes_that_the_kernel_has_no_inotify_instances_for_are_foreseen() -> None:
    room = inotify.Room(128, 110)
    assert room.enough(2)
    assert not room.enough(3)
    assert "18 of 128 are left" in room.words
    assert room.remedy == "sysctl -w fs.inotify.max_user_instances=1024"


def test_what_a_labs_own_nodes_take_is_not_counted_against_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for pid in (1, 7, 30):
        (tmp_path / str(pid)).mkdir()
    (tmp_path / "self").mkdir()
    monkeypatch.setattr(inotify, "_PROC", tmp_path)
    monkeypatch.setattr(inotify, "_instances", lambda process: int(process.name))
    for own, used in (((), 38), ({7, 30}, 1)):
        found = inotify.room(own=own)
        assert found is not None
        assert found.used == used


def test_the_doctor_notes_where_few_inotify_instances_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    for used, state in ((0, "ok"), (120, "note")):
        monkeypatch.setattr(inotify, "room", lambda used=used: inotify.Room(128, used))
        assert [one.state for one in doctor.instances()] == [state]
