"""`gcloud-pk audit nodes`: do a site's machines meet the baseline? Reads only."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gcloud_pk.commands.base import Command, Invocation, operator_name, pass_invocation
from gcloud_pk.commands.connection import open_registry
from gcloud_pk.commands.node import on_hosts, site_of, ssh_config_of
from gcloud_pk.errors import InvalidInputError
from gcloud_pk.model.baseline import LEVELS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gcloud_pk.console import Console
    from gcloud_pk.model.baseline import Level
    from gcloud_pk.model.finding import Finding
    from gcloud_pk.model.site import Host, Site
    from gcloud_pk.nodes.check import Catalogue, Check
    from gcloud_pk.nodes.judge import Exemption


@click.command(cls=Command, junit=True)
@on_hosts
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    help="Up to this level, in place of each host's own (of the site, its data and its entry).",
)
@click.option(
    "--checks",
    "names",
    multiple=True,
    metavar="ID,…",
    help="Only these, by id (NODE-SSH-001) or control (GPK-SSH-001).",
)
@click.option("--user", metavar="USER", help="Who looks, on hosts that have no auditor yet: somebody with sudo.")
@pass_invocation
def nodes(
    invocation: Invocation,
    site_name: str,
    limit: tuple[str, ...],
    ssh_config: Path | None,
    level: Level | None,
    names: tuple[str, ...],
    user: str | None,
) -> int:
    """Check the hosts of a site against the baseline, by what is in force on them now.

    One program is sent to each host over SSH, as the site's audit user, and says what is so: effective
    values, not texts of files. Nothing that the hardening stored is read, nothing stays. What a host
    says of itself is marked so; open ports, SSH's algorithms and TLS are seen from outside.

    Approved waivers of the registry (subjects node/SITE or node/SITE/HOST) turn a fail into waived.

    Exit 6 where something failed, 7 where something could not be checked.

    \b
    gcloud-pk audit nodes --site isb-1 --limit rack-1
    gcloud-pk audit nodes --site isb-1 --level cl2 --format junit
    """  # noqa: D301 - Click reads the backspace as: keep these lines
    from gcloud_pk.evidence.report import report
    from gcloud_pk.nodes.audit import findings
    from gcloud_pk.nodes.catalogue import standard
    from gcloud_pk.nodes.gather import gather, route_to
    from gcloud_pk.nodes.inventory import select
    from gcloud_pk.nodes.judge import Subject, selected
    from gcloud_pk.nodes.waivers import exemptions, misfits

    console = invocation.console
    started = dt.datetime.now(dt.UTC)
    catalogue = standard()
    registry = open_registry(invocation)
    registry.trust(invocation.trust)
    only = chosen(catalogue, names)
    site = site_of(registry, site_name)
    hosts = select(site, limit)
    waivers = exemptions(registry.waivers, site_name)
    levels = {host.name: level or site.spec.level_of(host) for host in hosts}
    checks = {one: selected(catalogue, one, only) for one in set(levels.values())}
    every = list({check.id: check for chosen in checks.values() for check in chosen}.values())
    found: list[Finding] = []
    with (
        route_to(site, hosts, ssh_config_of(invocation, site_name, ssh_config)) as route,
        console.progress("audit", len(hosts)) as progress,
    ):
        for gathered in gather(site, hosts, every, route, user=user):
            host = gathered.host
            subject = Subject(site_name, host.name, host.role, levels[host.name])
            found += findings(gathered, checks[levels[host.name]], catalogue, subject, waivers)
            progress.advance(note=host.name)
    made = report(
        "nodes",
        found,
        operator=operator_name(),
        started=started,
        finished=dt.datetime.now(dt.UTC),
        omitted=set(catalogue.checks) - {check.id for check in every},
    )
    made["omittedBySubject"] = _omitted_here(site, hosts, levels, checks, every)
    notes = [*misfits(registry.waivers, site_name, registry.sites), *unneeded(found, waivers)]
    return ended(console, made, found, notes)


def chosen(
    catalogue: Catalogue, names: Sequence[str], where: str = "policies/controls/nodes/"
) -> frozenset[str] | None:
    """Return the checks that are named; None for all. Raises InvalidInputError."""
    words = [word.strip() for given in names for word in given.split(",")]
    if not words:
        return None
    try:
        return catalogue.named(words)
    except KeyError as error:
        from difflib import get_close_matches

        known = [*catalogue.controls, *catalogue.checks]
        near = get_close_matches(error.args[0], known, n=1)
        raise InvalidInputError(
            f"--checks names no check and no control: {error.args[0]!r}",
            resolution=f"did you mean {near[0]}?" if near else f"see {where}",
        ) from None


def _omitted_here(
    site: Site,
    hosts: Iterable[Host],
    levels: dict[str, Level],
    checks: dict[Level, list[Check]],
    every: Sequence[Check],
) -> dict[str, list[str]]:
    """Return what was left out of a host and tried on another, which has a higher level."""
    found = {}
    for host in hosts:
        tried = {check.id for check in checks[levels[host.name]]}
        if left := sorted({check.id for check in every} - tried):
            found[f"node/{site.metadata.name}/{host.name}"] = left
    return found


def ended(console: Console, made: dict[str, Any], found: Sequence[Finding], notes: Iterable[str]) -> int:
    """Show the report of an audit, then on whose word it rests and what is to be noted; return the exit code."""
    from gcloud_pk.evidence.overview import to_overview
    from gcloud_pk.evidence.report import present
    from gcloud_pk.model.finding import exit_code

    present(console, made, partial(to_overview, fold=True))
    if not console.machine and (by_source := _sources(found)):
        console.show(by_source)
    for note in notes:
        console.warn(note)
    return exit_code(found)


def _sources(found: Iterable[Finding]) -> str | None:
    """Return how much of what was judged is whose word; None where nothing was judged."""
    judged = (one for one in found if one.verdict.value in {"pass", "fail", "waived"})
    counts = Counter(str(one.evidence.get("source")) for one in judged)
    told = ", ".join(f"{number} {source}" for source, number in sorted(counts.items(), reverse=True))
    return f"by source: {told}" if told else None


def unneeded(found: Sequence[Finding], waivers: Sequence[Exemption]) -> list[str]:
    """Return what somebody should know of waivers: those that cover nothing that failed."""
    used = {one.evidence.get("waiver") for one in found}
    notes = []
    for one in waivers:
        verdicts = Counter(
            finding.verdict.value
            for finding in found
            if one.control in (finding.id, *finding.controls)
            and one.subject in (finding.subject, finding.subject.rpartition("/")[0])
        )
        if one.standing is not None or one.name in used or not verdicts:
            continue
        unseen = verdicts["not-checked"] + verdicts["error"]
        if unseen == verdicts.total():
            notes.append(f"waiver {one.name} covers nothing in this run: {one.control} was not checked")
        elif unseen:
            notes.append(f"waiver {one.name} covers nothing in this run: {one.control} was checked only in part")
        else:
            how = "passes" if verdicts["pass"] else "does not apply"
            notes.append(f"waiver {one.name} is not needed: {one.control} {how}")
    return notes
