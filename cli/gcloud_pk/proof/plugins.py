"""Plug-ins: has the API server got the walls at all? Judged by what was refused in the run, not by what is stored.

An API server with `--disable-admission-plugins=PodSecurity` admits everything that Pod Security would refuse. Each
probe of it fails then; these checks say so in one place. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.proof.probe import POLICIES, Catalogue
from gcloud_pk.proof.refusal import LIMIT_RANGE, POD_SECURITY, QUOTA, RBAC

SUBJECT = "cluster"


@dataclass(frozen=True, slots=True)
class Plugin:
    """A part of the API server, the wall that it is, and the check that it is there."""

    id: str
    wall: str
    title: str
    controls: tuple[str, ...]
    reason: str


PLUGINS = (
    Plugin("ISO-633", POLICIES, "The API server runs admission policies", ("GPK-ADM-001",),
           "nothing that an admission policy must refuse was refused: is ValidatingAdmissionPolicy switched off?"),
    Plugin("ISO-634", POD_SECURITY, "The API server runs Pod Security admission", ("GPK-POD-001",),
           "nothing that Pod Security must refuse was refused: is PodSecurity switched off?"),
    Plugin("ISO-635", QUOTA, "The API server holds quotas", ("GPK-QUO-001",),
           "nothing above a quota was refused: is ResourceQuota switched off?"),
    Plugin("ISO-636", LIMIT_RANGE, "The API server holds limit ranges", ("GPK-QUO-003",),
           "nothing above a limit was refused: is LimitRanger switched off?"),
    Plugin("ISO-637", RBAC, "The API server asks RBAC", ("GPK-ACC-001",),
           "nothing that RBAC must refuse was refused: is the authorization mode AlwaysAllow?"),
)  # fmt: skip


@dataclass
class Tally:
    """Counts, over a run, how often each wall was tried, and what came of it."""

    known: Catalogue
    counts: dict[str, Counter[Verdict]] = field(default_factory=dict)

    def add(self, findings: Iterable[Finding]) -> None:
        """Count the findings of probes that were sent and must be refused."""
        for finding in findings:
            probe = self.known.probes.get(finding.id)
            wall = probe.wall if probe is not None and "requests" in finding.evidence else None
            if wall is not None:
                self.counts.setdefault(wall, Counter())[finding.verdict] += 1

    def findings(self, wanted: frozenset[str] | None = None) -> Iterator[Finding]:
        """Yield a finding for each plug-in. `wanted`: ids; None: all."""
        for plugin in PLUGINS:
            if wanted is None or plugin.id in wanted:
                yield self._finding(plugin)

    def _finding(self, plugin: Plugin) -> Finding:
        counts = self.counts.get(plugin.wall, Counter())
        sent = sum(counts.values())
        if plugin.wall not in self.walls:
            return self._made(plugin, "not tried", Verdict.NOT_APPLICABLE, "no probe of it is among those chosen")
        observed = f"{counts[Verdict.PASS]} of {sent} probes were refused by it"
        verdict: Verdict = Verdict.NOT_CHECKED
        reason: str | None = "no probe of it was sent, or none came to a verdict"
        if counts[Verdict.PASS]:
            verdict, reason = Verdict.PASS, None
        elif counts[Verdict.FAIL]:
            verdict, reason = Verdict.FAIL, plugin.reason
        return self._made(plugin, observed, verdict, reason)

    @cached_property
    def walls(self) -> frozenset[str]:
        """The walls that a probe of the catalogue is refused by."""
        return frozenset(wall for probe in self.known.probes.values() if (wall := probe.wall) is not None)

    @staticmethod
    def _made(plugin: Plugin, observed: str, verdict: Verdict, reason: str | None) -> Finding:
        return Finding(
            id=plugin.id,
            title=plugin.title,
            subject=SUBJECT,
            expected=f"a refusal by {plugin.wall} where one must come",
            observed=observed,
            verdict=verdict,
            controls=plugin.controls,
            reason=reason,
        )
