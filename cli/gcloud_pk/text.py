"""Untrusted text made safe to show: control and bidirectional-override characters are escaped."""

from __future__ import annotations

import datetime as dt
import json
import re
import unicodedata
from typing import Any

# C0, C1, DEL, line and paragraph separators, zero-width and bidirectional controls (Unicode TR 36, TR 9), and halves
# of surrogate pairs: what Python makes of bytes that are no UTF-8.
# ZERO WIDTH (NON-)JOINER stay: Urdu needs them.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def unsafe_characters(value: str) -> list[str]:
    """Return the names of control and bidirectional-override characters in `value`, tab and newline included."""
    found = dict.fromkeys(c for c in value if c in "\t\n" or _UNSAFE.match(c))
    return [f"U+{ord(c):04X} {unicodedata.name(c, 'CONTROL')}" for c in found]


def number_of(count: int, noun: str) -> str:
    """Return `1 namespace`, `2 namespaces`; for nouns whose plural ends in s."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def stamp(moment: dt.datetime) -> str:
    """Return a moment in UTC to the second, RFC 3339; one without a zone is UTC."""
    return (moment.astimezone(dt.UTC) if moment.tzinfo else moment).strftime("%Y-%m-%dT%H:%M:%SZ")


def escape(value: object) -> str:
    r"""Return `value` with unsafe characters written as `\u202e` and the like; safe for a terminal and a log."""

    def written(match: re.Match[str]) -> str:
        code = ord(match[0])
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

    return _UNSAFE.sub(written, str(value))


def in_line(value: object) -> str:
    r"""Return `value` with newlines and tabs as `\n` and `\t`: a text from a file must not look like lines of ours."""
    return str(value).replace("\n", "\\n").replace("\t", "\\t")


def as_json(value: Any, *, indent: int | None = 2) -> str:
    """Return indented JSON: Urdu as it is, unsafe characters by escapes that say the same; safe to show.

    Without `indent` it is one line.
    """
    # Such characters can only stand inside strings, where an escape means the same.
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return _UNSAFE.sub(lambda match: json.dumps(match[0])[1:-1], text)
