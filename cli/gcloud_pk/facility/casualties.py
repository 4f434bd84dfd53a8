"""What goes down when one element is taken out for a drill, and what the Tier III check promises of it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, get_args

from gcloud_pk.errors import WrongUsageError
from gcloud_pk.facility.graph import AREAS, Area, Facility
from gcloud_pk.facility.plant import Plant
from gcloud_pk.facility.words import some
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.model.site import Cluster, Site

Kind = Literal["host", "rack", "feed", "site"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_PROMISES = ("DC-032", "DC-033")
"""The checks that say whether a cluster outlives an element: quorum of etcd, endpoint of the API."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is taken out: `host`, `rack`, `feed` (a component of power, cooling or network) or the whole `site`."""

    kind: Kind
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind


@dataclass(frozen=True, slots=True)
class Promise:
    """What the Tier III check says of a cluster while the element is out. `survives`: None where it does not say."""

    cluster: str
    survives: bool | None
    why: str


@dataclass(frozen=True, slots=True)
class Casualties:
    """What a target takes with it. `down`: hosts that stop; `cut_off`: hosts that run on and no carrier reaches.

    `stopped`: components of cooling and network without power; `area`: that of a feed.
    """

    target: Target
    subject: str
    down: tuple[str, ...]
    cut_off: tuple[str, ...]
    stopped: tuple[str, ...]
    promises: tuple[Promise, ...]
    area: Area | None = None

    @property
    def survivable(self) -> bool:
        """Whether the Tier III check says of every cluster that it outlives this."""
        return bool(self.promises) and all(one.survives for one in self.promises)

    def as_dict(self) -> dict[str, Any]:
        """Return what is kept of it, and shown."""
        return {
            "element": str(self.target),
            "down": list(self.down),
            "cutOff": list(self.cut_off),
            "stopped": list(self.stopped),
            "promises": [{"cluster": one.cluster, "survives": one.survives, "why": one.why} for one in self.promises],
        }


def target(word: str) -> Target:
    """Read `rack:rack-1`, `host:c1`, `feed:pdu-r1-a` or `site`. Raises WrongUsageError."""
    kind, _, name = word.partition(":")
    if kind not in KINDS or (kind == "site") == bool(name):
        raise WrongUsageError(
            f"--lose {word!r} names no element", resolution="one of host:NAME, rack:NAME, feed:NAME, or site"
        )
    return Target(kind, name)


def casualties(site: Site, lost: Target, findings: Sequence[Finding]) -> Casualties:
    """Return what goes with a target. `findings`: those of the Tier III check on the site (`tier.judge`).

    Raises WrongUsageError where the site has no such element, InvalidInputError where power goes in a circle.
    """
    root = f"site/{site.metadata.name}"
    hosts = site.spec.hosts
    down: Collection[str]
    cut_off: Collection[str] = ()
    stopped: tuple[str, ...] = ()
    area: Area | None = None
    if lost.kind == "site":
        subject, down = root, [host.name for host in hosts]
    elif lost.kind == "host":
        _known(lost, [host.name for host in hosts])
        subject, down = f"{root}/host/{lost.name}", [lost.name]
    elif lost.kind == "rack":
        _known(lost, [rack.name for rack in site.spec.racks])
        subject, down = f"{root}/rack/{lost.name}", [host.name for host in hosts if host.rack == lost.name]
    else:
        plant = Plant(Facility.of(site))
        area = _area(plant, lost)
        subject = f"{root}/{area}/{lost.name}"
        down, cut_off, stopped = _behind(plant, area, lost.name)
    order = [host.name for host in hosts]
    return Casualties(
        lost,
        subject,
        tuple(sorted(down, key=order.index)),
        tuple(sorted(set(cut_off) - set(down), key=order.index)),
        stopped,
        tuple(_promises(site, lost, subject, findings, down)),
        area,
    )


def survivable(site: Site, findings: Sequence[Finding]) -> list[Casualties]:
    """Return all that the Tier III check calls survivable: racks, then components, in the file's order."""
    plant_of = (site.spec.power, site.spec.network, site.spec.cooling)
    targets = [Target("rack", rack.name) for rack in site.spec.racks]
    targets += [Target("feed", one.name) for grid in plant_of for one in grid.components]
    broken = {one.subject for one in findings if one.verdict is Verdict.FAIL}
    every = (casualties(site, one, findings) for one in dict.fromkeys(targets))
    return [one for one in every if one.survivable and one.subject not in broken]


