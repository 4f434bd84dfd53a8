"""Files with the headers of Linux programs, and nothing behind them."""

from __future__ import annotations

import struct
from collections.abc import Sequence

_BASE = 0x400000


def elf(loader: str | None = None, libraries: Sequence[str] = ()) -> bytes:
    """Return a program of 64 bits: static where it names neither a loader nor a library."""
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in libraries)
    places = [strings.index(name.encode() + b"\0") for name in libraries]
    count = 1 + (loader is not None) + bool(libraries)
    begin = 64 + 56 * count
    word = loader.encode() + b"\0" if loader else b""
    at_strings = begin + len(word)
    entries = [*((1, place) for place in places), (5, _BASE + at_strings), (0, 0)] if libraries else []
    dynamic = b"".join(struct.pack("<qQ", *entry) for entry in entries)
    at_dynamic = at_strings + len(strings)

    def segment(kind: int, offset: int, length: int) -> bytes:
        return struct.pack("<IIQQQQQQ", kind, 5, offset, _BASE + offset, _BASE + offset, length, length, 8)

    segments = [segment(1, 0, at_dynamic + len(dynamic))]
    if loader:
        segments.append(segment(3, begin, len(word)))
    if libraries:
        segments.append(segment(2, at_dynamic, len(dynamic)))
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, 0, 64, 0, 0, 64, 56, count, 0, 0, 0)
    return header + b"".join(segments) + word + strings + dynamic
