"""`gcloud-pk registry`: make, check, sign, look back."""

from __future__ import annotations

from pathlib import Path

import click

from gcloud_pk.commands.base import Group, Invocation, pass_invocation
from gcloud_pk.commands.history import history
from gcloud_pk.errors import InvalidInputError, WrongUsageError

_FILE = click.Path(path_type=Path)


@click.group(cls=Group)
def registry() -> None:
    """Keep the folder of requests, approvals and sites.

    It belongs under version control; `registry check` is for its CI. Whoever acts on it names its keepers with --trust.
    """


registry.add_command(history)


@registry.command()
@click.argument("folder", metavar="DIR", type=_FILE)
@click.option(
    "--approver",
    "approvers",
    metavar="PRINCIPAL=PUBKEYFILE",
    multiple=True,
    help="Let a key approve; may be given several times.",
)
@click.option("--organisations", metavar="FILE", type=_FILE, help="Copy this organisations.yaml.")
@click.option("--sites", metavar="FOLDER", type=_FILE, help="Copy the sites (NAME.yaml) of this folder.")
@pass_invocation
def init(
    invocation: Invocation,
    folder: Path,
    approvers: tuple[str, ...],
    organisations: Path | None,
    sites: Path | None,
) -> None:
    """Make a registry in DIR, a new or empty folder."""
    from gcloud_pk.registry.acts import initialise

    signers: dict[str, Path] = {}
    for word in approvers:
        principal, equals, key = word.partition("=")
        if not equals or not key or principal in signers:
            raise WrongUsageError(f"--approver {word}: expected PRINCIPAL=PUBKEYFILE, each principal once")
        # The shell leaves a ~ after = alone.
        signers[principal] = Path(key).expanduser()
    written = initialise(folder, signers, organisations, sites)
    console = invocation.console
    if console.machine:
        console.document({"registry": str(folder), "files": written})
        return
    console.show(f"made the registry {folder}: {', '.join(written)}")
    todo = [] if organisations else [f"name the organisations in {folder}/organisations.yaml"]
    todo += [] if signers else [f"name the approvers in {folder}/approvers"]
    todo += [] if sites else [f"write {folder}/sites/NAME.yaml for each data centre, as in examples/registry/sites/"]
    todo += [f"put it under version control, and sign it: gcloud-pk registry sign --registry {folder} --key KEY"]
    for step in todo:
        console.show(f"next: {step}")


@registry.command()
@pass_invocation
def check(invocation: Invocation) -> None:
    """Check every file, rule and signature of the registry; with --trust, that its keepers signed it."""
    from gcloud_pk.registry.folder import Registry

    opened = Registry.open(invocation.registry)
    trusted = opened.trust(invocation.trust)
    if opened.problems:
        raise InvalidInputError(
            f"the registry {opened.path} is not valid: {_count(len(opened.problems), 'problem')}",
            details=opened.problems,
        )
    states = [opened.status(entry) for entry in opened.tenants.values()]
    console = invocation.console
    if console.machine:
        console.document(
            {
                "registry": str(opened.path),
                "valid": True,
                "trusted": trusted.trusted,
                "signer": trusted.signer,
                "serial": trusted.serial if trusted.trusted else None,
                "organisations": len(opened.organisations),
                "approvers": len(opened.approvers.listed),
                "sites": len(opened.sites),
                "tenants": {state: states.count(state) for state in sorted(set(states))},
                "notes": [note.as_dict() for note in opened.notes],
            }
        )
        return
    counted = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
    console.show(
        f"{opened.path} is valid: {_count(len(opened.organisations), 'organisation')}, "
        f"{_count(len(opened.approvers.listed), 'approver')}, {_count(len(opened.sites), 'site')}, "
        f"{_count(len(states), 'tenant')}" + (f" ({counted})" if counted else "")
    )
    console.show(
        f"signed by {trusted.signer}: {trusted.version}" if trusted.trusted else f"not trusted: {trusted.reason}"
    )
    for note in opened.notes:
        console.note(f"note: {note}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


@registry.command()
@click.option("--key", metavar="KEY", type=_FILE, required=True, help="An OpenSSH key; .pub where an agent holds it.")
@click.option(
    "--serial",
    metavar="N",
    type=click.IntRange(min=1),
    default=1,
    help="Count from N at least: where the newest version was lost, and clusters have seen it.",
)
@pass_invocation
def sign(invocation: Invocation, key: Path, serial: int) -> None:
    """Sign settings, organisations, approvers and sites as a keeper of the registry.

    Writes registry.sha256 and registry.sha256.sig. Look at what changed first: git diff. Signings are counted; a
    cluster that was given one refuses those before it.
    """
    from gcloud_pk.registry.acts import sign_registry
    from gcloud_pk.registry.folder import Registry

    opened = Registry.open(invocation.registry)
    signing = sign_registry(opened, key, serial, invocation.trust)
    console = invocation.console
    trusted = Registry.open(invocation.registry).trust(invocation.trust) if invocation.trust else None
    if console.machine:
        console.document(
            {
                "registry": str(opened.path),
                "files": signing.files,
                "key": signing.key,
                "serial": signing.serial,
                "signer": trusted.signer if trusted else None,
            }
        )
        return
    who = f" as {trusted.signer}" if trusted else ""
    console.show(f"signed {', '.join(signing.files)} with {signing.key}{who}: serial {signing.serial}")
    if trusted is None:
        console.show(
            "next: those who act on it keep, outside of it, a file with the line\n"
            '  PRINCIPAL namespaces="gcloud-pk-registry" KEYTYPE KEY\n'
            "and name it with --trust FILE or GCLOUD_PK_TRUST"
        )
