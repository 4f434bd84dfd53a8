"""What a ministry gets of its tenant: `gcloud-pk tenant kubeconfig` and `gcloud-pk tenant welcome`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gcloud_pk.commands.base import Command, Invocation, pass_invocation
from gcloud_pk.commands.connection import allow_unregistered_option, open_registry, recognised
from gcloud_pk.commands.output import check_output, write_output
from gcloud_pk.errors import UnavailableError

if TYPE_CHECKING:
    from gcloud_pk.commands.connection import Connection
    from gcloud_pk.console import Console
    from gcloud_pk.model.request import Tier
    from gcloud_pk.model.tenant import Tenant
    from gcloud_pk.onboarding.population import Population
    from gcloud_pk.registry.folder import Registry
    from gcloud_pk.render.kubeconfig import Endpoint

_ROLES = ("developers", "admins", "auditors")
"""The first that has groups is the one that the lab's certificate is made for."""

_output = click.option(
    "-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="Write here.  [default: standard output]"
)
_force = click.option("--force", is_flag=True, help="Overwrite FILE.")


@click.command(cls=Command)
@click.argument("name", metavar="TENANT")
@click.option("--environment", metavar="E", help="Only this environment.")
@click.option(
    "--role",
    type=click.Choice(_ROLES),
    help="In a lab: whose groups the certificate has.  [default: the first of these that has any]",
)
@_output
@_force
@allow_unregistered_option
@pass_invocation
def kubeconfig(
    invocation: Invocation,
    name: str,
    environment: str | None,
    role: str | None,
    output: Path | None,
    force: bool,
    allow_unregistered_cluster: bool,
) -> None:
    """Make the kubeconfig for a tenant's people: one context for each of its namespaces.

    No secret stands in it: people sign in with their browser (kubelogin), at the provider that signIn of settings.yaml
    names. In a lab it names the files of a client certificate, good for eight hours.
    """
    from gcloud_pk.onboarding.population import survey
    from gcloud_pk.render.kubeconfig import by_sign_in
    from gcloud_pk.render.kubeconfig import kubeconfig as made

    check_output(output, force=force)
    # What it says of the identity provider decides where people type their passwords: the registry must be trusted.
    connection = recognised(invocation, allow_unregistered=allow_unregistered_cluster)
    console = invocation.console
    population = survey(connection.api, [name])
    places = _places(population, name, environment)
    lab = connection.standing.lab
    if lab is None:
        sign_in = connection.registry.settings.sign_in
        if sign_in is None:
            raise UnavailableError(
                "the registry does not say how people sign in",
                resolution="set signIn: {issuer: https://…, clientId: …} in its settings.yaml, and sign it anew: "
                "gcloud-pk registry sign --key KEY",
            )
        if role:
            console.note("--role is for labs: here the groups of the identity provider decide")
        user_name, user = name, by_sign_in(sign_in)
    else:
        chosen, groups = _groups(population, name, [place for place, _ in places], role)
        user_name, user = f"{name}-{chosen}", _certificate(lab, groups, f"{name}-{chosen}")
    text = made(_endpoint(connection, console), user_name, user, places)
    if output is not None or not console.machine:
        write_output(console, text, output, mode=0o600)
    if console.machine:
        import yaml

        console.document(
            {
                "tenant": name,
                "kubeconfig": str(output) if output else None,
                "contexts": [place for place, _ in places],
                "signIn": "certificate" if lab else "oidc",
                "content": None if output else yaml.safe_load(text),
            }
        )
    elif output is not None:
        console.show(f"wrote {output}: {', '.join(place for place, _ in places)}")
        if lab:
            console.show("it names a certificate of the lab that is good for eight hours")


def _places(population: Population, name: str, environment: str | None) -> list[tuple[str, Tier]]:
    from gcloud_pk.onboarding.absence import not_in_place

    parent = population.parent(name)
    if parent is None:
        raise not_in_place(name)
    environments = {one["name"]: one for one in parent["spec"]["environments"]}
    if environment is not None and environment not in environments:
        raise UnavailableError(
            f"tenant {name} has no environment {environment!r} on this cluster",
            resolution=f"it has {', '.join(environments)}",
        )
    chosen = [environments[environment]] if environment is not None else environments.values()
    return [(one["namespace"], one["tier"]) for one in chosen]


