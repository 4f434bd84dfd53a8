"""Each right of the platform's identities is needed: take it away, and a command fails that names it.

The rights are read from `policies/rbac/`; one that nothing needs makes a test fail, and so does a trial of a right that
is not given. A control plane of its own, because roles are shared by all tenants.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.e2e.conftest import running
from tests.e2e.ministry import Ministry
from tests.unit.tenants import a_request_document

from gcloud_pk.cluster import kubeconfig
from gcloud_pk.cluster.kinds import (
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    LEASE,
    LIMIT_RANGE,
    NAMESPACE,
    NETWORK_POLICY,
    RESOURCE_QUOTA,
    ROLE,
    ROLE_BINDING,
    SERVICE_ACCOUNT,
    TENANT,
    TENANT_POLICY,
    Kind,
    key_of,
)
from gcloud_pk.cluster.transport import Api
from gcloud_pk.lab import controlplane
from gcloud_pk.model import labels
from gcloud_pk.proof import residents
from gcloud_pk.proof.ground import OPTIONAL_GROUPS
from gcloud_pk.proof.probe import standard
from gcloud_pk.proof.surroundings import KINDS
from gcloud_pk.render import data

MERGE_PATCH = "application/merge-patch+json"
ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
BY_HAND = {"fieldManager": "by-hand"}
CONFIRMED = ("--yes", "--no-verify")


class Right(NamedTuple):
    """The smallest thing that a rule gives. `resource`: `plural.group/subresource`, or a URL path."""

    verb: str
    resource: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}" + (f" {self.name}" if self.name else "")

    @property
    def rule(self) -> dict[str, Any]:
        """The rule that gives this and nothing else."""
        if self.resource.startswith("/"):
            return {"nonResourceURLs": [self.resource], "verbs": [self.verb]}
        plain, slash, subresource = self.resource.partition("/")
        plural, _, group = plain.partition(".")
        rule: dict[str, Any] = {"apiGroups": [group], "resources": [plural + slash + subresource], "verbs": [self.verb]}
        return rule | ({"resourceNames": [self.name]} if self.name else {})


def rights(kind: str, name: str) -> list[Right]:
    """Return every right that a role of `policies/rbac/` gives."""
    found = []
    for path in sorted(p.name for p in Path(__file__).parents[2].joinpath("policies", "rbac").glob("*.yaml")):
        for document in data.documents("policies", "rbac", path):
            if (document["kind"], document["metadata"]["name"]) == (kind, name):
                for rule in document["rules"]:
                    found += list(_of(rule))
    return found


def _of(rule: dict[str, Any]) -> Iterator[Right]:
    for verb in rule["verbs"]:
        yield from (Right(verb, url) for url in rule.get("nonResourceURLs", ()))
        for group in rule.get("apiGroups", ()):
            for resource in rule["resources"]:
                plural, slash, subresource = resource.partition("/")
                whole = f"{plural}{'.' + group if group else ''}{slash}{subresource}"
                yield from (Right(verb, whole, name) for name in rule.get("resourceNames", [""]))


ONBOARDER = "gcloud-pk:onboarder"
EVERYWHERE = rights("ClusterRole", ONBOARDER)
AT_HOME = rights("Role", ONBOARDER)


@dataclass
class Place:
    """The control plane, its administrator, and a ministry whose tenants `held` and `other` are in place."""

    ministry: Ministry
    admin: Api

    @contextmanager
    def without(self, path: str, held: list[Right], *taken: Right) -> Iterator[None]:
        """Take rights out of a role, and put them back."""
        self.patch(path, {"rules": [right.rule for right in held if right not in taken]})
        self._until(path, taken, given=False)
        try:
            yield
        finally:
            self.patch(path, {"rules": [right.rule for right in held]})
            self._until(path, taken, given=True)

    def _until(self, path: str, rights: Sequence[Right], *, given: bool) -> None:
        """Wait until the authorizer knows: its cache follows the store by moments, on a busy machine by long ones."""
        end = time.monotonic() + 30
        while any(self._may(right, in_namespace="/namespaces/" in path) is not given for right in rights):
            assert time.monotonic() < end, "the authorizer does not take it in"
            time.sleep(0.01)

    def _may(self, right: Right, *, in_namespace: bool) -> bool:
        rule = right.rule
        attributes = {"verb": right.verb, "group": rule["apiGroups"][0], "name": right.name}
        attributes["resource"], _, attributes["subresource"] = rule["resources"][0].partition("/")
        if in_namespace:
            attributes["namespace"] = labels.SYSTEM_NAMESPACE
        groups = ["gcloud:platform", "system:authenticated"]
        spec = {"user": ONBOARDER, "groups": groups, "resourceAttributes": attributes}
        answer = self.admin.request("POST", ACCESS_REVIEWS, body={"spec": spec})
        assert answer.ok, answer.message
        return bool(answer.body["status"]["allowed"])

    def patch(self, path: str, change: dict[str, Any]) -> None:
        """Change an object by hand, as a cluster administrator may."""
        answer = self.admin.request("PATCH", path, body=change, content_type=MERGE_PATCH, params=BY_HAND)
        if answer.status == 404:  # an earlier trial took it away
            self.ministry.run(*ONBOARD)
            answer = self.admin.request("PATCH", path, body=change, content_type=MERGE_PATCH, params=BY_HAND)
        assert answer.ok, answer.message

    def put(self, manifest: dict[str, Any], seconds: float = 60) -> None:
        """Make an object anew. What a quota that is being counted refuses is tried again."""
        key = key_of(manifest)
        self.remove(key.path)
        until = time.monotonic() + seconds
        while not (answer := self.admin.request("POST", key.kind.path(key.namespace), body=manifest)).ok:
            assert time.monotonic() < until, answer.message
            time.sleep(0.1)

    def wrote(self, since: int) -> bool:
        """Whether the onboarder has written anything that stays, leases apart; the audit log is the witness."""
        return any(
            event["verb"] in {"create", "patch", "update", "delete", "deletecollection"}
            and event["responseStatus"]["code"] < 300
            and not re.search("dryRun=All|/leases", event["requestURI"])
            for event in self.ministry.audited(since)
            if event["stage"] == "ResponseComplete" and event["user"]["username"] == ONBOARDER
        )

    def remove(self, path: str) -> None:
        answer = self.admin.request("DELETE", path)
        assert answer.ok or answer.status == 404, answer.message


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running(f"rights-{os.getpid()}", tmp_path_factory.mktemp("labs")) as lab:
        ministry = Ministry.found(lab, tmp_path_factory.mktemp("ministry") / "registry")
        groups = {"admins": ["held-admins"], "developers": ["held-developers"]}
        # With a domain and a storage class, or verify would have nothing to try with Ingresses and claims.
        prod = a_request_document("held", ["prod"])["spec"]["environments"][0] | {"domains": ["held.moitt.gov.pk"]}
        auditors = ["held-auditors", "held-inspectors"]
        ministry.write("held", prod, access=groups | {"auditors": auditors}, storageClasses=["encrypted"])
        ministry.write("other")
        ministry.onboard("held", "other", "--no-verify")
        yield Place(ministry, Api(kubeconfig.load(str(lab.kubeconfig), "admin")))


# How each right is provoked: what is done by hand, and then the command that needs it.


@dataclass(frozen=True)
class Trial:
    """`before` prepares; `names` is what the refusal must say, where it is not verb and resource."""

    command: tuple[str, ...]
    before: Callable[[Place], None] = lambda _: None
    names: str = ""


ONBOARD = ("onboard", "held", *CONFIRMED)
AT_ONCE = (*ONBOARD, "--wait-for-lock", "0")
PLAN = ("onboard", "held", "--dry-run")
OFFBOARD = ("tenant", "offboard", "other", "--confirm", "other")
PROD = "held-prod"
OF_TENANT = {labels.MANAGED: labels.MANAGED_BY_PLATFORM, labels.TENANT: "held", labels.ENVIRONMENT: "prod"}
AUDITOR_ROLE = {"apiGroup": ROLE.group, "kind": "ClusterRole", "name": "gcloud-pk:tenant-auditor"}
DEVELOPERS = {"apiGroup": ROLE.group, "kind": "Group", "name": "oidc:held-developers"}


def drift(path: str, change: dict[str, Any]) -> Trial:
    return Trial(ONBOARD, lambda place: place.patch(path, change))


def missing(path: str) -> Trial:
    return Trial(ONBOARD, lambda place: place.remove(path))


def left_over(kind: Kind, **body: Any) -> Trial:
    """Something of the tenant's label that its request does not imply."""
    metadata = {"name": "left-over", "namespace": PROD, "labels": OF_TENANT}
    return Trial(ONBOARD, lambda place: place.put(manifest_of(kind, metadata, **body)))


