"""The main job on a real control plane. Each test has its own tenants; kubectl and the audit log are the referees."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import CLI, RunningLab
from tests.e2e.ministry import Ministry
from tests.e2e.policy_world import administrator

from gcloud_pk.cluster.kinds import TENANT
from gcloud_pk.cluster.removal import remove_namespaces

PERSISTING = {"create", "update", "patch", "delete", "deletecollection"}

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: web}}
spec:
  containers:
    - name: web
      image: registry.gcloud.gov.pk/{tenant}/web:1.0
      securityContext:
        allowPrivilegeEscalation: false
        runAsNonRoot: true
        capabilities: {{drop: [ALL]}}
        seccompProfile: {{type: RuntimeDefault}}
"""


@pytest.fixture
def ministry(lab: RunningLab, tmp_path: Path) -> Ministry:
    return Ministry.found(lab, tmp_path / "registry")


def as_admin(ministry: Ministry, tenant: str, *args: str, input: str | None = None) -> subprocess.CompletedProcess[str]:  # noqa: A002
    """Run kubectl with a client certificate of the tenant's admins."""
    path = ministry.run(
        "lab", "kubeconfig", "--name", ministry.lab.name, "--group", f"oidc:{tenant}-admins"
    ).stdout.strip()
    return subprocess.run(
        [ministry.lab.programs["kubectl"], "--kubeconfig", path, *args], input=input, capture_output=True, text=True
    )


def test_an_approved_request_becomes_namespaces_that_its_admins_can_use_and_nobody_else(ministry: Ministry) -> None:
    ministry.write("alpha", "prod", "dev")
    ministry.write("beta")
    document = ministry.onboard("alpha", "beta")
    alpha = next(t for t in document["tenants"] if t["name"] == "alpha")
    assert alpha["namespaces"] == ["alpha-dev", "alpha-prod"]
    assert alpha["changes"] == {"created": 23, "changed": 0, "removed": 0, "unchanged": 0}
    assert alpha["verdicts"]["pass"] > 50
    assert alpha["verdicts"]["fail"] == alpha["verdicts"]["error"] == alpha["verdicts"]["not-checked"] == 0
    assert (
        as_admin(ministry, "alpha", "apply", "-n", "alpha-prod", "-f", "-", input=POD.format(tenant="alpha")).returncode
        == 0
    )
    foreign = as_admin(ministry, "alpha", "get", "pods", "-n", "beta-prod")
    assert "cannot list resource" in foreign.stderr
    assert "alpha" in ministry.lab.kubectl("get", "tenants", context="onboarder").stdout


def test_a_second_run_writes_nothing_and_the_audit_log_shows_it(ministry: Ministry) -> None:
    ministry.write("twice", "prod", "dev")
    ministry.onboard("twice", "--no-verify")
    size = ministry.audit_size()
    document = ministry.onboard("twice", "--no-verify")
    assert document["tenants"][0]["changes"] == {"created": 0, "changed": 0, "removed": 0, "unchanged": 23}
    ours = [
        e
        for e in ministry.audited(size, "twice")
        if e["user"]["username"] == "gcloud-pk:onboarder" and e["stage"] == "ResponseComplete"
    ]
    assert ours, "the log must show the run, or it shows nothing"
    assert [e["requestURI"] for e in ours if e["verb"] in PERSISTING] == []


def test_drift_made_by_hand_is_shown_with_its_author_and_mended(ministry: Ministry) -> None:
    ministry.write("drift")
    ministry.onboard("drift", "--no-verify")
    assert ministry.run("tenant", "diff", "drift").stdout.count("no difference") == 1
    patch = '{"spec":{"hard":{"pods":"999"}}}'
    ministry.lab.kubectl("patch", "resourcequota", "tenant", "-n", "drift-prod", "--type=merge", "-p", patch)
    shown = ministry.run("tenant", "diff", "drift", check=6).stdout
    assert "spec.hard.pods: 999 → 20 (by kubectl-patch)" in shown
    ministry.onboard("drift")
    quota = next(q for q in ministry.live("resourcequota", "drift-prod") if q["metadata"]["name"] == "tenant")
    assert quota["spec"]["hard"]["pods"] == "20"
    ministry.run("tenant", "diff", "drift")


