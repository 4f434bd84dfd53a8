"""Values between Pulumi's engine and Python: secrets and what is not known yet are marked by fixed signatures.

Source: Pulumi's SDK for Go, `common/resource/properties.go` (SigKey, SecretSig), `common/resource/plugin/rpc.go`
(UnknownStringValue and the like).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.struct_pb2 import ListValue, Struct, Value  # type: ignore[import-untyped] # it brings no types

_SIGNATURE = "4dabf18193072939515e22adb298388d"
_SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - a mark, not a secret
_UNKNOWNS = frozenset(
    {
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "04da6b54-80e4-46f7-96ec-b56ff0331ba9",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "030794c1-ac77-496b-92df-f27374a8bd58",
        "e48ece36-62e2-4504-bad9-02848725956a",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)
"""Of a boolean, a number, a text, a list and an object are others; all mean the same here."""


@dataclass(frozen=True)
class Secret:
    """A value that Pulumi keeps encrypted."""

    value: Any = field(repr=False)


class Unknown:
    """What a preview does not know."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unknown)

    def __hash__(self) -> int:
        return hash(Unknown)

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown()


def read(struct: Struct) -> dict[str, Any]:
    """Return a message's fields. Secrets come as their values; whole numbers as int."""
    return {name: _read(value) for name, value in struct.fields.items()}


def _read(value: Value) -> Any:
    match value.WhichOneof("kind"):
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "string_value":
            return UNKNOWN if value.string_value in _UNKNOWNS else value.string_value
        case "bool_value":
            return value.bool_value
        case "list_value":
            return [_read(one) for one in value.list_value.values]
        case "struct_value":
            fields = read(value.struct_value)
            return fields["value"] if fields.get(_SIGNATURE) == _SECRET else fields
        case _:
            return None


def write(values: Mapping[str, Any]) -> Struct:
    """Return the message of some fields. What is None is left out, as Pulumi does."""
    return Struct(fields={name: _write(value) for name, value in values.items() if value is not None})


def _write(value: Any) -> Value:
    match value:
        case None:
            return Value(null_value=0)
        case Secret():
            return _write({_SIGNATURE: _SECRET, "value": value.value})
        case Unknown():
            return Value(string_value="04da6b54-80e4-46f7-96ec-b56ff0331ba9")
        case bool():
            return Value(bool_value=value)
        case int() | float():
            return Value(number_value=value)
        case str():
            return Value(string_value=value)
        case Mapping():
            return Value(struct_value=write(value))
        case Sequence():
            return Value(list_value=ListValue(values=[_write(one) for one in value]))
        case _:
            raise TypeError(f"{type(value).__name__} is no value of Pulumi")


def known(value: Any) -> bool:
    """Whether nothing in a value is unknown."""
    if isinstance(value, Unknown):
        return False
    if isinstance(value, Mapping):
        return all(known(one) for one in value.values())
    return all(known(one) for one in value) if isinstance(value, list) else True
