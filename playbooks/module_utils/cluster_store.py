"""Images in this node's container runtime: which are missing, and having them. Runs on the node; Python 3.9."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playbooks.module_utils import cluster_node
else:
    from ansible.module_utils import cluster_node

_CTR = ("ctr", "--namespace", "k8s.io", "images")
PULL = (*_CTR, "pull", "--hosts-dir", "/etc/containerd/certs.d")
"""What pulls the image that is named behind it."""
_TRIES, _PAUSE = 3, 2.0


def missing(listed: str, wanted: list[str]) -> list[str]:
    """Return the wanted images that `ctr images list --quiet` does not name."""
    known = set(listed.split())
    return [image for image in wanted if image not in known]


def lacking(wanted: list[str]) -> list[str]:
    """Return the wanted images that this node does not have."""
    return missing(cluster_node.run([*_CTR, "list", "--quiet"], seconds=60, check=False).stdout, wanted)


def have(wanted: list[str], *, seconds: float) -> None:
    """Pull what is missing; an image that comes already is waited for. Raises `cluster_node.Failed`."""
    for image in lacking(wanted):
        for left in reversed(range(_TRIES)):
            done = cluster_node.run([*PULL, image], seconds=seconds, check=False)
            if done.returncode == 0:
                break
            if not left:
                raise cluster_node.Failed(f"image {image} cannot be had: {cluster_node.tail(done.stderr)}")
            time.sleep(_PAUSE)
