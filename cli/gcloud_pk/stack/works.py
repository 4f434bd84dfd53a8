"""What the resource provider has done on machines: the one interface between resources and whatever does the work.

The real one runs Ansible (`ansible_works.py`); tests have a scripted one. Every work may be done again: what is so
already stays, and what was begun is gone on with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gcloud_pk.model.site import Cluster, Host, Site

Tell = Callable[[str, str], None]
"""Told while works go on: the name of a host, and what is done on it (one line, untrusted)."""


@dataclass(frozen=True)
class Outcome:
    """What became of a work on one host or cluster. `written`: something was changed there, if only a part.

    `words`: why it was not done, `remedy`: what to do about it; both one line.
    """

    done: bool
    written: bool = True
    words: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Facts:
    """What a machine says of itself, untrusted. `memory`: MiB."""

    system: str
    kernel: str
    architecture: str
    cpus: int
    memory: int


@dataclass(frozen=True)
class Node:
    """A node of a cluster as its API tells. `version`: its kubelet's."""

    name: str
    ready: bool
    version: str


@dataclass(frozen=True)
class EtcdMember:
    """A member of etcd, by the name of its host."""

    name: str
    healthy: bool


@dataclass(frozen=True)
class Observation:
    """A cluster as it is. `uid`: of its kube-system namespace.

    `drifted`: nodes on which settings were changed by somebody else, and what those are of (kubelet, control_plane).
    """

    uid: str
    nodes: tuple[Node, ...] = ()
    etcd: tuple[EtcdMember, ...] = ()
    drifted: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def node(self, name: str) -> Node | None:
        """Return the node of a name."""
        return next((one for one in self.nodes if one.name == name), None)


@dataclass(frozen=True)
class Access:
    """How a cluster is reached. `ca`: PEM; `kubeconfigs`: secret, by identity (admin, onboarder, verifier, auditor)."""

    ca: str
    kubeconfigs: Mapping[str, str] = field(repr=False)


class Works(Protocol):
    """Everything that is done outside of Pulumi. All raise UnavailableError where nothing could even begin."""

    def reach(self, site: Site, host: Host) -> Facts:
        """See that a machine is there, is the one meant, and lets us in; have it if its provider makes machines."""
        ...

    def release(self, site: Site, host: Host) -> None:
        """Give a machine back to its provider."""
        ...

    def harden(self, site: Site, hosts: Sequence[Host], tell: Tell) -> Mapping[str, Outcome]:
        """Bring machines to the baseline; return the outcome by the host's name."""
        ...

    def deviations(self, site: Site, hosts: Sequence[Host], tell: Tell) -> Mapping[str, Sequence[str]]:
        """Return what hardening would change, by the host's name; changes nothing. Who did not answer is left out."""
        ...

    def bootstrap(
        self, site: Site, cluster: Cluster, hosts: Sequence[Host], tell: Tell, company: Sequence[Host] = ()
    ) -> Outcome:
        """Make the cluster on the first of some control planes, or bring those that it has to its settings.

        `company`: machines that are to join next, and may be prepared for it meanwhile; the outcome is not theirs.
        """
        ...

    def access(self, site: Site, cluster: Cluster) -> Access:
        """Fetch the credentials of a cluster."""
        ...

    def join(self, site: Site, cluster: Cluster, hosts: Sequence[Host], tell: Tell) -> Mapping[str, Outcome]:
        """Make machines nodes of the cluster, or bring those that are to its settings; control planes in turn."""
        ...

    def leave(
        self, site: Site, cluster: Cluster, hosts: Sequence[Host], tell: Tell, *, dismantle: bool
    ) -> Mapping[str, Outcome]:
        """Cordon, drain, take out of etcd and of the cluster, reset. `dismantle`: only reset, the cluster goes too."""
        ...

    def addons(self, site: Site, cluster: Cluster, hosts: Sequence[Host], tell: Tell) -> Outcome:
        """Put in place what all nodes of a cluster share: network routes, DNS. `hosts`: all its members."""
        ...

    def observe(self, site: Site, cluster: Cluster, *, whole: bool = False) -> Observation:
        """Look at a cluster. Raises UnavailableError where no control plane answers.

        `whole`: at its workers as well, who alone can say what was changed on them.
        """
        ...
