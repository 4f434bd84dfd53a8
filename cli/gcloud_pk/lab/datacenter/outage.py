"""How a lab data centre loses an element and gets it back, for drills: a rack, a node, a feed, everything."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from gcloud_pk.console import Console
from gcloud_pk.errors import UnavailableError
from gcloud_pk.facility.casualties import Casualties
from gcloud_pk.lab.datacenter import racks, registry_server
from gcloud_pk.lab.nodes import image, life, machine, memory, network
from gcloud_pk.lab.nodes.layout import Layout, Node
from gcloud_pk.lab.nodes.memory import Memory

IMAGE = f"{registry_server.PREFIX}/python:3"
"""What a drill's own service may run in a lab."""


class LabOutage:
    """Takes elements of a lab out without a word to anybody, and brings them back."""

    name = "lab"

    def __init__(self, lab: Layout, console: Console) -> None:
        self._lab = lab
        self._console = console
        self.prefix: tuple[str, ...] = ("nsenter", f"--net=/run/netns/{lab.spine}")

    def unable(self, lost: Casualties) -> str | None:
        """Return why this element cannot be taken out, or None: what takes no host with it is not there in a lab."""
        if lost.target.kind == "feed" and not (lost.down or lost.cut_off):
            return f"a lab has no {lost.area} of its own, and by the site's graph no host hangs on it alone"
        if lost.cut_off:
            return "a lab has no carriers: its racks are cut off together with their hosts (--lose rack:NAME)"
        return None

    def take_out(self, lost: Casualties) -> None:
        """Kill what goes, at one moment. Raises UnavailableError where there is no such lab, or it has no such node."""
        if lost.target.kind == "rack":
            racks.pull(self._lab.folder.name, lost.target.name, self._console)
            return
        with life.at_work(self._lab, self._console):
            machine.kill(self._lab, self._nodes(self._known(), lost.down))

    def give_back(self, lost: Casualties) -> None:
        """Boot what went; return when it answers over SSH. Raises PartialError where a node does not."""
        if lost.target.kind == "rack":
            racks.give_back(self._lab.folder.name, lost.target.name, self._console)
            return
        with life.at_work(self._lab, self._console), ExitStack() as held:
            known = self._known()
            keeping = [held.enter_context(image.in_use(key)) for key in filter(None, (known.image, known.layer))]
            nodes = self._nodes(known, lost.down)
            for rack in {node.rack for node in nodes}:
                network.connect_rack(self._lab, rack, up=True)
            life.start(self._lab, nodes, keeping, self._console)

    def _known(self) -> Memory:
        known = memory.load(self._lab)
        if known is None:
            raise UnavailableError(
                f"there is no lab data centre {self._lab.folder.name}",
                resolution=f"{self._lab.call} up{self._lab.option}",
            )
        return known

    def _nodes(self, known: Memory, names: Sequence[str]) -> tuple[Node, ...]:
        by_name = {node.name: node for node in known.nodes}
        if missing := [name for name in names if name not in by_name]:
            raise UnavailableError(
                f"lab data centre {self._lab.folder.name} has no node {', '.join(missing)}",
                resolution="the site file names hosts that the lab has not: gcloud-pk lab datacenter status",
            )
        return tuple(by_name[name] for name in names)
