"""Population: the whole cluster against what the platform and the approved requests imply.

Every namespace, cluster-wide binding, dangerous right, webhook and admission policy that neither implies is a finding.
What a cluster legitimately has beside (its network, storage drivers) is waived object by object, by the SHA-256 of what
stands there: what changes afterwards is a finding again. What lets in a tenant or everybody is never waived.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from gcloud_pk.cluster import kinds
from gcloud_pk.cluster.kinds import Kind
from gcloud_pk.cluster.likeness import unlike_as_installed
from gcloud_pk.cluster.transport import Api
from gcloud_pk.model import labels
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.model.waiver import Fixture, Tolerance
from gcloud_pk.proof import census, grants
from gcloud_pk.proof.bootstrap import Bootstrap, bootstrap
from gcloud_pk.proof.census import Census, Object, Reading, place
from gcloud_pk.proof.contents import Item
from gcloud_pk.proof.rbac import Subject, beyond, in_words, rights, role_of, subjects
from gcloud_pk.proof.surroundings import label
from gcloud_pk.render import data
from gcloud_pk.render.metadata import canonical
from gcloud_pk.render.platform import platform_objects


@dataclass(frozen=True)
class KnownTenant:
    """A tenant of the registry. `namespaces`: namespace → environment, of its approved request for this cluster.

    `retired`: the same of environments that an earlier approved request had; `groups`: as the API server sees them;
    `elsewhere`: why nothing of it belongs on this cluster, where nothing does.
    """

    name: str
    namespaces: Mapping[str, str] = field(default_factory=dict)
    retired: Mapping[str, str] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    storage_classes: tuple[str, ...] = ()
    elsewhere: str | None = None


@dataclass(frozen=True)
class Known:
    """What the registry and the site say. `cluster`: its name; `namespaces`: those that the site keeps for itself."""

    cluster: str
    tenants: tuple[KnownTenant, ...]
    namespaces: tuple[str, ...] = ()
    priority_classes: tuple[str, ...] = ()
    runtime_classes: tuple[str, ...] = ()
    tolerances: tuple[Tolerance, ...] = ()
    today: dt.date = field(default_factory=lambda: dt.datetime.now(dt.UTC).date())
    """The day (UTC) with which the expiry of waivers is compared."""
    audited: frozenset[str] | None = None
    """The tenants that the audit is about; None: everybody. It narrows what is said of other tenants' namespaces."""


@dataclass(frozen=True)
class Stray:
    """An object that is not implied. `observed`: what is wrong, in words; `content`: what a waiver is for.

    By hand: the digest is that of the JSON of [kind, namespace, name, content], without spaces, keys sorted.
    """

    kind: str
    namespace: str
    name: str
    observed: str
    content: Any = None

    @property
    def digest(self) -> str:
        """SHA-256 of the kind, the name and the content, as a waiver names it."""
        return "sha256:" + hashlib.sha256(canonical([self.kind, self.namespace, self.name, self.content])).hexdigest()


EVERYBODY = frozenset({"system:authenticated", "system:unauthenticated", "system:serviceaccounts"})
"""Groups that tenants are in, whoever they are."""
_ANONYMOUS = "system:anonymous"
_ACCOUNTS = "system:serviceaccounts:"


