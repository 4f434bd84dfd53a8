"""All that can be wrong before a data centre is touched: looked for at once, and named at once.

What needs the engine (a wrong passphrase, a lock of somebody else's run, the releases that run) is looked at last, in
`session`: by then nothing has been written either.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
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
from gcloud_pk.stack import backend, engine, facets, locks
from gcloud_pk.stack.provider.ground import DISMANTLE
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
    unlocking: bool = False,
) -> Ready:
    """Return what is needed to work on a site. `trusted`: raises where the registry may not be acted on.

    `unlocking`: a lock on its state is what the run is for.

    Raises one error that names everything that is wrong; nothing but the engine's cache was written by then.
    """
    faults = Faults()
    faults.attempt(trusted)
    site = faults.attempt(lambda: registry.site(name))
    notes: list[str] = []
    if site is not None:
        notes += faults.attempt(lambda: _accredited(registry, name)) or []
        faults.attempt(lambda: _complete(registry, site))
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


def check_releases(
    registry: Registry,
    site: Site,
    live: Mapping[str, str],
    behind: Callable[[Mapping[str, str]], Mapping[str, Sequence[str]]],
) -> None:
    """Raise where a cluster is to be of another release than it is of.

    `live`: release by cluster, as the last run left it; `behind`: for the wished release by cluster, what of each
    cluster is not of it yet, in words. Raises InvalidInputError for a step that kubeadm does not take at once, and
    RefusedError for one that nobody has taken: nothing here does.
    """
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
    wished = {one.name: one.version for one in site.spec.clusters if one.version and live.get(one.name)}
    steps = {name: version for name, version in wished.items() if live[name] != version}
    if lacking := {name: words for name, words in behind(steps).items() if words} if steps else {}:
        fields = {one.name: f"spec.clusters[{number}].version" for number, one in enumerate(site.spec.clusters)}
        raise RefusedError(
            "a cluster is not brought to another release from here; nothing was touched",
            details=[
                located(problem(f"cluster {name}: {said}", field=fields[name], expected=f"{steps[name]} on it first"))
                for name, words in lacking.items()
                for said in words
            ],
            resolution="by hand, one node after another: bring the new kubeadm, kubelet and kubectl there; on one "
            "control plane `kubeadm upgrade apply vVERSION`, on each other node `kubeadm upgrade node`, with its pods "
            "drained; restart its kubelet. Then run this again. Or put the version back",
        )


def check_clusters(site: Site, made: Iterable[str], gone: Collection[str]) -> list[str]:
    """Return the clusters that were made and are to be taken down, as `gone` says (empty name: all may be).

    Raises RefusedError for those that only left the site file, by a new name or without a version: all that lives in
    them would go.
    """
    stay = {cluster.name for cluster in site.spec.clusters if facets.provisioned(site, cluster)}
    left = sorted(set(made) - stay)
    name = site.metadata.name
    wrong = [] if "" in gone else [cluster for cluster in left if cluster not in gone]
    if wrong:
        raise RefusedError(
            f"{', '.join(wrong)}: a cluster is not taken down by leaving it out of the site file; nothing was written",
            details=[f"cluster {cluster} was made from here; the site file {_now(site, cluster)}" for cluster in wrong],
            resolution="put it back as it was. To take it down: "
            f"{DISMANTLE}={','.join(f'{name}/{cluster}' for cluster in wrong)} gcloud-pk datacenter up {name}",
        )
    return left


def _now(site: Site, cluster: str) -> str:
    found = site.spec.cluster(cluster)
    if found is None:
        return "has none of that name"
    return "gives it no version" if found.version is None else "lacks what it needs"
