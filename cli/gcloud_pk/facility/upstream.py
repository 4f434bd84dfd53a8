"""What lies before the ends of a drawing: marks of ends, carried against the direction of links."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def carried(links: Iterable[tuple[str, str]], marks: dict[str, set[T]]) -> dict[str, set[T]]:
    """Return, for all that leads to an end, the marks of the ends that it leads to.

    `links`: (from, to), in which rings may be. `marks`: those of the ends, by name; it is added to.
    """
    sources: dict[str, list[str]] = {}
    for source, target in links:
        sources.setdefault(target, []).append(source)
    waiting = list(marks)
    while waiting:
        name = waiting.pop()
        for source in sources.get(name, ()):
            reached = marks.setdefault(source, set())
            if not marks[name] <= reached:
                reached |= marks[name]
                waiting.append(source)
    return marks
