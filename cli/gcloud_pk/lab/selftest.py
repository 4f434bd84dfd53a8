"""The self-test of `audit isolation`: each control is taken from a scratch tenant in turn, and must be missed.

On control planes of its own, which live as long as the test and hold nothing of anybody (`lab/judge.py`). What is done
and what must notice are data and arithmetic (`proof/mutation.py`, `proof/foresight.py`, `proof/notice.py`); here it is
written, waited for and looked at with the verifier's own engine.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from gcloud_pk.cluster.apply import apply
from gcloud_pk.cluster.kinds import (
    CONFIG_MAP,
    CUSTOM_RESOURCE_DEFINITION,
    NAMESPACE,
    RESOURCE_QUOTA,
    VALIDATING_ADMISSION_POLICY,
    VALIDATING_ADMISSION_POLICY_BINDING,
    ObjectKey,
)
from gcloud_pk.cluster.plan import plan as plan_changes
from gcloud_pk.cluster.transport import Answer, Api
from gcloud_pk.cluster.waiting import quotas_counted
from gcloud_pk.console import Console
from gcloud_pk.errors import GcloudPkError, UnavailableError
from gcloud_pk.lab import gateway_api
from gcloud_pk.lab.judge import Bench, bench
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.model.organisation import Organisation
from gcloud_pk.model.request import TenantRequest
from gcloud_pk.model.settings import Settings
from gcloud_pk.model.site import Cluster
from gcloud_pk.model.tenant import Tenant
from gcloud_pk.onboarding import foundation
from gcloud_pk.onboarding.verification import environment
from gcloud_pk.proof import mutation as mutations
from gcloud_pk.proof.foresight import Foreseen, Key, Scene, foreseen
from gcloud_pk.proof.mutation import Mutation, Plan
from gcloud_pk.proof.notice import Notice, finding, unmoved, unshown
from gcloud_pk.proof.plugins import Tally
from gcloud_pk.proof.probe import Catalogue, standard
from gcloud_pk.proof.target import Target, TargetEnvironment
from gcloud_pk.proof.verify import verify
from gcloud_pk.proof.world import HELD, POLICIES, Manifest, World
from gcloud_pk.render.platform import platform_objects
from gcloud_pk.render.tenant import render, wave

LANES = 2
"""Control planes at once: one waits for its API server, which takes policies up once a second; the other looks."""

_PAUSES = (0.1, 1.0)
"""Seconds before a mutation is looked at again: what was just written takes a moment to be in force."""

_PATIENCE = 8.0
_TELLING = 10.0
"""Seconds between two lines that say how far it is."""

_MARKER = "self-test-marker"
_starting = threading.Lock()
"""Two control planes that choose their ports at once may choose the same."""


@dataclass(frozen=True)
class Scratch:
    """A scratch tenant: what is rendered of it, and as what it is looked at."""

    tenant: Tenant
    retired: tuple[str, ...]
    target: Target

    @property
    def manifests(self) -> list[Manifest]:
        """All its objects."""
        return render(self.tenant, self.retired)


def scratches() -> dict[str, Scratch]:
    """Return the scratch tenants by what they are for. Each has the one named `neighbour` beside it."""
    data = mutations.scratch()
    cluster, organisation = Cluster.model_validate(data["cluster"]), Organisation.model_validate(data["organisation"])
    tenants = {
        name: Tenant(TenantRequest.model_validate(document), "0" * 64, organisation, Settings(), cluster=cluster)
        for name, document in data["requests"].items()
    }
    other = tenants["neighbour"]
    found = {}
    for name, tenant in tenants.items():
        retired = tuple(data["retired"][name])
        spec = tenant.request.spec
        found[name] = Scratch(
            tenant,
            retired,
            Target(
                tenant=tenant.name,
                environments=(
                    *(environment(tenant, each) for each in spec.environments),
                    *(TargetEnvironment(e, tenant.request.namespace(e), retired=True) for e in retired),
                ),
                admins=tenant.bound(spec.access.admins),
                developers=tenant.bound(spec.access.developers),
                auditors=tenant.bound(spec.access.auditors),
                other_namespaces=other.request.namespaces(),
                other_groups=other.bound(other.request.spec.access.groups()),
                isolation=spec.isolation,
                classification=spec.classification,
            ),
        )
    return found


def variables(tenants: Mapping[str, Scratch]) -> dict[str, str]:
    """Return what `${…}` in the mutations' data stands for."""
    target = tenants["single"].target
    return {
        "namespace": target.active[0].namespace,
        "retired": next(e.namespace for e in target.environments if e.retired),
        "plain": tenants["plain"].target.active[0].namespace,
        "pools": tenants["pools"].target.active[0].namespace,
        "admins": target.admins[0],
        "developers": target.developers[0],
        "auditors": target.auditors[0],
        "strangers": target.other_groups[0],
    }


