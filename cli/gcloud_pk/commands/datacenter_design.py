"""`gcloud-pk datacenter validate|show`: whether a design is consistent with its tier, and what it looks like."""

from __future__ import annotations

import datetime as dt
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gcloud_pk.commands.base import Command, Invocation, operator_name, pass_invocation
from gcloud_pk.commands.connection import open_registry
from gcloud_pk.commands.output import check_output, write_output
from gcloud_pk.errors import InvalidInputError, WrongUsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gcloud_pk.model.finding import Finding
    from gcloud_pk.model.site import Site
    from gcloud_pk.registry.folder import Registry

DEFAULT_TIER = 3

_output = click.option(
    "-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="Write here.  [default: standard output]"
)
_force = click.option("--force", is_flag=True, help="Overwrite FILE.")


@click.command(cls=Command, junit=True, draws=("dot",))
@click.argument("word", metavar="[SITE]", required=False)
@click.option(
    "--tier",
    type=click.Choice(["3", "4"]),
    help="The rules of this tier; 4 has those of 3 too.  [default: what the site claims, else 3]",
)
@click.option(
    "--all", "every", is_flag=True, help="Every site of the registry, and what a nation needs of them together."
)
@pass_invocation
def validate(invocation: Invocation, word: str | None, tier: str | None, every: bool) -> int:
    """Judge element by element whether a design is concurrently maintainable.

    Every component and link of power, cooling and network, every rack and room is taken out once: what
    remains must still carry every load, and keep every cluster's quorum and endpoint. What breaks is
    named with the loads that it takes. What the site file does not say is not checked, and never passes.

    SITE may be a path to a site file outside of a registry. With --all each tenant's recovery site and
    the totals without any one site are judged too. --format dot draws the graph for Graphviz.

    Exit 6 where the design breaks a rule, 7 where the file does not say enough, 3 where it is not valid.

    \b
    gcloud-pk datacenter validate isb-1
    gcloud-pk datacenter validate ./isb-2.yaml --tier 4 --format junit
    gcloud-pk datacenter validate --all
    """  # noqa: D301 - Click reads the backspace as: keep these lines
    from gcloud_pk.evidence.design import to_design
    from gcloud_pk.evidence.report import present, report
    from gcloud_pk.facility.tier import OMITTED, SUITE
    from gcloud_pk.model.finding import exit_code

    console = invocation.console
    started = dt.datetime.now(dt.UTC)
    if every == (word is not None):
        raise WrongUsageError(
            "name one SITE, or all of them with --all", resolution="gcloud-pk datacenter validate SITE"
        )
    if every and console.format == "dot":
        raise WrongUsageError("--format dot draws one site", resolution="name a SITE in place of --all")
    sites, registry = _sites(invocation, word)
    found, sentences = judged(sites, tier, started.date())
    if every and registry is not None:
        national, conclusion = _nation(registry, started.date())
        found += national
        sentences.append(conclusion)
    if console.format == "dot":
        from gcloud_pk.facility.dot import to_dot

        click.echo(to_dot(next(iter(sites.values())), found), nl=False)
        return exit_code(found)
    made = report(
        SUITE,
        found,
        operator=operator_name(),
        started=started,
        finished=dt.datetime.now(dt.UTC),
        omitted=OMITTED,
    )
    made["conclusions"] = sentences
    order = {(one.subject, one.id): place for place, one in enumerate(found)}
    present(console, made, partial(to_design, order=order, sentence="\n".join(sentences), limits=OMITTED))
    return exit_code(found)


@click.command(cls=Command, draws=("dot", "html"))
@click.argument("word", metavar="SITE")
@click.option("--html", "as_html", is_flag=True, help="A page with a drawing; the same as --format html.")
@click.option("--tier", type=click.Choice(["3", "4"]), help="Mark what breaks the rules of this tier.")
@_output
@_force
@pass_invocation
def show(invocation: Invocation, word: str, as_html: bool, tier: str | None, output: Path | None, force: bool) -> None:
    """Show a site: racks with what feeds, cools and connects them, and each cluster's quorum.

    --html makes a page that loads nothing and prints on A4: the ways of power and network from their
    sources to the racks as a drawing, what breaks if one element fails, and all of it again as tables.
    --format dot is for Graphviz. SITE may be a path to a site file outside of a registry.

    \b
    gcloud-pk datacenter show isb-1
    gcloud-pk datacenter show isb-1 --html -o isb-1.html
    """  # noqa: D301 - Click reads the backspace as: keep these lines
    if as_html:
        if (chosen := invocation.values.get("format")) not in (None, "text", "html"):
            raise WrongUsageError(f"--html and --format {chosen} are two wishes", resolution="give one of them")
        invocation.values["format"] = "html"
    console = invocation.console
    if output is not None and console.format not in ("html", "dot"):
        raise WrongUsageError("-o is for --html and --format dot", resolution="add --html")
    check_output(output, force=force)
    now = dt.datetime.now(dt.UTC)
    sites, _ = _sites(invocation, word)
    (site,) = sites.values()
    found, (sentence,) = judged(sites, tier, now.date())
    if console.format == "html":
        from gcloud_pk.facility.page import page
        from gcloud_pk.render.page import html

        conclusion = sentence.partition(": ")[2]
        _written(invocation, html(page(site, found, conclusion, now)), output)
    elif console.format == "dot":
        from gcloud_pk.facility.dot import to_dot

        _written(invocation, to_dot(site, found), output)
    elif console.machine:
        console.document(outline(site, found, sentence))
    else:
        _tell(invocation, site, sentence)


