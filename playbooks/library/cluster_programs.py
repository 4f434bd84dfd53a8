"""Ansible module: what of packages and programs a node lacks, told in one cheap call."""

from __future__ import annotations

import hashlib
import re
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
  - Reads only. A program without a digest has to be there, and one of Kubernetes' has to say that it is of C(version).
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
  version: {description: "Kubernetes' release, such as 1.36.3; no program is asked where it is not given.", type: str}
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


_ASKED = {
    "kubelet": ("--version",),
    "kubeadm": ("version", "--output=short"),
    "kubectl": ("version", "--client"),
}
"""How programs are asked for their release; another program has one of its own."""


def absent(listed: str, wanted: list[str]) -> list[str]:
    """Return the wanted packages that `dpkg-query --show` (name, status) does not say are installed."""
    known = {line.split("\t")[0] for line in listed.splitlines() if line.endswith("\tinstall ok installed")}
    return [name for name in wanted if name not in known]


def digest(path: Path) -> str | None:
    """Return a program's SHA-256 in hexadecimal; None where no root's program is there."""
    try:
        if not roots(path):
            return None
        with path.open("rb") as stream:
            found = hashlib.sha256()
            while piece := stream.read(1 << 20):
                found.update(piece)
    except OSError:
        return None
    return found.hexdigest()


def roots(path: Path) -> bool:
    """Whether this is a program that root alone may change. Raises OSError."""
    status = path.stat()
    return status.st_uid == 0 and not status.st_mode & 0o022 and bool(status.st_mode & 0o111)


def release(path: Path, words: tuple[str, ...]) -> str | None:
    """Return the release that a program of root's says it is of; None where it says none."""
    try:
        if not roots(path):
            return None
        said = cluster_node.run([str(path), *words], seconds=30).stdout
    except (cluster_node.Failed, OSError):
        return None
    found = re.search(r"\bv([0-9]+\.[0-9]+\.[0-9]+)\b", said)
    return found[1] if found else None


def wrong(program: dict[str, Any], version: str | None = None) -> bool:
    """Whether a program has to be brought. `version`: the release that Kubernetes' own have to be of."""
    path = Path(program["path"])
    if program.get("sha256"):
        return bool(digest(path) != program["sha256"])
    asked = _ASKED.get(program.get("name", ""))
    if asked is None or not version or not path.is_file():
        return not path.is_file()
    return release(path, asked) != version.removeprefix("v")


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
            "version": {"type": "str"},
        },
        supports_check_mode=True,
    )
    given: dict[str, Any] = module.params
    words = ["dpkg-query", "--show", "--showformat=${Package}\\t${Status}\\n", *given["packages"]]
    listed = cluster_node.run(words, seconds=30, check=False).stdout if given["packages"] else ""
    module.exit_json(
        changed=False,
        packages=absent(listed, given["packages"]),
        programs=[one["name"] for one in given["programs"] if wrong(one, given["version"])],
    )


if __name__ == "__main__":
    main()
