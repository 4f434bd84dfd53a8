"""What must hold of a suspended tenant, checked on the live cluster. Nothing is written.

A wall that nobody may come near cannot be knocked at as for a tenant in use (no control would be admitted), so what is
read is judged: bindings, parameters, flows, the policy that refuses; and the API server is asked what the tenant's
groups and service accounts may do by the rights they have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gcloud_pk.cluster.answer import refusal
from gcloud_pk.cluster.kinds import NAMESPACE
from gcloud_pk.cluster.transport import Api
from gcloud_pk.errors import GcloudPkError, UnavailableError
from gcloud_pk.model import labels
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.onboarding.closures import PHASES, closed_since
from gcloud_pk.onboarding.platform import check_intact
from gcloud_pk.proof import review
from gcloud_pk.proof.call import Resource
from gcloud_pk.proof.surroundings import Surroundings, denies_all, read

_ACTS: Sequence[tuple[str, str]] = (
    ("get", "v1/pods"),
    ("create", "v1/pods"),
    ("create", "v1/pods:exec"),
    ("get", "v1/secrets"),
    ("update", "apps/v1/deployments"),
    ("create", "rbac.authorization.k8s.io/v1/rolebindings"),
    ("delete", "networking.k8s.io/v1/networkpolicies"),
)
"""(verb, resource): what somebody would try first."""


def verify_closed(api: Api, tenant: str, parent: Mapping[str, Any] | None) -> list[Finding]:
    """Return the findings on a suspended tenant, sorted by subject and id. `api`: the verifier's own.

    `parent`: its Tenant. Raises UnavailableError where the server does not answer, ForbiddenError where the verifier
    may not read the namespaces.
    """
    phase = str(((parent or {}).get("status") or {}).get("phase"))
    quarantined = phase == PHASES["quarantined"]
    subject = f"tenant/{tenant}"
    says = [] if phase in PHASES.values() and closed_since(parent) else [f"phase {phase}, {closed_since(parent)}"]
    found = [
        _judged("SUS-001", "the Tenant says that it is closed", subject, "Suspended or Quarantined, since when", says),
        _policies(api, subject),
        review.control(api, subject),
    ]
    for live in api.list(NAMESPACE, selector=f"{labels.TENANT}={tenant}"):
        name = live["metadata"]["name"]
        around = read(api, name)
        found += _namespace(api, around, f"{subject}/{name}", quarantined=quarantined)
    return sorted(found, key=lambda one: (one.subject, one.id))


def _policies(api: Api, subject: str) -> Finding:
    said: list[str] = []
    try:
        check_intact(api)
    except UnavailableError as error:
        said = [str(detail) for detail in error.details] or [error.message]
    return _judged("SUS-002", "the policies that refuse its identities are whole", subject, "as installed", said)


def _namespace(api: Api, around: Surroundings, subject: str, *, quarantined: bool) -> Iterator[Finding]:
    def bindings() -> list[str]:
        return [f"RoleBinding {one['metadata']['name']}" for one in around.all("rolebindings")]

    def parameters() -> list[str]:
        said = spec.get("suspended")
        wanted = ("quarantined",) if quarantined else ("suspended", "quarantined")
        return [] if said in wanted else [f"TenantPolicy says {said or 'nothing of it'}"]

    def flows() -> list[str]:
        policies = around.all("networkpolicies")
        wrong = [] if any(map(denies_all, around.default_denies)) else ["no default deny is whole"]
        if quarantined:
            wrong += [f"NetworkPolicy {one['metadata']['name']}" for one in policies if not denies_all(one)]
        return wrong

    spec = (around.answers["tenantpolicies"].body.get("items") or [{}])[0].get("spec") or {}
    yield _read(around, "SUS-010", "nobody is bound", subject, "no RoleBinding", "rolebindings", bindings)
    yield _read(around, "SUS-011", "its identities are refused", subject,
                "the parameters say so", "tenantpolicies", parameters)  # fmt: skip
    expected = "the default deny and nothing else" if quarantined else "the default deny"
    yield _read(around, "SUS-012", "traffic is denied", subject, expected, "networkpolicies", flows)
    try:
        allowed = list(_allowed(api, around.namespace, spec))
    except GcloudPkError as error:
        yield Finding("SUS-013", _MAY, subject, _NOTHING, "", Verdict.ERROR, reason=error.message)
    else:
        yield _judged("SUS-013", _MAY, subject, _NOTHING, allowed)


_MAY = "its groups and service accounts have no right here"
_NOTHING = "RBAC allows none of what is asked about"


def _allowed(api: Api, namespace: str, spec: Mapping[str, Any]) -> Iterator[str]:
    accounts = [f"system:serviceaccounts:{name}" for name in spec.get("namespaces") or (namespace,)]
    for group in (*(spec.get("groups") or ()), *accounts):
        for verb, text in _ACTS:
            resource, _, subresource = text.partition(":")
            question = review.Question((group,), verb, Resource.parse(resource), subresource, namespace)
            answer = review.ask(api, question)
            if not answer.ok:
                raise refusal(answer, str(question))
            if (answer.body.get("status") or {}).get("allowed") is not False:
                yield f"{group} may {question}"


def _read(
    around: Surroundings, name: str, title: str, subject: str, expected: str, kind: str, judge: Callable[[], list[str]]
) -> Finding:
    """Judge what was read; what could not be read is an error, never a pass."""
    refused = around.refused(kind)
    if refused is not None:
        return Finding(name, title, subject, expected, "", Verdict.ERROR, reason=refused.message)
    return _judged(name, title, subject, expected, judge())


def _judged(name: str, title: str, subject: str, expected: str, wrong: Sequence[str]) -> Finding:
    verdict = Verdict.FAIL if wrong else Verdict.PASS
    return Finding(name, title, subject, expected, "; ".join(wrong) if wrong else expected, verdict)
