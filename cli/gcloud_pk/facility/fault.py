"""What Tier IV asks more: any one failure is borne without a switch-over, and the two ways stand in different rooms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from gcloud_pk.facility.graph import Facility, Grid
from gcloud_pk.facility.outage import Outages
from gcloud_pk.facility.plant import Plant
from gcloud_pk.facility.results import Result
from gcloud_pk.facility.words import counts, kilowatts, named, path, some
from gcloud_pk.model.finding import Verdict


def results(plant: Plant) -> list[Result]:
    """Return what is found out about fault tolerance, compartments and continuous cooling."""
    return [*_two_at_once(plant.facility), *_compartments(plant), _continuous(plant.facility)]


def behind_ups(grid: Grid) -> Grid:
    """Return power without the ways that go around every UPS: what is left needs no switch-over.

    What stands before a UPS leads to UPSs only; what stands behind, and what draws, is fed from behind one only.
    """
    import networkx as nx

    graph = grid.digraph()
    units = {name for name, node in grid.nodes.items() if node.kind == "ups"}
    before = {name for unit in units for name in nx.ancestors(graph, unit)} - units
    safe = set(units)
    links = []
    for name in nx.topological_sort(graph):
        sources = list(graph.predecessors(name))
        if name not in units and sources and all(one in safe for one in sources):
            safe.add(name)
        kept = [one for one in sources if one in safe or name in before or name in units]
        if kept and name not in before:
            safe.add(name)
        links += [(one, name) for one in kept]
    loads = tuple(replace(load, taps=load.taps & safe) for load in grid.loads)
    return replace(grid, links=tuple(links), loads=loads)


def _two_at_once(facility: Facility) -> Iterator[Result]:
    subject = f"site/{facility.site.metadata.name}/power"
    if not facility.power.nodes or not facility.power.loads:
        why = "the site file does not say what the racks hang on"
        yield Result("DC-041", subject, "nothing is known", Verdict.NOT_CHECKED, area="power", reason=why)
        return
    plant = Outages(behind_ups(facility.power))
    if plant.base.loads:
        members = plant.members(plant.base.loads)
        names = tuple(member.name for member in members)
        observed = f"{named(members)}: not carried by power from a UPS, with everything in place"
        yield Result(
            "DC-041", subject, observed, Verdict.FAIL, (), "power", count=len(names), fresh=len(names), loads=names
        )
    broken = False
    for element in plant.grid.elements:
        loss = plant.others_without(element)
        if members := plant.members(loss.loads):
            broken = True
            fresh = len(plant.members(loss.loads - plant.base.loads))
            short = f", {kilowatts(loss.watts)} short" if loss.short else ""
            observed = f"no power from a UPS for {named(members)}{short}"
            names = tuple(member.name for member in members)
            yield Result(
                "DC-041",
                f"{subject}/{path(element)}",
                observed,
                Verdict.FAIL,
                element,
                "power",
                count=len(names),
                fresh=fresh,
                loads=names,
            )
    if not broken and not plant.base.loads:
        observed = "power from a UPS carries every load, whatever one element fails"
        silent = [*facility.power.unrated, *(member.name for member in facility.power.unsaid)]
        unknown = f"the kw or the feeds of {some(silent)} are not known" if silent else None
        verdict = Verdict.NOT_CHECKED if unknown else Verdict.PASS
        yield Result("DC-041", subject, observed, verdict, area="power", reason=unknown)


def _compartments(plant: Plant) -> Iterator[Result]:
    """Take out each room: what other rooms hold must not notice."""
    facility = plant.facility
    site = facility.site.metadata.name
    rooms: dict[str, None] = {}
    roomless: list[str] = []
    for grid in facility.grids:
        for name, node in grid.nodes.items():
            if node.room:
                rooms[node.room] = None
            elif node.kind != "carrier":
                roomless.append(name)
    roomless += [member.name for member in facility.members if member.room is None]
    why = f"the room of {some(roomless)} is not said" if roomless else None
    broken = False
    for room in rooms:
        fall = plant.without_room(room)
        lost = dict.fromkeys(member.name for members in fall.lost.values() for member in members)
        fresh = lost.keys() - plant.lost_already
        if lost:
            broken = True
            observed = f"{counts(len(lost), 'load')} in other rooms lose power, cooling or traffic: {some(list(lost))}"
            yield Result(
                "DC-042",
                f"site/{site}/room/{room}",
                observed,
                Verdict.FAIL,
                (room,),
                count=len(lost),
                fresh=len(fresh),
                loads=tuple(lost),
            )
    if not broken:
        observed = f"{counts(len(rooms), 'room')} can be lost one by one" if rooms else "no room is named"
        verdict = Verdict.NOT_CHECKED if why or not rooms else Verdict.PASS
        yield Result("DC-042", f"site/{site}", observed, verdict, reason=why or (None if rooms else "no room is named"))


def _continuous(facility: Facility) -> Result:
    why = "the site file does not say what powers pumps and air handlers, nor what cold is stored"
    subject = f"site/{facility.site.metadata.name}/cooling"
    return Result("DC-043", subject, "not to be seen in a site file", Verdict.NOT_CHECKED, area="cooling", reason=why)