def manifest_of(kind: Kind, metadata: dict[str, Any], **body: Any) -> dict[str, Any]:
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **body}


def fresh(name: str) -> Trial:
    """A tenant that is not there yet."""

    def ask(place: Place) -> None:
        place.ministry.write(name)

    return Trial(("onboard", name, *CONFIRMED), ask)


def a_quota_too_many(place: Place) -> None:
    # The tenant's own quota allows two quotas.
    place.patch(QUOTA, {"spec": {"hard": {"resourcequotas": "9"}}})
    metadata = {"name": "left-over", "namespace": PROD, "labels": OF_TENANT}
    place.put(manifest_of(RESOURCE_QUOTA, metadata, spec={"hard": {"pods": "5"}}))


def a_lease(place: Place, renewed: str) -> None:
    """Something to do, and somebody on another machine who does it already."""
    place.patch(QUOTA, {"spec": {"hard": {"pods": "998"}}})
    metadata = {"name": "tenant-held", "namespace": labels.SYSTEM_NAMESPACE}
    spec = {"holderIdentity": "colleague@elsewhere:1:0a", "leaseDurationSeconds": 15, "renewTime": renewed}
    place.put(manifest_of(LEASE, metadata, spec=spec))


def a_live_lease(place: Place) -> None:
    a_lease(place, time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime()))


