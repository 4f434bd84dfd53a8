"""Target: the tenant that is looked at, as the cluster should show it, and the identities it is looked at with."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gcloud_pk.cluster.transport import Identity
from gcloud_pk.model import labels
from gcloud_pk.model.resources import EgressFlow
from gcloud_pk.model.waiver import Grant

Who = Literal["admins", "developers", "auditors", "members", "accounts", "strangers", "outsiders"]
"""members: somebody in every group of the tenant at once, the strongest insider there can be;
accounts: the groups that the service accounts of the tenant's namespaces are in (reviews only);
strangers: the groups of other tenants; outsiders: anybody who can log in, with no group at all."""

_ACCOUNTS = "system:serviceaccounts"

PLATFORM_NAMESPACES = ("default", "kube-system", labels.SYSTEM_NAMESPACE)
"""Namespaces that every cluster has and no tenant may see."""


@dataclass(frozen=True, slots=True)
class TargetEnvironment:
    """One environment: its namespace, and what the request allows there, as its TenantPolicy must name it.

    `flows`: the spec of the platform's network policy that allows, as the request implies it; empty: nothing is.
    `quota` and `limits`: what the quota holds (`spec.hard`) and the items of the limit range, likewise; empty where the
    values are not to be compared, as of a retired environment, which has a quota of nothing.
    """

    name: str
    namespace: str
    registries: tuple[str, ...] = ()
    retired: bool = False
    domains: tuple[str, ...] = ()
    storage_classes: tuple[str, ...] = ()
    egress_flows: tuple[EgressFlow, ...] = ()
    ingress_cidrs: tuple[str, ...] = ()
    reserved_cidrs: tuple[str, ...] = ()
    gateway_namespaces: tuple[str, ...] = ()
    priority_classes: tuple[str, ...] = ()
    runtime_classes: tuple[str, ...] = ()
    flows: Mapping[str, Any] = field(default_factory=dict, hash=False)
    quota: Mapping[str, str] = field(default_factory=dict, hash=False)
    limits: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)
    waivers: tuple[Grant, ...] = ()

    @property
    def egress_cidrs(self) -> tuple[str, ...]:
        """Networks outside the cluster that may be reached at some port, each once, sorted."""
        return tuple(sorted({flow.to for flow in self.egress_flows}))


@dataclass(frozen=True, slots=True)
class Target:
    """A tenant to verify. Groups are written as the API server sees them (with the identity provider's prefix).

    `other_namespaces` and `other_groups` belong to other tenants of the same cluster; each one named is tried, so for
    a large population the caller chooses. Namespaces of the platform need not be named.
    """

    tenant: str
    environments: tuple[TargetEnvironment, ...]
    admins: tuple[str, ...]
    developers: tuple[str, ...] = ()
    auditors: tuple[str, ...] = ()
    other_namespaces: tuple[str, ...] = ()
    other_groups: tuple[str, ...] = ()
    isolation: str = "namespace"
    classification: str | None = None
    """As the request has it; None: not to be compared."""
    today: dt.date = field(default_factory=lambda: dt.datetime.now(dt.UTC).date())
    """The day (UTC) with which the expiry of waivers is compared."""

    @property
    def active(self) -> tuple[TargetEnvironment, ...]:
        """Environments in use, by name."""
        return tuple(sorted((e for e in self.environments if not e.retired), key=lambda e: e.name))

    @property
    def groups(self) -> tuple[str, ...]:
        """Every group of the tenant once, sorted."""
        return tuple(sorted({*self.admins, *self.developers, *self.auditors}))

    @property
    def account_groups(self) -> tuple[str, ...]:
        """Groups that service accounts of the environments in use are in, sorted (Kubernetes: serviceaccount)."""
        return (_ACCOUNTS, *(f"{_ACCOUNTS}:{e.namespace}" for e in self.active)) if self.active else ()

    @property
    def strangers_namespaces(self) -> tuple[str, ...]:
        """Namespaces of other tenants, sorted; never the platform's or the tenant's own."""
        own = {e.namespace for e in self.environments}
        return tuple(sorted({*self.other_namespaces} - own - {*PLATFORM_NAMESPACES}))

    def groups_of(self, who: Who) -> tuple[str, ...]:
        """Return the groups that `who` is in, sorted."""
        return {
            "admins": self.admins,
            "developers": self.developers,
            "auditors": self.auditors,
            "members": self.groups,
            "accounts": self.account_groups,
            "strangers": self.other_groups,
            "outsiders": (),
        }[who]

    def identity(self, who: Who) -> Identity | None:
        """Return whom to act as; None where nobody is of that kind."""
        groups = tuple(sorted(self.groups_of(who)))
        return Identity(labels.PROBE_USER, groups) if groups or who == "outsiders" else None
