"""Trial: one probe against one tenant namespace: the calls are made ready, sent, judged, and become one finding."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from string import Template
from typing import Any

from gcloud_pk.cluster.transport import Answer, Api, Identity
from gcloud_pk.errors import GcloudPkError
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.proof import capacity, flows
from gcloud_pk.proof.call import Body, Call
from gcloud_pk.proof.judgement import Judgement, expectation, judge
from gcloud_pk.proof.patch import apply
from gcloud_pk.proof.placement import placed
from gcloud_pk.proof.probe import Admitted, Probe, Refused
from gcloud_pk.proof.refusal import RBAC, UNSETTLED, refusal
from gcloud_pk.proof.surroundings import Surroundings
from gcloud_pk.proof.target import Target, TargetEnvironment

_SEVERITY = (
    Verdict.FAIL,
    Verdict.ERROR,
    Verdict.NOT_CHECKED,
    Verdict.WAIVED,
    Verdict.NOT_APPLICABLE,
    Verdict.PASS,
)


_NOT_ASKED_FOR = {
    "domain": "the request names no domain here",
    "gateway_namespace": "the request names no domain here, so no gateway is open to it",
    "storage_class": "the request names no storage class",
    "declared_egress": "the request declares no network to reach",
    "foreign_egress": "the request declares every network as one to reach",
    "foreign_ingress": "the request declares every network as one to be reached from",
    "reserved": "the request declares no network that holds a range of the cluster itself",
    "wide_ingress": "the request declares no network that holds a range of the cluster itself",
}
"""Variables that a request need not give; of all others, absence is a gap in what is live."""


class NotToBeTriedError(Exception):
    """What the probe needs is not there, so nothing was sent; the message says what.

    `verdict`: not-checked; not-applicable where the request itself leaves nothing to try.
    """

    def __init__(self, message: str, verdict: Verdict = Verdict.NOT_CHECKED) -> None:
        super().__init__(message)
        self.verdict = verdict


@dataclass(frozen=True)
class Trial:
    """A probe, where from (the tenant's namespace), where to, and as whom."""

    probe: Probe
    subject: str
    around: Surroundings
    there: tuple[str | None, ...]
    identity: Identity
    variables: Mapping[str, str]
    isolation: str = "namespace"

    @property
    def key(self) -> tuple[str, str]:
        """What other probes name as their control: probe and tenant namespace."""
        return self.probe.id, self.around.namespace


@dataclass(frozen=True, slots=True)
class Ready:
    """A call with the expectation that fits it."""

    call: Call
    expected: Admitted | Refused


@dataclass(frozen=True, slots=True)
class Sent:
    """A call, its answer and what was made of it."""

    ready: Ready
    answer: Answer | None
    judgement: Judgement


def variables(target: Target, environment: TargetEnvironment, around: Surroundings) -> dict[str, str]:
    """Return what `${…}` in probes stands for. `lookalike` is a path beside the tenant's own, one character off."""
    wide, reserved = flows.holding(environment.ingress_cidrs, environment.reserved_cidrs) or (None, None)
    found: dict[str, str | None] = {
        "tenant": target.tenant,
        "environment": environment.name,
        "namespace": environment.namespace,
        "group": min(target.admins, default=None),
        "domain": min(environment.domains, default=None),
        "gateway_namespace": min(environment.gateway_namespaces, default=None),
        "storage_class": min(environment.storage_classes, default=None),
        "claim_size": capacity.claim_size(around.all("limitranges")),
        "declared_egress": min(environment.egress_cidrs, default=None),
        "foreign_egress": flows.undeclared(environment.egress_cidrs),
        "foreign_ingress": flows.undeclared(environment.ingress_cidrs),
        "wide_ingress": wide,
        "reserved": reserved,
        **around.names(),
    }
    if environment.registries:
        first = environment.registries[0]
        found |= {"registry": first, "lookalike": first.removesuffix("/") + "-lookalike/"}
    return {name: value for name, value in found.items() if value is not None}


def prepare(trial: Trial, objects: Mapping[str, dict[str, Any]]) -> list[Ready]:
    """Return the calls of a trial. Raises NotToBeTriedError where something that the probe needs is not there."""
    probe = trial.probe
    prepared = []
    for there in trial.there:
        known = {**trial.variables, **({"there": there} if there else {})}
        body = _substituted(objects[probe.object] if probe.object else probe.body, known)
        if probe.object:
            body = placed(body, known["tenant"], trial.isolation)
        if probe.derived:
            too_large = _derived(probe, body, trial.around)
            body, known = apply(body, too_large.edits), {**known, "exceeded": too_large.resource}
        if probe.edits:
            edits = (e.model_copy(update={"value": _substituted(e.value, known)}) for e in probe.edits)
            body = apply(body, edits)
        expected = probe.expect
        if isinstance(expected, Refused) and expected.field:
            expected = expected.model_copy(update={"field": _substituted(expected.field, known)})
        request = probe.request
        name = _substituted(request.name, known)
        call = Call(request.verb, request.resource, there, name, request.subresource, body)
        prepared.append(Ready(call, expected))
    return prepared


def _derived(probe: Probe, body: Mapping[str, Any], around: Surroundings) -> capacity.TooLarge:
    limit_ranges = around.all("limitranges")
    if probe.derived == "above-limit":
        found = capacity.above_limit(limit_ranges)
        missing = "the namespace has no LimitRange with a maximum"
    else:
        found = capacity.above_quota(body, around.platform("resourcequotas"), limit_ranges)
        missing = "the namespace has no ResourceQuota that one pod could exceed"
    if found is None:
        raise NotToBeTriedError(missing)
    return found


def _substituted(value: Any, known: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        try:
            return Template(value).substitute(known)
        except KeyError as error:
            name = str(error.args[0])
            if name in _NOT_ASKED_FOR:
                raise NotToBeTriedError(_NOT_ASKED_FOR[name], Verdict.NOT_APPLICABLE) from None
            raise NotToBeTriedError(f"there is no {name.replace('_', ' ')} to try it with") from None
    if isinstance(value, dict):
        return {key: _substituted(item, known) for key, item in value.items()}
    if isinstance(value, list):
        return [_substituted(item, known) for item in value]
    return value


def send(api: Api, trial: Trial, ready: Ready, settle: float) -> Sent:
    """Send one call and judge the answer.

    A control that RBAC or an unsettled policy refuses is tried again for up to `settle` seconds: bindings and
    parameters that were just written take a moment on every API server. What must be refused is tried once.
    """
    until = time.monotonic() + settle
    pause = 0.05
    while True:
        try:
            answer = request(api, ready.call)
        except GcloudPkError as error:
            return Sent(ready, None, Judgement(Verdict.ERROR, "no answer", error.message))
        received = refusal(answer)
        unsettled = received is not None and received.by in {RBAC, UNSETTLED}
        if not unsettled or isinstance(ready.expected, Refused) or time.monotonic() + pause > until:
            return Sent(ready, answer, _judged(trial, ready, answer))
        time.sleep(pause)
        pause *= 2


def request(api: Api, call: Call) -> Answer:
    """Send a call as it is."""
    return api.request(call.method, call.path, params=call.params, body=call.body, content_type=call.content_type)


def _judged(trial: Trial, ready: Ready, answer: Answer) -> Judgement:
    judgement = judge(ready.expected, ready.call, answer)
    if trial.probe.shows is None or judgement.verdict is not Verdict.PASS:
        return judgement
    if missing := capacity.missing_defaults(answer.body, trial.around.all("limitranges")):
        return Judgement(Verdict.FAIL, "; ".join(missing), "the defaults of the limit range were not given")
    return Judgement(Verdict.PASS, "admitted, with the defaults of the limit range")


def finding(trial: Trial, sent: Iterable[Sent]) -> Finding:
    """Return the one finding of a trial: the worst of its calls, and all of them as evidence."""
    sent = tuple(sent)
    worst = min(sent, key=lambda s: _SEVERITY.index(s.judgement.verdict))
    observed = worst.judgement.observed
    if len(sent) > 1:
        same = sum(s.judgement.verdict is worst.judgement.verdict for s in sent)
        verdict, scope = worst.judgement.verdict, worst.ready.call.scope
        observed = f"{verdict} in {same} of {len(sent)} namespaces; {scope}: {observed}"
    return Finding(
        id=trial.probe.id,
        title=trial.probe.title,
        subject=trial.subject,
        expected=expectation(worst.ready.expected, worst.ready.call),
        observed=observed,
        verdict=worst.judgement.verdict,
        controls=trial.probe.controls,
        reason=worst.judgement.reason,
        seconds=sum(s.answer.seconds for s in sent if s.answer),
        evidence={
            "as": {"user": trial.identity.user, "groups": list(trial.identity.groups)},
            "requests": [dict(_evidence(trial.probe, s)) for s in sent],
        },
    )


def untried(probe: Probe, subject: str, reason: str, verdict: Verdict = Verdict.NOT_CHECKED) -> Finding:
    """Return the finding of a probe that was not sent."""
    expected = probe.expect if not isinstance(probe.expect, Refused) else f"refused by {probe.expect.by}"
    return Finding(
        id=probe.id,
        title=probe.title,
        subject=subject,
        expected=expected,
        observed="not sent",
        verdict=verdict,
        controls=probe.controls,
        reason=reason,
    )


def _evidence(probe: Probe, sent: Sent) -> Iterator[tuple[str, Any]]:
    call = sent.ready.call
    yield "request", f"{call.method} {call.path}" + ("?dryRun=All" if "dryRun" in call.params else "")
    if call.body is not None:
        yield "sent", call.body
        yield "digest", digest(call.body)
        if probe.object:
            yield "object", probe.object
        if probe.edits:
            yield "edits", [edit.as_dict() for edit in probe.edits]
        if probe.derived:
            yield "derived", probe.derived
    if sent.answer is not None:
        yield "status", sent.answer.status
        # An admitted read holds somebody's data: only refusals are kept.
        if not sent.answer.ok:
            yield "refusal", sent.answer.message
        if sent.answer.audit_id:
            yield "auditId", sent.answer.audit_id


def digest(body: Body) -> str:
    """Return `sha256:` of the canonical JSON of what was sent."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
