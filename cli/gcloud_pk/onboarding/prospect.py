"""Prospect: what of a namespace that is nobody's yet would be refused if it were a tenant's.

The cluster itself cannot say: its policies look at tenants' namespaces only. So a judge is asked: an API server of our
own, with the same policies, in which the namespace is made as onboarding would make it. The cluster is only read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gcloud_pk.cluster.answer import refusal
from gcloud_pk.cluster.apply import apply
from gcloud_pk.cluster.kinds import POD, PRIORITY_CLASS, SERVICE_ACCOUNT, TENANT_POLICY, Kind, key_of
from gcloud_pk.cluster.plan import plan
from gcloud_pk.cluster.transport import Api, Identity
from gcloud_pk.errors import RefusedError
from gcloud_pk.model import labels
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.model.tenant import Tenant, place
from gcloud_pk.proof import impact
from gcloud_pk.proof.impact import Judge, assess, rehearse_label
from gcloud_pk.proof.inventory import Inventory, candidates
from gcloud_pk.proof.inventory import read as read_inventory
from gcloud_pk.registry.folder import Registry
from gcloud_pk.render.metadata import Manifest
from gcloud_pk.render.tenant import render, wave

_RUNTIME_CLASS = Kind("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses", namespaced=False)
_NOT_ON_THE_JUDGE = {"Tenant", "ResourceQuota", "NetworkPolicy"}
_POD_SECURITY = "pod-security.kubernetes.io/"


@dataclass(frozen=True)
class Asked:
    """A tenant as its request would make it. `words`: which request that is, and whether it is approved."""

    tenant: Tenant
    words: str


def asked_for(registry: Registry, name: str) -> Asked:
    """Return the tenant that a request would make, approved or not: what would come of it can be seen before.

    Raises UnavailableError (no such tenant), InvalidInputError and RefusedError as `Registry.accepted` does, but for
    want of approvals.
    """
    entry = registry.entry(name)
    status = registry.status(entry)
    request = entry.request
    if status != "pending" or request is None or entry.digest is None:
        return Asked(tenant := registry.accepted(name), f"the request of revision {tenant.revision}, {status}")
    organisation = registry.organisations[request.spec.organisation]
    site = place(request, registry.sites, registry.demand(request).binding)
    waivers = registry.waivers.grants(name)
    tenant = Tenant(request, entry.digest, organisation, registry.settings, site, waivers=waivers)
    return Asked(tenant, f"the request of revision {tenant.revision}, {status}")


def check_names(tenant: Tenant, namespaces: Iterable[str]) -> None:
    """Raise RefusedError where a namespace is not called as one of the tenant's environments."""
    known = tenant.request.namespaces()
    if wrong := [name for name in namespaces if name not in known]:
        raise RefusedError(
            f"tenant {tenant.name} asks for no environment in namespace {', '.join(wrong)}",
            details=[f"its namespaces are {', '.join(known)}"],
            resolution="a namespace is the tenant's by its name <tenant>-<environment>: add such an environment to the "
            "request, or move the workloads to one of its namespaces",
        )


def prospect(
    reader: Api, administrator: Api, verifier: Api, tenant: Tenant, namespaces: Iterable[str], which: str
) -> list[Finding]:
    """Return what would be refused in each namespace, were it the tenant's.

    `reader`: the cluster, which is only read; `administrator`, `verifier`: the judge; `which`: whose request counts.
    """
    words = (
        f"an embedded API server ({impact.version(verifier)}) in place of the cluster's ({impact.version(reader)}), "
        f"by {which}"
    )
    everything = render(tenant)
    found: list[Finding] = []
    for namespace in namespaces:
        manifests = [m for m in everything if _belongs(m, namespace)]
        inventory = read_inventory(reader, namespace)
        _furnish(administrator, namespace, manifests, inventory)
        policy = next(m for m in manifests if key_of(m).kind == TENANT_POLICY)["spec"]
        identity = Identity(labels.PROBE_USER, tuple(policy["groups"]))
        judge = Judge(verifier.impersonating(identity), namespace, policy, words, binder=administrator, counts=False)
        own = next(m for m in manifests if m["kind"] == "Namespace")
        found.append(rehearse_label(reader, namespace, _pod_security(own["metadata"]["labels"])))
        found += assess(judge, inventory)
    return found


def not_judged(namespaces: Iterable[str], reason: str) -> list[Finding]:
    """Return the findings where no judge was to be had."""
    return [impact.left_out(name, Verdict.NOT_CHECKED, reason) for name in namespaces]


def _belongs(manifest: Manifest, namespace: str) -> bool:
    metadata = manifest["metadata"]
    there = metadata["name"] if manifest["kind"] == "Namespace" else metadata.get("namespace")
    return there == namespace and manifest["kind"] not in _NOT_ON_THE_JUDGE


def _pod_security(found: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in found.items() if name.startswith(f"{_POD_SECURITY}enforce")}


def _furnish(administrator: Api, namespace: str, manifests: list[Manifest], inventory: Inventory) -> None:
    """Make the namespace on the judge, with what pods need to be there before they are judged."""
    changes = plan(manifests, {}).changes
    waves = sorted({wave(m) for m in manifests})
    apply(administrator, [[c for c in changes if c.desired and wave(c.desired) == each] for each in waves])
    for kind, body in _prerequisites(namespace, inventory):
        answer = administrator.request("POST", kind.path(namespace), body=body)
        if not answer.ok and answer.status != 409:
            raise refusal(answer, str(key_of(body)) if kind != _RUNTIME_CLASS else body["metadata"]["name"])


def _prerequisites(namespace: str, inventory: Inventory) -> list[tuple[Kind, dict[str, Any]]]:
    """Return empty stand-ins of what pod specs name: without them pods are refused for a reason that is the judge's."""
    specs = [body["spec"] for one in candidates(inventory) for kind, body in one.sent if kind == POD]

    def named(field: str) -> list[str]:
        return sorted({str(spec[field]) for spec in specs if spec.get(field)})

    return [
        *(
            (SERVICE_ACCOUNT, _object(SERVICE_ACCOUNT, name, namespace))
            for name in named("serviceAccountName")
            if name != "default"
        ),
        *(
            (PRIORITY_CLASS, _object(PRIORITY_CLASS, name) | {"value": 1000})
            for name in named("priorityClassName")
            if not name.startswith("system-")
        ),
        *((_RUNTIME_CLASS, _object(_RUNTIME_CLASS, name) | {"handler": name}) for name in named("runtimeClassName")),
    ]


def _object(kind: Kind, name: str, namespace: str | None = None) -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}
