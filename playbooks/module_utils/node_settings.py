"""Files of keys and values that others own too: setting one effective line. Pure; Python 3.9; runs on the node."""

from __future__ import annotations

import re


def edited(text: str, values: dict[str, str | None], *, separator: str, comment: str) -> str:
    """Return `text` in which each key of `values` has exactly one line with its value, or none where the value is None.

    The last line of a key keeps its place and the others become comments, whichever of them the file's reader would
    have obeyed. A new key goes below the commented example of it, or to the end. A line that says the same already
    (whatever the blanks in it) stays byte for byte.
    """
    lines = text.splitlines()
    for key, value in values.items():
        lines = _set(lines, key, value, separator=separator, comment=comment)
    return "".join(f"{line}\n" for line in lines)


def _pattern(key: str, separator: str, comment: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return what a line of the key looks like (its value in group 1), and what a commented one does."""
    sign = separator.strip()
    between = r"\s*" + re.escape(sign) + r"\s*" if sign else r"(?:\s+|$)"
    line = r"\s*" + re.escape(key) + between + r"(.*?)\s*"
    return re.compile(line), re.compile(r"\s*(?:" + re.escape(comment) + r")+" + line)


def _set(lines: list[str], key: str, value: str | None, *, separator: str, comment: str) -> list[str]:
    active, commented = _pattern(key, separator, comment)
    places = [number for number, line in enumerate(lines) if active.fullmatch(line)]
    kept = places[-1] if places and value is not None else None
    result = list(lines)
    for number in places:
        if number != kept:
            result[number] = f"{comment} {lines[number]}"
    if value is None:
        return result
    wanted = f"{key}{separator}{value}"
    if kept is not None:
        found = active.fullmatch(lines[kept])
        if found is None or found[1] != value:
            result[kept] = wanted
        return result
    examples = [number for number, line in enumerate(lines) if commented.fullmatch(line)]
    result.insert(examples[-1] + 1 if examples else len(result), wanted)
    return result
