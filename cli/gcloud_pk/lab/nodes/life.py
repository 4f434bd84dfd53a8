"""A lab of nodes: up, status, down. Every step can be killed; the next `up` or `down` mends what was left."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from gcloud_pk.console import Console
from gcloud_pk.errors import ExitCode, PartialError, RefusedError, UnavailableError
from gcloud_pk.lab.nodes import access, cgroups, doctor, image, inotify, machine, memory, network, registry
from gcloud_pk.lab.nodes.children import require
from gcloud_pk.lab.nodes.layout import APPROVER, NODES, Kind, Layout, Node, layout, layouts
from gcloud_pk.lab.nodes.memory import Memory
from gcloud_pk.programs import files
from gcloud_pk.programs.heartbeat import duration, heartbeat

COUNT = 3
PATIENCE = 90.0
"""Seconds until a node has to answer; it takes two, on a busy machine more."""
_POLL = 0.1
_TAIL = 8


@dataclass(frozen=True)
class Wish:
    """What `up` was asked for. None: as it was, or the default. `fresh`: throw away what the nodes wrote."""

    count: int | None = None
    racks: int | None = None
    fresh: bool = False
    mirror: str | None = None
    network: str | None = None


@dataclass(frozen=True)
class Extras:
    """What a kind of lab has beyond bare nodes.

    `count`: its nodes where nobody says; `layer`: image → key of what lies on it (made where it is missing);
    `site`: the content of the site's file, asked for when the lab's network stands, so that it can start what the site
    names; `keeps_site`: whether what others wrote into the site outlives nodes that are made anew; `settings`: of the
    lab's registry, for when it is made.
    """

    count: int
    layer: Callable[[str, Console], str | None]
    site: Callable[[Layout, Sequence[tuple[Node, tuple[str, ...]]], Memory], str]
    keeps_site: bool = True
    settings: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a node was found. `pid`: of its own systemd, on this machine."""

    node: Node
    running: bool
    pid: int | None
    answers: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the shape of `nodes[]`."""
        return {
            "name": self.node.name,
            "rack": self.node.rack_name,
            "address": self.node.address,
            "running": self.running,
            "pid": self.pid,
            "answers": self.answers,
        }


@dataclass(frozen=True)
class Lab:
    """A lab as it was found."""

    name: str
    layout: Layout
    image: str
    wanted: bool
    nodes: tuple[Standing, ...] = field(default_factory=tuple)

    @property
    def code(self) -> ExitCode:
        """What `lab nodes status` exits with: 6 when a node that should run does not answer."""
        return (
            ExitCode.FAILED if self.wanted and not all(n.running and n.answers for n in self.nodes) else ExitCode.DONE
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the shape of `--format json`."""
        lab = self.layout
        return {
            "name": self.name,
            "running": all(n.running for n in self.nodes),
            "site": lab.kind.site,
            "registry": str(lab.registry),
            "trust": str(lab.trust),
            "approver": {"principal": APPROVER, "key": str(lab.key("approver"))},
            "keeper": {"principal": registry.KEEPER, "key": str(lab.key("keeper"))},
            "ssh_config": str(lab.ssh_config),
            "folder": str(lab.folder),
            "image": self.image,
            "nodes": [n.as_dict() for n in self.nodes],
        }


def option(name: str) -> str:
    """Return how a lab is named on the command line."""
    return "" if name == "default" else f" --name {name}"


@contextmanager
def at_work(lab: Layout, console: Console) -> Iterator[None]:
    """Hold the lab's lock; a full or read-only disk becomes an error that names it."""
    name = lab.folder.name
    try:
        with files.locked(lab.lock, lambda: console.note(f"waiting: another command is at work on lab {name}")):
            yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise UnavailableError(
            f"the lab {name} of nodes cannot be written: {where}{error.strerror or error}",
            resolution=f"see what is missing: {lab.call} doctor",
        ) from error


