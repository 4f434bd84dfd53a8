"""`--live` of `audit isolation`: with which identity and image packets are sent, and to which addresses outside."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from gcloud_pk.commands.base import Invocation
from gcloud_pk.commands.connection import open_api
from gcloud_pk.errors import RefusedError, WrongUsageError

if TYPE_CHECKING:
    from gcloud_pk.cluster.transport import Api
    from gcloud_pk.console import Console
    from gcloud_pk.model.finding import Finding
    from gcloud_pk.onboarding.standing import Standing
    from gcloud_pk.proof.contents import Item
    from gcloud_pk.proof.live.aims import Address
    from gcloud_pk.proof.live.run import Options
    from gcloud_pk.proof.target import Target
    from gcloud_pk.registry.folder import Registry

_SHOWN_OTHERWISE = "ISO-901"
"""What no check shows without live probes (`probes/unchecked.yaml`)."""

_START_SECONDS = 90.0


@dataclass(frozen=True)
class Sender:
    """Who may send packets, and how."""

    api: Api
    options: Options


@dataclass(frozen=True)
class LiveRequest:
    """What was asked of live probes; `options` None: none were."""

    context: str = ""
    options: Options | None = None
    allow_unregistered: bool = False

    def check(self, names: Iterable[str]) -> None:
        """Raise WrongUsageError where `--probes` names a live check by its id, and live probes were not asked for."""
        words = {word.upper() for name in names for word in name.replace(",", " ").split()}
        if self.options is None and (named := sorted(_ids() & words)):
            raise WrongUsageError(f"{', '.join(named)}: shown by packets only", resolution="add --live")

    def opened(self, invocation: Invocation, verifier: Api, registry: Registry) -> Sender | None:
        """Return who sends by `--live-context`; None without `--live`.

        Raises RefusedError where it leads to another cluster than the one audited, or to none that may be written to,
        and where a tenant could have made what is to run in the platform's namespaces.
        """
        if self.options is None:
            return None
        check_platform_images(registry, self.options.platform_images)
        base = tuple(image for image in self.options.images if image.startswith(registry.settings.base_registries))
        from gcloud_pk.cluster.identity import cluster_uid
        from gcloud_pk.lab.state import known_uids
        from gcloud_pk.onboarding.standing import recognise

        api = open_api(invocation, self.context)
        uid = cluster_uid(api)
        if uid != cluster_uid(verifier):
            raise RefusedError(
                f"context {self.context!r} leads to another cluster than the one that is audited",
                resolution="name a context of the same cluster with --live-context",
            )
        standing = recognise(
            registry, uid, labs=known_uids(), trust=invocation.trust, allow_unregistered=self.allow_unregistered
        )
        images = self.options.platform_images or base
        return Sender(api, replace(self.options, platform_images=images, unenforced=unenforced(standing)))

    def findings(
        self, console: Console, sender: Sender | None, targets: Sequence[Target], only: Collection[str] | None
    ) -> list[Finding]:
        """Send packets and return what came of it, narrowed to `only` and the controls; nothing without a sender."""
        if sender is None or not targets or (only is not None and not _ids() & set(only)):
            return []
        from gcloud_pk.proof.live.plan import LEFT, STARTS
        from gcloud_pk.proof.live.run import probe

        found = probe(sender.api, targets, sender.options, console.note)
        return [f for f in found if only is None or f.id in only or f.id in {STARTS, LEFT}]

    def omitted(self, others: Iterable[str], only: Collection[str] | None) -> list[str]:
        """Return the ids that a run leaves out: `others`, and those of live probes that were not asked for."""
        from gcloud_pk.proof.live.run import omitted

        left_out = {*others, *omitted(self.options)}
        if self.options is not None:
            left_out.discard(_SHOWN_OTHERWISE)
            if only is not None:
                left_out |= _ids() - set(only)
        return sorted(left_out)


def unenforced(standing: Standing) -> str | None:
    """Return why closed flows say nothing of a cluster: its site gives it a network that drops nothing; else None.

    A cluster that no site names is judged: what comes through where it must not is a failure there.
    """
    if standing.cluster is None or standing.cluster.network_plugin != "bridge":
        return None
    return f"not enforced here: {standing.describe()} has the network bridge, which enforces no NetworkPolicy"


def check_platform_images(registry: Registry, images: Iterable[str]) -> None:
    """Raise RefusedError for an image that a tenant may push to: no policy holds what runs beside the platform's."""
    base = registry.settings.base_registries
    for name, entry in sorted(registry.tenants.items()):
        own = entry.request.spec.registries if entry.request is not None else ()
        for image in images:
            if any(image.startswith(r) for r in own if not r.startswith(base)):
                raise RefusedError(
                    f"{image} is from a registry of tenant {name}, and would run where no policy holds it",
                    resolution="name an image of the platform's own with --live-platform-image",
                )


