"""Whether a design is concurrently maintainable (Tier III), or fault tolerant (Tier IV), element by element.

It says "design consistent with Tier III", and no more: only the Uptime Institute certifies. What the site file does not
say is `not-checked`, never `pass`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence

from gcloud_pk.facility import fault, quorum
from gcloud_pk.facility.checks import OMITTED, SUITE
from gcloud_pk.facility.graph import CAPACITY, Area, Element, Facility, Grid, Member
from gcloud_pk.facility.outage import Loss, Outages
from gcloud_pk.facility.plant import POWERED, Plant
from gcloud_pk.facility.results import Result, ordered
from gcloud_pk.facility.words import counts, kilowatts, named, path, some
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.model.site import Site

__all__ = ["OMITTED", "SUITE", "judge", "sentence"]

_IDS: Mapping[Area, tuple[str, str, str, str, str]] = {
    "power": ("DC-001", "DC-002", "DC-003", "DC-004", "DC-005"),
    "cooling": ("DC-011", "DC-012", "DC-013", "DC-014", "DC-015"),
    "network": ("DC-021", "DC-022", "DC-024", "DC-024", "DC-025"),
}
"""Checks of an area: everything in place, two ways, capacity component, path element, link."""

_NAMED_BY: Mapping[Area, str] = {"power": "feeds", "cooling": "cooling", "network": "switches"}
"""The field of a rack that says what it hangs on."""


def judge(site: Site, tier: int = 3, today: dt.date | None = None) -> list[Finding]:
    """Return all findings on a site's design: what fails first, the longest list of loads before the shorter.

    `tier`: 3 or 4; `today`: the day that the accreditation is compared with, None: it is not. Raises InvalidInputError
    where power goes in a circle.
    """
    facility = Facility.of(site)
    plant = Plant(facility)
    results: list[Result] = []
    for outages in plant.areas.values():
        results += _area(facility, outages)
    results += _uninterrupted(plant.areas["power"], site.metadata.name)
    results += _driven(plant)
    results += _racks(facility)
    results += _fallen(plant)
    results += quorum.results(plant)
    if tier == 4:
        results += fault.results(plant)
    if today and site.spec.accreditation:
        results.append(_accreditation(site, today))
    return ordered(results)


def sentence(findings: Sequence[Finding], tier: int = 3) -> str:
    """Return what all findings together say."""
    numeral = {3: "III", 4: "IV"}[tier]
    failed = [one for one in findings if one.verdict is Verdict.FAIL]
    broken = [one for one in failed if one.id != "DC-051"]
    also = "; the accreditation has expired" if len(broken) < len(failed) else ""
    unknown = sum(one.verdict in {Verdict.NOT_CHECKED, Verdict.ERROR} for one in findings)
    if broken:
        subjects = list(dict.fromkeys(one.subject.partition("/")[2].partition("/")[2] for one in broken))
        return f"design not consistent with Tier {numeral}: {counts(len(broken), 'finding')} ({some(subjects)}){also}"
    if unknown or not findings:
        return (
            f"not known whether the design is consistent with Tier {numeral}: {counts(unknown, 'finding')} open{also}"
        )
    return f"design consistent with Tier {numeral}{also}"


def _area(facility: Facility, plant: Outages) -> Iterator[Result]:
    grid = plant.grid
    ids = _IDS[grid.area]
    subject = f"site/{facility.site.metadata.name}/{grid.area}"
    if not grid.nodes or not grid.loads:
        what = _silence(facility, grid)
        for check in ids[:2]:
            yield Result(check, subject, "nothing is known", Verdict.NOT_CHECKED, area=grid.area, reason=what)
        if not grid.nodes:
            return
    else:
        yield _in_place(plant, ids[0], subject)
        yield _two_ways(plant, ids[1], subject)
    for element in grid.elements:
        yield _out(plant, ids, subject, element)


def _silence(facility: Facility, grid: Grid) -> str:
    if not facility.members:
        return "the site file names neither racks nor hosts"
    if not grid.nodes:
        return f"the site file names no components of {grid.area}"
    return f"no rack says what it hangs on (spec.racks: {_NAMED_BY[grid.area]})"


def _in_place(plant: Outages, check: str, subject: str) -> Result:
    grid = plant.grid
    reason = _unsaid(grid) or _unrated(grid)
    if plant.base.loads:
        return _lost(plant, check, subject, (), plant.base)
    verdict = Verdict.NOT_CHECKED if reason else Verdict.PASS
    return Result(check, subject, _carried(grid), verdict, area=grid.area, reason=reason)


def _two_ways(plant: Outages, check: str, subject: str) -> Result:
    grid = plant.grid
    single = plant.hanging.keys() | plant.base.severed
    if single:
        members = plant.members(single)
        elements = [path(one) for load in sorted(plant.hanging) for one in plant.hanging[load] if len(one) == 1]
        hold = f", behind {some(list(dict.fromkeys(elements)))}" if elements else ""
        observed = f"{named(members)}: one way at most{hold}"
        return Result(
            check,
            subject,
            observed,
            Verdict.FAIL,
            area=grid.area,
            count=len(members),
            fresh=len(members),
            loads=tuple(member.name for member in members),
        )
    reason = _unsaid(grid)
    total = sum(len(load.members) for load in grid.loads)
    verdict = Verdict.NOT_CHECKED if reason else Verdict.PASS
    observed = f"all {counts(total, 'load')} have two ways that share no element"
    return Result(check, subject, observed, verdict, area=grid.area, reason=reason)


def _out(plant: Outages, ids: tuple[str, str, str, str, str], subject: str, element: Element) -> Result:
    grid = plant.grid
    at = f"{subject}/{path(element)}"
    kind = grid.nodes[element[0]].kind if len(element) == 1 else None
    check = ids[4] if kind is None else ids[2] if kind in CAPACITY else ids[3]
    loss = plant.others_without(element)
    if loss.loads:
        return _lost(plant, check, at, element, loss)
    if not grid.loads:
        reason: str | None = f"no rack says what it hangs on (spec.racks: {_NAMED_BY[grid.area]})"
    else:
        reason = _unrated(grid)
    observed = _remains(grid, element, kind)
    return Result(check, at, observed, Verdict.NOT_CHECKED if reason else Verdict.PASS, element, grid.area, reason)


def _lost(plant: Outages, check: str, subject: str, element: Element, loss: Loss) -> Result:
    """Tell what an element takes; with none, what is not carried though everything is in place."""
    grid = plant.grid
    known = plant.base.loads if element else frozenset()
    said = []
    if severed := plant.members(loss.severed - known):
        said.append(f"no {'way' if grid.area == 'network' else grid.area} for {named(severed)}")
    if short := plant.members(loss.short - known):
        said.append(f"{kilowatts(loss.watts)} short, shared by {named(short)}")
    if old := plant.members(loss.loads & known):
        said.append(f"not carried with everything in place either: {named(old)}")
    if not element and grid.area == "power" and not grid.sources:
        said.append("there is no generator, and a utility does not count")
    fresh = severed + short
    members = fresh + old
    return Result(
        check,
        subject,
        "; ".join(said),
        Verdict.FAIL,
        element,
        grid.area,
        count=len(members),
        fresh=len(fresh),
        loads=tuple(member.name for member in members),
        degraded=not loss.severed,
    )


def _carried(grid: Grid) -> str:
    total = counts(grid.demand[0], "load")
    if grid.area == "network":
        return f"{total} reach a carrier"
    return f"{total} carried: {kilowatts(grid.demand[1])}"


def _remains(grid: Grid, element: Element, kind: str | None) -> str:
    if kind == "utility":
        return f"no utility is counted; {_carried(grid)}"
    group = grid.siblings[element[0]] if kind in CAPACITY else ()
    rest = f"; {len(group) - 1} of {len(group)} of its group remain" if len(group) > 1 else ""
    return f"{_carried(grid)}{rest}"


def _unsaid(grid: Grid) -> str | None:
    if not grid.unsaid:
        return None
    return f"of {named(grid.unsaid)}, the site file does not say what they hang on (spec.racks: {_NAMED_BY[grid.area]})"


def _unrated(grid: Grid) -> str | None:
    return f"the kw of {some(grid.unrated)} is not known" if grid.unrated else None


def _driven(plant: Plant) -> Iterator[Result]:
    """Judge what stops by way of power, pumps, air handlers, switches, and whether power covers what they draw."""
    site = plant.facility.site.metadata.name
    subject = f"site/{site}/power"
    if not plant.facility.power.nodes:
        nothing = "the site file names no components of power"
        yield Result("DC-007", subject, "nothing is known", Verdict.NOT_CHECKED, reason=nothing)
        return
    dead = [name for elements in plant.unpowered.values() for (name,) in elements]
    if dead:
        yield Result("DC-007", subject, f"no power for {some(dead)} with everything in place", Verdict.FAIL)
    starved = plant.starved(plant.whole.base)
    if starved:
        yield _starved(subject, (), plant.whole.base, starved, ())
    broken = bool(dead or starved)
    for element in plant.areas["power"].grid.elements:
        for area, stopped in plant.stopped(element).items():
            if not stopped:
                continue
            outages = plant.areas[area]
            loads = plant.after("power", element)[area].loads
            broken = broken or bool(loads)
            fresh = len(outages.members(loads - plant.base(area).loads))
            if members := outages.members(loads) if fresh else []:
                names = tuple(member.name for member in members)
                observed = f"stops {some([path(one) for one in stopped])}: no {area} for {named(members)}"
                at, count = f"{subject}/{path(element)}", len(names)
                yield Result(
                    "DC-007", at, observed, Verdict.FAIL, element, "power", count=count, fresh=fresh, loads=names
                )
        loss = plant.whole.without(element)
        if set(members := plant.starved(loss)) - set(starved):
            broken = True
            yield _starved(f"{subject}/{path(element)}", element, loss, members, starved)
    if not broken:
        yield from _unbroken(plant, subject)


def _starved(subject: str, element: Element, loss: Loss, members: Sequence[Member], before: Sequence[Member]) -> Result:
    names = tuple(member.name for member in members)
    fresh = len(set(members) - set(before))
    observed = f"{kilowatts(loss.watts)} short, shared by {named(members)}"
    count = len(names)
    return Result("DC-007", subject, observed, Verdict.FAIL, element, "power", None, count, fresh, names, True)


def _unbroken(plant: Plant, subject: str) -> Iterator[Result]:
    nodes = [node for area in POWERED for node in plant.areas[area].grid.nodes.values()]
    driven = [node for node in nodes if node.feeds]
    if not driven and not plant.silent:
        return
    why = "; ".join(
        words
        for words in (
            f"the feeds of {some(plant.silent)} are not said" if plant.silent else "",
            f"what {some(plant.unmeasured)} draw{'s' * (len(plant.unmeasured) == 1)} is not said"
            if plant.unmeasured
            else "",
            (_unrated(plant.facility.power) or "") if driven else "",
        )
        if words
    )
    drawn = kilowatts(sum(node.draws or 0 for node in driven))
    observed = f"what is driven goes on, whatever is out: {drawn}" if driven else "nothing is known"
    yield Result("DC-007", subject, observed, Verdict.NOT_CHECKED if why else Verdict.PASS, reason=why or None)


def _uninterrupted(power: Outages, site: str) -> Iterator[Result]:
    """Judge whether every load that power has a way to hangs behind a UPS: generators need seconds to start."""
    import networkx as nx

    grid = power.grid
    if not grid.nodes or not grid.loads:
        return  # DC-001 says so
    graph = grid.digraph()
    units = {name for name, node in grid.nodes.items() if node.kind == "ups"}
    behind = units.union(*(nx.descendants(graph, unit) for unit in units))
    bare = [number for number, load in enumerate(grid.loads) if load.taps.isdisjoint(behind)]
    subject = f"site/{site}/power"
    if members := power.members(bare):
        names = tuple(member.name for member in members)
        observed = f"no UPS before {named(members)}"
        yield Result("DC-008", subject, observed, Verdict.FAIL, (), "power", None, len(names), len(names), names)
        return
    reason = _unsaid(grid)
    observed = f"all {counts(sum(len(load.members) for load in grid.loads), 'load')} hang behind a UPS"
    yield Result("DC-008", subject, observed, Verdict.NOT_CHECKED if reason else Verdict.PASS, (), "power", reason)


def _racks(facility: Facility) -> Iterator[Result]:
    """Compare what hosts draw with what their rack may give."""
    site = facility.site
    drawn: dict[str, int] = {}
    for host in site.spec.hosts:
        if host.rack is not None:
            drawn[host.rack] = drawn.get(host.rack, 0) + (host.watts or 0)
    rated = [(rack, rack.watts) for rack in site.spec.racks if rack.watts is not None]
    over = [(rack, watts) for rack, watts in rated if drawn.get(rack.name, 0) > watts]
    for rack, watts in over:
        hosts = tuple(host.name for host in site.spec.hosts if host.rack == rack.name)
        observed = f"{counts(len(hosts), 'host')} draw {kilowatts(drawn[rack.name])} of {kilowatts(watts)}"
        subject = f"site/{site.metadata.name}/rack/{rack.name}"
        yield Result(
            "DC-006", subject, observed, Verdict.FAIL, (rack.name,), count=len(hosts), fresh=len(hosts), loads=hosts
        )
    if not over:
        subject = f"site/{site.metadata.name}/power"
        if rated:
            yield Result("DC-006", subject, f"{counts(len(rated), 'rack')} within what they may draw", Verdict.PASS)
        else:
            why = "no rack says what it may draw"
            yield Result("DC-006", subject, "no limits are named", Verdict.NOT_APPLICABLE, reason=why)


def _fallen(plant: Plant) -> Iterator[Result]:
    """Take out each rack with all that stands in it: what other racks hold must not notice."""
    site = plant.facility.site
    subject = f"site/{site.metadata.name}"
    racks = [rack.name for rack in site.spec.racks]
    broken = False
    for name in racks:
        lost = {area: [one for one in members if one.name not in plant.lost_already] for area, members in
                plant.without_rack(name).lost.items()}  # fmt: skip
        names = tuple(dict.fromkeys(member.name for members in lost.values() for member in members))
        if names:
            broken = True
            said = "; ".join(f"no {area} for {named(members)}" for area, members in lost.items() if members)
            count = len(names)
            yield Result(
                "DC-009", f"{subject}/rack/{name}", said, Verdict.FAIL, (name,), None, None, count, count, names
            )
    if not broken:
        why = _unplaced(plant) if racks else "the site file names no racks"
        observed = f"{counts(len(racks), 'rack')} can be lost one by one"
        yield Result("DC-009", subject, observed, Verdict.NOT_CHECKED if why else Verdict.PASS, reason=why)


def _unplaced(plant: Plant) -> str | None:
    """Return why it cannot be said what falls with a rack, or None.

    What carries traffic stands in racks. What stands in none that is known is taken out with all else that may stand
    in one rack with it: the rest of its room, and each rack there.
    """
    silent = [grid.area for grid in plant.facility.grids if not grid.nodes]
    if silent:
        return f"the site file names no components of {' and '.join(silent)}"
    nodes = plant.facility.network.nodes.values()
    homeless = [node for node in nodes if node.kind != "carrier" and node.rack is None]
    rooms = dict.fromkeys(node.room for node in homeless)
    trials: list[tuple[str | None, str | None]] = [(None, room) for room in rooms]
    trials += [(rack.name, rack.room) for rack in plant.facility.site.spec.racks if homeless]
    for rack, room in trials:
        together = [node.name for node in homeless if node.room in {room, None} or (rack and room is None)]
        fall = plant.without_rack(rack, [(name,) for name in together])
        if any(member.name not in plant.lost_already for members in fall.lost.values() for member in members):
            return f"the rack of {some(together)} is not said: it may be {rack or 'one for all of them'}"
    return None


def _accreditation(site: Site, today: dt.date) -> Result:
    subject = f"site/{site.metadata.name}"
    paper = site.spec.accreditation
    assert paper is not None  # noqa: S101 - asked before
    verdict = Verdict.PASS if paper.expires >= today else Verdict.FAIL
    said = "holds until" if verdict is Verdict.PASS else "expired on"
    return Result("DC-051", subject, f"{paper.scheme}: {said} {paper.expires.isoformat()}", verdict)
