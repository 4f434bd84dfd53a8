"""Untrusted text made safe to show: control and bidirectional-override characters are escaped."""

from __future__ import annotations

import re
import unicodedata

# C0, C1, DEL, line and paragraph separators, zero-width and bidirectional controls (Unicode TR 36, TR 9).
# ZERO WIDTH (NON-)JOINER stay: Urdu needs them.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)


def unsafe_characters(value: str) -> list[str]:
    """Return the names of control and bidirectional-override characters in `value`, tab and newline included."""
    found = dict.fromkeys(c for c in value if c in "\t\n" or _UNSAFE.match(c))
    return [f"U+{ord(c):04X} {unicodedata.name(c, 'CONTROL')}" for c in found]


def escape(value: object) -> str:
    r"""Return `value` with unsafe characters written as `\u202e` and the like; safe for a terminal and a log."""

    def written(match: re.Match[str]) -> str:
        code = ord(match[0])
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

    return _UNSAFE.sub(written, str(value))
