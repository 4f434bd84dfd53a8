"""One drill, from the first look at the cluster until the element is back and the ledger was read.

What is out is on the disk before it goes (`kept`); whatever happens, it is brought back: by this run, or by the next.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from gcloud_pk.cluster.identity import cluster_uid
from gcloud_pk.cluster.kinds import NODE
from gcloud_pk.cluster.kubeconfig import Access
from gcloud_pk.cluster.transport import Api
from gcloud_pk.errors import GcloudPkError, PartialError, RefusedError, UnavailableError
from gcloud_pk.facility.casualties import Casualties, left_with
from gcloud_pk.model.site import Cluster, Site
from gcloud_pk.proof.drill import ledger, probes, stage
from gcloud_pk.proof.drill.census import Census, Return, displaced, fell, noticed, side_of
from gcloud_pk.proof.drill.kept import Kept, Out
from gcloud_pk.proof.drill.outage import Outage
from gcloud_pk.proof.drill.probes import Aim, Probers
from gcloud_pk.proof.drill.trace import pauses
from gcloud_pk.proof.drill.verdicts import Outcome
from gcloud_pk.proof.drill.watch import Watch, look, sides

Say = Callable[[str], None]

_POLL = 0.5
_AGAIN = 5.0
_REACHED = 5.0
"""Seconds that the API gets for an answer to a look: a connection to what has gone says nothing, and never ends."""


@dataclass(frozen=True)
class Wish:
    """How a drill goes.

    Seconds: `hold` that the element is out, `calm` before, `back` until all is as it was, and `sound` that a site which
    is not sound has to become so before anything is taken out.
    `service`: a URL to probe; `image`: what a service of the drill's own runs, where no URL is named; `force`: on a
    site that is degraded too.
    """

    hold: float = 60.0
    calm: float = 3.0
    back: float = 180.0
    sound: float = 0.0
    service: str | None = None
    image: str | None = None
    force: bool = False
    settle: float = 3.0


@dataclass
class Ground:
    """Where drills take place: a site, its cluster and the way to it, what is kept, and who takes elements out."""

    site: Site
    cluster: Cluster
    access: Access
    kept: Kept
    outage: Outage
    operator: str
    uid: str
    say: Say
    stamp: Callable[[], str]

    def api(self, patience: float = 30.0, answer: float = 30.0) -> Api:
        """Return a way to the cluster of its own: no connection of it was ever to what has gone."""
        return Api(self.access, connections=4, patience=patience, answer=answer)


def faults(site: Site, cluster: Cluster, seen: Census) -> list[str]:
    """Return what is not as it should be, before anything is taken out."""
    found = []
    for host in site.spec.hosts_of(cluster):
        if host.name not in seen.ready:
            found.append(f"{host.name} is no node of the cluster")
        elif not seen.ready[host.name]:
            found.append(f"{host.name} is not Ready")
    found += [f"{name} is not ready" for name in seen.wanting]
    ours = {owner: pods for owner, pods in seen.pods.items() if side_of(owner[0], (), stage.OWN) == "platform"}
    return found + [f"{owner[0]}/{owner[2]} has no pod that is ready" for owner, pods in ours.items() if not pods.all]


def require_sound(site: Site, cluster: Cluster, seen: Census, lost: Casualties, *, force: bool) -> list[str]:
    """Return what is wrong, to be told; raise RefusedError for it unless `force`, saying what would go down."""
    wrong = faults(site, cluster, seen)
    away = {host.name for host in site.spec.hosts_of(cluster) if not seen.ready.get(host.name)}
    left, size, needed = left_with(site, cluster, away | set(lost.down))
    dooms = left < needed and lost.target.kind != "site"
    fate = f"with {lost.target} out, {left} of {size} members of etcd would be left; {needed} are needed" + (
        ": the API would go down" if left < needed else ""
    )
    if wrong and not force:
        raise RefusedError(
            f"site {site.metadata.name} is degraded already; nothing was taken out",
            details=[*wrong[:20], fate],
            resolution="mend it first (gcloud-pk datacenter status), or give --force",
        )
    if dooms and not force:
        raise RefusedError(
            f"cluster {cluster.name} would not survive the loss of {lost.target}; nothing was taken out",
            details=[fate],
            resolution="that is what the site file says; --force drills it all the same",
        )
    return [*wrong, fate] if wrong or dooms else []


def _sound(ground: Ground, api: Api, lost: Casualties, wish: Wish) -> list[str]:
    """Look until the site is sound, for `wish.sound` seconds at most; return and raise as require_sound does."""
    end = time.monotonic() + wish.sound
    seen = look(api)
    while (wrong := faults(ground.site, ground.cluster, seen)) and time.monotonic() < end:
        ground.say(f"waiting until the site is sound: {', '.join(wrong[:3])}")
        time.sleep(_AGAIN)
        seen = look(api)
    return require_sound(ground.site, ground.cluster, seen, lost, force=wish.force)


@dataclass
class _Course:
    """One drill as it goes on. `marks`: begun, out, returned, back: moments that were reached."""

    ground: Ground
    lost: Casualties
    wish: Wish
    run: str
    folder: Path
    marks: dict[str, float] = field(default_factory=dict)
    interrupted: bool = False

    @property
    def gone(self) -> set[str]:
        """Hosts that go, or that nobody reaches."""
        return {*self.lost.down, *self.lost.cut_off}

    @property
    def forgettable(self) -> bool:
        """Whether nothing is out any more, or never was."""
        return "begun" not in self.marks or "back" in self.marks


def drill(ground: Ground, lost: Casualties, wish: Wish) -> Outcome:
    """Take an element out, bring it back, and return what was seen.

    Raises RefusedError on a degraded site, UnavailableError where nothing was taken out because something is not there,
    PartialError where the element could not be brought back. Ctrl-C brings it back first.
    """
    if why := ground.outage.unable(lost):
        raise RefusedError(f"{lost.target} cannot be taken out here: {why}", resolution="choose another element")
    api = ground.api()
    for text in _sound(ground, api, lost, wish):
        ground.say(text)
    run = f"{ground.stamp()}-{os.getpid()}".lower()  # part of the names of objects
    course = _Course(ground, lost, wish, run, ground.kept.folder(run))
    ledger.Ledger(course.folder / "ledger.jsonl").close()  # whatever keeps it from being written is told of now
    ground.kept.set_out(_out(course))
    try:
        if not stage.gone(api, 60.0):
            raise UnavailableError(
                f"namespace {stage.OWN} of an earlier drill does not go", resolution=f"kubectl describe ns {stage.OWN}"
            )
        return _staged(course, api)
    finally:
        if course.forgettable:
            _tidy(ground, ground.api())


def _out(course: _Course) -> Out:
    ground, lost = course.ground, course.lost
    return Out(
        run=course.run,
        site=ground.site.metadata.name,
        element=str(lost.target),
        by=ground.outage.name,
        hosts=(*lost.down, *lost.cut_off),
        uid=ground.uid,
        started=ground.stamp(),
        operator=ground.operator,
    )


def _tidy(ground: Ground, api: Api) -> None:
    """Remove what the drill put into the cluster, and forget that something was out: it is back."""
    try:
        stage.sweep(api)
    except GcloudPkError as error:
        ground.say(f"namespace {stage.OWN} stays: {error.message}")
    ground.kept.clear()


def _service(api: Api, lost: Casualties, wish: Wish) -> str | None:
    port = stage.prepare(api, None if wish.service else wish.image, 120.0)
    if port is None:
        return wish.service
    nodes = api.list(NODE)
    address = stage.address_of(nodes, lost.down) or stage.address_of(nodes, ())
    return f"http://[{address}]:{port}/" if address and ":" in address else f"http://{address}:{port}/"


def _staged(course: _Course, api: Api) -> Outcome:
    ground, lost, marks = course.ground, course.lost, course.marks
    url = _service(api, lost, course.wish)
    whose, before = sides(api), look(api)
    slept = _asleep()
    # Within the site's own network nobody stands between.
    access = replace(ground.access, proxy=None) if ground.outage.prefix else ground.access
    aim = Aim(access, stage.OWN, course.run, url)
    with Probers(course.folder, aim, ground.outage.prefix) as probers:
        unheard = _calm(probers, course.wish)
        if unheard:
            ground.say(f"the drill's own service is not judged: {unheard}")
        with Watch(lambda: ground.api(patience=0.0, answer=_REACHED)) as watch, _given_back(course):
            ground.say(f"{lost.target} goes: {', '.join(lost.down) or 'no host with it'}")
            marks["begun"] = time.monotonic()
            ground.outage.take_out(lost)
            marks["out"] = time.monotonic()
            course.interrupted = _hold(ground, course.wish, probers)
            ground.say(f"{lost.target} comes back after {time.monotonic() - marks['out']:.0f} s")
        during = [one for one in watch.seen if one.at <= marks["returned"]]
        back = Return(marks["returned"], before, course.gone, during[-1] if during else None)
        _settle(ground, back, course.wish)
        if url and not unheard:
            _served(probers, marks["returned"], course.wish)
        end = time.monotonic() + course.wish.settle
        while time.monotonic() < end and not probers.dead():
            time.sleep(0.2)
        dead, ended = probers.dead(), time.monotonic()
    traces = {kind: probes.samples(course.folder, kind) for kind in ("read", "write", "service")}
    away = [pause for kind in ("read", "write") for pause in pauses(traces[kind], probes.INTERVAL)]
    compared, unread = judge(ground.api(patience=60.0), course.folder, course.run)
    begun = marks["begun"]
    return Outcome(
        lost=lost,
        cluster=ground.cluster.name,
        begun=begun,
        out=marks["out"],
        returned=marks["returned"],
        ended=ended,
        reads=traces["read"],
        writes=traces["write"],
        service=traces["service"] if url and not unheard else None,
        unheard=unheard,
        balance=compared,
        displaced=tuple(displaced(before, during, course.gone, begun, whose)),
        noticed=noticed(during, lost.down, begun),
        fell=tuple(fell(during, before, course.gone, begun)),
        nodes=back.nodes,
        all=back.all,
        missing=tuple(back.missing),
        pauses=tuple(pause for pause in away if pause.end > begun),
        dead=dead,
        suspended=_asleep() - slept,
        unread=unread,
        interrupted=course.interrupted,
    )


def judge(api: Api, folder: Path, run: str) -> tuple[ledger.Balance | None, str | None]:
    """Compare a run's ledger with what the cluster holds; None, and why, where that cannot be."""
    try:
        with (folder / "ledger.jsonl").open(encoding="ascii", errors="replace") as lines:
            entries = ledger.read(lines)
        surely = [one.number for one in entries.values() if one.outcome is ledger.Outcome.ACKNOWLEDGED]
        return ledger.balance(entries, stage.written(api, run, surely)), None
    except GcloudPkError as error:
        return None, error.message
    except OSError as error:
        return None, f"the ledger cannot be read: {error.strerror or error}"


