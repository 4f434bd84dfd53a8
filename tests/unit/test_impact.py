"""Impact: what is asked of an inventory, and what the walls' answers come to; of a scripted server."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.proof_server import FakeServer, Request, admitted, furnished, refused

from gcloud_pk.cluster.kinds import (
    CLUSTER_ROLE_BINDING,
    CRON_JOB,
    DEPLOYMENT,
    JOB,
    NAMESPACE,
    NETWORK_POLICY,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    REPLICA_SET,
    RESOURCE_QUOTA,
    ROLE_BINDING,
    SERVICE,
    STATEFUL_SET,
    Kind,
    ObjectKey,
)
from gcloud_pk.cluster.plan import Action, Change
from gcloud_pk.cluster.transport import Answer
from gcloud_pk.errors import GcloudPkError, RefusedError, UnavailableError, WrongUsageError
from gcloud_pk.main import main
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.onboarding import adoption
from gcloud_pk.onboarding.impact import judged_by_itself, select
from gcloud_pk.onboarding.stages import Stages
from gcloud_pk.proof.impact import Judge, assess, rehearse_label, waived
from gcloud_pk.proof.inventory import Inventory, candidates

NS = "moitt-eoffice"
OWN = "registry.gcloud.gov.pk/moitt/"
POLICY = {"tenant": "moitt", "isolation": "namespace", "registries": [OWN], "groups": ["oidc:moitt-admins"]}


def made(kind: Kind, name: str, owner: dict[str, Any] | None = None, **body: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": NS, "uid": f"uid-{name}"}
    if owner is not None:
        metadata["ownerReferences"] = [{"controller": True, **owner}]
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **body}


def owned_by(parent: dict[str, Any]) -> dict[str, Any]:
    return {"kind": parent["kind"], "name": parent["metadata"]["name"], "uid": parent["metadata"]["uid"]}


def pod_spec(image: str = f"{OWN}web:1", **more: Any) -> dict[str, Any]:
    return {"containers": [{"name": "main", "image": image}], **more}


def workload(
    kind: Kind, name: str, spec: dict[str, Any] | None = None, owner: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": name}}, "spec": spec or pod_spec()}
    return made(kind, name, owner, spec={"replicas": 1, "template": template, **more})


def inventory(*objects: dict[str, Any], unread: dict[Kind, str] | None = None) -> Inventory:
    found: dict[Kind, list[dict[str, Any]]] = {}
    for each in objects:
        kind = next(k for k in (DEPLOYMENT, REPLICA_SET, STATEFUL_SET, JOB, CRON_JOB, POD, SERVICE, NETWORK_POLICY,
                                PERSISTENT_VOLUME_CLAIM, ROLE_BINDING) if k.kind == each["kind"])  # fmt: skip
        found.setdefault(kind, []).append(each)
    return Inventory(NS, {kind: tuple(items) for kind, items in found.items()}, unread or {})


def names(*objects: dict[str, Any]) -> list[str]:
    return [f"{c.kind}/{c.name}" for c in candidates(inventory(*objects))]


# --- what is judged ---------------------------------------------------------------------------------------------------


def test_a_pod_of_a_deployment_is_judged_through_the_deployments_template() -> None:
    deployment = workload(DEPLOYMENT, "web")
    replicas = workload(REPLICA_SET, "web-1", owner=owned_by(deployment))
    assert names(deployment, replicas, made(POD, "web-1-a", owned_by(replicas), spec=pod_spec())) == ["Deployment/web"]


def test_a_replica_set_of_an_earlier_template_whose_pods_still_run_is_judged_too() -> None:
    deployment = workload(DEPLOYMENT, "web")
    old = workload(REPLICA_SET, "web-0", pod_spec("docker.io/library/web:0"), owner=owned_by(deployment))
    empty = workload(REPLICA_SET, "web-9", pod_spec("docker.io/library/web:9"), owner=owned_by(deployment), replicas=0)
    assert names(deployment, old, empty) == ["Deployment/web", "ReplicaSet/web-0"]


def test_pods_of_nobody_are_judged_themselves_and_those_of_an_unknown_owner_once_under_its_name() -> None:
    rollout = {"kind": "Rollout", "name": "shop", "uid": "u"}
    pods = [made(POD, f"shop-{n}", rollout, spec=pod_spec()) for n in range(3)]
    assert names(made(POD, "lone", spec=pod_spec()), *pods) == ["Pod/lone", "Rollout/shop"]


def test_a_replica_set_of_an_unknown_owner_is_judged_under_its_owners_name() -> None:
    rollout = {"kind": "Rollout", "name": "shop", "uid": "u"}
    replicas = workload(REPLICA_SET, "shop-1", owner=rollout)
    assert names(replicas, made(POD, "shop-1-a", owned_by(replicas), spec=pod_spec())) == ["Rollout/shop"]


def test_what_has_come_to_its_end_never_restarts() -> None:
    done = workload(JOB, "import") | {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}
    over = made(POD, "migrate", spec=pod_spec()) | {"status": {"phase": "Succeeded"}}
    assert names(done, over, workload(JOB, "running")) == ["Job/running"]


def test_jobs_of_a_cron_job_are_judged_through_it() -> None:
    nightly = made(CRON_JOB, "nightly", spec={"jobTemplate": {"spec": {"template": {"spec": pod_spec()}}}})
    assert names(nightly, workload(JOB, "nightly-1", owner=owned_by(nightly))) == ["CronJob/nightly"]


def test_what_is_the_platforms_or_is_being_deleted_is_not_judged() -> None:
    platform = made(NETWORK_POLICY, "default-deny", spec={})
    platform["metadata"]["labels"] = {"gcloud.gov.pk/managed": "platform"}
    leaving = workload(DEPLOYMENT, "old")
    leaving["metadata"]["deletionTimestamp"] = "2026-11-22T00:00:00Z"
    assert names(platform, leaving) == []


def sent(one: dict[str, Any]) -> dict[str, Any]:
    (candidate,) = candidates(inventory(one))
    return candidate.sent[0][1]


def test_a_workload_is_sent_itself_beside_its_pod_and_a_job_without_what_tells_its_pods() -> None:
    own = {"batch.kubernetes.io/job-name": "once", "controller-uid": "x", "app": "once"}
    once = workload(JOB, "once", selector={"matchLabels": {"controller-uid": "x"}}, manualSelector=False)
    once["spec"]["template"]["metadata"]["labels"] = own
    (candidate,) = candidates(inventory(once))
    assert [kind for kind, _ in candidate.sent] == [POD, JOB]
    body = candidate.sent[1][1]
    assert body["metadata"] == {"generateName": "gpk-impact-"}
    assert set(body["spec"]) == {"replicas", "template"}
    assert body["spec"]["template"]["metadata"]["labels"] == {"app": "once"}
    assert own["controller-uid"] == "x"


def test_what_an_unknown_owner_makes_is_not_sent_itself() -> None:
    rollout = {"kind": "Rollout", "name": "canary", "uid": "r"}
    (candidate,) = candidates(inventory(workload(REPLICA_SET, "canary-1", owner=rollout)))
    assert [kind for kind, _ in candidate.sent] == [POD]


def test_a_pod_is_sent_without_what_the_server_and_the_scheduler_put_into_it() -> None:
    spec = pod_spec(nodeName="n1", priority=0, preemptionPolicy="PreemptLowerPriority", ephemeralContainers=[{}])
    spec["volumes"] = [{"name": "kube-api-access-x", "projected": {}}, {"name": "data", "emptyDir": {}}]
    spec["containers"][0]["volumeMounts"] = [{"name": "kube-api-access-x"}, {"name": "data"}]
    body = sent(made(POD, "lone", spec=spec))
    assert body["metadata"] == {"generateName": "gpk-impact-"}
    assert body["spec"] == {
        "containers": [{"name": "main", "image": f"{OWN}web:1", "volumeMounts": [{"name": "data"}]}],
        "volumes": [{"name": "data", "emptyDir": {}}],
    }


def test_a_template_keeps_the_node_that_its_author_names() -> None:
    assert sent(workload(DEPLOYMENT, "web", pod_spec(nodeName="n1")))["spec"]["nodeName"] == "n1"


def test_a_service_is_sent_without_its_addresses_and_a_headless_one_stays_so() -> None:
    spec = {
        "clusterIP": "10.0.0.9",
        "clusterIPs": ["10.0.0.9"],
        "type": "NodePort",
        "ports": [{"port": 1, "nodePort": 3}],
    }
    assert sent(made(SERVICE, "web", spec=spec))["spec"] == {"type": "NodePort", "ports": [{"port": 1}]}
    headless = {"clusterIP": "None", "clusterIPs": ["None"]}
    assert sent(made(SERVICE, "db", spec=headless))["spec"] == {"clusterIP": "None"}


def test_a_claim_is_sent_without_its_volume() -> None:
    claim = made(PERSISTENT_VOLUME_CLAIM, "data", spec={"storageClassName": "encrypted", "volumeName": "pv-1"})
    assert sent(claim)["spec"] == {"storageClassName": "encrypted"}


def test_a_stateful_set_has_its_claims_as_volumes_and_those_to_come_are_judged_by_name() -> None:
    template = {"metadata": {"name": "files"}, "spec": {"storageClassName": "encrypted"}}
    found = candidates(inventory(workload(STATEFUL_SET, "db", volumeClaimTemplates=[template])))
    assert [(c.kind, c.name, c.restarts) for c in found] == [
        ("PersistentVolumeClaim", "files-db-0", False),
        ("StatefulSet", "db", True),
    ]
    pod = found[1].sent[0][1]
    assert pod["spec"]["volumes"] == [{"name": "files", "persistentVolumeClaim": {"claimName": "files-db-0"}}]


# --- what the answers come to -----------------------------------------------------------------------------------------

POD_SECURITY = 'pods "x" is forbidden: violates PodSecurity "restricted:v1.36": privileged (container "main")'
IMAGES = (
    "pods \"x\" is forbidden: ValidatingAdmissionPolicy 'gpk-images' with binding 'gpk-images' denied request: "
    "[GPK-IMG-01] spec.containers[0].image: {} is not from a registry of this tenant."
)
LIMIT = 'pods "x" is forbidden: maximum cpu usage per Container is 4, but limit is 5'
QUOTA = 'pods "x" is forbidden: exceeded quota: tenant, requested: {}, used: {}, limited: {}'

Wall = Callable[[dict[str, Any]], Answer | None]


def is_insecure(body: dict[str, Any]) -> bool:
    spec = body["spec"]
    return spec.get("hostNetwork", False) or any(
        (c.get("securityContext") or {}).get("privileged") for c in spec["containers"]
    )


def walls(body: dict[str, Any], extra: Wall) -> Answer | None:
    """Limits, Pod Security, policies and quota, in the order of the server."""
    image = body["spec"]["containers"][0]["image"]
    if (body["spec"]["containers"][0].get("resources") or {}).get("limits", {}).get("cpu") == "5":
        return refused(LIMIT)
    if is_insecure(body):
        return refused(POD_SECURITY)
    if not image.startswith(OWN):
        return refused(IMAGES.format(image))
    return extra(body)


def judged(
    *objects: dict[str, Any],
    extra: Wall = lambda _: None,
    itself: Wall = lambda _: None,
    policy: dict[str, Any] = POLICY,
    **more: Any,
) -> list[Finding]:
    def script(request: Request) -> Answer | None:
        assert request.params == {"dryRun": "All"}, "something would be written"
        assert request.method == "POST"
        return walls(request.body, extra) if request.path.endswith("/pods") else itself(request.body)

    server = FakeServer(script)
    return assess(Judge(server.api(), NS, policy, "a test"), inventory(*objects, **more), settle=0.1)


def verdicts(findings: list[Finding], name: str) -> dict[str, Verdict]:
    return {f.id: f.verdict for f in findings if f.subject == f"namespace/{NS}/{name}"}


PASS, FAIL = Verdict.PASS, Verdict.FAIL


def test_what_is_admitted_passes_at_all_three_walls() -> None:
    found = judged(workload(DEPLOYMENT, "web"))
    assert found[0].id == "IMP-000"
    assert found[0].verdict is PASS
    assert verdicts(found, "Deployment/web") == {"IMP-001": PASS, "IMP-002": PASS, "IMP-003": PASS}


def test_behind_pod_security_the_policies_are_asked_as_well() -> None:
    spec = pod_spec("docker.io/library/web:1", hostNetwork=True)
    found = judged(workload(DEPLOYMENT, "worst", spec))
    assert verdicts(found, "Deployment/worst") == {
        "IMP-001": FAIL, "IMP-002": FAIL, "IMP-003": Verdict.NOT_APPLICABLE
    }  # fmt: skip
    (policy,) = [f for f in found if f.id == "IMP-002"]
    assert policy.controls == ("GPK-ADM-001", "gpk-images", "GPK-IMG-01")
    assert policy.observed.startswith("refused by gpk-images: [GPK-IMG-01] spec.containers[0].image")


STALE = (
    "deployments.apps \"x\" is forbidden: ValidatingAdmissionPolicy 'gpk-images' with binding 'gpk-images' denied "
    "request: [GPK-IMG-02] spec.template.spec.containers[0].imagePullPolicy: IfNotPresent of x refused"
)


def test_a_workload_whose_pods_pass_and_which_would_itself_be_refused_is_told_apart() -> None:
    found = judged(workload(DEPLOYMENT, "web"), itself=lambda _: refused(STALE))
    assert verdicts(found, "Deployment/web") == {"IMP-001": PASS, "IMP-002": FAIL, "IMP-003": PASS}
    (policy,) = [f for f in found if f.verdict is FAIL]
    assert policy.controls == ("GPK-ADM-001", "gpk-images", "GPK-IMG-02")
    assert policy.reason == "Deployment web would be refused when it is made anew, or changed there"
    assert "refused by gpk-images: [GPK-IMG-02] spec.template.spec" in policy.observed


def test_a_workload_is_not_asked_about_itself_where_its_pods_are_refused_already() -> None:
    def never(body: dict[str, Any]) -> Answer:
        raise AssertionError(body)

    judged(workload(DEPLOYMENT, "web", pod_spec("docker.io/library/web:1")), itself=never)


def test_only_pod_security_is_blamed_where_only_it_refuses() -> None:
    found = judged(workload(DEPLOYMENT, "root", pod_spec(hostNetwork=True)))
    assert verdicts(found, "Deployment/root") == {"IMP-001": FAIL, "IMP-002": PASS, "IMP-003": PASS}
    (policy,) = [f for f in found if f.id == "IMP-002"]
    assert policy.observed == "admitted, once that is put right which is refused by Pod Security"


def test_behind_the_limits_both_others_are_asked() -> None:
    spec = pod_spec("docker.io/library/web:1", hostNetwork=True)
    spec["containers"][0]["resources"] = {"limits": {"cpu": "5"}}
    found = verdicts(judged(workload(DEPLOYMENT, "all", spec)), "Deployment/all")
    assert found == {"IMP-001": FAIL, "IMP-002": FAIL, "IMP-003": FAIL}


@pytest.mark.parametrize(
    ("requested", "used", "hard", "verdict"),
    [
        ("pods=1", "pods=10", "pods=10", PASS),
        ("pods=1", "pods=12", "pods=10", FAIL),
        ("limits.cpu=8,pods=1", "limits.cpu=0,pods=0", "limits.cpu=4,pods=10", FAIL),
        ("limits.cpu=500m", "limits.cpu=3900m", "limits.cpu=4", PASS),
        ("requests.memory=1Gi", "requests.memory=9Gi", "requests.memory=8Gi", FAIL),
        ("nonsense", "nonsense", "pods=1", FAIL),
    ],
    ids=["full", "over-used", "too small for it", "full in parts", "over-used in bytes", "not understood"],
)
def test_a_full_quota_is_not_in_the_way_of_a_restart_but_one_that_is_too_small_is(
    requested: str, used: str, hard: str, verdict: Verdict
) -> None:
    found = judged(workload(DEPLOYMENT, "web"), extra=lambda _: refused(QUOTA.format(requested, used, hard)))
    assert found[0].verdict is PASS, "a full quota answers after all others have admitted"
    assert verdicts(found, "Deployment/web") == {"IMP-001": PASS, "IMP-002": PASS, "IMP-003": verdict}


def test_a_refusal_of_nobody_known_is_an_error_and_passes_nowhere() -> None:
    def webhook(body: dict[str, Any]) -> Answer | None:
        return refused('admission webhook "x" denied the request') if body["metadata"].get("labels") else None

    found = verdicts(judged(workload(DEPLOYMENT, "web"), extra=webhook), "Deployment/web")
    assert found == {"IMP-001": Verdict.NOT_CHECKED, "IMP-002": Verdict.ERROR, "IMP-003": Verdict.NOT_CHECKED}


def test_a_kind_that_may_not_be_read_is_an_error() -> None:
    found = judged(unread={DEPLOYMENT: "user 'v' has no right to list deployments.apps"})
    (unread,) = [f for f in found if f.verdict is Verdict.ERROR]
    assert unread.subject == f"namespace/{NS}/Deployment"
    assert "no right to list" in str(unread.reason)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (lambda _: None, "what gpk-images must refuse was admitted"),
        (lambda _: refused('pods is forbidden: User "gcloud-pk:probe" cannot create resource "pods"'), "rbac"),
        (
            lambda _: refused('users "x" is forbidden: User "v" cannot impersonate:user-info resource "users"'),
            "the verifier lacks a right",
        ),
        (lambda r: walls(r.body, lambda _: None) if not is_insecure(r.body) else admitted(), "what pod-security must"),
    ],
    ids=["no policy in force", "no access", "no impersonation", "no Pod Security"],
)
def test_a_judge_that_does_not_judge_is_not_believed(script: Any, says: str) -> None:
    judge = Judge(FakeServer(script).api(), NS, POLICY, "a test")
    control, rest = assess(judge, inventory(workload(DEPLOYMENT, "web")), settle=0.1)
    assert control.verdict is Verdict.ERROR
    assert says in str(control.reason)
    assert rest.verdict is Verdict.NOT_CHECKED


def test_a_binding_to_an_own_role_is_asked_about_though_rbac_stops_who_asks() -> None:
    role = {"apiGroup": ROLE_BINDING.group, "kind": "Role", "name": "builder"}

    def script(request: Request) -> Answer | None:
        if request.path.endswith("/pods"):
            return walls(request.body, lambda _: None)
        if request.body["roleRef"]["kind"] == "Role":
            return refused(
                'rolebindings.rbac.authorization.k8s.io "x" is forbidden: user "gcloud-pk:probe" (groups=["a"]) is '
                "attempting to grant RBAC permissions not currently held:"
            )
        return None

    binding = made(ROLE_BINDING, "builders", roleRef=role, subjects=[])
    found = assess(Judge(FakeServer(script).api(), NS, POLICY, "a test"), inventory(binding), settle=0.1)
    assert verdicts(found, "RoleBinding/builders") == {"IMP-002": PASS}


# --- waivers ----------------------------------------------------------------------------------------------------------

FOREIGN = "docker.io/library/web:1"
WAIVER = {"rule": "GPK-IMG-01", "kind": "Deployment", "name": "web", "allows": [FOREIGN]}


def test_a_waiver_of_the_tenant_policy_shows_as_waived() -> None:
    found = judged(workload(DEPLOYMENT, "web", pod_spec(FOREIGN)), policy=POLICY | {"waivers": [WAIVER]})
    assert verdicts(found, "Deployment/web") == {"IMP-001": PASS, "IMP-002": Verdict.WAIVED, "IMP-003": PASS}


def test_a_waived_workload_itself_is_asked_about_without_what_is_waived() -> None:
    asked: list[str] = []

    def itself(body: dict[str, Any]) -> Answer | None:
        asked.append(body["spec"]["template"]["spec"]["containers"][0]["image"])
        return refused(IMAGES.format(FOREIGN)) if asked[-1] == FOREIGN else None

    found = judged(workload(DEPLOYMENT, "web", pod_spec(FOREIGN)), itself=itself, policy=POLICY | {"waivers": [WAIVER]})
    assert verdicts(found, "Deployment/web")["IMP-002"] is Verdict.WAIVED
    assert asked == [FOREIGN, f"{OWN}gpk-impact:1"]


@pytest.mark.parametrize(
    "change",
    [{"name": "other"}, {"kind": "StatefulSet"}, {"rule": "GPK-PLC-02"}, {"allows": ["docker.io/library/web:2"]}],
    ids=lambda change: next(iter(change)),
)
def test_a_waiver_of_anything_else_waives_nothing(change: dict[str, Any]) -> None:
    policy = POLICY | {"waivers": [WAIVER | change]}
    found = judged(workload(DEPLOYMENT, "web", pod_spec(FOREIGN)), policy=policy)
    assert verdicts(found, "Deployment/web")["IMP-002"] is FAIL


def test_a_waiver_covers_tolerations_in_the_words_of_the_policy() -> None:
    tolerations = [
        {"key": "pool", "operator": "Equal", "value": "gpu", "effect": "NoSchedule"},
        {"key": "pool", "operator": "Exists"},
    ]
    pod: dict[str, Any] = {"kind": "Pod", "metadata": {}, "spec": pod_spec(tolerations=copy.deepcopy(tolerations))}
    waiver = WAIVER | {"rule": "GPK-PLC-02", "allows": ["pool Equal gpu NoSchedule"]}
    left = waived(pod, POLICY | {"waivers": [waiver]}, "Deployment", "web")
    assert left["spec"]["tolerations"] == tolerations[1:]
    assert pod["spec"]["tolerations"] == tolerations


# --- the label that is rehearsed --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (admitted(status=200), PASS),
        (replace(admitted(status=200), warnings=("existing pods violate", "tool: host namespaces")), FAIL),
        (refused("namespaces is forbidden"), Verdict.NOT_APPLICABLE),
    ],
    ids=["no warning", "warnings", "no right"],
)
def test_the_servers_warnings_name_pods_where_the_label_may_be_rehearsed(answer: Answer, verdict: Verdict) -> None:
    server = FakeServer(lambda _: answer)
    found = rehearse_label(server.api(), NS, {"pod-security.kubernetes.io/enforce": "restricted"})
    assert found.verdict is verdict
    assert [r.params for r in server.sent] == [{"dryRun": "All"}]


# --- which namespaces -------------------------------------------------------------------------------------------------


class Listing:
    """An Api of which only lists are asked."""

    def __init__(self, *objects: dict[str, Any]) -> None:
        self.objects = objects

    def list(self, kind: Kind, *, namespace: str | None = None) -> list[dict[str, Any]]:
        return [
            o
            for o in self.objects
            if o["kind"] == kind.kind and (namespace is None or o["metadata"].get("namespace") == namespace)
        ]

    def request(self, _method: str, path: str, **_: Any) -> Answer:
        name = path.rpartition("/")[2]
        found = next((o for o in self.objects if o["kind"] == "Namespace" and o["metadata"]["name"] == name), None)
        return admitted(found, 200) if found else refused("not found", 404)


def space(name: str, tenant: str | None = None, **annotations: str) -> dict[str, Any]:
    labels = {"gcloud.gov.pk/tenant": tenant} if tenant else {}
    named = {f"gcloud.gov.pk/{key}": value for key, value in annotations.items()}
    return {"kind": "Namespace", "metadata": {"name": name, "labels": labels, "annotations": named}}


CLUSTER: Any = Listing(
    space("moitt-eoffice", "moitt"), space("moitt-portal"), space("fbr-tax", "fbr"), space("default")
)


def test_without_names_all_tenants_namespaces_are_looked_at() -> None:
    assert set(select(CLUSTER, (), None, ()).live) == {"moitt-eoffice", "fbr-tax"}


def test_of_a_tenant_those_in_place_are_asked_live_and_nobodys_ahead() -> None:
    chosen = select(CLUSTER, (), "moitt", ("moitt-eoffice", "moitt-new", "moitt-portal"))
    assert (set(chosen.live), chosen.prospective, chosen.absent) == (
        {"moitt-eoffice"}, ["moitt-portal"], ["moitt-new"]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("namespaces", "tenant", "error"),
    [
        (("moitt-portl",), None, UnavailableError),
        (("moitt-portal",), None, WrongUsageError),
        (("fbr-tax",), "moitt", WrongUsageError),
    ],
    ids=["not there", "nobody's", "another tenant's"],
)
def test_a_namespace_that_cannot_be_looked_at_is_an_error(
    namespaces: tuple[str, ...], tenant: str | None, error: type[GcloudPkError]
) -> None:
    with pytest.raises(error):
        select(CLUSTER, namespaces, tenant, ())


def test_a_retired_environment_does_not_apply_and_one_without_parameters_is_an_error() -> None:
    retired = space("moitt-old", "moitt")
    retired["metadata"]["labels"]["gcloud.gov.pk/retired"] = "true"
    server = FakeServer(lambda r: refused("not found", 404) if "tenantpolicies" in r.path else None)
    found = judged_by_itself(server.api(), {"moitt-old": retired, "moitt-bare": space("moitt-bare", "moitt")})
    assert [f.verdict for f in found] == [Verdict.NOT_APPLICABLE, Verdict.ERROR]


# --- adoption ---------------------------------------------------------------------------------------------------------

MOITT = furnished("moitt", ("eoffice",))
MAY = space(NS, adopt="moitt")


def adopting(*objects: dict[str, Any], remove_openings: bool = False) -> adoption.Adoption:
    api: Any = Listing(*objects)
    return adoption.adoptable(api, MOITT, [NS], remove_openings=remove_openings)


def binding(name: str, role: str, subject: dict[str, Any], kind: str = "ClusterRole") -> dict[str, Any]:
    return made(ROLE_BINDING, name, roleRef={"kind": kind, "name": role}, subjects=[subject])


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ([], "there is no namespace moitt-eoffice"),
        ([space(NS)], "names no tenant"),
        ([space(NS, adopt="fbr")], "names tenant fbr"),
        ([space(NS, "fbr", adopt="moitt")], "is tenant fbr's"),
    ],
    ids=["not there", "not named", "named for another", "another tenant's"],
)
def test_what_may_not_be_adopted_is_refused(found: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(RefusedError, match=says):
        adopting(*found)


def test_what_is_the_tenants_is_left_out_unless_its_adoption_is_not_finished() -> None:
    assert adopting(space(NS, "moitt")).namespaces == ()
    assert adopting(space(NS, "moitt", adopt="moitt")).namespaces == (NS,)


@pytest.mark.parametrize(
    ("live", "words"),
    [
        (binding("a", "edit", {"kind": "Group", "name": "oidc:moitt-admins"}), "binds ClusterRole edit"),
        (binding("b", "r", {"kind": "User", "name": "x"}, "Role"), "gives access to User x"),
        (binding("c", "r", {"kind": "Group", "name": "system:authenticated"}, "Role"), "Group system:authenticated"),
        (
            binding("d", "r", {"kind": "ServiceAccount", "name": "x", "namespace": "kube-system"}, "Role"),
            "ServiceAccount kube-system/x",
        ),
        (made(NETWORK_POLICY, "e", spec={"podSelector": {}, "ingress": [{}]}), "it allows everybody"),
    ],
    ids=["a role", "a user", "a group of the system", "an account of elsewhere", "a network policy"],
)
def test_what_opens_more_than_the_request_must_go_first(live: dict[str, Any], words: str) -> None:
    with pytest.raises(RefusedError) as error:
        adopting(MAY, live)
    assert words in str(error.value.details[0])
    assert "--remove-openings" in str(error.value.resolution)
    assert [key.name for key in adopting(MAY, live, remove_openings=True).openings] == [live["metadata"]["name"]]


@pytest.mark.parametrize(
    ("where", "subject"),
    [
        (None, {"kind": "ServiceAccount", "name": "builder", "namespace": NS}),
        (None, {"kind": "Group", "name": f"system:serviceaccounts:{NS}"}),
        (None, {"kind": "User", "name": f"system:serviceaccount:{NS}:builder"}),
        ("kube-system", {"kind": "ServiceAccount", "name": "builder", "namespace": NS}),
    ],
    ids=["of the cluster", "all accounts", "an account as a user", "of another namespace"],
)
def test_service_accounts_that_may_act_elsewhere_are_in_the_way_even_where_openings_may_go(
    where: str | None, subject: dict[str, Any]
) -> None:
    live = made(CLUSTER_ROLE_BINDING, "strong", roleRef={"kind": "ClusterRole", "name": "edit"}, subjects=[subject])
    live["metadata"]["namespace"] = where
    live["kind"] = "RoleBinding" if where else "ClusterRoleBinding"
    with pytest.raises(RefusedError, match="may act outside") as error:
        adopting(MAY, live, remove_openings=True)
    assert "strong gives edit to" in str(error.value.details[0])


def test_what_opens_no_more_than_the_request_stays() -> None:
    own = {"kind": "ServiceAccount", "name": "builder", "namespace": NS}
    group = {"kind": "Group", "name": "oidc:moitt-admins"}
    closed = made(NETWORK_POLICY, "deny", spec={"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
    inside = made(NETWORK_POLICY, "in", spec={"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]})
    bindings = binding("a", "builder", own, "Role"), binding("b", "gcloud-pk:tenant-auditor", group)
    assert adopting(MAY, *bindings, closed, inside).openings == {}


def test_more_use_than_the_quota_is_warned_of() -> None:
    large = pod_spec()
    large["containers"][0]["resources"] = {"requests": {"cpu": "3"}, "limits": {"cpu": "3"}}
    pods = [made(POD, f"p{n}", spec=copy.deepcopy(large)) for n in range(2)]
    done = made(POD, "done", spec=large) | {"status": {"phase": "Succeeded"}}
    said = adopting(MAY, *pods, done).warnings
    assert len(said) == 2
    assert "uses 6 requests.cpu, the quota will be 4" in said[0]


def test_what_closes_an_adopted_namespace_comes_after_it_is_the_tenants_and_before_access() -> None:
    def change(action: Action, key: ObjectKey) -> Change:
        return Change(action, key)

    gone = change(Action.REMOVE, ObjectKey(ROLE_BINDING, NS, "outsider"))
    elsewhere = change(Action.REMOVE, ObjectKey(ROLE_BINDING, "moitt-portal", "old"))
    namespace = change(Action.CHANGE, ObjectKey(NAMESPACE, "", NS))
    quota = change(Action.CREATE, ObjectKey(RESOURCE_QUOTA, NS, "tenant"))
    stages = Stages([gone, elsewhere], [[namespace], [], [quota]], [], [])
    assert adoption.in_order(stages, {NS}) == Stages([elsewhere], [[namespace], [gone], [quota]], [], [])
    assert adoption.in_order(stages, set()) is stages


@pytest.mark.parametrize(
    "args",
    [
        ("onboard", "--all", "--adopt", NS),
        ("onboard", "moitt", "fbr", "--adopt", NS),
        ("onboard", "moitt", "--adopt", NS, "--output-dir", "manifests"),
        ("onboard", "moitt", "--remove-openings"),
    ],
    ids=["all", "two", "files", "openings alone"],
)
def test_adopting_is_for_one_tenant_by_name(args: tuple[str, ...]) -> None:
    assert main(list(args)) == 2
