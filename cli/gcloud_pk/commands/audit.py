"""`gcloud-pk audit`: what is so, against what should be; reads only."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from gcloud_pk.commands.base import Group, Invocation, pass_invocation
from gcloud_pk.commands.cluster_audit import cluster
from gcloud_pk.commands.connection import open_registry, open_verifier
from gcloud_pk.commands.isolation import isolation, probes
from gcloud_pk.commands.nodes_audit import nodes
from gcloud_pk.errors import UnavailableError

if TYPE_CHECKING:
    from gcloud_pk.cluster.transport import Api
    from gcloud_pk.console import Console
    from gcloud_pk.model.finding import Finding
    from gcloud_pk.onboarding.prospect import Asked


@click.group(cls=Group)
def audit() -> None:
    """Audit what is in place. Writes nothing that stays."""


@audit.command(junit=True)
@click.argument("namespaces", nargs=-1, metavar="NAMESPACE…")
@click.option(
    "--tenant", metavar="TENANT", help="Whose the namespaces are, or would be; without NAMESPACE, all of that tenant's."
)
@pass_invocation
def impact(invocation: Invocation, namespaces: tuple[str, ...], tenant: str | None) -> int:
    """Name every workload that would be refused at its next restart.

    A tenant's namespace is judged by the cluster itself, in dry runs as somebody of the tenant. One that is
    nobody's yet is judged by an API server of this machine with the policies of the tenant that --tenant names,
    before anything is enforced; the cluster is only read. Without arguments: all namespaces of tenants.

    Exit 6 where something would be refused, 7 where something could not be judged.

    \b
    gcloud-pk audit impact
    gcloud-pk audit impact moitt-eoffice-prod --tenant moitt
    """  # noqa: D301 - Click reads the backspace as: keep these lines
    from gcloud_pk.evidence.report import present, report
    from gcloud_pk.model.finding import exit_code
    from gcloud_pk.onboarding.impact import judged_by_itself, select
    from gcloud_pk.onboarding.prospect import asked_for, check_names
    from gcloud_pk.proof.whoami import operator

    console = invocation.console
    started = dt.datetime.now(dt.UTC)
    asked = None
    if tenant is not None:
        registry = open_registry(invocation)
        registry.trust(invocation.trust)
        asked = asked_for(registry, tenant)
    api = open_verifier(invocation)
    who = operator(api)
    chosen = select(api, namespaces, tenant, asked.tenant.request.namespaces() if asked else ())
    for name in chosen.absent:
        console.note(f"namespace {name} is not there yet")
    findings = judged_by_itself(api, chosen.live)
    if asked is not None and chosen.prospective:
        check_names(asked.tenant, chosen.prospective)
        findings += judged_ahead(console, api, asked, chosen.prospective)
    if not findings:
        raise UnavailableError(
            "there is nothing to judge: " + ("no namespace of the tenant" if tenant else "no tenant")
            + " is on this cluster",
            resolution="name a namespace, and with --tenant whose it would be",
        )  # fmt: skip
    made = report("impact", findings, operator=who, started=started, finished=dt.datetime.now(dt.UTC))
    present(console, made)
    return exit_code(findings)


audit.add_command(cluster)
audit.add_command(isolation)
audit.add_command(nodes)
audit.add_command(probes)


def judged_ahead(console: Console, reader: Api, asked: Asked, namespaces: Sequence[str]) -> list[Finding]:
    """Return what would be refused in namespaces that are nobody's yet; not-checked where no judge is to be had."""
    from gcloud_pk.lab.judge import bench
    from gcloud_pk.onboarding.prospect import not_judged, prospect

    with ExitStack() as stack:
        try:
            judge = stack.enter_context(bench(console))
        except UnavailableError as error:
            resolution = f"; {error.resolution}" if error.resolution else ""
            return not_judged(namespaces, f"no judge is to be had: {error.message}{resolution}")
        return prospect(reader, judge.administrator, judge.verifier, asked.tenant, namespaces, asked.words)
