"""Drills in a row: each rack of a lab data centre is lost again and again, and no acknowledged write may be lost.

    make soak                                       a lab of its own, 21 drills, and removed again: about 40 minutes
    python -m benchmarks.soak --name e8             a lab data centre that is there and has a cluster
    python -m benchmarks.soak --drills 3 --for 20s  fewer, and shorter

Needs root for the lab (see `gcloud-pk lab datacenter doctor`). Exit 0 where no drill failed and no write was lost, 6
otherwise; the figures are printed, and the whole report is kept in the lab's folder.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

CLI = Path(sys.executable).parent / "gcloud-pk"
SITE = "lab-dc"
RACKS = 3
RECOVERED: dict[str, Callable[[dict[str, Any]], float | None]] = {
    "as many pods ready elsewhere": lambda one: one["pods"]["back"],
    "all nodes Ready after the return": lambda one: one["recovery"]["nodes"],
    "all as before": lambda one: one["recovery"]["all"],
}


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


def soak(name: str, drills: int, hold: str) -> int:
    """Lose the racks in turn, at least `drills` times in all; return the exit code."""
    times = str(math.ceil(drills / RACKS))
    words = ("datacenter", "drill", SITE, "--context", "admin", "--suite", "--times", times, "--for", hold, "--yes")
    told = gcloud_pk(*words, env=reach(name), codes=(0, 6, 7))
    figures = told["measures"]
    for kind in ("reads", "writes", "service"):
        for phase, found in (figures[kind] or {}).items():
            print(f"{kind:<8} longest gap at the {phase}: median {found['p50']:.2f} s, at most {found['max']:.2f} s")
    for what, of in RECOVERED.items():
        seconds = [found for one in figures["drills"] if (found := of(one)) is not None]
        if seconds:
            print(f"{what}: median {median(seconds):.1f} s, at most {max(seconds):.1f} s ({len(seconds)} drills)")
    ledger = figures["ledger"]
    print(f"ledger   {ledger['drills']} drills: {ledger['acknowledged']} acknowledged, {ledger['lost']} lost")
    failed = [one for one in told["results"] if one["verdict"] in {"fail", "error"}]
    for one in failed:
        print(f"{one['verdict']}: {one['id']} {one['subject']}: {one['observed']} ({one['reason']})")
    return 6 if failed or ledger["drills"] < drills or ledger["lost"] or ledger["altered"] else 0


def main() -> int:
    """Soak the lab that is named, or one that is made for it and removed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", help="a lab data centre that is there, with a cluster")
    parser.add_argument("--drills", type=int, default=20)
    parser.add_argument("--for", dest="hold", default="45s", help="how long each rack is out")
    given = parser.parse_args()
    if given.name:
        return soak(given.name, given.drills, given.hold)
    name = f"soak-{os.getpid()}"
    try:
        gcloud_pk("lab", "datacenter", "up", "--name", name, "--nodes", "6", "--provision")
        return soak(name, given.drills, given.hold)
    finally:
        gcloud_pk("lab", "datacenter", "down", "--purge", "--name", name, codes=(0, 5))


if __name__ == "__main__":
    sys.exit(main())
