"""From a tenant's plan to stages: what closes comes first, what opens comes last. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from gcloud_pk.cluster.plan import Action, Change
from gcloud_pk.render.metadata import Manifest
from gcloud_pk.render.tenant import WAVES, wave

_ACCESS = {"RoleBinding", "NetworkPolicy"}


@dataclass(frozen=True)
class Stages:
    """`closing` before everything, then one stage a wave, `access` last of them, then what is merely left over."""

    closing: list[Change]
    controls: list[list[Change]]
    access: list[Change]
    leftovers: list[Change]

    def before_access(self) -> list[list[Change]]:
        """Return the stages that must be in force before anybody gets in."""
        return [self.closing, *self.controls]

    def after(self) -> list[list[Change]]:
        """Return access and the rest."""
        return [self.access, self.leftovers]

    def writes(self) -> list[Change]:
        """Return every change of every stage."""
        return [change for stage in (*self.before_access(), *self.after()) for change in stage]


def _subjects(binding: Manifest | None) -> set[tuple[str, str]]:
    return {(s["kind"], s["name"]) for s in (binding or {}).get("subjects") or ()}


def stage(changes: Iterable[Change]) -> Stages:
    """Sort changes into stages.

    A binding that loses subjects is narrowed (or removed, where it also gains some) before anything else, so that a run
    killed anywhere leaves less access than asked and never more.
    """
    closing: list[Change] = []
    waves: list[list[Change]] = [[] for _ in WAVES]
    leftovers: list[Change] = []
    for change in changes:
        if change.action is Action.KEEP:
            continue
        if change.action is Action.REMOVE:
            (closing if change.key.kind.kind in _ACCESS else leftovers).append(change)
            continue
        assert change.desired is not None  # noqa: S101 - only removals have no desired object
        if change.action is Action.CHANGE and change.key.kind.kind == "RoleBinding":
            live = change.live or {}
            lost = _subjects(live) - _subjects(change.desired)
            gained = _subjects(change.desired) - _subjects(live)
            another_role = live.get("roleRef") != change.desired.get("roleRef")  # immutable: only a new object has it
            if another_role or (lost and gained):
                closing.append(replace(change, action=Action.REMOVE, desired=None))
                waves[-1].append(replace(change, action=Action.CREATE, live=None, fields=()))
                continue
            if lost:
                closing.append(change)
                continue
        waves[wave(change.desired)].append(change)
    return Stages(closing, waves[:-1], waves[-1], leftovers)


def removal_share(changes: Sequence[Change]) -> tuple[int, int]:
    """Return (objects to remove, objects in place), for the limit of `onboard --all`."""
    removed = sum(change.action is Action.REMOVE for change in changes)
    in_place = sum(change.live is not None for change in changes)
    return removed, in_place
