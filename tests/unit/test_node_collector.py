"""What the collector makes of the words of programs and files: effective values, in the order in which they count."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gcloud_pk.nodes import collector

SOURCE = Path(str(collector.__file__))


# --- the program itself ---


def test_it_is_one_program_of_the_standard_library() -> None:
    tree = ast.parse(SOURCE.read_text())
    imported = {
        name.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    }
    imported |= {str(node.module).split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= sys.stdlib_module_names


def test_python_3_9_can_read_it() -> None:
    tree = ast.parse(SOURCE.read_text(), feature_version=(3, 9))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Match)]


def test_it_runs_from_standard_input_and_answers_the_question_asked(tmp_path: Path) -> None:
    request = {
        "admin": "a",
        "audit": "b",
        "nonce": "n-1",
        "wanted": {"paths": ["/etc/passwd"], "sysctl": ["kernel.ostype"]},
    }
    # The machine of the tests is not looked at: every program says no.
    sent = f"{SOURCE.read_text()}\n_run = lambda argv: (1, '', 'no')\nmain(json.loads({json.dumps(request)!r}))\n"
    done = subprocess.run(
        [sys.executable, "-I", "-"], input=sent, capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    found = json.loads(done.stdout.rpartition(collector.MARK)[2])
    assert found["nonce"] == "n-1"
    assert found["broken"] == {}
    assert found["facts"]["sysctl"]["live"] == {"kernel.ostype": "Linux"}
    assert found["facts"]["paths"]["/etc/passwd"]["kind"] == "file"
    assert list(tmp_path.iterdir()) == []


def test_what_it_runs_as_root_is_exact_and_reads_only() -> None:
    for name, argv in collector.AUDIT_COMMANDS.items():
        assert argv[0].startswith("/"), name
        assert not any(c in word for word in argv for c in "*?[]\\'\"\n;&|$`>"), name
        assert not set(argv) & {"-delete", "-fprintf", "-ok", "-w", "--write", "-f/etc/shadow"}, name
        assert [argv[i + 1 :] for i, word in enumerate(argv) if word.startswith("-exec")] in (
            [],
            [("/usr/bin/md5sum", "{}", "+")],
        ), name
        assert not any("shadow" in word or "_key" in word.removesuffix("/authorized_keys") for word in argv), name


def test_no_secret_is_ever_opened() -> None:
    code = SOURCE.read_text()
    for secret in ("/etc/shadow", "/etc/gshadow", "/opasswd", "chrony.keys", "id_rsa", '_key"'):
        assert secret not in code


# --- sshd ---


def test_the_keywords_of_sshd_are_texts_and_lists() -> None:
    said = "port 22\nport 2222\npermitrootlogin no\nciphers aes256-ctr,aes128-ctr\nallowusers adm audit\nbanner none\n"
    assert collector.keywords(said) == {
        "port": ["22", "2222"], "permitrootlogin": "no", "ciphers": ["aes256-ctr", "aes128-ctr"],
        "allowusers": ["adm", "audit"], "banner": "none",
    }  # fmt: skip


def test_match_blocks_of_all_files_are_found_and_end_with_their_file() -> None:
    rows = collector.grepped(
        "/etc/ssh/sshd_config:1:Include /etc/ssh/sshd_config.d/*.conf\n"
        "/etc/ssh/sshd_config:2:PermitRootLogin no\n"
        "/etc/ssh/sshd_config.d/50-late.conf:1:# Match all\n"
        "/etc/ssh/sshd_config.d/50-late.conf:2:match Address=10.0.0.0/8 # inside\n"
        "/etc/ssh/sshd_config.d/50-late.conf:4:  PasswordAuthentication=yes\n"
        "/etc/ssh/sshd_config.d/60-later.conf:1:X11Forwarding no\n"
    )
    blocks, includes = collector.match_blocks(rows)
    assert includes == ["/etc/ssh/sshd_config.d/*.conf"]
    assert [(b["criteria"], b["line"], b["settings"]) for b in blocks] == [
        ("Address 10.0.0.0/8", 2, {"passwordauthentication": "yes"})
    ]


# --- kernel parameters ---


@pytest.mark.parametrize(
    ("files", "key", "value"),
    [
        ([("10", "net.ipv4.ip_forward = 0"), ("99", "net.ipv4.ip_forward=1")], "net.ipv4.ip_forward", "1"),
        ([("10", "net/ipv4/ip_forward = 1")], "net.ipv4.ip_forward", "1"),
        ([("10", "-net.ipv4.ip_forward=1")], "net.ipv4.ip_forward", "1"),
        ([("10", "net.ipv4.conf.*.rp_filter=2")], "net.ipv4.conf.eth0.rp_filter", "2"),
        ([("10", "net.ipv4.conf.a.x=1"), ("99", "net.ipv4.conf.*.x=0")], "net.ipv4.conf.a.x", "1"),
        ([("10", "net.ipv4.conf.*.rp_filter=0\n-net.ipv4.conf.all.rp_filter")], "net.ipv4.conf.all.rp_filter", None),
        ([("10", "# a\n; b\nnet.ipv4.tcp_rmem = 4096\t87380  6291456")], "net.ipv4.tcp_rmem", "4096 87380 6291456"),
        ([("10", "net.ipv4.conf.*.rp_filter=1")], "net.ipv4.conf.all.arp_filter", None),
        ([], "kernel.kptr_restrict", None),
    ],
    ids=[
        "the-last-file-counts", "slashes", "errors-ignored", "a-glob", "a-key-before-every-glob", "kept-off-a-glob",
        "spaces", "another-key", "nobody-says",
    ],
)  # fmt: skip
def test_the_value_after_a_boot_is_the_one_that_systemd_would_set(
    files: list[tuple[str, str]], key: str, value: str | None
) -> None:
    found = collector.sysctl_at_boot(collector.sysctl_settings(files), key)
    assert (found[0] if found else None) == value


def test_a_drop_in_of_an_earlier_folder_hides_one_of_its_name(tmp_path: Path) -> None:
    for folder, name in (("etc", "50-a.conf"), ("lib", "50-a.conf"), ("lib", "99-b.conf"), ("lib", "README")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).touch()
    found = collector.merged([f"{tmp_path}/etc", f"{tmp_path}/run", f"{tmp_path}/lib"], ".conf")
    assert found == [f"{tmp_path}/etc/50-a.conf", f"{tmp_path}/lib/99-b.conf"]


# --- accounts, PAM and sudo ---


def test_a_pam_stack_has_what_is_included_at_its_place() -> None:
    files = {
        "sshd": "# PAM\n@include common-auth\naccount  required pam_nologin.so\nauth include other\n",
        "common-auth": "auth [success=1 \\\n  default=ignore] pam_unix.so nullok\n"
        "-auth optional /lib/security/pam_x.so a=b # why\n",
        "other": "auth required pam_deny.so\nsession required pam_permit.so\n",
    }
    rows = list(collector.pam_rows("sshd", lambda name: files.get(name, "")))
    assert [row["text"] for row in rows if row["type"] == "auth"] == [
        "[success=1 default=ignore] pam_unix nullok", "optional pam_x a=b", "required pam_deny",
    ]  # fmt: skip
    assert [row["module"] for row in rows if row["type"] != "auth"] == ["pam_nologin"]


def test_a_pam_stack_that_includes_itself_ends() -> None:
    assert list(collector.pam_rows("a", lambda _: "@include a\nauth required pam_deny.so\n"))


def test_who_may_do_what_by_sudo_is_told_row_by_row() -> None:
    document = {
        "User_Specs": [
            {
                "User_List": [{"usergroup": "ops"}, {"username": "eve", "negated": True}],
                "Host_List": [{"hostname": "ALL"}],
                "Cmnd_Specs": [
                    {"Options": [{"authenticate": False}], "Commands": [{"command": "/usr/bin/id"}]},
                    {"runasusers": [{"username": "www"}], "Commands": [{"command": "ALL"}]},
                ],
            }
        ]
    }
    first, second = collector.sudo_rules(document)
    assert (first["users"], first["nopasswd"], first["runas"], first["all"]) == (
        ["%ops", "!eve"],
        True,
        ["root"],
        False,
    )
    assert (second["nopasswd"], second["runas"], second["all"]) == (False, ["www"], True)


# --- network ---

RULESET = """\
table inet gcloud_pk {
\tset admins {
\t\ttype ipv4_addr
\t\telements = { 10.0.0.1,
\t\t\t     10.0.0.2 }
\t}

\tchain input {
\t\ttype filter hook input priority 0; policy drop;
\t\tct state established,related accept
\t\ttcp dport { 22, 6443 } accept comment "SSH; API"
\t\tip saddr 10.0.0.0/8 jump inside
\t\tlog prefix "dropped: " limit rate 5/minute
\t}

\tchain inside {
\t}
}
table ip nat {
\tchain post {
\t\ttype nat hook postrouting priority 100; policy accept;
\t}
}
"""


def test_tables_chains_and_rules_are_those_of_the_ruleset() -> None:
    found = collector.ruleset(RULESET)
    assert [f"{t['family']} {t['name']}" for t in found["tables"]] == ["inet gcloud_pk", "ip nat"]
    assert [(c["name"], c["hook"], c["priority"], c["policy"], c["rules"]) for c in found["chains"]] == [
        ("input", "input", 0, "drop", 4), ("inside", None, None, None, 0), ("post", "postrouting", 100, "accept", 0),
    ]  # fmt: skip
    assert [rule["verdict"] for rule in found["rules"]] == ["accept", "accept", "jump inside", None]


# --- packages ---


def test_sources_of_both_styles_say_whether_they_are_signed() -> None:
    rows = collector.apt_sources([
        ("/etc/apt/sources.list", "# deb http://old x\ndeb [signed-by=/k.gpg arch=amd64] http://a/debian b main\n"),
        ("/etc/apt/sources.list.d/b.list", "deb [trusted=yes] http://b/ ./\n"),
        (
            "/etc/apt/sources.list.d/c.sources",
            "Types: deb\nURIs: http://c/ http://d/\nSuites: bookworm\nSigned-By: /k.gpg\n\nEnabled: no\nURIs: http://e/\n",
        ),
    ])  # fmt: skip
    assert [(row["uri"], row["signed_by"], row["trusted"]) for row in rows] == [
        ("http://a/debian", "/k.gpg", False), ("http://b/", None, True), ("http://c/", "/k.gpg", False),
        ("http://d/", "/k.gpg", False),
    ]  # fmt: skip


# --- audit and integrity ---


def test_audit_rules_come_in_the_order_of_augenrules() -> None:
    rows: list[Any] = [
        ("/etc/audit/rules.d/99-finalize.rules", 1, "-e 2"),
        ("/etc/audit/rules.d/10-base.rules", 1, "-D"),
        ("/etc/audit/rules.d/10-base.rules", 2, "-b 8192"),
        ("/etc/audit/rules.d/9-first.rules", 1, "-w /etc/passwd   -p wa"),
        ("/etc/audit/rules.d/100-late.rules", 1, "-e 0"),
        ("/etc/audit/rules.d/10-base.rules", 3, "# comment"),
        ("/etc/audit/rules.d/readme", 1, "-a never,exit"),
    ]
    assert collector.audit_order(rows) == ["-D", "-b 8192", "-w /etc/passwd -p wa", "-e 0"]


def test_names_are_sorted_as_ls_sorts_them(tmp_path: Path) -> None:
    for name in ("9-a", "10-a", "10-b", "100", "a10", "a9", "b"):
        (tmp_path / name).touch()
    listed = subprocess.run(["ls", "-1v"], cwd=tmp_path, capture_output=True, text=True).stdout.split()
    assert sorted(listed, key=collector.natural) == listed


def test_the_rules_of_aide_are_in_order_and_what_is_left_out_is_told() -> None:
    found = collector.aide_rules(
        ["database_in=file:/var/lib/aide/aide.db", "FULL = p+sha512", "/etc FULL", "!/var/log"]
    )
    assert [(row["path"], row["attributes"]) for row in found["rules"]] == [("/etc", "FULL")]
    assert found["excluded"] == ["/var/log"]
    assert found["groups"] == {"FULL": "p+sha512"}
    assert found["database"] == "/var/lib/aide/aide.db"


@pytest.mark.parametrize(
    ("lines", "separator", "found"),
    [
        (["# a", "UMASK 022", "UMASK\t077 # later"], None, {"UMASK": "077"}),
        (["minlen = 14", "; b", "enforce_for_root", "[section]"], "=", {"minlen": "14", "enforce_for_root": ""}),
        (['GRUB_CMDLINE="a b=c"'], "=", {"GRUB_CMDLINE": "a b=c"}),
    ],
)
def test_of_assignments_the_last_one_counts(lines: list[str], separator: str | None, found: dict[str, str]) -> None:
    assert collector.settled(lines, separator) == found


# --- what is refused ---


def test_what_the_auditor_may_not_see_is_refused_with_the_reason_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(argv: tuple[str, ...]) -> tuple[int, str, str]:
        return (1, "", "sudo: a password is required\n") if argv[0] == "/usr/bin/sudo" else (0, "", "")

    monkeypatch.setattr(collector, "_run", run)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("os.path.exists", lambda _: True)
    found = collector.collect({"admin": "a", "audit": "b", "wanted": {}})
    assert "sudo: a password is required" in found["refused"]["nft"]
    assert "sshd.effective" in found["refused"]
    assert "accounts" in found["facts"]


MOUNTINFO = """\
22 1 254:0 / / rw - ext4 /dev/vda rw
30 22 0:5 / /proc rw - proc proc rw
31 30 0:5 /sys /proc/sys ro - proc proc rw
32 31 0:5 /sys/net /proc/sys/net rw - proc proc rw
33 31 0:27 /gcloud-pk-lab/laid-over/kernel.panic /proc/sys/kernel/panic ro - tmpfs tmpfs rw
34 31 0:27 /x /proc/sys/vm/some\\040name ro - tmpfs tmpfs rw
"""


def test_what_is_mounted_over_a_kernel_parameter_is_told_from_the_kernels_own() -> None:
    assert collector.laid_over(MOUNTINFO) == ["/proc/sys/kernel/panic", "/proc/sys/vm/some name"]


def test_a_value_that_is_laid_over_is_refused_as_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "read", lambda path: MOUNTINFO if path == "/proc/self/mountinfo" else "10\n")
    monkeypatch.setattr(collector, "merged", lambda *_: [])
    node = collector.Node({"nonce": "n", "admin": "a", "audit": "b", "wanted": {"sysctl": ["kernel.panic", "vm.x"]}})
    found = collector.sysctl(node)
    assert found["live"] == {"kernel.panic": None, "vm.x": "10"}
    assert list(node.refused) == ["sysctl.live[kernel.panic]"]
    assert "not verifiable here" in node.refused["sysctl.live[kernel.panic]"]
