"""The driver of stacks, part by part: locks, plans, credentials, releases, engines, passphrases, status."""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from tests.stacks.engine import host, site

from gcloud_pk.console import Console
from gcloud_pk.errors import InvalidInputError, RefusedError, UnavailableError, WrongUsageError
from gcloud_pk.stack import backend, credentials, engine, leftovers, locks, preflight, status
from gcloud_pk.stack.backend import Place
from gcloud_pk.stack.plan import Plan, step_of
from gcloud_pk.stack.progress import Progress
from gcloud_pk.stack.provider import ground
from gcloud_pk.stack.session import Ended, Failure, Told, _Listener, alone, fault, in_words
from gcloud_pk.stack.versions import step_problem

NOW = dt.datetime.now(dt.UTC)


def lock(pid: int, since: dt.datetime = NOW, host: str | None = None) -> locks.Lock:
    return locks.Lock("noor", host or socket.gethostname(), pid, f"{since:%Y-%m-%dT%H:%M:%S}.123456789Z")


def gone() -> int:
    """Return the number of a process that is over."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


# --- locks -----------------------------------------------------------------------------------------------------------


def test_a_lock_is_dead_when_its_process_is() -> None:
    assert lock(gone()).is_dead()
    assert not lock(os.getpid()).is_dead()


def test_a_lock_is_dead_when_another_process_has_its_number_by_now() -> None:
    assert lock(os.getpid(), NOW - dt.timedelta(days=300)).is_dead()


def test_nobody_can_tell_of_a_lock_of_another_machine() -> None:
    assert not lock(gone(), host="another.example").is_dead()


def test_locks_are_read_from_the_engines_files_and_words(tmp_path: Path) -> None:
    said = {"pid": 7, "username": "noor", "hostname": "dc.example", "timestamp": "2026-11-22T13:29:00.242343273Z"}
    (tmp_path / "a.json").write_text(json.dumps(said))
    (tmp_path / "a.json.attrs").write_text("{}")
    (tmp_path / "b.json").write_text("torn")
    words = "file:///x: created by noor@dc.example (pid 7) at 2026-11-22T13:29:00Z"

    assert [(one.user, one.pid) for one in locks.from_folder(tmp_path)] == [("noor", 7), ("somebody", 0)]
    assert not any(one.is_dead() for one in locks.from_folder(tmp_path))
    assert locks.from_words(words) == [locks.Lock("noor", "dc.example", 7, "2026-11-22T13:29:00Z")]
    assert locks.from_folder(tmp_path / "none") == []


def test_what_a_killed_run_left_at_work_is_found_by_its_mark_and_ended(tmp_path: Path) -> None:
    mark = str(tmp_path)
    environment = {**os.environ, leftovers.MARK: mark}
    words: list[str] = []
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env=environment) as process:
        while not leftovers.find(mark):
            time.sleep(0.02)
        assert leftovers.clear(mark, words.append, gentle=0.1, firm=10, pause=0.02) == 1
        process.wait(timeout=10)
    assert leftovers.find(mark) == []
    assert str(process.pid) in words[0]
    assert leftovers.clear(mark, words.append) == 0


# --- plans -----------------------------------------------------------------------------------------------------------


def event(kind: str, name: str, op: str, **more: Any) -> Any:
    """Return the metadata of an engine's event."""
    parent = more.pop("parent", "")
    states = {
        side: SimpleNamespace(inputs=more.get(side, {}), custom=more.get("custom", True), parent=parent)
        for side in ("old", "new")
        if side in more or (side == "new") == (op != "delete")
    }
    return SimpleNamespace(
        op=op,
        type=more.get("type", f"gcloudpk:index:{kind}"),
        urn=f"urn:pulumi:s::datacenter::gcloudpk:index:{kind}::{name}",
        old=states.get("old"),
        new=states.get("new"),
        detailed_diff=dict.fromkeys(more.get("diff", ())),
    )


def plan(*events: Any, racks: dict[str, str] | None = None) -> Plan:
    return Plan(tuple(step for one in events if (step := step_of(one)) is not None), racks or {})


