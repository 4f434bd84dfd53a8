"""Foresight: which checks must notice a mutation, and how each of them must end. Pure.

Worked out from the two worlds, before and after, and the catalogue; never from the checks' own code. What is the same
in both worlds leaves the verdict as it was.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from gcloud_pk.cluster.kinds import CLUSTER_ROLE, RESOURCE_QUOTA, ROLE, ObjectKey
from gcloud_pk.model import labels
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.proof import plugins
from gcloud_pk.proof import review as reviews
from gcloud_pk.proof.mutation import Mutation, Opening, Plan
from gcloud_pk.proof.plugins import PLUGINS
from gcloud_pk.proof.probe import Catalogue, Probe, Refused, Review, Where
from gcloud_pk.proof.rbac import ALL, Right, rights, role_of
from gcloud_pk.proof.refusal import ESCALATION, LIMIT_RANGE, OTHER, POD_SECURITY, QUOTA, RBAC
from gcloud_pk.proof.selection import reviewed
from gcloud_pk.proof.target import PLATFORM_NAMESPACES, Target, TargetEnvironment
from gcloud_pk.proof.trial import NotToBeTriedError, Ready, Trial, prepare, variables
from gcloud_pk.proof.world import Manifest, World

Key = tuple[str, str]
"""A check's id and its subject."""


_RBAC_GROUP = "rbac.authorization.k8s.io"
_VERIFIERS = (labels.VERIFIER_GROUP,)
_ASKING = Right("create", "authorization.k8s.io", "subjectaccessreviews")
_GRANTING = {"roles": ("escalate", ("roles",)), "rolebindings": ("bind", ("clusterroles", "roles"))}


@dataclass(frozen=True, slots=True)
class Foreseen:
    """How a check must end. `by`: the walls that stand behind, where the one that is expected has gone.

    Of two policies either may answer first, so any one of them shows it; empty: nothing is said of walls.
    """

    verdict: Verdict
    by: tuple[str, ...] = ()


PASSES = Foreseen(Verdict.PASS)


@dataclass
class Scene:
    """One tenant in one world: what is known of it is worked out once."""

    world: World
    target: Target
    known: Catalogue
    prepared: dict[tuple[str, str], list[Ready] | Verdict] = field(default_factory=dict)
    """What a probe sends from a namespace, or why it sends nothing."""
    foretold: dict[Key, Foreseen] = field(default_factory=dict)
    """What every check must say here, once it was worked out."""

    def beside(self, world: World) -> Scene:
        """Return the scene in another world; what is sent stays where the namespaces' objects are the same."""
        own = {e.namespace for e in self.target.environments}
        touched = any(key.namespace in own or key.name in own for key in self.world.differences(world))
        return Scene(world, self.target, self.known, {} if touched else self.prepared)

    def subject(self, environment: TargetEnvironment | None) -> str:
        """Return how a finding names the tenant or its environment."""
        tenant = f"tenant/{self.target.tenant}"
        return f"{tenant}/{environment.name}" if environment else tenant

    def ready(self, probe: Probe, environment: TargetEnvironment) -> list[Ready] | Verdict:
        """Return the calls of a probe from an environment, or the verdict of one that is not sent."""
        key = probe.id, environment.namespace
        if key not in self.prepared:
            self.prepared[key] = self._prepared(probe, environment)
        return self.prepared[key]

    def _prepared(self, probe: Probe, environment: TargetEnvironment) -> list[Ready] | Verdict:
        identity = self.target.identity(probe.identity)
        if identity is None or (probe.isolation and self.target.isolation not in probe.isolation):
            return Verdict.NOT_APPLICABLE
        around = self.world.around(environment.namespace)
        known = variables(self.target, environment, around)
        there = self.places(probe.where, environment.namespace)
        trial = Trial(probe, "", around, there, identity, known, self.target.isolation)
        try:
            return prepare(trial, self.known.objects)
        except NotToBeTriedError as missing:
            return missing.verdict

    def places(self, where: Where, own: str | None) -> tuple[str | None, ...]:
        """Return the namespaces that a check looks at."""
        return {
            "own": (own,),
            "cluster": (None,),
            "platform": PLATFORM_NAMESPACES,
            "others": self.target.strangers_namespaces,
        }[where]


