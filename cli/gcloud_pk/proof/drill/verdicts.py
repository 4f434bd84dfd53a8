"""From what drills brought to findings: each question, its target, and one verdict over all drills of an element. Pure.

Times are judged by the median of the drills, as the targets are meant; what may not happen even once, by the worst.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from gcloud_pk.facility.casualties import Casualties
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.proof.drill.census import Displaced
from gcloud_pk.proof.drill.ledger import Balance
from gcloud_pk.proof.drill.trace import Gap, Pause, Sample, first_answer, gaps, longest, steady, unseen
from gcloud_pk.text import number_of

SUITE = "drill"

READS, WRITES, PODS, NODES, POWER = 1.5, 3.5, 90.0, 20.0, 30.0
"""Seconds: the targets of the lab's measurements, section 4, on two cores, as a median of five: reads and writes at the
loss, pods elsewhere, nodes and, after a power cut, the API at the return."""

BEFORE = 1.0
"""Seconds before the loss that a trace is looked at from."""

_LASTING = 3.0
"""Seconds that answers must go on for before the API counts as back."""

_SETTLED = 5.0
"""Seconds that an element must be out for before it says anything of what the design promises."""

CONTROLS: Mapping[str, str] = {
    "GPK-DCT-005": "etcd and the API survive any one rack or element (kubernetes.io, HA topology; ours)",
    "GPK-DCT-010": "what the design promises is shown by drills (Uptime Institute, Operational Sustainability; "
    "secondary; ours)",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One question."""

    title: str
    expected: str
    control: str = "GPK-DCT-010"


CHECKS: Mapping[str, Check] = {
    "DRL-001": Check("Reads of the API go on", f"no gap longer than {READS} s", "GPK-DCT-005"),
    "DRL-002": Check("Writes to the API go on", f"no gap longer than {WRITES} s", "GPK-DCT-005"),
    "DRL-003": Check("No acknowledged write is lost", "all that was acknowledged is there, as it was sent"),
    "DRL-004": Check("A service goes on, or comes back", f"no gap longer than {PODS:.0f} s"),
    "DRL-005": Check("Pods of tenants are back on other hosts", f"as many are ready elsewhere within {PODS:.0f} s"),
    "DRL-006": Check("Hosts that come back are Ready again", f"all nodes Ready within {NODES:.0f} s of the return"),
    "DRL-007": Check("DNS and the platform's add-ons are spread", "of each, something stands on hosts that stay"),
    "DRL-008": Check("Nothing else falls", "hosts that were to stay are Ready all the time"),
    "DRL-009": Check("What the Tier III check promises holds", "what it calls survivable is survived", "GPK-DCT-005"),
    "DRL-010": Check("The API is back after a power cut", f"it answers, and goes on to, within {POWER:.0f} s"),
    "DRL-012": Check(
        "The return is not felt longer", f"no gap of reads or writes longer than {WRITES} s", "GPK-DCT-005"
    ),
    "DRL-011": Check("The probers saw all of it", "none ended, was stopped, or slept with its machine"),
}


@dataclass(frozen=True)
class Outcome:
    """What one drill brought. Moments are seconds of the monotonic clock; `service`: None where none was probed.

    `begun`: the element began to go; `out`: it was out; `returned`: it began to come back; `ended`: probing ended.
    `balance`: None where the ledger could not be compared, `unread`: why; `unheard`: why no service was probed.
    `nodes`, `all`: seconds from `returned` until all nodes were Ready, and all was as before; None: never.
    `suspended`: seconds that this machine slept.
    """

    lost: Casualties
    cluster: str
    begun: float
    out: float
    returned: float
    ended: float
    reads: Sequence[Sample]
    writes: Sequence[Sample]
    service: Sequence[Sample] | None
    balance: Balance | None
    displaced: Sequence[Displaced] = ()
    noticed: float | None = None
    fell: Sequence[str] = ()
    nodes: float | None = None
    all: float | None = None
    missing: Sequence[str] = ()
    pauses: Sequence[Pause] = ()
    dead: Mapping[str, Sequence[str]] = field(default_factory=dict)
    suspended: float = 0.0
    unread: str | None = None
    unheard: str | None = None
    interrupted: bool = False

    @property
    def survives(self) -> bool | None:
        """What the Tier III check says of the cluster that was probed."""
        return next((one.survives for one in self.lost.promises if one.cluster == self.cluster), None)

    def gaps(self, samples: Sequence[Sample]) -> list[Gap]:
        """Return the gaps of a trace from the loss to the end; the first from the last answer before it."""
        return [one for one in gaps(samples, self.begun - BEFORE, self.ended) if one.end > self.begun]

    def worst(self, samples: Sequence[Sample]) -> Gap | None:
        """Return the longest gap that began before the return: that of the loss."""
        return longest(one for one in self.gaps(samples) if one.begin < self.returned)

    def felt_again(self, samples: Sequence[Sample]) -> Gap | None:
        """Return the longest gap that began at the return or later."""
        return longest(one for one in self.gaps(samples) if one.begin >= self.returned)

    @property
    def first_answer(self) -> float | None:
        """Seconds from the return to the first read that began after it and was answered."""
        answered = first_answer(self.reads, self.returned)
        return None if answered is None else answered - self.returned

    @property
    def api_back(self) -> float | None:
        """Seconds from the return until reads are answered and go on to be: a lone answer is no return."""
        answered = steady(self.reads, self.returned, self.ended, READS, _LASTING)
        return None if answered is None else answered - self.returned

    @property
    def outlived(self) -> bool | None:
        """Whether writes were answered again while the element was out; None where it was out too shortly to tell."""
        if self.returned - self.out < _SETTLED:
            return None
        last = [one for one in self.writes if one.ok and self.out < one.end <= self.returned]
        return bool(last) and self.returned - last[-1].end < _SETTLED


