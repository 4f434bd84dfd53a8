"""Which version of the registry a cluster was given: an older one, however well signed, must not come back.

The Lease `registry` of the platform's namespace keeps, for each keeper's key, the highest serial that was acted on.
Whoever edits the registry's folder can put everything of last year back together; he cannot take this out of the
cluster.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gcloud_pk.cluster.answer import refusal
from gcloud_pk.cluster.kinds import LEASE
from gcloud_pk.cluster.transport import Api
from gcloud_pk.errors import RefusedError, UnavailableError
from gcloud_pk.model import labels
from gcloud_pk.registry.trust import HIGHEST, TrustState

NAME = "registry"
SERIALS = f"{labels.GROUP}/registry-serials"
"""The annotation: a JSON object, fingerprint of a keeper's key → serial."""

_TITLE = f"Lease {labels.SYSTEM_NAMESPACE}/{NAME}"
_PARAMS = {"fieldManager": labels.FIELD_MANAGER}
_ROUNDS = 5


@dataclass(frozen=True)
class Given:
    """What a cluster was given. `serials`: by fingerprint; `live`: the Lease, None where there is none yet."""

    serials: Mapping[str, int] = field(default_factory=dict)
    live: Mapping[str, Any] | None = None

    def newest(self, trust: TrustState) -> tuple[int, str]:
        """Return the highest serial, and whose it is; only keys that are trusted today count."""
        known = ((self.serials[key], trust.keepers[key]) for key in self.serials if key in trust.keepers)
        return max(known, default=(0, ""))


def given(api: Api) -> Given:
    """Ask the cluster. One GET. Raises RefusedError where what it keeps cannot be read."""
    answer = api.request("GET", LEASE.path(labels.SYSTEM_NAMESPACE, NAME))
    if answer.status == 404:
        return Given()
    if not answer.ok:
        raise refusal(answer, _TITLE)
    said = (answer.body["metadata"].get("annotations") or {}).get(SERIALS, "{}")
    try:
        serials = json.loads(said)
    except (ValueError, RecursionError):
        serials = None
    if not isinstance(serials, dict) or not all(type(n) is int and 0 < n <= HIGHEST for n in serials.values()):
        raise RefusedError(
            f"{_TITLE}: which versions of the registry this cluster was given cannot be read",
            details=[f"annotation {SERIALS}: {said}"],
            resolution="find out who changed it (the API server's audit log), then delete the Lease",
        )
    return Given(serials, answer.body)


def older(before: Given, trust: TrustState) -> RefusedError | None:
    """Return what to say where a registry is older than what the cluster was given; None where it is not."""
    newest, keeper = before.newest(trust)
    if newest <= trust.serial:
        return None
    return RefusedError(
        f"this cluster was given serial {newest} of the registry (signed by {keeper}); this one is {trust.version}: "
        "an old version was put back",
        resolution="fetch the newest registry (git pull); if it is lost for good, a keeper looks at this one and signs "
        f"it anew: gcloud-pk registry sign --serial {newest + 1} --key KEY",
    )


def give(api: Api, before: Given, trust: TrustState) -> None:
    """Have the cluster keep the version that it is given now; writes nothing where it knows it.

    Raises RefusedError where another operator gave it a newer one meanwhile.
    """
    for _ in range(_ROUNDS):
        if error := older(before, trust):
            raise error
        if trust.key is None or before.serials.get(trust.key, 0) >= trust.serial:
            return
        if _write(api, before, {**before.serials, trust.key: trust.serial}):
            return
        before = given(api)
    raise UnavailableError(f"{_TITLE} changes all the time", resolution="run the command again")


def _write(api: Api, before: Given, serials: Mapping[str, int]) -> bool:
    """Write what the cluster keeps; False where somebody else was faster."""
    annotation = {SERIALS: json.dumps(serials, sort_keys=True)}
    if before.live is None:
        body = {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": {"name": NAME, "namespace": labels.SYSTEM_NAMESPACE, "annotations": annotation},
            "spec": {},
        }
        answer = api.request("POST", LEASE.path(labels.SYSTEM_NAMESPACE), params=_PARAMS, body=body)
    else:
        metadata = before.live["metadata"]  # with the resourceVersion that was read: of two writers one wins
        kept = {**metadata, "annotations": {**(metadata.get("annotations") or {}), **annotation}}
        path = LEASE.path(labels.SYSTEM_NAMESPACE, NAME)
        answer = api.request("PUT", path, params=_PARAMS, body={**before.live, "metadata": kept})
    if answer.ok:
        return True
    if answer.status == 409 or (answer.status == 404 and before.live is not None):
        return False
    raise refusal(answer, _TITLE)
