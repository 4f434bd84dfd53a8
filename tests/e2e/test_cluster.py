"""The cluster layer on a real API server: apply, no-op, drift, conflicts, prune, leases, a server that goes away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import RunningLab, running

from gcloud_pk.cluster.answer import ConflictError, ForbiddenError
from gcloud_pk.cluster.apply import Conveyor, apply
from gcloud_pk.cluster.identity import cluster_uid
from gcloud_pk.cluster.kinds import (
    CONFIG_MAP,
    NAMESPACE,
    NETWORK_POLICY,
    RESOURCE_QUOTA,
    ROLE,
    ROLE_BINDING,
    SERVICE_ACCOUNT,
    TENANT_POLICY,
    ObjectKey,
    key_of,
)
from gcloud_pk.cluster.kubeconfig import load
from gcloud_pk.cluster.lease import Lease
from gcloud_pk.cluster.live import fetch, fetch_named
from gcloud_pk.cluster.plan import Plan, plan
from gcloud_pk.cluster.removal import remove_namespaces
from gcloud_pk.cluster.transport import Api, Identity
from gcloud_pk.cluster.waiting import quotas_counted
from gcloud_pk.errors import PartialError, UnavailableError
from gcloud_pk.model.labels import CONTENT_HASH, MANAGED, MANAGED_BY_PLATFORM, PARAM_GUARD, SYSTEM_NAMESPACE
from gcloud_pk.model.labels import TENANT as TENANT_LABEL

KINDS = (NAMESPACE, RESOURCE_QUOTA, NETWORK_POLICY, SERVICE_ACCOUNT, ROLE_BINDING, CONFIG_MAP)
OURS = "cluster-layer-test"


@pytest.fixture(scope="module")
def api(lab: RunningLab) -> Api:
    return Api(load(str(lab.kubeconfig), "admin"))


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Return a name of this test's own; namespaces stay until the lab goes."""
    return f"cl-{abs(hash((request.node.name, time.monotonic_ns()))) % 10**8:08d}"


def manifest(kind: Any, name: str, label: str, namespace: str | None = None, **body: Any) -> dict[str, Any]:
    digest = json.dumps(body, sort_keys=True)
    metadata: dict[str, Any] = {"name": name, "labels": {OURS: label}, "annotations": {CONTENT_HASH: digest}}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **body}


def quota(ns: str, **hard: str) -> dict[str, Any]:
    return manifest(RESOURCE_QUOTA, "quota", ns, ns, spec={"hard": hard or {"pods": "5", "requests.cpu": "8"}})