def _calm(probers: Probers, wish: Wish) -> str | None:
    """Probe for some seconds before anything goes: what does not answer then is no drill's doing.

    Return why the drill's own service cannot be judged, or None. Raises UnavailableError for the rest.
    """
    time.sleep(wish.calm)
    for kind in probers.kinds:
        last = probers.samples(kind)[-10:]
        if last and any(one.ok for one in last):
            continue
        why = last[-1].said if last else "no probe came back"
        if kind == "service" and wish.service is None:
            return f"its pods run, and no node passes on to them from here: {why}"
        raise UnavailableError(
            f"before anything was taken out, {kind} probes are not answered: {why}",
            details=[text for words in probers.dead().values() for text in words],
            resolution="see that the API and the service answer from this machine; nothing was taken out",
        )
    return None


@contextmanager
def _given_back(course: _Course) -> Iterator[None]:
    """Bring the element back, whatever happened within. Raises PartialError where that does not work."""
    try:
        yield
    finally:
        now = time.monotonic()
        course.marks.setdefault("out", now)
        course.marks["returned"] = now
        give_back(course.ground, course.lost)
        course.marks["back"] = time.monotonic()


def give_back(ground: Ground, lost: Casualties) -> None:
    """Bring an element back. Raises PartialError where that does not work."""
    try:
        ground.outage.give_back(lost)
    except GcloudPkError as error:
        raise PartialError(
            f"{lost.target} is out and could not be brought back: {error.message}",
            details=error.details,
            resolution=f"gcloud-pk datacenter drill {ground.site.metadata.name} --restore",
        ) from error