def left_with(site: Site, cluster: Cluster, out: Collection[str]) -> tuple[int, int, int]:
    """Return how many control planes of a cluster are left with some hosts out, how many there are and are needed."""
    members = [host.name for host in site.spec.control_planes(cluster)]
    return sum(name not in out for name in members), len(members), len(members) // 2 + 1


def _known(lost: Target, names: Sequence[str]) -> None:
    if lost.name in names:
        return
    near = get_close_matches(lost.name, names, n=1)
    guess = f"; did you mean {lost.kind}:{near[0]}?" if near else ""
    raise WrongUsageError(
        f"the site has no {lost.kind} {lost.name!r}{guess}", resolution=f"it has {some(names) or 'none'}"
    )


def _area(plant: Plant, lost: Target) -> Area:
    found = [area for area in AREAS if lost.name in plant.areas[area].grid.nodes]
    if not found:
        _known(lost, [name for area in AREAS for name in plant.areas[area].grid.nodes])
    if len(found) > 1:
        raise WrongUsageError(
            f"{lost.name!r} is the name of components of {' and of '.join(found)}",
            resolution="give them names of their own in the site file",
        )
    return found[0]


def _behind(plant: Plant, area: Area, name: str) -> tuple[set[str], set[str], tuple[str, ...]]:
    """Return the hosts without power or cooling, those that no carrier reaches, and what stops, with a component out.

    What is not carried with everything in place is no loss.
    """
    lost: dict[Area, set[str]] = {}
    for at, loss in plant.after(area, (name,)).items():
        fresh = plant.areas[at].members(loss.loads - plant.base(at).loads)
        lost[at] = {member.name for member in fresh if member.kind == "host"}
    stopped = plant.stopped((name,)) if area == "power" else {}
    names = tuple(one for elements in stopped.values() for (one,) in elements)
    return lost.get("power", set()) | lost.get("cooling", set()), lost.get("network", set()), names


def _promises(
    site: Site, lost: Target, subject: str, findings: Sequence[Finding], down: Collection[str]
) -> Iterator[Promise]:
    for cluster in site.spec.clusters:
        if not site.spec.control_planes(cluster):
            yield Promise(cluster.name, None, "the site file names no control plane of it")
        elif lost.kind == "site":
            yield Promise(cluster.name, survives=False, why="all of its hosts go down")
        elif lost.kind == "host":
            yield _of_host(site, cluster, lost, findings, down)
        else:
            yield _of_element(site, cluster, subject, findings)


def _of_host(site: Site, cluster: Cluster, lost: Target, findings: Sequence[Finding], down: Collection[str]) -> Promise:
    """Return what holds of a host, which is no element of the check: what outlives its rack, else what is left."""
    rack = next(host.rack for host in site.spec.hosts if host.name == lost.name)
    if rack is not None:
        whole = _of_element(site, cluster, f"site/{site.metadata.name}/rack/{rack}", findings)
        if whole.survives is not False:
            return whole
    left, size, needed = left_with(site, cluster, down)
    if size == len(set(down) & {host.name for host in site.spec.control_planes(cluster)}):
        return Promise(cluster.name, survives=False, why="it has no other control plane")
    return Promise(cluster.name, left >= needed, f"{left} of {size} control planes are left; {needed} are needed")


def _of_element(site: Site, cluster: Cluster, subject: str, findings: Sequence[Finding]) -> Promise:
    whole = f"site/{site.metadata.name}/cluster/{cluster.name}"
    about = [one for one in findings if one.id in _PROMISES]
    for one in about:
        of_this = one.subject == subject and f"{cluster.name}: " in one.observed
        if one.verdict is Verdict.FAIL and (of_this or one.subject == whole):
            return Promise(cluster.name, survives=False, why=f"{one.id}: {one.observed}")
    for one in about:
        if one.subject == whole and one.verdict is not Verdict.PASS:
            return Promise(cluster.name, None, f"{one.id}: {one.reason or one.observed}")
    return Promise(cluster.name, survives=True, why=f"{' and '.join(_PROMISES)}: quorum and endpoint remain")
