"""A waiver on a real control plane: exactly its workload's pods are admitted, made by the real controllers."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import RunningLab
from tests.e2e.ministry import Ministry
from tests.e2e.policy_world import PATCH, administrator, apply, install_platform

from gcloud_pk.cluster.kinds import TENANT_POLICY
from gcloud_pk.cluster.removal import remove_namespaces
from gcloud_pk.model import labels

IMAGE = "docker.io/library/legacy:1.0"
AS_DEVELOPER = ("--as", "developer", "--as-group", "oidc:{tenant}-developers")


def a_day(days: int) -> str:
    return (dt.datetime.now(dt.UTC).date() + dt.timedelta(days=days)).isoformat()


class Legacy(Ministry):
    """A ministry with something that cannot comply yet. Its one approver may approve waivers too."""

    tenant = f"legacy-{os.getpid()}"

    @property
    def namespace(self) -> str:
        return f"{self.tenant}-prod"

    def allow_waivers(self) -> None:
        approvers = self.folder / "approvers"
        approvers.write_text(approvers.read_text().replace('gcloud-pk-state"', 'gcloud-pk-state,gcloud-pk-waiver"'))

    def waive(self, name: str, workload: str, *, image: str = IMAGE, expires: str | None = None) -> None:
        self.run(
            "waiver", "propose", name, "--control", "GPK-IMG-01", "--tenant", self.tenant, "--environment", "prod",
            "--workload", workload, "--allow", image, "--reason", "vendor image; rebuilt by January",
            "--author", "dd@moitt.gov.pk", "--expires", expires or a_day(60),
        )  # fmt: skip
        self.run("waiver", "approve", name, "--key", self.key, "--yes")

    def as_developer(self, *words: str, body: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
        who = (word.format(tenant=self.tenant) for word in AS_DEVELOPER)
        return self.lab.kubectl(*words, *who, input=json.dumps(body) if body else None, check=False)

    def create(self, body: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        return self.as_developer("create", "-n", self.namespace, "-f", "-", body=body)

    def pods(self, app: str) -> list[dict[str, Any]]:
        return self.live("pods", self.namespace, "-l", f"app={app}")

    def parameters(self) -> dict[str, Any]:
        found: dict[str, Any] = next(iter(self.live("tenantpolicies", self.namespace)))["spec"]
        return found

    def verify(self, check: int) -> list[dict[str, Any]]:
        done = self.run("tenant", "verify", self.tenant, "--quick", "--format", "json", check=check)
        results: list[dict[str, Any]] = json.loads(done.stdout)["results"]
        return [one for one in results if one["id"] in {"ISO-107", "ISO-112"} and one["verdict"] != "pass"]


@pytest.fixture(scope="module")
def ministry(lab: RunningLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Legacy]:
    api = administrator(lab.kubeconfig)
    install_platform(api)
    made = Legacy.found(lab, tmp_path_factory.mktemp("waivers") / "registry")
    assert isinstance(made, Legacy)
    made.allow_waivers()
    made.write(made.tenant, "prod", "test")
    made.onboard(made.tenant)
    yield made
    api.request("DELETE", f"/apis/gcloud.gov.pk/v1alpha1/tenants/{made.tenant}")
    remove_namespaces(api, [made.namespace, f"{made.tenant}-test"])


def template(app: str, image: str = IMAGE) -> dict[str, Any]:
    return {
        "metadata": {"labels": {"app": app}},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "web",
                    "image": image,
                    "imagePullPolicy": "Always",
                    "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        },
    }


def workload(kind: str, name: str, image: str = IMAGE) -> dict[str, Any]:
    selector = {"matchLabels": {"app": name}}
    spec: dict[str, Any] = {"replicas": 1, "selector": selector, "template": template(name, image)}
    if kind == "StatefulSet":
        spec["serviceName"] = name
    if kind in {"Job", "CronJob"}:
        spec = {"template": template(name, image)}
        spec["template"]["spec"]["restartPolicy"] = "Never"
    if kind == "CronJob":
        spec = {"schedule": "@hourly", "jobTemplate": {"spec": spec}}
    version = "batch/v1" if kind in {"Job", "CronJob"} else "apps/v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def eventually(ask: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := ask()):
        assert time.monotonic() < deadline, what
        time.sleep(0.2)
    return found


def test_a_waiver_admits_its_workload_with_its_pods_and_nothing_else(ministry: Legacy) -> None:
    others = (workload("Deployment", "legacy-two"), workload("StatefulSet", "other"), workload("StatefulSet", "legacy"))
    for body in (workload("Deployment", "legacy"), *others):
        assert f"[GPK-IMG-01] spec.template.spec.containers[0].image: {IMAGE}" in ministry.create(body).stderr

    ministry.waive("legacy", "Deployment/legacy")
    plan = ministry.run("onboard", ministry.tenant, "--dry-run").stdout
    assert f"a waiver of GPK-IMG-01 for Deployment legacy ({IMAGE}) comes to {ministry.namespace}" in plan
    document = ministry.onboard(ministry.tenant)
    assert [f["verdict"] for f in document["findings"] if f["id"] == "ISO-112"] == ["waived"]
    assert ministry.parameters()["waivers"] == [
        {"rule": "GPK-IMG-01", "kind": "Deployment", "name": "legacy", "allows": [IMAGE], "expires": a_day(60)}
    ]
    (elsewhere,) = ministry.live("tenantpolicies", f"{ministry.tenant}-test")
    assert elsewhere["spec"].get("waivers", []) == []

    done = ministry.create(workload("Deployment", "legacy"))
    assert done.returncode == 0, done.stderr
    (pod,) = eventually(lambda: ministry.pods("legacy"), "the waived Deployment has no pod")
    assert pod["spec"]["containers"][0]["image"] == IMAGE
    assert pod["metadata"]["ownerReferences"][0]["kind"] == "ReplicaSet"
    for body in others:
        assert "[GPK-IMG-01]" in ministry.create(body).stderr


def test_another_image_of_the_waived_workload_is_refused_to_its_author(ministry: Legacy) -> None:
    done = ministry.as_developer("set", "image", "-n", ministry.namespace, "deployment/legacy", "web=docker.io/evil:1")
    assert "[GPK-IMG-01] spec.template.spec.containers[0].image: docker.io/evil:1" in done.stderr
    scaled = ministry.as_developer("scale", "-n", ministry.namespace, "deployment/legacy", "--replicas=2")
    assert scaled.returncode == 0, scaled.stderr
    eventually(lambda: len(ministry.pods("legacy")) == 2, "the waived Deployment is not scaled")
    assert {p["spec"]["containers"][0]["image"] for p in ministry.pods("legacy")} == {IMAGE}


def test_nobody_takes_the_waivers_place_by_name_or_owner(ministry: Legacy) -> None:
    found = ministry.live("replicasets", ministry.namespace, "-l", "app=legacy")[0]
    assert "only its controller" in ministry.create(workload("ReplicaSet", "legacy-5d9c8b7f4")).stderr
    assert "[GPK-IMG-01]" in ministry.create(workload("ReplicaSet", "legacy")).stderr
    owner = {
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": found["metadata"]["name"],
        "uid": found["metadata"]["uid"], "controller": True,
    }  # fmt: skip
    pod = {"apiVersion": "v1", "kind": "Pod", **template("spoof")}
    pod["metadata"] |= {"name": f"{found['metadata']['name']}-x2x2x", "ownerReferences": [owner]}
    assert "[GPK-IMG-01]" in ministry.create(pod).stderr
    assert (
        "[GPK-IMG-01]"
        in ministry.create({"apiVersion": "v1", "kind": "Pod", **template("x"), "metadata": {"name": "legacy"}}).stderr
    )


@pytest.mark.parametrize("kind", ["StatefulSet", "Job"])
def test_the_real_controllers_make_the_pods_of_other_kinds(ministry: Legacy, kind: str) -> None:
    name = f"waived-{kind.lower()}"
    ministry.waive(name, f"{kind}/{name}")
    ministry.onboard(ministry.tenant, "--no-verify")
    assert ministry.create(workload(kind, name)).returncode == 0
    eventually(lambda: ministry.pods(name), f"{kind} has no pod")


def test_a_waived_cron_jobs_own_jobs_have_pods_and_one_by_hand_has_not(ministry: Legacy) -> None:
    ministry.waive("nightly", "CronJob/nightly")
    ministry.onboard(ministry.tenant, "--no-verify")
    done = ministry.create(workload("CronJob", "nightly"))
    assert done.returncode == 0, done.stderr
    by_hand = ("create", "job", "nightly-manual", "-n", ministry.namespace, "--from=cronjob/nightly")
    assert f"[GPK-IMG-01] spec.template.spec.containers[0].image: {IMAGE}" in ministry.as_developer(*by_hand).stderr
    by_hand = ("create", "job", "nightly-29000000", "-n", ministry.namespace, "--from=cronjob/nightly")
    assert "[GPK-WVR-01]" in ministry.as_developer(*by_hand).stderr

    # As if it had last run hours ago: its controller makes up for it at once.
    ago = (dt.datetime.now(dt.UTC) - dt.timedelta(hours=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
    last = json.dumps({"status": {"lastScheduleTime": ago}})
    ministry.lab.kubectl(
        "patch", "cronjob", "nightly", "-n", ministry.namespace, "--subresource=status", "--type=merge", "-p", last
    )
    (pod,) = eventually(lambda: ministry.pods("nightly"), "the waived CronJob has no pod")
    assert pod["metadata"]["ownerReferences"][0]["name"].startswith("nightly-2")


def test_what_was_made_before_the_waiver_or_is_left_behind_serves_no_other_workload(ministry: Legacy) -> None:
    own = f"registry.gcloud.gov.pk/{ministry.tenant}/web:1"
    early = workload("ReplicaSet", "late-bcdfg", own)
    early["spec"]["replicas"] = 0
    assert ministry.create(early).returncode == 0
    ministry.waive("late", "Deployment/late")
    ministry.onboard(ministry.tenant, "--no-verify")
    scaled = ministry.as_developer("scale", "-n", ministry.namespace, "replicaset/late-bcdfg", "--replicas=1")
    assert "[GPK-WVR-01]" in scaled.stderr
    assert ministry.as_developer("delete", "replicaset", "late-bcdfg", "-n", ministry.namespace).returncode == 0

    assert ministry.create(workload("Deployment", "late")).returncode == 0
    eventually(lambda: ministry.pods("late"), "the waived Deployment has no pod")
    assert ministry.as_developer(
        "delete", "deployment", "late", "-n", ministry.namespace, "--cascade=orphan"
    ).returncode == 0  # fmt: skip

    def left() -> list[dict[str, Any]]:
        found = ministry.live("replicasets", ministry.namespace, "-l", "app=late")
        return [one for one in found if one["metadata"]["name"].startswith("late-")]

    eventually(lambda: [r for r in left() if not r["metadata"].get("ownerReferences")], "the ReplicaSet was not let go")
    heir = workload("Deployment", "late", own)
    heir["metadata"]["name"] = "heir"
    assert ministry.create(heir).returncode == 0
    time.sleep(3)  # its controller takes over what its selector finds, at once and again and again
    assert [r["metadata"].get("ownerReferences") for r in left()] == [None]

    # Its own Deployment takes it back, scales it, and lets go of it whichever way it is deleted.
    assert ministry.as_developer("delete", "deployment", "heir", "-n", ministry.namespace).returncode == 0
    assert ministry.create(workload("Deployment", "late")).returncode == 0
    eventually(lambda: [r for r in left() if r["metadata"].get("ownerReferences")], "it was not taken back")
    scaled = ministry.as_developer("scale", "-n", ministry.namespace, "deployment/late", "--replicas=2")
    assert scaled.returncode == 0
    eventually(lambda: len(ministry.pods("late")) == 2, "its own controller does not scale it")
    assert ministry.as_developer(
        "delete", "deployment", "late", "-n", ministry.namespace, "--cascade=foreground", "--timeout=30s"
    ).returncode == 0  # fmt: skip
    assert left() == []


def test_an_expired_waiver_fails_the_audit_and_the_next_onboard_takes_it_off(ministry: Legacy) -> None:
    assert {one["verdict"] for one in ministry.verify(0)} == {"waived"}
    # As if the days had passed: the live parameters and the signed file say yesterday.
    yesterday = a_day(-1)
    path: Path = ministry.folder / "waivers" / "legacy.yaml"
    path.write_text(path.read_text().replace(a_day(60), yesterday))
    beside = path.with_name(path.name + ".sig")
    command = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(ministry.key), "-n", "gcloud-pk-waiver", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    beside.rename(path.with_name(f"{path.name}.head@moitt.sig"))
    (policy,) = ministry.live("tenantpolicies", ministry.namespace)
    kept = {name: policy["metadata"][name] for name in ("name", "namespace", "labels", "annotations", "finalizers")}
    expired = [{**one, "expires": yesterday} if one["name"] == "legacy" else one for one in policy["spec"]["waivers"]]
    aged = {**policy, "metadata": kept, "spec": {**policy["spec"], "waivers": expired}}
    apply(administrator(ministry.lab.kubeconfig), aged)

    found = {(one["id"], one["subject"].rpartition("/")[2]): one for one in ministry.verify(6)}
    assert found["ISO-112", "legacy"]["verdict"] == "fail"
    assert f"expired on {yesterday}" in found["ISO-112", "legacy"]["reason"]

    plan = ministry.run("onboard", ministry.tenant, "--dry-run").stdout
    assert f"leaves {ministry.namespace}: it expired on {yesterday}" in plan
    ministry.onboard(ministry.tenant)
    assert "legacy" not in [one["name"] for one in ministry.parameters().get("waivers", [])]
    assert {one["verdict"] for one in ministry.verify(0)} <= {"waived"}
    ministry.as_developer("delete", "pods", "-n", ministry.namespace, "-l", "app=legacy")
    eventually(lambda: not ministry.pods("legacy"), "an expired waiver still yields pods")


def test_a_waiver_that_was_added_on_the_cluster_alone_fails_the_audit(ministry: Legacy) -> None:
    forged = {"rule": "GPK-IMG-01", "kind": "Deployment", "name": "forged", "allows": [IMAGE], "expires": a_day(9)}
    live = ministry.parameters().get("waivers", [])
    answer = administrator(ministry.lab.kubeconfig).request(
        "PATCH", TENANT_POLICY.path(ministry.namespace, labels.TENANT_POLICY_NAME),
        body={"spec": {"waivers": [*live, forged]}}, content_type=PATCH,
    )  # fmt: skip
    assert answer.ok, answer.message
    found = {(one["id"], one["subject"].rpartition("/")[2]): one["verdict"] for one in ministry.verify(6)}
    assert found["ISO-107", "prod"] == found["ISO-112", "forged"] == "fail"
    ministry.onboard(ministry.tenant, "--force-conflicts")
    assert ministry.parameters().get("waivers", []) == live


def test_an_ended_waiver_leaves_with_the_next_onboard(ministry: Legacy) -> None:
    for one in ministry.parameters().get("waivers", []):
        ministry.run("waiver", "expire", one["name"], "--reason", "rebuilt")
    ministry.onboard(ministry.tenant)
    assert ministry.parameters().get("waivers", []) == []
    assert ministry.verify(0) == []