def _ids() -> set[str]:
    from gcloud_pk.proof.live.plan import CHECKS, LEFT

    return {*CHECKS, LEFT}


def items() -> list[Item]:
    """Return the live checks, as `audit probes` lists them."""
    from gcloud_pk.proof.contents import Item
    from gcloud_pk.proof.live.plan import CHECKS, LEFT, LEFT_CONTROLS, LEFT_TITLE

    listed = [Item(c.id, c.title, c.controls, "packets (--live)") for c in CHECKS.values()]
    return [*listed, Item(LEFT, LEFT_TITLE, LEFT_CONTROLS, "packets (--live)", "the whole cluster")]


def live_request(**given: Any) -> LiveRequest:
    """Return what the options of `live_options` ask for. Raises WrongUsageError."""
    from gcloud_pk.proof.live.run import Options

    if not given["live"]:
        if any(
            given[name]
            for name in (
                "live_context",
                "live_images",
                "live_platform_images",
                "live_outside",
                "allow_unregistered_cluster",
            )
        ):
            raise WrongUsageError("an option of live probes is given, and --live is not", resolution="add --live")
        return LiveRequest()
    if not given["live_context"] or not given["live_images"]:
        raise WrongUsageError(
            "--live needs --live-context and --live-image",
            resolution="name the context of somebody who may run pods where tenants are (the verifier writes nothing), "
            "and an image with python3 from each tenant's registries",
        )
    options = Options(
        tuple(given["live_images"]),
        tuple(given["live_platform_images"]),
        tuple(_address(text) for text in given["live_outside"]),
        start=given["live_wait"],
    )
    return LiveRequest(given["live_context"], options, given["allow_unregistered_cluster"])


def _address(text: str) -> Address:
    from ipaddress import ip_address

    from gcloud_pk.proof.live.aims import Address

    host, _, port = text.rpartition(":")
    number = int(port) if port.isascii() and port.isdecimal() else 0
    try:
        where = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        where = None
    if where is None or not 0 < number < 2**16:
        raise WrongUsageError(
            f"--live-outside {text!r} is no address", resolution="write 192.0.2.10:443 or [2001:db8::10]:443"
        )
    return Address(str(where), number)


def live_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--live` and what belongs to it; the command passes them to `live_request`."""
    for option in reversed(
        (
            click.option(
                "--live", is_flag=True, help="Also send packets between short-lived pods; needs nodes. See docs."
            ),
            click.option(
                "--live-context",
                metavar="NAME",
                help="Context of somebody who may run pods in tenants' namespaces and in the platform's.",
            ),
            click.option(
                "--live-image",
                "live_images",
                multiple=True,
                metavar="REF",
                help="Image with python3; repeated, each namespace takes the first that its policies admit.",
            ),
            click.option(
                "--live-platform-image",
                "live_platform_images",
                multiple=True,
                metavar="REF",
                help="The same for the platform's namespaces: one that no tenant may push to.  "
                "[default: those of --live-image that are from base registries]",
            ),
            click.option(
                "--live-outside",
                multiple=True,
                metavar="IP:PORT",
                help="Address outside that answers over TCP: closed to all but those whose request declares it.",
            ),
            click.option(
                "--live-wait",
                type=click.FloatRange(min=1, max=600),
                default=_START_SECONDS,
                show_default=True,
                metavar="SECONDS",
                help="How long probe pods may take to start.",
            ),
            click.option(
                "--allow-unregistered-cluster",
                is_flag=True,
                help="Run live probes on a cluster that no site of the registry names.",
            ),
        )
    ):
        command = option(command)
    return command
