"""Ansible module: begins to pull images that a node will need, and does not wait for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from playbooks.module_utils import cluster_node, cluster_store
    from playbooks.module_utils.cluster_node import Failed
else:
    from ansible.module_utils import cluster_node, cluster_store
    from ansible.module_utils.cluster_node import Failed

DOCUMENTATION = r"""
module: cluster_images
short_description: Pulls images in the background
description:
  - A transient unit pulls what is missing while other nodes are made. Who needs an image and does not find it pulls it
    himself, so that a pull that fails here costs nothing but time.
options:
  images: {description: References of images., type: list, elements: str, required: true}
author: [gcloud-pk]
attributes:
  check_mode: {support: full, description: Pulls nothing.}
"""

EXAMPLES = r"""
- name: Images come while the first control plane is made
  cluster_images: {images: ["registry.example/kube-proxy:v1.36.3"]}
"""

RETURN = r"""
pulling: {description: Images that are being pulled., type: list, elements: str, returned: success}
"""

UNIT = "gcloud-pk-images"
_EACH = f'for image; do {" ".join(cluster_store.PULL)} "$image"; done'


def main() -> None:
    module = AnsibleModule(
        argument_spec={"images": {"type": "list", "elements": "str", "required": True}}, supports_check_mode=True
    )
    given: dict[str, Any] = module.params
    try:
        pulling = cluster_store.lacking(given["images"])
        if pulling and not module.check_mode:
            # One at a time: unpacking several at once is no quicker on the disk of one node.
            words = ["systemd-run", f"--unit={UNIT}", "--collect", "--no-block", "--quiet", "--nice=5"]
            cluster_node.run([*words, "/bin/sh", "-c", _EACH, "sh", *pulling], seconds=30, check=False)
    except Failed as error:
        module.fail_json(msg=str(error))
    # It changes what is in a cache, and nothing that the node is.
    module.exit_json(changed=False, pulling=pulling)


if __name__ == "__main__":
    main()
