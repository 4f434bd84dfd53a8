"""Adoption: a namespace that exists becomes a tenant's, and what runs in it goes on.

Two people: a cluster administrator names the tenant on the namespace (annotation `gcloud.gov.pk/adopt`), who onboards
takes it; the policy gpk-namespaces keeps both to that. The annotation stays until adoption has come to its end, so
that a run that was killed is known, and finished by the next.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gcloud_pk.cluster.answer import refusal
from gcloud_pk.cluster.kinds import (
    CLUSTER_ROLE_BINDING,
    NAMESPACE,
    NETWORK_POLICY,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    ROLE_BINDING,
    TENANT_POLICY,
    ObjectKey,
)
from gcloud_pk.cluster.plan import Change
from gcloud_pk.cluster.transport import Api
from gcloud_pk.errors import PartialError, RefusedError
from gcloud_pk.model import labels
from gcloud_pk.model.quantity import Quantity, total
from gcloud_pk.model.tenant import Tenant
from gcloud_pk.onboarding.prospect import check_names
from gcloud_pk.onboarding.stages import Stages
from gcloud_pk.onboarding.verification import environment
from gcloud_pk.proof import flows
from gcloud_pk.render.access import ROLES

_NEVER = ("default", labels.SYSTEM_NAMESPACE)
_MERGE_PATCH = "application/merge-patch+json"
_SEEN_PATIENCE = 10.0
"""Seconds until every request sees a label that was just written: API servers read namespaces from a cache."""
_NOT_SEEN = ("GPK-TPL-04", "GPK-ONB-01")
_ENDED = {"Succeeded", "Failed"}

Live = dict[ObjectKey, dict[str, Any]]


@dataclass(frozen=True)
class Adoption:
    """What was found where a tenant moves in: `namespaces` that it takes now, what people must know before.

    `openings`: what is removed, with why.
    """

    namespaces: tuple[str, ...]
    openings: Mapping[ObjectKey, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def adoptable(api: Api, tenant: Tenant, namespaces: Sequence[str], *, remove_openings: bool = False) -> Adoption:
    """Return what adopting these namespaces comes to. Only GETs and LISTs.

    Raises RefusedError where one may not be adopted, where its service accounts may act outside of the tenant, or where
    bindings or network policies in it open more than the request and are not to be removed. Namespaces that are the
    tenant's already are left out, but for an unfinished end.
    """
    check_names(tenant, namespaces)
    taken = [name for name in dict.fromkeys(namespaces) if _is_to_be_taken(api, tenant, name)]
    if reaching := list(_reaching_out(api, tenant, taken)):
        raise RefusedError(
            f"service accounts of {', '.join(taken)} may act outside of tenant {tenant.name}, and so could whoever "
            "makes a pod there; nothing was written",
            details=reaching,
            resolution="a cluster administrator removes these bindings, or their subjects of that namespace",
        )
    open_wider = {key: words for name in taken for key, _, words in openings(api, tenant, name)}
    if open_wider and not remove_openings:
        raise RefusedError(
            f"what stands in {', '.join(taken)} would let in more than the request of tenant {tenant.name}; "
            "nothing was written",
            details=open_wider.values(),
            resolution="have their owners remove them, or let this program remove them with --remove-openings",
        )
    warnings = [words for name in taken for words in _over_quota(api, tenant, name)]
    warnings += [words for name in taken for words in _accounts_with_rights(api, name, open_wider)]
    return Adoption(tuple(taken), open_wider, tuple(warnings))


def _is_to_be_taken(api: Api, tenant: Tenant, name: str) -> bool:
    answer = api.request("GET", NAMESPACE.path(name=name))
    if answer.status == 404:
        raise RefusedError(
            f"there is no namespace {name} to adopt",
            resolution=f"gcloud-pk onboard {tenant.name} makes it; check --kubeconfig and --context",
        )
    if not answer.ok:
        raise refusal(answer, f"namespace {name}")
    metadata = answer.body["metadata"]
    owner = (metadata.get("labels") or {}).get(labels.TENANT)
    named = (metadata.get("annotations") or {}).get(labels.ADOPT)
    if owner == tenant.name:
        return named is not None
    if owner is not None:
        raise RefusedError(f"namespace {name} is tenant {owner}'s; that never changes")
    if name in _NEVER or name.startswith("kube-"):
        raise RefusedError(f"namespace {name} is the platform's and no tenant's")
    if metadata.get("deletionTimestamp"):
        raise RefusedError(
            f"namespace {name} is being deleted", resolution="wait until it is gone; onboard makes it anew"
        )
    if named != tenant.name:
        says = f"names tenant {named}" if named else "names no tenant"
        raise RefusedError(
            f"namespace {name} may not be adopted for tenant {tenant.name}: its annotation {labels.ADOPT} {says}",
            resolution=f"a cluster administrator runs: kubectl annotate namespace {name} {labels.ADOPT}={tenant.name}"
            + (" --overwrite" if named else ""),
        )
    return True


def _reaching_out(api: Api, tenant: Tenant, taken: Collection[str]) -> Iterator[str]:
    """Yield bindings elsewhere that let in service accounts of the namespaces: of the cluster, of other namespaces."""
    if not taken:
        return
    groups = {f"system:serviceaccounts:{name}" for name in taken}
    accounts = tuple(f"system:serviceaccount:{name}:" for name in taken)
    own = tenant.request.namespaces()
    elsewhere = [b for b in api.list(ROLE_BINDING) if b["metadata"]["namespace"] not in own]
    for binding in (*api.list(CLUSTER_ROLE_BINDING), *elsewhere):
        for subject in binding.get("subjects") or ():
            kind, name = subject.get("kind"), str(subject.get("name"))
            if (
                (kind == "ServiceAccount" and subject.get("namespace") in taken)
                or (kind == "Group" and name in groups)
                or (kind == "User" and name.startswith(accounts))
            ):
                where = binding["metadata"].get("namespace")
                what = f"{binding['kind']} {where + '/' if where else ''}{binding['metadata']['name']}"
                account = f"{subject['namespace']}/{name}" if kind == "ServiceAccount" else name
                yield f"{what} gives {binding['roleRef']['name']} to {kind} {account}"


def openings(api: Api, tenant: Tenant, namespace: str) -> Iterator[tuple[ObjectKey, dict[str, Any], str]]:
    """Yield bindings and network policies of others that open a namespace wider than the request: key, object, words.

    Policies judge what is written, not what is there: these would stay in force.
    """
    asked = next(e for e in tenant.request.spec.environments if tenant.namespace(e) == namespace)
    around = environment(tenant, asked)
    for binding in _of_others(api.list(ROLE_BINDING, namespace=namespace)):
        name = binding["metadata"]["name"]
        if wrong := list(_too_much(binding, tenant)):
            words = f"RoleBinding {namespace}/{name} {'; '.join(wrong)}"
            yield ObjectKey(ROLE_BINDING, namespace, name), binding, words
    for policy in _of_others(api.list(NETWORK_POLICY, namespace=namespace)):
        name = policy["metadata"]["name"]
        said = flows.problems([policy], tenant.request.namespaces(), around)
        # Of the platform's own policy, which is not there yet, nothing need be said.
        if wrong := [words for words in said if words.startswith(f"NetworkPolicy {name}: ")]:
            words = f"NetworkPolicy {namespace}/{name}: " + "; ".join(w.partition(": ")[2] for w in wrong)
            yield ObjectKey(NETWORK_POLICY, namespace, name), policy, words


def _of_others(objects: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [o for o in objects if labels.MANAGED not in (o["metadata"].get("labels") or {})]


def _too_much(binding: Mapping[str, Any], tenant: Tenant) -> Iterator[str]:
    """Yield what gpk-role-bindings would refuse (GPK-RBD-01, GPK-RBD-02)."""
    role = binding["roleRef"]
    if role["kind"] != "Role" and role["name"] not in ROLES.values():
        yield f"binds {role['kind']} {role['name']}"
    groups, namespaces = tenant.bound(tenant.request.spec.access.groups()), tenant.request.namespaces()
    for subject in binding.get("subjects") or ():
        own_account = subject["kind"] == "ServiceAccount" and subject.get("namespace") in namespaces
        if not own_account and not (subject["kind"] == "Group" and subject["name"] in groups):
            where = f"{subject['namespace']}/" if subject.get("namespace") else ""
            yield f"gives access to {subject['kind']} {where}{subject['name']}"


def _accounts_with_rights(api: Api, namespace: str, removed: Collection[ObjectKey]) -> Iterator[str]:
    """Yield which bindings that stay give rights to service accounts: who made a token of one before, has it still."""
    for binding in _of_others(api.list(ROLE_BINDING, namespace=namespace)):
        name, role = binding["metadata"]["name"], binding["roleRef"]
        if ObjectKey(ROLE_BINDING, namespace, name) in removed:
            continue
        accounts = [
            f"{subject.get('namespace') or namespace}/{subject['name']}"
            for subject in binding.get("subjects") or ()
            if subject["kind"] == "ServiceAccount"
        ]
        if accounts:
            yield (
                f"RoleBinding {namespace}/{name} gives {role['kind']} {role['name']} to ServiceAccount "
                f"{', '.join(accounts)}, and stays: see what the role allows; tokens made before (Secrets of type "
                "kubernetes.io/service-account-token, say) stay valid until the account is deleted and made anew"
            )


def _over_quota(api: Api, tenant: Tenant, namespace: str) -> Iterator[str]:
    """Yield what the namespace uses beyond the request's quota: what runs goes on, what is new waits."""
    asked = next(e for e in tenant.request.spec.environments if tenant.namespace(e) == namespace).quota
    pods = [p for p in api.list(POD, namespace=namespace) if (p.get("status") or {}).get("phase") not in _ENDED]
    claims = api.list(PERSISTENT_VOLUME_CLAIM, namespace=namespace)
    containers = [c.get("resources") or {} for p in pods for c in p["spec"].get("containers", ())]
    used = {
        "pods": (Quantity(len(pods)), Quantity(asked.pods)),
        "requests.storage": (total([_amount(c["spec"].get("resources"), "storage") for c in claims]), asked.storage),
        **{
            f"{part}.{name}": (total([_amount(c, name, part) for c in containers]), getattr(asked, name))
            for part in ("requests", "limits")
            for name in ("cpu", "memory")
        },
    }
    for name, (there, most) in used.items():
        if there > most:
            yield (
                f"namespace {namespace} uses {there} {name}, the quota will be {most}: what runs goes on, nothing new "
                "is admitted until it is less"
            )


