"""A lab whose programs are fakes: what happens when one ends at once, and what the commands say and exit with."""

import json
import socket
import time
from pathlib import Path

import pytest

from gcloud_pk.console import Console
from gcloud_pk.errors import UnavailableError, WrongUsageError
from gcloud_pk.lab import controlplane, doctor, pki, processes, state
from gcloud_pk.lab.controlplane import Lab, Wish
from gcloud_pk.lab.processes import Process
from gcloud_pk.lab.state import State
from gcloud_pk.main import main
from gcloud_pk.programs import files

SAYS = {"etcd": "etcd Version: 3.7.3", "kubectl": "Client Version: v1.36.3"}
ALL = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ALL:
        fake(folder, name, "exec sleep 60")
    return folder


def fake(folder: Path, name: str, body: str) -> None:
    said = SAYS.get(name, "Kubernetes v1.36.3")
    path = folder / name
    path.write_text(f'#!/bin/sh\ncase "$1" in --version|version) echo "{said}"; exit;; esac\n{body}\n')
    path.chmod(0o755)


def running() -> list[str]:
    folder = state.layout("default").folder
    return [program for _, where, program in processes.marked() if where == folder]


def test_a_program_that_ends_at_once_is_an_error_at_once_with_its_last_words(programs: Path) -> None:
    fake(programs, "etcd", "echo 'listen tcp 127.0.0.1: bind: address already in use' >&2; exit 1")
    begun = time.monotonic()
    with pytest.raises(UnavailableError, match="etcd exited with 1") as caught:
        controlplane.up(wish=Wish(folder=programs), console=Console())
    assert time.monotonic() - begun < 60, "it is not waited for"
    assert any("address already in use" in str(detail) for detail in caught.value.details)
    assert caught.value.resolution is not None
    assert "chooses another" in caught.value.resolution
    assert running() == []


def test_a_later_program_that_ends_takes_the_earlier_ones_with_it(programs: Path) -> None:
    listener = (
        'for w in "$@"; do case $w in --listen-client-urls=*) p=${w##*:};; esac; done\n'
        "exec python3 -c \"import socket,time; s=socket.create_server(('127.0.0.1',$p)); time.sleep(60)\""
    )
    fake(programs, "etcd", f"export PATH=/usr/bin:/bin\n{listener}")
    fake(programs, "kube-apiserver", "exit 7")
    with pytest.raises(UnavailableError, match="kube-apiserver exited with 7"):
        controlplane.up(wish=Wish(folder=programs), console=Console())
    assert running() == []
    assert controlplane.status().code == 6


def test_an_orphan_of_a_killed_run_is_stopped_by_the_next(programs: Path) -> None:
    lab = state.layout("default")
    files.make_folder(lab.folder)
    orphan = processes.spawn(["/bin/sleep", "60"], lab.folder, "etcd", lab.folder / "log")
    fake(programs, "etcd", "exit 1")
    with pytest.raises(UnavailableError):
        controlplane.up(wish=Wish(folder=programs), console=Console())
    assert not processes.alive(orphan)


def test_lost_encryption_key_beside_data_is_refused_not_replaced(programs: Path) -> None:
    lab = state.layout("default")
    files.make_folder(lab.etcd / "member")
    with pytest.raises(UnavailableError, match="key of its secrets is gone"):
        controlplane.up(wish=Wish(folder=programs), console=Console())
    assert not lab.encryption.exists()


def test_a_folder_that_cannot_be_written_is_named(home: Path, programs: Path) -> None:
    (home / "state").write_text("a file where a folder should be")
    with pytest.raises(UnavailableError, match="cannot be written"):
        controlplane.up(wish=Wish(folder=programs), console=Console())


def remember(wanted: bool) -> None:
    files.make_folder(state.layout("default").folder)
    state.save(
        State(
            "default",
            wanted=wanted,
            ports=dict.fromkeys(
                ("etcd", "etcd-peer", "kube-apiserver", "kube-controller-manager", "kube-scheduler"), 9
            ),
            processes={"etcd": Process(1, -1)} if wanted else {},
        )
    )


