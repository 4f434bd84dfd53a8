"""Ansible module: what kubelets and later control planes fetch from the cluster is what the inventory says."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from playbooks.module_utils import cluster_node
    from playbooks.module_utils.cluster_node import Failed
else:
    from ansible.module_utils import cluster_node
    from ansible.module_utils.cluster_node import Failed

DOCUMENTATION = r"""
module: cluster_shared_settings
short_description: Uploads the documents of kubeadm and of the kubelets, where they differ
description:
  - Runs on a control plane. What was uploaded last is told by an annotation of kubeadm's ConfigMap.
  - Refused where the cluster would be another one (name, endpoint, networks), or of another release of Kubernetes:
    that is C(kubeadm upgrade)'s work on each node; new manifests alone would also take a cluster back.
options:
  configuration: {description: "Documents of the cluster, its kubelets and kube-proxy.", type: str, required: true}
  digest: {description: What they are told apart by., type: str, required: true}
author: [gcloud-pk]
attributes:
  check_mode: {support: full, description: Says whether they differ.}
"""

EXAMPLES = r"""
- name: What kubelets fetch
  cluster_shared_settings: {configuration: "{{ documents }}", digest: "{{ documents | hash('sha256') }}"}
"""

RETURN = r"""
uploaded: {description: Whether they were uploaded., type: bool, returned: success}
"""


_STAYS = re.compile(
    r"""^ *(clusterName|controlPlaneEndpoint|kubernetesVersion|podSubnet|serviceSubnet): *["']?([^"'\n]*?)["']? *$""",
    re.MULTILINE,
)


def refusal(live: str, wished: str) -> str:
    """Return why a cluster must not be told so; empty where it may. Both: kubeadm's ClusterConfiguration in YAML."""
    now, then = dict(_STAYS.findall(live)), dict(_STAYS.findall(wished))
    other = [name for name in now if then.get(name, now[name]) != now[name]]
    if not other:
        return ""
    wrong = [f"{name}: it is {now[name]}, asked for is {then[name]}" for name in other]
    way = "; a release by kubeadm upgrade on each node first, then again" if "kubernetesVersion" in other else ""
    return f"A cluster that lives keeps these ({', '.join(wrong)}). Nothing of it was changed{way}."


def known() -> tuple[str, str]:
    """Return the digest of what was uploaded last, and kubeadm's ClusterConfiguration. Raises `Failed`."""
    said = json.loads(cluster_node.kubectl("get", *cluster_node.SHARED, "--output=json").stdout)
    digest = said["metadata"].get("annotations", {}).get(cluster_node.SETTINGS, "")
    return str(digest), str(said.get("data", {}).get("ClusterConfiguration", ""))


def upload(configuration: str, digest: str) -> None:
    """Upload, then note what was. Raises `Failed`."""
    file = cluster_node.SECRETS / "settings.yaml"
    try:
        cluster_node.write(file, configuration)
        cluster_node.run(["kubeadm", "init", "phase", "upload-config", "all", f"--config={file}"], seconds=60)
    finally:
        file.unlink(missing_ok=True)
    cluster_node.note_settings(digest)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "configuration": {"type": "str", "required": True},
            "digest": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    given: dict[str, Any] = module.params
    try:
        digest, live = known()
        due = digest != given["digest"]
        why = refusal(live, given["configuration"]) if due else ""
        if why:
            module.fail_json(msg=why)
        if due and not module.check_mode:
            upload(given["configuration"], given["digest"])
    except (Failed, ValueError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=due, uploaded=due and not module.check_mode)


if __name__ == "__main__":
    main()
