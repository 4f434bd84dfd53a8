"""`gcloud-pk cluster`: what all tenants share, and which site a cluster belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gcloud_pk.commands.base import Group, Invocation, pass_invocation
from gcloud_pk.commands.connection import (
    allow_unregistered_option,
    open_api,
    open_registry,
    recognised,
    told_when_interrupted,
)
from gcloud_pk.errors import ExitCode, GcloudPkError, RefusedError

if TYPE_CHECKING:
    from gcloud_pk.cluster.plan import Plan
    from gcloud_pk.cluster.transport import Api
    from gcloud_pk.console import Console
    from gcloud_pk.onboarding.standing import Standing


@click.group(cls=Group)
def cluster() -> None:
    """Prepare a cluster for tenants, and register it for a site."""


@cluster.command()
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show what would change; change nothing.")
@click.option("--allow-downgrade", is_flag=True, help="Install although the cluster has a newer version.")
@click.option("--force-conflicts", is_flag=True, help="Take over fields that another applier owns.")
@allow_unregistered_option
@pass_invocation
def init(
    invocation: Invocation,
    yes: bool,
    dry_run: bool,
    allow_downgrade: bool,
    force_conflicts: bool,
    allow_unregistered_cluster: bool,
) -> None:
    """Install what all tenants share: resource definitions, roles and admission policies.

    A cluster administrator's act (in a lab: --context admin). Shows the difference and asks.
    """
    from gcloud_pk.onboarding import platform
    from gcloud_pk.render.platform import platform_message

    console = invocation.console
    api, standing = _meant(invocation, allow_unregistered=allow_unregistered_cluster)
    platform.refuse_downgrade(api, allowed=allow_downgrade)
    made = platform.plan_platform(api)
    show_changes(console, made)
    counts = made.counts()
    if not dry_run:
        if made.writes:
            console.confirm(f"Install this on {standing.describe()}?", yes=yes)
        with (
            told_when_interrupted(api, "cluster init"),
            console.progress("installing", len(made.writes)) as progress,
        ):
            platform.install(
                api,
                made,
                force_conflicts=force_conflicts,
                on_done=lambda change, _answer: progress.advance(note=str(change.key)),
            )
    if console.machine:
        console.document({"version": platform_message(), "changes": counts, "dryRun": dry_run})
    else:
        console.show("dry run: nothing was written" if dry_run else f"in force: {platform_message()}")


def _meant(invocation: Invocation, *, allow_unregistered: bool) -> tuple[Api, Standing]:
    """Return the cluster, if it is the one meant. A lab is prepared without a registry too."""
    from gcloud_pk.cluster.identity import cluster_uid
    from gcloud_pk.lab.state import known_uids
    from gcloud_pk.onboarding.standing import Standing

    if not invocation.registry.is_dir():
        api = open_api(invocation)
        uid = cluster_uid(api)
        if lab := known_uids().get(uid):
            return api, Standing(uid, lab, None, None)
    connection = recognised(invocation, allow_unregistered=allow_unregistered)
    return connection.api, connection.standing


def show_changes(console: Console, made: Plan) -> None:
    """Show a plan of shared objects."""
    from gcloud_pk.cluster.plan import Action

    signs = {Action.CREATE: ("+", "green"), Action.CHANGE: ("~", "yellow"), Action.REMOVE: ("-", "red")}
    for change in made.changes:
        if change.action in signs:
            sign, color = signs[change.action]
            console.show_styled(console.styled(f"  {sign} {change.key}", fg=color))
            for field in change.fields:
                console.show(f"      {field}")
    console.show(", ".join(f"{number} {what}" for what, number in made.counts().items()))


@cluster.command()
@pass_invocation
def status(invocation: Invocation) -> int:
    """Say what this cluster is, and whether what tenants need is in force. Exit 5 where it is not."""
    from gcloud_pk.cluster.identity import cluster_uid
    from gcloud_pk.cluster.waiting import policies_in_force
    from gcloud_pk.lab.state import known_uids
    from gcloud_pk.onboarding import platform
    from gcloud_pk.onboarding.population import tenants_in_place
    from gcloud_pk.render.platform import platform_message

    console = invocation.console
    api = open_api(invocation)
    version = api.get("/version").get("gitVersion")
    uid = cluster_uid(api)
    missing: str | None = None
    tenants: int | None = None
    try:
        policies_in_force(api, platform_message(), timeout=3.0)
        platform.check_intact(api)
        tenants = len(tenants_in_place(api))
    except GcloudPkError as error:
        missing = "; ".join([error.message, *(str(detail) for detail in error.details)])
    site = _site_of(invocation, uid)
    document = {
        "server": api.access.server,
        "kubernetes": version,
        "uid": uid,
        "lab": known_uids().get(uid),
        "site": site,
        "platform": {
            "expected": platform_message(),
            "inForce": missing is None,
            "reason": missing,
        },
        "tenants": tenants,
    }
    if console.machine:
        console.document(document)
    else:
        for label, value in (
            ("server", api.access.server), ("kubernetes", version), ("cluster uid", uid),
            ("lab", document["lab"] or "-"),
            ("site", site or "- (no site of the registry names it)"),
            ("platform", platform_message() if missing is None else f"not in force: {missing}"),
            ("tenants", "-" if tenants is None else tenants),
        ):  # fmt: skip
            console.show(f"{label + ':':12} {value}")
        if missing is not None:
            console.note("what to do: gcloud-pk cluster init, as a cluster administrator")
    return ExitCode.DONE if missing is None else ExitCode.UNAVAILABLE


def _site_of(invocation: Invocation, uid: str) -> str | None:
    if not invocation.registry.is_dir():
        return None
    known = open_registry(invocation).cluster_by_uid(uid)
    return f"{known[0].metadata.name}/{known[1].name}" if known else None


@cluster.command()
@click.argument("site", metavar="SITE")
@click.option("--cluster", "name", metavar="NAME", help="Which cluster of the site, where it has several.")
@click.option("--replace", is_flag=True, help="Replace a UID that is already there.")
@pass_invocation
def register(invocation: Invocation, site: str, name: str | None, replace: bool) -> None:
    """Write this cluster's UID into a site of the registry, so that tenants of the site may be brought to it.

    The registry's signature no longer covers the file afterwards: have it signed again.
    """
    from gcloud_pk.cluster.identity import cluster_uid
    from gcloud_pk.registry.registration import register_cluster

    console = invocation.console
    registry = open_registry(invocation)
    uid = cluster_uid(open_api(invocation))
    if site not in registry.sites:
        known = ", ".join(sorted(registry.sites)) or "none"
        raise RefusedError(
            f"site {site!r} is not in the registry (it has: {known})",
            resolution=f"write sites/{site}.yaml first",
        )
    registered = register_cluster(registry.path, registry.sites[site], uid, cluster=name, replace=replace)
    if console.machine:
        console.document({"site": site, "cluster": registered, "uid": uid})
    else:
        console.show(f"site {site}, cluster {registered}: UID {uid}")
        console.note("next: gcloud-pk registry sign --key KEY")
