"""Kubeconfig files as text. JSON is YAML too, but people read these: written as block YAML."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcloud_pk.lab.pki import Pair


@dataclass(frozen=True, slots=True)
class Credential:
    """A client certificate and its key, PEM."""

    certificate: bytes
    key: bytes


def _embedded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _document(
    cluster: str, server: str, authority: dict[str, str], users: Mapping[str, dict[str, str]], current: str
) -> str:
    import yaml

    document: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": {"server": server, **authority}}],
        "users": [{"name": f"{cluster}-{name}", "user": user} for name, user in users.items()],
        "contexts": [{"name": name, "context": {"cluster": cluster, "user": f"{cluster}-{name}"}} for name in users],
        "current-context": current,
    }
    return yaml.safe_dump(document, sort_keys=False, width=1_000_000)


def portable(cluster: str, server: str, authority: bytes, users: Mapping[str, Credential]) -> str:
    """Return a kubeconfig with a context for each user and all certificates inside; the first context is current."""
    entries = {
        name: {"client-certificate-data": _embedded(user.certificate), "client-key-data": _embedded(user.key)}
        for name, user in users.items()
    }
    return _document(cluster, server, {"certificate-authority-data": _embedded(authority)}, entries, next(iter(users)))


def by_reference(server: str, authority: Path, user: Pair) -> str:
    """Return a kubeconfig for a control plane's own program, by file names: it reads renewed ones again."""
    entry = {"client-certificate": str(user.certificate), "client-key": str(user.key)}
    return _document("lab", server, {"certificate-authority": str(authority)}, {"lab": entry}, "lab")
