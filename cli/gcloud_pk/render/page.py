"""A page for people, as Markdown or as one accessible HTML file; from blocks of text that know what is a value.

Sentences come from a catalogue in the reader's language; values (names, addresses, amounts) are marked as such, so that
they are escaped, and isolated from the direction of the text around them (Unicode UAX 9; HTML `bdi`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from gcloud_pk import paths
from gcloud_pk.text import escape


@dataclass(frozen=True)
class Value:
    """What a sentence is about. `code`: to be typed or compared exactly; `email` and `url` lead there."""

    text: str
    kind: Literal["text", "code", "email", "url"] = "text"


Sentence = tuple[str | Value, ...]


@dataclass(frozen=True)
class Paragraph:
    """One sentence or more."""

    text: Sentence


@dataclass(frozen=True)
class Items:
    """A list; `ordered`: of steps."""

    items: tuple[Sentence, ...]
    ordered: bool = False


@dataclass(frozen=True)
class Table:
    """A table with a caption; the first cell of each row heads it."""

    caption: Sentence
    heads: tuple[Sentence, ...]
    rows: tuple[tuple[Sentence, ...], ...]


@dataclass(frozen=True)
class Code:
    """Lines to be typed or saved, from left to right whatever the page's direction. `label`: what it is."""

    label: Sentence
    text: str
    language: str


@dataclass(frozen=True)
class Heading:
    """A heading below a section's own."""

    text: Sentence


@dataclass(frozen=True)
class Figure:
    """A drawing: `svg` is an element that is safe to show (all that is not ours is escaped in it)."""

    label: Sentence
    svg: str


Block = Paragraph | Items | Table | Code | Heading | Figure


@dataclass(frozen=True)
class Section:
    """A part of the page; `id` is its anchor."""

    id: str
    title: Sentence
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """A page in one language (BCP 47). `frame`: texts of the page itself: skip, contents.

    `landscape`: as wide as the window, and printed on A4 turned on its side.
    """

    language: str
    direction: Literal["ltr", "rtl"]
    title: Sentence
    lead: Sentence
    sections: tuple[Section, ...]
    footer: Sentence
    frame: dict[str, Sentence]
    landscape: bool = False


def html(page: Page) -> str:
    """Return one HTML file that loads nothing from elsewhere."""
    return _rendered("page.html.j2", page)


def markdown(page: Page) -> str:
    """Return Markdown (GitHub's)."""
    return _rendered("page.md.j2", page)


def _rendered(template: str, page: Page) -> str:
    made = str(_templates().get_template(template).render(page=page, rtl=page.direction == "rtl"))
    return escape(re.sub(r"\n{3,}", "\n\n", made)).strip() + "\n"


@cache
def _templates() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FileSystemLoader(paths.package("render", "templates")),
        autoescape=select_autoescape(("html.j2",), default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"plain": plain, "md": _markdown_text, "fence": _fenced, "own_language": _own_language}
    environment.tests |= {"value": lambda part: isinstance(part, Value)}
    environment.tests |= {
        name: lambda block, kind=kind: isinstance(block, kind)
        for name, kind in (
            ("paragraph", Paragraph), ("items", Items), ("table", Table), ("code", Code), ("heading", Heading),
            ("figure", Figure),
        )
    }  # fmt: skip
    return environment


def plain(sentence: Sequence[str | Value]) -> str:
    """Return a sentence as text."""
    return "".join(part.text if isinstance(part, Value) else part for part in sentence)


_MARKS = re.compile(r"([\\`*_\[\]<>|~&$])")
# What would begin a heading, list or quotation at the beginning of a line.
_BEGINNINGS = re.compile(r"^(\s*\d+(?=[.)](?:\s|$))|\s*(?=#|[+=-](?:\s|$)|==|--))")


def _markdown_text(text: str) -> str:
    """Return text that Markdown shows as it is, in one line."""
    line = _MARKS.sub(r"\\\1", " ".join(text.split("\n")))
    return _BEGINNINGS.sub(r"\1\\", line)


def _fenced(text: str) -> str:
    """Return a code span whose fence is longer than any run of backticks in the text."""
    runs = [len(run) for run in re.findall("`+", text)]
    fence = "`" * (max(runs, default=0) + 1)
    pad = " " if text[:1] == "`" or text[-1:] == "`" else ""
    return f"{fence}{pad}{text}{pad}{fence}".replace("|", "\\|")


def _own_language(text: str, language: str) -> str | None:
    """Return the language of a value where its script shows that it is another than the page's."""
    found = "ur" if re.search(r"[\u0600-\u06ff]", text) else "en" if re.search(r"[A-Za-z]", text) else language
    return found if found != language else None
