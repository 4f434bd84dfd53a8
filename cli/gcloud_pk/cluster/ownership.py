"""Who owns which field of a live object: `metadata.managedFields`, read (Kubernetes: server-side apply, FieldsV1).

A path is a tuple of steps: a name (str), or the key of an element of a keyed list or set (Element).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gcloud_pk.model.labels import FIELD_MANAGER


@dataclass(frozen=True, slots=True)
class Element:
    """An element of a list that the server merges: by its keys (`keys`), or by its own value (`keys` is None)."""

    keys: tuple[tuple[str, Any], ...] | None
    value: Any = None

    def index_in(self, elements: Any) -> int | None:
        """Return where the element stands in a list, a key with a default left out; None when it is not there."""
        if not isinstance(elements, list):
            return None
        for index, element in enumerate(elements):
            if self.keys is None:
                if element == self.value:
                    return index
            elif isinstance(element, dict) and all(element.get(name, value) == value for name, value in self.keys):
                return index
        return None

    def __str__(self) -> str:
        if self.keys is None:
            return f"[{self.value}]"
        return "[" + ",".join(f"{name}={value}" for name, value in self.keys) + "]"


Step = str | int | Element
Path = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Owner:
    """One entry of managedFields. `applied`: it was written by server-side apply, so that its fields are kept up."""

    manager: str
    applied: bool
    fields: Mapping[str, Any]

    @property
    def ours(self) -> bool:
        """Whether the entry is of this program, which applies; by its name anybody may update."""
        return self.applied and self.manager == FIELD_MANAGER

    def owns(self, path: Path, live: Mapping[str, Any]) -> bool:
        """Whether the entry holds `path` of `live`, or what contains it as a whole (an atomic list or map)."""
        node: Mapping[str, Any] = self.fields
        for depth, step in enumerate(path):
            if depth and not _children(node):
                return True
            below = node.get(_encoded(step)) if not isinstance(step, int) else _element(node, step, live, path[:depth])
            if below is None:
                return False
            node = below
        return True

    def leaves(self) -> Iterator[Path]:
        """Yield the paths of the smallest things owned."""
        yield from _leaves(self.fields, ())


def owners(live: Mapping[str, Any]) -> list[Owner]:
    """Return who owns which fields of the object itself, latest first.

    What was written through a subresource (`status`, `scale`, `finalize`) is not: apply of the object neither sets nor
    removes it.
    """
    own = (entry for entry in live["metadata"].get("managedFields") or () if not entry.get("subresource"))
    entries = sorted(own, key=lambda e: e.get("time") or "", reverse=True)
    return [Owner(str(e.get("manager", "")), e.get("operation") == "Apply", e.get("fieldsV1") or {}) for e in entries]


def value_at(document: Any, path: Path) -> Any:
    """Return the value at `path`; None when there is none."""
    for step in path:
        if isinstance(step, str):
            if not isinstance(document, dict) or step not in document:
                return None
            document = document[step]
            continue
        index = step if isinstance(step, int) else step.index_in(document)
        if index is None or not isinstance(document, list) or index >= len(document):
            return None
        document = document[index]
    return document


def shown(path: Path) -> str:
    """Return a path as people write it: `spec.hard.cpu`, `spec.hard[requests.cpu]`, `spec.ports[port=443]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif isinstance(step, Element):
            text += str(step)
        elif "." in step or "/" in step:
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


def _children(node: Mapping[str, Any]) -> bool:
    return any(name != "." for name in node)


def _encoded(step: str | Element) -> str:
    if isinstance(step, Element):
        if step.keys is None:
            return "v:" + json.dumps(step.value, separators=(",", ":"))
        return "k:" + json.dumps(dict(step.keys), separators=(",", ":"), sort_keys=True)
    return f"f:{step}"


def _element(node: Mapping[str, Any], index: int, live: Mapping[str, Any], path: Path) -> Mapping[str, Any] | None:
    """Return the part of `node` for the element at `index` of the list at `path`; entries name elements by key."""
    elements = value_at(live, path)
    for name, below in node.items():
        if name[:2] in {"k:", "v:"}:
            element = _step(name)
            if isinstance(element, Element) and element.index_in(elements) == index:
                return dict(below)
    return None


def _leaves(node: Mapping[str, Any], path: Path) -> Iterator[Path]:
    if not _children(node):
        if path:
            yield path
        return
    for name, below in node.items():
        if name == ".":
            continue
        yield from _leaves(below, (*path, _step(name)))


def _step(name: str) -> Step:
    sort, _, rest = name.partition(":")
    if sort == "k":
        return Element(tuple(sorted(json.loads(rest).items())))
    if sort == "v":
        return Element(None, json.loads(rest))
    return int(rest) if sort == "i" else rest
