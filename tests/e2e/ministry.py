"""A registry with one approver, made by hand and signed by ssh-keygen, and what tests ask of the cluster."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tests.e2e.conftest import RunningLab
from tests.unit.tenants import a_request_document

ORGANISATIONS = [
    {"code": "MOITT", "name": {"en": "Ministry of IT and Telecom"}, "tier": "federal", "domains": ["moitt.gov.pk"]}
]


@dataclass
class Ministry:
    """A registry folder, its approver's key, and the lab that its tenants go to."""

    lab: RunningLab
    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    moments: dict[int, str] = field(default_factory=dict)
    """When each size of the audit log was read."""

    @classmethod
    def found(cls, lab: RunningLab, folder: Path) -> Ministry:
        """Make the registry."""
        folder.mkdir(parents=True)
        key = folder.with_name(folder.name + ".key")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key, "-C", ""], check=True)
        public = " ".join(key.with_name(key.name + ".pub").read_text().split()[:2])
        (folder / "approvers").write_text(f'head@moitt namespaces="gcloud-pk-approval,gcloud-pk-state" {public}\n')
        (folder / "organisations.yaml").write_text(yaml.safe_dump(ORGANISATIONS))
        (folder / "tenants").mkdir()
        return cls(lab, folder)

    @property
    def key(self) -> Path:
        return self.folder.with_name(self.folder.name + ".key")

    def write(
        self, name: str, *environments: str | dict[str, Any], revision: int = 1, approve: bool = True, **spec: Any
    ) -> Path:
        """Write a request, and approve it as `ssh-keygen -Y sign` does by hand."""
        document = a_request_document(name, environments or ("prod",), **spec)
        document["metadata"]["revision"] = revision
        path = self.folder / "tenants" / name / "request.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        if approve:
            self.approve(path)
        return path

    def approve(self, path: Path) -> None:
        signature = path.with_name(path.name + ".sig")
        signature.unlink(missing_ok=True)
        subprocess.run(
            ["ssh-keygen", "-q", "-Y", "sign", "-f", self.key, "-n", "gcloud-pk-approval", path],
            check=True,
            capture_output=True,
        )
        (path.parent / "approvals").mkdir(exist_ok=True)
        signature.rename(path.parent / "approvals" / "head@moitt.sig")

    def run(self, *args: str | Path, check: int | None = 0, **kw: Any) -> subprocess.CompletedProcess[str]:
        """Run the CLI on this registry."""
        return self.lab.gcloud_pk("--registry", self.folder, *args, check=check, env=self.env, **kw)

    def onboard(self, *args: str, check: int | None = 0) -> dict[str, Any]:
        """Run `onboard … --yes --format json`; return its document."""
        done = self.run("onboard", *args, "--yes", "--format", "json", check=check)
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def live(self, kind: str, namespace: str | None = None, *selector: str) -> list[dict[str, Any]]:
        """Return objects as kubectl, the referee, sees them."""
        where = ["-n", namespace] if namespace else []
        done = self.lab.kubectl("get", kind, *where, *selector, "-o", "json")
        items: list[dict[str, Any]] = json.loads(done.stdout)["items"]
        return items

    def labelled(self, tenant: str) -> list[str]:
        """Return every object of the tenant's label, of the kinds that can carry it."""
        kinds = (
            "tenants,namespaces,tenantpolicies,resourcequotas,limitranges,networkpolicies,serviceaccounts,rolebindings"
        )
        return [
            f"{i['kind']} {i['metadata'].get('namespace', '')}/{i['metadata']['name']}"
            for i in self.live(kinds, None, "-A", "-l", f"gcloud.gov.pk/tenant={tenant}")
        ]

    def audited(self, since: int = 0, tenant: str = "") -> list[dict[str, Any]]:
        """Return the API server's own record of what it was asked from `since` on; with `tenant`, of what names it.

        A line is written after the answer has gone: it is waited for, and what was asked before `since` is left out.
        Other workers' tenants live on the same control plane, and stand in the same record.
        """
        self.lab.audit_written()
        path = self.lab.folder / "log" / "audit.log"
        with path.open("rb") as stream:
            stream.seek(since)
            lines = [json.loads(line) for line in stream.read().decode().splitlines() if line.endswith("}")]
        moment = self.moments.get(since, "")
        return [line for line in lines if line["requestReceivedTimestamp"] >= moment and tenant in line["requestURI"]]

    def audit_size(self) -> int:
        size = (self.lab.folder / "log" / "audit.log").stat().st_size
        self.moments[size] = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return size
