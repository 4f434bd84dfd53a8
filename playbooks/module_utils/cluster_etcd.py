"""Members of the stacked etcd, asked on a control plane by etcdctl. Runs on the node; Python 3.9."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playbooks.module_utils import cluster_node
    from playbooks.module_utils.cluster_quorum import Member
else:
    from ansible.module_utils import cluster_node
    from ansible.module_utils.cluster_quorum import Member

_PKI = cluster_node.KUBERNETES / "pki/etcd"
_ASKED = (
    "etcdctl",
    "--endpoints=https://127.0.0.1:2379",
    f"--cacert={_PKI}/ca.crt",
    f"--cert={_PKI}/healthcheck-client.crt",
    f"--key={_PKI}/healthcheck-client.key",
    "--dial-timeout=5s",
    "--command-timeout=10s",
)


def parsed(members: str, health: str) -> list[Member]:
    """Return the members of `member list` and `endpoint health --cluster`, both of `--write-out=json`."""
    well = {one["endpoint"] for one in json.loads(health or "[]") if one.get("health")}
    return [
        Member(
            id=f"{one['ID']:x}",
            name=one.get("name", ""),
            peers=tuple(one.get("peerURLs", ())),
            learner=bool(one.get("isLearner")),
            healthy=bool(well & set(one.get("clientURLs", ()))),
        )
        for one in json.loads(members).get("members", ())
    ]


def members() -> list[Member]:
    """Return the members as this node's etcd sees them. Raises `Failed` where it does not answer."""
    listed = cluster_node.run([*_ASKED, "member", "list", "--write-out=json"], seconds=30)
    # It fails where a single member is not well, and says each one's health all the same.
    health = cluster_node.run([*_ASKED, "endpoint", "health", "--cluster", "--write-out=json"], seconds=60, check=False)
    return parsed(listed.stdout, health.stdout)


def remove(member: Member) -> None:
    """Take a member out. Raises `Failed`."""
    cluster_node.run([*_ASKED, "member", "remove", member.id], seconds=30)
