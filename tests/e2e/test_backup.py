"""Backups of a control plane of three members on loopback, and its way back: real etcd, real API server, no node.

What a node adds (SSH, the firewall, the kubelet) is for the lab data centre.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.e2e.loopback_centre import NAMES, SITE, Centre, centre, recall, remember, site_document
from tests.unit.tenants import a_request_document

from gcloud_pk.errors import UnavailableError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ORGANISATION = {"code": "MOITT", "name": {"en": "Ministry of IT"}, "tier": "federal", "domains": ["moitt.gov.pk"]}


@dataclass
class House:
    """A centre with its registry, and the command line."""

    centre: Centre
    folder: Path

    @property
    def key(self) -> Path:
        return self.folder.with_name("head.key")

    @property
    def trust(self) -> Path:
        return self.folder.with_name("trust")

    @property
    def shelf(self) -> Path:
        return self.folder.with_name("shelf")

    def command(self, *words: str | Path) -> list[str]:
        file = str(self.centre.root / "centre.json")
        return [sys.executable, "-m", "tests.e2e.loopback_centre", file, *map(str, words)]

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "GCLOUD_PK_REGISTRY": str(self.folder),
            "GCLOUD_PK_TRUST": str(self.trust),
            "KUBECONFIG": str(self.centre.kubeconfig),
            "GCLOUD_PK_CONTEXT": "admin",
            "XDG_STATE_HOME": str(self.centre.root / "state"),
        }

    def run(self, *words: str | Path, check: int | None = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(self.command(*words), env=self.environment(), cwd=ROOT, capture_output=True, text=True)
        assert check is None or done.returncode == check, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def json(self, *words: str | Path, check: int | None = 0) -> Any:
        return json.loads(self.run(*words, "--format", "json", check=check).stdout)

    def request(self, name: str, revision: int = 1, **access: list[str]) -> None:
        """Write a request and approve it by hand."""
        document = a_request_document(name, ("prod",))
        document["metadata"]["revision"] = revision
        document["spec"]["access"] |= access
        path = self.folder / "tenants" / name / "request.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        (path.parent / "approvals").mkdir(exist_ok=True)
        words = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(self.key), "-n", "gcloud-pk-approval", str(path)]
        subprocess.run(words, check=True, capture_output=True)
        path.with_name("request.yaml.sig").replace(path.parent / "approvals/head@moitt.sig")

    def backup(self) -> Path:
        """Make a snapshot and bring it here; return its folder."""
        said = self.json("datacenter", "backup", SITE, "now", "--to", self.shelf)
        return Path(said["brought"]["folder"])

    def restore(self, snapshot: Path, *words: str | Path, check: int | None = 0) -> subprocess.CompletedProcess[str]:
        return self.run(*self.restoring(snapshot), *words, check=check)

    def restoring(self, snapshot: Path, key: str = "recipient") -> tuple[str | Path, ...]:
        kept = self.centre.recipient(key)[1]
        return ("datacenter", "restore", SITE, "--from", snapshot, "--key", kept, "--yes")

    def subjects(self, tenant: str) -> set[str]:
        """Return who is bound in a tenant's namespace."""
        path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{tenant}-prod/rolebindings"
        items = self.centre.api().get(path)["items"]
        return {subject["name"] for one in items for subject in one.get("subjects") or ()}

    def put(self, name: str, kind: str = "configmaps", **data: str) -> None:
        body = {
            "apiVersion": "v1",
            "kind": {"configmaps": "ConfigMap", "secrets": "Secret"}[kind],
            "metadata": {"name": name},
        }
        body |= {"stringData" if kind == "secrets" else "data": data}
        assert self.centre.api().request("POST", f"/api/v1/namespaces/default/{kind}", body=body).ok

    def has(self, name: str, kind: str = "configmaps") -> bool:
        return self.centre.api().request("GET", f"/api/v1/namespaces/default/{kind}/{name}").ok


def make_house(made: Centre) -> House:
    house = House(made, made.root / "registry")
    (house.folder / "tenants").mkdir(parents=True)
    (house.folder / "sites").mkdir()
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "head", "-f", str(house.key)]
    subprocess.run(words, check=True)
    public = " ".join(house.key.with_name("head.key.pub").read_text().split()[:2])
    spaces = "gcloud-pk-approval,gcloud-pk-state"
    (house.folder / "approvers").write_text(f'head@moitt namespaces="{spaces}" {public}\n')
    (house.folder / "organisations.yaml").write_text(yaml.safe_dump([ORGANISATION]))
    (house.folder / f"sites/{SITE}.yaml").write_text(yaml.safe_dump(site_document(made)))
    house.trust.write_text(f'head@moitt namespaces="gcloud-pk-registry" {public}\n')
    remember(made)
    house.run("registry", "sign", "--key", house.key)
    house.run("cluster", "init", "--yes")
    return house


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    try:
        with centre(tmp_path_factory.mktemp("centre")) as made:
            yield make_house(made)
    except UnavailableError as error:
        pytest.skip(f"programs are not in the cache: {error}")