def a_long_dead_lease(place: Place) -> None:
    a_lease(place, "2020-01-01T00:00:00.000000Z")


def a_stub(place: Place) -> None:
    """A Tenant without a namespace."""
    spec = place.admin.get(TENANT.path(name="held"))["spec"]
    metadata = {"name": "stub", "labels": OF_TENANT | {labels.TENANT: "stub"}}
    place.put(manifest_of(TENANT, metadata, spec=spec))


def a_suspended_tenant(place: Place) -> None:
    """A tenant with a binding of its own, which only the platform can give back."""
    place.ministry.write("paused")
    place.ministry.run("onboard", "paused", *CONFIRMED)
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]
    place.put(manifest_of(ROLE, {"name": "reader", "namespace": "paused-prod"}, rules=rules))
    reader = {"apiGroup": ROLE.group, "kind": "Role", "name": "reader"}
    subject = DEVELOPERS | {"name": "oidc:paused-developers"}
    own = manifest_of(ROLE_BINDING, {"name": "readers", "namespace": "paused-prod"}, roleRef=reader, subjects=[subject])
    place.put(own)
    place.ministry.run("tenant", "suspend", "paused", "--reason", "trial", "--yes")


QUOTA = RESOURCE_QUOTA.path(PROD, "tenant")
OBJECTS: dict[str, tuple[str, dict[str, Any]]] = {
    "tenants.gcloud.gov.pk": (TENANT.path(name="held"), {"spec": {"organisation": "OTHER"}}),
    "tenantpolicies.gcloud.gov.pk": (TENANT_POLICY.path(PROD, "tenant"), {"spec": {"groups": ["oidc:strangers"]}}),
    "namespaces": (NAMESPACE.path(name=PROD), {"metadata": {"labels": {labels.CLASSIFICATION: "open"}}}),
    "resourcequotas": (QUOTA, {"spec": {"hard": {"pods": "999"}}}),
    "limitranges": (
        LIMIT_RANGE.path(PROD, "tenant"),
        {"spec": {"limits": [{"type": "Container", "max": {"cpu": "9"}}]}},
    ),
    "serviceaccounts": (SERVICE_ACCOUNT.path(PROD, "default"), {"automountServiceAccountToken": True}),
    "networkpolicies.networking.k8s.io": (
        NETWORK_POLICY.path(PROD, "default-deny"),
        {"spec": {"policyTypes": ["Ingress"]}},
    ),
    "rolebindings.rbac.authorization.k8s.io": (
        ROLE_BINDING.path(PROD, "tenant-auditors"),
        {"subjects": [DEVELOPERS | {"name": "oidc:held-auditors"}]},
    ),
}
"""Resource → an object of the tenant and a change made to it by hand."""
MISSING = (
    "resourcequotas",
    "limitranges",
    "networkpolicies.networking.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
)

POLICY_PLURALS = ("validatingadmissionpolicies", "validatingadmissionpolicybindings")

