"""Rules between fields, and between a request and its registry. Pure: facts in, problems out.

Every rule gives its problem the field's path in the YAML, so that the caller can add file and line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from gcloud_pk.errors import Problem, problem
from gcloud_pk.model import federation
from gcloud_pk.model.classification import CLASSES, EXPOSURES, FLOOR, ISOLATION_LEVELS
from gcloud_pk.model.facility_rules import facility_problems, network_problems
from gcloud_pk.model.hosts import host_problems
from gcloud_pk.model.organisation import Organisation
from gcloud_pk.model.quantity import total
from gcloud_pk.model.request import TenantRequest
from gcloud_pk.model.settings import Settings
from gcloud_pk.model.site import Cluster, Site

RESERVED_TENANTS = ("default", "gcloud", "kube", "openshift")
"""Names whose namespaces would look like the platform's (`kube-system` = tenant `kube` + environment `system`)."""

_NEVER_EGRESS = tuple(
    (ip_network(cidr), what)
    for cidr, what in (
        ("127.0.0.0/8", "loopback"),
        ("::1/128", "loopback"),
        ("169.254.0.0/16", "link-local and metadata"),
        ("fe80::/10", "link-local"),
        ("fd00:ec2::/32", "metadata"),
        ("224.0.0.0/4", "multicast"),
        ("ff00::/8", "multicast"),
    )
)

_WIDEST = {4: 8, 6: 16}
"""The shortest prefix that is a network rather than the internet: 0.0.0.0/1 and 128.0.0.0/1 are all of it as well."""


@dataclass(frozen=True)
class Surroundings:
    """What a request is judged against.

    `others`: the tenants of the registry by name (a tenant never conflicts with itself).
    `accepted`: last accepted requests, where they differ from `others`: what they hold is held until it is given up.
    `names`: further tenants that hold nothing but their name, such as those offboarded. `registry`: False where there
    is none around: the rules that need one are left out. What all requests are compared with is indexed once.
    """

    organisations: Mapping[str, Organisation] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)
    sites: Mapping[str, Site] = field(default_factory=dict)
    others: Mapping[str, TenantRequest] = field(default_factory=dict)
    accepted: Mapping[str, TenantRequest] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    registry: bool = True

    def bonds(self, request: TenantRequest) -> tuple[federation.Bond, ...]:
        """Return the jurisdictions that bind a request."""
        return federation.bonds(request.spec.organisation, self.organisations, self.settings)

    def _known(self) -> Iterator[tuple[str, TenantRequest]]:
        yield from self.others.items()
        yield from self.accepted.items()

    @cached_property
    def tenants(self) -> frozenset[str]:
        """Names of all tenants."""
        return frozenset((*self.others, *self.accepted, *self.names))

    @cached_property
    def beginnings(self) -> dict[str, tuple[str, ...]]:
        """What stands before a hyphen in a tenant's name → the tenants whose names begin so."""
        found: dict[str, list[str]] = {}
        for name in sorted(self.tenants):
            for beginning in _beginnings(name):
                found.setdefault(beginning, []).append(name)
        return {beginning: tuple(names) for beginning, names in found.items()}

    @cached_property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Group in lower case (directories often ignore case) → the tenants that name it."""
        found: dict[str, dict[str, None]] = {}
        for name, request in self._known():
            for group in request.spec.access.groups():
                found.setdefault(group.lower(), {})[name] = None
        return {group: tuple(names) for group, names in found.items()}

    @cached_property
    def domains(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """Each domain and each domain above it → (domain, tenant) of those that lie there or under it."""
        found: dict[str, dict[tuple[str, str], None]] = {}
        for name, request in self._known():
            for environment in request.spec.environments:
                for domain in environment.domains:
                    for above in _upwards(domain):
                        found.setdefault(above, {})[domain, name] = None
        return {above: tuple(pairs) for above, pairs in found.items()}

    @cached_property
    def ranges(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """Site → (network, what it is) of its clusters' own."""
        return {
            name: tuple(r for cluster in site.spec.clusters for r in _cluster_ranges(cluster))
            for name, site in self.sites.items()
        }

    @cached_property
    def platform_namespaces(self) -> frozenset[str]:
        """Namespaces that the sites' clusters keep for the platform."""
        return frozenset(
            namespace
            for site in self.sites.values()
            for cluster in site.spec.clusters
            for namespace in (cluster.dns.namespace, cluster.ingress_namespace, cluster.monitoring_namespace)
        )


