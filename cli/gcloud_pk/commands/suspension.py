"""`gcloud-pk tenant suspend` and `tenant resume`: closing a tenant without ending it, and giving back what it had."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gcloud_pk.commands.base import Command, Invocation, operator_name, pass_invocation
from gcloud_pk.commands.connection import (
    allow_unregistered_option,
    open_api,
    open_registry,
    open_verifier,
    recognised,
    told_when_interrupted,
    wait_for_lock_option,
    warn_of_older,
)
from gcloud_pk.errors import ExitCode, GcloudPkError, PartialError, RefusedError, WrongUsageError
from gcloud_pk.text import number_of, stamp

if TYPE_CHECKING:
    from gcloud_pk.commands.connection import Connection
    from gcloud_pk.console import Console
    from gcloud_pk.model.resources import Suspended
    from gcloud_pk.onboarding.suspension import Restored, Scene
    from gcloud_pk.registry.entries import Entry
    from gcloud_pk.registry.folder import Registry
    from gcloud_pk.registry.suspension import Saved


@dataclass
class _Writer:
    """Writes down in the registry what a suspension takes, before it is taken."""

    connection: Connection
    console: Console
    name: str
    reason: str
    key: Path | None
    saved: Saved | None = None
    head: str | None = None
    _before: tuple[bytes | None, ...] = ()

    def __post_init__(self) -> None:
        self._before = self._files()

    def _files(self) -> tuple[bytes | None, ...]:
        from gcloud_pk.registry import suspension

        registry = self.fresh
        entry = registry.entry(self.name)
        return entry.state_file, entry.state_signature, entry.history_file, suspension.found(registry, entry)

    def written(self) -> bool:
        """Whether the tenant's folder has changed since: state, history, or what is saved."""
        return self._files() != self._before

    @property
    def fresh(self) -> Registry:
        """The registry as it is on disk now."""
        registry: Registry = self.connection.registry.open(self.connection.registry.path)
        return registry

    def actor(self) -> str:
        """Who acts: whose key it is, else who is logged in."""
        from gcloud_pk.registry import signatures
        from gcloud_pk.registry.approvers import STATE

        if self.key is None:
            return operator_name()
        registry = self.connection.registry
        return signatures.entitled(self.key, STATE, registry.approvers, registry.now).principal

    def save(self, how: Suspended, live: Sequence[Mapping[str, Any]]) -> tuple[str, str | None]:
        """Set the state, have the history name what is saved, save it; return since when it is so, and the head."""
        from gcloud_pk.registry import suspension
        from gcloud_pk.registry.suspension import Saved

        registry = self.fresh
        stands = registry.standing(registry.entry(self.name))
        record = stands.record
        stated = stands.state == "suspended" and record is not None and record.state == "suspended"
        if not stated or (self.key is not None and stands.signer is None):
            registry.set_state(self.name, "suspended", by=self.actor(), reason=self.reason, key=self.key)
            registry = self.fresh
        uid = self.connection.standing.uid
        if self.saved is None:
            before, strange = suspension.continued(registry, registry.entry(self.name))
            self.saved = before or Saved(self.name, uid, how)
            if strange is not None:
                aside = suspension.set_aside(registry, self.name, strange)
                self.console.warn(f"what lay in {suspension.FILE} is not what the history names; kept as {aside}")
            elif before is None and suspension.named(registry.entry(self.name).chain):
                self.console.warn(
                    "what an earlier run saved is gone; restore it from version control before it is resumed"
                )
        self.saved = self.saved.united(live, how)
        self.head = registry.record(
            self.name,
            "suspend",
            self.actor(),
            cluster=uid,
            detail={
                "reason": self.reason,
                "how": how,
                "saved": self.saved.digest,
                "objects": len(self.saved.objects),
            },
            once=True,
        )
        if suspension.found(registry, registry.entry(self.name)) != self.saved.data:
            suspension.put(registry, self.name, self.saved)
        return stamp(suspension.moment(self.fresh.entry(self.name))), self.head


