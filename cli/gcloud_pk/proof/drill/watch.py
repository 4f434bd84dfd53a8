"""Looks at a cluster's nodes and pods again and again, from a thread of its own, while a drill goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Self

from gcloud_pk.cluster.kinds import LEASE, NAMESPACE, NODE, POD
from gcloud_pk.cluster.transport import Api
from gcloud_pk.errors import GcloudPkError
from gcloud_pk.proof.drill.census import Census, census, side_of, tenant_namespaces
from gcloud_pk.proof.drill.stage import OWN

EVERY = 1.0
"""Seconds between two looks; a look that takes long is followed by as long a rest."""

_LEASES = "kube-node-lease"


def look(api: Api) -> Census:
    """Return what the cluster is like now. Raises GcloudPkError where it does not say."""
    nodes, leases = api.list(NODE), api.list(LEASE, namespace=_LEASES)
    pods = api.list(POD)
    return census(time.monotonic(), nodes, leases, pods)


def sides(api: Api) -> dict[str, str]:
    """Return whose each namespace is."""
    namespaces: list[dict[str, Any]] = api.list(NAMESPACE)
    tenants = tenant_namespaces(namespaces)
    return {(name := str(one["metadata"]["name"])): side_of(name, tenants, OWN) for one in namespaces}


class Watch:
    """Collects looks while the body runs; a cluster that does not answer is looked at again a second later."""

    def __init__(self, connect: Callable[[], Api]) -> None:
        """Look over what `connect` returns, and over another after each failure: the first may be to what has gone."""
        self._connect = connect
        self._api = connect()
        self._seen: list[Census] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="drill-watch", daemon=True)

    @property
    def seen(self) -> list[Census]:
        """What was seen so far."""
        return list(self._seen)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End, some seconds later at most."""
        self._over.set()
        self._api.hurry()
        self._thread.join(timeout=10)

    def _go_on(self) -> None:
        rest = 0.0
        while not self._over.wait(max(EVERY, rest)):
            begun = time.monotonic()
            try:
                self._seen.append(look(self._api))
            except GcloudPkError:
                self._api = self._connect()
                rest = 0.0
                continue
            rest = time.monotonic() - begun
