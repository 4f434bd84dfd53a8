"""Which lines of a node's files count: a drop-in that nothing names is not in force."""

from __future__ import annotations

import pytest

from gcloud_pk.nodes import collector

MAIN = "/etc/ssh/sshd_config"


def test_sshd_reads_what_an_include_names_and_nothing_else() -> None:
    rows = [
        (MAIN, 1, "Include /etc/ssh/sshd_config.d/*.conf"),
        (f"{MAIN}.d/10-one.conf", 1, "Include sshd_config.d/deeper"),
        (f"{MAIN}.d/deeper", 1, "PermitRootLogin yes"),
        (f"{MAIN}.d/left-over.bak", 1, "PasswordAuthentication yes"),
    ]
    assert [file for file, _, _ in collector.included(rows)] == [MAIN, f"{MAIN}.d/10-one.conf", f"{MAIN}.d/deeper"]
    assert collector.included(rows[1:]) == []


def test_files_of_sshd_that_include_each_other_are_read_once() -> None:
    rows = [(MAIN, 1, "include sshd_config.d/a"), (f"{MAIN}.d/a", 1, "Include /etc/ssh/sshd_config")]
    assert collector.included(rows) == rows


def test_chrony_reads_drop_ins_of_the_folders_that_its_file_names() -> None:
    folder = "/etc/chrony/conf.d"
    rows = [
        ("/etc/chrony/chrony.conf", 1, "confdir /etc/chrony/conf.d"),
        ("/etc/chrony/chrony.conf", 2, "# allow all"),
        (f"{folder}/a.conf", 1, "allow 0.0.0.0/0"),
        (f"{folder}/README", 1, "Put files here"),
        ("/etc/chrony/sources.d/b.sources", 1, "server 192.0.2.1"),
    ]
    assert collector.chrony_lines(rows) == ["confdir /etc/chrony/conf.d", "allow 0.0.0.0/0"]
    assert collector.chrony_lines(rows[1:]) == []


def test_macros_of_aide_stand_for_their_values() -> None:
    found = collector.aide_rules(["@@define DBDIR /srv/aide", "database_in=file:@@{DBDIR}/aide.db", "/etc Full"])
    assert found["database"] == "/srv/aide/aide.db"


@pytest.mark.parametrize(
    ("written", "single"),
    [
        ("p+sha512", ["p", "sha512"]),
        ("Full", ["acl", "p", "sha256", "u", "xattrs"]),
        ("Full-sha256", ["acl", "p", "u", "xattrs"]),
        ("Mine+n", ["n", "p", "u"]),
        ("Round", []),
    ],
)
def test_groups_of_aide_stand_for_their_attributes(written: str, single: list[str]) -> None:
    groups = {"Mine": "p+u", "Full": "Mine+acl+xattrs+sha256", "Round": "Round"}
    assert collector.aide_attributes(written, groups) == single