def _beginnings(name: str) -> Iterator[str]:
    return (name[:i] for i, character in enumerate(name) if character == "-")


def _upwards(domain: str) -> Iterator[str]:
    yield domain
    while "." in domain:
        domain = domain.partition(".")[2]
        yield domain


def under_domain(name: str, parent: str) -> bool:
    """Whether `name` is `parent` or lies under it, on a label boundary."""
    return name == parent or name.endswith("." + parent)


def names_collide(one: str, other: str) -> bool:
    """Whether two tenants could come to share a namespace.

    `a` + `b-c` and `a-b` + `c` are both `a-b-c`. Two different tenants' names can lead to one namespace only if one is
    the other up to a hyphen; that is refused, whatever environments they have today.
    """
    return one == other or one.startswith(other + "-") or other.startswith(one + "-")


@lru_cache(maxsize=4096)
def _network(cidr: str) -> IPv4Network | IPv6Network:
    return ip_network(cidr)


def _overlap(one: str, other: str) -> bool:
    first, second = _network(one), _network(other)
    return first.version == second.version and first.overlaps(second)


def request_problems(request: TenantRequest, around: Surroundings) -> list[Problem]:
    """Return everything that is wrong with a well-formed request, in the order of its fields."""
    found: list[Problem] = []
    for rule in (
        _name,
        _organisation,
        _classification,
        _site,
        _groups,
        _budget,
        _environments,
        _domains,
        _egress,
        _allow_from,
        _registries,
        _jurisdictions,
        _named_twice,
    ):
        found.extend(rule(request, around))
    return found


def _name(request: TenantRequest, around: Surroundings) -> Iterator[Problem]:
    return name_problems(request.metadata.name, around)


def name_problems(name: str, around: Surroundings) -> Iterator[Problem]:
    """Yield why a tenant may not have this name beside the others; that it is one of theirs is not looked at."""
    for reserved in RESERVED_TENANTS:
        if name == reserved or name.startswith(reserved + "-"):
            yield problem(
                f"{name!r} is reserved for the platform",
                field="metadata.name",
                expected=f"a name that is not {reserved!r} and does not begin with '{reserved}-'",
            )
    shorter = {beginning for beginning in _beginnings(name) if beginning in around.tenants}
    for other in sorted({*shorter, *around.beginnings.get(name, ())}):
        if names_collide(name, other):
            yield problem(
                f"{name!r} and tenant {other!r} could come to share a namespace",
                field="metadata.name",
                expected="a name of which no other tenant's name is the beginning up to a hyphen, and the reverse",
            )


def _organisation(request: TenantRequest, around: Surroundings) -> Iterator[Problem]:
    code = request.spec.organisation
    if around.registry and code not in around.organisations:
        from difflib import get_close_matches

        near = get_close_matches(code, around.organisations, n=1)
        yield problem(
            f"organisation {code!r} is not in organisations.yaml",
            field="spec.organisation",
            expected=f"a code of that file, such as {near[0]}" if near else "a code of that file",
        )


def _classification(request: TenantRequest, _around: Surroundings) -> Iterator[Problem]:
    spec = request.spec
    rule = FLOOR[spec.classification]
    if ISOLATION_LEVELS.index(spec.isolation) < ISOLATION_LEVELS.index(rule.isolation):
        yield problem(
            f"isolation {spec.isolation!r} is too weak for {spec.classification} data",
            field="spec.isolation",
            expected=f"{rule.isolation} or stronger",
        )
    for i, environment in enumerate(spec.environments):
        if EXPOSURES.index(environment.exposure) > EXPOSURES.index(rule.exposure):
            yield problem(
                f"exposure {environment.exposure!r} is too wide for {spec.classification} data",
                field=f"spec.environments[{i}].exposure",
                expected=" or ".join(EXPOSURES[: EXPOSURES.index(rule.exposure) + 1]),
            )


