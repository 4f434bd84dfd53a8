"""A lab data centre: its nodes, its site, its machine image, the way to its API, and what it is told apart by."""

from __future__ import annotations

import configparser
import datetime as dt
import json
import os
import re
import subprocess
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.lab_commands import run

from gcloud_pk import paths
from gcloud_pk.console import Console
from gcloud_pk.errors import UnavailableError, WrongUsageError
from gcloud_pk.facility.tier import judge
from gcloud_pk.lab import nodes as lab_nodes
from gcloud_pk.lab.datacenter import doctor, machine_image, machines, racks, relay, site
from gcloud_pk.lab.datacenter import life as datacenter
from gcloud_pk.lab.nodes import layout, life, machine, memory, registry, supervisor
from gcloud_pk.lab.nodes.layout import DATACENTER, NODES, Layout, Node, cluster_plan
from gcloud_pk.lab.nodes.memory import Memory
from gcloud_pk.model.finding import Verdict
from gcloud_pk.model.rules import site_problems
from gcloud_pk.model.site import Site
from gcloud_pk.programs import files
from gcloud_pk.programs.cilium import Cilium
from gcloud_pk.programs.sourcing import Program, Wish

UID = "6c0e0000-0000-0000-0000-000000000000"
ANY_DAY = dt.date(2026, 1, 1)
PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def remembered(name: str, count: int = 3) -> Layout:
    lab = layout.layout(name, DATACENTER)
    files.make_folder(lab.registry)
    memory.save(lab, Memory(name, count, 3, "image", layer="image+layer", network="bridge", kind=DATACENTER))
    return lab


def key(node: Node) -> str:
    return f"ssh-ed25519 {'A' * 60}{node.number:04d}AAAA"


def said(count: int = 6, **wanted: Any) -> dict[str, Any]:
    hosts = [(node, (key(node),)) for node in cluster_plan(count, 3)]
    keys = {"admin": f"ssh-ed25519 {'B' * 68}", "audit": f"ssh-ed25519 {'C' * 68}"}
    words = {"network": "bridge", "images": "registry.lab.example:5000/k8s", "authority": PEM} | wanted
    return site.document(hosts, keys, site.Wanted(**words), 24000)


def lab_site(count: int = 6, **wanted: Any) -> Site:
    return Site.model_validate(said(count, **wanted))


# --- nodes ---


def test_six_nodes_are_a_control_plane_and_a_worker_in_each_of_three_racks() -> None:
    assert [(node.name, node.rack_name, node.address) for node in cluster_plan(6, 3)] == [
        ("c1", "rack-1", "10.207.0.11"), ("c2", "rack-2", "10.207.0.12"), ("c3", "rack-3", "10.207.0.13"),
        ("w1", "rack-1", "10.207.0.21"), ("w2", "rack-2", "10.207.0.22"), ("w3", "rack-3", "10.207.0.23"),
    ]  # fmt: skip
    assert [node.name for node in cluster_plan(3, 3)] == ["c1", "c2", "c3"]
    assert len({node.mac for node in cluster_plan(6, 3)}) == 6


@pytest.mark.parametrize(("count", "racks"), [(1, 1), (4, 3), (6, 2), (3, 1), (7, 3)])
def test_another_number_of_nodes_or_racks_is_refused(count: int, racks: int) -> None:
    with pytest.raises(WrongUsageError, match="3 or 6 nodes in 3 racks"):
        cluster_plan(count, racks)


def test_labs_of_one_name_but_other_kinds_share_nothing() -> None:
    one, other = layout.layout("default"), layout.layout("default", DATACENTER)
    assert one.folder != other.folder
    assert one.prefix != other.prefix
    assert one.lock != other.lock
    assert one.runs("x") != other.runs("x")
    assert not fnmatch(other.runs("x").name, one.runs("*").name)


