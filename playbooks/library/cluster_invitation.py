"""Ansible module: lets nodes into the cluster for a short while, and withdraws that."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import json
import secrets
import string
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from playbooks.module_utils import cluster_etcd, cluster_node, cluster_quorum
    from playbooks.module_utils.cluster_node import Failed
else:
    from ansible.module_utils import cluster_etcd, cluster_node, cluster_quorum
    from ansible.module_utils.cluster_node import Failed

DOCUMENTATION = r"""
module: cluster_invitation
short_description: A bootstrap token and, for control planes, the certificates under a fresh key
description:
  - Runs on a control plane. The token lives for minutes; the key is made anew each time and never lies on a disk.
  - What killed runs left of a node in the cluster (its Node, its member of etcd) is taken away before.
  - The caller has to keep what is returned out of logs (C(no_log)).
options:
  state: {description: Whether nodes are let in., type: str, choices: [present, absent], default: present}
  endpoint: {description: "HOST:PORT of the API.", type: str}
  control_planes: {description: Whether control planes are among those that join., type: bool, default: false}
  minutes: {description: Life of the token., type: int, default: 15}
  half:
    description: Nodes of which a killed run may have left something in the cluster.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: The node's name., type: str, required: true}
      address: {description: Its address., type: str, required: true}
author: [gcloud-pk]
attributes:
  check_mode: {support: full, description: Does nothing and returns no token.}
"""

EXAMPLES = r"""
- name: Let them in
  cluster_invitation: {endpoint: "10.207.0.10:6443", control_planes: true}
  register: cluster_invited
  no_log: true
"""

RETURN = r"""
token: {description: The bootstrap token., type: str, returned: when present}
discovery: {description: A kubeconfig with authority and token., type: str, returned: when present}
certificate_key: {description: The key of the uploaded certificates., type: str, returned: for control planes}
encryption: {description: What the API servers encrypt with., type: str, returned: for control planes}
"""

TOKEN = "bootstrap.kubernetes.io/token"  # noqa: S105 - a kind of Secret
MINE = "nodes that join now"
KUBEADMS = "Proxy for managing TTL for the kubeadm-certs secret"
"""What kubeadm writes on the token that its uploaded certificates belong to (phases/copycerts)."""
_LETTERS = string.ascii_lowercase + string.digits


def discovery(endpoint: str, authority: bytes, token: str) -> str:
    """Return the kubeconfig that a node joins by: it believes one authority and no other."""
    cluster = {
        "server": f"https://{endpoint}",
        "certificate-authority-data": base64.b64encode(authority).decode("ascii"),
    }
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "cluster", "cluster": cluster}],
            "users": [{"name": "joining", "user": {"token": token}}],
            "contexts": [{"name": "joining", "context": {"cluster": "cluster", "user": "joining"}}],
            "current-context": "joining",
        }
    )


def token_secret(token: str, until: str) -> dict[str, Any]:
    """Return the Secret of a bootstrap token (Kubernetes: Bootstrap Tokens) that may do nothing but join."""
    name, secret = token.split(".")
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"bootstrap-token-{name}", "namespace": "kube-system"},
        "type": TOKEN,
        "stringData": {
            "description": MINE,
            "token-id": name,
            "token-secret": secret,
            "expiration": until,
            "usage-bootstrap-authentication": "true",
            "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token",
        },
    }


def forget(half: list[dict[str, Any]]) -> bool:
    """Take away what killed runs left of nodes in the cluster. Raises `Failed`, where quorum forbids it too."""
    if not half:
        return False
    members = cluster_etcd.members()
    left = False
    for node in half:
        for member in cluster_quorum.of_address(members, node["address"]):
            why = cluster_quorum.refusal(members, member)
            if why:
                raise Failed(f"{node['name']} was left half made and cannot be taken out of etcd: {why}")
            cluster_etcd.remove(member)
            members, left = cluster_etcd.members(), True
        said = cluster_node.kubectl("delete", "node", node["name"], "--ignore-not-found", "--wait=false").stdout
        left = left or bool(said.strip())
    return left


def invite(given: dict[str, Any]) -> dict[str, Any]:
    """Make the token, and put the certificates there for control planes. Raises `Failed`."""
    word = "".join(secrets.choice(_LETTERS) for _ in range(22))
    token = f"{word[:6]}.{word[6:]}"
    until = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=given["minutes"])
    secret = json.dumps(token_secret(token, until.strftime("%Y-%m-%dT%H:%M:%SZ")))
    try:
        cluster_node.kubectl("create", "--filename=-", given=secret)
        authority = (cluster_node.KUBERNETES / "pki/ca.crt").read_bytes()
        said: dict[str, Any] = {"token": token, "discovery": discovery(given["endpoint"], authority, token)}
        if given["control_planes"]:
            said["certificate_key"] = _upload()
            said["encryption"] = cluster_node.ENCRYPTION.read_text(encoding="utf-8")
    except (Failed, OSError):
        # Nobody is told of it, and so nobody would withdraw it.
        with contextlib.suppress(Failed):
            withdraw()
        raise
    return said


def _upload() -> str:
    """Upload the control plane's certificates under a fresh key; return the key (32 bytes in hexadecimal)."""
    key = secrets.token_hex(32)
    file = cluster_node.SECRETS / "upload.yaml"
    document = {"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "InitConfiguration", "certificateKey": key}
    shared = (cluster_node.OURS / "kubeadm.yaml").read_text(encoding="utf-8")
    try:
        cluster_node.write(file, f"{json.dumps(document)}\n---\n{shared}")
        words = ["kubeadm", "init", "phase", "upload-certs", "--upload-certs", f"--config={file}"]
        cluster_node.run([*words, "--skip-certificate-key-print"], seconds=60)
    finally:
        file.unlink(missing_ok=True)
    return key


def ours(secret: dict[str, Any]) -> bool:
    """Whether a Secret lets nodes in on our behalf: this run's token, a killed run's, or kubeadm's own."""
    if secret["metadata"]["name"] == "kubeadm-certs":
        return True
    said = base64.b64decode(secret.get("data", {}).get("description", "")).decode("utf-8", "replace")
    return secret.get("type") == TOKEN and said in {MINE, KUBEADMS, cluster_node.NOBODYS}


def withdraw() -> bool:
    """Take tokens and certificates away, those of killed runs too; whether any was there. Raises `Failed`."""
    found = [one["metadata"]["name"] for one in cluster_node.objects("secrets", "--namespace=kube-system") if ours(one)]
    if found:
        cluster_node.kubectl("--namespace=kube-system", "delete", "secrets", *found, "--ignore-not-found")
    return bool(found)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "endpoint": {"type": "str"},
            "control_planes": {"type": "bool", "default": False},
            "minutes": {"type": "int", "default": 15},
            "half": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "address": {"type": "str", "required": True},
                },
            },
        },
        required_if=[("state", "present", ("endpoint",))],
        supports_check_mode=True,
    )
    given: dict[str, Any] = module.params
    if module.check_mode:
        module.exit_json(changed=True, token="", discovery="", certificate_key="", encryption="")
    try:
        if given["state"] == "absent":
            module.exit_json(changed=withdraw())
        forget(given["half"])
        # A token is no change of the cluster: the joins are.
        module.exit_json(changed=False, **invite(given))
    except (Failed, OSError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
