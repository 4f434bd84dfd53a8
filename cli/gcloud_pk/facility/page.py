"""The page of a site: its drawing, what breaks if one element fails, and all of it again as tables. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence

from gcloud_pk.facility.blocks import AnyComponent, natural, total
from gcloud_pk.facility.drawing import Area, draw, draw_cooling
from gcloud_pk.facility.labels import ROLES, SHORT, power, quorum_of, role_counts
from gcloud_pk.facility.marks import Mark, is_old, loads_of, marks_of, place_of
from gcloud_pk.facility.svg import svg
from gcloud_pk.model.finding import Finding, Verdict, count
from gcloud_pk.model.site import Host, Site
from gcloud_pk.render.page import Block, Figure, Page, Paragraph, Section, Table, Value
from gcloud_pk.text import number_of, stamp

MOST_ROWS = 400
"""Rows of a table of elements; of more, the first are shown and the rest counted."""

_LIMITS = "What is judged is a design, not what was built; an accreditor alone decides on the building."

AREAS: Mapping[Area, str] = {"power": "Power", "cooling": "Cooling", "network": "Network"}


def page(site: Site, findings: Sequence[Finding], sentence: str, made: dt.datetime) -> Page:
    """Return the page. `sentence`: what the verdicts come to; `made`: when, with a zone."""
    sections = (
        Section("glance", ("At a glance",), (_facts(site, findings, sentence), _clusters(site))),
        Section("drawing", ("The drawing",), tuple(_drawings(site, findings))),
        Section("failures", ("What breaks if one element fails",), tuple(_failures(findings))),
        Section("racks", ("Racks and hosts",), (_racks(site),)),
        Section("elements", ("Power, cooling and network, element by element",), tuple(_elements(site, findings))),
    )
    return Page(
        language="en",
        direction="ltr",
        title=("Data centre ", _value(site.metadata.name)),
        lead=(
            _value(f"{site.spec.operator}, {site.spec.location.city}"),
            ": ",
            _value(sentence),
            ".",
        ),
        sections=sections,
        footer=(f"Drawn from the site file on {stamp(made)}. {_LIMITS}",),
        frame={"skip": ("To the drawing",), "contents": ("Contents",)},
        landscape=True,
    )


def _value(text: object) -> Value:
    return Value(str(text))


def _facts(site: Site, findings: Sequence[Finding], sentence: str) -> Table:
    spec = site.spec
    paper = spec.accreditation
    zone = f", seismic zone {spec.location.seismic_zone}" if spec.location.seismic_zone else ""
    verdicts = {name: number for name, number in count(findings).items() if number}
    rows = [
        ("Operator", spec.operator),
        ("Place", f"{spec.location.city}, {spec.location.province}{zone}"),
        ("Classes of data", ", ".join(spec.admits)),
        ("Claimed", f"Tier {'IV' if spec.tier == 4 else 'III'}" if spec.tier else "no tier"),
        ("Accreditation", f"{paper.scheme}, until {paper.expires.isoformat()}" if paper else "none is named"),
        ("Racks and hosts", f"{number_of(len(spec.racks), 'rack')}, {number_of(len(spec.hosts), 'host')}"),
        ("Load of all hosts", power(total(host.watts for host in spec.hosts)) or "not stated by every host"),
        ("Verdict", sentence),
        ("Checks", ", ".join(f"{number} {name}" for name, number in verdicts.items()) or "none"),
    ]
    return _table("The site as its file describes it", ("What", "Said"), rows)


def _drawings(site: Site, findings: Sequence[Finding]) -> Iterator[Block]:
    yield Figure(("Power from above, racks with their hosts, the network from below",), svg(draw(site, findings)))
    yield Figure(("Cooling",), svg(draw_cooling(site, findings)))


def _failures(findings: Sequence[Finding]) -> Iterator[Block]:
    failed = [one for one in findings if one.verdict in (Verdict.FAIL, Verdict.ERROR)]
    unknown = [one for one in findings if one.verdict == Verdict.NOT_CHECKED]
    old = sum(map(is_old, failed))
    failed = [one for one in failed if not is_old(one)]
    failed.sort(key=lambda one: (-loads_of(one), natural(one.subject)))
    verdicts = count(findings)
    if failed:
        shown = failed[:MOST_ROWS]
        rows: list[Sequence[str]] = [
            (" ".join(place_of(one)), one.title, str(loads_of(one) or ""), one.observed) for one in shown
        ]
        yield _table("What does not hold, the most loads first", ("Element", "What is asked", "Loads", "Found"), rows)
        if len(failed) > len(shown):
            yield Paragraph((f"And {len(failed) - len(shown)} more: see gcloud-pk datacenter validate.",))
        if old:
            yield Paragraph((f"{old} checks fail besides, for loads that are not carried with everything in place.",))
    elif verdicts["pass"]:
        yield Paragraph((f"Nothing that was checked: {number_of(verdicts['pass'], 'check')} passed.",))
    if unknown:
        reasons: dict[str, list[Finding]] = {}
        for one in unknown:
            reasons.setdefault(one.reason or one.observed, []).append(one)
        rows = [
            (one.title, str(len(those)), _some([" ".join(place_of(each)) for each in those]), reason)
            for reason, those in reasons.items()
            for one in those[:1]
        ]
        yield _table(
            "What could not be checked, and so did not pass", ("What is asked", "How often", "Where", "Why"), rows
        )
    if not findings:
        yield Paragraph(("Nothing was checked.",))


def _some(names: Sequence[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _table(caption: str, heads: Iterable[str], rows: Iterable[Sequence[str | Value]]) -> Table:
    return Table(
        (caption,),
        tuple((head,) for head in heads),
        tuple(tuple((cell if isinstance(cell, Value) else _value(cell),) for cell in row) for row in rows),
    )


def _clusters(site: Site) -> Table:
    rows = [
        (
            cluster.name,
            str(cluster.endpoint or "not stated"),
            _some([f"{host.name} ({host.rack or 'no rack'})" for host in site.spec.control_planes(cluster.name)], 9),
            quorum_of(site, cluster),
        )
        for cluster in site.spec.clusters
    ]
    return _table("Each cluster's control plane", ("Cluster", "Endpoint", "Control planes", "Quorum of etcd"), rows)


def rack_rows(site: Site) -> Iterator[tuple[str, ...]]:
    """Yield a row for each rack: name, room, row, feeds, cooling, switches, hosts by role, kW of kW."""
    hosts: dict[str, list[Host]] = {}
    for host in site.spec.hosts:
        hosts.setdefault(host.rack or "", []).append(host)
    racks = sorted(site.spec.racks, key=lambda rack: (rack.room or "", rack.row or "", natural(rack.name)))
    for rack in racks:
        here = hosts.get(rack.name, [])
        roles = {role: sum(host.role == role for host in here) for role in ROLES}
        load = power(total(host.watts for host in here)) or "?"
        yield (
            rack.name,
            rack.room or "",
            rack.row or "",
            ", ".join(rack.feeds),
            ", ".join(rack.cooling),
            ", ".join(rack.switches),
            ", ".join(role_counts(roles).values()),
            f"{load} of {power(rack.watts) or '?'}",
        )


RACK_HEADS = ("Rack", "Room", "Row", "Feeds", "Cooling", "Switches", "Hosts", "Load")


def _racks(site: Site) -> Table:
    return _table("Each rack: what feeds, cools and connects it", RACK_HEADS, rack_rows(site))


def _elements(site: Site, findings: Sequence[Finding]) -> Iterator[Block]:
    marks = marks_of(findings)
    judged = {place_of(one) for one in findings}
    for area, title in AREAS.items():
        part = getattr(site.spec, area)
        components: Sequence[AnyComponent] = part.components
        if not components:
            yield Paragraph((f"{title}: the site file says nothing of it.",))
            continue
        sources: dict[str, list[str]] = {}
        targets: dict[str, list[str]] = {}
        for link in part.links:
            sources.setdefault(link.target, []).append(link.source)
            targets.setdefault(link.source, []).append(link.target)
        field = {"power": "feeds", "cooling": "cooling", "network": "switches"}[area]
        for rack in site.spec.racks:
            for name in getattr(rack, field):
                targets.setdefault(name, []).append(rack.name)
        rows = [
            (
                one.name,
                SHORT[one.kind],
                power(one.watts),
                ", ".join(place for place in (one.room, one.rack) if place),
                _some(sources.get(one.name, [])),
                _some(targets.get(one.name, [])),
                ", ".join(getattr(one, "feeds", ())),
                _said(marks.get((area, one.name)), (area, one.name) in judged),
            )
            for one in components[:MOST_ROWS]
        ]
        yield _table(
            title, ("Element", "Kind", "Capacity", "Stands in", "Comes from", "Leads to", "Fed by", "Verdict"), rows
        )
        if len(components) > MOST_ROWS:
            yield Paragraph((f"And {len(components) - MOST_ROWS} more elements, which stand in the site file.",))


def _said(mark: Mark | None, judged: bool) -> str:
    if mark is not None:
        return mark.word
    return "nothing wrong" if judged else "not judged by itself"
