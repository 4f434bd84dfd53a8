"""A data centre of bare lab nodes made, run again, looked at and made larger by one: seconds, beside their bounds.

    python -m benchmarks.lab_datacenter                 six nodes, as root; a quarter of an hour
    python -m benchmarks.lab_datacenter --nodes 3       three: none is added

Each step is one line of JSON: seconds, the bound, the load average before it (figures of a busy machine say little),
and the seconds of processor time that the nodes took, which a busy machine changes less; the program's own come on top.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from gcloud_pk import paths
from gcloud_pk.lab.nodes.layout import DATACENTER, Layout

CLI = Path(sys.executable).parent / "gcloud-pk"
SITE = "lab-dc"
ADDED = "w3"
BOUNDS = {
    "bare nodes to a cluster": 600,
    "of that, hardened nodes to Ready and DNS": 100,
    "up again": 30,
    "up --refresh": 150,
    "one node more": 90,
}
"""Seconds on two processors that have nothing else to do."""


class Lab:
    """A lab data centre, and the program as a user calls it."""

    def __init__(self, name: str, nodes: int) -> None:
        self.name = name
        self.env = {key: value for key, value in os.environ.items() if not key.startswith("GCLOUD_PK_REGISTRY")}
        said = json.loads(
            self.run("lab", "datacenter", "up", "--name", name, "--nodes", str(nodes), "--format", "json")
        )
        self.layout = Layout(Path(said["folder"]), DATACENTER)
        self.keeper = said["keeper"]["key"]
        self.site = Path(said["registry"]) / "sites" / f"{SITE}.yaml"
        self.env |= {"GCLOUD_PK_REGISTRY": said["registry"], "GCLOUD_PK_TRUST": said["trust"]}

    def run(self, *words: str) -> str:
        """Run the program; return what it printed. Ends the benchmark where it fails."""
        done = subprocess.run([CLI, *words], env=self.env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"gcloud-pk {' '.join(words)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def up(self, *words: str) -> None:
        """Bring the machines to what the site file says."""
        self.run("datacenter", "up", SITE, "--yes", *words)

    def provision(self) -> None:
        """Do it for the first time, registration included."""
        self.run("lab", "datacenter", "up", "--name", self.name, "--provision")

    def processor(self) -> float:
        """Return the seconds of processor time that the nodes have taken."""
        usage = Path("/sys/fs/cgroup/cpuacct", self.layout.cgroup, "cpuacct.usage")
        return int(usage.read_text()) / 1e9 if usage.exists() else 0.0

    def change(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the site's `spec`, and have the registry's keeper sign it."""
        document = yaml.safe_load(self.site.read_text())
        change(document["spec"])
        self.site.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
        self.run("registry", "sign", "--key", self.keeper)


def after_hardening(since: dt.datetime) -> float:
    """Return the seconds from the end of the last hardening to the end of the last playbook, by the records of runs."""
    ends: dict[bool, dt.datetime] = {}
    for file in paths.state("nodes").glob("*/runs/*.json"):
        found = json.loads(file.read_text())
        if found.get("site") == SITE and dt.datetime.fromisoformat(found["started"]) >= since and found.get("finished"):
            hardening, end = found["playbook"]["name"] == "harden.yml", dt.datetime.fromisoformat(found["finished"])
            ends[hardening] = max(end, ends.get(hardening, end))
    return (ends[False] - ends[True]).total_seconds()


def told(step: str, seconds: float, load: float, processor: float | None) -> None:
    line = {"step": step, "seconds": round(seconds, 1), "bound": BOUNDS.get(step), "load": round(load, 1)}
    print(
        json.dumps(line | ({} if processor is None else {"nodes' processor seconds": round(processor, 1)})), flush=True
    )


@contextmanager
def step(lab: Lab, name: str) -> Iterator[None]:
    load, before, begun = os.getloadavg()[0], lab.processor(), time.monotonic()
    yield
    told(name, time.monotonic() - begun, load, lab.processor() - before)


def measure(lab: Lab, nodes: int) -> None:
    begun, load = dt.datetime.now(dt.UTC).replace(microsecond=0), os.getloadavg()[0]
    with step(lab, "bare nodes to a cluster"):
        lab.provision()
    told("of that, hardened nodes to Ready and DNS", after_hardening(begun), load, None)
    lab.up()  # notes the cluster's UID, which `--provision` wrote into the site file at its end
    with step(lab, "up again"):
        lab.up()
    with step(lab, "up --refresh"):
        lab.up("--refresh")
    if nodes > 3:
        kept: list[Any] = []

        def without(spec: dict[str, Any]) -> None:
            kept.extend(host for host in spec["hosts"] if host["name"] == ADDED)
            spec["hosts"] = [host for host in spec["hosts"] if host["name"] != ADDED]

        lab.change(without)
        with step(lab, "one node less"):
            lab.up()
        lab.change(lambda spec: spec["hosts"].extend(kept))
        with step(lab, "one node more"):
            lab.up()


def main() -> int:
    """Measure; remove the lab whatever happens."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, choices=(3, 6), default=6)
    parser.add_argument("--name", default=f"b{os.getpid()}")
    arguments = parser.parse_args()
    try:
        measure(Lab(arguments.name, arguments.nodes), arguments.nodes)
    finally:
        subprocess.run([CLI, "lab", "datacenter", "down", "--purge", "--name", arguments.name], check=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