def foreseen(
    before: Scene, after: Scene, mutation: Mutation, plan: Plan, baseline: Mapping[Key, Finding]
) -> dict[Key, Foreseen]:
    """Return how every check of the baseline must end after the mutation."""
    expected = {key: Foreseen(finding.verdict) for key, finding in baseline.items()}
    if not before.foretold:
        before.foretold.update(_Forecast(before, plan).all())
    was, becomes = before.foretold, dict(_Forecast(after, plan, mutation.opens, _touched(mutation)).all())
    for key, verdict in becomes.items():
        # What does not apply is not tried, whatever else is so.
        if key in expected and expected[key].verdict is not Verdict.NOT_APPLICABLE and verdict != was[key]:
            expected[key] = verdict
    expected |= dict(_plugins(after.known, expected))
    return expected | dict(_noticed(mutation, after.target, baseline))


def _plugins(known: Catalogue, expected: Mapping[Key, Foreseen]) -> Iterator[tuple[Key, Foreseen]]:
    """Yield what must be said of the API server's walls: each is there if one probe met it, and not if one got past."""
    for plugin in PLUGINS:
        key = plugin.id, plugins.SUBJECT
        if key in expected:
            ends = {
                foretold.verdict
                for (name, _), foretold in expected.items()
                if (probe := known.probes.get(name)) is not None and probe.wall == plugin.wall
            }
            order = (Verdict.PASS, Verdict.FAIL)
            yield key, Foreseen(next((each for each in order if each in ends), Verdict.NOT_CHECKED))


def _named(wall: str) -> tuple[str, str | None]:
    """Return the wall's name and its rule."""
    name, _, rule = wall.partition(" ")
    return name, rule or None


def _touched(mutation: Mutation) -> frozenset[str]:
    """Return the namespaces of which something is changed."""
    return frozenset(act.key.namespace or act.key.name for act in mutation.acts)


def _noticed(mutation: Mutation, target: Target, baseline: Mapping[Key, Finding]) -> Iterator[tuple[Key, Foreseen]]:
    """Yield what the data names: of the environment that an act touches, or of whatever subject has that check."""
    own = {f"tenant/{target.tenant}/{e.name}" for e in target.environments if e.namespace in _touched(mutation)}
    for named, verdict in mutation.noticed.items():
        check, _, below = named.partition("/")
        if below:
            yield from (((check, f"{subject}/{below}"), Foreseen(verdict)) for subject in own)
            continue
        subjects = {subject for name, subject in baseline if name == check}
        here = {s for s in subjects if s in own}
        for subject in here or subjects or own:
            yield (check, subject), Foreseen(verdict)