def _hold(ground: Ground, wish: Wish, probers: Probers) -> bool:
    """Wait while the element is out; return whether somebody interrupted it, or a prober ended."""
    end = time.monotonic() + wish.hold
    try:
        while time.monotonic() < end:
            time.sleep(min(0.5, max(0.0, end - time.monotonic())))
            if probers.dead():
                ground.say("a prober ended by itself: the element comes back now")
                return True
    except KeyboardInterrupt:
        ground.say("interrupted: the element comes back first")
        return True
    return False


def _settle(ground: Ground, back: Return, wish: Wish) -> None:
    """Look at the cluster until everything is as it was, for `wish.back` seconds at most."""
    end = time.monotonic() + wish.back
    api = ground.api(patience=0.0, answer=_REACHED)
    while time.monotonic() < end:
        begun = time.monotonic()
        try:
            if back.take(look(api)):
                return
        except GcloudPkError:
            back.missing = ["the API does not answer"]
            api = ground.api(patience=0.0, answer=_REACHED)
        time.sleep(max(_POLL, time.monotonic() - begun))


def _served(probers: Probers, returned: float, wish: Wish) -> None:
    """Wait until the service answers again, for `wish.back` seconds at most.

    After a power cut the API tells of pods as they were, until their kubelets have spoken: all seems to be as before.
    """
    end = time.monotonic() + wish.back
    while time.monotonic() < end and not probers.dead():
        lately = time.monotonic() - 1.0
        if any(one.ok and one.at > returned and one.end > lately for one in probers.samples("service")):
            return
        time.sleep(_POLL)


