"""A YAML document, read once and strictly, with the line of every field.

Stricter than YAML wherever two readers could understand two things: one document, UTF-8, no aliases, tags, merge keys
or doubled keys, no characters that hide what a line says. Plain scalars are resolved as the core schema of YAML 1.2
does, so that `no`, `010` and `12:30` stay the texts they look like.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import yaml

from gcloud_pk.errors import InvalidInputError, Problem, problem
from gcloud_pk.text import escape, unsafe_characters

DEPTH = 32
NODES = 100_000

Step = str | int
Steps = tuple[Step, ...]

_NODE, _END = yaml.NodeEvent, (yaml.MappingEndEvent, yaml.SequenceEndEvent)
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULLS = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
# No leading zeros: a telephone number or `010` stays as it is written. At most 18 digits, for the same reason.
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})?\.[0-9]{1,15}([eE][-+]?[0-9]{1,2})?")
_PLAIN_STEP = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


class Fields(dict[str, Any]):
    """A mapping that knows the line of each key, and the `file`, where it is not the document's own."""

    __slots__ = ("file", "lines")

    def __init__(self, file: str | None = None) -> None:
        super().__init__()
        self.file = file
        self.lines: dict[str, int] = {}


class Items(list[Any]):
    """A list that knows the line of each entry."""

    __slots__ = ("lines",)

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[int] = []


@dataclass(frozen=True)
class Document:
    """What a file holds: `file` as it is named to people, the bytes, and the value read from those bytes."""

    file: str
    data: bytes
    value: Any
    first_line: int = 1

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the bytes, hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()

    def line(self, steps: Iterable[Step]) -> int:
        """Return the line of a field, or of the nearest above it that is there."""
        return self.place(tuple(steps))[1]

    def place(self, steps: Steps) -> tuple[str, int, str | None]:
        """Return file and line of a field, or of the nearest above it that is there, and its path in that file."""
        file, line, value, above = self.file, self.first_line, self.value, 0
        for position, step in enumerate(steps, 1):
            named = isinstance(value, Fields) and step in value
            if named or (isinstance(value, Items) and isinstance(step, int) and step < len(value)):
                line, value = value.lines[step], value[step]
                if isinstance(value, Fields) and value.file is not None:
                    file, above = value.file, position
            else:
                break
        return file, line, path_of(steps[above:]) or None

    def located(self, found: Problem) -> Problem:
        """Return a rule's problem with file and line."""
        file, line, field = self.place(steps_of(found.field or ""))
        return Problem(file, line, field, found.message, found.expected)


def path_of(steps: Iterable[Step]) -> str:
    """Return `spec.environments[1].quota.cpu`."""
    path = ""
    for step in steps:
        if isinstance(step, int):
            path += f"[{step}]"
        elif _PLAIN_STEP.fullmatch(step):
            path += f".{step}" if path else step
        else:
            path += f"[{step!r}]"
    return path


def steps_of(path: str) -> Steps:
    """Return the steps of a path that `path_of` made."""
    found = re.findall(r"\[(\d+)\]|\['([^']*)'\]|([^.\[\]]+)", path)
    return tuple(int(index) if index else quoted or name for index, quoted, name in found)


def parse(data: bytes, file: str, *, most: int = NODES) -> Document:
    """Read the one YAML document of `data`, of at most `most` values.

    Raises InvalidInputError with every problem that can be seen.
    """
    text = decoded(data, file)
    if (clean := _clean(text, most)) is not None:
        return Document(file, data, *clean)
    problems: list[Problem] = []
    try:
        value, line = _Reader(text, file, problems, most).read()
    except yaml.YAMLError as error:
        problems.append(_in_words(error, text, file))
    except _Excess:
        value, line = None, 1  # the problem says so
    if problems:
        raise InvalidInputError(f"{file} cannot be read", details=problems)
    return Document(file, data, value, line)


@lru_cache(maxsize=8)
def _clean(text: str, most: int) -> tuple[Any, int] | None:
    """Return the value and its line; None where anything is wrong, which is then read again for the words.

    A request and its kept copy are read one after the other and hold the same; what is read is changed by nobody.
    """
    problems: list[Problem] = []
    try:
        found = _Reader(text, "", problems, most).read()
    except (yaml.YAMLError, _Excess):
        return None
    return None if problems else found


def decoded(data: bytes, file: str) -> str:
    """Return the text of `data`, UTF-8. Raises InvalidInputError for what is none, and for what hides what it says."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = problem("holds bytes that are not UTF-8", file=file, line=line, expected="a text in UTF-8")
        raise InvalidInputError(f"{file} is not UTF-8", details=[found]) from None
    visible = text.removeprefix("\ufeff").replace("\r\n", "\n")
    flat = visible.replace("\n", " ").replace("\t", " ")
    if escape(flat) != flat:
        # In a comment, too: what a person reads must be what is parsed (line separators, overrides of direction).
        problems = [
            problem(f"holds {name}", file=file, line=number, expected="no characters that hide what the line says")
            for number, line in enumerate(visible.split("\n"), 1)
            for name in unsafe_characters(line.replace("\t", " "))
        ]
        raise InvalidInputError(f"{file} holds hidden characters", details=problems[:100])
    return text


def _in_words(error: yaml.YAMLError, text: str, file: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = mark.line + 1 if mark else None
    what = getattr(error, "problem", None) or str(error).partition("\n")[0]
    if line is not None:
        lines = text.split("\n")
        around = lines[line - 1] if line <= len(lines) else ""
        if "\t" in around[: len(around) - len(around.lstrip())]:
            return problem("is indented with a tab", file=file, line=line, expected="spaces")
    return problem(f"is not YAML: {what}", file=file, line=line, expected="YAML, as in examples/requests/")


@dataclass(slots=True)
class _Frame:
    """A mapping or list that is being filled; `key`: it stands (wrongly) where a field's name should."""

    container: Fields | Items
    key: bool = False
    step: Step | None = None
    line: int = 0


