"""What `onboard --adopt` asks and tells before anything is written: what stays, what goes, what would be refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from gcloud_pk.commands.audit import judged_ahead
from gcloud_pk.commands.base import Invocation
from gcloud_pk.commands.connection import open_verifier

if TYPE_CHECKING:
    from gcloud_pk.cluster.transport import Api
    from gcloud_pk.console import Console
    from gcloud_pk.model.finding import Finding
    from gcloud_pk.model.tenant import Tenant
    from gcloud_pk.onboarding.adoption import Adoption


def adopt_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--adopt` and `--remove-openings`."""
    for option in (
        click.option(
            "--remove-openings",
            is_flag=True,
            help="With --adopt: remove bindings and network policies that open more than the request.",
        ),
        click.option(
            "--adopt",
            multiple=True,
            metavar="NAMESPACE",
            help="Take a namespace that exists, with what runs in it; repeat for several. It must be called as one of "
            "the tenant's environments, and a cluster administrator must have named the tenant on it.",
        ),
    ):
        command = option(command)
    return command


@dataclass(frozen=True)
class Prospect:
    """What moving in comes to, and what of the live objects would be refused afterwards."""

    adoption: Adoption
    findings: list[Finding]

    def show(self, console: Console) -> None:
        """Show what people should know before they agree."""
        from gcloud_pk.model.finding import Verdict
        from gcloud_pk.proof.impact import POD_SECURITY, refused

        for name in self.adoption.namespaces:
            console.show(f"adopting namespace {name}: what runs there goes on; default deny holds for it at once")
        for words in self.adoption.openings.values():
            console.show_styled(console.styled(f"  - {words}: opens more than the request, is removed", fg="red"))
        for words in self.adoption.warnings:
            console.warn(words)
        going = {f"namespace/{k.namespace}/{k.kind.kind}/{k.name}" for k in self.adoption.openings}
        wrong = [finding for finding in refused(self.findings) if finding.subject not in going]
        if wrong:
            console.show("stays as it is, and would be refused from then on:")
        for finding in wrong:
            what = finding.subject.removeprefix("namespace/")
            console.show_styled(console.styled(f"  ! {what} {_day(finding)}: {finding.observed}", fg="yellow"))
        if strong := sorted({f.subject.removeprefix("namespace/") for f in wrong if f.id == POD_SECURITY}):
            console.warn(
                "what Pod Security would refuse keeps its rights until it restarts, and whoever may exec into it has "
                f"them too: {', '.join(strong)}"
            )
        for finding in self.findings:
            if finding.verdict in {Verdict.ERROR, Verdict.NOT_CHECKED}:
                console.warn(f"{finding.subject}: not judged: {finding.reason}")

    def as_dict(self) -> dict[str, Any]:
        """Return the shape of `adoption` in `onboard --format json`."""
        from gcloud_pk.model.finding import Verdict

        told = {Verdict.FAIL, Verdict.ERROR, Verdict.NOT_CHECKED}
        return {
            "namespaces": list(self.adoption.namespaces),
            "openings": list(self.adoption.openings.values()),
            "warnings": list(self.adoption.warnings),
            "impact": [finding.as_dict() for finding in self.findings if finding.verdict in told],
        }


def _day(finding: Finding) -> str:
    return finding.expected.removeprefix("admitted ").partition(" (")[0]


def look_ahead(
    invocation: Invocation, api: Api, tenant: Tenant, namespaces: Sequence[str], *, remove_openings: bool
) -> Prospect:
    """Return what adopting comes to. Only reads on the cluster. Raises RefusedError as `adoption.adoptable` does."""
    from gcloud_pk.onboarding.adoption import adoptable
    from gcloud_pk.onboarding.prospect import Asked

    adoption = adoptable(api, tenant, namespaces, remove_openings=remove_openings)
    if not adoption.namespaces:
        return Prospect(adoption, [])
    asked = Asked(tenant, f"the request of revision {tenant.revision}, approved")
    console = invocation.console
    console.note("asking a judge what of it would be refused (an API server of this machine, gone again afterwards)")
    return Prospect(adoption, judged_ahead(console, open_verifier(invocation), asked, adoption.namespaces))
