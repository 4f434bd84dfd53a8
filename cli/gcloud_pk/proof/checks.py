"""Object checks: what no request can show, read from the live objects of a namespace. Pure.

What is looked for is the object set of a tenant (render), written down a second time on purpose: a check that
asked the renderer could not find the renderer wrong. The declared flows are the caller's (`Target`), and the rights
of admins are read from the role that all tenants share.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from gcloud_pk.model import labels
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.model.quantity import Quantity
from gcloud_pk.proof import flows, rbac, waivers
from gcloud_pk.proof.capacity import container_limits, hard_limits, unlike_limits, unlike_quota
from gcloud_pk.proof.refusal import missing_right
from gcloud_pk.proof.surroundings import KINDS, NAMESPACES, Surroundings, label, scoped, without_owners
from gcloud_pk.proof.target import Target, TargetEnvironment
from gcloud_pk.render.platform import platform_objects

TENANT_ROLES = {
    "admins": "gcloud-pk:tenant-admin",
    "developers": "gcloud-pk:tenant-developer",
    "auditors": "gcloud-pk:tenant-auditor",
}

_COMPUTE = tuple(f"{part}.{name}" for part in ("requests", "limits") for name in ("cpu", "memory", "ephemeral-storage"))
# Multi-Tenancy Benchmarks, "Configure namespace object limits": the nine keys.
_COUNTS = (
    "pods",
    "services",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
)
# What tenants write beside them, each of up to the API server's size of an object: uncounted, it fills etcd.
_WRITTEN = tuple(
    f"count/{name}"
    for name in (
        "cronjobs.batch",
        "daemonsets.apps",
        "deployments.apps",
        "horizontalpodautoscalers.autoscaling",
        "ingresses.networking.k8s.io",
        "jobs.batch",
        "poddisruptionbudgets.policy",
        "replicasets.apps",
        "roles.rbac.authorization.k8s.io",
        "statefulsets.apps",
    )
)
# The platform has some of these where nothing else may come, too.
_SHARED = tuple(
    f"count/{name}"
    for name in ("networkpolicies.networking.k8s.io", "rolebindings.rbac.authorization.k8s.io", "serviceaccounts")
)
_POD_SECURITY = "pod-security.kubernetes.io/"

_COUNTED = "status.hard equals spec.hard, and all of it has a use"

_NAMED = {*_COMPUTE, "requests.storage", *_COUNTS, *_WRITTEN, *_SHARED}

Problems = list[str]


@dataclass(frozen=True, slots=True)
class Check:
    """One check of live objects: `reads` names the kind it needs, `problems` says what is wrong.

    `stands`: the objects must be there to stay; one that is being deleted fails the check.
    """

    id: str
    title: str
    controls: tuple[str, ...]
    expected: str
    reads: str
    problems: Callable[[Surroundings, Target, TargetEnvironment], Problems]
    stands: bool = True


def _namespace(around: Surroundings, target: Target, environment: TargetEnvironment) -> Problems:
    wanted = {
        labels.MANAGED: labels.MANAGED_BY_PLATFORM,
        labels.TENANT: target.tenant,
        labels.ENVIRONMENT: environment.name,
        f"{_POD_SECURITY}enforce": "restricted",
    }
    if environment.retired:
        wanted[labels.RETIRED] = "true"
    found = [
        f"label {key} is {label(around.itself, key)}, not {value}"
        for key, value in wanted.items()
        if label(around.itself, key) != value
    ]
    found += _unpinned(around, "enforce")
    if not environment.retired and label(around.itself, labels.RETIRED) is not None:
        found.append(f"label {labels.RETIRED} is on an environment in use")
    return found


_OLDEST_MINOR = 36
"""The standard of this version of Kubernetes is what the probes of Pod Security are about."""


def _unpinned(around: Surroundings, mode: str) -> Problems:
    version = label(around.itself, f"{_POD_SECURITY}{mode}-version")
    pinned = re.fullmatch(r"v1\.([0-9]+)", version or "")
    if pinned is None:
        return [f"label {_POD_SECURITY}{mode}-version is {version}, not a pinned version"]
    if int(pinned[1]) < _OLDEST_MINOR:
        return [f"label {_POD_SECURITY}{mode}-version is {version}, which knows less than v1.{_OLDEST_MINOR}"]
    return []


def _said(around: Surroundings, mode: str) -> Problems:
    found = label(around.itself, f"{_POD_SECURITY}{mode}")
    wrong = [] if found == "restricted" else [f"label {_POD_SECURITY}{mode} is {found}, not restricted"]
    return wrong + _unpinned(around, mode)


def _audited(around: Surroundings, _target: Target, _environment: TargetEnvironment) -> Problems:
    return _said(around, "audit")


def _warned(around: Surroundings, _target: Target, _environment: TargetEnvironment) -> Problems:
    return _said(around, "warn")


_KNOWN = {
    *(labels.MANAGED, labels.TENANT, labels.ENVIRONMENT, labels.CLASSIFICATION, labels.RETIRED),
    *(f"{_POD_SECURITY}{mode}{suffix}" for mode in ("enforce", "audit", "warn") for suffix in ("", "-version")),
}


def _labels(around: Surroundings, target: Target, _environment: TargetEnvironment) -> Problems:
    """Compare the class with the request's; nothing else may stand there that is read as the platform's word."""
    found = []
    classification = label(around.itself, labels.CLASSIFICATION)
    if target.classification is not None and classification != target.classification:
        found.append(f"label {labels.CLASSIFICATION} is {classification}, not {target.classification}")
    said = around.itself.get("metadata", {}).get("labels") or {}
    strays = [key for key in sorted(said) if key.startswith((f"{labels.GROUP}/", _POD_SECURITY)) and key not in _KNOWN]
    return found + [f"label {key} is of nobody's making" for key in strays]


_HELD_BY_EVERYBODY = (
    rbac.Right("create", "authentication.k8s.io", "selfsubjectreviews"),
    rbac.Right("create", "authorization.k8s.io", "selfsubjectaccessreviews"),
    rbac.Right("create", "authorization.k8s.io", "selfsubjectrulesreviews"),
)
"""What Kubernetes lets everybody do (system:basic-user): a tenant may give it on, and nothing is given by it."""


@cache
def _held_by_admins() -> tuple[rbac.Right, ...]:
    """Return the rights of a tenant's admins: no tenant can have made a Role that gives more.

    Those of the role as this version installs it; ISO-632 compares the live one.
    """
    admins = ("ClusterRole", TENANT_ROLES["admins"])
    role = next(made for made in platform_objects() if (made["kind"], made["metadata"]["name"]) == admins)
    return (*rbac.rights(role), *_HELD_BY_EVERYBODY)


def _roles(around: Surroundings, _target: Target, _environment: TargetEnvironment) -> Problems:
    """No Role, whoever made it, holds more than a tenant's admins do: whoever can bind could take it."""
    return [
        f"Role {role['metadata']['name']} gives {right}"
        for role in around.all("roles")
        for right in rbac.beyond(rbac.rights(role), _held_by_admins())
    ]