def test_a_purge_of_a_lab_of_nodes_leaves_the_runs_of_a_data_centre_of_the_same_name() -> None:
    one, other = layout.layout("default"), layout.layout("default", DATACENTER)
    files.make_folder(other.runs("lab-dc"))
    files.make_folder(one.folder)
    life._purge(one)
    assert other.runs("lab-dc").is_dir()


def test_a_lab_remembers_what_it_was_told_and_its_kind_follows_from_where_it_lies() -> None:
    lab = remembered("default", 6)
    known = memory.load(lab)
    assert known is not None
    assert (known.kind, known.network, known.layer, len(known.nodes)) == (DATACENTER, "bridge", "image+layer", 6)
    assert "kind" not in json.loads(lab.state.read_text())


def test_the_memory_of_a_lab_of_a_former_version_is_read() -> None:
    document = json.loads(Memory("x", 3, 3, "image").as_text())
    del document["layer"], document["network"]
    assert memory.parse(json.dumps(document)) == Memory("x", 3, 3, "image")


def test_a_memory_of_a_number_of_nodes_that_no_data_centre_has_is_named_with_what_to_do() -> None:
    lab = remembered("odd")
    lab.state.write_text(lab.state.read_text().replace('"count": 3', '"count": 5'))
    with pytest.raises(UnavailableError) as raised:
        memory.load(lab)
    assert raised.value.resolution == (
        "remove the lab and its nodes with: gcloud-pk lab datacenter down --purge --name odd"
    )


def test_a_labs_registry_and_ssh_config_are_found_for_its_own_site_only() -> None:
    lab = remembered("default")
    lab.ssh_config.write_text("")
    assert lab_nodes.is_lab_registry(lab.registry)
    assert lab_nodes.ssh_config_for(lab.registry, "lab-dc") == lab.ssh_config
    assert lab_nodes.ssh_config_for(lab.registry, "lab-nodes") is None


def test_a_node_boots_with_its_disks_and_the_rights_that_kubelet_needs_and_no_more() -> None:
    lab, node = Layout(Path("/x:y"), DATACENTER), Node(1, 1, "c1")
    command = supervisor.boot_command(lab, node)
    assert [word for word in command if word.startswith("--bind=")] == [
        f"--bind=/x\\:y/nodes/c1/disks/{name}:/var/lib/{name}" for name in ("containerd", "kubelet", "etcd")
    ]
    capabilities = next(word for word in command if word.startswith("--capability="))
    assert not {"CAP_SYS_TIME", "CAP_SYS_MODULE", "all"} & set(capabilities.partition("=")[2].split(","))
    assert "--system-call-filter=@keyring bpf perf_event_open" in command
    assert not [word for word in supervisor.boot_command(Layout(Path("/x")), Node(1, 1)) if word.startswith("--bind")]


def test_a_supervisor_is_told_whose_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[Layout, Node]] = []
    monkeypatch.setattr("gcloud_pk.lab.nodes.cgroups.join", lambda _: None)
    monkeypatch.setattr(supervisor, "run", lambda lab, node: found.append((lab, node)))
    monkeypatch.setattr("sys.stdin", type("In", (), {"buffer": type("B", (), {"read": lambda *_: b"\n"})()}))
    for lab, node in ((Layout(Path("/x"), DATACENTER), Node(11, 1, "w1")), (Layout(Path("/y")), Node(2, 2))):
        supervisor.main(supervisor.arguments(lab, node))
        assert found.pop() == (lab, node)


# --- the site ---


@pytest.mark.parametrize("count", [3, 6])
@pytest.mark.parametrize("network", ["bridge", "cilium"])
def test_the_site_breaks_no_rule(count: int, network: str) -> None:
    made = lab_site(count, network=network, uid=UID)
    assert site_problems({"lab-dc": made}) == []
    cluster = made.spec.clusters[0]
    assert (cluster.network_plugin, cluster.endpoint_host, cluster.endpoint_port) == (network, "10.207.0.10", 6443)
    assert len(made.spec.control_planes(cluster)) == 3
    assert len(made.spec.workers(cluster)) == count - 3
    assert made.spec.provider == "lab"


