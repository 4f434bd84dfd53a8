"""Mutation: one control taken away or weakened, and what must notice. Data: `mutations/*.yaml`, and families derived.

A policy, a rule of one, a rule of a tenant's role and a right that nobody has are mutated because they are there: what
is new in `policies/` or in the catalogue is taken away too, without a line of data. What must notice follows from the
catalogue (`proof/foresight.py`); only object checks are named here, because nothing but they could tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from string import Template
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from gcloud_pk import paths
from gcloud_pk.cluster.kinds import (
    CLUSTER_ROLE,
    VALIDATING_ADMISSION_POLICY,
    VALIDATING_ADMISSION_POLICY_BINDING,
    ObjectKey,
)
from gcloud_pk.model import labels
from gcloud_pk.model.base import Line, Model
from gcloud_pk.model.finding import Verdict
from gcloud_pk.proof.call import Resource
from gcloud_pk.proof.checks import TENANT_ROLES
from gcloud_pk.proof.probe import Catalogue, Refused
from gcloud_pk.proof.refusal import RBAC
from gcloud_pk.proof.target import Target, Who
from gcloud_pk.proof.world import Act, Manifest, World

_RBAC_GROUP = "rbac.authorization.k8s.io"
_CALLED = {"accounts": "service accounts", "outsiders": "everybody", "strangers": "other tenants"}
_EVERYBODY = "system:authenticated"
VERIFIER = "gcloud-pk:verifier"
_GRANT = "self-test"
_NOWHERE = {"matchLabels": {"gcloud.gov.pk/self-test": "nowhere"}}

Tenant = Literal["plain", "single", "pools"]
"""Which scratch tenant is looked at: with several environments, with one, or with one on nodes of its own.