def _default_deny(around: Surroundings, _target: Target, _environment: TargetEnvironment) -> Problems:
    if around.default_denies:
        return []
    return ["no NetworkPolicy of the platform selects every pod, in both directions, and allows nothing"]


def _no_allowance(around: Surroundings, _target: Target, _environment: TargetEnvironment) -> Problems:
    return [
        f"NetworkPolicy {o['metadata']['name']} still allows flows"
        for o in around.all("networkpolicies")
        if o.get("spec", {}).get("ingress") or o.get("spec", {}).get("egress")
    ]


def _flows(around: Surroundings, target: Target, environment: TargetEnvironment) -> Problems:
    own = {e.namespace for e in target.environments}
    return flows.problems(around.all("networkpolicies"), own, environment)


def _quota(around: Surroundings, _target: Target, environment: TargetEnvironment) -> Problems:
    quotas = around.platform("resourcequotas")
    hard = hard_limits(quotas)
    # By name, and not by what the request implies alone: a renderer that forgets one would be right by itself.
    by_name = (*_COMPUTE, "requests.storage", *_COUNTS, *_WRITTEN, *_SHARED)
    wanted = (*by_name, *(name for name in environment.quota if name not in _NAMED))
    found = [f"the quota does not bound {name}" for name in wanted if name not in hard]
    nothing = dict.fromkeys(("services.nodeports", "services.loadbalancers"), "0")
    return found + unlike_quota(quotas, {**environment.quota, **nothing})


def _zero_quota(around: Surroundings, _target: Target, _environment: TargetEnvironment) -> Problems:
    hard = hard_limits(around.platform("resourcequotas"))
    counts = (name for name in (*_COUNTS, *_WRITTEN) if name != "resourcequotas")
    wanted = [*_COMPUTE, "requests.storage", *counts]
    return [f"the quota of {name} is {hard.get(name)}, not 0" for name in wanted if hard.get(name) != Quantity(0)]


