"""A difference in words: lists element by element, so that one rule more among many is seen. Pure; decides nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from gcloud_pk.cluster.compare import ABSENT, Difference, names_in, unlike
from gcloud_pk.cluster.ownership import Element, Path

_BRIEF = 60
_ALONE = 160
"""Characters of a value that has nothing beside it."""
_BEFORE_THE_DIFFERENCE = 12


def parts(path: Path, live: Any, desired: Any) -> list[Difference]:
    """Return the differences inside a value that is compared as a whole: of lists of objects, those of their elements.

    An element is named by its `name` where all have one, else by its place: in the live list, or in the desired one
    when it is new. Everything else, and a mere change of order, stays as it is.
    """
    if not (_is_objects(live) and _is_objects(desired)):
        return [(path, live, desired)]
    if not (live and desired) and max(len(_text(live)), len(_text(desired))) <= _BRIEF:
        return [(path, live, desired)]
    return list(_elements(path, live or [], desired or [])) or [(path, live, desired)]


def in_words(live: Any, desired: Any) -> str:
    """Return `live → desired`, in short; of lists of plain values what goes and what comes: `-a, +b`."""
    if _is_plain(live) and _is_plain(desired):
        there, wanted = Counter(map(_text, live or ())), Counter(map(_text, desired or ()))
        moves = [f"-{text}" for text in (there - wanted).elements()] + [
            f"+{text}" for text in (wanted - there).elements()
        ]
        if moves and ((live and desired) or max(len(_text(live)), len(_text(desired))) > _BRIEF):
            return ", ".join(moves)
    before, after = _text(live), _text(desired)
    if ABSENT in (live, desired):
        return f"{_cut(before, _ALONE)} → {_cut(after, _ALONE)}"
    if max(len(before), len(after)) > _BRIEF:
        start = _common(before, after) - _BEFORE_THE_DIFFERENCE
        if start > 0:
            before, after = "…" + before[start:], "…" + after[start:]
    return f"{_cut(before, _BRIEF)} → {_cut(after, _BRIEF)}"


def _elements(path: Path, live: list[Any], desired: list[Any]) -> Iterator[Difference]:
    there, wanted = names_in(live), names_in(desired)
    if there is not None and wanted is not None:
        for name in dict.fromkeys((*there, *wanted)):
            here = (*path, Element((("name", name),)))
            yield from _element(here, there.get(name, ABSENT), wanted.get(name, ABSENT))
        return
    left, new = _unmatched(live, desired)
    for index in sorted(left.keys() | new.keys()):
        yield from _element((*path, index), left.get(index, ABSENT), new.get(index, ABSENT))


def _element(path: Path, live: Any, desired: Any) -> Iterator[Difference]:
    if live is ABSENT or desired is ABSENT:
        yield path, live, desired
        return
    for inside, there, wanted in unlike(path, desired, live):
        yield from parts(inside, there, wanted)


def _unmatched(live: list[Any], desired: list[Any]) -> tuple[dict[int, Any], dict[int, Any]]:
    """Return the elements that have no equal on the other side, by their place; each has one equal at most."""
    left = dict(enumerate(live))
    new: dict[int, Any] = {}
    for index, wanted in enumerate(desired):
        equal = next((place for place, there in left.items() if not any(unlike((), wanted, there))), None)
        if equal is None:
            new[index] = wanted
        else:
            del left[equal]
    return left, new


def _is_objects(value: Any) -> bool:
    return value is ABSENT or (isinstance(value, list) and all(isinstance(element, dict) for element in value))


def _is_plain(value: Any) -> bool:
    return value is ABSENT or (
        isinstance(value, list) and not any(isinstance(element, dict | list) for element in value)
    )


def _text(value: Any) -> str:
    if value is ABSENT:
        return "(none)"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(", ", ": "))


def _common(one: str, other: str) -> int:
    """Return how many characters two texts begin with alike."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "…"
