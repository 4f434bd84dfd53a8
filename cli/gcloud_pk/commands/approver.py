"""`gcloud-pk approver`: who may approve; appoint, revoke, list."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gcloud_pk.commands.base import Group, Invocation, operator_name, pass_invocation
from gcloud_pk.errors import InvalidInputError, WrongUsageError

if TYPE_CHECKING:
    from gcloud_pk.console import Console
    from gcloud_pk.registry.appointment import Approved

_FILE = click.Path(path_type=Path)
_SIGN = click.option("--sign", "key", metavar="KEY", type=_FILE, help="Sign the registry at once, as its keeper.")


class _Moment(click.ParamType[dt.datetime]):
    """A day or a time in UTC: 2026-12-31 or 2026-12-31T23:59:59Z, or as OpenSSH writes it, 20261231[235959]."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> dt.datetime:
        """Read it."""
        if isinstance(value, dt.datetime):
            return value
        digits = re.sub(r"[-:TZ]", "", str(value))
        shapes = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
        try:
            return dt.datetime.strptime(digits, shapes[len(digits)]).replace(tzinfo=dt.UTC)
        except (KeyError, ValueError):
            self.fail(f"{value!r} is not a time; expected YYYY-MM-DD or YYYY-MM-DDThh:mm:ssZ, UTC", param, ctx)


@click.group(cls=Group)
def approver() -> None:
    """Keep the list of those who may approve.

    It is among the files that the registry's keepers sign: after a change the registry must be signed anew.
    """


@approver.command()
@click.argument("principal")
@click.argument("file", metavar="PUBKEYFILE", type=_FILE)
@click.option(
    "--namespaces",
    metavar="NAMES",
    multiple=True,
    help="What the key may sign, with commas between.  [default: all that approvers of tenants sign]",
)
@click.option("--valid-after", metavar="TIME", type=_Moment(), help="Valid from then on: YYYY-MM-DD[Thh:mm:ssZ], UTC.")
@click.option("--valid-before", metavar="TIME", type=_Moment(), help="Valid until then.")
@_SIGN
@pass_invocation
def add(
    invocation: Invocation,
    principal: str,
    file: Path,
    namespaces: tuple[str, ...],
    valid_after: dt.datetime | None,
    valid_before: dt.datetime | None,
    key: Path | None,
) -> None:
    """Let a key approve under a name of its own.

    A key that was revoked never comes back. Whose tenants it approves, a province's or the federal ones, settings.yaml
    says.
    """
    from gcloud_pk.registry import files
    from gcloud_pk.registry.appointment import namespaces_of, with_approver
    from gcloud_pk.registry.approvers import APPROVER_NAMESPACES, Signer, read_public_key
    from gcloud_pk.registry.folder import Registry
    from gcloud_pk.registry.governance import APPROVERS
    from gcloud_pk.registry.keeping import edit

    if valid_after and valid_before and valid_after >= valid_before:
        raise WrongUsageError("--valid-before is not after --valid-after: the key would never be valid")
    public, wrong = read_public_key(files.read(file).decode("utf-8", "replace"), str(file))
    if public is None:
        raise InvalidInputError(f"{file} cannot be an approver's key", details=[wrong] if wrong else [])
    spaces = namespaces_of(namespaces or APPROVER_NAMESPACES)
    signer = Signer(principal, public, spaces, valid_after, valid_before)
    opened = Registry.open(invocation.registry)
    done = edit(
        opened,
        APPROVERS,
        lambda governance: with_approver(governance.files[APPROVERS], governance.approvers, signer),
        key,
        invocation.trust,
    )
    console = invocation.console
    if console.machine:
        console.document(
            {
                "principal": principal,
                "fingerprint": public.fingerprint,
                "namespaces": sorted(spaces),
                **done.as_dict(),
            }
        )
        return
    console.show(f"{principal} with {public.fingerprint} may sign {', '.join(sorted(spaces))}")
    console.show(done.words)


