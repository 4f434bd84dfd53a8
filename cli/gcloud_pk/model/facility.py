"""What a data centre is made of: power, cooling, network, racks and classes of machines, as its site file tells them.

Links say which way power, cold or traffic comes. Capacities are in kW of the load; a chiller's, of the heat that it
takes away. What they mean together is judged in `gcloud_pk.facility`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from gcloud_pk.model.base import DnsLabel, Line, Model, Str, Unique, matches
from gcloud_pk.model.quantity import Quantity
from gcloud_pk.model.request import Day

PowerKind = Literal["utility", "generator", "transfer-switch", "ups", "panel", "pdu", "point-of-use-switch"]
CoolingKind = Literal["chiller", "pump", "pipe", "air-handler"]
NetworkKind = Literal["carrier", "router", "core-switch", "rack-switch"]
DesignTier = Literal[3, 4]
"""What a design claims, by the Uptime Institute's Tier Standard: Topology."""

RATED: frozenset[str] = frozenset({"utility", "generator", "ups", "pdu", "chiller", "pump", "air-handler"})
"""Kinds that are there for their capacity: a site file must say it. The others may."""

MOST = 100_000
"""The most that a list of a site holds."""


def _kilowatts(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("expected a number of kW, such as 12 or 0.4")  # noqa: TRY004 - pydantic's
    if not 0 < value <= 10**6 or round(value * 1000) != round(value * 1000, 6):
        raise ValueError("expected kW above 0, at most 1000000, no finer than a watt (0.001)")
    return value


Kilowatts = Annotated[
    float,
    BeforeValidator(_kilowatts),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "maximum": 10**6, "multipleOf": 0.001}),
]
"""A power or a capacity in kW, in whole watts."""


Names = Annotated[tuple[DnsLabel, ...], Field(max_length=20), Unique]
"""Names of components, each once."""


def watts(kw: float | None) -> int | None:
    """Return whole watts of kW, for sums that are exact; None for what is not said."""
    return None if kw is None else round(kw * 1000)


class Component(Model):
    """One element of a path; every name once among the components of its list."""

    name: DnsLabel = Field(description="the component's name")
    kw: Kilowatts | None = Field(None, description="its capacity in kW")
    room: DnsLabel | None = Field(None, description="the room it stands in; none: that of its rack")
    rack: DnsLabel | None = Field(
        None, description="the rack it stands in; none: the one rack that lists it, where one alone does"
    )

    @property
    def watts(self) -> int | None:
        """Its capacity in whole watts; None where the file says none."""
        return watts(self.kw)


class PowerComponent(Component):
    """One element of the way from a source to a load's power supply."""

    kind: PowerKind = Field(
        description="utility, generator, transfer-switch, ups, panel, pdu or point-of-use-switch",
    )
    group: DnsLabel | None = Field(
        None,
        description="components of one kind that share their load, such as the generators of one N+1 plant; "
        "none: those of its kind that feed the same",
    )


class CoolingComponent(Component):
    """One element of the way that heat is taken away by, named from the cold's side."""

    kind: CoolingKind = Field(description="chiller, pump, pipe or air-handler")
    group: DnsLabel | None = Field(None, description="components of one kind that share their load")
    feeds: Names = Field((), description="names of power components that drive it; none: not judged")
    draws: Kilowatts | None = Field(
        None, description="the most that it draws of power, in kW; none: the capacity for it is not judged"
    )

    @property
    def drawn(self) -> int | None:
        """The most that it draws, in whole watts; None where the file says nothing."""
        return watts(self.draws)


class NetworkComponent(Component):
    """One element of the way from the outside to a rack."""

    kind: NetworkKind = Field(description="carrier, router, core-switch or rack-switch")
    kw: Kilowatts | None = Field(None, description="the most that it draws, in kW")
    group: DnsLabel | None = Field(None, description="components of one kind that do the same")
    feeds: Names = Field((), description="names of power components that drive it; none: not judged")

    @property
    def watts(self) -> int | None:
        """The most that it draws, in whole watts; None where the file says nothing."""
        return watts(self.kw)

    @property
    def drawn(self) -> int | None:
        """The same: it has no other capacity that is judged."""
        return self.watts


