"""Deleting namespaces and waiting until they are gone, with the parameter object guarded to the end.

Deleting a namespace deletes its TenantPolicy too; if that went first, the admission policies would refuse every later
update in it, the removal of finalizers included, and the namespace could never finish. So the TenantPolicy carries a
finalizer, which is taken away when nothing else remains.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from gcloud_pk.cluster.answer import refusal
from gcloud_pk.cluster.kinds import NAMESPACE, TENANT_POLICY, ObjectKey
from gcloud_pk.cluster.transport import JSON_PATCH, Api
from gcloud_pk.errors import GcloudPkError, PartialError, UnavailableError
from gcloud_pk.model.labels import FIELD_MANAGER, PARAM_GUARD
from gcloud_pk.text import number_of

OnProgress = Callable[[str, str], None]
"""Called with a namespace and what became of it: deleting, emptied, gone."""

_FEW = 4
_FOREIGN = 15.0
"""Seconds that somebody else's finalizer is waited for."""
# kube-controller-manager, namespaced_resources_deleter: the words of the two conditions.
_CONTENT = re.compile(r"([a-z0-9.-]+?)\.? has (\d+) resource instances?")
_FINALIZERS = re.compile(r"(\S+) in (\d+) resource instances?")
_WAITED_FOR = {"NamespaceContentRemaining", "NamespaceFinalizersRemaining"}
_FAILURES = {
    "NamespaceDeletionDiscoveryFailure",
    "NamespaceDeletionContentFailure",
    "NamespaceDeletionGroupVersionParsingFailure",
}


@dataclass(frozen=True, slots=True)
class Remains:
    """What keeps a namespace that is being deleted, as its conditions tell."""

    content: dict[str, int] = field(default_factory=dict)
    finalizers: dict[str, int] = field(default_factory=dict)
    failures: tuple[str, ...] = ()

    @classmethod
    def of(cls, namespace: dict[str, Any]) -> Remains:
        """Read the conditions of a live Namespace."""
        conditions = {
            str(c.get("type")): str(c.get("message", ""))
            for c in (namespace.get("status") or {}).get("conditions") or ()
            if c.get("status") == "True"
        }
        content = {name: int(n) for name, n in _CONTENT.findall(conditions.get("NamespaceContentRemaining", ""))}
        finalizers = {
            name: int(n) for name, n in _FINALIZERS.findall(conditions.get("NamespaceFinalizersRemaining", ""))
        }
        failures = tuple(message for sort, message in sorted(conditions.items()) if sort in _FAILURES)
        return cls(content, finalizers, failures)

    @property
    def only_the_guard(self) -> bool:
        """Whether nothing but guarded TenantPolicies is left: then, and only then, the guard may go."""
        return (
            self.content.keys() == {TENANT_POLICY.resource}
            and self.finalizers.keys() == {PARAM_GUARD}
            and not self.failures
        )

    def in_words(self) -> str:
        """Say what keeps the namespace."""
        parts = [f"{count} {name} left" for name, count in sorted(self.content.items())]
        parts += [f"finalizer {name} on {count} of them" for name, count in sorted(self.finalizers.items())]
        parts += self.failures
        return "; ".join(parts) or "the namespace controller has not begun"


def remove_namespaces(
    api: Api,
    names: Collection[str],
    *,
    timeout: float = 300.0,
    on_progress: OnProgress | None = None,
    threads: int = 8,
) -> None:
    """Delete namespaces and wait until they are gone; those that are gone already count as removed.

    Kubernetes itself takes 5 s at least. Raises PartialError after `timeout` seconds, saying of each namespace that is
    still there what keeps it; ForbiddenError and RefusedError when the server refuses the deletion.
    """
    tell = on_progress or (lambda _name, _state: None)
    left = set(names)
    with ThreadPoolExecutor(threads, "gcloud-pk-remove") as pool:
        for name, there in zip(sorted(left), pool.map(lambda name: _delete(api, name), sorted(left)), strict=True):
            tell(name, "deleting" if there else "gone")
            if not there:
                left.discard(name)
        deadline = time.monotonic() + timeout
        freed: set[str] = set()
        pause = 0.2
        while left:
            live = _read(api, left)
            for name in sorted(left - live.keys()):
                tell(name, "gone")
            left &= live.keys()
            ready = sorted(name for name in left - freed if Remains.of(live[name]).only_the_guard)
            for name, done in zip(ready, pool.map(lambda name: _unguard(api, name), ready), strict=True):
                if done:
                    freed.add(name)
                    tell(name, "emptied")
            if left and time.monotonic() > deadline:
                raise _stuck(live, timeout)
            time.sleep(pause)
            pause = min(pause * 1.3, 1.0)


