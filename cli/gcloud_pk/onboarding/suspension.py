"""Closing a tenant without ending it, and opening it again exactly as it was.

Suspended: nobody of the tenant has access, its identities are refused (gpk-suspended), what runs goes on. Quarantined:
nothing but the default deny is left of its network either, and the pods stay for whoever looks into them.

What is taken is saved in the registry first, then it goes: parameters, bindings, flows, and the Tenant says so. Back it
comes the other way round, access last. A run that is killed anywhere leaves the tenant closed; the next converges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gcloud_pk import __version__
from gcloud_pk.cluster.answer import ForbiddenError, refusal
from gcloud_pk.cluster.kinds import (
    NAMESPACE,
    NETWORK_POLICY,
    POD,
    ROLE_BINDING,
    TENANT,
    TENANT_POLICY,
    ObjectKey,
    key_of,
)
from gcloud_pk.cluster.lease import Lease
from gcloud_pk.cluster.plan import Action, Change, plan
from gcloud_pk.cluster.transport import Api
from gcloud_pk.cluster.write import write, write_status
from gcloud_pk.errors import GcloudPkError, PartialError, RefusedError, UnavailableError
from gcloud_pk.model import labels
from gcloud_pk.model.resources import Suspended, TenantStatus
from gcloud_pk.onboarding.closures import PHASES, SUSPENDING, closed_since
from gcloud_pk.onboarding.heads import known, name_head
from gcloud_pk.onboarding.provenance import head_of
from gcloud_pk.onboarding.run import status_manifest
from gcloud_pk.render.access import ROLES
from gcloud_pk.render.network import ALLOW_NAME, DENY_NAME, denial

Live = dict[str, Any]

_MERGE_PATCH = "application/merge-patch+json"
_PARAMS = {"fieldManager": labels.FIELD_MANAGER, "fieldValidation": "Strict"}
_OURS = {ROLE_BINDING.kind: {f"tenant-{role}" for role in ROLES}, NETWORK_POLICY.kind: {ALLOW_NAME}}
"""What onboarding makes of what a suspension takes: kind → names."""
_ROUNDS = 5
"""How often what came meanwhile is taken too, before somebody must look who makes it."""


@dataclass(frozen=True)
class Place:
    """One namespace of a tenant as it is now. `flows`: network policies but the platform's default deny."""

    namespace: str
    environment: str
    leaving: bool
    bindings: tuple[Live, ...]
    flows: tuple[Live, ...]
    deny: Live | None
    parameters: Live | None
    pods: int

    @property
    def suspended(self) -> Suspended | None:
        """What its TenantPolicy says."""
        said: Suspended | None = ((self.parameters or {}).get("spec") or {}).get("suspended")
        return said

    def as_dict(self, how: Suspended) -> dict[str, Any]:
        """Return the shape of `namespaces[]` in `tenant suspend --format json`: what is taken; pods stay."""
        return {
            "namespace": self.namespace,
            "roleBindings": [one["metadata"]["name"] for one in self.bindings],
            "networkPolicies": [one["metadata"]["name"] for one in self.flows] if how == "quarantined" else [],
            "pods": self.pods,
        }


@dataclass(frozen=True)
class Scene:
    """What is on the cluster of one tenant: its Tenant, and every namespace, retired ones too."""

    tenant: str
    parent: Live | None
    places: tuple[Place, ...]

    @property
    def status(self) -> Mapping[str, Any]:
        """The Tenant's status; empty where there is none."""
        said: Mapping[str, Any] = (self.parent or {}).get("status") or {}
        return said

    def to_take(self, how: Suspended) -> list[Live]:
        """Return what a suspension takes: access first, then, in quarantine, flows."""
        taken = [one for place in self.places for one in place.bindings]
        if how == "quarantined":
            taken += [one for place in self.places for one in place.flows]
        return taken

    def tightest(self, how: Suspended) -> Suspended:
        """Return `how`, or quarantine where the tenant is in it already: a suspension never loosens."""
        said = {place.suspended for place in self.places}
        return "quarantined" if "quarantined" in said or self.status.get("phase") == "Quarantined" else how

    def is_closed(self, how: Suspended) -> bool:
        """Whether nothing is left to do but for what the registry says."""
        said = {place.suspended for place in self.places if place.parameters is not None}
        wanted = {how, "quarantined"}
        return (
            not self.to_take(how)
            and said <= wanted
            and (self.parent is None or self.status.get("phase") in {PHASES[how], "Quarantined"})
        )