_PLAIN = Extras(COUNT, lambda _image, _console: None, lambda lab, hosts, _memory: registry.site(lab, hosts))


def up(name: str, wish: Wish, console: Console, kind: Kind = NODES, extras: Extras = _PLAIN) -> Lab:
    """Bring a lab of nodes up, or mend it; return it when every node answers over SSH.

    Raises UnavailableError with the doctor's words where it cannot run here, RefusedError where the nodes' image is
    gone, PartialError when a node does not answer.
    """
    lab = layout(name, kind)
    doctor.require(image_at_hand=stays(memory.load(lab), wish))
    with at_work(lab, console), ExitStack() as held:
        known = memory.load(lab)
        count = wish.count or (known.count if known else extras.count)
        racks = wish.racks or min(known.racks if known else extras.count, count)
        kind.plan(count, racks)  # refuses what cannot be, before anything is built
        keys = _images(lab, known, wish, extras, console)
        keeping = tuple(held.enter_context(image.in_use(key)) for key in keys)
        site, network_ = (known.site, known.network) if known else (None, None)
        if wish.fresh and not extras.keeps_site:
            site = None
        layer = keys[1] if len(keys) > 1 else None
        now = Memory(name, count, racks, keys[0], True, site, layer, wish.network or network_, kind)
        _clear(lab, known, now, wish, console)
        files.make_folder(lab.folder)
        memory.save(lab, now)
        _make(lab, now, extras)
        start(lab, now.nodes, keeping, console)
        image.remove_old({image.recipe().key, *_kept(lab), *keys})
    return status(name, kind)


def _images(lab: Layout, known: Memory | None, wish: Wish, extras: Extras, console: Console) -> tuple[str, ...]:
    """Return the keys of the image to use and of what lies on it, if anything: nodes that have written stay on both."""
    key = _image(lab, known, wish, console)
    layer = known.layer if known and stays(known, wish) else extras.layer(key, console)
    return (key, layer) if layer else (key,)


def _kept(own: Layout) -> Iterator[str]:
    """Yield the images that this user's labs stand on."""
    for lab in layouts():
        try:
            known = memory.load(lab)
        except UnavailableError:
            continue
        if known and lab != own:
            yield from filter(None, (known.image, known.layer))


def stays(known: Memory | None, wish: Wish) -> bool:
    """Whether the lab's nodes stand on an image that is there, and are to stay on it."""
    if known is None or wish.fresh:
        return False
    return image.cached(known.image) and (known.layer is None or image.cached(known.layer))


def _image(lab: Layout, known: Memory | None, wish: Wish, console: Console) -> str:
    """Return the image to use: nodes that have written stay on theirs."""
    if known and stays(known, wish):
        if known.image != image.recipe().key:
            console.note(f"the nodes keep the image that they were made from; the newest: --fresh{lab.option}")
        return known.image
    if known and not wish.fresh and _node_folders(lab):
        raise RefusedError(
            f"the image that the nodes of lab {lab.folder.name} stand on is gone ({known.image})",
            resolution=f"throw away what they wrote: {lab.call} up --fresh{lab.option}",
        )
    return image.ensure(image.recipe(), wish.mirror, console)


def _node_folders(lab: Layout) -> list[Path]:
    return sorted(entry for entry in lab.nodes.iterdir() if entry.is_dir()) if lab.nodes.is_dir() else []


def _clear(lab: Layout, known: Memory | None, now: Memory, wish: Wish, console: Console) -> None:
    """Stop and remove what does not fit to what is wanted now: other racks, nodes too many, and nodes to be reset."""
    there = network.namespaces(lab)
    fits = known is not None and network.has_fabric(lab, now.racks) and not wish.fresh
    former = known.nodes if known else now.nodes
    if not fits and (there or cgroups.left(lab.cgroup)):
        console.note("taking the former network and its nodes down")
        _stop_all(lab, former)
    elif fits:
        surplus = tuple(node for node in former if node not in now.nodes)
        if surplus:
            machine.stop(lab, surplus, 0)
    names = {node.name for node in now.nodes}
    for folder in _node_folders(lab):
        if wish.fresh or folder.name not in names:
            machine.remove(folder)