@dataclass
class Lane:
    """One control plane with the scratch tenants, and the state that it is in now."""

    bench: Bench
    tenants: Mapping[str, Scratch]
    known: Catalogue
    plan: Plan
    whole: World
    now: World
    scenes: Mapping[str, Scene]
    unbroken: dict[str, dict[Key, Finding]] = field(default_factory=dict)
    markers: int = 0

    @classmethod
    def furnish(cls, on: Bench, known: Catalogue) -> Lane:
        """Bring the scratch tenants, and look at them unbroken. Raises as applying does."""
        tenants = scratches()
        manifests = [made for scratch in tenants.values() for made in scratch.manifests]
        for each in mutations.scratch()["prerequisites"]:
            _settled(partial(on.administrator.request, "POST", each["path"], body=each["body"]), each["path"])
        _serve_gateway_api(on.administrator)
        changes = plan_changes(manifests, {}).changes
        waves = sorted({wave(made) for made in manifests})
        stages = [[c for c in changes if c.desired and wave(c.desired) == each] for each in waves]
        apply(on.administrator, stages)
        whole = World.of([*platform_objects(), *manifests])
        looked_at = {name: scratch.target for name, scratch in tenants.items() if name != "neighbour"}
        scenes = {name: Scene(whole, target, known) for name, target in looked_at.items()}
        lane = cls(on, tenants, known, mutations.read(variables(tenants)), whole, whole, scenes)
        lane._count({key.namespace for key in whole.objects if key.kind == RESOURCE_QUOTA})
        lane._set_marker()
        for name in looked_at:
            lane.unbroken[name] = lane.look(name)
        return lane

    def mutations(self) -> list[Mutation]:
        """Return every mutation, in the order of `mutation.mutations`."""
        shared = World.of(platform_objects())
        return mutations.mutations(self.plan, shared, self.known, self.tenants["single"].target)

    def look(self, tenant: str) -> dict[Key, Finding]:
        """Return what the audit finds on a scratch tenant now."""
        api, tally = self.bench.verifier, Tally(self.known)
        found = verify(api, self.scenes[tenant].target, known=self.known, settle=0.0)
        tally.add(found)
        return {(f.id, f.subject): f for f in (*foundation.findings(api), *found, *tally.findings())}

    def examine(self, mutation: Mutation) -> Notice:
        """Make a mutation, look until it shows what must be or a few times have passed, and say what was seen.

        What the mutation before it had changed is restored first; `restore` does that after the last one.
        """
        started = time.monotonic()
        usual = self.unbroken[mutation.tenant]
        verdicts = {key: each.verdict for key, each in usual.items()}
        try:
            wanted = self.whole.after(mutation.acts)
            scene = self.scenes[mutation.tenant]
            expected = foreseen(scene, scene.beside(wanted), mutation, self.plan, usual)
            self._bring(wanted)
            notice = self._watch(mutation, verdicts, expected)
        except (GcloudPkError, ValueError) as error:
            return Notice(mutation, verdicts, {}, {}, time.monotonic() - started, f"not made: {error}")
        return Notice(mutation, verdicts, expected, notice.observed, time.monotonic() - started)

    def _watch(self, mutation: Mutation, usual: Mapping[Key, Verdict], expected: Mapping[Key, Foreseen]) -> Notice:
        notice = Notice(mutation, usual, expected, self.look(mutation.tenant))
        for pause in _PAUSES:
            if not notice.differences():
                break
            time.sleep(pause)
            notice = Notice(mutation, usual, expected, self.look(mutation.tenant))
        return notice

    def restore(self) -> None:
        """Bring back what is not as it was."""
        self._bring(self.whole)

    def _bring(self, wanted: World) -> None:
        """Make the control plane's objects those of another world: what is restored first, policies before the rest.

        Raises UnavailableError where the API server refuses.
        """
        changed = self.now.differences(wanted)
        policies = [key for key in changed if key.kind in POLICIES]
        # First what was changed last, while the walls that would refuse it are as they were then.
        for key in self.now.differences(self.whole):
            if key.kind not in POLICIES:
                self._write(key, self.whole)
        for key in policies:
            self._write(key, wanted)
        if policies:
            self._set_marker()
        for key in self.now.differences(wanted):
            self._write(key, wanted)
        self._count({k.namespace for k in changed if k.kind == RESOURCE_QUOTA and k in wanted.objects})

    def _count(self, namespaces: Collection[str]) -> None:
        if namespaces:
            quotas_counted(self.bench.administrator, namespaces)

    def _write(self, key: ObjectKey, wanted: World) -> None:
        api, was, becomes = self.bench.administrator, self.now.objects.get(key), wanted.objects.get(key)
        if was is not None and _held(was):
            _release(api, key)
        if becomes is None or _held(becomes):
            _settled(lambda: api.request("DELETE", key.path), str(key), absent=True)
            if becomes is None and (was or {}).get("metadata", {}).get("finalizers"):
                _release(api, key)
        else:
            _settled(lambda: _put(api, key, was, becomes), str(key))
        objects = {**self.now.objects}
        objects.pop(key, None)
        self.now = World(objects if becomes is None else {**objects, key: becomes})

    def _set_marker(self) -> None:
        """Write a policy of our own, last, and wait until it speaks: all policies written before it are in force.

        API servers take up what changed once a second, all of it at once (control plane, section 2).
        """
        self.markers += 1
        said = f"marker {self.markers}"
        for made in _marker(said):
            key = ObjectKey(_KINDS[made["kind"]], "", _MARKER)
            _settled(partial(_put, self.bench.administrator, key, None, made), str(key))
        asked = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": _MARKER}}
        path = CONFIG_MAP.path("default")
        until = time.monotonic() + _PATIENCE
        while True:
            answer = self.bench.administrator.request("POST", path, params={"dryRun": "All"}, body=asked)
            if answer.message.endswith(said):
                return
            if time.monotonic() > until:
                raise UnavailableError(f"policies are not taken up: {answer.message or 'the marker was admitted'}")
            time.sleep(0.03)


