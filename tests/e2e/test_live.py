"""`audit isolation --live` with real packets: what an enforcing network shows, and what one that does not enforce.

The node is a stand-in (`stand_in_node`); the API server, its admission, quotas and scheduler are real.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from tests.e2e import stand_in_node
from tests.e2e.conftest import CLI, running
from tests.e2e.ministry import Ministry
from tests.e2e.policy_world import administrator, apply
from tests.e2e.stand_in_node import NAMES, OUTSIDE_ADDRESS, StandInNode
from tests.unit.tenants import a_tenant

from gcloud_pk.cluster.kinds import POD, RESOURCE_QUOTA, SERVICE_ACCOUNT
from gcloud_pk.cluster.transport import Api, Identity
from gcloud_pk.model.finding import Finding, Verdict, exit_code
from gcloud_pk.model.tenant import Tenant
from gcloud_pk.onboarding import verification
from gcloud_pk.proof.live.aims import Address
from gcloud_pk.proof.live.plan import CHECKS, OUTSIDE, WITNESS
from gcloud_pk.proof.live.pods import LABEL
from gcloud_pk.proof.live.run import Options, probe
from gcloud_pk.proof.target import Target

NAME, NEXT = "live", "tried"
API_SERVER = "10.209.0.1"
PLATFORM = ("gateway", "monitoring")
DATABASE, ELSEWHERE = Address(OUTSIDE_ADDRESS, 5432), Address(OUTSIDE_ADDRESS, 443)
CLOSED = {c.id for c in CHECKS.values() if c.expected == "no packet comes through"}

QUOTA = {"cpu": "4", "memory": "8Gi", "storage": "20Gi", "pods": 20}
EOFFICE = {
    "name": "eoffice",
    "tier": "production",
    "quota": QUOTA,
    "egress": [{"to": "203.0.113.0/24", "ports": [{"port": 5432, "protocol": "TCP"}], "reason": "database"}],
    "domains": ["eoffice.moitt.gov.pk"],
    "exposure": "government",
}
ENVIRONMENTS: dict[str, tuple[Any, ...]] = {NAME: (EOFFICE, "portal"), NEXT: ("tax",)}
IMAGES = tuple(f"registry.gcloud.gov.pk/{tenant}/python:3.12-slim" for tenant in ENVIRONMENTS)
OF_THE_PLATFORM = ("registry.gcloud.gov.pk/base/python:3.12-slim",)


@dataclass(frozen=True)
class Place:
    """A tenant and its neighbour on a lab with a stand-in node."""

    ministry: Ministry
    api: Api
    node: StandInNode
    tenant: Tenant

    @property
    def target(self) -> Target:
        return Target(
            NAME,
            tuple(verification.environment(self.tenant, e) for e in self.tenant.request.spec.environments),
            admins=self.tenant.bound(self.tenant.request.spec.access.admins),
            other_namespaces=(f"{NEXT}-tax",),
        )

    def probe(self, api: Api | None = None, **changed: Any) -> list[Finding]:
        options = Options(IMAGES, OF_THE_PLATFORM, (DATABASE, ELSEWHERE), start=25, report=20, attempt=0.4, removal=10)
        return probe(api or self.api, [self.target], dataclasses.replace(options, **changed), print)

    def probes(self) -> list[str]:
        found = self.api.list(POD, selector=LABEL)
        return [f"{p['metadata']['namespace']}/{p['metadata']['name']}" for p in found]

    @property
    def command(self) -> list[str]:
        """The command, narrowed to two live checks and the controls they need."""
        images = [word for image in IMAGES for word in ("--live-image", image)]
        images += ["--live-platform-image", *OF_THE_PLATFORM]
        return [
            "audit", "isolation", NAME, "--probes", "ISO-701,ISO-703", "--live", "--live-context", "admin", *images,
        ]  # fmt: skip

    @contextmanager
    def half_way(self) -> Iterator[subprocess.Popen[str]]:
        """Run the command until its pods are there, on a node that does nothing."""
        self.node.paused = True
        started = subprocess.Popen(
            [CLI, "--registry", self.ministry.folder, *self.command],
            env=self.ministry.lab.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert eventually(lambda: len(self.probes()) > 3), "no probe pod was made"
            yield started
        finally:
            self.node.paused = False
            started.kill()
            started.communicate()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    if why := stand_in_node.missing():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("live")
    # A node would change what other tests see: their lab has none.
    with running(f"live-{os.getpid()}", folder) as lab, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", lab.env["XDG_STATE_HOME"])
        api = administrator(lab.kubeconfig)
        ministry = Ministry.found(lab, folder / "registry")
        for name, environments in ENVIRONMENTS.items():
            ministry.write(name, *environments)
        ministry.onboard("--all", "--no-verify")
        for name in PLATFORM:
            apply(api, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        for namespace in (*PLATFORM, WITNESS, f"{NEXT}-tax"):
            assert eventually(lambda of=namespace: api.request("GET", SERVICE_ACCOUNT.path(of, "default")).ok)
        with stand_in_node.stand_in_node(api, "stand-in", (API_SERVER,)) as node:
            serve_names(api)
            yield Place(ministry, api, node, a_tenant(NAME, ENVIRONMENTS[NAME]))


def eventually(look: Any, seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def serve_names(api: Api) -> None:
    """Run the cluster's name server: a pod like any other."""
    container = {
        "name": "probe", "image": "registry.gcloud.gov.pk/coredns", "command": ["python3", "-I", "-c", NAMES],
        "ports": [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 9153}],
        "securityContext": {
            "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }  # fmt: skip
    pod = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "names", "labels": {"k8s-app": "kube-dns"}},
        "spec": {"containers": [container], "automountServiceAccountToken": False},
    }  # fmt: skip
    answer = api.request("POST", POD.path("kube-system"), body=pod)
    assert answer.ok, answer.message
    path = POD.path("kube-system", "names")
    assert eventually(lambda: api.get(path)["status"].get("phase") == "Running")


