"""The audit of a cluster: what was gathered in, findings out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.model.site import Cluster, Host, Site
from gcloud_pk.nodes.audit import unheard
from gcloud_pk.nodes.check import Catalogue, Check
from gcloud_pk.nodes.cluster.gather import Found
from gcloud_pk.nodes.cluster.whole import SECTION
from gcloud_pk.nodes.facts import Facts
from gcloud_pk.nodes.judge import OUTSIDE, SELF, Exemption, Subject, answers, judge, withheld

BENCHMARK = "CIS Kubernetes Benchmark 1.12"
API = "said by the API server"
BOTH = "said by the API server and by the nodes"

_OF_API = frozenset({"kubelet"})
_OF_NODES = frozenset({"etcd", "backup", "authorities"})
"""What of the cluster as a whole its nodes tell, and not its API."""


@dataclass(frozen=True)
class WholeCluster(Subject):
    """A cluster as it is judged: `host` is its name."""

    def __str__(self) -> str:
        return f"cluster/{self.site}/{self.host}"


def of_node(site: Site, host: Host) -> Subject:
    """Return a host as it is judged."""
    return Subject(site.metadata.name, host.name, host.role, site.spec.level_of(host))


def of_cluster(site: Site, cluster: Cluster) -> Subject:
    """Return a cluster as it is judged."""
    return WholeCluster(site.metadata.name, cluster.name, "control-plane", "cl1")


def is_whole(check: Check) -> bool:
    """Whether a check is of the cluster as a whole and not of one of its nodes."""
    return all(path.root == SECTION for path in check.paths)


def for_host(checks: Iterable[Check], host: Host) -> list[Check]:
    """Return the checks that are for a host: a worker has no API server, and nothing is said of one."""
    return [one for one in checks if not is_whole(one) and (not one.roles or host.role in one.roles)]


def findings(
    found: Found,
    facts: Facts,
    checks: Sequence[Check],
    catalogue: Catalogue,
    subject: Subject,
    waivers: Sequence[Exemption] = (),
) -> list[Finding]:
    """Return all findings on one host: whether it answers, and one for each check. `facts`: all that is known of it."""
    gathered = found.said
    if gathered.facts is None:
        # What strangers see, and what the API says, is so whether the node lets the auditor in or not.
        seen = [one for one in checks if all(path.root in {"outside", "kubelet"} for path in one.paths)]
        told = judge(facts, seen, catalogue, subject, waivers) if gathered.met else []
        rest = [one for one in checks if one not in seen or not gathered.met]
        made = [*unheard(gathered, rest, catalogue, subject), *told]
    else:
        held_back = withheld(gathered.facts, checks, subject)
        made = [
            answers(subject, Verdict.PASS, "it answered", None, gathered.seconds),
            *([held_back] if held_back else []),
            *judge(facts, checks, catalogue, subject, waivers),
        ]
    return [_cited(one, catalogue, facts.by) for one in made]


def of_whole(
    facts: Facts, checks: Sequence[Check], catalogue: Catalogue, subject: Subject, waivers: Sequence[Exemption] = ()
) -> list[Finding]:
    """Return the findings on the cluster as a whole."""
    return [_cited(one, catalogue) for one in judge(facts, checks, catalogue, subject, waivers)]


def _cited(found: Finding, catalogue: Catalogue, by: Mapping[str, str] = MappingProxyType({})) -> Finding:
    """Return a finding with its clause, on whose word it rests, and where it failed what to do. `by`: as of Facts."""
    check = catalogue.checks.get(found.id)
    if check is None:
        return found
    evidence = dict(found.evidence)
    if check.clause:
        evidence["clause"] = f"{BENCHMARK}, {check.clause}"
    if "source" in evidence:
        evidence["source"] = _source(check, by)
    if found.verdict is not Verdict.FAIL or not check.remedy:
        return replace(found, evidence=evidence)
    told = f"to remedy it: {check.remedy}"
    return replace(found, reason=f"{found.reason}; {told}" if found.reason else told, evidence=evidence)


def _source(check: Check, by: Mapping[str, str]) -> str:
    steps = {path.steps[:2] for path in check.paths}
    if all(step[0] == SECTION for step in steps):
        return BOTH if any(step[1] in _OF_NODES for step in steps) else API
    if all(step[0] == "outside" for step in steps):
        return OUTSIDE
    return by.get("kubelet", API) if all(step[0] in _OF_API for step in steps) else SELF
