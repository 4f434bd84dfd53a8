"""Opening what commands act on: the registry, and the cluster with the right identity, if it is the one meant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from gcloud_pk.commands.base import Invocation
from gcloud_pk.errors import GcloudPkError, PartialError

if TYPE_CHECKING:
    from gcloud_pk.cluster.transport import Api
    from gcloud_pk.onboarding.serials import Given
    from gcloud_pk.onboarding.standing import Standing
    from gcloud_pk.registry.folder import Registry
    from gcloud_pk.registry.trust import TrustState

VERIFIER_CONTEXT = "verifier"


@dataclass
class Connection:
    """A registry and a cluster that was recognised as the one meant.

    `given`: the versions of the registry that the cluster was given before; None where that is not compared.
    """

    registry: Registry
    api: Api
    standing: Standing
    given: Given | None = None

    def give(self) -> None:
        """Have the cluster keep which version of the registry is acted on; before the first change. Raises as that."""
        from gcloud_pk.onboarding.serials import give

        if self.given is not None:
            give(self.api, self.given, self.standing.trust)


def open_api(invocation: Invocation, context: str | None = None) -> Api:
    """Return the transport for `--context` (or the one given)."""
    from gcloud_pk.cluster import kubeconfig
    from gcloud_pk.cluster.transport import Api

    return Api(kubeconfig.load(invocation.kubeconfig, context or invocation.context))


def open_verifier(invocation: Invocation) -> Api:
    """Return the transport to verify with: `--verify-context`, else the context `verifier` where there is one."""
    from gcloud_pk.cluster import kubeconfig

    context = invocation.verify_context
    if context is None and VERIFIER_CONTEXT in kubeconfig.contexts(invocation.kubeconfig):
        context = VERIFIER_CONTEXT
    return open_api(invocation, context)


def open_registry(invocation: Invocation) -> Registry:
    """Return the registry of `--registry`."""
    from gcloud_pk.registry.folder import Registry

    return Registry.open(invocation.registry)


def open_registry_if_there(invocation: Invocation) -> Registry | None:
    """Return the registry that was named, or the one at the default place, if it is there; verified with `--trust`."""
    if not invocation.values.get("registry") and not invocation.registry.is_dir():
        return None
    opened = open_registry(invocation)
    if invocation.trust:
        opened.trust(invocation.trust)
    return opened


def recognised(invocation: Invocation, *, allow_unregistered: bool, closing: bool = False) -> Connection:
    """Open registry and cluster for writing.

    Raises RefusedError where the cluster is not the one meant, or was given a newer version of the registry; to what is
    `closing`, that is only a warning.
    """
    from gcloud_pk.cluster.identity import cluster_uid
    from gcloud_pk.lab.state import known_uids
    from gcloud_pk.onboarding.standing import recognise

    registry = open_registry(invocation)
    api = open_api(invocation)
    standing = recognise(
        registry,
        cluster_uid(api),
        labs=known_uids(),
        trust=invocation.trust,
        allow_unregistered=allow_unregistered,
    )
    for warning in standing.warnings:
        invocation.console.warn(warning)
    trust = standing.trust
    before = warn_of_older(invocation, api, trust) if closing else _compared(api, trust)
    return Connection(registry, api, standing, before)


def warn_of_older(invocation: Invocation, api: Api, trust: TrustState) -> Given | None:
    """Warn where the cluster was given a newer version of the registry, or does not say; for who opens nothing.

    Returns what it was given, None where this version is not to be given to it.
    """
    try:
        return _compared(api, trust)
    except GcloudPkError as error:
        hint = f"; {error.resolution}" if error.resolution else ""
        invocation.console.warn(f"{error.message}{hint}")
        return None


def _compared(api: Api, trust: TrustState) -> Given | None:
    from gcloud_pk.onboarding.serials import given, older

    if not trust.trusted:
        return None
    before = given(api)
    if error := older(before, trust):
        raise error
    return before


@contextmanager
def told_when_interrupted(api: Api, command: str) -> Iterator[None]:
    """Turn Ctrl-C into exit code 8 where something was written by then, saying how much."""
    try:
        yield
    except KeyboardInterrupt:
        if not api.persisted:
            raise
        raise PartialError(
            f"interrupted half way: {api.persisted} changes were written",
            resolution=f"run {command} again: it goes on from here",
        ) from None


def allow_unregistered_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--allow-unregistered-cluster`."""
    return click.option(
        "--allow-unregistered-cluster",
        is_flag=True,
        help="Write to a cluster that no site of the registry names.",
    )(command)


def wait_for_lock_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--wait-for-lock`."""
    return click.option(
        "--wait-for-lock",
        type=click.FloatRange(min=0),
        default=30.0,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for another operator of the same tenant.",
    )(command)