def site_problem(site: Site, request: TenantRequest) -> str | None:
    """Return why a site may not hold the request's class, or None."""
    spec = request.spec
    kind = site.spec.location.kind
    if kind not in FLOOR[spec.classification].site_kinds:
        return f"site {site.metadata.name!r} is a {kind} site, which may not hold {spec.classification} data"
    if spec.classification not in site.spec.admits:
        return f"site {site.metadata.name!r} does not admit {spec.classification} data"
    return None


def clusters_for(site: Site, request: TenantRequest) -> tuple[Cluster, ...]:
    """Return the clusters of a site on which a tenant of this isolation and class may be, in the site's order."""
    name, isolation = request.metadata.name, request.spec.isolation
    return tuple(
        cluster
        for cluster in site.spec.clusters
        if cluster.admits(name, isolation) and request.spec.classification in site.spec.classes_of(cluster)
    )


def sharing_problem(site: Site, request: TenantRequest) -> tuple[str, str] | None:
    """Return why a site has no cluster for a request's isolation and class, and what is expected instead, or None."""
    if clusters_for(site, request):
        return None
    tenant, site_name = request.metadata.name, site.metadata.name
    fit = [cluster for cluster in site.spec.clusters if cluster.admits(tenant, request.spec.isolation)]
    if fit and request.spec.classification in site.spec.admits:
        return (
            f"no cluster of site {site_name!r} that it could be on admits {request.spec.classification} data: "
            + ", ".join(f"{cluster.name} ({', '.join(site.spec.classes_of(cluster))})" for cluster in fit),
            "another site, or a cluster that admits it",
        )
    clusters = ", ".join(_described(cluster) for cluster in site.spec.clusters)
    if request.spec.isolation == "dedicated-cluster":
        return (
            f"site {site_name!r} has no cluster of tenant {tenant!r} alone; it has {clusters}",
            f"`dedicatedTo: {tenant}` at a cluster of sites/{site_name}.yaml that holds nobody else",
        )
    return (
        f"every cluster of site {site_name!r} is another tenant's own: {clusters}",
        f"another site, or a cluster without dedicatedTo in sites/{site_name}.yaml",
    )


def _described(cluster: Cluster) -> str:
    return f"{cluster.name} ({f'of {cluster.dedicated_to} alone' if cluster.dedicated_to else 'shared'})"


def _site(request: TenantRequest, around: Surroundings) -> Iterator[Problem]:
    placement = request.spec.site
    if placement is None:
        binding = around.bonds(request)
        admitted = [site for name, site in around.sites.items() if federation.admitted_by_all(name, binding)]
        suitable = [site for site in admitted if site_problem(site, request) is None]
        if around.sites and not suitable:
            of = f" of {' and '.join(bond.name for bond in binding)}" if len(admitted) < len(around.sites) else ""
            yield problem(
                f"no site of the registry may hold {request.spec.classification} data{of}",
                field="spec.site",
                expected="a site in sites/ that admits the class",
            )
        elif around.registry and (around.sites or request.spec.isolation == "dedicated-cluster"):
            yield from _no_room(request, suitable)
        return
    for role, name in (("primary", placement.primary), ("recovery", placement.recovery)):
        if name is None or not around.registry:
            continue
        site = around.sites.get(name)
        if site is None:
            known = ", ".join(sorted(around.sites)) or "none is defined in sites/"
            yield problem(f"site {name!r} is not in sites/", field=f"spec.site.{role}", expected=f"one of: {known}")
        elif reason := site_problem(site, request):
            yield problem(reason, field=f"spec.site.{role}", expected="a site that may hold the class")
        elif unshared := sharing_problem(site, request):
            yield problem(unshared[0], field=f"spec.site.{role}", expected=unshared[1])
    if placement.recovery == placement.primary:
        yield problem("the recovery site is the primary site", field="spec.site.recovery", expected="another site")