def test_a_plan_has_a_row_for_each_machine_by_rack_and_then_the_clusters() -> None:
    made = plan(
        event("Addons", "a", "create"),
        event("Machine", "w10", "create"),
        event("Member", "w10", "create", new={"cluster": "a", "role": "worker"}),
        event("Machine", "w2", "create"),
        event("Machine", "c1", "same"),
        event("Rack", "rack-1", "create", custom=False),
        event("x", "site", "create", type="pulumi:providers:gcloudpk"),
        racks={"w10": "rack-2", "w2": "rack-2", "c1": "rack-1"},
    )

    assert [(row.where, row.subject, row.op, row.words) for row in made.rows()] == [
        ("rack-1", "c1", "same", ""),
        ("rack-2", "w2", "make", "take in"),
        ("rack-2", "w10", "make", "take in; join a as worker"),
        ("cluster", "a", "make", "network, DNS and other add-ons"),
    ]
    assert made.counts == {"make": 3, "change": 0, "replace": 0, "remove": 0, "same": 1}


def test_a_changed_setting_is_told_with_both_values_and_a_digest_without() -> None:
    digests = {"roles": "a" * 64}, {"roles": "b" * 64}
    made = plan(
        event(
            "Member",
            "w1",
            "update",
            old={"kubelet": {"maxPods": 110.0}, **digests[0]},
            new={"kubelet": {"maxPods": 90.0}, **digests[1]},
            diff=("roles", "kubelet.maxPods"),
        ),
        event("Machine", "w1", "same"),
    )

    assert [(row.op, row.words) for row in made.rows()] == [
        ("change", "configure (kubelet.maxPods: 110 → 90, roles changed)")
    ]


def test_a_secret_is_never_told() -> None:
    made = plan(event("Member", "w1", "update", old={}, new={"token": "[secret]"}, diff=("token",)))

    assert made.rows()[0].words == "configure (token changed)"
    assert "[secret]" not in json.dumps(made.as_dict())


def test_a_machine_that_leaves_stands_under_the_rack_that_it_stood_in() -> None:
    parent = "urn:pulumi:s::datacenter::gcloudpk:index:DataCenter$gcloudpk:index:Rack::rack-7"
    made = plan(event("Machine", "w9", "delete", old={}, parent=parent), event("Member", "w9", "delete", old={}))

    assert [(row.where, row.op, row.words) for row in made.rows()] == [
        ("rack-7", "remove", "let go; cordon, drain, leave etcd, reset")
    ]


def test_looks_are_no_steps() -> None:
    assert step_of(event("Machine", "w1", "refresh", old={}, new={})) is None
    assert step_of(event("Machine", "w1", "read")) is None


# --- progress --------------------------------------------------------------------------------------------------------


def test_progress_tells_of_what_is_over_and_who_is_at_the_same_thing(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(Console(), 2)
    steps = plan(*(event("HardenedNode", name, "create") for name in ("c1", "c2"))).steps
    for step in steps:
        progress(Told("begins", step, step.name, step.kind))
        progress(Told("says", None, step.name, step.kind, "ssh: sshd\x1b[2J"))
    together = progress.lines()
    progress(Told("done", steps[0], "c1", "HardenedNode"))
    progress(Told("error", None, "c2", "HardenedNode", "it does not answer"))

    assert together[0].startswith("c1, c2: ssh: sshd")
    said = capsys.readouterr().err
    assert "1/2 c1: harden: done (0.0 s)" in said
    assert "  c2: it does not answer" in said
    assert "\x1b" not in said


# --- how a run ended -------------------------------------------------------------------------------------------------

(_MACHINE,) = plan(event("Machine", "w1", "create")).steps
(_NODE,) = plan(event("HardenedNode", "w1", "create")).steps


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        (Ended(), 0),
        (Ended(code=255, begun={"m": _MACHINE}, failures=[Failure("Machine", "w1", "silent")]), 5),
        (Ended(code=255, begun={"n": _NODE}, failures=[Failure("HardenedNode", "w1", "broke")]), 8),
        (Ended(code=255, done=[_MACHINE], failures=[Failure("HardenedNode", "w2", "broke")]), 8),
        (Ended(code=255, interrupts=1), 130),
        (Ended(code=255, interrupts=1, done=[_MACHINE]), 8),
        (Ended(code=-9, begun={"n": _NODE}), 8),
    ],
    ids=["done", "not-reached", "broke", "part-done", "stopped-before", "stopped-half-way", "killed"],
)
def test_the_exit_code_says_whether_something_was_written(ended: Ended, code: int, tmp_path: Path) -> None:
    error = fault(ended, Place(tmp_path, "isb-1"), "gcloud-pk datacenter up isb-1")

    assert ended.exit_code == code
    assert (int(error.code) if error else 0) == code


