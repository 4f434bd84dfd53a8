"""Accounts of a node, as its files tell them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from playbooks.module_utils.node_users import Ageing, accounts, doubts, groups, keys, rsa_bits

PASSWD = """root:x:0:0:root:/root:/bin/bash
sync:x:4:65534:sync:/bin:/bin/sync
ali:x:1000:1000::/home/ali:/bin/bash
not a line
bad:x:one:2::/:/bin/sh
"""
SHADOW = "root:*:20000:0:365:7:::\nsync:*:20000:0:99999:7:::\nali:$6$x$y:20000:7:60:7:30::\n"
GROUP = "root:x:0:\nsudo:x:27:ali,zoe\nali:x:1000:\nnogroup:x:65534:\n"


def test_lines_that_are_none_are_left_out() -> None:
    assert [one.name for one in accounts(PASSWD, SHADOW)] == ["root", "sync", "ali"]


def test_an_account_has_the_ages_of_its_shadow() -> None:
    by_name = {one.name: one for one in accounts(PASSWD, SHADOW)}
    assert by_name["ali"].ageing == Ageing(7, 60, 7, 30)
    assert by_name["root"].ageing == Ageing(0, 365, 7, None)


@pytest.mark.parametrize(
    ("hash_", "locked"),
    [("*", True), ("!", True), ("!$6$x$y", True), ("$6$x$y", False), ("", False)],
    ids=["star", "exclamation-mark", "locked-hash", "hash", "empty"],
)
def test_a_hash_that_no_password_has_is_a_lock(hash_: str, locked: bool) -> None:
    (one,) = accounts("ali:x:1000:1000::/home/ali:/bin/bash\n", f"ali:{hash_}:1:0:9:7:::\n")
    assert one.locked is locked


def test_groups_have_numbers_and_members() -> None:
    assert groups(GROUP)["sudo"] == (27, ("ali", "zoe"))


def test_a_sound_node_leaves_no_doubt() -> None:
    assert doubts(accounts(PASSWD, SHADOW), groups(GROUP)) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("toor:x:0:0::/:/bin/sh", "account toor has uid 0: remove it"),
        ("twin:x:1000:1000::/:/bin/sh", "uid 1000 is used 2 times"),
        ("ali:x:1001:1000::/:/bin/sh", "name ali is used 2 times"),
        ("zoe:x:1001:4242::/:/bin/sh", "account zoe is of group 4242, which is not there"),
    ],
    ids=["second-root", "same-uid", "same-name", "no-such-group"],
)
def test_what_a_person_has_to_put_right_is_said(line: str, said: str) -> None:
    assert said in doubts(accounts(f"{PASSWD}{line}\n", SHADOW), groups(GROUP))


@pytest.mark.parametrize("bits", [2048, 3072])
def test_the_size_of_an_rsa_key_is_that_of_ssh_keygen(tmp_path: Path, bits: int) -> None:
    file = tmp_path / "key"
    command = ["ssh-keygen", "-q", "-t", "rsa", "-b", str(bits), "-N", "", "-f", str(file)]
    subprocess.run(command, check=True, timeout=60)
    line = file.with_suffix(".pub").read_text(encoding="utf-8")
    assert rsa_bits(line) == bits
    assert rsa_bits(f'restrict,command="/bin/true x" {line}') == bits


def test_a_key_of_another_kind_has_no_size() -> None:
    assert rsa_bits("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICI3 a comment") is None
    assert rsa_bits("") is None


def test_comments_and_blank_lines_are_no_keys() -> None:
    assert keys("# none\n\n  \nssh-ed25519 AAAA x\n") == ["ssh-ed25519 AAAA x"]
