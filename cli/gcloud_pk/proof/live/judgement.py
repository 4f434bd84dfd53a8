"""Judgement of flows: from what came back to verdicts. Pure; nothing passes by default.

A closed flow passes only where the same pod was answered in its own namespace by the same protocol, and somebody else
was answered at the same address in the same run. An open one fails only where somebody else was answered there. Where
the site says that its network enforces nothing, no closed flow is judged, whatever came back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.proof.live.aims import PROTOCOLS, Address, Aims
from gcloud_pk.proof.live.plan import CHECKS, METADATA_CHECK, OUTSIDE, STARTS, WITNESS, Check, Flow, Plan
from gcloud_pk.proof.live.pods import Seen
from gcloud_pk.proof.live.program import OPEN, REFUSED, SILENT, STRANGE, UNREACHABLE

_CAME_BACK = {
    OPEN: "an answer",
    REFUSED: "a refusal",
    SILENT: "nothing",
    STRANGE: "another answer than the one expected",
    UNREACHABLE: "no way there",
}
_WORST = (Verdict.FAIL, Verdict.ERROR, Verdict.NOT_CHECKED, Verdict.PASS, Verdict.NOT_APPLICABLE)
_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of one flow at one address: what came back, one of `program`'s letters, after how many seconds."""

    flow: Flow
    address: Address
    came_back: str
    seconds: float


@dataclass(frozen=True)
class Post:
    """What became of the probe pods of one namespace. `trouble`: why there is no report."""

    trouble: str | None = None
    pod: str = ""
    seen: Seen = field(default_factory=Seen)
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True, slots=True)
class _Ruling:
    verdict: Verdict
    observed: str
    reason: str | None = None
    evidence: Mapping[str, Any] | None = None


class _Heard:
    """What all pods of a run heard together."""

    def __init__(self, posts: Mapping[str, Post], aims: Aims) -> None:
        self.posts = posts
        self.held = aims.held
        self.answered: dict[Address, list[str]] = {}
        self.controls: dict[tuple[str, str], Attempt] = {}
        for source, post in posts.items():
            for attempt in post.attempts:
                if attempt.came_back == OPEN:
                    self.answered.setdefault(attempt.address, []).append(source)
                    if attempt.flow.aim == source:
                        self.controls[source, attempt.flow.protocol] = attempt

    def witness(self, address: Address, source: str) -> str | None:
        """Return a namespace, not `source`, whose pod was answered at `address`."""
        return next((other for other in self.answered.get(address, ()) if other != source), None)

    def listens(self, namespace: str) -> str | None:
        """Return why nobody listens in a namespace; None where a pod does."""
        post = self.posts.get(namespace)
        return "no probe pod runs there" if post is None else post.trouble


def judge(plan: Plan, posts: Mapping[str, Post], aims: Aims, unenforced: str | None = None) -> list[Finding]:
    """Return a finding for each check of each environment, by subject and id. `posts`: namespace → what became.

    `unenforced`: why this network drops nothing that a policy forbids; None where it is to be judged by what it drops.
    """
    heard = _Heard(posts, aims)
    of: dict[tuple[str | None, str | None], list[Flow]] = {}
    for flow in plan.flows:
        of.setdefault((flow.subject, flow.check), []).append(flow)
    found = []
    for subject, namespace in plan.subjects.items():
        post = posts.get(namespace, Post("no probe pod runs there"))
        found.append(_started(subject, post))
        for check in CHECKS.values():
            flows = of.get((subject, check.id), [])
            # What was not selected for a run has no verdict: without a named address, the outside is left out.
            if check.id == STARTS or (check.id == OUTSIDE and not flows):
                continue
            found.append(
                _finding(check, subject, [r for flow in flows for r in _rulings(flow, heard, unenforced)], post)
            )
    return sorted(found, key=lambda f: (f.subject, f.id))


def unjudged(subjects: Iterable[str], reason: str) -> list[Finding]:
    """Return a `not-checked` for every check of every subject, for one reason."""
    return [
        Finding(c.id, c.title, subject, c.expected, "not looked at", Verdict.NOT_CHECKED, c.controls, reason)
        for subject in subjects
        for c in CHECKS.values()
        if c.id != OUTSIDE
    ]


def _started(subject: str, post: Post) -> Finding:
    check = CHECKS[STARTS]
    if post.trouble is not None:
        return Finding(
            check.id,
            check.title,
            subject,
            check.expected,
            "no report",
            Verdict.NOT_CHECKED,
            check.controls,
            post.trouble,
        )
    return Finding(
        check.id,
        check.title,
        subject,
        check.expected,
        f"{post.pod} reported {len(post.attempts)} tries",
        Verdict.PASS,
        check.controls,
        evidence=_pod(post),
    )


