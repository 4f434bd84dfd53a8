"""From a document to a model, and from what is wrong to words that people can act on.

Every problem at once: where fields are wrong, they are replaced by harmless values and the rules between fields are
tried on the rest, so that one mistake does not hide another.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, RootModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from gcloud_pk.errors import Problem, problem
from gcloud_pk.model.quantity import Quantity
from gcloud_pk.registry.documents import Document, Fields, Items, Step, Steps, path_of, steps_of

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class Reading(Generic[M]):
    """A document as a model.

    `model`: None where it is not valid. `repaired`: the model with wrong values replaced, where that can be done; for
    the rules and for comparing, never for acting. `replaced`: the fields that are not the document's own.
    """

    document: Document
    model: M | None
    repaired: M | None
    problems: tuple[Problem, ...] = ()
    replaced: frozenset[Steps] = field(default_factory=frozenset)

    def ruled(self, rules: Callable[[M], Iterable[Problem]]) -> list[Problem]:
        """Return all problems, those of `rules` between fields included, sorted by line."""
        found = list(self.problems)
        if self.repaired is not None:
            found += self.placed(rules(self.repaired))
        return ordered(found)

    def placed(self, found: Iterable[Problem]) -> list[Problem]:
        """Return what rules found in `repaired`, with file and line; less what comes from values of our own."""
        made_up = _MadeUp(self.replaced)
        return [self.document.located(one) for one in found if not made_up.bears(one.field or "")]


# A rule's problem at the field on the left may come from the made-up value of a field on the right.
_RESTS_ON: tuple[tuple[re.Pattern[str], str], ...] = tuple((re.compile(left), right) for left, right in (
    (r"spec\.registries\[\d+\]", r"metadata(\.name)?"),
    (r"spec\.site\b.*", r"spec\.classification"),
    (r"spec\.isolation", r"spec\.classification"),
    (r"spec\.environments\[\d+\]\.exposure", r"spec\.classification"),
    (r"spec\.environments\[\d+\]\.name", r"metadata(\.name)?"),
    (r"spec\.environments\[\d+\]\.domains\[\d+\]", r"spec\.organisation"),
    (r"spec\.environments\[(\d+)\]\.allowFrom\[\d+\]", r"spec\.environments\[\1\]\.exposure"),
    (r"spec\.admits\[\d+\]", r"spec\.location(\.kind)?"),
    # Sites: what is compared with the site's own classes, names, kinds and roles.
    (r"spec\.(hosts|clusters)\[\d+\]\.(level|holds\[\d+\]|admits\[\d+\])", r"spec\.admits(\[\d+\])?"),
    (r"spec\.(power|cooling)\.components\[(\d+)\]\.kw", r"spec\.\1\.components\[\2\](\.kind)?"),
    (r"spec\.(power|cooling|network)\.links\[\d+\].*", r"spec\.\1\.components(\[\d+\](\.(name|kind))?)?"),
    (r"spec\.(power)\.links\[\d+\]", r"spec\.\1\.links(\[\d+\](\.(from|to))?)?"),
    (r".*\.feeds\[\d+\]", r"spec\.power(\.components(\[\d+\](\.(name|kind))?)?)?"),
    (r"spec\.racks\[\d+\]\.cooling\[\d+\]", r"spec\.cooling(\.components(\[\d+\](\.(name|kind))?)?)?"),
    (r"spec\.racks\[\d+\]\.switches\[\d+\]", r"spec\.network(\.components(\[\d+\](\.(name|kind))?)?)?"),
    (r"spec\.hosts\[\d+\]\.powerSupplies\[\d+\]", r"spec\.power(\.components(\[\d+\](\.(name|kind))?)?)?"),
    (r"spec\.hosts\[\d+\]\.powerSupplies\[\d+\]", r"spec\.racks(\[\d+\](\.(name|feeds.*))?)?|spec\.power\.links.*"),
    (r".*\.room", r"spec\.rooms(\[\d+\])?"),
    (r"spec\.hosts\[\d+\]\.rack", r"spec\.racks(\[\d+\](\.name)?)?"),
    (r"spec\.hosts\[\d+\]\.role", r"spec\.hosts(\[\d+\](\.(role|cluster|name))?)?"),
    (r"spec\.hosts\[\d+\]\.machine", r"spec\.machines(\[\d+\](\.name)?)?"),
    (r"spec\.hosts\[\d+\]\.(cluster|role)", r"spec\.clusters(\[\d+\](\.name)?)?"),
    (r"spec\.hosts\[\d+\]\.address", r"spec\.clusters(\[\d+\](\.(name|networks.*))?)?"),
    (r"spec\.clusters\[(\d+)\]\.endpoint", r"spec\.clusters\[\1\]\.networks.*|spec\.hosts\[\d+\]\.address"),
    (r"spec\.tables\..*", r"metadata(\.name)?"),
))  # fmt: skip


class _MadeUp:
    """The fields whose values are ours, and which problems rest on them."""

    def __init__(self, replaced: Iterable[Steps]) -> None:
        self._fields = frozenset(replaced)
        self._above = frozenset(steps[:n] for steps in self._fields for n in range(len(steps)))
        self._paths = tuple(path_of(steps) for steps in self._fields)
        self._found: dict[str, bool] = {}

    def bears(self, where: str) -> bool:
        if not self._fields:
            return False
        steps = steps_of(where)
        if steps in self._above or any(steps[:n] in self._fields for n in range(len(steps) + 1)):
            return True
        return any(self._any(_filled(right, match)) for left, right in _RESTS_ON if (match := left.fullmatch(where)))

    def _any(self, pattern: str) -> bool:
        if pattern not in self._found:
            compiled = re.compile(pattern)
            self._found[pattern] = any(compiled.fullmatch(path) for path in self._paths)
        return self._found[pattern]


def _filled(pattern: str, match: re.Match[str]) -> str:
    return re.sub(r"\\(\d)", lambda group: re.escape(match[int(group[1])]), pattern)


def ordered(problems: Iterable[Problem]) -> list[Problem]:
    """Return each problem once, by file and line."""
    return sorted(dict.fromkeys(problems), key=lambda p: (p.file or "", p.line or 0, p.field or "", p.message))


def load(document: Document, model: type[M]) -> Reading[M]:
    """Validate a document. Never raises for what the document holds."""
    try:
        read = model.model_validate(document.value)
    except ValidationError as error:
        return _mend(document, model, error)
    return Reading(document, read, read)


def _mend(document: Document, model: type[M], error: ValidationError) -> Reading[M]:
    problems: list[Problem] = []
    replaced: set[Steps] = set()
    value = deepcopy(document.value)
    if not _of_kind(document, model):
        kind = document.value.get("kind")
        found = problem(
            f"cannot be {_shown(kind)}",
            file=document.file,
            line=document.line(("kind",)),
            field="kind",
            expected=model.__name__,
        )
        return Reading(document, None, None, (found,))
    for _ in range(5):
        for item in error.errors(include_url=False):
            if item["type"] == "too_short" and len(item["input"]) >= (item.get("ctx") or {})["min_length"]:
                continue  # only its valid entries were counted; the others have problems of their own
            steps = _steps(item["loc"], value)
            # What is wrong with a value of our own is nothing that the document can help.
            if not any(steps[:n] in replaced for n in range(len(steps) + 1)):
                problems.append(_in_words(document, model, steps, item))
            extra = item["type"] == "extra_forbidden"
            replaced.add(steps)
            value = _replace(value, steps, model, number=len(replaced), drop=extra)
        try:
            return Reading(document, None, model.model_validate(value), tuple(ordered(problems)), frozenset(replaced))
        except ValidationError as again:
            error = again
    return Reading(document, None, None, tuple(ordered(problems)), frozenset(replaced))


def fault(annotation: Any, value: object) -> str | None:
    """Return what is wrong with one value of a model's type, in the words that a request's field would get; or None."""
    try:
        _adapter(annotation).validate_python(value)
    except ValidationError as error:
        message, expected = _words(BaseModel, (), error.errors(include_url=False)[0])
        return f"{message}; expected {expected}" if expected else message
    return None


def _of_kind(document: Document, model: type[BaseModel]) -> bool:
    """Whether the document can be meant as this kind: another kind is the one thing to say about it."""
    if "kind" not in model.model_fields or not isinstance(document.value, Fields) or "kind" not in document.value:
        return True
    return document.value["kind"] in get_args(model.model_fields["kind"].annotation)


def _steps(loc: tuple[Step, ...], value: Any) -> Steps:
    """Return pydantic's location without its marks for union branches and mapping keys."""
    steps: list[Step] = []
    for position, step in enumerate(loc):
        present = step in value if isinstance(value, dict) else isinstance(value, list) and step in range(len(value))
        if present:
            value = value[step]
        elif not (isinstance(value, dict) and position == len(loc) - 1 and step != "[key]"):
            continue  # a missing field is the last step; the rest are marks
        steps.append(step)
    return tuple(steps)


