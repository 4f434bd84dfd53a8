"""Selection: which probes and reviews a run tries, and in which environments; what it leaves out. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gcloud_pk.proof import residents
from gcloud_pk.proof.probe import Catalogue, Probe, Refused, Review, standard, unchecked
from gcloud_pk.proof.target import Target, TargetEnvironment

GATE = "ISO-000"
"""The probe that shows that the verifier may act as the tenant at all."""

WHOLE = ""
"""Stands for the tenant as a whole, where others stand by their environment's name."""

Share = Mapping[str, frozenset[str]]
"""Environment (or WHOLE) → ids that are tried there."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What is tried on one tenant. `known` holds nothing else than that, with the controls that it needs.

    `only`: ids that were asked for, object checks among them; None: all. `share`: what of it is tried where; None: all
    of it everywhere. `quick`: what lives already is left alone.
    """

    known: Catalogue
    only: frozenset[str] | None = None
    share: Share | None = None
    quick: bool = False

    @property
    def residents(self) -> bool:
        """Whether what lives already is looked at."""
        return not self.quick and any(self.judges(check) for check in residents.IDS)

    def judges(self, check: str) -> bool:
        """Whether an object check is wanted."""
        return self.only is None or check in self.only

    def tries(self, name: str, environment: str) -> bool:
        """Whether a probe or review is tried in an environment, or on the tenant as a WHOLE."""
        return self.share is None or name in self.share.get(environment, ())

    def left_out(self, target: Target) -> dict[str, list[str]]:
        """Return environment (or WHOLE) → ids that another selection would have tried there, sorted; none is empty."""
        if self.share is None:
            return {}
        found: dict[str, list[str]] = {}
        for name, environment in places(self.known, target):
            if not self.tries(name, environment):
                found.setdefault(environment, []).append(name)
        return {environment: sorted(names) for environment, names in sorted(found.items())}


def selected(known: Catalogue, *, quick: bool = False, only: frozenset[str] | None = None) -> Selection:
    """Return the selection of what was chosen, with the controls that it needs, everywhere."""
    probes = {i: p for i, p in known.probes.items() if (p.quick or not quick) and (only is None or i in only)}
    if probes:
        needed = {GATE, *(p.control for p in probes.values() if p.control)}
        probes = {i: p for i, p in known.probes.items() if i in probes or i in needed}
    reviews = {i: r for i, r in known.reviews.items() if (r.quick or not quick) and (only is None or i in only)}
    return Selection(Catalogue(probes, reviews, known.objects), only, quick=quick)


def omitted(*, quick: bool = True, known: Catalogue | None = None) -> list[str]:
    """Return the ids that a run leaves out, sorted: what no check of this version shows, and what `quick` skips."""
    known = known or standard()
    everything: dict[str, Probe | Review] = {**known.probes, **known.reviews}
    skipped = [name for name, item in everything.items() if quick and not item.quick]
    skipped += residents.IDS if quick else ()
    return sorted([*skipped, *(each.id for each in unchecked())])


def stratified(chosen: Selection, targets: Sequence[Target]) -> list[Selection]:
    """Return a selection for each target: every wall on every tenant, all of the catalogue over the population.

    A stratum is what one wall refuses (each rule of a policy for itself) in one place, what is admitted, or what the
    authorizer is asked about one place. Each tenant tries at least one of each stratum, and as many as it takes that
    over all tenants with the same number of environments every pair of probe and environment (by its place in the order
    of names) occurs. So a small population leaves nothing out. The controls are tried wherever what needs them is.
    """
    alike: dict[tuple[int, int], list[int]] = {}
    for index, target in enumerate(targets):
        alike.setdefault(_numbers(target), []).append(index)
    return [
        Selection(chosen.known, chosen.only, _share(chosen.known, target, group.index(index), len(group)))
        for index, target in enumerate(targets)
        for group in (alike[_numbers(target)],)
    ]


