"""What changed between two requests, in people's words; what opens something stands first. Pure.

The words are an approver's: he reads what a new revision would let in before what merely grows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Literal

from gcloud_pk.model.classification import CLASSES, EXPOSURES, ISOLATION_LEVELS
from gcloud_pk.model.quantity import Quantity
from gcloud_pk.model.request import Access, Egress, Environment, Person, Port, Requester, TenantRequest
from gcloud_pk.model.rules import under_domain

Topic = Literal["access", "egress", "exposure", "images", "protection", "size", "storage"]

OPENING: tuple[Topic, ...] = ("access", "egress", "exposure", "images", "protection")
"""Topics of which more is a risk: who may act, what is reached, by whom it is reached, what runs, how it is kept."""

_ROLES = {"admins": "administer", "developers": "deploy workloads", "auditors": "read all but secrets"}
"""Role → what its groups may do; the strongest first."""

_SIZES = ("cpu", "memory", "storage")


@dataclass(frozen=True)
class Difference:
    """One change. `path`: the field, environments by name; `before`, `after`: None where it is not there.

    `words`: for people; `topic`: what it is about, where more or less of it can be said, and `wider` which of both.
    """

    path: str
    before: str | None
    after: str | None
    words: str
    topic: Topic | None = None
    wider: bool = False

    @property
    def opens(self) -> bool:
        """Whether something is open after it that was closed."""
        return self.wider and self.topic in OPENING

    @property
    def mark(self) -> str:
        """`+egress`, `-access`, … ; empty where it is neither more nor less."""
        return f"{'+' if self.wider else '-'}{self.topic}" if self.topic else ""

    def __str__(self) -> str:
        return f"{self.mark:11} {self.words}".rstrip()

    def as_dict(self) -> dict[str, str | bool | None]:
        """Return the shape of `changes[]` in a JSON document."""
        return {
            "field": self.path,
            "before": self.before,
            "after": self.after,
            "words": self.words,
            "mark": self.mark or None,
            "opens": self.opens,
        }


def differences(before: TenantRequest, after: TenantRequest) -> list[Difference]:
    """Return what changed: first what opens, then the rest, each in the order of the fields. Revisions are left out."""
    found = [*_general(before, after), *_access(before.spec.access, after.spec.access), *_means(before, after)]
    old = {e.name: e for e in before.spec.environments}
    for environment in after.spec.environments:
        found += _environment(old.get(environment.name), environment)
    kept = {e.name for e in after.spec.environments}
    found += [_left(e) for e in before.spec.environments if e.name not in kept]
    return sorted(found, key=lambda difference: not difference.opens)


def _general(before: TenantRequest, after: TenantRequest) -> Iterator[Difference]:
    old, new = before.spec, after.spec
    yield from _text("spec.organisation", "organisation", old.organisation, new.organisation)
    yield from _text("spec.requestedBy", "asked by", _person(old.requested_by), _person(new.requested_by))
    yield from _text("spec.purpose.en", "purpose", old.purpose.en, new.purpose.en)
    yield from _text("spec.purpose.ur", "purpose (ur)", old.purpose.ur, new.purpose.ur)
    yield from _level("spec.classification", "class", CLASSES, old.classification, new.classification)
    for path, what, was, now in (
        ("spec.personalData", "personal data", old.personal_data, new.personal_data),
        (
            "spec.criticalInfrastructure",
            "critical information infrastructure",
            old.critical_infrastructure,
            new.critical_infrastructure,
        ),
    ):
        if was != now:
            words = f"{what}: yes, before no" if now else f"{what}: no, before yes"
            yield Difference(path, _yes(was), _yes(now), words)
    yield from _level("spec.isolation", "isolation", ISOLATION_LEVELS, old.isolation, new.isolation)
    yield from _text("spec.site", "site", _site(before), _site(after))
    yield from _text("spec.contacts.owner", "owner", _person(old.contacts.owner), _person(new.contacts.owner))
    yield from _members(
        "spec.contacts.technical",
        [_person(person) for person in old.contacts.technical],
        [_person(person) for person in new.contacts.technical],
        lambda one, added: f"technical contact {one}" if added else f"technical contact {one} leaves",
    )
    yield from _text("spec.costCentre", "cost centre", old.cost_centre, new.cost_centre)
    yield from _text("spec.reviewAfter", "review after", _optional(old.review_after), _optional(new.review_after))


def _means(before: TenantRequest, after: TenantRequest) -> Iterator[Difference]:
    old, new = before.spec, after.spec
    for resource in _SIZES:
        yield from _size(
            f"spec.budget.{resource}",
            f"budget of {resource}",
            getattr(old.budget, resource),
            getattr(new.budget, resource),
        )
    yield from _members(
        "spec.registries",
        old.registries,
        new.registries,
        lambda one, added: f"images from {one}" if added else f"images from {one} no longer",
        topic="images",
        covered=lambda one, others: any(one.startswith(other) for other in others),
    )
    yield from _members(
        "spec.storageClasses",
        old.storage_classes,
        new.storage_classes,
        lambda one, added: f"storage class {one}" if added else f"storage class {one} given up",
        topic="storage",
    )


def _access(before: Access, after: Access) -> Iterator[Difference]:
    """Yield one difference for each group whose roles are others now."""
    old, new = _roles(before), _roles(after)
    for group in dict.fromkeys((*new, *old)):
        was, now = old.get(group, ()), new.get(group, ())
        if was == now:
            continue
        if not now:
            words = f"group {group} may no longer {_may(was)}"
        else:
            words = f"group {group} may {_may(now)}" + (f"; before: {_may(was)}" if was else "")
        strength = list(_ROLES)
        rank = {roles: min((strength.index(r) for r in roles), default=len(strength)) for roles in (was, now)}
        path = f"spec.access.{(now or was)[0]}[{group}]"
        yield Difference(path, ", ".join(was) or None, ", ".join(now) or None, words, "access", rank[now] < rank[was])


def _roles(access: Access) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for role in _ROLES:
        for group in getattr(access, role):
            found[group] = (*found.get(group, ()), role)
    return found


def _may(roles: Iterable[str]) -> str:
    return " and ".join(_ROLES[role] for role in roles)


def _environment(old: Environment | None, new: Environment) -> Iterator[Difference]:
    name, path = new.name, f"spec.environments[{new.name}]"
    if old is None:
        size = f"{new.tier}, cpu {new.quota.cpu}, memory {new.quota.memory}, storage {new.quota.storage}, "
        size += f"{new.quota.pods} pods"
        yield Difference(path, None, size, f"new environment {name}: {size}", "size", wider=True)
    else:
        yield from _text(f"{path}.tier", f"tier of {name}", old.tier, new.tier)
        for resource in _SIZES:
            sizes = getattr(old.quota, resource), getattr(new.quota, resource)
            yield from _size(f"{path}.quota.{resource}", resource, *sizes, where=name)
        yield from _size(f"{path}.quota.pods", "pods", Quantity(old.quota.pods), Quantity(new.quota.pods), where=name)
    yield from _members(
        f"{path}.domains",
        old.domains if old else (),
        new.domains,
        lambda one, added: f"domain {one} in {name}" if added else f"domain {one} given up in {name}",
        topic="exposure",
        covered=lambda one, others: any(under_domain(one, other) for other in others),
    )
    yield from _exposure(path, old.exposure if old else "internal", new.exposure, name)
    yield from _members(
        f"{path}.allowFrom",
        old.allow_from if old else (),
        new.allow_from,
        lambda one, added: f"{one} may reach {name}" if added else f"{one} may no longer reach {name}",
        topic="exposure",
        covered=_inside,
    )
    yield from _egress(f"{path}.egress", old.egress if old else (), new.egress, name)


def _exposure(path: str, was: str, now: str, name: str) -> Iterator[Difference]:
    if was != now:
        wider = _rank(EXPOSURES, now) > _rank(EXPOSURES, was)
        yield Difference(f"{path}.exposure", was, now, f"exposure {was} → {now} in {name}", "exposure", wider)


def _egress(path: str, before: Iterable[Egress], after: Iterable[Egress], name: str) -> Iterator[Difference]:
    old, new = _flows(before), _flows(after)
    for flow in dict.fromkeys((*new, *old)):
        to, ports = flow
        said = f"egress to {to} ({', '.join(str(port) for port in ports)})"
        where = f"{path}[{to}]"
        if flow not in old:
            wider = not all(_carried(to, port, old) for port in ports)
            words = f"{said} added in {name}: {new[flow]}"
            yield Difference(where, None, _flow(flow, new[flow]), words, "egress" if wider else None, wider)
        elif flow not in new:
            narrower = not all(_carried(to, port, new) for port in ports)
            words = f"{said} given up in {name}"
            yield Difference(where, _flow(flow, old[flow]), None, words, "egress" if narrower else None)
        elif old[flow] != new[flow]:
            words = f"{said} in {name}: the reason is now: {new[flow]}"
            yield Difference(f"{where}.reason", old[flow], new[flow], words)


_Flow = tuple[str, tuple[Port, ...]]


def _flows(listed: Iterable[Egress]) -> dict[_Flow, str]:
    return {(e.to, tuple(sorted(e.ports, key=lambda port: (port.protocol, port.port)))): e.reason for e in listed}


def _flow(flow: _Flow, reason: str) -> str:
    return f"{', '.join(str(port) for port in flow[1])}: {reason}"


def _carried(to: str, port: Port, flows: Mapping[_Flow, str]) -> bool:
    """Whether flows let this port of the whole network through already."""
    return any(port in ports and _inside(to, [network]) for network, ports in flows)


def _inside(one: str, others: Collection[str]) -> bool:
    """Whether a network is part of one of the others."""
    network = ip_network(one)
    return any(
        network.version == wide.version and network.subnet_of(wide)  # type: ignore[arg-type]
        for wide in map(ip_network, others)
    )


def _left(environment: Environment) -> Difference:
    return Difference(
        f"spec.environments[{environment.name}]",
        environment.tier,
        None,
        f"environment {environment.name} ({environment.tier}) leaves: closed; its namespace and data stay until it is "
        "offboarded",
        "access",
    )


def _text(path: str, what: str, was: str | None, now: str | None) -> Iterator[Difference]:
    if was == now:
        return
    if was is None or now is None:
        yield Difference(path, was, now, f"{what}: {now}" if now is not None else f"{what}: none, before {was}")
    else:
        yield Difference(path, was, now, f"{what}: {was} → {now}")


def _level(path: str, what: str, levels: tuple[str, ...], was: str, now: str) -> Iterator[Difference]:
    """Levels go from the least protection to the most; less of it is what opens."""
    if was != now:
        weaker = _rank(levels, now) < _rank(levels, was)
        words = f"{what} {was} → {now}: {'less' if weaker else 'more'} protection"
        yield Difference(path, was, now, words, "protection" if weaker else None, weaker)


def _size(path: str, what: str, was: Quantity, now: Quantity, *, where: str | None = None) -> Iterator[Difference]:
    if was != now:
        words = f"{what} {was} → {now}" + (f" in {where}" if where else "")
        yield Difference(path, str(was), str(now), words, "size", now > was)


def _members(
    path: str,
    before: Collection[str],
    after: Collection[str],
    words: Callable[[str, bool], str],
    *,
    topic: Topic | None = None,
    covered: Callable[[str, Collection[str]], bool] = lambda one, others: one in others,
) -> Iterator[Difference]:
    """Yield what came into a list and what left it. What the other list covers anyway opens or closes nothing."""
    for one in after:
        if one not in before:
            about = None if covered(one, before) else topic
            yield Difference(f"{path}[{one}]", None, one, words(one, True), about, about is not None)
    for one in before:
        if one not in after:
            yield Difference(f"{path}[{one}]", one, None, words(one, False), None if covered(one, after) else topic)


def _rank(levels: tuple[str, ...], level: str) -> int:
    return levels.index(level)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _optional(value: object) -> str | None:
    return None if value is None else str(value)


def _site(request: TenantRequest) -> str:
    site = request.spec.site
    return f"{site.primary}, recovery {site.recovery or 'none'}" if site else "by classification"


def _person(person: Person | Requester) -> str:
    if isinstance(person, Requester):
        return f"{person.name}, {person.designation} <{person.email}>"
    return f"{person.name} <{person.email}>" + (f", {person.phone}" if person.phone else "")
