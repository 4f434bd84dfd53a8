"""What etcd's members can spare. Pure; Python 3.9; runs on the node."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Member(NamedTuple):
    """A member of etcd: its identity in hexadecimal, its name (empty until it starts), its peers' URLs, its health."""

    id: str
    name: str
    peers: tuple[str, ...]
    learner: bool
    healthy: bool


def majority(count: int) -> int:
    """Return how many of `count` voters decide (etcd, FAQ: failure tolerance)."""
    return count // 2 + 1


def of_address(members: Iterable[Member], address: str) -> list[Member]:
    """Return the members whose peers reach them at an address, such as 10.207.0.11 or fd00::1."""
    host = f"[{address}]" if ":" in address else address
    return [one for one in members if f"https://{host}:2380" in one.peers]


def refusal(members: Iterable[Member], leaving: Member) -> str | None:
    """Return why a member must not leave, or None.

    After it left, a majority of the voters that stay must be healthy; and before, a majority has to agree at all.
    """
    voters = [one for one in members if not one.learner]
    if leaving.learner:
        return None
    staying = [one for one in voters if one.id != leaving.id]
    healthy = [one for one in staying if one.healthy]
    if not staying:
        return "it is the last member of etcd: what the cluster holds would be gone"
    need = majority(len(staying))
    if len(healthy) < need:
        sick = ", ".join(sorted(one.name or one.id for one in staying if not one.healthy))
        return f"{need} of etcd's {len(staying)} members that stay must be healthy; {len(healthy)} are (not: {sick})"
    if len(healthy) + leaving.healthy < majority(len(voters)):
        return f"etcd has no majority: {len(healthy) + leaving.healthy} of {len(voters)} members are healthy"
    return None
