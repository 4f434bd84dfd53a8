"""Modes of files as chmod(1) understands them, and owners by name. Pure; Python 3.9; runs on the node."""

from __future__ import annotations

import re

_CLAUSE = re.compile(r"([ugoa]+)((?:[-+=](?:[rwxXst]*|[ugo]))+)")
_ACTION = re.compile(r"([-+=])([rwxXst]*|[ugo])(?=[-+=]|$)")
_OCTAL = re.compile(r"[0-7]{4}")  # four, so that a number that YAML made of 0644 is no mode
_SHIFT = {"u": 6, "g": 3, "o": 0}
_BITS = {"r": 4, "w": 2, "x": 1}


def exact(mode: str) -> int | None:
    """Return the bits of an octal mode such as "0644", or None if it is symbolic."""
    return int(mode, 8) if _OCTAL.fullmatch(mode) else None


def changed(mode: str, current: int, *, folder: bool) -> int:
    """Return the permission bits (12 of them) that `mode` makes of `current`.

    Octal: exactly those. Symbolic: `who` (u, g, o, a; never left out, because then the umask would count), one or more
    of `+`, `-`, `=` each with any of rwxXst or with one of u, g, o to copy from; clauses are separated by commas.
    Raises ValueError for anything else.
    """
    fixed = exact(mode)
    if fixed is not None:
        return fixed
    bits = current & 0o7777
    for clause in mode.split(","):
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            raise ValueError(f"not a mode: {mode!r} (expected octal as 0640, or symbolic as go-w,o-rwx)")
        people = "ugo" if "a" in match[1] else match[1]
        for action in _ACTION.finditer(match[2]):
            bits = _applied(bits, people, action[1], action[2], folder=folder, everybody="a" in match[1])
    return bits


def _applied(bits: int, people: str, sign: str, what: str, *, folder: bool, everybody: bool) -> int:
    special = 0
    if "s" in what:
        special |= (0o4000 if "u" in people else 0) | (0o2000 if "g" in people else 0)
    if "t" in what and (everybody or "o" in people):
        special |= 0o1000
    wanted = 0
    whole = 0
    for person in people:
        wanted |= _wanted(bits, what, folder=folder) << _SHIFT[person]
        whole |= 7 << _SHIFT[person]
    if sign == "+":
        return bits | wanted | special
    if sign == "-":
        return bits & ~(wanted | special)
    # As GNU chmod: = clears the set-id bits of those named, save on folders, where only s itself touches them.
    cleared = 0 if folder else (0o4000 if "u" in people else 0) | (0o2000 if "g" in people else 0)
    cleared |= 0o1000 if everybody or "o" in people else 0
    return (bits & ~(whole | cleared)) | wanted | special


def _wanted(bits: int, what: str, *, folder: bool) -> int:
    if what in _SHIFT:
        return (bits >> _SHIFT[what]) & 7
    found = sum(bit for letter, bit in _BITS.items() if letter in what)
    if "X" in what and (folder or bits & 0o111):
        found |= 1
    return found
