"""Who gets in, as the audit asks it: the proofs that sshd offers, options of keys, rules of PAM that come early."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.test_nodes_inventory import site as site_of

from gcloud_pk.model.site import Host, Site
from gcloud_pk.nodes import collector, door
from gcloud_pk.nodes.gather import Gathered
from gcloud_pk.nodes.inventory import Route


@pytest.fixture
def site() -> Site:
    return site_of()


@pytest.mark.parametrize(
    ("code", "said", "found"),
    [
        (255, "root@10.0.0.1: Permission denied (publickey).\r\n", ["publickey"]),
        (255, "a@b: Permission denied (publickey,password,keyboard-interactive).", [
            "keyboard-interactive", "password", "publickey"]),
        (255, "a@b: Permission denied ().", []),
        (255, "Permission denied (password).\nroot@10.0.0.1: Permission denied (publickey).", ["publickey"]),
        (255, "ssh: connect to host 10.0.0.1 port 22: Connection refused", None),
        (255, "", None),
        (0, "", ["none"]),
    ],
    ids=["keys", "passwords-too", "nothing", "the-last-word", "nobody-there", "silence", "no-proof-at-all"],
)  # fmt: skip
def test_what_sshd_offers_is_what_ssh_says_at_the_end(code: int, said: str, found: list[str] | None) -> None:
    assert door.offered(code, said) == found


def test_every_kind_of_user_is_asked_for_without_a_proof_and_on_a_connection_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site: Site
) -> None:
    program = tmp_path / "ssh"
    denied = "echo 'x: Permission denied (publickey).' >&2; exit 255"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n{denied}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    host = site.spec.hosts[0]
    found = door.methods(site, host, Route(tmp_path / "known_hosts"))
    assert found == {who: ["publickey"] for who in ("admin", "audit", "root", "unknown")}
    calls = (tmp_path / "calls").read_text().splitlines()
    for user in (site.spec.ssh.user, site.spec.ssh.audit_user, "root", door.UNKNOWN):
        (call,) = [one for one in calls if f" -l {user} " in one]
        for option in ("PreferredAuthentications=none", "ControlPath=none", f"HostName={host.address}"):
            assert f"-o {option}" in call


def test_what_sshd_did_not_say_is_not_checked(site: Site) -> None:
    seen = {
        "ports": {"open": [22]},
        "ssh": {"kex": [], "ciphers": [], "macs": [], "methods": {"admin": ["publickey"], "root": None}},
        "tls": [],
    }
    host: Host = site.spec.hosts[0]
    found = Gathered(host, None, 0.0, seen=seen)
    assert "root" in found.all_facts().refused["outside.ssh.methods"]
    seen["ssh"] = {"kex": [], "ciphers": [], "macs": [], "methods": {"admin": ["publickey"]}}
    assert "outside.ssh.methods" not in replace(found, seen=seen).all_facts().refused


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("ssh-ed25519 AAAA me@here", ""),
        ("restrict ssh-ed25519 AAAA", "restrict"),
        ('command="/bin/sh -c \\"a b\\"",no-pty ssh-rsa AAAA', 'command="/bin/sh -c \\"a b\\"",no-pty'),
        ('environment="A=ssh-rsa b" sk-ssh-ed25519@openssh.com AAAA', 'environment="A=ssh-rsa b"'),
        ('from="10.0.0.0/8  ecdsa-sha2-nistp256 AAAA', 'from= "10.0.0.0/8  ecdsa-sha2-nistp256 AAAA'),
    ],
    ids=["none", "one", "spaces-and-quotes", "a-kind-between-quotes", "a-quote-that-does-not-end"],
)  # fmt: skip
def test_what_stands_before_a_key_is_told(line: str, options: str) -> None:
    assert collector.key_options(line) == options


@pytest.mark.parametrize(
    ("rules", "early"),
    [
        ("required pam_faillock.so preauth\nauth sufficient pam_unix.so", []),
        ("optional pam_faildelay.so\nauth [success=ok default=ignore] pam_x.so\nauth required pam_faillock.so", []),
        ("Sufficient pam_permit.so\nauth required pam_faillock.so", ["sufficient pam_permit"]),
        ("[success=1 default=ignore] pam_unix.so\nauth required pam_faillock.so", [
            "[success=1 default=ignore] pam_unix"]),
        ("[default=DONE] /tmp/x.so\nauth required pam_faillock.so", ["[default=done] x"]),
        ("sufficient pam_unix.so", ["sufficient pam_unix"]),
    ],
    ids=["counted-first", "rules-that-let-nobody-through", "any-case", "a-leap", "done", "never-counted"],
)  # fmt: skip
def test_rules_that_let_through_before_failures_are_counted_are_told(rules: str, early: list[str]) -> None:
    assert collector.pam_early(list(collector.pam_rows("sshd", lambda _: "auth " + rules))) == early


def test_the_folder_of_a_module_and_rules_in_any_case_are_told() -> None:
    text = "AUTH required ../../../var/tmp/pam_unix.so\nauth required pam_deny.so\n"
    found = [(row["type"], row["folder"], row["module"]) for row in collector.pam_rows("login", lambda _: text)]
    assert found == [("auth", "../../../var/tmp", "pam_unix"), ("auth", "", "pam_deny")]


def test_variables_of_sessions_are_told_whatever_their_form() -> None:
    rows = [
        ("/etc/environment", 'export PATH="/usr/bin:/bin"'),
        ("/etc/default/locale", "LANG=C.UTF-8"),
        ("/etc/security/pam_env.conf", "LD_PRELOAD\tDEFAULT=/a OVERRIDE=/b"),
        ("/etc/security/pam_env.conf", "DEFAULT=/goes/on"),
    ]
    assert [(row["name"], row["value"]) for row in collector.session_variables(rows)] == [
        ("PATH", "/usr/bin:/bin"), ("LANG", "C.UTF-8"), ("LD_PRELOAD", "/a /b"), ("DEFAULT=/goes/on", ""),
    ]  # fmt: skip
