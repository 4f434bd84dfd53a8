"""Plan: what would change on the live cluster. Pure: desired and live objects in, changes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gcloud_pk.cluster.compare import ABSENT, differences, same
from gcloud_pk.cluster.display import in_words, parts
from gcloud_pk.cluster.kinds import TENANT_POLICY, ObjectKey, key_of
from gcloud_pk.cluster.likeness import added
from gcloud_pk.cluster.ownership import Owner, Path, owners, shown, value_at
from gcloud_pk.model.labels import CONTENT_HASH, FIELD_MANAGER

DELETION: Path = ("metadata", "deletionTimestamp")
_SUSPENDED: Path = ("spec", "suspended")
"""Of a TenantPolicy: what `tenant suspend` writes and `tenant resume` takes off; nobody else does."""


class Action(StrEnum):
    """What a change does."""

    CREATE = "create"
    CHANGE = "change"
    REMOVE = "remove"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that is not as desired. `before` or `after` None: not there.

    `manager` owns the live value, if anybody but this program does; `applied` says that it keeps the value up by
    server-side apply (a GitOps controller, say), so that taking it over would start a quarrel.
    """

    path: str
    before: Any
    after: Any
    manager: str | None = None
    applied: bool = False
    steps: Path = field(default=(), repr=False, compare=False)
    """Where it stands, for writing; of an element of a list that is compared as a whole, the list."""

    def __str__(self) -> str:
        if self.steps == DELETION:
            return f"is being deleted since {self.before}: waited for until it is gone, then created anew"
        owner = f" (by {self.manager})" if self.manager else ""
        return f"{self.path}: {in_words(self.before, self.after)}{owner}"


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one object. `desired` is None for REMOVE, `live` for CREATE."""

    action: Action
    key: ObjectKey
    desired: dict[str, Any] | None = field(default=None, repr=False)
    live: dict[str, Any] | None = field(default=None, repr=False)
    fields: tuple[FieldChange, ...] = ()

    @property
    def conflicts(self) -> tuple[FieldChange, ...]:
        """The fields that another Apply manager owns."""
        return tuple(change for change in self.fields if change.applied)

    @property
    def is_leaving(self) -> bool:
        """Whether the live object is being deleted and something still holds it: `removal.finish_deletions` waits."""
        return bool(self.live and self.live["metadata"].get("deletionTimestamp"))


@dataclass(frozen=True, slots=True)
class Plan:
    """The proposed difference: changes in the order of the desired objects, then what is removed."""

    changes: tuple[Change, ...]

    def counts(self) -> dict[str, int]:
        """Return how many objects are created, changed, removed and unchanged."""
        names = {
            Action.CREATE: "created",
            Action.CHANGE: "changed",
            Action.REMOVE: "removed",
            Action.KEEP: "unchanged",
        }
        counts = dict.fromkeys(names.values(), 0)
        for change in self.changes:
            counts[names[change.action]] += 1
        return counts

    @property
    def writes(self) -> tuple[Change, ...]:
        """The changes that need a write."""
        return tuple(change for change in self.changes if change.action is not Action.KEEP)

    @property
    def conflicts(self) -> tuple[tuple[Change, FieldChange], ...]:
        """Every field that another Apply manager owns; not taken over unless that is asked for."""
        return tuple((change, field_change) for change in self.changes for field_change in change.conflicts)


def plan(desired: Sequence[dict[str, Any]], live: Mapping[ObjectKey, dict[str, Any]], *, exactly: bool = False) -> Plan:
    """Return what makes `live` hold `desired`. A live object that nobody desires is removed: pass only prunable ones.

    `exactly`: what is in the body and nobody owns is a difference too, unless it is a default that `likeness` knows.
    Raises ValueError when two desired objects have one key, KeyError for a kind that `kinds.py` does not know.
    """
    changes: dict[ObjectKey, Change] = {}
    for manifest in desired:
        key = key_of(manifest)
        if key in changes:
            raise ValueError(f"{key} is desired twice")
        changes[key] = _change(key, manifest, live.get(key), exactly=exactly)
    removals = [Change(Action.REMOVE, key, None, live[key]) for key in sorted(live.keys() - changes.keys())]
    return Plan((*changes.values(), *removals))


def _change(key: ObjectKey, desired: dict[str, Any], live: dict[str, Any] | None, *, exactly: bool) -> Change:
    if live is None:
        return Change(Action.CREATE, key, desired)
    if since := value_at(live, DELETION):
        # Whatever else differs goes with it.
        gone = FieldChange(shown(DELETION), since, ABSENT, steps=DELETION)
        return Change(Action.CHANGE, key, desired, live, (gone,))
    fields = field_changes(desired, live, exactly=exactly)
    return Change(Action.CHANGE if fields else Action.KEEP, key, desired, live, fields)


def field_changes(desired: dict[str, Any], live: dict[str, Any], *, exactly: bool = False) -> tuple[FieldChange, ...]:
    """Return the fields of one live object that are not as desired, each with who owns its value.

    What nobody owns is the server's default, as long as the object says that we applied it. Where it does not,
    somebody cleared its managedFields, or it was never ours: then it is compared `exactly`.
    """
    differing = differences(desired, live)
    suspect = _is_touched(live)
    if not differing and not suspect and not exactly:
        return ()
    found = {path: (before, after) for path, before, after in differing}
    entries = owners(live)
    others = [owner for owner in entries if not owner.ours]
    ours = [owner for owner in entries if owner.ours]
    strange = _strange(desired, live, others, ours)
    if exactly or not ours:
        strange += added(desired, live)
    for path in strange:
        if path == _SUSPENDED and desired["kind"] == TENANT_POLICY.kind:
            continue
        # Once: as the part that differs, or as the whole that an owner holds.
        if not any(path[: len(known)] == known[: len(path)] for known in found):
            found[path] = (value_at(live, path), value_at(desired, path))
    hash_path: Path = ("metadata", "annotations", CONTENT_HASH)
    if hash_path in found:
        for path in _given_up(desired, ours):
            found.setdefault(path, (value_at(live, path), ABSENT))
        # The hash tells that fields left the request; once those are named it tells nothing more.
        if len(found) > 1:
            del found[hash_path]
    return tuple(change for path, values in found.items() for change in _field_change(path, *values, live, others))


def _is_touched(live: dict[str, Any]) -> bool:
    """Whether the object itself is not ours alone by what it says; the quick answer for the many that are."""
    own = [entry for entry in live["metadata"].get("managedFields") or () if not entry.get("subresource")]
    return not own or any(e.get("manager") != FIELD_MANAGER or e.get("operation") != "Apply" for e in own)


def _strange(desired: dict[str, Any], live: dict[str, Any], others: list[Owner], ours: list[Owner]) -> list[Path]:
    """Return what others own in the object's body and what is not, or not exactly, desired.

    A comparison of the desired part alone would not see an allow rule that was added to a default deny, nor a selector
    that was narrowed. Metadata is left out: others may label and annotate.
    """
    paths: dict[Path, None] = {}
    for other in others:
        for path in other.leaves():
            if path[0] in {"metadata", "status"} or any(own.owns(path, live) for own in ours):
                continue
            if not same(value_at(desired, path), value_at(live, path)):
                paths[path] = None
    return list(paths)


def _given_up(desired: dict[str, Any], ours: list[Owner]) -> list[Path]:
    """Return the paths that we applied before and that are desired no longer: apply removes them."""
    paths = dict.fromkeys(path for own in ours for path in own.leaves())
    return [path for path in paths if value_at(desired, path) is None]


def _field_change(path: Path, before: Any, after: Any, live: dict[str, Any], others: list[Owner]) -> list[FieldChange]:
    owner = next((other for other in others if other.owns(path, live)), None) if before is not None else None
    manager, applied = (owner.manager, owner.applied) if owner else (None, False)
    return [
        FieldChange(shown(part), there, wanted, manager, applied, path)
        for part, there, wanted in parts(path, before, after)
    ]
