"""A lab data centre: up, status, down. Bare nodes over racks, and what they are provisioned with lies at hand."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gcloud_pk.console import Console
from gcloud_pk.errors import ExitCode, RefusedError, UnavailableError
from gcloud_pk.lab.datacenter import doctor, machine_image, registry_server, relay, site
from gcloud_pk.lab.nodes import access, image, life, memory, registry
from gcloud_pk.lab.nodes.layout import CLUSTER_RACKS, DATACENTER, Layout, Node, layout
from gcloud_pk.lab.nodes.memory import Memory
from gcloud_pk.programs import cilium, files, images, pins, sourcing
from gcloud_pk.programs.cilium import Cilium
from gcloud_pk.programs.sourcing import Program
from gcloud_pk.registry.folder import Registry
from gcloud_pk.registry.registration import register_cluster

COUNT = 6
NETWORK = "bridge"
"""What is quick; it enforces no NetworkPolicy."""

_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Wish:
    """What `up` was asked for. None: as it was, or the default. `network`: bridge or cilium."""

    count: int | None = None
    network: str | None = None
    fresh: bool = False
    mirror: str | None = None
    programs: sourcing.Wish = field(default_factory=sourcing.Wish)


@dataclass(frozen=True)
class Centre:
    """A lab data centre as it was found. `uid`: of its cluster, as the lab's registry has it."""

    lab: life.Lab
    network: str
    uid: str | None

    @property
    def layout(self) -> Layout:
        """Where it lies."""
        return self.lab.layout

    @property
    def code(self) -> ExitCode:
        """What `lab datacenter status` exits with: 6 when a node that should run does not answer."""
        return self.lab.code

    def as_dict(self) -> dict[str, Any]:
        """Return the shape of `--format json`."""
        return {
            **self.lab.as_dict(),
            "passphrase": str(passphrase(self.layout)),
            "network": self.network,
            "cluster": {
                "name": site.CLUSTER,
                "endpoint": site.ENDPOINT,
                "uid": self.uid,
                "proxy": relay.url(self.layout),
            },
        }


def passphrase(lab: Layout) -> Path:
    """Return the file with the passphrase of the secrets in the lab's stack."""
    return lab.folder / "passphrase"


def up(name: str, wish: Wish, console: Console) -> Centre:
    """Bring a lab data centre's nodes up, or mend what does not run; return it when every node answers over SSH.

    Raises RefusedError for another network than the nodes were made for, UnavailableError where it cannot run here,
    PartialError when a node does not answer.
    """
    lab = layout(name, DATACENTER)
    known = memory.load(lab)
    network = wish.network or (known.network if known else None) or NETWORK
    if known and known.network and network != known.network and not wish.fresh:
        raise RefusedError(
            f"the nodes of lab data centre {name} were made for the network {known.network}; no node was touched",
            resolution=f"throw away what they wrote: {lab.call} up --network {network} --fresh{lab.option}",
        )
    extras = life.Extras(
        COUNT,
        lambda base, _: machine_image.ensure(base, _programs(wish, console), console, _cilium(network, wish, console)),
        lambda lab, hosts, now: _site(lab, hosts, now, _programs(wish, console), console),
        keeps_site=False,
        settings=site.settings(f"{registry_server.PREFIX}/"),
    )
    nodes = life.Wish(wish.count, CLUSTER_RACKS, wish.fresh, wish.mirror, network)
    count = wish.count or (known.count if known else COUNT)
    doctor.require(count, wish.programs, image_at_hand=life.stays(known, nodes), own=lab.cgroup)
    life.up(name, nodes, console, DATACENTER, extras)
    return status(name)


def _programs(wish: Wish, console: Console) -> dict[str, Program]:
    return sourcing.obtain(pins.load("datacenter"), wish.programs, console)


def _cilium(network: str, wish: Wish, console: Console) -> Cilium | None:
    return cilium.obtain(wish.programs, console) if network == "cilium" else None


def _site(
    lab: Layout,
    hosts: Sequence[tuple[Node, tuple[str, ...]]],
    now: Memory,
    programs: dict[str, Program],
    console: Console,
) -> str:
    """Start what the site names, and return the content of its file."""
    if not passphrase(lab).is_file():
        files.write(passphrase(lab), f"{secrets.token_hex(32)}\n")
    relay.ensure(lab)
    made = images.obtain(programs, image.root(now.image), image.architecture(), registry_server.PREFIX, console)
    server = registry_server.ensure(lab, made, programs)
    uid = site.written_uid(lab) if now.site else None
    return site.content(lab, hosts, site.Wanted(now.network or "bridge", server.prefix, server.authority_pem, uid))


_ASK_UID = (
    "sudo -n kubectl --kubeconfig /etc/kubernetes/admin.conf --request-timeout 10s "
    "get namespace kube-system --output jsonpath={.metadata.uid}"
)


def cluster_uid(name: str) -> str:
    """Return the UID of the cluster that the nodes now are, as one of its control planes says it.

    Raises UnavailableError where none of them answers.
    """
    lab = layout(name, DATACENTER)
    known = memory.load(lab)
    said = []
    for node in known.nodes if known else ():
        if site.role(node) == site.CONTROL_PLANE:
            done = access.run(lab, node, _ASK_UID, patience=20)
            if not done.returncode and _UID.fullmatch(done.stdout.strip()):
                return done.stdout.strip()
            said += [f"{node.name}: {line}" for line in done.stderr.splitlines()[:2]]
    raise UnavailableError(
        f"no control plane of lab data centre {name} tells the UID of its cluster",
        details=said,
        resolution=f"see how it is: gcloud-pk datacenter status {lab.kind.site} --registry {lab.registry}",
    )


def register(name: str, uid: str, console: Console) -> None:
    """Write the UID of the cluster that the nodes now are into the lab's registry, and have its keeper sign it.

    Raises UnavailableError where there is no such lab, RefusedError and InvalidInputError as the registry does.
    """
    lab = layout(name, DATACENTER)
    with life.at_work(lab, console):
        found = Registry.open(lab.registry)
        if site.written_uid(lab) == uid and found.trust(lab.trust).trusted:
            return
        register_cluster(lab.registry, found.sites[lab.kind.site], uid, cluster=site.CLUSTER, replace=True)
        registry.sign(lab)


def status(name: str) -> Centre:
    """Return how a lab data centre is. Raises UnavailableError when there is none of that name."""
    lab = life.status(name, DATACENTER)
    known = memory.load(lab.layout)
    return Centre(lab, (known.network if known else None) or "bridge", site.written_uid(lab.layout))


def down(name: str, *, purge: bool, console: Console) -> list[str]:
    """Stop it, and with `purge` remove all that it wrote; return the names of the nodes that had run."""
    return life.down(name, purge=purge, console=console, kind=DATACENTER)
