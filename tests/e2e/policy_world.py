"""The fixtures beside the admission policies, and the small world on an API server that they presuppose."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tests.e2e.conftest import RunningLab

from gcloud_pk.cluster import kubeconfig
from gcloud_pk.cluster.kinds import (
    CONFIG_MAP,
    NAMESPACE,
    PERSISTENT_VOLUME_CLAIM,
    TENANT,
    TENANT_POLICY,
    Kind,
    ObjectKey,
    key_of,
)
from gcloud_pk.cluster.transport import JSON_PATCH, Answer, Api, Identity
from gcloud_pk.model import labels
from gcloud_pk.render import platform

POLICIES = Path(__file__).parents[2] / "policies" / "admission"
PATCH = "application/merge-patch+json"

IDENTITIES = {
    "admins": Identity("fixture-admin", ("oidc:fixture-admins",)),
    "developers": Identity("fixture-developer", ("oidc:fixture-developers",)),
    "auditors": Identity("fixture-auditor", ("oidc:fixture-auditors",)),
    "onboarder": Identity("gcloud-pk:onboarder", (labels.ONBOARDER_GROUP,)),
    "verifier": Identity("gcloud-pk:verifier", (labels.VERIFIER_GROUP,)),
    "auditor": Identity("gcloud-pk:auditor", (labels.AUDITOR_GROUP,)),
    "meddlers": Identity("fixture-meddler", ("fixture-meddlers",)),
    "probe": Identity(labels.PROBE_USER, ("oidc:fixture-admins",)),
    "administrator": Identity("fixture-administrator", ("system:masters",)),
}


BINDING = Kind("", "v1", "Binding", "bindings", namespaced=True)
GATEWAY_API = {
    "BackendTLSPolicy": "backendtlspolicies",
    "GRPCRoute": "grpcroutes",
    "Gateway": "gateways",
    "GatewayClass": "gatewayclasses",
    "HTTPRoute": "httproutes",
    "ListenerSet": "listenersets",
    "ReferenceGrant": "referencegrants",
    "TCPRoute": "tcproutes",
    "TLSRoute": "tlsroutes",
    "UDPRoute": "udproutes",
    "XBackend": "xbackends",
}


@dataclass(frozen=True)
class Fixture:
    """One case: who sends what. `policy` and `field` are what a refusal must name.

    `earlier`: what an API server's own plug-in says before the policy is asked. `otherwise`: what the server says
    without the policy, where it is not an admission. `needs`: definitions that a cluster has not by itself.
    """

    path: Path
    identity: Identity
    operation: str
    body: dict[str, Any] = field(repr=False)
    subresource: str = ""
    dry_run: bool = True
    policy: str = ""
    field: str = ""
    earlier: str = ""
    otherwise: str = ""
    needs: str = ""

    @property
    def of(self) -> str:
        """The policy beside which it lies."""
        return self.path.parts[-3]

    @property
    def denied(self) -> bool:
        return self.path.parent.name == "denied"

    def __str__(self) -> str:
        return f"{self.of}/{self.path.parent.name}/{self.path.stem}"


def header(path: Path) -> dict[str, str]:
    """Return the `# key: value` lines at the top of a file."""
    found = {}
    for line in path.read_text().splitlines():
        if not line.startswith("# "):
            break
        key, _, value = line[2:].partition(": ")
        found[key] = value
    return found


def read(path: Path) -> Fixture:
    """Return one fixture. Raises TypeError on an unknown header."""
    said = header(path)
    who = said.pop("as")
    identity = IDENTITIES[who] if who in IDENTITIES else Identity(who)
    dry_run = said.pop("dry-run", "yes") == "yes"
    return Fixture(path, identity, body=yaml.safe_load(path.read_text()), dry_run=dry_run, **said)


def fixtures(*, needing: bool = False) -> list[Fixture]:
    """Return all fixtures that need nothing but the platform, by path; or those that do (`test_routes.py`)."""
    return [f for path in sorted(POLICIES.glob("*/*ed/*.yaml")) if bool((f := read(path)).needs) is needing]


def policies() -> list[str]:
    return sorted(path.parent.name for path in POLICIES.glob("*/policy.yaml"))


def administrator(kubeconfig_path: Path) -> Api:
    return Api(kubeconfig.load(str(kubeconfig_path), "admin"))


def apply(api: Api, manifest: dict[str, Any], manager: str = labels.FIELD_MANAGER) -> None:
    """Server-side apply; tries again while a definition or parameter is not yet known to the server."""
    deadline = time.monotonic() + 60
    while True:
        answer = api.request(
            "PATCH", _key(manifest).path, body=manifest, content_type="application/apply-patch+yaml",
            params={"fieldManager": manager, "force": "true"},
        )  # fmt: skip
        if answer.ok:
            return
        assert time.monotonic() < deadline, f"{_key(manifest)}: {answer.message}"
        time.sleep(0.1)


def install_platform(api: Api) -> None:
    """Install what all tenants share, and wait until the canary says that it is in force."""
    for manifest in platform.platform_objects():
        apply(api, manifest)
    wait_in_force(api)


def wait_in_force(api: Api) -> None:
    asked = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": platform.CANARY_CONFIG_MAP}}
    deadline = time.monotonic() + 60
    while True:
        answer = api.request(
            "POST", CONFIG_MAP.path(labels.SYSTEM_NAMESPACE), body=asked, params={"dryRun": "All"}
        )  # fmt: skip
        if platform.platform_message() in answer.message:
            return
        assert time.monotonic() < deadline, answer.message or "the canary was admitted"
        time.sleep(0.05)


@contextmanager
def inhabited(lab: RunningLab) -> Iterator[Api]:
    """Give a shared control plane's administrator the world of the fixtures, to nobody else at the same time."""
    path = lab.folder / "world.lock"
    path.touch(mode=0o600)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # pytest-xdist's workers share the lab
        api = administrator(lab.kubeconfig)
        install_platform(api)
        build(api)
        yield api
        remove(api)


