"""`node harden` on real nodes: who is told what when something is wrong, and that nothing goes on alone.

The playbook is a small one: what the roles of the baseline do is told elsewhere.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import CLI
from tests.e2e.nodes import Nodes, plain_nodes

from gcloud_pk.nodes import record
from gcloud_pk.nodes.inventory import fingerprint

SMALL = Path(__file__).parent / "data/nodes/small.yml"
DRIVER = Path(__file__).with_name("node_run.py")
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKoRCgY9I9D3Uo0kUZC+8yqv8OLQv4Nn9y0XZ9wOqAAB"


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with plain_nodes(3, tmp_path_factory.mktemp("nodes")) as found:
        yield found


@dataclass(frozen=True)
class Ended:
    """How a run ended. `said`: its document; `errors`: standard error."""

    code: int
    said: dict[str, Any]
    errors: str

    @property
    def hosts(self) -> dict[str, dict[str, Any]]:
        return {host["name"]: host for host in self.said["hosts"]}

    @property
    def outcomes(self) -> list[str]:
        return [host["outcome"] for host in self.said["hosts"]]


@dataclass(frozen=True)
class Runner:
    """Starts runs of the small playbook; `home` is where their records and their lock lie, `temporary` what goes."""

    nodes: Nodes
    home: Path
    temporary: Path

    def start(self, seconds: int = 0, **given: Any) -> subprocess.Popen[str]:
        known = {"registry": str(self.nodes.registry), "ssh_config": str(self.nodes.ssh_config)}
        known |= {"home": str(self.home), "playbook": str(SMALL), **given}
        # What a person has in his environment is no business of a run's.
        env = self.nodes.env | {"ANSIBLE_CHECK_MODE_MARKERS": "1", "ANSIBLE_CONFIG": "/nowhere", "ANSIBLE_BECOME": "0"}
        return subprocess.Popen(
            [sys.executable, DRIVER, json.dumps(known)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=env | {"GCLOUD_PK_TEST_SECONDS": str(seconds), "TMPDIR": str(self.temporary)},
        )  # fmt: skip

    def __call__(self, **given: Any) -> Ended:
        return self.end(self.start(**given))

    @staticmethod
    def end(process: subprocess.Popen[str], timeout: float = 180) -> Ended:
        out, errors = process.communicate(timeout=timeout)
        assert "Traceback" not in errors, errors
        ended = Ended(process.returncode, json.loads(out), errors)
        assert "hosts" in ended.said or ended.said["error"]["message"].startswith("another run"), out
        return ended


@pytest.fixture
def run(nodes: Nodes, tmp_path: Path) -> Iterator[Runner]:
    # Sockets lie below it: the folder of the test would make their paths too long.
    with tempfile.TemporaryDirectory(prefix="gpk-", dir="/tmp") as temporary:
        yield Runner(nodes, tmp_path / "lab-nodes", Path(temporary))
    for name in nodes.names:
        nodes.sudo(name, "rm -rf /etc/gcloud-pk-test /etc/gcloud-pk-test-second /etc/sysctl.d/zz-gcloud-pk-test.conf")


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)


def running(run: Runner) -> list[str]:
    """Return processes that a run started, or that speak with nodes by its files; others may be at work beside it."""
    mark = f"ANSIBLE_HOME={run.temporary}/".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark in (entry / "environ").read_bytes():
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found


def test_check_predicts_what_the_run_changes_and_a_second_run_changes_nothing(run: Runner) -> None:
    foretold, done, again = run(check=True), run(), run()
    assert (foretold.code, done.code, again.code) == (0, 0, 0), foretold.errors + done.errors + again.errors
    for name in run.nodes.names:
        assert foretold.hosts[name]["changed"] == done.hosts[name]["changed"] != []
        assert again.hosts[name]["changed"] == []
    assert [(one["role"], one["paths"], one["controls"]) for one in done.hosts["node-1"]["changed"]] == [
        ("first", ["/etc/gcloud-pk-test/first"], ["GPK-TST-001"]),
        ("first", [], ["GPK-TST-002"]),
        ("first", ["/etc/sysctl.d/zz-gcloud-pk-test.conf"], ["GPK-TST-003"]),
        ("second", ["/etc/gcloud-pk-test-second"], ["GPK-TST-004"]),
    ]
    assert done.hosts["node-1"]["refused"][0]["key"] == "kernel.panic"


def test_what_no_log_hides_stands_nowhere(run: Runner) -> None:
    done = run(diff=True)
    assert done.code == 0, done.errors
    told = json.dumps(done.said) + done.errors + "".join(path.read_text() for path in run.home.rglob("*.json"))
    assert "a-secret-of-the-test" not in told
    assert [change.get("withheld", False) for change in done.hosts["node-1"]["changed"]] == [False, True, False, False]


def test_the_record_is_private_and_says_who_did_what_where(run: Runner) -> None:
    done = run(limit=["node-1"])
    path = Path(done.said["record"])
    assert path.parent == run.home / "runs"
    assert path.stat().st_mode & 0o777 == 0o600
    assert run.home.stat().st_mode & 0o777 == 0o700
    kept = json.loads(path.read_text())
    assert kept == {key: value for key, value in done.said.items() if key != "record"}
    assert {"site", "operator", "tool", "playbook", "siteFile", "started", "finished", "hosts"} <= set(kept)
    assert kept["outcome"] == "done"


def test_hosts_that_cannot_be_hardened_are_told_apart_and_the_others_are_done(run: Runner) -> None:
    changes = {"node-2": {"host_keys": (OTHER_KEY,)}, "node-3": {"address": "10.207.0.99"}}
    done = run(changes=changes)
    assert done.code == 8
    assert done.outcomes == ["done", "unreachable", "unreachable"]
    wrong, silent = done.hosts["node-2"]["failure"], done.hosts["node-3"]["failure"]
    assert wrong["kind"] == "wrong-host-key"
    shown = set(re.findall(r"SHA256:[A-Za-z0-9+/]{43}", wrong["message"]))
    known = {fingerprint(key) for key in _keys(run.nodes, "node-2")}
    assert fingerprint(OTHER_KEY) in shown
    assert shown & known
    assert silent["kind"] == "unreachable"
    assert done.said["error"]["code"] == 8
    assert "node-2,node-3" in done.said["error"]["resolution"]


def _keys(nodes: Nodes, name: str) -> list[str]:
    return nodes.sudo(name, "cat /etc/ssh/ssh_host_*_key.pub").stdout.splitlines()


def test_a_host_that_fails_inside_a_role_holds_no_other_up_and_is_mended_by_running_again(run: Runner) -> None:
    run.nodes.sudo("node-2", "mkdir -p /etc/gcloud-pk-test-second/x")
    done = run()
    assert done.code == 8
    assert done.outcomes == ["done", "failed", "done"]
    failure = done.hosts["node-2"]["failure"]
    assert (failure["kind"], failure["role"], failure["task"]) == ("failed", "second", "Write another file")
    run.nodes.sudo("node-2", "rm -r /etc/gcloud-pk-test-second")
    again = run()
    assert again.code == 0
    assert {name: len(host["changed"]) for name, host in again.hosts.items()} == {
        "node-1": 0,
        "node-2": 1,
        "node-3": 0,
    }


def test_who_may_not_become_root_and_who_is_no_debian_12_is_refused_before_any_change(run: Runner) -> None:
    rights = run.nodes.sudo("node-2", "ls /etc/sudoers.d/gcloud-pk").stdout.strip()
    # The way back is open before the door is shut.
    back = f"nohup sh -c 'sleep 25; mv /root/sudoers {rights}' >/dev/null 2>&1 &"
    run.nodes.sudo("node-2", f"cp {rights} /root/sudoers; {back} rm {rights}")
    run.nodes.sudo(
        "node-3", "cp --remove-destination /usr/lib/os-release /etc/os-release; sed -i s/12/11/ /etc/os-release"
    )
    try:
        done = run(limit=["node-2,node-3"])
    finally:
        run.nodes.sudo("node-3", "ln -sf ../usr/lib/os-release /etc/os-release")
        until(lambda: run.nodes.ssh("node-2", "sudo -n true", check=False).returncode == 0, 40)
    assert done.code == 5
    assert done.outcomes == ["refused", "refused"]
    assert [done.hosts[name]["failure"]["kind"] for name in ("node-2", "node-3")] == ["no-sudo", "other-system"]
    assert "VERSION_ID 11" in done.hosts["node-3"]["failure"]["message"]
    assert run.nodes.ssh("node-3", "ls /etc/gcloud-pk-test", check=False).returncode != 0


def begun(run: Runner, node: str = "node-1") -> Callable[[], bool]:
    """Return whether the first role is over on a node."""
    return lambda: run.nodes.ssh(node, "test -e /etc/sysctl.d/zz-gcloud-pk-test.conf", check=False).returncode == 0


def free(home: Path) -> bool:
    return not record.busy(home)


def test_a_second_run_is_refused_at_once_and_told_who_holds_the_site(run: Runner) -> None:
    first = run.start(seconds=600, limit=["node-1"])
    try:
        until(lambda: record.busy(run.home))
        before = time.monotonic()
        second = run(limit=["node-2"])
        assert time.monotonic() - before < 60, "the first sleeps for 600 s"
        assert second.code == 5
        (detail,) = second.said["error"]["details"]
        assert f"process {first.pid}" in detail["message"]
        assert run.nodes.ssh("node-2", "ls /etc/gcloud-pk-test", check=False).returncode != 0
    finally:
        first.kill()
        first.communicate()
    until(lambda: free(run.home))


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_is_stopped_says_what_is_half_done_and_ends(run: Runner, number: signal.Signals) -> None:
    process = run.start(seconds=600, limit=["node-1"])
    until(begun(run))
    process.send_signal(number)
    before = time.monotonic()
    done = run.end(process)
    assert time.monotonic() - before < 60, "the task would have slept for 600 s"
    assert done.code == 130
    assert done.outcomes == ["half-done"]
    assert "half done: node-1" in done.said["summary"]
    assert free(run.home)
    assert running(run) == []
    again = run(limit=["node-1"])
    assert again.code == 0
    assert [change["role"] for change in again.hosts["node-1"]["changed"]] == ["second"]


def test_killed_without_a_word_nothing_of_it_goes_on(run: Runner) -> None:
    process = run.start(seconds=600, limit=["node-1"])
    until(begun(run))
    assert running(run)
    assert list(run.temporary.glob("gcloud-pk-*/inventory.yml"))
    process.kill()
    process.communicate()
    until(lambda: free(run.home))
    assert running(run) == []
    # Its folder for keys, inventory and sockets is gone as well.
    assert list(run.temporary.glob("gcloud-pk-*/*")) == []
    ((_, kept),) = record.records(run.home)
    assert kept["outcome"] == "running"
    assert run(limit=["node-1"]).code == 0


def test_the_keeper_killed_takes_ansible_with_it(run: Runner) -> None:
    process = run.start(seconds=600, limit=["node-1"])
    until(begun(run))
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    done = run.end(process)
    assert done.code == 8
    assert done.outcomes == ["half-done"]


def test_the_command_checks_a_lab_without_trust_and_says_so(nodes: Nodes) -> None:
    env = nodes.env | {"GCLOUD_PK_REGISTRY": str(nodes.registry)}
    words = ["node", "harden", "--site", "lab-nodes", "--limit", "rack-1", "--tags", "cron", "--yes"]
    done = subprocess.run([CLI, *words], capture_output=True, text=True, env=env, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert "the registry is not trusted" in done.stderr
    assert "1 host hardened" in done.stdout
    listed = nodes.gcloud_pk("node", "runs", "--site", "lab-nodes", check=0).stdout
    assert "1 host hardened" in listed


def test_what_a_reboot_would_change_is_told_and_a_reboot_changes_it(nodes: Nodes) -> None:
    def told() -> dict[str, tuple[str, str]]:
        said = json.loads(
            nodes.gcloud_pk(
                "node", "reboot-check", "--site", "lab-nodes", "--limit", "node-3", "--format", "json", check=0
            ).stdout
        )
        return {one["subject"]: (one["now"], one["after"]) for one in said["hosts"][0]["differences"] if one["seen"]}

    assert told() == {}
    nodes.sudo(
        "node-3",
        "echo net.ipv4.conf.all.log_martians=1 > /etc/sysctl.d/99-z.conf; systemctl stop cron\n"
        "printf '[Service]\\nExecStart=sleep 9999\\n[Install]\\nWantedBy=basic.target\\n'"
        " > /etc/systemd/system/by-hand.service\n"
        "systemctl start by-hand; echo 'tmpfs /srv tmpfs nodev,noexec 0 0' >> /etc/fstab; touch /run/reboot-required",
    )
    expected = {
        "net.ipv4.conf.all.log_martians": ("0", "1"),
        "cron.service": ("inactive", "started"),
        "by-hand.service": ("active", "not started"),
        "/srv": ("not mounted", "mounted (nodev,noexec)"),
        "/run/reboot-required": ("there", "gone"),
    }
    assert told() == expected
    nodes.sudo("node-3", "systemd-run --on-active=1 systemctl reboot")
    until(lambda: nodes.ssh("node-3", "test ! -e /run/reboot-required", check=False).returncode == 0, 180)
    until(lambda: nodes.ssh("node-3", "systemctl is-active cron", check=False).returncode == 0, 60)
    assert told() == {}


def test_a_node_that_sends_without_end_is_left_alone_and_the_others_are_asked(nodes: Nodes) -> None:
    nodes.sudo("node-2", "echo yes > /etc/ssh/sshrc")
    done = nodes.gcloud_pk("node", "reboot-check", "--site", "lab-nodes", "--format", "json", check=7)
    answered = {host["name"]: host["answered"] for host in json.loads(done.stdout)["hosts"]}
    assert answered == {"node-1": True, "node-2": False, "node-3": True}
