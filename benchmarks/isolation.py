"""Proof measured: the audit beside the API server's dry-run limit, request to proof, and what admission costs a pod.

    python -m benchmarks.isolation                       1, 50 and 200 tenants of 4 environments
    python -m benchmarks.isolation --tenants 1 10

`proven`: seconds of `onboard --all` with its quick proof, from approved requests to exit 0. `full`, `strat.`: seconds
of `audit isolation --all`, whole and stratified. `requests/s` is what the audit sends (dry runs, reads, reviews);
`limit` is a raw client that posts one prepared Pod as a dry run with as many threads: the server's own pace. Machines
are noisy: read the ratio.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import urllib3
from benchmarks.onboard import Bench, bench, name_of
from benchmarks.raw import RawClient

THREADS = 8
DRY_RUNS = 2000
ROUNDS, EACH = 6, 300
BINDINGS = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"
TRANSIENT = {409, 429, 500, 503}


def pod(namespace: str) -> dict[str, Any]:
    """Return a Pod that every policy admits to the first tenant."""
    amounts = {"cpu": "10m", "memory": "16Mi", "ephemeral-storage": "16Mi"}
    container = {
        "name": "probe",
        "image": f"registry.gcloud.gov.pk/{name_of(0)}/probe@sha256:{'0' * 64}",
        "imagePullPolicy": "Always",
        "resources": {"requests": amounts, "limits": amounts},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "bench-", "namespace": namespace},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
        },
    }


@dataclass(frozen=True)
class Poster:
    """Posts one prepared Pod as a dry run, as the lab's administrator: policies bind him too."""

    client: RawClient
    namespace: str

    def post(self, _number: int = 0) -> float:
        """Return the seconds of one dry run. Raises SystemExit when it is not admitted."""
        started = time.perf_counter()
        answer = self._ask("POST", f"/api/v1/namespaces/{self.namespace}/pods?dryRun=All", pod(self.namespace))
        if answer.status != 201:
            raise SystemExit(f"the pod was not admitted: {answer.status} {answer.data[:300]!r}")
        return time.perf_counter() - started

    def limit(self) -> float:
        """Return dry runs per second with as many threads as the audit has."""
        started = time.perf_counter()
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self.post, range(DRY_RUNS)))
        return DRY_RUNS / (time.perf_counter() - started)

    def bindings(self) -> list[dict[str, Any]]:
        """Return the live policy bindings."""
        found: list[dict[str, Any]] = json.loads(self._ask("GET", BINDINGS).data)["items"]
        return found

    def unbind(self, bindings: list[dict[str, Any]]) -> None:
        """Take the policies out of force."""
        for one in bindings:
            self._ask("DELETE", f"{BINDINGS}/{one['metadata']['name']}")

    def bind(self, bindings: list[dict[str, Any]]) -> None:
        """Put the policies into force again."""
        for one in bindings:
            metadata = {
                key: one["metadata"][key] for key in ("name", "labels", "annotations") if key in one["metadata"]
            }
            made = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding"}
            answer = self._ask("POST", BINDINGS, {**made, "metadata": metadata, "spec": one["spec"]})
            if answer.status not in {201, *TRANSIENT}:
                raise SystemExit(f"{metadata['name']}: {answer.status} {answer.data[:300]!r}")

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> urllib3.BaseHTTPResponse:
        url = self.client.server + path
        if body is None:
            return self.client.pool.request(method, url)
        return self.client.pool.request(
            method, url, body=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
        )


def poster(b: Bench) -> Poster:
    return Poster(RawClient(b.env["KUBECONFIG"], THREADS, "admin"), f"{name_of(0)}-prod")


def sent(report: dict[str, Any]) -> int:
    """Return how many requests the findings of a report stand on."""
    return sum(
        len(r.get("evidence", {}).get("requests", ())) + len(r.get("evidence", {}).get("auditIds", ()))
        for r in report["results"]
    )


def proof(tenants: int) -> dict[str, float]:
    """Return the figures of one size, all on one control plane."""
    with bench(tenants) as b:
        proven, _ = b.timed("onboard", "--all", "--yes")
        whole, report = b.timed("audit", "isolation", "--all")
        stratified, _ = b.timed("audit", "isolation", "--all", "--stratified")
        limit = poster(b).limit()
    wrong = {v: n for v, n in report["verdicts"].items() if n and v not in {"pass", "not-applicable"}}
    if wrong:
        raise SystemExit(f"the audit was to find nothing wrong: {wrong}")
    return {
        "proven": proven,
        "full": whole,
        "stratified": stratified,
        "checks": len(report["results"]),
        "rate": sent(report) / whole,
        "limit": limit,
    }


def admission() -> tuple[float, float]:
    """Return the median milliseconds of a pod's dry run with the policies in force, and without; rounds alternate."""
    within: dict[bool, list[float]] = {True: [], False: []}
    with bench(1) as b:
        b.cli("onboard", "--all", "--yes", "--no-verify")
        asked = poster(b)
        bindings = asked.bindings()
        for number in range(ROUNDS):
            in_force = number % 2 == 0
            if not in_force:
                asked.unbind(bindings)
            time.sleep(2.5)  # policies come into force, and go out of it, within about a second
            within[in_force] += [asked.post() for _ in range(EACH)]
            if not in_force:
                asked.bind(bindings)
    return statistics.median(within[True]) * 1000, statistics.median(within[False]) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tenants", type=int, nargs="+", default=[1, 50, 200])
    options = parser.parse_args()
    with_policies, without = admission()
    print(
        f"a pod's dry run: {with_policies:.2f} ms with the policies, {without:.2f} ms without"
        f" ({with_policies - without:+.2f} ms, x {with_policies / without:.2f})",
        flush=True,
    )
    heads = ("tenants", "proven s", "checks", "full s", "strat. s", "requests/s", "limit/s", "of limit")
    print(" ".join(f"{head:>10}" for head in heads), flush=True)
    for tenants in options.tenants:
        found = proof(tenants)
        row = (
            f"{tenants}", f"{found['proven']:.1f}", f"{found['checks']:.0f}", f"{found['full']:.1f}",
            f"{found['stratified']:.1f}", f"{found['rate']:.0f}", f"{found['limit']:.0f}",
            f"{found['rate'] / found['limit']:.0%}",
        )  # fmt: skip
        print(" ".join(f"{cell:>10}" for cell in row), flush=True)


if __name__ == "__main__":
    main()