@dataclass(frozen=True)
class Scene:
    """What is there, what is known, and what Kubernetes and the platform imply."""

    there: Census
    known: Known
    standard: Bootstrap
    platform: Mapping[tuple[str, str, str], Object]

    @cached_property
    def tenants(self) -> dict[str, KnownTenant]:
        """Tenants of the registry by name."""
        return {tenant.name: tenant for tenant in self.known.tenants}

    @cached_property
    def owners(self) -> dict[str, str]:
        """Namespace → tenant: of approved requests, and whatever else carries a tenant's label."""
        live = {place(n)[1]: label(n, labels.TENANT) for n in self.there.all(kinds.NAMESPACE)}
        claimed = {name: owner for name, owner in live.items() if owner is not None}
        asked = {name: t.name for t in self.known.tenants for name in (*t.namespaces, *t.retired)}
        return claimed | asked

    @cached_property
    def groups(self) -> frozenset[str]:
        """Groups of all tenants of the registry, here or not."""
        return frozenset(group for tenant in self.known.tenants for group in tenant.groups)

    @cached_property
    def platform_namespaces(self) -> frozenset[str]:
        """Namespaces of Kubernetes, the platform and the site."""
        return self.standard.namespaces | {labels.SYSTEM_NAMESPACE, *self.known.namespaces}

    def of_tenant(self, subject: Subject, *, anonymous: bool = True) -> bool:
        """Whether a subject is somebody of a tenant, or everybody; `anonymous`: those without a name count too."""
        if subject.kind == "Group":
            own = subject.name.startswith(_ACCOUNTS) and subject.name.removeprefix(_ACCOUNTS) in self.owners
            return own or subject.name in self.groups or subject.name in EVERYBODY
        if subject.kind == "ServiceAccount":
            return subject.namespace in self.owners
        return anonymous and subject.name == _ANONYMOUS

    def implied(self, binding: Object) -> frozenset[Subject]:
        """Return whom Kubernetes or the platform binds by this very binding to this very role."""
        key = (str(binding["kind"]), *place(binding))
        for made in (self.standard.objects.get(key), self.platform.get(key)):
            if made is not None and role_of(made) == role_of(binding):
                return frozenset(subjects(made))
        return frozenset()

    def is_standard(self, binding: Object) -> bool:
        """Whether Kubernetes has a binding of this name, to this role, whoever is bound."""
        made = self.standard.objects.get((str(binding["kind"]), *place(binding)))
        return made is not None and role_of(made) == role_of(binding)

    def widened(self, kind: str, namespace: str, name: str) -> list[str]:
        """Return, in words, what a role of Kubernetes gives beyond what it gives by itself."""
        live = self.roles.get((kind, namespace, name))
        made = self.standard.objects.get((kind, namespace, name))
        if live is None or made is None:
            return []
        return [str(right) for right in beyond(rights(live), rights(made))]

    @cached_property
    def roles(self) -> dict[tuple[str, str, str], Object]:
        """Live Roles and ClusterRoles by (kind, namespace, name)."""
        return {
            (kind.kind, *place(made)): made
            for kind in (kinds.CLUSTER_ROLE, kinds.ROLE)
            for made in self.there.all(kind)
        }

    @property
    def held(self) -> grants.Held:
        """Dangerous rights that Kubernetes and the platform give, by who has them."""
        return _held(self.standard.minor)


@cache
def _platform() -> Mapping[tuple[str, str, str], Object]:
    """Return what `cluster init` installs by (kind, namespace, name)."""
    return {(str(made["kind"]), *place(made)): made for made in platform_objects()}


@cache
def _held(minor: str) -> grants.Held:
    return grants.held({**bootstrap(minor).objects, **_platform()})


@dataclass(frozen=True, slots=True)
class Check:
    """One check of the population: `reads` names the kinds it needs, `strays` what is not implied.

    `standard`: it needs to know what Kubernetes of this version makes by itself. `custom`: what it needs besides, by
    definition; where the cluster serves nothing of it, the check does not apply. `of_all`: it speaks of other tenants,
    or of nobody, and says nothing of one tenant.
    """

    id: str
    title: str
    controls: tuple[str, ...]
    reads: tuple[Kind, ...]
    strays: Callable[[Scene], Iterable[Stray]]
    standard: bool = False
    custom: Callable[[Census], Mapping[str, Reading]] | None = None
    of_all: bool = False


# --- namespaces and tenants -------------------------------------------------------------------------------------------


def _claims(scene: Scene) -> Iterator[Stray]:
    """Namespaces that say that they are a tenant's, and no approved request has them."""
    for live in scene.there.all(kinds.NAMESPACE):
        name = place(live)[1]
        ours = sorted(key for key in live["metadata"].get("labels") or {} if key.startswith(f"{labels.GROUP}/"))
        owner = label(live, labels.TENANT)
        if not ours or (owner is None and name in scene.platform_namespaces):
            continue
        if wrong := _claim(scene, live, name, owner, ours):
            yield _stray(live, wrong)


def _claim(scene: Scene, live: Object, name: str, owner: str | None, ours: Sequence[str]) -> str | None:
    if owner is None:
        return f"carries {', '.join(ours)}, and no tenant's name"
    tenant = scene.tenants.get(owner)
    if tenant is None:
        return f"says that it is tenant {owner}'s, whom the registry does not know"
    if tenant.elsewhere is not None:
        return f"says that it is tenant {owner}'s, which has nothing here: {tenant.elsewhere}"
    environment, retired = label(live, labels.ENVIRONMENT), label(live, labels.RETIRED) is not None
    implied = (tenant.retired if retired else tenant.namespaces).get(name)
    if implied is None:
        what = "retired" if retired else "in use"
        return f"says that it is environment {environment} of tenant {owner}, {what}; no approved request implies that"
    return f"says that it is environment {environment}, and is {implied}" if implied != environment else None


