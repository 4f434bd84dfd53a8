"""Several sites together: recovery elsewhere, room for it with a rack out, and the nation without any one site.

Room is judged as a flow from tenants to the clusters that admit them, for cpu and for memory each by itself. That is
necessary, and not sufficient: how pods fall onto machines is the scheduler's.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import lcm

from gcloud_pk.facility.flow import SOURCE, Flow
from gcloud_pk.facility.results import Result, ordered
from gcloud_pk.facility.words import counts, some
from gcloud_pk.model import cities
from gcloud_pk.model.classification import Classification
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.model.quantity import Quantity
from gcloud_pk.model.request import TenantRequest
from gcloud_pk.model.rules import clusters_for, site_problem
from gcloud_pk.model.site import Cluster, Host, Site
from gcloud_pk.model.tenant import place

Key = tuple[str, str, tuple[Classification, ...]]
"""A site's name, a cluster's, and the classes of data that some of its hosts hold."""

RESOURCES = ("cpu", "memory")


@dataclass(frozen=True, slots=True)
class Room:
    """What one cluster's machines have to give tenants, by rack: cores and bytes. `unknown`: hosts without a class."""

    racks: Mapping[str | None, tuple[Fraction, Fraction]]
    unknown: tuple[str, ...]

    def total(self, resource: int, without: str | None = None) -> Fraction:
        """Return all of it, with one rack out."""
        return sum((give[resource] for rack, give in self.racks.items() if rack != without or rack is None), Fraction())


@dataclass(frozen=True, slots=True)
class Placed:
    """A tenant: its request, and the site that it is on."""

    request: TenantRequest
    primary: str | None

    @property
    def name(self) -> str:
        """The tenant's name."""
        return self.request.metadata.name

    @property
    def recovery(self) -> str | None:
        """The site that its request names for recovery."""
        return self.request.spec.site.recovery if self.request.spec.site else None

    def budget(self, resource: int) -> Fraction:
        """Return cores, or bytes."""
        budget = self.request.spec.budget
        return (budget.cpu, budget.memory)[resource].value


