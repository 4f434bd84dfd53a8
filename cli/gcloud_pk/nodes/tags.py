"""What `--tags` may name: roles, and controls that a task of a role serves. Pure but for the roles' files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from gcloud_pk import paths
from gcloud_pk.errors import InvalidInputError, Problem, problem
from gcloud_pk.nodes.check import Control

_NEVER_SAID = "no task of a role serves it"


@dataclass(frozen=True)
class Tags:
    """What there is. `served`: the controls that some task has as a tag; `why`: of others, why no task serves them."""

    roles: tuple[str, ...]
    controls: Mapping[str, Control]
    served: frozenset[str]
    why: Mapping[str, str]

    def chosen(self, given: Sequence[str]) -> tuple[str, ...]:
        """Return the words of `--tags` one by one.

        Raises InvalidInputError for those that no role and no control is called, and those that no task serves.
        """
        words = tuple(word.strip() for one in given for word in one.split(","))
        unknown = [word for word in words if word not in self.roles and word not in self.controls]
        if unknown:
            raise InvalidInputError(
                f"--tags names no role and no control: {', '.join(repr(word) for word in unknown)}",
                details=[f"roles: {', '.join(self.roles)}", *(self._near(word) for word in unknown)],
                resolution="name roles, or controls such as GPK-SSH-001",
            )
        idle = [word for word in words if word in self.controls and word not in self.served]
        if idle:
            raise InvalidInputError(
                f"nothing would be run: no task serves {', '.join(idle)}",
                details=[f"{word} ({self.controls[word].title}): {self._reason(word)}" for word in idle],
                resolution="leave them out; the audit checks them all the same",
            )
        return words

    def _near(self, word: str) -> Problem:
        near = get_close_matches(word, (*self.roles, *self.controls), n=1)
        return problem(f"there is no {word!r}", expected=f"perhaps {near[0]}" if near else None)

    def _reason(self, word: str) -> str:
        return self.controls[word].without or self.why.get(word) or _NEVER_SAID


def standard() -> Tags:
    """Return what the roles and the catalogue of this program have."""
    from gcloud_pk.nodes import catalogue, waivers

    known = catalogue.standard()
    folder = paths.data("playbooks", "roles")
    why = {one.control: f"a waiver is proposed for it: {one.reason}" for one in waivers.proposals(catalogue.every())}
    return Tags(
        tuple(sorted(one.name for one in folder.iterdir() if one.is_dir())), known.controls, served(folder), why
    )


def served(roles: Path) -> frozenset[str]:
    """Return the tags of all tasks of all roles, those of blocks included."""
    files = sorted(roles.glob("*/tasks/*.yml"))
    return frozenset(tag for file in files for tag in _tags(yaml.load(file.read_bytes(), yaml.CSafeLoader)))


def _tags(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for one in value:
            yield from _tags(one)
    elif isinstance(value, dict):
        mine = value.get("tags", [])
        yield from mine.split(",") if isinstance(mine, str) else (str(tag) for tag in mine)
        for name in ("block", "rescue", "always"):
            yield from _tags(value.get(name))
