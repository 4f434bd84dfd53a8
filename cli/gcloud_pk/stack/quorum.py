"""Whether a control plane may leave: etcd goes on only while a majority of its members is healthy. Pure.

Source: etcd documentation, FAQ "What is failure tolerance?" (majority = floor(n/2) + 1); a member is removed with the
consent of the majority of those that there are, and those that stay need a majority of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

from gcloud_pk.stack.works import EtcdMember


def majority(members: int) -> int:
    """Return how many of some members must be healthy."""
    return members // 2 + 1


def refusal(members: Sequence[EtcdMember], leaving: str) -> str | None:
    """Return why the host `leaving` may not leave; None where it may, or is no member."""
    if leaving not in {member.name for member in members}:
        return None
    staying = [member for member in members if member.name != leaving]
    if not staying:
        return f"{leaving} is the last member of etcd: with it the cluster would be lost"
    healthy = [member.name for member in staying if member.healthy]
    needed = majority(len(staying))
    if len(healthy) >= needed:
        return None
    down = ", ".join(member.name for member in staying if not member.healthy)
    return (
        f"without {leaving} etcd would have {len(healthy)} of the {needed} healthy members that {len(staying)} need "
        f"(not healthy: {down}); the cluster would lose its quorum"
    )
