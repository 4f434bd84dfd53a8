"""How loads and elements are spoken of in findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from gcloud_pk.facility.graph import Element, Member

NAMED = 3
"""How many are named in a sentence."""


def named(members: Sequence[Member]) -> str:
    """Return `12 hosts in rack-1, rack-2: c1, w1, w2 and 9 more`."""
    if not members:
        return "nothing"
    nouns = {"host": "host", "rack": "empty rack", "component": "component"}
    kinds = Counter[str](member.kind for member in members)
    counted = [counts(kinds[kind], noun) for kind, noun in nouns.items() if kinds[kind]]
    racks = list(dict.fromkeys(member.rack for member in members if member.kind == "host" and member.rack))
    where = f" in {some(racks)}" if racks else ""
    return f"{' and '.join(counted)}{where}: {some([member.name for member in members])}"


def some(names: Collection[str]) -> str:
    """Return the first few names and how many more there are."""
    shown = list(names)[:NAMED]
    more = len(names) - len(shown)
    return f"{', '.join(shown)} and {more} more" if more else ", ".join(shown)


def counts(number: int, noun: str) -> str:
    """Return `1 host` or `3 hosts`."""
    if noun.endswith(("ch", "sh", "s")) and number != 1:
        return f"{number} {noun}es"
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def kilowatts(watts: int) -> str:
    """Return watts as kW without needless zeros."""
    return f"{watts / 1000:.3f}".rstrip("0").rstrip(".") + " kW"


def spoken(element: Element) -> str:
    """Return `ups-a`, or `the link ats-a to ups-a`."""
    return element[0] if len(element) == 1 else f"the link {element[0]} to {element[1]}"


def path(element: Element) -> str:
    """Return an element's part of a subject: `ups-a`, or `link/ats-a/ups-a`."""
    return element[0] if len(element) == 1 else "/".join(("link", *element))
