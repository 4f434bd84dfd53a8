"""Probes as data: what is tried, as whom, and which wall must stop it; read from `probes/*.yaml`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, model_validator

from gcloud_pk import paths
from gcloud_pk.model.base import Line, Model
from gcloud_pk.model.classification import Isolation
from gcloud_pk.proof.call import Body, Resource, Verb
from gcloud_pk.proof.patch import Edit
from gcloud_pk.proof.refusal import RBAC, WALLS
from gcloud_pk.proof.target import Who

Where = Literal["own", "platform", "others", "cluster"]
"""In each namespace of the tenant in use; in the platform's; in other tenants'; in none (the whole cluster).
All but `own` are asked once for each tenant."""

Derived = Literal["above-quota", "above-limit"]
"""Edits that depend on the namespace's live quota and limits (`proof/capacity.py`)."""

ProbeId = Annotated[str, Field(pattern=r"^ISO-[0-9]{3}$")]
Admitted = Literal["admitted"]


def _resource(value: object) -> Resource:
    return value if isinstance(value, Resource) else Resource.parse(str(value))


class _ProbeModel(Model):
    model_config = ConfigDict(arbitrary_types_allowed=True)


ResourceName = Annotated[Resource, BeforeValidator(_resource)]


class Request(_ProbeModel):
    """Verb and resource; `name` may hold a `${variable}`."""

    verb: Verb
    resource: ResourceName
    subresource: str | None = None
    name: str | None = None


POLICIES = "admission policies"
"""All admission policies together, as one wall beside those of Kubernetes."""


class Refused(_ProbeModel):
    """The wall that must refuse (a policy's name or one of `refusal.WALLS`) and the words that name the field.

    `rule`: which rule of the policy, such as GPK-IMG-01. For `rbac` the words follow from the request, and `field`
    stays empty. `earlier`: a wall of Kubernetes that some clusters have in front, and which then refuses as rightly.
    """

    by: Line
    rule: Annotated[str, Field(pattern=r"^GPK-[A-Z]{3}-[0-9]{2}$")] | None = None
    field: Line | None = None
    earlier: Line | None = None

    @model_validator(mode="after")
    def _names_the_field(self) -> Refused:
        if (self.by == RBAC) == (self.field is not None):
            raise ValueError("every wall but rbac must name a field")
        if self.by not in WALLS and not self.by.startswith("gpk-"):
            raise ValueError(f"expected one of {', '.join(sorted(WALLS))} or a policy gpk-…")
        if self.by.startswith("gpk-") != (self.rule is not None):
            raise ValueError("a policy must name its rule, and no other wall has any")
        if self.earlier is not None and self.earlier not in WALLS - {RBAC}:
            raise ValueError(f"in front of a wall stands one of {', '.join(sorted(WALLS - {RBAC}))}, if any")
        return self


class Probe(_ProbeModel):
    """One request that must be admitted, or refused by one wall.

    `object` names the control object, `edits` what is broken in it, `body` stands for itself: an object, a merge patch,
    or a JSON Patch where it is a list. `control` is the probe that must have been admitted in the same run. `shows` is
    what an admitted answer must show. `isolation`: the levels that it applies to; empty means all.
    """

    id: ProbeId
    title: Line
    controls: tuple[Line, ...] = Field(min_length=1)
    identity: Who
    where: Where = "own"
    request: Request
    object: str | None = None
    edits: tuple[Edit, ...] = ()
    derived: Derived | None = None
    body: Body | None = None
    expect: Admitted | Refused
    shows: Literal["limit-range-defaults"] | None = None
    control: ProbeId | None = None
    isolation: tuple[Isolation, ...] = ()
    quick: bool = False

    @property
    def wall(self) -> str | None:
        """The wall that it vouches for; none where either of two may refuse, or nothing does."""
        if not isinstance(self.expect, Refused) or self.expect.earlier is not None:
            return None
        return POLICIES if self.expect.by.startswith("gpk-") else self.expect.by


