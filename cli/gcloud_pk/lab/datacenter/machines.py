"""The provider `lab` of machines for a stack: the nodes of lab data centres."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from gcloud_pk.console import Console
from gcloud_pk.errors import UnavailableError
from gcloud_pk.lab.datacenter import relay
from gcloud_pk.lab.nodes import image, life, machine, memory
from gcloud_pk.lab.nodes.layout import DATACENTER, Layout, Node, layouts
from gcloud_pk.model.site import Host, Site
from gcloud_pk.stack.machines import over_ssh
from gcloud_pk.stack.works import Facts


def find(host: Host) -> tuple[Layout, Node] | None:
    """Return the lab and the node that a host of a site is, by its host keys: sites of labs all have one name."""
    for lab in layouts():
        if lab.kind is not DATACENTER:
            continue
        known = memory.load(lab)
        for node in known.nodes if known else ():
            if node.name == host.name and machine.has_host_keys(lab, node, host.host_keys):
                return lab, node
    return None


class LabMachines:
    """Nodes of a lab data centre: booted when they are wanted, switched off and wiped when they leave the site."""

    def reach(self, site: Site, host: Host, ssh_config: Path | None) -> Facts:
        """Boot the node where it does not run, then ask it. Raises UnavailableError, PartialError."""
        lab, node = _found(host)
        if not machine.runs(lab, node):
            _boot(lab, node)
        return over_ssh(site, host, ssh_config or lab.ssh_config)

    def release(self, site: Site, host: Host) -> None:  # noqa: ARG002 - of the interface
        """Switch the node off and forget what it wrote; a host of no lab that is there has nothing to give up."""
        found = find(host)
        if found is None:
            return
        lab, node = found
        with life.at_work(lab, _quiet()):
            machine.stop(lab, (node,), 0)
            machine.remove(lab.node(node))

    def api_proxy(self, site: Site) -> str | None:
        """Return the URL of the proxy that leads to the lab's API; None where the lab does not run."""
        found = next(filter(None, map(find, site.spec.hosts)), None)
        return relay.url(found[0]) if found else None


def _found(host: Host) -> tuple[Layout, Node]:
    found = find(host)
    if found is None:
        raise UnavailableError(
            f"{host.name}: no lab data centre has a node of that name and host keys",
            resolution="gcloud-pk lab datacenter up",
        )
    return found


def _boot(lab: Layout, node: Node) -> None:
    console = _quiet()
    with life.at_work(lab, console), ExitStack() as held:
        known = memory.load(lab)
        if known is None:
            raise UnavailableError(f"{node.name}: its lab is gone", resolution=f"{lab.call} up{lab.option}")
        keys = [key for key in (known.image, known.layer) if key]
        keeping = [held.enter_context(image.in_use(key)) for key in keys]
        layer = image.root(known.layer) if known.layer else None
        machine.make(lab, node, image.root(known.image), layer, known.nodes)
        life.start(lab, (node,), keeping, console)


def _quiet() -> Console:
    """Return a console that keeps standard output free: a stack's provider speaks its protocol there."""
    return Console("json")