@pytest.fixture(scope="module")
def snapshot(house: House) -> Path:
    """Return a snapshot with tenants, a secret and a note; much happens after it."""
    for name in ("alpha", "beta", "gamma"):
        house.request(name)
    house.run("onboard", "--all", "--yes", "--no-verify")
    house.put("before", note="kept")
    house.put("sealed", "secrets", word="kept")
    taken = house.backup()
    house.put("after", note="lost")
    house.request("alpha", 2, developers=["alpha-others"])
    house.request("delta")
    house.run("onboard", "--all", "--yes", "--no-verify")
    house.run("tenant", "suspend", "beta", "--reason", "an inquiry", "--yes")
    house.run("tenant", "offboard", "gamma", "--reason", "merged", "--confirm", "gamma")
    return taken


def copy_of(snapshot: Path, tmp_path: Path) -> Path:
    return shutil.copytree(snapshot, tmp_path / snapshot.name)


def flipped(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(bytes(data))


def cut(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])


def signed_anew(folder: Path, key: Path) -> None:
    """Write digests and signature anew, as somebody would who wants a change not to be seen."""
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("SHA256SUMS"))
    sums = subprocess.run(["sha256sum", *names], cwd=folder, check=True, capture_output=True, text=True).stdout
    (folder / "SHA256SUMS").write_text(sums)
    (folder / "SHA256SUMS.sig").unlink()
    words = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", "gcloud-pk-backup", str(folder / "SHA256SUMS")]
    subprocess.run(words, check=True, capture_output=True)


def of_another_cluster(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["uid"] = "00000000-0000-0000-0000-000000000000"
    (folder / "manifest.json").write_text(json.dumps(manifest))


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "a flipped byte in etcd's snapshot": (lambda one: flipped(one, "etcd-000.cms"), "BKP-001"),
    "a cut snapshot of etcd": (lambda one: cut(one, "etcd-000.cms"), "BKP-001"),
    "a flipped byte in the keys": (lambda one: flipped(one, "keys.cms"), "BKP-001"),
    "a file that is missing": (lambda one: (one / "keys.cms").unlink(), "BKP-001"),
    "a manifest that says something else": (of_another_cluster, "BKP-001"),
    "no signature": (lambda one: (one / "SHA256SUMS.sig").unlink(), "BKP-002"),
}


def test_a_snapshot_is_verified_by_restoring_it_into_a_scratch_etcd(house: House, snapshot: Path) -> None:
    key = house.centre.recipient()[1]
    words = ("datacenter", "backup", SITE, "verify", "--to", house.shelf, "--snapshot", snapshot.name, "--key", key)
    report = house.json(*words)
    assert {one["id"]: one["verdict"] for one in report["results"]} == {f"BKP-00{n}": "pass" for n in range(1, 9)}
    manifest = json.loads((snapshot / "manifest.json").read_text())
    assert manifest["objects"]["secrets"] == 1
    assert manifest["objects"]["gcloud.gov.pk/tenants"] == 3
    said = json.loads((house.centre.node("n1") / "backup/latest.json").read_text())
    assert said["restored"]["name"] == snapshot.name


def test_without_a_key_nobody_looks_inside_and_nothing_is_called_good(house: House, snapshot: Path) -> None:
    words = ("datacenter", "backup", SITE, "verify", "--to", house.shelf, "--snapshot", snapshot.name)
    report = house.json(*words, check=7)
    assert report["verdicts"]["pass"] == 3
    assert report["verdicts"]["not-checked"] == 5


