"""Run: probe pods are started, they call each other, their reports are judged, and nothing of them stays.

Everything is bounded. What a killed run leaves ends by itself, and the next run removes it.
"""

from __future__ import annotations

import datetime as dt
import json
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from gcloud_pk.cluster.kinds import POD, RESOURCE_QUOTA
from gcloud_pk.cluster.transport import Api
from gcloud_pk.errors import GcloudPkError, UnavailableError
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.proof.live import pods
from gcloud_pk.proof.live.aims import Address
from gcloud_pk.proof.live.aims import read as read_aims
from gcloud_pk.proof.live.judgement import Attempt, Post, judge, unjudged
from gcloud_pk.proof.live.plan import CHECKS, LEFT, LEFT_CONTROLS, LEFT_TITLE, OUTSIDE, Flow, Plan, plan
from gcloud_pk.proof.live.pods import Home, Run, Seen, seen
from gcloud_pk.proof.live.program import OPEN, REFUSED, SILENT, STRANGE, UNREACHABLE
from gcloud_pk.proof.live.station import station
from gcloud_pk.proof.refusal import refusal
from gcloud_pk.proof.target import Target
from gcloud_pk.text import number_of

Say = Callable[[str], None]

ENVIRONMENTS_AT_ONCE = 24
# A network plug-in learns of new pods on each node by itself, and compiles for some seconds there.
_OPEN_ATTEMPTS, _CLOSED_FIRST, _CLOSED_LATER = 15, 1, 2
_CODES = {OPEN, REFUSED, SILENT, STRANGE, UNREACHABLE}
_MARGIN = 60
_PAUSE, _LONGEST_PAUSE = 0.1, 1.0
_IMAGES_POLICY = "gpk-images"
_NO_NODES = "the cluster has no nodes, so no packet can be sent"


@dataclass(frozen=True)
class Options:
    """How a run goes.

    `images`: what the pods run, in the order in which each namespace is tried with them; `platform_images`: the same in
    the platform's namespaces, where nothing runs that a tenant may push to. Seconds: `start` until pods run, `report`
    until callers have ended, `attempt` for one attempt, `removal` until pods are gone. `unenforced`: why closed flows
    are not judged on this network; None where they are.
    """

    images: tuple[str, ...]
    platform_images: tuple[str, ...] = ()
    outside: tuple[Address, ...] = ()
    start: float = 90.0
    report: float = 60.0
    attempt: float = 1.0
    removal: float = 30.0
    unenforced: str | None = None


def omitted(options: Options | None) -> list[str]:
    """Return the ids that a run leaves out: all of them without live probes, else what needs an address to be named."""
    if options is None:
        return sorted([*CHECKS, LEFT])
    return [] if options.outside else [OUTSIDE]


def probe(api: Api, targets: Sequence[Target], options: Options, say: Say) -> list[Finding]:
    """Return the findings on `targets`. `api` may create and delete pods where they run; nothing else is written.

    Raises UnavailableError when the server does not answer at the beginning; pods are removed on every way out, as far
    as the server lets them be.
    """
    found: list[Finding] = []
    with station() as here:
        aims = read_aims(api, targets)
        made = _swept(api, plan(targets, aims, options.outside), here, options.removal)
        if made:
            say(f"removed what an earlier run left: {', '.join(made)}")
        left: list[str] = []
        for batch in batches(targets):
            planned = plan(batch, aims, options.outside)
            if aims.nodes == 0:
                found += unjudged(planned.subjects, _NO_NODES)
                continue
            seconds = int(options.start * 2 + options.report + options.removal) + _MARGIN
            run = Run(f"{here}-{secrets.token_hex(4)}", secrets.token_hex(16), seconds)
            say(f"live probes: {number_of(len(planned.homes), 'namespace')}, run {run.id}")
            one = _Round(api, planned, options, run)
            try:
                found += judge(planned, one.posts(), aims, options.unenforced)
            finally:
                left += one.removed()
        found.append(_nothing_left(left))
    return found


def batches(targets: Sequence[Target]) -> Iterator[list[Target]]:
    """Yield the targets in groups of at most `ENVIRONMENTS_AT_ONCE` environments, a larger one by itself."""
    group: list[Target] = []
    for target in targets:
        if group and sum(len(t.active) for t in [*group, target]) > ENVIRONMENTS_AT_ONCE:
            yield group
            group = []
        group.append(target)
    if group:
        yield group


def _nothing_left(left: Sequence[str]) -> Finding:
    reason = "; ".join(left) + "; they end by themselves, and the next run removes them" if left else None
    return Finding(
        LEFT,
        LEFT_TITLE,
        "cluster",
        "no pod of this run",
        f"{number_of(len(left), 'pod')} left" if left else "none is left",
        Verdict.ERROR if left else Verdict.PASS,
        LEFT_CONTROLS,
        reason,
    )


