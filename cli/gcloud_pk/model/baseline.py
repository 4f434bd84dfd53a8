"""Levels of the node baseline: cumulative, chosen by the most sensitive data that a node may hold.

Source: CTDISR 2020 (cumulative control levels CL1 to CL3); the grades of the Cloud First Policy 2022 (baseline;
intermediate for Restricted; enhanced for Sensitive). That Secret is at least enhanced is this project's rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

from gcloud_pk.model.classification import Classification

Level = Literal["cl1", "cl2", "cl3"]

LEVELS: tuple[Level, ...] = get_args(Level)

_FLOOR: dict[Classification, Level] = {
    "open": "cl1",
    "public": "cl1",
    "restricted": "cl2",
    "confidential": "cl3",
    "secret": "cl3",
}


def level_for(classes: Iterable[Classification]) -> Level:
    """Return the least level of a node that may hold data of these classes."""
    return highest(_FLOOR[one] for one in classes)


def highest(levels: Iterable[Level]) -> Level:
    """Return the highest of some levels; cl1 of none."""
    return max(levels, key=LEVELS.index, default="cl1")


def within(level: Level) -> tuple[Level, ...]:
    """Return the levels that a node of `level` has to meet: its own and those below."""
    return LEVELS[: LEVELS.index(level) + 1]
