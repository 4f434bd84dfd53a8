"""`gcloud-pk onboard`: the main job."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gcloud_pk.commands.adopting import adopt_options, look_ahead
from gcloud_pk.commands.base import Command, Invocation, pass_invocation
from gcloud_pk.commands.connection import (
    Connection,
    allow_unregistered_option,
    open_registry,
    open_verifier,
    recognised,
    told_when_interrupted,
    wait_for_lock_option,
)
from gcloud_pk.errors import ExitCode, GcloudPkError, RefusedError, WrongUsageError

if TYPE_CHECKING:
    from gcloud_pk.cluster.transport import Api
    from gcloud_pk.console import Console
    from gcloud_pk.model.finding import Finding
    from gcloud_pk.model.tenant import Tenant
    from gcloud_pk.onboarding.intake import Intake, Skipped
    from gcloud_pk.onboarding.run import Outcome, Prepared

REMOVAL_LIMIT = 0.05
"""Share of what is in place that `--all` removes without being told how many."""


@click.command(cls=Command)
@click.argument("tenants", nargs=-1, metavar="TENANT…")
@click.option("--all", "everyone", is_flag=True, help="Every approved tenant whose site is this cluster.")
@click.option("--dry-run", is_flag=True, help="Show the plan; change nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--output-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write the manifests to DIR for GitOps instead of applying them; no cluster is needed.",
)
@click.option("--no-verify", is_flag=True, help="Do not verify the isolation afterwards.")
@click.option(
    "--allow-removals",
    type=click.IntRange(min=0),
    metavar="N",
    help="With --all: remove up to N objects even if that is over 5 % of what is in place.",
)
@click.option(
    "--force-conflicts", is_flag=True, help="Take over fields that another applier (such as a GitOps tool) owns."
)
@wait_for_lock_option
@adopt_options
@allow_unregistered_option
@pass_invocation
def onboard(
    invocation: Invocation,
    tenants: tuple[str, ...],
    everyone: bool,
    dry_run: bool,
    yes: bool,
    output_dir: Path | None,
    no_verify: bool,
    allow_removals: int | None,
    force_conflicts: bool,
    wait_for_lock: float,
    adopt: tuple[str, ...],
    remove_openings: bool,
    allow_unregistered_cluster: bool,
) -> int:
    """Bring approved requests to the cluster: plan, confirm, apply, verify.

    Shows what would be created, changed (field by field), removed and left; asks; applies controls before access;
    verifies the isolation as the tenant's own identities. A second run changes nothing.

    \b
    gcloud-pk onboard moitt --dry-run
    gcloud-pk onboard --all --yes
    gcloud-pk onboard moitt --output-dir manifests/
    """  # noqa: D301 - Click reads the backspace as: keep these lines
    if everyone == bool(tenants):
        raise WrongUsageError(
            "name tenants, or give --all", resolution="gcloud-pk onboard moitt, or gcloud-pk onboard --all"
        )
    names = None if everyone else tenants
    if adopt and (len(tenants) != 1 or output_dir is not None):
        raise WrongUsageError("--adopt is for one tenant by name, and for a cluster")
    if remove_openings and not adopt:
        raise WrongUsageError("--remove-openings goes with --adopt")
    if output_dir is not None:
        if dry_run:
            raise WrongUsageError(
                "--output-dir writes files and no cluster; with --dry-run nothing would be left to do"
            )
        return _write_folder(invocation, names, output_dir)
    return _apply(
        invocation,
        recognised(invocation, allow_unregistered=allow_unregistered_cluster),
        names,
        dry_run=dry_run,
        yes=yes,
        verify=not no_verify,
        allow_removals=allow_removals,
        force_conflicts=force_conflicts,
        wait_for_lock=wait_for_lock,
        adopt=adopt,
        remove_openings=remove_openings,
    )


def _apply(
    invocation: Invocation,
    connection: Connection,
    names: Sequence[str] | None,
    *,
    dry_run: bool,
    yes: bool,
    verify: bool,
    allow_removals: int | None,
    force_conflicts: bool,
    wait_for_lock: float,
    adopt: Sequence[str] = (),
    remove_openings: bool = False,
) -> int:
    from gcloud_pk.cluster.waiting import policies_in_force
    from gcloud_pk.cluster.write import refuse_conflicts
    from gcloud_pk.commands.recording import Recorder, lost_histories, stray_heads
    from gcloud_pk.onboarding.closures import tombstones
    from gcloud_pk.onboarding.intake import take_in
    from gcloud_pk.onboarding.platform import IN_FORCE_PATIENCE, check_intact
    from gcloud_pk.onboarding.population import survey
    from gcloud_pk.onboarding.run import Run, prepare, summary_error
    from gcloud_pk.onboarding.verification import verification
    from gcloud_pk.render.platform import platform_message

    console, api = invocation.console, connection.api
    started = time.perf_counter()
    in_place = tenants_in_place_or_none(api)
    policies_in_force(api, platform_message(), timeout=IN_FORCE_PATIENCE)
    check_intact(api)
    intake = take_in(connection.registry, connection.standing, names, in_place, buried=tombstones(api))
    for note in (
        *intake.notes,
        *reviews_due(intake.tenants),
        *lost_histories(connection.registry, [t.name for t in intake.tenants]),
        *stray_heads(connection.registry, [t.name for t in intake.tenants], in_place),
    ):
        console.warn(note)
    population = survey(api, [t.name for t in intake.tenants] if names is not None else None)
    prospect = look_ahead(invocation, api, intake.tenants[0], adopt, remove_openings=remove_openings) if adopt else None
    prepared = prepare(api, intake.tenants, population=population, adopting=adopt)
    phases = {"plan": time.perf_counter() - started, "apply": 0.0}
    show_plan(console, prepared, intake.skipped)
    if prospect is not None:
        prospect.show(console)
    if names is None:
        refuse_many_removals(
            prepared, population_size=sum(len(o) for o in population.objects.values()), allowed=allow_removals
        )
    if not force_conflicts:
        refuse_conflicts([change for one in prepared for change in one.stages.writes()])
    writes = sum(len(one.stages.writes()) for one in prepared)
    outcomes: list[Outcome] = []
    if dry_run:
        outcomes = [_planned(one) for one in prepared]
    else:
        if writes:
            console.confirm(f"Apply {writes} changes to {connection.standing.describe()}?", yes=yes)
        check = (
            verification(open_verifier(invocation), connection.registry, in_place, intake.tenants, quick=True)
            if verify
            else None
        )
        with console.progress("onboarding", writes + (len(prepared) if check else 0)) as progress:

            def watched(tenant: Tenant, retired: Sequence[str]) -> list[Finding]:
                findings = check(tenant, retired) if check else []
                progress.advance(note=f"verified {tenant.name}")
                return findings

            connection.give()
            recorder = Recorder(connection.registry, console, connection.standing.uid)
            run = Run(
                api,
                force_conflicts=force_conflicts,
                wait_for_lock=wait_for_lock,
                verify=watched if check else None,
                record=recorder.onboard,
                still_open=connection.registry.check_still_open,
                on_done=lambda change, _answer: progress.advance(note=str(change.key)),
            )
            began = time.perf_counter()
            with told_when_interrupted(api, "the same command"):
                outcomes = run.onboard(prepared)
            phases["apply"] = time.perf_counter() - began
        brought = {tenant.name: tenant for tenant in intake.tenants}
        for outcome in outcomes:
            if outcome.error is None:
                tenant = brought[outcome.name]
                _keep(connection, outcome.name, tenant.digest, intake.moments.get(outcome.name), console)
                if outcome.name in recorder.onboarded and outcome.findings:
                    recorder.verify(tenant, outcome.findings, quick=True)
    error = summary_error(outcomes, persisted=api.persisted)
    if error is not None and not console.machine:
        show_outcomes(console, outcomes, applied=not dry_run)
        raise error
    phases["total"] = time.perf_counter() - started
    told = {"adoption": prospect.as_dict()} if prospect is not None else {}
    return _finish(console, outcomes, intake, phases, error, applied=not dry_run, more=told)


def tenants_in_place_or_none(api: Api) -> dict[str, dict[str, Any]]:
    """Return the cluster's tenants; none where the platform is not installed yet (the canary says so next)."""
    from gcloud_pk.cluster.answer import NotFoundError
    from gcloud_pk.onboarding.population import tenants_in_place

    try:
        return tenants_in_place(api)
    except NotFoundError:
        return {}


