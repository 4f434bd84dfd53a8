"""`gcloud-pk request`: ask for a tenant, look at what became of it, approve or reject it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gcloud_pk.commands.base import Group, Invocation, operator_name, pass_invocation
from gcloud_pk.commands.connection import open_registry_if_there
from gcloud_pk.commands.drafting import new
from gcloud_pk.errors import InvalidInputError, Problem, WrongUsageError
from gcloud_pk.text import in_line, number_of

if TYPE_CHECKING:
    from gcloud_pk.console import Console
    from gcloud_pk.registry.approval import Approvals
    from gcloud_pk.registry.differences import Difference
    from gcloud_pk.registry.entries import Entry
    from gcloud_pk.registry.folder import Registry

_FILE = click.Path(path_type=Path)


@click.group(cls=Group)
def request() -> None:
    """Ask for a tenant: write, validate and submit a request; approve or reject it."""


def _open(invocation: Invocation, *, acting: bool = False) -> Registry:
    """Open the registry, verified where `--trust` is given; who acts on a signed one without it is told."""
    from gcloud_pk.registry.folder import Registry
    from gcloud_pk.registry.trust import SIGNATURE

    opened = Registry.open(invocation.registry)
    if invocation.trust:
        opened.trust(invocation.trust)
    elif acting and (opened.path / SIGNATURE).exists():
        invocation.console.warn(
            "nobody looked whether its keepers signed this registry as it is; name them: --trust FILE"
        )
    return opened


request.add_command(new)


def _plain(model: Any) -> Any:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


@request.command()
@click.argument("paths", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True))
@pass_invocation
def validate(invocation: Invocation, paths: tuple[Path, ...]) -> None:
    """Name everything that is wrong with requests.

    Each line reads FILE:LINE: FIELD: what is wrong; expected what. FILE may be -, standard input.

    With a registry, they are compared with all others there; several FILEs with each other, too.
    """
    from dataclasses import replace

    from gcloud_pk.model.request import TenantRequest
    from gcloud_pk.model.rules import Surroundings, request_problems
    from gcloud_pk.registry import files
    from gcloud_pk.registry.documents import parse
    from gcloud_pk.registry.readings import load, ordered

    opened = open_registry_if_there(invocation)
    problems: list[Problem] = list(opened.governance.problems) if opened else []
    readings = []
    for path in paths:
        try:
            data, name = (_standard_input(), "standard input") if str(path) == "-" else (files.read(path), str(path))
            readings.append(load(parse(data, name), TenantRequest))
        except InvalidInputError as error:
            problems.extend(error.details)
    around = opened.surroundings if opened else Surroundings(registry=False)
    given = {r.repaired.metadata.name: r.repaired for r in readings if r.repaired is not None}
    around = replace(around, others={**around.others, **given})
    for reading in readings:
        problems += reading.ruled(lambda model: request_problems(model, around))
    console = invocation.console
    if opened is None:
        console.note(
            f"no registry at {invocation.registry}: organisations, sites, base registries and other tenants "
            "are not looked at (--registry DIR)"
        )
    if problems:
        count = len({p.file for p in problems})
        raise InvalidInputError(
            f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in {count} file{'s' if count > 1 else ''}",
            details=ordered(problems),
        )
    warned = [_warn(console, opened, r.model, r.document) for r in readings if r.model]
    if console.machine:
        listed = [
            {"file": r.document.file, "tenant": r.model.metadata.name if r.model else None, "digest": r.document.digest}
            for r in readings
        ]
        console.document(
            {
                "valid": True,
                "registry": str(opened.path) if opened else None,
                "requests": listed,
                "warnings": [one for each in warned for one in each],
            }
        )
        return
    for reading in readings:
        if reading.model:
            metadata = reading.model.metadata
            console.show(f"{reading.document.file}: valid (tenant {metadata.name}, revision {metadata.revision})")


def _warn(console: Console, opened: Registry | None, model: Any, document: Any = None) -> list[dict[str, Any]]:
    """Show what is allowed and seldom meant; return the shape of `warnings[]`. `document`: gives file and line."""
    import datetime as dt

    from gcloud_pk.model.advice import request_warnings
    from gcloud_pk.model.settings import Settings

    settings = opened.settings if opened else Settings()
    found = request_warnings(model, settings, dt.datetime.now(dt.UTC).date())
    found = [document.located(one) for one in found] if document else found
    for one in found:
        console.warn(str(one))
    return [one.as_dict() for one in found]


def _standard_input() -> bytes:
    from gcloud_pk.errors import problem
    from gcloud_pk.registry import files

    data = sys.stdin.buffer.read(files.LIMIT + 1)
    if len(data) > files.LIMIT:
        found = problem("is larger than 1 MiB", file="standard input", expected="at most 1 MiB")
        raise InvalidInputError("standard input is larger than 1 MiB", details=[found])
    return data


@request.command()
@click.argument("file", metavar="FILE", type=_FILE)
@click.option("--key", metavar="KEY", type=_FILE, help="Sign the request as the requester.")
@pass_invocation
def submit(invocation: Invocation, file: Path, key: Path | None) -> None:
    """Hand a valid request in to the registry.

    Its bytes are copied as they are.

    FILE.sig, a signature made by `ssh-keygen -Y sign -n gcloud-pk-request`, is taken along.
    """
    from gcloud_pk.registry.acts import submit as hand_in

    opened = _open(invocation, acting=True)
    done = hand_in(opened, file, key)
    name = done.request.metadata.name
    need = opened.demand(done.request).total
    console = invocation.console
    warnings = _warn(console, opened, done.request)
    if console.machine:
        console.document(
            {
                "tenant": name,
                "revision": done.request.metadata.revision,
                "digest": done.digest,
                "changed": done.changed,
                "approvals": {"need": need},
                "warnings": warnings,
            }
        )
        return
    if not done.changed:
        console.show(f"tenant {name}: this request was submitted already; nothing was changed")
        return
    console.show(f"submitted revision {done.request.metadata.revision} of tenant {name} (SHA-256 {done.digest})")
    console.show(f"next: {need} approver{'s' if need > 1 else ''} run: gcloud-pk request approve {name} --key KEY")
    if opened.demand(done.request).binding:
        fresh = _open(invocation)
        for awaited in fresh.approvals(fresh.entry(name)).awaits:
            console.show(f"outstanding: {awaited}")


@request.command()
@click.argument("tenant")
@pass_invocation
def show(invocation: Invocation, tenant: str) -> None:
    """Show a tenant's request, its approvals and its state."""
    from gcloud_pk.registry.differences import differences

    opened = _open(invocation)
    entry = opened.entry(tenant)
    shape = _shape(opened, entry)
    console = invocation.console
    last = entry.last_accepted
    changes = differences(last.request, entry.request) if last and entry.request and last.digest != entry.digest else []
    if console.machine:
        shape["request"] = _plain(entry.request) if entry.request else None
        shape["accepted"] = {"revision": last.revision, "digest": last.digest} if last else None
        shape["changes"] = [d.as_dict() for d in changes]
        console.document(shape)
        return
    console.show(f"tenant {tenant}: {_state_words(shape)}")
    _show_request(console, entry)
    record = entry.state[0]
    if record:
        said = f"{record.state} by {in_line(record.by)} at {record.time:%Y-%m-%d %H:%M} UTC: {in_line(record.reason)}"
        console.show(f"state: {said}")
    if entry.request:
        approvals = opened.approvals(entry)
        console.show(f"approved by: {', '.join(approvals.have) or 'nobody yet'}; {approvals.need} needed")
        for awaited in approvals.awaits:
            console.show(f"outstanding: {awaited}")
        for refusal in approvals.refused:
            console.show(in_line(f"not counted: {refusal.file} {refusal.message}"))
    for found in shape["problems"]:
        console.show(f"wrong: {_problem_words(found)}")
    if changes and last:
        _show_changes(console, last.revision, changes)


