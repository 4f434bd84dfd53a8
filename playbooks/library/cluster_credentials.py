"""Ansible module: kubeconfigs of those who work with the cluster, made by kubeadm. Runs on a control plane."""

from __future__ import annotations

import os
import re
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
module: cluster_credentials
short_description: A kubeconfig for each identity, made where it is missing or due
description:
  - They lie on the control plane as root's files. The caller has to keep what is returned out of logs (C(no_log)).
options:
  identities:
    description: The identities.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: The file's name., type: str, required: true}
      user: {description: The user that Kubernetes knows., type: str, required: true}
      group: {description: Its group., type: str, required: true}
  hours: {description: Life of a certificate., type: int, default: 2160}
author: [gcloud-pk]
attributes:
  check_mode: {support: full, description: Makes none.}
"""

EXAMPLES = r"""
- name: Who works with the cluster
  cluster_credentials:
    identities: [{name: auditor, user: "gcloud-pk:auditor", group: "gcloud:auditors"}]
  no_log: true
"""

RETURN = r"""
credentials: {description: Identity to its kubeconfig., type: dict, returned: success}
authority: {description: The certificate of the cluster's authority., type: str, returned: success}
"""

FOLDER = cluster_node.OURS / "identities"
_DUE = 1 / 3
"""The part of its life at which a certificate is made anew."""
_FORM = "sname,sep_multiline,esc_ctrl"


def fresh(path: Path, authority: str, hours: int, user: str, group: str) -> bool:
    """Whether a kubeconfig is whole, of this authority, user and group, and far from its end. Raises `Failed`."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return False
    mine = re.search(r"client-certificate-data: (\S+)", text)
    whose = re.search(r"certificate-authority-data: (\S+)", text)
    if mine is None or whose is None or _pem(whose.group(1)).strip() != authority.strip():
        return False
    seconds = int(hours * 3600 * _DUE)
    words = ["openssl", "x509", "-noout", "-subject", "-nameopt", _FORM, "-checkend", str(seconds)]
    said = cluster_node.run(words, seconds=10, given=_pem(mine.group(1)), check=False)
    return said.returncode == 0 and {f"CN={user}", f"O={group}"} == subject(said.stdout)


def subject(said: str) -> set[str]:
    """Return what `openssl x509 -subject`, in that form, says of whose a certificate is, each `NAME=VALUE`."""
    first, _, rest = said.partition("\n")
    lines = rest.splitlines() if first.strip() == "subject=" else []
    return {line.strip() for line in lines if line.startswith(" ")}


def _pem(encoded: str) -> str:
    import base64

    return base64.b64decode(encoded).decode("ascii", "replace")


def make(identity: dict[str, str], hours: int) -> None:
    """Have kubeadm make a kubeconfig, which it prints. Raises `Failed`."""
    words = [
        "kubeadm", "kubeconfig", "user", f"--config={cluster_node.OURS / 'kubeadm.yaml'}",
        f"--client-name={identity['user']}", f"--org={identity['group']}", f"--validity-period={hours}h",
    ]  # fmt: skip
    cluster_node.write(FOLDER / f"{identity['name']}.conf", cluster_node.run(words, seconds=60).stdout)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "identities": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {name: {"type": "str", "required": True} for name in ("name", "user", "group")},
            },
            "hours": {"type": "int", "default": 2160},
        },
        supports_check_mode=True,
    )
    given: dict[str, Any] = module.params
    try:
        authority = (cluster_node.KUBERNETES / "pki/ca.crt").read_text(encoding="ascii")
        due = [
            one
            for one in given["identities"]
            if not fresh(FOLDER / f"{one['name']}.conf", authority, given["hours"], one["user"], one["group"])
        ]
        if module.check_mode:
            module.exit_json(changed=bool(due), credentials={}, authority=authority)
        os.umask(0o077)
        for one in due:
            make(one, given["hours"])
        texts = {one["name"]: (FOLDER / f"{one['name']}.conf").read_text("utf-8") for one in given["identities"]}
    except (Failed, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(due), credentials=texts, authority=authority)


if __name__ == "__main__":
    main()