def _keep(connection: Connection, name: str, digest: str, at: dt.datetime | None, console: Console) -> None:
    """Keep the accepted request in the registry; a read-only checkout must not stop a repair."""
    from gcloud_pk.errors import GcloudPkError

    entry = connection.registry.entry(name)
    if digest != entry.digest or any(kept.digest == digest for kept in entry.history):
        return  # kept already, or it is the accepted one that goes on while another waits
    try:
        connection.registry.keep(name, at)
    except GcloudPkError as error:
        console.warn(f"tenant {name}: the accepted request was not kept in the registry: {error.message}")


def reviews_due(tenants: Sequence[Tenant]) -> list[str]:
    """Return a warning for each tenant whose review is due; it is onboarded all the same."""
    from gcloud_pk.model.advice import is_overdue

    today = dt.datetime.now(dt.UTC).date()
    return [
        f"tenant {tenant.name}: its review was due on {day}; ask its owner for a new revision, or suspend it"
        for tenant in tenants
        if (day := tenant.request.spec.review_after) is not None and is_overdue(day.isoformat(), today)
    ]


def _planned(prepared: Prepared) -> Outcome:
    from gcloud_pk.onboarding.run import Outcome

    seconds = {"plan": prepared.seconds, "apply": 0.0, "verify": 0.0, "total": prepared.seconds}
    return Outcome(
        prepared.tenant.name, list(prepared.tenant.request.namespaces()), prepared.plan.counts(), seconds=seconds
    )