def _nobodys(scene: Scene) -> Iterator[Stray]:
    """Namespaces that are neither a tenant's nor the platform's."""
    asked = {name for tenant in scene.known.tenants for name in (*tenant.namespaces, *tenant.retired)}
    for live in scene.there.all(kinds.NAMESPACE):
        name = place(live)[1]
        ours = any(key.startswith(f"{labels.GROUP}/") for key in live["metadata"].get("labels") or {})
        if not ours and name not in asked | scene.platform_namespaces:
            yield _stray(live, "belongs neither to a tenant nor to the platform")


def _unlabelled(scene: Scene) -> Iterator[Stray]:
    """Namespaces of approved requests without the labels that the walls go by."""
    named = {name: tenant for tenant in scene.known.tenants for name in (*tenant.namespaces, *tenant.retired)}
    for live in scene.there.all(kinds.NAMESPACE):
        name = place(live)[1]
        tenant = named.get(name)
        if tenant is None or label(live, labels.TENANT) not in {tenant.name, None}:
            continue
        wanted = {
            labels.MANAGED: labels.MANAGED_BY_PLATFORM,
            labels.TENANT: tenant.name,
            labels.ENVIRONMENT: tenant.namespaces.get(name) or tenant.retired[name],
        }
        if lacks := [f"{key}={value}" for key, value in wanted.items() if label(live, key) != value]:
            yield _stray(live, f"is tenant {tenant.name}'s by its request, and lacks the labels {', '.join(lacks)}")


def _tenants(scene: Scene) -> Iterator[Stray]:
    """Tenant objects that no approved request implies."""
    for live in scene.there.all(kinds.TENANT):
        name = place(live)[1]
        tenant = scene.tenants.get(name)
        if tenant is None:
            yield _stray(live, "the registry does not know this tenant")
        elif tenant.elsewhere is not None:
            yield _stray(live, f"nothing of this tenant belongs here: {tenant.elsewhere}")


# --- who is let in ----------------------------------------------------------------------------------------------------


def _let_in(scene: Scene) -> Iterator[Stray]:
    """Cluster-wide bindings of tenants, or of everybody."""
    for live in scene.there.all(kinds.CLUSTER_ROLE_BINDING):
        implied, kind_of_role = scene.implied(live), role_of(live)
        there = [subject for subject in subjects(live) if scene.of_tenant(subject)]
        if strangers := [subject for subject in there if subject not in implied]:
            yield _stray(live, f"gives {kind_of_role[0]} {kind_of_role[2]} to {in_words(strangers)}")
        elif there and (more := scene.widened(*kind_of_role)):
            yield _stray(live, f"gives {in_words(there)} more than Kubernetes does: {in_words(more)}")


def _bindings(scene: Scene) -> Iterator[Stray]:
    """Other cluster-wide bindings beside Kubernetes' and the platform's."""
    for live in scene.there.all(kinds.CLUSTER_ROLE_BINDING):
        if (live["kind"], *place(live)) in scene.platform:
            continue
        implied, found = scene.implied(live), subjects(live)
        others = [one for one in found if one not in implied and not scene.of_tenant(one)]
        if others or (not found and not scene.is_standard(live)):
            kind, _, name = role_of(live)
            yield _stray(live, f"gives {kind} {name} to {in_words(others) or 'nobody yet'}")


def _roles(scene: Scene) -> Iterator[Stray]:
    """ClusterRoles beside Kubernetes' and the platform's, and those of Kubernetes that give more than by themselves."""
    for live in scene.there.all(kinds.CLUSTER_ROLE):
        key = (str(live["kind"]), *place(live))
        if key in scene.platform:
            continue
        if key not in scene.standard.objects:
            yield _stray(live, f"gives {in_words(sorted(set(rights(live)))) or 'nothing'}")
        elif more := scene.widened(*key):
            yield _stray(live, f"gives more than Kubernetes' own: {in_words(more)}")