_KINDS = {kind.kind: kind for kind in POLICIES}


def _marker(said: str) -> tuple[Manifest, Manifest]:
    version = VALIDATING_ADMISSION_POLICY.api_version
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}
    selector = {"matchLabels": {"kubernetes.io/metadata.name": "default"}}
    policy = {
        "failurePolicy": "Fail",
        "matchConstraints": {"namespaceSelector": selector, "resourceRules": [rule]},
        "validations": [{"expression": f"object.metadata.name != '{_MARKER}'", "message": said}],
    }
    binding = {"policyName": _MARKER, "validationActions": ["Deny"]}
    named = {"apiVersion": version, "metadata": {"name": _MARKER}}
    return (
        {**named, "kind": VALIDATING_ADMISSION_POLICY.kind, "spec": policy},
        {**named, "kind": VALIDATING_ADMISSION_POLICY_BINDING.kind, "spec": binding},
    )


def _serve_gateway_api(api: Api) -> None:
    """Serve the Gateway API where its definitions are in the cache: without them its probes do not apply."""
    if not gateway_api.cached():
        return
    served = []
    for made in gateway_api.definitions("experimental", Console()):
        _settled(partial(api.request, "POST", CUSTOM_RESOURCE_DEFINITION.path(), body=made), made["metadata"]["name"])
        spec = made["spec"]
        served += [
            f"/apis/{spec['group']}/{v['name']}/{spec['names']['plural']}" for v in spec["versions"] if v["served"]
        ]
    for path in served:
        _settled(partial(api.request, "GET", path, params={"limit": "1"}), path)


