"""Verify: every probe, review and object check of one tenant, and their findings.

Order: what is live, then the controls (what must work), then each wall (what must not); a wall is believed only where
its control was admitted in this run (reference: tenant isolation, section 4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from gcloud_pk.cluster.transport import Api, Identity
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.proof import checks, review
from gcloud_pk.proof.probe import Catalogue, Probe, Review, Where, standard, unchecked
from gcloud_pk.proof.refusal import IMPERSONATION, missing_right, refusal
from gcloud_pk.proof.surroundings import NAMESPACES, Surroundings, read
from gcloud_pk.proof.target import PLATFORM_NAMESPACES, Target, TargetEnvironment
from gcloud_pk.proof.trial import NotToBeTriedError, Trial, finding, prepare, request, send, untried, variables

GATE = "ISO-000"
"""The probe that shows that the verifier may act as the tenant at all."""

THREADS = 8
SETTLE = 3.0

_ALONE = "no namespace of another tenant is there"

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def verify(
    api: Api,
    target: Target,
    *,
    quick: bool = False,
    known: Catalogue | None = None,
    threads: int = THREADS,
    settle: float = SETTLE,
) -> list[Finding]:
    """Return the findings on one tenant, sorted by subject and id; nothing that stays is written.

    `api` is the verifier's own. `quick` leaves out what `omitted` names. `settle`: seconds for which a control may
    still be refused because access was only just given. Raises UnavailableError when the server does not answer at
    the beginning; later, what got no answer is an `error`.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="probe") as pool:
        run = _Run(api, target, known or standard(), quick, settle, pool)
        return sorted(run.findings(), key=lambda f: (f.subject, f.id))


def omitted(*, quick: bool = True, known: Catalogue | None = None) -> list[str]:
    """Return the ids that a run leaves out, sorted: what no check of this version shows, and what `quick` skips."""
    known = known or standard()
    everything: dict[str, Probe | Review] = {**known.probes, **known.reviews}
    skipped = [name for name, item in everything.items() if quick and not item.quick]
    return sorted([*skipped, *(each.id for each in unchecked())])