def _quota_counted(around: Surroundings, _target: Target, _environment: TargetEnvironment) -> Problems:
    quotas = around.platform("resourcequotas")
    if not quotas:
        return ["there is no ResourceQuota of the platform"]
    return [
        f"ResourceQuota {o['metadata']['name']} is not counted: its status is not that of its spec"
        for o in quotas
        if not _is_counted(o["spec"].get("hard") or {}, o.get("status") or {})
    ]


def _is_counted(hard: Mapping[str, str], status: Mapping[str, Any]) -> bool:
    # A quota constrains nothing until its status is there (reference: control plane, trap 3).
    return bool(hard) and status.get("hard") == hard and set(hard) <= set(status.get("used") or {})


def _priority_quota(around: Surroundings, _target: Target, _environment: TargetEnvironment) -> Problems:
    kept = {"system-cluster-critical", "system-node-critical"}
    for quota in filter(scoped, around.platform("resourcequotas")):
        spec = quota["spec"]
        for rule in (spec.get("scopeSelector") or {}).get("matchExpressions", []):
            covered = rule.get("operator") == "In" and kept <= set(rule.get("values") or [])
            # Scopes add up: a second one has the quota count less.
            covered = covered and len(spec["scopeSelector"]["matchExpressions"]) == 1 and not spec.get("scopes")
            if rule.get("scopeName") == "PriorityClass" and covered and spec.get("hard", {}).get("pods") == "0":
                return []
    return [f"no ResourceQuota of the platform keeps pods from {' and '.join(sorted(kept))}"]


def _limits(around: Surroundings, _target: Target, environment: TargetEnvironment) -> Problems:
    ranges = around.platform("limitranges")
    missing = [
        f"the LimitRange has no {bound} of {name} for containers"
        for bound in ("default", "defaultRequest", "max")
        for name in ("cpu", "memory", "ephemeral-storage")
        if name not in container_limits(ranges, bound)
    ]
    return missing or unlike_limits(ranges, environment.limits)


def _parameters(around: Surroundings, target: Target, environment: TargetEnvironment) -> Problems:
    policy = next((o for o in around.all("tenantpolicies") if o["metadata"]["name"] == labels.TENANT_POLICY_NAME), None)
    if policy is None:
        return [f"there is no TenantPolicy {labels.TENANT_POLICY_NAME}: nothing that it governs is admitted"]
    spec = policy.get("spec", {})
    wanted: dict[str, object] = {
        "tenant": target.tenant,
        "environment": environment.name,
        **({} if target.classification is None else {"classification": target.classification}),
        "isolation": target.isolation,
        "groups": [] if environment.retired else list(target.groups),
        "registries": sorted(environment.registries),
        "domains": sorted(environment.domains),
        "storageClasses": sorted(environment.storage_classes),
        "egressFlows": [flow.model_dump(mode="json", by_alias=True) for flow in environment.egress_flows],
        "ingressCidrs": sorted(environment.ingress_cidrs),
        "reservedCidrs": sorted(environment.reserved_cidrs),
        "gatewayNamespaces": sorted(environment.gateway_namespaces),
        "priorityClasses": sorted(environment.priority_classes),
        "runtimeClasses": sorted(environment.runtime_classes),
    }
    if not environment.retired:
        wanted["namespaces"] = sorted(e.namespace for e in target.active)
    found = [
        f"TenantPolicy spec.{field} is {_sorted(spec.get(field))}, not {_sorted(value)}"
        for field, value in wanted.items()
        if _sorted(spec.get(field)) != _sorted(value)
    ]
    found += waivers.differences(spec, environment)
    if labels.PARAM_GUARD not in (policy["metadata"].get("finalizers") or []):
        found.append(f"TenantPolicy has no finalizer {labels.PARAM_GUARD}")
    return found


def _sorted(value: object) -> object:
    # As text, because objects have no order of their own.
    return sorted(value, key=lambda each: json.dumps(each, sort_keys=True)) if isinstance(value, list) else value


def _service_account(around: Surroundings, _target: Target, _environment: TargetEnvironment) -> Problems:
    account = next((o for o in around.all("serviceaccounts") if o["metadata"]["name"] == "default"), None)
    if account is None:
        return ["there is no ServiceAccount default"]
    if account.get("automountServiceAccountToken") is not False:
        return ["ServiceAccount default gives its token to every pod: automountServiceAccountToken is not false"]
    return []


