"""Ansible module: what a node is to its cluster, learnt in one cheap call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from playbooks.module_utils import cluster_node
else:
    from ansible.module_utils import cluster_node

DOCUMENTATION = r"""
module: cluster_standing
short_description: Tells what a node is to its Kubernetes cluster
description:
  - Reads only. Waits for a kubeadm that an earlier, killed run left at work.
options:
  cluster: {description: The cluster that the node is meant for., type: str, required: true}
  address: {description: The node's address; the interface that carries it is returned., type: str, required: true}
  patience: {description: Seconds to wait for an earlier run., type: int, default: 300}
author: [gcloud-pk]
attributes:
  check_mode: {support: full, description: Changes nothing.}
"""

EXAMPLES = r"""
- name: What is there
  cluster_standing: {cluster: isb-1-a, address: 10.207.0.11}
  register: cluster_found
"""

RETURN = r"""
standing:
  description: C(absent), C(half) (a run was killed), C(member), or C(foreign) (a cluster
    that these playbooks did not make).
  type: str
  returned: success
known:
  description: What the last full run noted of this node, without the digests of settings that were changed here since;
    C(drifted) names what those are of.
  type: dict
  returned: success
nameservers:
  description: Servers of DNS beyond this node that its resolver asks.
  type: list
  elements: str
  returned: success
interface:
  description: The interface that carries the address; empty where none does.
  type: str
  returned: success
"""


def interface_of(listed: str, address: str) -> str:
    """Return the interface that carries an address, by `ip -json address`; empty where none does."""
    for link in json.loads(listed):
        if any(one.get("local") == address for one in link.get("addr_info", ())):
            return str(link["ifname"])
    return ""


def nameservers_of(text: str) -> list[str]:
    """Return the servers of resolv.conf(5) that are not the node's own."""
    words = [line.split() for line in text.splitlines()]
    named = [line[1] for line in words if len(line) > 1 and line[0] == "nameserver"]
    return [one for one in named if not one.startswith("127.") and one != "::1"]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "cluster": {"type": "str", "required": True},
            "address": {"type": "str", "required": True},
            "patience": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    given: dict[str, Any] = module.params
    try:
        with cluster_node.turn(given["patience"]):
            found = cluster_node.standing()
        listed = cluster_node.run(["ip", "-json", "address"], seconds=10).stdout
    except cluster_node.Failed as error:
        module.fail_json(msg=str(error))
    try:
        resolver = Path("/etc/resolv.conf").read_text(encoding="utf-8", errors="replace")
    except OSError:
        resolver = ""
    other = found.known.get("cluster")
    if other not in {None, given["cluster"]}:
        module.fail_json(
            msg=f"This node belongs to cluster {other}, not to {given['cluster']}: take it out of that first."
        )
    module.exit_json(
        changed=False,
        standing=found.state,
        known=found.known,
        nameservers=nameservers_of(resolver),
        interface=interface_of(listed, given["address"]),
    )


if __name__ == "__main__":
    main()
