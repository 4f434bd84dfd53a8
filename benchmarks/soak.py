"""Drills in a row: each rack of a lab data centre is lost again and again, then everything; nothing may be lost.

    make soak                                   six hardened nodes of its own with two tenants: 45 minutes
    python -m benchmarks.soak --name e8         a lab data centre that is there and has a cluster
    python -m benchmarks.soak --rounds 1,1,1    fewer drills
    python -m benchmarks.soak -o soak.json      the drills' documents too

Three series: every rack for half a minute (is anything lost?), every rack until pods are back elsewhere (how soon?),
and a power cut of all nodes at once. Needs root for the lab (see `gcloud-pk lab datacenter doctor`), and removes it
again. Exit 0 where no acknowledged write was lost and every target was met, 6 otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tests.e2e.live_tenants import BASE, Cloud, eventually
from tests.e2e.surviving import surviving

CLI = Path(sys.executable).parent / "gcloud-pk"
SITE = "lab-dc"
RACKS = 3
NAMESPACES = ("alpha-eoffice", "beta-tax")
RECOVERED: dict[str, Callable[[dict[str, Any]], float | None]] = {
    "as many pods ready elsewhere": lambda one: one["pods"]["back"],
    "the API answers, and goes on to": lambda one: one["recovery"]["api"],
    "all nodes Ready after the return": lambda one: one["recovery"]["nodes"],
    "all as before": lambda one: one["recovery"]["all"],
}


@dataclass(frozen=True)
class Series:
    """Drills of a kind. `element`: what `datacenter drill` is told to lose; `each`: how many drills a round makes."""

    name: str
    element: tuple[str, ...]
    hold: str
    each: int


SERIES = (
    Series("every rack, out for 30 s", ("--suite",), "30s", RACKS),
    Series("every rack, out for 75 s", ("--suite",), "75s", RACKS),
    Series("power cut of everything", ("--lose", "site"), "5s", 1),
)
ROUNDS = (4, 3, 5)
"""How often each series is gone through: 26 drills in all, five and more of each kind."""


def gcloud_pk(*words: str, env: dict[str, str] | None = None, codes: tuple[int, ...] = (0,)) -> Any:
    """Run the CLI with `--format json`; return its document. Raises SystemExit with its exit code where that is bad."""
    done = subprocess.run(
        [CLI, *words, "--format", "json"], stdout=subprocess.PIPE, text=True, env=os.environ | (env or {}), check=False
    )
    if done.returncode not in codes:
        print(done.stdout, file=sys.stderr)
        raise SystemExit(done.returncode)
    return json.loads(done.stdout)


def reach(name: str) -> dict[str, str]:
    """Return the environment in which the lab's registry and cluster are found."""
    said = gcloud_pk("lab", "datacenter", "status", "--name", name)
    env = {"GCLOUD_PK_REGISTRY": said["registry"], "GCLOUD_PK_TRUST": said["trust"]}
    return env | {"KUBECONFIG": gcloud_pk("datacenter", "kubeconfig", SITE, env=env)["kubeconfig"]}


def populate(cloud: Cloud) -> None:
    """Have each tenant run three pods over the racks, as its people would."""
    for namespace in NAMESPACES:
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        answer = cloud.api.request("POST", path, body=workload())
        assert answer.ok, answer.body
    for namespace in NAMESPACES:
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments/web"
        ready = lambda path=path: cloud.api.get(path)["status"].get("readyReplicas") == RACKS  # noqa: E731
        assert eventually(ready), cloud.api.get(path)["status"]


