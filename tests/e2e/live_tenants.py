"""Two tenants whose pods really run on a lab data centre: who reaches whom, by the audit."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.e2e.datacenter import bare_centre, layout_of
from tests.e2e.nodes import Nodes
from tests.unit.tenants import a_request_document

from gcloud_pk.cluster import kubeconfig
from gcloud_pk.cluster.kinds import NAMESPACE
from gcloud_pk.cluster.transport import Api
from gcloud_pk.console import Console
from gcloud_pk.lab.datacenter import racks
from gcloud_pk.programs import pins, sourcing
from gcloud_pk.proof.live.plan import CHECKS

ALPHA, BETA = "alpha", "beta"
BASE = "registry.lab.example:5000/k8s/"
"""What the lab's own registry serves: the platform's, and every tenant may take it."""
OUTSIDE = "203.0.113.10"
DATABASE, ELSEWHERE = 5432, 443
METADATA = "169.254.169.254"
"""Where clouds answer with a machine's credentials; it answers here too, so that a closed way to it can be told."""
QUOTA = {"cpu": "2", "memory": "2Gi", "storage": "10Gi", "pods": 20}
EOFFICE = {
    "name": "eoffice",
    "tier": "production",
    "quota": QUOTA,
    "egress": [{"to": f"{OUTSIDE}/32", "ports": [{"port": DATABASE, "protocol": "TCP"}], "reason": "database"}],
}
TENANTS: dict[str, tuple[dict[str, Any], ...]] = {
    ALPHA: (EOFFICE, {"name": "portal", "tier": "production", "quota": QUOTA}),
    BETA: ({"name": "tax", "tier": "production", "quota": QUOTA},),
}
CLOSED = {check.id for check in CHECKS.values() if check.expected == "no packet comes through"}
OPEN = CHECKS.keys() - CLOSED
SOON = 120
"""Seconds until two of three nodes, and the third when it is back, are Ready and run pods again."""


@dataclass(frozen=True)
class Cloud:
    """A provisioned lab data centre, and the kubeconfig of its cluster."""

    centre: Nodes
    kubeconfig: Path

    @property
    def api(self) -> Api:
        return Api(kubeconfig.load(str(self.kubeconfig), "admin"))

    def gcloud_pk(self, *words: str | Path, check: int | None = 0) -> subprocess.CompletedProcess[str]:
        return self.centre.gcloud_pk("--kubeconfig", self.kubeconfig, *words, check=check)

    def audit(self, tenant: str, code: int | None) -> dict[str, dict[str, Any]]:
        """Send packets as the tenant's pods; return the findings of its environments by `ENVIRONMENT CHECK`.

        `code`: what the audit is to exit with; None: whatever.
        """
        addresses = [f"{OUTSIDE}:{port}" for port in (DATABASE, ELSEWHERE)]
        words = ["audit", "isolation", tenant, "--probes", ",".join(CHECKS), "--live", "--live-context", "admin"]
        words += ["--live-image", f"{BASE}python:3"]
        words += [word for address in addresses for word in ("--live-outside", address)]
        done = self.gcloud_pk(*words, "--live-wait", "150", "--format", "json", check=code)
        results = json.loads(done.stdout)["results"]
        return {
            f"{found['subject'].rpartition('/')[2]} {found['id']}": found
            for found in results
            if found["id"] in CHECKS and found["subject"].startswith(f"tenant/{tenant}/")
        }


def ask(centre: Nodes) -> None:
    """Put the tenants' requests into the lab's registry, approved, and have its keeper sign it."""
    (centre.registry / "settings.yaml").write_text(yaml.safe_dump({"baseRegistries": [BASE]}))
    centre.gcloud_pk("registry", "sign", "--key", centre.said["keeper"]["key"], check=0)
    for name, environments in TENANTS.items():
        request(centre, name, environments)


def request(
    centre: Nodes, name: str, environments: Sequence[str | dict[str, Any]], revision: int = 1, **spec: Any
) -> None:
    """Put a tenant's request into the lab's registry, approved."""
    approver = centre.said["approver"]
    people = {"name": "Director", "email": "director@lab.example"}
    document = a_request_document(
        name, environments, organisation="LAB", registries=[BASE],
        requestedBy={**people, "designation": "Director"}, contacts={"owner": people, "technical": [people]}, **spec,
    )  # fmt: skip
    document["metadata"]["revision"] = revision
    path = centre.registry / "tenants" / name / "request.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Through JSON: YAML would share what is the same by anchors, which a registry refuses.
    path.write_text(yaml.safe_dump(json.loads(json.dumps(document)), sort_keys=False))
    signature = path.with_name(f"{path.name}.sig")
    words = ["ssh-keygen", "-q", "-Y", "sign", "-f", approver["key"], "-n", "gcloud-pk-approval", path]
    subprocess.run(words, check=True, capture_output=True)
    (path.parent / "approvals").mkdir(exist_ok=True)
    signature.rename(path.parent / "approvals" / f"{approver['principal']}.sig")