def findings(outcomes: Sequence[Outcome]) -> list[Finding]:
    """Return the findings on all drills of one element; none without a drill."""
    if not outcomes:
        return []
    subject = outcomes[0].lost.subject
    seconds = sum(one.ended - one.begun for one in outcomes)
    return [
        Finding(
            name,
            CHECKS[name].title,
            subject,
            CHECKS[name].expected,
            said,
            verdict,
            (CHECKS[name].control,),
            reason if verdict is not Verdict.PASS else None,
            seconds,
        )
        for name, said, verdict, reason in _judged(outcomes)
    ]


_Row = tuple[str, str, Verdict, str | None]


def _judged(outcomes: Sequence[Outcome]) -> Iterator[_Row]:
    first = outcomes[0]
    whole = first.lost.target.kind == "site"
    yield _gap(outcomes, "DRL-001", "reads", lambda one: one.reads, READS)
    yield _gap(outcomes, "DRL-002", "writes", lambda one: one.writes, WRITES)
    yield _ledger(outcomes)
    yield _service(outcomes)
    yield _pods(outcomes, whole=whole)
    yield _nodes(outcomes)
    yield _spread(outcomes, whole=whole)
    yield _others(outcomes)
    yield _promise(outcomes)
    yield _return(outcomes)
    if whole:
        yield _power(outcomes)
    yield _instruments(outcomes)


def _gap(
    outcomes: Sequence[Outcome], name: str, what: str, samples: Callable[[Outcome], Sequence[Sample]], target: float
) -> _Row:
    found = [one.worst(samples(one)) for one in outcomes]
    lengths = [gap.seconds if gap else 0.0 for gap in found]
    said = f"{what}: longest gap {_over(lengths)}"
    if any(not samples(one) for one in outcomes):
        return name, said, Verdict.ERROR, f"there is no trace of {what}"
    if outcomes[0].survives is False:
        return name, said, Verdict.NOT_APPLICABLE, "the Tier III check does not promise that the API goes on"
    if median(lengths) < target:
        return name, said, Verdict.PASS, None
    if any(gap and gap.open for gap in found):
        return name, said, Verdict.FAIL, "it had not come back when the drill ended"
    seen = [gap.seconds - unseen(gap, one.pauses) if gap else 0.0 for gap, one in zip(found, outcomes, strict=True)]
    if median(seen) < target:
        return name, said, Verdict.NOT_CHECKED, "the prober itself was away for a part of the gap"
    return name, said, Verdict.FAIL, f"{median(lengths):.2f} s is not under {target} s"


def _over(values: Sequence[float]) -> str:
    """Return `1.20 s`, or `median 1.20 s, at most 1.50 s over 5 drills`."""
    if len(values) == 1:
        return f"{values[0]:.2f} s"
    return f"median {median(values):.2f} s, at most {max(values):.2f} s over {len(values)} drills"


def _ledger(outcomes: Sequence[Outcome]) -> _Row:
    known = [one.balance for one in outcomes if one.balance is not None]
    lost = sum(len(one.lost) for one in known)
    altered = sum(len(one.altered) for one in known)
    acknowledged = sum(one.acknowledged for one in known)
    unknown = sum(len(one.arrived) + len(one.missing) for one in known)
    said = f"{acknowledged} acknowledged, {lost} of them lost, {altered} altered; {unknown} without an answer"
    if lost or altered:
        names = [f"write-{number}" for one in known for number in (*one.lost, *one.altered)][:5]
        return "DRL-003", said, Verdict.FAIL, f"lost or altered: {', '.join(names)}"
    if len(known) < len(outcomes):
        why = next(one.unread for one in outcomes if one.balance is None)
        return "DRL-003", said, Verdict.ERROR, why or "the ledger was not compared"
    if not acknowledged:
        return "DRL-003", said, Verdict.NOT_CHECKED, "nothing was acknowledged, so that nothing could be lost"
    return "DRL-003", said, Verdict.PASS, None


