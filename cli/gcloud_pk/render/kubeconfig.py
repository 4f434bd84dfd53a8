"""The kubeconfig of a tenant's people: where, and how they sign in. No secret stands in it, so it may be sent to them.

Rules: client-go `clientcmd/api/v1`; the exec plug-in protocol `client.authentication.k8s.io/v1`; kubelogin's usage page
for the options of `kubectl oidc-login get-token`.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcloud_pk.model.request import Tier
from gcloud_pk.model.settings import SignIn

KUBELOGIN = "https://github.com/int128/kubelogin"

_CALMEST: tuple[Tier, ...] = ("sandbox", "development", "staging", "production")


@dataclass(frozen=True)
class Endpoint:
    """An API server: its name among clusters, its URL and, in PEM, the authority that it is known by."""

    name: str
    server: str
    ca: bytes | None = None
    tls_server_name: str | None = None
    proxy: str | None = None

    def entry(self) -> dict[str, Any]:
        """Return it as `clusters[]` has it."""
        fields = {
            "server": self.server,
            "certificate-authority-data": _base64(self.ca) if self.ca else None,
            "tls-server-name": self.tls_server_name,
            "proxy-url": self.proxy,
        }
        return {"name": self.name, "cluster": {name: value for name, value in fields.items() if value}}


def by_sign_in(sign_in: SignIn) -> dict[str, Any]:
    """Return the user who signs in with a browser. The client has no secret; kubelogin keeps the token."""
    options = {
        "--oidc-issuer-url": (sign_in.issuer,),
        "--oidc-client-id": (sign_in.client_id,),
        "--oidc-extra-scope": tuple(scope for scope in sign_in.scopes if scope != "openid"),
        "--certificate-authority-data": (_base64(sign_in.ca.encode()),) if sign_in.ca else (),
    }
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "kubectl",
            "args": ["oidc-login", "get-token", *(f"{name}={v}" for name, values in options.items() for v in values)],
            "interactiveMode": "IfAvailable",
            "provideClusterInfo": False,
            "installHint": f"Signing in needs kubelogin: kubectl krew install oidc-login   or see {KUBELOGIN}",
        }
    }


def by_certificate(certificate: Path, key: Path) -> dict[str, Any]:
    """Return the user of a client certificate, named by its files: what lies in them stands nowhere else."""
    return {"client-certificate": str(certificate), "client-key": str(key)}


def kubeconfig(endpoint: Endpoint, user_name: str, user: dict[str, Any], places: Sequence[tuple[str, Tier]]) -> str:
    """Return the YAML: one context for each (namespace, tier), named as the namespace; at least one.

    The current context is the one where a mistake costs least.
    """
    import yaml

    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [endpoint.entry()],
        "users": [{"name": user_name, "user": user}],
        "contexts": [
            {"name": namespace, "context": {"cluster": endpoint.name, "namespace": namespace, "user": user_name}}
            for namespace, _ in places
        ],
        "current-context": min(places, key=lambda place: _CALMEST.index(place[1]))[0],
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1_000_000)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