def _stop_all(lab: Layout, nodes: Sequence[Node], limit: float = 0) -> list[Node]:
    """Stop nodes, then end and remove whatever of the lab is left on this machine, whoever started it."""
    stopped = machine.stop(lab, tuple(nodes), limit)
    network.end(lab)
    cgroups.end(lab.cgroup)
    access.close(lab)
    return stopped


def _make(lab: Layout, now: Memory, extras: Extras) -> None:
    """Bring keys, nodes' folders, SSH's files, the registry and the network to what they should be."""
    nodes = now.nodes
    access.ensure_keys(lab)
    files.make_folder(lab.sockets)
    root = image.root(now.image)
    layer = image.root(now.layer) if now.layer else None
    files.make_folder(lab.nodes)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda node: machine.make(lab, node, root, layer, nodes), nodes))
    hosts = [(node, machine.host_keys(lab, node)) for node in nodes]
    files.write_if_changed(lab.known_hosts, access.known_hosts(hosts))
    files.write_if_changed(lab.ssh_config, access.configuration(lab, nodes))
    if not network.has_fabric(lab, now.racks):
        network.make_fabric(lab, now.racks)
    for rack in {node.rack for node in nodes}:
        network.connect_rack(lab, rack, up=True)  # a drill may have pulled it
    digest = registry.ensure(lab, extras.site(lab, hosts, now), now.site, extras.settings)
    if digest != now.site:
        now.site = digest
        memory.save(lab, now)


def start(lab: Layout, nodes: Sequence[Node], keeping: Sequence[int], console: Console) -> None:
    """Start those of a lab's nodes that do not run; return when all answer over SSH. Raises PartialError.

    `keeping`: descriptors by which the nodes keep their images from being removed.
    """
    waiting = [node for node in nodes if not machine.runs(lab, node)]
    room = inotify.room()
    short = room if room and not room.enough(len(waiting)) else None
    if short:
        console.warn(f"inotify instances: {short.words}; {short.remedy}")
    for node in waiting:
        machine.start(lab, node, keeping)
    begun = time.monotonic()
    end = begun + PATIENCE
    stopped = Event()
    with heartbeat(console, f"lab {lab.folder.name}") as alive, ThreadPoolExecutor(min(len(nodes), 8)) as pool:
        answers = {node: pool.submit(_comes_up, lab, node, end, stopped) for node in nodes}
        try:
            while not all(future.done() for future in answers.values()):
                missing = [node.name for node, future in answers.items() if not future.done()]
                alive.beat(f"waiting for {', '.join(missing)}")
                time.sleep(0.05)
        finally:
            stopped.set()  # who interrupts us does not wait for the nodes
    silent = [node for node in nodes if not answers[node].result()]
    if silent:
        names = ", ".join(node.name for node in silent)
        details = [f"{node.name}: {line}" for node in silent for line in _tail(machine.log(lab, node))]
        if short:
            details.insert(0, f"likely cause: inotify instances: {short.words}")
        again = f"run it again, or reset the nodes: {lab.call} up --fresh{lab.option}"
        raise PartialError(
            f"no answer over SSH from {names} in {duration(time.monotonic() - begun)}",
            details=details,
            resolution=f"{short.remedy}, then {again}" if short else again,
        )


def _comes_up(lab: Layout, node: Node, end: float, stopped: Event) -> bool:
    """Wait until a node answers; give up when it went, at `end` on the monotonic clock, or when `stopped`."""

    def hopeless(seconds: float) -> bool:
        return not machine.attended(lab, node) or time.monotonic() > end or stopped.wait(seconds)

    with access.knocking(lab, node) as opened:
        while not opened(_POLL):
            if hopeless(0):
                return False
    while not access.answers(lab, node):
        if hopeless(_POLL):
            return False
    return True


