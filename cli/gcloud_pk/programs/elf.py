"""What a Linux program needs to run: its loader and its shared libraries, read from its ELF headers (elf(5))."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_ENTRY = struct.Struct("<qQ")
_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3
_NEEDED, _STRINGS = 1, 5
_MAGIC = b"\x7fELF\x02\x01"
"""Of 64 bits, little-endian: amd64 and arm64."""


@dataclass(frozen=True, slots=True)
class Needs:
    """`loader`: the absolute path of the dynamic loader, None for a static program; `libraries`: names, in order."""

    loader: str | None
    libraries: tuple[str, ...]


def needs(path: Path) -> Needs:
    """Return what the program or library at `path` needs. Raises ValueError where it is none of these machines'."""
    with path.open("rb") as stream:
        first = stream.read(_HEADER.size)
        if not first.startswith(_MAGIC) or len(first) < _HEADER.size:
            raise ValueError(f"{path} is no program for this kind of machine")
        header = _HEADER.unpack(first)
        start, size, count = header[5], header[9], header[10]
        stream.seek(start)
        table = stream.read(size * count)
        segments = [_SEGMENT.unpack_from(table, number * size) for number in range(count)]

        def content(offset: int, length: int) -> bytes:
            stream.seek(offset)
            return stream.read(length)

        loader, entries = None, []
        for kind, _, offset, _, _, length, *_ in segments:
            if kind == _INTERPRETER:
                loader = content(offset, length).rstrip(b"\0").decode()
            elif kind == _DYNAMIC:
                data = content(offset, length)
                entries = list(_ENTRY.iter_unpack(data[: len(data) // _ENTRY.size * _ENTRY.size]))
        strings = next((value for tag, value in entries if tag == _STRINGS), None)
        if strings is None:
            return Needs(loader, ())
        base = next(
            offset + strings - address
            for kind, _, offset, address, _, length, *_ in segments
            if kind == _LOAD and address <= strings < address + length
        )
        names = [content(base + value, 256).split(b"\0", 1)[0].decode() for tag, value in entries if tag == _NEEDED]
        return Needs(loader, tuple(names))