def workload() -> dict[str, Any]:
    """Return a Deployment that the restricted profile of Pod Security lets in."""
    container = {
        "name": "web",
        "image": f"{BASE}python:3",
        "imagePullPolicy": "Always",
        "command": ["python3", "-m", "http.server", "8080", "--directory", "/"],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 2},
        "resources": {of: {"cpu": "100m", "memory": "64Mi"} for of in ("requests", "limits")},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
    own = {"matchLabels": {"app": "web"}}
    spread = {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"}
    pod = {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [spread | {"labelSelector": own}],
        "containers": [container],
    }  # fmt: skip
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod}
    spec = {"replicas": RACKS, "selector": own, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def settle(env: dict[str, str], seconds: float = 180) -> None:
    """Wait until the cluster is whole; the drill says what is wrong where it does not become so."""
    words = [str(CLI), "datacenter", "status", SITE]
    eventually(lambda: subprocess.run(words, capture_output=True, env=os.environ | env).returncode == 0, seconds)


def drill(series: Series, rounds: int, env: dict[str, str]) -> Any:
    """Go through a series; return the drills' document."""
    settle(env)
    words = ("datacenter", "drill", SITE, "--context", "admin", *series.element, "--times", str(rounds))
    return gcloud_pk(*words, "--for", series.hold, "--yes", env=env, codes=(0, 6, 7))


def show(series: Series, told: Any) -> None:
    """Print what a series measured."""
    figures = told["measures"]
    print(f"\n{series.name}: {len(figures['drills'])} drills")
    for kind in ("reads", "writes", "service"):
        for phase, found in (figures[kind] or {}).items():
            print(f"  {kind:<8} longest gap at the {phase}: median {found['p50']:.2f} s, at most {found['max']:.2f} s")
    for what, of in RECOVERED.items():
        seconds = [found for one in figures["drills"] if (found := of(one)) is not None]
        if seconds:
            print(f"  {what}: median {median(seconds):.1f} s, at most {max(seconds):.1f} s ({len(seconds)} drills)")
    ledger = figures["ledger"]
    print(f"  ledger   {ledger['drills']} drills: {ledger['acknowledged']} acknowledged, {ledger['lost']} lost")
    for one in told["results"]:
        if one["verdict"] != "pass":
            print(f"  {one['verdict']}: {one['id']} {one['subject']}: {one['observed']} ({one['reason']})")


def kept(told: Any, wanted: int) -> bool:
    """Whether as many drills were made as were asked for, nothing was lost, and no check failed."""
    ledger = told["measures"]["ledger"]
    failed = any(one["verdict"] in {"fail", "error"} for one in told["results"])
    return not (failed or ledger["drills"] < wanted or ledger["lost"] or ledger["altered"])


def soak(env: dict[str, str], rounds: Sequence[int], output: Path | None) -> int:
    """Go through all series; return the exit code."""
    documents, good = {}, True
    for series, times in zip(SERIES, rounds, strict=True):
        if times:
            told = documents[series.name] = drill(series, times, env)
            show(series, told)
            good &= kept(told, times * series.each)
            if output:
                output.write_text(json.dumps(documents, indent=1))
    return 0 if good else 6


def counts(word: str) -> tuple[int, ...]:
    """Return three numbers of rounds."""
    found = tuple(int(one) for one in word.split(","))
    if len(found) != len(SERIES):
        raise argparse.ArgumentTypeError(f"{word}: {len(SERIES)} numbers, one for each series")
    return found


def main() -> int:
    """Soak the lab that is named, or one that is made for it and removed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", help="a lab data centre that is there, with a cluster")
    parser.add_argument("--rounds", type=counts, default=ROUNDS, metavar="N,N,N", help="of each series")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="keep the drills' documents here")
    given = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    if given.name:
        return soak(reach(given.name), given.rounds, given.output)
    with tempfile.TemporaryDirectory(prefix="gcloud-pk-soak-") as folder, surviving(Path(folder), 6) as survivor:
        cloud = survivor.cloud
        populate(cloud)
        centre = cloud.centre
        own = {"GCLOUD_PK_REGISTRY": str(centre.registry), "GCLOUD_PK_TRUST": str(centre.trust)}
        return soak(centre.env | own | {"KUBECONFIG": str(cloud.kubeconfig)}, given.rounds, given.output)


if __name__ == "__main__":
    sys.exit(main())
