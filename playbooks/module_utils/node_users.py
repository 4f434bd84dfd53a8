"""Accounts of a node: what its files say, and what a baseline makes of them. Pure; Python 3.9; runs on the node.

Formats: passwd(5), shadow(5), group(5).
"""

from __future__ import annotations

import base64
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

NOBODY = 65534
NOLOGIN = ("/usr/sbin/nologin", "/sbin/nologin", "/bin/false", "/usr/bin/false")


class Ageing(NamedTuple):
    """Days of shadow(5); None where the field is empty."""

    least: int | None
    most: int | None
    warn: int | None
    inactive: int | None

    def __str__(self) -> str:
        return f"min {self.least} max {self.most} warn {self.warn} inactive {self.inactive}"


class Account(NamedTuple):
    """One line of passwd, with its line of shadow. `password` is the hash as it stands; None without a shadow line."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str
    shadowed: bool
    password: str | None
    ageing: Ageing

    @property
    def locked(self) -> bool:
        """Whether no password opens the account (shadow(5): `!` and `*` begin no hash)."""
        return self.password is not None and self.password[:1] in {"!", "*"}

    @property
    def ordinary(self) -> bool:
        """Whether it is a person's or a tool's: neither root nor the system's (login.defs(5), UID_MIN; nobody)."""
        return 1000 <= self.uid < NOBODY

    @property
    def opens(self) -> bool:
        """Whether its shell opens a session."""
        return self.shell not in NOLOGIN


def _days(text: str) -> int | None:
    return int(text) if text.lstrip("-").isdecimal() else None


def accounts(passwd: str, shadow: str) -> list[Account]:
    """Return the accounts that two texts describe, in the order of passwd; lines that are none are left out."""
    secrets: dict[str, list[str]] = {}
    for line in shadow.splitlines():
        fields = line.split(":")
        if len(fields) >= 8:
            secrets.setdefault(fields[0], fields)
    found = []
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) != 7 or not fields[2].isdecimal() or not fields[3].isdecimal():
            continue
        secret = secrets.get(fields[0])
        ageing = Ageing(*(_days(one) for one in secret[3:7])) if secret else Ageing(None, None, None, None)
        found.append(
            Account(
                name=fields[0],
                uid=int(fields[2]),
                gid=int(fields[3]),
                home=fields[5],
                shell=fields[6] or "/bin/sh",
                shadowed=fields[1] == "x",
                password=secret[1] if secret else None,
                ageing=ageing,
            )
        )
    return found


def groups(text: str) -> dict[str, tuple[int, tuple[str, ...]]]:
    """Return the groups that a text describes: name to number and members."""
    found: dict[str, tuple[int, tuple[str, ...]]] = {}
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) == 4 and fields[2].isdecimal():
            found.setdefault(fields[0], (int(fields[2]), tuple(one for one in fields[3].split(",") if one)))
    return found


def doubts(known: Iterable[Account], known_groups: Mapping[str, tuple[int, tuple[str, ...]]]) -> list[str]:
    """Return what only a person can put right: ids and names that are used twice, groups that are not there."""
    many = list(known)
    numbers = {number for number, _ in known_groups.values()}
    said = []
    for what, counted in (
        ("name", Counter(one.name for one in many)),
        ("uid", Counter(str(one.uid) for one in many)),
        ("gid", Counter(str(number) for number, _ in known_groups.values())),
    ):
        said += [f"{what} {value} is used {times} times" for value, times in counted.items() if times > 1]
    said += [f"account {one.name} has uid 0: remove it" for one in many if one.uid == 0 and one.name != "root"]
    said += [f"account {one.name} is of group {one.gid}, which is not there" for one in many if one.gid not in numbers]
    return said


def rsa_bits(line: str) -> int | None:
    """Return the size of the RSA key on a line of authorized_keys or of a .pub file; None if it is no RSA key.

    Format: RFC 4253 section 6.6 (string "ssh-rsa", mpint e, mpint n).
    """
    words = line.split()
    if "ssh-rsa" not in words[:-1]:
        return None
    blob = base64.b64decode(words[words.index("ssh-rsa") + 1] + "==")
    parts = []
    while blob:
        (length,) = struct.unpack(">I", blob[:4])
        parts.append(blob[4 : 4 + length])
        blob = blob[4 + length :]
    return int.from_bytes(parts[2], "big").bit_length()


def keys(text: str) -> list[str]:
    """Return the lines of authorized_keys that hold a key (sshd(8), AUTHORIZED_KEYS FILE FORMAT)."""
    return [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