def _choices(values: Iterable[object]) -> str:
    words = [str(v) for v in values]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _shown(value: object) -> str:
    if value is None:
        return "empty"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = value if isinstance(value, str) else json.dumps(value)
    text = text if len(text) <= 80 else text[:77] + "..."
    return repr(text) if isinstance(value, str) else text


def _in_words(document: Document, model: type[BaseModel], steps: Steps, item: Any) -> Problem:
    message, expected = _words(model, steps, item)
    file, line, field = document.place(steps)
    return problem(message, file=file, line=line, field=field, expected=expected)


def _words(model: type[BaseModel], steps: Steps, item: Any) -> tuple[str, str | None]:
    kind, context, given = item["type"], item.get("ctx") or {}, item["input"]
    cannot = f"cannot be {_shown(given)}"
    if kind == "missing":
        found = _field(model, steps)
        return "is missing", found.description if found else None
    if kind == "extra_forbidden":
        names = _names(model, steps[:-1])
        near = get_close_matches(str(steps[-1]), names, n=1)
        return "is not a field here", repr(near[0]) if near else f"one of {', '.join(names)}" if names else None
    if kind == "literal_error":
        literal = _field_type(model, steps)
        allowed = get_args(literal) if get_origin(literal) is Literal else ()
        return cannot, _choices(allowed) if allowed else str(context.get("expected"))
    if kind == "value_error":
        said = str(context.get("error", item["msg"]))
        message, found_expected, expected_words = said.partition("; expected ")
        return (message, expected_words) if found_expected else (cannot, said.removeprefix("expected "))
    if isinstance(given, str) and kind in {"too_long", "string_too_long"}:
        return f"is {len(given)} characters long", f"at most {context['max_length']}"
    if isinstance(given, str) and kind in {"too_short", "string_too_short"}:
        return "is empty", "a text"
    if kind in {"too_short", "too_long"}:
        limit = context.get("min_length") if kind == "too_short" else context.get("max_length")
        size = context.get("actual_length")
        counted = "no entry" if not size else "1 entry" if size == 1 else f"{size or 'too many'} entries"
        return f"has {counted}", f"at {'least' if kind == 'too_short' else 'most'} {limit}"
    expected = _EXPECTED.get(kind)
    if expected is None:
        return cannot, _plain(item["msg"])
    return cannot, expected.format(**context)