@pytest.mark.parametrize(("wanted", "code"), [(True, 6), (False, 0)])
def test_status_exits_6_when_what_should_run_does_not_and_0_when_it_was_stopped(
    wanted: bool, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    remember(wanted)
    assert main(["lab", "status", "--format", "json"]) == code
    said = json.loads(capsys.readouterr().out)
    assert (said["running"], said["ready"]) == (False, False)


@pytest.mark.parametrize("command", [["status"], ["kubeconfig"], ["kubeconfig", "--group", "g"]])
def test_without_such_a_lab_the_exit_code_is_5(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", *command, "--name", "nobody", "--format", "json"]) == 5
    assert json.loads(capsys.readouterr().out)["error"]["resolution"] == "gcloud-pk lab up --name nobody"


@pytest.mark.parametrize("command", ["up", "down", "status", "kubeconfig", "doctor"])
def test_a_bad_name_is_wrong_usage_everywhere(command: str) -> None:
    assert main(["lab", command, "--name", "No_Label"]) == 2


def test_stopping_what_is_not_there_is_no_error(home: Path) -> None:
    assert main(["lab", "down"]) == 0
    assert main(["lab", "down", "--purge"]) == 0
    labs = home / "state" / "gcloud-pk" / "labs"
    assert not labs.exists() or list(labs.iterdir()) == []


def test_a_lab_with_unreadable_state_is_purged_all_the_same() -> None:
    folder = files.make_folder(state.layout("default").folder)
    (folder / "lab.json").write_text("{")
    orphan = processes.spawn(["/bin/sleep", "60"], folder, "etcd", folder / "log")
    assert main(["lab", "down"]) == 5
    assert main(["lab", "down", "--purge"]) == 0
    assert not folder.exists()
    assert not processes.alive(orphan)


@pytest.fixture
def lab() -> Lab:
    layout = state.layout("default")
    files.make_folder(layout.folder)
    pki.ensure(layout.keys, "10.209.0.1")
    return Lab("default", layout.folder, layout.kubeconfig, "https://127.0.0.1:1", None, True, True, True)


def test_kubeconfigs_of_groups_that_read_alike_are_two_files(lab: Lab) -> None:
    paths = {controlplane.tenant_kubeconfig(lab, groups) for groups in (["a:b"], ["a-b"], ["a", "b"])}
    assert len(paths) == 3
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o600}
    assert {path.parent for path in paths} == {lab.folder / "users"}


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb", "a\u202eb"])
def test_a_group_that_no_certificate_carries_is_wrong_usage(lab: Lab, name: str) -> None:
    with pytest.raises(WrongUsageError):
        controlplane.tenant_kubeconfig(lab, [name])


def test_a_user_without_group_is_wrong_usage(lab: Lab) -> None:
    with pytest.raises(WrongUsageError):
        controlplane.tenant_kubeconfig(lab, [], "somebody")


def subjects(findings: list[doctor.Finding]) -> dict[str, str]:
    return {finding.subject: finding.state for finding in findings}


def test_the_doctor_finds_programs_and_is_content(programs: Path) -> None:
    findings = doctor.examine("default", Wish(folder=programs))
    assert {subjects(findings)[name] for name in ALL} == {"ok"}
    assert doctor.code(findings) == 0
    assert "go" not in subjects(findings)


def test_the_doctor_misses_programs_only_where_nothing_can_bring_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/ssh-keygen" if name == "ssh-keygen" else None)
    online, offline = doctor.examine("default", Wish()), doctor.examine("default", Wish(offline=True))
    assert {subjects(online)[name] for name in ALL} == {"note"}
    assert doctor.code(online) == 0
    assert {subjects(offline)[name] for name in ALL} == {"missing"}
    assert doctor.code(offline) == 5


def test_the_doctor_misses_ssh_keygen(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    findings = doctor.examine("default", Wish(folder=programs))
    assert subjects(findings)["ssh-keygen"] == "missing"
    assert doctor.code(findings) == 5


def test_the_doctor_shows_stale_processes_and_how_to_end_them(programs: Path) -> None:
    folder = files.make_folder(state.layout("default").folder)
    orphan = processes.spawn(["/bin/sleep", "60"], folder, "etcd", folder / "log")
    findings = [f for f in doctor.examine("default", Wish(folder=programs)) if f.subject == "stale processes"]
    assert [f.remedy for f in findings if str(orphan.pid) in f.found] == ["gcloud-pk lab down --name default"]
    assert main(["lab", "down"]) == 0
    assert not processes.alive(orphan)


def test_the_doctor_takes_no_running_lab_for_a_stale_one(programs: Path) -> None:
    folder = files.make_folder(state.layout("default").folder)
    known = processes.spawn(["/bin/sleep", "60"], folder, "etcd", folder / "log")
    state.save(State("default", wanted=True, processes={"etcd": known}))
    findings = [f for f in doctor.examine("default", Wish(folder=programs)) if f.subject == "stale processes"]
    assert not any(str(folder) in f.found for f in findings)
    processes.stop([known], 5)


def test_the_doctor_sees_a_port_that_another_took(programs: Path) -> None:
    remember(False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = state.load("default")
        assert found is not None
        found.ports["etcd"] = server.getsockname()[1]
        state.save(found)
        assert subjects(doctor.examine("default", Wish(folder=programs)))["ports"] == "note"


def test_the_doctors_json_is_one_document(programs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "doctor", "--programs", str(programs), "--format", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["well"] is True
    assert {"subject", "state", "found", "remedy"} == set(said["findings"][0])