def judge_all(
    sites: Mapping[str, Site],
    requests: Mapping[str, TenantRequest],
    today: dt.date | None = None,
    primaries: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Return all findings on recovery, room and national totals.

    `requests`: those of active tenants, by name; `primaries`: where tenants are whose request names no site, if not
    where they would be placed first; `today`: the day that accreditations are compared with.
    """
    placed = []
    for name, request in sorted(requests.items()):
        primary = (primaries or {}).get(name)
        if primary is None:
            site = place(request, sites)
            primary = site.metadata.name if site else None
        placed.append(Placed(request, primary))
    nation = _Nation(sites, placed, today)
    return ordered(nation.results())


@dataclass(frozen=True)
class _Demand:
    """Tenants that may go to the same clusters."""

    tenants: tuple[Placed, ...]
    clusters: frozenset[Key]


@dataclass(frozen=True)
class _Nation:
    sites: Mapping[str, Site]
    tenants: Sequence[Placed]
    today: dt.date | None

    def results(self) -> Iterator[Result]:
        for tenant in self.tenants:
            yield self._recovery(tenant)
        for name in sorted(self.sites):
            yield self._held(name)
        if len(self.sites) < 2:
            why = "there is one site only" if self.sites else "there is no site"
            yield Result("DC-104", "nation", counts(len(self.sites), "site"), Verdict.NOT_CHECKED, reason=why)
            return
        for name in sorted(self.sites):
            yield self._recovered(name)
            yield self._totals(name)

    @cached_property
    def _rooms(self) -> dict[Key, Room]:
        return {(*place, held): room for place, rooms in self._by_cluster.items() for held, room in rooms.items()}

    @cached_property
    def _by_cluster(self) -> dict[tuple[str, str], Mapping[tuple[Classification, ...], Room]]:
        return {
            (name, cluster.name): _by_classes(site, cluster)
            for name, site in self.sites.items()
            for cluster in site.spec.clusters
        }

    def _recovery(self, tenant: Placed) -> Result:
        subject = f"tenant/{tenant.name}"
        primary = self.sites.get(tenant.primary or "")
        if tenant.recovery is None:
            why = "its request names no recovery site"
            return Result("DC-101", subject, why, Verdict.NOT_CHECKED, reason=why)
        recovery = self.sites.get(tenant.recovery)
        if recovery is None or primary is None:
            missing = tenant.recovery if recovery is None else (tenant.primary or "a primary site")
            observed = f"the registry has no site {missing}" if missing != "a primary site" else "it is on no site"
            return Result("DC-101", subject, observed, Verdict.FAIL, count=1, fresh=1, loads=(tenant.name,))
        wrong = list(self._objections(tenant, primary, recovery))
        here, there = primary.spec.location, recovery.spec.location
        ways = f"{tenant.primary} ({_place(primary)}) to {tenant.recovery} ({_place(recovery)})"
        if wrong:
            observed = f"{ways}: {'; '.join(wrong)}"
            return Result("DC-101", subject, observed, Verdict.FAIL, count=1, fresh=1, loads=(tenant.name,))
        if here.seismic_zone is None or there.seismic_zone is None:
            silent = tenant.primary if here.seismic_zone is None else tenant.recovery
            why = f"sites/{silent}.yaml names no seismic zone"
            return Result("DC-101", subject, ways, Verdict.NOT_CHECKED, reason=why)
        if cities.alike(here, there):
            why = f"{here.city!r} and {there.city!r} may be one city: one spelling for one city, in sites/"
            return Result("DC-101", subject, ways, Verdict.NOT_CHECKED, reason=why)
        return Result("DC-101", subject, ways, Verdict.PASS)

    def _objections(self, tenant: Placed, primary: Site, recovery: Site) -> Iterator[str]:
        here, there = primary.spec.location, recovery.spec.location
        if tenant.primary == tenant.recovery:
            yield "the same site"
            return
        if cities.same(here, there):
            yield f"both stand in {here.city}"
        if here.seismic_zone and here.seismic_zone == there.seismic_zone:
            yield f"both stand in seismic zone {here.seismic_zone}"
        if problem := site_problem(recovery, tenant.request):
            yield problem
        elif not self._open_to(tenant, {tenant.recovery or ""}):
            yield f"no cluster of {tenant.recovery} admits it"
        paper = recovery.spec.accreditation
        if self.today and paper and paper.expires < self.today:
            yield f"the accreditation of {tenant.recovery} expired on {paper.expires.isoformat()}"

    def _open_to(self, tenant: Placed, sites: Iterable[str]) -> frozenset[Key]:
        """Return the clusters of some sites that admit a tenant."""
        found: set[Key] = set()
        for name in sites:
            site = self.sites.get(name)
            if site is None or site_problem(site, tenant.request) is not None:
                continue
            for cluster in clusters_for(site, tenant.request):
                rooms = self._by_cluster[name, cluster.name]
                found |= {(name, cluster.name, held) for held in rooms if tenant.request.spec.classification in held}
        return frozenset(found)

    def _held(self, name: str) -> Result:
        """Judge the room of a site for the tenants on it, with any one rack out."""
        here = [tenant for tenant in self.tenants if tenant.primary == name]
        if not here:
            return Result("DC-102", f"site/{name}", "no tenant is on it", Verdict.NOT_APPLICABLE, reason="no tenant")
        return self._fits("DC-102", f"site/{name}", here, lambda _: {name}, racks=True)

    def _recovered(self, lost: str) -> Result:
        """Judge the room where the recovery sites take over, with any one rack out."""

        def goes(tenant: Placed) -> set[str]:
            if tenant.primary != lost:
                return {tenant.primary or ""}
            return {tenant.recovery} if tenant.recovery and tenant.recovery != lost else set()

        coming = [tenant for tenant in self.tenants if tenant.primary == lost]
        subject = f"nation/without/{lost}"
        if not coming:
            return Result("DC-103", subject, f"no tenant is on {lost}", Verdict.NOT_APPLICABLE, reason="no tenant")
        silent = [tenant.name for tenant in coming if tenant.recovery is None]
        sites = {tenant.recovery for tenant in coming if tenant.recovery}
        there = [
            tenant for tenant in self.tenants if tenant.primary in sites or (tenant.primary == lost and tenant.recovery)
        ]
        result = self._fits("DC-103", subject, there, goes, racks=True)
        if silent and result.verdict is Verdict.PASS:
            why = f"{some(silent)}: no recovery site is named"
            return Result("DC-103", subject, result.observed, Verdict.NOT_CHECKED, reason=why)
        return result

    def _totals(self, lost: str) -> Result:
        """Judge whether all tenants find room somewhere without a site."""
        rest = set(self.sites) - {lost}
        return self._fits("DC-104", f"nation/without/{lost}", self.tenants, lambda _: rest, racks=False)

    def _fits(
        self,
        check: str,
        subject: str,
        tenants: Sequence[Placed],
        goes: Callable[[Placed], Iterable[str]],
        *,
        racks: bool,
    ) -> Result:
        if not tenants:
            return Result(check, subject, "no tenants", Verdict.NOT_APPLICABLE, reason="no tenants")
        demands = self._demands(tenants, goes)
        keys = sorted(frozenset().union(*(one.clusters for one in demands)))
        worst: tuple[tuple[str, str] | None, str, Fraction, list[Placed]] | None = None
        for resource, unit in enumerate(RESOURCES):
            for rack in (None, *(self._heaviest(keys, resource) if racks else ())):
                missing, short = _shortfall(demands, self._capacity(keys, resource, rack), resource)
                if missing and (worst is None or len(short) > len(worst[3])):
                    worst = rack, unit, missing, short
        unknown = [
            f"{site}/{host}" for site, cluster, held in keys for host in self._rooms[site, cluster, held].unknown
        ]
        nowhere = [tenant.name for one in demands if not one.clusters for tenant in one.tenants]
        if worst and not (unknown and not nowhere):
            rack, unit, missing, short = worst
            names = tuple(tenant.name for tenant in short)
            out = f" with {rack[1]} of {rack[0]} out" if rack else ""
            observed = (
                f"{_amount(missing, unit)} of {unit} short{out} for {counts(len(names), 'tenant')}: {some(names)}"
            )
            if nowhere:
                observed += f"; no cluster with hosts for it admits {some(nowhere)}"
            return Result(check, subject, observed, Verdict.FAIL, count=len(names), fresh=len(names), loads=names)
        if unknown:
            why = f"cpu and memory of {some(unknown)} are not known (spec.hosts: machine)"
            return Result(check, subject, f"{counts(len(tenants), 'tenant')}", Verdict.NOT_CHECKED, reason=why)
        asked = ", ".join(
            f"{_amount(sum((one.budget(number) for one in tenants), Fraction()), unit)} of "
            f"{_amount(sum(self._capacity(keys, number, None).values(), Fraction()), unit)} {unit}"
            for number, unit in enumerate(RESOURCES)
        )
        return Result(check, subject, f"{counts(len(tenants), 'tenant')}: {asked}", Verdict.PASS)

    def _demands(self, tenants: Sequence[Placed], goes: Callable[[Placed], Iterable[str]]) -> list[_Demand]:
        groups: defaultdict[frozenset[Key], list[Placed]] = defaultdict(list)
        for tenant in tenants:
            groups[self._open_to(tenant, goes(tenant))].append(tenant)
        return [_Demand(tuple(members), clusters) for clusters, members in groups.items()]

    def _heaviest(self, keys: Sequence[Key], resource: int) -> list[tuple[str, str]]:
        """Return the racks worth taking out: a rack that gives each cluster no more than another does adds nothing."""
        gives: dict[tuple[str, str], dict[Key, Fraction]] = {}
        for key in keys:
            for rack, give in self._rooms[key].racks.items():
                if rack is not None:
                    gives.setdefault((key[0], rack), {})[key] = give[resource]
        kept: list[tuple[str, str]] = []
        for name in sorted(gives, key=lambda one: (-sum(gives[one].values()), one)):
            if not any(all(gives[other].get(key, 0) >= give for key, give in gives[name].items()) for other in kept):
                kept.append(name)
        return kept

    def _capacity(self, keys: Sequence[Key], resource: int, out: tuple[str, str] | None) -> dict[Key, Fraction]:
        return {key: self._rooms[key].total(resource, out[1] if out and out[0] == key[0] else None) for key in keys}


def _by_classes(site: Site, cluster: Cluster) -> Mapping[tuple[Classification, ...], Room]:
    """Return what the hosts of a cluster that run tenants' pods have to give, by the classes that they hold."""
    groups: defaultdict[tuple[Classification, ...], list[Host]] = defaultdict(list)
    for host in site.spec.hosts_for_tenants(cluster):
        groups[tuple(sorted(host.holds or site.spec.classes_of(cluster)))].append(host)
    if not site.spec.hosts_of(cluster):
        return {site.spec.classes_of(cluster): Room({}, (cluster.name,))}
    return {held: _room(site, cluster, hosts) for held, hosts in groups.items()}


def _room(site: Site, cluster: Cluster, hosts: Sequence[Host]) -> Room:
    """Return what hosts have to give: their machines, less what the kubelet keeps for the system."""
    kept = cluster.kubelet.system_reserved_cpu, cluster.kubelet.system_reserved_memory
    own_cpu, own_memory = (amount.value if amount else Fraction() for amount in kept)
    racks: dict[str | None, tuple[Fraction, Fraction]] = {}
    unknown = []
    for host in hosts:
        machine = site.spec.machine(host.machine)
        if machine is None:
            unknown.append(host.name)
            continue
        cpu, memory = racks.get(host.rack, (Fraction(), Fraction()))
        racks[host.rack] = (
            cpu + max(machine.cpu.value - own_cpu, Fraction()),
            memory + max(machine.memory.value - own_memory, Fraction()),
        )
    unknown += [host.name for host in hosts if host.rack is None]
    return Room(racks, tuple(dict.fromkeys(unknown)))


def _shortfall(
    demands: Sequence[_Demand], capacity: Mapping[Key, Fraction], resource: int
) -> tuple[Fraction, list[Placed]]:
    """Return what is missing of a resource, and the tenants that share the lack of it."""
    wanted = [sum((tenant.budget(resource) for tenant in one.tenants), Fraction()) for one in demands]
    unit = lcm(*(amount.denominator for amount in (*wanted, *capacity.values())))
    flow = Flow()
    ends: dict[Key, int] = {}
    for key, amount in capacity.items():
        ends[key] = flow.node()
        flow.arc(SOURCE, ends[key], int(amount * unit))
    for one, amount in zip(demands, wanted, strict=True):
        drawn = flow.node()
        for key in sorted(one.clusters):
            flow.arc(ends[key], drawn, int(amount * unit))
        flow.load(drawn, int(amount * unit))
    shortage = flow.shortage()
    short = [tenant for number in sorted(shortage.sharing) for tenant in demands[number].tenants]
    return Fraction(sum(shortage.missing.values()), unit), short


def _amount(amount: Fraction, unit: str) -> str:
    return str(Quantity(amount, binary=unit == "memory"))


def _place(site: Site) -> str:
    location = site.spec.location
    return f"{location.city}, zone {location.seismic_zone or 'not said'}"
