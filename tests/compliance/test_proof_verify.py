"""The engine, tested with a fake of `Api.request`: sabotage the answers, and the verdicts must say so."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.proof_server import (
    SILENT,
    FakeServer,
    Request,
    live_objects,
    only,
    other_namespaces,
    refused,
    target,
)

from gcloud_pk.cluster.transport import Answer, Identity
from gcloud_pk.model import labels
from gcloud_pk.model.finding import Finding, Verdict, exit_code
from gcloud_pk.proof.probe import Catalogue, Refused, catalogue, standard, unchecked
from gcloud_pk.proof.target import Target
from gcloud_pk.proof.verify import omitted, verify
from gcloud_pk.proof.whoami import operator

IMAGES = (
    "pods \"a\" is forbidden: ValidatingAdmissionPolicy 'gpk-images' with binding 'b' denied request: [GPK-IMG-01] "
)
FOREIGN = "registry.invalid/gpk/probe:1"
ADMINS = Identity(labels.PROBE_USER, ("oidc:moitt-admins",))
EVERYBODY = ("oidc:moitt-admins", "oidc:moitt-auditors", "oidc:moitt-developers")


def run(
    server: FakeServer, *ids: str, aim: Target | None = None, known: Catalogue | None = None, **options: Any
) -> dict[str, Finding]:
    found = verify(server.api(), aim or target(), known=known or only(*ids), settle=0, **options)
    return {f.id: f for f in found}


def on_image(image: str, answer: Answer) -> Callable[[Request], Answer | None]:
    """Answer pods that have this image; admit everything else."""
    return lambda r: answer if r.identity and image in json.dumps(r.body) else None


def server(script: Callable[[Request], Any] = lambda _r: None) -> FakeServer:
    return FakeServer(script, live_objects() + other_namespaces())


def test_a_broken_object_that_the_expected_policy_refuses_by_its_field_passes() -> None:
    answers = server(on_image(FOREIGN, refused(IMAGES + "spec.containers[0].image: no")))
    finding = run(answers, "ISO-020")["ISO-020"]
    assert finding.verdict is Verdict.PASS
    assert finding.subject == "tenant/moitt/eoffice"


def test_a_broken_object_that_is_admitted_fails() -> None:
    finding = run(server(), "ISO-020")["ISO-020"]
    assert finding.verdict is Verdict.FAIL
    assert finding.observed == "admitted (201)"


@pytest.mark.parametrize(
    "answer",
    [
        refused(
            "pods \"a\" is forbidden: ValidatingAdmissionPolicy 'gpk-services' denied request: "
            "[GPK-IMG-01] spec.containers[0].image"
        ),
        refused(IMAGES + "spec.initContainers[0].image: no"),
        refused('pods "a" already exists', 409),
        refused("the server is overloaded", 500),
        SILENT,
    ],
    ids=["another policy", "another field", "the name exists", "the server fails", "no answer"],
)
def test_a_broken_object_that_is_refused_for_another_reason_is_an_error(answer: Any) -> None:
    finding = run(server(on_image(FOREIGN, answer)), "ISO-020")["ISO-020"]
    assert finding.verdict is Verdict.ERROR
    assert finding.reason


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (
            refused('pods is forbidden: User "gcloud-pk:probe" cannot create resource "pods" in API group ""'),
            Verdict.FAIL,
        ),
        (refused(IMAGES + "spec.containers[0].image: no"), Verdict.FAIL),
        (refused('pods "a" is forbidden: exceeded quota: tenant, requested: pods=1'), Verdict.NOT_CHECKED),
        (refused("boom", 500), Verdict.ERROR),
    ],
    ids=["by RBAC", "by the policy itself", "by a full quota", "by a failing server"],
)
def test_what_depends_on_a_control_that_was_refused_is_not_checked_and_not_sent(
    answer: Answer, verdict: Verdict
) -> None:
    answers = server(lambda r: answer if r.identity and r.path.endswith("/pods") else None)
    found = run(answers, "ISO-020")
    assert found["ISO-001"].verdict is verdict
    assert found["ISO-020"].verdict is Verdict.NOT_CHECKED
    assert found["ISO-020"].reason == "its control ISO-001 was not admitted in this run"
    assert not any(FOREIGN in json.dumps(r.body) for r in answers.sent)


def test_a_control_counts_in_its_own_namespace_only() -> None:
    def script(request: Request) -> Answer | None:
        if request.identity and request.path == "/api/v1/namespaces/moitt-portal/pods":
            return refused("boom", 500)
        return on_image(FOREIGN, refused(IMAGES + "spec.containers[0].image: no"))(request)

    answers = FakeServer(script, live_objects("eoffice", "portal"))
    found = verify(answers.api(), target("eoffice", "portal"), known=only("ISO-020"), settle=0)
    verdicts = {f.subject: f.verdict for f in found if f.id == "ISO-020"}
    assert verdicts == {"tenant/moitt/eoffice": Verdict.PASS, "tenant/moitt/portal": Verdict.NOT_CHECKED}


@pytest.mark.parametrize(
    "answer",
    [None, refused("no"), refused(IMAGES + "no"), refused("no", 500), refused(""), Answer(403, {}), SILENT],
    ids=[
        "all is admitted",
        "refused",
        "one policy refuses all",
        "failing",
        "without a word",
        "without a body",
        "silent",
    ],
)
@pytest.mark.parametrize("quick", [False, True], ids=["full", "quick"])
def test_no_probe_of_a_wall_passes_by_default_where(answer: Any, quick: bool) -> None:
    known = standard()

    def script(request: Request) -> Any:
        # Controls are admitted, so that every wall is really tried.
        return answer if request.identity and request not in controls else None

    controls: list[Request] = []
    for control in (p for p in known.probes.values() if p.control is None):
        answers = server()
        verify(answers.api(), target(), known=only(control.id), settle=0)
        controls += [r for r in answers.sent if r.identity]
    answers = server(script)
    aim = target(other_namespaces=("fbr-tax",), other_groups=("oidc:fbr-admins",))
    found = verify(answers.api(), aim, quick=quick, settle=0)
    walls = {p.id for p in known.probes.values() if isinstance(p.expect, Refused) and (p.quick or not quick)}
    assert walls <= {f.id for f in found}
    assert {f.id for f in found if f.id in walls and f.verdict is Verdict.PASS} == set()
    assert exit_code(found) != 0


def test_no_review_passes_where_the_authorizer_says_yes_to_all() -> None:
    answers = server()
    answers.allowed = lambda _spec: True
    aim = target(other_namespaces=("fbr-tax",), other_groups=("oidc:fbr-admins",))
    found = run(answers, aim=aim, known=Catalogue(only().probes, standard().reviews, standard().objects))
    denied = {r.id for r in standard().reviews.values() if r.expect == "denied" and r.environments != "retired"}
    assert {i for i in denied if found[i].verdict is not Verdict.FAIL} == set()


def test_no_review_passes_where_the_authorizer_says_no_to_all() -> None:
    found = run(server(), known=Catalogue(only().probes, standard().reviews, standard().objects))
    assert found["ISO-150"].verdict is Verdict.FAIL
    reviews = [f for i, f in found.items() if i in standard().reviews]
    assert {f.verdict for f in reviews} == {Verdict.NOT_CHECKED, Verdict.NOT_APPLICABLE}


@pytest.mark.parametrize(
    "answer",
    [refused("no"), Answer(201, {}), Answer(201, {"status": {}}), SILENT],
    ids=["refused", "without a status", "without an answer", "silent"],
)
def test_a_review_that_gets_no_answer_is_an_error(answer: Any) -> None:
    def script(request: Request) -> Any:
        asked = request.body["spec"]["groups"] if "subjectaccessreviews" in request.path else ()
        return answer if "oidc:moitt-auditors" in asked else None

    answers = server(script)
    answers.allowed = lambda spec: "system:masters" in spec["groups"]
    known = Catalogue(only().probes, {"ISO-154": standard().reviews["ISO-154"]}, standard().objects)
    assert run(answers, known=known)["ISO-154"].verdict is Verdict.ERROR


def test_each_group_is_asked_for_by_itself() -> None:
    answers = server()
    answers.allowed = lambda spec: "oidc:second" not in spec["groups"]
    aim = Target("moitt", target().environments, admins=("oidc:first", "oidc:second"))
    known = Catalogue(only().probes, {"ISO-151": standard().reviews["ISO-151"]}, standard().objects)
    finding = run(answers, aim=aim, known=known)["ISO-151"]
    assert finding.verdict is Verdict.FAIL
    assert "oidc:second" in finding.observed
    assert "oidc:first" not in finding.observed


def test_a_verifier_that_may_not_impersonate_gets_one_error_that_names_the_right() -> None:
    denied = (
        'configmaps is forbidden: User "v" cannot impersonate-on:user-info:list resource "configmaps" in API group ""'
    )
    answers = server(lambda r: refused(denied) if r.identity else None)
    answers.allowed = lambda spec: "system:masters" in spec["groups"]
    found = verify(answers.api(), target(), settle=0)
    errors = [f for f in found if f.verdict is Verdict.ERROR]
    assert [(f.id, f.subject) for f in errors] == [("ISO-000", "tenant/moitt")]
    assert "impersonate-on:user-info:list" in str(errors[0].reason)
    assert exit_code([f for f in found if f.verdict is not Verdict.FAIL]) == 7


def test_a_single_missing_right_is_an_error_of_its_probe_only() -> None:
    denied = (
        'x is forbidden: User "v" cannot impersonate-on:user-info:delete resource "networkpolicies" in API group "n"'
    )
    answers = server(lambda r: refused(denied) if r.identity and r.method == "DELETE" else None)
    found = run(answers, "ISO-064", "ISO-065")
    assert found["ISO-064"].verdict is Verdict.ERROR
    assert "lacks a right" in str(found["ISO-064"].reason)
    assert found["ISO-065"].verdict is Verdict.FAIL


def test_a_server_that_falls_silent_is_waited_for_once_and_everything_left_is_an_error() -> None:
    calls = []

    def script(request: Request) -> Any:
        if request.identity and request.identity != Identity(labels.PROBE_USER, EVERYBODY):
            calls.append(request)
            return SILENT
        return None

    found = verify(server(script).api(), target(), known=only("ISO-020", "ISO-021", "ISO-064"), threads=1, settle=0)
    assert len(calls) == 1
    tried = [f for f in found if f.id in {"ISO-001", "ISO-011"}]
    assert {f.verdict for f in tried} == {Verdict.ERROR}
    assert {f.reason for f in tried} == {"the API server does not answer"}


def test_a_control_is_given_time_to_settle_and_a_wall_is_tried_once() -> None:
    refusals = {"controls": 0, "walls": 0}
    denied = 'pods is forbidden: User "gcloud-pk:probe" cannot create resource "pods" in API group ""'

    def script(request: Request) -> Any:
        if not request.identity or not request.path.endswith("/pods"):
            return None
        if FOREIGN in json.dumps(request.body):
            refusals["walls"] += 1
            return refused(denied)
        refusals["controls"] += 1
        return refused(denied) if refusals["controls"] < 3 else None

    found = {f.id: f for f in verify(server(script).api(), target(), known=only("ISO-020"), settle=2)}
    assert found["ISO-001"].verdict is Verdict.PASS
    assert found["ISO-020"].verdict is Verdict.ERROR
    assert refusals == {"controls": 3, "walls": 1}


def test_whatever_could_write_is_a_dry_run_as_the_probe_user() -> None:
    answers = server()
    answers.allowed = lambda spec: "system:masters" in spec["groups"]
    verify(answers.api(), target(other_namespaces=("fbr-tax",)), settle=0)
    written = [r for r in answers.sent if r.method != "GET"]
    assert written
    assert all(r.params.get("dryRun") == "All" for r in written)
    assert {r.identity.user for r in answers.sent if r.identity} == {labels.PROBE_USER}


def test_a_wall_is_tried_as_somebody_in_every_group_at_once() -> None:
    answers = server()
    run(answers, "ISO-074")
    patch = next(r for r in answers.sent if r.method == "PATCH")
    assert patch.identity == Identity(labels.PROBE_USER, EVERYBODY)


def test_a_role_that_nobody_has_is_not_applicable() -> None:
    aim = Target("moitt", target().environments, admins=("oidc:moitt-admins",))
    found = run(server(), "ISO-002", "ISO-023", aim=aim)
    assert {found[i].verdict for i in ("ISO-002", "ISO-023")} == {Verdict.NOT_APPLICABLE}


def test_the_only_tenant_of_a_cluster_is_tried_against_the_platform() -> None:
    denied = 'namespaces "x" is forbidden: User "gcloud-pk:probe" cannot get resource "namespaces" in API group ""'
    answers = server(
        lambda r: (
            refused(f'{denied} in the namespace "{r.path.rpartition("/")[2]}"')
            if r.identity and r.path.startswith("/api/v1/namespaces/") and r.path.count("/") == 4
            else None
        )
    )
    found = run(answers, "ISO-084", "ISO-090")
    assert found["ISO-084"].verdict is Verdict.PASS
    assert [r["status"] for r in found["ISO-084"].evidence["requests"]] == [403, 403, 403]
    assert found["ISO-090"].verdict is Verdict.NOT_APPLICABLE
    assert found["ISO-090"].reason == "no namespace of another tenant is there"


def test_a_namespace_that_is_not_there_shows_nothing_about_other_tenants() -> None:
    aim = target(other_namespaces=("fbr-gone",))
    assert run(server(), "ISO-090", aim=aim)["ISO-090"].verdict is Verdict.NOT_APPLICABLE


def test_one_open_namespace_among_many_fails() -> None:
    denied = (
        'pods is forbidden: User "gcloud-pk:probe" cannot list resource "pods" in API group "" in the namespace "{}"'
    )
    answers = server(
        lambda r: refused(denied.format(r.path.split("/")[4])) if r.identity and "/default/" in r.path else None
    )
    finding = run(answers, "ISO-085")["ISO-085"]
    assert finding.verdict is Verdict.FAIL
    assert finding.observed.startswith("fail in 2 of 3 namespaces")


def test_a_read_that_succeeds_leaves_no_data_in_the_evidence() -> None:
    secret = Answer(200, {"items": [{"data": "top-secret"}]})
    answers = server(lambda r: secret if r.identity and "/kube-system/" in r.path else None)
    found = run(answers, "ISO-085")
    assert found["ISO-085"].verdict is Verdict.FAIL
    assert "top-secret" not in json.dumps([f.as_dict() for f in found.values()])


def test_a_missing_object_of_the_platform_is_not_checked_by_the_probes_that_aim_at_it() -> None:
    objects = [o for o in live_objects() if o["metadata"]["name"] != "default-deny"]
    found = run(FakeServer(objects=objects), "ISO-064")
    assert found["ISO-064"].verdict is Verdict.NOT_CHECKED
    assert found["ISO-064"].reason == "there is no default deny to try it with"
    assert found["ISO-102"].verdict is Verdict.FAIL


def test_the_evidence_carries_what_was_sent_what_was_answered_and_the_audit_id() -> None:
    answers = server(on_image(FOREIGN, refused(IMAGES + "spec.containers[0].image: no")))
    evidence = run(answers, "ISO-020")["ISO-020"].evidence
    assert evidence["as"] == {"user": ADMINS.user, "groups": list(ADMINS.groups)}
    request = evidence["requests"][0]
    assert request["request"] == "POST /api/v1/namespaces/moitt-eoffice/pods?dryRun=All"
    assert request["edits"] == [{"path": "/spec/containers/0/image", "value": FOREIGN}]
    assert request["refusal"] == IMAGES + "spec.containers[0].image: no"
    assert (request["status"], request["auditId"], request["object"]) == (403, "audit-1", "pod")
    assert request["digest"].startswith("sha256:")


def test_what_did_not_pass_carries_the_whole_object_that_was_sent() -> None:
    request = run(server(), "ISO-020")["ISO-020"].evidence["requests"][0]
    assert request["sent"]["spec"]["containers"][0]["image"] == FOREIGN


def test_a_silent_pod_must_come_back_with_the_defaults() -> None:
    found = run(server(), "ISO-035")  # the fake gives back what was sent
    assert found["ISO-035"].verdict is Verdict.FAIL
    assert "limits.cpu is None" in found["ISO-035"].observed


def test_a_retired_environment_is_judged_by_its_objects_and_its_rights_only() -> None:
    answers = FakeServer(objects=live_objects(retired=("old",)) + other_namespaces())
    answers.allowed = lambda spec: "system:masters" in spec["groups"]
    found = verify(answers.api(), target(retired=("old",)), settle=0)
    assert {f.id for f in found if f.subject == "tenant/moitt/old"} == {
        "ISO-121", "ISO-122", "ISO-123", "ISO-124", "ISO-125", "ISO-126", "ISO-127", "ISO-130", "ISO-131",
        "ISO-132", "ISO-135", "ISO-137", "ISO-155", "ISO-163",
    }  # fmt: skip
    assert not any("moitt-old" in r.path for r in answers.sent if r.identity)


def test_a_tenant_with_only_retired_environments_can_still_be_verified() -> None:
    aim = Target("moitt", target(retired=("old",)).environments[1:], ("oidc:moitt-admins",))
    objects = [o for o in live_objects(retired=("old",)) if o["metadata"].get("namespace") != "moitt-eoffice"]
    answers = FakeServer(objects=objects + other_namespaces())
    answers.allowed = lambda spec: "system:masters" in spec["groups"]
    found = verify(answers.api(), aim, settle=0)
    assert exit_code(found) == 0
    assert any(f.verdict is Verdict.PASS for f in found)


def test_findings_come_in_the_same_order_whatever_the_threads_do() -> None:
    def slowly(request: Request) -> None:
        time.sleep(hash(request.path + request.method) % 5 / 1000)

    aim = target("eoffice", "portal")
    answers = [FakeServer(slowly, live_objects("eoffice", "portal")) for _ in range(2)]
    first, second = (
        [(f.subject, f.id, f.verdict) for f in verify(a.api(), aim, settle=0, threads=n)]
        for a, n in zip(answers, (8, 1), strict=True)
    )
    assert first == second == sorted(first, key=lambda f: f[:2])


def test_no_more_requests_run_at_once_than_threads_are_given() -> None:
    lock, running, most = threading.Lock(), [0], [0]

    def script(_request: Request) -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.002)
        with lock:
            running[0] -= 1

    verify(FakeServer(script, live_objects()).api(), target(), threads=3, settle=0)
    assert 1 < most[0] <= 3


def test_what_quick_leaves_out_is_named() -> None:
    left_out = omitted()
    quick = {f.id for f in verify(server().api(), target(), quick=True, settle=0)}
    full = {f.id for f in verify(server().api(), target(), settle=0)}
    assert left_out == sorted(left_out)
    assert not quick & set(left_out)
    assert full - quick == set(left_out) & full


def test_a_full_run_still_names_what_no_check_shows() -> None:
    standing = omitted(quick=False)
    assert standing == [each.id for each in unchecked()]
    assert set(standing) < set(omitted())
    assert not set(standing) & {f.id for f in verify(server().api(), target(), settle=0)}


@pytest.mark.parametrize(
    ("spec", "control", "wall", "reason"),
    [
        ({"domains": ()}, "ISO-012", "ISO-210", "the request names no domain here"),
        ({"storage_classes": ()}, "ISO-013", "ISO-220", "the request names no storage class"),
    ],
)
def test_what_the_request_did_not_ask_for_is_not_applicable_and_neither_is_its_wall(
    spec: dict[str, Any], control: str, wall: str, reason: str
) -> None:
    whole = target()
    aim = replace(whole, environments=(replace(whole.environments[0], **spec),))
    answers = server()
    found = run(answers, wall, aim=aim)
    assert (found[control].verdict, found[control].reason) == (Verdict.NOT_APPLICABLE, reason)
    assert found[wall].verdict is Verdict.NOT_APPLICABLE
    assert found[wall].reason == f"its control {control} does not apply: {reason}"
    assert not [r for r in answers.sent if r.identity and r.method == "POST"]


def test_where_every_network_is_declared_none_is_foreign() -> None:
    whole = target()
    open_to_all = replace(whole.environments[0], ingress_cidrs=("0.0.0.0/0", "::/0"))
    found = run(server(), "ISO-204", "ISO-205", aim=replace(whole, environments=(open_to_all,)))
    assert found["ISO-204"].verdict is Verdict.NOT_APPLICABLE
    assert found["ISO-205"].verdict is Verdict.FAIL


@pytest.mark.parametrize("path", ["/pods", "/deployments"])
def test_a_tenant_with_dedicated_nodes_sends_its_pods_there_and_others_do_not(path: str) -> None:
    sent = {}
    for isolation in ("namespace", "dedicated-nodes"):
        answers = server()
        run(answers, "ISO-001", "ISO-003", aim=replace(target(), isolation=isolation))
        body = next(r.body for r in answers.sent if r.identity and r.path.endswith(path))
        sent[isolation] = body["spec"].get("template", body)["spec"]
    assert sent["dedicated-nodes"].pop("nodeSelector") == {"gcloud.gov.pk/tenant": "moitt"}
    assert sent["dedicated-nodes"].pop("tolerations") == [
        {"key": "gcloud.gov.pk/tenant", "operator": "Equal", "value": "moitt", "effect": "NoSchedule"}
    ]
    assert sent["dedicated-nodes"] == sent["namespace"]


def test_a_probe_of_an_isolation_level_applies_to_tenants_of_that_level() -> None:
    assert run(server(), "ISO-234")["ISO-234"].verdict is Verdict.NOT_APPLICABLE
    answers = server()
    dedicated = replace(target(), isolation="dedicated-nodes")
    assert run(answers, "ISO-234", aim=dedicated)["ISO-234"].verdict is Verdict.FAIL
    pods = [r.body["spec"] for r in answers.sent if r.identity and r.path.endswith("/pods")]
    assert ["nodeSelector" in pod for pod in pods] == [True, False]


ROUTE = {
    "id": "ISO-900", "title": "t", "controls": ["c"], "identity": "admins", "object": "route",
    "request": {"verb": "create", "resource": "gateway.networking.k8s.io/v1/httproutes"}, "expect": "admitted",
}  # fmt: skip
DISCOVERY = "/apis/gateway.networking.k8s.io/v1"


def routes(discovered: Any) -> tuple[dict[str, Finding], FakeServer]:
    gate = {**ROUTE, "id": "ISO-000", "identity": "members", "object": "pod",
            "request": {"verb": "create", "resource": "v1/pods"}}  # fmt: skip
    wall = {**ROUTE, "id": "ISO-901", "control": "ISO-900", "edits": [{"path": "/spec/hostnames", "value": []}],
            "expect": {"by": "gpk-routes", "rule": "GPK-RTE-01", "field": "spec.hostnames"}}  # fmt: skip
    known = catalogue([gate, ROUTE, wall], [], {"route": {"spec": {}}, "pod": {"spec": {}}})
    answers = FakeServer(lambda r: discovered if r.path == DISCOVERY else None, live_objects("eoffice", "portal"))
    found = verify(answers.api(), target("eoffice", "portal"), known=known, settle=0)
    return {f.id: f for f in found if f.subject == "tenant/moitt/eoffice"}, answers


def test_what_the_cluster_serves_of_an_optional_group_is_tried() -> None:
    found, _ = routes(Answer(200, {"resources": [{"name": "httproutes"}, {"name": "httproutes/status"}]}))
    assert found["ISO-900"].verdict is Verdict.PASS
    assert found["ISO-901"].verdict is Verdict.FAIL


@pytest.mark.parametrize(
    "discovered",
    [refused("404 page not found", 404), Answer(200, {"resources": [{"name": "gateways"}]})],
    ids=["the group", "the kind"],
)
def test_what_the_cluster_does_not_serve_is_not_applicable_and_one_request_shows_it(discovered: Answer) -> None:
    found, answers = routes(discovered)
    reason = "the cluster does not serve httproutes of gateway.networking.k8s.io/v1"
    assert {(found[i].verdict, found[i].reason) for i in ("ISO-900", "ISO-901")} == {(Verdict.NOT_APPLICABLE, reason)}
    assert [r.path for r in answers.sent].count(DISCOVERY) == 1


@pytest.mark.parametrize(
    "discovered",
    [refused("no"), refused("boom", 500), Answer(200, {}), SILENT],
    ids=["refused", "failing", "no list", "silent"],
)
def test_an_optional_group_of_which_nothing_is_known_is_an_error(discovered: Any) -> None:
    found, _ = routes(discovered)
    assert {found[i].verdict for i in ("ISO-900", "ISO-901")} == {Verdict.ERROR}
    assert found["ISO-900"].reason


def test_a_list_is_sent_as_a_json_patch_and_a_map_as_a_merge_patch() -> None:
    add = [{"op": "add", "path": "/metadata/ownerReferences", "value": [{"name": "${tenant}"}]}]
    patch = {**ROUTE, "object": None, "control": "ISO-900", "expect": {"by": "rbac"},
             "request": {"verb": "patch", "resource": "v1/pods", "name": "a"}}  # fmt: skip
    gate = {**ROUTE, "id": "ISO-000", "identity": "members", "object": None}
    probes = [gate, ROUTE, {**patch, "id": "ISO-901", "body": add}, {**patch, "id": "ISO-902", "body": {"spec": {}}}]
    answers = server(lambda r: Answer(200, {"resources": [{"name": "httproutes"}]}) if r.path == DISCOVERY else None)
    run(answers, known=catalogue(probes, [], {"route": {}}))
    sent = {r.content_type: r.body for r in answers.sent if r.method == "PATCH"}
    assert sent == {
        "application/json-patch+json": [{**add[0], "value": [{"name": "moitt"}]}],
        "application/merge-patch+json": {"spec": {}},
    }


def test_only_what_was_chosen_is_run_and_the_controls_that_it_needs() -> None:
    answers = server()
    answers.allowed = lambda spec: "system:masters" in spec["groups"]
    chosen = frozenset({"ISO-020", "ISO-102", "ISO-151"})
    found = verify(answers.api(), target(), only=chosen, settle=0)
    assert [f.id for f in found] == ["ISO-150", "ISO-000", "ISO-001", "ISO-020", "ISO-102", "ISO-151"]
    assert [f.id for f in verify(answers.api(), target(), only=frozenset({"ISO-102"}), settle=0)] == ["ISO-102"]


def test_the_operator_is_whom_the_api_server_sees() -> None:
    said = {"status": {"userInfo": {"username": "officer@ntc.gov.pk", "groups": ["gcloud:verifiers"]}}}
    answers = server(lambda r: Answer(201, said) if "selfsubjectreviews" in r.path else None)
    assert operator(answers.api()) == "officer@ntc.gov.pk"
    assert [(r.method, r.params) for r in answers.sent] == [("POST", {"dryRun": "All"})]


@pytest.mark.parametrize(
    "answer",
    [Answer(403, {"kind": "Status", "status": "Failure"}), Answer(201, {}), Answer(201, {"status": {"userInfo": {}}})],
    ids=["refused", "without a status", "without a name"],
)
def test_an_operator_whom_the_api_server_does_not_name_is_unknown(answer: Answer) -> None:
    assert operator(server(lambda _r: answer).api()) == "unknown"


def test_a_policy_of_a_probe_is_never_taken_from_the_tenants_own_words() -> None:
    document = {
        "id": "ISO-901", "title": "t", "controls": ["c"], "identity": "admins", "object": "pod", "control": "ISO-900",
        "request": {"verb": "create", "resource": "v1/pods"}, "expect": {"by": "pod-security", "field": "x"},
        "edits": [{"path": "/metadata/name", "value": "x"}],
    }  # fmt: skip
    control = {**document, "id": "ISO-900", "expect": "admitted", "control": None, "edits": []}
    gate = {**control, "id": "ISO-000", "identity": "members"}
    known = catalogue([gate, control, document], [], {"pod": {"metadata": {}, "spec": {}}})
    said = refused('pods "x" is forbidden: x violates PodSecurity "restricted": x')
    assert run(server(on_image('"x"', said)), known=known)["ISO-901"].verdict is Verdict.ERROR