def _service(outcomes: Sequence[Outcome]) -> _Row:
    probed = [(one, one.service) for one in outcomes if one.service is not None]
    if not probed:
        why = outcomes[0].unheard or "no service was named (--service URL), and none was set up (--image IMAGE)"
        return "DRL-004", "not probed", Verdict.NOT_CHECKED, why
    found = [one.worst(samples) for one, samples in probed]
    lengths = [gap.seconds if gap else 0.0 for gap in found]
    said = f"longest gap {_over(lengths)}"
    if not all(samples for _, samples in probed):
        return "DRL-004", said, Verdict.ERROR, "there is no trace of the service"
    if any(gap and gap.open for gap in found):
        return "DRL-004", said, Verdict.FAIL, "it had not come back when the drill ended"
    if outcomes[0].lost.target.kind == "site":
        return "DRL-004", said, Verdict.NOT_APPLICABLE, "everything was out, the service with it; it came back"
    if median(lengths) > PODS:
        return "DRL-004", said, Verdict.FAIL, f"{median(lengths):.1f} s is more than {PODS:.0f} s"
    return "DRL-004", said, Verdict.PASS, None


def _of_tenants(one: Outcome) -> list[Displaced]:
    """Return what was displaced of tenants; the drill's own service stands for them where they have nothing there."""
    return [each for each in one.displaced if each.side == "tenant"] or [
        each for each in one.displaced if each.side == "drill"
    ]


def _pods(outcomes: Sequence[Outcome], *, whole: bool) -> _Row:
    name = "DRL-005"
    moved = [(one, _of_tenants(one)) for one in outcomes]
    every = [each for _, those in moved for each in those]
    if whole:
        return name, "everything was out", Verdict.NOT_APPLICABLE, "there were no other hosts"
    if not every:
        why = "no pod of a tenant stood on what went"
        if not any(one.lost.down for one in outcomes):
            return name, "no host went", Verdict.NOT_APPLICABLE, why
        return name, "none was displaced", Verdict.NOT_CHECKED, f"{why}; --image sets up a service of the drill's own"
    who = "of tenants" if every[0].side == "tenant" else "of the drill's own service, in the place of a tenant's"
    absent = [each for each in every if each.back is None]
    if absent:
        held = min(one.returned - one.begun for one, those in moved if any(each.back is None for each in those))
        said = f"not all were back {who} after {held:.0f} s: {', '.join(sorted({each.name for each in absent})[:5])}"
        if held < PODS:
            return name, said, Verdict.NOT_CHECKED, f"the element was out for {held:.0f} s only: try --for 120s"
        return name, said, Verdict.FAIL, f"not back within {PODS:.0f} s"
    times = [max(each.back or 0.0 for each in those) for _, those in moved if those]
    said = f"{number_of(len(every), 'set')} of pods {who}: all back after {_over(times)}"
    if median(times) > PODS:
        return name, said, Verdict.FAIL, f"{median(times):.0f} s is more than {PODS:.0f} s"
    return name, said, Verdict.PASS, None


def _nodes(outcomes: Sequence[Outcome]) -> _Row:
    name = "DRL-006"
    if not any(one.lost.down or one.lost.cut_off for one in outcomes):
        return name, "no host went", Verdict.NOT_APPLICABLE, "by the site's graph no host hangs on it alone"
    never = next((one for one in outcomes if one.nodes is None), None)
    if never:
        said = f"not all nodes were Ready again: {', '.join(never.missing[:5])}"
        verdict = Verdict.NOT_CHECKED if never.interrupted else Verdict.FAIL
        return name, said, verdict, "they had not come back when the drill ended"
    times = [one.nodes or 0.0 for one in outcomes]
    said = f"all nodes Ready after {_over(times)}"
    if outcomes[0].lost.target.kind == "site":
        return name, said, Verdict.NOT_APPLICABLE, "the target is for a rack's return; here everything started at once"
    if median(times) >= NODES:
        return name, said, Verdict.FAIL, f"{median(times):.1f} s is not under {NODES:.0f} s"
    return name, said, Verdict.PASS, None


