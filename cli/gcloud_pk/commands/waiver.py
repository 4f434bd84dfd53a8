"""`gcloud-pk waiver`: justified, expiring exceptions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gcloud_pk.commands.base import Group, Invocation, operator_name, pass_invocation
from gcloud_pk.commands.connection import open_registry
from gcloud_pk.errors import GcloudPkError, PartialError, WrongUsageError
from gcloud_pk.text import stamp

if TYPE_CHECKING:
    from gcloud_pk.console import Console
    from gcloud_pk.registry.folder import Registry
    from gcloud_pk.registry.waivers import Case

_FILE = click.Path(path_type=Path)


@click.group(cls=Group)
def waiver() -> None:
    """Except one workload from one rule until a day, signed by somebody other than who asks.

    What is approved is rendered into the tenant's parameters by the next onboard, and shown by every verify.
    """


@waiver.command()
@click.argument("name")
@click.option("--control", required=True, metavar="RULE", help="The rule, as a refusal names it: GPK-IMG-01.")
@click.option("--tenant", metavar="TENANT", help="Whose workload it is.")
@click.option("--environment", metavar="E", help="In which environment.")
@click.option(
    "--workload", metavar="KIND/NAME", help="Deployment/web, StatefulSet/…, DaemonSet/…, Job/…, CronJob/…, Pod/…"
)
@click.option(
    "--subject", metavar="SUBJECT", help="Instead of these three, for what is no workload: node/<site>[/<host>]."
)
@click.option(
    "--allow",
    "allows",
    multiple=True,
    metavar="VALUE",
    help="An exact value, as the refusal shows it; may be repeated.",
)
@click.option("--reason", required=True, help="Why it cannot comply yet, and what is done about it.")
@click.option("--author", metavar="E-MAIL", help="Who proposes it, where no key says so; somebody else approves it.")
@click.option("--key", metavar="KEY", type=_FILE, help="The proposer's OpenSSH key: the author is whose key it is.")
@click.option("--expires", required=True, metavar="DAY", help="The last day on which it counts (UTC), YYYY-MM-DD.")
@pass_invocation
def propose(
    invocation: Invocation,
    name: str,
    control: str,
    tenant: str | None,
    environment: str | None,
    workload: str | None,
    subject: str | None,
    allows: tuple[str, ...],
    reason: str,
    author: str | None,
    key: Path | None,
    expires: str,
) -> None:
    """Write a waiver into the registry, for an approver to look at.

    Nothing is excepted by it yet. At most 366 days ahead; one workload and exact values, no wildcards.

    \b
    gcloud-pk waiver propose old-portal --control GPK-IMG-01 \\
      --tenant moitt --environment prod --workload Deployment/portal \\
      --allow docker.io/library/portal:4.2 --expires 2026-12-31 \\
      --reason "vendor image; rebuilt on our registry by December" --author dd@moitt.gov.pk
    """  # noqa: D301 - Click reads the backspace as: keep these lines
    from gcloud_pk.registry import waiving

    about = _subject(tenant, environment, workload, subject)
    opened = open_registry(invocation)
    if key is not None:
        signer = waiving.proposer(opened, key)
        if author not in {None, signer.principal}:
            raise WrongUsageError(
                f"the key {key} is {signer.principal}'s, not {author}'s", resolution="leave --author out"
            )
        author = actor = signer.principal
    elif author is not None:
        actor = operator_name()
    else:
        raise WrongUsageError("nobody is named who proposes it", resolution="give --author, or --key")
    fields: dict[str, str | Sequence[str]] = {
        "control": control,
        "subject": about,
        **({"allows": list(allows)} if allows else {}),
        "reason": reason,
        "author": author,
        "expires": expires,
    }
    console = invocation.console
    made = waiving.propose(opened, name, fields, actor)
    if console.machine:
        console.document({"name": name, "digest": made.digest, "state": "proposed", "changed": made.changed})
        return
    console.show(f"proposed: {name}" if made.changed else f"proposed already: {name}")
    for value in made.waiver.allows:
        if made.waiver.control == "GPK-IMG-01" and "@sha256:" not in value:
            console.warn(f"{value} names a tag, which can be moved to another image; a digest (@sha256:…) cannot")
    console.show(f"next: an approver runs: gcloud-pk waiver approve {name} --key KEY")


def _subject(tenant: str | None, environment: str | None, workload: str | None, subject: str | None) -> str:
    parts = (tenant, environment, workload)
    if subject is not None and not any(parts):
        return subject
    if subject is not None or not all(parts):
        raise WrongUsageError(
            "a waiver is for one subject", resolution="give --tenant, --environment and --workload, or else --subject"
        )
    return f"tenant/{tenant}/{environment}/{workload}"


@waiver.command()
@click.argument("names", metavar="NAME…", nargs=-1, required=True)
@click.option("--key", metavar="KEY", type=_FILE, required=True, help="An OpenSSH key; .pub where an agent holds it.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@pass_invocation
def approve(invocation: Invocation, names: tuple[str, ...], key: Path, yes: bool) -> None:
    """Show waivers one by one, ask for each, and sign them once all are agreed to.

    Signs the bytes of each as `ssh-keygen -Y sign -n gcloud-pk-waiver` does; such a signature by hand counts the same.
    """
    from gcloud_pk.registry import waiving

    opened = open_registry(invocation)
    console = invocation.console
    chosen = [waiving.approvable(opened, name, key) for name in dict.fromkeys(names)]
    for found, signer in chosen:
        if signer.principal not in found.approvers:
            _show(console, opened, found)
            console.confirm(f"approve {found.name} as {signer.principal}?", yes=yes)
    cases: list[Case] = []
    for found, signer in chosen:
        if signer.principal in found.approvers:
            waiving.record_approval(opened, found, signer.principal)  # who approved may have been stopped before this
            console.note(f"{signer.principal} has approved {found.name} already; nothing was changed")
            cases.append(found)
            continue
        try:
            cases.append(waiving.approve(opened, found, key))
        except GcloudPkError as error:
            if not cases:
                raise
            raise PartialError(
                f"{found.name} was not signed: {error.message}",
                details=[*error.details, *(f"{case.name}: {case.state}" for case in cases)],
                resolution="run it again: what is signed stays so",
            ) from error
    if console.machine:
        console.document(_shape(cases[0]) if len(cases) == 1 else {"waivers": [_shape(case) for case in cases]})
        return
    for case in cases:
        console.show(f"waiver {case.name}: {case.state}, approved by {', '.join(case.approvers)}")
    for tenant in dict.fromkeys(case.tenant for case in cases if case.tenant):
        console.show(f"next: gcloud-pk onboard {tenant}")


def _show(console: Console, opened: Registry, case: Case) -> None:
    """Show a waiver in people's words."""
    from gcloud_pk.registry.waivers import waivable, writers

    said = case.waiver
    if said is None:
        return
    rule = waivable().get(said.control)
    written = ", ".join(writers(case.filed, said, opened.circumstances))
    rows = [
        ("rule", f"{said.control}: {rule.what}" if rule else said.control),
        ("for", str(said.workload or said.subject)),
        *(("allows", value) for value in said.allows),
        ("until", f"the end of {said.expires} (UTC)"),
        ("because", said.reason),
        ("author", f"{said.author} (not proven)"),
        ("written by", f"{written}, as the history says" if written else "unknown (the history does not say)"),
    ]
    for what, text in rows:
        console.row(f"  {what:12}  ", text)
    console.show(f"SHA-256 {case.filed.digest}  {case.filed.file}")


