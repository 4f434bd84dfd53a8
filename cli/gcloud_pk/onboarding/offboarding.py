"""Taking a tenant off a cluster: name what is held, close access, delete, prove that nothing is left."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gcloud_pk.cluster.answer import refusal
from gcloud_pk.cluster.kinds import (
    CLUSTER_ROLE_BINDING,
    NAMESPACE,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    RESOURCE_QUOTA,
    ROLE_BINDING,
    TENANT,
    ObjectKey,
)
from gcloud_pk.cluster.lease import Lease
from gcloud_pk.cluster.live import fetch
from gcloud_pk.cluster.removal import remove_namespaces
from gcloud_pk.cluster.transport import Api
from gcloud_pk.cluster.write import write_status
from gcloud_pk.errors import GcloudPkError, PartialError, RefusedError
from gcloud_pk.model import labels
from gcloud_pk.model.resources import TenantStatus
from gcloud_pk.onboarding.closures import Tombstone, bury
from gcloud_pk.onboarding.heads import known, name_head
from gcloud_pk.onboarding.population import MEMBERS, Population, survey
from gcloud_pk.onboarding.run import status_manifest
from gcloud_pk.text import stamp

_AGAIN = "run tenant offboard again: it goes on from here"


@dataclass(frozen=True)
class Held:
    """Counts of what a namespace holds. `secrets`: the quota's count, nobody here may read them; None: not counted."""

    namespace: str
    pods: int
    claims: int
    secrets: int | None

    def __str__(self) -> str:
        secrets = "secrets not counted" if self.secrets is None else f"{self.secrets} secrets"
        return f"{self.namespace}: {self.pods} pods, {self.claims} claims, {secrets}"


def held(api: Api, namespaces: Sequence[str], population: Population, tenant: str) -> list[Held]:
    """Return what each namespace holds."""
    counts = []
    for namespace in namespaces:
        quota = population.of(tenant).get(ObjectKey(RESOURCE_QUOTA, namespace, "tenant"), {})
        used = quota.get("status", {}).get("used", {}).get("secrets")
        counts.append(
            Held(
                namespace,
                pods=len(api.list(POD, namespace=namespace)),
                claims=len(api.list(PERSISTENT_VOLUME_CLAIM, namespace=namespace)),
                secrets=int(used) if used is not None else None,
            )
        )
    return counts


def targets(population: Population, tenant: str, environment: str | None) -> dict[str, str]:
    """Return environment → namespace to delete. Raises RefusedError for an environment that is not retired."""
    environments = population.environments(tenant)
    if environment is None:
        return environments
    if environment not in environments:
        known = ", ".join(sorted(environments)) or "none"
        raise RefusedError(f"tenant {tenant} has no environment {environment!r} on this cluster (it has: {known})")
    live = population.of(tenant)[ObjectKey(NAMESPACE, "", environments[environment])]
    if live["metadata"]["labels"].get(labels.RETIRED) != "true" and not live["metadata"].get("deletionTimestamp"):
        raise RefusedError(
            f"environment {environment!r} of tenant {tenant} is in use",
            resolution="take it out of the request, approve that, and onboard; a retired environment can be offboarded",
        )
    return {environment: environments[environment]}


def refuse_data(counts: Sequence[Held], *, delete_data: bool) -> None:
    """Refuse while pods or claims exist, unless their deletion is asked for."""
    full = [one for one in counts if one.pods or one.claims]
    if full and not delete_data:
        raise RefusedError(
            "pods or claims exist; nothing was deleted",
            details=[str(one) for one in full],
            resolution="have the tenant stop its workloads and move its data, or give --delete-data",
        )


def rehearse(api: Api, tenant: str, namespaces: Sequence[str]) -> None:
    """Read what offboarding reads in the end, so that a missing right is told before anything is gone."""
    residue(api, tenant, namespaces)
    _volumes(api, namespaces)


