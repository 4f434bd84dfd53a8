"""Ansible module: the cluster's side of a node that leaves: drained, out of etcd, its Node gone. Runs on another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from playbooks.module_utils import cluster_etcd, cluster_node, cluster_quorum
    from playbooks.module_utils.cluster_node import Failed
else:
    from ansible.module_utils import cluster_etcd, cluster_node, cluster_quorum
    from ansible.module_utils.cluster_node import Failed

DOCUMENTATION = r"""
module: cluster_departure
short_description: Drains a node and takes it out of etcd, or deletes its Node
description:
  - Refuses, before anything is changed, where etcd could not spare the member.
  - Disruption budgets are respected; where the time is over, the pods that are still there are named.
options:
  state:
    description: C(drained) before the node is reset, C(gone) after it.
    type: str
    required: true
    choices: [drained, gone]
  node: {description: The node that leaves., type: str, required: true}
  address: {description: Its address., type: str, required: true}
  reachable: {description: Whether the node answers; pods of a dead one are not waited for., type: bool, default: true}
  seconds: {description: The longest that draining may take., type: int, default: 300}
author: [gcloud-pk]
attributes:
  check_mode: {support: full, description: Says what would be done.}
"""

EXAMPLES = r"""
- name: The node's work goes elsewhere
  cluster_departure: {state: drained, node: w3, address: 10.207.0.23}
"""

RETURN = r"""
steps:
  description: What was done.
  type: list
  elements: str
  returned: success
"""

_DEAD = 10
"""Seconds after which pods of a node that does not answer count as gone."""


def staying(pods: list[dict[str, Any]]) -> list[str]:
    """Return the pods that a drain has to move: not those of DaemonSets, nor the node's own static ones."""
    return sorted(
        f"{one['metadata']['namespace']}/{one['metadata']['name']}"
        for one in pods
        if not any(owner.get("kind") in {"DaemonSet", "Node"} for owner in one["metadata"].get("ownerReferences", ()))
        and one.get("status", {}).get("phase") not in {"Succeeded", "Failed"}
    )


def reasons(said: str) -> list[str]:
    """Return the lines in which kubectl says why a pod did not go, each once."""
    words = ("disruption budget", "cannot evict", "cannot delete")
    return sorted({line.strip() for line in said.splitlines() if any(word in line.lower() for word in words)})


def drain(given: dict[str, Any]) -> None:
    """Cordon and drain. Raises `Failed`, with the pods that are left."""
    node, seconds = given["node"], given["seconds"]
    words = ["drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", f"--timeout={seconds}s"]
    if not given["reachable"]:
        words.append(f"--skip-wait-for-delete-timeout={_DEAD}")
    done = cluster_node.kubectl(*words, seconds=seconds + 30, check=False)
    if done.returncode == 0:
        return
    left = staying(cluster_node.objects("pods", "--all-namespaces", f"--field-selector=spec.nodeName={node}"))
    why = reasons(done.stderr)[:5]
    raise Failed(
        f"{node} could not be drained within {seconds} s; it is cordoned and was not taken out. "
        f"Still there: {', '.join(left[:10]) or 'no pod'}. {' | '.join(why) or cluster_node.tail(done.stderr)}"
    )


def there(node: str) -> bool:
    """Whether the cluster knows the node. Raises `Failed`."""
    return bool(cluster_node.kubectl("get", "node", node, "--ignore-not-found", "--output=name").stdout.strip())


def depart(given: dict[str, Any], *, check: bool) -> list[str]:
    """Do what is due; return it in words. Raises `Failed`."""
    node = given["node"]
    if given["state"] == "gone":
        if not there(node):
            return []
        if not check:
            cluster_node.kubectl("delete", "node", node, "--ignore-not-found")
        return [f"Node {node} deleted"]
    members = cluster_etcd.members()
    own = cluster_quorum.of_address(members, given["address"])
    for member in own:
        why = cluster_quorum.refusal(members, member)
        if why:
            raise Failed(f"{node} must not leave now: {why}. Nothing was changed.")
    steps = []
    if there(node):
        steps.append(f"{node} drained")
        if not check:
            drain(given)
    for member in own:
        steps.append(f"{node} out of etcd")
        if not check:
            cluster_etcd.remove(member)
    return steps


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "required": True, "choices": ["drained", "gone"]},
            "node": {"type": "str", "required": True},
            "address": {"type": "str", "required": True},
            "reachable": {"type": "bool", "default": True},
            "seconds": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    try:
        steps = depart(module.params, check=module.check_mode)
    except Failed as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(steps), steps=steps)


if __name__ == "__main__":
    main()