One environment shows what is missed; that the one beside it stays as it is, several show for a kind of change each.
"""

MutationId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9:/.*-]*$")]


class Opening(Model):
    """Values that a rule admits now: its probes whose request holds the text."""

    rule: Line
    containing: Line


class Mutation(Model):
    """One change of the scratch tenant's world. `control`: what is taken away or weakened.

    `noticed`: object checks that must fail, or end in the verdict given; after a slash, of what in the environment.
    `opens`: what an admission policy admits now.
    Everything else that must notice follows from the acts.
    """

    id: MutationId
    title: Line
    control: Line
    acts: tuple[Act, ...] = Field(min_length=1)
    tenant: Tenant = "single"
    noticed: Mapping[str, Verdict] = Field(default_factory=dict)
    opens: tuple[Opening, ...] = ()


class Backing(Model):
    """A wall that stands behind another one: a policy with its rule, or a wall of Kubernetes.

    `probes` show it: where what must refuse them is gone, this one does. `other`: what is asked for is not there.
    """

    wall: Line
    because: Line
    probes: tuple[str, ...] = Field(min_length=1)


class Exemption(Model):
    """A check that no mutation can make fail, and why."""

    id: Line
    because: Line


@dataclass(frozen=True)
class Plan:
    """What the data says: mutations of the scratch tenant's own objects, walls behind walls, and what is exempt.

    `platform`: kind → object checks that compare the platform's objects with those that this version installs;
    `asked`: policy → checks that ask it.
    """

    mutations: tuple[Mutation, ...]
    backings: tuple[Backing, ...]
    exemptions: tuple[Exemption, ...]
    platform: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    asked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def behind(self, probe: str) -> tuple[str, ...]:
        """Return the walls behind the one that a probe expects, in order."""
        return tuple(b.wall for b in self.backings if probe in b.probes)


def read(variables: Mapping[str, str]) -> Plan:
    """Return the data with `${…}` filled in. Raises ValueError (pydantic) for data that is not understood."""
    document = _filled(_documents(), variables)
    return Plan(
        TypeAdapter(tuple[Mutation, ...]).validate_python(tuple(document["mutations"])),
        TypeAdapter(tuple[Backing, ...]).validate_python(tuple(document["backings"])),
        TypeAdapter(tuple[Exemption, ...]).validate_python(tuple(document["exemptions"])),
        {kind: tuple(ids) for kind, ids in document["platform"].items()},
        {policy: tuple(ids) for policy, ids in document["asked"].items()},
    )


@cache
def _documents() -> dict[str, Any]:
    import yaml

    document: dict[str, Any] = {"mutations": [], "backings": [], "exemptions": [], "platform": {}, "asked": {}}
    for file in sorted(paths.package("proof", "mutations").glob("*.yaml")):
        for part, content in (yaml.safe_load(file.read_bytes()) or {}).items():
            if part in {"platform", "asked"}:
                document[part] |= content
            elif part in document:
                document[part] += content
    return document


@cache
def scratch() -> dict[str, Any]:
    """Return the scratch tenants as data: `cluster`, `organisation`, and `requests` by what they are for."""
    import yaml

    found: dict[str, Any] = yaml.safe_load(paths.package("proof", "mutations", "scratch.yaml").read_bytes())
    return found


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return Template(value).substitute(variables)
    if isinstance(value, dict):
        return {_filled(key, variables): _filled(item, variables) for key, item in value.items()}
    return [_filled(item, variables) for item in value] if isinstance(value, list) else value


def mutations(plan: Plan, shared: World, known: Catalogue, target: Target) -> list[Mutation]:
    """Return every mutation, each id once. `shared`: the platform's objects; `target`: the tenant with one environment.

    Raises ValueError for an id that comes twice.
    """
    found = [*of_policies(shared), *of_roles(shared), *of_rights(known, target), *plan.mutations]
    ids = [each.id for each in found]
    if twice := sorted({each for each in ids if ids.count(each) > 1}):
        raise ValueError(f"the same mutation twice: {', '.join(twice)}")
    return [_with_platform_checks(each, plan, shared) for each in found]


def _with_platform_checks(mutation: Mutation, plan: Plan, shared: World) -> Mutation:
    acts = [act for act in mutation.acts if act.key in shared.objects]
    after = shared.after(acts)
    checks = {check: Verdict.FAIL for act in acts for check in plan.platform.get(act.kind, ())}
    for policy, asking in plan.asked.items():
        if not after.enforces(policy, None, labels.SYSTEM_NAMESPACE):
            checks |= dict.fromkeys(asking, Verdict.FAIL)
    return mutation.model_copy(update={"noticed": {**checks, **mutation.noticed}}) if checks else mutation


def of_policies(world: World) -> Iterator[Mutation]:
    """Yield for each admission policy: its binding gone and weakened, itself weakened, and each of its rules gone.

    At last all bindings at once.
    """
    bindings = [key for key in sorted(world.objects) if key.kind == VALIDATING_ADMISSION_POLICY_BINDING]
    yield Mutation(
        id="no-policy-bound",
        title="No admission policy is bound",
        control=VALIDATING_ADMISSION_POLICY_BINDING.kind,
        acts=tuple(Act(kind=key.kind.kind, name=key.name, delete=True) for key in bindings),
    )
    for key in sorted(world.objects):
        if key.kind != VALIDATING_ADMISSION_POLICY:
            continue
        bound = world.objects[ObjectKey(VALIDATING_ADMISSION_POLICY_BINDING, "", key.name)]
        tenants: tuple[Tenant, ...] = ("single", "pools") if key.name == "gpk-placement" else ("single",)
        for tenant in tenants:
            suffix = "" if tenant == "single" else f"-{tenant}"
            for name, title, acts in _of_policy(key.name, world, bound):
                yield Mutation(
                    id=f"{name}{suffix}",
                    title=title,
                    control=f"{acts[0].kind}/{acts[0].name}",
                    acts=acts,
                    tenant=tenant,
                )


def _of_policy(policy: str, world: World, bound: Manifest) -> Iterator[tuple[str, str, tuple[Act, ...]]]:
    binding, itself = VALIDATING_ADMISSION_POLICY_BINDING.kind, VALIDATING_ADMISSION_POLICY.kind
    yield f"{policy}-unbound", f"The binding of {policy} is deleted", (Act(kind=binding, name=policy, delete=True),)
    yield (
        f"{policy}-audit-only",
        f"The binding of {policy} no longer denies: it only writes to the audit log",
        (Act(kind=binding, name=policy, merge={"spec": {"validationActions": ["Audit"]}}),),
    )
    opened = [Act(kind=itself, name=policy, merge={"spec": {"failurePolicy": "Ignore"}})]
    if (bound["spec"].get("paramRef") or {}).get("parameterNotFoundAction") == "Deny":
        opened.append(
            Act(kind=binding, name=policy, merge={"spec": {"paramRef": {"parameterNotFoundAction": "Allow"}}})
        )
    yield f"{policy}-fails-open", f"What {policy} cannot judge, for want of parameters too, is admitted", tuple(opened)
    yield (
        f"{policy}-narrowed",
        f"{policy} no longer looks at this tenant's namespaces",
        (Act(kind=itself, name=policy, merge={"spec": {"matchConstraints": {"namespaceSelector": _NOWHERE}}}),),
    )
    made = world.objects[ObjectKey(VALIDATING_ADMISSION_POLICY, "", policy)]
    for number, validation in enumerate(made["spec"].get("validations") or ()):
        rule = str(validation.get("message", "")).partition("]")[0].removeprefix("[")
        if str(validation.get("message", "")).startswith("["):
            edit = {"path": f"/spec/validations/{number}/expression", "value": "true"}
            act = Act.model_validate({"kind": itself, "name": policy, "edits": (edit,)})
            yield f"{rule}-gone", f"{policy} has no rule {rule}", (act,)


def of_roles(world: World) -> Iterator[Mutation]:
    """Yield for each rule of each tenant role the role without it, and the verifier's without the right to ask."""
    for role in (*TENANT_ROLES.values(), VERIFIER):
        made = world.objects[ObjectKey(CLUSTER_ROLE, "", role)]
        for number, rule in enumerate(made["rules"]):
            if role == VERIFIER and not {"create"} <= set(rule["verbs"]):
                continue
            edit = {"path": f"/rules/{number}", "remove": True}
            yield Mutation(
                id=f"{role}-loses-{number:02}",
                title=_short(f"{role} may not {_listed(rule['verbs'])} {_listed(rule['resources'])}"),
                control=f"{CLUSTER_ROLE.kind}/{role}",
                acts=(Act.model_validate({"kind": CLUSTER_ROLE.kind, "name": role, "edits": (edit,)}),),
            )