@click.command(cls=Command)
@click.argument("name", metavar="TENANT")
@click.option("--reason", required=True, help="Why; recorded in the registry.")
@click.option("--quarantine", is_flag=True, help="Cut all traffic too; pods stay, for whoever looks into them.")
@click.option("--key", type=click.Path(path_type=Path), metavar="KEY", help="Sign the registry's state with this key.")
@click.option("--confirm", metavar="TENANT", help="The tenant's name again, instead of being asked.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@wait_for_lock_option
@allow_unregistered_option
@pass_invocation
def suspend(
    invocation: Invocation,
    name: str,
    reason: str,
    quarantine: bool,
    key: Path | None,
    confirm: str | None,
    yes: bool,
    wait_for_lock: float,
    allow_unregistered_cluster: bool,
) -> None:
    """Close a tenant without ending it: nobody of it has access, what runs goes on.

    Every RoleBinding of its namespaces is saved in the registry and removed; its identities are refused; with
    --quarantine nothing but the default deny is left of its network policies. Needs no approver, for it closes; whoever
    has it back needs one: gcloud-pk tenant resume.
    """
    from gcloud_pk.onboarding import suspension as closing

    _check_reason(reason)
    console = invocation.console
    connection = recognised(invocation, allow_unregistered=allow_unregistered_cluster, closing=True)
    entry = connection.registry.entry(name)
    before = connection.registry.standing(entry)
    if before.state == "offboarded":
        raise RefusedError(f"tenant {name} is offboarded", resolution="there is nothing left to suspend")
    scene = closing.look(connection.api, name)
    how = scene.tightest(_meant(connection.registry, entry, "quarantined" if quarantine else "suspended"))
    already = before.state == "suspended" and scene.is_closed(how)
    if confirm is not None and confirm != name:
        raise RefusedError(f"the confirmation says {confirm!r}, the tenant is {name!r}", resolution=f"--confirm {name}")
    writer = _Writer(connection, console, name, reason, key)
    if not already or (key is not None and before.signer is None):
        _show_scene(console, connection, scene, how)
        word = "Quarantine" if how == "quarantined" else "Suspend"
        console.confirm(f"{word} tenant {name}?", yes=yes or confirm == name, how=f"--confirm {name}")
        with told_when_interrupted(connection.api, "tenant suspend"):
            how, _ = closing.suspend(
                connection.api,
                name,
                how,
                save=writer.save,
                written=writer.written,
                wait_for_lock=wait_for_lock,
                say=console.note,
            )
        try:
            connection.give()
        except GcloudPkError as error:  # nothing delays a closing, and nothing fails it
            console.warn(f"{error.message}; tenant {name} is {how} all the same")
    if console.machine:
        console.document(
            {
                "tenant": name,
                "state": how,
                "already": already,
                "namespaces": [place.as_dict(how) for place in scene.places],
                "saved": writer.saved.digest if writer.saved else None,
                "objects": len(writer.saved.objects) if writer.saved else 0,
                "historyHead": writer.head,
            }
        )
        return
    console.show(f"tenant {name} is already {how}{_since(entry, scene, how)}" if already else f"tenant {name} is {how}")
    console.note(f"to have it back: gcloud-pk tenant resume {name} --reason TEXT --key KEY")


def _check_reason(reason: str) -> None:
    """Raise WrongUsageError for a reason that cannot be recorded, before anything is done."""
    from gcloud_pk.model.base import Line
    from gcloud_pk.registry.readings import fault

    if wrong := fault(Line, reason):
        raise WrongUsageError(f"--reason {wrong}")


def _since(entry: Entry, scene: Scene, how: Suspended) -> str:
    """Say since when a tenant is closed as it is, and since when at all."""
    from gcloud_pk.onboarding.closures import closed_since
    from gcloud_pk.registry.suspension import closed_as

    line = closed_as(entry.chain, how)
    first = min((one.time for one in entry.chain.closed), default=None)
    if line is None:
        return f" since {closed_since(scene.parent)}"
    earlier = f" (suspended since {stamp(first)})" if first is not None and first < line.time else ""
    return f" since {stamp(line.time)}{earlier}"


def _meant(registry: Registry, entry: Entry, asked: Suspended) -> Suspended:
    """Return how a tenant is to be closed: as asked, or as an earlier run that was cut short meant it."""
    from gcloud_pk.registry import suspension

    before, _ = suspension.continued(registry, entry)
    return "quarantined" if before is not None and before.how == "quarantined" else asked


def _show_scene(console: Console, connection: Connection, scene: Scene, how: Suspended) -> None:
    console.show(f"tenant {scene.tenant} on {connection.standing.describe()}:")
    for place in scene.places:
        flows = f"{len(place.flows)} network policies removed, " if how == "quarantined" else ""
        bindings = number_of(len(place.bindings), "role binding")
        console.show(f"  {place.namespace}: {bindings} saved and removed, {flows}{number_of(place.pods, 'pod')} kept")
    if not scene.places:
        console.show("  nothing; the registry alone will say so")


@click.command(cls=Command)
@click.argument("name", metavar="TENANT")
@click.option("--reason", required=True, help="Why; recorded in the registry.")
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    metavar="KEY",
    help="An approver's key. Not needed where state.yaml says active already, signed since.",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@wait_for_lock_option
@allow_unregistered_option
@pass_invocation
def resume(
    invocation: Invocation,
    name: str,
    reason: str,
    key: Path | None,
    yes: bool,
    wait_for_lock: float,
    allow_unregistered_cluster: bool,
) -> int:
    """Give a suspended tenant back what it had, exactly as it was; an approver signs that.

    What was saved must be what the history names. Access comes last. A binding that the policies refuse today (its
    group left the request, say) is named and left out, the others come back: exit 8. Where only the signature is lost,
    because its key was revoked, say, and the cluster is open, it is signed anew and nothing else changes.
    """
    from gcloud_pk.onboarding import suspension as closing
    from gcloud_pk.onboarding.closures import closed_since, is_opened
    from gcloud_pk.onboarding.provenance import head_of
    from gcloud_pk.registry import suspension

    _check_reason(reason)
    console = invocation.console
    connection = recognised(invocation, allow_unregistered=allow_unregistered_cluster)
    registry, uid = connection.registry, connection.standing.uid
    entry = registry.entry(name)
    registry.check_chain(entry)
    stands = registry.standing(entry)
    scene = closing.look(connection.api, name)
    since = closed_since(scene.parent)
    is_open = since is None and not any(place.suspended for place in scene.places)
    if stands.state == "active" and is_open:
        suspension.clear(registry, name)
        return _done(console, name, closing.Restored(), already=True)
    if stands.state not in {"suspended", "active", None}:
        raise RefusedError(f"tenant {name} is {stands.state}, not suspended")
    _check_head(entry, scene)
    lost = stands.state is None or (stands.state == "suspended" and stands.record is None)
    if lost and is_open and suspension.is_resumed(entry.chain):
        _renew(connection, console, _Writer(connection, console, name, reason, key), yes=yes, wait=wait_for_lock)
        return ExitCode.DONE
    saved = suspension.intact(registry, entry, head_of(scene.parent))
    if saved.cluster != uid:
        raise RefusedError(
            f"tenant {name} was suspended on the cluster of UID {saved.cluster}; this is {uid}",
            resolution="choose that cluster with --kubeconfig or --context",
        )
    signed = stands.state == "active" and (since is None or is_opened(stands, since))
    if key is None and not signed:
        raise _unsigned(name)
    writer = _Writer(connection, console, name, reason, key)
    writer.actor()  # who may not is told before anything is done
    number = number_of(len(saved.objects), "object")
    console.confirm(f"Give {number} back to {name} on {connection.standing.describe()}?", yes=yes)

    def opened() -> None:
        if key is not None and not signed:
            registry.set_state(name, "active", by=operator_name(), reason=reason, key=key)
            now = writer.fresh
            if since is not None and not is_opened(now.standing(now.entry(name)), since):
                raise RefusedError(
                    f"the signed state of tenant {name} is older than its suspension ({since})",
                    resolution="set this machine's clock, then run it again",
                )

    def record(restored: Restored) -> str:
        detail: dict[str, str | int] = {"reason": reason, "saved": saved.digest, "restored": len(restored.created)}
        if restored.refused:
            detail["refused"] = len(restored.refused)
        said = writer.fresh.entry(name).state[0]
        return registry.record(
            name, "resume", said.by if said else writer.actor(), cluster=uid, detail=detail, once=True
        )

    connection.give()
    with told_when_interrupted(connection.api, "tenant resume"):
        restored = closing.resume(
            connection.api, name, saved.objects, head=head_of(scene.parent), opened=opened, record=record,
            wait_for_lock=wait_for_lock, say=console.note,
        )  # fmt: skip
    refused = tuple(one for one, _ in restored.refused)
    suspension.clear(registry, name, suspension.Saved(name, uid, saved.how, refused) if refused else None)
    return _done(console, name, restored)


def _unsigned(name: str) -> RefusedError:
    return RefusedError(
        f"only an approver opens tenant {name} again, by his signature",
        resolution=f"gcloud-pk tenant resume {name} --reason TEXT --key KEY",
    )


def _renew(connection: Connection, console: Console, writer: _Writer, *, yes: bool, wait: float) -> None:
    """Have an approver sign anew that a tenant is active, which is open here and whose state does not hold."""
    from gcloud_pk.onboarding import suspension as closing

    name, registry = writer.name, connection.registry
    if writer.key is None:
        raise _unsigned(name)
    principal = writer.actor()
    console.show(f"tenant {name} is open on {connection.standing.describe()}, and its state does not hold:")
    for wrong in registry.standing(registry.entry(name)).problems:
        console.show(f"  {wrong}")
    console.confirm(f"Sign anew that tenant {name} is active?", yes=yes)

    def opened() -> None:
        writer.fresh.set_state(name, "active", by=operator_name(), reason=writer.reason, key=writer.key)

    def record() -> str:
        detail = {"reason": writer.reason, "renewed": "state"}
        return registry.record(name, "resume", principal, cluster=connection.standing.uid, detail=detail)

    connection.give()
    with told_when_interrupted(connection.api, "tenant resume"):
        closing.renew(connection.api, name, opened=opened, record=record, wait_for_lock=wait)
    if console.machine:
        console.document(
            {
                "tenant": name,
                "state": "active",
                "already": False,
                "renewed": True,
                "restored": [],
                "present": [],
                "gone": [],
                "refused": [],
            }
        )
        return
    console.show(f"tenant {name} is active, signed by {principal}; nothing on the cluster was closed")


def _check_head(entry: Entry, scene: Scene) -> None:
    """Refuse a history that is not the one which the cluster knows: whoever wrote another could name another file."""
    from gcloud_pk.onboarding.provenance import head_of

    head = head_of(scene.parent)
    if head is not None and head not in entry.chain.hashes:
        raise RefusedError(
            f"the history of tenant {entry.name} lacks the line that its Tenant names (SHA-256 {head})",
            details=[f"{entry.chain.file} was cut short or written anew, or another operator's lines are not here yet"],
            resolution="fetch the registry's latest state; if it stays so: gcloud-pk registry history "
            f"{entry.name} --verify",
        )


def _done(console: Console, name: str, restored: Restored, *, already: bool = False) -> int:
    error = None
    if restored.refused:
        error = PartialError(
            f"tenant {name} is resumed, but for {number_of(len(restored.refused), 'object')} that is refused now",
            details=[why for _, why in restored.refused],
            resolution="the tenant's admins make them anew within today's request; they are kept in "
            f"tenants/{name}/suspended/refused.json",
        )
    if console.machine:
        document: dict[str, Any] = {
            "tenant": name,
            "state": "active",
            "already": already,
            "renewed": False,
            "restored": sorted(restored.created),
            "present": sorted(restored.present),
            "gone": sorted(restored.gone),
            "refused": [{"object": _named(one), "reason": why} for one, why in restored.refused],
        }
        if error is not None:
            document["error"] = error.as_dict()
        console.document(document)
        return int(error.code if error else ExitCode.DONE)
    if error is not None:
        raise error
    for gone in restored.gone:
        console.warn(f"left out, its namespace is gone: {gone}")
    if already:
        console.show(f"tenant {name} is not suspended; nothing to do")
        return ExitCode.DONE
    console.show(
        f"tenant {name} is resumed: {len(restored.created)} objects given back, {len(restored.present)} were there"
    )
    console.note(f"next: gcloud-pk tenant verify {name}")
    return ExitCode.DONE


def _named(one: Mapping[str, Any]) -> str:
    return f"{one['kind']} {one['metadata'].get('namespace', '')}/{one['metadata']['name']}"


def verify_suspended(invocation: Invocation, name: str) -> int | None:
    """Verify that a suspended tenant is closed; return the exit code, None where neither side says it is suspended."""
    from gcloud_pk.cluster.identity import cluster_uid
    from gcloud_pk.cluster.kinds import TENANT
    from gcloud_pk.evidence.report import present, report
    from gcloud_pk.lab.state import known_uids
    from gcloud_pk.model.finding import count, exit_code
    from gcloud_pk.onboarding.closed import verify_closed
    from gcloud_pk.onboarding.closures import closed_since
    from gcloud_pk.onboarding.standing import observe
    from gcloud_pk.proof.whoami import operator

    console = invocation.console
    registry, api = open_registry(invocation), open_api(invocation)
    entry = registry.entry(name)
    uid = cluster_uid(api)
    standing = observe(registry, uid, labs=known_uids(), trust=invocation.trust)
    answer = api.request("GET", TENANT.path(name=name))
    parent = answer.body if answer.ok else None
    if parent is None or (registry.standing(entry).state != "suspended" and closed_since(parent) is None):
        return None
    warn_of_older(invocation, api, standing.trust)
    started = dt.datetime.now(dt.UTC)
    verifier = open_verifier(invocation)
    who = operator(verifier)
    findings = verify_closed(verifier, name, parent)
    made = report("tenant", findings, operator=who, started=started, finished=dt.datetime.now(dt.UTC), omitted=[])
    counts = {verdict: number for verdict, number in count(findings).items() if number}
    try:
        registry.record(name, "verify", operator_name(), cluster=uid, detail={"suite": "suspended", **counts})
    except GcloudPkError as error:
        console.warn(f"tenant {name}: verify was not recorded in its history: {error.message}")
    present(console, made)
    return exit_code(findings)