def _tail(log: Path) -> list[str]:
    try:
        return log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
    except OSError:
        return []


def status(name: str, kind: Kind = NODES) -> Lab:
    """Return how a lab is. Raises UnavailableError when there is none of that name."""
    lab = layout(name, kind)
    known = memory.load(lab)
    if known is None:
        raise _no_such(lab)
    running = [node for node in known.nodes if machine.runs(lab, node)]
    answers = access.all_answers(lab, running)
    standing = tuple(
        Standing(
            node,
            running=node in answers,
            pid=machine.leader(lab, node) if node in answers else None,
            answers=answers.get(node, False),
        )
        for node in known.nodes
    )
    return Lab(name, lab, known.image, known.wanted, standing)


def down(name: str, *, purge: bool, console: Console, kind: Kind = NODES) -> list[str]:
    """Stop a lab's nodes, and with `purge` remove all that they wrote; return the names of the nodes that had run.

    Works without the lab's memory, too: what a killed run left is found by the lab's id. Raises UnavailableError where
    nothing of such a lab is there.
    """
    lab = layout(name, kind)
    if not _there(lab):
        raise _no_such(lab)
    with at_work(lab, console):
        try:
            known = memory.load(lab)
        except UnavailableError:
            if not purge:
                raise
            known = None
        nodes = known.nodes if known else ()
        stopped = _stop_all(lab, nodes, 0 if purge else machine.SHUTDOWN)
        if purge:
            _purge(lab)
            lab.lock.unlink(missing_ok=True)
        elif known and known.wanted:
            known.wanted = False
            memory.save(lab, known)
        leftovers = [*map(str, cgroups.left(lab.cgroup)), *network.namespaces(lab)]
    if leftovers:
        raise PartialError(
            f"lab {name} is stopped, but not everything of it is gone",
            details=leftovers,
            resolution=f"run it again: {lab.call} down{lab.option}",
        )
    return [node.name for node in stopped]


def _no_such(lab: Layout) -> UnavailableError:
    what = f"lab {lab.folder.name} of nodes" if lab.kind is NODES else f"{lab.kind.command} {lab.folder.name}"
    return UnavailableError(f"there is no {what}", resolution=f"{lab.call} up{lab.option}")


def _doomed(lab: Layout) -> Path:
    return lab.folder.with_name(f".{lab.folder.name}.purged")


def _there(lab: Layout) -> bool:
    """Whether anything of a lab is there: files of any of its states, or what a killed run left in the kernel."""
    if lab.lock.exists() or lab.folder.exists() or _doomed(lab).exists():
        return True
    return bool(cgroups.left(lab.cgroup) or network.namespaces(lab))


def _purge(lab: Layout) -> None:
    """Remove a lab's folder and the records of runs over it; who is killed in between leaves none that looks whole."""
    for runs in lab.runs("*").parent.glob(lab.runs("*").name):
        shutil.rmtree(runs, ignore_errors=True)
    doomed = _doomed(lab)
    shutil.rmtree(doomed, ignore_errors=True)
    if lab.folder.is_dir():
        lab.folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def find(name: str, node: str, kind: Kind = NODES) -> Layout:
    """Return the lab in which a node can be spoken to, by `node-1` or `audit-node-1`. Raises UnavailableError."""
    lab = layout(name, kind)
    known = memory.load(lab)
    names = [one.name for one in known.nodes] if known else []
    if node.removeprefix(access.AUDIT_PREFIX) not in names:
        raise UnavailableError(
            f"lab {name} has no node {node}",
            resolution=f"one of {', '.join(names)}" if names else f"{lab.call} up{lab.option}",
        )
    return lab


def execute(name: str, node: str, command: Sequence[str], kind: Kind = NODES) -> int:
    """Run ssh to a node, with this terminal; return what it exits with. Raises UnavailableError."""
    lab = find(name, node, kind)
    require("ssh")
    return subprocess.run(["ssh", "-F", str(lab.ssh_config), node, *command], check=False).returncode
