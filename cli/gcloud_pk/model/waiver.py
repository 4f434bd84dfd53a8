"""Waiver: a justified, expiring exception of one rule for one subject, `waivers/<name>.yaml`.

What of it reaches a cluster is a `Grant`: exact values of one rule for one workload of one environment.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, cast, get_args

from pydantic import Field

from gcloud_pk.errors import Problem, problem
from gcloud_pk.model.base import Digest, Line, Model, Principal, Prose, Str, Unique, matches
from gcloud_pk.model.request import Day
from gcloud_pk.model.state import Moment

LONGEST = 366
"""Days: how far ahead a waiver may expire."""
SOON = 30
"""Days before its expiry from which a waiver is warned of."""
MOST = 100
"""Waivers of one environment; the bound of the list in TenantPolicy."""

_OF_BENCHMARK = ("CIS-", "CLU-", "GPK-CLU-")
"""How controls and checks of clusters begin (policies/controls/cluster/)."""

WorkloadKind = Literal["CronJob", "DaemonSet", "Deployment", "Job", "Pod", "StatefulSet"]
Sort = Literal["tenant", "node", "cluster"]
"""What a subject is. Only waivers of a tenant's workloads are rendered."""

Control = Annotated[
    Str,
    Field(max_length=64),
    matches(r"[A-Z][A-Z0-9]*(-[A-Z0-9]+(\.[0-9]+)*)+", "a rule's or control's id, such as GPK-IMG-01"),
]
Subject = Annotated[
    Str,
    Field(max_length=400),
    matches(
        r"[a-z]+(/[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?)+",
        "one subject, written out and without wildcard, such as tenant/moitt/prod/Deployment/web",
    ),
]
_WORKLOAD_NAME = r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?"
WorkloadName = Annotated[
    Str,
    Field(min_length=1, max_length=253),
    matches(_WORKLOAD_NAME, "the name of one workload, without wildcard"),
]
Allowed = Annotated[
    Str, Field(min_length=1, max_length=512), matches(r"[!-~]+( [!-~]+)*", "an exact value, as the refusal shows it")
]
Allows = Annotated[tuple[Allowed, ...], Field(max_length=20), Unique]


class Waiver(Model):
    """What is excepted, for whom, why, until when (the end of that day, UTC), and who asks for it."""

    control: Control = Field(description="the rule that is waived, such as GPK-IMG-01")
    subject: Subject = Field(
        description="for what alone: tenant/<tenant>/<environment>/<Kind>/<name>, cluster/<cluster>/<Kind>/<name>, "
        "cluster/<site>/<cluster>, node/<site> or node/<site>/<host>"
    )
    allows: Allows = Field((), description="the exact values that are allowed, as the refusal shows them")
    reason: Prose = Field(description="why it cannot comply yet, and what is done about it")
    author: Principal = Field(description="who proposes it, as an e-mail address; somebody else approves it")
    expires: Day = Field(description="the last day on which it counts (UTC), YYYY-MM-DD")

    @property
    def sort(self) -> str:
        """What the subject is: the first part of it."""
        return self.subject.partition("/")[0]

    @property
    def workload(self) -> Workload | None:
        """The workload that the subject names, where it is one of a tenant's."""
        return workload(self.subject)

    @property
    def fixture(self) -> Fixture | None:
        """The object that the subject names, where it is one of a cluster's."""
        return fixture(self.subject)


class Ending(Model):
    """`waivers/<name>.ended.yaml`: the end of a waiver before its day. It closes, so it counts unsigned."""

    digest: Digest = Field(description="SHA-256 of the waiver's file")
    by: Line = Field(description="who ended it")
    reason: Prose = Field(description="why")
    time: Moment = Field(description="when, YYYY-MM-DDThh:mm:ssZ")


@dataclass(frozen=True, order=True)
class Workload:
    """One workload of a tenant's environment. Its Pods are those that its own controller makes."""

    tenant: str
    environment: str
    kind: WorkloadKind
    """As the subject says it: `problems` names one that is none."""
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name} of environment {self.environment} of tenant {self.tenant}"


