"""Call: one request to the API server, as a probe sends it. Whatever could write is a server-side dry run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

Verb = Literal["create", "update", "patch", "delete", "deletecollection", "get", "list", "watch"]

_METHODS: dict[str, str] = {
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
    "deletecollection": "DELETE",
    "get": "GET",
    "list": "GET",
    "watch": "GET",
}


Body = dict[str, Any] | list[Any]
"""An object or a merge patch; a list is a JSON Patch (RFC 6902)."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource by group, version and plural name."""

    group: str
    version: str
    plural: str

    @classmethod
    def parse(cls, text: str) -> Resource:
        """Read `v1/pods` or `apps/v1/deployments`. Raises ValueError."""
        parts = text.split("/")
        if not all(parts) or len(parts) not in {2, 3}:
            raise ValueError(f"expected version/plural or group/version/plural, not {text!r}")
        return cls("", *parts) if len(parts) == 2 else cls(*parts)

    @property
    def group_version(self) -> str:
        """Group and version as objects write them (`apiVersion`)."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the URL path; names are quoted."""
        path = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        if namespace and self.plural != "namespaces":
            path += f"/namespaces/{quote(namespace, safe='')}"
        path += f"/{self.plural}"
        for part in (name, subresource):
            if part:
                path += f"/{quote(part, safe='')}"
        return path


@dataclass(frozen=True, slots=True)
class Call:
    """What is sent, and where to. `namespace` None means the whole cluster."""

    verb: Verb
    resource: Resource
    namespace: str | None
    name: str | None = None
    subresource: str | None = None
    body: Body | None = None

    @property
    def method(self) -> str:
        """The HTTP method."""
        return _METHODS[self.verb]

    @property
    def path(self) -> str:
        """The URL path without parameters."""
        return self.resource.path(self.namespace, self.name, self.subresource)

    @property
    def params(self) -> dict[str, str]:
        """`dryRun=All` for whatever could write; a list asks for one object: whether it may is the question.

        A watch ends by itself after a second.
        """
        if self.verb == "list":
            return {"limit": "1"}
        if self.verb == "watch":
            return {"watch": "true", "timeoutSeconds": "1"}
        return {} if self.verb == "get" else {"dryRun": "All"}

    @property
    def content_type(self) -> str:
        """The body's media type: a list is a JSON Patch (RFC 6902), any other patch a merge patch (RFC 7386)."""
        if self.verb != "patch":
            return "application/json"
        return "application/json-patch+json" if isinstance(self.body, list) else "application/merge-patch+json"

    @property
    def scope(self) -> str:
        """Where the API server's authorizer says that the request goes to (a named Namespace is in itself)."""
        there = self.name if self.resource.plural == "namespaces" else self.namespace
        return f'in the namespace "{there}"' if there else "at the cluster scope"

    @property
    def full_resource(self) -> str:
        """The plural name with its subresource, as RBAC writes it."""
        return f"{self.resource.plural}/{self.subresource}" if self.subresource else self.resource.plural