def _held(made: Manifest) -> bool:
    return bool(made["metadata"].get("deletionTimestamp") == HELD)


def _put(api: Api, key: ObjectKey, was: Manifest | None, becomes: Manifest) -> Answer:
    """Write an object as it is to be; what the API server added by itself stays."""
    live = api.request("GET", key.path)
    if live.status == 404:
        return api.request("POST", key.kind.path(key.namespace or None), body=becomes)
    if not live.ok:
        return live
    metadata = {k: v for k, v in live.body["metadata"].items() if k != "managedFields"}
    for name in ("labels", "annotations"):
        ours = {*((was or {}).get("metadata", {}).get(name) or {})}
        kept = {k: v for k, v in (metadata.get(name) or {}).items() if k not in ours}
        metadata[name] = {**kept, **(becomes["metadata"].get(name) or {})}
    metadata["finalizers"] = becomes["metadata"].get("finalizers") or []
    body = {**live.body, **becomes, "metadata": metadata}
    # A field that the manifest has no longer is the API server's to fill in again; a namespace's spec is its own.
    for name in live.body.keys() - becomes.keys() - {"metadata", "status"}:
        if key.kind != NAMESPACE:
            del body[name]
    return api.request("PUT", key.path, body=body)


def _release(api: Api, key: ObjectKey) -> None:
    """Take the finalizers off what is being deleted, and wait until it is gone."""
    body = {"metadata": {"finalizers": None}}
    kind = "application/merge-patch+json"
    _settled(lambda: api.request("PATCH", key.path, body=body, content_type=kind), str(key), absent=True)
    _settled(lambda: api.request("GET", key.path), str(key), absent=True, only_absent=True)


def _settled(ask: Callable[[], Answer], what: str, *, absent: bool = False, only_absent: bool = False) -> None:
    """Ask until it is done: parameters and definitions that were just written take a moment to be known.

    `absent`: that nothing is there counts as done, with `only_absent` nothing else does. Raises UnavailableError.
    """
    until = time.monotonic() + _PATIENCE
    while True:
        answer = ask()
        if (answer.ok and not only_absent) or (absent and answer.status == 404):
            return
        if time.monotonic() > until:
            raise UnavailableError(f"{what} cannot be written: {answer.message or 'it does not go'}")
        time.sleep(0.05)


Choice = Callable[[Sequence[Mutation]], Sequence[Mutation]]