def build(api: Api) -> None:
    """Make the world of the fixtures."""
    for manifest in world():
        apply(api, manifest, "world")


def world() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((POLICIES / "world.yaml").read_text()))


def remove(api: Api) -> None:
    """Remove the world; parameters leave last, by the guard."""
    names = [m["metadata"]["name"] for m in world() if m["kind"] == "Namespace"]
    for name in names:
        api.request("DELETE", NAMESPACE.path(name=name))
    api.request("DELETE", TENANT.path(name="fixture"))
    for manifest in world():
        if manifest["kind"] in {"ClusterRole", "ClusterRoleBinding", "PriorityClass"}:
            api.request("DELETE", key_of(manifest).path)
    deadline = time.monotonic() + 60
    while left := [name for name in names if api.request("GET", NAMESPACE.path(name=name)).ok]:
        for name in left:
            # A claim's own finalizer goes by an update, which is refused once the parameters are gone.
            if not api.list(PERSISTENT_VOLUME_CLAIM, namespace=name):
                release(api, name)
        assert time.monotonic() < deadline, f"namespaces stay: {left}"
        time.sleep(0.3)


def release(api: Api, namespace: str) -> Answer:
    """Take the guard off parameters that are being deleted."""
    return api.request(
        "PATCH", TENANT_POLICY.path(namespace, labels.TENANT_POLICY_NAME),
        body={"metadata": {"finalizers": []}}, content_type=PATCH,
    )  # fmt: skip


def send(api: Api, fixture: Fixture) -> Answer:
    """Send a fixture as its identity."""
    acting = api.impersonating(fixture.identity)
    body = fixture.body
    key = _key({**body, "kind": "Pod"} if fixture.subresource == "binding" else body)
    params = {"dryRun": "All"} if fixture.dry_run else {}
    path = key.path + (f"/{fixture.subresource}" if fixture.subresource else "")
    match fixture.operation:
        case "create":
            to = path if fixture.subresource else key.kind.path(key.namespace or None)
            return acting.request("POST", to, body=body, params=params)
        case "patch":
            return acting.request("PATCH", path, body=body, content_type=PATCH, params=params)
        case "json-patch":
            return acting.request("PATCH", path, body=body["patch"], content_type=JSON_PATCH, params=params)
        case "update":
            return acting.request("PUT", path, body=_merged(api.get(key.path), body), params=params)
        case "delete":
            return acting.request("DELETE", path, params=params)
        case "deletecollection":
            return acting.request("DELETE", key.kind.path(key.namespace), params=params)
        case "connect":
            return acting.request("POST", path, params={"command": "true", "stdout": "true"})
        case other:
            raise ValueError(other)


def _key(body: dict[str, Any]) -> ObjectKey:
    """Return the key of an object, of the Gateway API too, which the program itself never writes."""
    if body["kind"] == "Binding":
        return ObjectKey(BINDING, body["metadata"]["namespace"], body["metadata"]["name"])
    if body["kind"] not in GATEWAY_API:
        return key_of(body)
    (group, version), metadata = body["apiVersion"].split("/"), body["metadata"]
    kind = Kind(group, version, body["kind"], GATEWAY_API[body["kind"]], namespaced="namespace" in metadata)
    return ObjectKey(kind, metadata.get("namespace", ""), metadata["name"])


def _merged(live: Any, change: Any) -> Any:
    if not (isinstance(live, dict) and isinstance(change, dict)):
        return change
    merged = {**live, **{name: _merged(live.get(name), value) for name, value in change.items()}}
    return {name: value for name, value in merged.items() if value is not None}


def refused_by(policy: str, answer: Answer) -> bool:
    """Whether this policy refused; its own errors (such as missing parameters) count."""
    return answer.status in {403, 422} and f"ValidatingAdmissionPolicy '{policy}'" in answer.message


def bindings(policy: str) -> Iterator[dict[str, Any]]:
    for manifest in platform.platform_objects():
        if manifest["kind"] == "ValidatingAdmissionPolicyBinding" and manifest["spec"]["policyName"] == policy:
            yield manifest