def _groups(population: Population, name: str, namespaces: list[str], role: str | None) -> tuple[str, tuple[str, ...]]:
    """Return (role, its groups as the API server knows them) from the bindings that are in place."""
    from gcloud_pk.cluster.kinds import ROLE_BINDING

    found: dict[str, set[str]] = {}
    for key, live in population.of(name).items():
        if key.kind == ROLE_BINDING and key.namespace in namespaces:
            found.setdefault(key.name.removeprefix("tenant-"), set()).update(
                subject["name"] for subject in live.get("subjects", ()) if subject["kind"] == "Group"
            )
    for chosen in [role] if role else _ROLES:
        if found.get(chosen):
            return chosen, tuple(sorted(found[chosen]))
    raise UnavailableError(
        f"tenant {name} has no {role or 'groups'} in place here",
        resolution=f"see its state: gcloud-pk tenant show {name}   and its request: gcloud-pk request show {name}",
    )


def _certificate(lab: str, groups: tuple[str, ...], user: str) -> dict[str, Any]:
    from gcloud_pk.lab import controlplane
    from gcloud_pk.render.kubeconfig import by_certificate

    pair = controlplane.tenant_certificate(controlplane.status(lab), groups, user)
    return by_certificate(pair.certificate, pair.key)


def _endpoint(connection: Connection, console: Console) -> Endpoint:
    """Return the API server as the site names it, else as the operator's own kubeconfig does."""
    from urllib.parse import urlsplit

    from gcloud_pk.render.kubeconfig import Endpoint

    access, standing = connection.api.access, connection.standing
    if standing.cluster is not None and standing.cluster.endpoint:
        # The way of the operator (a proxy, another name) is not that of the tenant's people.
        return Endpoint(standing.cluster.name, standing.cluster.endpoint, access.ca)
    name = standing.cluster.name if standing.cluster else f"lab-{standing.lab}" if standing.lab else "government-cloud"
    if standing.lab is None and urlsplit(access.server).hostname in {"127.0.0.1", "::1", "localhost"}:
        console.warn(f"{access.server} is an address of this machine; name the cluster's endpoint in its site")
    return Endpoint(name, access.server, access.ca, access.tls_server_name, access.proxy)


@click.command(cls=Command)
@click.argument("name", metavar="TENANT")
@click.option(
    "--lang", "language", type=click.Choice(["en", "ur"]), default="en", show_default=True, help="In English or Urdu."
)
@click.option("--html", "as_html", is_flag=True, help="One accessible HTML file instead of Markdown.")
@_output
@_force
@pass_invocation
def welcome(invocation: Invocation, name: str, language: str, as_html: bool, output: Path | None, force: bool) -> None:
    """Write the page that a ministry gets.

    Its namespaces, quotas, domains and registries, how to sign in, a first workload that is admitted as it stands,
    what is refused and why, how to ask for more, and whom to call. From the registry's accepted request; no cluster
    is asked.
    """
    from gcloud_pk.render.welcome import LANGUAGES
    from gcloud_pk.render.welcome import welcome as made

    check_output(output, force=force)
    registry = open_registry(invocation)
    if not (invocation.trust and registry.trust(invocation.trust).trusted):
        invocation.console.warn(
            "nobody looked whether the keepers signed this registry as it is (--trust FILE): what it says of signing "
            "in and of whom to call is as good as the folder"
        )
    tenant = accepted(registry, name)
    text = made(tenant, next(known for known in LANGUAGES if known == language), as_html=as_html)
    console = invocation.console
    if output is not None or not console.machine:
        write_output(console, text, output)
    if console.machine:
        console.document(
            {
                "tenant": name,
                "revision": tenant.revision,
                "digest": tenant.digest,
                "language": language,
                "type": "text/html" if as_html else "text/markdown",
                "file": str(output) if output else None,
                "content": None if output else text,
            }
        )
    elif output is not None:
        console.show(f"wrote {output}")


def accepted(registry: Registry, name: str) -> Tenant:
    """Return the tenant of the accepted request: the present one, or the last while another one waits.

    Raises as `Registry.accepted`, in whose words nothing was accepted yet.
    """
    entry = registry.entry(name)
    last = entry.last_accepted
    if last is None or last.digest == entry.digest or registry.status(entry) == "approved":
        return registry.accepted(name, entry.chain.approved_at(entry.digest))
    return registry.standing_request(name, last.digest, entry.chain.approved_at(last.digest))
