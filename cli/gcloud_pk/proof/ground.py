"""Ground: what one run learns about a cluster once and uses for every tenant: what it serves, what is there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from gcloud_pk.cluster.transport import Api, Identity
from gcloud_pk.errors import GcloudPkError
from gcloud_pk.proof.call import Resource
from gcloud_pk.proof.refusal import missing_right
from gcloud_pk.proof.surroundings import NAMESPACES

OPTIONAL_GROUPS = ("gateway.networking.k8s.io", "gateway.networking.x-k8s.io")
"""API groups that a cluster need not serve: what is not served cannot be reached, and nothing is to be tried there."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Absence:
    """Why a resource cannot be tried. `error`: nobody knows whether the cluster serves it."""

    reason: str
    error: bool = False


@dataclass
class Ground:
    """The cluster under the verifier's feet. Thread-safe; every question is asked once."""

    api: Api
    silent: str | None = None
    """Why the API server no longer answers, once it does not: nobody waits for it a second time."""
    _answers: dict[Hashable, Any] = field(default_factory=dict)
    _locks: dict[Hashable, threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def acting(self, identity: Identity) -> Api:
        """Return the Api that acts as somebody, over the same connections."""
        return self._once(identity, lambda: self.api.impersonating(identity))

    def is_there(self, namespace: str) -> bool:
        """Whether a namespace exists. Where the verifier may not look, it is tried: only a 404 says that it does not.

        Raises UnavailableError.
        """
        return self._once(
            ("namespace", namespace),
            lambda: self.api.request("GET", NAMESPACES.path(None, namespace)).status != 404,
        )

    def absence(self, resource: Resource) -> Absence | None:
        """Return why a resource of an optional group is not to be tried; None where it is."""
        if resource.group not in OPTIONAL_GROUPS:
            return None
        served = self._once((resource.group, resource.version), lambda: self._served(resource))
        if isinstance(served, Absence):
            return served
        if resource.plural in served:
            return None
        return Absence(f"the cluster does not serve {resource.plural} of {resource.group_version}")

    def version(self, group: str, plural: str, versions: Iterable[str]) -> str | Absence:
        """Return the first of the versions in which an optional resource is served, or why there is none."""
        absence = Absence(f"the cluster does not serve {plural} of {group}")
        for version in versions:
            found = self.absence(Resource(group, version, plural))
            if found is None:
                return version
            if found.error:
                return found
        return absence

    def _served(self, resource: Resource) -> frozenset[str] | Absence:
        try:
            answer = self.api.request("GET", f"/apis/{resource.group}/{resource.version}")
        except GcloudPkError as error:
            return Absence(error.message, error=True)
        if answer.status == 404:
            return frozenset()
        listed = answer.body.get("resources") if answer.ok else None
        if isinstance(listed, list):
            return frozenset(str(each["name"]) for each in listed if isinstance(each, dict) and "name" in each)
        lacks = f"the verifier lacks a right: {missing_right(answer.message)}" if answer.status == 403 else None
        known = f"whether the cluster serves {resource.group_version} is not known ({answer.status}): {answer.message}"
        return Absence(lacks or known, error=True)

    def _once(self, key: Hashable, ask: Callable[[], _Result]) -> _Result:
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._answers:
                self._answers[key] = ask()
            return cast("_Result", self._answers[key])