def _let_in_beside(scene: Scene) -> Iterator[Stray]:
    """RoleBindings outside tenants' namespaces that let in tenants, or everybody."""
    for live in scene.there.all(kinds.ROLE_BINDING):
        namespace, implied = place(live)[0], scene.implied(live)
        if namespace in scene.owners:
            continue
        strangers = [s for s in subjects(live) if s not in implied and scene.of_tenant(s, anonymous=False)]
        if strangers:
            kind, _, name = role_of(live)
            yield _stray(live, f"gives {kind} {name} in namespace {namespace} to {in_words(strangers)}")


def _outsiders(scene: Scene) -> Iterator[Stray]:
    """RoleBindings in the platform's namespaces that let in others than the platform's own."""
    for live in scene.there.all(kinds.ROLE_BINDING):
        namespace, implied = place(live)[0], scene.implied(live)
        if namespace not in scene.platform_namespaces or (live["kind"], *place(live)) in scene.platform:
            continue
        others = [
            s
            for s in subjects(live)
            if s not in implied and not scene.of_tenant(s, anonymous=False) and not _inside(scene, s)
        ]
        if others:
            kind, _, name = role_of(live)
            yield _stray(live, f"gives {kind} {name} in namespace {namespace} to {in_words(others)}")


def _inside(scene: Scene, subject: Subject) -> bool:
    """Whether somebody belongs to the control plane, or is an account of the platform's namespaces."""
    if subject.kind == "ServiceAccount":
        return subject.namespace in scene.platform_namespaces
    accounts = subject.name.removeprefix(_ACCOUNTS) if subject.name.startswith(_ACCOUNTS) else None
    if accounts is not None:
        return accounts in scene.platform_namespaces
    return subject.name.startswith("system:") and subject.name != _ANONYMOUS


def _foreign(scene: Scene) -> Iterator[Stray]:
    """RoleBindings in tenants' namespaces that let in anybody but the tenant.

    Of other tenants' namespaces than those audited: what lets in somebody of those.
    """
    audited = scene.known.audited
    for live in scene.there.all(kinds.ROLE_BINDING):
        namespace = place(live)[0]
        owner = scene.owners.get(namespace)
        if owner is None:
            continue
        tenant = scene.tenants.get(owner, KnownTenant(owner))
        others = [subject for subject in subjects(live) if not _own(subject, tenant, scene.owners)]
        if audited is not None and owner not in audited:
            others = [subject for subject in others if _is_audited(subject, scene, audited)]
        if others:
            kind, _, name = role_of(live)
            yield _stray(live, f"gives {kind} {name} in namespace {namespace} to {in_words(others)}")


def _is_audited(subject: Subject, scene: Scene, audited: Collection[str]) -> bool:
    """Whether a subject is somebody of the tenants that the audit is about, or everybody."""
    if subject.kind == "Group" and subject.name.startswith(_ACCOUNTS):
        return scene.owners.get(subject.name.removeprefix(_ACCOUNTS)) in audited
    if subject.kind == "Group" and subject.name in EVERYBODY:
        return True
    return any(_own(subject, scene.tenants.get(name, KnownTenant(name)), scene.owners) for name in audited)


def _own(subject: Subject, tenant: KnownTenant, owners: Mapping[str, str]) -> bool:
    if subject.kind == "ServiceAccount":
        return owners.get(subject.namespace) == tenant.name
    return subject.kind == "Group" and subject.name in tenant.groups


# --- dangerous rights -------------------------------------------------------------------------------------------------


def _dangerous(danger: grants.Danger) -> Callable[[Scene], Iterator[Stray]]:
    def strays(scene: Scene) -> Iterator[Stray]:
        bindings = [*scene.there.all(kinds.CLUSTER_ROLE_BINDING)]
        if danger.within_namespaces:
            bindings += scene.there.all(kinds.ROLE_BINDING)
        for live in bindings:
            given = grants.given(live, scene.roles, danger)
            found = {s: more for s in subjects(live) if (more := beyond(given, scene.held.of(s, place(live)[0])))}
            if found:
                words = "; ".join(f"{subject} may {in_words(more)}" for subject, more in found.items())
                content = sorted(f"{subject}: {right}" for subject, more in found.items() for right in more)
                yield _stray(live, words, content)

    return strays


# --- what has a say about requests ------------------------------------------------------------------------------------


def _installed(*wanted: Kind) -> Callable[[Scene], Iterator[Stray]]:
    """Return the check that the platform's objects of these kinds are there and as this version installs them."""

    def strays(scene: Scene) -> Iterator[Stray]:
        for kind in wanted:
            live = scene.there.named(kind)
            for key, made in scene.platform.items():
                if key[0] != kind.kind:
                    continue
                if (there := live.get(key[1:])) is None:
                    yield Stray(*key, "is missing")
                elif wrong := [*_lax(there), *unlike_as_installed(made, there)]:
                    yield Stray(*key, in_words(wrong))

    return strays


