"""Reading what is on the cluster, several kinds at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from gcloud_pk.cluster.answer import NotFoundError
from gcloud_pk.cluster.kinds import Kind, ObjectKey, keyed
from gcloud_pk.cluster.transport import Api

Objects = dict[ObjectKey, dict[str, Any]]

_T = TypeVar("_T")
_R = TypeVar("_R")


def fetch(
    api: Api,
    kinds: Iterable[Kind],
    selector: str | None = None,
    *,
    threads: int = 8,
    audit_ids: dict[Kind, list[str]] | None = None,
) -> Objects:
    """Return all live objects of `kinds` that the label selector matches, with their managedFields.

    A kind whose CustomResourceDefinition is not installed has none. `audit_ids` is given those of the reads, by kind.
    Raises ForbiddenError, UnavailableError.
    """

    def read(kind: Kind) -> list[dict[str, Any]]:
        noted = None if audit_ids is None else audit_ids.setdefault(kind, [])
        try:
            return api.list(kind, selector=selector, audit_ids=noted)
        except NotFoundError:
            return []

    objects: Objects = {}
    for items in _in_parallel(read, list(kinds), threads):
        objects |= keyed(items)
    return objects


def fetch_named(api: Api, keys: Iterable[ObjectKey], *, threads: int = 8) -> Objects:
    """Return those of the named objects that are there, whatever labels they carry. Raises as `fetch` does.

    By lists, so that who may plan need not hold the right to get as well.
    """

    def read(key: ObjectKey) -> dict[str, Any] | None:
        try:
            found = api.list(key.kind, namespace=key.namespace or None, name=key.name)
        except NotFoundError:
            return None
        return found[0] if found else None

    wanted = list(keys)
    found = zip(wanted, _in_parallel(read, wanted, threads), strict=True)
    return {key: live for key, live in found if live is not None}


def _in_parallel(function: Callable[[_T], _R], values: list[_T], threads: int) -> list[_R]:
    if len(values) <= 1:
        return [function(value) for value in values]
    with ThreadPoolExecutor(min(threads, len(values)), "gcloud-pk-read") as pool:
        return list(pool.map(function, values))
