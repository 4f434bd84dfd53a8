"""What is asked of a design: one row for each check, with the control it answers and where the rule comes from.

The instruments were read in secondary sources: rows cite them, no clause number is made up. The Digital Pakistan Policy
2017 (18.1: data centres of tier 3 and 4) was read itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SUITE = "datacenter"

CONTROLS: Mapping[str, str] = {
    "GPK-DCT-001": "every load has two distinct ways (Uptime Institute, Tier Standard: Topology, Tier III; secondary)",
    "GPK-DCT-002": "capacity components: N+1 (Tier Standard: Topology, Tier III; secondary)",
    "GPK-DCT-003": "elements of a path can be taken out (Tier Standard: Topology, Tier III; secondary)",
    "GPK-DCT-004": "traffic reaches every rack with any one element out (Tier III; secondary)",
    "GPK-DCT-005": "etcd and the API survive any one rack or element (kubernetes.io, HA topology; ours)",
    "GPK-DCT-006": "fault tolerance, compartments, continuous cooling (Tier Standard: Topology, Tier IV; secondary)",
    "GPK-DCT-007": "recovery in another city and seismic zone, with room (Cloud First Policy 2022; secondary; ours)",
    "GPK-DCT-008": "an accreditation that has not expired (CSP accreditation, Cloud Office 2024; secondary)",
    "GPK-DCT-009": "a UPS before every load (Tier Standard: Topology, from Tier I on; secondary)",
    "GPK-DCT-010": "any one rack is a failure domain, and what stands in it falls with it (ours)",
}
"""Our own controls, and the instrument behind each."""


@dataclass(frozen=True, slots=True)
class Check:
    """One question. `expected` may name `{element}`."""

    id: str
    title: str
    expected: str
    control: str


def _table(*rows: tuple[str, str, str, str]) -> dict[str, Check]:
    return {row[0]: Check(*row) for row in rows}


CHECKS: Mapping[str, Check] = _table(
    (
        "DC-001",
        "Power from the engine generators, with everything in place",
        "generators, to which no utility is added, carry every load",
        "GPK-DCT-002",
    ),
    (
        "DC-002",
        "Two distinct ways of power to every load",
        "two ways that share no element, or a point-of-use switch with two",
        "GPK-DCT-001",
    ),
    (
        "DC-003",
        "A capacity component of power out",
        "with {element} out, what remains carries every load along the ways that remain",
        "GPK-DCT-002",
    ),
    (
        "DC-004",
        "An element of a power path out",
        "with {element} out, every load has a way left, with the capacity for it",
        "GPK-DCT-003",
    ),
    (
        "DC-005",
        "A power link out",
        "with {element} out, every load has a way left, with the capacity for it",
        "GPK-DCT-003",
    ),
    (
        "DC-007",
        "Power of pumps, air handlers and switches with any one element out",
        "with {element} out, what is driven by power still cools and connects every rack, and power covers its draw",
        "GPK-DCT-003",
    ),
    (
        "DC-008",
        "A UPS before every load",
        "every load has a way that leads through a UPS",
        "GPK-DCT-009",
    ),
    ("DC-006", "Hosts stay within their rack's power", "hosts draw no more than their rack's kw", "GPK-DCT-002"),
    (
        "DC-009",
        "A rack out, with all that stands in it",
        "with {element} out, loads in other racks keep power, cooling and traffic",
        "GPK-DCT-010",
    ),
    (
        "DC-011",
        "Cooling with everything in place",
        "chillers and air handlers take every rack's heat",
        "GPK-DCT-002",
    ),
    ("DC-012", "Two distinct ways of cooling to every rack", "two ways that share no element", "GPK-DCT-001"),
    (
        "DC-013",
        "A capacity component of cooling out",
        "with {element} out, what remains takes the heat of every rack along the ways that remain",
        "GPK-DCT-002",
    ),
    (
        "DC-014",
        "An element of a cooling path out",
        "with {element} out, every rack has a way left, with the capacity for it",
        "GPK-DCT-003",
    ),
    (
        "DC-015",
        "A cooling link out",
        "with {element} out, every rack has a way left, with the capacity for it",
        "GPK-DCT-003",
    ),
    ("DC-021", "Traffic with everything in place", "every rack reaches a carrier", "GPK-DCT-004"),
    ("DC-022", "Two distinct ways of traffic to every rack", "two ways that share no element", "GPK-DCT-004"),
    ("DC-024", "An element of the network out", "with {element} out, every rack reaches a carrier", "GPK-DCT-004"),
    ("DC-025", "A network link out", "with {element} out, every rack reaches a carrier", "GPK-DCT-004"),
    (
        "DC-031",
        "Control planes over three racks",
        "an odd number of control planes, at least three, over at least three racks",
        "GPK-DCT-005",
    ),
    (
        "DC-032",
        "Quorum of etcd with any one rack or element out",
        "more than half of the members are up and reach each other",
        "GPK-DCT-005",
    ),
    (
        "DC-033",
        "The endpoint of the API with any one rack or element out",
        "a control plane that a carrier reaches is up, and may hold the endpoint's address",
        "GPK-DCT-005",
    ),
    ("DC-034", "Workers with any one rack out", "workers remain", "GPK-DCT-005"),
    (
        "DC-041",
        "Two ways at once, each behind a UPS",
        "with any one element failed, power from a UPS carries every load without a switch-over",
        "GPK-DCT-006",
    ),
    (
        "DC-042",
        "Compartments: a room lost",
        "with {element} lost, loads in other rooms are carried",
        "GPK-DCT-006",
    ),
    ("DC-043", "Continuous cooling", "cooling goes on while generators start", "GPK-DCT-006"),
    ("DC-051", "The accreditation holds", "an accreditation that has not expired", "GPK-DCT-008"),
    (
        "DC-101",
        "A recovery site of its own for each tenant",
        "another site, in another city and another seismic zone, that admits the tenant's class",
        "GPK-DCT-007",
    ),
    (
        "DC-102",
        "Room for a site's tenants, with any one rack out",
        "machines of the clusters that admit them cover the tenants' budgets",
        "GPK-DCT-007",
    ),
    (
        "DC-103",
        "Room at the recovery sites where a site is lost, with any one rack out",
        "machines at the recovery sites cover what they hold and what comes to them",
        "GPK-DCT-007",
    ),
    (
        "DC-104",
        "National totals where a site is lost",
        "machines of the sites that remain cover the budgets of all tenants, class by class",
        "GPK-DCT-007",
    ),
)

OMITTED: Mapping[str, str] = {
    "DC-061": "fuel on site, tanks and lines that generators share, generators rated for unlimited hours at this load",
    "DC-062": "how the draw of what cools changes with load and weather: the most of each is compared",
    "DC-063": "outdoor temperatures that chillers and generators are rated for",
    "DC-064": "operation: staff, maintenance, the drill itself",
}
"""What a site file cannot show, and the verdict therefore does not cover."""