@approver.command()
@click.argument("principal")
@click.option("--reason", required=True, help="Why; it stays in the file.")
@_SIGN
@pass_invocation
def revoke(invocation: Invocation, principal: str, reason: str, key: Path | None) -> None:
    """Stop a key at once, and list what it approved.

    Its line stays in the file as a comment, so that an auditor can verify what it signed; it counts for nothing any
    more, whenever it signed. A tenant that it resumed is closed again in the registry, and open on its cluster until
    it is suspended there. The key never comes back.
    """
    from gcloud_pk.model.base import Line
    from gcloud_pk.registry.appointment import approved_by, listed, opened_by, without_approver
    from gcloud_pk.registry.folder import Registry
    from gcloud_pk.registry.governance import APPROVERS
    from gcloud_pk.registry.keeping import edit
    from gcloud_pk.registry.readings import fault

    if wrong := fault(Line, reason):
        raise WrongUsageError(f"--reason {wrong}")
    opened = Registry.open(invocation.registry)
    signer = listed(opened.approvers, principal)
    by = operator_name().replace(" ", "-")
    done = edit(
        opened,
        APPROVERS,
        lambda governance: without_approver(governance.files[APPROVERS], signer, opened.now, by, reason),
        key,
        invocation.trust,
    )
    fresh = Registry.open(invocation.registry)
    approved, closed = approved_by(fresh, signer), opened_by(fresh, signer)
    console = invocation.console
    if console.machine:
        console.document(
            {
                "principal": principal,
                "fingerprint": signer.key.fingerprint,
                "reason": reason,
                "by": by,
                **done.as_dict(),
                "approved": [one.as_dict() for one in approved],
                "closed": closed,
            }
        )
        return
    console.show(f"revoked {signer.key.fingerprint} of {principal}: {reason}")
    _show_approved(console, approved)
    if closed:
        console.show(
            f"closed in the registry by this, for it signed their state, and still open on their clusters: "
            f"{', '.join(closed)}"
        )
        console.show("next, for each, another approver: gcloud-pk tenant resume TENANT --reason TEXT --key KEY")
        console.show("      or, to close it on its cluster: gcloud-pk tenant suspend TENANT --reason TEXT")
    console.show(done.words)


def _show_approved(console: Console, approved: list[Approved]) -> None:
    if not approved:
        console.show("it approved no request that stands")
        return
    console.table(
        ("TENANT", "REVISION", "REQUEST", "WITHOUT IT"),
        [
            (one.tenant, one.revision, one.request, "enough approvals" if one.sufficient else one.missing)
            for one in approved
        ],
    )
    if lacking := sorted({one.tenant for one in approved if not one.sufficient}):
        console.show(f"next: others approve {', '.join(lacking)}: gcloud-pk request approve TENANT --key KEY")


@approver.command(name="list")
@pass_invocation
def list_(invocation: Invocation) -> None:
    """List approvers: keys, what they may sign, until when, and for whose tenants.

    Times are UTC.
    """
    from gcloud_pk.registry.appointment import appointments
    from gcloud_pk.registry.folder import Registry

    opened = Registry.open(invocation.registry)
    if invocation.trust:
        opened.trust(invocation.trust)
    found = [one.as_dict() for one in appointments(opened.approvers, opened.settings, opened.now)]
    console = invocation.console
    if console.machine:
        console.document({"approvers": found})
        return
    if not found:
        console.show(f"nobody may approve in {opened.path}; appoint one with: gcloud-pk approver add")
        return
    console.table(
        ("PRINCIPAL", "FOR", "STATUS", "FROM", "UNTIL", "TYPE", "NAMESPACES", "FINGERPRINT"),
        [
            (
                one["principal"],
                one["jurisdiction"],
                one["status"],
                one["validAfter"],
                one["validBefore"],
                one["type"],
                ",".join(one["namespaces"]),
                one["fingerprint"],
            )
            for one in found
        ],
    )
    for one in found:
        if one["reason"]:
            console.show(one["reason"])
