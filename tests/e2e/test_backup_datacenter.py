"""A real cluster goes back to a snapshot: after etcd's data are destroyed on all its nodes, and on new machines.

The nodes are a lab data centre's, hardened and provisioned by the ordinary path; what loopback can tell is in
test_backup.py.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.conftest import CLI
from tests.e2e.datacenter import begin_proxies_anew
from tests.e2e.live_tenants import ALPHA, BETA, TENANTS, Cloud, eventually, ready, request
from tests.e2e.surviving import CLUSTER, SITE, Surviving

from gcloud_pk.cluster import kubeconfig
from gcloud_pk.cluster.kinds import DAEMON_SET, DEPLOYMENT
from gcloud_pk.cluster.transport import Api
from gcloud_pk.console import Console
from gcloud_pk.errors import UnavailableError
from gcloud_pk.lab.datacenter import racks

pytestmark = pytest.mark.slow

DESTROY = ("systemctl stop kubelet; pkill -9 -x etcd", "rm -r /var/lib/etcd/data", "systemctl start kubelet")
"""Each on all nodes before the next on any: a member that lost its data alone would be given them by the others."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backups")


@pytest.fixture(scope="module")
def cloud(survivor: Surviving) -> Cloud:
    return survivor.cloud


@pytest.fixture(scope="module")
def recipient(survivor: Surviving) -> Path:
    return survivor.recipient


def note(cloud: Cloud, name: str) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"is": "here"}}
    assert cloud.api.request("POST", "/api/v1/namespaces/default/configmaps", body=body).ok


def notes(cloud: Cloud) -> set[str]:
    items = cloud.api.get("/api/v1/namespaces/default/configmaps")["items"]
    return {one["metadata"]["name"] for one in items} - {"kube-root-ca.crt"}


def serves(cloud: Cloud) -> bool:
    """Whether the API gives what was noted before the snapshot."""
    try:
        return cloud.api.request("GET", "/api/v1/namespaces/default/configmaps/before").ok
    except UnavailableError:
        return False


NEEDED = {"ISO-700", "ISO-701", "ISO-711", "ISO-712", "ISO-715"}
"""Pods start; reach their own namespace; resolve names over UDP and TCP; the platform that is let in is let in."""


def wanting(cloud: Cloud) -> dict[str, str]:
    """Return what a tenant's pods need and do not have, by check; and whatever else failed."""
    found = cloud.audit(ALPHA, None)
    assert {name.rpartition(" ")[2] for name in found} >= NEEDED
    verdicts = {name: str(each["verdict"]) for name, each in found.items()}
    needed = {name: said for name, said in verdicts.items() if name.rpartition(" ")[2] in NEEDED and said != "pass"}
    return needed | {name: said for name, said in verdicts.items() if said in {"fail", "error"}}


def settled(cloud: Cloud) -> bool:
    """Whether kube-proxy runs on every node as it is wanted, and DNS is as it should be."""
    proxies = cloud.api.get(DAEMON_SET.path("kube-system", "kube-proxy"))
    names = cloud.api.get(DEPLOYMENT.path("kube-system", "coredns"))
    now, wanted = proxies["status"], len(cloud.centre.names)
    begun: bool = now.get("observedGeneration") == proxies["metadata"]["generation"]
    anew: bool = now.get("updatedNumberScheduled") == now.get("numberAvailable") == wanted
    named: bool = names["status"].get("readyReplicas") == names["spec"]["replicas"]
    return begun and anew and named


def bound(cloud: Cloud, tenant: str) -> set[str]:
    """Return whom a tenant's bindings name."""
    items = cloud.api.get("/apis/rbac.authorization.k8s.io/v1/rolebindings")["items"]
    mine = (one for one in items if one["metadata"]["namespace"].startswith(f"{tenant}-"))
    return {subject["name"].removeprefix("oidc:") for one in mine for subject in one.get("subjects") or ()}


@pytest.fixture(scope="module")
def snapshot(cloud: Cloud, folder: Path, recipient: Path) -> Path:
    """Return a verified snapshot; after it, access of one tenant is revoked and the other is suspended."""
    note(cloud, "before")
    words = ("datacenter", "backup", SITE, "now", "--to", folder / "shelf", "--format", "json")
    taken = Path(json.loads(cloud.gcloud_pk(*words).stdout)["brought"]["folder"])
    cloud.gcloud_pk("datacenter", "backup", SITE, "verify", "--to", folder / "shelf", "--key", recipient)
    note(cloud, "after")
    assert f"{ALPHA}-developers" in bound(cloud, ALPHA)
    revoke(cloud)
    return taken


def revoke(cloud: Cloud) -> None:
    """Have the registry revoke access of one tenant, and suspend the other."""
    people = {"admins": [f"{ALPHA}-admins"], "auditors": [f"{ALPHA}-auditors"]}
    request(cloud.centre, ALPHA, TENANTS[ALPHA], 2, access={**people, "developers": [f"{ALPHA}-successors"]})
    cloud.gcloud_pk("--context", "onboarder", "onboard", ALPHA, "--yes", "--no-verify")
    cloud.gcloud_pk("--context", "onboarder", "tenant", "suspend", BETA, "--reason", "an inquiry", "--yes")


