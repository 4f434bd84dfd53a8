"""`waivers/`: what is excepted, by whom it was approved, and whether it counts now.

A waiver's identity is the SHA-256 of its file: an ending, in `<name>.ended.yaml` or in the tenant's history, ends these
bytes under whatever name they stand. Approvals are signatures in namespace `gcloud-pk-waiver`, judged at this moment: a
waiver opens, so a key that has expired, or was removed, ends it at the next onboarding.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Literal

from gcloud_pk.errors import GcloudPkError, InvalidInputError, Problem, problem
from gcloud_pk.model import waiver as rules
from gcloud_pk.model.base import LABEL_PATTERN
from gcloud_pk.model.waiver import MOST, SOON, Ending, Grant, Tolerance, Waivable, Waiver
from gcloud_pk.registry import approvers, documents, files
from gcloud_pk.registry.approval import Refusal, Verifier
from gcloud_pk.registry.approvers import WAIVER, Signer, Signers
from gcloud_pk.registry.entries import Entry
from gcloud_pk.registry.history import Chain
from gcloud_pk.registry.readings import Reading, load, ordered
from gcloud_pk.registry.signatures import Claim, Fault, SignatureError, envelope

FOLDER = "waivers"
NAME_LENGTH = 63

State = Literal["invalid", "ended", "expired", "proposed", "expires soon", "in force"]
IN_FORCE: tuple[State, ...] = ("in force", "expires soon")

_FILE = re.compile(
    rf"(?P<name>{LABEL_PATTERN})(?:(?P<ending>\.ended)?\.yaml|\.yaml\.(?P<principal>{approvers.PRINCIPAL.pattern})\.sig)"
)


@cache
def waivable() -> Mapping[str, Waivable]:
    """Return what can be waived for a workload, by rule (policies/waivable.yaml)."""
    from gcloud_pk.render import data

    return {entry["rule"]: Waivable(**entry) for entry in data.documents("policies", "waivable.yaml")}


@cache
def waivable_of_clusters() -> frozenset[str]:
    """Return the checks that can be waived for one object of a cluster (policies/cluster/waivable.yaml)."""
    from gcloud_pk.render import data

    return frozenset(entry["check"] for entry in data.documents("policies", "cluster", "waivable.yaml"))


@cache
def waivable_of_nodes() -> frozenset[str]:
    """Return the controls and checks of nodes and clusters, any of which a site may need excepted."""
    from gcloud_pk.render import data

    found = [one for kind in ("nodes", "cluster") for one in data.documents("policies", "controls", kind, "*.yaml")]
    rows = [*(one for each in found for one in each.get("controls") or ())]
    return frozenset({one["id"] for one in rows} | {check for one in rows for check in one.get("checks") or ()})


@dataclass(frozen=True)
class Filed:
    """One waiver as its files say it. `signatures`: by principal in the file's name; `over`: an ending is there.

    `reading`: None where the file is missing or no YAML; `problems` then says why.
    """

    name: str
    file: str
    data: bytes | None
    reading: Reading[Waiver] | None
    signatures: Mapping[str, bytes] = field(default_factory=dict)
    over: bool = False
    ending: Ending | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def digest(self) -> str | None:
        """SHA-256 of the file's bytes, hexadecimal."""
        return sha256(self.data).hexdigest() if self.data is not None else None


@dataclass(frozen=True)
class Case:
    """A waiver that was judged: it counts where `state` is in `IN_FORCE`. `approvers`: principals that count, sorted.

    `problems`: what is wrong with it; `refused`: signatures that do not count; `stopped`: why one over these very bytes
    does not.
    """

    filed: Filed
    state: State
    approvers: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    refused: tuple[Refusal, ...] = ()
    stopped: str | None = None

    @property
    def name(self) -> str:
        """Its name in the registry."""
        return self.filed.name

    @property
    def waiver(self) -> Waiver | None:
        """The waiver, where it is well formed."""
        return self.filed.reading.model if self.filed.reading else None

    @property
    def tenant(self) -> str | None:
        """The tenant that it speaks of, if any."""
        found = self.waiver.workload if self.waiver else None
        return found.tenant if found else None

    def grant(self) -> Grant | None:
        """Return what the environment gets; None where it does not count, or is of no workload."""
        found = self.waiver.workload if self.waiver else None
        if self.waiver is None or found is None or self.state not in IN_FORCE:
            return None
        return Grant(
            rule=self.waiver.control,
            kind=found.kind,
            workload=found.name,
            allows=tuple(sorted(self.waiver.allows)),
            expires=self.waiver.expires,
            name=self.name,
            environment=found.environment,
            reason=self.waiver.reason,
            author=self.waiver.author,
            approvers=self.approvers,
        )

    def tolerance(self) -> Tolerance | None:
        """Return what a cluster's audit gets; None where nobody approved it, it was ended, or it is of something else.

        One that has expired is told: that it counts no longer is the audit's to say.
        """
        found = self.waiver.fixture if self.waiver else None
        if self.waiver is None or found is None or not self.approvers or self.state not in {*IN_FORCE, "expired"}:
            return None
        return Tolerance(
            self.waiver.control,
            found,
            self.waiver.allows,
            self.waiver.expires,
            self.name,
            self.waiver.reason,
            self.waiver.author,
            self.approvers,
        )


