"""Which namespaces `audit impact` looks at, and who judges each: the cluster itself where they are tenants'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from gcloud_pk.cluster.kinds import NAMESPACE, TENANT_POLICY
from gcloud_pk.cluster.transport import Api, Identity
from gcloud_pk.errors import UnavailableError, WrongUsageError
from gcloud_pk.model import labels
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.proof.impact import Judge, assess, left_out, version
from gcloud_pk.proof.inventory import read


@dataclass
class Selection:
    """Namespaces by who judges them: `live`, tenants' own; `prospective`, nobody's yet; `absent`, not there yet."""

    live: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    prospective: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)


def select(api: Api, namespaces: Sequence[str], tenant: str | None, wanted: Sequence[str]) -> Selection:
    """Return what to look at: what is named; else `wanted` (the tenant's namespaces); else all tenants' namespaces.

    Raises UnavailableError for a name that is not on the cluster, WrongUsageError for a namespace that is nobody's
    where no tenant is named, or another tenant's.
    """
    there = {str(live["metadata"]["name"]): live for live in api.list(NAMESPACE)}
    chosen = Selection()
    if not namespaces and tenant is None:
        chosen.live = {name: live for name, live in there.items() if _owner(live)}
        return chosen
    for name in dict.fromkeys(namespaces or wanted):
        if name not in there:
            if not namespaces:
                chosen.absent.append(name)
                continue
            near = get_close_matches(name, there, n=1)
            raise UnavailableError(
                f"there is no namespace {name!r} on this cluster",
                resolution=f"did you mean {near[0]}?" if near else "kubectl get namespaces lists them",
            )
        owner = _owner(there[name])
        if owner is None and tenant is None:
            raise WrongUsageError(
                f"namespace {name} belongs to no tenant, so it is not known what it would be held to",
                resolution="name the tenant whose it would be: --tenant TENANT",
            )
        if owner is not None and tenant not in {None, owner}:
            raise WrongUsageError(f"namespace {name} is tenant {owner}'s, not {tenant}'s")
        if owner is None:
            chosen.prospective.append(name)
        else:
            chosen.live[name] = there[name]
    return chosen


def _owner(live: Mapping[str, Any]) -> str | None:
    owner = (live["metadata"].get("labels") or {}).get(labels.TENANT)
    return None if owner is None else str(owner)


def judged_by_itself(verifier: Api, chosen: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    """Return the findings on tenants' namespaces: dry runs on the cluster itself, as somebody of the tenant."""
    words = f"the cluster itself ({version(verifier)})" if chosen else ""
    return [finding for name, live in chosen.items() for finding in _judged(verifier, name, live, words)]


def _judged(verifier: Api, namespace: str, live: Mapping[str, Any], words: str) -> list[Finding]:
    metadata = live["metadata"]
    if metadata.get("deletionTimestamp"):
        return [left_out(namespace, Verdict.NOT_APPLICABLE, "the namespace is being deleted")]
    if (metadata.get("labels") or {}).get(labels.RETIRED) == "true":
        return [left_out(namespace, Verdict.NOT_APPLICABLE, "the environment is retired: nothing new comes")]
    answer = verifier.request("GET", TENANT_POLICY.path(namespace, labels.TENANT_POLICY_NAME))
    if not answer.ok:
        reason = f"its TenantPolicy could not be read ({answer.status}): {answer.message}"
        return [left_out(namespace, Verdict.ERROR, reason)]
    policy = answer.body["spec"]
    if policy.get("suspended"):
        return [left_out(namespace, Verdict.NOT_CHECKED, "the tenant is suspended, so nobody of it may be asked as")]
    identity = Identity(labels.PROBE_USER, tuple(sorted(policy.get("groups") or ())))
    return assess(Judge(verifier.impersonating(identity), namespace, policy, words), read(verifier, namespace))