def test_a_failure_is_told_in_the_words_of_the_machine_alone() -> None:
    ended = Ended()
    wrapped = "1 error occurred:\n\t* w1: the task broke\n  → mend it\n\n"
    urn = "urn:pulumi:s::datacenter::gcloudpk:index:DataCenter$gcloudpk:index:Member::w1"
    said = SimpleNamespace(message=wrapped, urn=urn, severity="error", ephemeral=False)
    listener = _Listener(ended, lambda told: None)
    nothing = dict.fromkeys(("resource_pre_event", "res_outputs_event", "res_op_failed_event"))
    listener(SimpleNamespace(**nothing, diagnostic_event=said))  # type: ignore[arg-type]  # what it reads of an event

    assert [str(one) for one in ended.failures] == ["w1: the task broke → mend it"]


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        ("failed to decrypt: incorrect passphrase", RefusedError, "the passphrase is not the one"),
        ("passphrase must be set with PULUMI_CONFIG_PASSPHRASE", WrongUsageError, "is missing"),
        (
            "the stack is currently locked by 1 lock(s). created by noor@dc (pid 7) at 2026-11-22T13:29:00Z",
            RefusedError,
            "is locked by another run",
        ),
        ("create is not allowed by the plan: no steps were expected", RefusedError, "the plan is not what"),
        ("no resource plugin 'pulumi-resource-gcloudpk' found in the workspace", UnavailableError, "plug-in"),
        ("error: unable to open bucket s3://x", UnavailableError, "the engine failed"),
    ],
)
def test_the_engines_words_become_errors_that_say_what_to_do(
    said: str, kind: type[Exception], words: str, tmp_path: Path
) -> None:
    error = in_words(said, Place(tmp_path, "isb-1"), "the backend could not be opened")

    assert isinstance(error, kind)
    assert words in error.message
    assert error.resolution


# --- backend ---------------------------------------------------------------------------------------------------------


def test_the_second_run_over_a_site_is_told_who_the_first_is(tmp_path: Path) -> None:
    place = Place(tmp_path, "isb-1")
    holder = {"operator": "noor@dc", "pid": 7, "started": "2026-11-22T13:29:00Z", "what": "up of site isb-1"}
    with alone(place, holder), pytest.raises(RefusedError) as refused, alone(place, holder):
        pass

    assert "noor@dc since 2026-11-22T13:29:00Z, process 7: up of site isb-1" in str(refused.value.details[0])


def test_the_passphrase_is_the_users_own_before_the_labs_and_never_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(backend.PASSPHRASE, raising=False)
    monkeypatch.delenv(backend.PASSPHRASE_FILE, raising=False)
    file = tmp_path / "passphrase"
    file.write_text("of a lab\n")

    with pytest.raises(WrongUsageError, match="missing"):
        backend.passphrase()
    assert backend.passphrase(file)[backend.PASSPHRASE_FILE] == str(file)
    monkeypatch.setenv(backend.PASSPHRASE, "mine")
    assert backend.passphrase(file) == {backend.PASSPHRASE: "mine"}
    monkeypatch.setenv(backend.PASSPHRASE, "")
    file.write_text("\n")
    with pytest.raises(WrongUsageError, match="empty"):
        backend.passphrase(file)
    with pytest.raises(WrongUsageError, match="cannot be read"):
        backend.passphrase(tmp_path / "none")


def test_an_empty_passphrase_of_the_environment_does_not_win_over_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    from gcloud_pk.stack.command import surroundings

    monkeypatch.setenv(backend.PASSPHRASE, "")

    found = surroundings({backend.PASSPHRASE: "", backend.PASSPHRASE_FILE: "/f"})

    assert backend.PASSPHRASE not in found
    assert found[backend.PASSPHRASE_FILE] == "/f"


