"""The way back measured: a control plane of three members on loopback, its etcd destroyed, restored from a snapshot.

    python -m benchmarks.restore [--objects 12000]

Real etcd and API server, no node: what SSH and the kubelet add is measured in the lab data centre. `backup`: seconds
until a snapshot lies here; `restore`: of the whole command, what it took for each phase behind it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.e2e.loopback_centre import SITE, Centre, centre
from tests.e2e.test_backup import House, make_house

_FILLING = "x" * 1000


def fill(made: Centre, count: int) -> None:
    """Make as many objects of a kilobyte each, half of them secrets."""
    api = made.api()

    def one(number: int) -> None:
        kind, plural = (("Secret", "secrets"), ("ConfigMap", "configmaps"))[number % 2]
        body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": f"filling-{number}"}}
        body |= {"stringData" if kind == "Secret" else "data": {"text": _FILLING}}
        answer = api.request("POST", f"/api/v1/namespaces/default/{plural}", body=body)
        if not answer.ok:
            raise SystemExit(f"object {number}: {answer.status}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(count)))


def measured(house: House, count: int) -> dict[str, object]:
    """Return the figures of one round."""
    for name in ("alpha", "beta", "gamma"):
        house.request(name)
    house.run("onboard", "--all", "--yes", "--no-verify")
    fill(house.centre, count)
    began = time.perf_counter()
    snapshot = house.backup()
    taken = time.perf_counter() - began
    manifest = json.loads((snapshot / "manifest.json").read_text())
    house.centre.lose_data()
    house.centre.start()
    began = time.perf_counter()
    said = house.json(*house.restoring(snapshot))
    return {
        "objects": sum(manifest["objects"].values()),
        "megabytes": round(manifest["snapshot"]["bytes"] / 2**20, 1),
        "backup": round(taken, 1),
        "restore": round(time.perf_counter() - began, 1),
        "phases": said["phases"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=12_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gcloud-pk-") as folder, centre(Path(folder)) as made:
        print(f"site {SITE}")
        for name, figure in measured(make_house(made), given.objects).items():
            print(f"{name:10} {figure}")


if __name__ == "__main__":
    main()
