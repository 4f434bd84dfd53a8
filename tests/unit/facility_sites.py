"""Small sites for tests of the facility: one that is consistent with Tier III, and ways to change it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from gcloud_pk.model.site import Site

Document = dict[str, Any]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI"

RACKS = ("rack-1", "rack-2", "rack-3")


def links(*chains: str) -> list[dict[str, str]]:
    """Read `a > b > c` and `a, b > c`: links from each to each."""
    found: list[dict[str, str]] = []
    for chain in chains:
        steps = [[name.strip() for name in step.split(",")] for step in chain.split(">")]
        for sources, targets in itertools.pairwise(steps):
            found += [{"from": one, "to": other} for one in sources for other in targets]
    return found


def part(name: str, kind: str, kw: float | None = None, **more: Any) -> Document:
    """Return a component."""
    return {"name": name, "kind": kind, **({} if kw is None else {"kw": kw}), **more}


def consistent() -> Document:
    """Return a site of three racks, one control plane and one worker in each, consistent with Tier III (not IV)."""
    panels = ["plant-panel-a", "plant-panel-b"]
    power = [
        part("utility-a", "utility", 40),
        *(part(f"gen-{n}", "generator", 5, group="gens") for n in (1, 2, 3)),
        *(part(f"ats-{side}", "transfer-switch", room=f"plant-{side}") for side in "ab"),
        *(part(f"ups-{side}", "ups", 10, room=f"plant-{side}") for side in "ab"),
        *(part(f"pdu-{n}-{side}", "pdu", 4, room="hall-1") for n in (1, 2, 3) for side in "ab"),
        *(part(f"plant-panel-{side}", "panel", room=f"plant-{side}") for side in "ab"),
    ]
    cooling = [
        *(part(f"chiller-{n}", "chiller", 6, feeds=panels, draws=0.1) for n in (1, 2, 3)),
        *(part(f"pump-{n}", "pump", 12, feeds=panels, draws=0.1) for n in (1, 2)),
        *(part(f"pipe-{side}", "pipe") for side in "ab"),
        *(part(f"ahu-{n}", "air-handler", 12, room="hall-1", feeds=panels, draws=0.05) for n in (1, 2)),
    ]
    network = [
        *(part(f"carrier-{n}", "carrier") for n in (1, 2)),
        *(part(f"core-{n}", "core-switch", 0.02, rack=f"rack-{n}", feeds=[f"pdu-{n}-a", f"pdu-{n}-b"]) for n in (1, 2)),
        *(
            part(f"tor-{n}-{side}", "rack-switch", 0.01, feeds=[f"pdu-{n}-a", f"pdu-{n}-b"])
            for n in (1, 2, 3)
            for side in "ab"
        ),
    ]
    tors = ", ".join(f"tor-{n}-{side}" for n in (1, 2, 3) for side in "ab")
    return {
        "apiVersion": "gcloud.gov.pk/v1alpha1",
        "kind": "Site",
        "metadata": {"name": "isb-1"},
        "spec": {
            "operator": "NTC",
            "location": {"city": "Islamabad", "province": "ict", "seismicZone": "2b", "kind": "government"},
            "admits": ["open", "public", "restricted"],
            "power": {
                "components": power,
                "links": links(
                    "utility-a, gen-1, gen-2, gen-3 > ats-a, ats-b",
                    "ats-a > plant-panel-a",
                    "ats-b > plant-panel-b",
                    "ats-a > ups-a > pdu-1-a, pdu-2-a, pdu-3-a",
                    "ats-b > ups-b > pdu-1-b, pdu-2-b, pdu-3-b",
                ),
            },
            "cooling": {
                "components": cooling,
                "links": links("chiller-1, chiller-2, chiller-3 > pump-1, pump-2 > pipe-a, pipe-b > ahu-1, ahu-2"),
            },
            "network": {
                "components": network,
                "links": links(
                    "carrier-1 > core-1", "carrier-2 > core-2", "core-1 > core-2", f"core-1, core-2 > {tors}"
                ),
            },
            "racks": [
                {
                    "name": f"rack-{n}",
                    "room": "hall-1",
                    "kw": 4,
                    "feeds": [f"pdu-{n}-a", f"pdu-{n}-b"],
                    "cooling": ["ahu-1", "ahu-2"],
                    "switches": [f"tor-{n}-a", f"tor-{n}-b"],
                }
                for n in (1, 2, 3)
            ],
            "machines": [{"name": "small", "cpu": 16, "memory": "64Gi"}],
            "hosts": [host(f"c{n}", f"rack-{n}", n, "control-plane") for n in (1, 2, 3)]
            + [host(f"w{n}", f"rack-{n}", 10 + n, "worker") for n in (1, 2, 3)],
            "clusters": [
                {
                    "name": "isb-1-a",
                    "endpoint": "https://10.207.0.10:6443",
                    "networks": {"pods": "10.208.0.0/16", "services": "10.209.0.0/16", "nodes": "10.207.0.0/24"},
                }
            ],
        },
    }


def host(name: str, rack: str | None, number: int, role: str = "worker", kw: float | None = 1.5) -> Document:
    """Return a host of 1.5 kW."""
    document: Document = {
        "name": name,
        "address": f"10.207.0.{10 + number}",
        "role": role,
        "machine": "small",
        "hostKeys": [KEY + name.replace("-", "A").ljust(43, "A")],
    }
    if rack:
        document["rack"] = rack
    if kw is not None:
        document["kw"] = kw
    return document


def site(*changes: Callable[[Document], object], document: Document | None = None) -> Site:
    """Return the consistent site, changed."""
    document = document or consistent()
    for change in changes:
        change(document["spec"])
    return Site.model_validate(document)


def without(area: str, *names: str) -> Callable[[Document], object]:
    """Return a change that takes components out, with their links."""

    def change(spec: Document) -> None:
        grid = spec[area]
        grid["components"] = [one for one in grid["components"] if one["name"] not in names]
        grid["links"] = [one for one in grid["links"] if not {one["from"], one["to"]} & set(names)]

    return change


def without_link(area: str, source: str, target: str) -> Callable[[Document], object]:
    """Return a change that takes a link out."""

    def change(spec: Document) -> None:
        spec[area]["links"] = [one for one in spec[area]["links"] if one != {"from": source, "to": target}]

    return change


def with_links(area: str, *chains: str) -> Callable[[Document], object]:
    """Return a change that adds links."""
    return lambda spec: spec[area]["links"].extend(links(*chains))


def with_part(area: str, component: Document) -> Callable[[Document], object]:
    """Return a change that adds a component."""
    return lambda spec: spec[area]["components"].append(component)


def at(where: str, name: str, **fields: Any) -> Callable[[Document], object]:
    """Return a change of fields of what bears a name; None takes one away. `where`: racks, power.components …"""

    def change(spec: Document) -> None:
        found: Any = spec
        for key in where.split("."):
            found = found[key]
        (one,) = [one for one in found if one["name"] == name]
        for key, value in fields.items():
            if value is None:
                one.pop(key, None)
            else:
                one[key] = value

    return change