def test_what_was_deleted_or_added_by_hand_is_mended_too(ministry: Ministry) -> None:
    ministry.write("gone")
    ministry.onboard("gone", "--no-verify")
    ministry.lab.kubectl("delete", "networkpolicy", "default-deny", "-n", "gone-prod")
    stranger = {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "oidc:gone-developers"}
    ministry.lab.kubectl(
        "patch", "rolebinding", "tenant-auditors", "-n", "gone-prod", "--type=json",
        "-p", json.dumps([{"op": "add", "path": "/subjects/-", "value": stranger}]),
    )  # fmt: skip
    shown = ministry.run("tenant", "diff", "gone", check=6).stdout
    assert "1 created, 1 changed" in shown
    ministry.onboard("gone")
    assert "default-deny" in {p["metadata"]["name"] for p in ministry.live("networkpolicy", "gone-prod")}
    auditors = next(b for b in ministry.live("rolebinding", "gone-prod") if b["metadata"]["name"] == "tenant-auditors")
    assert [s["name"] for s in auditors["subjects"]] == ["oidc:gone-auditors"]


def test_a_service_account_that_a_controller_made_anew_and_somebody_changed_is_taken_back(ministry: Ministry) -> None:
    ministry.write("anew")
    ministry.onboard("anew", "--no-verify")
    where = ("-n", "anew-prod")
    ministry.lab.kubectl("delete", "serviceaccount", "default", *where)
    ministry.lab.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=60s", *where)
    patch = '{"automountServiceAccountToken":true}'
    ministry.lab.kubectl("patch", "serviceaccount", "default", *where, "--type=merge", "-p", patch)
    (found,) = [a for a in ministry.live("serviceaccount", "anew-prod") if a["metadata"]["name"] == "default"]
    assert "labels" not in found["metadata"]
    shown = ministry.run("tenant", "diff", "anew", check=6).stdout
    assert "~ ServiceAccount anew-prod/default" in shown
    assert "automountServiceAccountToken: true → false" in shown
    ministry.onboard("anew")
    ministry.run("tenant", "diff", "anew")


def test_what_was_added_by_our_own_name_or_by_nobodys_is_mended_too(ministry: Ministry) -> None:
    ministry.write("hidden")
    ministry.onboard("hidden", "--no-verify")

    def patch(kind: str, name: str, body: Any, *more: str, how: str = "merge") -> None:
        where = () if kind == "namespace" else ("-n", "hidden-prod")
        ministry.lab.kubectl("patch", kind, name, *where, f"--type={how}", "-p", json.dumps(body), *more)

    ours, cleared = "--field-manager=gcloud-pk", [{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]
    patch("networkpolicy", "default-deny", {"spec": {"ingress": [{}]}}, ours)
    patch("resourcequota", "tenant", {"spec": {"hard": {"pods": "999"}}}, ours)
    patch("limitrange", "tenant", [{"op": "add", "path": "/spec/limits/0/max/cpu", "value": "99"}], how="json")
    patch("limitrange", "tenant", cleared, how="json")
    patch("networkpolicy", "declared-flows", {"spec": {"egress": [{}]}})
    patch("networkpolicy", "declared-flows", cleared, how="json")
    patch("namespace", "hidden-prod", {"metadata": {"labels": {"gcloud.gov.pk/retired": "true", "theirs": "x"}}})
    shown = ministry.run("tenant", "diff", "hidden", check=6).stdout
    assert "5 changed" in shown
    assert "metadata.labels[gcloud.gov.pk/retired]: true → (none) (by kubectl-patch)" in shown
    ministry.onboard("hidden")
    ministry.run("tenant", "diff", "hidden")
    policies = {p["metadata"]["name"]: p["spec"] for p in ministry.live("networkpolicy", "hidden-prod")}
    assert "ingress" not in policies["default-deny"]
    assert {} not in policies["declared-flows"]["egress"]
    labels = ministry.live("namespaces", None, "-l", "gcloud.gov.pk/tenant=hidden")[0]["metadata"]["labels"]
    assert labels["theirs"] == "x"
    assert "gcloud.gov.pk/retired" not in labels


def test_a_field_of_another_applier_is_named_and_not_taken_without_being_told(ministry: Ministry) -> None:
    ministry.write("quarrel")
    ministry.onboard("quarrel", "--no-verify")
    other = json.dumps(
        {
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "tenant", "namespace": "quarrel-prod"},
            "spec": {"hard": {"pods": "7"}},
        }
    )  # fmt: skip
    ministry.lab.kubectl(
        "apply", "--server-side", "--force-conflicts", "--field-manager=argocd", "-f", "-", input=other
    )
    refused = ministry.run("onboard", "quarrel", "--yes", "--no-verify", check=4)
    assert "argocd" in refused.stderr
    assert "spec.hard.pods" in refused.stderr
    quota = next(q for q in ministry.live("resourcequota", "quarrel-prod") if q["metadata"]["name"] == "tenant")
    assert quota["spec"]["hard"]["pods"] == "7"
    ministry.run("onboard", "quarrel", "--yes", "--no-verify", "--force-conflicts")
    quota = next(q for q in ministry.live("resourcequota", "quarrel-prod") if q["metadata"]["name"] == "tenant")
    assert quota["spec"]["hard"]["pods"] == "20"


