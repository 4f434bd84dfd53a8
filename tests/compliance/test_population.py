"""The whole population, judged on a cluster that is made of the recorded data: facts in, findings out."""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.cluster_server import serving, status

from gcloud_pk.cluster import kinds
from gcloud_pk.cluster.kinds import Kind
from gcloud_pk.cluster.likeness import unlike_as_installed
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.model.waiver import Fixture, Tolerance
from gcloud_pk.proof import census, population
from gcloud_pk.proof.bootstrap import bootstrap, minor_of
from gcloud_pk.proof.census import Census, Reading
from gcloud_pk.proof.population import CHECKS, Known, KnownTenant, judge
from gcloud_pk.proof.rbac import Right, beyond
from gcloud_pk.registry.waivers import waivable_of_clusters
from gcloud_pk.render.platform import platform_objects

Manifest = dict[str, Any]

BY_NAME = {kind.kind: kind for kind in census.KINDS}
TODAY = dt.date(2026, 7, 1)
MOITT = KnownTenant("moitt", {"moitt-prod": "prod"}, {"moitt-old": "old"}, ("oidc:moitt-admins",), ("encrypted",))
KNOWN = Known("isb-1-a", (MOITT, KnownTenant("away", groups=("oidc:away",), elsewhere="its site is lhe-1")),
              namespaces=("gateway",), today=TODAY)  # fmt: skip


def namespace(name: str, **labels: str) -> Manifest:
    marks = {f"gcloud.gov.pk/{key}": value for key, value in labels.items()}
    return {"kind": "Namespace", "metadata": {"name": name, "labels": marks}}


def own_namespace(name: str, environment: str, **more: str) -> Manifest:
    return namespace(name, managed="platform", tenant="moitt", environment=environment, **more)


def binding(name: str, subject: Manifest, role: str = "view", where: str | None = None) -> Manifest:
    place = {"namespace": where} if where else {}
    return {
        "kind": "RoleBinding" if where else "ClusterRoleBinding",
        "metadata": {"name": name, **place},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }


def role(name: str, *verbs: str, group: str = "", resource: str = "pods") -> Manifest:
    rules = [{"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}]
    return {"kind": "ClusterRole", "metadata": {"name": name}, "rules": rules}


def group(name: str) -> Manifest:
    return {"kind": "Group", "name": name}


def account(name: str) -> Manifest:
    place, _, found = name.partition("/")
    return {"kind": "ServiceAccount", "namespace": place, "name": found}


def user(name: str = "ali") -> Manifest:
    return {"kind": "User", "name": name}


def cluster(*planted: Manifest, minor: str = "1.36", **changed: Reading) -> Census:
    """Return a cluster as Kubernetes and the platform make it, with tenant moitt, and what is planted."""
    there = [copy.deepcopy(dict(made)) for made in (*bootstrap("1.36").objects.values(), *platform_objects())]
    there += [own_namespace("moitt-prod", "prod"), own_namespace("moitt-old", "old", retired="true")]
    there += [{"kind": "Tenant", "metadata": {"name": "moitt"}}]
    kept = {(m["kind"], m["metadata"].get("namespace"), m["metadata"]["name"]): m for m in (*there, *planted)}
    objects: dict[Kind, list[Manifest]] = {kind: [] for kind in census.KINDS}
    for made in kept.values():
        if made["kind"] in BY_NAME:
            objects[BY_NAME[made["kind"]]].append(made)
    readings = {kind: Reading(tuple(found)) for kind, found in objects.items()}
    readings |= {BY_NAME[name]: reading for name, reading in changed.items()}
    return Census(minor, readings, {})


def odd(there: Census, known: Known = KNOWN) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in judge(there, known):
        if finding.verdict not in {Verdict.PASS, Verdict.NOT_APPLICABLE}:
            found.setdefault(finding.id, []).append(finding)
    return found


def test_what_kubernetes_and_the_platform_make_and_what_requests_imply_is_no_finding() -> None:
    assert odd(cluster()) == {}
    assert [f.id for f in judge(cluster(), KNOWN)] == [check.id for check in CHECKS]


VIEW = role("extra", "list")


def slice_of(maker: str | None, where: str = "moitt-prod") -> Manifest:
    marks = {"endpointslice.kubernetes.io/managed-by": maker} if maker else {}
    endpoints = [{"addresses": ["10.9.9.9"]}]
    return {"kind": "EndpointSlice", "metadata": {"name": "x", "namespace": where, "labels": marks},
            "endpoints": endpoints}  # fmt: skip


PLANTED: dict[str, tuple[Sequence[Manifest], set[str]]] = {
    "a tenant that the registry does not know": ([namespace("x", managed="platform", tenant="x")], {"ISO-600"}),
    "a tenant whose site is elsewhere": ([namespace("x", tenant="away", environment="prod")], {"ISO-600"}),
    "an environment that nobody asked for": ([own_namespace("moitt-more", "more")], {"ISO-600"}),
    "a retired environment in use again": ([own_namespace("moitt-old", "old")], {"ISO-600"}),
    "labels without a tenant": ([namespace("x", managed="platform")], {"ISO-600"}),
    "another environment's label": ([own_namespace("moitt-prod", "old")], {"ISO-600", "ISO-602"}),
    "nobody's namespace": ([namespace("x")], {"ISO-601"}),
    "a request's namespace without labels": ([namespace("moitt-prod")], {"ISO-602"}),
    "an unknown Tenant": ([{"kind": "Tenant", "metadata": {"name": "x"}}], {"ISO-603"}),
    "a Tenant of another cluster": ([{"kind": "Tenant", "metadata": {"name": "away"}}], {"ISO-603"}),
    "a tenant's group": ([binding("x", group("oidc:moitt-admins"))], {"ISO-604"}),
    "the group of a tenant elsewhere": ([binding("x", group("oidc:away"))], {"ISO-604"}),
    "everybody": ([binding("x", group("system:authenticated"))], {"ISO-604"}),
    "every account": ([binding("x", group("system:serviceaccounts"))], {"ISO-604"}),
    "all accounts of a tenant": ([binding("x", group("system:serviceaccounts:moitt-old"))], {"ISO-604"}),
    "a tenant's account": ([binding("x", account("moitt-prod/default"))], {"ISO-604"}),
    "a tenant's account as a user": (
        [binding("x", user("system:serviceaccount:moitt-prod:default"))], {"ISO-604"}),
    "everybody in a binding of Kubernetes": (
        [binding("system:basic-user", group("oidc:moitt-admins"), "system:basic-user")], {"ISO-604"}),
    "more in a role that everybody has": ([role("system:basic-user", "list")], {"ISO-604", "ISO-606"}),
    "a stranger": ([binding("x", user())], {"ISO-605"}),
    "a stranger in a binding of Kubernetes": ([binding("cluster-admin", user())], {"ISO-605"}),
    "another role in a binding of Kubernetes": (
        [binding("system:kube-dns", account("kube-system/kube-dns"))], {"ISO-605"}),
    "a role beside": ([role("x", "list")], {"ISO-606"}),
    "more in a role of Kubernetes": ([role("view", "create")], {"ISO-606"}),
    "a tenant in kube-system": ([binding("x", group("oidc:moitt-admins"), where="kube-system")], {"ISO-607"}),
    "a tenant in a namespace of nobody": (
        [namespace("x"), binding("x", account("moitt-prod/default"), where="x")], {"ISO-601", "ISO-607"}),
    "a stranger in kube-system": ([binding("x", user(), where="kube-system")], {"ISO-608"}),
    "a stranger in the site's namespace": ([binding("x", user(), where="gateway")], {"ISO-608"}),
    "a stranger in a tenant's namespace": ([binding("x", user(), where="moitt-prod")], {"ISO-609"}),
    "another tenant in a tenant's namespace": ([binding("x", group("oidc:away"), where="moitt-prod")], {"ISO-609"}),
    "who impersonates": (
        [binding("x", user(), "x"), role("x", "impersonate", resource="users")], {"ISO-605", "ISO-606", "ISO-610"}),
    "who impersonates as a probe does": (
        [binding("x", user(), "x"), role("x", "impersonate-on:user-info:get")], {"ISO-605", "ISO-606", "ISO-610"}),
    "who may all": ([binding("x", user(), "cluster-admin")], {"ISO-605", "ISO-610", "ISO-611", "ISO-612"}),
    "who impersonates accounts of a namespace": (
        [binding("x", account("kube-system/a"), "admin", where="kube-system")], {"ISO-610"}),
    "more impersonation by the verifier's group": (
        [binding("x", group("gcloud:verifiers"), "x"),
         role("x", "impersonate:user-info", group="authentication.k8s.io", resource="users")],
        {"ISO-605", "ISO-606", "ISO-610"}),
    "who escalates": (
        [binding("x", user(), "x"), role("x", "escalate", group="rbac.authorization.k8s.io", resource="clusterroles")],
        {"ISO-605", "ISO-606", "ISO-611"}),
    "who makes tokens": (
        [binding("x", user(), "x"), role("x", "create", resource="serviceaccounts/token")],
        {"ISO-605", "ISO-606", "ISO-612"}),
    "who runs commands by a wildcard": (
        [binding("x", user(), "x"), role("x", "create", resource="*/exec")], {"ISO-605", "ISO-606", "ISO-612"}),
    "a changed role of the platform": ([role("gcloud-pk:tenant-admin", "*")], {"ISO-613"}),
    "a webhook": (
        [{"kind": "MutatingWebhookConfiguration", "metadata": {"name": "x"}, "webhooks": []}], {"ISO-614"}),
    "another policy": (
        [{"kind": "MutatingAdmissionPolicy", "metadata": {"name": "x"}, "spec": {}}], {"ISO-615"}),
    "an API of another server": (
        [{"kind": "APIService", "metadata": {"name": "x"}, "spec": {"service": {"namespace": "x", "name": "y"}}}],
        {"ISO-617"}),
    "another kind of the platform's group": (
        [{"kind": "CustomResourceDefinition", "metadata": {"name": "x"},
          "spec": {"group": "gcloud.gov.pk", "names": {"plural": "xs"}}}], {"ISO-618"}),
    "a global default": (
        [{"kind": "PriorityClass", "metadata": {"name": "x"}, "globalDefault": True}], {"ISO-621"}),
    "an EndpointSlice of nobody": ([slice_of(None)], {"ISO-624"}),
    "an EndpointSlice of another maker": ([slice_of("mallory.example")], {"ISO-624"}),
    "a storage class is missing": ([{"kind": "StorageClass", "metadata": {"name": "x"}}], {"ISO-622"}),
}  # fmt: skip


@pytest.mark.parametrize("case", PLANTED)
def test_what_neither_the_platform_nor_a_request_implies_is_found_by_the_checks_that_must(case: str) -> None:
    planted, expected = PLANTED[case]
    found = odd(cluster(*planted))
    assert set(found) == expected, {name: [f.observed for f in each] for name, each in found.items()}
    assert {f.verdict for each in found.values() for f in each} == {Verdict.FAIL}


def changed(kind: str, name: str, **spec: Any) -> Manifest:
    made = next(m for m in platform_objects() if (m["kind"], m["metadata"]["name"]) == (kind, name))
    found: Manifest = copy.deepcopy(made)
    found["spec"] |= spec
    return found


@pytest.mark.parametrize(
    ("live", "words"),
    [
        (changed("ValidatingAdmissionPolicyBinding", "gpk-images", validationActions=["Audit"]), "denies nothing"),
        (changed("ValidatingAdmissionPolicyBinding", "gpk-images", matchResources={"namespaceSelector": {}}),
         "spec.matchResources was added"),
        (changed("ValidatingAdmissionPolicy", "gpk-images", failurePolicy="Ignore"), "spec.failurePolicy was changed"),
        (changed("ValidatingAdmissionPolicy", "gpk-images", matchConditions=[{"name": "x", "expression": "false"}]),
         "spec.matchConditions was added"),
        (changed("ValidatingAdmissionPolicy", "gpk-images", validations=[]), "spec.validations"),
    ],
)  # fmt: skip
def test_a_policy_or_binding_that_is_weaker_or_narrower_is_named_with_what_was_changed(
    live: Manifest, words: str
) -> None:
    found = odd(cluster(live))
    assert set(found) == {"ISO-616"}
    assert words in found["ISO-616"][0].observed


def test_what_the_server_fills_in_by_itself_is_no_change() -> None:
    desired = {"spec": {"matchConstraints": {"resourceRules": [{"resources": ["pods"]}]}}}
    live: Manifest = {
        "metadata": {"uid": "u"},
        "status": {},
        "spec": {
            "matchConstraints": {
                "resourceRules": [{"resources": ["pods"], "scope": "*"}],
                "matchPolicy": "Equivalent",
                "namespaceSelector": {},
                "objectSelector": {},
            }
        },
    }
    assert unlike_as_installed(desired, live) == []
    live["spec"]["matchConstraints"]["matchPolicy"] = "Exact"
    assert unlike_as_installed(desired, live) == ["spec.matchConstraints.matchPolicy was added"]


VOLUME = {
    "kind": "PersistentVolume",
    "metadata": {"name": "x"},
    "spec": {"claimRef": {"namespace": "moitt-prod", "name": "data"}, "persistentVolumeReclaimPolicy": "Retain"},
    "status": {"phase": "Released"},
}


@pytest.mark.parametrize(
    ("phase", "policy", "where", "is_found"),
    [
        ("Released", "Retain", "moitt-prod", True),
        ("Available", "Retain", "moitt-prod", True),
        ("Released", "Retain", "a-namespace-that-is-gone", True),
        ("Bound", "Retain", "moitt-prod", False),
        ("Released", "Delete", "moitt-prod", False),
        ("Released", "Retain", "kube-system", False),
    ],
)
def test_a_volume_that_keeps_what_a_tenant_left_is_found(phase: str, policy: str, where: str, is_found: bool) -> None:
    spec = {"claimRef": {"namespace": where, "name": "data"}, "persistentVolumeReclaimPolicy": policy}
    found = odd(cluster(VOLUME | {"spec": spec, "status": {"phase": phase}}))
    assert set(found) == ({"ISO-620"} if is_found else set())


def test_what_is_missing_of_the_platform_is_found() -> None:
    there = cluster()
    for kind, name in ((kinds.CLUSTER_ROLE, "ISO-613"), (kinds.VALIDATING_ADMISSION_POLICY, "ISO-616")):
        without = replace(there, readings={**there.readings, kind: Reading()})
        assert "is missing" in {f.observed for f in odd(without)[name]}


# What cannot be seen is never a pass.


def test_a_kind_that_may_not_be_read_is_an_error_of_every_check_that_needs_it() -> None:
    refused = Reading(refused="user 'v' has no right to list clusterroles")
    found = odd(cluster(ClusterRole=refused))
    wanting = {check.id for check in CHECKS if kinds.CLUSTER_ROLE in check.reads}
    assert set(found) == wanting
    for each in found.values():
        assert [(f.verdict, f.reason) for f in each] == [(Verdict.ERROR, refused.refused)]


def test_a_kind_that_is_not_served_is_an_error_unless_a_cluster_may_do_without_it() -> None:
    assert odd(cluster(MutatingAdmissionPolicy=Reading(absent=True), RuntimeClass=Reading(absent=True))) == {}
    assert {f.verdict for f in odd(cluster(Tenant=Reading(absent=True)))["ISO-603"]} == {Verdict.ERROR}


def test_a_version_of_kubernetes_that_was_not_recorded_is_not_checked_where_that_matters() -> None:
    found = odd(cluster(minor="1.99"))
    assert {f.verdict for each in found.values() for f in each} == {Verdict.NOT_CHECKED}
    assert set(found) == {check.id for check in CHECKS if check.standard}


def test_a_server_that_does_not_answer_gives_errors_and_no_pass() -> None:
    with serving(lambda _: status(500, "no")) as server:
        found = population.findings(server.api(patience=0.1), KNOWN)
    assert {f.verdict for f in found} == {Verdict.ERROR}
    assert len(found) == len(CHECKS)


def test_only_the_checks_that_are_asked_for_are_made_and_nothing_is_read_for_none() -> None:
    with serving(lambda _: status(500, "no")) as server:
        assert population.findings(server.api(), KNOWN, only={"ISO-020"}) == []
        assert server.asked == []
    assert [f.id for f in judge(cluster(), KNOWN, only={"ISO-604"})] == ["ISO-604"]


# What an audit of one tenant looks at.

ONE = replace(
    KNOWN, tenants=(*KNOWN.tenants, KnownTenant("fbr", {"fbr-tax": "tax"}, groups=("oidc:fbr-admins",))),
    audited=frozenset({"moitt"}),
)  # fmt: skip
FBR = {**namespace("fbr-tax", managed="platform", tenant="fbr", environment="tax")}


@pytest.mark.parametrize(
    ("planted", "expected"),
    [
        pytest.param([], set(), id="nothing"),
        pytest.param([binding("x", user("mallory"), "cluster-admin")],
                     {"ISO-605", "ISO-610", "ISO-611", "ISO-612"}, id="a stranger who may all"),
        pytest.param([binding("x", account("moitt-prod/sched"))], {"ISO-604"}, id="its own account, everywhere"),
        pytest.param([binding("x", group("oidc:fbr-admins"))], {"ISO-604"}, id="another tenant, everywhere"),
        pytest.param([binding("x", group("oidc:moitt-admins"), where="kube-system")], {"ISO-607"},
                     id="its admins in kube-system"),
        pytest.param([binding("x", group("oidc:moitt-admins"), where="fbr-tax")], {"ISO-609"},
                     id="its admins at another tenant's"),
        pytest.param([binding("x", account("moitt-prod/default"), where="fbr-tax")], {"ISO-609"},
                     id="its account at another tenant's"),
        pytest.param([binding("x", group("system:serviceaccounts:moitt-prod"), where="fbr-tax")], {"ISO-609"},
                     id="its accounts at another tenant's"),
        pytest.param([binding("x", group("system:authenticated"), where="fbr-tax")], {"ISO-609"},
                     id="everybody at another tenant's"),
        pytest.param([binding("x", user(), where="fbr-tax")], set(), id="a stranger at another tenant's"),
        pytest.param([binding("x", user(), where="moitt-prod")], {"ISO-609"}, id="a stranger at its own"),
        pytest.param([{"kind": "MutatingAdmissionPolicy", "metadata": {"name": "x"}, "spec": {}}], {"ISO-615"},
                     id="a policy that changes requests"),
        pytest.param([{"kind": "MutatingWebhookConfiguration", "metadata": {"name": "x"}, "webhooks": []}], {"ISO-614"},
                     id="a webhook"),
        pytest.param([namespace("x"), {"kind": "Tenant", "metadata": {"name": "x"}}], set(), id="what is nobody's"),
    ],
)  # fmt: skip
def test_an_audit_of_one_tenant_finds_whoever_else_is_let_in(planted: Sequence[Manifest], expected: set[str]) -> None:
    assert set(odd(cluster(FBR, *planted), ONE)) == expected


def test_of_one_tenant_what_speaks_of_others_only_is_looked_at_where_it_is_asked_for() -> None:
    there = cluster(namespace("x"))
    made = {f.id for f in judge(there, ONE)}
    assert {check.id for check in CHECKS} - made == {
        "ISO-600", "ISO-601", "ISO-602", "ISO-603", "ISO-620", "ISO-622",
    }  # fmt: skip
    assert [f.verdict for f in judge(there, ONE, only={"ISO-601"})] == [Verdict.FAIL]


# The Gateway API, and who sends traffic where.


@pytest.mark.parametrize("maker", ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"])
def test_an_endpoint_slice_of_a_controller_or_outside_tenants_namespaces_is_no_finding(maker: str) -> None:
    assert odd(cluster(slice_of(maker), slice_of(None, "gateway"))) == {}


@pytest.mark.parametrize("definition", census.GATES)
def test_what_is_the_platforms_of_the_gateway_api_is_found_in_tenants_namespaces_only(definition: str) -> None:
    made = [{"kind": "Gateway", "metadata": {"name": "x", "namespace": where}} for where in ("gateway", "moitt-prod")]
    there = replace(cluster(), gates={definition: Reading(tuple(made))})
    assert {name: [f.subject for f in each] for name, each in odd(there).items()} == {
        "ISO-623": ["cluster/isb-1-a/Gateway/moitt-prod/x"],
    }  # fmt: skip
    unread = replace(cluster(), gates={definition: Reading(refused="cannot list")})
    assert {f.verdict for f in odd(unread)["ISO-623"]} == {Verdict.ERROR}


# Waivers.


def tolerance(finding: Finding, **changes: Any) -> Tolerance:
    _, name, kind, found = finding.subject.split("/")
    made = Tolerance(finding.id, Fixture(name, kind, "", found), (finding.evidence["digest"],), TODAY, "network",
                     "our network", "dd@ntc", ("bob@ntc",))  # fmt: skip
    return replace(made, **changes)


def test_a_waiver_shows_the_object_as_waived_until_its_day_and_for_its_content_only() -> None:
    there = cluster(binding("cilium", account("cilium/agent"), "view"))
    (found,) = odd(there)["ISO-605"]
    waived = tolerance(found)

    def verdict(given: Tolerance, live: Census = there) -> tuple[Verdict, str]:
        (finding,) = odd(live, replace(KNOWN, tolerances=(given,)))["ISO-605"]
        return finding.verdict, str(finding.reason)

    assert verdict(waived)[0] is Verdict.WAIVED
    assert "bob@ntc" in verdict(waived)[1]
    yesterday = TODAY - dt.timedelta(days=1)
    assert verdict(replace(waived, expires=yesterday)) == (Verdict.FAIL, f"the waiver network expired on {yesterday}")
    assert verdict(replace(waived, control="ISO-606"))[0] is Verdict.FAIL
    assert verdict(replace(waived, fixture=replace(waived.fixture, cluster="lhe-1-a")))[0] is Verdict.FAIL
    more = cluster(binding("cilium", account("cilium/agent"), "cluster-admin"))
    assert verdict(waived, more)[0] is Verdict.FAIL
    assert "another content" in verdict(waived, more)[1]


def test_what_lets_in_a_tenant_is_never_waived() -> None:
    there = cluster(binding("x", group("oidc:moitt-admins")))
    (found,) = odd(there)["ISO-604"]
    (again,) = odd(there, replace(KNOWN, tolerances=(tolerance(found),)))["ISO-604"]
    assert again.verdict is Verdict.FAIL
    assert "cannot be waived" in str(again.reason)


def test_the_registry_and_the_audit_know_the_same_checks_as_waivable() -> None:
    assert waivable_of_clusters() == population.waivable() <= {check.id for check in CHECKS}


def test_a_renewed_certificate_of_a_webhook_is_the_same_content() -> None:
    hooks = [{"name": "a", "clientConfig": {"caBundle": text, "url": "https://a"}} for text in ("one", "two")]
    made = [{"kind": "MutatingWebhookConfiguration", "metadata": {"name": "x"}, "webhooks": [hook]} for hook in hooks]
    one, two = (odd(cluster(each))["ISO-614"][0].evidence["digest"] for each in made)
    assert one == two


# Arithmetic.


@pytest.mark.parametrize(
    ("held", "asked", "is_covered"),
    [
        (Right("*", "*", "*"), Right("get", "", "pods/exec"), True),
        (Right("get", "", "*/exec"), Right("get", "", "pods/exec"), True),
        (Right("get", "", "*/exec"), Right("get", "", "pods"), False),
        (Right("get", "", "pods"), Right("get", "", "pods/exec"), False),
        (Right("get", "", "pods"), Right("get", "apps", "pods"), False),
        (Right("get", "", "pods", ("a",)), Right("get", "", "pods"), False),
        (Right("get", "", "pods", ("a", "b")), Right("get", "", "pods", ("a",)), True),
        (Right("get", "", "/api/*"), Right("get", "", "/api/v1"), True),
        (Right("*", "*", "*"), Right("get", "", "/api/v1"), False),
    ],
)
def test_a_right_covers_what_the_authorizer_says_that_it_covers(held: Right, asked: Right, is_covered: bool) -> None:
    assert (beyond([asked], [held]) == []) is is_covered


def test_a_distribution_s_minor_version_is_read() -> None:
    assert minor_of({"major": "1", "minor": "36+"}) == "1.36"
