"""The texts of a page in one language, as data: `templates/<page>.<language>.yaml`. Translators edit those alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from string import Formatter
from typing import Any, Literal

import yaml

from gcloud_pk import paths
from gcloud_pk.render.page import Sentence, Value


@dataclass(frozen=True)
class Catalogue:
    """Texts by dotted keys, with {placeholders}. `separator`: between the entries of a list."""

    language: str
    direction: Literal["ltr", "rtl"]
    separator: str
    texts: dict[str, str]

    def __call__(self, key: str, **values: Value | Sentence) -> Sentence:
        """Return a sentence. Raises KeyError where the key is not there, or a placeholder has no value."""
        parts: list[str | Value] = []
        for literal, name, _, _ in Formatter().parse(self.texts[key]):
            if literal:
                parts.append(literal)
            if name is not None:
                value = values[name]
                parts += [value] if isinstance(value, Value) else value
        return tuple(parts)

    def below(self, key: str) -> list[str]:
        """Return the names that stand directly below a key, in their order."""
        return list(
            dict.fromkeys(k.removeprefix(f"{key}.").split(".")[0] for k in self.texts if k.startswith(f"{key}."))
        )

    def joined(self, values: Iterable[Value]) -> Sentence:
        """Return values as a list in the reader's language; its word for none where there are none."""
        parts: list[str | Value] = []
        for value in values:
            parts += [self.separator, value] if parts else [value]
        return tuple(parts) or self("word.none")


@cache
def catalogue(page: str, language: str) -> Catalogue:
    """Read the texts of a page. Raises FileNotFoundError for a language that it is not written in."""
    text = paths.package("render", "templates", f"{page}.{language}.yaml").read_text(encoding="utf-8")
    # Trusted: it comes with the program.
    document = yaml.safe_load(text)
    texts = dict(_leaves("", document))
    return Catalogue(
        texts.pop("language"), "rtl" if texts.pop("direction") == "rtl" else "ltr", texts.pop("separator"), texts
    )


def _leaves(path: str, value: Any) -> Iterable[tuple[str, str]]:
    for name, inner in value.items():
        key = f"{path}.{name}" if path else name
        if isinstance(inner, dict):
            yield from _leaves(key, inner)
        else:
            yield key, " ".join(inner.split()) if key != "separator" else inner
