"""Which cluster this is."""

from __future__ import annotations

from gcloud_pk.cluster.kinds import NAMESPACE
from gcloud_pk.cluster.transport import Api


def cluster_uid(api: Api) -> str:
    """Return the UID of `kube-system`: the cluster's identity (architecture, Order that must hold, 4).

    Raises UnavailableError or ForbiddenError.
    """
    metadata = api.get(NAMESPACE.path(name="kube-system")).get("metadata")
    uid = metadata.get("uid") if isinstance(metadata, dict) else None
    if not isinstance(uid, str):
        raise api.stranger()
    return uid
