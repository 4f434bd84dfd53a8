"""The kubeconfig of a site's clusters, put together from those that the stack keeps for each identity. Pure.

Contexts are named as those of a lab are: admin, onboarder, verifier, auditor. Where the site has more clusters than
one, those of the first have these names, and those of all have the cluster's name in front: `isb-1-b.verifier`.
"""

from __future__ import annotations

import base64
import datetime as dt
import re
from collections.abc import Mapping
from typing import Any

from gcloud_pk.errors import UnavailableError

IDENTITIES = ("admin", "onboarder", "verifier", "auditor")


def merged(kubeconfigs: Mapping[str, Mapping[str, str]], proxy: str | None = None) -> str:
    """Return one kubeconfig for all clusters and identities; the first cluster's admin is current.

    `kubeconfigs`: text by identity by cluster, each with one cluster and one user; `proxy`: an URL through which the
    APIs are reached. Raises UnavailableError where one of them is no kubeconfig.
    """
    import yaml

    clusters: list[dict[str, Any]] = []
    users: list[dict[str, Any]] = []
    contexts: list[dict[str, Any]] = []
    for number, (cluster, texts) in enumerate(sorted(kubeconfigs.items())):
        for identity in sorted(texts, key=_rank):
            server, user = _parts(texts[identity], f"{identity} of {cluster}")
            if not any(entry["name"] == cluster for entry in clusters):
                clusters.append({"name": cluster, "cluster": server | ({"proxy-url": proxy} if proxy else {})})
            users.append({"name": f"{cluster}-{identity}", "user": user})
            names = [identity] if number == 0 else []
            names += [f"{cluster}.{identity}"] if len(kubeconfigs) > 1 else []
            contexts += [
                {"name": name, "context": {"cluster": cluster, "user": f"{cluster}-{identity}"}} for name in names
            ]
    if not contexts:
        raise UnavailableError("the stack keeps no credentials", resolution="run gcloud-pk datacenter up again")
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": clusters,
        "users": users,
        "contexts": contexts,
        "current-context": contexts[0]["name"],
    }
    return yaml.safe_dump(document, sort_keys=False, width=1_000_000)


def due(text: str, now: dt.datetime) -> bool:
    """Whether the client's certificate in a kubeconfig is past two thirds of its life; False where it holds none.

    The playbook makes such a one anew (role cluster_credentials).
    """
    from cryptography import x509

    found = re.search(r"^ *client-certificate-data: *(\S+)$", text, re.MULTILINE)
    try:
        certificate = x509.load_pem_x509_certificate(base64.b64decode(found[1])) if found else None
    except ValueError:
        return True
    if certificate is None:
        return False
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return certificate.not_valid_after_utc - now < life / 3


def _rank(identity: str) -> tuple[int, str]:
    return (IDENTITIES.index(identity) if identity in IDENTITIES else len(IDENTITIES), identity)


def _parts(text: str, whose: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the cluster and the user of a kubeconfig with one of each."""
    import yaml

    try:
        document = yaml.safe_load(text)
        return dict(document["clusters"][0]["cluster"]), dict(document["users"][0]["user"])
    except (yaml.YAMLError, KeyError, IndexError, TypeError, ValueError):
        # What it holds is secret: not even a part of it is shown.
        raise UnavailableError(
            f"the credentials kept for {whose} are no kubeconfig",
            resolution="run gcloud-pk datacenter up --refresh again",
        ) from None