class Link(Model):
    """From one component to the next, on the way to the load."""

    source: DnsLabel = Field(alias="from", description="the component it comes from")
    target: DnsLabel = Field(alias="to", description="the component it goes to")


_Links = Annotated[tuple[Link, ...], Field(max_length=MOST)]


class Power(Model):
    """From utilities and generators to the PDUs of the racks."""

    components: Annotated[tuple[PowerComponent, ...], Field(max_length=MOST)] = Field(
        (), description="a list of {name, kind, kw, room, rack, group}"
    )
    links: _Links = Field((), description="a list of {from, to}: the direction of power")


class Cooling(Model):
    """From chillers to the air handlers of the rooms."""

    components: Annotated[tuple[CoolingComponent, ...], Field(max_length=MOST)] = Field(
        (), description="a list of {name, kind, kw, room, rack, group, feeds, draws}"
    )
    links: _Links = Field((), description="a list of {from, to}: the direction of the cold")


class Network(Model):
    """From carriers to the switches of the racks."""

    components: Annotated[tuple[NetworkComponent, ...], Field(max_length=MOST)] = Field(
        (), description="a list of {name, kind, kw, room, rack, group, feeds}"
    )
    links: _Links = Field(
        (), description="a list of {from, to}: from the outside to the racks; among components of one kind, both ways"
    )


class Rack(Model):
    """One rack: what feeds it, cools it and connects it."""

    name: DnsLabel = Field(description="the rack's name")
    room: DnsLabel | None = Field(None, description="the room it stands in")
    row: DnsLabel | None = Field(None, description="the row it stands in")
    kw: Kilowatts | None = Field(
        None,
        description="the most that its hosts may draw together, in kW; those without kw share what the others leave, "
        "and a rack without hosts counts as full",
    )
    feeds: Names = Field((), description="names of power components that feed it, such as its two PDUs")
    cooling: Names = Field((), description="names of air handlers that cool it")
    switches: Names = Field((), description="names of network components that connect it")

    @property
    def watts(self) -> int | None:
        """The most that its hosts may draw together, in whole watts."""
        return watts(self.kw)


class MachineClass(Model):
    """A kind of machine that hosts are of: what one of them has to give."""

    name: DnsLabel = Field(description="the class's name, such as control-small")
    cpu: Quantity = Field(description="cores, such as 16")
    memory: Quantity = Field(description="memory, such as 64Gi")


class Accreditation(Model):
    """What an accreditor said of the site; this program repeats it and certifies nothing."""

    scheme: Line = Field(description="who accredits by what, such as PTCL/NTC Tier audit")
    number: Line | None = Field(None, description="the certificate's number")
    expires: Day = Field(description="the last day that it holds for, as YYYY-MM-DD")


TableFile = Annotated[
    Str,
    Field(max_length=200),
    matches(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?\.[a-z0-9-]+\.csv", "a file beside this one, named SITE.WHAT.csv"),
]


class Tables(Model):
    """CSV files beside the site file, whose rows are added to its lists: an inventory's export."""

    hosts: TableFile | None = Field(None, description="rows of hosts")
    racks: TableFile | None = Field(None, description="rows of racks")
    machines: TableFile | None = Field(None, description="rows of machines")
    power_components: TableFile | None = Field(None, description="rows of power.components")
    power_links: TableFile | None = Field(None, description="rows of power.links")
    cooling_components: TableFile | None = Field(None, description="rows of cooling.components")
    cooling_links: TableFile | None = Field(None, description="rows of cooling.links")
    network_components: TableFile | None = Field(None, description="rows of network.components")
    network_links: TableFile | None = Field(None, description="rows of network.links")
