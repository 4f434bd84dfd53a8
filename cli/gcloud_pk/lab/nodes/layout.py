"""Where a lab of nodes lies, what it is called in the kernel, and which nodes stand where.

Everything that a lab makes outside its folder (network namespaces, cgroups, sockets) carries an id that follows from
the folder's path alone: whoever cleans up needs no memory of what a killed run made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gcloud_pk import paths
from gcloud_pk.errors import WrongUsageError
from gcloud_pk.lab.state import check_name
from gcloud_pk.text import number_of

SITE = "lab-nodes"
ADMIN_USER = "gcloud-pk"
AUDIT_USER = "gcloud-pk-audit"
APPROVER = "approver@lab.example"

PREFIX = "10.207.0"
NETWORK = f"{PREFIX}.0/24"
GATEWAY = f"{PREFIX}.1"
MOST_NODES = 64


@dataclass(frozen=True, slots=True)
class Node:
    """One machine: `number` counts from 1, `rack` is that of its bridge."""

    number: int
    rack: int

    @property
    def name(self) -> str:
        """The node's name, which is its hostname too."""
        return f"node-{self.number}"

    @property
    def rack_name(self) -> str:
        """The rack's name."""
        return f"rack-{self.rack}"

    @property
    def address(self) -> str:
        """The node's IPv4 address."""
        return f"{PREFIX}.{10 + self.number}"

    @property
    def mac(self) -> str:
        """The node's MAC address: locally administered, and the same after every boot."""
        return f"02:00:0a:cf:00:{10 + self.number:02x}"


def plan(count: int, racks: int) -> tuple[Node, ...]:
    """Return `count` nodes, spread over `racks` racks in turn. Raises WrongUsageError."""
    if not 1 <= count <= MOST_NODES:
        raise WrongUsageError(f"a lab has 1 to {MOST_NODES} nodes, not {count}")
    if not 1 <= racks <= count:
        most = f"1 to {count} racks" if count > 1 else "1 rack"
        raise WrongUsageError(f"{number_of(count, 'node')} can stand in {most}, not {racks}")
    return tuple(Node(number, (number - 1) % racks + 1) for number in range(1, count + 1))


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts of one lab lie."""

    folder: Path

    @property
    def id(self) -> str:
        """What tells this lab from others in the kernel's namespaces and cgroups."""
        return hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]

    @property
    def prefix(self) -> str:
        """What the names of the lab's network namespaces begin with."""
        return f"gpk-{self.id}-"

    @property
    def spine(self) -> str:
        """The network namespace that joins the racks."""
        return f"{self.prefix}spine"

    def rack(self, node: Node | int) -> str:
        """Return the network namespace of a rack."""
        return f"{self.prefix}rack-{node if isinstance(node, int) else node.rack}"

    def namespace(self, node: Node) -> str:
        """Return a node's network namespace."""
        return f"{self.prefix}{node.name}"

    @property
    def cgroup(self) -> str:
        """The lab's cgroup, below the root of every hierarchy."""
        return f"gcloud-pk-{self.id}"

    @property
    def sockets(self) -> Path:
        """The folder of SSH's control sockets; short, because a socket's path has at most 107 bytes (unix(7))."""
        return Path("/run/gcloud-pk", self.id)

    @property
    def state(self) -> Path:
        """What is remembered of the lab."""
        return self.folder / "lab.json"

    @property
    def keys(self) -> Path:
        """Private keys, each with its `.pub`: admin, audit, approver, keeper."""
        return self.folder / "keys"

    def key(self, name: str) -> Path:
        """Return a private key's file."""
        return self.keys / name

    @property
    def ssh_config(self) -> Path:
        """What `ssh -F` takes."""
        return self.folder / "ssh_config"

    @property
    def known_hosts(self) -> Path:
        """The nodes' public host keys."""
        return self.folder / "known_hosts"

    @property
    def registry(self) -> Path:
        """The lab's registry."""
        return self.folder / "registry"

    @property
    def trust(self) -> Path:
        """The keepers of the registry, outside of it."""
        return self.folder / "trust"

    def runs(self, site: str) -> Path:
        """Return where runs over one of its sites are kept.

        Sites of labs all have one name, and their runs are none of each other's business.
        """
        return paths.state("nodes", f"{site}@{self.folder.name}")

    @property
    def nodes(self) -> Path:
        """The folder of the nodes' folders."""
        return self.folder / "nodes"

    def node(self, node: Node) -> Path:
        """Return a node's folder: `upper` (all it wrote), `work`, `root`, `lower` (a link to the image), `log`."""
        return self.nodes / node.name


def _home() -> Path:
    return paths.state("node-labs")


def layout(name: str) -> Layout:
    """Return where the lab `name` lies, whether it is there or not. Raises WrongUsageError for a name that is none."""
    return Layout(_home() / check_name(name))


def lock_file(name: str) -> Path:
    """Return the lab's lock file; it lies beside the folder, which can be purged."""
    return _home() / f".{check_name(name)}.lock"


def layouts() -> Iterator[Layout]:
    """Yield where this user's labs of nodes lie."""
    home = _home()
    if home.is_dir():
        for entry in sorted(home.iterdir()):
            if not entry.name.startswith(".") and entry.is_dir():
                yield Layout(entry)


def of_registry(registry: Path) -> Layout | None:
    """Return the lab whose own registry this folder is; None where it is nobody's."""
    try:
        there = registry.resolve()
    except (OSError, RuntimeError):
        return None
    return next((lab for lab in layouts() if lab.registry.resolve() == there), None)
