"""Sides: which of the two paths, A or B, an element of a site belongs to; both, or neither that can be named. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from gcloud_pk.facility.upstream import carried

Side = Literal["A", "B", "AB", ""]
"""A path; AB is what both paths share, the empty one is a path without a letter."""


def sides_of(
    links: Iterable[tuple[str, str]], ends: Iterable[Sequence[str]], *, by_position: bool
) -> Mapping[str, Side]:
    """Return the side of every element that leads to an end.

    `links`: (from, to). `ends`: for each rack, the names of what ends there. Names that end in `-a` and `-b` say their
    side; where one of a rack's does not and `by_position` holds, the first of a rack is A, the second B.
    """
    rows = [tuple(names) for names in ends]
    named = all(_suffix(name) for names in rows for name in names)
    found: dict[str, set[str]] = {}
    for names in rows:
        for position, name in enumerate(names):
            side = _suffix(name) if named else ("AB"[position] if by_position and position < 2 else "")
            found.setdefault(name, set()).add(side)
    return {name: _together(letters) for name, letters in carried(links, found).items()}


def _suffix(name: str) -> str:
    return name[-1].upper() if name.endswith(("-a", "-b")) else ""


def _together(letters: set[str]) -> Side:
    if "" in letters:
        return ""
    return "AB" if len(letters) > 1 else "A" if "A" in letters else "B"