@dataclass(frozen=True)
class Waivers:
    """All waivers of a registry by name, and what else is wrong in their folder."""

    cases: Mapping[str, Case]
    problems: tuple[Problem, ...] = ()

    def grants(self, tenant: str) -> tuple[Grant, ...]:
        """Return what counts now for a tenant, sorted."""
        found = (case.grant() for case in self.cases.values() if case.tenant == tenant)
        return tuple(sorted(grant for grant in found if grant is not None))

    def tolerances(self, cluster: str) -> tuple[Tolerance, ...]:
        """Return what was approved for objects of a cluster, expired ones too, so that an audit can say so."""
        found = (case.tolerance() for _, case in sorted(self.cases.items()))
        return tuple(one for one in found if one is not None and one.fixture.cluster == cluster)

    def notes(self, tenant: str, today: dt.date) -> list[str]:
        """Return, in words, what somebody should know of a tenant's waivers: what expires soon, what does not count."""
        return [note for case in self.cases.values() if case.tenant == tenant and (note := _note(case, today))]


def _note(case: Case, today: dt.date) -> str | None:
    waiver = case.waiver
    if waiver is None:
        return None
    head = f"waiver {case.name} ({waiver.control}, {waiver.workload})"
    if case.state == "expires soon":
        days = (waiver.expires - today).days
        return f"{head} expires {'today' if days == 0 else f'in {days} days, on {waiver.expires}'}"
    why = case.problems[0].message if case.state == "invalid" else case.stopped
    return f"{head} does not count: {why}" if case.state in {"invalid", "proposed"} and why else None


def read(root: Path) -> tuple[list[Filed], list[Problem]]:
    """Read the folder `waivers/` of the registry at `root`; return what is filed, by name, and what means nothing."""
    found: dict[str, _Files] = {}
    stray: list[Problem] = []
    for entry in files.entries(root / FOLDER, root=root):
        match = _FILE.fullmatch(entry.name)
        if match is None:
            if entry.name != "README.md":
                stray.append(
                    problem(
                        "is no waiver, no ending and no signature of one",
                        file=root / FOLDER / entry.name,
                        expected="NAME.yaml, NAME.ended.yaml or NAME.yaml.PRINCIPAL.sig",
                    )
                )
            continue
        there = found.setdefault(match["name"], _Files())
        if match["principal"]:
            there.principals.append(match["principal"])
        there.ending = there.ending or bool(match["ending"])
    return [_filed(root, name, there) for name, there in sorted(found.items())], stray


@dataclass
class _Files:
    """What lies there of one name."""

    principals: list[str] = field(default_factory=list)
    ending: bool = False


def _filed(root: Path, name: str, there: _Files) -> Filed:
    path = root / FOLDER / f"{name}.yaml"
    problems: list[Problem] = []
    data, reading = None, None
    try:
        data = files.read(path, root=root)
        reading = load(documents.parse(data, str(path)), Waiver)
        problems += reading.problems
    except InvalidInputError as error:
        problems += error.details
    signatures: dict[str, bytes] = {}
    for principal in there.principals:
        try:
            signatures[principal] = files.read(path.with_name(f"{name}.yaml.{principal}.sig"), root=root)
        except InvalidInputError as error:
            problems += error.details
    ending = _ending(root, name, problems) if there.ending else None
    return Filed(name, str(path), data, reading, signatures, there.ending, ending, tuple(problems))


