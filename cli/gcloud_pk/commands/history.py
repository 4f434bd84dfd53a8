"""`gcloud-pk registry history`: what was done with a tenant, and whether all of it holds together."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from gcloud_pk.commands.base import Command, Invocation, pass_invocation
from gcloud_pk.errors import ExitCode, GcloudPkError, Problem, problem
from gcloud_pk.model.finding import Verdict

if TYPE_CHECKING:
    from gcloud_pk.console import Console
    from gcloud_pk.registry.entries import Entry
    from gcloud_pk.registry.folder import Registry
    from gcloud_pk.registry.history import Line

_NOT_COMPARED = "not compared (give --kubeconfig)"


@dataclass
class Verification:
    """What `--verify` found. `verdicts`: of the chain, the kept requests, their signatures and the cluster's head."""

    verdicts: dict[str, Verdict] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unchecked: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)

    def judge(self, part: str, failed: Iterable[Problem], unchecked: Iterable[Problem] = ()) -> None:
        """Take in what is wrong with one part, and what of it could not be checked."""
        wrong, unknown = list(failed), list(unchecked)
        self.verdicts[part] = Verdict.FAIL if wrong else Verdict.NOT_CHECKED if unknown else Verdict.PASS
        self.problems += wrong
        self.unchecked += unknown

    @property
    def code(self) -> ExitCode:
        """6 where anything failed, 7 where something could not be checked that should be; else 0."""
        if self.problems:
            return ExitCode.FAILED
        return ExitCode.NOT_CHECKED if self.unchecked else ExitCode.DONE

    def as_dict(self) -> dict[str, Any]:
        """Return the shape of `verified`."""
        return {
            **{part: verdict.value for part, verdict in self.verdicts.items()},
            "problems": [one.as_dict() for one in self.problems],
            "unchecked": [one.as_dict() for one in self.unchecked],
            "notes": [one.as_dict() for one in self.notes],
        }


@click.command(cls=Command)
@click.argument("tenant")
@click.option("--verify", is_flag=True, help="Check the chain, the accepted requests, their signatures, the cluster.")
@pass_invocation
def history(invocation: Invocation, tenant: str, verify: bool) -> int:
    """Show what was done with a tenant: when, by whom, with which request, on which cluster.

    With --verify, exit 6 names by file and line what was changed, lost or moved. With --kubeconfig (or KUBECONFIG) the
    head that the cluster's Tenant names must be a line of it, too.
    """
    from gcloud_pk.registry.folder import Registry

    opened = Registry.open(invocation.registry)
    if invocation.trust:
        opened.trust(invocation.trust)
    entry = opened.entry(tenant)
    verification = _verify(invocation, opened, entry) if verify else None
    console, chain = invocation.console, entry.chain
    if console.machine:
        console.document(
            {
                "tenant": tenant,
                "file": chain.file,
                "lines": [line.as_dict() for line in chain.lines],
                "head": chain.head,
                "ends": list(chain.ends),
                "problems": [one.as_dict() for one in chain.problems],
                "verified": verification.as_dict() if verification else None,
            }
        )
    else:
        _show(console, opened, entry)
        if verification is None:
            _show_problems(console, entry)
        else:
            _show_verification(console, verification)
    return verification.code if verification else ExitCode.DONE


def _verify(invocation: Invocation, opened: Registry, entry: Entry) -> Verification:
    found = Verification()
    past = opened.past(entry)
    missing = [] if entry.history_file is not None else [problem("is missing: nothing to check", file=entry.chain.file)]
    found.judge("chain", [*past.chain, *(one for one in entry.problems if one.file == entry.chain.file)], missing)
    found.judge("requests", past.requests)
    found.judge("signatures", past.signatures, past.unchecked)
    found.notes += past.notes
    if not invocation.kubeconfig:
        found.verdicts["clusterHead"] = Verdict.NOT_CHECKED
        return found
    _compare(invocation, entry, found)
    return found


def _compare(invocation: Invocation, entry: Entry, found: Verification) -> None:
    """Compare the history with the cluster's Tenant. A cluster that does not answer leaves it unchecked."""
    from gcloud_pk.cluster.kinds import TENANT
    from gcloud_pk.commands.connection import open_api
    from gcloud_pk.onboarding.provenance import disagreements, head_of

    try:
        answer = open_api(invocation).request("GET", TENANT.path(name=entry.name))
    except GcloudPkError as error:
        found.judge("clusterHead", [], [problem(f"could not be asked: {error.message}", file=f"Tenant {entry.name}")])
        return
    if answer.ok:
        found.judge("clusterHead", disagreements(entry.name, entry.chain, answer.body))
        if head_of(answer.body) is None:
            found.verdicts["clusterHead"] = Verdict.NOT_APPLICABLE
            found.notes.append(problem("names no line of a history yet", file=f"Tenant {entry.name}"))
    elif answer.status == 404:
        found.verdicts["clusterHead"] = Verdict.NOT_APPLICABLE
        found.notes.append(problem("is not on this cluster", file=f"Tenant {entry.name}"))
    else:
        reason = f"could not be read: the server says {answer.status}"
        found.judge("clusterHead", [], [problem(reason, file=f"Tenant {entry.name}")])


def _show(console: Console, opened: Registry, entry: Entry) -> None:
    chain = entry.chain
    if chain.lines:
        console.table(
            ("TIME", "ACT", "ACTOR", "REVISION", "REQUEST", "CLUSTER", "DETAIL"),
            [_row(opened, line) for line in chain.lines],
        )
        console.show(f"head: {chain.head}")
    elif entry.history_file is None:
        console.show(f"tenant {entry.name} has no history yet: there is no {chain.file}")


def _show_problems(console: Console, entry: Entry) -> None:
    for one in entry.chain.problems:
        console.warn(str(one))
    for one in entry.chain.notes:
        console.note(f"note: {one}")


def _row(opened: Registry, line: Line) -> tuple[object, ...]:
    return (
        line.time.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ"),
        line.act,
        line.actor,
        line.revision or "-",
        _short(line.digest or "-"),
        _cluster(opened, line.cluster),
        ", ".join(f"{name} {_short(str(value))}" for name, value in line.detail.items()) or "-",
    )


def _short(text: str) -> str:
    """Return the first 12 digits of a SHA-256; other texts as they are."""
    digits = len(text) == 64 and all(letter in "0123456789abcdef" for letter in text)
    return text[:12] if digits else text


def _cluster(opened: Registry, uid: str | None) -> str:
    """Return a cluster's name, where the registry (as far as it is valid) knows it."""
    for site in opened.governance.sites.values():
        for cluster in site.spec.clusters:
            if uid and cluster.uid == uid:
                return cluster.name
    return uid or "-"


def _show_verification(console: Console, found: Verification) -> None:
    names = {"chain": "chain", "requests": "requests", "signatures": "signatures", "clusterHead": "cluster"}
    colors = {Verdict.PASS: "green", Verdict.FAIL: "red"}
    asked = any(str(one.file).startswith("Tenant ") for one in found.unchecked)
    for part, verdict in found.verdicts.items():
        said = verdict.value
        if part == "clusterHead" and verdict is Verdict.NOT_CHECKED and not asked:
            said = _NOT_COMPARED
        console.show_styled(f"{names[part] + ':':12} " + console.styled(said, fg=colors.get(verdict, "yellow")))
    for one in (*found.problems, *found.unchecked):
        console.show(f"  {one}")
    for one in found.notes:
        console.show(f"  note: {one}")
