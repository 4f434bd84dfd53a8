"""Writing one change: server-side apply without force, takeover of what the plan showed, removal.

Rules: Kubernetes server-side apply (conflicts, field managers) and optimistic locking by `resourceVersion`.
"""

from __future__ import annotations

import re
import time
from typing import Any

from gcloud_pk.cluster.answer import Answer, ConflictError, refusal
from gcloud_pk.cluster.compare import names_in
from gcloud_pk.cluster.kinds import NETWORK_POLICY, ROLE_BINDING, ObjectKey, key_of
from gcloud_pk.cluster.ownership import Element, Path, owners, value_at
from gcloud_pk.cluster.plan import DELETION, Action, Change, FieldChange, field_changes
from gcloud_pk.cluster.transport import APPLY_PATCH, JSON_PATCH, Api
from gcloud_pk.errors import PartialError
from gcloud_pk.model.labels import FIELD_MANAGER, GROUP

_PARAMS = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
_ROUNDS = 5
"""How often a write is prepared anew because the object changed meanwhile (a controller writes its status, say)."""

_PASSING_SECONDS = 30.0
"""An API server asks anew every 10 s what kinds there are; a busy one may need a second time."""

_OPENS = frozenset({ROLE_BINDING, NETWORK_POLICY})
"""Kinds that are in force to the moment when they are gone: `being deleted` gives access as before."""

_ORPHAN = "orphan"
"""Kubernetes' own finalizer, of a deletion that leaves what belongs to the object; the garbage collector lifts it."""

_COLLECTOR_SECONDS = 10.0
"""How long the garbage collector has for that. Access that stays is worse than what belonged to it being lost."""

_NOBODY = "before-first-apply"
"""Whom the server names in a conflict over an object whose managedFields are empty."""

_HELD_SECONDS = 5.0
"""How long what nothing holds any more may still be seen."""

_MERGE_PATCH = "application/merge-patch+json"

# An API server's caches run behind its store by moments: seen after a TenantPolicy was written, and after a restart.
_PASSING = re.compile(r"no params found for policy binding|failed to find resource referenced by paramKind")
_UNKNOWN_TYPE = "the server could not find the requested resource"
_CAUSE = re.compile(r'conflict with "(?P<manager>[^"]*)"')


def write(api: Api, change: Change, *, force_conflicts: bool = False) -> Answer:
    """Carry out one change; return the server's last answer. KEEP is not for here.

    Raises ConflictError when a field is another manager's and the plan did not show it, or an Apply manager's and
    `force_conflicts` is not set; the errors of `answer.refusal` when the server refuses; UnavailableError.
    """
    if change.action is Action.REMOVE:
        return _remove(api, change)
    answer = _apply(api, change.key, change.desired, force=False)
    if answer.status == 409 and _managers(answer):
        answer = _take_over(api, change, answer, force_conflicts=force_conflicts)
    if not answer.ok:
        raise refusal(answer, str(change.key))
    if change.action is Action.CREATE and answer.status == 200:
        _refuse_adoption(change, answer)
    strange = _strange_paths(change)
    return _strip(api, change, answer, strange) if strange else answer


def write_status(api: Api, manifest: dict[str, Any]) -> Answer:
    """Apply the `status` of an object of our own; no one else has a say in it, so it is forced. Raises as `write`."""
    key = key_of(manifest)
    params = _PARAMS | {"force": "true"}
    answer = api.request("PATCH", key.path + "/status", params=params, body=manifest, content_type=APPLY_PATCH)
    if not answer.ok:
        raise refusal(answer, f"the status of {key}")
    return answer


def _apply(api: Api, key: ObjectKey, manifest: Any, *, force: bool) -> Answer:
    params = _PARAMS | {"force": "true"} if force else _PARAMS
    deadline = time.monotonic() + min(_PASSING_SECONDS, api.patience)
    pause = 0.05
    while True:
        answer = api.request("PATCH", key.path, params=params, body=manifest, content_type=APPLY_PATCH)
        if answer.ok or not _passes(answer, key) or time.monotonic() + pause > deadline:
            return answer
        time.sleep(pause)
        pause = min(pause * 1.5, 1.0)