def _no_room(request: TenantRequest, suitable: Sequence[Site]) -> Iterator[Problem]:
    """Yield that none of the sites that may hold the class has a cluster for the isolation."""
    problems = [sharing_problem(site, request) for site in suitable]
    if all(problems):
        reasons = [found[0] for found in problems if found] or ["the registry has no site"]
        yield problem(
            f"no site has a cluster for isolation {request.spec.isolation!r}: {'; '.join(reasons)}",
            field="spec.isolation" if request.spec.isolation == "dedicated-cluster" else "spec.site",
            expected=f"`dedicatedTo: {request.metadata.name}` at a cluster in sites/ that holds nobody else"
            if request.spec.isolation == "dedicated-cluster"
            else "a cluster without dedicatedTo in sites/",
        )


def _groups(request: TenantRequest, around: Surroundings) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    access = request.spec.access
    for role, groups in (("admins", access.admins), ("developers", access.developers), ("auditors", access.auditors)):
        for i, group in enumerate(groups):
            where = f"spec.access.{role}[{i}]"
            owners = [name for name in around.groups.get(group.lower(), ()) if name != request.metadata.name]
            if owners:
                yield problem(
                    f"group {group!r} belongs to tenant {owners[0]!r}",
                    field=where,
                    expected="a group of this tenant only",
                )
            if seen.get(group, role) != role:
                yield problem(
                    f"group {group!r} is already among the {seen[group]}",
                    field=where,
                    expected="each group in one role",
                )
            seen.setdefault(group, role)


def _budget(request: TenantRequest, _around: Surroundings) -> Iterator[Problem]:
    for resource in ("cpu", "memory", "storage"):
        budget = getattr(request.spec.budget, resource)
        asked = total([getattr(e.quota, resource) for e in request.spec.environments])
        if asked > budget:
            yield problem(
                f"the environments' quotas of {resource} sum to {asked}, over the budget of {budget}",
                field=f"spec.budget.{resource}",
                expected=f"at least {asked}, or smaller quotas",
            )
        for i, environment in enumerate(request.spec.environments):
            if getattr(environment.quota, resource).value == 0:
                yield problem(
                    f"a quota of no {resource} lets nothing run",
                    field=f"spec.environments[{i}].quota.{resource}",
                    expected="more than 0",
                )


def _environments(request: TenantRequest, around: Surroundings) -> Iterator[Problem]:
    seen: set[str] = set()
    for i, environment in enumerate(request.spec.environments):
        where = f"spec.environments[{i}].name"
        if environment.name in seen:
            yield problem(f"environment {environment.name!r} is named twice", field=where, expected="distinct names")
        seen.add(environment.name)
        if (namespace := request.namespace(environment.name)) in around.platform_namespaces:
            yield problem(f"namespace {namespace!r} is the platform's", field=where, expected="another name")


def _domains(request: TenantRequest, around: Surroundings) -> Iterator[Problem]:
    organisation = around.organisations.get(request.spec.organisation)
    seen: dict[str, str] = {}
    for i, environment in enumerate(request.spec.environments):
        for j, domain in enumerate(environment.domains):
            where = f"spec.environments[{i}].domains[{j}]"
            if organisation and not any(under_domain(domain, own) for own in organisation.domains):
                yield problem(
                    f"domain {domain!r} is not {organisation.code}'s",
                    field=where,
                    expected=f"a name under {', '.join(organisation.domains)}",
                )
            overlapping = dict.fromkeys(around.domains.get(domain, ()))
            for above in _upwards(domain):
                overlapping.update(dict.fromkeys(pair for pair in around.domains.get(above, ()) if pair[0] == above))
            for other, owner in overlapping:
                if owner != request.metadata.name:
                    yield problem(
                        f"domain {domain!r} overlaps {other!r} of tenant {owner!r}",
                        field=where,
                        expected="a domain that no other tenant has",
                    )
            if domain in seen and seen[domain] != environment.name:
                yield problem(
                    f"domain {domain!r} is already in environment {seen[domain]!r}",
                    field=where,
                    expected="each domain in one environment",
                )
            seen.setdefault(domain, environment.name)


