"""The limit: urllib3 with prepared bodies and as many threads as saturate the server, and nothing else."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import urllib3
import yaml

PLURALS = {
    "Tenant": "tenants", "Namespace": "namespaces", "TenantPolicy": "tenantpolicies", "ResourceQuota": "resourcequotas",
    "LimitRange": "limitranges", "NetworkPolicy": "networkpolicies", "ServiceAccount": "serviceaccounts",
    "RoleBinding": "rolebindings",
}  # fmt: skip


class RawClient:
    """Server-side apply by PATCH, as the kubeconfig's current user or that of `context`."""

    def __init__(self, kubeconfig: str, threads: int, context: str | None = None) -> None:
        config = yaml.safe_load(Path(kubeconfig).read_text())
        name = context or config["current-context"]
        chosen = next(c["context"] for c in config["contexts"] if c["name"] == name)
        cluster = next(c["cluster"] for c in config["clusters"] if c["name"] == chosen["cluster"])
        user = next(u["user"] for u in config["users"] if u["name"] == chosen["user"])
        folder = Path(kubeconfig).parent / f"raw-client-{name}"
        folder.mkdir(mode=0o700, exist_ok=True)
        files = {}
        for name, holder in (("certificate-authority", cluster), ("client-certificate", user), ("client-key", user)):
            if name in holder:
                files[name] = str(Path(kubeconfig).parent / holder[name])
                continue
            path = folder / name
            path.touch(mode=0o600)
            path.write_bytes(base64.b64decode(holder[f"{name}-data"]))
            files[name] = str(path)
        self.server = cluster["server"]
        self.pool = urllib3.PoolManager(
            maxsize=threads, block=True, retries=False, ca_certs=files["certificate-authority"],
            cert_file=files["client-certificate"], key_file=files["client-key"],
        )  # fmt: skip

    @staticmethod
    def path(document: dict[str, Any]) -> str:
        """Return the URL path and query of an object's apply."""
        version = document["apiVersion"]
        base = f"/apis/{version}" if "/" in version else f"/api/{version}"
        namespace = document["metadata"].get("namespace")
        inside = f"/namespaces/{namespace}" if namespace else ""
        name = document["metadata"]["name"]
        return f"{base}{inside}/{PLURALS[document['kind']]}/{name}?fieldManager=gcloud-pk"

    def send(self, item: tuple[str, bytes]) -> None:
        """Apply one object."""
        path, body = item
        for _ in range(50):
            answer = self.pool.request("PATCH", self.server + path, body=body,
                                       headers={"Content-Type": "application/apply-patch+yaml"})  # fmt: skip
            if answer.status < 300:
                return
            time.sleep(0.02)  # parameters directly after their object: the documented race
        raise SystemExit(f"{path}: {answer.status} {answer.data[:300]!r}")