def judged(sites: Mapping[str, Site], tier: str | None, today: dt.date) -> tuple[list[Finding], list[str]]:
    """Return the verdicts on sites, the worst first for each, and a sentence for each site."""
    from gcloud_pk.facility import tier as verdicts

    found: list[Finding] = []
    sentences = []
    for name, site in sites.items():
        level = int(tier) if tier else site.spec.tier or DEFAULT_TIER
        here = verdicts.judge(site, tier=level, today=today)
        found += here
        sentences.append(f"{name}: {verdicts.sentence(here, level)}")
    return found, sentences


def outline(site: Site, found: list[Finding], sentence: str) -> dict[str, Any]:
    """Return the JSON document of `datacenter show`."""
    from gcloud_pk.facility.labels import quorum_of
    from gcloud_pk.facility.marks import marks_of
    from gcloud_pk.facility.page import AREAS

    spec = site.spec
    hosts: dict[str | None, list[str]] = {}
    for host in spec.hosts:
        hosts.setdefault(host.rack, []).append(host.name)
    marks = marks_of(found)
    return {
        "site": site.metadata.name,
        "operator": spec.operator,
        "tier": spec.tier,
        "conclusion": sentence,
        "racks": [
            {
                **rack.model_dump(by_alias=True, mode="json", exclude_none=True),
                "hosts": hosts.get(rack.name, []),
            }
            for rack in spec.racks
        ],
        "clusters": [
            {
                "name": cluster.name,
                "endpoint": cluster.endpoint,
                "controlPlanes": [{"name": host.name, "rack": host.rack} for host in spec.control_planes(cluster.name)],
                "workers": [host.name for host in spec.workers(cluster.name)],
                "quorum": quorum_of(site, cluster),
            }
            for cluster in spec.clusters
        ],
        "components": {area: len(getattr(spec, area).components) for area in AREAS},
        "breaks": [
            {"area": area, "element": name, "loads": mark.loads, "checks": sorted({one.id for one in mark.findings})}
            for (area, name), mark in marks.items()
            if mark.broken
        ],
    }


def _tell(invocation: Invocation, site: Site, sentence: str) -> None:
    from gcloud_pk.facility.labels import quorums
    from gcloud_pk.facility.page import RACK_HEADS, rack_rows
    from gcloud_pk.text import number_of

    console, spec = invocation.console, site.spec
    place = f"{spec.operator}, {spec.location.city}"
    sizes = f"{number_of(len(spec.racks), 'rack')}, {number_of(len(spec.hosts), 'host')}"
    console.show(f"{site.metadata.name}: {place}; {sizes}")
    if spec.racks:
        console.table(RACK_HEADS, list(rack_rows(site)))
    if homeless := [host.name for host in spec.hosts if host.rack is None]:
        more = f" and {len(homeless) - 12} more" if len(homeless) > 12 else ""
        console.show(f"in no rack: {', '.join(homeless[:12])}{more}")
    for text in quorums(site):
        console.show(text)
    console.show(sentence)


def _written(invocation: Invocation, text: str, output: Path | None) -> None:
    if output is None:
        click.echo(text, nl=False)
        return
    write_output(invocation.console, text, output)
    invocation.console.note(f"wrote {output}")


def _sites(invocation: Invocation, word: str | None) -> tuple[Mapping[str, Site], Registry | None]:
    """Return the sites that are meant, by name, and the registry that they are from; all of it without a word."""
    from gcloud_pk.commands.node import site_of

    if word is not None and ("/" in word or word.endswith((".yaml", ".yml"))):
        site = _from_file(Path(word))
        return {site.metadata.name: site}, None
    registry = open_registry(invocation)
    registry.trust(invocation.trust)
    if word is not None:
        site = site_of(registry, word)
        return {word: site}, registry
    if not registry.sites:
        raise InvalidInputError(
            f"the registry {registry.path} has no sites", resolution="describe one in sites/SITE.yaml"
        )
    for note in registry.place_notes:
        invocation.console.warn(str(note))
    return dict(sorted(registry.sites.items())), registry


def _from_file(path: Path) -> Site:
    """Return the site of a file. Raises InvalidInputError with all that is wrong in it."""
    from gcloud_pk.registry.sites import read_file

    read = read_file(path)
    if read.site is None:
        raise InvalidInputError(f"the site file {path} is not valid", details=read.problems)
    return read.site


def _nation(registry: Registry, today: dt.date) -> tuple[list[Finding], str]:
    """Return the verdicts on all sites together, by the tenants of the registry, and a sentence.

    Suspended ones count: they come back, and what they hold is theirs meanwhile.
    """
    from gcloud_pk.facility.national import judge_all
    from gcloud_pk.model.finding import Verdict, count
    from gcloud_pk.text import number_of

    requests, suspended = {}, 0
    for name, entry in registry.tenants.items():
        state = registry.standing(entry).state
        if entry.reading and entry.reading.repaired and state in {"active", "suspended"}:
            requests[name] = entry.reading.repaired
            suspended += state == "suspended"
    found = judge_all(registry.sites, requests, today)
    head = f"the sites together, for {number_of(len(requests), 'tenant')}"
    head += f" ({suspended} of them suspended)" if suspended else ""
    verdicts = count(found)
    if failed := verdicts[Verdict.FAIL.value]:
        return found, f"{head}: {failed} of {len(found)} checks failed"
    if not verdicts[Verdict.PASS.value]:
        return found, f"{head}: there was nothing to judge"
    if verdicts[Verdict.NOT_CHECKED.value] or verdicts[Verdict.ERROR.value]:
        return found, f"{head}: nothing failed, not everything could be checked"
    return found, f"{head}: every tenant can recover elsewhere, and any one site may be lost"
