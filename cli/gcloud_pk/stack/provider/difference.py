"""What differs between the inputs a resource has and those it is to have, path by path. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Kind = Literal["add", "delete", "update"]


def changes(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> dict[str, Kind]:
    """Return the paths that differ, such as `kubelet.maxPods`; lists are compared as wholes."""
    found: dict[str, Kind] = {}
    for name in sorted({*old, *new}):
        path = f"{prefix}.{name}" if prefix else name
        if old.get(name) is None:
            if new.get(name) is not None:
                found[path] = "add"
        elif new.get(name) is None:
            found[path] = "delete"
        elif isinstance(old[name], Mapping) and isinstance(new[name], Mapping):
            found.update(changes(old[name], new[name], path))
        elif old[name] != new[name]:
            found[path] = "update"
    return found