def finish_deletions(api: Api, leaving: Mapping[ObjectKey, str], *, timeout: float = 120.0) -> None:
    """Wait until objects that somebody else deleted are gone; nothing is deleted here.

    `leaving`: the uid of each; an object of another uid under that name is a new one and left alone. A namespace that
    only guarded parameters keep, and parameters that only their guard keeps, are let go. Raises PartialError after
    `timeout` seconds, or UnavailableError when nothing was written through this Api, saying what keeps each; what
    neither is a namespace nor parameters is waited for 15 s at most.
    """
    started = time.monotonic()
    left = dict(leaving)
    pause = 0.1
    while True:
        live = {key: found for key, uid in left.items() if (found := _still(api, key, uid)) is not None}
        left = {key: left[key] for key in live}
        if not left:
            return
        for key, found in live.items():
            _let_go(api, key, found)
        patience = timeout if any(key.kind in {NAMESPACE, TENANT_POLICY} for key in left) else min(timeout, _FOREIGN)
        if time.monotonic() - started > patience or not api.pause(pause):
            raise _kept(api, live)
        pause = min(pause * 1.3, 1.0)


def _still(api: Api, key: ObjectKey, uid: str) -> dict[str, Any] | None:
    answer = api.request("GET", key.path)
    if answer.status == 404 or (answer.ok and answer.body["metadata"].get("uid") != uid):
        return None
    if not answer.ok:
        raise refusal(answer, str(key))
    return answer.body


def _let_go(api: Api, key: ObjectKey, live: dict[str, Any]) -> None:
    if key.kind == NAMESPACE:
        if Remains.of(live).only_the_guard:
            _unguard(api, key.name)
        return
    only_guarded = key.kind == TENANT_POLICY and live["metadata"].get("finalizers") == [PARAM_GUARD]
    # In a namespace that is being deleted too, the parameters stay to the end.
    if only_guarded and not api.get(NAMESPACE.path(name=key.namespace))["metadata"].get("deletionTimestamp"):
        _unguard(api, key.namespace)


def _kept(api: Api, live: dict[ObjectKey, dict[str, Any]]) -> GcloudPkError:
    details = []
    for key, found in sorted(live.items()):
        holding = ", ".join(found["metadata"].get("finalizers") or ())
        why = Remains.of(found).in_words() if key.kind == NAMESPACE else f"kept by {holding or 'nothing that it names'}"
        details.append(f"{key}: being deleted since {found['metadata'].get('deletionTimestamp')}; {why}")
    sort = PartialError if api.persisted else UnavailableError
    return sort(
        f"{number_of(len(live), 'object')} being deleted, and kept: {', '.join(str(key) for key in sorted(live))}",
        details=details,
        resolution="remove what is named (whoever set a finalizer has to remove it), then run the same command again",
    )


def _delete(api: Api, name: str) -> bool:
    """Ask for the deletion; return whether the namespace is still there."""
    path = NAMESPACE.path(name=name)
    answer = api.request("GET", path)
    if answer.status == 404:
        return False
    if not answer.ok:
        raise refusal(answer, f"Namespace {name}")
    metadata = answer.body["metadata"]
    if metadata.get("deletionTimestamp"):
        return True
    body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": metadata["uid"]}}
    answer = api.request("DELETE", path, body=body)
    if not answer.ok and answer.status != 404:
        raise refusal(answer, f"Namespace {name}")
    return answer.status != 404


def _read(api: Api, names: set[str]) -> dict[str, dict[str, Any]]:
    if len(names) > _FEW:
        return {n["metadata"]["name"]: n for n in api.list(NAMESPACE) if n["metadata"]["name"] in names}
    live = {}
    for name in names:
        answer = api.request("GET", NAMESPACE.path(name=name))
        if answer.ok:
            live[name] = answer.body
        elif answer.status != 404:
            raise refusal(answer, f"Namespace {name}")
    return live


def _unguard(api: Api, namespace: str) -> bool:
    """Take the guard off every TenantPolicy of the namespace; return whether none is guarded any more."""
    done = True
    for policy in api.list(TENANT_POLICY, namespace=namespace):
        metadata = policy["metadata"]
        finalizers = metadata.get("finalizers") or []
        if PARAM_GUARD not in finalizers:
            continue
        if not metadata.get("deletionTimestamp"):
            done = False
            continue
        patch = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
            {"op": "replace", "path": "/metadata/finalizers", "value": [f for f in finalizers if f != PARAM_GUARD]},
        ]
        answer = api.request(
            "PATCH",
            TENANT_POLICY.path(namespace, metadata["name"]),
            params={"fieldManager": FIELD_MANAGER},
            body=patch,
            content_type=JSON_PATCH,
        )
        if answer.status == 409:
            done = False
        elif not answer.ok and answer.status != 404:
            raise refusal(answer, f"TenantPolicy {namespace}/{metadata['name']}")
    return done


def _stuck(live: dict[str, dict[str, Any]], timeout: float) -> PartialError:
    return PartialError(
        f"after {timeout:.0f} s {number_of(len(live), 'namespace')} still being deleted: {', '.join(sorted(live))}",
        details=[f"Namespace {name}: {Remains.of(live[name]).in_words()}" for name in sorted(live)],
        resolution="remove what is named (whoever set a finalizer has to remove it), then run the same command again",
    )