def restore(cloud: Cloud, snapshot: Path, recipient: Path, *more: str | Path, check: int = 0) -> dict[str, Any]:
    words = ("datacenter", "restore", SITE, "--from", snapshot, "--key", recipient, "--yes", "--format", "json")
    done = cloud.gcloud_pk("--context", "admin", *words, *more, check=check)
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def after_restore(cloud: Cloud) -> None:
    """Expect the cluster as the snapshot has it, its tenants as the registry has them now, and pods that start."""
    assert notes(cloud) == {"before"}
    assert f"{ALPHA}-developers" not in bound(cloud, ALPHA)
    assert f"{ALPHA}-successors" in bound(cloud, ALPHA)
    assert not bound(cloud, BETA) & {f"{BETA}-admins", f"{BETA}-developers"}
    assert eventually(lambda: ready(cloud) == set(cloud.centre.names)), ready(cloud)
    assert eventually(lambda: settled(cloud)), "kube-proxy or DNS is not ready on all nodes"
    # Until each kubelet has said how its pods are, the API has it as it was when the snapshot was taken.
    assert eventually(lambda: not wanting(cloud), 180), wanting(cloud)


def test_etcd_destroyed_on_every_node_comes_back_without_access_that_was_revoked(
    cloud: Cloud, snapshot: Path, recipient: Path
) -> None:
    # Other pods write each node's rules of services than those that the snapshot knows.
    begin_proxies_anew(cloud.centre)
    for deed in DESTROY:
        for name in cloud.centre.names:
            cloud.centre.ssh(name, f"sudo sh -c '{deed}'")
    assert not serves(cloud)
    said = restore(cloud, snapshot, recipient)
    print(said["phases"])  # noqa: T201 - shown with -s
    after_restore(cloud)
    assert cloud.gcloud_pk("datacenter", "status", SITE).returncode == 0


def test_a_node_that_boots_in_the_middle_stays_closed_and_the_restore_is_gone_on_with(
    cloud: Cloud, snapshot: Path, recipient: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", cloud.centre.env["XDG_STATE_HOME"])  # where racks find the lab
    killed_at(cloud, snapshot, recipient, "etcd's old data go aside")
    racks.pull(cloud.centre.name, "rack-2", Console())
    racks.give_back(cloud.centre.name, "rack-2", Console())
    assert reachable(cloud, "c2") == "", "the API of a node that came up is open in the middle of a restore"
    restore(cloud, snapshot, recipient)
    after_restore(cloud)
    assert all(reachable(cloud, name) == "ok" for name in cloud.centre.names)


def killed_at(cloud: Cloud, snapshot: Path, recipient: Path, step: str) -> None:
    """Begin a restore, and kill it with SIGKILL when it says that it begins a step."""
    centre = cloud.centre
    words: list[str | Path] = ["--kubeconfig", cloud.kubeconfig, "--context", "admin", "datacenter", "restore", SITE]
    words += ["--from", snapshot, "--key", recipient, "--yes"]
    env = centre.env | {"GCLOUD_PK_REGISTRY": str(centre.registry), "GCLOUD_PK_TRUST": str(centre.trust)}
    with subprocess.Popen([CLI, *words], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        said = []
        for line in run.stderr:
            said.append(line)
            if line.startswith(step):
                run.kill()
                return
    pytest.fail(f"it never said {step!r}: {said}")


def reachable(cloud: Cloud, name: str) -> str:
    """Return what a node's API server says to another node, which is outside of it as everybody is."""
    other = next(one for one in cloud.centre.names if one != name)
    (address,) = (node["address"] for node in cloud.centre.said["nodes"] if node["name"] == name)
    asked = f"curl -sk --max-time 5 https://{address}:6443/readyz || true"
    return cloud.centre.ssh(other, asked).stdout


def test_new_machines_take_the_cluster_over_and_what_was_issued_stays_good(
    survivor: Surviving, snapshot: Path, recipient: Path, folder: Path
) -> None:
    cloud = survivor.cloud
    centre, former = cloud.centre, folder / "former-hosts"
    shutil.copy(centre.folder / "known_hosts", former)
    done = centre.gcloud_pk("datacenter", "forget", SITE, "--cluster", CLUSTER, "--yes", check=4)
    assert "c1 (10.207.0.11) still carries it" in done.stderr
    issued = kubeconfig.load(str(cloud.kubeconfig), "admin")
    uid = json.loads((snapshot / "manifest.json").read_text())["uid"]

    centre.lab("up", "--fresh")
    survivor.name_in_site(backup={"recipients": survivor.certificate}, uid=None)
    centre.gcloud_pk("datacenter", "forget", SITE, "--cluster", CLUSTER, "--yes", check=0)
    restore(cloud, snapshot, recipient, "--keys-only", "--signers", former)
    centre.gcloud_pk("datacenter", "up", SITE, "--yes", check=0, timeout=1800)
    survivor.name_in_site(uid=uid)
    restore(cloud, snapshot, recipient, "--signers", former)
    centre.gcloud_pk("datacenter", "up", SITE, "--yes", "--refresh", check=0, timeout=1800)

    after_restore(cloud)
    said = json.loads(centre.gcloud_pk("datacenter", "status", SITE, "--format", "json", check=0).stdout)
    assert said["clusters"][0]["uid"] == uid
    again = json.loads(
        centre.gcloud_pk("datacenter", "up", SITE, "--yes", "--refresh", "--format", "json", check=0).stdout
    )
    assert again["outcome"] == "unchanged"
    assert Api(issued).get("/api/v1/namespaces/kube-system")["metadata"]["uid"] == uid