def refuse_many_removals(prepared: Sequence[Prepared], *, population_size: int, allowed: int | None) -> None:
    """Refuse a run of `--all` that would remove over 5 % of what is in place."""
    from gcloud_pk.onboarding.stages import removal_share

    removed = removal_share([change for one in prepared for change in one.plan.changes])[0]
    limit = REMOVAL_LIMIT * population_size if allowed is None else allowed
    if removed > limit:
        raise RefusedError(
            f"this would remove {removed} of {population_size} objects in place; nothing was written",
            details=[str(c.key) for one in prepared for c in one.plan.changes if c.action == "remove"][:20],
            resolution=f"if that is meant: --allow-removals {removed}",
        )


def show_plan(console: Console, prepared: Sequence[Prepared], skipped: Sequence[Skipped]) -> None:
    """Show what a run would do: removals and field changes in full, creations counted (listed with -v)."""
    from gcloud_pk.cluster.plan import Action
    from gcloud_pk.onboarding import waivers

    for one in prepared:
        counts = one.plan.counts()
        new = all(change.live is None for change in one.plan.changes)
        spec = one.tenant.request.spec
        head = (
            f"{one.tenant.name}  ({spec.organisation}, {spec.classification}, revision {one.tenant.revision}, "
            f"{len(spec.environments)} environments)  "
            + ", ".join(f"{number} {what}" for what, number in counts.items() if number or what == "unchanged")
        )
        if one.stages.writes() or console.verbosity or len(prepared) <= 10:
            console.show_styled(console.styled(head, bold=True))
        for name in one.retired:
            console.show_styled(
                console.styled(f"  ! environment {name} left the request: retired, not deleted", fg="yellow")
            )
        for line in waivers.in_words(one.plan.changes, dt.datetime.now(dt.UTC).date()):
            console.show_styled(console.styled(f"  ! {line}", fg="yellow"))
        for change in one.plan.changes:
            if change.action is Action.CREATE and (console.verbosity or not new):
                console.show_styled(console.styled(f"  + {change.key}", fg="green"))
            elif change.action is Action.REMOVE:
                console.show_styled(console.styled(f"  - {change.key}", fg="red"))
            elif change.action is Action.CHANGE:
                console.show_styled(console.styled(f"  ~ {change.key}", fg="yellow"))
                for field in change.fields:
                    console.show(f"      {field}")
    unchanged = sum(not one.stages.writes() for one in prepared)
    if len(prepared) > 10 and unchanged and not console.verbosity:
        console.show(f"{unchanged} tenants unchanged")
    if skipped:
        console.show("left alone:")
        for skip in skipped:
            console.show(f"  {skip.name}: {skip.reason}")
            for detail in skip.error.details if skip.error else ():
                console.show(f"    {detail}")


def show_outcomes(console: Console, outcomes: Sequence[Outcome], *, applied: bool) -> None:
    """Show a line for each tenant, and every finding that did not pass."""
    from gcloud_pk.model.finding import Verdict, count

    if not applied:
        console.show("dry run: nothing was written")
        return
    rows = []
    for outcome in outcomes:
        verdicts = count(outcome.findings)
        verified = ", ".join(f"{n} {v}" for v, n in verdicts.items() if n) or "not verified"
        changes = ", ".join(f"{n} {what}" for what, n in outcome.changes.items() if n)
        rows.append(
            (outcome.name, "failed" if outcome.error else "ready", changes, verified, f"{outcome.seconds['total']:.2f}")
        )
    if rows:
        console.table(("TENANT", "RESULT", "OBJECTS", "CHECKS", "SECONDS"), rows)
    for outcome in outcomes:
        for finding in outcome.findings:
            if finding.verdict is not Verdict.PASS and finding.verdict is not Verdict.NOT_APPLICABLE:
                show_finding(console, finding)


