"""Ansible module: approves the serving certificates of kubelets, each checked, and waits until the cluster is well."""

from __future__ import annotations

import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from playbooks.module_utils import cluster_node, cluster_serving
    from playbooks.module_utils.cluster_node import Failed
else:
    from ansible.module_utils import cluster_node, cluster_serving
    from ansible.module_utils.cluster_node import Failed

DOCUMENTATION = r"""
module: cluster_settled
short_description: Serving certificates of kubelets, nodes that are Ready, DNS that answers
description:
  - A request for a serving certificate is approved only if the node asks for itself, for its own name and address
    alone, and is one of the nodes given. Any other stays pending and is named in a warning.
  - Waits until each node is Ready and serves by a certificate of the cluster's authority, and DNS is available.
options:
  nodes:
    description: The cluster's nodes; only they get a certificate.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: The node's name., type: str, required: true}
      address: {description: Its address., type: str, required: true}
  awaited: {description: Nodes that are waited for; all where none is named., type: list, elements: str, default: []}
  seconds: {description: The longest wait., type: int, default: 180}
  network:
    description:
      - What to do about a network plug-in that somebody else installs. With it, nodes that miss nothing but their
        network are not waited for; it is said at once.
    type: str
    default: ""
author: [gcloud-pk]
attributes:
  check_mode: {support: full, description: Approves nothing and does not wait.}
"""

EXAMPLES = r"""
- name: The cluster is well
  cluster_settled:
    nodes: [{name: w1, address: 10.207.0.21}]
"""

RETURN = r"""
approved:
  description: Requests that were approved.
  type: list
  elements: str
  returned: success
"""


def unready(items: list[dict[str, Any]], awaited: list[str]) -> list[str]:
    """Return the awaited nodes that are not Ready."""
    ready = {
        one["metadata"]["name"]
        for one in items
        for condition in one.get("status", {}).get("conditions", ())
        if condition["type"] == "Ready" and condition["status"] == "True"
    }
    return [node for node in awaited if node not in ready]


def without_network(items: list[dict[str, Any]], awaited: list[str]) -> list[str]:
    """Return the awaited nodes whose kubelet says that it misses a network plug-in."""
    return [
        one["metadata"]["name"]
        for one in items
        for condition in one.get("status", {}).get("conditions", ())
        if condition["type"] == "Ready"
        and condition["status"] == "False"
        and "NetworkPluginNotReady" in condition.get("message", "")
        and one["metadata"]["name"] in awaited
    ]


def available(deployments: list[dict[str, Any]]) -> bool:
    """Whether CoreDNS has all of its servers."""
    for one in deployments:
        if one["metadata"]["name"] == "coredns":
            status, wanted = one.get("status", {}), one["spec"].get("replicas", 1)
            seen = status.get("observedGeneration") == one["metadata"]["generation"]
            return bool(seen and status.get("updatedReplicas") == status.get("availableReplicas") == wanted)
    return False


def serves(address: str, authority: str) -> bool:
    """Whether the kubelet at an address shows a certificate of the cluster's authority for it."""
    context = ssl.create_default_context(cafile=authority)
    # kubeadm's authorities of Kubernetes have no key identifier that strict checking would ask for.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    try:
        with (
            socket.create_connection((address, 10250), timeout=2) as plain,
            context.wrap_socket(plain, server_hostname=address),
        ):
            return True
    except OSError:
        return False


class ForeignError(Exception):
    """Nothing is missing but what somebody else brings."""


class Settling:
    """The wait: what was approved, what was refused, what is missing."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.nodes: dict[str, str] = {one["name"]: one["address"] for one in given["nodes"]}
        self.awaited: list[str] = given["awaited"] or list(self.nodes)
        self.network: str = given["network"]
        self.approved: list[str] = []
        self.refused: dict[str, str] = {}
        self.serving: set[str] = set()

    def approve(self) -> None:
        """Approve what waits and may be. Raises `Failed`."""
        judged = cluster_serving.judged(cluster_node.objects("certificatesigningrequests"), self.nodes)
        self.refused.update({name: why for name, why in judged.items() if why})
        good = [name for name, why in judged.items() if not why]
        if good:
            cluster_node.kubectl("certificate", "approve", *good)
            self.approved += good

    def missing(self) -> list[str]:
        """Return what is not well yet, in words.

        Raises `Failed`, and `ForeignError` where nodes wait for nothing but a network that is not ours.
        """
        items = cluster_node.objects("nodes")
        found = [f"{node} is not Ready" for node in unready(items, self.awaited)]
        authority = str(cluster_node.KUBERNETES / "pki/ca.crt")
        for node in self.awaited:
            if node not in self.serving and serves(self.nodes[node], authority):
                self.serving.add(node)
        found += [f"{one}'s kubelet has no certificate yet" for one in self.awaited if one not in self.serving]
        bare = without_network(items, self.awaited)
        if self.network and bare and set(found) == {f"{node} is not Ready" for node in bare}:
            raise ForeignError(f"nodes wait for their network ({', '.join(bare)}): {self.network}")
        if not found and not available(cluster_node.objects("deployments", "--namespace=kube-system")):
            found.append("DNS is not available")
        return found


def settle(given: dict[str, Any]) -> Settling:
    """Approve and wait. Raises `Failed`, with what is missing; `ForeignError`, with what somebody else has to bring."""
    work = Settling(given)
    end = time.monotonic() + given["seconds"]
    while True:
        try:
            work.approve()
            missing = work.missing()
        except Failed as error:  # an API server that is busy or has just moved is asked again
            missing = [str(error)]
        if not missing:
            return work
        if time.monotonic() > end:
            raise Failed(f"after {given['seconds']} s: {'; '.join(missing)}")
        time.sleep(0.5)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "nodes": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "address": {"type": "str", "required": True},
                },
            },
            "awaited": {"type": "list", "elements": "str", "default": []},
            "seconds": {"type": "int", "default": 180},
            "network": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=False, approved=[])
    try:
        work = settle(module.params)
    except (Failed, ForeignError, OSError) as error:
        module.fail_json(msg=str(error))
    for name, why in work.refused.items():
        module.warn(f"Not approved: certificate request {name}: {why}")
    module.exit_json(changed=bool(work.approved), approved=work.approved)


if __name__ == "__main__":
    main()