def _platform_bindings(around: Surroundings, target: Target, _environment: TargetEnvironment) -> Problems:
    """Each role is bound to exactly its groups."""
    live: dict[str, set[str]] = {}
    for binding in around.platform("rolebindings"):
        live.setdefault(binding["roleRef"]["name"], set()).update(
            str(s["name"]) for s in binding.get("subjects") or [] if s.get("kind") == "Group"
        )
    found = []
    for who, role in TENANT_ROLES.items():
        wanted = set(getattr(target, who))
        if (bound := live.pop(role, set())) != wanted:
            found.append(f"{role} is bound to {sorted(bound)}, not {sorted(wanted)}")
    return found + [f"the platform binds {role}, which no request implies" for role in sorted(live)]


def _bindings(around: Surroundings, target: Target, _environment: TargetEnvironment) -> Problems:
    """No RoleBinding, whoever made it, lets in anybody but the tenant, or binds a role outside the list."""
    groups, namespaces = set(target.groups), {e.namespace for e in target.active}
    found = []
    for binding in around.all("rolebindings"):
        name, role = binding["metadata"]["name"], binding["roleRef"]
        if role["kind"] != "Role" and role["name"] not in TENANT_ROLES.values():
            found.append(f"RoleBinding {name} binds {role['kind']} {role['name']}")
        for subject in binding.get("subjects") or []:
            own_account = subject["kind"] == "ServiceAccount" and subject.get("namespace") in namespaces
            if not own_account and not (subject["kind"] == "Group" and subject["name"] in groups):
                where = f" of {subject['namespace']}" if subject.get("namespace") else ""
                found.append(f"RoleBinding {name} lets in {subject['kind']} {subject['name']}{where}")
    return found


def _no_bindings(around: Surroundings, _target: Target, _environment: TargetEnvironment) -> Problems:
    return [f"RoleBinding {o['metadata']['name']} still gives access" for o in around.all("rolebindings")]


_OF_EVERY_NAMESPACE = (
    Check("ISO-130", "What Pod Security would refuse stands in the audit log, by a pinned version", ("GPK-POD-001",),
          "audit: restricted", "namespaces", _audited, stands=False),
    Check("ISO-131", "Who writes a workload is warned of what Pod Security would refuse in its pods", ("GPK-POD-001",),
          "warn: restricted", "namespaces", _warned, stands=False),
    Check("ISO-132", "The namespace has the class of the request, and no label that only looks like the platform's",
          ("GPK-ADM-001",), "the labels of the platform and no other of its prefix", "namespaces", _labels,
          stands=False),
)  # fmt: skip

ACTIVE = (
    Check("ISO-101", "The namespace is the tenant's, and Pod Security restricted is enforced at a pinned version",
          ("GPK-POD-001",), "the labels of the tenant", "namespaces", _namespace),
    Check("ISO-102", "Default deny is there, in both directions, for every pod",
          ("GPK-NET-001", "MTB-PL2-BC-OPS-4"), "a NetworkPolicy that denies everything", "networkpolicies",
          _default_deny),
    Check("ISO-103", "The quota bounds compute, storage and objects at what the request implies",
          ("GPK-QUO-001", "MTB-PL1-CC-FNS-1", "MTB-PL1-CC-FNS-2"), "every key bounded as asked for, no node ports",
          "resourcequotas", _quota),
    Check("ISO-104", "Quotas are counted", ("GPK-QUO-001",), _COUNTED, "resourcequotas",
          _quota_counted),
    Check("ISO-105", "Pods of the system's priority are kept out", ("GPK-QUO-002",),
          "a quota of no pods for system priorities", "resourcequotas", _priority_quota),
    Check("ISO-106", "Containers and claims have the defaults and bounds that the request implies", ("GPK-QUO-003",),
          "default, defaultRequest and max of cpu, memory and ephemeral-storage, as asked for", "limitranges", _limits),
    Check("ISO-107", "The admission policies have the tenant's parameters", ("GPK-ADM-001",),
          "the TenantPolicy of this tenant", "tenantpolicies", _parameters),
    Check("ISO-108", "Pods get no token by default", ("GPK-ACC-002",), "automount off", "serviceaccounts",
          _service_account),
    Check("ISO-109", "Each role is bound to exactly its groups", ("GPK-ACC-001",), "the bindings of the request",
          "rolebindings", _platform_bindings),
    Check("ISO-110", "No RoleBinding lets in anybody but the tenant", ("GPK-ACC-001",),
          "the tenant's groups and own service accounts, in tenant roles", "rolebindings", _bindings),
    Check("ISO-111", "All network policies together allow what the request implies, and no more",
          ("GPK-NET-001", "GPK-NET-002"), "the declared flows; else peers in the tenant or in declared networks",
          "networkpolicies", _flows),
    Check("ISO-133", "No Role of the namespace gives what no tenant may have", ("GPK-ACC-003",),
          "no right beyond those of a tenant's admins", "roles", _roles, stands=False),
    *_OF_EVERY_NAMESPACE,
)  # fmt: skip
"""Checks of an environment in use."""