@dataclass
class _Run:
    api: Api
    target: Target
    known: Catalogue
    quick: bool
    settle: float
    pool: Executor
    controls: dict[tuple[str, str], Finding] = field(default_factory=dict)
    """Findings of controls by probe and namespace: a wall is believed only beside one that passed."""
    acting: dict[Identity, Api] = field(default_factory=dict)
    there: frozenset[str] = frozenset()
    """Namespaces of others that exist: RBAC refuses what is not there just the same, which shows nothing."""
    silent: str | None = None
    """Why the API server no longer answers, once it does not: nobody waits for it a second time."""

    def findings(self) -> Iterator[Finding]:
        environments = sorted(self.target.environments, key=lambda e: e.name)
        around = dict(zip(environments, self._each(lambda e: read(self.api, e.namespace), environments), strict=True))
        others = (*PLATFORM_NAMESPACES, *self.target.strangers_namespaces)
        self.there = frozenset(n for n, there in zip(others, self._each(self._exists, others), strict=True) if there)
        for environment, surroundings in around.items():
            yield from checks.run(surroundings, self.target, environment, self._subject(environment))
        yield from self._reviews(environments)
        active = {e: around[e] for e in environments if not e.retired}
        if (missing := self._missing_right(active)) is not None:
            yield missing
            return
        probes = [p for p in self.known.probes.values() if p.quick or not self.quick]
        for controls in (True, False):
            chosen = [p for p in probes if (p.control is None) is controls]
            settled, trials = self._trials(chosen, active)
            yield from settled
            for trial, found in zip(trials, self._each(self._try, trials), strict=True):
                if controls:
                    self.controls[trial.key] = found
                yield found

    def _each(self, act: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
        return list(self.pool.map(act, items))

    def _exists(self, namespace: str) -> bool:
        # Where the verifier may not look, it is tried: only a 404 says that nothing is there.
        return self.api.request("GET", NAMESPACES.path(None, namespace)).status != 404

    def _subject(self, environment: TargetEnvironment | None = None) -> str:
        tenant = f"tenant/{self.target.tenant}"
        return f"{tenant}/{environment.name}" if environment else tenant

    def _missing_right(self, active: dict[TargetEnvironment, Surroundings]) -> Finding | None:
        """One clear error where the verifier may not act as the tenant, instead of one for each probe."""
        _, trials = self._trials([self.known.probes[GATE]], dict(list(active.items())[:1]))
        if not trials:
            return None
        trial = trials[0]
        answer = request(self.acting[trial.identity], prepare(trial, self.known.objects)[0].call)
        received = refusal(answer)
        if received is None or received.by != IMPERSONATION:
            return None
        reason = f"the verifier lacks a right: {missing_right(received.message)}"
        return untried(trial.probe, self._subject(), reason, Verdict.ERROR)

    def _there(self, where: Where, own: str | None) -> tuple[str | None, ...]:
        if where == "own":
            return (own,)
        if where == "cluster":
            return (None,)
        others = PLATFORM_NAMESPACES if where == "platform" else self.target.strangers_namespaces
        return tuple(namespace for namespace in others if namespace in self.there)

    def _trials(
        self, probes: Iterable[Probe], active: dict[TargetEnvironment, Surroundings]
    ) -> tuple[list[Finding], list[Trial]]:
        """Return findings of what cannot be tried, and the trials."""
        settled: list[Finding] = []
        trials: list[Trial] = []
        for probe in probes:
            own = probe.where == "own"
            identity = self.target.identity(probe.identity)
            chosen = list(active.items()) if own else list(active.items())[:1]
            if not chosen and not own:
                reason = "no environment is in use, so there is nothing to act from"
                settled.append(untried(probe, self._subject(), reason, Verdict.NOT_APPLICABLE))
            for environment, around in chosen:
                subject = self._subject(environment if own else None)
                there = self._there(probe.where, environment.namespace)
                if identity is None or not there:
                    reason = _ALONE if identity else f"there are no {probe.identity}"
                    settled.append(untried(probe, subject, reason, Verdict.NOT_APPLICABLE))
                    continue
                if probe.isolation and self.target.isolation not in probe.isolation:
                    reason = f"the tenant's isolation is {self.target.isolation}"
                    settled.append(untried(probe, subject, reason, Verdict.NOT_APPLICABLE))
                    continue
                if identity not in self.acting:
                    self.acting[identity] = self.api.impersonating(identity)
                known = variables(self.target, environment, around)
                trials.append(Trial(probe, subject, around, there, identity, known, self.target.isolation))
        return settled, trials

    def _try(self, trial: Trial) -> Finding:
        probe = trial.probe
        if probe.control is not None:
            control = self.controls.get((probe.control, trial.around.namespace))
            if control is not None and control.verdict is Verdict.NOT_APPLICABLE:
                reason = f"its control {probe.control} does not apply: {control.reason}"
                return untried(probe, trial.subject, reason, Verdict.NOT_APPLICABLE)
            if control is None or control.verdict is not Verdict.PASS:
                return untried(probe, trial.subject, f"its control {probe.control} was not admitted in this run")
        if self.silent is not None:
            return untried(probe, trial.subject, self.silent, Verdict.ERROR)
        try:
            ready = prepare(trial, self.known.objects)
        except NotToBeTriedError as missing:
            return untried(probe, trial.subject, str(missing), missing.verdict)
        sent = [send(self.acting[trial.identity], trial, each, self.settle) for each in ready]
        self.silent = next((s.judgement.reason for s in sent if s.answer is None), self.silent)
        return finding(trial, sent)

    def _reviews(self, environments: list[TargetEnvironment]) -> Iterator[Finding]:
        control = review.control(self.api, self._subject())
        yield control
        asked: list[tuple[Review, str, tuple[str | None, ...]]] = []
        for each in self.known.reviews.values():
            if self.quick and not each.quick:
                continue
            if not self.target.groups_of(each.identity) and each.identity != "outsiders":
                reason = f"there are no {each.identity}"
                yield review.unasked(each, self._subject(), reason, Verdict.NOT_APPLICABLE)
            elif each.where == "own":
                state = {"active": {False}, "retired": {True}, "all": {False, True}}[each.environments]
                asked += [(each, self._subject(e), (e.namespace,)) for e in environments if e.retired in state]
            elif there := self._there(each.where, None):
                asked.append((each, self._subject(), there))
            else:
                yield review.unasked(each, self._subject(), _ALONE, Verdict.NOT_APPLICABLE)
        yield from self._each(lambda item: self._review(control, *item), asked)

    def _review(self, control: Finding, each: Review, subject: str, there: tuple[str | None, ...]) -> Finding:
        if control.verdict is not Verdict.PASS:
            return review.unasked(each, subject, f"its control {control.id} did not pass in this run")
        return review.conduct(self.api, each, subject, tuple(sorted(self.target.groups_of(each.identity))), there)