def _spread(outcomes: Sequence[Outcome], *, whole: bool) -> _Row:
    name = "DRL-007"
    if whole:
        return name, "everything was out", Verdict.NOT_APPLICABLE, "there were no other hosts"
    every = [each for one in outcomes for each in one.displaced if each.side == "platform"]
    alone = sorted({each.name for each in every if not each.standing})
    if alone:
        said = f"nothing was left of {', '.join(alone[:5])}"
        return name, said, Verdict.FAIL, "all of its pods stood on what went"
    parts = len({each.name for each in every})
    said = f"of {parts} that lost pods, each had others elsewhere" if parts else "nothing of them stood on what went"
    return name, said, Verdict.PASS, None


def _others(outcomes: Sequence[Outcome]) -> _Row:
    fallen = sorted({name for one in outcomes for name in one.fell})
    if fallen:
        said = f"not Ready at some time: {', '.join(fallen[:5])}"
        return "DRL-008", said, Verdict.FAIL, "they are not part of what was taken out"
    return "DRL-008", "all that were to stay were Ready all the time", Verdict.PASS, None


def _promise(outcomes: Sequence[Outcome]) -> _Row:
    name = "DRL-009"
    first = outcomes[0]
    promise = next((one for one in first.lost.promises if one.cluster == first.cluster), None)
    if promise is None or promise.survives is None:
        why = promise.why if promise else f"it says nothing of cluster {first.cluster}"
        return name, "the check promises nothing", Verdict.NOT_CHECKED, why
    told = [one.outlived for one in outcomes]
    if promise.survives is False:
        if first.lost.target.kind == "site":
            return name, "the check promises nothing", Verdict.NOT_APPLICABLE, promise.why
        said = "it was survived" if all(told) else "it was not survived, as the check says"
        return name, f"the check calls it not survivable; {said}", Verdict.PASS, None
    if any(one is False for one in told):
        said = "the check calls it survivable; writes were not answered again while it was out"
        return name, said, Verdict.FAIL, f"a failure of the check, which says: {promise.why}"
    if any(one.fell for one in outcomes):
        said = "the check calls it survivable; hosts fell that it does not name"
        return name, said, Verdict.FAIL, f"a failure of the check: {', '.join(sorted(set(first.fell)))} fell too"
    if None in told:
        return name, "it was out too shortly", Verdict.NOT_CHECKED, f"it was out for less than {_SETTLED:.0f} s"
    return name, "the check calls it survivable, and it was survived", Verdict.PASS, None


def _return(outcomes: Sequence[Outcome]) -> _Row:
    name = "DRL-012"
    if outcomes[0].lost.target.kind == "site":
        return name, "everything was out", Verdict.NOT_APPLICABLE, "there was nothing that a return could disturb"
    found = [[one.felt_again(samples) for samples in (one.reads, one.writes)] for one in outcomes]
    lengths = [max((gap.seconds for gap in each if gap), default=0.0) for each in found]
    said = f"reads and writes: longest gap {_over(lengths)}"
    if any(gap and gap.open for each in found for gap in each):
        return name, said, Verdict.FAIL, "it had not come back when the drill ended"
    if median(lengths) >= WRITES:
        return name, said, Verdict.FAIL, f"{median(lengths):.2f} s is not under {WRITES} s"
    return name, said, Verdict.PASS, None


def _power(outcomes: Sequence[Outcome]) -> _Row:
    times = [one.api_back for one in outcomes]
    known = [one for one in times if one is not None]
    if len(known) < len(times):
        return "DRL-010", "the API did not answer again", Verdict.FAIL, "it had not come back when the drill ended"
    said = f"the API answered, and went on to, after {_over(known)}"
    if median(known) >= POWER:
        return "DRL-010", said, Verdict.FAIL, f"{median(known):.1f} s is not under {POWER:.0f} s"
    return "DRL-010", said, Verdict.PASS, None


def _instruments(outcomes: Sequence[Outcome]) -> _Row:
    name = "DRL-011"
    dead = {kind: words for one in outcomes for kind, words in one.dead.items()}
    if dead:
        kind, words = next(iter(dead.items()))
        said = f"the prober of {kind}s ended by itself"
        return name, said, Verdict.ERROR, "; ".join(words) or "without a word"
    asleep = max(one.suspended for one in outcomes)
    if asleep > 0.5:
        said = f"this machine slept for {asleep:.1f} s"
        return name, said, Verdict.NOT_CHECKED, "nothing was seen meanwhile"
    away = [pause.end - pause.begin for one in outcomes for pause in one.pauses]
    if away:
        said = f"{number_of(len(away), 'time')} nothing was asked for {max(away):.1f} s at most"
        return name, said, Verdict.NOT_CHECKED, "this machine was too busy to probe every 100 ms"
    if any(one.interrupted for one in outcomes):
        return name, "the drill was interrupted", Verdict.NOT_CHECKED, "what came later was not seen"
    return name, "all probes were sent in time", Verdict.PASS, None