def _pods(api: Api, selector: str, namespaces: Iterable[str]) -> list[dict[str, Any]]:
    """Return the pods of a label, of the whole cluster where the identity may see it. Raises UnavailableError."""
    answer = api.request("GET", POD.path(), params={"labelSelector": selector})
    answers = [answer]
    if not answer.ok:
        answers = [api.request("GET", POD.path(n), params={"labelSelector": selector}) for n in namespaces]
    return [pod for each in answers if each.ok for pod in each.body.get("items") or []]


def _swept(api: Api, planned: Plan, here: str, patience: float) -> list[str]:
    """Remove pods that earlier runs left, wait `patience` seconds for them to be gone, and return their names.

    Of this machine's station all are left over, because its runs exclude each other; of others, what has ended or
    should have.
    """
    namespaces = [home.namespace for home in planned.homes]
    gone = []
    for pod in _pods(api, pods.LABEL, namespaces):
        metadata = pod["metadata"]
        if not metadata["name"].startswith(pods.PREFIX):
            continue
        own = str(metadata["labels"][pods.LABEL]).startswith(f"{here}-")
        if own or seen(pod).ended or _is_overdue(pod):
            path = POD.path(metadata["namespace"], metadata["name"])
            if api.request("DELETE", path, params={"gracePeriodSeconds": "1"}).ok:
                gone.append(f"{metadata['namespace']}/{metadata['name']}")
    deadline = time.monotonic() + patience
    # Until they are, they count in the quota.
    while gone and {*gone} & {*_names(_pods(api, pods.LABEL, namespaces))} and time.monotonic() < deadline:
        api.pause(_PAUSE)
    return gone


