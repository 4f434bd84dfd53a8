"""Kubernetes quantities, compared exactly and written as the API server writes them.

Rule: apimachinery `resource.Quantity` (canonical form: no fraction, the largest suffix that loses nothing).
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import total_ordering
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

_DECIMAL = {"n": -3, "u": -2, "m": -1, "": 0, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_PATTERN = r"([0-9]{1,30}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|[eE][0-9]{1,2})?"
_COMPILED = re.compile(_PATTERN)
_LIMIT = 2**63


@total_ordering
class Quantity:
    """An amount of cpu (cores), memory or storage (bytes), or a count; never negative."""

    __slots__ = ("binary", "value")

    def __init__(self, value: Fraction | int, *, binary: bool = False) -> None:
        self.value = Fraction(value)
        self.binary = binary

    @classmethod
    def parse(cls, text: str | int) -> Quantity:
        """Read `500m`, `96Gi`, `40`. Raises ValueError."""
        match = _COMPILED.fullmatch(str(text))
        if match is None:
            raise ValueError("expected a Kubernetes quantity, such as 500m, 16 or 96Gi")
        number, suffix = Fraction(match[1]), match[2] or ""
        if suffix in _BINARY:
            value, binary = number * 1024 ** _BINARY[suffix], True
        elif suffix[:1] in {"e", "E"} and suffix != "E":
            value, binary = number * 10 ** int(suffix[1:]), False
        else:
            value, binary = number * Fraction(1000) ** _DECIMAL[suffix], False
        if value >= _LIMIT:
            raise ValueError("expected a quantity below 8Ei")
        if (value * 1000).denominator != 1:
            raise ValueError("expected a quantity no finer than a thousandth")
        return cls(value, binary=binary)

    def __str__(self) -> str:
        """Return the canonical form."""
        value = self.value
        if self.binary and value >= 1024 and value.denominator == 1:
            number, suffix = value.numerator, ""
            for name in _BINARY:
                if number % 1024:
                    break
                number, suffix = number // 1024, name
            return f"{number}{suffix}"
        if value.denominator != 1:
            return f"{value * 1000}m"
        number, suffix = value.numerator, ""
        for name in ("k", "M", "G", "T", "P", "E"):
            if number == 0 or number % 1000:
                break
            number, suffix = number // 1000, name
        return f"{number}{suffix}"

    def __repr__(self) -> str:
        return f"Quantity({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.value == other.value

    def __lt__(self, other: Quantity) -> bool:
        return self.value < other.value

    def __hash__(self) -> int:
        return hash(self.value)

    def __add__(self, other: Quantity) -> Quantity:
        return Quantity(self.value + other.value, binary=self.binary or other.binary)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def read(value: object) -> Quantity:
            if isinstance(value, Quantity):
                return value
            if isinstance(value, bool) or not isinstance(value, str | int | float):
                raise ValueError("expected a Kubernetes quantity, such as 500m, 16 or 96Gi")  # noqa: TRY004
            return cls.parse(str(value))

        return core_schema.no_info_plain_validator_function(
            read,
            serialization=core_schema.plain_serializer_function_ser_schema(str, return_schema=core_schema.str_schema()),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {
            "anyOf": [{"type": "string", "pattern": f"^({_PATTERN})$"}, {"type": "number", "minimum": 0}],
            "description": "a Kubernetes quantity, such as 500m, 16 or 96Gi",
        }


def total(quantities: list[Quantity]) -> Quantity:
    """Return the exact sum."""
    return sum(quantities, Quantity(0))