def _lax(live: Object) -> Iterator[str]:
    if live["metadata"].get("deletionTimestamp"):
        yield f"is being deleted since {live['metadata']['deletionTimestamp']}"
    if live["kind"] == kinds.VALIDATING_ADMISSION_POLICY_BINDING.kind:
        actions = live["spec"].get("validationActions") or []
        if "Deny" not in actions:
            yield f"denies nothing: its actions are {', '.join(actions) or 'none'}"


def _definitions(scene: Scene) -> Iterator[Stray]:
    yield from _installed(kinds.CUSTOM_RESOURCE_DEFINITION)(scene)
    for live in scene.there.all(kinds.CUSTOM_RESOURCE_DEFINITION):
        if live["spec"].get("group") == labels.GROUP and (live["kind"], *place(live)) not in scene.platform:
            yield _stray(live, f"defines {live['spec']['names']['plural']} in the platform's own group")


def _webhooks(scene: Scene) -> Iterator[Stray]:
    for kind, what in ((census.MUTATING_WEBHOOK, "changes"), (census.VALIDATING_WEBHOOK, "sees")):
        for live in scene.there.all(kind):
            hooks = live.get("webhooks") or []
            yield _stray(live, f"{what} {in_words([_hook(hook) for hook in hooks], most=3) or 'nothing yet'}")


def _hook(hook: Mapping[str, Any]) -> str:
    seen = {
        f"{'/'.join(rule.get('operations') or ())} of {', '.join(rule.get('resources') or ())}"
        for rule in hook.get("rules") or ()
    }
    client = hook.get("clientConfig") or {}
    service = client.get("service") or {}
    to = f"service {service.get('namespace')}/{service.get('name')}" if service else str(client.get("url"))
    return f"{'; '.join(sorted(seen))} at {to}"


def _admission(scene: Scene) -> Iterator[Stray]:
    for kind in (
        kinds.VALIDATING_ADMISSION_POLICY,
        kinds.VALIDATING_ADMISSION_POLICY_BINDING,
        census.MUTATING_POLICY,
        census.MUTATING_POLICY_BINDING,
    ):
        for live in scene.there.all(kind):
            if (live["kind"], *place(live)) not in scene.platform:
                bound = live["spec"].get("policyName")
                yield _stray(live, f"binds {bound}" if bound else "is none of the platform's policies")


def _other_servers(scene: Scene) -> Iterator[Stray]:
    for live in scene.there.all(census.API_SERVICE):
        if service := live["spec"].get("service"):
            yield _stray(live, f"is answered by service {service.get('namespace')}/{service.get('name')}")


def _wide_policies(scene: Scene) -> Iterator[Stray]:
    for definition, reading in scene.there.wide.items():
        for live in reading.objects:
            yield _stray(live, census.WIDE_POLICIES[definition])


def _gates(scene: Scene) -> Iterator[Stray]:
    """Gateways and grants between namespaces that stand in tenants' namespaces."""
    for definition, reading in scene.there.gates.items():
        for live in reading.objects:
            if place(live)[0] in scene.owners:
                yield _stray(live, census.GATES[definition])


_SLICE_MAKER = "endpointslice.kubernetes.io/managed-by"
_SLICE_MAKERS = frozenset({"endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"})


def _slices(scene: Scene) -> Iterator[Stray]:
    """EndpointSlices of tenants' namespaces that no controller of Kubernetes made: they send traffic elsewhere."""
    for live in scene.there.all(census.ENDPOINT_SLICE):
        maker = label(live, _SLICE_MAKER)
        if place(live)[0] in scene.owners and maker not in _SLICE_MAKERS:
            to = sorted({str(a) for each in live.get("endpoints") or () for a in each.get("addresses") or ()})
            yield _stray(live, f"is made by {maker or 'nobody known'}, and sends to {in_words(to, most=3) or 'nobody'}")


# --- what is left, and what is asked for ------------------------------------------------------------------------------


