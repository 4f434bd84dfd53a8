"""Names of cities, as people type them: which two are one city, and which may be. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping

from gcloud_pk.errors import Problem, problem
from gcloud_pk.model.site import Location, Site

_SLIPS = 2
"""Letters that a typing error changes, at most; one in a name of up to five letters."""


def normal(name: str) -> str:
    """Return letters and digits alone, in one case and one form: `ISLAMABAD ` and `Islāmābād` are `islamabad`."""
    return "".join(_words(name))


def _words(name: str) -> list[str]:
    plain = (letter for letter in unicodedata.normalize("NFKD", name).casefold() if not unicodedata.combining(letter))
    return re.findall(r"[^\W_]+", "".join(plain))


def same(one: Location, other: Location) -> bool:
    """Whether two sites stand in one city, by its name."""
    return normal(one.city) == normal(other.city)


def alike(one: Location, other: Location) -> bool:
    """Whether two names of cities of one province may be one city's: a slip of the hand, an addition, two scripts."""
    if one.province != other.province or same(one, other):
        return False
    fewer, more = sorted((_words(one.city), _words(other.city)), key=len)
    first, second = "".join(fewer), "".join(more)
    if first.isascii() != second.isascii() or more[: len(fewer)] == fewer:
        return True
    return _slips(first, second) <= (_SLIPS if min(len(first), len(second)) > 5 else 1)


def place_notes(sites: Mapping[str, Site]) -> Iterator[tuple[str, Problem]]:
    """Yield (site, note) for each name of a city that is nearly another site's, and each city in two seismic zones."""
    ordered = sorted(sites.items())
    for number, (name, site) in enumerate(ordered):
        here = site.spec.location
        for before, other in ordered[:number]:
            there = other.spec.location
            if alike(here, there):
                yield (
                    name,
                    problem(
                        f"{here.city!r} may be the {there.city!r} of site {before}: recovery from one to the other "
                        "is not judged",
                        field="spec.location.city",
                        expected="one spelling for one city",
                    ),
                )
            elif same(here, there) and (here.seismic_zone or there.seismic_zone) != (
                there.seismic_zone or here.seismic_zone
            ):
                yield (
                    name,
                    problem(
                        f"{here.city} is in zone {there.seismic_zone} by site {before}, here in {here.seismic_zone}",
                        field="spec.location.seismicZone",
                        expected="one zone for one city",
                    ),
                )


def _slips(one: str, other: str) -> int:
    """Return how many letters must be added, taken out, changed, or swapped with the next (Damerau 1964)."""
    older: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        following = [i]
        for j, against in enumerate(other, 1):
            cost = min(row[j] + 1, following[-1] + 1, row[j - 1] + (letter != against))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == against:
                cost = min(cost, older[j - 2] + 1)
            following.append(cost)
        older, row = row, following
    return row[-1]
