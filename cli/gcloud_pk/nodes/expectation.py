"""Expectations: small, total operators over what a node says (policies/controls/nodes/README.md). Pure.

What is not of the right kind does not meet an operator, and what is absent meets nothing but `present: false`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gcloud_pk.nodes.path import items

LONGEST = 8192
"""Characters of a text that `matches` looks at: what a node sends must not keep a pattern busy."""

_DECIMAL = re.compile(r"[-+]?[0-9]{1,18}(\.[0-9]{1,9})?")
_MODE = re.compile(r"[0-7]{3,4}")

Scalar = str | int | float | bool


@dataclass(frozen=True)
class Term:
    """One operator and its argument: a value, an Expectation, several of them, or one for each field."""

    operator: str
    argument: Any


@dataclass(frozen=True)
class Expectation:
    """Operators, all of which must hold."""

    terms: tuple[Term, ...]

    def met(self, value: Any) -> bool:
        """Whether a value meets all of it."""
        return all(_OPERATORS[term.operator].met(value, term.argument) for term in self.terms)

    def __str__(self) -> str:
        return ", ".join(_OPERATORS[term.operator].words(term.argument) for term in self.terms)

    def offenders(self, value: Any) -> list[Any] | None:
        """Return the items for which a value does not meet it; None where that cannot be said of single items."""
        found = items(value)
        if found is None or len(self.terms) != 1:
            return None
        operator, argument = self.terms[0].operator, self.terms[0].argument
        if operator == "each":
            return [item for item in found if not argument.met(item)]
        if operator == "none":
            return [item for item in found if argument.met(item)]
        if operator == "subset_of":
            return [item for item in found if not _among(item, argument)]
        if operator == "lacks":
            return [item for item in found if _among(item, argument)]
        return None


@dataclass(frozen=True)
class _Operator:
    takes: Literal["scalar", "number", "regex", "mode", "flag", "scalars", "expectation", "fields", "expectations"]
    met: Callable[[Any, Any], bool]
    words: Callable[[Any], str]


def same(value: Any, wanted: Any) -> bool:
    """Whether two values are the same; a number and its decimal text are, a flag and a number are not."""
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    if value is None or isinstance(value, list | dict):
        return False
    return bool(value == wanted or str(value) == str(wanted))


def _among(value: Any, wanted: Sequence[Any]) -> bool:
    return any(same(value, one) for one in wanted)


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    return float(value) if isinstance(value, str) and _DECIMAL.fullmatch(value) else None


def _compares(value: Any, test: Callable[[float], bool]) -> bool:
    number = _number(value)
    return number is not None and test(number)


def _list(value: Any, test: Callable[[list[Any]], bool]) -> bool:
    found = items(value)
    return found is not None and test(found)


def _ordered(found: Sequence[Any], wanted: Sequence[Any]) -> bool:
    rest = iter(found)
    return all(any(same(item, one) for item in rest) for one in wanted)


def _mode(value: Any, most: str) -> bool:
    return isinstance(value, str) and bool(_MODE.fullmatch(value)) and not int(value, 8) & ~int(most, 8)


def _empty(value: Any, wanted: bool) -> bool:
    return isinstance(value, str | list | dict) and (not value) is wanted


def _fields(value: Any, wanted: Mapping[str, Expectation]) -> bool:
    return isinstance(value, Mapping) and all(each.met(value.get(name)) for name, each in wanted.items())


def shown(value: Any) -> str:
    """Return a value in one line: a text as it is, anything else as compact JSON."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False, separators=(", ", ": "))


def _several(values: Sequence[Any]) -> str:
    return ", ".join(shown(value) for value in values)


def _in_fields(wanted: Mapping[str, Expectation]) -> str:
    return "; ".join(f"{name}: {each}" for name, each in wanted.items())