def test_the_sites_file_says_everything_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gcloud_pk.lab.nodes.access.public_key", lambda _lab, name: f"ssh-ed25519 {name[0] * 68}")
    hosts = [(node, (key(node),)) for node in cluster_plan(6, 3)]
    wanted = site.Wanted("bridge", "registry.lab.example:5000/k8s", PEM)
    text = site.content(layout.layout("default", DATACENTER), hosts, wanted)
    assert not re.search(r"[&*]id[0-9]", text), "a reference to another place"
    assert Site.model_validate(yaml.safe_load(text)).metadata.name == DATACENTER.site


@pytest.mark.parametrize("count", [3, 6])
def test_the_design_of_the_site_is_consistent_with_tier_iii(count: int) -> None:
    verdicts = {finding.verdict for finding in judge(lab_site(count), 3, ANY_DAY)}
    assert Verdict.PASS in verdicts
    assert verdicts <= {Verdict.PASS, Verdict.NOT_APPLICABLE}


def test_the_version_of_the_cluster_is_that_of_the_programs() -> None:
    from gcloud_pk.programs import pins

    assert pins.load("datacenter").programs["kubelet"].version == site.VERSION


def test_nodes_keep_from_pods_what_the_machine_has_for_all_of_them() -> None:
    kubelet = said()["spec"]["clusters"][0]["kubelet"]
    assert kubelet["systemReservedMemory"] == f"{24000 - 2048}Mi"
    assert "uid" not in said()["spec"]["clusters"][0]


def test_the_uid_that_somebody_registered_is_read_from_the_site() -> None:
    lab = remembered("default")
    assert site.written_uid(lab) is None
    files.make_folder(lab.registry / "sites")
    where = lab.registry / "sites" / "lab-dc.yaml"
    where.write_text(yaml.safe_dump(said(uid=UID)))
    assert site.written_uid(lab) == UID
    where.write_text("[")
    assert site.written_uid(lab) is None


def test_a_cluster_that_somebody_registered_does_not_make_the_site_another() -> None:
    with_uid = yaml.safe_dump(said(uid=UID))
    assert registry.digest_of(with_uid) == registry.digest_of(yaml.safe_dump(said()))
    assert registry.digest_of(with_uid) != registry.digest_of(yaml.safe_dump(said(3)))


# --- the machine image ---


@pytest.fixture
def programs(tmp_path: Path) -> dict[str, Program]:
    for name in machine_image.PROGRAMS:
        (tmp_path / name).write_text(name)
    return {name: Program(name, "1", "cache", tmp_path / name) for name in machine_image.PROGRAMS}


def test_other_programs_or_another_image_make_another_layer(programs: dict[str, Program]) -> None:
    first = machine_image.key("base", programs)
    assert machine_image.key("base", programs) == first
    assert machine_image.key("other", programs) != first
    programs["kubelet"].path.write_text("another")
    assert machine_image.key("base", programs) != first
    assert first.startswith("base+")


def test_nodes_that_run_cilium_have_a_layer_of_their_own_which_its_programs_decide_about(
    tmp_path: Path, programs: dict[str, Program]
) -> None:
    for name in machine_image.CILIUM:
        (tmp_path / name).write_text(name)
    cilium = Cilium({name: Program(name, "1", "cache", tmp_path / name) for name in machine_image.CILIUM}, tmp_path)
    first = machine_image.key("base", programs, cilium)
    assert first != machine_image.key("base", programs)
    cilium.programs["cilium-agent"].path.write_text("another")
    assert machine_image.key("base", programs, cilium) != first


def test_what_prepares_a_machine_is_shell_and_comes_before_runtime_and_kubelet() -> None:
    folder = paths.package("lab", "datacenter", "machine")
    subprocess.run(["sh", "-n", folder / "prepare"], check=True)
    unit = configparser.ConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(folder / "gcloud-pk-lab-node.service")
    assert set(unit["Unit"]["Before"].split()) == {"containerd.service", "kubelet.service"}
    assert unit["Service"]["ExecStart"] == f"/{machine_image._PREPARE}"