def _problem_words(found: dict[str, Any]) -> str:
    return str(Problem(found["file"], found["line"], found["field"], found["message"], found["expected"]))


def _show_request(console: Console, entry: Entry) -> None:
    from gcloud_pk.registry.summary import summary

    if entry.request:
        rows = summary(entry.request)
        width = max(len(what) for what, _ in rows)
        for what, text in rows:
            console.row(f"  {what.ljust(width)}  ", text)
    if entry.digest:
        console.show(f"SHA-256 {entry.digest}  {entry.file}")


def _show_changes(console: Console, revision: int, changes: list[Difference]) -> None:
    opening = sum(change.opens for change in changes)
    count = f"; {opening} of {len(changes)} open something (they stand first)" if opening else "; nothing is opened"
    console.show(f"changed since revision {revision}, which was accepted last{count}:")
    for change in changes:
        console.row(f"  {change.mark:11} ", change.words)


@request.command()
@click.argument("tenant")
@pass_invocation
def diff(invocation: Invocation, tenant: str) -> None:
    """Show what a proposed request changes, in words.

    Compares it with the accepted one. What opens something stands first, marked +access, +egress, +exposure,
    +images or +protection.
    """
    from gcloud_pk.registry.differences import differences

    opened = _open(invocation)
    entry = opened.entry(tenant)
    proposed = entry.reading.repaired if entry.reading else None
    if proposed is None:
        raise InvalidInputError(f"the request of tenant {tenant} cannot be read", details=entry.problems)
    last, console = entry.last_accepted, invocation.console
    changes = differences(last.request, proposed) if last else []
    if problems := opened.content_problems(entry):
        found = number_of(len(problems), "problem")
        console.warn(f"the proposed request is not valid; gcloud-pk request show {tenant} names {found}")
    if console.machine:
        console.document(
            {
                "tenant": tenant,
                "state": opened.status(entry),
                "accepted": {"revision": last.revision, "digest": last.digest} if last else None,
                "proposed": {"revision": proposed.metadata.revision, "digest": entry.digest},
                "changes": [change.as_dict() for change in changes],
            }
        )
        return
    if last is None:
        console.show(f"no request of tenant {tenant} was accepted yet, so all of it is new")
        console.show(f"see it: gcloud-pk request show {tenant}")
    elif last.digest == entry.digest:
        console.show(f"nothing is proposed: revision {last.revision} is what was accepted")
    elif not changes:
        console.show(f"revision {proposed.metadata.revision} asks for the same as revision {last.revision}")
    else:
        console.show(f"tenant {tenant}, revision {proposed.metadata.revision} ({opened.status(entry)}):")
        _show_changes(console, last.revision, changes)


