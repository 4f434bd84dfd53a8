"""Object checks: a rendered tenant passes all; whoever breaks one object is found by the check that is for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.proof_server import FakeServer, live_objects, refused, target

from gcloud_pk.cluster.transport import Answer
from gcloud_pk.model import labels
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.proof.call import Resource
from gcloud_pk.proof.checks import run
from gcloud_pk.proof.probe import standard
from gcloud_pk.proof.surroundings import read

Objects = list[dict[str, Any]]
Break = Callable[[Objects], Any]


def findings(objects: Objects, environment: str = "eoffice", retired: tuple[str, ...] = ()) -> dict[str, Finding]:
    aim = target("eoffice", retired=retired)
    chosen = next(e for e in aim.environments if e.name == environment)
    around = read(FakeServer(objects=objects).api(), chosen.namespace)
    return {f.id: f for f in run(around, aim, chosen, f"tenant/moitt/{environment}")}


def one(objects: Objects, kind: str, name: str, namespace: str = "moitt-eoffice") -> dict[str, Any]:
    return next(
        o
        for o in objects
        if o["kind"] == kind
        and o["metadata"]["name"] == name
        and o["metadata"].get("namespace", namespace) == namespace
    )


def without(kind: str, name: str, namespace: str = "moitt-eoffice") -> Break:
    return lambda objects: objects.remove(one(objects, kind, name, namespace))


def changed(kind: str, name: str, change: Callable[[dict[str, Any]], Any], namespace: str = "moitt-eoffice") -> Break:
    return lambda objects: change(one(objects, kind, name, namespace))


def added(made: dict[str, Any], namespace: str = "moitt-eoffice") -> Break:
    return lambda objects: objects.append(
        {**made, "metadata": {"name": "added", "namespace": namespace, **made.get("metadata", {})}}
    )


def labelled(key: str, value: str | None) -> Callable[[dict[str, Any]], Any]:
    def change(made: dict[str, Any]) -> None:
        made["metadata"]["labels"].pop(key)
        if value is not None:
            made["metadata"]["labels"][key] = value

    return change


def widened(field: str, value: object) -> Callable[[dict[str, Any]], Any]:
    return lambda made: made["spec"].update({field: value})


def allowing(name: str, amount: str) -> Callable[[dict[str, Any]], Any]:
    return lambda made: [made[part]["hard"].update({name: amount}) for part in ("spec", "status")]


def limiting(item: int, bound: str, name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda made: made["spec"]["limits"][item][bound].update({name: "999Gi"})


def dying(made: dict[str, Any]) -> None:
    made["metadata"]["deletionTimestamp"] = DELETED


def a_binding(subject: dict[str, str], role: str = "gcloud-pk:tenant-auditor") -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "roleRef": {"kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }


def a_role(**rule: list[str]) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"], **rule}],
    }


DELETED = "2026-11-22T00:00:00Z"
ALLOW_ALL = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "spec": {"podSelector": {}, "ingress": [{}]},
}
OWN_GROUP = {"kind": "Group", "name": "oidc:moitt-admins"}
ENFORCE = "pod-security.kubernetes.io/enforce"


def test_a_rendered_tenant_passes_every_check() -> None:
    found = findings(live_objects())
    assert len(found) == 15
    assert {f.verdict for f in found.values()} == {Verdict.PASS}


def test_a_rendered_retired_environment_passes_every_check() -> None:
    found = findings(live_objects(retired=("old",)), "old", retired=("old",))
    assert len(found) == 10
    assert {f.verdict for f in found.values()} == {Verdict.PASS}


@pytest.mark.parametrize(
    ("broken", "failing"),
    [
        pytest.param(
            changed("Namespace", "moitt-eoffice", labelled(ENFORCE, "privileged")), {"ISO-101"},
            id="Pod Security is weakened",
        ),
        pytest.param(
            changed("Namespace", "moitt-eoffice", labelled(f"{ENFORCE}-version", "latest")), {"ISO-101"},
            id="the version of Pod Security is not pinned",
        ),
        *(
            pytest.param(
                changed("Namespace", "moitt-eoffice", labelled(f"pod-security.kubernetes.io/{mode}{suffix}", value)),
                {failing}, id=f"{mode}{suffix} of Pod Security is {value}",
            )
            for mode, failing in (("enforce", "ISO-101"), ("audit", "ISO-130"), ("warn", "ISO-131"))
            for suffix, value in (("", None), ("", "baseline"), ("-version", None), ("-version", "latest"))
        ),
        pytest.param(
            changed("Namespace", "moitt-eoffice", labelled(labels.CLASSIFICATION, "open")), {"ISO-132"},
            id="the class is not the request's",
        ),
        pytest.param(
            changed("Namespace", "moitt-eoffice",
                    lambda o: o["metadata"]["labels"].update({"gcloud.gov.pk/exempt": "true"})),
            {"ISO-132"}, id="a label looks like the platform's",
        ),
        *(
            pytest.param(added(a_role(**rule)), {"ISO-133"}, id=f"a Role gives {rule}")
            for rule in (
                {"verbs": ["*"]}, {"resources": ["*"]}, {"apiGroups": ["*"]}, {"verbs": ["impersonate"]},
                {"verbs": ["escalate"]}, {"resources": ["pods/proxy"]}, {"resources": ["nodes"]},
                {"resources": ["resourcequotas"], "verbs": ["patch"]}, {"resources": ["pods/binding"]},
                {"resources": ["bindings"], "verbs": ["create"]}, {"resources": ["pods/status"], "verbs": ["patch"]},
                {"resources": ["events"], "verbs": ["create"]}, {"resources": ["serviceaccounts/token"]},
                {"apiGroups": ["apps"], "resources": ["deployments/status"], "verbs": ["update"]},
                {"apiGroups": ["gateway.networking.k8s.io"], "resources": ["tcproutes"]},
                {"apiGroups": ["gateway.networking.k8s.io"], "resources": ["listenersets"], "verbs": ["create"]},
                {"apiGroups": ["example.org"], "resources": ["things"]},
                {"apiGroups": ["gcloud.gov.pk"], "resources": ["tenantpolicies"], "verbs": ["update"]},
            )
        ),
        pytest.param(
            changed("Namespace", "moitt-eoffice", labelled(labels.TENANT, "fbr")), {"ISO-101"},
            id="the namespace is another tenant's",
        ),
        pytest.param(without("NetworkPolicy", "default-deny"), {"ISO-102"}, id="default deny is gone"),
        pytest.param(
            changed("NetworkPolicy", "default-deny", lambda o: o["spec"].update(policyTypes=["Ingress"])), {"ISO-102"},
            id="default deny denies one direction only",
        ),
        pytest.param(
            changed("NetworkPolicy", "default-deny", lambda o: o["spec"]["podSelector"].update(matchLabels={"a": "b"})),
            {"ISO-102"}, id="default deny selects some pods only",
        ),
        pytest.param(
            changed("NetworkPolicy", "default-deny", lambda o: o["spec"].update(egress=[{}])),
            {"ISO-102", "ISO-111"},
            id="default deny allows egress",
        ),
        pytest.param(
            changed("NetworkPolicy", "default-deny", lambda o: o["spec"].update(ingress=[{}])),
            {"ISO-102", "ISO-111"},
            id="default deny allows ingress",
        ),
        pytest.param(without("ResourceQuota", "tenant"), {"ISO-103"}, id="the quota is gone"),
        pytest.param(
            changed("ResourceQuota", "tenant",
                    lambda o: [o[part]["hard"].update({"services.nodeports": "1"}) for part in ("spec", "status")]),
            {"ISO-103"}, id="node ports are allowed",
        ),
        pytest.param(
            changed("ResourceQuota", "tenant", lambda o: [o[part]["hard"].pop("pods") for part in ("spec", "status")]),
            {"ISO-103"}, id="the quota forgets a key",
        ),
        pytest.param(
            changed("ResourceQuota", "tenant",
                    lambda o: [o[part]["hard"].pop("count/jobs.batch") for part in ("spec", "status")]),
            {"ISO-103"}, id="the quota forgets a kind that tenants write",
        ),
        pytest.param(
            changed("ResourceQuota", "tenant", lambda o: o.pop("status")), {"ISO-104"}, id="the quota is not counted"
        ),
        pytest.param(
            changed("ResourceQuota", "tenant", lambda o: o["status"]["used"].pop("pods")), {"ISO-104"},
            id="a key of the quota is not counted",
        ),
        *(
            pytest.param(
                changed("ResourceQuota", "tenant", allowing(name, amount)), {"ISO-103"},
                id=f"the quota has another amount of {name} than the request",
            )
            for name, amount in {
                "limits.cpu": "64", "requests.memory": "9Gi", "pods": "21", "requests.storage": "1Ti", "secrets": "5k",
                "encrypted.storageclass.storage.k8s.io/requests.storage": "1Ti", "requests.cpu": "1",
            }.items()
        ),
        *(
            pytest.param(
                changed("LimitRange", "tenant", limiting(index, bound, name)), {"ISO-106"},
                id=f"the limit range has another {bound} of {name} than the request",
            )
            for index, bound, name in (
                (0, "max", "memory"), (0, "default", "memory"), (0, "defaultRequest", "ephemeral-storage"),
                (1, "max", "storage"), (1, "min", "storage"),
            )
        ),
        pytest.param(
            changed("LimitRange", "tenant", lambda o: o["spec"]["limits"].pop()), {"ISO-106"},
            id="the limit range says nothing of claims",
        ),
        pytest.param(
            changed("TenantPolicy", "tenant", widened("classification", "open")), {"ISO-107"},
            id="the parameters have another class than the request",
        ),
        pytest.param(
            changed("ResourceQuota", "no-system-priority", widened("scopes", ["Terminating"])), {"ISO-105"},
            id="the priority quota counts only some pods",
        ),
        pytest.param(without("ResourceQuota", "no-system-priority"), {"ISO-105"}, id="the priority quota is gone"),
        pytest.param(without("LimitRange", "tenant"), {"ISO-106"}, id="the limit range is gone"),
        pytest.param(
            changed("LimitRange", "tenant", lambda o: o["spec"]["limits"][0]["max"].pop("memory")), {"ISO-106"},
            id="the limit range has no maximum of memory",
        ),
        pytest.param(without("TenantPolicy", "tenant"), {"ISO-107"}, id="the parameters are gone"),
        pytest.param(
            changed("TenantPolicy", "tenant", lambda o: o["spec"]["registries"].append("docker.io/")), {"ISO-107"},
            id="a registry was added to the parameters",
        ),
        pytest.param(
            changed("TenantPolicy", "tenant", lambda o: o["spec"]["groups"].append("oidc:fbr-admins")), {"ISO-107"},
            id="a group was added to the parameters",
        ),
        *(
            pytest.param(
                changed("TenantPolicy", "tenant", widened(field, value)), {"ISO-107"},
                id=f"the parameters were widened: {field}",
            )
            for field, value in {
                "domains": ["gov.pk"], "storageClasses": ["encrypted", "fast"],
                "egressFlows": [{"to": "10.20.0.0/16", "ports": [{"port": 22, "protocol": "TCP"}]}],
                "ingressCidrs": ["0.0.0.0/0"], "isolation": "dedicated-nodes",
            }.items()
        ),
        pytest.param(
            changed("TenantPolicy", "tenant", lambda o: o["metadata"].pop("finalizers")), {"ISO-107"},
            id="the parameters have no guard",
        ),
        pytest.param(
            changed("ServiceAccount", "default", lambda o: o.update(automountServiceAccountToken=True)), {"ISO-108"},
            id="pods get a token",
        ),
        pytest.param(without("RoleBinding", "tenant-auditors"), {"ISO-109"}, id="a role is not bound"),
        pytest.param(
            changed("RoleBinding", "tenant-auditors", lambda o: o["subjects"].append(OWN_GROUP)), {"ISO-109"},
            id="a role is bound to another of the tenant's groups",
        ),
        pytest.param(
            changed("RoleBinding", "tenant-admins",
                    lambda o: o["subjects"].append({"kind": "Group", "name": "oidc:fbr-admins"})),
            {"ISO-109", "ISO-110"}, id="the platform's binding lets in another tenant",
        ),
        pytest.param(
            added(a_binding({"kind": "User", "name": "stranger"})), {"ISO-110"}, id="a binding lets in a user by name"
        ),
        pytest.param(
            added(a_binding(OWN_GROUP, "cluster-admin")), {"ISO-110"}, id="a binding gives a role outside the list"
        ),
        pytest.param(
            added(a_binding({"kind": "ServiceAccount", "name": "a", "namespace": "fbr-tax"})), {"ISO-110"},
            id="a binding lets in a foreign service account",
        ),
        pytest.param(
            changed("NetworkPolicy", "declared-flows", lambda o: o["spec"].update(ingress=[{}])), {"ISO-111"},
            id="the declared flows were opened",
        ),
        pytest.param(
            changed("NetworkPolicy", "declared-flows", lambda o: o["spec"]["egress"][-1]["ports"][0].update(port=22)),
            {"ISO-111"}, id="another port was declared",
        ),
        pytest.param(
            changed("NetworkPolicy", "declared-flows", lambda o: o["spec"]["ingress"].pop()), {"ISO-111"},
            id="a declared flow is gone",
        ),
        pytest.param(without("NetworkPolicy", "declared-flows"), {"ISO-111"}, id="the declared flows are gone"),
        pytest.param(
            changed("NetworkPolicy", "declared-flows", labelled(labels.MANAGED, None)), {"ISO-111"},
            id="the declared flows are not the platform's",
        ),
        pytest.param(added(ALLOW_ALL), {"ISO-111"}, id="a policy beside them allows everything"),
        pytest.param(
            added({**ALLOW_ALL, "metadata": {"labels": {labels.MANAGED: "platform"}}}), {"ISO-111"},
            id="a policy beside them allows everything and calls itself the platform's",
        ),
        *(
            pytest.param(changed(kind, name, dying), failing, id=f"a {kind} is being deleted")
            for kind, name, failing in (
                ("Namespace", "moitt-eoffice", {"ISO-101"}),
                ("NetworkPolicy", "default-deny", {"ISO-102", "ISO-111"}),
                ("ResourceQuota", "tenant", {"ISO-103", "ISO-104", "ISO-105"}),
                ("LimitRange", "tenant", {"ISO-106"}),
                ("TenantPolicy", "tenant", {"ISO-107"}),
                ("ServiceAccount", "default", {"ISO-108"}),
                ("RoleBinding", "tenant-admins", {"ISO-109", "ISO-110"}),
            )
        ),
    ],
)  # fmt: skip
def test_exactly_the_check_that_is_for_it_fails_when(broken: Break, failing: set[str]) -> None:
    objects = live_objects()
    broken(objects)
    found = findings(objects)
    assert {name for name, f in found.items() if f.verdict is not Verdict.PASS} == failing
    assert {found[name].verdict for name in failing} == {Verdict.FAIL}


def test_a_wall_that_is_being_deleted_is_named() -> None:
    objects = live_objects()
    changed("TenantPolicy", "tenant", dying)(objects)
    assert findings(objects)["ISO-107"].observed == f"TenantPolicy tenant is being deleted since {DELETED}"


def test_what_a_tenant_deletes_of_its_own_is_no_wall() -> None:
    objects = live_objects()
    own = {"metadata": {"deletionTimestamp": DELETED}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}
    added({**ALLOW_ALL, **own})(objects)
    assert {f.verdict for f in findings(objects).values()} == {Verdict.PASS}


def test_a_role_within_what_a_tenant_may_is_its_own_affair() -> None:
    objects = live_objects()
    added(a_role(verbs=["get", "create"]))(objects)
    added(a_role(resources=["resourcequotas"], verbs=["get"]))(objects)
    added(a_role(resources=["secrets"], verbs=["get", "patch"], resourceNames=["own"]))(objects)
    added(a_role(apiGroups=["authorization.k8s.io"], resources=["selfsubjectaccessreviews"], verbs=["create"]))(objects)
    assert {f.verdict for f in findings(objects).values()} == {Verdict.PASS}


def test_a_binding_within_the_tenant_is_its_own_affair() -> None:
    objects = live_objects()
    added(a_binding({"kind": "ServiceAccount", "name": "a", "namespace": "moitt-eoffice"}))(objects)
    assert {f.verdict for f in findings(objects).values()} == {Verdict.PASS}


@pytest.mark.parametrize(
    ("broken", "failing"),
    [
        pytest.param(
            changed("Namespace", "moitt-old", labelled(labels.RETIRED, None), "moitt-old"), {"ISO-121"},
            id="the namespace does not say that it is retired",
        ),
        pytest.param(without("NetworkPolicy", "default-deny", "moitt-old"), {"ISO-122"}, id="default deny is gone"),
        pytest.param(added(ALLOW_ALL, "moitt-old"), {"ISO-123"}, id="a flow is still allowed"),
        pytest.param(
            changed("ResourceQuota", "tenant",
                    lambda o: [o[part]["hard"].update(pods="1") for part in ("spec", "status")], "moitt-old"),
            {"ISO-124"}, id="a pod is still allowed",
        ),
        pytest.param(
            changed("ResourceQuota", "tenant", lambda o: o["spec"]["hard"].pop("count/deployments.apps"), "moitt-old"),
            {"ISO-124", "ISO-125"}, id="deployments are still allowed",
        ),
        pytest.param(
            changed("ResourceQuota", "tenant", lambda o: o["status"]["hard"].update(pods="5"), "moitt-old"),
            {"ISO-125"}, id="the quota of nothing is not counted",
        ),
        pytest.param(
            changed("TenantPolicy", "tenant", lambda o: o["spec"].update(groups=["oidc:moitt-admins"]), "moitt-old"),
            {"ISO-126"}, id="the parameters still allow a group",
        ),
        pytest.param(added(a_binding(OWN_GROUP), "moitt-old"), {"ISO-127"}, id="a binding still gives access"),
    ],
)  # fmt: skip
def test_in_a_retired_environment_exactly_the_check_that_is_for_it_fails_when(broken: Break, failing: set[str]) -> None:
    objects = live_objects(retired=("old",))
    broken(objects)
    found = findings(objects, "old", retired=("old",))
    assert {name for name, f in found.items() if f.verdict is Verdict.FAIL} == failing


def test_a_namespace_that_is_gone_fails_and_passes_nothing_that_must_be_there() -> None:
    found = findings([])
    assert found["ISO-101"].verdict is Verdict.FAIL
    assert {name for name, f in found.items() if f.verdict is Verdict.PASS} == {"ISO-110", "ISO-133"}


def test_what_the_verifier_may_not_read_is_an_error_that_names_the_right() -> None:
    denied = refused('resourcequotas is forbidden: User "v" cannot list resource "resourcequotas" in API group ""')
    server = FakeServer(lambda r: denied if "resourcequotas" in r.path else None, live_objects())
    aim = target()
    around = read(server.api(), "moitt-eoffice")
    found = {f.id: f for f in run(around, aim, aim.environments[0], "s")}
    assert {name for name, f in found.items() if f.verdict is Verdict.ERROR} == {"ISO-103", "ISO-104", "ISO-105"}
    assert 'User "v" cannot list resource "resourcequotas"' in str(found["ISO-103"].reason)


def test_a_server_that_fails_to_answer_a_read_is_an_error() -> None:
    answers = dict.fromkeys(read(FakeServer().api(), "n").answers, Answer(503, {"message": "later"}))
    aim = target()
    around = read(FakeServer(lambda _r: answers["namespaces"]).api(), "n")
    assert {f.verdict for f in run(around, aim, aim.environments[0], "s")} == {Verdict.ERROR}


def test_an_object_of_an_unknown_shape_is_an_error_and_no_crash() -> None:
    objects = live_objects()
    one(objects, "ResourceQuota", "tenant")["spec"]["hard"]["pods"] = "many"
    found = findings(objects)
    assert found["ISO-103"].verdict is Verdict.ERROR
    assert "not of the known shape" in str(found["ISO-103"].reason)


def test_a_retired_environment_whose_quota_was_raised_is_found() -> None:
    objects = live_objects(retired=("old",))
    quota = one(objects, "ResourceQuota", "tenant", "moitt-old")
    for part in ("spec", "status"):
        quota[part]["hard"]["pods"] = "5"
    found = findings(objects, "old", retired=("old",))
    assert {name for name, f in found.items() if f.verdict is not Verdict.PASS} == {"ISO-124"}
    assert found["ISO-124"].observed == "the quota of pods is 5, not 0"


def test_what_is_not_as_the_request_implies_is_told_with_both_amounts() -> None:
    objects = live_objects()
    changed("ResourceQuota", "tenant", lambda o: o["spec"]["hard"].update({"limits.cpu": "64"}))(objects)
    changed("LimitRange", "tenant", lambda o: o["spec"]["limits"][0]["max"].update(cpu="64"))(objects)
    found = findings(objects)
    assert found["ISO-103"].observed == "the quota allows 64 limits.cpu, not 4"
    assert found["ISO-106"].observed == "the LimitRange says 64 as max of cpu for a Container, not 4"


def test_amounts_are_compared_as_quantities() -> None:
    objects = live_objects()
    changed("ResourceQuota", "tenant", lambda o: o["spec"]["hard"].update({"limits.cpu": "4000m"}))(objects)
    assert findings(objects)["ISO-103"].verdict is Verdict.PASS


def test_a_check_names_the_read_and_a_failing_one_has_the_objects_as_they_were_read() -> None:
    objects = live_objects()
    added({**ALLOW_ALL, "metadata": {"managedFields": [{}]}})(objects)
    found = findings(objects)
    path = "GET /apis/networking.k8s.io/v1/namespaces/moitt-eoffice/networkpolicies"
    requests = [{"request": path, "status": 200, "auditId": "audit-1"}]
    assert found["ISO-102"].evidence == {"requests": requests}
    evidence = found["ISO-111"].evidence
    assert evidence["requests"] == requests
    names = [o["metadata"]["name"] for o in evidence["objects"]]
    assert names == ["added", "declared-flows", "default-deny"]
    assert evidence["objects"][0] == {**ALLOW_ALL, "metadata": {"name": "added", "namespace": "moitt-eoffice"}}


def test_what_is_asked_in_one_environment_only_no_role_of_any_may_give() -> None:
    asked = [review for review in standard().reviews.values() if review.environments == "first"]
    assert {review.id for review in asked} == {"ISO-162", "ISO-164", "ISO-165"}
    for review in asked:
        for text in review.resources:
            parent, _, subresource = text.partition(":")
            resource = Resource.parse(parent)
            what = resource.plural + (f"/{subresource}" if subresource else "")
            for verb in review.verbs:
                objects = live_objects()
                added(a_role(apiGroups=[resource.group], resources=[what], verbs=[verb]))(objects)
                assert findings(objects)["ISO-133"].verdict is Verdict.FAIL, (review.id, verb, what)
