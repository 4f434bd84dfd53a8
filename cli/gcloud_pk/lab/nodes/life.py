"""A lab of nodes: up, status, down. Every step can be killed; the next `up` or `down` mends what was left."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from gcloud_pk.console import Console
from gcloud_pk.errors import ExitCode, PartialError, RefusedError, UnavailableError
from gcloud_pk.lab import files
from gcloud_pk.lab.heartbeat import duration, heartbeat
from gcloud_pk.lab.nodes import access, cgroups, doctor, image, inotify, machine, memory, network, registry
from gcloud_pk.lab.nodes.children import require
from gcloud_pk.lab.nodes.layout import APPROVER, SITE, Layout, Node, layout, layouts, lock_file, plan
from gcloud_pk.lab.nodes.memory import Memory

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
            "site": SITE,
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
def _at_work(name: str, console: Console) -> Iterator[Layout]:
    """Hold the lab's lock; a full or read-only disk becomes an error that names it."""
    lab = layout(name)
    try:
        with files.locked(lock_file(name), lambda: console.note(f"waiting: another command is at work on lab {name}")):
            yield lab
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise UnavailableError(
            f"the lab {name} of nodes cannot be written: {where}{error.strerror or error}",
            resolution="see what is missing: gcloud-pk lab nodes doctor",
        ) from error


def up(name: str, wish: Wish, console: Console) -> Lab:
    """Bring a lab of nodes up, or mend it; return it when every node answers over SSH.

    Raises UnavailableError with the doctor's words where it cannot run here, RefusedError where the nodes' image is
    gone, PartialError when a node does not answer.
    """
    doctor.require(image_at_hand=_stays(memory.load(layout(name)), wish))
    with _at_work(name, console) as lab, ExitStack() as held:
        known = memory.load(lab)
        count = wish.count or (known.count if known else COUNT)
        racks = wish.racks or min(known.racks if known else COUNT, count)
        plan(count, racks)  # refuses what cannot be, before anything is built
        key = _image(name, known, wish, console)
        keeping = held.enter_context(image.in_use(key))
        now = Memory(name, count, racks, key, wanted=True, site=known.site if known else None)
        _clear(lab, known, now, wish, console)
        files.make_folder(lab.folder)
        memory.save(lab, now)
        _make(lab, now)
        _start(lab, now, keeping, console)
        image.remove_old({image.recipe().key, *_kept(lab), key})
    return status(name)


def _kept(own: Layout) -> Iterator[str]:
    """Yield the images that this user's labs stand on."""
    for lab in layouts():
        try:
            known = memory.load(lab)
        except UnavailableError:
            continue
        if known and lab != own:
            yield known.image


def _stays(known: Memory | None, wish: Wish) -> bool:
    """Whether the lab's nodes stand on an image that is there, and are to stay on it."""
    return known is not None and not wish.fresh and image.cached(known.image)


def _image(name: str, known: Memory | None, wish: Wish, console: Console) -> str:
    """Return the image to use: nodes that have written stay on theirs."""
    if known and _stays(known, wish):
        if known.image != image.recipe().key:
            console.note(f"the nodes keep the image that they were made from; the newest: --fresh{option(name)}")
        return known.image
    if known and not wish.fresh and _node_folders(layout(name)):
        raise RefusedError(
            f"the image that the nodes of lab {name} stand on is gone ({known.image})",
            resolution=f"throw away what they wrote: gcloud-pk lab nodes up --fresh{option(name)}",
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


def _make(lab: Layout, now: Memory) -> None:
    """Bring keys, nodes' folders, SSH's files, the registry and the network to what they should be."""
    nodes = now.nodes
    access.ensure_keys(lab)
    files.make_folder(lab.sockets)
    root = image.root(now.image)
    files.make_folder(lab.nodes)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda node: machine.make(lab, node, root, nodes), nodes))
    hosts = [(node, machine.host_keys(lab, node)) for node in nodes]
    files.write_if_changed(lab.known_hosts, access.known_hosts(hosts))
    files.write_if_changed(lab.ssh_config, access.configuration(lab, nodes))
    digest = registry.ensure(lab, registry.site(lab, hosts), now.site)
    if digest != now.site:
        now.site = digest
        memory.save(lab, now)
    if not network.has_fabric(lab, now.racks):
        network.make_fabric(lab, now.racks)


def _start(lab: Layout, now: Memory, keeping: int, console: Console) -> None:
    nodes = now.nodes
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
    with heartbeat(console, f"lab {now.name}") as alive, ThreadPoolExecutor(min(len(nodes), 8)) as pool:
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
        again = f"run it again, or reset the nodes: gcloud-pk lab nodes up --fresh{option(now.name)}"
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


def status(name: str) -> Lab:
    """Return how a lab is. Raises UnavailableError when there is none of that name."""
    lab = layout(name)
    known = memory.load(lab)
    if known is None:
        raise _no_such(name)
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


def down(name: str, *, purge: bool, console: Console) -> list[str]:
    """Stop a lab's nodes, and with `purge` remove all that they wrote; return the names of the nodes that had run.

    Works without the lab's memory, too: what a killed run left is found by the lab's id. Raises UnavailableError where
    nothing of such a lab is there.
    """
    if not _there(name):
        raise _no_such(name)
    with _at_work(name, console) as lab:
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
            lock_file(name).unlink(missing_ok=True)
        elif known and known.wanted:
            known.wanted = False
            memory.save(lab, known)
        leftovers = [*map(str, cgroups.left(lab.cgroup)), *network.namespaces(lab)]
    if leftovers:
        raise PartialError(
            f"lab {name} is stopped, but not everything of it is gone",
            details=leftovers,
            resolution=f"run it again: gcloud-pk lab nodes down{option(name)}",
        )
    return [node.name for node in stopped]


def _no_such(name: str) -> UnavailableError:
    return UnavailableError(f"there is no lab {name} of nodes", resolution=f"gcloud-pk lab nodes up{option(name)}")


def _doomed(lab: Layout) -> Path:
    return lab.folder.with_name(f".{lab.folder.name}.purged")


def _there(name: str) -> bool:
    """Whether anything of a lab is there: files of any of its states, or what a killed run left in the kernel."""
    lab = layout(name)
    if lock_file(name).exists() or lab.folder.exists() or _doomed(lab).exists():
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


def find(name: str, node: str) -> Layout:
    """Return the lab in which a node can be spoken to, by `node-1` or `audit-node-1`. Raises UnavailableError."""
    lab = layout(name)
    known = memory.load(lab)
    names = [one.name for one in known.nodes] if known else []
    if node.removeprefix(access.AUDIT_PREFIX) not in names:
        raise UnavailableError(
            f"lab {name} has no node {node}",
            resolution=f"one of {', '.join(names)}" if names else f"gcloud-pk lab nodes up{option(name)}",
        )
    return lab


def execute(name: str, node: str, command: Sequence[str]) -> int:
    """Run ssh to a node, with this terminal; return what it exits with. Raises UnavailableError."""
    lab = find(name, node)
    require("ssh")
    return subprocess.run(["ssh", "-F", str(lab.ssh_config), node, *command], check=False).returncode