TRIALS: dict[Right, Trial] = {
    # The admission policies ask for it, and a policy's refusal speaks for itself.
    Right("manage", "platform.gcloud.gov.pk"): replace(drift(*OBJECTS["resourcequotas"]), names="GPK-PLT-01"),
    Right("create", "tenants.gcloud.gov.pk"): fresh("one"),
    Right("create", "namespaces"): fresh("two"),
    Right("create", "tenantpolicies.gcloud.gov.pk"): fresh("three"),
    Right("create", "serviceaccounts"): missing(OBJECTS["serviceaccounts"][0]),
    Right("patch", "tenants.gcloud.gov.pk/status"): drift(
        TENANT.path(name="held") + "/status", {"status": {"toolVersion": "0"}}
    ),
    **{Right("list", resource): Trial(PLAN) for resource in OBJECTS},
    # Whether the walls are whole is looked at before anybody is let in.
    **{Right("list", f"{plural}.admissionregistration.k8s.io"): Trial(PLAN) for plural in POLICY_PLURALS},
    # What somebody changed by hand is read again before it is taken back.
    **{Right("get", resource): drift(*changed) for resource, changed in OBJECTS.items()},
    **{Right("patch", resource): drift(*changed) for resource, changed in OBJECTS.items()},
    **{Right("create", resource): missing(OBJECTS[resource][0]) for resource in MISSING},
    Right("delete", "resourcequotas"): Trial(ONBOARD, a_quota_too_many),
    Right("delete", "limitranges"): left_over(
        LIMIT_RANGE, spec={"limits": [{"type": "Container", "max": {"cpu": "9"}}]}
    ),
    Right("delete", "serviceaccounts"): left_over(SERVICE_ACCOUNT),
    Right("delete", "networkpolicies.networking.k8s.io"): left_over(NETWORK_POLICY, spec={"podSelector": {}}),
    Right("delete", "rolebindings.rbac.authorization.k8s.io"): left_over(
        ROLE_BINDING, roleRef=AUDITOR_ROLE, subjects=[DEVELOPERS]
    ),
    **{
        Right("bind", "clusterroles.rbac.authorization.k8s.io", f"gcloud-pk:tenant-{role}"): missing(
            ROLE_BINDING.path(PROD, f"tenant-{role}s")
        )
        for role in ("admin", "developer", "auditor")
    },
    # Offboarding looks at what is held, and at what would be left behind, before anything goes.
    Right("list", "pods"): Trial(OFFBOARD),
    Right("list", "persistentvolumeclaims"): Trial(OFFBOARD),
    Right("list", "persistentvolumes"): Trial(OFFBOARD),
    Right("list", "clusterrolebindings.rbac.authorization.k8s.io"): Trial(OFFBOARD),
    Right("deletecollection", "rolebindings.rbac.authorization.k8s.io"): Trial(OFFBOARD),
    Right("delete", "namespaces"): Trial(OFFBOARD),
    Right("delete", "tenants.gcloud.gov.pk"): Trial(("tenant", "offboard", "stub", "--confirm", "stub"), a_stub),
    # What a suspension took from the tenant's own hands comes back to Roles that this program never writes.
    Right("bind", "roles.rbac.authorization.k8s.io"): Trial(
        ("tenant", "resume", "paused", "--reason", "trial", "--key", "KEY", "--yes"), a_suspended_tenant
    ),
    # Leases, what remembers tenants that left among them, and the question whether the policies are in force.
    Right("list", "leases.coordination.k8s.io"): Trial(PLAN),
    Right("create", "leases.coordination.k8s.io"): drift(*OBJECTS["resourcequotas"]),
    Right("get", "leases.coordination.k8s.io"): Trial(AT_ONCE, a_live_lease),
    Right("update", "leases.coordination.k8s.io"): Trial(AT_ONCE, a_long_dead_lease),
    Right("create", "configmaps"): Trial(PLAN),
    Right("list", "validatingadmissionpolicies.admissionregistration.k8s.io"): Trial(PLAN),
    Right("list", "validatingadmissionpolicybindings.admissionregistration.k8s.io"): Trial(PLAN),
}
RELEASE = Right("delete", "leases.coordination.k8s.io")
"""Without it the work is done all the same, and the lease stays until somebody takes it over: a test of its own."""

HELD = {"ClusterRole": EVERYWHERE, "Role": AT_HOME}
PATHS = {
    "ClusterRole": CLUSTER_ROLE.path(name=ONBOARDER),
    "Role": ROLE.path(labels.SYSTEM_NAMESPACE, ONBOARDER),
}
EVERY_RIGHT = [(kind, right) for kind, held in HELD.items() for right in held if right != RELEASE]


