"""A cluster as it was once recorded (tests/unit/data/cluster), changed in single ways, and judged.

Recorded of a lab's cluster. Added by hand: the note of a backup, and 0600 for the kubelet's unit and configuration.
"""

from __future__ import annotations

import copy
import datetime as dt
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gcloud_pk.model.finding import Finding
from gcloud_pk.model.site import Cluster, Site
from gcloud_pk.nodes.catalogue import CLUSTER, standard
from gcloud_pk.nodes.cluster import audit, wanted, whole
from gcloud_pk.nodes.cluster.api import Said
from gcloud_pk.nodes.cluster.gather import Asked, Found, facts_of
from gcloud_pk.nodes.facts import Facts
from gcloud_pk.nodes.gather import Gathered
from gcloud_pk.nodes.judge import Exemption
from gcloud_pk.stack.cluster_variables import kubelet

DATA = Path(__file__).parent / "data/cluster"
NOW = dt.datetime(2026, 11, 22, 18, 0, tzinfo=dt.UTC)
"""The day of the record."""
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO2MIH7AQvRCb/+J/2kJ2SvS8xduRxWQWOMWWhmTZLJ"
HOSTS = {"c1": "10.207.0.11", "c2": "10.207.0.12", "c3": "10.207.0.13", "w1": "10.207.0.21"}

Record = dict[str, Any]


@functools.cache
def site() -> Site:
    """Return the site that the record is of: three control planes in three racks, and a worker."""
    cluster = {
        "name": "lab-dc-a",
        "version": "1.36.3",
        "endpoint": "https://10.207.0.10:6443",
        "networks": {"pods": "10.208.0.0/16", "services": "10.209.0.0/16", "nodes": "10.207.0.0/24"},
        "networkPlugin": "bridge",
        "kubelet": {"maxPods": 60, "systemReservedMemory": "22057Mi"},
        "failureDetection": "fast",
    }
    hosts = [
        {
            "name": name,
            "address": address,
            "hostKeys": [f"{KEY}{letter}"],
            "rack": f"rack-{name[1]}",
            "role": "control-plane" if name.startswith("c") else "worker",
        }
        for (name, address), letter in zip(HOSTS.items(), "ABCD", strict=True)
    ]
    return Site.model_validate(
        {
            "apiVersion": "gcloud.gov.pk/v1alpha1",
            "kind": "Site",
            "metadata": {"name": "lab-dc"},
            "spec": {
                "operator": "NTC",
                "location": {"city": "Islamabad", "province": "ict", "kind": "government"},
                "admits": ["open", "public", "restricted"],
                "clusters": [cluster],
                "hosts": hosts,
            },
        }
    )


def cluster() -> Cluster:
    return site().spec.clusters[0]


@functools.cache
def _recorded() -> Record:
    return {name: json.loads((DATA / f"{name}.json").read_text(encoding="utf-8")) for name in (*HOSTS, "api")}


def record() -> Record:
    """Return what was recorded, for a test to change."""
    return copy.deepcopy(_recorded())


def asked(now: dt.datetime = NOW) -> Asked:
    own = kubelet(cluster())
    return Asked(wanted.flags(cluster()), lambda shared: wanted.kubelet(cluster(), own, shared_kernel=shared), now)


def found(recorded: Record, name: str) -> Found:
    """Return what a host gave; nothing where the record has None for it."""
    (host,) = [one for one in site().spec.hosts if one.name == name]
    one = recorded[name]
    facts = Facts(one["facts"], one.get("refused", {}), one.get("broken", {}))
    return Found(Gathered(host, facts, 0.1), one["seen"], None if one["seen"] else "nobody looked")