def test_an_environment_that_leaves_the_request_is_retired_and_can_then_be_offboarded(ministry: Ministry) -> None:
    ministry.write("shrink", "prod", "dev")
    ministry.onboard("shrink", "--no-verify")
    opened = as_admin(ministry, "shrink", "create", "rolebinding", "mine", "-n", "shrink-dev",
                      "--clusterrole=gcloud-pk:tenant-auditor", "--group=oidc:shrink-developers")  # fmt: skip
    assert opened.returncode == 0, opened.stderr
    ministry.run("tenant", "offboard", "shrink", "--environment", "dev", "--confirm", "shrink", check=4)
    ministry.write("shrink", "prod", revision=2)
    shown = ministry.run("tenant", "diff", "shrink", check=6).stdout
    assert "spec.environments[name=dev]: {" in shown
    assert "status." not in shown, "apply of the object leaves its status as it is"
    document = ministry.onboard("shrink")
    assert document["tenants"][0]["verdicts"]["fail"] == 0
    assert ministry.live("rolebinding", "shrink-dev") == []
    assert [p["metadata"]["name"] for p in ministry.live("networkpolicy", "shrink-dev")] == ["default-deny"]
    quota = next(q for q in ministry.live("resourcequota", "shrink-dev") if q["metadata"]["name"] == "tenant")
    assert {value for name, value in quota["spec"]["hard"].items() if name != "resourcequotas"} == {"0"}
    assert ministry.onboard("shrink", "--no-verify")["tenants"][0]["changes"]["changed"] == 0
    ministry.run("tenant", "offboard", "shrink", "--environment", "dev", "--confirm", "shrink")
    assert "shrink-dev" not in {n["metadata"]["name"] for n in ministry.live("namespaces")}
    assert "shrink-prod" in {n["metadata"]["name"] for n in ministry.live("namespaces")}


def test_parameters_deleted_by_hand_are_named_and_made_anew(ministry: Ministry) -> None:
    ministry.write("params")
    ministry.onboard("params", "--no-verify")
    ministry.lab.kubectl("delete", "tenantpolicy", "tenant", "-n", "params-prod", "--wait=false")
    shown = ministry.run("tenant", "diff", "params", check=6).stdout
    assert "TenantPolicy params-prod/tenant\n      is being deleted since 20" in shown
    ministry.run("onboard", "params", "--dry-run")
    (before,) = ministry.live("tenantpolicies", "params-prod")
    assert before["metadata"]["finalizers"] == ["gcloud.gov.pk/param-guard"], "a dry run lets nothing go"
    assert ministry.onboard("params")["tenants"][0]["verdicts"]["fail"] == 0
    (after,) = ministry.live("tenantpolicies", "params-prod")
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert "deletionTimestamp" not in after["metadata"]
    assert ministry.onboard("params", "--no-verify")["tenants"][0]["changes"]["unchanged"] == 12


