"""What Ansible tells of a run, line by line (`callback/gcloud_pk_events.py`), as values: untrusted until parsed.

Nodes decide what stands in texts, so every text is cut, and what has another shape is no event.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

LINE = 1024 * 1024
"""Bytes: a longer line is no event."""

_TEXT = 8_000
_DIFF = 80_000
_ITEMS = 1_000
_CONTROL = re.compile(r"GPK-[A-Z]{3}-[0-9]{3}")

Kind = Literal["task", "handler", "arguments"]
"""`handler`: at work after its role, for what that changed; `arguments`: Ansible's own check of a role's variables."""

Status = Literal["ok", "changed", "skipped", "failed", "ignored", "unreachable"]


@dataclass(frozen=True)
class Play:
    """A play begins. `roles`: in their order."""

    name: str
    roles: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """A task begins on all hosts. `id`: Ansible's; `role`: None outside of roles; `controls`: those it serves."""

    id: str
    name: str
    role: str | None
    controls: tuple[str, ...]
    tags: tuple[str, ...] = ()
    kind: Kind = "task"


@dataclass(frozen=True)
class Start:
    """A host is asked to do a task; what becomes of it is told by a Result."""

    host: str
    task: str


@dataclass(frozen=True)
class Result:
    """What became of a task on a host. `refused`: settings that the node cannot take, field by field.

    `time`: seconds since the epoch, by this machine's clock; `withheld`: no_log hides the rest.
    """

    host: str
    task: str
    status: Status
    time: float
    message: str = ""
    paths: tuple[str, ...] = ()
    refused: tuple[Mapping[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    diff: str = ""
    withheld: bool = False


@dataclass(frozen=True)
class End:
    """The playbook came to its end. `failed`: the hosts that Ansible itself counts as failed or unreachable."""

    failed: frozenset[str]


Event = Play | Task | Start | Result | End


def parse(line: bytes) -> Event | None:
    """Return the event of a line; None where it is none."""
    if len(line) > LINE:
        return None
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None
    try:
        return _event(said)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _event(said: Mapping[str, Any]) -> Event | None:
    match said.get("event"):
        case "play":
            return Play(_text(said["name"]), _texts(said["roles"]))
        case "task":
            role = said["role"]
            tags = _texts(said["tags"])
            controls = tuple(sorted({tag for tag in tags if _CONTROL.fullmatch(tag)}))
            kind = said.get("kind", "task")
            if kind not in get_args(Kind):
                raise ValueError("no such kind")
            where = None if role is None else _text(role)
            return Task(_text(said["task"]), _text(said["name"]), where, controls, tags, kind)
        case "start":
            return Start(_text(said["host"]), _text(said["task"]))
        case "result":
            return _result(said)
        case "end":
            hosts = dict(said["hosts"])
            return End(
                frozenset(_text(name) for name, counts in hosts.items() if counts["failures"] or counts["unreachable"])
            )
        case _:
            return None


def _result(said: Mapping[str, Any]) -> Result:
    status = said["status"]
    if status not in get_args(Status):
        raise ValueError("no such status")
    return Result(
        host=_text(said["host"]),
        task=_text(said["task"]),
        status=status,
        time=float(said["time"]),
        message=_text(said.get("message", "")),
        paths=_texts(said.get("paths", [])),
        refused=tuple(_fields(one) for one in _items(said.get("refused", []))),
        warnings=_texts(said.get("warnings", [])),
        diff=_text(said.get("diff", ""), _DIFF),
        withheld=said.get("withheld") is True,
    )


def _text(value: object, most: int = _TEXT) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    # A lone half of a pair of surrogates can come in by JSON and go out by nothing.
    return value[:most].encode("utf-8", "backslashreplace").decode()


def _items(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("no list")
    return value[:_ITEMS]


def _texts(value: object) -> tuple[str, ...]:
    return tuple(_text(one) for one in _items(value))


def _fields(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise TypeError("no object")
    return {_text(name, 100): _text(one) for name, one in list(value.items())[:20]}
