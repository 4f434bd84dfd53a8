"""`gcloud-pk request`: ask for a tenant, look at what became of it, approve or reject it."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gcloud_pk.commands.base import Group, Invocation, pass_invocation
from gcloud_pk.errors import InvalidInputError, Problem, RefusedError, UnavailableError, WrongUsageError

if TYPE_CHECKING:
    from gcloud_pk.console import Console
    from gcloud_pk.registry.approval import Approvals
    from gcloud_pk.registry.entries import Entry
    from gcloud_pk.registry.folder import Registry

_FILE = click.Path(path_type=Path)


@click.group(cls=Group)
def request() -> None:
    """Ask for a tenant: write, validate and submit a request; approve or reject it."""


def _open(invocation: Invocation) -> Registry:
    from gcloud_pk.registry.folder import Registry

    opened = Registry.open(invocation.registry)
    if invocation.trust:
        opened.trust(invocation.trust)
    return opened


def _open_if_there(invocation: Invocation) -> Registry | None:
    """Return the registry that was named, or the one at the default place, if it is there."""
    if invocation.values.get("registry") or invocation.registry.is_dir():
        return _open(invocation)
    return None


@request.command()
@click.option("-o", "--output", metavar="FILE", type=_FILE, help="Write here.  [default: standard output]")
@click.option("--from", "source", metavar="FILE", type=_FILE, help="Take the answers from a request; ask for nothing.")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@pass_invocation
def new(invocation: Invocation, output: Path | None, source: Path | None, force: bool) -> None:
    """Write a new request by answering questions.

    Prints a commented YAML that validates; -o puts it in a file.
    """
    from gcloud_pk.commands.questions import ask
    from gcloud_pk.registry import files
    from gcloud_pk.registry.documents import parse
    from gcloud_pk.registry.writing import draft_yaml, request_yaml

    if output is not None and not output.parent.is_dir():
        raise UnavailableError(f"there is no folder {output.parent}", resolution="make it, or name another file")
    if output is not None and not force and (output.exists() or output.is_symlink()):
        raise RefusedError(f"{output} is there already", resolution="name another file, or give --force")
    opened = _open_if_there(invocation)
    if source is None:
        try:
            fields = ask(opened)
        except click.Abort:
            if sys.stdin.isatty():
                raise
            raise WrongUsageError(
                "the answers on standard input ended too early", resolution="give --from FILE, or answer in a terminal"
            ) from None
        text = request_yaml(fields)
        if wrong := _wrong(text, "the request", opened):
            text = draft_yaml(fields, wrong)
            _write(invocation.console, text, output)
            name = str(output or "the draft above")
            raise InvalidInputError(
                f"the answers make no valid request yet; {name} holds them, with what to mend",
                details=_wrong(text, name, opened),
                resolution=f"mend it, then: gcloud-pk request validate {output or 'FILE'}",
            )
    else:
        document = parse(files.read(source), str(source))
        text = request_yaml(document.value) if isinstance(document.value, dict) else ""
        _valid(document.data, str(source), opened)
    model = _valid(text.encode(), str(output or "the request"), opened)
    console = invocation.console
    if output is not None or not console.machine:
        _write(console, text, output)
    if console.machine:
        console.document(
            {"file": str(output) if output else None, "tenant": model.metadata.name, "request": _plain(model)}
        )
    elif output is not None:
        console.show(f"wrote {output}")
        console.show(f"next: look at it, then: gcloud-pk request submit {output}")


def _write(console: Console, text: str, output: Path | None) -> None:
    """Write to a file, or print: what somebody answered is shown rather than lost where the file cannot be written."""
    from gcloud_pk.registry import files

    if output is None:
        click.echo(text, nl=False, err=console.machine)
        return
    try:
        with files.locked(output.parent):
            files.write(output, text.encode(), root=output.parent)
    except UnavailableError:
        click.echo(text, nl=False, err=console.machine)
        raise


def _plain(model: Any) -> Any:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def _valid(data: bytes, name: str, opened: Registry | None) -> Any:
    wrong, reading = _judge(data, name, opened)
    if wrong or reading is None or reading.model is None:
        raise InvalidInputError(f"{name} is not valid", details=wrong)
    return reading.model


def _wrong(text: str, name: str, opened: Registry | None) -> list[Problem]:
    try:
        return _judge(text.encode(), name, opened)[0]
    except InvalidInputError as error:
        return list(error.details)


def _judge(data: bytes, name: str, opened: Registry | None, around: Any = None) -> tuple[list[Problem], Any]:
    from gcloud_pk.model.request import TenantRequest
    from gcloud_pk.model.rules import Surroundings, request_problems
    from gcloud_pk.registry.documents import parse
    from gcloud_pk.registry.readings import load

    reading = load(parse(data, name), TenantRequest)
    surroundings = around or (opened.surroundings if opened else Surroundings(registry=False))
    return reading.ruled(lambda model: request_problems(model, surroundings)), reading


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

    opened = _open_if_there(invocation)
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

    opened = _open(invocation)
    done = hand_in(opened, file, key)
    name = done.request.metadata.name
    need = opened.settings.approvals_for(done.request.spec.classification)
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
        shape["changes"] = [{"field": d.path, "before": d.before, "after": d.after} for d in changes]
        console.document(shape)
        return
    console.show(f"tenant {tenant}: {_state_words(shape)}")
    _show_request(console, entry)
    record = entry.state[0]
    if record:
        console.show(f"state: {record.state} by {record.by} at {record.time:%Y-%m-%d %H:%M} UTC: {record.reason}")
    if entry.request:
        approvals = opened.approvals(entry)
        console.show(f"approved by: {', '.join(approvals.have) or 'nobody yet'}; {approvals.need} needed")
        for refusal in approvals.refused:
            console.show(f"not counted: {refusal.file} {refusal.message}")
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
            console.show(f"  {what.ljust(width)}  {text}")
    if entry.digest:
        console.show(f"SHA-256 {entry.digest}  {entry.file}")


def _show_changes(console: Console, revision: int, changes: list[Any]) -> None:
    console.show(f"changed since revision {revision}, which was accepted last:")
    for change in changes:
        console.show(f"  {change}")


def _shape(opened: Registry, entry: Entry) -> dict[str, Any]:
    """Return the documented shape of one request (`request list --format json`)."""
    read = entry.reading.repaired if entry.reading else None
    approvals: Approvals | None = opened.approvals(entry) if entry.request else None
    return {
        "tenant": entry.name,
        "revision": read.metadata.revision if read else None,
        "digest": entry.digest,
        "classification": entry.request.spec.classification if entry.request else None,
        "organisation": entry.request.spec.organisation if entry.request else None,
        "state": opened.status(entry),
        "approvals": {
            "have": list(approvals.have) if approvals else [],
            "need": approvals.need if approvals else None,
            "refused": [{"file": r.file, "reason": r.message} for r in approvals.refused] if approvals else [],
        },
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
@pass_invocation
def list_(invocation: Invocation, state: str | None) -> None:
    """List all requests and what became of them."""
    opened = _open(invocation)
    opened.verify_all()
    shapes = [_shape(opened, entry) for entry in opened.tenants.values()]
    shapes = [shape for shape in shapes if state in {None, shape["state"]}]
    console = invocation.console
    if console.machine:
        console.document({"requests": shapes})
        return
    if not shapes:
        console.show(f"no request in {opened.path}" + (f" is {state}" if state else ""))
        return
    console.table(
        ("TENANT", "REVISION", "CLASS", "ORGANISATION", "STATE", "APPROVED BY"),
        [
            (
                shape["tenant"],
                shape["revision"],
                shape["classification"],
                shape["organisation"],
                _state_words(shape),
                ", ".join(shape["approvals"]["have"]),
            )
            for shape in shapes
        ],
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

    opened = _open(invocation)
    entry = acts.approvable(opened, tenant)
    signer = acts.approver(opened, entry, key, principal)
    console = invocation.console
    before = opened.approvals(entry)
    if signer.principal in before.have:
        after = before
        if after.sufficient:
            opened.keep(tenant)  # whoever approved last may have been stopped before this
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
                "approvals": {"have": list(after.have), "need": after.need},
            }
        )
        return
    console.show(f"tenant {tenant}: {len(after.have)} of {after.need} approvals ({', '.join(after.have)})")
    if after.sufficient:
        console.show(f"next: gcloud-pk onboard {tenant}")


@request.command()
@click.argument("tenant")
@click.option("--reason", required=True, help="Why; the requester reads it.")
@click.option("--key", metavar="KEY", type=_FILE, help="Sign the rejection.")
@click.option("--by", metavar="NAME", help="Who rejects, where no key says so.  [default: the user's name]")
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
    opened = _open(invocation)
    who = acts.reject(opened, tenant, by or _user(), reason, key)
    entry = opened.entry(tenant)
    console = invocation.console
    if console.machine:
        console.document({"tenant": tenant, "state": "rejected", "by": who, "reason": reason, "digest": entry.digest})
        return
    console.show(f"rejected the request of tenant {tenant}: {reason}")
    if entry.last_accepted:
        console.show(f"revision {entry.last_accepted.revision}, which was accepted, stands as it did")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