def _shape(case: Case) -> dict[str, Any]:
    """Return the documented shape of one waiver (`waiver list --format json`)."""
    said, ending = case.waiver, case.filed.ending
    return {
        "name": case.name,
        "state": case.state,
        "control": said.control if said else None,
        "subject": said.subject if said else None,
        "allows": list(said.allows) if said else [],
        "reason": said.reason if said else None,
        "author": said.author if said else None,
        "expires": said.expires.isoformat() if said else None,
        "approvers": list(case.approvers),
        "digest": case.filed.digest,
        "ended": {"by": ending.by, "reason": ending.reason, "time": stamp(ending.time)} if ending else None,
        "refused": [{"file": one.file, "reason": one.message} for one in case.refused],
        "problems": [one.as_dict() for one in case.problems],
    }


@waiver.command("list")
@click.option("--expired", is_flag=True, help="Those that are over too: expired, or ended before their day.")
@pass_invocation
def list_(invocation: Invocation, expired: bool) -> None:
    """List waivers: proposed, in force, soon to expire, and those that do not count."""
    opened = open_registry(invocation)
    cases = [case for case in opened.waivers.cases.values() if expired or case.state not in {"expired", "ended"}]
    console = invocation.console
    if console.machine:
        console.document({"waivers": [_shape(case) for case in cases]})
        return
    if not cases:
        console.show("no waiver" + ("" if expired else " is proposed or in force"))
        return
    console.table(
        ("WAIVER", "STATE", "RULE", "SUBJECT", "EXPIRES", "AUTHOR (NOT PROVEN)", "APPROVED BY"),
        [
            (
                case.name,
                case.state,
                case.waiver.control if case.waiver else "-",
                case.waiver.subject if case.waiver else "-",
                case.waiver.expires if case.waiver else "-",
                case.waiver.author if case.waiver else "-",
                ", ".join(case.approvers) or "-",
            )
            for case in cases
        ],
    )
    for case in cases:
        for wrong in case.problems:
            console.warn(f"{case.name}: {wrong}")


@waiver.command()
@click.argument("name")
@click.option("--reason", required=True, help="Why.")
@click.option("--by", metavar="NAME", help="Who ends it.  [default: user@host]")
@pass_invocation
def expire(invocation: Invocation, name: str, reason: str, by: str | None) -> None:
    """End a waiver at once; the next onboard takes it off the cluster. It needs no signature, because it closes."""
    from gcloud_pk.registry import waiving
    from gcloud_pk.registry.folder import Registry

    console = invocation.console
    opened = open_registry(invocation)
    before = waiving.case(opened, name)
    unrecorded = waiving.end(opened, name, by or operator_name(), reason)
    if unrecorded:
        console.warn(f"ended, and not recorded in the history: {unrecorded}")
    after = waiving.case(Registry.open(opened.path), name)
    if console.machine:
        console.document(_shape(after))
        return
    console.show(f"waiver {name} was ended already" if before.filed.over else f"waiver {name} is ended")
    if before.tenant:
        console.show(f"next: gcloud-pk onboard {before.tenant}")