def _shape(opened: Registry, entry: Entry) -> dict[str, Any]:
    """Return the documented shape of one request (`request list --format json`)."""
    from gcloud_pk.model.federation import province_of
    from gcloud_pk.registry import turn

    read = entry.reading.repaired if entry.reading else None
    approvals: Approvals | None = opened.approvals(entry) if entry.request else None
    return {
        "tenant": entry.name,
        "revision": read.metadata.revision if read else None,
        "digest": entry.digest,
        "classification": entry.request.spec.classification if entry.request else None,
        "organisation": entry.request.spec.organisation if entry.request else None,
        "province": province_of(read.spec.organisation, opened.organisations) if read else None,
        "state": opened.status(entry),
        "approvals": approvals.as_dict() if approvals else {"have": [], "need": None, "awaits": [], "refused": []},
        "next": turn.of(opened, entry).as_dict(),
        "problems": [p.as_dict() for p in opened.entry_problems(entry)],
    }


def _state_words(shape: dict[str, Any]) -> str:
    approvals = shape["approvals"]
    if shape["state"] == "pending":
        return f"pending ({len(approvals['have'])} of {approvals['need']} approvals)"
    return str(shape["state"])


@request.command(name="list")
@click.option(
    "--state",
    type=click.Choice(["pending", "approved", "rejected", "suspended", "offboarded", "invalid"]),
    help="Only requests in this state.",
)
@click.option(
    "--province",
    type=click.Choice(["federal", "ict", "punjab", "sindh", "kp", "balochistan", "gb", "ajk"]),
    help="Only requests of this province's organisations; federal: of no province.",
)
@pass_invocation
def list_(invocation: Invocation, state: str | None, province: str | None) -> None:
    """List all requests by province: what became of them, who must act next and since when.

    Times are UTC. Since when is known from the tenant's history.
    """
    opened = _open(invocation)
    opened.verify_all()
    shapes = [_shape(opened, entry) for entry in opened.tenants.values()]
    shapes = [
        shape
        for shape in shapes
        if state in {None, shape["state"]} and province in {None, shape["province"] or "federal"}
    ]
    shapes.sort(key=lambda shape: (shape["province"] or "", shape["tenant"]))  # the federal ones first
    console = invocation.console
    if console.machine:
        console.document({"requests": shapes})
        return
    if not shapes:
        of = f" of {province}" if province else ""
        console.show(f"no request in {opened.path}{of}" + (f" is {state}" if state else ""))
        return
    console.table(
        ("PROVINCE", "TENANT", "REVISION", "CLASS", "ORGANISATION", "STATE", "APPROVED BY", "NEXT", "SINCE"),
        [
            (
                shape["province"] or "federal",
                shape["tenant"],
                shape["revision"],
                shape["classification"],
                shape["organisation"],
                _state_words(shape),
                ", ".join(shape["approvals"]["have"]),
                ", ".join(_parties(shape)),
                (shape["next"]["since"] or "")[:16].replace("T", " "),
            )
            for shape in shapes
        ],
    )
    if waiting := _waiting(shapes):
        console.show(waiting)


