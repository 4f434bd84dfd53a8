"""Verify: every probe, review and object check of a tenant, and their findings.

Order: what is live, then the controls (what must work), then each wall (what must not); a wall is believed only where
its control was admitted in this run (reference: tenant isolation, section 4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from gcloud_pk.cluster.transport import Api
from gcloud_pk.errors import GcloudPkError
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.proof import checks, inventory, residents, review
from gcloud_pk.proof.ground import Ground
from gcloud_pk.proof.probe import Catalogue, Probe, Review, Where, standard
from gcloud_pk.proof.refusal import IMPERSONATION, missing_right, refusal
from gcloud_pk.proof.selection import GATE, WHOLE, Selection, omitted, places, reviewed, selected
from gcloud_pk.proof.surroundings import Surroundings, no_answer, read, unread
from gcloud_pk.proof.target import PLATFORM_NAMESPACES, Target, TargetEnvironment
from gcloud_pk.proof.trial import NotToBeTriedError, Trial, finding, prepare, request, send, untried, variables

__all__ = ["GATE", "SETTLE", "THREADS", "audit", "omitted", "verify"]

THREADS = 8
SETTLE = 3.0
"""Seconds after which access that was only just given is in force, with a margin."""
_SETTLED = 0.5
"""The same where nothing was given: enough for a server that has just come back."""

_ALONE = "no namespace of another tenant is there"

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def verify(
    api: Api,
    target: Target,
    *,
    quick: bool = False,
    known: Catalogue | None = None,
    only: frozenset[str] | None = None,
    threads: int = THREADS,
    settle: float = SETTLE,
) -> list[Finding]:
    """Return the findings on one tenant, sorted by subject and id; nothing that stays is written.

    `api` is the verifier's own. `quick` leaves out what `omitted` names. `only`: ids of the probes, reviews and object
    checks that are wanted; the controls that they need are run too. `settle`: seconds for which a control may still be
    refused because access was only just given. Raises UnavailableError when the server does not answer at the
    beginning; later, what got no answer is an `error`.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="probe") as pool:
        chosen = selected(known or standard(), quick=quick, only=only)
        return _sorted(_Run(Ground(api), target, chosen, settle, pool).findings())


