"""Judgement: from what was expected and what was answered to a verdict. Nothing passes by default."""

from __future__ import annotations

from dataclasses import dataclass

from gcloud_pk.cluster.transport import Answer
from gcloud_pk.model import labels
from gcloud_pk.model.finding import Verdict
from gcloud_pk.proof import refusal as walls
from gcloud_pk.proof.call import Call
from gcloud_pk.proof.probe import Admitted, Refused
from gcloud_pk.proof.refusal import Refusal, missing_right, refusal

_SHOWN = 400


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, what was observed, and the reason where the verdict is not `pass`."""

    verdict: Verdict
    observed: str
    reason: str | None = None


def expectation(expected: Admitted | Refused, call: Call) -> str:
    """Return in words what the answer must be."""
    if not isinstance(expected, Refused):
        return "admitted"
    by = f"{expected.by} {expected.rule}" if expected.rule else expected.by
    in_front = f", or by {expected.earlier} in front of it" if expected.earlier else ""
    return f"refused by {by}, naming {expected_words(expected, call)}{in_front}"


def expected_words(expected: Refused, call: Call) -> str:
    """Return the words that the refusal must hold: the field, or for RBAC who may not do what where."""
    if expected.field is not None:
        return expected.field
    group = call.resource.group
    return (
        f'User "{labels.PROBE_USER}" cannot {call.verb} resource "{call.full_resource}" in API group "{group}" '
        f"{call.scope}"
    )


def judge(expected: Admitted | Refused, call: Call, answer: Answer) -> Judgement:
    """Judge one answer (architecture: Verdicts that cannot lie)."""
    received = refusal(answer)
    if received is None:
        if isinstance(expected, Refused):
            return Judgement(Verdict.FAIL, f"admitted ({answer.status})", "what must be refused was admitted")
        return Judgement(Verdict.PASS, f"admitted ({answer.status})")
    observed = f"refused by {received.by} ({answer.status}): {_shortened(received.message)}"
    if received.by == walls.IMPERSONATION:
        return Judgement(Verdict.ERROR, observed, f"the verifier lacks a right: {missing_right(received.message)}")
    if isinstance(expected, Refused):
        return _judge_refusal(expected, call, received, observed)
    return _judge_control(received, observed)


def _judge_refusal(expected: Refused, call: Call, received: Refusal, observed: str) -> Judgement:
    if received.by == expected.earlier:
        return Judgement(Verdict.PASS, observed)
    if received.by != expected.by:
        return Judgement(Verdict.ERROR, observed, f"refused for another reason than {expected.by}")
    if expected.rule is not None and not received.said.startswith(f"[{expected.rule}] "):
        return Judgement(Verdict.ERROR, observed, f"{expected.by} refused, but by another rule than {expected.rule}")
    words = expected_words(expected, call)
    if words not in received.said:
        return Judgement(Verdict.ERROR, observed, f"{expected.by} refused, but does not name {words}")
    return Judgement(Verdict.PASS, observed)


def _judge_control(received: Refusal, observed: str) -> Judgement:
    if received.by == walls.QUOTA:
        # The tenant has filled its quota: that is its right, and nothing is wrong with the walls.
        return Judgement(Verdict.NOT_CHECKED, observed, "the quota is used up, so nothing more is admitted")
    if received.by in {walls.OTHER, walls.UNSETTLED}:
        return Judgement(Verdict.ERROR, observed, "refused by no wall that is known")
    return Judgement(Verdict.FAIL, observed, "what must be admitted was refused")


def _shortened(message: str) -> str:
    return message if len(message) <= _SHOWN else message[: _SHOWN - 1] + "…"