def test_a_namespace_that_an_administrator_deleted_is_finished_and_made_anew(ministry: Ministry) -> None:
    ministry.write("razed", "prod", "dev")
    ministry.onboard("razed", "--no-verify")
    ministry.lab.kubectl("delete", "namespace", "razed-prod", "--wait=false")
    shown = ministry.run("tenant", "diff", "razed", check=6).stdout
    assert "Namespace razed-prod\n      is being deleted since 20" in shown
    assert ministry.onboard("razed")["tenants"][0]["verdicts"]["fail"] == 0
    assert ministry.live("rolebinding", "razed-prod")
    assert ministry.onboard("razed", "--no-verify")["tenants"][0]["changes"]["unchanged"] == 23


def test_what_somebody_elses_finalizer_keeps_is_named_and_the_next_run_goes_on(ministry: Ministry) -> None:
    ministry.write("clung")
    ministry.onboard("clung", "--no-verify")
    binding = ("rolebinding", "tenant-auditors", "-n", "clung-prod")
    hold = '{"metadata":{"finalizers":["example.com/hold"]}}'
    ministry.lab.kubectl("patch", *binding, "--type=merge", "-p", hold)
    ministry.lab.kubectl("delete", *binding, "--wait=false")
    refused = ministry.run("onboard", "clung", "--yes", "--no-verify", check=5)
    assert "RoleBinding clung-prod/tenant-auditors" in refused.stderr
    assert "kept by example.com/hold" in refused.stderr
    ministry.lab.kubectl("patch", *binding, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    assert ministry.onboard("clung", "--no-verify")["tenants"][0]["changes"]["unchanged"] == 11


def test_a_deleted_namespace_of_a_retired_environment_is_left_to_offboard(ministry: Ministry) -> None:
    ministry.write("faded", "prod", "dev")
    ministry.onboard("faded", "--no-verify")
    ministry.write("faded", "prod", revision=2)
    ministry.onboard("faded", "--no-verify")
    ministry.lab.kubectl("delete", "namespace", "faded-dev", "--wait=false")
    refused = ministry.run("onboard", "faded", "--yes", "--no-verify", check=5)
    assert "gcloud-pk tenant offboard faded --environment dev" in refused.stderr
    ministry.run("tenant", "offboard", "faded", "--environment", "dev", "--confirm", "faded")
    ministry.onboard("faded", "--no-verify")


def test_a_run_that_was_killed_shows_in_the_table_of_tenants(ministry: Ministry) -> None:
    ministry.write("half", "prod", "dev")

    def phase() -> str:
        return ministry.lab.kubectl("get", "tenant", "half", "-o", "jsonpath={.status.phase}").stdout

    command: list[str | Path] = [CLI, "--registry", ministry.folder, "onboard", "half", "--yes", "--no-verify"]
    run = subprocess.Popen(command, env=ministry.lab.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    offset = ministry.audit_size()
    while run.poll() is None and not any("/resourcequotas/tenant?" in e for e in _complete_lines(ministry, offset)):
        pass
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert phase() == "Applying"
    ministry.onboard("half", "--no-verify")
    assert phase() == "Ready"


def test_an_existing_namespace_that_is_not_the_tenant_s_is_refused(ministry: Ministry) -> None:
    ministry.lab.kubectl("create", "namespace", "squat-prod")
    ministry.write("squat")
    refused = ministry.run("onboard", "squat", "--yes", check=4)
    assert "namespace squat-prod exists and belongs to no tenant" in refused.stderr
    assert ministry.labelled("squat") == []


def test_an_older_or_another_request_of_the_same_revision_is_refused(ministry: Ministry) -> None:
    ministry.write("back", revision=2)
    ministry.onboard("back", "--no-verify")
    ministry.write("back", "prod", "extra", revision=1)
    assert "revision 2" in ministry.run("onboard", "back", "--yes", check=4).stderr
    ministry.write("back", "prod", "extra", revision=2)
    assert "revision 2 was accepted with other bytes" in ministry.run("onboard", "back", "--yes", check=4).stderr
    # Whoever takes the registry's memory away meets the cluster's.
    shutil.rmtree(ministry.folder / "tenants" / "back" / "history")
    (ministry.folder / "tenants" / "back" / "history.jsonl").unlink()
    assert "another request as revision 2" in ministry.run("onboard", "back", "--yes", check=4).stderr
    assert {n["metadata"]["name"] for n in ministry.live("namespaces") if "back" in n["metadata"]["name"]} == {
        "back-prod"
    }


def test_a_request_without_enough_approvals_is_not_rendered(ministry: Ministry, tmp_path: Path) -> None:
    ministry.write("waits", approve=False)
    assert "0 of 1 approvals" in ministry.run("onboard", "waits", "--yes", check=4).stderr
    assert "0 of 1 approvals" in ministry.run("onboard", "waits", "--output-dir", str(tmp_path / "out"), check=4).stderr
    assert not (tmp_path / "out" / "waits").exists()
    skipped = ministry.onboard("--all")["skipped"]
    assert {"name": "waits", "reason": "pending"} in skipped


def test_a_changed_byte_after_approval_is_refused(ministry: Ministry) -> None:
    path = ministry.write("forged")
    path.write_text(path.read_text().replace("pods: 20", "pods: 21"))
    ministry.run("onboard", "forged", "--yes", check=4)
    assert ministry.labelled("forged") == []


def test_a_cluster_that_nobody_named_is_not_written_to(ministry: Ministry, tmp_path: Path) -> None:
    ministry.write("wrong")
    ministry.env = {"XDG_STATE_HOME": str(tmp_path / "elsewhere")}  # here the lab is just a cluster
    refused = ministry.run("onboard", "wrong", "--yes", check=4)
    assert "not trusted" in refused.stderr
    ministry.run("cluster", "init", "--yes", "--context", "admin", check=4)
    ministry.run("tenant", "offboard", "wrong", "--confirm", "wrong", check=4)
    assert ministry.labelled("wrong") == []


def test_without_confirmation_nothing_is_written(ministry: Ministry) -> None:
    ministry.write("asked")
    refused = ministry.run("onboard", "asked", check=4)
    assert "confirmation is missing" in refused.stderr
    assert "--yes" in refused.stderr
    ministry.run("onboard", "asked", "--dry-run")
    assert ministry.labelled("asked") == []


def tenant_is_closed_or_whole(ministry: Ministry, namespaces: list[str]) -> None:
    """Whoever has access in a namespace has every wall around him."""
    for namespace in namespaces:
        if not ministry.live("rolebinding", namespace):
            continue
        names = {
            (i["kind"], i["metadata"]["name"])
            for i in ministry.live("tenantpolicies,limitranges,networkpolicies", namespace)
        }
        assert {("TenantPolicy", "tenant"), ("LimitRange", "tenant"), ("NetworkPolicy", "default-deny")} <= names
        for quota in ministry.live("resourcequota", namespace):
            assert quota.get("status", {}).get("hard") == quota["spec"]["hard"]


def test_a_run_killed_at_any_point_leaves_the_tenant_closed_and_the_next_one_converges(ministry: Ministry) -> None:
    killed = 0
    for count in (0, 1, 3, 5, 8, 12, 16, 20, 21):
        tenant = f"kill{count}"
        ministry.write(tenant, "prod", "dev")
        command: list[str | Path] = [CLI, "--registry", ministry.folder, "onboard", tenant, "--yes", "--no-verify"]
        run = subprocess.Popen(command, env=ministry.lab.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        offset = ministry.audit_size()
        written = 0
        while run.poll() is None and written <= count:
            # The audit log is the quickest witness of how far the run has come.
            written = sum(
                1
                for e in _complete_lines(ministry, offset)
                if f'"{tenant}' in e and '"verb":"patch"' in e and '"stage":"ResponseComplete"' in e
            )
        run.send_signal(signal.SIGKILL)
        killed += run.wait() == -signal.SIGKILL
        tenant_is_closed_or_whole(ministry, [n["metadata"]["name"] for n in ministry.live(
            "namespaces", None, "-l", f"gcloud.gov.pk/tenant={tenant}")])  # fmt: skip
        changes = ministry.onboard(tenant, "--no-verify")["tenants"][0]["changes"]
        assert changes["created"] + changes["changed"] + changes["unchanged"] == 23
        assert ministry.onboard(tenant, "--no-verify")["tenants"][0]["changes"]["unchanged"] == 23
    assert killed >= 5, "most of the runs must have been killed before their end"


def _complete_lines(ministry: Ministry, offset: int) -> list[str]:
    with (ministry.lab.folder / "log" / "audit.log").open("rb") as stream:
        stream.seek(offset)
        return stream.read().decode(errors="replace").splitlines()


def test_two_operators_at_once_both_end_well_and_the_tenant_is_whole(ministry: Ministry) -> None:
    ministry.write("both", *(f"e{i}" for i in range(8)))
    command: list[str | Path] = [
        CLI,
        "--registry",
        ministry.folder,
        "onboard",
        "both",
        "--yes",
        "--no-verify",
        "--format",
        "json",
    ]
    runs = [
        subprocess.Popen(command, env=ministry.lab.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [run.communicate(timeout=60) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outputs
    assert ministry.onboard("both", "--no-verify")["tenants"][0]["changes"]["unchanged"] == 8 * 11 + 1


def test_who_does_not_wait_for_the_lock_is_told_who_holds_it(ministry: Ministry) -> None:
    ministry.write("locked")
    lease: dict[str, Any] = {
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "tenant-locked", "namespace": "gcloud-pk-system"},
        "spec": {"holderIdentity": "colleague@other-host:1:x", "leaseDurationSeconds": 15,
                 "renewTime": time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime()),
                 "acquireTime": time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())},
    }  # fmt: skip
    ministry.lab.kubectl("create", "-f", "-", input=json.dumps(lease))
    refused = ministry.run("onboard", "locked", "--yes", "--wait-for-lock", "0", check=5)
    assert "colleague@other-host" in refused.stderr
    assert ministry.labelled("locked") == []


def comparable(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return objects without what the server or the moment adds."""
    kept = []
    for item in items:
        metadata = {
            k: v
            for k, v in item["metadata"].items()
            if k in {"name", "namespace", "labels", "annotations", "finalizers"}
        }
        kept.append({**{k: v for k, v in item.items() if k not in {"metadata", "status"}}, "metadata": metadata})
    return sorted(kept, key=lambda i: (i["kind"], i["metadata"].get("namespace", ""), i["metadata"]["name"]))


def test_kubectl_apply_of_the_output_folder_gives_the_same_cluster_as_our_own_apply(
    ministry: Ministry, tmp_path: Path
) -> None:
    ministry.write("gitops", "prod", "dev")
    ministry.run("onboard", "gitops", "--output-dir", str(tmp_path / "out"))
    for _ in range(10):
        done = ministry.lab.kubectl(
            "apply", "--server-side", "--field-manager=gcloud-pk", "-R", "-f", str(tmp_path / "out"),
            context="onboarder", check=False,
        )  # fmt: skip
        if done.returncode == 0:
            break
        time.sleep(0.5)
    assert done.returncode == 0, done.stderr
    kinds = "tenants,namespaces,tenantpolicies,resourcequotas,limitranges,networkpolicies,serviceaccounts,rolebindings"
    theirs = comparable(ministry.live(kinds, None, "-A", "-l", "gcloud.gov.pk/tenant=gitops"))
    assert len(theirs) == 23
    plan = ministry.run("onboard", "gitops", "--dry-run", "--format", "json").stdout
    assert json.loads(plan)["tenants"][0]["changes"]["unchanged"] == 23
    # By hand: a tenant that was offboarded does not come back under its name.
    admin = administrator(ministry.lab.kubeconfig)
    assert admin.request("DELETE", TENANT.path(name="gitops")).ok
    remove_namespaces(admin, ["gitops-prod", "gitops-dev"])
    ministry.onboard("gitops", "--no-verify")
    assert comparable(ministry.live(kinds, None, "-A", "-l", "gcloud.gov.pk/tenant=gitops")) == theirs


def test_a_tenant_with_data_is_not_offboarded_unless_that_is_asked_for_and_then_nothing_remains(
    ministry: Ministry,
) -> None:
    ministry.write("leaves", "prod")
    ministry.onboard("leaves", "--no-verify")
    made = as_admin(ministry, "leaves", "apply", "-n", "leaves-prod", "-f", "-", input=POD.format(tenant="leaves"))
    assert made.returncode == 0, made.stderr
    refused = ministry.run("tenant", "offboard", "leaves", "--confirm", "leaves", check=4)
    assert "leaves-prod: 1 pods, 0 claims" in refused.stderr
    assert "--delete-data" in refused.stderr
    ministry.run("tenant", "offboard", "leaves", "--delete-data", "--confirm", "another", check=4)
    assert ministry.live("rolebinding", "leaves-prod")
    done = ministry.run("tenant", "offboard", "leaves", "--delete-data", "--confirm", "leaves", "--format", "json")
    assert json.loads(done.stdout)["residue"] == []
    assert ministry.labelled("leaves") == []
    document = ministry.onboard("--all", "--no-verify")
    assert {"name": "leaves", "reason": "offboarded"} in document["skipped"]
    assert ministry.labelled("leaves") == []


def test_all_stops_before_it_removes_more_than_a_twentieth(ministry: Ministry) -> None:
    # The limit looks at the whole cluster; enough environments that leave are over it whatever else is there.
    ministry.write("cut", *(f"e{i}" for i in range(16)))
    ministry.onboard("cut", "--no-verify")
    ministry.write("cut", "e0", revision=2)
    refused = ministry.run("onboard", "--all", "--yes", "--no-verify", check=4)
    number = re.search(r"--allow-removals (\d+)", refused.stderr)
    assert number is not None
    assert ministry.live("rolebinding", "cut-e5")
    ministry.run("onboard", "--all", "--yes", "--no-verify", "--allow-removals", str(int(number[1]) - 1), check=4)
    ministry.run("onboard", "--all", "--yes", "--no-verify", "--allow-removals", number[1])
    assert ministry.live("rolebinding", "cut-e5") == []


def test_a_new_request_that_waits_stops_neither_proof_nor_repair_of_the_accepted_one(ministry: Ministry) -> None:
    ministry.write("goes", "prod")
    ministry.onboard("goes", "--no-verify")
    ministry.write("goes", "prod", "more", revision=2, approve=False)
    ministry.lab.kubectl("delete", "networkpolicy", "default-deny", "-n", "goes-prod")
    assert "accepted revision 1" in ministry.run("tenant", "diff", "goes", check=6).stderr
    assert ministry.run("onboard", "goes", "--yes", check=4).stderr.count("0 of 1 approvals") == 1
    document = ministry.onboard("--all", "--no-verify")
    assert [t["name"] for t in document["tenants"]] == ["goes"]
    assert "default-deny" in {p["metadata"]["name"] for p in ministry.live("networkpolicy", "goes-prod")}
    assert "goes-more" not in {n["metadata"]["name"] for n in ministry.live("namespaces")}
    ministry.run("tenant", "verify", "goes")