_EXPECTED = {
    "string_type": "a text",
    "model_type": "a mapping of fields",
    "model_attributes_type": "a mapping of fields",
    "dict_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
    "int_type": "a whole number, without quotes",
    "int_from_float": "a whole number",
    "bool_type": "true or false, without quotes",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "date_from_datetime_parsing": "a day as YYYY-MM-DD",
    "datetime_from_date_parsing": "a UTC time as YYYY-MM-DDThh:mm:ssZ",
    "datetime_parsing": "a UTC time as YYYY-MM-DDThh:mm:ssZ",
    "date_parsing": "a day as YYYY-MM-DD",
}


def _plain(message: str) -> str:
    return re.sub(r"^(Input|Value) should be (a valid )?", "", message)


def _bare(annotation: Any) -> Any:
    """Return a type without Annotated and None."""
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation = get_args(annotation)[0]
        elif origin in {Union, types.UnionType}:
            branches = [a for a in get_args(annotation) if a is not type(None)]
            if len(branches) != 1:
                return annotation
            annotation = branches[0]
        else:
            return annotation


def _inside(annotation: Any, step: Step) -> tuple[Any, FieldInfo | None]:
    bare = _bare(annotation)
    if isinstance(bare, type) and issubclass(bare, BaseModel):
        if issubclass(bare, RootModel):
            return _inside(bare.model_fields["root"].annotation, step)
        for found in bare.model_fields.values():
            if found.alias == step:
                return _whole(found), found
        return None, None
    arguments = get_args(bare)
    if get_origin(bare) in {tuple, list} and isinstance(step, int):
        return arguments[0], None
    if get_origin(bare) is dict and isinstance(step, str):
        return arguments[1], None
    return None, None


