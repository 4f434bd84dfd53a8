"""Desired against live: the fields of a live object that are not as desired.

The rule: of maps the desired part counts, because the server adds defaults; lists count as a whole, in length and
order; an empty map means empty, because `podSelector: {}` selects everything. `status` is not compared. Labels of a
namespace that are read as the platform's word are compared in both directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gcloud_pk.cluster.ownership import Path
from gcloud_pk.model.labels import GROUP

ABSENT: Any = None
"""What stands for a field that is not there. The API knows no other null."""

_NOT_COMPARED = frozenset({"apiVersion", "kind", "status"})
_METADATA_MAPS = ("labels", "annotations")
_METADATA_SETS = ("finalizers",)
_READ_AS_OURS = (f"{GROUP}/", "pod-security.kubernetes.io/")
"""Labels of a namespace that admission policies and Pod Security read: there none stands but those desired."""

Difference = tuple[Path, Any, Any]
"""(path, live value, desired value)"""


def differences(desired: Mapping[str, Any], live: Mapping[str, Any]) -> list[Difference]:
    """Return the fields that are not as desired; empty when the live object holds all of it."""
    found: list[Difference] = []
    for name, value in desired.items():
        if name in _NOT_COMPARED:
            continue
        if name == "metadata":
            found += _metadata(value, live["metadata"])
            found += _strange_labels(value, live["metadata"]) if desired.get("kind") == "Namespace" else ()
        elif (there := live.get(name)) != value:
            found += unlike((name,), value, there)
    return found


def _metadata(desired: Mapping[str, Any], live: Mapping[str, Any]) -> Iterator[Difference]:
    for name in _METADATA_MAPS:
        there = live.get(name) or {}
        for key, value in (desired.get(name) or {}).items():
            if there.get(key) != value:
                yield ("metadata", name, key), there.get(key), value
    for name in _METADATA_SETS:
        # Other finalizers are not ours to count: controllers add them.
        there_set = live.get(name) or []
        for value in desired.get(name) or []:
            if value not in there_set:
                yield ("metadata", name), there_set or ABSENT, desired[name]


def _strange_labels(desired: Mapping[str, Any], live: Mapping[str, Any]) -> Iterator[Difference]:
    wanted = desired.get("labels") or {}
    for key, value in (live.get("labels") or {}).items():
        if key not in wanted and key.startswith(_READ_AS_OURS):
            yield ("metadata", "labels", key), value, ABSENT


def unlike(path: Path, desired: Any, live: Any) -> Iterator[Difference]:
    """Yield what of `desired` does not stand at `path`, where `live` is."""
    if isinstance(desired, dict) and desired and isinstance(live, dict):
        for name, value in desired.items():
            there = live.get(name)
            if there != value:
                yield from unlike((*path, name), value, there)
    elif isinstance(desired, list) and isinstance(live, list) and _side_by_side(desired, live):
        for index, (value, there) in enumerate(zip(desired, live, strict=True)):
            yield from unlike((*path, index), value, there)
    elif not same(desired, live):
        yield path, live, desired


def _side_by_side(desired: list[Any], live: list[Any]) -> bool:
    """Whether the first stands against the first, and so on; not where named elements came, went or moved."""
    if len(desired) != len(live):
        return False
    wanted, there = names_in(desired), names_in(live)
    return not wanted or not there or list(wanted) == list(there) or wanted.keys().isdisjoint(there)


def names_in(elements: list[Any]) -> dict[str, Any] | None:
    """Return the elements by their `name`; None where one has none or two have the same."""
    named = {e["name"]: e for e in elements if isinstance(e, dict) and isinstance(e.get("name"), str)}
    return named if len(named) == len(elements) else None


def same(desired: Any, live: Any) -> bool:
    """Whether two values are one: the server drops empty lists."""
    return bool(desired == live) or (live is None and desired == [])
