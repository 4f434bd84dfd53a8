"""Onboarding measured: ours, `kubectl apply` (the peer) and a raw saturating client (the limit), in one run.

    make bench                                  1, 10, 50 and 200 tenants of 4 environments
    python -m benchmarks.onboard --tenants 1 10 --peer 10

Each size gets a fresh control plane, and so do the peer and the limit. Machines are noisy: read the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from benchmarks.raw import RawClient

BIN = Path(sys.executable).parent
CLI = BIN / "gcloud-pk"
ENVIRONMENTS = ("prod", "staging", "test", "dev")


@dataclass
class Bench:
    """A control plane and a registry of tenants that are approved."""

    env: dict[str, str]
    registry: Path
    kubectl: Path

    def cli(self, *args: str | Path) -> dict[str, Any]:
        """Run the CLI; return its document."""
        command = [CLI, "--registry", self.registry, *args, "--format", "json"]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True)
        if done.returncode not in (0, 6):
            raise SystemExit(f"{command}: exit {done.returncode}\n{done.stderr}")
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def timed(self, *args: str | Path) -> tuple[float, dict[str, Any]]:
        """Return wall seconds and the document."""
        started = time.perf_counter()
        document = self.cli(*args)
        return time.perf_counter() - started, document


def name_of(number: int) -> str:
    return f"tenant{number:03d}"


def request(number: int, revision: int = 1) -> dict[str, Any]:
    name = name_of(number)
    person = {"name": "Director IT", "email": f"it@{name}.gov.pk"}
    return {
        "apiVersion": "gcloud.gov.pk/v1alpha1",
        "kind": "TenantRequest",
        "metadata": {"name": name, "revision": revision},
        "spec": {
            "organisation": "BENCH",
            "requestedBy": {**person, "designation": "Director"},
            "purpose": {"en": "a measurement"},
            "classification": "restricted",
            "contacts": {"owner": dict(person), "technical": [dict(person)]},
            "access": {role: [f"{name}-{role}"] for role in ("admins", "developers", "auditors")},
            "budget": {"cpu": "64", "memory": "128Gi", "storage": "1Ti"},
            "environments": [
                {
                    "name": environment,
                    "tier": "production",
                    "quota": {"cpu": str(4 + revision), "memory": "8Gi", "storage": "20Gi", "pods": 20},
                    "domains": [f"{environment}.{name}.bench.gov.pk"],
                    "egress": [{"to": "10.20.0.0/16", "ports": [{"port": 5432}], "reason": "a database"}],
                }
                for environment in ENVIRONMENTS
            ],
            "registries": [f"registry.gcloud.gov.pk/{name}/"],
            "storageClasses": ["encrypted"],
        },
    }


def write_request(registry: Path, key: Path, number: int, revision: int = 1) -> None:
    path = registry / "tenants" / name_of(number) / "request.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(request(number, revision), sort_keys=False))
    signature = path.with_name("request.yaml.sig")
    signature.unlink(missing_ok=True)
    command: list[str | Path] = ["ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", "gcloud-pk-approval", path]
    subprocess.run(command, check=True, capture_output=True)
    (path.parent / "approvals").mkdir(exist_ok=True)
    signature.rename(path.parent / "approvals" / "bench@bench.sig")


def make_registry(folder: Path, tenants: int) -> Path:
    registry, key = folder / "registry", folder / "key"
    registry.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    public = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    (registry / "approvers").write_text(f'bench@bench namespaces="gcloud-pk-approval" {public}\n')
    organisation = {"code": "BENCH", "name": {"en": "Bench"}, "tier": "federal", "domains": ["bench.gov.pk"]}
    (registry / "organisations.yaml").write_text(yaml.safe_dump([organisation]))
    (registry / "tenants").mkdir()
    for number in range(tenants):
        write_request(registry, key, number)
    return registry


@contextmanager
def bench(tenants: int) -> Iterator[Bench]:
    """Start a fresh control plane with a registry of `tenants`; take both away afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="gcloud-pk-bench-"))
    env = {k: v for k, v in os.environ.items() if not k.startswith("GCLOUD_PK_")} | {
        "XDG_STATE_HOME": str(folder / "state")
    }
    up: list[str | Path] = [CLI, "lab", "up", "--name", "bench", "--format", "json"]
    try:
        said = json.loads(subprocess.run(up, env=env, capture_output=True, text=True, check=True).stdout)
        env["KUBECONFIG"] = said["kubeconfig"]
        yield Bench(env, make_registry(folder, tenants), Path(said["programs"]["kubectl"]["path"]))
    finally:
        subprocess.run([CLI, "lab", "down", "--purge", "--name", "bench"], env=env, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def ours(tenants: int) -> dict[str, float]:
    with bench(tenants) as b:
        wall, first = b.timed("onboard", "--all", "--yes", "--no-verify")
        objects = sum(t["changes"]["created"] for t in first["tenants"])
        idle, second = b.timed("onboard", "--all", "--yes", "--no-verify")
        if any(t["changes"]["unchanged"] != sum(t["changes"].values()) for t in second["tenants"]):
            raise SystemExit("the second run was to change nothing")
        write_request(b.registry, b.registry.with_name("key"), 0, revision=2)
        changed, third = b.timed("onboard", "--all", "--yes", "--no-verify")
        if sum(t["changes"]["changed"] for t in third["tenants"]) == 0:
            raise SystemExit("one tenant was to change")
        verified, _ = b.timed("onboard", "--all", "--yes")
        last = name_of(tenants - 1)
        left, _ = b.timed("tenant", "offboard", last, "--confirm", last)
    apply_seconds = first["phases"]["apply"]
    return {
        "objects": objects,
        "first": wall,
        "rate": objects / apply_seconds,
        "no-op": idle,
        "one changed": changed,
        "verify": verified - idle,
        "offboard": left,
    }


def manifests(b: Bench) -> tuple[Path, list[dict[str, Any]]]:
    folder = b.registry.with_name("manifests")
    b.cli("onboard", "--all", "--output-dir", folder)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    documents = [d for path in sorted(folder.rglob("*.yaml")) for d in yaml.load_all(path.read_text(), Loader=loader)]
    documents.sort(key=lambda d: int(d["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"]))
    return folder, documents


def peer(tenants: int) -> float:
    """Return objects per second of `kubectl apply --server-side` on the same objects, run until it succeeds."""
    with bench(tenants) as b:
        folder, documents = manifests(b)
        started = time.perf_counter()
        command: list[str | Path] = [
            b.kubectl,
            "apply",
            "--server-side",
            "--field-manager=gcloud-pk",
            "-R",
            "-f",
            folder,
        ]
        for _ in range(5):
            if subprocess.run(command, env=b.env, capture_output=True).returncode == 0:
                return len(documents) / (time.perf_counter() - started)
        raise SystemExit("kubectl apply did not succeed")


def limit(tenants: int, threads: int = 8) -> float:
    """Return objects per second of a raw client: bodies ready beforehand, nothing planned, compared or waited for."""
    with bench(tenants) as b:
        _, documents = manifests(b)
        client = RawClient(b.env["KUBECONFIG"], threads)
        waves: dict[str, list[tuple[str, bytes]]] = {}
        for document in documents:
            wave = document["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"]
            waves.setdefault(wave, []).append((client.path(document), json.dumps(document).encode()))
        started = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            for wave in sorted(waves):
                list(pool.map(client.send, waves[wave]))
        return len(documents) / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tenants", type=int, nargs="+", default=[1, 10, 50, 200])
    parser.add_argument("--peer", type=int, default=10, help="largest size at which kubectl and the raw client run too")
    options = parser.parse_args()
    heads = (
        "tenants",
        "objects",
        "first s",
        "obj/s",
        "kubectl",
        "x peer",
        "raw",
        "of limit",
        "no-op s",
        "1 chg s",
        "verify s",
        "offbrd s",
    )
    print(" ".join(f"{head:>9}" for head in heads), flush=True)
    for tenants in options.tenants:
        own = ours(tenants)
        row = [f"{tenants}", f"{own['objects']:.0f}", f"{own['first']:.1f}", f"{own['rate']:.0f}"]
        if tenants <= options.peer:
            kubectl, raw = peer(tenants), limit(tenants)
            row += [f"{kubectl:.0f}", f"{own['rate'] / kubectl:.1f}", f"{raw:.0f}", f"{own['rate'] / raw:.0%}"]
        else:
            row += ["-"] * 4
        row += [f"{own[name]:.1f}" for name in ("no-op", "one changed", "verify", "offboard")]
        print(" ".join(f"{cell:>9}" for cell in row), flush=True)


if __name__ == "__main__":
    main()