RETIRED = (
    Check("ISO-121", "The retired namespace is still the tenant's and closed by Pod Security", ("GPK-POD-001",),
          "the labels of the tenant, retired", "namespaces", _namespace),
    Check("ISO-122", "Default deny stays in a retired environment", ("GPK-NET-001",),
          "a NetworkPolicy that denies everything", "networkpolicies", _default_deny),
    Check("ISO-123", "No flow is allowed in a retired environment", ("GPK-NET-001",), "no rule that allows",
          "networkpolicies", _no_allowance),
    Check("ISO-124", "A retired environment has a quota of nothing", ("GPK-QUO-001",), "0 of everything",
          "resourcequotas", _zero_quota),
    Check("ISO-125", "The quota of nothing is counted", ("GPK-QUO-001",), _COUNTED,
          "resourcequotas", _quota_counted),
    Check("ISO-126", "The parameters of a retired environment allow nothing", ("GPK-ADM-001",),
          "a TenantPolicy without groups and registries", "tenantpolicies", _parameters),
    Check("ISO-127", "Nobody is bound in a retired environment", ("GPK-ACC-001",), "no RoleBinding", "rolebindings",
          _no_bindings),
    *_OF_EVERY_NAMESPACE,
)  # fmt: skip
"""Checks of a retired environment."""


def run(around: Surroundings, target: Target, environment: TargetEnvironment, subject: str) -> list[Finding]:
    """Judge the objects of one namespace. What could not be read is an error that names the missing right."""
    chosen = RETIRED if environment.retired else ACTIVE
    found = [_finding(check, around, target, environment, subject) for check in chosen]
    return [*found, *waivers.findings(around, target, environment, subject)]


def _dying(around: Surroundings, kind: str) -> Problems:
    """Name the walls that are being deleted: a finalizer holds them up, and nobody knows for how long."""
    return [
        f"{o.get('kind') or kind} {o['metadata']['name']} is being deleted since {o['metadata']['deletionTimestamp']}"
        for o in around.walls(kind)
        if o["metadata"].get("deletionTimestamp")
    ]


def _finding(
    check: Check, around: Surroundings, target: Target, environment: TargetEnvironment, subject: str
) -> Finding:
    answer = around.answers[check.reads]
    verdict, reason = Verdict.PASS, None
    if answer.ok:
        try:
            problems = check.problems(around, target, environment)
            problems += _dying(around, check.reads) if check.stands else ()
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            verdict, problems, reason = Verdict.ERROR, [], f"an object is not of the known shape: {error!r}"
        observed = "; ".join(problems) or ("as expected" if reason is None else "not understood")
        if problems:
            verdict, reason = Verdict.FAIL, "the live objects are not as they must be"
    elif answer.status == 404 and check.reads == "namespaces":
        verdict, observed, reason = Verdict.FAIL, "there is no such namespace", "the namespace is gone"
    else:
        verdict, observed = Verdict.ERROR, f"{check.reads} could not be read ({answer.status}): {answer.message}"
        reason = f"the verifier lacks a right: {missing_right(answer.message)}" if answer.status == 403 else "no answer"
    return Finding(
        id=check.id,
        title=check.title,
        subject=subject,
        expected=check.expected,
        observed=observed,
        verdict=verdict,
        controls=check.controls,
        reason=reason,
        seconds=answer.seconds,
        evidence=dict(_evidence(check, around, verdict, observed)),
    )


def _evidence(check: Check, around: Surroundings, verdict: Verdict, observed: str) -> Iterator[tuple[str, Any]]:
    """Yield what was read, by the server's own record; of a failure the walls and what is named, as they were read.

    None of the kinds holds a secret.
    """
    resource, namespace = KINDS.get(check.reads), around.namespace
    path = NAMESPACES.path(None, namespace) if resource is None else resource.path(namespace)
    answer = around.answers[check.reads]
    refusal = {} if answer.ok else {"refusal": answer.message}
    audit_id = {"auditId": answer.audit_id} if answer.audit_id else {}
    yield "requests", [{"request": f"GET {path}", "status": answer.status, **refusal, **audit_id}]
    if verdict is Verdict.FAIL and answer.ok:
        walls = around.walls(check.reads)
        read = walls if check.reads == "namespaces" else around.all(check.reads)
        yield "objects", [without_owners(o) for o in read if o in walls or str(o["metadata"]["name"]) in observed]