@contextmanager
def outside(centre: Nodes) -> Iterator[None]:
    """Stand in for the internet: addresses on the spine, behind every node's default route, that answer."""
    spine = layout_of(centre.said).spine
    probe = sourcing.obtain(pins.load("datacenter"), sourcing.Wish(), Console())["probe"].path
    words = ["ip", "netns", "exec", spine, str(probe), "serve", "--name", "outside", "--port"]
    for address in (OUTSIDE, METADATA):
        subprocess.run(["ip", "-n", spine, "address", "replace", f"{address}/32", "dev", "lo"], check=True)
    servers = [subprocess.Popen([*words, str(port)]) for port in (DATABASE, ELSEWHERE, 80)]
    try:
        yield
    finally:
        for server in servers:
            server.terminate()
            server.wait(10)
        for address in (OUTSIDE, METADATA):
            subprocess.run(["ip", "-n", spine, "address", "del", f"{address}/32", "dev", "lo"], check=True)


def furnish(centre: Nodes) -> Cloud:
    """Onboard the tenants on the cluster that the nodes are."""
    cloud = Cloud(centre, Path(centre.gcloud_pk("datacenter", "kubeconfig", "lab-dc", check=0).stdout.strip()))
    ask(centre)
    cloud.gcloud_pk("--context", "admin", "cluster", "init", "--yes")
    cloud.gcloud_pk("--context", "onboarder", "onboard", "--all", "--yes")
    monitoring = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "monitoring"}}
    assert cloud.api.request("POST", NAMESPACE.path(), body=monitoring).status in {201, 409}
    return cloud


def judged(found: dict[str, dict[str, Any]]) -> None:
    """Expect what must be open to be, and what must be closed not to be judged: a bridge enforces nothing."""
    said = {name: (each["verdict"], each["reason"]) for name, each in found.items()}
    for environment in ("eoffice", "portal"):
        of = {name.partition(" ")[2]: each for name, each in said.items() if name.startswith(f"{environment} ")}
        assert of.keys() == CHECKS.keys()
        for check in CLOSED:
            verdict, reason = of[check]
            assert verdict == "not-checked", (check, of[check])
            assert reason.startswith("not enforced here: cluster lab-dc-a of site lab-dc has the network bridge"), check
        nothing = {"ISO-714"} if environment == "portal" else set()
        assert {check for check in OPEN if of[check][0] == "pass"} == OPEN - nothing, of


@contextmanager
def provisioned(state: Path, network: str) -> Iterator[Cloud]:
    """Bring up a lab data centre with a network, provision it, and onboard the tenants; remove it with all it wrote.

    Skips where Cilium would have to be built first.
    """
    if network == "cilium":
        wanting = [one.name for one in sourcing.look(pins.load("cilium"), sourcing.Wish()).missing]
        if wanting:
            pytest.skip(f"not in the cache, and a build takes up to 20 min: {', '.join(wanting)} (docs/programs.md)")
    with bare_centre(state, network=network) as centre, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", centre.env["XDG_STATE_HOME"])
        words = ["lab", "datacenter", "up", "--name", centre.name, "--provision"]
        centre.gcloud_pk(*words, check=0, timeout=1800)
        with outside(centre):
            yield furnish(centre)


@contextmanager
def without(cloud: Cloud, rack: str, left: set[str]) -> Iterator[None]:
    """Pull a rack until only `left` are Ready; give it back, and wait until all are."""
    everybody = ready(cloud)
    racks.pull(cloud.centre.name, rack, Console())
    try:
        assert eventually(lambda: ready(cloud) == left), ready(cloud)
        yield
    finally:
        racks.give_back(cloud.centre.name, rack, Console())
    assert eventually(lambda: ready(cloud) == everybody), ready(cloud)


def ready(cloud: Cloud) -> set[str]:
    """Return the names of the nodes that are Ready."""
    answer = cloud.api.request("GET", "/api/v1/nodes")
    return {
        node["metadata"]["name"]
        for node in (answer.body["items"] if answer.ok else [])
        if any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"])
    }


def eventually(look: Callable[[], bool], seconds: float = SOON) -> bool:
    """Whether something comes true within a time."""
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            return False
        time.sleep(1)
    return True
