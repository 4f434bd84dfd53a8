"""Ansible module: tokens of service accounts, each bound to a node. Runs on a control plane."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from playbooks.module_utils import cluster_node
    from playbooks.module_utils.cluster_node import Failed
else:
    from ansible.module_utils import cluster_node
    from ansible.module_utils.cluster_node import Failed

DOCUMENTATION = r"""
module: cluster_tokens
short_description: A token of each service account for each node, made where it is missing or due
description:
  - A token ends with its Node object. They lie on the control plane as root's files. The caller has to keep what is
    returned out of logs (C(no_log)).
options:
  nodes: {description: Names of nodes that are members., type: list, elements: str, required: true}
  accounts: {description: Names of service accounts., type: list, elements: str, required: true}
  namespace: {description: Theirs., type: str, default: kube-system}
  hours: {description: Life of a token., type: int, default: 8760}
author: [gcloud-pk]
attributes:
  check_mode: {support: full, description: Makes none.}
"""

EXAMPLES = r"""
- name: What the agents speak to the API by
  cluster_tokens: {nodes: [c1], accounts: [cilium-agent]}
  no_log: true
"""

RETURN = r"""
tokens: {description: Node to account to its token., type: dict, returned: success}
"""

FOLDER = cluster_node.OURS / "tokens"
_DUE = 1 / 3
"""The part of its life at which a token is made anew."""


def fresh(token: str, node: dict[str, str], hours: int, now: float) -> bool:
    """Whether a token is bound to this very Node (name and uid) and far from its end (RFC 7519: exp)."""
    try:
        middle = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
        return bool(claims["kubernetes.io"]["node"] == node and claims["exp"] - now > hours * 3600 * _DUE)
    except (ValueError, KeyError, TypeError, IndexError):
        return False


def uids(names: list[str]) -> dict[str, str]:
    """Return the uid of each node. Raises `Failed` where one is none of the cluster's."""
    found = {one["metadata"]["name"]: one["metadata"]["uid"] for one in cluster_node.objects("nodes")}
    missing = [name for name in names if name not in found]
    if missing:
        raise Failed(f"no nodes of the cluster: {', '.join(missing)}")
    return {name: found[name] for name in names}


def make(account: str, namespace: str, node: str, hours: int) -> str:
    """Return a token that the API server makes. Raises `Failed`."""
    words = [
        "create", "token", account, f"--namespace={namespace}", f"--duration={hours}h",
        "--bound-object-kind=Node", f"--bound-object-name={node}",
    ]  # fmt: skip
    return cluster_node.kubectl(*words).stdout.strip()


def kept(path: Path) -> str:
    """Return a token that an earlier run made; empty where there is none."""
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "nodes": {"type": "list", "elements": "str", "required": True},
            "accounts": {"type": "list", "elements": "str", "required": True},
            "namespace": {"type": "str", "default": "kube-system"},
            "hours": {"type": "int", "default": 8760},
        },
        supports_check_mode=True,
    )
    given: dict[str, Any] = module.params
    hours = int(given["hours"])
    made: dict[str, dict[str, str]] = {}
    changed = False
    try:
        os.umask(0o077)
        for node, uid in uids(given["nodes"]).items():
            made[node] = {}
            for account in given["accounts"]:
                path = FOLDER / f"{node}.{account}"
                token = kept(path)
                if not fresh(token, {"name": node, "uid": uid}, hours, time.time()):
                    changed = True
                    token = "" if module.check_mode else make(account, given["namespace"], node, hours)
                    if token:
                        cluster_node.write(path, f"{token}\n")
                made[node][account] = token
    except (Failed, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed, tokens=made)


if __name__ == "__main__":
    main()
