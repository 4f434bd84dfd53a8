"""What all resources of a provider stand on: the site, the works, and who hears of what goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gcloud_pk.errors import GcloudPkError, PartialError, RefusedError, UnavailableError
from gcloud_pk.model.site import Cluster, Host, Site
from gcloud_pk.stack import facets, quorum
from gcloud_pk.stack.provider.batch import Batch, Flow
from gcloud_pk.stack.works import Observation, Outcome, Works
from gcloud_pk.text import in_line

Log = Callable[[str, str, bool], None]
"""Told: the URN of a resource, one line, and whether it is a warning that is to stay."""

DISMANTLE = "GCLOUD_PK_DISMANTLE"
"""In the environment: the site that goes as a whole, so that its nodes are only reset; or SITE/CLUSTER, with commas."""

_FRESH = 5.0
"""Seconds that an observation of a cluster serves others."""


def going(site: str, words: str) -> frozenset[str]:
    """Return the clusters of a site that DISMANTLE says are to go; the empty name stands for all of them."""
    named = [word.strip().partition("/") for word in words.split(",")]
    return frozenset(cluster for name, _, cluster in named if name == site)


@dataclass(frozen=True)
class Work:
    """A host in a batch, with the resource that speaks for it. `cluster`: None for what knows none."""

    host: Host
    urn: str
    cluster: Cluster | None = None


@dataclass
class Ground:
    """The site as the provider was told of it. `dismantle`: members of clusters that go as a whole are only reset.

    `going`: names of clusters of which the same holds, though the site stays;
    `hardened`: the hosts that were hardened by this provider, since it began.
    """

    site: Site
    works: Works
    flow: Flow
    log: Log
    dismantle: bool = False
    going: frozenset[str] = frozenset()
    hardened: set[str] = field(default_factory=set)
    _come: set[tuple[str, str]] = field(default_factory=set)
    _settled: set[tuple[str, str]] = field(default_factory=set)
    _seen: dict[str, tuple[float, Observation]] = field(default_factory=dict)
    _looking: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.harden: Batch[Work, Outcome] = Batch(self.flow, self._harden, self._harden_misses, after=("Machine",))
        self.deviations: Batch[Work, Sequence[str] | None] = Batch(self.flow, self._deviations)
        self.join: Batch[Work, Outcome] = Batch(self.flow, self._join, self._join_misses, after=("HardenedNode",))
        self.leave: Batch[Work, Outcome] = Batch(self.flow, self._leave)
        self.addons: Batch[Work, Outcome] = Batch(
            self.flow, self._addons, self._addons_miss, after=("Machine", "HardenedNode", "Member"), patient=True
        )

    def comes(self, kind: str, name: str) -> None:
        """Take down that a resource is being made or changed."""
        self._come.add((kind, name))

    def settles(self, kind: str, name: str) -> None:
        """Take down that nothing more comes of a resource: it is done, has failed, or stays as it is."""
        self._come.add((kind, name))
        self._settled.add((kind, name))

    def _harden_misses(self, items: Mapping[Hashable, Work]) -> bool:  # noqa: ARG002 - all hosts of the site are expected
        return any(("HardenedNode", host.name) not in self._come for host in self.site.spec.hosts)

    def _join_misses(self, items: Mapping[Hashable, Work]) -> bool:
        return any(("Member", name) not in self._come for name in self._members(items))

    def _addons_miss(self, items: Mapping[Hashable, Work]) -> bool:
        return any(("Member", name) not in self._settled for name in self._members(items))

    def _members(self, items: Mapping[Hashable, Work]) -> set[str]:
        clusters = {one.cluster.name for one in items.values() if one.cluster is not None}
        return {host.name for cluster in clusters for host in self.site.spec.hosts_of(cluster)}

    def host(self, name: str) -> Host:
        """Return a host of the site. Raises UnavailableError."""
        for host in self.site.spec.hosts:
            if host.name == name:
                return host
        raise UnavailableError(f"site {self.site.metadata.name} has no host {name}", resolution="mend the site file")

    def cluster(self, name: str) -> Cluster | None:
        """Return a cluster of the site; None where it has none of the name."""
        return next((one for one in self.site.spec.clusters if one.name == name), None)

    def observe(self, cluster: Cluster, *, anew: bool = False) -> Observation:
        """Look at a cluster, once for all that ask at the same time. Raises UnavailableError.

        `anew`: in the middle of a work, at what that changes: not at settings on each worker.
        """
        with self._looking:
            moment, found = self._seen.get(cluster.name, (0.0, None))
            if found is None or anew or time.monotonic() - moment > _FRESH:
                found = self.works.observe(self.site, cluster, whole=not anew)
                self._seen[cluster.name] = (time.monotonic(), found)
            return found

    def tell(self, urns: Mapping[str, str], otherwise: str = "") -> Callable[[str, str], None]:
        """Return what is told of hosts, passed on for their resources; `otherwise`: the resource of all other hosts."""
        last: dict[str, str] = {}

        def tell(host: str, line: str) -> None:
            urn = urns.get(host, otherwise)
            if urn and last.get(host) != line:
                last[host] = line
                self.log(urn, in_line(line if host in urns else f"{host}: {line}"), False)

        return tell

    def _harden(self, items: Mapping[Hashable, Work]) -> Mapping[Hashable, Outcome]:
        found = self.works.harden(self.site, [one.host for one in items.values()], self.tell(_urns(items)))
        self.hardened |= {name for name, outcome in found.items() if outcome.done}
        return {key: found[one.host.name] for key, one in items.items()}

    def _deviations(self, items: Mapping[Hashable, Work]) -> Mapping[Hashable, Sequence[str] | None]:
        found = self.works.deviations(self.site, [one.host for one in items.values()], self.tell(_urns(items)))
        return {key: found.get(one.host.name) for key, one in items.items()}

    def _join(self, items: Mapping[Hashable, Work]) -> Mapping[Hashable, Outcome]:
        results: dict[Hashable, Outcome] = {}
        for cluster, some in _by_cluster(items):
            found = self.works.join(self.site, cluster, [one.host for one in some.values()], self.tell(_urns(some)))
            results |= {key: found[one.host.name] for key, one in some.items()}
            self._seen.pop(cluster.name, None)
        return results

    def _addons(self, items: Mapping[Hashable, Work]) -> Mapping[Hashable, Outcome]:
        results: dict[Hashable, Outcome] = {}
        for cluster, some in _by_cluster(items):
            members = self.site.spec.hosts_of(cluster)
            for key, one in some.items():
                results[key] = self.works.addons(self.site, cluster, members, self.tell({}, one.urn))
        return results

    def _leave(self, items: Mapping[Hashable, Work]) -> Mapping[Hashable, Outcome]:
        """Have hosts leave one after another, workers first, the first control plane last; each is judged anew."""
        results: dict[Hashable, Outcome] = {}
        order = {host.name: number for number, host in enumerate(self.site.spec.hosts)}
        for cluster, some in _by_cluster(items):
            control = sorted(
                (key for key, one in some.items() if one.host.role == "control-plane"),
                key=lambda key: order.get(some[key].host.name, -1),
            )
            workers = [key for key in some if key not in control]
            whole = self.dismantle or cluster.name in self.going
            turns = [list(some)] if whole else [[key] for key in (*workers, *reversed(control))]
            for keys in turns:
                leaving = {key: some[key] for key in keys}
                try:
                    found = self._leave_now(cluster, leaving, whole=whole)
                except GcloudPkError as error:
                    refused = Outcome(False, isinstance(error, PartialError), error.message, error.resolution or "")
                    found = {one.host.name: refused for one in leaving.values()}
                results |= {key: found[one.host.name] for key, one in leaving.items()}
        return results

    def _leave_now(self, cluster: Cluster, leaving: Mapping[Hashable, Work], *, whole: bool) -> Mapping[str, Outcome]:
        """Have hosts leave at once: all where the cluster goes as a whole, else one, if the others can spare it."""
        hosts = [one.host for one in leaving.values()]
        last = False
        if not whole:
            (host,) = hosts
            now = self.cluster(cluster.name)
            if now is None or not facets.provisioned(self.site, now):
                raise RefusedError(
                    f"{cluster.name}: a cluster is not taken down by leaving it out of the site file",
                    resolution=f"put it back; to take it down: {DISMANTLE}={self.site.metadata.name}/{cluster.name}",
                )
            seen = self.observe(cluster, anew=True)
            last = {node.name for node in seen.nodes} <= {host.name}
            if not last and (words := quorum.refusal(seen.etcd, host.name)):
                raise RefusedError(words, resolution="bring back what is down, then run it again")
        return self.works.leave(self.site, cluster, hosts, self.tell(_urns(leaving)), dismantle=whole or last)


def _urns(items: Mapping[Hashable, Work]) -> dict[str, str]:
    return {one.host.name: one.urn for one in items.values()}


def _by_cluster(items: Mapping[Hashable, Work]) -> list[tuple[Cluster, dict[Hashable, Work]]]:
    found: dict[str, tuple[Cluster, dict[Hashable, Work]]] = {}
    for key, one in items.items():
        if one.cluster is not None:
            found.setdefault(one.cluster.name, (one.cluster, {}))[1][key] = one
    return list(found.values())


def as_values(model: Host | Cluster) -> dict[str, Any]:
    """Return a part of a site as values of Pulumi: what is needed when the site names it no more."""
    values: dict[str, Any] = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    return values