@dataclass
class _Wanted:
    """Rights that somebody must not have, of one kind of thing; `own`: in the tenant's namespaces.

    `about`: an API group, or a resource of the core group with its subresources.
    """

    who: Who
    own: bool
    group: str
    about: str
    resources: set[str] = field(default_factory=set)
    verbs: set[str] = field(default_factory=set)


def of_rights(known: Catalogue, target: Target) -> Iterator[Mutation]:
    """Yield for each right that a check says nobody has: somebody has it, and what else of its kind nobody has."""
    wanted: dict[tuple[Who, bool, str, str], _Wanted] = {}
    for who, own, resource, subresource, verbs in _denied(known):
        key = (_role(who), own, resource.group, resource.group or resource.plural)
        each = wanted.setdefault(key, _Wanted(*key))
        each.verbs.update(verbs)
        each.resources.add(f"{resource.plural}/{subresource}" if subresource else resource.plural)
    for _, each in sorted(wanted.items()):
        groups = _groups(each.who, target)
        if groups:
            yield _granted(each, groups)


def _denied(known: Catalogue) -> Iterator[tuple[Who, bool, Resource, str | None, Iterable[str]]]:
    for probe in known.probes.values():
        if isinstance(probe.expect, Refused) and probe.expect.by == RBAC:
            request = probe.request
            yield probe.identity, probe.where == "own", request.resource, request.subresource, (request.verb,)
    for review in known.reviews.values():
        if review.expect == "denied":
            own = review.where == "own" and review.environments in {"active", "first"}
            own = own and review.identity not in {"outsiders", "strangers"}
            for text in review.resources:
                parent, _, subresource = text.partition(":")
                yield review.identity, own, Resource.parse(parent), subresource or None, review.verbs


def _groups(who: Who, target: Target) -> tuple[str, ...]:
    return (_EVERYBODY,) if who == "outsiders" else target.groups_of(who)


def _role(who: Who) -> Who:
    """Return whom a right is given: of somebody who is in every group, one role is enough."""
    return "developers" if who == "members" else who


def _granted(wanted: _Wanted, groups: tuple[str, ...]) -> Mutation:
    rule = {"apiGroups": [wanted.group], "resources": sorted(wanted.resources), "verbs": sorted(wanted.verbs)}
    what = f"{_listed(rule['verbs'])} {_listed(rule['resources'])}" + (f" of {wanted.group}" if wanted.group else "")
    whom = _CALLED.get(wanted.who, wanted.who)
    if wanted.own:
        role = TENANT_ROLES[wanted.who]
        edit = {"path": "/rules/-", "value": rule}
        return Mutation(
            id=f"right-own-{wanted.who}-{wanted.about}",
            title=_short(f"{role} may {what}"),
            control=f"{CLUSTER_ROLE.kind}/{role}",
            acts=(Act.model_validate({"kind": CLUSTER_ROLE.kind, "name": role, "edits": (edit,)}),),
        )
    reference = {"apiGroup": _RBAC_GROUP, "kind": "ClusterRole", "name": _GRANT}
    bound = [{"apiGroup": _RBAC_GROUP, "kind": "Group", "name": group} for group in groups]
    return Mutation(
        id=f"right-{wanted.who}-{wanted.about}",
        title=_short(f"In the whole cluster, {whom} may {what}"),
        control=f"RBAC/{wanted.who}/{wanted.about}",
        acts=(
            Act(kind="ClusterRole", name=_GRANT, create={"rules": [rule]}),
            Act(kind="ClusterRoleBinding", name=_GRANT, create={"roleRef": reference, "subjects": bound}),
        ),
    )


def _listed(words: Iterable[str]) -> str:
    return ", ".join(words)


def _short(title: str) -> str:
    return title if len(title) <= 200 else f"{title[:199]}…"