def _residue(scene: Scene) -> Iterator[Stray]:
    """Volumes that kept what a tenant wrote after its claim had gone."""
    beside = {place(live)[1] for live in scene.there.all(kinds.NAMESPACE)} - set(scene.owners)
    for live in scene.there.all(kinds.PERSISTENT_VOLUME):
        spec, phase = live["spec"], (live.get("status") or {}).get("phase")
        claim = spec.get("claimRef") or {}
        namespace = claim.get("namespace")
        if not namespace or namespace in beside or phase not in {"Released", "Available", "Failed"}:
            continue
        if spec.get("persistentVolumeReclaimPolicy") == "Retain":
            owner = scene.owners.get(namespace)
            whose = f"tenant {owner}'s" if owner else "of a namespace that is gone"
            words = f"{phase}, and keeps the data of claim {namespace}/{claim.get('name')}, {whose}"
            yield _stray(live, words, {"claimRef": claim, "phase": phase})


def _global_default(scene: Scene) -> Iterator[Stray]:
    for live in scene.there.all(kinds.PRIORITY_CLASS):
        name = place(live)[1]
        if live.get("globalDefault") and name not in scene.known.priority_classes:
            yield _stray(live, "is given to every pod without a class, and is none that tenants may name")


def _missing_classes(scene: Scene) -> Iterator[Stray]:
    there = {place(live)[1] for live in scene.there.all(kinds.STORAGE_CLASS)}
    asked: dict[str, list[str]] = {}
    for tenant in scene.known.tenants:
        for name in tenant.storage_classes if tenant.elsewhere is None else ():
            asked.setdefault(name, []).append(tenant.name)
    # A cluster without any class provides no storage at all, and then no claim is ever bound to the wrong one.
    for name, tenants in sorted(asked.items()) if there else ():
        if name not in there:
            yield Stray("StorageClass", "", name, f"is not there, and the requests of {in_words(tenants)} name it")
    for kind, wanted in (
        (kinds.PRIORITY_CLASS, scene.known.priority_classes),
        (census.RUNTIME_CLASS, scene.known.runtime_classes),
    ):
        live = {place(made)[1] for made in scene.there.all(kind)}
        for name in sorted(set(wanted) - live):
            yield Stray(kind.kind, "", name, "is not there, and the site says that tenants may name it")


_RBAC = (kinds.CLUSTER_ROLE, kinds.CLUSTER_ROLE_BINDING, kinds.ROLE, kinds.ROLE_BINDING)
_POLICIES = (kinds.VALIDATING_ADMISSION_POLICY, kinds.VALIDATING_ADMISSION_POLICY_BINDING)

