"""What the roles accounts, sudo and ssh put on a node, judged by the programs that will read it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.unit.role_templates import TARGET, program, rendered

from gcloud_pk.nodes.cluster.collector import COMMANDS, CONTROL_PLANE_COMMANDS
from gcloud_pk.nodes.collector import AUDIT_COMMANDS

VISUDO, CVTSUDOERS, SSHD, SSH = (program(name) for name in ("visudo", "cvtsudoers", "sshd", "ssh"))
SSHD_RUNS = SSHD is not None and Path("/run/sshd").is_dir()
ADMIN, AUDITOR = TARGET["node_admin_user"], TARGET["node_audit_user"]


def _ran(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _sudoers(folder: Path, **variables: Any) -> Path:
    file = folder / "sudoers"
    file.write_text(rendered("sudo", "sudoers.j2", **variables).replace("@includedir", "# "), encoding="utf-8")
    file.chmod(0o440)
    return file


def _rules(text: str, user: str) -> list[str]:
    return [line.partition(") ")[2] for line in text.splitlines() if line.startswith(f"{user} ALL=(")]


def _collected() -> set[str]:
    """Return what the collectors run on a node of a cluster."""
    names = {"admin": ADMIN, "audit": AUDITOR}
    every = [*AUDIT_COMMANDS.values(), *COMMANDS.values(), *CONTROL_PLANE_COMMANDS.values()]
    return {" ".join(word.format(**names) if "{a" in word else word for word in words) for words in every}


@pytest.mark.skipif(VISUDO is None, reason="visudo is not installed")
@pytest.mark.parametrize("level", ["cl1", "cl2", "cl3"])
def test_visudo_accepts_the_rules_of_every_level(tmp_path: Path, level: str) -> None:
    _ran(str(VISUDO), "-cf", str(_sudoers(tmp_path, node_level=level, sudo_groups=["platform"])))


@pytest.mark.skipif(CVTSUDOERS is None, reason="cvtsudoers is not installed")
def test_sudo_itself_reads_the_auditors_commands_as_the_collector_says_them(tmp_path: Path) -> None:
    document = json.loads(_ran(str(CVTSUDOERS), "-f", "json", str(_sudoers(tmp_path))))
    read = {
        command["command"]
        for spec in document["User_Specs"]
        if spec["User_List"] == [{"username": AUDITOR}]
        for one in spec["Cmnd_Specs"]
        for command in one["Commands"]
    }
    assert {one.replace("\\", "") for one in read} == _collected()


def test_the_auditor_may_run_what_the_collector_runs_and_nothing_else() -> None:
    rules = _rules(rendered("sudo", "sudoers.j2"), AUDITOR)
    assert {rule.partition(": ")[2].replace("\\", "") for rule in rules} == _collected()


def test_where_no_cluster_runs_the_auditor_asks_nothing_of_one() -> None:
    rules = _rules(rendered("sudo", "sudoers.j2", node_role="plain"), AUDITOR)
    assert len(rules) == len(AUDIT_COMMANDS)


def test_no_command_of_the_auditor_has_a_wildcard_or_lacks_its_arguments() -> None:
    for rule in _rules(rendered("sudo", "sudoers.j2"), AUDITOR):
        command = rule.partition(": ")[2]
        assert not set(re.sub(r"\\.", "", command)) & set("*?[]!"), command
        assert command.startswith("/"), command
        assert " " in command, command


def test_a_command_without_arguments_is_allowed_without_arguments_only() -> None:
    assert _rules(rendered("sudo", "sudoers.j2", sudo_audit_commands=["/usr/bin/id"], node_role="plain"), AUDITOR) == [
        'NOPASSWD: /usr/bin/id ""'
    ]


def test_what_separates_commands_in_sudoers_is_part_of_an_argument() -> None:
    (rule,) = _rules(
        rendered("sudo", "sudoers.j2", sudo_audit_commands=["/usr/bin/ps -o a,b=c:d"], node_role="plain"), AUDITOR
    )
    assert rule == r"NOPASSWD: /usr/bin/ps -o a\,b\=c\:d"


def test_only_the_two_accounts_of_the_platform_are_not_asked_for_a_password() -> None:
    lines = rendered("sudo", "sudoers.j2", sudo_groups=["platform"]).splitlines()
    assert {line.split()[0] for line in lines if "NOPASSWD" in line} == {ADMIN, AUDITOR}


def test_commands_start_no_others_from_the_second_level_on_but_ansible_does() -> None:
    assert "Defaults noexec" not in rendered("sudo", "sudoers.j2", node_level="cl1")
    text = rendered("sudo", "sudoers.j2", node_level="cl2")
    assert "\nDefaults noexec\n" in text
    assert f"\nDefaults:{ADMIN} !requiretty, !noexec," in text


def _sshd_config(folder: Path, **variables: Any) -> Path:
    key = folder / "host_key"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, timeout=20)
    file = folder / "sshd_config"
    text = rendered("ssh", "sshd_config.j2", **variables)
    file.write_text(text.replace("@HOST_KEYS@", f"HostKey {key}"), encoding="utf-8")
    return file


def _effective(file: Path, user: str = ADMIN, address: str = "10.1.2.3") -> dict[str, list[str]]:
    said = _ran(str(SSHD), "-T", "-f", str(file), "-C", f"user={user}", "-C", "host=h", "-C", f"addr={address}")
    values: dict[str, list[str]] = {}
    for line in said.splitlines():
        key, _, value = line.partition(" ")
        values.setdefault(key, []).append(value)
    return values


@pytest.mark.skipif(not SSHD_RUNS, reason="sshd is not installed, or its folder /run/sshd is not there")
def test_sshd_accepts_the_configuration_and_takes_keys_only(tmp_path: Path) -> None:
    values = _effective(_sshd_config(tmp_path))
    assert values["permitrootlogin"] == ["no"]
    assert values["authenticationmethods"] == ["publickey"]
    assert values["passwordauthentication"] == values["kbdinteractiveauthentication"] == ["no"]
    assert values["disableforwarding"] == ["yes"]
    assert values["allowusers"] == [ADMIN, AUDITOR]


@pytest.mark.skipif(not SSHD_RUNS, reason="sshd is not installed, or its folder /run/sshd is not there")
def test_sshd_offers_nothing_weak(tmp_path: Path) -> None:
    values = _effective(_sshd_config(tmp_path))
    offered = ",".join(values[key][0] for key in ("ciphers", "macs", "kexalgorithms", "hostkeyalgorithms"))
    words = offered.split(",")
    weak = ("cbc", "3des", "arcfour", "md5", "sha1", "umac", "group1-", "group14", "dss", "chacha")
    assert not [word for word in words if any(one in word for one in weak) or word in {"ssh-rsa", "hmac-sha1"}]


def test_who_comes_in_is_named_with_every_network_that_the_site_names() -> None:
    text = rendered("ssh", "sshd_config.j2", node_ssh_allow_from=["10.0.0.0/8", "fd00::/8"], ssh_users=["ops"])
    named = [line.partition(" ")[2] for line in text.splitlines() if line.startswith("AllowUsers ")]
    assert named == [f"{user}@{net}" for user in (ADMIN, AUDITOR, "ops") for net in ("10.0.0.0/8", "fd00::/8")]


def test_sshd_reads_no_other_file() -> None:
    assert "include" not in rendered("ssh", "sshd_config.j2").lower().replace("included", "")
    assert "match" not in rendered("ssh", "sshd_config.j2").lower()


@pytest.mark.skipif(SSH is None, reason="ssh is not installed")
def test_a_drop_in_cannot_make_the_client_accept_an_unknown_host(tmp_path: Path) -> None:
    (tmp_path / "weak.conf").write_text("Host *\n  StrictHostKeyChecking no\n  Ciphers aes128-cbc\n", encoding="utf-8")
    file = tmp_path / "ssh_config"
    text = rendered("ssh", "ssh_config.j2").replace("/etc/ssh/ssh_config.d", str(tmp_path))
    file.write_text(text, encoding="utf-8")
    said = _ran(str(SSH), "-G", "-F", str(file), "example.org").splitlines()
    assert "stricthostkeychecking true" in said
    assert not [line for line in said if line.startswith("ciphers ") and "cbc" in line]


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_an_idle_shell_ends_and_its_user_cannot_change_that(tmp_path: Path, shell: str) -> None:
    file = tmp_path / "profile.sh"
    file.write_text(rendered("accounts", "profile.sh.j2"), encoding="utf-8")
    # Twice: /etc/profile is read again by every shell that is started as one of a login.
    script = f". {file}; . {file}; umask; echo $TMOUT; (TMOUT=0) 2>/dev/null || echo refused"
    assert _ran(shell, "-c", script).split() == ["0077", "600", "refused"]


def test_a_lock_comes_after_a_password_was_wrong_and_a_password_is_never_empty() -> None:
    text = rendered("accounts", "pam-profile.j2")
    stack = [line.split() for line in text.partition("Auth:\n")[2].partition("Account-Type")[0].splitlines()]
    modules = [words[2 if words[0].startswith("[success") else 1] for words in stack]
    assert modules == ["pam_faildelay.so", "pam_faillock.so", "pam_unix.so", "pam_faillock.so", "pam_faillock.so"]
    assert [words[-1] for words in stack if "pam_faillock.so" in words] == ["preauth", "authfail", "authsucc"]
    assert "nullok" not in text


def test_the_age_of_a_password_never_stops_a_key_or_a_timer() -> None:
    account = rendered("accounts", "pam-profile.j2").partition("Account:\n")[2].partition("Password-Type")[0]
    assert "pam_unix.so no_pass_expiry" in account