@dataclass(frozen=True, order=True)
class Fixture:
    """One object of a cluster that stands beside the platform's; `namespace` is empty for what has none."""

    cluster: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return "/".join(part for part in ("cluster", self.cluster, self.kind, self.namespace, self.name) if part)


@dataclass(frozen=True)
class Tolerance:
    """An approved waiver of one object of a cluster, as an audit judges it. `waiver`: its name in the registry.

    `allows`: SHA-256 of what may stand there, as the finding shows it; `expires` is the audit's to compare.
    """

    control: str
    fixture: Fixture
    allows: tuple[str, ...]
    expires: dt.date
    waiver: str
    reason: str
    author: str
    approvers: tuple[str, ...]


@dataclass(frozen=True)
class Waivable:
    """A rule that can be waived (policies/waivable.yaml). `value` says what is allowed; patterns: whole."""

    rule: str
    policy: str
    what: str
    value: str
    pattern: str
    never: str

    def admits(self, value: str) -> bool:
        """Whether a value is one that can be allowed."""
        return bool(re.fullmatch(self.pattern, value)) and not re.fullmatch(self.never, value)


@dataclass(frozen=True, order=True)
class Grant:
    """An approved waiver as one environment gets it. `name`: of the waiver in the registry."""

    rule: str
    kind: WorkloadKind
    workload: str
    allows: tuple[str, ...]
    expires: dt.date
    name: str
    environment: str
    reason: str
    author: str
    approvers: tuple[str, ...]


def workload(subject: str) -> Workload | None:
    """Return the workload of `tenant/<tenant>/<environment>/<Kind>/<name>`; None where it is something else."""
    parts = subject.split("/")
    if parts[0] != "tenant" or len(parts) != 5:
        return None
    return Workload(parts[1], parts[2], cast("WorkloadKind", parts[3]), parts[4])


def fixture(subject: str) -> Fixture | None:
    """Return the object of `cluster/<cluster>/<Kind>/[<namespace>/]<name>`; None where it is something else."""
    parts = subject.split("/")
    if parts[0] != "cluster" or len(parts) not in {4, 5}:
        return None
    return Fixture(parts[1], parts[2], parts[3] if len(parts) == 5 else "", parts[-1])


def problems(
    waiver: Waiver,
    known: Mapping[str, Waivable],
    environments: Mapping[str, frozenset[str]],
    of_clusters: Collection[str] = (),
    of_nodes: Collection[str] = (),
    hosts: Mapping[str, frozenset[str]] | None = None,
) -> Iterator[Problem]:
    """Yield what is wrong with a waiver that is well formed; of expiry, `too_far` speaks.

    `known`: what can be waived, by rule; `environments`: of each tenant of the registry; `of_clusters`: the checks of a
    cluster that can be waived for one of its objects; `of_nodes`: controls and checks of nodes and of clusters as a
    whole; `hosts`: of each site.
    """
    if waiver.sort not in get_args(Sort):
        yield problem(
            f"{waiver.sort!r} is no sort of subject", field="subject", expected=f"one of {', '.join(get_args(Sort))}"
        )
    if waiver.sort == "cluster" and waiver.control.startswith("ISO-"):
        yield from _wrong_of_cluster(waiver, of_clusters)
    if waiver.sort == "cluster" and waiver.control.startswith(_OF_BENCHMARK):
        yield from _wrong_of_whole(waiver, of_nodes, hosts or {})
    if waiver.sort == "node":
        yield from _wrong_of_node(waiver, of_nodes, hosts or {})
    if waiver.sort != "tenant":
        return
    yield from _wrong_subject(waiver, environments)
    rule = known.get(waiver.control)
    if rule is None:
        yield problem(
            f"{waiver.control} cannot be waived for a workload",
            field="control",
            expected=f"one of {', '.join(sorted(known))}",
        )
        return
    if not waiver.allows:
        yield problem("is empty: nothing would be waived", field="allows", expected=rule.value)
    for index, value in enumerate(waiver.allows):
        if not rule.admits(value):
            yield problem(f"{value!r} cannot be allowed", field=f"allows[{index}]", expected=rule.value)


