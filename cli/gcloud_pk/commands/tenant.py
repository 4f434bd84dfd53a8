"""`gcloud-pk tenant`: what is in place, whether it is as asked, and the way out."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from gcloud_pk.commands.base import Group, Invocation, operator_name, pass_invocation
from gcloud_pk.commands.connection import (
    Connection,
    allow_unregistered_option,
    open_api,
    open_registry,
    open_verifier,
    recognised,
    told_when_interrupted,
    warn_of_older,
)
from gcloud_pk.commands.ministry import kubeconfig, welcome
from gcloud_pk.commands.suspension import resume, suspend, verify_suspended
from gcloud_pk.console import somebody_answers
from gcloud_pk.errors import ExitCode, GcloudPkError, RefusedError
from gcloud_pk.onboarding.absence import not_in_place

if TYPE_CHECKING:
    from gcloud_pk.console import Console
    from gcloud_pk.onboarding.run import Prepared
    from gcloud_pk.registry.folder import Registry


@click.group(cls=Group)
def tenant() -> None:
    """List, show, compare, verify, suspend and offboard tenants."""


tenant.add_command(suspend)
tenant.add_command(resume)
tenant.add_command(kubeconfig)
tenant.add_command(welcome)


@tenant.command("list")
@pass_invocation
def list_(invocation: Invocation) -> None:
    """List the tenants of the cluster, those the registry knows and the cluster lacks, and what nobody answers for."""
    from gcloud_pk.cluster.kinds import NAMESPACE
    from gcloud_pk.model.labels import TENANT
    from gcloud_pk.onboarding.account import account
    from gcloud_pk.onboarding.closures import unfinished as unfinished_of
    from gcloud_pk.onboarding.population import tenants_in_place

    console, api = invocation.console, open_api(invocation)
    in_place = tenants_in_place(api)
    orphans = sorted(
        live["metadata"]["name"]
        for live in api.list(NAMESPACE, selector=TENANT)
        if live["metadata"]["labels"][TENANT] not in in_place
    )
    absent: list[dict[str, str]] = []
    unknown: list[str] = []
    unfinished: dict[str, str] = {}
    registry = None
    if invocation.registry.is_dir():
        registry = open_registry(invocation)
        registry.verify_all()
        unfinished = {
            name: wrong
            for name, live in in_place.items()
            if name in registry.tenants
            and (wrong := unfinished_of(name, live, registry.standing(registry.entry(name)))) is not None
        }
        absent = [
            {"name": name, "state": registry.status(entry)}
            for name, entry in registry.tenants.items()
            if name not in in_place
        ]
        unknown = sorted(set(in_place) - set(registry.tenants))
    accounts = {name: account(live, registry, name) for name, live in sorted(in_place.items())}
    rows = [
        _row(name, in_place[name]) | {"suspension": said.as_dict() if said else None} for name, said in accounts.items()
    ]
    if console.machine:
        console.document(
            {
                "tenants": rows,
                "absent": absent,
                "unknown": unknown,
                "orphans": orphans,
                "unfinished": sorted(unfinished),
            }
        )
        return
    if rows:
        console.table(
            ("TENANT", "ORGANISATION", "CLASS", "ISOLATION", "SITE", "REVISION", "PHASE", "ENVIRONMENTS", "REVIEW"),
            [
                (r["name"], r["organisation"], r["classification"], r["isolation"], r["site"] or "-", r["revision"],
                 r["phase"] or "-", len(r["namespaces"]),
                 (r["reviewAfter"] or "-") + (" (overdue)" if r["reviewOverdue"] else ""))
                for r in rows
            ],
        )  # fmt: skip
    else:
        console.show("no tenant on this cluster; gcloud-pk onboard TENANT brings one")
    for name, said in accounts.items():
        if said is not None and name not in unfinished:
            console.show(f"{name}: {said}")
    for wrong in unfinished.values():
        console.warn(wrong)
    for one in absent:
        console.show(f"not on this cluster: {one['name']} ({one['state']})")
    for name in unknown:
        console.show(f"not in the registry: {name}")
    for name in orphans:
        console.warn(f"namespace {name} is a tenant's, and its Tenant object is gone; gcloud-pk onboard brings it back")


def _row(name: str, live: dict[str, Any]) -> dict[str, Any]:
    from gcloud_pk.model.advice import is_overdue

    spec, status = live.get("spec", {}), live.get("status") or {}
    return {
        "name": name,
        "organisation": spec.get("organisation"),
        "classification": spec.get("classification"),
        "isolation": spec.get("isolation"),
        "site": spec.get("site"),
        "revision": spec.get("revision"),
        "requestDigest": spec.get("requestDigest"),
        "phase": status.get("phase"),
        "acceptedAt": status.get("acceptedAt"),
        "approvers": status.get("approvers", []),
        "namespaces": [e["namespace"] for e in spec.get("environments", ())],
        "retired": status.get("retired", []),
        "suspendedAt": status.get("suspendedAt"),
        "reviewAfter": spec.get("reviewAfter"),
        "reviewOverdue": is_overdue(spec.get("reviewAfter"), dt.datetime.now(dt.UTC).date()),
    }


@tenant.command()
@click.argument("name", metavar="TENANT")
@pass_invocation
def show(invocation: Invocation, name: str) -> None:
    """Show one tenant: what was accepted, its namespaces, what they use of their quotas."""
    from gcloud_pk.onboarding.account import account
    from gcloud_pk.onboarding.closures import unfinished
    from gcloud_pk.onboarding.population import survey

    console = invocation.console
    population = survey(open_api(invocation), [name])
    parent = population.parent(name)
    if parent is None:
        raise not_in_place(name)
    registry = open_registry(invocation) if invocation.registry.is_dir() else None
    said = account(parent, registry, name)
    row = _row(name, parent) | {"suspension": said.as_dict() if said else None}
    if (
        registry is not None
        and name in registry.tenants
        and (wrong := unfinished(name, parent, registry.standing(registry.entry(name)))) is not None
    ):
        console.warn(wrong)
    quotas = [
        {
            "namespace": key.namespace,
            "resource": resource,
            "used": live.get("status", {}).get("used", {}).get(resource),
            "hard": hard,
        }
        for key, live in sorted(population.of(name).items())
        if key.kind.kind == "ResourceQuota" and key.name == "tenant"
        for resource, hard in live["spec"]["hard"].items()
    ]
    if console.machine:
        console.document({**row, "quota": quotas})
        return
    for label, value in (
        ("tenant", name), ("organisation", row["organisation"]), ("class", row["classification"]),
        ("isolation", row["isolation"]), ("site", row["site"] or "-"), ("revision", row["revision"]),
        ("request", f"SHA-256 {row['requestDigest']}"), ("accepted", row["acceptedAt"] or "-"),
        ("approved by", ", ".join(row["approvers"]) or "-"), ("phase", row["phase"] or "-"),
        ("suspension", said or "-"), ("namespaces", ", ".join(row["namespaces"])),
        ("retired", ", ".join(row["retired"]) or "-"),
        ("review after", (row["reviewAfter"] or "-") + (" (overdue)" if row["reviewOverdue"] else "")),
    ):  # fmt: skip
        console.show(f"{label + ':':14} {value}")
    shown = ("pods", "requests.cpu", "requests.memory", "requests.storage", "persistentvolumeclaims", "secrets")
    console.table(
        ("NAMESPACE", "RESOURCE", "USED", "OF"),
        [
            (q["namespace"], q["resource"], q["used"] or "-", q["hard"])
            for q in quotas
            if q["resource"] in shown or console.verbosity
        ],
    )


@dataclass(frozen=True)
class _Observed:
    """A tenant's plan, with the registry and the cluster's Tenant objects that it was made from."""

    registry: Registry
    in_place: dict[str, dict[str, Any]]
    prepared: Prepared
    cluster: str
    """UID."""


def _observed(invocation: Invocation, name: str) -> _Observed:
    """Plan one tenant as onboarding would, for reading only: the cluster need not be writable by this registry."""
    from gcloud_pk.cluster.identity import cluster_uid
    from gcloud_pk.lab.state import known_uids
    from gcloud_pk.onboarding.intake import take_in
    from gcloud_pk.onboarding.population import tenants_in_place
    from gcloud_pk.onboarding.run import prepare
    from gcloud_pk.onboarding.standing import observe

    registry, api = open_registry(invocation), open_api(invocation)
    uid = cluster_uid(api)
    standing = observe(registry, uid, labs=known_uids(), trust=invocation.trust)
    warn_of_older(invocation, api, standing.trust)
    in_place = tenants_in_place(api)
    intake = take_in(registry, standing, [name], in_place, going_on=True)
    for note in intake.notes:
        invocation.console.warn(note)
    return _Observed(registry, in_place, prepare(api, intake.tenants)[0], uid)


@tenant.command()
@click.argument("name", metavar="TENANT")
@pass_invocation
def diff(invocation: Invocation, name: str) -> int:
    """Compare a tenant with what its approved request implies. Exit 6 where they differ; writes nothing."""
    from gcloud_pk.cluster.plan import Action
    from gcloud_pk.commands.onboard import show_plan

    console = invocation.console
    prepared = _observed(invocation, name).prepared
    counts = prepared.plan.counts()
    if console.machine:
        console.document(
            {
                "name": name,
                "changes": counts,
                "objects": [
                    {
                        "action": change.action.value,
                        "kind": change.key.kind.kind,
                        "namespace": change.key.namespace,
                        "name": change.key.name,
                        "fields": [
                            {"path": f.path, "desired": f.after, "live": f.before, "manager": f.manager}
                            for f in change.fields
                        ],
                    }
                    for change in prepared.plan.changes
                    if change.action is not Action.KEEP
                ],
            }
        )
    else:
        show_plan(console, [prepared], [])
        if not prepared.stages.writes():
            console.show("as asked: no difference")
        else:
            console.show(f"differs; gcloud-pk onboard {name} mends it")
    return ExitCode.FAILED if prepared.stages.writes() else ExitCode.DONE


@tenant.command(junit=True)
@click.argument("name", metavar="TENANT")
@click.option("--quick", is_flag=True, help="Only what onboard checks: every wall once.")
@pass_invocation
def verify(invocation: Invocation, name: str, quick: bool) -> int:
    """Verify on the live cluster, as the tenant's own identities, that its walls stand. Writes nothing that stays.

    Exit 6 where a check failed, 7 where something could not be checked. The registry's history counts the verdicts.
    Of a suspended tenant it verifies that it is closed: no bindings, no rights, refused by policy, traffic denied.
    """
    from gcloud_pk.commands.recording import Recorder, stray_heads
    from gcloud_pk.evidence.report import present, report
    from gcloud_pk.model.finding import exit_code
    from gcloud_pk.onboarding.verification import verification
    from gcloud_pk.proof.verify import omitted
    from gcloud_pk.proof.whoami import operator

    console = invocation.console
    started = dt.datetime.now(dt.UTC)
    if (closed := verify_suspended(invocation, name)) is not None:
        return closed
    seen = _observed(invocation, name)
    if name not in seen.in_place:
        entry = seen.registry.tenants.get(name)
        raise not_in_place(name, seen.registry.standing(entry).state if entry else None)
    for warning in stray_heads(seen.registry, [name], seen.in_place):
        console.warn(warning)
    verifier = open_verifier(invocation)
    who = operator(verifier)
    check = verification(verifier, seen.registry, seen.in_place, [seen.prepared.tenant], quick=quick)
    findings = check(seen.prepared.tenant, seen.prepared.retired)
    made = report(
        "tenant",
        findings,
        operator=who,
        started=started,
        finished=dt.datetime.now(dt.UTC),
        omitted=omitted(quick=quick),
    )
    Recorder(seen.registry, console, seen.cluster).verify(seen.prepared.tenant, findings, quick=quick)
    present(console, made)
    return exit_code(findings)


@tenant.command()
@click.argument("name", metavar="TENANT")
@click.option("--environment", metavar="E", help="Only this environment; it must have left the request.")
@click.option("--confirm", metavar="TENANT", help="The tenant's name again, instead of being asked.")
@click.option("--delete-data", is_flag=True, help="Delete although pods or claims exist.")
@click.option("--reason", default="offboarded by the platform", show_default=True, help="Recorded in the registry.")
@click.option("--key", type=click.Path(), metavar="KEY", help="Sign the registry's state with this key.")
@click.option("--timeout", type=click.FloatRange(min=1), default=300.0, show_default=True, metavar="SECONDS")
@allow_unregistered_option
@pass_invocation
def offboard(
    invocation: Invocation,
    name: str,
    environment: str | None,
    confirm: str | None,
    delete_data: bool,
    reason: str,
    key: str | None,
    timeout: float,
    allow_unregistered_cluster: bool,
) -> None:
    """Take a tenant (or a retired environment) off the cluster, after naming what it holds.

    Access goes first, then the namespaces, then the Tenant; afterwards nothing with the tenant's label remains.
    The registry keeps the request and says `offboarded`: onboard --all does not bring it back.
    """
    from gcloud_pk.onboarding.offboarding import held, refuse_data, rehearse, survey_one, targets
    from gcloud_pk.onboarding.offboarding import offboard as take_off

    console = invocation.console
    connection = recognised(invocation, allow_unregistered=allow_unregistered_cluster)
    api = connection.api
    population = survey_one(api, name)
    known = name in connection.registry.tenants
    if not population.of(name) and not known:
        raise not_in_place(name)
    namespaces = sorted(targets(population, name, environment).values())
    counts = held(api, namespaces, population, name)
    console.show(f"tenant {name} on {connection.standing.describe()} holds:")
    for one in counts:
        console.show(f"  {one}")
    if not counts:
        console.show("  nothing")
    refuse_data(counts, delete_data=delete_data)
    rehearse(api, name, namespaces)
    _confirm_name(name, confirm)
    whole = environment is None
    if whole and not known:
        console.warn(f"the registry does not know {name}; no state is recorded")
    record = None
    if known:
        record = (
            partial(_record, connection, name, reason, key)
            if environment is None
            else partial(_record_environment, connection, console, name, environment, reason)
        )
    connection.give()
    with told_when_interrupted(api, "tenant offboard"):
        retained = take_off(api, name, namespaces, whole=whole, record=record, timeout=timeout, say=console.note)
    if console.machine:
        console.document(
            {
                "tenant": name,
                "environment": environment,
                "namespaces": namespaces,
                "residue": [],  # where something is left, `take_off` has raised and named it
                "retained": retained,
            }
        )
        return
    for volume in retained:
        console.warn(f"left for you to decide about: {volume}")
    what = f"environment {environment} of tenant {name}" if environment else f"tenant {name}"
    console.show(f"{what} is off the cluster" + ("" if environment else "; nothing with its label remains"))
    if environment is not None:
        console.note(f"next: gcloud-pk onboard {name}, so that its Tenant says so too")


def _confirm_name(name: str, confirm: str | None) -> None:
    if confirm is None and somebody_answers():
        confirm = click.prompt(
            f"Type the tenant's name to delete all this ({name})", default="", show_default=False, err=True
        )
    if confirm != name:
        raise RefusedError(
            "the confirmation is missing"
            if not confirm
            else f"the confirmation says {confirm!r}, the tenant is {name!r}",
            resolution=f"--confirm {name}",
        )


def _record(connection: Connection, name: str, reason: str, key: str | None) -> str:
    """Write `offboarded` before anything is deleted: a run killed in the middle is not undone by `onboard --all`."""
    from pathlib import Path

    registry = connection.registry
    registry.set_state(name, "offboarded", by=operator_name(), reason=reason, key=Path(key) if key else None)
    said = registry.open(registry.path).entry(name).state[0]
    return registry.record(
        name,
        "offboard",
        said.by if said else operator_name(),
        cluster=connection.standing.uid,
        detail={"reason": reason},
        once=True,
    )


def _record_environment(
    connection: Connection, console: Console, name: str, environment: str, reason: str
) -> str | None:
    """Record that an environment goes, return the head; a registry that cannot be written does not stop a closing."""
    try:
        return connection.registry.record(
            name,
            "offboard",
            operator_name(),
            cluster=connection.standing.uid,
            detail={"environment": environment, "reason": reason},
            once=True,
        )
    except GcloudPkError as error:
        console.warn(f"tenant {name}: offboard was not recorded in its history: {error.message}")
        return None