_OPERATORS: Mapping[str, _Operator] = {
    "equals": _Operator("scalar", same, shown),
    "one_of": _Operator("scalars", _among, lambda w: f"one of {_several(w)}"),
    "at_least": _Operator("number", lambda v, w: _compares(v, lambda n: n >= w), lambda w: f"at least {w}"),
    "at_most": _Operator("number", lambda v, w: _compares(v, lambda n: n <= w), lambda w: f"at most {w}"),
    "matches": _Operator(
        "regex",
        lambda v, w: isinstance(v, str) and len(v) <= LONGEST and re.fullmatch(w, v) is not None,
        lambda w: f"all of it matches {w}",
    ),
    "mode_at_most": _Operator("mode", _mode, lambda w: f"no bit beyond {w}"),
    "present": _Operator("flag", lambda v, w: (v is not None) is w, lambda w: "there" if w else "not there"),
    "empty": _Operator("flag", _empty, lambda w: "nothing" if w else "something"),
    "contains_all": _Operator(
        "scalars",
        lambda v, w: _list(v, lambda found: all(any(same(i, one) for i in found) for one in w)),
        lambda w: f"among it {_several(w)}",
    ),
    "contains_any": _Operator(
        "scalars",
        lambda v, w: _list(v, lambda found: any(_among(i, w) for i in found)),
        lambda w: f"among it one of {_several(w)}",
    ),
    "lacks": _Operator(
        "scalars",
        lambda v, w: _list(v, lambda found: not any(_among(i, w) for i in found)),
        lambda w: f"none of {_several(w)}",
    ),
    "subset_of": _Operator(
        "scalars",
        lambda v, w: _list(v, lambda found: all(_among(i, w) for i in found)),
        lambda w: f"nothing but {_several(w)}",
    ),
    "ordered": _Operator(
        "scalars", lambda v, w: _list(v, lambda found: _ordered(found, w)), lambda w: f"in this order: {_several(w)}"
    ),
    "count": _Operator(
        "expectation", lambda v, w: _list(v, lambda found: w.met(len(found))), lambda w: f"their number: {w}"
    ),
    "each": _Operator(
        "expectation",
        lambda v, w: _list(v, lambda found: bool(found) and all(w.met(i) for i in found)),
        lambda w: f"each: {w}",
    ),
    "any": _Operator(
        "expectation", lambda v, w: _list(v, lambda found: any(w.met(i) for i in found)), lambda w: f"one with {w}"
    ),
    "none": _Operator(
        "expectation", lambda v, w: _list(v, lambda found: not any(w.met(i) for i in found)), lambda w: f"none with {w}"
    ),
    "fields": _Operator("fields", _fields, _in_fields),
    "not": _Operator("expectation", lambda v, w: v is not None and not w.met(v), lambda w: f"not {w}"),
    "either": _Operator(
        "expectations", lambda v, w: any(one.met(v) for one in w), lambda w: " or ".join(f"({one})" for one in w)
    ),
}


class WrittenWrongError(ValueError):
    """An expectation breaks the form; `problems`: (steps below it, message, what was expected)."""

    def __init__(self, problems: Sequence[tuple[tuple[str | int, ...], str, str]]) -> None:
        super().__init__("; ".join(message for _, message, _ in problems))
        self.problems = tuple(problems)


def parse(written: Any) -> Expectation:
    """Return the expectation that YAML writes. Raises WrittenWrongError with all that is wrong."""
    wrong: list[tuple[tuple[str | int, ...], str, str]] = []
    made = _parse(written, (), wrong)
    if wrong or made is None:
        raise WrittenWrongError(wrong)
    return made


_Wrong = list[tuple[tuple[str | int, ...], str, str]]


def _parse(written: Any, steps: tuple[str | int, ...], wrong: _Wrong) -> Expectation | None:
    if not isinstance(written, Mapping) or not written:
        wrong.append((steps, "is no expectation", "a mapping of operators, such as {equals: no}"))
        return None
    terms = []
    for name, argument in written.items():
        here = (*steps, name)
        operator = _OPERATORS.get(name)
        if operator is None:
            from difflib import get_close_matches

            near = get_close_matches(name, _OPERATORS, n=1)
            wrong.append((here, f"there is no operator {name!r}", near[0] if near else ", ".join(_OPERATORS)))
            continue
        made = _argument(operator.takes, argument, here, wrong)
        if made is not None:
            terms.append(Term(name, made))
    return Expectation(tuple(terms)) if terms else None


def _argument(takes: str, argument: Any, here: tuple[str | int, ...], wrong: _Wrong) -> Any:
    if takes == "expectation":
        return _parse(argument, here, wrong)
    if takes == "expectations":
        if not isinstance(argument, Sequence) or isinstance(argument, str) or len(argument) < 2:
            wrong.append((here, "is no list of expectations", "at least two"))
            return None
        return tuple(found for i, one in enumerate(argument) if (found := _parse(one, (*here, i), wrong)))
    if takes == "fields":
        if not isinstance(argument, Mapping) or not argument:
            wrong.append((here, "names no fields", "a mapping of names and expectations"))
            return None
        made = {name: _parse(one, (*here, name), wrong) for name, one in argument.items()}
        return {name: one for name, one in made.items() if one is not None}
    expected = next((text for text in _unfit(takes, argument)), None)
    if expected:
        wrong.append((here, f"{shown(argument)} does not fit", expected))
        return None
    return tuple(argument) if takes == "scalars" else argument


def _unfit(takes: str, argument: Any) -> Iterator[str]:
    """Yield what was expected where an argument does not fit its operator."""
    if takes == "scalar" and not isinstance(argument, Scalar):
        yield "a text, a number, true or false"
    if takes == "number" and (isinstance(argument, bool) or not isinstance(argument, int | float)):
        yield "a number"
    if takes == "flag" and not isinstance(argument, bool):
        yield "true or false"
    if takes == "mode" and not (isinstance(argument, str) and _MODE.fullmatch(argument)):
        yield 'an octal mode in quotes, such as "0640"'
    if takes == "scalars" and not (
        isinstance(argument, Sequence)
        and not isinstance(argument, str)
        and argument
        and all(isinstance(one, Scalar) for one in argument)
    ):
        yield "a list of texts or numbers"
    if takes == "regex":
        try:
            re.compile(argument if isinstance(argument, str) else "(")
        except re.error:
            yield "a regular expression of Python"
