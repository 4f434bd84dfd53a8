"""The catalogues in policies/controls: nodes/*.yaml and cluster/*.yaml, read strictly, every problem at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path as File
from typing import Any, cast, get_args

from gcloud_pk import paths
from gcloud_pk.errors import InvalidInputError, Problem, problem
from gcloud_pk.model.baseline import LEVELS, Level
from gcloud_pk.model.site import HostRole
from gcloud_pk.nodes import expectation, path
from gcloud_pk.nodes.check import Absent, Catalogue, Check, Control, Instrument, Need, Standing, Where
from gcloud_pk.nodes.expectation import Expectation, WrittenWrongError
from gcloud_pk.registry import documents
from gcloud_pk.registry.documents import Document, Step, path_of

_CONTROL = re.compile(r"GPK-[A-Z]{3}-[0-9]{3}")

_FILE_FIELDS = ("role", "controls", "checks")
_CONTROL_FIELDS = ("id", "title", "level", "instruments", "remediation", "without", "checks", "unchecked")
_CHECK_FIELDS = ("id", "title", "level", "fact", "rows", "expect", "absent", "where", "roles", "needs")


@dataclass(frozen=True)
class Kind:
    """What a catalogue is of. `form`, `example`: of its checks' ids; `of_benchmark`: they name clause and remedy."""

    of: str
    form: re.Pattern[str]
    example: str
    of_benchmark: bool = False

    @property
    def file_fields(self) -> tuple[str, ...]:
        """What a file may say."""
        return (*_FILE_FIELDS, "unchecked") if self.of_benchmark else _FILE_FIELDS

    @property
    def check_fields(self) -> tuple[str, ...]:
        """What a check may say."""
        return (*_CHECK_FIELDS, "clause", "remedy") if self.of_benchmark else _CHECK_FIELDS


NODES = Kind("nodes", re.compile(r"NODE-[A-Z]{3}-[0-9]{3}"), "NODE-SSH-001")
CLUSTER = Kind(
    "cluster",
    re.compile(r"CIS-[1-5]\.[0-9]{1,2}(\.[0-9]{1,2})?|CLU-[A-Z]{3}-[0-9]{3}"),
    "CIS-1.2.1 or CLU-ETC-001",
    of_benchmark=True,
)


@cache
def standard(kind: Kind = NODES) -> Catalogue:
    """Return the catalogue of this program."""
    return load(paths.data("policies", "controls", kind.of), kind)


def every() -> Catalogue:
    """Return all catalogues of this program in one: what can be waived, and what roles propose to waive."""
    both = [standard(kind) for kind in (NODES, CLUSTER)]
    return Catalogue(
        {name: one for each in both for name, one in each.controls.items()},
        {name: one for each in both for name, one in each.checks.items()},
        {name: why for each in both for name, why in each.unchecked.items()},
    )


def load(folder: File, kind: Kind = NODES) -> Catalogue:
    """Read every file of a folder. Raises InvalidInputError with all that is wrong in any of them."""
    found = [_read(file, kind) for file in sorted(folder.glob("*.yaml"))]
    wrong = [one for each in found for one in each.problems]
    controls: dict[str, Control] = {}
    checks: dict[str, Check] = {}
    for each in found:
        for sort, mine in ((controls, each.controls), (checks, each.checks)):
            for one, where in mine:
                if one.id in sort:
                    wrong.append(each.said(where, f"{one.id} stands twice", "each id once"))
                cast("dict[str, Any]", sort)[one.id] = one
    if wrong:
        raise InvalidInputError(f"the catalogue of {kind.of} is not valid", details=wrong)
    unchecked = {name: why for each in found for name, why in each.unchecked.items()}
    return Catalogue(dict(sorted(controls.items())), dict(sorted(checks.items())), dict(sorted(unchecked.items())))