def _cluster_ranges(cluster: Cluster) -> Iterator[tuple[str, str]]:
    if cluster.networks:
        yield cluster.networks.pods, f"pods of cluster {cluster.name}"
        yield cluster.networks.services, f"services of cluster {cluster.name}"
        yield cluster.networks.nodes, f"nodes of cluster {cluster.name}"
    if host := cluster.endpoint_host:
        try:
            yield str(ip_network(ip_address(host))), f"API server of cluster {cluster.name}"
        except ValueError:
            return  # a name: its address is not known here


def _ranges(request: TenantRequest, around: Surroundings) -> list[tuple[str, str]]:
    """Ranges of the clusters it may come to run on: those of its sites, or of all where it names none that is known."""
    placement = request.spec.site
    if placement is None or placement.primary not in around.sites:
        names = list(around.sites)
    else:
        names = [placement.primary, placement.recovery or placement.primary]
    return [found for name in dict.fromkeys(names) for found in around.ranges.get(name, ())]


def _egress(request: TenantRequest, around: Surroundings) -> Iterator[Problem]:
    forbidden = [(str(network), what) for network, what in _NEVER_EGRESS]
    forbidden += _ranges(request, around)
    for i, environment in enumerate(request.spec.environments):
        for j, egress in enumerate(environment.egress):
            for cidr, what in _first_overlaps(egress.to, forbidden):
                yield problem(
                    f"egress to {egress.to} overlaps {cidr} ({what})",
                    field=f"spec.environments[{i}].egress[{j}].to",
                    expected="a range outside the cluster's own",
                )


def _allow_from(request: TenantRequest, around: Surroundings) -> Iterator[Problem]:
    ranges = _ranges(request, around)
    for i, environment in enumerate(request.spec.environments):
        for j, cidr in enumerate(environment.allow_from):
            where = f"spec.environments[{i}].allowFrom[{j}]"
            network = _network(cidr)
            if network.prefixlen < _WIDEST[network.version] and environment.exposure != "internet":
                yield problem(
                    f"{cidr} is the internet or much of it, and exposure is {environment.exposure!r}",
                    field=where,
                    expected="the ranges that need it, or exposure internet where the class allows it",
                )
                continue
            if network.prefixlen == 0:
                continue  # rendered with the cluster's own ranges excepted
            for other, what in _first_overlaps(cidr, ranges):
                yield problem(f"{cidr} overlaps {other} ({what})", field=where, expected="a range outside the cluster")


def _first_overlaps(cidr: str, ranges: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(other, what) for other, what in ranges if _overlap(cidr, other)][:1]


def _registries(request: TenantRequest, around: Surroundings) -> Iterator[Problem]:
    settings = around.settings
    if not around.registry:
        return
    own = [f"{root}{request.metadata.name}/" for root in settings.tenant_registries]
    allowed = [*own, *settings.base_registries]
    for i, registry in enumerate(request.spec.registries):
        if not any(registry.startswith(prefix) for prefix in allowed):
            yield problem(
                f"registry {registry!r} is neither the tenant's own nor a base registry",
                field=f"spec.registries[{i}]",
                expected=f"a path under {', '.join(allowed)}",
            )


def _jurisdictions(request: TenantRequest, around: Surroundings) -> Iterator[Problem]:
    return federation.request_problems(request, around.settings, around.bonds(request))


def _lists(request: TenantRequest) -> Iterator[tuple[str, Sequence[object]]]:
    spec = request.spec
    yield "spec.access.admins", spec.access.admins
    yield "spec.access.developers", spec.access.developers
    yield "spec.access.auditors", spec.access.auditors
    for i, environment in enumerate(spec.environments):
        where = f"spec.environments[{i}]"
        yield f"{where}.domains", environment.domains
        yield f"{where}.allowFrom", environment.allow_from
        for j, egress in enumerate(environment.egress):
            yield f"{where}.egress[{j}].ports", egress.ports
    yield "spec.registries", spec.registries
    yield "spec.storageClasses", spec.storage_classes


