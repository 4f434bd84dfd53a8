"""kube-proxy after a restore: begun anew on every node, so that one alone writes a node's rules of services."""

from __future__ import annotations

from gcloud_pk.cluster.answer import refusal
from gcloud_pk.cluster.kinds import DAEMON_SET
from gcloud_pk.cluster.transport import Api

RESTORED = "gcloud.gov.pk/restored"
"""Annotation of kube-proxy's pods: the restore after which they were begun."""


def restart_proxies(api: Api, restore: str) -> bool:
    """Have kube-proxy's pods begun anew, node by node, once for a restore; return whether there is a kube-proxy.

    Nodes know pods that the snapshot does not have, and the other way about: where that is so of kube-proxy, two of
    them write the same rules while one goes, and the other takes what it wrote for what is there, for up to an hour.
    Raises UnavailableError.
    """
    path = DAEMON_SET.path("kube-system", "kube-proxy")
    mark = {"spec": {"template": {"metadata": {"annotations": {RESTORED: restore}}}}}
    answer = api.request("PATCH", path, body=mark, content_type="application/merge-patch+json")
    if answer.status == 404:  # a network plug-in that does without
        return False
    if not answer.ok:
        raise refusal(answer, path)
    return True