def test_what_is_laid_over_are_the_values_that_the_kubelet_protects() -> None:
    script = paths.package("lab", "datacenter", "machine", "prepare").read_text()
    laid = dict(line.split() for line in re.findall(r"^(?:vm|kernel)\.\S+ \d+$", script, re.MULTILINE))
    role = yaml.safe_load(paths.data("playbooks/roles/kernel_parameters/defaults/main.yml").read_text())
    wanted = role["kernel_parameters_kubernetes"]
    assert laid == {name: str(wanted[name]) for name in laid}
    assert {"vm.overcommit_memory", "vm.panic_on_oom", "kernel.panic", "kernel.panic_on_oops"} <= set(laid)


# --- the way to the API ---


@pytest.mark.parametrize(
    ("head", "address"),
    [
        (b"CONNECT 10.207.0.10:6443 HTTP/1.1\r\nHost: x\r\n\r\n", "10.207.0.10"),
        (b"CONNECT 10.207.0.13:6443 HTTP/1.0\r\n\r\n", "10.207.0.13"),
        (b"CONNECT 10.207.0.10:22 HTTP/1.1\r\n\r\n", None),
        (b"CONNECT 8.8.8.8:6443 HTTP/1.1\r\n\r\n", None),
        (b"CONNECT 127.0.0.1:6443 HTTP/1.1\r\n\r\n", None),
        (b"CONNECT 10.207.0.999:6443 HTTP/1.1\r\n\r\n", None),
        (b"CONNECT localhost:6443 HTTP/1.1\r\n\r\n", None),
        (b"GET http://10.207.0.10:6443/ HTTP/1.1\r\n\r\n", None),
        (b"CONNECT 10.207.0.10:99999999 HTTP/1.1\r\n\r\n", None),
        (b"\x16\x03\x01\r\n\r\n", None),
    ],
)
def test_the_proxy_leads_to_apis_of_the_labs_network_only(head: bytes, address: str | None) -> None:
    assert relay.wanted(head) == address


def test_a_proxy_that_does_not_run_has_no_url() -> None:
    lab = remembered("default")
    assert relay.url(lab) is None
    (lab.folder / "relay.json").write_text(json.dumps({"pid": os.getpid(), "started": 1, "port": 20000}))
    assert relay.url(lab) is None, "another process has its id now"
    (lab.folder / "relay.json").write_text("{")
    assert relay.url(lab) is None


# --- racks and machines ---


def test_only_racks_that_a_lab_has_can_be_pulled() -> None:
    with pytest.raises(UnavailableError, match="there is no lab datacenter nowhere"):
        racks.pull("nowhere", "rack-1", Console())
    remembered("default")
    with pytest.raises(WrongUsageError) as raised:
        racks.pull("default", "rack-4", Console())
    assert "rack-1, rack-2, rack-3" in str(raised.value.details)