def _asleep() -> float:
    """Return the seconds that this machine has slept since it was started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


@dataclass(frozen=True)
class Restored:
    """What a drill that was killed left, after it was brought back: its ledger compared, or why not."""

    out: Out
    balance: ledger.Balance | None
    unread: str | None


def restore(ground: Ground, lost: Casualties, out: Out, patience: float = 180.0) -> Restored:
    """Bring back what a killed drill took out, read its ledger, remove what it put into the cluster, and forget it.

    Raises PartialError where it cannot be brought back, UnavailableError where the API does not answer in time.
    """
    ground.say(f"the drill of {out.started} was not ended: bringing {out.element} back")
    give_back(ground, lost)
    end = time.monotonic() + patience
    while True:
        try:
            cluster_uid(ground.api(patience=0.0, answer=_REACHED))
            break
        except UnavailableError:
            if time.monotonic() > end:
                raise
            time.sleep(1.0)
    balance, unread = judge(ground.api(), ground.kept.home / out.run, out.run)
    if balance is None:
        raise UnavailableError(
            f"{out.element} is back; what became of the writes is not known: {unread}",
            resolution=f"gcloud-pk datacenter drill {ground.site.metadata.name} --restore",
        )
    _tidy(ground, ground.api())
    return Restored(out, balance, unread)