class _Excess(Exception):  # noqa: N818 - ends the reading; nobody else sees it
    """There is more of it than anybody writes."""


class _Reader:
    """Builds the value from the parser's events, without recursion."""

    def __init__(self, text: str, file: str, problems: list[Problem], most: int) -> None:
        self._events = _LOADER(text)
        self._most = most
        self._file = file
        self._problems = problems
        self._frames: list[_Frame] = []
        self._nodes = 0
        self._said: set[tuple[str, str | None]] = set()
        self._aliases: set[str | None] = set()

    def read(self) -> tuple[Any, int]:
        value: Any = None
        line, documents = 1, 0
        while True:
            event = self._events.get_event()
            if isinstance(event, _NODE):
                root = not self._frames
                made = self._node(event)
                if root and documents == 1:
                    value, line = made, _line(event)
            elif isinstance(event, _END):
                ended = self._frames.pop()
                if self._frames and not ended.key and isinstance(self._frames[-1].container, Fields):
                    self._frames[-1].step = None
            elif isinstance(event, yaml.StreamEndEvent):
                break
            elif isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents == 2:
                    self._refuse(event, "a second YAML document begins here", "one document in each file")
        if not documents or value is None:
            self._problems.append(problem("is empty", file=self._file, line=1, expected="a YAML document"))
        return value, line

    def _path(self) -> str | None:
        return path_of(frame.step for frame in self._frames if frame.step is not None) or None

    def _refuse(self, event: Any, message: str, expected: str, field: str | None = None) -> None:
        line = _line(event)
        if (message, field) not in self._said:
            self._said.add((message, field))
            self._problems.append(problem(message, file=self._file, line=line, field=field, expected=expected))

    def _node(self, event: Any) -> Any:
        self._nodes += 1
        if self._nodes > self._most:
            self._refuse(event, f"holds more than {self._most} values", "fewer")
            raise _Excess
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._aliases:  # used a hundred times, it is one mistake
                self._aliases.add(event.anchor)
                self._refuse(event, f"an alias (*{event.anchor})", "the value itself", self._path())
            return self._placed(event, None)
        if event.anchor is not None:
            self._refuse(event, f"an anchor (&{event.anchor})", "the value without an anchor", self._path())
        if event.tag is not None:
            self._refuse(event, f"a tag ({event.tag})", "the value without a tag", self._path())
        if isinstance(event, yaml.ScalarEvent):
            if self._awaits_key():
                self._key(event)
                return None
            return self._placed(event, event.value if event.style else _resolved(event.value))
        container: Fields | Items = Fields() if isinstance(event, yaml.MappingStartEvent) else Items()
        key = self._awaits_key()
        if key:
            self._refuse(event, "a field's name is a mapping or a list", "a name", self._path())
            self._frames[-1].step, self._frames[-1].line = "", _line(event)
            # The key's own content goes nowhere; what follows it is taken as its value.
        else:
            self._placed(event, container)
        if len(self._frames) >= DEPTH:
            self._refuse(event, "is nested too deeply", f"at most {DEPTH} levels")
            raise _Excess
        self._frames.append(_Frame(container, key))
        return container

    def _awaits_key(self) -> bool:
        return bool(self._frames) and isinstance(self._frames[-1].container, Fields) and self._frames[-1].step is None

    def _key(self, event: Any) -> None:
        frame = self._frames[-1]
        key = event.value
        if not event.style and key == "<<":
            self._refuse(event, "a merge key (<<)", "the fields themselves", self._path())
        elif not event.style and not isinstance(_resolved(key), str):
            self._refuse(event, f"the field's name {key!r} is not a text", "a name, in quotes", self._path())
        elif isinstance(frame.container, Fields) and key in frame.container:
            path = path_of([*(f.step for f in self._frames if f.step is not None), key])
            self._refuse(event, f"stands twice (first in line {frame.container.lines[key]})", "each field once", path)
        frame.step, frame.line = key, _line(event)

    def _placed(self, event: Any, value: Any) -> Any:
        if not self._frames:
            return value
        frame = self._frames[-1]
        if isinstance(frame.container, Items):
            frame.step = len(frame.container)
            frame.container.append(value)
            frame.container.lines.append(_line(event))
        elif frame.step is None:  # an alias as a key
            frame.step = ""
        else:
            frame.container[str(frame.step)] = value
            frame.container.lines[str(frame.step)] = frame.line
            if not isinstance(value, Fields | Items):
                frame.step = None
        return value


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _resolved(text: str) -> Any:
    """Return the value of a plain scalar by the core schema of YAML 1.2, less what would change a text."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def number(text: str) -> int | float | str:
    """Return the number that a plain scalar of this text would be; the text itself where it would be none."""
    value = _resolved(text)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else text