def verdicts(findings: Sequence[Finding], environment: str) -> dict[str, str]:
    return {f.id: f.verdict.value for f in findings if f.subject == f"tenant/{NAME}/{environment}"}


def reason(findings: Sequence[Finding], check: str, environment: str) -> str:
    subject = f"tenant/{NAME}/{environment}"
    return next(f.reason or "" for f in findings if (f.id, f.subject) == (check, subject))


@contextmanager
def patched(api: Api, path: str, change: dict[str, Any], back: dict[str, Any]) -> Iterator[None]:
    def send(body: dict[str, Any]) -> None:
        answer = api.request("PATCH", path, body=body, content_type="application/merge-patch+json")
        assert answer.ok, answer.message

    send(change)
    try:
        yield
    finally:
        send(back)


def wrong(findings: Sequence[Finding]) -> list[tuple[str, str, str, str | None]]:
    settled = {Verdict.PASS, Verdict.NOT_APPLICABLE}
    return [(f.id, f.subject, f.observed, f.reason) for f in findings if f.verdict not in settled]


def test_an_enforcing_network_passes_every_flow(place: Place) -> None:
    found = place.probe()
    assert wrong(found) == []
    assert exit_code(found) == 0
    assert set(verdicts(found, "eoffice")) == set(CHECKS)
    assert {i for i, v in verdicts(found, "eoffice").items() if v != "pass"} == set()
    assert {i for i, v in verdicts(found, "portal").items() if v != "pass"} == {"ISO-714"}, "it declares no egress"
    tried = next(f for f in found if f.id == "ISO-703").evidence["tried"]
    assert all(t["came_back"] == "nothing" and t["control"] and t["answered"] for t in tried), tried
    assert place.node.network.dropped
    assert place.probes() == []


def test_without_enforcement_exactly_the_closed_flows_fail(place: Place) -> None:
    place.node.network.enforcing = False
    try:
        found = place.probe()
    finally:
        place.node.network.enforcing = True
    for environment in ("eoffice", "portal"):
        said = verdicts(found, environment)
        assert {i for i, v in said.items() if v == "fail"} == CLOSED
        assert {v for i, v in said.items() if i not in CLOSED} <= {"pass", "not-applicable"}
    assert exit_code(found) == 6
    assert place.probes() == []


def test_where_the_site_says_that_nothing_is_enforced_no_closed_flow_passes_or_fails(place: Place) -> None:
    why = "not enforced here: the site says so"
    for enforcing in (False, True):
        place.node.network.enforcing = enforcing
        try:
            found = place.probe(unenforced=why)
        finally:
            place.node.network.enforcing = True
        for environment in ("eoffice", "portal"):
            said = verdicts(found, environment)
            assert {i for i, v in said.items() if v == "not-checked"} == CLOSED
            assert {reason(found, check, environment) for check in CLOSED} == {why}
            assert {v for i, v in said.items() if i not in CLOSED} <= {"pass", "not-applicable"}
        assert exit_code(found) == 7
    assert place.probes() == []