def offboard(
    api: Api,
    tenant: str,
    namespaces: Sequence[str],
    *,
    whole: bool,
    record: Callable[[], str | None] | None = None,
    wait_for_lock: float = 30.0,
    timeout: float = 300.0,
    say: Callable[[str], None],
) -> list[str]:
    """Delete namespaces (and the Tenant, where `whole`), access first. Returns what outlives it: retained volumes.

    `record` writes down that it begins, once nobody else works on the tenant and before anything is deleted, and
    returns the history's head; of an environment, the Tenant names it at once. Of a whole tenant a tombstone stays
    (`closures`): this cluster does not take it again.
    Raises PartialError where something does not go; running again goes on. Other errors: nothing was written.
    """
    recorded, head = False, None
    try:
        with Lease(api, f"tenant-{tenant}", wait=wait_for_lock) as lease:
            if record is not None:
                head = record()
                recorded = True
            retained = _take_off(api, tenant, namespaces, lease, head=head, whole=whole, timeout=timeout, say=say)
        left = residue(api, tenant, namespaces) if whole else []
    except PartialError:
        raise
    except GcloudPkError as error:
        if not (api.persisted or recorded):
            raise
        raise PartialError(
            f"stopped half way, access first: {error.message}",
            details=error.details,
            resolution="; ".join(part for part in (error.resolution, _AGAIN) if part),
        ) from error
    if left:
        raise PartialError(f"tenant {tenant} is not gone", details=left, resolution=_AGAIN)
    return retained


def _take_off(
    api: Api,
    tenant: str,
    namespaces: Sequence[str],
    lease: Lease,
    *,
    head: str | None,
    whole: bool,
    timeout: float,
    say: Callable[[str], None],
) -> list[str]:
    if whole:
        _mark(api, tenant, head)
    elif head is not None:
        answer = api.request("GET", TENANT.path(name=tenant))
        name_head(api, answer.body if answer.ok else None, head)
    say("removing access")
    for namespace in namespaces:
        lease.check()
        answer = api.request("DELETE", ROLE_BINDING.path(namespace))
        if not answer.ok and answer.status != 404:
            raise refusal(answer, f"the role bindings of {namespace}")
    say(f"deleting {len(namespaces)} namespaces")
    remove_namespaces(api, namespaces, timeout=timeout, on_progress=lambda name, state: say(f"{name}: {state}"))
    lease.check()
    if whole:
        answer = api.request("DELETE", TENANT.path(name=tenant))
        if not answer.ok and answer.status != 404:
            raise refusal(answer, f"Tenant {tenant}")
    return _volumes(api, namespaces)


def _mark(api: Api, tenant: str, head: str | None) -> None:
    """Leave the tombstone, and say on the Tenant that it is leaving: both show from the first moment."""
    answer = api.request("GET", TENANT.path(name=tenant))
    spec = (answer.body.get("spec") or {}) if answer.ok else {}
    now = stamp(dt.datetime.now(dt.UTC))
    bury(api, Tombstone(tenant, now, spec.get("requestDigest"), head))
    if answer.ok and (said := answer.body.get("status")):
        write_status(api, status_manifest(tenant, TenantStatus.model_validate({**known(said), "phase": "Offboarding"})))


def residue(api: Api, tenant: str, namespaces: Sequence[str]) -> list[str]:
    """Return everything on the cluster that still carries the tenant's label or lets its accounts act."""
    left = [str(key) for key in sorted(fetch(api, (TENANT, *MEMBERS), selector=f"{labels.TENANT}={tenant}"))]
    left += [
        f"ClusterRoleBinding {binding['metadata']['name']} names {subject['namespace']}/{subject['name']}"
        for binding in api.list(CLUSTER_ROLE_BINDING)
        for subject in binding.get("subjects") or ()
        if subject.get("kind") == "ServiceAccount" and subject.get("namespace") in namespaces
    ]
    return left


def _volumes(api: Api, namespaces: Sequence[str]) -> list[str]:
    """Return volumes that outlive their claims: data that somebody must decide about."""
    return sorted(
        f"PersistentVolume {volume['metadata']['name']} (was {claim['namespace']}/{claim['name']}, "
        f"reclaim policy {volume['spec'].get('persistentVolumeReclaimPolicy')})"
        for volume in api.list(PERSISTENT_VOLUME)
        if (claim := volume["spec"].get("claimRef")) and claim.get("namespace") in namespaces
    )


def survey_one(api: Api, tenant: str) -> Population:
    """Return what is in place of one tenant."""
    return survey(api, [tenant])