def show_finding(console: Console, finding: Finding) -> None:
    """Show what did not pass, in full."""
    color = {"fail": "red", "error": "magenta", "not-checked": "yellow"}.get(finding.verdict.value)
    console.show_styled(
        console.styled(f"{finding.verdict.value}: {finding.id} {finding.title}  [{finding.subject}]", fg=color)
    )
    console.show(f"    expected: {finding.expected}")
    console.show(f"    observed: {finding.observed}")
    if finding.reason:
        console.row("    reason: ", finding.reason)


def _finish(
    console: Console,
    outcomes: Sequence[Outcome],
    intake: Intake,
    phases: Mapping[str, float],
    error: GcloudPkError | None,
    *,
    applied: bool,
    more: Mapping[str, Any],
) -> int:
    """Show what became of the run; return its exit code.

    `phases`: wall seconds; apply includes verify. `more`: what else the document holds.
    """
    from gcloud_pk.model.finding import exit_code
    from gcloud_pk.proof.verify import omitted

    findings = [finding for outcome in outcomes for finding in outcome.findings]
    if error is not None:
        code = int(error.code)
    else:
        code = int(exit_code(findings) if findings else ExitCode.DONE) or _code_of(intake.skipped)
    if console.machine:
        document: dict[str, Any] = {
            "tenants": [outcome.as_dict() for outcome in outcomes],
            "skipped": [skip.as_dict() for skip in intake.skipped],
            "findings": [f.as_dict() for f in findings if f.verdict.value != "pass"],
            "omitted": omitted() if findings else [],
            "dryRun": not applied,
            "phases": {name: round(value, 3) for name, value in phases.items()},
            "seconds": round(phases["total"], 3),
            **more,
        }
        if error is not None:
            document["error"] = error.as_dict()
        console.document(document)
    else:
        show_outcomes(console, outcomes, applied=applied)
        number = f"{len(outcomes)} tenant{'' if len(outcomes) == 1 else 's'}"
        console.note(f"{number} in {phases['total']:.1f} s (plan {phases['plan']:.1f} s)")
    return code


def _code_of(skipped: Sequence[Skipped]) -> int:
    return int(next((skip.error.code for skip in skipped if skip.error is not None), ExitCode.DONE))


def _write_folder(invocation: Invocation, names: Sequence[str] | None, folder: Path) -> int:
    """Render to files. Approvals and trust hold here too: what GitOps applies is what was approved."""
    from gcloud_pk.commands.recording import lost_histories
    from gcloud_pk.onboarding.intake import take_in
    from gcloud_pk.onboarding.output import close_folder, remove_folder, write_folder
    from gcloud_pk.registry.suspension import how

    console = invocation.console
    registry = open_registry(invocation)
    trusted = registry.trust(invocation.trust)
    if not trusted.trusted:
        console.warn(
            f"the registry is not trusted ({trusted.reason}); the files are as good as the folder they come from"
        )
    intake = take_in(registry, None, names, {})
    for warning in lost_histories(registry, [tenant.name for tenant in intake.tenants]):
        console.warn(warning)
    written = {tenant.name: write_folder(folder, tenant) for tenant in intake.tenants}
    removed = [s.name for s in intake.skipped if s.reason == "offboarded" and remove_folder(folder, s.name)]
    closed = [
        s.name
        for s in intake.skipped
        if s.reason == "suspended" and close_folder(folder, s.name, how(registry, registry.entry(s.name)))
    ]
    if console.machine:
        console.document(
            {
                "folder": str(folder),
                "tenants": [
                    {"name": name, "files": one.files, "retired": one.retired, "foreign": one.foreign}
                    for name, one in written.items()
                ],
                "removed": removed,
                "closed": closed,
                "skipped": [skip.as_dict() for skip in intake.skipped],
            }
        )
    else:
        for name, one in written.items():
            console.show(f"{name}: {len(one.files)} files in {folder / name}")
            for environment in one.retired:
                console.show(f"  ! environment {environment} left the request: its files say retired")
        for name in removed:
            console.show(f"{name}: offboarded; its files are removed")
        for name in closed:
            console.show(f"{name}: suspended; its files give no access")
        for skip in intake.skipped:
            console.show(f"left alone: {skip.name}: {skip.reason}")
            for detail in skip.error.details if skip.error else ():
                console.show(f"  {detail}")
        for path in (path for one in written.values() for path in one.foreign):
            console.warn(f"not ours, and applied with the rest: {folder / path}")
        console.note(
            f"apply with: kubectl apply --server-side --field-manager=gcloud-pk -R -f {folder}   "
            "(again until it succeeds)"
        )
    return _code_of(intake.skipped)