class Review(_ProbeModel):
    """Rights that the authorizer itself is asked for (SubjectAccessReview), where trying them would read secrets.

    `each_group`: every group of the identity is asked for by itself. `environments`: which of them, where `own`; in the
    `first` in use only what no environment has by itself: what a ClusterRoleBinding or a tenant role gives is the same
    in all of them, and what else a RoleBinding or Role of one could give, ISO-109, ISO-110 and ISO-133 find in each.
    A resource may name a subresource after a colon: `v1/nodes:proxy`. `names`: asked for each of these by its name
    (`${strangers}`: every group of other tenants), because a rule may allow just that one.
    """

    id: ProbeId
    title: Line
    controls: tuple[Line, ...] = Field(min_length=1)
    identity: Who
    where: Where = "own"
    verbs: tuple[str, ...] = Field(min_length=1)
    resources: tuple[str, ...] = Field(min_length=1)
    names: tuple[Line, ...] = ()
    expect: Literal["allowed", "denied"]
    each_group: bool = False
    environments: Literal["active", "first", "retired", "all"] = "active"
    quick: bool = False


class Unchecked(Model):
    """What no check of this version shows, and what shows it instead."""

    id: ProbeId
    title: Line
    instead: Line


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All probes and reviews by id, and the control objects by name."""

    probes: Mapping[str, Probe]
    reviews: Mapping[str, Review]
    objects: Mapping[str, dict[str, Any]]


def catalogue(probes: Iterable[Any], reviews: Iterable[Any], objects: Mapping[str, dict[str, Any]]) -> Catalogue:
    """Check documents and return the catalogue. Raises ValueError: a probe that could pass for no reason is none."""
    made = TypeAdapter(tuple[Probe, ...]).validate_python(tuple(probes))
    asked = TypeAdapter(tuple[Review, ...]).validate_python(tuple(reviews))
    ids = [p.id for p in made] + [r.id for r in asked]
    if twice := sorted({i for i in ids if ids.count(i) > 1}):
        raise ValueError(f"the same id twice: {', '.join(twice)}")
    by_id = {p.id: p for p in made}
    for probe in made:
        if wrong := _unsound(probe, by_id, objects):
            raise ValueError(f"{probe.id}: {wrong}")
    return Catalogue(by_id, {r.id: r for r in asked}, dict(objects))


def _unsound(probe: Probe, probes: Mapping[str, Probe], objects: Mapping[str, dict[str, Any]]) -> str | None:
    if probe.object is not None and probe.object not in objects:
        return f"there is no control object {probe.object}"
    if isinstance(probe.body, list) and probe.request.verb != "patch":
        return "a list is a JSON Patch, and only a patch sends one"
    if isinstance(probe.expect, Refused) or probe.edits or probe.derived:
        return _unsound_control(probe, probes)
    return None


def _unsound_control(probe: Probe, probes: Mapping[str, Probe]) -> str | None:
    control = probes.get(probe.control or "")
    if control is None:
        return "names no control"
    if control.expect != "admitted" or control.edits or control.derived or control.where != "own":
        return f"{control.id} is no control: it must admit an unbroken object in the tenant's own namespace"
    if control.identity != probe.identity:
        return f"{control.id} acts as {control.identity}, this probe as {probe.identity}"
    if (probe.edits or probe.derived) and (control.object, control.request) != (probe.object, probe.request):
        return f"{control.id} does not send the unbroken {probe.object}"
    if (probe.edits or probe.derived) and probe.object is None:
        return "edits nothing: names no control object"
    return None


def _read(file: Path) -> Any:
    import yaml

    return yaml.load(file.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - a safe one


@cache
def standard() -> Catalogue:
    """Return the catalogue that the program carries."""
    folder = paths.package("proof", "probes")
    probes: list[Any] = []
    reviews: list[Any] = []
    for file in sorted(folder.glob("*.yaml")):
        if file.name not in {"objects.yaml", "unchecked.yaml"}:
            document = _read(file)
            probes += document.get("probes", [])
            reviews += document.get("reviews", [])
    return catalogue(probes, reviews, _read(folder / "objects.yaml"))


@cache
def unchecked() -> tuple[Unchecked, ...]:
    """Return what this version does not check, by id: every report names it as omitted."""
    documents = _read(paths.package("proof", "probes", "unchecked.yaml"))
    found = TypeAdapter(tuple[Unchecked, ...]).validate_python(tuple(documents["unchecked"]))
    return tuple(sorted(found, key=lambda each: each.id))


def needed_rights(known: Catalogue) -> frozenset[tuple[str, str, str]]:
    """Return (verb, API group, resource) of every request that is sent as a tenant: what a verifier must be allowed.

    With constrained impersonation (KEP-5284) each is a rule `impersonate-on:user-info:<verb>`.
    """
    return frozenset(
        (
            p.request.verb,
            p.request.resource.group,
            p.request.resource.plural + (f"/{p.request.subresource}" if p.request.subresource else ""),
        )
        for p in known.probes.values()
    )
