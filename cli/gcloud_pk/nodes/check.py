"""Checks and controls as data: what policies/controls/nodes/*.yaml and policies/controls/cluster/*.yaml may say. Pure.

The form is in policies/controls/nodes/README.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from gcloud_pk.model.baseline import LEVELS, Level
from gcloud_pk.nodes.expectation import Expectation
from gcloud_pk.nodes.path import Path

Absent = Literal["fail", "pass", "not-applicable"]
Where = Literal["anywhere", "own-kernel"]
Standing = Literal["stated", "unverified"]

OUTSIDE = "outside"
"""The section of facts that is seen from outside; every other one is what the node says of itself."""


@dataclass(frozen=True)
class Need:
    """What must hold for a check to apply, and why."""

    path: Path
    expect: Expectation
    because: str


@dataclass(frozen=True)
class Check:
    """One executable test. `level`: its own, or None for the lowest of its controls; `roles`: none for every host.

    `clause`: of the benchmark that the catalogue is of; `remedy`: what to do where it fails.
    """

    id: str
    title: str
    paths: tuple[Path, ...]
    expect: Expectation
    rows: Expectation | None = None
    absent: Absent = "fail"
    where: Where = "anywhere"
    roles: tuple[str, ...] = ()
    level: Level | None = None
    needs: Need | None = None
    clause: str | None = None
    remedy: str | None = None

    @property
    def outside(self) -> bool:
        """Whether it is seen from outside rather than said by the node."""
        return all(path.root == OUTSIDE for path in self.paths)

    @property
    def expected(self) -> str:
        """What is expected, in words."""
        head = ", ".join(path.text for path in self.paths)
        rows = f" (where {self.rows})" if self.rows else ""
        return f"{head}{rows}: {self.expect}"

    @property
    def every_path(self) -> tuple[Path, ...]:
        """All paths that it reads."""
        return (*self.paths, self.needs.path) if self.needs else self.paths


@dataclass(frozen=True)
class Instrument:
    """What asks for a control: an instrument and its document, as stated by a secondary source or unverified."""

    instrument: str
    document: str | None
    standing: Standing


@dataclass(frozen=True)
class Control:
    """One principle. `remediation`: the role that brings it about, or None and `without` says why; `checks`: ids."""

    id: str
    title: str
    level: Level
    role: str
    instruments: tuple[Instrument, ...]
    remediation: str | None
    without: str | None
    checks: tuple[str, ...]
    unchecked: str | None


@dataclass(frozen=True)
class Catalogue:
    """All controls and checks of one kind of subject, in the order of their ids. `unchecked`: ids, and why not."""

    controls: Mapping[str, Control]
    checks: Mapping[str, Check]
    unchecked: Mapping[str, str] = field(default_factory=dict)

    def controls_of(self, check: str) -> tuple[str, ...]:
        """Return the ids of the controls that name a check, sorted."""
        return tuple(sorted(control.id for control in self.controls.values() if check in control.checks))

    def level_of(self, check: Check) -> Level:
        """Return the level from which a check counts."""
        if check.level is not None:
            return check.level
        levels = [control.level for control in self.controls.values() if check.id in control.checks]
        return min(levels, key=LEVELS.index, default=LEVELS[0])

    def named(self, names: Iterable[str]) -> frozenset[str]:
        """Return the checks that ids of checks or controls name. Raises KeyError for a name that is none."""
        found: set[str] = set()
        for name in names:
            if name in self.checks:
                found.add(name)
            else:
                found.update(self.controls[name].checks)
        return frozenset(found)


def wanted(checks: Iterable[Check]) -> dict[str, list[str]]:
    """Return which sysctls, units, paths and modules the checks name, sorted: what the collector is asked for."""
    asked: dict[str, set[str]] = {"sysctl": set(), "units": set(), "paths": set(), "modules": set()}
    for check in checks:
        for path in check.every_path:
            section, name = _asked(path.steps)
            if name is not None and section in asked:
                asked[section].add(name)
    return {section: sorted(names) for section, names in asked.items()}


def _asked(steps: Sequence[str]) -> tuple[str, str | None]:
    section, *rest = steps
    if section in {"sysctl", "modules"}:
        below = rest[1] if len(rest) > 1 else None
        return section, below if section == "sysctl" or rest[0] == "blocked" else None
    return section, rest[0] if rest and rest[0] != "*" else None