CHECKS = (
    Check("ISO-600", "Every namespace that says that it is a tenant's is one of an approved request", ("GPK-POP-001",),
          (kinds.NAMESPACE,), _claims, of_all=True),
    Check("ISO-601", "No namespace stands beside those of the tenants and of the platform", ("GPK-POP-001",),
          (kinds.NAMESPACE,), _nobodys, of_all=True),
    Check("ISO-602", "Every namespace of an approved request carries the labels that the walls go by",
          ("GPK-POP-001",), (kinds.NAMESPACE,), _unlabelled, of_all=True),
    Check("ISO-603", "Every Tenant comes from an approved request for this cluster", ("GPK-POP-001",),
          (kinds.TENANT,), _tenants, of_all=True),
    Check("ISO-604", "No cluster-wide binding lets in a tenant, or everybody", ("GPK-POP-002",),
          (*_RBAC, kinds.NAMESPACE), _let_in, standard=True),
    Check("ISO-605", "No cluster-wide binding stands beside those of Kubernetes and the platform", ("GPK-POP-002",),
          (kinds.CLUSTER_ROLE_BINDING, kinds.NAMESPACE), _bindings, standard=True),
    Check("ISO-606", "No ClusterRole stands beside those of Kubernetes and the platform, or gives more than those",
          ("GPK-POP-002",), (kinds.CLUSTER_ROLE,), _roles, standard=True),
    Check("ISO-607", "No RoleBinding outside tenants' namespaces lets in a tenant, or everybody", ("GPK-POP-002",),
          (kinds.ROLE_BINDING, kinds.NAMESPACE), _let_in_beside, standard=True),
    Check("ISO-608", "No RoleBinding in a namespace of the platform lets in others", ("GPK-POP-002",),
          (kinds.ROLE_BINDING, kinds.NAMESPACE), _outsiders, standard=True),
    Check("ISO-609", "No RoleBinding in a tenant's namespace lets in anybody but the tenant",
          ("GPK-POP-002", "GPK-ACC-001"), (kinds.ROLE_BINDING, kinds.NAMESPACE), _foreign),
    Check("ISO-610", "Nobody may impersonate but the verifier, the auditors and the control plane", ("GPK-POP-003",),
          _RBAC, _dangerous(grants.IMPERSONATE), standard=True),
    Check("ISO-611", "Nobody may give rights that he does not have but the platform and the control plane",
          ("GPK-POP-003",), _RBAC, _dangerous(grants.ESCALATE), standard=True),
    Check("ISO-612", "Nobody may reach into pods, secrets, tokens or nodes everywhere but the control plane",
          ("GPK-POP-003",), _RBAC, _dangerous(grants.REACH), standard=True),
    Check("ISO-613", "The platform's roles and bindings are as this version installs them", ("GPK-POP-002",),
          _RBAC, _installed(*_RBAC)),
    Check("ISO-614", "No webhook sees or changes what is sent", ("GPK-POP-004",),
          (census.MUTATING_WEBHOOK, census.VALIDATING_WEBHOOK), _webhooks),
    Check("ISO-615", "No admission policy or binding stands beside the platform's", ("GPK-POP-004",),
          (*_POLICIES, census.MUTATING_POLICY, census.MUTATING_POLICY_BINDING), _admission),
    Check("ISO-616", "The platform's admission policies and bindings are as this version installs them, and deny",
          ("GPK-POP-004", "GPK-ADM-001"), _POLICIES, _installed(*_POLICIES)),
    Check("ISO-617", "No other server answers a part of the API", ("GPK-POP-004",), (census.API_SERVICE,),
          _other_servers),
    Check("ISO-618", "The platform's own kinds are defined as this version installs them", ("GPK-POP-004",),
          (kinds.CUSTOM_RESOURCE_DEFINITION,), _definitions),
    Check("ISO-619", "No network policy of another kind is above those of the tenants", ("GPK-POP-005", "GPK-NET-001"),
          (kinds.CUSTOM_RESOURCE_DEFINITION,), _wide_policies, custom=lambda there: there.wide),
    Check("ISO-620", "No volume keeps what a tenant left behind", ("GPK-POP-006",),
          (kinds.PERSISTENT_VOLUME, kinds.NAMESPACE), _residue, of_all=True),
    Check("ISO-621", "No pod gets a priority class that its tenant may not name", ("GPK-POP-006",),
          (kinds.PRIORITY_CLASS,), _global_default),
    Check("ISO-622", "The classes that requests and the site name are there", ("GPK-POP-006",),
          (kinds.STORAGE_CLASS, kinds.PRIORITY_CLASS, census.RUNTIME_CLASS), _missing_classes, of_all=True),
    Check("ISO-623", "No Gateway and no grant between namespaces stands in a tenant's namespace",
          ("GPK-POP-007", "GPK-ING-001"), (kinds.CUSTOM_RESOURCE_DEFINITION, kinds.NAMESPACE), _gates,
          custom=lambda there: there.gates),
    Check("ISO-624", "Every EndpointSlice in a tenant's namespace is a controller's of Kubernetes",
          ("GPK-POP-007", "GPK-SVC-001"), (census.ENDPOINT_SLICE, kinds.NAMESPACE), _slices),
)  # fmt: skip
"""Every check of the population."""


def items() -> list[Item]:
    """Return the checks of this module."""
    return [Item(check.id, check.title, check.controls, "live objects", "the whole cluster") for check in CHECKS]


def findings(api: Api, known: Known, *, only: Collection[str] | None = None, threads: int = 8) -> list[Finding]:
    """Read the whole cluster and return the findings on it, sorted by id and subject; nothing is written.

    `api`: the verifier's own; `only`: ids, where not all are asked for. What the verifier may not read is an `error`
    that names the missing right.
    """
    if not chosen(known.audited, only):
        return []
    return judge(census.read(api, threads=threads), known, only=only)


def chosen(audited: Collection[str] | None, only: Collection[str] | None) -> list[Check]:
    """Return the checks to make: those asked for by id; else all, for an audit of some tenants but those of all."""
    if only is not None:
        return [check for check in CHECKS if check.id in only]
    return [check for check in CHECKS if audited is None or not check.of_all]


def judge(there: Census, known: Known, *, only: Collection[str] | None = None) -> list[Finding]:
    """Judge what was read. Pure."""
    scene = Scene(there, known, bootstrap(there.minor), _platform())
    found = [finding for check in chosen(known.audited, only) for finding in _judged(check, scene)]
    return sorted(found, key=lambda f: (f.id, f.subject))


