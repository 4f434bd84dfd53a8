"""CSV tables beside a site file, whose rows are added to its lists: hosts and links as an inventory exports them.

RFC 4180 with a header: UTF-8, commas, quotes where a cell holds a comma. Columns bear the names of the fields; an empty
cell is a field that is not said; several values in one cell are separated by semicolons. A row means what the same
entry in the site file would mean, and is checked by the same rules: its problems name the table, the line, the column.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel

from gcloud_pk.errors import InvalidInputError, Problem, problem
from gcloud_pk.model.facility import (
    MOST,
    CoolingComponent,
    Link,
    MachineClass,
    NetworkComponent,
    PowerComponent,
    Rack,
    Tables,
)
from gcloud_pk.model.site import Host
from gcloud_pk.registry import documents
from gcloud_pk.registry.documents import Document, Fields, Items, Steps

SEPARATOR = ";"


@dataclass(frozen=True)
class Table:
    """Where the rows go, and what each of them is."""

    path: tuple[str, ...]
    row: type[BaseModel]

    @property
    def columns(self) -> Mapping[str, type]:
        """Column → list for several values in a cell, float for a number, str for everything else."""
        return {info.alias or name: _KINDS.get(name, str) for name, info in self.row.model_fields.items()}

    @property
    def required(self) -> tuple[str, ...]:
        """Columns that must be there."""
        return tuple(info.alias or name for name, info in self.row.model_fields.items() if info.is_required())


_KINDS: dict[str, type] = {
    "kw": float,
    "draws": float,
    "host_keys": list,
    "holds": list,
    "power_supplies": list,
    "feeds": list,
    "cooling": list,
    "switches": list,
}

TABLES: dict[str, Table] = {
    "hosts": Table(("hosts",), Host),
    "racks": Table(("racks",), Rack),
    "machines": Table(("machines",), MachineClass),
    "powerComponents": Table(("power", "components"), PowerComponent),
    "powerLinks": Table(("power", "links"), Link),
    "coolingComponents": Table(("cooling", "components"), CoolingComponent),
    "coolingLinks": Table(("cooling", "links"), Link),
    "networkComponents": Table(("network", "components"), NetworkComponent),
    "networkLinks": Table(("network", "links"), Link),
}
"""By their field in `spec.tables`, in the order in which they are read."""


def named(document: Document) -> dict[str, str]:
    """Return the tables that a site file names well: field of `spec.tables` → file name."""
    from gcloud_pk.registry.readings import fault

    spec = document.value.get("spec") if isinstance(document.value, Fields) else None
    said = spec.get("tables") if isinstance(spec, Fields) else None
    if not isinstance(said, Fields):
        return {}
    kind = Tables.model_fields["hosts"].annotation
    return {field: said[field] for field in TABLES if said.get(field) is not None and fault(kind, said[field]) is None}


def joined(
    document: Document, read: Callable[[str], tuple[bytes, str] | None]
) -> tuple[Document, dict[Steps, list[Problem]]]:
    """Return a site's document with the rows of its tables, and by list what keeps a table from being one.

    `read`: file name → bytes and the name that people know it by; None where there is no such file. May raise
    InvalidInputError.
    """
    wrong: dict[Steps, list[Problem]] = {}
    value = document.value
    for field, file in named(document).items():
        where: Steps = ("spec", "tables", field)
        into: Steps = ("spec", *TABLES[field].path)
        try:
            found = read(file)
            if found is None:
                missing = problem(
                    f"there is no {file} beside it", field=documents.path_of(where), expected="a CSV file"
                )
                wrong[into] = [*wrong.get(into, []), document.located(missing)]
                continue
            rows, problems = parse(*found, TABLES[field])
        except InvalidInputError as error:
            wrong[into] = [*wrong.get(into, []), *error.details]
            continue
        if problems:
            wrong[into] = [*wrong.get(into, []), *problems]
        # Rows that could be read are judged by their fields even so: all problems at once.
        value = _added(value, into, rows, document.line(where))
    return replace(document, value=value), wrong


def _added(value: Any, steps: Steps, rows: Items, line: int) -> Any:
    """Return a copy of `value` whose list at `steps` has further rows; what was read stays as it is for others."""
    if not steps:
        whole = Items()
        if isinstance(value, Items):
            whole.extend(value)
            whole.lines.extend(value.lines)
        elif value is not None:
            return value  # no list: its own problem says so
        whole.extend(rows)
        whole.lines.extend(rows.lines)
        return whole
    if value is not None and not isinstance(value, Fields):
        return value
    step = str(steps[0])
    copy = Fields(value.file if value is not None else None)
    if value is not None:
        copy.update(value)
        copy.lines.update(value.lines)
    copy[step] = _added(copy.get(step), steps[1:], rows, line)
    copy.lines.setdefault(step, line)
    return copy


def parse(data: bytes, file: str, table: Table) -> tuple[Items, list[Problem]]:
    """Return the rows of one table that can be read, and what keeps it from being one.

    Raises InvalidInputError where it is no text.
    """
    text = documents.decoded(data, file).removeprefix("\ufeff")
    problems: list[Problem] = []
    rows = Items()
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    try:
        header = next(reader, None)
        if not header:
            problems.append(
                problem("has no header", file=file, line=1, expected=f"the columns {', '.join(table.columns)}")
            )
        elif not (found := list(_header(header, file, table))):
            _read(reader, header, file, table, rows, problems)
        else:
            problems += found
    except csv.Error as error:
        expected = "cells as RFC 4180 has them: quotes around a cell that holds a comma, doubled inside"
        if "field limit" in str(error):
            expected = f"cells of at most {csv.field_size_limit()} characters"
        problems.append(problem(f"is no CSV: {error}", file=file, line=reader.line_num, expected=expected))
    return rows, problems


def _header(header: list[str], file: str, table: Table) -> Iterator[Problem]:
    columns = list(table.columns)
    if len(header) == 1 and (other := next((mark for mark in ";\t|" if mark in header[0]), None)):
        yield problem(f"separates its columns by {other!r}", file=file, line=1, expected="commas, as RFC 4180 has them")
        return
    for i, name in enumerate(header):
        if name not in columns:
            near = get_close_matches(name, columns, n=1)
            expected = repr(near[0]) if near else f"some of {', '.join(columns)}"
            yield problem(f"{name!r} is no column of this table", file=file, line=1, field=name, expected=expected)
        elif name in header[:i]:
            yield problem("stands twice", file=file, line=1, field=name, expected="each column once")
    for name in table.required:
        if name not in header:
            yield problem("is no column here", file=file, line=1, field=name, expected="in the first line")


def _read(reader: Any, header: list[str], file: str, table: Table, rows: Items, problems: list[Problem]) -> None:
    kinds = [table.columns[name] for name in header]
    line = reader.line_num + 1
    for cells in reader:
        if cells and not any(map(str.strip, cells)):
            problems.append(
                problem("is a row of empty cells", file=file, line=line, expected="values, or no such line")
            )
        elif formulas := [name for name, cell in zip(header, cells, strict=False) if cell.startswith("=")]:
            problems += [
                problem("is a formula", file=file, line=line, field=name, expected="the value that it comes to")
                for name in formulas
            ]
        elif len(cells) == len(header):
            row = Fields(file)
            for name, kind, cell in zip(header, kinds, cells, strict=True):
                if cell:
                    row[name] = _value(cell, kind, line)
                    row.lines[name] = line
            rows.append(row)
            rows.lines.append(line)
        elif cells:
            counted = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
            problems.append(problem(f"has {counted}", file=file, line=line, expected=f"{len(header)}, as the header"))
        if len(rows) > MOST:
            problems.append(problem(f"has more than {MOST} rows", file=file, line=line, expected="fewer"))
            return
        line = reader.line_num + 1


def _value(cell: str, kind: type, line: int) -> Any:
    if kind is list:
        values = Items()
        values.extend(one.strip() for one in cell.split(SEPARATOR))
        values.lines.extend([line] * len(values))
        return values
    return documents.number(cell) if kind is float else cell
