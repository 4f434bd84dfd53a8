"""Ansible module: what of packages and programs a node lacks, told in one cheap call."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from playbooks.module_utils import cluster_node
else:
    from ansible.module_utils import cluster_node

DOCUMENTATION = r"""
module: cluster_programs
short_description: Names packages that are not installed, and programs that are missing or have another digest
description:
  - Reads only. A program without a digest only has to be there.
options:
  packages: {description: Names of packages., type: list, elements: str, default: []}
  programs:
    description: The programs.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: The program's name., type: str, required: true}
      path: {description: Where it lies., type: path, required: true}
      sha256: {description: Its digest., type: str}
author: [gcloud-pk]
attributes:
  check_mode: {support: full, description: Changes nothing.}
"""

EXAMPLES = r"""
- name: What is missing
  cluster_programs:
    packages: [containerd]
    programs: [{name: kubelet, path: /usr/local/bin/kubelet, sha256: "…"}]
"""

RETURN = r"""
packages: {description: Packages that are not installed., type: list, elements: str, returned: success}
programs: {description: Names of programs that are missing or are other than they should be., type: list, elements: str,
  returned: success}
"""


def absent(listed: str, wanted: list[str]) -> list[str]:
    """Return the wanted packages that `dpkg-query --show` (name, status) does not say are installed."""
    known = {line.split("\t")[0] for line in listed.splitlines() if line.endswith("\tinstall ok installed")}
    return [name for name in wanted if name not in known]


def digest(path: Path) -> str | None:
    """Return a program's SHA-256 in hexadecimal; None where no root's program is there."""
    try:
        status = path.stat()
        if status.st_uid != 0 or status.st_mode & 0o022 or not status.st_mode & 0o111:
            return None
        with path.open("rb") as stream:
            found = hashlib.sha256()
            while piece := stream.read(1 << 20):
                found.update(piece)
    except OSError:
        return None
    return found.hexdigest()


def wrong(program: dict[str, Any]) -> bool:
    """Whether a program has to be brought."""
    path = Path(program["path"])
    if program.get("sha256"):
        return bool(digest(path) != program["sha256"])
    return not path.is_file()


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "default": []},
            "programs": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "path": {"type": "path", "required": True},
                    "sha256": {"type": "str"},
                },
            },
        },
        supports_check_mode=True,
    )
    given: dict[str, Any] = module.params
    words = ["dpkg-query", "--show", "--showformat=${Package}\\t${Status}\\n", *given["packages"]]
    listed = cluster_node.run(words, seconds=30, check=False).stdout if given["packages"] else ""
    module.exit_json(
        changed=False,
        packages=absent(listed, given["packages"]),
        programs=[one["name"] for one in given["programs"] if wrong(one)],
    )


if __name__ == "__main__":
    main()