def test_a_rack_that_is_pulled_loses_its_uplink_and_its_nodes_together(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = remembered("default", 6)
    acts: list[tuple[Any, ...]] = []
    monkeypatch.setattr("gcloud_pk.lab.nodes.network.connect_rack", lambda at, k, up: acts.append((at, k, up)))
    monkeypatch.setattr(machine, "kill", lambda at, nodes: acts.append((at, [node.name for node in nodes])))
    assert racks.pull("default", "rack-2", Console()) == ["c2", "w2"]
    assert acts == [(lab, 2, False), (lab, ["c2", "w2"])]


def test_a_host_is_the_node_with_its_host_keys_of_whatever_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    remembered("one")
    other = remembered("other")
    monkeypatch.setattr(machine, "has_host_keys", lambda lab, node, keys: lab == other and keys == (key(node),))
    hosts = {host.name: host for host in lab_site(3).spec.hosts}
    assert machines.find(hosts["c2"]) == (other, Node(2, 2, "c2"))
    stranger = hosts["c2"].model_copy(update={"host_keys": (key(Node(9, 9)),)})
    assert machines.find(stranger) is None
    with pytest.raises(UnavailableError, match="c2: no lab data centre has a node of that name"):
        machines.LabMachines().reach(lab_site(3), stranger, None)
    machines.LabMachines().release(lab_site(3), stranger)


def test_the_provider_of_a_labs_machines_is_installed_under_its_name() -> None:
    from gcloud_pk.stack.machines import provider

    assert isinstance(provider(lab_site().spec.provider), machines.LabMachines)


# --- the doctor ---

V1 = "".join(
    f"3{i} 30 0:3{i} / /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}\n"
    for i, name in enumerate(("cpu,cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids"))
)


@pytest.mark.parametrize(
    ("mountinfo", "state", "words"),
    [
        (V1, "ok", "version 1"),
        (V1.replace("rw,memory", "rw,x").replace("rw,pids", "rw,y"), "missing", "memory, pids"),
        ("30 24 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "note", "version 2 alone"),
        ("", "missing", "cpu, cpuacct"),
    ],
    ids=["version-1", "without-two", "version-2", "none"],
)
def test_the_doctor_says_whether_containers_can_have_limits(mountinfo: str, state: str, words: str) -> None:
    found = doctor.controllers(mountinfo)
    assert (found.state, words in found.found) == (state, True)


def test_a_cluster_that_would_run_out_of_inotify_instances_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    from gcloud_pk.lab.nodes import inotify

    monkeypatch.setattr("gcloud_pk.lab.nodes.doctor.examine", lambda **_: [])
    monkeypatch.setattr(inotify, "room", lambda each, _own: inotify.Room(128, 20, each))
    monkeypatch.setattr(doctor, "_programs", lambda _: [])
    doctor.require(3, Wish())
    with pytest.raises(UnavailableError) as raised:
        doctor.require(6, Wish())
    monkeypatch.setattr("gcloud_pk.lab.nodes.cgroups.members", lambda name: {"gcloud-pk/own": {7}}[name])
    monkeypatch.setattr(inotify, "room", lambda each, own: inotify.Room(160, 0 if own == {7} else 20, each))
    doctor.require(6, Wish(), own="gcloud-pk/own")
    with pytest.raises(UnavailableError):
        doctor.require(6, Wish())
    assert "108 of 128 are left" in str(raised.value.details)
    assert raised.value.resolution == "sysctl -w fs.inotify.max_user_instances=1024"


def test_programs_that_are_not_at_hand_are_missing_only_where_nothing_may_be_fetched() -> None:
    assert [f.state for f in doctor._programs(Wish())] == ["note"]
    offline = doctor._programs(Wish(offline=True))
    assert [f.state for f in offline] == ["missing"]
    assert "kubelet" in offline[0].found


# --- the commands ---


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["status"], 5, "there is no lab datacenter default"),
        (["status", "--name", "../x"], 2, "cannot name a lab"),
        (["ssh", "c1"], 5, "has no node c1"),
        (["ssh", "c1", "-v", "--", "uptime"], 2, "lab datacenter ssh c1"),
        (["down"], 5, "there is no lab datacenter default"),
        (["down", "--purge", "--name", "typo"], 5, "there is no lab datacenter typo"),
        (["up", "--nodes", "4"], 2, "4"),
        (["up", "--network", "calico"], 2, "calico"),
        (["up", "--mirror", "notaurl"], 2, "no address of a mirror"),
    ],
    ids=lambda value: "-".join(value).replace("/", "_") if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_said(arguments: list[str], code: int, words: str, home: Path) -> None:
    found, document, errors = run("lab", "datacenter", *arguments)
    assert found == code, errors
    assert words in json.dumps(document)
    assert not (home / "state").exists()