def _passes(answer: Answer, key: ObjectKey) -> bool:
    if answer.status == 404:
        new_namespace = bool(key.namespace) and f'namespaces "{key.namespace}" not found' in answer.message
        return new_namespace or (key.kind.group == GROUP and _UNKNOWN_TYPE in answer.message)
    if answer.reason == "AlreadyExists":  # another run created it between the server's look and its write
        return True
    return bool(_PASSING.search(answer.message))


def _managers(answer: Answer) -> set[str]:
    """Return the field managers that a 409 names; empty when it is about something else."""
    found: set[str] = set()
    for cause in answer.causes:
        if cause.get("reason") == "FieldManagerConflict":
            match = _CAUSE.search(str(cause.get("message", "")))
            found.add(match["manager"] if match else str(cause.get("message", "")))
    return found


def _take_over(api: Api, change: Change, answer: Answer, *, force_conflicts: bool) -> Answer:
    """Force what the plan showed, against exactly the state that was looked at."""
    shown = {(field.path, field.manager) for field in change.fields}
    for _ in range(_ROUNDS):
        live = api.get(change.key.path)
        # What names no owner at all was compared in full, so that the plan showed all of it.
        nobody = {_NOBODY} if not owners(live) else set()
        contested = [field for field in field_changes(change.desired or {}, live) if field.manager or nobody]
        if not force_conflicts:
            _refuse_applied(change.key, contested)
            news = [str(field) for field in contested if (field.path, field.manager) not in shown]
            # What the server counts as a conflict and the comparison does not is news too.
            known = {field.manager for field in contested} | nobody
            if _managers(answer) - known:
                news += [f"{cause.get('field')}: {cause.get('message')}" for cause in answer.causes]
            if news:
                raise ConflictError(
                    f"{change.key}: another field manager owns what would be changed, and the plan did not show it",
                    details=news,
                    resolution="plan again, look at it, and confirm",
                )
        metadata = (change.desired or {})["metadata"] | {"resourceVersion": live["metadata"]["resourceVersion"]}
        answer = _apply(api, change.key, (change.desired or {}) | {"metadata": metadata}, force=True)
        if answer.status != 409:
            return answer
    return answer


def _refuse_applied(key: ObjectKey, fields: list[FieldChange] | tuple[FieldChange, ...]) -> None:
    applied = [field for field in fields if field.applied]
    if applied:
        raise ConflictError(
            f"{key}: {applied[0].path} is kept by {applied[0].manager!r} with server-side apply",
            details=[f"{key}: {field}" for field in applied],
            resolution="stop the other manager from applying this object (remove it from the GitOps folder, say), "
            "or let this program take the fields over with --force-conflicts",
        )


def refuse_conflicts(changes: list[Change]) -> None:
    """Raise ConflictError when another Apply manager owns a field of one of `changes`; every one is named."""
    conflicts = [(change.key, field) for change in changes for field in change.conflicts]
    if not conflicts:
        return
    try:
        _refuse_applied(conflicts[0][0], [conflicts[0][1]])
    except ConflictError as first:
        raise ConflictError(
            first.message, details=[f"{key}: {field}" for key, field in conflicts], resolution=first.resolution
        ) from None


def _refuse_adoption(change: Change, answer: Answer) -> None:
    """Refuse to call an object created that was somebody else's: apply has merged into it."""
    others = [field for field in field_changes(change.desired or {}, answer.body) if field.manager]
    if others:
        raise ConflictError(
            f"{change.key} was there already and holds more than was asked",
            details=[str(field) for field in others],
            resolution="plan again: the plan now shows what would be removed from it",
        )


def _strange_paths(change: Change) -> list[Path]:
    """Return what apply may leave, because it is not ours: the topmost things not desired, and elements of lists."""
    paths: dict[Path, None] = {}
    for field in change.fields:
        if not field.steps or field.steps == DELETION:
            continue
        wanted = value_at(change.desired, field.steps)
        if wanted is None:
            depth = next(
                (n for n in range(1, len(field.steps)) if value_at(change.desired, field.steps[:n]) is None),
                len(field.steps),
            )
            paths[field.steps[:depth]] = None
        for name in _surplus(wanted, value_at(change.live, field.steps)):
            paths[*field.steps, Element((("name", name),))] = None
    return list(paths)


