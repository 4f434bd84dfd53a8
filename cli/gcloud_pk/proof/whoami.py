"""Who verified: the API server is asked, because what a kubeconfig calls a context says nothing about who one is."""

from __future__ import annotations

from gcloud_pk.cluster.transport import Api

_PATH = "/apis/authentication.k8s.io/v1/selfsubjectreviews"

UNKNOWN = "unknown"


def operator(api: Api) -> str:
    """Return the user name that the API server sees behind `api` (SelfSubjectReview); `unknown` where it says none.

    Raises UnavailableError when the server does not answer. The review is a dry run: nothing of it stays.
    """
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = api.request("POST", _PATH, params={"dryRun": "All"}, body=body)
    name = ((answer.body.get("status") or {}).get("userInfo") or {}).get("username") if answer.ok else None
    return name if isinstance(name, str) and name else UNKNOWN
