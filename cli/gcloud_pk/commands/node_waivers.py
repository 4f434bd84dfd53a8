"""`gcloud-pk node waivers`: what the roles propose to except, and how it stands with that at a site."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import click

from gcloud_pk.commands.base import Command, Invocation, operator_name, pass_invocation
from gcloud_pk.commands.connection import open_registry
from gcloud_pk.errors import InvalidInputError, WrongUsageError

if TYPE_CHECKING:
    from gcloud_pk.model.site import Site
    from gcloud_pk.nodes.waivers import Proposal
    from gcloud_pk.registry.folder import Registry


@click.command(cls=Command)
@click.option("--site", "site_name", metavar="SITE", required=True, help="The site.")
@click.option("--propose", is_flag=True, help="Write those that are not proposed yet into the registry.")
@click.option("--author", metavar="E-MAIL", help="With --propose: who proposes them; somebody else approves them.")
@click.option(
    "--expires",
    metavar="DAY",
    help="With --propose: their last day (UTC), YYYY-MM-DD.  [default: as late as a waiver may end]",
)
@pass_invocation
def waivers(invocation: Invocation, site_name: str, propose: bool, author: str | None, expires: str | None) -> None:
    """List what of the baseline a node of Kubernetes cannot follow, and whether a site has excepted it.

    Roles propose, an approver of the site decides: without a signed waiver such a control fails. What a
    site has no need of (it names no time servers, say) is not proposed.

    \b
    gcloud-pk node waivers --site isb-1
    gcloud-pk node waivers --site isb-1 --propose --author head@ntc.example
    gcloud-pk waiver approve isb-1-routing-ipv4 --key KEY
    """  # noqa: D301 - Click reads the backspace as: keep these lines
    from gcloud_pk.commands.node import site_of
    from gcloud_pk.nodes.catalogue import every
    from gcloud_pk.nodes.waivers import exemptions, proposals, standing

    if propose and author is None:
        raise WrongUsageError("nobody is named who proposes them", resolution="give --author")
    if not propose and (author or expires):
        raise WrongUsageError("--author and --expires are for --propose", resolution="add --propose, or leave them out")
    registry = open_registry(invocation)
    site = site_of(registry, site_name)
    catalogue = every()
    known = proposals(catalogue)
    written = _propose(registry, site, known, str(author), expires) if propose else []
    if written:
        registry = open_registry(invocation)
    given = exemptions(registry.waivers, site_name)
    console = invocation.console
    rows = [
        {
            "proposal": one.name,
            "role": one.role,
            "control": one.control,
            "title": catalogue.controls[one.control].title,
            "standing": standing(one, given, site),
            "reason": one.reason,
        }
        for one in known
    ]
    if console.machine:
        console.document({"site": site_name, "proposals": rows, "written": written})
        return
    console.table(
        ("PROPOSAL", "ROLE", "CONTROL", "EXCEPTS", "STANDING"),
        [(row["proposal"], row["role"], row["control"], row["title"], row["standing"]) for row in rows],
    )
    for name in written:
        console.show(f"proposed: {name}")
    if written:
        console.show(f"next: an approver runs: gcloud-pk waiver approve {' '.join(written)} --key KEY")
    elif propose:
        console.show("nothing was written: all that this site needs is proposed, or in force")


def _propose(
    registry: Registry, site: Site, known: tuple[Proposal, ...], author: str, expires: str | None
) -> list[str]:
    """Write what a site needs and is not proposed; return the names in the registry. Raises as `waiver propose`."""
    from gcloud_pk.model.waiver import LONGEST
    from gcloud_pk.nodes.waivers import exemptions
    from gcloud_pk.registry import waiving

    name = site.metadata.name
    subject = f"node/{name}"
    day = expires or (registry.now.astimezone(dt.UTC).date() + dt.timedelta(days=LONGEST)).isoformat()
    open_ = {
        (one.control, one.subject)
        for one in exemptions(registry.waivers, name)
        if one.standing is None or one.standing == "nobody has approved it"
    }
    needed = [one for one in known if (one.control, subject) not in open_ and one.needless(site) is None]
    chosen = {f"{name}-{one.name}": one for one in needed}
    taken = [waiver for waiver in chosen if waiver in registry.waivers.cases]
    if taken:
        raise InvalidInputError(
            f"waivers of these names are there already, and count no more: {', '.join(taken)}",
            resolution="propose them anew under other names: gcloud-pk waiver propose NAME --subject "
            f"{subject} --control CONTROL …",
        )
    for waiver, one in chosen.items():
        fields = {
            "control": one.control,
            "subject": subject,
            "reason": one.reason,
            "author": author,
            "expires": day,
        }
        waiving.propose(registry, waiver, fields, operator_name())
    return list(chosen)
