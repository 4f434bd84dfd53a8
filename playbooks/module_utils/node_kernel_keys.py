"""Kernel parameters by key: their files, their order, the lines of sysctl.d(5). Pure but for the listing of patterns.

Python 3.9; runs on the node.
"""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

_LINE = re.compile(r"\s*(-?)\s*([^=#;\s][^=\s]*)\s*=\s*(.*?)\s*")


def components(key: str) -> list[str]:
    """Return the components of a key below /proc/sys.

    The first separator decides (sysctl.d(5)): in `net.ipv4.conf.eth0/5.forwarding` a slash stands for the dot of the
    name; a key whose first separator is a slash is a path as it is.
    """
    first = re.search(r"[./]", key)
    if first is not None and first[0] == ".":
        key = key.translate(str.maketrans("./", "/."))
    return [one for one in key.split("/") if one]


def normal(key: str) -> str:
    """Return the one spelling of a key by which spellings are compared."""
    return "/".join(components(key))


def value_of(text: str) -> str:
    """Return a value as it is compared: blanks between numbers do not count."""
    return " ".join(text.split())


def ordered(keys: list[str]) -> list[str]:
    """Return the keys in the order in which they have to be set.

    Forwarding first, because changing it sets other parameters back; `all` before `default` before single interfaces.
    """

    def rank(key: str) -> tuple[int, str]:
        path = components(key)
        if path[-1] in {"ip_forward", "forwarding"}:
            return (0 if path[-1] == "ip_forward" else 1, key)
        place = {"all": 2, "default": 3}.get(path[-2] if len(path) > 1 else "", 4)
        return (place, key)

    return sorted(keys, key=rank)


def document(values: dict[str, str], heading: str) -> str:
    """Return the text of a file of sysctl.d."""
    return heading + "".join(f"{key} = {values[key]}\n" for key in ordered(list(values)))


def forgotten(text: str, keys: set[str]) -> str:
    """Return a file's text in which each line that sets one of `keys` (normal spelling) is a comment."""
    lines = []
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        lines.append(f"# {line}" if match is not None and normal(match[2]) in keys else line)
    return "".join(f"{line}\n" for line in lines)


def live(key: str, root: str = "/proc/sys") -> list[tuple[str, str]]:
    """Return (key, path) of each parameter that a key means here: itself, or what its pattern matches, sorted.

    A pattern does not mean `all` and `default`, which are set by their own names.
    """
    found = [("", root)]
    for component in components(key):
        if any(sign in component for sign in "*?["):
            found = [
                (f"{known}/{name}", f"{path}/{name}")
                for known, path in found
                for name in sorted(_names(path))
                if name not in {"all", "default"} and fnmatch.fnmatchcase(name, component)
            ]
        else:
            found = [(f"{known}/{component}", f"{path}/{component}") for known, path in found]
    return [(_dotted(known), path) for known, path in found]


def _names(path: str) -> list[str]:
    try:
        return [one.name for one in Path(path).iterdir()]
    except OSError:
        return []


def _dotted(path: str) -> str:
    return path.strip("/").translate(str.maketrans("/.", "./"))