def findings(
    recorded: Record, waivers: tuple[Exemption, ...] = (), now: dt.datetime = NOW, said: Said | None = None
) -> list[Finding]:
    """Judge a record, as the command does."""
    catalogue = standard(CLUSTER)
    checks = list(catalogue.checks.values())
    answered = said or Said(**recorded["api"])
    made: list[Finding] = []
    told: dict[str, Facts] = {}
    for host in site().spec.hosts:
        one = found(recorded, host.name)
        told[host.name] = facts = facts_of(one, asked(now), answered.kubelet(host.name), cluster())
        mine = audit.for_host(checks, host)
        made += audit.findings(one, facts, mine, catalogue, audit.of_node(site(), host), waivers)
    everywhere = [one for one in checks if audit.is_whole(one)]
    facts = whole.facts(answered, site().spec.hosts, cluster(), told, asked(now).flags, now)
    return made + audit.of_whole(facts, everywhere, catalogue, audit.of_cluster(site(), cluster()), waivers)


@functools.cache
def before() -> list[Finding]:
    """Return the findings on the record as it is."""
    return findings(record())


def changed(after: list[Finding]) -> dict[str, set[str]]:
    """Return the checks whose verdict is another than before, by that."""
    known = {(one.subject, one.id): one.verdict for one in before()}
    different: dict[str, set[str]] = {}
    for one in after:
        if known.get((one.subject, one.id)) != one.verdict:
            different.setdefault(one.verdict.value, set()).add(one.id)
    return different


def _step(value: Any, step: Any) -> Any:
    """Return the key or index that a step names; `field=value` finds the object of a list that has it."""
    if not isinstance(value, list) or isinstance(step, int):
        return step
    name, _, wanted_value = step.partition("=")
    (index,) = [index for index, one in enumerate(value) if (one.get("metadata", one) or {}).get(name) == wanted_value]
    return index


def put(recorded: Record, where: list[Any], value: Any) -> None:
    """Put a value at a place of the record; None takes it away, a place that ends in `+` adds to its list."""
    steps = [*where]
    if steps[0] in HOSTS and steps[1] != "seen":
        steps.insert(1, "facts")
    last = steps.pop()
    target: Any = recorded
    for step in steps:
        target = target[_step(target, step)]
    if last == "+":
        target.append(value)
    elif value is None:
        del target[_step(target, last)]
    else:
        target[_step(target, last)] = value


def weakened(mutation: Mapping[str, Any]) -> Record:
    """Return the record as it would be on a cluster that was weakened so (tests/e2e/data/cluster-mutations.yaml)."""
    made = record()
    host = made[mutation.get("on", "c1")]["facts"]
    for program, flags in mutation.get("arguments", {}).items():
        for flag, value in flags.items():
            _argue(host, program, flag, value)
    for field in ("mode", "owner"):
        for path, value in mutation.get(field, {}).items():
            rows = [row for each in host["paths"].values() for row in (each if isinstance(each, list) else ())]
            mine = [row for row in rows if row["path"] == path] + [host["paths"].get(path)]
            for row in mine:
                if row is not None:
                    row[field] = value
    for file, (old, new) in mutation.get("text", {}).items():
        assert old in host["texts"][file], file
        host["texts"][file] = host["texts"][file].replace(old, new, 1)
    for name, value in mutation.get("kubelet", {}).items():
        *above, last = name.split(".")
        target = made["api"]["kubelets"][mutation.get("on", "c1")]
        for step in above:
            target = target[step]
        target[last] = value
    for where, value in mutation.get("facts", ()):
        put(made, where, value)
    return made


def _argue(host: Mapping[str, Any], program: str, flag: str, value: str | None) -> None:
    """Have a program run with another argument, as its manifest says."""
    running = host["programs"][program]
    file = f"/etc/kubernetes/manifests/{program}.yaml"
    lines = host["texts"][file].splitlines()
    kept = [line for line in lines if not line.strip().startswith(f"- --{flag}=")]
    for known in (running["flags"], running["lists"]):
        known.pop(flag, None)
    if value is not None:
        running["flags"][flag] = value
        running["lists"][flag] = value.split(",")
        index = next(index for index, line in enumerate(kept) if line.strip().startswith("- --"))
        indent = kept[index].partition("-")[0]
        kept.insert(index, f"{indent}- --{flag}={value}")
    host["texts"][file] = "\n".join(kept) + "\n"
