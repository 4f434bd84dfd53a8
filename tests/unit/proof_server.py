"""A fake of `Api.request`: an API server that answers as a table says, and remembers what was sent.

It is no API server: that the real one speaks so is shown in tests/e2e.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, cast

from tests.unit.tenants import a_tenant

from gcloud_pk.cluster.kinds import KINDS
from gcloud_pk.cluster.transport import Answer, Api, Identity
from gcloud_pk.errors import UnavailableError
from gcloud_pk.model import labels
from gcloud_pk.model.tenant import Tenant
from gcloud_pk.onboarding.verification import environment
from gcloud_pk.proof.probe import Catalogue, standard
from gcloud_pk.proof.target import Target, TargetEnvironment
from gcloud_pk.render.tenant import render

SILENT = UnavailableError("the API server does not answer")


@dataclass(frozen=True)
class Request:
    """One request as it was sent."""

    method: str
    path: str
    params: Mapping[str, Any]
    body: Any
    identity: Identity | None
    content_type: str = "application/json"


Script = Callable[[Request], Answer | Exception | None]


def refused(message: str, status: int = 403) -> Answer:
    return Answer(status, {"kind": "Status", "message": message}, audit_id="audit-1", seconds=0.001)


def admitted(body: dict[str, Any] | None = None, status: int = 201) -> Answer:
    return Answer(status, body or {}, audit_id="audit-1", seconds=0.001)


@dataclass
class FakeServer:
    """Answers by `script`; what it leaves open (None) is read from `objects`, asked of `allowed`, or admitted."""

    script: Script = lambda _request: None
    objects: list[dict[str, Any]] = field(default_factory=list)
    allowed: Callable[[dict[str, Any]], bool] = lambda _spec: False
    sent: list[Request] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def api(self) -> Api:
        return cast("Api", _Fake(self, None))

    def answer(self, request: Request) -> Answer:
        with self.lock:
            self.sent.append(request)
        said = self.script(request)
        if isinstance(said, Exception):
            raise said
        return said or self._default(request)

    def _default(self, request: Request) -> Answer:
        if "subjectaccessreviews" in request.path:
            return admitted({"status": {"allowed": self.allowed(request.body["spec"])}})
        if request.method == "GET" and request.identity is None:
            return self._read(request.path)
        return admitted(request.body)

    def _read(self, path: str) -> Answer:
        items = []
        for made in self.objects:
            kind, metadata = KINDS[made["apiVersion"], made["kind"]], made["metadata"]
            if path == kind.path(metadata.get("namespace"), metadata["name"]):
                return admitted(made, 200)
            if path == kind.path(metadata.get("namespace")):
                items.append(made)
        if path.startswith("/apis/gateway.networking.k8s.io/") and path.count("/") == 3:
            return refused("404 page not found", 404)  # a cluster need not serve it
        if path.count("/") == 4 and "/namespaces/" in path:
            return refused(f'namespaces "{path.rpartition("/")[2]}" not found', 404)
        return admitted({"items": items}, 200)


@dataclass
class _Fake:
    server: FakeServer
    identity: Identity | None

    def impersonating(self, identity: Identity) -> _Fake:
        return _Fake(self.server, identity)

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Any = None,
        body: Any = None,
        content_type: str = "application/json",
        patience: float | None = None,
    ) -> Answer:
        return self.server.answer(Request(method, path, params or {}, body, self.identity, content_type))

    list = Api.list


def furnished(name: str, environments: tuple[str, ...], **spec: Any) -> Tenant:
    """Return a tenant whose environments have something of everything that a request can ask for."""
    documents = [
        {
            "name": each,
            "tier": "production",
            "quota": {"cpu": "4", "memory": "8Gi", "storage": "20Gi", "pods": 20},
            "domains": [f"{each}.{name}.gov.pk"],
            "exposure": "government",
            "allowFrom": ["10.8.0.0/16"],
            "egress": [{"to": "10.20.0.0/16", "ports": [{"port": 5432, "protocol": "TCP"}], "reason": "database"}],
        }
        for each in environments
    ]
    return a_tenant(name, documents, **{"storageClasses": ["encrypted"], **spec})


def moitt(*environments: str, **spec: Any) -> Tenant:
    """Return the tenant moitt, furnished."""
    return furnished("moitt", environments or ("eoffice",), **spec)


def live_objects(*environments: str, retired: tuple[str, ...] = (), **spec: Any) -> list[dict[str, Any]]:
    """Return what a correct cluster holds of the tenant moitt, with the status that controllers write."""
    made = render(moitt(*environments, **spec), retired)
    for each in made:
        if each["kind"] == "ResourceQuota":
            each["status"] = {"hard": dict(each["spec"]["hard"]), "used": dict.fromkeys(each["spec"]["hard"], "0")}
    return made


def other_namespaces() -> list[dict[str, Any]]:
    names = ("default", "kube-system", labels.SYSTEM_NAMESPACE, "fbr-tax")
    return [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names]


def target(*environments: str, retired: tuple[str, ...] = (), **others: Any) -> Target:
    """Return the target that fits `live_objects`."""
    tenant = moitt(*environments)
    return Target(
        tenant="moitt",
        environments=(
            *(environment(tenant, each) for each in tenant.request.spec.environments),
            *(TargetEnvironment(name, f"moitt-{name}", retired=True) for name in retired),
        ),
        admins=("oidc:moitt-admins",),
        developers=("oidc:moitt-developers",),
        auditors=("oidc:moitt-auditors",),
        classification=tenant.request.spec.classification,
        **others,
    )


def only(*ids: str) -> Catalogue:
    """Return the standard catalogue's probes of these ids, their controls and the gate; no reviews."""
    known = standard().probes
    wanted = {"ISO-000", *ids, *(control for i in ids if (control := known[i].control))}
    return Catalogue({name: probe for name, probe in known.items() if name in wanted}, {}, standard().objects)


def a_probe(**fields: Any) -> dict[str, Any]:
    """Return a probe document, sound by itself but for its control."""
    return {
        "id": "ISO-901",
        "title": "Something is refused",
        "controls": ["GPK-TST-001"],
        "identity": "admins",
        "request": {"verb": "create", "resource": "v1/pods"},
        "object": "pod",
        "edits": [{"path": "/spec/hostPID", "value": True}],
        "expect": {"by": "pod-security", "field": "hostPID=true"},
        "control": "ISO-900",
        **fields,
    }


def a_control(**fields: Any) -> dict[str, Any]:
    """Return the probe that admits the unbroken object of `a_probe`."""
    plain = a_probe(id="ISO-900", title="Something is admitted", expect="admitted", control=None, edits=[])
    return {**plain, **fields}