def _named_twice(request: TenantRequest, _around: Surroundings) -> Iterator[Problem]:
    for where, values in _lists(request):
        for i, value in enumerate(values):
            if value in values[:i]:
                yield problem(f"{str(value)!r} is named twice", field=f"{where}[{i}]", expected="each entry once")


def settings_problems(settings: Settings) -> list[Problem]:
    """Return where settings loosen the floor, and jurisdictions the floor or the settings."""
    return [
        problem(
            f"{settings.approvals[name]} approvals for {name} data loosen the federal floor",
            field=f"approvals.{name}",
            expected=f"at least {FLOOR[name].approvals}",
        )
        for name in CLASSES
        if name in settings.approvals and settings.approvals[name] < FLOOR[name].approvals
    ] + list(federation.settings_problems(settings))


def organisation_problems(organisations: Iterable[Organisation]) -> list[Problem]:
    """Return duplicates, domains of two organisations, unknown parents, cycles and missing provinces."""
    found: list[Problem] = []
    listed = list(organisations)
    by_code: dict[str, int] = {}
    for i, organisation in enumerate(listed):
        if organisation.code in by_code:
            found.append(
                problem(f"code {organisation.code!r} is used twice", field=f"[{i}].code", expected="distinct codes")
            )
        by_code.setdefault(organisation.code, i)
        if organisation.tier == "provincial" and organisation.province is None:
            found.append(
                problem("a provincial organisation has a province", field=f"[{i}].province", expected="a province")
            )
    owners: dict[str, str] = {}
    for i, organisation in enumerate(listed):
        for j, domain in enumerate(organisation.domains):
            if domain in owners:
                found.append(
                    problem(
                        f"domain {domain!r} is {owners[domain]}'s already",
                        field=f"[{i}].domains[{j}]",
                        expected="each domain at one organisation",
                    )
                )
            owners.setdefault(domain, organisation.code)
        if organisation.parent is None:
            continue
        if organisation.parent not in by_code:
            found.append(
                problem(f"parent {organisation.parent!r} is not in the list", field=f"[{i}].parent", expected="a code")
            )
            continue
        chain, code = {organisation.code}, organisation.parent
        while code in by_code and code not in chain:
            chain.add(code)
            code = listed[by_code[code]].parent or ""
        if code in chain:
            found.append(problem(f"{organisation.code} is its own ancestor", field=f"[{i}].parent", expected="a tree"))
    return found


def site_problems(sites: Mapping[str, Site]) -> list[tuple[str, Problem]]:
    """Return (site name, problem): names, classes its kind may not hold, shared UIDs and ranges, facility, hosts."""
    found: list[tuple[str, Problem]] = []
    uids: dict[str, str] = {}
    for name, site in sorted(sites.items()):
        if site.metadata.name != name:
            found.append(
                (name, problem(f"the site calls itself {site.metadata.name!r}", field="metadata.name", expected=name))
            )
        for i, classification in enumerate(site.spec.admits):
            if site.spec.location.kind not in FLOOR[classification].site_kinds:
                found.append(
                    (
                        name,
                        problem(
                            f"a {site.spec.location.kind} site may not hold {classification} data",
                            field=f"spec.admits[{i}]",
                            expected="open and public only",
                        ),
                    )
                )
        clusters = [cluster.name for cluster in site.spec.clusters]
        for i, cluster in enumerate(site.spec.clusters):
            if cluster.name in clusters[:i]:
                found.append(
                    (
                        name,
                        problem(
                            f"cluster {cluster.name!r} is named twice",
                            field=f"spec.clusters[{i}].name",
                            expected="distinct names",
                        ),
                    )
                )
            if cluster.uid and cluster.uid in uids:
                found.append(
                    (
                        name,
                        problem(
                            f"cluster UID {cluster.uid} is {uids[cluster.uid]}'s already",
                            field=f"spec.clusters[{i}].uid",
                            expected="each cluster once",
                        ),
                    )
                )
            if cluster.uid:
                uids[cluster.uid] = f"{name}/{cluster.name}"
        found += [(name, wrong) for wrong in (*host_problems(site), *facility_problems(site))]
    return [*found, *network_problems(sites)]