def _finding(check: Check, subject: str, rulings: Sequence[_Ruling], post: Post) -> Finding:
    if not rulings:
        return Finding(
            check.id, check.title, subject, check.expected, "nothing to try", Verdict.NOT_APPLICABLE, check.controls,
            check.nothing,
        )  # fmt: skip
    verdict = next(v for v in _WORST if any(r.verdict is v for r in rulings))
    telling = [r for r in rulings if r.verdict is verdict]
    reasons = list(dict.fromkeys(r.reason for r in telling if r.reason))
    observed = list(dict.fromkeys(r.observed for r in telling))
    more = f"; and {len(observed) - _SHOWN} more" if len(observed) > _SHOWN else ""
    tried = [dict(r.evidence) for r in rulings if r.evidence]
    return Finding(
        check.id,
        check.title,
        subject,
        check.expected,
        "; ".join(observed[:_SHOWN]) + more,
        verdict,
        check.controls,
        "; ".join(reasons[:_SHOWN]) or None,
        max((float(t["seconds"]) for t in tried), default=0.0),
        {"tried": tried, "by": _pod(post)} if tried else {},
    )


def _rulings(flow: Flow, heard: _Heard, unenforced: str | None) -> Iterator[_Ruling]:
    if flow.settled is not None:
        yield _Ruling(flow.settled[0], "not tried", flow.settled[1])
        return
    post = heard.posts.get(flow.source)
    if post is None or post.trouble is not None:
        why = post.trouble if post else "no probe pod runs there"
        yield _Ruling(Verdict.NOT_CHECKED, "not tried", f"from {flow.source}: {why}")
        return
    attempts = [a for a in post.attempts if a.flow == flow]
    if not attempts:
        why = heard.listens(str(flow.aim)) if isinstance(flow.aim, str) else "it was not reported"
        yield _Ruling(Verdict.NOT_CHECKED, "not tried", f"to {flow.aim}: {why or 'nobody listens there'}")
    for attempt in attempts:
        if flow.expected == "open":
            verdict, reason = _open(attempt, heard)
        else:
            verdict, reason = (Verdict.NOT_CHECKED, unenforced) if unenforced else _closed(attempt, heard)
        yield _Ruling(verdict, _observed(attempt), reason, _evidence(attempt, heard))


def _closed(attempt: Attempt, heard: _Heard) -> tuple[Verdict, str | None]:
    flow, where = attempt.flow, _where(attempt)
    if attempt.came_back == OPEN:
        return Verdict.FAIL, f"{where} answered, and must be out of reach"
    if attempt.came_back == STRANGE:
        return Verdict.ERROR, f"something else than what was asked answers at {where}"
    if (flow.source, flow.protocol) not in heard.controls:
        # Over the other protocol the pod may have been answered; of this one nothing is known.
        return Verdict.NOT_CHECKED, f"the same pod was not answered over {flow.protocol} in its own namespace either"
    if heard.witness(attempt.address, flow.source) is not None:
        return Verdict.PASS, None
    if flow.check == METADATA_CHECK and _unheld(heard):
        return Verdict.NOT_APPLICABLE, "nothing is there: a pod of the platform, which no policy holds, is not answered"
    held = f" (what may hold the pod in {WITNESS}: {', '.join(heard.held)})" if heard.held else ""
    return Verdict.NOT_CHECKED, f"nobody was answered at {where}, so silence shows nothing{held}"


def _unheld(heard: _Heard) -> bool:
    """Whether the platform's own pod ran, was answered, and no policy stood in its way."""
    return not heard.held and (WITNESS, "TCP") in heard.controls


def _open(attempt: Attempt, heard: _Heard) -> tuple[Verdict, str | None]:
    flow, where = attempt.flow, _where(attempt)
    if attempt.came_back == OPEN:
        return Verdict.PASS, None
    if attempt.came_back == STRANGE:
        return Verdict.ERROR, f"something else than what was asked answers at {where}"
    if (other := heard.witness(attempt.address, flow.source)) is not None:
        return Verdict.FAIL, f"{where} answers {other}, and not {flow.source}"
    # A namespace's own listener answers nobody else by right; elsewhere the same is answered, so the network works.
    if flow.aim == flow.source and any(
        (n, p) in heard.controls for n in heard.posts for p in PROTOCOLS if n != flow.source
    ):
        return Verdict.FAIL, f"{flow.source} does not reach itself, while other namespaces do"
    return Verdict.NOT_CHECKED, f"nobody was answered at {where}"


def _where(attempt: Attempt) -> str:
    aim = attempt.flow.aim
    return f"{attempt.address} ({aim})" if isinstance(aim, str) else str(attempt.address)


def _observed(attempt: Attempt) -> str:
    return f"{attempt.flow.source} to {_where(attempt)}: {_CAME_BACK[attempt.came_back]}"


def _pod(post: Post) -> dict[str, Any]:
    return {
        "pod": post.pod,
        "addresses": list(post.seen.addresses),
        "node": post.seen.node,
        "started": post.seen.started,
        "finished": post.seen.finished,
    }


def _evidence(attempt: Attempt, heard: _Heard) -> dict[str, Any]:
    flow = attempt.flow
    control = heard.controls.get((flow.source, flow.protocol))
    return {
        "from": flow.source,
        "addresses": list(heard.posts[flow.source].seen.addresses),
        "to": str(attempt.address),
        "listener": flow.aim if isinstance(flow.aim, str) else None,
        "expected": flow.expected,
        "came_back": _CAME_BACK[attempt.came_back],
        "seconds": attempt.seconds,
        "control": str(control.address) if control else None,
        "answered": heard.witness(attempt.address, flow.source),
    }
