"""Racks as a drill has them: pulled, and given back.

A rack that is pulled loses its uplink and its nodes at one moment, without a word to anybody: what they had written
stays with this machine's page cache, so that it is no proof of what a lost power supply does to files.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from gcloud_pk.console import Console
from gcloud_pk.errors import UnavailableError, WrongUsageError
from gcloud_pk.lab.nodes import image, life, machine, memory, network
from gcloud_pk.lab.nodes.layout import DATACENTER, Layout, Node, layout
from gcloud_pk.lab.nodes.memory import Memory


@contextmanager
def _at(name: str, rack: str, console: Console) -> Iterator[tuple[Layout, Memory, int, tuple[Node, ...]]]:
    """Hold the lab's lock; yield the lab, its memory, the rack's number and nodes. Raises UnavailableError."""
    lab = layout(name, DATACENTER)
    with life.at_work(lab, console):
        known = memory.load(lab)
        if known is None:
            raise UnavailableError(f"there is no lab datacenter {name}", resolution=f"{lab.call} up{lab.option}")
        racks = {node.rack_name: node.rack for node in known.nodes}
        if rack not in racks:
            raise WrongUsageError(f"the lab has no rack {rack!r}", details=[f"its racks: {', '.join(racks)}"])
        yield lab, known, racks[rack], tuple(node for node in known.nodes if node.rack_name == rack)


def pull(name: str, rack: str, console: Console) -> list[str]:
    """Take a rack's uplink down and kill its nodes at once; return the names of its nodes. Takes some seconds at most.

    Raises UnavailableError where there is no such lab or network, WrongUsageError where it has no such rack.
    """
    with _at(name, rack, console) as (lab, _, number, nodes):
        network.connect_rack(lab, number, up=False)
        machine.kill(lab, nodes)
        return [node.name for node in nodes]


def give_back(name: str, rack: str, console: Console) -> list[str]:
    """Bring a rack's uplink up and boot its nodes; return their names when they answer over SSH.

    Raises PartialError when a node does not answer within `life.PATIENCE` seconds.
    """
    with _at(name, rack, console) as (lab, known, number, nodes), ExitStack() as held:
        keys = filter(None, (known.image, known.layer))
        keeping = [held.enter_context(image.in_use(key)) for key in keys]
        network.connect_rack(lab, number, up=True)
        life.start(lab, nodes, keeping, console)
        return [node.name for node in nodes]