def test_a_snapshot_is_opened_by_hand_without_this_program(house: House, snapshot: Path, tmp_path: Path) -> None:
    key = house.centre.recipient()[1]
    signers = tmp_path / "signers"
    signers.write_text("".join(f"{name} {house.centre.host_key(name)}\n" for name in NAMES))
    sums = (snapshot / "SHA256SUMS").read_bytes()
    words = ["ssh-keygen", "-Y", "verify", "-f", str(signers), "-I", "n1", "-n", "gcloud-pk-backup"]
    subprocess.run([*words, "-s", str(snapshot / "SHA256SUMS.sig")], input=sums, check=True)
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=snapshot, check=True)
    for sealed, opened in (("etcd-000.cms", "snapshot.db"), ("keys.cms", "keys.tar")):
        open_it = ["openssl", "cms", "-decrypt", "-binary", "-inform", "DER", "-in", str(snapshot / sealed)]
        subprocess.run([*open_it, "-inkey", str(key), "-out", str(tmp_path / opened)], check=True)
    subprocess.run(["tar", "-xf", "keys.tar"], cwd=tmp_path, check=True)
    kept = house.centre.node("n1") / "kubernetes/pki/ca.key"
    assert (tmp_path / "pki/ca.key").read_bytes() == kept.read_bytes()
    words = [str(house.centre.found["etcdutl"]), "snapshot", "status", str(tmp_path / "snapshot.db"), "-w", "json"]
    status = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    assert status["revision"] == json.loads((snapshot / "manifest.json").read_text())["revision"]


def test_nothing_of_a_snapshot_but_its_manifest_can_be_read_without_a_key(house: House, snapshot: Path) -> None:
    secret = (house.centre.node("n1") / "kubernetes/pki/ca.key").read_bytes().splitlines()[1]
    for file in snapshot.iterdir():
        assert secret not in file.read_bytes()
        assert b"kube-system" not in file.read_bytes()
        assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_snapshot_is_refused_before_anything_is_touched(
    house: House, snapshot: Path, tmp_path: Path, name: str
) -> None:
    spoil, check = BROKEN[name]
    broken = copy_of(snapshot, tmp_path)
    spoil(broken)
    done = house.restore(broken, check=4)
    assert check in done.stderr
    assert "nothing was touched" in done.stderr
    house.centre.wait(5)


def test_a_snapshot_of_another_cluster_is_refused_though_it_is_whole_and_signed(
    house: House, snapshot: Path, tmp_path: Path
) -> None:
    foreign = copy_of(snapshot, tmp_path)
    of_another_cluster(foreign)
    signed_anew(foreign, house.centre.node("n2") / "ssh_host_ed25519_key")
    done = house.restore(foreign, check=4)
    assert "BKP-003" in done.stderr
    assert "another cluster's" in done.stderr


def test_a_snapshot_that_a_stranger_signed_is_refused(house: House, snapshot: Path, tmp_path: Path) -> None:
    forged = copy_of(snapshot, tmp_path)
    signed_anew(forged, house.key)
    assert "BKP-002" in house.restore(forged, check=4).stderr
    signers = tmp_path / "signers"
    signers.write_text(f"gone {' '.join(house.key.with_name('head.key.pub').read_text().split()[:2])}\n")
    words = ("datacenter", "backup", SITE, "verify", "--to", tmp_path, "--signers", signers)
    assert house.json(*words, check=7)["verdicts"]["fail"] == 0


def test_a_key_that_is_no_recipients_opens_nothing(house: House, snapshot: Path) -> None:
    done = house.run(*house.restoring(snapshot, "stranger"), check=4)
    assert "BKP-004" in done.stderr
    assert "sealed to others" in done.stderr