@dataclass
class _Work:
    """Mutations that are left, and what came of the others. Thread-safe. `chosen`: which are made; None: all."""

    console: Console
    chosen: Choice | None
    left: deque[Mutation] | None = None
    notices: list[Notice] = field(default_factory=list)
    whole: list[Finding] = field(default_factory=list)
    """Of each lane's tenants, before the first mutation and after the last: they pass everything."""
    unbroken: dict[Key, Finding] = field(default_factory=dict)
    plan: Plan | None = None
    stopped: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    said: float = field(default_factory=time.monotonic)

    def open(self, number: int, lane: Lane) -> bool:
        """Take what a lane found unbroken; the first one says what there is to do. Return whether it is to go on."""
        wrong = [f for found in lane.unbroken.values() for f in _wrong(found)]
        with self.lock:
            self.whole.append(_whole("unbroken", "Before anything is taken away, everything passes", number, wrong))
            for found in lane.unbroken.values():
                self.unbroken |= found
            if self.left is None and not wrong:
                made = lane.mutations()
                self.left = deque(self.chosen(made) if self.chosen else made)
                self.plan = lane.plan
        return not wrong

    def next(self, *, last: bool) -> Mutation | None:
        """Return a mutation that nobody has; lanes take from both ends, so that policies and the rest alternate."""
        with self.lock:
            if not self.left or self.stopped.is_set():
                return None
            return self.left.pop() if last else self.left.popleft()

    def done(self, notice: Notice) -> None:
        """Keep what came of a mutation, and say now and then how far it is."""
        found = finding(notice)
        with self.lock:
            self.notices.append(notice)
            if found.verdict is not Verdict.PASS:
                self.console.note(f"self-test: {found.id}: {found.verdict}: {found.reason}")
            if time.monotonic() - self.said > _TELLING:
                self.said = time.monotonic()
                left = len(self.left or ())
                self.console.note(f"self-test: {len(self.notices)} controls taken away, {left} left")

    def close(self, number: int, lane: Lane) -> None:
        """Take what a lane finds when all is restored."""
        lane.restore()
        wrong = [f for name in lane.unbroken for f in _wrong(lane.look(name))]
        with self.lock:
            self.whole.append(_whole("restored", "After everything is restored, everything passes", number, wrong))

    def findings(self) -> list[Finding]:
        """Return what there is to say."""
        found = [*self.whole, *(finding(notice) for notice in self.notices)]
        if self.plan is not None and self.chosen is None:
            found += [*unmoved(self.notices, self.unbroken, self.plan), *unshown(self.notices, self.plan)]
        return found


def self_test(
    console: Console, *, lanes: int = LANES, known: Catalogue | None = None, chosen: Choice | None = None
) -> list[Finding]:
    """Return the findings of the self-test: one for each mutation, and (of all of them) for each check and wall.

    `chosen` picks mutations; with less than all nothing is said of checks and walls. Raises UnavailableError where no
    control plane can be started.
    """
    known = known or standard()
    work = _Work(console, chosen)
    with ThreadPoolExecutor(lanes, "self-test") as pool:
        futures = [pool.submit(_run, number, work, known) for number in range(lanes)]
        try:
            for future in as_completed(futures):
                future.result()
        finally:
            work.stopped.set()
    return work.findings()


def _run(number: int, work: _Work, known: Catalogue) -> None:
    with ExitStack() as stack:
        with _starting:
            if work.stopped.is_set():
                return
            on = stack.enter_context(bench(work.console, number))
        lane = Lane.furnish(on, known)
        if not work.open(number, lane):
            return
        while (mutation := work.next(last=bool(number % 2))) is not None:
            work.done(lane.examine(mutation))
        if not work.stopped.is_set():
            work.close(number, lane)


def _wrong(found: Mapping[Key, Finding]) -> list[Finding]:
    return [f for f in found.values() if f.verdict not in {Verdict.PASS, Verdict.NOT_APPLICABLE}]


def _whole(name: str, title: str, number: int, wrong: Sequence[Finding]) -> Finding:
    said = [f"{f.id} ({f.subject}) is {f.verdict}: {f.observed}" for f in wrong]
    return Finding(
        id=name,
        title=title,
        subject=f"lane/{number}",
        expected="every check of the scratch tenants passes",
        observed="; ".join(said) or "every check passes",
        verdict=Verdict.FAIL if wrong else Verdict.PASS,
        reason="what a mutation would show cannot be told" if wrong else None,
    )