def waivable() -> frozenset[str]:
    """Return the checks that can be waived for one object (policies/cluster/waivable.yaml)."""
    return frozenset(entry["check"] for entry in data.documents("policies", "cluster", "waivable.yaml"))


def _judged(check: Check, scene: Scene) -> Iterator[Finding]:
    subject = f"cluster/{scene.known.cluster}"
    if (unread := _unread(check, scene)) is not None:
        yield _finding(check, subject, "not read", Verdict.ERROR, unread)
        return
    if check.standard and not scene.standard.objects:
        reason = scene.there.unversioned or (
            f"what Kubernetes {scene.there.minor} makes by itself is not known to this version of gcloud-pk"
        )
        yield _finding(check, subject, "not judged", Verdict.NOT_CHECKED, reason)
        return
    if check.custom is not None and not check.custom(scene.there):
        yield _finding(check, subject, "none", Verdict.NOT_APPLICABLE, "the cluster serves nothing of the kind")
        return
    strays = list(check.strays(scene))
    if not strays:
        looked = sum(len(scene.there.all(kind)) for kind in check.reads)
        yield _finding(check, subject, f"none among {looked} objects", Verdict.PASS)
    for stray in strays:
        where = Fixture(scene.known.cluster, stray.kind, stray.namespace, stray.name)
        verdict, reason = _verdict(check, stray, where, scene.known)
        evidence = {"digest": stray.digest, "content": stray.content}
        yield _finding(check, str(where), stray.observed, verdict, reason, evidence)


def _unread(check: Check, scene: Scene) -> str | None:
    """Return why a check cannot be made: a kind that was refused, or one that is not served and must be."""
    readings: list[tuple[str, Reading]] = [(kind.resource, scene.there.readings[kind]) for kind in check.reads]
    if check.custom is not None:
        readings += check.custom(scene.there).items()
    optional = {kind.resource for kind in census.OPTIONAL}
    for resource, reading in readings:
        if reading.refused is not None:
            return reading.refused
        if reading.absent and resource not in optional:
            return f"the cluster does not serve {resource}"
    return None


def _verdict(check: Check, stray: Stray, where: Fixture, known: Known) -> tuple[Verdict, str]:
    if check.id not in waivable():
        return Verdict.FAIL, "neither the platform nor an approved request implies it; it cannot be waived"
    of_it = [one for one in known.tolerances if one.control == check.id and one.fixture == where]
    for one in of_it:
        if stray.digest in one.allows and one.expires >= known.today:
            by = ", ".join(one.approvers)
            who = f"approved by {by}, proposed by {one.author}"
            return Verdict.WAIVED, f"waiver {one.waiver}, {who}, until {one.expires}: {one.reason}"
    expired = [one for one in of_it if stray.digest in one.allows]
    if expired:
        return Verdict.FAIL, f"the waiver {expired[0].waiver} expired on {expired[0].expires}"
    if of_it:
        return Verdict.FAIL, f"the waiver {of_it[0].waiver} is for another content than {stray.digest}"
    return Verdict.FAIL, f"neither the platform nor an approved request implies it; a waiver allows {stray.digest}"


def _finding(
    check: Check,
    subject: str,
    observed: str,
    verdict: Verdict,
    reason: str | None = None,
    evidence: dict[str, Any] | None = None,
) -> Finding:
    return Finding(
        id=check.id,
        title=check.title,
        subject=subject,
        expected="nothing that neither the platform nor an approved request implies",
        observed=observed,
        verdict=verdict,
        controls=check.controls,
        reason=reason,
        evidence=evidence or {},
    )


_VOLATILE = frozenset({"apiVersion", "kind", "metadata", "status"})


def _stray(live: Object, observed: str, content: Any = None) -> Stray:
    """Return the stray; its content is the object's own unless another is given, without what changes by itself."""
    if content is None and live["kind"] != kinds.NAMESPACE.kind:
        content = {name: _settled(value) for name, value in live.items() if name not in _VOLATILE}
    return Stray(str(live["kind"]), *place(live), observed, content)


def _settled(value: Any) -> Any:
    """Leave out certificates of webhooks and servers, which are renewed."""
    if isinstance(value, Mapping):
        return {name: _settled(part) for name, part in value.items() if name != "caBundle"}
    if isinstance(value, list):
        return [_settled(part) for part in value]
    return value