def _numbers(target: Target) -> tuple[int, int]:
    active = len(target.active)
    return active, len(target.environments) - active


def _share(known: Catalogue, target: Target, rank: int, tenants: int) -> Share:
    strata: dict[Hashable, list[tuple[str, str]]] = {}
    for name, environment in places(known, target):
        strata.setdefault(_stratum(known, name), []).append((name, environment))
    found: dict[str, set[str]] = {}
    for number, key in enumerate(sorted(strata, key=repr)):
        pairs = sorted(strata[key], key=lambda pair: (pair[1], pair[0]))
        many = -(-len(pairs) // tenants)
        chosen = [pairs[(number * 7 + rank * many + each) % len(pairs)] for each in range(many)]
        if not any(_applies(known, target, *pair) for pair in chosen):
            chosen += [pair for pair in pairs if _applies(known, target, *pair)][:1]
        for name, environment in chosen:
            found.setdefault(environment, set()).add(name)
    return _with_controls(known, target, found)


def _stratum(known: Catalogue, name: str) -> Hashable:
    if (review := known.reviews.get(name)) is not None:
        return "review", review.expect, review.where, review.environments
    probe = known.probes[name]
    if isinstance(probe.expect, Refused):
        return "refused", probe.expect.by, probe.expect.rule or "", probe.where
    return "admitted", "", "", probe.where


def _applies(known: Catalogue, target: Target, name: str, environment: str) -> bool:
    """Whether the environment has what a probe is tried with: what a request need not name cannot show a wall."""
    probe = known.probes.get(name)
    there = next((e for e in target.environments if e.name == environment), None)
    if probe is None or there is None:
        return True
    if probe.isolation and target.isolation not in probe.isolation:
        return False
    said = str((known.objects.get(probe.object or ""), probe.body, probe.edits, probe.request.name))
    lists = {"domain": there.domains, "storage_class": there.storage_classes, "gateway_": there.gateway_namespaces}
    return all(given or f"${{{variable}" not in said for variable, given in lists.items())


def _with_controls(known: Catalogue, target: Target, found: Mapping[str, set[str]]) -> Share:
    share = {environment: set(names) for environment, names in found.items()}
    first = target.active[0].name if target.active else None
    for environment, names in found.items():
        # What is tried on the tenant as a whole acts from its first environment, and is believed by the controls there.
        there = environment if environment != WHOLE else first
        probes = [known.probes[name] for name in names & known.probes.keys()]
        if there is not None and probes:
            share.setdefault(there, set()).update({GATE}, (p.control for p in probes if p.control))
    return {environment: frozenset(names) for environment, names in share.items()}


def places(known: Catalogue, target: Target) -> Iterator[tuple[str, str]]:
    """Yield each probe and review of the catalogue with each environment (or WHOLE) that it can be tried in."""
    for probe in known.probes.values():
        names = [e.name for e in target.active] if probe.where == "own" else [WHOLE]
        yield from ((probe.id, name) for name in names)
    for review in known.reviews.values():
        names = [e.name for e in reviewed(review, target.environments)] if review.where == "own" else [WHOLE]
        yield from ((review.id, name) for name in names)


def reviewed(review: Review, environments: Iterable[TargetEnvironment]) -> list[TargetEnvironment]:
    """Return the environments that a review of the tenant's own namespaces is about."""
    if review.environments == "first":
        return sorted((e for e in environments if not e.retired), key=lambda e: e.name)[:1]
    state = {"active": {False}, "retired": {True}, "all": {False, True}}[review.environments]
    return [e for e in environments if e.retired in state]


def tried(known: Catalogue, shares: Iterable[Selection]) -> frozenset[str]:
    """Return the ids that at least one selection tries somewhere."""
    found: set[str] = set()
    for each in shares:
        found |= {*known.probes, *known.reviews} if each.share is None else set().union(*each.share.values())
    return frozenset(found)