def test_pods_that_cannot_start_prove_nothing_and_are_removed(place: Place) -> None:
    place.node.starts = False
    try:
        found = place.probe()
    finally:
        place.node.starts = True
    for environment in ("eoffice", "portal"):
        assert set(verdicts(found, environment).values()) <= {"not-checked", "not-applicable"}
    assert "ImagePullBackOff" in reason(found, "ISO-703", "eoffice")
    assert exit_code(found) == 7
    assert place.probes() == []


def test_a_full_quota_is_named_and_what_needs_that_namespace_is_not_checked(place: Place) -> None:
    path = RESOURCE_QUOTA.path(f"{NAME}-portal", "tenant")
    with patched(place.api, path, {"spec": {"hard": {"pods": "1"}}}, {"spec": {"hard": {"pods": "20"}}}):
        found = place.probe()
    assert "the quota tenant has no room for two probe pods: pods 0 of 1 used" in reason(found, "ISO-700", "portal")
    assert set(verdicts(found, "portal").values()) <= {"not-checked", "not-applicable"}
    said = verdicts(found, "eoffice")
    assert {i for i, v in said.items() if v != "pass"} == {"ISO-702"}, said
    assert "the quota tenant" in reason(found, "ISO-702", "eoffice")
    assert place.probes() == []


def test_a_tenants_own_admin_shows_what_he_reaches_and_nothing_that_nobody_answers(place: Place) -> None:
    own = place.api.impersonating(Identity("somebody", place.target.admins))
    found = place.probe(own)
    said = verdicts(found, "eoffice")
    assert {i for i, v in said.items() if v == "fail"} == set()
    assert {i for i, v in said.items() if v == "pass"} >= {"ISO-700", "ISO-701", "ISO-702", "ISO-711", "ISO-712"}
    assert {said[i] for i in ("ISO-703", "ISO-704", "ISO-705", "ISO-706", "ISO-708", "ISO-709", OUTSIDE)} == {
        "not-checked"
    }
    assert "nobody was answered" in reason(found, "ISO-709", "eoffice")
    assert place.probes() == []


def test_what_a_killed_run_leaves_the_next_one_removes(place: Place) -> None:
    with place.half_way() as run:
        run.send_signal(signal.SIGKILL)
        run.wait()
        left = set(place.probes())
        assert left
    done = place.ministry.run(*place.command, "--format", "json", check=None)
    assert "removed what an earlier run left" in done.stderr
    assert place.probes() == []
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert {r["id"] for r in report["results"] if r["id"].startswith("ISO-7")} == {
        "ISO-700", "ISO-701", "ISO-703", "ISO-718",
    }  # fmt: skip
    assert {"ISO-702", OUTSIDE} <= set(report["omitted"])


def test_a_run_that_is_stopped_takes_its_pods_along(place: Place) -> None:
    with place.half_way() as run:
        run.send_signal(signal.SIGTERM)
        place.node.paused = False
        assert run.wait(20) == 130
    assert place.probes() == []


def test_a_cluster_without_nodes_is_not_checked_and_no_pod_is_made(place: Place) -> None:
    place.node.deregister()
    try:
        started = time.monotonic()
        done = place.ministry.run(*place.command, check=7)
    finally:
        place.node.register()
    assert "the cluster has no nodes" in done.stdout
    assert time.monotonic() - started < 20
    assert place.probes() == []


def test_nodes_that_do_nothing_cost_a_bounded_time(place: Place) -> None:
    place.node.paused = True
    try:
        started = time.monotonic()
        found = place.probe(start=1.0, removal=1.0)
        assert time.monotonic() - started < 15
    finally:
        place.node.paused = False
    assert exit_code(found) == 7
    assert "after 1 s the probe pod is Pending" in reason(found, "ISO-700", "eoffice")
    assert eventually(lambda: place.probes() == [])


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--live", "--live-context", "nobody", "--live-image", "x"], 5, "nobody"),
        (
            ["--live", "--live-context", "admin", "--live-image", "x", "--live-platform-image", IMAGES[0]],
            4,
            "would run where no policy holds it",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_told(place: Place, options: list[str], code: int, said: str) -> None:
    done = place.ministry.run("audit", "isolation", NAME, *options, check=code)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
