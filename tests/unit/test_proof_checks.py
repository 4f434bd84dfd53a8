"""Object checks: a rendered tenant passes all; whoever breaks one object is found by the check that is for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.proof_server import FakeServer, live_objects, refused, target

from gcloud_pk.cluster.transport import Answer
from gcloud_pk.model import labels
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.proof.checks import run
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


def dying(made: dict[str, Any]) -> None:
    made["metadata"]["deletionTimestamp"] = DELETED


def a_binding(subject: dict[str, str], role: str = "gcloud-pk:tenant-auditor") -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "roleRef": {"kind": "ClusterRole", "name": role},
        "subjects": [subject],
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
    assert len(found) == 11
    assert {f.verdict for f in found.values()} == {Verdict.PASS}


def test_a_rendered_retired_environment_passes_every_check() -> None:
    found = findings(live_objects(retired=("old",)), "old", retired=("old",))
    assert len(found) == 7
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
            changed("ResourceQuota", "tenant", lambda o: o.pop("status")), {"ISO-104"}, id="the quota is not counted"
        ),
        pytest.param(
            changed("ResourceQuota", "tenant", lambda o: o["status"]["used"].pop("pods")), {"ISO-104"},
            id="a key of the quota is not counted",
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
                "domains": ["gov.pk"], "storageClasses": ["encrypted", "fast"], "egressCidrs": ["0.0.0.0/0"],
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
    assert {name for name, f in found.items() if f.verdict is Verdict.PASS} == {"ISO-110"}


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
