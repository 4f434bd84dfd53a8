"""Paths into what a node says: names joined by dots, names with dots or slashes in brackets, `[*]` for all items. Pure.

A path that leads nowhere leads to None: what is absent is for the expectation to judge, not an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

EVERY = "*"
"""The step that goes through all items; a name `*` cannot be told from it, and no fact has one."""

_STEP = re.compile(r"(?:^|\.)([A-Za-z_][A-Za-z0-9_-]*)|\[([^\[\]]+)\]")


@dataclass(frozen=True)
class Path:
    """A path as it was written, and its steps."""

    text: str
    steps: tuple[str, ...]

    @property
    def root(self) -> str:
        """The section of the facts that it begins in."""
        return self.steps[0]

    def find(self, facts: Any) -> Any:
        """Return what it leads to; None where that is not there."""
        return _find(facts, self.steps)


def parse(text: str) -> Path:
    """Return the path that a text writes. Raises ValueError where it writes none."""
    steps: list[str] = []
    end = 0
    for match in _STEP.finditer(text):
        if match.start() != end:
            break
        steps.append(match[1] or match[2])
        end = match.end()
    if end != len(text) or not steps or text.startswith((".", "[")):
        raise ValueError(f"{text!r} is no path; expected names such as sysctl.live[net.ipv4.ip_forward]")
    return Path(text, tuple(steps))


def items(value: Any) -> list[Any] | None:
    """Return the items of a list, or the values of a mapping (with their key as `name`); None of anything else."""
    if isinstance(value, Mapping):
        return [{"name": key, **item} if isinstance(item, Mapping) else item for key, item in value.items()]
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return list(value)
    return None


def _find(value: Any, steps: tuple[str, ...]) -> Any:
    for index, step in enumerate(steps):
        if step == EVERY:
            found = items(value)
            return None if found is None else [_find(item, steps[index + 1 :]) for item in found]
        if not isinstance(value, Mapping) or step not in value:
            return None
        value = value[step]
    return value
