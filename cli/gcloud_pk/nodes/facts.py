"""What a node sends, read as what it is: untrusted. Size, depth, kinds and the asked-for mark, or nothing of it. Pure.

That it has the right form does not make it true: a node in foreign hands can lie, and reports say so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gcloud_pk.nodes.collector import MARK

LIMIT = 4 * 1024 * 1024
"""Bytes of an answer."""

DEPTH = 12
VALUES = 400_000
TEXT = 1 << 20
"""Characters of one text: a file of a node is cut at this length by the collector."""

_MAPPINGS = frozenset(
    {"node", "sshd", "ssh", "sysctl", "units", "mounts", "mounts_boot", "pam", "config", "shell", "limits", "sudo"}
    | {"nft", "modules", "boot", "packages", "apt", "audit", "apparmor", "aide", "time", "rsyslog", "logrotate"}
    | {"banners", "paths", "files", "cron", "updates", "accounts", "origin", "missing"}
)
_LISTS = frozenset({"users", "groups", "listening", "processes", "units_enabled", "swaps", "pam_services"})
_TEXT_LISTS = frozenset({"package_names", "package_states"})
_TEXTS = frozenset({"default_target"})

_ROWS: Mapping[str, Mapping[str, type]] = {
    "users": {"name": str, "uid": int, "gid": int, "home": str, "shell": str, "login": bool, "groups": list},
    "groups": {"name": str, "gid": int, "members": list},
    "listening": {"protocol": str, "address": str, "port": int, "loopback": bool},
    "processes": {"user": str, "command": str},
}
_NODE: Mapping[str, type] = {"os": dict, "kernel": str, "virtualization": str, "shared_kernel": bool}

SECTIONS = _MAPPINGS | _LISTS | _TEXT_LISTS | _TEXTS


class DishonestError(ValueError):
    """It sent what no honest collector sends; the text says what."""


@dataclass(frozen=True)
class Facts:
    """What a node says of itself. `refused`, `broken`: facts that could not be had, with the reason; seconds: its own.

    `values` may have the section `outside` beside: what was seen from here. `by`: on whose word a section rests, where
    it is not the one that it usually rests on.
    """

    values: Mapping[str, Any]
    refused: Mapping[str, str] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    by: Mapping[str, str] = field(default_factory=dict)

    @property
    def shared_kernel(self) -> bool:
        """Whether it says that its kernel is the host's."""
        node = self.values.get("node")
        return isinstance(node, Mapping) and node.get("shared_kernel") is True


@dataclass(frozen=True)
class Form:
    """What an honest answer looks like: its sections by their kind; of `node`, what each collector says alike."""

    mappings: frozenset[str]
    lists: frozenset[str] = frozenset()
    text_lists: frozenset[str] = frozenset()
    texts: frozenset[str] = frozenset()
    rows: Mapping[str, Mapping[str, type]] = field(default_factory=dict)

    @property
    def sections(self) -> frozenset[str]:
        """All that it may have."""
        return self.mappings | self.lists | self.text_lists | self.texts


OF_NODES = Form(_MAPPINGS, _LISTS, _TEXT_LISTS, _TEXTS, _ROWS)


def read(output: bytes, nonce: str, form: Form = OF_NODES) -> Facts:
    """Return the facts of an answer. Raises DishonestError."""
    if len(output) > LIMIT:
        raise DishonestError(f"more than {LIMIT} bytes")
    _, mark, rest = output.rpartition(b"\n" + MARK.encode())
    if not mark:
        raise DishonestError("no facts: " + (output[-200:].decode("utf-8", "backslashreplace").strip() or "nothing"))
    try:
        document = json.loads(rest, parse_constant=_no_number, object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise DishonestError(f"no JSON ({str(error)[:100]})") from None
    _bounded(document)
    if not isinstance(document, Mapping) or document.get("version") != 1:
        raise DishonestError("a document of another kind")
    if document.get("nonce") != nonce:
        raise DishonestError("an answer to another question than was asked")
    values = document.get("facts")
    if not isinstance(values, Mapping):
        raise DishonestError("no facts in its document")
    _formed(values, form)
    seconds = document.get("seconds")
    return Facts(
        values,
        _texts(document.get("refused"), "refused", form),
        _texts(document.get("broken"), "broken", form),
        float(seconds) if isinstance(seconds, int | float) and not isinstance(seconds, bool) else 0.0,
    )


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name stands twice")
    return made


def _bounded(document: Any) -> None:
    """See that a document is neither too deep nor too crowded. Raises DishonestError."""
    level, number = [document], 0
    for _ in range(DEPTH):
        below: list[Any] = []
        for value in level:
            number += 1
            if isinstance(value, str) and len(value) > TEXT:
                raise DishonestError(f"a text of more than {TEXT} characters")
            if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 63:
                raise DishonestError("a number that no system has")
            if isinstance(value, Mapping):
                below += value.values()
            elif isinstance(value, list):
                below += value
        if number > VALUES:
            raise DishonestError(f"more than {VALUES} values")
        level = below
        if not level:
            return
    raise DishonestError(f"more than {DEPTH} levels")


def _formed(values: Mapping[str, Any], form: Form) -> None:
    """See that every section is known and of its kind; one that is not there is None. Raises DishonestError."""
    for name, value in values.items():
        if name not in form.sections:
            raise DishonestError(f"a section {name[:40]!r} that nobody asked for")
        if value is None:
            continue
        kind = dict if name in form.mappings else str if name in form.texts else list
        if not isinstance(value, kind):
            raise DishonestError(f"{name} that is no {kind.__name__}")
        if name in form.text_lists and not all(isinstance(one, str) for one in value):
            raise DishonestError(f"{name} that is no list of texts")
        for row in value if name in form.rows else ():
            _fields(name, row, form.rows[name])
    _fields("node", values.get("node"), _NODE)


def _fields(name: str, row: Any, wanted: Mapping[str, type]) -> None:
    if not isinstance(row, Mapping):
        raise DishonestError(f"{name} without the form of it")
    for key, kind in wanted.items():
        value = row.get(key)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise DishonestError(f"{name} whose {key} is no {kind.__name__}")


def _texts(value: Any, name: str, form: Form) -> Mapping[str, str]:
    if not isinstance(value, Mapping) or not all(isinstance(one, str) for one in value.values()):
        raise DishonestError(f"{name} that is no mapping of texts")
    for fact in value:
        # What is seen from outside is not the node's to withhold.
        if re.split(r"[.\[]", fact, maxsplit=1)[0] not in form.sections:
            raise DishonestError(f"{name} of a section {fact[:40]!r} that nobody asked for")
    return value