def test_the_folders_of_a_stack_are_private_and_its_backend_must_be_there(tmp_path: Path) -> None:
    place = Place(tmp_path / "stacks", "isb-1")
    place.prepare(tmp_path)

    for path in (place.folder, place.home, place.engine_home, place.home / "Pulumi.yaml"):
        assert path.stat().st_mode & 0o077 == 0
    assert yaml.safe_load((place.home / "Pulumi.yaml").read_text())["name"] == "datacenter"
    with pytest.raises(UnavailableError, match="is no folder"):
        Place(tmp_path / "other", "isb-1", f"file://{tmp_path / 'none'}").prepare(tmp_path)


# --- engine ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "fits"), [("v3.259.0", True), ("3.300.1", True), ("3.100.0", False), ("4.0.0", False), ("hello", False)]
)
def test_an_engine_is_taken_when_it_says_a_release_that_is_new_enough(tmp_path: Path, said: str, fits: bool) -> None:
    file = tmp_path / "pulumi"
    file.write_text(f"#!/bin/sh\necho {said}\n")
    file.chmod(0o700)
    if fits:
        assert engine.find(file, Console()).version == said.removeprefix("v")
        return
    with pytest.raises(UnavailableError) as missing:
        engine.find(file, Console())
    assert "--engine" in str(missing.value.resolution)


# --- releases --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("live", "wished", "problem"),
    [
        ("1.36.3", "1.36.3", None),
        ("1.36.3", "1.36.9", None),
        ("1.36.3", "1.37.0", None),
        ("v1.36.3", "1.37.1", None),
        ("1.36.3", "1.38.0", "one minor release at a time"),
        ("1.36.3", "1.35.9", "does not go back"),
        ("1.36.3", "1.36.2", "does not go back"),
    ],
)
def test_a_release_is_one_step_of_kubeadm_or_refused(live: str, wished: str, problem: str | None) -> None:
    found = step_problem("isb-1-a", live, wished)

    assert (found is None) == (problem is None)
    assert problem is None or problem in str(found)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ({"name": "lab-dc-b"}, "the site file has none of that name"),
        ({"version": None}, "the site file gives it no version"),
        ({"endpoint": None}, "the site file lacks what it needs"),
    ],
    ids=["another-name", "no-version", "no-endpoint"],
)
def test_a_cluster_that_was_made_does_not_go_because_the_site_file_leaves_it_out(
    found: dict[str, Any], why: str
) -> None:
    hosts = [host(name, number, cluster=None) for number, name in enumerate(("c1", "c2", "c3", "w1"), 11)]
    left = site(*hosts, **found)

    assert preflight.check_clusters(site(), ["lab-dc-a"], frozenset()) == []
    with pytest.raises(RefusedError, match="lab-dc-a: a cluster is not taken down by leaving it out") as refused:
        preflight.check_clusters(left, ["lab-dc-a"], frozenset({"lab-dc-b"}))
    assert why in str(refused.value.details[0])
    assert "GCLOUD_PK_DISMANTLE=lab-dc/lab-dc-a" in (refused.value.resolution or "")
    assert preflight.check_clusters(left, ["lab-dc-a"], frozenset({"lab-dc-a"})) == ["lab-dc-a"]


@pytest.mark.parametrize(
    ("words", "clusters"),
    [("", set()), ("isb-1", {""}), ("isb-1/a, isb-1/b,lhe-1/c", {"a", "b"}), ("isb-10/a", set()), ("lhe-1", set())],
)
def test_what_is_to_go_is_named_by_its_site(words: str, clusters: set[str]) -> None:
    assert ground.going("isb-1", words) == clusters


def test_all_faults_are_raised_as_one_and_as_the_first_that_takes_a_person() -> None:
    faults = preflight.Faults()

    def fail(error: Exception) -> Any:
        raise error

    faults.attempt(lambda: fail(UnavailableError("no engine", resolution="install it")))
    faults.attempt(lambda: fail(InvalidInputError("bad site", details=[], resolution="mend it")))
    with pytest.raises(InvalidInputError) as raised:
        faults.end("isb-1")

    assert [one.message for one in raised.value.details] == ["no engine", "bad site"]
    assert raised.value.resolution == "install it; mend it"