def look(api: Api, tenant: str) -> Scene:
    """Return what is on the cluster of a tenant. Only GET and LIST."""
    answer = api.request("GET", TENANT.path(name=tenant))
    if not answer.ok and answer.status != 404:
        raise refusal(answer, f"Tenant {tenant}")
    places = [_place(api, live, tenant) for live in api.list(NAMESPACE, selector=f"{labels.TENANT}={tenant}")]
    return Scene(tenant, answer.body if answer.ok else None, tuple(sorted(places, key=lambda place: place.namespace)))


def _place(api: Api, namespace: Live, tenant: str) -> Place:
    metadata = namespace["metadata"]
    name = metadata["name"]
    policies = api.list(NETWORK_POLICY, namespace=name)
    deny = next((one for one in policies if _is_deny(one)), None)
    parameters = [one for one in api.list(TENANT_POLICY, namespace=name) if one["metadata"]["name"] == "tenant"]
    return Place(
        name,
        (metadata.get("labels") or {}).get(labels.ENVIRONMENT) or name.removeprefix(f"{tenant}-"),
        bool(metadata.get("deletionTimestamp")),
        tuple(api.list(ROLE_BINDING, namespace=name)),
        tuple(one for one in policies if one is not deny),
        deny,
        parameters[0] if parameters else None,
        len(api.list(POD, namespace=name)),
    )


def _is_deny(policy: Live) -> bool:
    metadata = policy["metadata"]
    return metadata["name"] == DENY_NAME and labels.MANAGED in (metadata.get("labels") or {})


# --- closing ----------------------------------------------------------------------------------------------------------

Save = Callable[[Suspended, Sequence[Live]], tuple[str, str | None]]
"""Unites live objects with what was saved; returns since when (RFC 3339) the tenant is closed, and the history's head.
It has written them down when it returns."""