def default_deny(ns: str) -> dict[str, Any]:
    return manifest(
        NETWORK_POLICY, "default-deny", ns, ns, spec={"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    )


def desired(ns: str) -> list[dict[str, Any]]:
    subjects = [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "oidc:x"}]
    role = {"kind": "ClusterRole", "apiGroup": "rbac.authorization.k8s.io", "name": "view"}
    peers = [{"ipBlock": {"cidr": "10.0.0.0/8"}}]
    egress = [{"to": peers, "ports": [{"port": 53, "protocol": "UDP"}]}]
    return [
        manifest(NAMESPACE, ns, ns),
        quota(ns),
        default_deny(ns),
        manifest(NETWORK_POLICY, "dns", ns, ns, spec={"podSelector": {}, "policyTypes": ["Egress"], "egress": egress}),
        manifest(SERVICE_ACCOUNT, "default", ns, ns, automountServiceAccountToken=False),
        manifest(ROLE_BINDING, "viewers", ns, ns, roleRef=role, subjects=subjects),
    ]


def planned(api: Api, ns: str, objects: list[dict[str, Any]]) -> Plan:
    return plan(objects, fetch(api, KINDS, f"{OURS}={ns}"))


def stages(made: Plan) -> list[list[Any]]:
    namespaces = [change for change in made.changes if change.key.kind == NAMESPACE]
    return [namespaces, [change for change in made.changes if change.key.kind != NAMESPACE]]


def converge(api: Api, ns: str, objects: list[dict[str, Any]], **options: Any) -> Plan:
    made = planned(api, ns, objects)
    apply(api, stages(made), **options)
    return made


def audit(lab: RunningLab, word: str) -> list[dict[str, Any]]:
    """Return the audit events that mention `word`."""
    lab.audit_written()
    lines = (lab.folder / "log" / "audit.log").read_text().splitlines()
    return [json.loads(line) for line in lines if word in line]


def test_objects_are_created_and_a_second_run_sends_no_write(lab: RunningLab, api: Api, name: str) -> None:
    assert converge(api, name, desired(name)).counts()["created"] == 6
    before = api.persisted
    again = planned(api, name, desired(name))
    assert again.counts() == {"created": 0, "changed": 0, "removed": 0, "unchanged": 6}
    marker = len(audit(lab, name))
    apply(api, stages(again))
    assert api.persisted == before
    assert {event["verb"] for event in audit(lab, name)[marker:]} <= {"list", "get"}


def test_an_applied_object_sent_again_is_unchanged_on_the_server(api: Api, name: str) -> None:
    """The comparison does not hide anything: server-side apply agrees that there is nothing to do."""
    converge(api, name, desired(name))
    versions = {key: live["metadata"]["resourceVersion"] for key, live in fetch(api, KINDS, f"{OURS}={name}").items()}
    quotas_counted(api, [name])
    for change in plan(desired(name), {}).changes:
        if change.key.kind != RESOURCE_QUOTA:  # its status moves by itself
            answer = api.request(
                "PATCH", change.key.path, params={"fieldManager": "gcloud-pk"}, body=change.desired,
                content_type="application/apply-patch+yaml",
            )  # fmt: skip
            assert answer.body["metadata"]["resourceVersion"] == versions[change.key], str(change.key)


DRIFTS: dict[str, tuple[Any, str, dict[str, Any], list[str]]] = {
    "a raised quota": (
        RESOURCE_QUOTA, "quota", {"spec": {"hard": {"pods": "500"}}}, ["spec.hard.pods: 500 → 5 (by kubectl-edit)"]),
    "an allow rule in a default deny": (
        NETWORK_POLICY, "default-deny", {"spec": {"ingress": [{}]}},
        ["spec.ingress: [{}] → (none) (by kubectl-edit)"]),
    "a narrowed selector": (
        NETWORK_POLICY, "default-deny", {"spec": {"podSelector": {"matchLabels": {"app": "x"}}}},
        ['spec.podSelector: {"matchLabels": {"app": "x"}} → {} (by kubectl-edit)']),
    "a policy type taken away": (
        NETWORK_POLICY, "default-deny", {"spec": {"policyTypes": ["Ingress"]}},
        ["spec.policyTypes: +Egress (by kubectl-edit)"]),
    "a removed field": (
        SERVICE_ACCOUNT, "default", {"automountServiceAccountToken": None},
        ["automountServiceAccountToken: (none) → false"]),
    "an allow-all among rules": (
        NETWORK_POLICY, "dns",
        {"spec": {"egress": [
            {"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 53, "protocol": "UDP"}]}, {},
        ]}},
        ["spec.egress[1]: {} → (none) (by kubectl-edit)"]),
    "a flipped switch": (
        SERVICE_ACCOUNT, "default", {"automountServiceAccountToken": True},
        ["automountServiceAccountToken: true → false (by kubectl-edit)"]),
    "another subject": (
        ROLE_BINDING, "viewers",
        {"subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "everybody"}]},
        ["subjects[0].name: everybody → oidc:x (by kubectl-edit)"]),
}  # fmt: skip


@pytest.mark.parametrize("case", DRIFTS)
def test_drift_by_hand_is_shown_with_its_author_and_mended(api: Api, name: str, case: str) -> None:
    kind, object_name, patch, shown = DRIFTS[case]
    converge(api, name, desired(name))
    key = ObjectKey(kind, name, object_name)
    answer = api.request(
        "PATCH", key.path, params={"fieldManager": "kubectl-edit"}, body=patch,
        content_type="application/merge-patch+json",
    )  # fmt: skip
    assert answer.ok, answer.message
    (change,) = planned(api, name, desired(name)).writes
    assert [str(field) for field in change.fields] == shown
    converge(api, name, desired(name))
    assert planned(api, name, desired(name)).writes == ()
    live = fetch_named(api, [key])[key]
    wanted = next(manifest for manifest in desired(name) if key_of(manifest) == key)
    for part in ("spec", "subjects", "automountServiceAccountToken"):
        assert live.get(part) == wanted.get(part)


def test_what_left_the_request_is_pruned_and_a_field_that_left_is_removed(api: Api, name: str) -> None:
    converge(api, name, desired(name))
    smaller = [manifest for manifest in desired(name) if manifest["metadata"]["name"] != "dns"]
    smaller[1] = quota(name, pods="5")
    made = planned(api, name, smaller)
    assert made.counts() == {"created": 0, "changed": 1, "removed": 1, "unchanged": 4}
    assert [str(field) for field in made.writes[0].fields] == ["spec.hard[requests.cpu]: 8 → (none)"]
    converge(api, name, smaller)
    live = fetch(api, KINDS, f"{OURS}={name}")
    assert ObjectKey(NETWORK_POLICY, name, "dns") not in live
    assert live[ObjectKey(RESOURCE_QUOTA, name, "quota")]["spec"]["hard"] == {"pods": "5"}
    assert planned(api, name, smaller).writes == ()


def by_argo(api: Api, ns: str) -> None:
    body = quota(ns, pods="7")
    del body["metadata"]["labels"], body["metadata"]["annotations"]
    answer = api.request(
        "PATCH", ObjectKey(RESOURCE_QUOTA, ns, "quota").path, params={"fieldManager": "argocd", "force": "true"},
        body=body, content_type="application/apply-patch+yaml",
    )  # fmt: skip
    assert answer.ok, answer.message


def test_a_field_of_another_apply_manager_is_refused_and_named(api: Api, name: str, lab: RunningLab) -> None:
    converge(api, name, desired(name))
    by_argo(api, name)
    made = planned(api, name, desired(name))
    assert [(str(change.key), field.manager) for change, field in made.conflicts] == [
        (f"ResourceQuota {name}/quota", "argocd")
    ]
    fresh = Api(load(str(lab.kubeconfig), "admin"))
    with pytest.raises(ConflictError, match=f"ResourceQuota {name}/quota: spec.hard.pods is kept by 'argocd'"):
        apply(fresh, stages(made))
    assert fresh.persisted == 0
    apply(fresh, stages(made), force_conflicts=True)
    assert planned(api, name, desired(name)).conflicts == ()


def test_a_conflict_that_came_after_the_plan_is_named_and_not_forced(api: Api, name: str) -> None:
    converge(api, name, desired(name))
    wanted = [quota(name, pods="6") if m["kind"] == "ResourceQuota" else m for m in desired(name)]
    made = planned(api, name, wanted)
    by_argo(api, name)
    with pytest.raises((ConflictError, PartialError), match="argocd"):
        apply(api, stages(made))
    key = ObjectKey(RESOURCE_QUOTA, name, "quota")
    assert fetch_named(api, [key])[key]["spec"]["hard"]["pods"] == "7"


def test_an_object_replaced_since_the_plan_is_not_removed(api: Api, name: str) -> None:
    converge(api, name, desired(name))
    made = planned(api, name, [m for m in desired(name) if m["metadata"]["name"] != "dns"])
    path = ObjectKey(NETWORK_POLICY, name, "dns").path
    assert api.request("DELETE", path).ok
    other = {"metadata": {"name": "dns"}, "spec": {"podSelector": {}}}
    assert api.request("POST", NETWORK_POLICY.path(name), body=other).ok
    with pytest.raises((ConflictError, PartialError), match="was replaced by another object"):
        apply(api, stages(made))
    assert api.request("GET", path).ok


def test_a_field_that_the_schema_does_not_know_is_refused_at_once(api: Api, name: str) -> None:
    bad = [manifest(NAMESPACE, name, name), quota(name) | {"spec": {"hardd": {"pods": "5"}}}]
    started = time.monotonic()
    with pytest.raises((PartialError, UnavailableError), match="hardd"):
        converge(api, name, bad)
    assert time.monotonic() - started < api.patience


def test_quotas_are_counted_soon(api: Api, name: str) -> None:
    converge(api, name, desired(name))
    quotas_counted(api, [name])
    quotas_counted(api, [name], selector=f"{OURS}={name}")
    key = ObjectKey(RESOURCE_QUOTA, name, "quota")
    live = fetch_named(api, [key])[key]
    assert live["status"]["hard"] == live["spec"]["hard"]


def test_many_tenants_share_one_conveyor(api: Api, name: str) -> None:
    done: list[int] = []
    names = [f"{name}-{n}" for n in range(8)]
    with Conveyor(api) as conveyor:
        threads = [
            threading.Thread(target=lambda ns=ns: done.append(conveyor.run(stages(plan(desired(ns), {}))).created))
            for ns in names
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert done == [6] * 8


def test_lists_come_in_pages_and_whole(api: Api, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gcloud_pk.cluster.transport.PAGE", 2)
    converge(api, name, desired(name))
    maps = [manifest(CONFIG_MAP, f"m{n}", name, name, data={"n": str(n)}) for n in range(7)]
    apply(api, [list(plan(maps, {}).changes)])
    assert len(api.list(CONFIG_MAP, namespace=name, selector=f"{OURS}={name}")) == 7


def test_the_clusters_uid_is_told(api: Api, lab: RunningLab) -> None:
    said = lab.kubectl("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}").stdout
    assert cluster_uid(api) == said


def test_a_missing_right_is_named(api: Api) -> None:
    nobody = api.impersonating(Identity("nobody-at-all", ("oidc:x",)))
    with pytest.raises(ForbiddenError) as caught:
        nobody.list(RESOURCE_QUOTA, namespace="kube-system")
    error = caught.value
    assert (error.user, error.verb, error.resource) == ("nobody-at-all", "list", "resourcequotas")


HOLDER = textwrap.dedent("""
    import sys, time
    from gcloud_pk.cluster.kubeconfig import load
    from gcloud_pk.cluster.lease import Lease
    from gcloud_pk.cluster.transport import Api

    with Lease(Api(load(sys.argv[1], "admin")), sys.argv[2], namespace="default", wait=float(sys.argv[3])) as lease:
        print(lease.holder.identity, flush=True)
        time.sleep(float(sys.argv[4]))
""")


def holder(lab: RunningLab, name: str, *, wait: float = 0, hold: float = 600) -> subprocess.Popen[str]:
    """Start another process that takes the lease and holds it."""
    command = [sys.executable, "-c", HOLDER, str(lab.kubeconfig), name, str(wait), str(hold)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_the_second_of_two_processes_is_told_who_holds_the_lease(api: Api, lab: RunningLab, name: str) -> None:
    with holder(lab, name) as first:
        try:
            identity = said(first)
            with pytest.raises(UnavailableError, match=f"{identity} works on '{name}' since 20"):
                Lease(api, name, namespace="default", wait=0.5).__enter__()
        finally:
            first.kill()


def test_a_holder_that_was_killed_is_succeeded_at_once(api: Api, lab: RunningLab, name: str) -> None:
    with holder(lab, name) as first:
        said(first)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    started = time.monotonic()
    with Lease(api, name, namespace="default", wait=60) as lease:
        lease.check()
    assert time.monotonic() - started < 15, "so long it would take to expire"
    assert api.request("GET", f"/apis/coordination.k8s.io/v1/namespaces/default/leases/{name}").status == 404


def test_two_processes_have_the_lease_one_after_the_other(lab: RunningLab, name: str) -> None:
    with holder(lab, name, hold=1) as first, holder(lab, name, wait=20, hold=0) as second:
        assert said(first) or said(second)
        assert first.wait(30) == second.wait(30) == 0, second.stderr and second.stderr.read()


def a_tenants_namespace(api: Api, tenant: str) -> str:
    """Make a namespace whose admission policies look for their parameters; return its name."""
    ns = f"{tenant}-prod"
    namespace = manifest(NAMESPACE, ns, tenant)
    namespace["metadata"]["labels"] |= {TENANT_LABEL: tenant, MANAGED: MANAGED_BY_PLATFORM} | {
        f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")
    }
    spec = {
        "tenant": tenant, "environment": "prod", "classification": "open", "isolation": "namespace",
        "namespaces": [ns], "groups": [], "registries": [], "domains": [], "storageClasses": [], "egressFlows": [],
        "ingressCidrs": [],
    }  # fmt: skip
    parameters = manifest(TENANT_POLICY, "tenant", tenant, ns, spec=spec)
    parameters["metadata"] |= {
        "finalizers": [PARAM_GUARD],
        "labels": {OURS: tenant, TENANT_LABEL: tenant, MANAGED: MANAGED_BY_PLATFORM},
    }
    apply(api, [[change] for change in plan([namespace, parameters], {}).changes])
    return ns


def held(ns: str) -> dict[str, Any]:
    made = manifest(ROLE, "held", ns, ns, rules=[])
    made["metadata"]["finalizers"] = ["example.com/hold"]
    return made


def test_a_namespace_goes_and_its_parameters_go_last(api: Api, name: str) -> None:
    ns = a_tenants_namespace(api, name)
    told: list[str] = []
    remove_namespaces(api, [ns], timeout=60, on_progress=lambda _name, state: told.append(state))
    assert told == ["deleting", "emptied", "gone"]
    assert fetch_named(api, [ObjectKey(NAMESPACE, "", ns)]) == {}


def test_what_keeps_a_namespace_is_said_and_the_guard_stays(api: Api, name: str) -> None:
    ns = a_tenants_namespace(api, name)
    apply(api, [list(plan([held(ns)], {}).changes)])
    with pytest.raises(PartialError) as caught:
        remove_namespaces(api, [ns], timeout=9)
    assert "1 roles.rbac.authorization.k8s.io left" in str(caught.value.details[0])
    assert "finalizer example.com/hold on 1 of them" in str(caught.value.details[0])
    parameters = api.get(ObjectKey(TENANT_POLICY, ns, "tenant").path)
    assert parameters["metadata"]["finalizers"] == [PARAM_GUARD], "without parameters the hold could never be lifted"
    path = ObjectKey(ROLE, ns, "held").path
    lifted = api.request(
        "PATCH", path, body={"metadata": {"finalizers": None}}, content_type="application/merge-patch+json"
    )
    assert lifted.ok, lifted.message
    remove_namespaces(api, [ns], timeout=60)


@pytest.fixture
def own_lab(tmp_path: Path) -> Iterator[RunningLab]:
    with running(f"cl-{os.getpid()}", tmp_path) as own:
        yield own


def pid_of(own: RunningLab, program: str) -> int:
    return int(own.json("lab", "status", "--name", own.name)["processes"][program]["pid"])


def test_a_server_that_goes_away_half_way_is_5_or_8_and_converges_when_it_is_back(own_lab: RunningLab) -> None:
    api = Api(load(str(own_lab.kubeconfig), "admin"), patience=3)
    names = [f"gone-{n}" for n in range(60)]
    objects = [manifest for ns in names for manifest in desired(ns)]
    for manifest_ in objects:
        manifest_["metadata"]["labels"] = {OURS: "gone"}
    made = planned(api, "gone", objects)

    def kill(change: Any, answer: Any) -> None:
        if api.persisted == 100:
            os.kill(pid_of(own_lab, "kube-apiserver"), signal.SIGKILL)

    with pytest.raises(PartialError) as caught:
        apply(api, stages(made), on_done=kill)
    assert f"of {len(objects)} changes done" in caught.value.message
    assert "does not answer" in caught.value.message
    assert "run the same command again" in str(caught.value.resolution)

    away = Api(load(str(own_lab.kubeconfig), "admin"), patience=1)
    with pytest.raises(UnavailableError, match="does not answer"):
        apply(away, stages(made))
    assert away.persisted == 0

    own_lab.gcloud_pk("lab", "up", "--name", own_lab.name, check=0)
    back = Api(load(str(own_lab.kubeconfig), "admin"))
    rest = planned(back, "gone", objects)
    assert 0 < rest.counts()["unchanged"] < len(objects)
    apply(back, stages(rest))
    assert planned(back, "gone", objects).writes == ()


def test_a_short_absence_is_bridged_by_patience(own_lab: RunningLab) -> None:
    api = Api(load(str(own_lab.kubeconfig), "admin"), patience=30)
    apply(api, stages(plan(desired("short"), {})))
    server = pid_of(own_lab, "kube-apiserver")
    os.kill(server, signal.SIGKILL)
    back = threading.Thread(target=own_lab.gcloud_pk, args=("lab", "up", "--name", own_lab.name))
    back.start()
    try:
        more = [manifest(CONFIG_MAP, f"m{n}", "short", "short", data={}) for n in range(20)]
        assert apply(api, [list(plan(more, {}).changes)]).created == 20
    finally:
        back.join()


def test_leases_live_in_the_platforms_namespace(api: Api, name: str) -> None:
    if not fetch_named(api, [ObjectKey(NAMESPACE, "", SYSTEM_NAMESPACE)]):
        pytest.skip("the lab's platform is not installed")
    with Lease(api, name) as lease:
        lease.check()
