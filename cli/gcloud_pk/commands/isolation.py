"""`gcloud-pk audit isolation` and `audit probes`: is every tenant kept to itself? Writes nothing that stays."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from gcloud_pk.commands.base import Command, Invocation, pass_invocation
from gcloud_pk.commands.connection import open_api, open_registry, open_verifier, warn_of_older
from gcloud_pk.commands.live import live_options, live_request
from gcloud_pk.errors import GcloudPkError, WrongUsageError

if TYPE_CHECKING:
    from gcloud_pk.cluster.transport import Api
    from gcloud_pk.model.finding import Finding
    from gcloud_pk.onboarding.isolation import Subjects
    from gcloud_pk.onboarding.standing import Standing
    from gcloud_pk.proof.contents import Item
    from gcloud_pk.proof.selection import Selection
    from gcloud_pk.registry.folder import Registry


_SHOWN_BESIDE = frozenset({"ISO-902", "ISO-906"})
"""What no check of a tenant shows (`probes/unchecked.yaml`), and those of what stands beside tenants do."""


@click.command(cls=Command, junit=True)
@click.argument("tenants", nargs=-1, metavar="TENANT…")
@click.option("--all", "everybody", is_flag=True, help="All tenants in place, and namespaces of nobody.")
@click.option(
    "--probes",
    "names",
    multiple=True,
    metavar="NAME,…",
    help="Only these checks, by id (ISO-020) or control (GPK-IMG-001), and the controls they need.",
)
@click.option("--quick", is_flag=True, help="Only what onboard checks: every wall once, and not who else is let in.")
@click.option(
    "--stratified",
    is_flag=True,
    help="Every wall on every tenant, every check somewhere; which and where turns from tenant to tenant.",
)
@click.option(
    "--self-test",
    is_flag=True,
    help="Audit the audit: on a control plane of this machine, take each control away in turn and see it missed.",
)
@live_options
@pass_invocation
def isolation(
    invocation: Invocation,
    /,
    tenants: tuple[str, ...],
    everybody: bool,
    names: tuple[str, ...],
    quick: bool,
    stratified: bool,
    self_test: bool,
    **live: Any,
) -> int:
    """Prove that tenants are kept apart: knock at every wall, as the tenant's own identities.

    Whoever else is let in, and whatever else has a say about requests, is found too: bindings, roles, webhooks and
    policies of the whole cluster that neither the platform nor an approved request implies (not with --quick).

    First a compliant object of each kind must be admitted; then each probe breaks one thing in it, and passes only
    where the expected wall refuses and names the field. Everything is a dry run: nothing is written. Of a suspended
    tenant it is shown that it is closed.

    Exit 6 where something failed, 7 where something could not be checked.

    \b
    gcloud-pk audit isolation moitt
    gcloud-pk audit isolation --all --stratified --format junit
    gcloud-pk audit isolation moitt --probes GPK-IMG-001,ISO-210
    gcloud-pk audit isolation --self-test
    """  # noqa: D301 - Click reads the backspace as: keep these lines
    if self_test:
        from gcloud_pk.commands.selftest import run_self_test

        given = (*tenants, *names, *(name for name, value in live.items() if value and name != "live_wait"))
        return run_self_test(invocation, alone=not (given or everybody or quick or stratified))
    from gcloud_pk.evidence.gathering import Gathering
    from gcloud_pk.evidence.overview import to_overview
    from gcloud_pk.evidence.report import present, report
    from gcloud_pk.model.finding import count, exit_code
    from gcloud_pk.onboarding.foundation import check_version
    from gcloud_pk.onboarding.isolation import subjects
    from gcloud_pk.proof.contents import chosen
    from gcloud_pk.proof.probe import standard
    from gcloud_pk.proof.selection import selected
    from gcloud_pk.proof.whoami import operator

    _check_usage(tenants, everybody=everybody, quick=quick, stratified=stratified)
    packets = live_request(**live)
    only = chosen(names, _items()) if names else None
    packets.check(names)
    console = invocation.console
    started = dt.datetime.now(dt.UTC)
    registry, api = open_registry(invocation), open_verifier(invocation)
    check_version(api)
    standing = _standing(invocation, registry, api)
    sender = packets.opened(invocation, api, registry)
    about = subjects(api, registry, standing, None if everybody else tenants)
    for note in about.notes:
        console.warn(note)
    who = operator(api)
    selection = selected(standard(), quick=quick, only=only)
    run = _Run(invocation, api, selection, stratified=stratified)
    whole = console.format == "json"
    with Gathering(whole=whole) as gathering:
        gathering.add(run.cluster())
        audited = None if everybody else frozenset(tenants)
        beside = everybody or not quick or only is not None
        if beside:
            gathering.add(_population(api, registry, standing, about, audited, only))
        for found in run.tenants(about):
            gathering.add(found)
        gathering.add(packets.findings(console, sender, about.targets, only))
        made = report(
            "isolation",
            [] if whole else gathering.findings,
            operator=who,
            started=started,
            finished=dt.datetime.now(dt.UTC),
            omitted=packets.omitted(run.omitted(audited, beside=beside), only),
        )
        made["verdicts"] = count(gathering.findings)
        if stratified:
            made["omittedBySubject"] = run.left_out
        if whole:
            gathering.write(made, sys.stdout)
        else:
            present(console, made, to_overview)
    return exit_code(gathering.findings)


def _check_usage(tenants: Sequence[str], *, everybody: bool, quick: bool, stratified: bool) -> None:
    if not tenants and not everybody:
        raise WrongUsageError(
            "whom to audit is not said",
            resolution="name tenants (gcloud-pk audit isolation moitt), or --all; gcloud-pk tenant list shows who is",
        )
    if tenants and everybody:
        raise WrongUsageError("--all and the names of tenants exclude each other", resolution="leave one of them out")
    if quick and stratified:
        raise WrongUsageError(
            "--quick and --stratified exclude each other", resolution="--quick tries few checks everywhere, "
            "--stratified all checks, each somewhere",
        )  # fmt: skip


def _items() -> list[Item]:
    """Return every check that a run can be narrowed to."""
    from gcloud_pk.commands.live import items as of_packets
    from gcloud_pk.onboarding.foundation import items as of_the_cluster
    from gcloud_pk.onboarding.isolation import BACKED_ITEM
    from gcloud_pk.proof import population
    from gcloud_pk.proof.contents import items
    from gcloud_pk.proof.probe import standard

    everything = [*items(standard()), *of_the_cluster(), *of_packets(), *population.items(), BACKED_ITEM]
    return sorted(everything, key=lambda item: item.id)


def _population(
    api: Api,
    registry: Registry,
    standing: Standing,
    about: Subjects,
    audited: frozenset[str] | None,
    only: frozenset[str] | None,
) -> list[Finding]:
    """Return the findings on what neither the platform nor an approved request implies."""
    from gcloud_pk.onboarding.inhabitants import known
    from gcloud_pk.proof import population

    if not population.chosen(audited, only):
        return []
    return population.findings(api, known(registry, standing, about.in_place, audited), only=only)


def _standing(invocation: Invocation, registry: Registry, api: Api) -> Standing:
    from gcloud_pk.cluster.identity import cluster_uid
    from gcloud_pk.lab.state import known_uids
    from gcloud_pk.onboarding.standing import observe

    standing = observe(registry, cluster_uid(api), labs=known_uids(), trust=invocation.trust)
    warn_of_older(invocation, open_api(invocation), standing.trust)
    return standing


class _Run:
    """One audit: what it tries, and what it has left out."""

    def __init__(self, invocation: Invocation, api: Api, selection: Selection, *, stratified: bool) -> None:
        from gcloud_pk.proof.plugins import Tally

        self.console, self.api, self.selection, self.stratified = invocation.console, api, selection, stratified
        self.tally = Tally(selection.known)
        self.tried: frozenset[str] = frozenset()
        self.left_out: dict[str, list[str]] = {}

    def cluster(self) -> list[Finding]:
        """Return the findings on what all tenants share."""
        from gcloud_pk.onboarding import foundation

        return foundation.findings(self.api, self.selection.only)

    def tenants(self, about: Subjects) -> Iterator[list[Finding]]:
        """Yield the findings on one tenant after the other, and at last on the walls that they knocked at."""
        from gcloud_pk.proof.ground import Ground
        from gcloud_pk.proof.selection import WHOLE, stratified, tried
        from gcloud_pk.proof.verify import audit

        only = self.selection.only
        yield [f for f in about.unbacked if self.selection.judges(f.id)]
        if self.stratified:
            selections = stratified(self.selection, about.targets)
        else:
            selections = [self.selection] * len(about.targets)
        for target, share in zip(about.targets, selections, strict=True):
            for environment, ids in share.left_out(target).items():
                place = f"tenant/{target.tenant}" + (f"/{environment}" if environment != WHOLE else "")
                self.left_out[place] = ids
        self.tried = tried(self.selection.known, selections)
        with self.console.progress("audit", len(about.targets) + len(about.closed)) as progress:
            for target, findings in zip(about.targets, audit(Ground(self.api), about.targets, selections), strict=True):
                yield findings
                self.tally.add(findings)
                progress.advance(note=target.tenant)
            for name, parent in about.closed.items():
                if only is None:
                    yield _closed(self.api, name, parent)
                progress.advance(note=name)
        if about.targets:
            yield list(self.tally.findings(only))

    def omitted(self, audited: frozenset[str] | None, *, beside: bool) -> list[str]:
        """Return the ids that were not tried anywhere. `beside`: what stands beside tenants was looked at."""
        from gcloud_pk.proof import population, residents
        from gcloud_pk.proof.probe import standard
        from gcloud_pk.proof.verify import omitted

        known = standard()
        not_tried = {*known.probes, *known.reviews} - self.tried
        looked = {check.id for check in population.chosen(audited, self.selection.only)} if beside else set()
        not_tried |= {item.id for item in population.items()} - looked
        if self.selection.quick:
            not_tried |= residents.IDS
        if self.selection.only is not None:
            not_tried |= {item.id for item in _items()} - self.selection.only - self.tried
        shown = _SHOWN_BESIDE if beside and self.selection.only is None else frozenset()
        return sorted({*omitted(quick=False), *not_tried} - shown)


def _closed(api: Api, name: str, parent: Mapping[str, Any]) -> list[Finding]:
    """Return the findings on a suspended tenant; an error where the server does not answer any more."""
    from gcloud_pk.model.finding import Finding, Verdict
    from gcloud_pk.onboarding.closed import verify_closed

    try:
        return verify_closed(api, name, parent)
    except GcloudPkError as error:
        title = "the suspended tenant is closed"
        return [Finding("SUS-001", title, f"tenant/{name}", "closed", "", Verdict.ERROR, reason=error.message)]


@click.command(cls=Command)
@click.argument("names", nargs=-1, metavar="NAME…")
@pass_invocation
def probes(invocation: Invocation, names: tuple[str, ...]) -> None:
    """List what `audit isolation` checks: id, title, controls, and what shows it. NAME: an id or a control.

    Without a name, also what no check shows, and what shows it instead.
    """
    from gcloud_pk.proof.contents import chosen
    from gcloud_pk.proof.probe import unchecked

    known = _items()
    wanted = chosen(names, known) if names else None
    shown = [item for item in known if wanted is None or item.id in wanted]
    if invocation.console.machine:
        gaps = [] if names else [{"id": gap.id, "title": gap.title, "instead": gap.instead} for gap in unchecked()]
        invocation.console.document({"probes": [item.as_dict() for item in shown], "unchecked": gaps})
        return
    rows = [(item.id, item.title, ", ".join(item.controls), item.how, item.place) for item in shown]
    invocation.console.table(("ID", "TITLE", "CONTROLS", "HOW", "WHERE"), rows)
    if not names:
        invocation.console.show("\nWhat no check shows:")
        invocation.console.table(("ID", "TITLE", "INSTEAD"), [(gap.id, gap.title, gap.instead) for gap in unchecked()])