@dataclass
class _Forecast:
    scene: Scene
    plan: Plan
    opens: tuple[Opening, ...] = ()
    opened: frozenset[str] = frozenset()
    """Namespaces in which the openings are."""
    probes: dict[Key, Foreseen] = field(default_factory=dict)

    @property
    def world(self) -> World:
        return self.scene.world

    def all(self) -> Iterator[tuple[Key, Foreseen]]:
        """Yield what every probe and review must say in this world."""
        known = self.scene.known
        for controls in (True, False):
            for probe in known.probes.values():
                if (probe.control is None) is controls:
                    yield from self._probe(probe)
        yield from self._reviews(known.reviews.values())

    def _probe(self, probe: Probe) -> Iterator[tuple[Key, Foreseen]]:
        active = self.scene.target.active
        own = probe.where == "own"
        for environment in active if own else active[:1]:
            key = probe.id, self.scene.subject(environment if own else None)
            self.probes[key] = self._said(probe, environment)
            yield key, self.probes[key]

    def _said(self, probe: Probe, environment: TargetEnvironment) -> Foreseen:
        if probe.control is not None:
            control = self.probes.get((probe.control, self.scene.subject(environment)), PASSES)
            if control.verdict is not Verdict.PASS:
                own = control.verdict is Verdict.NOT_APPLICABLE
                return Foreseen(Verdict.NOT_APPLICABLE if own else Verdict.NOT_CHECKED)
        ready = self.scene.ready(probe, environment)
        if isinstance(ready, Verdict):
            return Foreseen(ready)
        said = [self._call(probe, each) for each in ready]
        worst = (Verdict.FAIL, Verdict.ERROR, Verdict.PASS)
        return min(said, key=lambda f: worst.index(f.verdict), default=PASSES)

    def _call(self, probe: Probe, ready: Ready) -> Foreseen:
        groups = self.scene.target.groups_of(probe.identity)
        expects = probe.expect.by if isinstance(probe.expect, Refused) else None
        walls = self._in_the_way(groups, ready, expects)
        if not isinstance(probe.expect, Refused):
            return Foreseen(Verdict.FAIL if walls & {RBAC, ESCALATION} else Verdict.ERROR) if walls else PASSES
        expected = probe.expect
        if expected.earlier is not None:  # a plug-in of the API server, which no mutation takes away
            return PASSES
        for wall in (RBAC, ESCALATION):  # these speak before any policy
            if wall in walls:
                return PASSES if expected.by == wall else Foreseen(Verdict.ERROR, (wall,))
        if expected.by not in {RBAC, ESCALATION} and self._stands(expected.by, expected.rule, ready):
            return PASSES
        behind = self.plan.behind(probe.id)
        standing = tuple(wall for wall in behind if self._stands(*_named(wall), ready))
        return Foreseen(Verdict.ERROR, standing) if standing else Foreseen(Verdict.FAIL)

    def _in_the_way(self, groups: Collection[str], ready: Ready, expected: str | None) -> set[str]:
        """Return the walls that ask for rights and speak before any other."""
        call = ready.call
        place = call.name if call.resource.plural == "namespaces" else call.namespace
        held = self.world.held(groups, place)
        walls = set()
        names = (call.name,) if call.name else ()
        if not held.covers(Right(call.verb, call.resource.group, call.full_resource, names)):
            walls.add(RBAC)
        if call.verb in {"create", "update", "patch"} and isinstance(call.body, dict):
            plural = call.resource.plural
            if plural in _GRANTING and call.resource.group == _RBAC_GROUP:
                verb, resources = _GRANTING[plural]
                may = any(held.covers(Right(verb, _RBAC_GROUP, resource)) for resource in resources)
                needed = self._needed(call.body, place, strange=expected == ESCALATION)
                if not may and not all(held.covers(right) for right in needed):
                    walls.add(ESCALATION)
        return walls

    def _needed(self, body: Manifest, namespace: str | None, *, strange: bool) -> Iterator[Right]:
        """Yield what has to be held to grant it; of a role that is not ours, everything or (if not `strange`) nothing.

        What everybody is given by Kubernetes itself stands in no world.
        """
        if "rules" in body:
            yield from rights(body)
        elif "roleRef" in body:
            named = {**body, "metadata": {**body.get("metadata", {}), "namespace": namespace or ""}}
            kind, at, name = role_of(named)
            role = self.world.objects.get(ObjectKey(CLUSTER_ROLE if kind == "ClusterRole" else ROLE, at, name))
            if role is not None:
                yield from rights(role)
            elif strange:
                yield Right(ALL, ALL, ALL)

    def _stands(self, wall: str, rule: str | None, ready: Ready) -> bool:
        """Whether a wall refuses what was broken, as it did when the tenant was whole."""
        call = ready.call
        if wall in {OTHER, ESCALATION}:  # no mutation gives all that would have to be held
            return True
        if wall == POD_SECURITY:
            return self.world.pod_security(call.namespace or "") == "restricted"
        if wall in {QUOTA, LIMIT_RANGE}:
            return wall == LIMIT_RANGE or any(
                key.kind == RESOURCE_QUOTA and key.namespace == call.namespace for key in self.world.objects
            )
        if not self.world.enforces(wall, rule, call.namespace):
            return False
        if call.namespace not in self.opened:
            return True
        text = json.dumps(call.body)
        return not any(opened.rule == rule and opened.containing in text for opened in self.opens)

    def _reviews(self, asked: Collection[Review]) -> Iterator[tuple[Key, Foreseen]]:
        may_ask = self.world.held(_VERIFIERS, None).covers(_ASKING)
        yield (
            (reviews.CONTROL_ID, self.scene.subject(None)),
            PASSES if may_ask else Foreseen(Verdict.ERROR),
        )
        for each in asked:
            groups = tuple(sorted(self.scene.target.groups_of(each.identity)))
            if not groups and each.identity != "outsiders":
                continue
            for subject, there in self._asked_of(each):
                said = PASSES if self._answered(each, groups, there) else Foreseen(Verdict.FAIL)
                yield (each.id, subject), said if may_ask else Foreseen(Verdict.NOT_CHECKED)

    def _asked_of(self, review: Review) -> Iterator[tuple[str, tuple[str | None, ...]]]:
        if review.where != "own":
            yield self.scene.subject(None), self.scene.places(review.where, None)
            return
        for environment in reviewed(review, self.scene.target.environments):
            yield self.scene.subject(environment), (environment.namespace,)

    def _answered(self, review: Review, groups: tuple[str, ...], there: tuple[str | None, ...]) -> bool:
        allowed = review.expect == "allowed"
        strangers = tuple(sorted(self.scene.target.other_groups))
        for question in reviews.questions(review, groups, there, strangers):
            resource = question.resource
            full = f"{resource.plural}/{question.subresource}" if question.subresource else resource.plural
            held = self.world.held(question.groups, question.namespace)
            names = (question.name,) if question.name else ()
            if held.covers(Right(question.verb, resource.group, full, names)) is not allowed:
                return False
        return True