def _wrong_of_cluster(waiver: Waiver, of_clusters: Collection[str]) -> Iterator[Problem]:
    if waiver.control not in of_clusters:
        yield problem(
            f"{waiver.control} cannot be waived for an object of a cluster",
            field="control",
            expected=f"one of {', '.join(sorted(of_clusters))}",
        )
    if waiver.fixture is None:
        yield problem(
            "is no object of a cluster", field="subject", expected="cluster/<cluster>/<Kind>/[<namespace>/]<name>"
        )
    expected = "sha256: and 64 hexadecimal digits, as the finding shows them"
    if not waiver.allows:
        yield problem("is empty: nothing would be waived", field="allows", expected=expected)
    for index, value in enumerate(waiver.allows):
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", value):
            yield problem(f"{value!r} is no digest of an object", field=f"allows[{index}]", expected=expected)


def _wrong_of_whole(waiver: Waiver, known: Collection[str], hosts: Mapping[str, frozenset[str]]) -> Iterator[Problem]:
    """Yield what is wrong with a waiver of a cluster as a whole."""
    if waiver.control not in known:
        yield problem(
            f"{waiver.control} is no control and no check of clusters",
            field="control",
            expected="an id of policies/controls/cluster/, such as CIS-1.1.12",
        )
    parts = waiver.subject.split("/")
    if len(parts) != 3 or parts[1] not in hosts:
        yield problem("is no cluster of a site", field="subject", expected="cluster/<site>/<cluster>")
    if waiver.allows:
        yield problem(
            "says nothing of a cluster: its control is waived as a whole", field="allows", expected="to be left out"
        )


def _wrong_of_node(waiver: Waiver, of_nodes: Collection[str], hosts: Mapping[str, frozenset[str]]) -> Iterator[Problem]:
    if waiver.control not in of_nodes:
        yield problem(
            f"{waiver.control} is no control and no check of nodes",
            field="control",
            expected="an id of policies/controls/nodes/ or policies/controls/cluster/, such as GPK-KRN-001",
        )
    _, site, *host = waiver.subject.split("/")
    if len(host) > 1:
        yield problem("is no host and no site", field="subject", expected="node/<site> or node/<site>/<host>")
    elif site not in hosts:
        known = ", ".join(sorted(hosts)) or "none"
        yield problem(f"there is no site {site!r}", field="subject", expected=f"a site of the registry: {known}")
    elif host and host[0] not in hosts[site]:
        yield problem(
            f"site {site} has no host {host[0]!r}", field="subject", expected=f"a name under spec.hosts of site {site}"
        )
    if waiver.allows:
        yield problem(
            "says nothing of a node: its control is waived as a whole", field="allows", expected="to be left out"
        )


def _wrong_subject(waiver: Waiver, environments: Mapping[str, frozenset[str]]) -> Iterator[Problem]:
    found = waiver.workload
    if found is None:
        yield problem(
            "is wider than one workload, or none",
            field="subject",
            expected="tenant/<tenant>/<environment>/<Kind>/<name>",
        )
        return
    if found.kind not in get_args(WorkloadKind):
        yield problem(
            f"{found.kind!r} is no kind of workload",
            field="subject",
            expected=f"one of {', '.join(get_args(WorkloadKind))}",
        )
    if not re.fullmatch(_WORKLOAD_NAME, found.name):
        yield problem(f"{found.name!r} is no name of a workload", field="subject", expected="its name in lower case")
    if found.tenant not in environments:
        yield problem(f"there is no tenant {found.tenant!r}", field="subject", expected="a tenant of the registry")
    elif found.environment not in environments[found.tenant]:
        yield problem(
            f"tenant {found.tenant} has no environment {found.environment!r}",
            field="subject",
            expected=f"one of {', '.join(sorted(environments[found.tenant]))}",
        )


def too_far(waiver: Waiver, today: dt.date) -> Problem | None:
    """Return what is wrong with an expiry that lies over a year ahead."""
    if (waiver.expires - today).days <= LONGEST:
        return None
    return problem(
        f"{waiver.expires} is over {LONGEST} days ahead: what is excepted for longer is no exception",
        field="expires",
        expected=f"a day until {today + dt.timedelta(days=LONGEST)}",
    )
