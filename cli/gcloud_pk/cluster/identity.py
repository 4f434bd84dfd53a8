"""Which cluster this is."""

from __future__ import annotations

from gcloud_pk.cluster.kinds import NAMESPACE
from gcloud_pk.cluster.transport import Api


def cluster_uid(api: Api) -> str:
    """Return the UID of `kube-system`: the cluster's identity (architecture, Order that must hold, 4).

    Raises UnavailableError or ForbiddenError.
    """
    return str(api.get(NAMESPACE.path(name="kube-system"))["metadata"]["uid"])
