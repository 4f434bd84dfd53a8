"""What changed between two requests, field by field, in people's words. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gcloud_pk.model.request import TenantRequest


@dataclass(frozen=True)
class Difference:
    """One field: its path (environments by name) and both values; None where it is not there."""

    path: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        if self.before is None:
            return f"+ {self.path}: {self.after}"
        if self.after is None:
            return f"- {self.path}: {self.before}"
        return f"~ {self.path}: {self.before} → {self.after}"


def differences(before: TenantRequest, after: TenantRequest) -> list[Difference]:
    """Return what changed, in the order of the fields."""
    old = dict(_leaves("", before.model_dump(mode="json", by_alias=True)))
    new = dict(_leaves("", after.model_dump(mode="json", by_alias=True)))
    return [
        Difference(path, old.get(path), new.get(path))
        for path in dict.fromkeys((*new, *old))
        if old.get(path) != new.get(path)
    ]


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if value is None or value == []:
        return
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(f"{path}.{name}" if path else name, inner)
    elif isinstance(value, list) and isinstance(value[0], dict) and "quota" in value[0]:
        for inner in value:
            yield from _leaves(f"{path}[{inner['name']}]", {k: v for k, v in inner.items() if k != "name"})
    elif isinstance(value, list):
        for inner in sorted(_flat(entry) for entry in value):
            yield f"{path}[{inner}]", inner
    else:
        yield path, _flat(value)


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_flat(inner)}" for name, inner in value.items() if inner is not None)
    if isinstance(value, list):
        return " + ".join(_flat(inner) for inner in value)
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