@contextmanager
def little_room(folder: Path) -> Iterator[None]:
    """Have a folder be a disk of its own with 64 KiB."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "gcloud-pk-test", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")
def test_a_shelf_that_runs_full_keeps_nothing_of_a_snapshot(house: House, snapshot: Path, tmp_path: Path) -> None:
    with little_room(tmp_path / "full"):
        said = house.json("datacenter", "backup", SITE, "now", "--to", tmp_path / "full", check=5)
        assert "No space left on device; nothing was kept of it" in said["error"]["message"]
        assert said["error"]["resolution"] == "make room there"
        assert list((tmp_path / "full").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")
def test_a_control_plane_without_room_makes_no_snapshot(house: House, snapshot: Path) -> None:
    kept = {name: house.centre.node(name) / "backup/snapshots" for name in ("n1", "n2", "n3")}
    before = {name: sorted(one.name for one in folder.iterdir()) for name, folder in kept.items() if folder.is_dir()}
    with ExitStack() as disks:
        for folder in kept.values():
            disks.enter_context(little_room(folder))
        said = house.json("datacenter", "backup", SITE, "now", check=5)
        assert said["error"]["message"] == "no control plane could make a snapshot; what is kept was left alone"
        reasons = [one["message"] for one in said["error"]["details"]]
        assert len(reasons) == len(kept)
        assert all("MiB free" in one and "nothing was written" in one for one in reasons), reasons
        assert {one.name for folder in kept.values() for one in folder.iterdir()} <= {".lock"}
    assert {name: sorted(one.name for one in kept[name].iterdir()) for name in before} == before


def test_a_restore_asks_first(house: House, snapshot: Path) -> None:
    words = [word for word in house.restoring(snapshot) if word != "--yes"]
    assert "confirmation is missing" in house.run(*words, check=4).stderr


def test_a_kubeconfig_of_another_cluster_is_refused(house: House, snapshot: Path, tmp_path: Path) -> None:
    from gcloud_pk.lab import pki

    pki.ensure(tmp_path, "10.209.0.1")
    document = yaml.safe_load(house.centre.kubeconfig.read_text())
    document["clusters"][0]["cluster"].pop("certificate-authority-data")
    document["clusters"][0]["cluster"]["certificate-authority"] = str(tmp_path / f"{pki.CLUSTER_CA}.crt")
    (tmp_path / "other").write_text(yaml.safe_dump(document))
    done = house.restore(snapshot, "--kubeconfig", tmp_path / "other", check=4)
    assert "its authority is another" in done.stderr


def after_restore(house: House, revision: int) -> None:
    """See that the cluster is as it was, and that nobody has more than the registry says."""
    house.centre.wait()
    assert house.has("before")
    assert not house.has("after")
    assert house.has("sealed", "secrets")
    assert {"oidc:alpha-others", "oidc:alpha-admins"} <= house.subjects("alpha")
    assert "oidc:alpha-developers" not in house.subjects("alpha")
    assert house.subjects("beta") == house.subjects("gamma") == set()
    assert "oidc:delta-admins" in house.subjects("delta")
    health = json.loads(house.centre.etcdctl("endpoint", "status", "--cluster", "--write-out=json"))
    assert len(health) == 3
    assert all(one["Status"]["header"]["revision"] > revision + 1_000_000_000 for one in health)


def revision_of(snapshot: Path) -> int:
    return int(json.loads((snapshot / "manifest.json").read_text())["revision"])


def test_a_cluster_comes_back_after_etcds_data_are_destroyed_and_revoked_access_does_not(
    house: House, snapshot: Path
) -> None:
    house.centre.lose_data()
    house.centre.start()
    time.sleep(1)
    said = house.json(*house.restoring(snapshot))
    print(said["phases"])  # noqa: T201 - shown with -s
    after_restore(house, revision_of(snapshot))
    assert said["tenants"]["revoked"] > 0
    assert {one["name"] for one in said["tenants"]["shut"]} == {"beta", "gamma"}
    for name in NAMES:
        assert not (house.centre.node(name) / "kubernetes/gcloud-pk/restore").exists()
        assert Path(said["aside"][name]).is_dir()
    # The cluster is in use again: what is written stays, and nothing is left to do.
    house.put("since", note="new")
    assert house.has("since")
    assert house.run("onboard", "alpha", "--dry-run").stdout.count("to create") == 0


STEPS = (
    "the snapshot goes to every control plane",
    "stopping API servers and etcd",
    "etcd's old data go aside",
    "starting etcd",
    "starting the API servers",
    "closing tenant",
    "opening the API",
)


@pytest.mark.parametrize("step", STEPS)
def test_a_restore_that_is_killed_is_gone_on_with(house: House, snapshot: Path, step: str) -> None:
    with subprocess.Popen(
        house.command(*house.restoring(snapshot)),
        env={**house.environment(), "PYTHONUNBUFFERED": "1"},
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith(step):
                process.send_signal(signal.SIGKILL)
                break
        else:
            pytest.fail(f"it never said: {step}")
    time.sleep(0.3)
    done = house.restore(snapshot)
    after_restore(house, revision_of(snapshot))
    if step not in STEPS[:1]:
        assert "going on" in done.stderr


def test_another_snapshot_does_not_come_between(house: House, snapshot: Path) -> None:
    other = house.backup()
    node = house.centre.node("n2") / "kubernetes/gcloud-pk/restore"
    node.mkdir()
    (node / "state.json").write_text(json.dumps({"id": "x", "snapshot": {"name": "y", "sha256": "z"}, "done": []}))
    try:
        assert "another snapshot is under way" in house.restore(other, check=4).stderr
    finally:
        shutil.rmtree(node)


def test_what_another_process_finds_is_the_same_centre(house: House) -> None:
    assert recall(house.centre.root / "centre.json").ports == house.centre.ports
