"""What all models share: frozen, camelCase in YAML, unknown fields are errors, texts free of control characters."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic.annotated_handlers import GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from gcloud_pk.text import unsafe_characters

API_VERSION = "gcloud.gov.pk/v1alpha1"


class Model(BaseModel):
    """A frozen record; its YAML names are the camelCase of its fields."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=False,
        validate_default=False,
        hide_input_in_errors=True,
    )


def _no_controls(value: str) -> str:
    if found := unsafe_characters(value):
        raise ValueError(f"holds {', '.join(found)}; expected no characters that are not shown as they are")
    return value


def _no_controls_but_newline(value: str) -> str:
    _no_controls(value.replace("\n", " "))
    return value


@dataclass(frozen=True, eq=False)
class Checked:
    """A check after validation that JSON Schema speaks of as well, in `keywords`."""

    check: Callable[[Any], Any]
    keywords: dict[str, Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(schema), **self.keywords}


def matches(pattern: str, expected: str, **keywords: Any) -> Checked:
    """Return the check that a text is all of `pattern`; the words of `expected` follow "expected".

    `keywords` are added to the JSON Schema. Patterns stay within what RE2 and ECMA 262 have in common (no look-around),
    because the schemas of the custom resources carry them too.
    """
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        # fullmatch: `$` would let a trailing newline pass
        if not compiled.fullmatch(value):
            raise ValueError(f"expected {expected}")
        return value

    return Checked(check, {"pattern": f"^({pattern})$", **keywords})


def _is_text(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("expected a text (put it in quotes)")  # noqa: TRY004 - pydantic collects ValueError only
    return value


def _unique(values: tuple[object, ...]) -> tuple[object, ...]:
    if len(set(values)) != len(values):
        twice = sorted({str(v) for v in values if values.count(v) > 1})
        raise ValueError(f"names the same twice: {', '.join(twice)}; expected each entry once")
    return values


Unique = Checked(_unique, {"uniqueItems": True})
"""Each entry of a list once."""

Distinct = Checked(lambda values: values, {"uniqueItems": True})
"""The same, said to editors only: `rules` names each second entry by its line, and the list stays to be judged."""

Str = Annotated[str, BeforeValidator(_is_text)]
"""A text; numbers and booleans are not quietly made one."""

LABEL_PATTERN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
DOMAIN_PATTERN = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)+"
EMAIL_PATTERN = r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+"

Line = Annotated[Str, Field(min_length=1, max_length=200), Checked(_no_controls, {"pattern": r"^[^\x00-\x1f\x7f]*$"})]
"""One line of text for people."""

Prose = Annotated[
    Str,
    Field(min_length=1, max_length=2000),
    Checked(_no_controls_but_newline, {"pattern": r"^[^\x00-\x09\x0b-\x1f\x7f]*$"}),
]
"""Text for people; may have several lines."""

DnsLabel = Annotated[
    Str,
    Field(min_length=1, max_length=63),
    matches(
        LABEL_PATTERN, "a DNS label: lower-case letters, digits and '-', beginning and ending with a letter or digit"
    ),
]
"""RFC 1123 label."""

ObjectName = Annotated[
    Str,
    Field(min_length=1, max_length=253),
    matches(rf"{LABEL_PATTERN}(\.{LABEL_PATTERN})*", "a Kubernetes object's name: DNS labels joined by dots"),
]
"""RFC 1123 subdomain of one or more labels."""

Domain = Annotated[
    Str,
    Field(max_length=253),
    matches(
        DOMAIN_PATTERN,
        "a DNS name in lower case with at least two labels and no wildcard, such as eoffice.moitt.gov.pk",
    ),
]
"""RFC 1123 subdomain of at least two labels."""

Email = Annotated[
    Str,
    Field(max_length=254),
    matches(EMAIL_PATTERN, "an e-mail address"),
]

_RESERVED_GROUP = r"[sS][yY][sS][tT][eE][mM]:|[gG][cC][lL][oO][uU][dD]:"


def _not_reserved(value: str) -> str:
    if re.match(_RESERVED_GROUP, value):
        raise ValueError("expected a group that begins with neither 'system:' nor 'gcloud:', which are the platform's")
    return value


NotReserved = Checked(_not_reserved, {"not": {"pattern": f"^({_RESERVED_GROUP})"}})
"""Neither `system:` nor `gcloud:` at the beginning, in whatever case."""

Group = Annotated[
    Str,
    Field(min_length=1, max_length=128),
    matches(
        r"[A-Za-z0-9][A-Za-z0-9._@/:-]*",
        "a group of the identity provider: letters, digits, '.', '_', '-', '@', '/', ':'",
    ),
    NotReserved,
]
"""A group's name as the identity provider gives it, without the prefix."""

OrganisationCode = Annotated[
    Str,
    Field(max_length=32),
    matches(r"[A-Z][A-Z0-9]*(-[A-Z0-9]+)*", "a code in capital letters, such as MOITT or PUNJAB-PITB"),
]

RegistryPrefix = Annotated[
    Str,
    Field(max_length=255),
    matches(
        r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[0-9]{1,5})?/([a-z0-9]+((\.|__?|-+)[a-z0-9]+)*/)*",
        "a registry path that ends in '/', such as registry.gcloud.gov.pk/moitt/",
    ),
]

Digest = Annotated[Str, matches(r"[0-9a-f]{64}", "a SHA-256 in 64 hexadecimal digits")]

Principal = Annotated[
    Str,
    Field(max_length=128),
    matches(r"[a-z0-9._@-]+", "a principal: lower-case letters, digits, '.', '_', '@', '-'"),
]

Province = Annotated[
    Str, matches(r"ict|punjab|sindh|kp|balochistan|gb|ajk", "one of ict, punjab, sindh, kp, balochistan, gb, ajk")
]


class Name(Model):
    """A name in English and Urdu."""

    en: Line = Field(description="the name in English")
    ur: Line | None = Field(None, description="the name in Urdu")


class Text(Model):
    """A text in English and Urdu."""

    en: Prose = Field(description="the text in English")
    ur: Prose | None = Field(None, description="the text in Urdu")