def _amount(resources: Mapping[str, Any] | None, name: str, part: str = "requests") -> Quantity:
    given = ((resources or {}).get(part) or {}).get(name)
    return Quantity.parse(given) if given is not None else Quantity(0)


def unfinished(live: Live) -> frozenset[str]:
    """Return the tenant's namespaces whose adoption has not come to its end."""
    return frozenset(
        key.name
        for key, found in live.items()
        if key.kind == NAMESPACE and labels.ADOPT in (found["metadata"].get("annotations") or {})
    )


def openings_of(api: Api, tenant: Tenant, namespaces: Collection[str]) -> Live:
    """Return what opens adopted namespaces too wide. Nobody wants it, so that a plan which knows of it removes it."""
    return {key: live for name in sorted(namespaces) for key, live, _ in openings(api, tenant, name)}


def in_order(stages: Stages, namespaces: Collection[str]) -> Stages:
    """Return the stages with what closes an adopted namespace after it is the tenant's: before, nobody may.

    It comes with the parameters, so still before access.
    """
    late = [change for change in stages.closing if change.key.namespace in namespaces]
    if not late:
        return stages
    first, second, *rest = stages.controls
    closing = [change for change in stages.closing if change not in late]
    return replace(stages, closing=closing, controls=[first, [*late, *second], *rest])


