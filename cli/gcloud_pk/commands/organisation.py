"""`gcloud-pk organisation`: who may ask for a tenant, and what the tenants of each hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gcloud_pk.commands.base import Group, Invocation, pass_invocation
from gcloud_pk.text import number_of

if TYPE_CHECKING:
    from gcloud_pk.registry.organisations import Holding

_FILE = click.Path(path_type=Path)


@click.group(cls=Group)
def organisation() -> None:
    """Keep the list of those who may ask for a tenant.

    It is among the files that the registry's keepers sign: after a change the registry must be signed anew.
    """


@organisation.command()
@click.argument("code")
@click.option("--name-en", metavar="NAME", required=True, help="Its name in English.")
@click.option("--name-ur", metavar="NAME", help="Its name in Urdu.")
@click.option(
    "--tier",
    type=click.Choice(["federal", "provincial", "attached", "authority", "soe", "private"]),
    required=True,
    help="What it is.",
)
@click.option(
    "--province",
    type=click.Choice(["ict", "punjab", "sindh", "kp", "balochistan", "gb", "ajk"]),
    help="Its province; needed with --tier provincial.",
)
@click.option("--parent", metavar="CODE", help="The organisation that it belongs to.")
@click.option(
    "--domain", "domains", metavar="DOMAIN", multiple=True, required=True, help="A domain of its own; several times."
)
@click.option("--sign", "key", metavar="KEY", type=_FILE, help="Sign the registry at once, as its keeper.")
@pass_invocation
def add(
    invocation: Invocation,
    code: str,
    name_en: str,
    name_ur: str | None,
    tier: str,
    province: str | None,
    parent: str | None,
    domains: tuple[str, ...],
    key: Path | None,
) -> None:
    """Add an organisation at the end of organisations.yaml.

    The others, comments included, stay as they are. What the rules of the registry refuse is not written.
    """
    from gcloud_pk.registry.folder import Registry
    from gcloud_pk.registry.governance import ORGANISATIONS
    from gcloud_pk.registry.keeping import edit
    from gcloud_pk.registry.organisations import with_organisation

    fields: dict[str, Any] = {"code": code, "name": {"en": name_en}, "tier": tier}
    if name_ur is not None:
        fields["name"]["ur"] = name_ur
    fields |= {name: value for name, value in (("province", province), ("parent", parent)) if value is not None}
    fields["domains"] = list(domains)
    opened = Registry.open(invocation.registry)
    file = str(opened.path / ORGANISATIONS)
    done = edit(
        opened,
        ORGANISATIONS,
        lambda governance: with_organisation(governance.files[ORGANISATIONS], fields, file),
        key,
        invocation.trust,
    )
    if invocation.console.machine:
        invocation.console.document({"organisation": fields, **done.as_dict()})
        return
    invocation.console.show(f"added {code} to {file}")
    invocation.console.show(done.words)


@organisation.command(name="list")
@pass_invocation
def list_(invocation: Invocation) -> None:
    """List organisations with what their accepted tenants hold.

    Cores and bytes are the quotas of environments. The totals include all organisations below, by their parent.
    """
    from gcloud_pk.model import federation
    from gcloud_pk.registry.folder import Registry
    from gcloud_pk.registry.organisations import accepted_requests, holdings

    opened = Registry.open(invocation.registry)
    if invocation.trust:
        opened.trust(invocation.trust)
    organisations, settings = opened.organisations, opened.settings
    held = holdings(organisations, accepted_requests(opened))
    console = invocation.console
    if console.machine:
        console.document(
            {
                "organisations": [
                    {
                        **one.model_dump(mode="json", by_alias=True),
                        "jurisdictions": [bond.name for bond in federation.bonds(code, organisations, settings)],
                        "own": held[code][0].as_dict(),
                        "total": held[code][1].as_dict(),
                    }
                    for code, one in organisations.items()
                ]
            }
        )
        return
    if not organisations:
        console.show(f"no organisation in {opened.path}; add one with: gcloud-pk organisation add")
        return
    console.table(
        ("CODE", "TIER", "PROVINCE", "PARENT", "TENANTS", "CPU", "MEMORY", "STORAGE", "WITH ALL BELOW"),
        [
            (
                code,
                one.tier,
                federation.province_of(code, organisations) or federation.FEDERAL,
                one.parent,
                *held[code][0].as_dict().values(),
                _below(*held[code]),
            )
            for code, one in organisations.items()
        ],
    )


def _below(own: Holding, total: Holding) -> str:
    if own == total:
        return ""
    tenants = number_of(total.tenants, "tenant")
    return f"{tenants}, cpu {total.cpu}, memory {total.memory}, storage {total.storage}"