def _ending(root: Path, name: str, problems: list[Problem]) -> Ending | None:
    """Return what an ending says. One that cannot be read ends its waiver all the same."""
    path = root / FOLDER / f"{name}.ended.yaml"
    try:
        found = load(documents.parse(files.read(path, root=root), str(path)), Ending)
    except InvalidInputError as error:
        problems += error.details
        return None
    problems += found.problems
    return found.model


@dataclass(frozen=True)
class Circumstances:
    """What waivers are judged by: signers, the moment (UTC), tenants' environments and histories, sites' hosts.

    `foreign`: tenant and principal → why that principal does not approve for that tenant, or None.
    """

    signers: Signers
    now: dt.datetime
    environments: Mapping[str, frozenset[str]]
    chain: Callable[[str], Chain]
    foreign: Callable[[str, str], str | None]
    verifier: Verifier
    hosts: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def today(self) -> dt.date:
        """The day, UTC."""
        return self.now.astimezone(dt.UTC).date()


def environments(entry: Entry) -> frozenset[str]:
    """Return the environments of a tenant: those that it asks for, and those that were accepted last."""
    asked = (entry.request, entry.last_accepted.request if entry.last_accepted else None)
    return frozenset(each.name for request in asked if request for each in request.spec.environments)


def judge(filed: Sequence[Filed], stray: Iterable[Problem], around: Circumstances) -> Waivers:
    """Judge all waivers together. Raises nothing for what they hold."""
    claims = {
        (one.name, principal): Claim(one.data, signature, WAIVER, around.signers, around.now)
        for one in filed
        if one.data is not None
        for principal, signature in sorted(one.signatures.items())
    }
    verdicts = dict(zip(claims, around.verifier(list(claims.values())), strict=True))
    ended = {one.ending.digest for one in filed if one.ending} | {one.digest for one in filed if one.over}
    cases: dict[str, Case] = {}
    first: dict[str, str] = {}
    crowd: Counter[tuple[str, str]] = Counter()
    for one in filed:
        mine = {principal: verdict for (name, principal), verdict in verdicts.items() if name == one.name}
        case = _case(one, mine, ended, around)
        if one.digest in first:
            same = problem(f"holds the same as {FOLDER}/{first[one.digest]}.yaml", file=one.file, expected="each once")
            case = _invalid(case, same)
        first.setdefault(one.digest or one.name, one.name)
        if grant := case.grant():
            crowd[case.tenant or "", grant.environment] += 1
            if crowd[case.tenant or "", grant.environment] > MOST:
                case = _invalid(case, problem(f"its environment has over {MOST} waivers", file=one.file))
        cases[one.name] = case
    return Waivers(cases, tuple(stray))


def _invalid(case: Case, wrong: Problem) -> Case:
    state: State = "invalid" if case.state in {*IN_FORCE, "proposed"} else case.state
    return replace(case, state=state, problems=tuple(ordered([*case.problems, wrong])))


def _case(
    one: Filed, verdicts: Mapping[str, Signer | SignatureError], ended: set[str | None], around: Circumstances
) -> Case:
    reading = one.reading
    if reading is None or reading.model is None:
        return Case(one, "ended" if one.over else "invalid", problems=one.problems)
    waiver = reading.model
    have, refused, stopped = _approved(one, waiver, verdicts, around)
    lost = _ended_in_history(one, waiver, around)
    problems = list(one.problems)
    if lost and not one.over:
        gone = f"history says that it was ended, and {FOLDER}/{one.name}.ended.yaml is missing"
        problems.append(problem(gone, file=one.file, expected="the ending that was written, from version control"))
    if lost or one.digest in ended:
        return Case(one, "ended", have, tuple(ordered(problems)), refused)
    if waiver.expires < around.today:
        return Case(one, "expired", have, tuple(ordered(problems)), refused)
    wrong = [reading.document.located(found) for found in rule_problems(waiver, around)]
    said = [problem(r.message, file=Path(one.file).with_name(r.file)) for r in refused if not r.superseded]
    if problems or wrong:
        return Case(one, "invalid", have, tuple(ordered([*problems, *wrong, *said])), refused, stopped)
    state: State = "proposed"
    if have:
        state = "expires soon" if (waiver.expires - around.today).days <= SOON else "in force"
    return Case(one, state, have, tuple(said), refused, stopped)