def _parties(shape: dict[str, Any]) -> list[str]:
    """Return a word for each who must act next; none for nobody."""
    who = shape["next"]["who"]
    return list(shape["next"]["awaits"]) if who == "approver" else [] if who == "nobody" else [f"the {who}"]


def _waiting(shapes: list[dict[str, Any]]) -> str:
    """Return `2 wait for punjab, 1 for the platform`: approvers by province or tier, then the others.

    A request that waits for several is counted for each.
    """
    from collections import Counter

    words = {"federal": "federal approvers"}
    counted = Counter(words.get(party, party) for shape in shapes for party in _parties(shape))
    order = sorted(counted, key=lambda party: (party.startswith("the "), party))
    wait = ["waits ", "wait "]
    return ", ".join(
        f"{counted[party]} {wait[counted[party] > 1] if i == 0 else ''}for {party}" for i, party in enumerate(order)
    )


@request.command()
@click.argument("tenant")
@click.option("--key", metavar="KEY", type=_FILE, required=True, help="An OpenSSH key; .pub where an agent holds it.")
@click.option("--as", "principal", metavar="PRINCIPAL", help="Who you are, to be compared with the key's line.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@pass_invocation
def approve(invocation: Invocation, tenant: str, key: Path, principal: str | None, yes: bool) -> None:
    """Show a request, ask, and sign it.

    Signs its bytes as `ssh-keygen -Y sign -n gcloud-pk-approval` does; such a signature by hand counts the same.
    """
    from gcloud_pk.registry import acts
    from gcloud_pk.registry.differences import differences

    opened = _open(invocation, acting=True)
    entry = acts.approvable(opened, tenant)
    signer = acts.approver(opened, entry, key, principal)
    console = invocation.console
    before = opened.approvals(entry)
    if signer.principal in before.have:
        # Whoever approved last may have been stopped before it was recorded and kept.
        after = acts.approved(opened, tenant, signer.principal)
        console.note(f"{signer.principal} has approved this request already; nothing was changed")
    else:
        _show_request(console, entry)
        last = entry.last_accepted
        if last and entry.request and last.digest != entry.digest:
            _show_changes(console, last.revision, differences(last.request, entry.request))
        elif last is None:
            console.show("no request of this tenant was accepted before")
        if entry.request:
            _warn(console, opened, entry.request)
        console.confirm(f"approve this as {signer.principal}?", yes=yes)
        after = acts.approve(opened, entry, key)
    if console.machine:
        console.document(
            {
                "tenant": tenant,
                "digest": entry.digest,
                "principal": signer.principal,
                "state": "approved" if after.sufficient else "pending",
                "approvals": {
                    "have": list(after.have),
                    "need": after.need,
                    "awaits": [awaited.as_dict() for awaited in after.awaits],
                },
            }
        )
        return
    console.show(f"tenant {tenant}: {len(after.have)} of {after.need} approvals ({', '.join(after.have)})")
    for awaited in after.awaits:
        console.show(f"outstanding: {awaited}")
    if after.sufficient:
        console.show(f"next: gcloud-pk onboard {tenant}")


@request.command()
@click.argument("tenant")
@click.option("--reason", required=True, help="Why; the requester reads it.")
@click.option("--key", metavar="KEY", type=_FILE, help="Sign the rejection.")
@click.option("--by", metavar="NAME", help="Who rejects, where no key says so.  [default: user@host]")
@pass_invocation
def reject(invocation: Invocation, tenant: str, reason: str, key: Path | None, by: str | None) -> None:
    """Reject a request that waits, with a reason.

    A corrected one of a higher revision may be submitted. What was accepted before stands as it did.
    """
    from gcloud_pk.model.base import Line, Prose
    from gcloud_pk.registry import acts
    from gcloud_pk.registry.readings import fault

    for option, kind, text in (("--reason", Prose, reason), ("--by", Line, by)):
        if text is not None and (wrong := fault(kind, text)):
            raise WrongUsageError(f"{option} {wrong}")
    opened = _open(invocation, acting=True)
    who = acts.reject(opened, tenant, by or operator_name(), reason, key)
    entry = opened.entry(tenant)
    console = invocation.console
    if console.machine:
        console.document({"tenant": tenant, "state": "rejected", "by": who, "reason": reason, "digest": entry.digest})
        return
    console.show(f"rejected the request of tenant {tenant}: {in_line(reason)}")
    if entry.last_accepted:
        console.show(f"revision {entry.last_accepted.revision}, which was accepted, stands as it did")
