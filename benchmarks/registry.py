"""`registry check` measured on many tenants, beside its peer: ssh-keygen started once for each signature, in one run.

    python -m benchmarks.registry                       500 tenants
    python -m benchmarks.registry --tenants 50 500

Each tenant has a request of two revisions: the first accepted and kept, the second approved; the requester's signature,
one or two approvals, and a history of ten lines; every tenth was suspended and resumed. Machines are noisy: read the
ratio. `peer` verifies each signature file with ssh-keygen, as many at a time as there are processors; `reading` is
ours without any signature: YAML, rules, history chains.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
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

import yaml
from benchmarks.onboard import CLI, name_of, request

from gcloud_pk.registry import history
from gcloud_pk.registry.approvers import APPROVAL, REGISTRY, REQUEST, STATE

BOUND = 20.0
"""Seconds for 500 tenants on two processors."""

KEYS = {"keeper": REGISTRY, "alice": f"{APPROVAL},{STATE}", "bob": APPROVAL, "carol": REQUEST}
THREADS = os.cpu_count() or 2


@dataclass(frozen=True)
class Signature:
    """One signature file: over what, by whom, for what."""

    data: Path
    file: Path
    key: str
    namespace: str


def sign(folder: Path, one: Signature) -> None:
    made = subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-f", folder / one.key, "-n", one.namespace],
        input=one.data.read_bytes(), capture_output=True, check=True,
    )  # fmt: skip
    one.file.parent.mkdir(parents=True, exist_ok=True)
    one.file.write_bytes(made.stdout)


def make_registry(folder: Path, tenants: int) -> list[Signature]:
    """Make a registry of accepted tenants in `folder`; return its signatures, which lie in place."""
    registry = folder / "registry"
    (registry / "tenants").mkdir(parents=True)
    for key in KEYS:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    lines = {
        key: f'{key} namespaces="{spaces}" {" ".join((folder / f"{key}.pub").read_text().split()[:2])}\n'
        for key, spaces in KEYS.items()
    }
    (folder / "trust").write_text(lines.pop("keeper"))
    (registry / "approvers").write_text("".join(lines.values()))
    organisation = {"code": "BENCH", "name": {"en": "Bench"}, "tier": "federal", "domains": ["bench.gov.pk"]}
    (registry / "organisations.yaml").write_text(yaml.safe_dump([organisation]))
    wanted = [one for number in range(tenants) for one in write_tenant(registry, number)]
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda one: sign(folder, one), wanted))
    names = ("approvers", "organisations.yaml")
    digests = (f"{hashlib.sha256((registry / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
    (registry / "registry.sha256").write_text("".join(digests))
    whole = Signature(registry / "registry.sha256", registry / "registry.sha256.sig", "keeper", REGISTRY)
    sign(folder, whole)
    return wanted


def write_tenant(registry: Path, number: int) -> Iterator[Signature]:
    """Write what a tenant's folder holds but for the signatures; yield those to be made."""
    tenant = registry / "tenants" / name_of(number)
    digests = []
    for revision in (1, 2):
        data = yaml.safe_dump(request(number, revision), sort_keys=False).encode()
        digests.append(hashlib.sha256(data).hexdigest())
        where = [tenant / "history" / digests[-1], *([tenant] if revision == 2 else [])]
        for folder in where:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "request.yaml").write_bytes(data)
            for key in ("alice", "bob")[: 1 + number % 2]:
                yield Signature(folder / "request.yaml", folder / "approvals" / f"{key}.sig", key, APPROVAL)
            yield Signature(folder / "request.yaml", folder / "request.yaml.sig", "carol", REQUEST)
    write_history(tenant, digests)
    if number % 10 == 0:
        said = {"state": "active", "by": "alice", "reason": "over", "time": "2026-06-01T00:00:00Z"}
        said |= {"tenant": tenant.name, "digest": digests[-1]}
        (tenant / "state.yaml").write_text("".join(f"{name}: {json.dumps(value)}\n" for name, value in said.items()))
        yield Signature(tenant / "state.yaml", tenant / "state.yaml.sig", "alice", STATE)


def write_history(tenant: Path, digests: list[str]) -> None:
    acts: list[tuple[history.Act, int]] = [
        ("submit", 1), ("approve", 1), ("approve", 1), ("onboard", 1), ("verify", 1),
        ("submit", 2), ("approve", 2), ("approve", 2), ("onboard", 2), ("verify", 2),
    ]  # fmt: skip
    data = b""
    for day, (act, revision) in enumerate(acts, 1):
        time = dt.datetime(2026, 1, day, tzinfo=dt.UTC)
        data += history.line(
            history.read(data, "history.jsonl", tenant.name, time) if data else history.Chain("history.jsonl"),
            tenant.name, act, "alice", time=time, digest=digests[revision - 1], revision=revision,
            cluster=None, detail={},
        )  # fmt: skip
    (tenant / "history.jsonl").write_bytes(data)


@contextmanager
def registry_of(tenants: int) -> Iterator[tuple[Path, list[Signature]]]:
    folder = Path(tempfile.mkdtemp(prefix="gcloud-pk-bench-"))
    try:
        yield folder, make_registry(folder, tenants)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def ours(folder: Path, *, signed: bool) -> float:
    """Return wall seconds of `registry check` as people run it; without signatures, of reading and rules alone."""
    where = folder / "registry"
    command: list[str | Path] = [CLI, "--registry", where, "--trust", folder / "trust", "registry", "check"]
    if not signed:
        program = (
            "import sys; from pathlib import Path; from gcloud_pk.registry.folder import Registry\n"
            "registry = Registry.open(Path(sys.argv[1]))\n"
            "for entry in registry.tenants.values(): registry.content_problems(entry), entry.chain\n"
        )
        command = [sys.executable, "-c", program, where]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"exit {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return seconds


def peer(folder: Path, signatures: list[Signature]) -> float:
    """Return wall seconds of ssh-keygen, started once for each signature."""

    def verify(one: Signature) -> None:
        command: list[str | Path] = ["ssh-keygen", "-Y", "verify", "-f", folder / "registry/approvers", "-I", one.key]
        with one.data.open("rb") as data:
            subprocess.run([*command, "-n", one.namespace, "-s", one.file], stdin=data, check=True, capture_output=True)

    started = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(verify, signatures))
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tenants", type=int, nargs="+", default=[500])
    parser.add_argument("--repeat", type=int, default=3, help="take the best of so many")
    options = parser.parse_args()
    heads = ("tenants", "signatures", "check s", "peer s", "x peer", "reading s", "of bound")
    print(" ".join(f"{head:>10}" for head in heads), flush=True)
    for tenants in options.tenants:
        with registry_of(tenants) as (folder, signatures):
            check = min(ours(folder, signed=True) for _ in range(options.repeat))
            others = min(peer(folder, signatures) for _ in range(options.repeat))
            reading = min(ours(folder, signed=False) for _ in range(options.repeat))
        bound = BOUND * tenants / 500
        row = [f"{tenants}", f"{len(signatures)}", f"{check:.1f}", f"{others:.1f}", f"{check / others:.2f}"]
        row += [f"{reading:.1f}", f"{check / bound:.0%}"]
        print(" ".join(f"{cell:>10}" for cell in row), flush=True)


if __name__ == "__main__":
    main()