def _names(found: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted(f"{pod['metadata']['namespace']}/{pod['metadata']['name']}" for pod in found)


def _is_overdue(pod: Mapping[str, Any]) -> bool:
    made = dt.datetime.fromisoformat(str(pod["metadata"]["creationTimestamp"]))
    allowed = int((pod.get("spec") or {}).get("activeDeadlineSeconds") or 0) + _MARGIN
    return dt.datetime.now(dt.UTC) - made > dt.timedelta(seconds=allowed)


@dataclass
class _Round:
    """One batch of targets: its pods, from the first to the last."""

    api: Api
    plan: Plan
    options: Options
    run: Run
    images: dict[str, str] = field(default_factory=dict)
    """The image that a namespace admitted."""
    troubles: dict[str, str] = field(default_factory=dict)

    def posts(self) -> dict[str, Post]:
        """Run everything; return what became of each namespace's pods. An API server that goes is a trouble."""
        listening: dict[str, Seen] = {}
        called: dict[str, Post] = {}
        try:
            for home in self.plan.homes:
                if (why := self._unfit(home) or self._started_listener(home)) is not None:
                    self.troubles[home.namespace] = why
            listening = self._wait("listen", self.options.start, lambda s: s.phase == "Running" and bool(s.addresses))
            tries = self._callers(listening)
            ended = self._wait("call", self.options.start + self.options.report, lambda s: s.ended)
            called = {n: self._heard(n, at, tries[n]) for n, at in ended.items()}
        except UnavailableError as error:
            for home in self.plan.homes:
                self.troubles.setdefault(home.namespace, error.message)
        return {
            home.namespace: Post(self.troubles[home.namespace])
            if home.namespace in self.troubles
            else called.get(home.namespace, Post("its probe pod was not there any more"))
            for home in self.plan.homes
        }

    def _unfit(self, home: Home) -> str | None:
        answer = self.api.request("GET", RESOURCE_QUOTA.path(home.namespace))
        # Who may not read quotas is told by the refusal where one is full.
        return pods.lacking(answer.body.get("items") or []) if answer.ok else None

    def _started_listener(self, home: Home) -> str | None:
        why: str | None = "no image was named that no tenant may push to (--live-platform-image)"
        for image in self.options.platform_images if home.platform else self.options.images:
            why = self._created(home, pods.listener(self.run, home, image))
            if why is None:
                self.images[home.namespace] = image
                return None
            if f"'{_IMAGES_POLICY}'" not in why:
                break
        return why

    def _created(self, home: Home, pod: dict[str, Any]) -> str | None:
        answer = self.api.request("POST", POD.path(home.namespace), body=pod)
        received = refusal(answer)
        return None if received is None else f"a probe pod is not admitted in {home.namespace}: {received.message}"

    def _callers(self, listening: Mapping[str, Seen]) -> dict[str, list[tuple[Flow, Address]]]:
        where = {namespace: each.addresses for namespace, each in listening.items()}
        tries: dict[str, list[tuple[Flow, Address]]] = {}
        for home in self.plan.homes:
            if home.namespace in self.troubles:
                continue
            flows = [f for f in self.plan.flows if f.source == home.namespace and f.settled is None]
            mine = [(f, address) for f in flows for address in f.addresses(where)][: pods.MOST_TRIES]
            order = [[a.host, a.port, a.protocol, f.kind, *_patience(f)] for f, a in mine]
            pod = pods.caller(self.run, home, self.images[home.namespace], order, self.options.attempt)
            if (why := self._created(home, pod)) is not None:
                self.troubles[home.namespace] = why
            else:
                tries[home.namespace] = mine
        return tries

    def _wait(self, role: str, seconds: float, done: Callable[[Seen], bool]) -> dict[str, Seen]:
        """Wait for the pods of a role; whoever is not there in time, or never will be, is a trouble."""
        waiting = {home.namespace for home in self.plan.homes} - self.troubles.keys()
        found: dict[str, Seen] = {}
        last: dict[str, Seen] = {}
        deadline, pause = time.monotonic() + seconds, _PAUSE
        while waiting:
            last = self._look(role)
            for namespace in sorted(waiting):
                at = last.get(namespace, Seen())
                if done(at):
                    found[namespace] = at
                elif at.hopeless or at.ended:
                    self.troubles[namespace] = f"the probe pod does not run: {at.waiting or at.phase}"
                else:
                    continue
                waiting.remove(namespace)
            late = time.monotonic() + pause > deadline
            if waiting and (late or not self.api.pause(pause)):
                break
            pause = min(pause * 1.5, _LONGEST_PAUSE)
        for namespace in waiting:
            at = last.get(namespace, Seen())
            said = f": {at.waiting}" if at.waiting else ""
            self.troubles[namespace] = f"after {seconds:.0f} s the probe pod is {at.phase}{said}"
        return found

    def _look(self, role: str) -> dict[str, Seen]:
        name = pods.name(self.run, role)
        found = self._mine()
        return {p["metadata"]["namespace"]: seen(p) for p in found if p["metadata"]["name"] == name}

    def _mine(self) -> list[dict[str, Any]]:
        return _pods(self.api, f"{pods.LABEL}={self.run.id}", [home.namespace for home in self.plan.homes])

    def _heard(self, namespace: str, at: Seen, tries: Sequence[tuple[Flow, Address]]) -> Post:
        pod = f"{namespace}/{pods.name(self.run, 'call')}"
        try:
            said = json.loads(at.report or "")
            outcomes = [(text[0], int(text[1:]) / 1000) for text in said["said"].split(",") if text]
            known = {"@node": said["node"], "@dns": said["dns"]}
            if at.exit_code != 0 or len(outcomes) != len(tries) or {c for c, _ in outcomes} - _CODES:
                raise ValueError("it is no report")  # noqa: TRY301 - one way out for whatever a pod may write
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            shown = (at.report or "nothing")[-200:]
            self.troubles[namespace] = f"the probe pod ended with {at.exit_code}, and its report says {shown!r}"
            return Post(self.troubles[namespace])
        attempts = tuple(
            Attempt(flow, replace(address, host=known.get(address.host) or address.host), code, seconds)
            for (flow, address), (code, seconds) in zip(tries, outcomes, strict=True)
        )
        return Post(pod=pod, seen=at, attempts=attempts)

    def removed(self) -> list[str]:
        """Remove every pod of this run; return what is left. Never raises what is expected, and is bounded."""
        params = {"labelSelector": f"{pods.LABEL}={self.run.id}", "gracePeriodSeconds": "1"}
        left = [f"{home.namespace}: pods of run {self.run.id}" for home in self.plan.homes]
        with suppress(GcloudPkError):
            self._delete(params)
            deadline, forced, pause = time.monotonic() + self.options.removal, False, _PAUSE
            while mine := self._mine():
                left = _names(mine)
                if time.monotonic() > deadline:
                    if forced:
                        return left
                    # A node that is gone never confirms; the pod's own time limit holds there too.
                    self._delete(params | {"gracePeriodSeconds": "0"})
                    forced, deadline = True, time.monotonic() + _LONGEST_PAUSE
                time.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE)
            left = []
        return left

    def _delete(self, params: Mapping[str, str]) -> None:
        for home in self.plan.homes:
            self.api.request("DELETE", POD.path(home.namespace), params=params)


def _patience(flow: Flow) -> tuple[int, int]:
    """Return attempts in the first and the second round: what is open may need time, what is closed is tried again."""
    return (_OPEN_ATTEMPTS, 0) if flow.expected == "open" else (_CLOSED_FIRST, _CLOSED_LATER)