@dataclass
class _File:
    """One file while it is read."""

    document: Document
    kind: Kind = NODES
    controls: list[tuple[Control, tuple[Step, ...]]] = field(default_factory=list)
    checks: list[tuple[Check, tuple[Step, ...]]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    named: set[str] = field(default_factory=set)
    """Ids of checks, those included that are written wrong."""
    unchecked: dict[str, str] = field(default_factory=dict)

    def said(self, steps: Sequence[Step], message: str, expected: str | None = None) -> Problem:
        return self.document.located(problem(message, field=path_of(steps), expected=expected))

    def wrong(self, steps: Sequence[Step], message: str, expected: str | None = None) -> None:
        self.problems.append(self.said(steps, message, expected))

    def fields(self, value: Any, steps: Sequence[Step], known: Sequence[str]) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            self.wrong(steps, "is no mapping", f"the fields {', '.join(known)}")
            return {}
        for name in value:
            if name not in known:
                self.wrong((*steps, name), f"there is no field {name!r}", ", ".join(known))
        return value

    def rows(self, value: Any, steps: Sequence[Step]) -> Iterator[tuple[Any, tuple[Step, ...]]]:
        if not isinstance(value, Sequence) or isinstance(value, str):
            self.wrong(steps, "is no list", "a list")
            return
        for index, one in enumerate(value):
            yield one, (*steps, index)

    def text(self, fields: Mapping[str, Any], steps: Sequence[Step], name: str) -> str:
        value = fields.get(name)
        if isinstance(value, str) and value.strip():
            return value
        self.wrong((*steps, name), "is missing" if name not in fields else "is no text", "a text")
        return ""

    def choice(
        self, fields: Mapping[str, Any], steps: Sequence[Step], name: str, of: Sequence[str], default: str
    ) -> str:
        value = fields.get(name, default)
        if value not in of:
            self.wrong((*steps, name), f"{value!r} is none of them", f"one of {', '.join(of)}")
            return default
        return str(value)

    def identity(self, fields: Mapping[str, Any], steps: Sequence[Step], form: re.Pattern[str], example: str) -> str:
        value = self.text(fields, steps, "id")
        if value and not form.fullmatch(value):
            self.wrong((*steps, "id"), f"{value!r} is no such id", f"an id such as {example}")
        return value

    def texts(self, fields: Mapping[str, Any], steps: Sequence[Step], name: str) -> tuple[str, ...]:
        value = fields.get(name) or []
        if isinstance(value, str) or not all(isinstance(one, str) for one in value):
            self.wrong((*steps, name), "is no list of texts", "a list of texts")
            return ()
        return tuple(value)

    def path(self, value: Any, steps: Sequence[Step]) -> path.Path | None:
        try:
            return path.parse(value if isinstance(value, str) else "")
        except ValueError as error:
            message, _, expected = str(error).partition("; expected ")
            self.wrong(steps, message, expected)
            return None

    def expectation(self, value: Any, steps: Sequence[Step]) -> Expectation | None:
        try:
            return expectation.parse(value)
        except WrittenWrongError as error:
            for below, message, expected in error.problems:
                self.wrong((*steps, *below), message, expected)
            return None


def _read(file: File, kind: Kind) -> _File:
    try:
        made = _File(documents.parse(file.read_bytes(), str(file)), kind)
    except InvalidInputError as error:
        made = _File(Document(str(file), b"", {}), kind)
        made.problems += error.details
        return made
    top = made.fields(made.document.value, (), kind.file_fields)
    role = made.text(top, (), "role")
    if role and role != file.stem:
        made.wrong(("role",), f"{role!r} is not the file's name", file.stem)
    for value, steps in made.rows(top.get("controls", []), ("controls",)):
        made.controls.append((_control(made, value, steps, role), steps))
    for value, steps in made.rows(top.get("checks", []), ("checks",)):
        if (check := _check(made, value, steps)) is not None:
            made.checks.append((check, steps))
    for value, steps in made.rows(top.get("unchecked", []), ("unchecked",)):
        fields = made.fields(value, steps, ("id", "title", "because"))
        name, title = made.identity(fields, steps, kind.form, kind.example), made.text(fields, steps, "title")
        made.unchecked[name] = f"{title}: {made.text(fields, steps, 'because')}"
    _see_belonging(made)
    return made


def _see_belonging(made: _File) -> None:
    """Every check belongs to a control of its file, and every check that a control names is there."""
    named = {check for control, _ in made.controls for check in control.checks}
    for control, steps in made.controls:
        for index, check in enumerate(control.checks):
            if check not in made.named:
                made.wrong((*steps, "checks", index), f"there is no check {check}", "a check of this file")
    for check_, steps in made.checks:
        if check_.id not in named:
            made.wrong((*steps, "id"), f"no control names {check_.id}", "to stand at one of this file's controls")


def _control(made: _File, value: Any, steps: tuple[Step, ...], role: str) -> Control:
    fields = made.fields(value, steps, _CONTROL_FIELDS)
    remediation = fields.get("remediation")
    if remediation is None and not fields.get("without"):
        made.wrong((*steps, "without"), "nobody remedies it, and it does not say why", "without: the reason")
    checks = made.texts(fields, steps, "checks")
    if not checks and not fields.get("unchecked"):
        made.wrong((*steps, "checks"), "nothing checks it, and it does not say why", "checks, or unchecked: the reason")
    if checks and fields.get("unchecked"):
        made.wrong((*steps, "unchecked"), "it is checked", "either checks, or unchecked")
    return Control(
        id=made.identity(fields, steps, _CONTROL, "GPK-SSH-001"),
        title=made.text(fields, steps, "title"),
        level=cast("Level", made.choice(fields, steps, "level", LEVELS, "cl1")),
        role=role,
        instruments=tuple(_instruments(made, fields, steps)),
        remediation=remediation if remediation is None else str(remediation),
        without=fields.get("without"),
        checks=checks,
        unchecked=fields.get("unchecked"),
    )


def _instruments(made: _File, fields: Mapping[str, Any], steps: tuple[Step, ...]) -> Iterator[Instrument]:
    for value, where in made.rows(fields.get("instruments", []), (*steps, "instruments")):
        one = made.fields(value, where, ("instrument", "document", "standing"))
        document = one.get("document")
        yield Instrument(
            made.text(one, where, "instrument"),
            document if document is None else str(document),
            cast("Standing", made.choice(one, where, "standing", get_args(Standing), "unverified")),
        )


def _check(made: _File, value: Any, steps: tuple[Step, ...]) -> Check | None:
    kind = made.kind
    fields = made.fields(value, steps, kind.check_fields)
    name = made.identity(fields, steps, kind.form, kind.example)
    made.named.add(name)
    title = made.text(fields, steps, "title")
    written = fields.get("fact")
    several = written if isinstance(written, list) and written else [written]
    read = [made.path(one, (*steps, "fact")) for one in several]
    expect = made.expectation(fields.get("expect"), (*steps, "expect"))
    rows = made.expectation(fields["rows"], (*steps, "rows")) if "rows" in fields else None
    roles = made.texts(fields, steps, "roles")
    for role in roles:
        if role not in get_args(HostRole):
            made.wrong((*steps, "roles"), f"{role!r} is no role of a host", f"one of {', '.join(get_args(HostRole))}")
    level = made.choice(fields, steps, "level", LEVELS, "cl1") if "level" in fields else None
    needs = _need(made, fields["needs"], (*steps, "needs")) if "needs" in fields else None
    if expect is None or None in read:
        return None
    return Check(
        id=name,
        title=title,
        paths=tuple(one for one in read if one is not None),
        expect=expect,
        rows=rows,
        absent=cast("Absent", made.choice(fields, steps, "absent", get_args(Absent), "fail")),
        where=cast("Where", made.choice(fields, steps, "where", get_args(Where), "anywhere")),
        roles=roles,
        level=cast("Level | None", level),
        needs=needs,
        clause=made.text(fields, steps, "clause") if "clause" in fields else None,
        remedy=made.text(fields, steps, "remedy") if kind.of_benchmark else None,
    )


def _need(made: _File, value: Any, steps: tuple[Step, ...]) -> Need | None:
    fields = made.fields(value, steps, ("fact", "expect", "because"))
    found, expect = (
        made.path(fields.get("fact"), (*steps, "fact")),
        made.expectation(fields.get("expect"), (*steps, "expect")),
    )
    because = made.text(fields, steps, "because")
    return Need(found, expect, because) if found is not None and expect is not None else None