def _surplus(wanted: Any, live: Any) -> list[str]:
    """Return the names of elements that only the live list has: of a list that the server merges, apply leaves them."""
    if not isinstance(wanted, list) or not isinstance(live, list):
        return []
    return [name for name in names_in(live) or () if name not in (names_in(wanted) or ())]


def _strip(api: Api, change: Change, answer: Answer, strange: list[Path]) -> Answer:
    live = answer.body
    for _ in range(_ROUNDS):
        pointers = sorted({p for path in strange if (p := _pointer(live, path))}, key=_by_position, reverse=True)
        if not pointers:
            return answer
        patch: list[dict[str, Any]] = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]}
        ]
        patch += [{"op": "remove", "path": "/" + "/".join(_escaped(step) for step in steps)} for steps in pointers]
        answer = api.request("PATCH", change.key.path, params=_PARAMS, body=patch, content_type=JSON_PATCH)
        if answer.ok:
            return answer
        if answer.status != 409:
            break
        live = api.get(change.key.path)
    raise refusal(answer, str(change.key))


def _pointer(live: dict[str, Any], path: Path) -> tuple[str | int, ...] | None:
    """Return where `path` stands in the live object just now; None when it is gone."""
    steps: list[str | int] = []
    for depth, step in enumerate(path):
        holder = value_at(live, path[:depth])
        index = step if isinstance(step, str | int) else step.index_in(holder)
        if index is None:
            return None
        steps.append(index)
    return tuple(steps) if value_at(live, path) is not None else None


def _by_position(steps: tuple[str | int, ...]) -> tuple[tuple[int, str], ...]:
    """Order by index within a list, so that removing the last first leaves the others where they are."""
    return tuple((step, "") if isinstance(step, int) else (-1, step) for step in steps)


def _escaped(step: str | int) -> str:
    return str(step).replace("~", "~0").replace("/", "~1")


def _remove(api: Api, change: Change) -> Answer:
    opens = change.key.kind in _OPENS
    # Whoever may write a binding may make evidence belong to it, to be collected with it.
    policy = "Orphan" if opens else "Background"
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy}
    uid = ((change.live or {}).get("metadata") or {}).get("uid")
    if uid:
        body["preconditions"] = {"uid": uid}
    answer = api.request("DELETE", change.key.path, body=body)
    if answer.status == 404:
        return answer
    if answer.ok:
        if opens:
            _release(api, change.key, answer.body)
        return answer
    if answer.status == 409 and "UID" in answer.message:
        raise ConflictError(
            f"{change.key} was replaced by another object of the same name since the plan was made",
            resolution="plan again, look at it, and confirm",
        )
    raise refusal(answer, str(change.key))


def _release(api: Api, key: ObjectKey, live: dict[str, Any]) -> None:
    """Take off the finalizers of what was deleted just now, until it is gone.

    None can be put on any more. Raises PartialError where it stays, the errors of `answer.refusal`.
    """
    uid = (live.get("metadata") or {}).get("uid")
    if not uid:  # a Status: it went at once
        return
    collected = time.monotonic() + _COLLECTOR_SECONDS
    deadline = collected + _HELD_SECONDS
    pause = 0.02
    while (live.get("metadata") or {}).get("uid") == uid:
        if time.monotonic() > deadline:
            raise PartialError(
                f"{key} is deleted and does not go: it is in force still",
                details=[f"{key}: kept by {', '.join(live['metadata'].get('finalizers') or ()) or 'nothing it names'}"],
                resolution="see what puts it back or holds it (the API server's audit log); then run it again",
            )
        holding = live["metadata"].get("finalizers") or []
        left = [one for one in holding if one == _ORPHAN and time.monotonic() < collected]
        if left != holding:
            metadata = {"finalizers": left or None, "resourceVersion": live["metadata"]["resourceVersion"]}
            answer = api.request(
                "PATCH", key.path, params=_PARAMS, body={"metadata": metadata}, content_type=_MERGE_PATCH
            )
            if not answer.ok and answer.status not in {404, 409}:
                raise refusal(answer, str(key))
        else:
            time.sleep(pause)
            pause = min(pause * 1.5, 0.5)
        answer = api.request("GET", key.path)
        if answer.status == 404:
            return
        if not answer.ok:
            raise refusal(answer, str(key))
        live = answer.body
