"""Edits: what a probe breaks in a control object. Paths are JSON Pointers (RFC 6901), as in JSON Patch (RFC 6902)."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from pydantic import Field, model_validator

from gcloud_pk.model.base import Model


class Edit(Model):
    """Set the value at a path (`-` appends to a list; missing maps on the way are made), or remove what is there."""

    path: str = Field(pattern=r"^(/[^/]+)+$")
    value: Any = None
    remove: bool = False

    @model_validator(mode="after")
    def _one_act(self) -> Edit:
        if self.remove == ("value" in self.model_fields_set):
            raise ValueError("an edit either has a value or removes")
        return self

    def as_dict(self) -> dict[str, Any]:
        """Return the edit as evidence shows it."""
        return {"path": self.path, "remove": True} if self.remove else {"path": self.path, "value": self.value}


def apply(document: dict[str, Any], edits: Iterable[Edit]) -> dict[str, Any]:
    """Return a copy of `document` with the edits made, in order. Raises ValueError where a path leads nowhere."""
    edited = copy.deepcopy(document)
    for edit in edits:
        _apply(edited, edit)
    return edited


def _apply(document: dict[str, Any], edit: Edit) -> None:
    *parents, last = (part.replace("~1", "/").replace("~0", "~") for part in edit.path.split("/")[1:])
    place: Any = document
    for part in parents:
        if isinstance(place, list):
            place = place[_index(place, part, edit)]
        elif isinstance(place, dict):
            place = place[part] if edit.remove and part in place else place.setdefault(part, {})
        else:
            raise _nowhere(edit)
    if isinstance(place, list):
        if last == "-" and not edit.remove:
            place.append(copy.deepcopy(edit.value))
        elif edit.remove:
            del place[_index(place, last, edit)]
        else:
            place[_index(place, last, edit)] = copy.deepcopy(edit.value)
    elif not isinstance(place, dict) or (edit.remove and last not in place):
        raise _nowhere(edit)
    elif edit.remove:
        del place[last]
    else:
        place[last] = copy.deepcopy(edit.value)


def _index(place: list[Any], part: str, edit: Edit) -> int:
    if not part.isdecimal() or int(part) >= len(place):
        raise _nowhere(edit)
    return int(part)


def _nowhere(edit: Edit) -> ValueError:
    return ValueError(f"the path {edit.path} leads nowhere in the control object")
