"""Where a lab of nodes lies, what it is called in the kernel, and which nodes stand where.

Everything that a lab makes outside its folder (network namespaces, cgroups, sockets) carries an id that follows from
the folder's path alone: whoever cleans up needs no memory of what a killed run made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
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

VIRTUAL_ADDRESS = f"{PREFIX}.10"
"""Of a lab data centre's API; whichever control-plane node holds it."""
API_NAME = "api.lab.example"
IMAGES_NAME = "registry.lab.example"
"""What serves a lab data centre's images, on the spine."""


@dataclass(frozen=True, slots=True)
class Node:
    """One machine: `number` counts from 1, `rack` is that of its bridge, `label` its name where it has its own."""

    number: int
    rack: int
    label: str = ""

    @property
    def name(self) -> str:
        """The node's name, which is its hostname too."""
        return self.label or f"node-{self.number}"

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


CLUSTER_RACKS = 3
CLUSTER_SIZES = (3, 6)


def cluster_plan(count: int, racks: int) -> tuple[Node, ...]:
    """Return a control-plane node in each of three racks and, of six nodes, a worker too. Raises WrongUsageError."""
    if count not in CLUSTER_SIZES or racks != CLUSTER_RACKS:
        sizes = " or ".join(map(str, CLUSTER_SIZES))
        raise WrongUsageError(f"a lab data centre has {sizes} nodes in {CLUSTER_RACKS} racks, not {count} in {racks}")
    each = range(1, CLUSTER_RACKS + 1)
    planes = [Node(rack, rack, f"c{rack}") for rack in each]
    workers = [Node(10 + rack, rack, f"w{rack}") for rack in each] if count > CLUSTER_RACKS else []
    return (*planes, *workers)


@dataclass(frozen=True, slots=True)
class Kind:
    """What tells one kind of lab from another.

    `command`: how it is called on the command line; `home`: the folder of its labs in the state folder; `plan`: count
    and racks → nodes. `disks`: folders of a node that lie on the machine's own file system, because an overlay cannot
    lie on another and databases want none. `names`: address and name of what else nodes know, in /etc/hosts;
    `name_servers`: what stands in their resolv.conf, because a cluster's DNS does not start without one.
    `capabilities` and `system_calls` are systemd-nspawn's.
    """

    name: str
    command: str
    site: str
    home: str
    plan: Callable[[int, int], tuple[Node, ...]]
    capabilities: tuple[str, ...]
    system_calls: tuple[str, ...]
    disks: tuple[str, ...] = ()
    names: tuple[tuple[str, str], ...] = ()
    name_servers: tuple[str, ...] = ()


NODES = Kind("nodes", "lab nodes", SITE, "node-labs", plan, ("CAP_NET_ADMIN",), ("@keyring",))

DATACENTER = Kind(
    "datacenter", "lab datacenter", "lab-dc", "datacenter-labs", cluster_plan,
    # Beyond the network: what a network plug-in that loads BPF programs asks for, and kubelet's log of the kernel.
    ("CAP_NET_ADMIN", "CAP_BPF", "CAP_PERFMON", "CAP_SYSLOG", "CAP_IPC_LOCK"),
    ("@keyring", "bpf", "perf_event_open"),
    ("/var/lib/containerd", "/var/lib/kubelet", "/var/lib/etcd"),
    ((VIRTUAL_ADDRESS, API_NAME), (GATEWAY, IMAGES_NAME)),
    (GATEWAY,),
)  # fmt: skip
"""Source: the data-centre lab's measurements; section 1."""

KINDS = {kind.name: kind for kind in (NODES, DATACENTER)}


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts of one lab lie."""

    folder: Path
    kind: Kind = NODES

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
        own = self.folder.name if self.kind is NODES else f"{self.kind.name}.{self.folder.name}"
        return paths.state("nodes", f"{site}@{own}")

    @property
    def nodes(self) -> Path:
        """The folder of the nodes' folders."""
        return self.folder / "nodes"

    def node(self, node: Node) -> Path:
        """Return a node's folder.

        `upper` (all it wrote), `work`, `root`, `disks` (what is on no overlay), `log`; `lower`, a link to the image,
        and `layer`, a link to what lies on the image, where something does.
        """
        return self.nodes / node.name

    def disk(self, node: Node, path: str) -> Path:
        """Return the folder of this machine that a node has at `path`, one of its kind's disks."""
        return self.node(node) / "disks" / Path(path).name

    @property
    def call(self) -> str:
        """How commands on this lab begin: `gcloud-pk lab nodes`."""
        return f"gcloud-pk {self.kind.command}"

    @property
    def option(self) -> str:
        """What names this lab on the command line, behind a command."""
        return "" if self.folder.name == "default" else f" --name {self.folder.name}"

    @property
    def lock(self) -> Path:
        """The lab's lock file; it lies beside the folder, which can be purged."""
        return self.folder.with_name(f".{self.folder.name}.lock")


def _home(kind: Kind) -> Path:
    return paths.state(kind.home)


def layout(name: str, kind: Kind = NODES) -> Layout:
    """Return where the lab `name` lies, whether it is there or not. Raises WrongUsageError for a name that is none."""
    return Layout(_home(kind) / check_name(name), kind)


def lock_file(name: str) -> Path:
    """Return the lock file of a lab of nodes."""
    return layout(name).lock


def layouts() -> Iterator[Layout]:
    """Yield where this user's labs of nodes lie, of every kind."""
    for kind in KINDS.values():
        home = _home(kind)
        if home.is_dir():
            for entry in sorted(home.iterdir()):
                if not entry.name.startswith(".") and entry.is_dir():
                    yield Layout(entry, kind)


def of_registry(registry: Path) -> Layout | None:
    """Return the lab whose own registry this folder is; None where it is nobody's."""
    try:
        there = registry.resolve()
    except (OSError, RuntimeError):
        return None
    return next((lab for lab in layouts() if lab.registry.resolve() == there), None)