def suspend(
    api: Api,
    tenant: str,
    how: Suspended,
    *,
    save: Save,
    written: Callable[[], bool],
    wait_for_lock: float = 30.0,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[Suspended, Scene]:
    """Close a tenant; return how it is closed (it may be in quarantine already), and what is there then.

    `written`: whether the registry has changed since. Raises PartialError where something was written and it is not
    brought to its end: run again, it goes on. Where nothing was, the error says that the tenant is not closed.
    """
    try:
        with Lease(api, f"tenant-{tenant}", wait=wait_for_lock) as lease:
            return _suspend(api, tenant, how, lease, save, say)
    except PartialError:
        raise
    except GcloudPkError as error:
        if api.persisted:
            raise _half_way(error, "suspend", f"until then tenant {tenant} may be open in part") from error
        if written():
            left = f"until then the registry says so, and tenant {tenant} is still open on this cluster"
            raise _half_way(error, "suspend", left) from error
        error.message = f"{error.message}; nothing was written, and tenant {tenant} is NOT {how} by this run"
        raise


def _suspend(
    api: Api, tenant: str, how: Suspended, lease: Lease, save: Save, say: Callable[[str], None]
) -> tuple[Suspended, Scene]:
    for _ in range(_ROUNDS):
        scene = look(api, tenant)
        how = scene.tightest(how)
        # What is on its way out already is not to come back.
        since, head = save(how, [one for one in scene.to_take(how) if not one["metadata"].get("deletionTimestamp")])
        lease.check()
        if scene.is_closed(how):
            _tell(api, scene, PHASES[how], since, head)
            return how, scene
        # The cluster names the line that names what is saved before anything goes: resume believes no other.
        phase = str(scene.status.get("phase"))
        _tell(api, scene, phase if phase in PHASES.values() else SUSPENDING, since, head)
        say(f"refusing what the identities of {tenant} ask for")
        for place in scene.places:
            _mark(api, place, how)
        say("removing access")
        for binding in (one for place in scene.places for one in place.bindings):
            lease.check()
            write(api, _removal(binding))
        if how == "quarantined":
            say("cutting traffic")
            for place in scene.places:
                _ensure_deny(api, tenant, place)
            for flow in (one for place in scene.places for one in place.flows):
                lease.check()
                write(api, _removal(flow))
        scene = look(api, tenant)
        if not scene.to_take(how):
            _tell(api, scene, PHASES[how], since, head)
            return how, scene
    raise PartialError(
        f"tenant {tenant} is not closed: something makes new bindings, or holds them",
        details=[str(key_of(one)) for one in scene.to_take(how)],
        resolution="see who makes them (the API server's audit log) or which finalizer holds them; then run it again",
    )


def shut(api: Api, tenant: str, how: Suspended | None, *, wait_for_lock: float = 60.0) -> int:
    """Take a tenant's access away without saving anything; return how many objects went.

    For a cluster that came back from a snapshot, where what was taken since is there again. `how`: what the registry
    says of a tenant that is suspended, whose identities are refused too, as they were; None: only its bindings go.
    Raises PartialError where something makes new ones.
    """
    with Lease(api, f"tenant-{tenant}", wait=wait_for_lock) as lease:
        gone = 0
        for _ in range(_ROUNDS):
            scene = look(api, tenant)
            for place in scene.places if how else ():
                _mark(api, place, how)
            if how == "quarantined":
                for place in scene.places:
                    _ensure_deny(api, tenant, place)
            taken = scene.to_take(how or "suspended")
            for one in taken:
                lease.check()
                write(api, _removal(one))
            gone += len(taken)
            if not taken:
                return gone
    raise PartialError(
        f"tenant {tenant} is not closed: something makes new bindings, or holds them",
        details=[str(key_of(one)) for one in look(api, tenant).to_take(how or "suspended")],
        resolution="see who makes them (the API server's audit log) or which finalizer holds them; then run it again",
    )


def _mark(api: Api, place: Place, how: Suspended | None) -> None:
    """Write `suspended` into the parameters of a namespace, or (None) take it out."""
    if place.parameters is None or place.suspended == how:
        return
    answer = api.request(
        "PATCH",
        TENANT_POLICY.path(place.namespace, labels.TENANT_POLICY_NAME),
        params=_PARAMS,
        body={"spec": {"suspended": how}},
        content_type=_MERGE_PATCH,
    )
    if not answer.ok and answer.status != 404:
        raise refusal(answer, f"TenantPolicy {place.namespace}/{labels.TENANT_POLICY_NAME}")


def _ensure_deny(api: Api, tenant: str, place: Place) -> None:
    """Have the default deny whole before a flow goes: without it, the last flow that goes would open everything."""
    if place.leaving:
        return
    wanted = denial(tenant, place.namespace, place.environment)
    live = {} if place.deny is None else {key_of(place.deny): place.deny}
    for change in plan([wanted], live).writes:
        write(api, change)


def _removal(live: Live) -> Change:
    return Change(Action.REMOVE, key_of(live), None, live)


def renew(
    api: Api, tenant: str, *, opened: Callable[[], None], record: Callable[[], str], wait_for_lock: float = 30.0
) -> None:
    """Have a tenant that is open here already said to be so anew, and its Tenant name the history's new head.

    `opened` has the registry say `active`, once nobody else works on the tenant; `record` writes the history.
    Raises RefusedError where the tenant was suspended meanwhile.
    """
    with Lease(api, f"tenant-{tenant}", wait=wait_for_lock) as lease:
        scene = look(api, tenant)
        if closed_since(scene.parent) is not None or any(place.suspended for place in scene.places):
            raise RefusedError(
                f"tenant {tenant} was suspended on this cluster meanwhile", resolution="see why; then run it again"
            )
        opened()
        head = record()
        lease.check()
        name_head(api, scene.parent, head)


def _tell(api: Api, scene: Scene, phase: str, since: str | None, head: str | None) -> None:
    """Say on the Tenant how it stands; nothing where there is no Tenant."""
    if scene.parent is None:
        return
    spec = scene.parent["spec"]
    # A run that was killed before it wrote the first status left none.
    begun = {
        "revision": spec["revision"],
        "requestDigest": spec["requestDigest"],
        "acceptedAt": scene.parent["metadata"]["creationTimestamp"],
        "toolVersion": __version__,
    }
    said = known(scene.status)
    new = {**begun, **said, "phase": phase, "suspendedAt": since, "historyHead": head or said.get("historyHead")}
    wanted = TenantStatus.model_validate({name: value for name, value in new.items() if value is not None})
    manifest = status_manifest(scene.tenant, wanted)
    if manifest["status"] != dict(scene.status):
        write_status(api, manifest)


# --- opening ----------------------------------------------------------------------------------------------------------


@dataclass
class Restored:
    """What became of what was saved, as `Kind namespace/name`; `refused` with the reason."""

    created: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    refused: list[tuple[Live, str]] = field(default_factory=list)


def resume(
    api: Api,
    tenant: str,
    objects: Iterable[Live],
    *,
    head: str | None,
    opened: Callable[[], None],
    record: Callable[[Restored], str | None],
    wait_for_lock: float = 30.0,
    say: Callable[[str], None] = lambda _: None,
) -> Restored:
    """Give back what was saved, access last; return what became of it.

    `opened` has the registry say `active`, once nobody else works on the tenant; `record` writes the history when all
    is back, and returns its head. What exists is left as it is; what lies in a namespace that is gone is named; what
    the API server refuses is named, and the rest is given back. Raises PartialError as `suspend` does, RefusedError
    where the Tenant no longer names `head`: what was to be given back was chosen by that.
    """
    written = False
    try:
        with Lease(api, f"tenant-{tenant}", wait=wait_for_lock) as lease:
            scene = look(api, tenant)
            if head_of(scene.parent) != head:
                raise RefusedError(
                    f"somebody else has acted on tenant {tenant} meanwhile; nothing was given back",
                    resolution=f"see gcloud-pk registry history {tenant}; then run it again",
                )
            opened()
            written = True
            for place in scene.places:
                lease.check()
                _mark(api, place, None)
            restored = Restored()
            there = {place.namespace: place for place in scene.places if not place.leaving}
            saved = list(objects)
            for kind, what in ((NETWORK_POLICY, "flows"), (ROLE_BINDING, "access")):
                say(f"giving back {what}")
                for one in (one for one in saved if one["kind"] == kind.kind):
                    lease.check()
                    _restore(api, one, there, restored)
            lease.check()
            head = record(restored)
            _tell(api, scene, "Ready", None, head)
            return restored
    except PartialError:
        raise
    except GcloudPkError as error:
        if not (api.persisted or written):
            raise
        raise _half_way(error, "resume", f"until then tenant {tenant} has back what was given back so far") from error


def _restore(api: Api, saved: Live, there: Mapping[str, Place], restored: Restored) -> None:
    key = key_of(saved)
    place = there.get(key.namespace)
    if place is None:
        restored.gone.append(str(key))
        return
    live = {key_of(one) for one in (*place.bindings, *place.flows)}
    if key in live:
        restored.present.append(str(key))
        return
    if _is_strange(saved):
        restored.refused.append((saved, f"{key} says that it is the platform's, and the platform makes none of it"))
        return
    try:
        created = _create(api, key, saved)
    except ForbiddenError as error:
        if error.verb:  # a right of who resumes is missing: that is mended, and the run goes on
            raise
        restored.refused.append((saved, error.message))
    except UnavailableError:
        raise
    except RefusedError as error:
        restored.refused.append((saved, error.message))
    else:
        (restored.created if created else restored.present).append(str(key))


def _is_strange(saved: Live) -> bool:
    """Whether an object bears the platform's label and is none that onboarding makes: its owner would be nobody."""
    metadata = saved["metadata"]
    return labels.MANAGED in (metadata.get("labels") or {}) and metadata["name"] not in _OURS[saved["kind"]]


def _create(api: Api, key: ObjectKey, saved: Live) -> bool:
    """Create an object as it was saved; return False where it is there already."""
    if labels.MANAGED in (saved["metadata"].get("labels") or {}):
        # As onboarding applies it, so that it finds nothing to change.
        write(api, Change(Action.CREATE, key, saved))
        return True
    answer = api.request("POST", key.kind.path(key.namespace), params=_PARAMS, body=saved)
    if answer.status == 409 and answer.reason == "AlreadyExists":
        return False
    if not answer.ok:
        raise refusal(answer, str(key))
    return True


def _half_way(error: GcloudPkError, verb: str, left: str) -> PartialError:
    """`left`: how the tenant stands until it is run again."""
    again = f"run tenant {verb} again: it goes on from here; {left}"
    return PartialError(
        f"stopped half way: {error.message}",
        details=error.details,
        resolution="; ".join(part for part in (error.resolution, again) if part),
    )
