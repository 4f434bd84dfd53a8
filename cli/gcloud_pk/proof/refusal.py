"""Refusal: who refused a request, read from the API server's own words.

The texts are those of Kubernetes 1.36 (apiserver `responsewriters`, `plugin/policy/validating`, `resourcequota`;
`limitranger`; `denyserviceexternalips`; `pod-security-admission`; `rbac/validation`). What is not recognised is never
taken for a wall.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gcloud_pk.cluster.transport import Answer
from gcloud_pk.model import labels

POD_SECURITY = "pod-security"
QUOTA = "quota"
LIMIT_RANGE = "limit-range"
RBAC = "rbac"
ESCALATION = "rbac-escalation"
EXTERNAL_IPS = "external-ips"
IMPERSONATION = "impersonation"
UNSETTLED = "unsettled"
OTHER = "other"

WALLS = frozenset({POD_SECURITY, QUOTA, LIMIT_RANGE, RBAC, ESCALATION, EXTERNAL_IPS})
"""Walls of Kubernetes itself; every other name that a probe expects is an admission policy's."""

_SUBJECT = r'^\S+(?: "[^"]*")? is (?:forbidden|invalid): '
_POLICY = re.compile(_SUBJECT + r"ValidatingAdmissionPolicy '(?P<by>[^']+)'(?: with binding '[^']+')? denied request: ")
# Fail closed, but no rule has spoken: the parameter or the expression did not come to a verdict.
_BROKEN_POLICY = re.compile(
    r"denied request: (?:failed to configure (?:policy|binding)|expression '.*' resulted in error"
    r"|operation cancelled)|no params found for policy binding",
    re.DOTALL,
)
_RBAC = re.compile(_SUBJECT + r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) resource "')
_ESCALATION = re.compile(
    _SUBJECT + r'user "(?P<user>[^"]*)" \(groups=\[.*\]\) is attempting to grant RBAC permissions not currently held:',
    re.DOTALL,
)
_PATTERNS = (
    (POD_SECURITY, re.compile(_SUBJECT + r'violates PodSecurity "')),
    (QUOTA, re.compile(_SUBJECT + r"exceeded quota: ")),
    (EXTERNAL_IPS, re.compile(_SUBJECT + r"Use of external IPs is denied by admission control")),
    (
        LIMIT_RANGE,
        re.compile(_SUBJECT + r"\[?(?:(?:minimum|maximum) \S+ usage per |\S+ max limit to request ratio per )"),
    ),
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Who refused (a policy's name, a wall, or why it counts for nothing), and the message as received.

    `said` is the part in which the wall speaks: the object's own name and kind, which stand before it, name no field.
    """

    by: str
    message: str
    said: str


def refusal(answer: Answer) -> Refusal | None:
    """Return who refused; None when the request was admitted."""
    if answer.ok:
        return None
    message = answer.message
    introduction = _POLICY.match(message) or re.match(_SUBJECT, message)
    return Refusal(_who(answer.status, message), message, message[introduction.end() :] if introduction else message)


def _who(status: int, message: str) -> str:
    if status not in {403, 422}:
        return OTHER
    if _BROKEN_POLICY.search(message):
        return UNSETTLED
    if policy := _POLICY.match(message):
        return policy["by"]
    if denied := _RBAC.match(message):
        return _authorizer(denied["user"], denied["verb"])
    if _ESCALATION.match(message):
        return ESCALATION
    return next((by for by, pattern in _PATTERNS if pattern.match(message)), OTHER)


def _authorizer(user: str, verb: str) -> str:
    if verb.startswith("impersonate"):
        return IMPERSONATION
    # Another user's name means that somebody else than the tenant was refused, which shows nothing.
    return RBAC if user == labels.PROBE_USER else OTHER


def missing_right(message: str) -> str:
    """Return the right that the refused party lacks, in the authorizer's words; the whole message where unknown."""
    found = re.search(r'User "[^"]*" cannot .*', message, re.DOTALL)
    return found[0] if found else message
