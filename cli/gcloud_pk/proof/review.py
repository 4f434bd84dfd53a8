"""Reviews: the authorizer is asked for rights (SubjectAccessReview) that trying would exercise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from gcloud_pk.cluster.transport import Answer, Api
from gcloud_pk.errors import GcloudPkError
from gcloud_pk.model import labels
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.proof.call import Resource
from gcloud_pk.proof.probe import Review
from gcloud_pk.proof.refusal import missing_right

_PATH = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_EVERYBODY = "system:authenticated"

SILENCE = "no answer"
"""What is observed where the API server said nothing at all."""

STRANGERS = "${strangers}"
"""Among the names of a review: every group of other tenants."""

CONTROL_ID = "ISO-150"
CONTROL_TITLE = "The API server answers access reviews, and can say yes"


@dataclass(frozen=True, slots=True)
class Question:
    """May these groups do this here? `namespace` None asks for the whole cluster; no `name`, for whatever is there."""

    groups: tuple[str, ...]
    verb: str
    resource: Resource
    subresource: str
    namespace: str | None
    name: str = ""

    @property
    def body(self) -> dict[str, Any]:
        """The SubjectAccessReview to post."""
        attributes = {
            "verb": self.verb,
            "group": self.resource.group,
            "resource": self.resource.plural,
            "subresource": self.subresource,
            "namespace": self.namespace or "",
            "name": self.name,
        }
        return {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": labels.PROBE_USER,
                "groups": [*self.groups, _EVERYBODY],
                "resourceAttributes": {key: value for key, value in attributes.items() if value},
            },
        }

    def __str__(self) -> str:
        resource = self.resource.plural + (f"/{self.subresource}" if self.subresource else "")
        resource += f" {self.name}" if self.name else ""
        where = f"in {self.namespace}" if self.namespace else "in the whole cluster"
        return f"{self.verb} {resource} {where}"


def questions(
    review: Review, groups: tuple[str, ...], there: tuple[str | None, ...], strangers: tuple[str, ...] = ()
) -> Iterator[Question]:
    """Return every right of a review in every namespace; each group by itself where the review says so.

    `strangers`: the groups that `${strangers}` stands for.
    """
    whom = tuple((group,) for group in groups) if review.each_group else (groups,)
    names = tuple(n for name in review.names or ("",) for n in (strangers if name == STRANGERS else (name,)))
    for asked, namespace, text, verb, name in product(whom, there, review.resources, review.verbs, names):
        parent, _, subresource = text.partition(":")
        yield Question(asked, verb, Resource.parse(parent), subresource, namespace, name)


def ask(api: Api, question: Question) -> Answer:
    """Ask one question. The review is a dry run: nothing of it stays."""
    return api.request("POST", _PATH, params={"dryRun": "All"}, body=question.body)


def control(api: Api, subject: str, silent: str | None = None) -> Finding:
    """Ask for a right that everybody knows the answer to: without a yes here, no denial means anything.

    `silent`: why nobody is asked any more.
    """
    question = Question(("system:masters",), "list", Resource.parse("v1/pods"), "", None)
    if silent is None:
        verdict, observed, reason, answers = _answered(api, (question,), allowed=True)
    else:
        verdict, observed, reason, answers = Verdict.ERROR, SILENCE, silent, []
    return Finding(
        id=CONTROL_ID,
        title=CONTROL_TITLE,
        subject=subject,
        expected="system:masters may list pods",
        observed=observed,
        verdict=verdict,
        controls=("GPK-ACC-001",),
        reason=reason,
        seconds=sum(a.seconds for a in answers),
        evidence=_evidence((question,), answers),
    )


def conduct(
    api: Api,
    review: Review,
    subject: str,
    groups: tuple[str, ...],
    there: tuple[str | None, ...],
    strangers: tuple[str, ...] = (),
) -> Finding:
    """Ask all questions of a review and return its finding."""
    asked = tuple(questions(review, groups, there, strangers))
    verdict, observed, reason, answers = _answered(api, asked, allowed=review.expect == "allowed")
    return Finding(
        id=review.id,
        title=review.title,
        subject=subject,
        expected=f"{review.expect}: {', '.join(review.verbs)} of {', '.join(review.resources)}",
        observed=observed,
        verdict=verdict,
        controls=review.controls,
        reason=reason,
        seconds=sum(a.seconds for a in answers),
        evidence={"as": {"user": labels.PROBE_USER, "groups": [*groups, _EVERYBODY]}, **_evidence(asked, answers)},
    )


def unasked(review: Review, subject: str, reason: str, verdict: Verdict = Verdict.NOT_CHECKED) -> Finding:
    """Return the finding of a review that was not asked."""
    return Finding(
        id=review.id,
        title=review.title,
        subject=subject,
        expected=review.expect,
        observed="not asked",
        verdict=verdict,
        controls=review.controls,
        reason=reason,
    )


def _answered(api: Api, asked: tuple[Question, ...], *, allowed: bool) -> tuple[Verdict, str, str | None, list[Answer]]:
    answers: list[Answer] = []
    wrong: list[str] = []
    for question in asked:
        try:
            answer = ask(api, question)
        except GcloudPkError as error:
            return Verdict.ERROR, SILENCE, error.message, answers
        answers.append(answer)
        said = answer.body.get("status", {}).get("allowed") if answer.ok else None
        if not isinstance(said, bool):
            lacks = f"the verifier lacks a right: {missing_right(answer.message)}" if answer.status == 403 else None
            return Verdict.ERROR, f"no answer ({answer.status}): {answer.message}", lacks or "no answer", answers
        if said is not allowed:
            wrong.append(f"{question} as {', '.join(question.groups) or 'anybody'}")
    if not asked:
        return Verdict.ERROR, "nothing was asked", "the review has no question", answers
    if wrong:
        is_wrong = "is denied" if allowed else "is allowed"
        return Verdict.FAIL, f"{is_wrong}: {'; '.join(wrong)}", "the authorizer says otherwise", answers
    return Verdict.PASS, f"{'allowed' if allowed else 'denied'} in all of {len(asked)} questions", None, answers


def _evidence(asked: Iterable[Question], answers: list[Answer]) -> dict[str, Any]:
    """Return what was sent and said: of the questions, those that were answered."""
    shown = [_shown(*each) for each in zip(asked, answers, strict=False)]
    return {"request": f"POST {_PATH}?dryRun=All", "requests": shown}


def _shown(question: Question, answer: Answer) -> dict[str, Any]:
    # What refuses is a Status, whose own `status` is a text.
    if answer.ok:
        said = {"status": answer.status, "allowed": (answer.body.get("status") or {}).get("allowed")}
    else:
        said = {"status": answer.status, "refusal": answer.message}
    return {"sent": question.body, **said, **({"auditId": answer.audit_id} if answer.audit_id else {})}