def test_nodes_keep_the_network_that_they_were_made_for() -> None:
    remembered("x")
    code, document, _ = run("lab", "datacenter", "up", "--name", "x", "--network", "cilium")
    assert code == 4
    assert "were made for the network bridge; no node was touched" in json.dumps(document)
    assert "lab datacenter up --network cilium --fresh --name x" in json.dumps(document)


def test_where_it_cannot_run_up_says_what_the_doctor_says(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    code, document, _ = run("lab", "datacenter", "doctor")
    missing = [f for f in document["findings"] if f["state"] == "missing"]  # type: ignore[attr-defined]
    up, error, _ = run("lab", "datacenter", "up")
    assert (code, up) == (5, 5)
    assert [d["message"] for d in error["error"]["details"]] == [  # type: ignore[index]
        f"{f['subject']}: {f['found']}" for f in missing
    ]
    assert "rights" in {f["subject"] for f in missing}
    assert not (home / "state").exists()


@pytest.mark.parametrize(("code", "registered"), [(0, [("default", UID)]), (8, [])], ids=["done", "failed"])
def test_what_was_provisioned_is_registered_and_told_in_one_document(
    code: int, registered: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = remembered("default")
    centre = datacenter.Centre(life.Lab("default", lab, "image", wanted=True), "bridge", UID)
    seen: list[tuple[Path, Path | None, str, bool]] = []
    acts: list[tuple[str, str]] = []

    def provision(invocation: Any, name: str, *, yes: bool) -> tuple[int, dict[str, Any]]:
        seen.append((invocation.registry, invocation.trust, name, yes))
        return code, {"site": name, "outcome": "any"}

    monkeypatch.setattr("gcloud_pk.commands.datacenter_life.provision", provision)
    monkeypatch.setattr(datacenter, "up", lambda *_: centre)
    monkeypatch.setattr(datacenter, "status", lambda _: centre)
    monkeypatch.setattr(datacenter, "cluster_uid", lambda _: UID)
    monkeypatch.setattr(datacenter, "register", lambda name, uid, _: acts.append((name, uid)))
    found, document, _ = run("lab", "datacenter", "up", "--provision", "--registry", "/somewhere/else")
    assert (found, acts) == (code, registered)
    assert seen == [(lab.registry, lab.trust, "lab-dc", True)], "the lab's own, whatever was given"
    assert document["datacenter"] == {"site": "lab-dc", "outcome": "any"}
    assert document["site"] == "lab-dc"


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"c1": (0, UID)}, UID),
        ({"c1": (1, ""), "c2": (0, f"{UID}\n")}, UID),
        ({"c1": (0, "no UID at all"), "c2": (0, "")}, None),
    ],
    ids=["the-first", "the-first-that-answers", "none"],
)
def test_a_control_plane_that_answers_tells_the_uid_of_the_cluster(
    answers: dict[str, tuple[int, str]], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    remembered("default", 6)
    asked = []

    def answer(_lab: Layout, node: Node, *_: object, patience: float) -> subprocess.CompletedProcess[str]:
        assert patience < 60
        asked.append(node.name)
        code, out = answers.get(node.name, (255, ""))
        return subprocess.CompletedProcess([], code, out, "no answer")

    monkeypatch.setattr("gcloud_pk.lab.nodes.access.run", answer)
    if expected:
        assert datacenter.cluster_uid("default") == expected
        return
    with pytest.raises(UnavailableError) as raised:
        datacenter.cluster_uid("default")
    assert asked == ["c1", "c2", "c3"], "workers have no credentials"
    assert "c3: no answer" in str(raised.value.details)


def test_a_lab_of_nodes_is_as_it_was() -> None:
    assert supervisor.arguments(Layout(Path("/x")), Node(1, 1)) == ["nodes", "/x", "1", "1", ""]
    assert (NODES.disks, NODES.names, NODES.command) == ((), (), "lab nodes")