def _whole(found: FieldInfo) -> Any:
    return Annotated[(found.annotation, *found.metadata)] if found.metadata else found.annotation


def _at(model: type[BaseModel], steps: Steps) -> tuple[Any, FieldInfo | None]:
    annotation: Any = model
    found: FieldInfo | None = None
    for step in steps:
        annotation, found = _inside(annotation, step)
    return annotation, found


def _field(model: type[BaseModel], steps: Steps) -> FieldInfo | None:
    return _at(model, steps)[1]


def _field_type(model: type[BaseModel], steps: Steps) -> Any:
    return _bare(_at(model, steps)[0])


def _names(model: type[BaseModel], steps: Steps) -> list[str]:
    bare = _field_type(model, steps)
    if isinstance(bare, type) and issubclass(bare, BaseModel):
        return [str(f.alias) for f in bare.model_fields.values() if f.alias]
    return []


def _replace(value: Any, steps: Steps, model: type[BaseModel], *, number: int, drop: bool) -> Any:
    """Return `value` with a harmless one at `steps`; an unknown or optional field is dropped."""
    annotation, found = _at(model, steps)
    optional = found is not None and not found.is_required()
    if not steps:
        return _harmless(model, number)
    holder = value
    for step in steps[:-1]:
        holder = holder[step] if isinstance(holder, Fields | Items) else None  # type: ignore[index]
    last = steps[-1]
    if isinstance(holder, Fields) and (drop or optional or (found is None and annotation is None)):
        holder.pop(str(last), None)
    elif isinstance(holder, Fields | Items):
        holder[last] = _harmless(annotation, number)  # type: ignore[index]
    return value


_CANDIDATES = (
    "placeholder-{n}", "P{n}", "p{n}.placeholder.invalid", "p{n}@placeholder.invalid", "placeholder-{n}.invalid/p/",
    "192.0.2.{n}/32", "https://placeholder.invalid", "2000-01-01", "2000-01-01T00:00:00Z", "ict",
    "00000000-0000-0000-0000-{n:012d}", "0" * 64, "{n}", False,
    "192.0.2.{n}", "ssh-ed25519 placeholder{n}", "1.0.{n}", "placeholder.placeholder{n}.csv",
)  # fmt: skip


@lru_cache(maxsize=256)
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)


def _harmless(annotation: Any, number: int) -> Any:
    """Return the least that is valid: no quantity, no entry, the first of the choices."""
    bare = _bare(annotation)
    if get_origin(bare) is Literal:
        return get_args(bare)[0]
    if isinstance(bare, type) and issubclass(bare, BaseModel) and not issubclass(bare, RootModel):
        made = Fields()
        for found in bare.model_fields.values():
            if found.is_required() and found.alias:
                made[found.alias] = _harmless(_whole(found), number)
        return made
    if get_origin(bare) is tuple:
        empty = Items()
        try:
            _adapter(annotation).validate_python(empty)
        except ValidationError:
            empty.append(_harmless(get_args(bare)[0], number))
        return empty
    if bare is Quantity:
        return "0"
    for candidate in (number, *_CANDIDATES):
        value = candidate.format(n=number % 250 + 1) if isinstance(candidate, str) else candidate
        try:
            _adapter(annotation).validate_python(value)
        except ValidationError:
            continue
        return value
    return None