def rule_problems(waiver: Waiver, around: Circumstances) -> Iterator[Problem]:
    """Yield every rule that a well-formed waiver breaks now."""
    of_nodes = waivable_of_nodes() if waiver.sort in {"node", "cluster"} else frozenset[str]()
    yield from rules.problems(waiver, waivable(), around.environments, waivable_of_clusters(), of_nodes, around.hosts)
    if far := rules.too_far(waiver, around.today):
        yield far


def _ended_in_history(one: Filed, waiver: Waiver, around: Circumstances) -> bool:
    return bool(_actors("ended", one, waiver, around))


def writers(one: Filed, waiver: Waiver, around: Circumstances) -> tuple[str, ...]:
    """Return who proposed these very bytes, as the tenant's history says; nobody signs it. None where it is silent."""
    return _actors("proposed", one, waiver, around)


def _actors(step: str, one: Filed, waiver: Waiver, around: Circumstances) -> tuple[str, ...]:
    """Return whom the tenant's history names for a step of these very bytes, each once."""
    found = waiver.workload
    if found is None or found.tenant not in around.environments:
        return ()
    lines = (line for line in around.chain(found.tenant).lines if line.act == "waiver")
    return tuple(
        dict.fromkeys(
            line.actor for line in lines if line.detail.get("step") == step and line.detail.get("digest") == one.digest
        )
    )


def author_keys(one: Filed, waiver: Waiver) -> frozenset[bytes]:
    """Return the keys of signatures under the author's name, whether they hold or not: they approve nothing."""
    found = set()
    for principal, signature in one.signatures.items():
        if principal == waiver.author:
            try:
                found.add(envelope(signature).key)
            except SignatureError:
                continue
    return frozenset(found)


def objection(signer: Signer, one: Filed, waiver: Waiver, around: Circumstances) -> str | None:
    """Return why a signer cannot approve this waiver, or None."""
    if signer.principal == waiver.author:
        return f"{signer.principal} is who proposes it"
    if signer.key.blob in author_keys(one, waiver):
        return f"the key of {signer.principal} signed as the author {waiver.author}"
    if signer.principal in writers(one, waiver, around):
        return f"{signer.principal} proposed it, the history says, whoever its author is said to be"
    found = waiver.workload
    if found is not None and found.tenant in around.environments:
        return around.foreign(found.tenant, signer.principal)
    return None


def _approved(
    one: Filed, waiver: Waiver, verdicts: Mapping[str, Signer | SignatureError], around: Circumstances
) -> tuple[tuple[str, ...], tuple[Refusal, ...], str | None]:
    have: set[str] = set()
    refused: list[Refusal] = []
    stopped: str | None = None
    for principal, verdict in verdicts.items():
        file = f"{one.name}.yaml.{principal}.sig"
        if isinstance(verdict, SignatureError):
            superseded = verdict.fault in {Fault.OTHER_BYTES, Fault.REVOKED}
            refused.append(Refusal(file, f"an approval {verdict.message}", superseded=superseded))
            if verdict.fault is not Fault.OTHER_BYTES:
                stopped = stopped or f"the approval by {principal} {verdict.message}"
        elif verdict.principal != principal:
            refused.append(
                Refusal(file, f"an approval is by {verdict.principal}: the file's name must be the signer's")
            )
        elif reason := objection(verdict, one, waiver, around):
            refused.append(Refusal(file, f"an approval does not count: {reason}"))
        else:
            have.add(verdict.principal)
    return tuple(sorted(have)), tuple(refused), stopped


def registry_problems(found: Waivers) -> list[Problem]:
    """Return everything that is wrong in the folder. That a waiver is proposed, expired or ended is not wrong."""
    return ordered([*found.problems, *(p for case in found.cases.values() for p in case.problems)])


def unreadable(error: GcloudPkError) -> Waivers:
    """Return no waivers, where their folder cannot be listed: none counts, and the problem is told."""
    return Waivers({}, error.details or (problem(error.message),))


def is_name(name: str) -> bool:
    """Whether a name can be a waiver's."""
    return len(name) <= NAME_LENGTH and re.fullmatch(LABEL_PATTERN, name) is not None


def path_of(root: Path, name: str) -> Path:
    """Return where a waiver of a name lies."""
    return Path(os.fspath(root)) / FOLDER / f"{name}.yaml"