def test_no_trial_is_about_a_right_that_is_not_given() -> None:
    assert {*TRIALS, RELEASE} <= {*EVERYWHERE, *AT_HOME}


@pytest.mark.parametrize(("kind", "right"), EVERY_RIGHT, ids=str)
def test_without_a_right_the_command_that_needs_it_fails_and_names_it(place: Place, kind: str, right: Right) -> None:
    trial = TRIALS.get(right)
    assert trial is not None, f"nothing is known to need the right to {right}: remove it, or show what fails without"
    with standing_still(place, right):
        trial.before(place)
        with place.without(PATHS[kind], HELD[kind], right):
            since = place.ministry.audit_size()
            command = [str(place.ministry.key) if word == "KEY" else word for word in trial.command]
            done = place.ministry.run(*command, check=None)
    written = place.wrote(since)
    assert done.returncode == (8 if written else 4), done.stdout + done.stderr
    assert bool(re.search("half way|not brought to the end", done.stderr)) is written, done.stderr
    assert not (written and right.verb == "list"), "what is only looked at is looked at before anything is written"
    for word in (trial.names,) if trial.names else (f" {right.verb} ", right.resource.partition("/")[0]):
        assert word in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


@contextmanager
def standing_still(place: Place, right: Right) -> Iterator[None]:
    """Stop the controllers, which would make the service account `default` again before the command looks."""
    if right != Right("create", "serviceaccounts"):
        yield
        return
    status = place.ministry.lab.json("lab", "status", "--name", place.ministry.lab.name)
    controllers = status["processes"]["kube-controller-manager"]["pid"]
    os.kill(controllers, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(controllers, signal.SIGCONT)


def test_without_the_right_to_release_its_lease_a_run_still_does_its_work(place: Place) -> None:
    lease = LEASE.path(labels.SYSTEM_NAMESPACE, "tenant-held")
    place.remove(lease)
    place.patch(*OBJECTS["resourcequotas"])
    with place.without(PATHS["Role"], AT_HOME, RELEASE):
        place.ministry.run(*AT_ONCE)
    assert place.admin.request("GET", lease).ok
    place.patch(*OBJECTS["resourcequotas"])
    place.ministry.run(*AT_ONCE)
    assert place.admin.request("GET", lease).status == 404


def test_with_all_rights_back_every_tenant_converges(place: Place) -> None:
    place.remove(LEASE.path(labels.SYSTEM_NAMESPACE, "tenant-held"))
    place.ministry.run("onboard", "held", "one", "two", "three", *CONFIRMED)
    place.ministry.run("tenant", "diff", "held")


# The verifier: what is not answered is an error, never a wall that stood.


def asked_by_verify() -> list[tuple[Right, ...]]:
    """Return what `tenant verify` asks for, from the data that it is made of; of each resource all verbs at once."""
    probed = {
        f"{r.resource.plural}{'.' + r.resource.group if r.resource.group else ''}"
        f"{'/' + r.subresource if r.subresource else ''}"
        for r in (probe.request for probe in standard().probes.values())
        if r.resource.group not in OPTIONAL_GROUPS  # what this cluster does not serve is not tried
    }
    looked_at = [Right("list", f"{r.plural}{'.' + r.group if r.group else ''}") for r in KINDS.values()]
    looked_at += [Right("list", kind.resource) for kind in residents.KINDS]
    acting = [
        Right("impersonate:user-info", "users.authentication.k8s.io", labels.PROBE_USER),
        Right("impersonate:user-info", "groups.authentication.k8s.io"),
    ]
    asking = [Right("get", "namespaces"), Right("create", "subjectaccessreviews.authorization.k8s.io")]
    as_tenant = [
        tuple(r for r in OF_VERIFIER if r.resource == resource and r.verb.startswith("impersonate-on:"))
        for resource in sorted(probed)
    ]
    return [*as_tenant, *((right,) for right in (*looked_at, *acting, *asking))]


OF_VERIFIER = rights("ClusterRole", "gcloud-pk:verifier")
ASKED = asked_by_verify()


@pytest.fixture(scope="module")
def verdicts(place: Place) -> dict[tuple[Right, ...], subprocess.CompletedProcess[str]]:
    """What `tenant verify` says as verifiers that each lack one thing.

    Each is a user of its own: the API server remembers for seconds whom a user may act as.
    """
    place.remove(LEASE.path(labels.SYSTEM_NAMESPACE, "tenant-held"))
    place.ministry.run("onboard", "held", *CONFIRMED)
    lab = place.ministry.lab
    with pytest.MonkeyPatch.context() as surroundings:
        surroundings.setenv("XDG_STATE_HOME", lab.env["XDG_STATE_HOME"])
        known = controlplane.status(lab.name)

    def verify(number: int) -> subprocess.CompletedProcess[str]:
        name = f"verifier-{number}"
        rules = [right.rule for right in OF_VERIFIER if right not in ASKED[number]]
        role = {"apiGroup": ROLE.group, "kind": "ClusterRole", "name": name}
        subject = {"apiGroup": ROLE.group, "kind": "Group", "name": name}
        place.put(manifest_of(CLUSTER_ROLE, {"name": name}, rules=rules))
        place.put(manifest_of(CLUSTER_ROLE_BINDING, {"name": name}, roleRef=role, subjects=[subject]))
        files = f"{lab.kubeconfig}:{controlplane.tenant_kubeconfig(known, (name,), name)}"
        return place.ministry.run("--kubeconfig", files, "--verify-context", name, "--format", "json",
                                  "tenant", "verify", "held", check=None)  # fmt: skip

    with ThreadPoolExecutor(3) as pool:
        return dict(zip(ASKED, pool.map(verify, range(len(ASKED))), strict=True))


@pytest.mark.parametrize("lacking", ASKED, ids=lambda lacking: str(lacking[0]) if lacking else "not given")
def test_verify_does_not_pass_without_a_right_that_it_needs_and_says_which(
    verdicts: dict[tuple[Right, ...], subprocess.CompletedProcess[str]], lacking: tuple[Right, ...]
) -> None:
    assert lacking, "a probe asks for something that the verifier is not given"
    done = verdicts[lacking]
    assert done.returncode in {6, 7}, done.stderr
    reasons = [r["reason"] for r in json.loads(done.stdout)["results"] if r["verdict"] == "error"]
    plural = lacking[0].resource.partition(".")[0].partition("/")[0]
    named = [reason for reason in reasons if f"cannot {lacking[0].verb.partition(':')[0]}" in reason]
    assert any("lacks a right" in reason and plural in reason for reason in named), reasons


def test_verify_passes_with_all_its_rights(place: Place) -> None:
    place.ministry.run("onboard", "held", *CONFIRMED)
    document = json.loads(place.ministry.run("tenant", "verify", "held", "--format", "json").stdout)
    assert document["verdicts"]["pass"] > 50
    assert document["verdicts"]["error"] == document["verdicts"]["not-checked"] == 0


# What the onboarder must never be able to do; kubectl is the referee.


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("get", "secrets", "-n", "held-prod"), "cannot list resource"),
        (("get", "secrets", "-A"), "cannot list resource"),
        (("get", "pods", "-n", "held-prod", "--as", "gcloud-pk:probe"), "cannot impersonate"),
        (("get", "pods", "-n", "held-prod", "--as", "x", "--as-group", "system:masters"), "impersonat"),
        (("create", "configmap", "mine", "-n", "kube-system"), "cannot create resource"),
        (("create", "serviceaccount", "mine", "-n", "kube-system"), "GPK-ONB-01"),
        (("label", "namespace", "kube-system", "mine=yes"), "GPK-NSP-04"),
        (("delete", "namespace", "default"), "forbidden"),
        (("create", "namespace", "mine"), "GPK-NSP-04"),
        (
            ("create", "rolebinding", "mine", "-n", "held-prod", "--clusterrole=cluster-admin", "--user=me"),
            "attempting to grant RBAC permissions not currently held",
        ),
        (("create", "clusterrolebinding", "mine", "--clusterrole=cluster-admin", "--user=me"), "cannot create"),
        (
            ("create", "rolebinding", "mine", "-n", "kube-system", "--clusterrole=gcloud-pk:tenant-admin", "--user=me"),
            "GPK-ONB-01",
        ),
        (("create", "token", "default", "-n", "held-prod"), "cannot create resource"),
        (("delete", "validatingadmissionpolicy", "gpk-images"), "cannot delete resource"),
        (("delete", "tenantpolicy", "tenant", "-n", "held-prod"), "cannot delete resource"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_the_onboarder_is_refused(place: Place, args: tuple[str, ...], says: str) -> None:
    done = place.ministry.lab.kubectl(*args, context="onboarder", check=False)
    assert done.returncode != 0
    assert says in done.stderr
