"""The lab as a user has it: real programs, started, killed, mended, removed."""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import socket
import ssl
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from tests.e2e.conftest import CLI, RunningLab, found, running

from gcloud_pk.lab import processes

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


@pytest.fixture(scope="module")
def victim(lab: RunningLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A second lab, side by side with the shared one, for what no other test should feel."""
    with running(f"victim-{os.getpid()}", Path(lab.env["XDG_STATE_HOME"])) as own:
        yield own


def up(lab: RunningLab) -> dict[str, Any]:
    said: dict[str, Any] = lab.json("lab", "up", "--name", lab.name)
    return said


def status(lab: RunningLab, code: int = 0) -> dict[str, Any]:
    said: dict[str, Any] = lab.json("lab", "status", "--name", lab.name, check=code)
    return said


def pids(said: dict[str, Any]) -> dict[str, int]:
    return {program: entry["pid"] for program, entry in said["processes"].items()}


def alive(folder: Path) -> list[str]:
    """What runs of the lab in `folder`, whether it knows of it or not."""
    return sorted(program for _, where, program in processes.marked() if where == folder)


def port(lab: RunningLab) -> int:
    document = yaml.safe_load(lab.kubeconfig.read_text())
    return int(document["clusters"][0]["cluster"]["server"].rpartition(":")[2])


def test_up_on_a_running_lab_changes_nothing_and_is_quick(lab: RunningLab) -> None:
    before = status(lab)
    after = up(lab)
    assert pids(after) == pids(before)
    assert (after["running"], after["ready"]) == (True, True)
    assert after["seconds"] < 5


def test_status_names_programs_with_their_versions_and_sources(lab: RunningLab) -> None:
    said = status(lab)
    assert set(said["programs"]) == {*PROGRAMS, "kubectl"}
    assert said["programs"]["etcd"]["version"].startswith("3.7.")
    assert all(said["programs"][program]["version"].startswith("1.36.") for program in (*PROGRAMS[1:], "kubectl"))
    assert all(Path(entry["path"]).is_file() and entry["source"] for entry in said["programs"].values())
    uid = lab.kubectl("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}").stdout
    assert said["uid"] == uid


def test_keys_and_credentials_are_for_their_owner_alone(lab: RunningLab) -> None:
    assert stat.S_IMODE(lab.folder.stat().st_mode) == 0o700
    private = [
        path
        for path in lab.folder.rglob("*")
        if path.is_file() and path.suffix not in {".crt", ".pub"} and "etcd" not in path.relative_to(lab.folder).parts
    ]
    assert len(private) > 20
    assert {
        str(path): oct(stat.S_IMODE(path.stat().st_mode))
        for path in private
        if stat.S_IMODE(path.stat().st_mode) & 0o077
    } == {}


def test_no_key_stands_in_a_command_line(lab: RunningLab) -> None:
    key = yaml.safe_load((lab.folder / "config" / "encryption.yaml").read_text())
    secret = key["resources"][0]["providers"][0]["secretbox"]["keys"][0]["secret"]
    for pid in pids(status(lab)).values():
        assert secret.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.parametrize("path", ["/version", "/readyz", "/api/v1/namespaces", "/healthz"])
def test_who_shows_no_certificate_is_refused(lab: RunningLab, path: str) -> None:
    context = ssl.create_default_context(cafile=str(lab.folder / "pki" / "cluster-ca.crt"))
    with (
        socket.create_connection(("127.0.0.1", port(lab))) as raw,
        context.wrap_socket(raw, server_hostname="127.0.0.1") as stream,
    ):
        stream.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        assert stream.recv(100).startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize("server", ["kube-apiserver", "etcd", "kube-controller-manager", "kube-scheduler"])
def test_older_tls_than_1_3_is_refused(lab: RunningLab, server: str) -> None:
    ports = json.loads((lab.folder / "lab.json").read_text())["ports"]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", ports[server])) as raw, pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(raw, server_hostname="127.0.0.1")


@pytest.mark.parametrize("server", ["etcd", "etcd-peer"])
def test_etcd_speaks_to_nobody_without_a_certificate_of_its_own_authority(lab: RunningLab, server: str) -> None:
    ports = json.loads((lab.folder / "lab.json").read_text())["ports"]
    context = ssl.create_default_context(cafile=str(lab.folder / "pki" / "etcd-ca.crt"))
    # A certificate that the API server takes for its administrator's.
    context.load_cert_chain(lab.folder / "pki" / "admin.crt", lab.folder / "pki" / "admin.key")
    with socket.create_connection(("127.0.0.1", ports[server])) as raw:
        assert asked(raw, context) == b""


def asked(raw: socket.socket, context: ssl.SSLContext) -> bytes:
    """Ask for /health; nothing, where the certificate was refused (TLS 1.3 tells a client only when it reads)."""
    try:
        with context.wrap_socket(raw, server_hostname="127.0.0.1") as stream:
            stream.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            return stream.recv(1)
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("context", "group"),
    [
        ("onboarder", "gcloud:platform"),
        ("verifier", "gcloud:verifiers"),
        ("auditor", "gcloud:auditors"),
        ("admin", "system:masters"),
    ],
)
def test_each_context_is_its_own_identity(lab: RunningLab, context: str, group: str) -> None:
    user = json.loads(lab.kubectl("auth", "whoami", "-o", "json", context=context).stdout)["status"]["userInfo"]
    assert user["username"] == f"gcloud-pk:{context}"
    assert group in user["groups"]


def test_the_onboarder_is_current(lab: RunningLab) -> None:
    assert yaml.safe_load(lab.kubeconfig.read_text())["current-context"] == "onboarder"
    assert lab.gcloud_pk("lab", "kubeconfig", "--name", lab.name, check=0).stdout.strip() == str(lab.kubeconfig)


def test_a_groups_kubeconfig_makes_one_of_that_group_for_some_hours(lab: RunningLab) -> None:
    path = lab.gcloud_pk(
        "lab",
        "kubeconfig",
        "--name",
        lab.name,
        "--user",
        "aisha",
        "--group",
        "oidc:moitt-admins",
        "--group",
        "oidc:more",
        check=0,
    ).stdout.strip()
    config = yaml.safe_load(Path(path).read_text())
    (user,) = config["users"]
    certificate = x509.load_pem_x509_certificate(base64.b64decode(user["user"]["client-certificate-data"]))
    assert 7 * 3600 < certificate.not_valid_after_utc.timestamp() - time.time() <= 8 * 3600
    done = lab.kubectl("--kubeconfig", path, "auth", "whoami", "-o", "json", context="aisha")
    user = json.loads(done.stdout)["status"]["userInfo"]
    assert user["username"] == "aisha"
    assert {"oidc:moitt-admins", "oidc:more"} <= set(user["groups"])
    refused = lab.kubectl("--kubeconfig", path, "get", "secrets", "-A", context="aisha", check=False)
    assert "Forbidden" in refused.stderr


def test_secrets_are_encrypted_where_they_rest(lab: RunningLab) -> None:
    hidden, seen = (secrets.token_hex(16) for _ in range(2))
    lab.kubectl("create", "secret", "generic", f"s-{hidden[:8]}", f"--from-literal=key={hidden}")
    lab.kubectl("create", "configmap", f"c-{seen[:8]}", f"--from-literal=key={seen}")
    data = b"".join(path.read_bytes() for path in (lab.folder / "etcd").rglob("*") if path.is_file())
    assert seen.encode() in data  # the search can find what is there
    assert hidden.encode() not in data
    assert base64.b64encode(hidden.encode()) not in data
    read = lab.kubectl("get", "secret", f"s-{hidden[:8]}", "-o", "jsonpath={.data.key}").stdout
    assert base64.b64decode(read).decode() == hidden


def test_the_audit_log_says_who_did_what_and_never_with_which_secret(lab: RunningLab) -> None:
    name, value = f"audited-{secrets.token_hex(4)}", secrets.token_hex(16)
    lab.kubectl("create", "secret", "generic", name, f"--from-literal=key={value}")
    lab.audit_written()
    text = (lab.folder / "log" / "audit.log").read_text()
    events = [json.loads(line) for line in text.splitlines() if name in line]
    assert [(e["verb"], e["user"]["username"]) for e in events if e["responseStatus"]["code"] == 201] == [
        ("create", "gcloud-pk:admin")
    ]
    assert value not in text
    assert base64.b64encode(value.encode()).decode() not in text


def test_controllers_work(lab: RunningLab) -> None:
    name = f"lab-{secrets.token_hex(4)}"
    lab.kubectl("create", "namespace", name)
    try:
        lab.kubectl("-n", name, "create", "quota", "q", "--hard=pods=3")
        counted = ("-n", name, "get", "quota", "q", "-o", "jsonpath={.status.hard}")
        eventually(lambda: "pods" in lab.kubectl(*counted).stdout)
        eventually(lambda: lab.kubectl("-n", name, "get", "serviceaccount", "default", check=False).returncode == 0)
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "c", "image": "i", "securityContext": {"privileged": True}}]},
        }
        refused = lab.kubectl("-n", name, "create", "-f", "-", input=json.dumps(pod), check=False)
        assert 'violates PodSecurity "restricted' in refused.stderr
    finally:
        lab.kubectl("delete", "namespace", name, "--wait=false")


def eventually(met: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_two_labs_run_side_by_side(lab: RunningLab, victim: RunningLab) -> None:
    one, two = status(lab), status(victim)
    assert one["ready"]
    assert two["ready"]
    assert one["uid"] != two["uid"]
    mine, theirs = (json.loads((each.folder / "lab.json").read_text())["ports"] for each in (lab, victim))
    assert not set(mine.values()) & set(theirs.values())
    victim.kubectl("create", "configmap", "only-here")
    assert lab.kubectl("get", "configmap", "only-here", check=False).returncode != 0


@pytest.mark.parametrize("killed", [(program,) for program in PROGRAMS] + [PROGRAMS], ids=" ".join)
def test_a_killed_process_is_seen_and_mended_with_its_data_kept(victim: RunningLab, killed: tuple[str, ...]) -> None:
    mark = f"kept-{secrets.token_hex(4)}"
    victim.kubectl("create", "configmap", mark)
    before = status(victim)
    for program in killed:
        os.kill(pids(before)[program], signal.SIGKILL)
    # On a busy machine a killed process takes a while to go.
    eventually(lambda: not any(processes.start_time(pids(before)[program]) for program in killed), 60)
    seen = status(victim, code=6)
    assert [program for program in PROGRAMS if not seen["processes"][program]["running"]] == list(killed)
    after = up(victim)
    assert (after["running"], after["ready"], after["uid"]) == (True, True, before["uid"])
    # Who missed the API server for long comes back to it after a minute: they are started anew with it.
    behind = {"kube-controller-manager", "kube-scheduler"} if "kube-apiserver" in killed else set()
    assert {p for p in PROGRAMS if pids(after)[p] != pids(before)[p]} == set(killed) | behind
    assert victim.kubectl("get", "configmap", mark, "-o", "name").stdout.strip() == f"configmap/{mark}"


def test_down_leaves_no_process_and_up_brings_the_data_back(victim: RunningLab) -> None:
    before = status(victim)
    victim.kubectl("create", "configmap", "before-down")
    stopped = victim.json("lab", "down", "--name", victim.name)
    assert set(stopped["stopped"]) == set(PROGRAMS)
    assert alive(victim.folder) == []
    assert not [pid for pid in pids(before).values() if processes.start_time(pid)]
    assert status(victim)["running"] is False
    after = up(victim)
    assert after["uid"] == before["uid"]
    assert after["server"] == before["server"]
    victim.kubectl("get", "configmap", "before-down")


def test_a_taken_port_is_given_up_and_the_kubeconfig_follows(victim: RunningLab) -> None:
    victim.gcloud_pk("lab", "down", "--name", victim.name, check=0)
    old = port(victim)
    with socket.create_server(("127.0.0.1", old)):
        assert up(victim)["server"] != f"https://127.0.0.1:{old}"
        victim.kubectl("get", "namespaces")


def start(lab: RunningLab) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [CLI, "lab", "up", "--name", lab.name], env=lab.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@pytest.mark.parametrize("seconds", [0.2, 0.35, 0.5, 0.8, 1.2])
def test_a_killed_up_is_mended_by_the_next(victim: RunningLab, seconds: float) -> None:
    victim.gcloud_pk("lab", "down", "--name", victim.name, check=0)
    with start(victim) as begun:
        time.sleep(seconds)
        begun.kill()
    said = up(victim)
    assert (said["running"], said["ready"]) == (True, True)
    assert alive(victim.folder) == sorted(PROGRAMS)


def test_two_ups_at_once_make_one_control_plane(victim: RunningLab) -> None:
    victim.gcloud_pk("lab", "down", "--name", victim.name, check=0)
    with start(victim) as one, start(victim) as two:
        assert (one.wait(180), two.wait(180)) == (0, 0)
    assert alive(victim.folder) == sorted(PROGRAMS)
    assert status(victim)["ready"]


def test_an_interrupted_up_stops_what_it_started(victim: RunningLab) -> None:
    victim.gcloud_pk("lab", "down", "--name", victim.name, check=0)
    with start(victim) as begun:
        eventually(lambda: "kube-apiserver" in alive(victim.folder))
        begun.send_signal(signal.SIGINT)
        assert begun.wait(60) == 130
    assert alive(victim.folder) == []


def test_purge_leaves_nothing(lab: RunningLab) -> None:
    name = f"brief-{os.getpid()}"
    said = lab.json("lab", "up", "--name", name)
    brief = found(said, lab.env)
    brief.gcloud_pk("lab", "down", "--purge", "--name", name, check=0)
    assert not brief.folder.exists()
    assert [entry.name for entry in brief.folder.parent.iterdir() if name in entry.name] == []
    assert alive(brief.folder) == []
    assert brief.gcloud_pk("lab", "status", "--name", name).returncode == 5