def seen(api: Api, changes: Sequence[Change], namespaces: Collection[str]) -> None:
    """Wait until the API server's policies see the namespaces as the tenant's. Raises PartialError."""
    deadline = time.monotonic() + _SEEN_PATIENCE
    for change in changes:
        if change.key.kind != TENANT_POLICY or change.key.namespace not in namespaces:
            continue
        while _is_not_seen(api, change):
            if time.monotonic() > deadline or not api.pause(0.05):
                raise PartialError(
                    f"the API server does not take namespace {change.key.namespace} for the tenant's yet",
                    resolution="run the same command again: it goes on from here",
                )


def _is_not_seen(api: Api, change: Change) -> bool:
    params = {"fieldManager": labels.FIELD_MANAGER, "force": "true", "dryRun": "All"}
    answer = api.request(
        "PATCH", change.key.path, params=params, body=change.desired, content_type="application/apply-patch+yaml"
    )
    return any(rule in answer.message for rule in _NOT_SEEN)


def finish(api: Api, namespaces: Collection[str]) -> None:
    """Take the annotation off: from now on the namespace is one of the tenant's like any other."""
    for name in sorted(namespaces):
        body = {"metadata": {"annotations": {labels.ADOPT: None}}}
        answer = api.request("PATCH", NAMESPACE.path(name=name), body=body, content_type=_MERGE_PATCH)
        if not answer.ok:
            raise refusal(answer, f"the annotation {labels.ADOPT} of namespace {name}")