def audit(
    ground: Ground,
    targets: Sequence[Target],
    selections: Sequence[Selection],
    *,
    threads: int = THREADS,
    settle: float = _SETTLED,
) -> Iterator[list[Finding]]:
    """Yield the findings on each tenant, sorted by subject and id, one tenant after the other; nothing stays.

    `selections`: what is tried, one for each target. One pool of threads and one set of connections serve the whole
    run. Raises nothing that the server causes: once it no longer answers, all that is left is an `error`.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="probe") as pool:
        for target, chosen in zip(targets, selections, strict=True):
            yield _sorted(_Run(ground, target, chosen, settle, pool, patient=True).findings())


def _sorted(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda f: (f.subject, f.id))


@dataclass
class _Run:
    """One tenant. `patient`: a server that does not answer is an `error` of what was asked, from the beginning on."""

    ground: Ground
    target: Target
    selection: Selection
    settle: float
    pool: Executor
    patient: bool = False
    controls: dict[tuple[str, str], Finding] = field(default_factory=dict)
    """Findings of controls by probe and namespace: a wall is believed only beside one that passed."""
    variables: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """What `${…}` stands for, by environment."""
    there: frozenset[str] = frozenset()
    """Namespaces of others that exist: RBAC refuses what is not there just the same, which shows nothing."""

    @property
    def known(self) -> Catalogue:
        return self.selection.known

    def findings(self) -> Iterator[Finding]:
        environments = sorted(self.target.environments, key=lambda e: e.name)
        around = dict(zip(environments, self._each(self._read, environments), strict=True))
        others = (*PLATFORM_NAMESPACES, *self.target.strangers_namespaces)
        is_there = self._each(self._is_there, others)
        self.there = frozenset(name for name, there in zip(others, is_there, strict=True) if there)
        for environment, surroundings in around.items():
            judged = checks.run(surroundings, self.target, environment, self._subject(environment))
            yield from (f for f in judged if self.selection.judges(f.id))
        if self.selection.residents:
            for environment, living in zip(environments, self._each(self._look_in, environments), strict=True):
                judged = residents.run(living, self.target, environment, self._subject(environment))
                yield from (f for f in judged if self.selection.judges(f.id))
        if self.patient and self.ground.silent is not None:
            yield from self._unanswered(self.ground.silent)
            return
        if self.known.reviews:
            yield from self._reviews(environments)
        if not self.known.probes:
            return
        active = {e: around[e] for e in environments if not e.retired}
        if (missing := self._missing_right(active)) is not None:
            yield missing
            return
        for controls in (True, False):
            chosen = [p for p in self.known.probes.values() if (p.control is None) is controls]
            settled, trials = self._trials(chosen, active)
            yield from settled
            for trial, found in zip(trials, self._each(self._try, trials), strict=True):
                if controls:
                    self.controls[trial.key] = found
                yield found

    def _unanswered(self, why: str) -> Iterator[Finding]:
        """Yield an error for all that was to be tried of a tenant: nobody answers."""
        subjects = {e.name: self._subject(e) for e in self.target.environments} | {WHOLE: self._subject()}
        if self.known.reviews:
            yield review.control(self.ground.api, subjects[WHOLE], why)
        for name, place in places(self.known, self.target):
            if self.selection.tries(name, place):
                if (probe := self.known.probes.get(name)) is not None:
                    yield untried(probe, subjects[place], why, Verdict.ERROR)
                else:
                    yield review.unasked(self.known.reviews[name], subjects[place], why, Verdict.ERROR)

    def _each(self, act: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
        return list(self.pool.map(act, items))

    def _answered(self, ask: Callable[[], _Result], otherwise: Callable[[str], _Result]) -> _Result:
        """Ask the server; once it is silent nobody asks any more."""
        if self.patient and self.ground.silent is not None:
            return otherwise(self.ground.silent)
        try:
            return ask()
        except GcloudPkError as error:
            if not self.patient:
                raise
            self.ground.silent = error.message
            return otherwise(error.message)

    def _read(self, environment: TargetEnvironment) -> Surroundings:
        namespace = environment.namespace
        return self._answered(lambda: read(self.ground.api, namespace), partial(unread, namespace))

    def _look_in(self, environment: TargetEnvironment) -> residents.Residents:
        namespace = environment.namespace
        plurals = (*(kind.plural for kind in residents.KINDS), *residents.ROUTES)

        def unanswered(why: str) -> residents.Residents:
            return residents.Residents(namespace, unread=dict.fromkeys(plurals, why))

        return self._answered(partial(self._residents, namespace), unanswered)

    def _residents(self, namespace: str) -> residents.Residents:
        kinds, unread, audit_ids = list(residents.KINDS), {}, list[str]()
        for plural, (_, versions) in residents.ROUTES.items():
            served = self.ground.version(residents.ROUTE_GROUP, plural, versions)
            if isinstance(served, str):
                kinds.append(residents.kind_of_route(plural, served))
            elif served.error:
                unread[plural] = served.reason
        found = inventory.read(self.ground.api, namespace, kinds, audit_ids)
        lacks = "the verifier lacks a right: it cannot list"
        unread |= {kind.plural: f"{lacks} {kind.resource} in namespace {namespace}" for kind in found.unread}
        objects = {kind.plural: lying for kind, lying in found.objects.items()}
        return residents.Residents(namespace, objects, unread, audit_ids)

    def _is_there(self, namespace: str) -> bool:
        return self._answered(lambda: self.ground.is_there(namespace), lambda _why: True)

    def _subject(self, environment: TargetEnvironment | None = None) -> str:
        tenant = f"tenant/{self.target.tenant}"
        return f"{tenant}/{environment.name}" if environment else tenant

    def _missing_right(self, active: Mapping[TargetEnvironment, Surroundings]) -> Finding | None:
        """One clear error where the verifier may not act as the tenant, instead of one for each probe."""
        gate = self.known.probes[GATE]
        first = next(iter(active.items()), None)
        identity = self.target.identity(gate.identity)
        if first is None or identity is None:
            return None
        trial = self._trial(gate, *first, self._subject(), (first[0].namespace,))
        call = prepare(trial, self.known.objects)[0].call
        answer = self._answered(lambda: request(self.ground.acting(identity), call), no_answer)
        received = refusal(answer)
        if received is None or received.by != IMPERSONATION:
            return None
        reason = f"the verifier lacks a right: {missing_right(received.message)}"
        return untried(gate, self._subject(), reason, Verdict.ERROR)

    def _there(self, where: Where, own: str | None) -> tuple[str | None, ...]:
        if where == "own":
            return (own,)
        if where == "cluster":
            return (None,)
        others = PLATFORM_NAMESPACES if where == "platform" else self.target.strangers_namespaces
        return tuple(namespace for namespace in others if namespace in self.there)

    def _trials(
        self, probes: Iterable[Probe], active: Mapping[TargetEnvironment, Surroundings]
    ) -> tuple[list[Finding], list[Trial]]:
        """Return findings of what cannot be tried, and the trials."""
        settled: list[Finding] = []
        trials: list[Trial] = []
        for probe in probes:
            own = probe.where == "own"
            chosen = [(e, a) for e, a in active.items() if self.selection.tries(probe.id, e.name)]
            if not own:
                chosen = list(active.items())[:1] if self.selection.tries(probe.id, WHOLE) else []
            if not own and not active and self.selection.tries(probe.id, WHOLE):
                reason = "no environment is in use, so there is nothing to act from"
                settled.append(untried(probe, self._subject(), reason, Verdict.NOT_APPLICABLE))
            for environment, around in chosen:
                subject = self._subject(environment if own else None)
                there = self._there(probe.where, environment.namespace)
                if (absent := self._not_to_be_tried(probe, there)) is not None:
                    settled.append(untried(probe, subject, *absent))
                else:
                    trials.append(self._trial(probe, environment, around, subject, there))
        return settled, trials

    def _not_to_be_tried(self, probe: Probe, there: tuple[str | None, ...]) -> tuple[str, Verdict] | None:
        """Return why a probe is not tried on this tenant, and the verdict that this is."""
        absence = self.ground.absence(probe.request.resource)
        if absence is not None and absence.error:
            return absence.reason, Verdict.ERROR
        reason = None
        if absence is not None:
            reason = absence.reason
        elif not self.target.groups_of(probe.identity) and probe.identity != "outsiders":
            reason = f"there are no {probe.identity}"
        elif not there:
            reason = _ALONE
        elif probe.isolation and self.target.isolation not in probe.isolation:
            reason = f"the tenant's isolation is {self.target.isolation}"
        return None if reason is None else (reason, Verdict.NOT_APPLICABLE)

    def _trial(
        self,
        probe: Probe,
        environment: TargetEnvironment,
        around: Surroundings,
        subject: str,
        there: tuple[str | None, ...],
    ) -> Trial:
        identity = self.target.identity(probe.identity)
        assert identity is not None  # noqa: S101 - what nobody can try does not come here
        if environment.name not in self.variables:
            self.variables[environment.name] = variables(self.target, environment, around)
        known = self.variables[environment.name]
        return Trial(probe, subject, around, there, identity, known, self.target.isolation)

    def _try(self, trial: Trial) -> Finding:
        probe = trial.probe
        if probe.control is not None:
            control = self.controls.get((probe.control, trial.around.namespace))
            if control is not None and control.verdict is Verdict.NOT_APPLICABLE:
                reason = f"its control {probe.control} does not apply: {control.reason}"
                return untried(probe, trial.subject, reason, Verdict.NOT_APPLICABLE)
            if control is None or control.verdict is not Verdict.PASS:
                return untried(probe, trial.subject, f"its control {probe.control} was not admitted in this run")
        if self.ground.silent is not None:
            return untried(probe, trial.subject, self.ground.silent, Verdict.ERROR)
        try:
            ready = prepare(trial, self.known.objects)
        except NotToBeTriedError as missing:
            return untried(probe, trial.subject, str(missing), missing.verdict)
        sent = [send(self.ground.acting(trial.identity), trial, each, self.settle) for each in ready]
        self.ground.silent = next((s.judgement.reason for s in sent if s.answer is None), self.ground.silent)
        return finding(trial, sent)

    def _reviews(self, environments: list[TargetEnvironment]) -> Iterator[Finding]:
        control = review.control(self.ground.api, self._subject(), self.ground.silent)
        yield control
        asked: list[tuple[Review, str, tuple[str | None, ...]]] = []
        for each in self.known.reviews.values():
            own = each.where == "own"
            chosen = [e for e in reviewed(each, environments) if self.selection.tries(each.id, e.name)]
            if not (chosen if own else self.selection.tries(each.id, WHOLE)):
                continue
            there = self._there(each.where, None)
            if not self.target.groups_of(each.identity) and each.identity != "outsiders":
                reason = f"there are no {each.identity}"
                yield review.unasked(each, self._subject(), reason, Verdict.NOT_APPLICABLE)
            elif each.names == (review.STRANGERS,) and not self.target.other_groups:
                yield review.unasked(each, self._subject(), "there are no strangers", Verdict.NOT_APPLICABLE)
            elif own:
                asked += [(each, self._subject(e), (e.namespace,)) for e in chosen]
            elif there:
                asked.append((each, self._subject(), there))
            else:
                yield review.unasked(each, self._subject(), _ALONE, Verdict.NOT_APPLICABLE)
        yield from self._each(lambda item: self._review(control, *item), asked)

    def _review(self, control: Finding, each: Review, subject: str, there: tuple[str | None, ...]) -> Finding:
        if control.verdict is not Verdict.PASS:
            return review.unasked(each, subject, f"its control {control.id} did not pass in this run")
        if self.ground.silent is not None:
            return review.unasked(each, subject, self.ground.silent, Verdict.ERROR)
        groups = tuple(sorted(self.target.groups_of(each.identity)))
        strangers = tuple(sorted(self.target.other_groups))
        found = review.conduct(self.ground.api, each, subject, groups, there, strangers)
        if found.observed == review.SILENCE:
            self.ground.silent = found.reason
        return found
