"""All that can be wrong before a data centre is touched: looked for at once, and named at once.

What needs the engine (a wrong passphrase, a lock of somebody else's run, the releases that run) is looked at last, in
`session`: by then nothing has been written either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gcloud_pk.errors import (
    GcloudPkError,
    InvalidInputError,
    Problem,
    RefusedError,
    UnavailableError,
    WrongUsageError,
    problem,
)
from gcloud_pk.model.site import Site
from gcloud_pk.stack import backend, engine, locks, network_plugins
from gcloud_pk.stack.versions import next_step, step_problem

if TYPE_CHECKING:
    from gcloud_pk.console import Console
    from gcloud_pk.registry.folder import Registry
    from gcloud_pk.stack.backend import Place

_T = TypeVar("_T")

_ORDER: tuple[type[GcloudPkError], ...] = (InvalidInputError, WrongUsageError, RefusedError, UnavailableError)
"""What a run with several faults ends as: the fault that takes a person first."""


@dataclass
class Faults:
    """Errors gathered, to be raised as one."""

    found: list[GcloudPkError] = field(default_factory=list)

    def attempt(self, act: Callable[[], _T]) -> _T | None:
        """Return what `act` returns; None where it raises an expected error, which is kept."""
        try:
            return act()
        except GcloudPkError as error:
            self.found.append(error)
            return None

    def end(self, site: str) -> None:
        """Raise what was gathered, if anything was: one error, with the details of all."""
        if not self.found:
            return
        if len(self.found) == 1:
            raise self.found[0]
        kind = next((one for one in _ORDER if any(isinstance(error, one) for error in self.found)), _ORDER[-1])
        raise kind(
            f"site {site} cannot be provisioned as it is, for {len(self.found)} reasons; nothing was touched",
            details=[detail for error in self.found for detail in _details(error)],
            resolution="; ".join(dict.fromkeys(error.resolution for error in self.found if error.resolution)),
        )


def _details(error: GcloudPkError) -> Iterator[Problem]:
    # A heading says nothing that its details with file and line do not.
    if not error.details or not all(detail.file for detail in error.details):
        yield problem(error.message)
    yield from error.details


@dataclass(frozen=True)
class Ready:
    """What a run needs, found to be in order."""

    site: Site
    place: Place
    engine: engine.Engine
    plugin: Path
    secrets: Mapping[str, str]
    notes: tuple[str, ...] = ()


def look(
    registry: Registry,
    name: str,
    place: Place,
    *,
    trusted: Callable[[], object],
    passphrase_file: Path | None,
    engine_file: Path | None,
    console: Console,
    making: bool = False,
    unlocking: bool = False,
) -> Ready:
    """Return what is needed to work on a site. `trusted`: raises where the registry may not be acted on.

    `making`: clusters are to be made or changed; `unlocking`: a lock on its state is what the run is for.

    Raises one error that names everything that is wrong; nothing but the engine's cache was written by then.
    """
    faults = Faults()
    faults.attempt(trusted)
    site = faults.attempt(lambda: registry.site(name))
    notes: list[str] = []
    if site is not None:
        notes += faults.attempt(lambda: _accredited(registry, name)) or []
        faults.attempt(lambda: _complete(registry, site))
        if making:
            faults.attempt(lambda: _brought(registry, site))
        faults.attempt(lambda: _provider(site))
        notes += _left_alone(site)
    secrets = faults.attempt(lambda: backend.passphrase(passphrase_file))
    plugin = faults.attempt(backend.plugin_folder)
    if not unlocking:
        faults.attempt(lambda: _unlocked(place))
    # Last: it may take minutes to obtain, for nothing where the site is wrong.
    given = None
    if not faults.found or engine_file is not None:
        given = faults.attempt(lambda: engine.find(engine_file, console))
    faults.end(name)
    assert site is not None  # noqa: S101 - a fault was raised otherwise, as for the next
    assert plugin is not None  # noqa: S101
    assert given is not None  # noqa: S101
    assert secrets is not None  # noqa: S101
    return Ready(site, place, given, plugin, secrets, tuple(notes))


def _accredited(registry: Registry, name: str) -> list[str]:
    found = registry.expired.get(name)
    if found is None:
        return []
    said, serious = found
    if serious:
        raise InvalidInputError(
            f"the accreditation of site {name} does not hold for the data that it admits",
            details=[said],
            resolution="have it renewed and write it down, or admit less in spec.admits",
        )
    return [str(said)]


def _complete(registry: Registry, site: Site) -> None:
    """Raise InvalidInputError for what a cluster lacks to be made."""
    located = registry.governance.site_files[site.metadata.name].document.located
    wrong = [located(one) for one in incomplete(site)]
    if wrong:
        raise InvalidInputError(
            f"site {site.metadata.name} does not say all that its clusters need",
            details=wrong,
            resolution="add it to the site file, have it signed (gcloud-pk registry sign), then run it again",
        )


def incomplete(site: Site) -> Iterator[Problem]:
    """Yield what is missing in a cluster that is to be made: one that says its release of Kubernetes."""
    for number, cluster in enumerate(site.spec.clusters):
        if cluster.version is None:
            continue
        where = f"spec.clusters[{number}]"
        for name, value, expected in (
            ("endpoint", cluster.endpoint, "https://ADDRESS:6443, an address of the nodes' range that no host has"),
            ("networks", cluster.networks, "{pods, services, nodes}"),
        ):
            if value is None:
                message = f"cluster {cluster.name} is to be made and has no {name}"
                yield problem(message, field=where, expected=f"{name}: {expected}")
        if not site.spec.control_planes(cluster.name):
            yield problem(
                f"cluster {cluster.name} is to be made and no host is a control plane of it",
                field=where,
                expected=f"1, 3 or 5 hosts with cluster: {cluster.name} and role: control-plane",
            )


def _brought(registry: Registry, site: Site) -> None:
    """Raise InvalidInputError for a cluster that asks for a network plug-in which this version does not bring."""
    located = registry.governance.site_files[site.metadata.name].document.located
    wrong = [located(one) for one in not_brought(site)]
    if wrong:
        raise InvalidInputError(
            f"site {site.metadata.name} asks for a network plug-in that cannot be had; nothing was touched",
            details=wrong,
            resolution=f"write networkPlugin: {network_plugins.BROUGHT} ({network_plugins.CAUTION}), "
            "have it signed (gcloud-pk registry sign), then run it again",
        )


def not_brought(site: Site) -> Iterator[Problem]:
    """Yield the network plug-ins that clusters to be made ask for, and that this version does not bring."""
    for number, cluster in enumerate(site.spec.clusters):
        said = "network_plugin" in cluster.model_fields_set
        why = network_plugins.refusal(f"cluster {cluster.name}", cluster.network_plugin, said=said)
        if why and cluster.version is not None:
            expected = f"networkPlugin: {network_plugins.BROUGHT}"
            yield problem(why, field=f"spec.clusters[{number}].networkPlugin", expected=expected)


def _left_alone(site: Site) -> list[str]:
    return [
        f"cluster {cluster.name} is left as it is: the site file says no version of Kubernetes for it"
        for cluster in site.spec.clusters
        if cluster.version is None and site.spec.hosts_of(cluster.name)
    ]


def _provider(site: Site) -> None:
    from gcloud_pk.stack import machines

    machines.provider(site.spec.provider)


def _unlocked(place: Place) -> None:
    from gcloud_pk.nodes.record import busy
    from gcloud_pk.stack.session import alone, locked

    if busy(place.home):
        with alone(place, {}):  # raises, and says who it is
            pass
    held = [lock for lock in place.locks() if not lock.is_dead()]
    # What an orphaned engine of our own holds is given back in a moment: `session` waits for it.
    if held and not all(_ours(place, lock) for lock in held):
        raise locked(place, held)


def _ours(place: Place, lock: locks.Lock) -> bool:
    from gcloud_pk.stack.leftovers import find

    return any(one.pid == lock.pid for one in find(str(place.home)))


def releases(resources: list[dict[str, Any]]) -> dict[str, str]:
    """Return the release of Kubernetes of each cluster, as the state has it from the last run."""
    found = {}
    for one in resources:
        version = (one.get("inputs") or {}).get("version")
        if str(one.get("type", "")).endswith(":ControlPlane") and isinstance(version, str):
            found[one["urn"].rpartition("::")[2]] = version
    return found


def check_releases(registry: Registry, site: Site, live: Mapping[str, str]) -> None:
    """Raise InvalidInputError for a release that kubeadm cannot bring a cluster to in one step."""
    located = registry.governance.site_files[site.metadata.name].document.located
    wrong = []
    for number, cluster in enumerate(site.spec.clusters):
        known = live.get(cluster.name)
        if known and cluster.version and (why := step_problem(cluster.name, known, cluster.version)):
            field_name = f"spec.clusters[{number}].version"
            wrong.append(located(problem(why, field=field_name, expected=next_step(known))))
    if wrong:
        raise InvalidInputError(
            "kubeadm cannot take these steps; nothing was touched",
            details=wrong,
            resolution="go up one minor release at a time, each with its own gcloud-pk datacenter up",
        )