# --- credentials -----------------------------------------------------------------------------------------------------


def kubeconfig(user: str) -> str:
    return yaml.safe_dump(
        {
            "clusters": [{"name": "kubernetes", "cluster": {"server": "https://10.0.0.10:6443"}}],
            "users": [{"name": user, "user": {"client-key-data": f"key of {user}"}}],
        }
    )


def test_the_contexts_are_named_by_identity_as_those_of_a_lab() -> None:
    kept = {"a": {name: kubeconfig(name) for name in reversed(credentials.IDENTITIES)}}

    found = yaml.safe_load(credentials.merged(kept, "http://127.0.0.1:7"))

    assert [one["name"] for one in found["contexts"]] == ["admin", "onboarder", "verifier", "auditor"]
    assert found["current-context"] == "admin"
    assert found["clusters"][0]["cluster"]["proxy-url"] == "http://127.0.0.1:7"


def test_of_several_clusters_each_has_contexts_of_its_own() -> None:
    found = yaml.safe_load(
        credentials.merged(
            {"a": {"admin": kubeconfig("x")}, "b": {"admin": kubeconfig("y"), "auditor": kubeconfig("z")}}
        )
    )

    by_name = {one["name"]: one["context"]["user"] for one in found["contexts"]}
    assert by_name == {"admin": "a-admin", "a.admin": "a-admin", "b.admin": "b-admin", "b.auditor": "b-auditor"}


def test_credentials_that_are_none_are_refused_without_a_word_of_what_they_hold() -> None:
    with pytest.raises(UnavailableError) as raised:
        credentials.merged({"a": {"admin": "client-key-data: c2VjcmV0"}})

    assert "c2VjcmV0" not in str(raised.value.as_dict())


# --- status ----------------------------------------------------------------------------------------------------------


def certificate(days: int) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(NOW - dt.timedelta(days=400))
        .not_valid_after(NOW + dt.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def answer(etcd: str, *, api: int = 300, admin: int = 300) -> bytes:
    conf = base64.b64encode(certificate(admin))
    head = b"== certificate /etc/kubernetes/pki/apiserver.crt\n" + certificate(api)
    return head + b"== kubeconfig /etc/kubernetes/admin.conf\n" + conf + b"\n== etcd\n" + etcd.encode() + b"\n== end\n"


def test_a_control_plane_tells_of_its_certificates_and_its_member_of_etcd() -> None:
    certificates, member = status.read("c1", answer('[{"endpoint": "x", "health": true, "took": "5ms"}]'))

    assert [one.name for one in certificates] == ["pki/apiserver.crt", "admin.conf"]
    assert member == status.EtcdMember("c1", healthy=True)


@pytest.mark.parametrize("said", ["", "torn", "[]", '[{"health": "true"}]', '[{"health": false, "error": "deadline"}]'])
def test_a_member_of_etcd_is_healthy_only_where_it_says_so(said: str) -> None:
    assert not status.read("c1", answer(said))[1].healthy


def node(name: str, ready: str) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": ready, "message": "kubelet stopped"}]
    return {"metadata": {"name": name}, "status": {"conditions": conditions, "nodeInfo": {"kubeletVersion": "v1.36.3"}}}


def test_what_is_down_is_named_and_what_soon_will_be_is_a_warning() -> None:
    hosts: Any = [SimpleNamespace(name=name, role="worker", rack="rack-1") for name in ("w1", "w2", "w3")]
    state = status.ClusterState("a", "https://10.0.0.10:6443")
    state.nodes = list(status.nodes_of([node("w1", "True"), node("w2", "Unknown"), node("w9", "True")], hosts))
    state.certificates, member = status.read("c1", answer("", api=10, admin=-1))
    state.etcd = [member]

    assert state.faults(NOW) == [
        "w2 is not Ready: kubelet stopped",
        "w3 is no node of the cluster",
        "etcd on c1 is not healthy: etcdctl says nothing",
        f"admin.conf on c1 expired on {NOW - dt.timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}",
    ]
    assert len(state.warnings(NOW)) == 1
    assert [one.role for one in state.nodes] == ["worker", "worker", "worker", "unknown to the site"]
