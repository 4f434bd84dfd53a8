"""What an API server answered, and the errors that its refusals become."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from gcloud_pk.errors import GcloudPkError, RefusedError, UnavailableError


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `seconds` is from the first byte sent to the last received, without retries."""

    status: int
    body: dict[str, Any]
    audit_id: str | None = None
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    retry_after: float | None = field(default=None, repr=False)

    @property
    def ok(self) -> bool:
        """Whether the server did what was asked."""
        return 200 <= self.status < 300

    @property
    def message(self) -> str:
        """The server's words when it refused (`Status.message`); empty otherwise."""
        if self.ok:
            return ""
        return str(self.body.get("message") or self.body.get("reason") or f"HTTP {self.status}")

    @property
    def reason(self) -> str:
        """The machine-readable `Status.reason`, such as AlreadyExists; empty when there is none."""
        return "" if self.ok else str(self.body.get("reason") or "")

    @property
    def causes(self) -> list[dict[str, Any]]:
        """The `Status.details.causes`."""
        details = self.body.get("details")
        causes = details.get("causes") if isinstance(details, dict) else None
        return [cause for cause in causes or [] if isinstance(cause, dict)]


class NotFoundError(UnavailableError):
    """The object, its namespace or its resource type is not there."""


class CredentialsError(UnavailableError):
    """The server does not know who asks (401)."""


class ForbiddenError(RefusedError):
    """A right is missing (RBAC), or an admission policy refused (then `verb` is empty)."""

    def __init__(
        self, message: str, *, user: str = "", verb: str = "", resource: str = "", resolution: str | None = None
    ) -> None:
        super().__init__(message, resolution=resolution)
        self.user, self.verb, self.resource = user, verb, resource


class ConflictError(RefusedError):
    """Another field manager owns what would be written, or the object is no longer the one that was planned."""


# kube-apiserver, pkg/endpoints/handlers/responsewriters.forbiddenMessage
_LACKS = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) (?:resource "(?P<resource>[^"]+)"|path "(?P<path>[^"]+)")'
    r'(?: in API group "(?P<group>[^"]*)")?(?: in the namespace "(?P<namespace>[^"]+)")?'
)
# kube-apiserver, pkg/registry/rbac: who binds a role needs `bind` on it, or every right in it; these follow, one each.
_MAY_NOT_BIND = re.compile(
    r'user "(?P<user>[^"]*)" \(groups=.*\) is attempting to grant RBAC permissions not currently held'
)
_ROLES = "clusterroles.rbac.authorization.k8s.io"


def refusal(answer: Answer, subject: str) -> GcloudPkError:
    """Return the error that a refusal becomes; `subject` is the object or path it is about."""
    if 300 <= answer.status < 400:
        return UnavailableError(
            f"what answers is no Kubernetes API server: it sends {subject} elsewhere (HTTP {answer.status})",
            resolution="check the server's address in the kubeconfig, and what stands between (a proxy, a login page)",
        )
    if answer.status == 401:
        return CredentialsError(
            f"the API server does not accept these credentials (401, {subject})",
            resolution="check that the client certificate was issued by this cluster's authority or that the token "
            "has not expired, and that --context names the cluster that you mean",
        )
    if answer.status == 403:
        return _forbidden(answer, subject)
    if answer.status == 404:
        return NotFoundError(f"{subject}: {answer.message}")
    if answer.status == 409:
        return ConflictError(f"{subject}: {answer.message}")
    if answer.status == 429 or answer.status >= 500:
        return UnavailableError(
            f"the API server cannot serve {subject}: {answer.message} (HTTP {answer.status})",
            resolution="look at the state and the log of the API server and of its etcd, then run the command again",
        )
    return RefusedError(f"the API server refused {subject}: {answer.message} (HTTP {answer.status})")


def _forbidden(answer: Answer, subject: str) -> ForbiddenError:
    lacks = _LACKS.search(answer.message)
    grants = _MAY_NOT_BIND.search(answer.message)
    if grants is not None:
        return ForbiddenError(
            f"user {grants['user']!r} has no right to bind the role of {subject}, which is one of {_ROLES} "
            "or of roles.rbac.authorization.k8s.io",
            user=grants["user"],
            verb="bind",
            resource=_ROLES,
            resolution=f"ask a cluster administrator for the verb 'bind' on {_ROLES!r}, for that role; "
            "`gcloud-pk cluster init` installs the roles this program needs",
        )
    if lacks is None:
        return ForbiddenError(f"the API server refused {subject}: {answer.message}")
    plural, slash, subresource = (lacks["resource"] or "").partition("/")
    resource = lacks["path"] or ".".join(part for part in (plural, lacks["group"]) if part) + slash + subresource
    where = f" in namespace {lacks['namespace']}" if lacks["namespace"] else " in the whole cluster"
    named = subject in {resource, f"{resource}{where}"}
    return ForbiddenError(
        f"user {lacks['user']!r} has no right to {lacks['verb']} {resource}{where}"
        + ("" if named else f" ({subject})"),
        user=lacks["user"],
        verb=lacks["verb"],
        resource=resource,
        resolution=f"ask a cluster administrator for the verb {lacks['verb']!r} on {resource!r}, "
        "or choose another identity with --context; `gcloud-pk cluster init` installs the roles this program needs",
    )
