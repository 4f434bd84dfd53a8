"""Ansible module: what the cluster says of itself; reads only. Runs on a control plane."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from playbooks.module_utils import cluster_etcd, cluster_node
    from playbooks.module_utils.cluster_node import Failed
    from playbooks.module_utils.cluster_quorum import Member
else:
    from ansible.module_utils import cluster_etcd, cluster_node
    from ansible.module_utils.cluster_node import Failed
    from ansible.module_utils.cluster_quorum import Member

DOCUMENTATION = r"""
module: cluster_observation
short_description: Nodes, members of etcd, certificates' ends, and which cluster it is
author: [gcloud-pk]
attributes:
  check_mode: {support: full, description: Reads only.}
"""

EXAMPLES = r"""
- name: What is there
  cluster_observation:
  register: cluster_observed
"""

RETURN = r"""
observation:
  description: C(uid) of kube-system; C(nodes) with name, ready, version; C(etcdMembers) with name, healthy, learner;
    C(certificates) of this control plane with name and expires (UTC).
  type: dict
  returned: success
"""


def nodes(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return name, readiness and the kubelet's version of each node, by name."""
    return sorted(
        (
            {
                "name": one["metadata"]["name"],
                "ready": any(
                    condition["type"] == "Ready" and condition["status"] == "True"
                    for condition in one.get("status", {}).get("conditions", ())
                ),
                "version": one.get("status", {}).get("nodeInfo", {}).get("kubeletVersion", ""),
            }
            for one in items
        ),
        key=lambda node: str(node["name"]),
    )


def etcd(members: list[Member]) -> list[dict[str, Any]]:
    """Return the members of etcd by name; one that never started has none."""
    found = [{"name": one.name, "healthy": one.healthy, "learner": one.learner} for one in members]
    return sorted(found, key=lambda member: str(member["name"]))


def certificates(said: str) -> list[dict[str, str]]:
    """Return names and ends of what `kubeadm certs check-expiration --output json` lists."""
    document = json.loads(said)
    listed = [*document.get("certificates", ()), *document.get("certificateAuthorities", ())]
    return [{"name": one["name"], "expires": one["expirationDate"]} for one in listed if not one.get("missing")]


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    try:
        uid = cluster_node.kubectl("get", "namespace", "kube-system", "--output=jsonpath={.metadata.uid}").stdout
        ends = cluster_node.run(["kubeadm", "certs", "check-expiration", "--output=json"], seconds=30).stdout
        observation = {
            "uid": uid.strip(),
            "nodes": nodes(cluster_node.objects("nodes")),
            "etcdMembers": etcd(cluster_etcd.members()),
            "certificates": certificates(ends),
        }
    except (Failed, ValueError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, observation=observation)


if __name__ == "__main__":
    main()
