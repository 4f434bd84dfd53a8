"""`datacenter validate` measured on a large site: 5,000 hosts in 250 racks, A and B power, a cluster of 500 in ten.

    python -m benchmarks.datacenter                     5,000 hosts
    python -m benchmarks.datacenter --hosts 500 5000

Three sites: one that is consistent with Tier III; one whose generators and B side are too small (searches for capacity
fail); one with a single rack switch in each rack (each cuts hosts off). `judge` is all findings of Tier IV, without
reading the file; the bound is for each.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from gcloud_pk.facility import tier
from gcloud_pk.model.site import Site

BOUND = 5.0
"""Seconds for 5,000 hosts on two processors, reading not counted."""

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
PER_RACK = 20
PER_ROW = 25
TODAY = dt.date(2026, 11, 22)

Spec = dict[str, Any]


def link(source: str, target: str) -> dict[str, str]:
    return {"from": source, "to": target}


def document(hosts: int) -> Spec:
    """Return a site of so many hosts: a row of racks has a UPS and two air handlers of its own on each side."""
    racks = -(-hosts // PER_RACK)
    rows = -(-racks // PER_ROW)
    whole = hosts * 0.4
    power: list[Spec] = [
        {"name": f"gen-{n}", "kind": "generator", "kw": whole * 1.6 / 4, "group": "gens"} for n in range(5)
    ]
    power += [{"name": f"ats-{side}", "kind": "transfer-switch"} for side in "ab"]
    power += [{"name": f"plant-{side}", "kind": "panel"} for side in "ab"]
    power_links = [link(f"gen-{n}", f"ats-{side}") for n in range(5) for side in "ab"]
    power_links += [link(f"ats-{side}", f"plant-{side}") for side in "ab"]
    plant = ["plant-a", "plant-b"]
    cooling: list[Spec] = [
        {"name": f"chiller-{n}", "kind": "chiller", "kw": whole / 4 + 1, "feeds": plant, "draws": whole / 20}
        for n in range(5)
    ]
    cooling += [{"name": f"pump-{n}", "kind": "pump", "kw": whole, "feeds": plant, "draws": 2} for n in range(2)]
    cooling += [{"name": f"ring-{n}", "kind": "pipe"} for n in range(2 * rows)]
    cooling_links = [link(f"chiller-{n}", f"pump-{m}") for n in range(5) for m in range(2)]
    cooling_links += [link("pump-0", "ring-0"), link("pump-1", f"ring-{rows}")]
    for n in range(2 * rows):
        following = (n + 1) % (2 * rows)
        cooling_links += [link(f"ring-{n}", f"ring-{following}"), link(f"ring-{following}", f"ring-{n}")]
    network: list[Spec] = [{"name": f"carrier-{n}", "kind": "carrier"} for n in range(2)]
    network += [
        {
            "name": f"core-{n}",
            "kind": "core-switch",
            "kw": 0.5,
            "rack": f"rack-{rack}",
            "feeds": [f"pdu-{rack}-{side}" for side in "ab"],
        }
        for n, rack in enumerate((0, racks - 1))
    ]
    network_links = [link("carrier-0", "core-0"), link("carrier-1", "core-1"), link("core-0", "core-1")]
    for row in range(rows):
        for side in "ab":
            power.append({"name": f"ups-{row}-{side}", "kind": "ups", "kw": PER_RACK * PER_ROW * 0.5})
            power_links.append(link(f"ats-{side}", f"ups-{row}-{side}"))
            ahu = f"ahu-{row}-{side}"
            cooling.append(
                {"name": ahu, "kind": "air-handler", "kw": PER_RACK * PER_ROW * 0.4, "feeds": plant, "draws": 5}
            )
            cooling_links.append(link(f"ring-{2 * row + (side == 'b')}", ahu))
    listed = []
    for rack in range(racks):
        row = rack // PER_ROW
        feeds = [f"pdu-{rack}-{side}" for side in "ab"]
        for side in "ab":
            power.append({"name": f"pdu-{rack}-{side}", "kind": "pdu", "kw": PER_RACK * 0.5})
            power_links.append(link(f"ups-{row}-{side}", f"pdu-{rack}-{side}"))
            network.append({"name": f"tor-{rack}-{side}", "kind": "rack-switch", "kw": 0.1, "feeds": feeds})
            network_links += [link(f"core-{n}", f"tor-{rack}-{side}") for n in range(2)]
        listed.append(
            {
                "name": f"rack-{rack}",
                "room": f"hall-{row}",
                "row": f"row-{row}",
                "kw": PER_RACK * 0.4,
                "feeds": feeds,
                "cooling": [f"ahu-{row}-a", f"ahu-{row}-b"],
                "switches": [f"tor-{rack}-a", f"tor-{rack}-b"],
            }
        )
    clusters = max(1, hosts // 500)
    apart = hosts // clusters // 5
    return {
        "operator": "NTC",
        "location": {"city": "Islamabad", "province": "ict", "kind": "government"},
        "admits": ["open", "public", "restricted"],
        "power": {"components": power, "links": power_links},
        "cooling": {"components": cooling, "links": cooling_links},
        "network": {"components": network, "links": network_links},
        "racks": listed,
        "clusters": [{"name": f"c-{n}", "endpoint": f"https://10.{n}.255.254:6443"} for n in range(clusters)],
        "hosts": [
            {
                "name": f"h-{n}",
                "address": f"10.{n % clusters}.{n // clusters // 250}.{n // clusters % 250 + 1}",
                "rack": f"rack-{n // PER_RACK}",
                "cluster": f"c-{n % clusters}",
                "role": "control-plane" if n // clusters % apart == 0 and n // clusters < 5 * apart else "worker",
                "kw": 0.4,
                "hostKeys": [KEY],
            }
            for n in range(hosts)
        ],
    }


def too_small(spec: Spec) -> None:
    for one in spec["power"]["components"]:
        if one["kind"] == "generator":
            one["kw"] *= 0.7
        if one["name"].startswith("ups-") and one["name"].endswith("-b"):
            one["kw"] *= 0.75


def single_switch(spec: Spec) -> None:
    for rack in spec["racks"]:
        del rack["switches"][1:]


SITES: dict[str, Callable[[Spec], None]] = {
    "consistent": lambda _: None,
    "too-small": too_small,
    "single-switch": single_switch,
}


def measure(hosts: int, name: str) -> dict[str, Any]:
    spec = document(hosts)
    SITES[name](spec)
    started = time.perf_counter()
    site = Site.model_validate(
        {"apiVersion": "gcloud.gov.pk/v1alpha1", "kind": "Site", "metadata": {"name": "bench"}, "spec": spec}
    )
    model = time.perf_counter() - started
    started = time.perf_counter()
    findings = tier.judge(site, 4, TODAY)
    seconds = time.perf_counter() - started
    failed = sum(one.verdict == "fail" for one in findings)
    return {
        "hosts": hosts, "site": name, "model": round(model, 2), "judge": round(seconds, 2),
        "findings": len(findings), "fail": failed,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, nargs="+", default=[5000])
    arguments = parser.parse_args()
    slow = False
    for hosts in arguments.hosts:
        for name in SITES:
            row = measure(hosts, name)
            slow = slow or (hosts <= 5000 and row["judge"] > BOUND)
            print(json.dumps(row))
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
