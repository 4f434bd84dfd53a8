"""Federal and provincial: which jurisdictions bind a tenant, and that none of them loosens the federal rules. Pure.

Rule: a province, or a tier, tightens the federal floor (`classification.FLOOR`) and the federal settings; where several
jurisdictions bind a tenant, each of them holds, so that the strictest value of each rule counts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from gcloud_pk.errors import Problem, problem
from gcloud_pk.model.classification import CLASSES, EXPOSURES, FLOOR, ISOLATION_LEVELS
from gcloud_pk.model.jurisdiction import Jurisdiction
from gcloud_pk.model.organisation import Organisation
from gcloud_pk.model.request import TenantRequest
from gcloud_pk.model.settings import Settings

FEDERAL = "federal"
"""Who is meant where no province is."""

PROVINCES = ("ict", "punjab", "sindh", "kp", "balochistan", "gb", "ajk")


@dataclass(frozen=True)
class Bond:
    """A jurisdiction that binds a tenant. `name`: its province or tier; `field`: its path in settings.yaml."""

    name: str
    field: str
    jurisdiction: Jurisdiction

    def admits(self, site: str) -> bool:
        """Whether its tenants may run at a site."""
        return self.jurisdiction.sites is None or site in self.jurisdiction.sites


def _all(settings: Settings) -> Iterator[Bond]:
    for province, jurisdiction in settings.provinces.items():
        yield Bond(province, f"provinces.{province}", jurisdiction)
    for tier, jurisdiction in settings.tiers.items():
        yield Bond(tier, f"tiers.{tier}", jurisdiction)


def province_of(code: str, organisations: Mapping[str, Organisation]) -> str | None:
    """Return the province of an organisation, or of the nearest above it that is provincial; None: federal."""
    seen: set[str] = set()
    while (found := organisations.get(code)) is not None and code not in seen:
        if found.tier == "provincial" and found.province is not None:
            return found.province
        seen.add(code)
        code = found.parent or ""
    return None


def bonds(code: str, organisations: Mapping[str, Organisation], settings: Settings) -> tuple[Bond, ...]:
    """Return the jurisdictions that bind the tenants of an organisation: its province's, then its own tier's."""
    own = organisations.get(code)
    if own is None:
        return ()
    binding = {f"provinces.{province_of(code, organisations)}", f"tiers.{own.tier}"}
    return tuple(bond for bond in _all(settings) if bond.field in binding)


def admitted_by_all(site: str, binding: Collection[Bond]) -> bool:
    """Whether every jurisdiction that binds a tenant lets it run at a site."""
    return all(bond.admits(site) for bond in binding)


def needs_signature(request: TenantRequest, settings: Settings, binding: Collection[Bond]) -> bool:
    """Whether the requester's own signature is needed: by federal settings, or by a jurisdiction's."""
    classification = request.spec.classification
    return classification in settings.signed_requests or any(
        classification in bond.jurisdiction.signed_requests for bond in binding
    )


# --- the request ------------------------------------------------------------------------------------------------------


def request_problems(request: TenantRequest, settings: Settings, binding: Collection[Bond]) -> Iterator[Problem]:
    """Yield where a request goes beyond what its jurisdictions allow."""
    for bond in binding:
        yield from _placement(request, bond)
        yield from _isolation(request, bond)
        yield from _exposure(request, bond)
        yield from _registries(request, settings, bond)


def _placement(request: TenantRequest, bond: Bond) -> Iterator[Problem]:
    placement = request.spec.site
    if placement is None:
        return
    for role, name in (("primary", placement.primary), ("recovery", placement.recovery)):
        if name is not None and not bond.admits(name):
            yield problem(
                f"tenants of {bond.name} may not be at site {name!r}",
                field=f"spec.site.{role}",
                expected=f"one of: {', '.join(bond.jurisdiction.sites or ())} ({bond.field}.sites)",
            )


def _isolation(request: TenantRequest, bond: Bond) -> Iterator[Problem]:
    spec = request.spec
    least = bond.jurisdiction.isolation.get(spec.classification)
    if least is not None and ISOLATION_LEVELS.index(spec.isolation) < ISOLATION_LEVELS.index(least):
        yield problem(
            f"isolation {spec.isolation!r} is too weak for {spec.classification} data of {bond.name}",
            field="spec.isolation",
            expected=f"{least} or stronger ({bond.field}.isolation.{spec.classification})",
        )


def _exposure(request: TenantRequest, bond: Bond) -> Iterator[Problem]:
    spec = request.spec
    widest = bond.jurisdiction.exposure.get(spec.classification)
    if widest is None:
        return
    allowed = EXPOSURES[: EXPOSURES.index(widest) + 1]
    for i, environment in enumerate(spec.environments):
        if environment.exposure not in allowed:
            yield problem(
                f"exposure {environment.exposure!r} is too wide for {spec.classification} data of {bond.name}",
                field=f"spec.environments[{i}].exposure",
                expected=f"{' or '.join(allowed)} ({bond.field}.exposure.{spec.classification})",
            )


def _registries(request: TenantRequest, settings: Settings, bond: Bond) -> Iterator[Problem]:
    base = bond.jurisdiction.base_registries
    if base is None:
        return
    own = tuple(f"{root}{request.metadata.name}/" for root in settings.tenant_registries)
    for i, registry in enumerate(request.spec.registries):
        federal = registry.startswith(settings.base_registries) and not registry.startswith(own)
        if federal and not registry.startswith(base):
            yield problem(
                f"registry {registry!r} is not among the base registries of {bond.name}",
                field=f"spec.registries[{i}]",
                expected=f"a path under {', '.join([*own, *base])} ({bond.field}.baseRegistries)",
            )


# --- settings.yaml ----------------------------------------------------------------------------------------------------


def settings_problems(settings: Settings) -> Iterator[Problem]:
    """Yield where a jurisdiction is looser than the federal floor or settings, and principals of two jurisdictions."""
    owners: dict[str, str] = {}
    for bond in _all(settings):
        yield from _looser(settings, bond)
        for i, principal in enumerate(bond.jurisdiction.approvers):
            where = f"{bond.field}.approvers"
            if principal in owners:
                yield problem(
                    f"{principal} is among {owners[principal]} already",
                    field=f"{where}[{i}]",
                    expected="each principal in one jurisdiction",
                )
            owners.setdefault(principal, where)


def _looser(settings: Settings, bond: Bond) -> Iterator[Problem]:
    own = bond.jurisdiction
    for name in CLASSES:
        floor = FLOOR[name]
        need = settings.approvals_for(name)
        set_so = "approvals" in settings.model_fields_set and settings.approvals.get(name) == need
        if own.approvals.get(name, need) < need:
            theirs = f"settings.approvals.{name}" if set_so else f"the federal floor's approvals.{name}"
            yield _loosens(f"{bond.field}.approvals.{name}", own.approvals[name], theirs, need)
        if EXPOSURES.index(own.exposure.get(name, floor.exposure)) > EXPOSURES.index(floor.exposure):
            theirs = f"the federal floor's exposure.{name}"
            yield _loosens(f"{bond.field}.exposure.{name}", own.exposure[name], theirs, floor.exposure)
        if ISOLATION_LEVELS.index(own.isolation.get(name, floor.isolation)) < ISOLATION_LEVELS.index(floor.isolation):
            theirs = f"the federal floor's isolation.{name}"
            yield _loosens(f"{bond.field}.isolation.{name}", own.isolation[name], theirs, floor.isolation)
    for i, registry in enumerate(own.base_registries or ()):
        if not registry.startswith(settings.base_registries):
            where, base = f"{bond.field}.baseRegistries[{i}]", ", ".join(settings.base_registries) or "empty"
            yield _loosens(where, registry, "settings.baseRegistries", base)


def _loosens(field: str, value: object, federal: str, bound: object) -> Problem:
    return problem(
        f"{value} is looser than {federal}, which is {bound}",
        field=field,
        expected="what the federal rule is, or stricter",
    )


def reference_problems(
    settings: Settings, sites: Collection[str], principals: Mapping[str, bool] | None
) -> Iterator[Problem]:
    """Yield sites and principals that a jurisdiction names and that the registry does not know.

    `principals`: name → whether it may approve; revoked ones count as known, so that a key can be revoked at once.
    None where that cannot be said.
    """
    for bond in _all(settings):
        for i, site in enumerate(bond.jurisdiction.sites or ()):
            if site not in sites:
                yield problem(
                    f"site {site!r} is not in sites/",
                    field=f"{bond.field}.sites[{i}]",
                    expected=f"one of: {', '.join(sorted(sites)) or 'none is defined'}",
                )
        for i, principal in enumerate(bond.jurisdiction.approvers):
            if principals is not None and not principals.get(principal):
                known = principal in principals
                yield problem(
                    f"{principal} {'may not sign approvals' if known else 'is not'} in the file approvers",
                    field=f"{bond.field}.approvers[{i}]",
                    expected="namespaces with gcloud-pk-approval" if known else "a principal of that file",
                )


def owners(settings: Settings) -> dict[str, str]:
    """Return principal → the jurisdiction that it approves for; who is not in it approves as federal."""
    return {principal: bond.name for bond in _all(settings) for principal in bond.jurisdiction.approvers}
