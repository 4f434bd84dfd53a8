"""Site files and their tables: read once each, with every problem that one file alone can show."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gcloud_pk.errors import InvalidInputError, Problem
from gcloud_pk.model.rules import site_problems
from gcloud_pk.model.site import Site
from gcloud_pk.registry import documents, files, tables
from gcloud_pk.registry.readings import Reading, load, ordered

LIMIT = 16 * files.LIMIT
"""The most bytes of a site file or a table: 10,000 hosts in YAML are some 4 MiB."""

VALUES = 1_000_000
"""The most values in a site file, for the same reason."""


def read(data: bytes, file: str, table: Callable[[str], tuple[bytes, str] | None]) -> Reading[Site]:
    """Read a site from the bytes of its file and those of its tables; `table` as `read` of `tables.joined`.

    Raises InvalidInputError where the file is no YAML.
    """
    whole, wrong = tables.joined(documents.parse(data, file, most=VALUES), table)
    reading = load(whole, Site)
    if not wrong:
        return reading
    # What lacks the rows of a table is judged as far as it goes, and nobody acts on it.
    problems = [*reading.problems, *(one for found in wrong.values() for one in found)]
    return replace(
        reading, model=None, problems=tuple(ordered(problems)), replaced=frozenset((*reading.replaced, *wrong))
    )


@dataclass(frozen=True)
class SiteFile:
    """A site file by itself. `site`: None where anything is wrong with it.

    `files`: name → bytes, of the file and its tables.
    """

    site: Site | None
    reading: Reading[Site] | None
    problems: tuple[Problem, ...]
    files: Mapping[str, bytes]


def read_file(path: Path, root: Path | None = None) -> SiteFile:
    """Read a site file that need not lie in a registry, and the tables beside it; no other site is compared with it.

    `root`: the folder that no link may lead out of; none: the file is anywhere, and its tables are beside it: whoever
    wrote it chose what they point to. Raises InvalidInputError where there is no such file or it cannot be read,
    RefusedError for a link out of `root`, or of a table's out of its folder.
    """
    data = {path.name: files.read(path, root=root, limit=LIMIT)}

    def table(name: str) -> tuple[bytes, str] | None:
        beside = path.with_name(name)
        if not os.path.lexists(beside):
            return None
        data[name] = files.read(beside, root=root or path.parent, limit=LIMIT)
        return data[name], str(beside)

    try:
        reading = read(data[path.name], str(path), table)
    except InvalidInputError as error:
        return SiteFile(None, None, error.details, data)
    found = reading.ruled(lambda site: [wrong for _, wrong in site_problems({path.stem: site})])
    return SiteFile(None if found else reading.model, reading, tuple(ordered(found)), data)
