"""What is done on a cluster, appended to the registry's history; a read-only checkout stops no repair and no proof."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gcloud_pk.commands.base import operator_name
from gcloud_pk.errors import GcloudPkError

if TYPE_CHECKING:
    from gcloud_pk.console import Console
    from gcloud_pk.model.finding import Finding
    from gcloud_pk.model.tenant import Tenant
    from gcloud_pk.onboarding.run import Prepared
    from gcloud_pk.registry.folder import Registry
    from gcloud_pk.registry.history import Act


@dataclass
class Recorder:
    """Appends what one run does on one cluster (`cluster`: its UID). Tenants may be recorded side by side."""

    registry: Registry
    console: Console
    cluster: str
    onboarded: set[str] = field(default_factory=set)
    """Tenants that this run brought something of to the cluster."""

    def onboard(self, prepared: Prepared) -> str | None:
        """Record what a run brought, and what it retired; return the history's new head, None where it is unchanged."""
        for environment in prepared.retiring:
            self._append("retire", prepared.tenant, {"environment": environment})
        self.onboarded.add(prepared.tenant.name)
        counts = {word: number for word, number in prepared.plan.counts().items() if number}
        adopted = {"adopted": ", ".join(sorted(prepared.adopting))} if prepared.adopting else {}
        return self._append("onboard", prepared.tenant, {**counts, **adopted})

    def verify(self, tenant: Tenant, findings: Sequence[Finding], *, quick: bool) -> None:
        """Record how many findings had which verdict, and of which suite."""
        from gcloud_pk.model.finding import count

        counts = {verdict: number for verdict, number in count(findings).items() if number}
        self._append("verify", tenant, {"suite": "quick" if quick else "full", **counts})

    def _append(self, act: Act, tenant: Tenant, detail: Mapping[str, str | int]) -> str | None:
        try:
            return self.registry.record(
                tenant.name,
                act,
                operator_name(),
                digest=tenant.digest,
                revision=tenant.revision,
                cluster=self.cluster,
                detail=detail,
            )
        except GcloudPkError as error:
            self.console.warn(f"tenant {tenant.name}: {act} was not recorded in its history: {error.message}")
            return None


def lost_histories(registry: Registry, names: Sequence[str]) -> Iterator[str]:
    """Yield a warning for each tenant that keeps accepted requests and no history."""
    for name in names:
        if lost := registry.entry(name).lost_history:
            yield f"tenant {name}: {lost}"


def stray_heads(registry: Registry, names: Sequence[str], in_place: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield a warning for each tenant whose history here lacks the line that its Tenant names."""
    from gcloud_pk.onboarding.provenance import stray_head

    for name in names:
        if warning := stray_head(name, registry.entry(name).chain, in_place.get(name)):
            yield warning
