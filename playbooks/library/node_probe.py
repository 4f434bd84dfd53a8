"""Ansible module: what a node is, learnt in one cheap call, and a refusal of what the baseline is not for."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]

DOCUMENTATION = r"""
module: node_probe
short_description: Tells what a node is and refuses the wrong ones
description:
  - Reads only. Fails with C(refused) set when the node runs another distribution or version, or another init than
    systemd.
options:
  distribution: {description: The C(ID) of os-release(5) that is meant., type: str, required: true}
  version: {description: The C(VERSION_ID) that is meant., type: str, required: true}
author: [gcloud-pk]
attributes:
  check_mode: {support: full, description: Changes nothing.}
"""

EXAMPLES = r"""
- name: Refuse anything but Debian 12
  node_probe: {distribution: debian, version: "12"}
  register: node_probed
"""

RETURN = r"""
shared_kernel:
  description: Whether the node is a container, whose kernel is its host's.
  type: bool
  returned: success
virtualization:
  description: What systemd-detect-virt(1) says.
  type: str
  returned: success
refused:
  description: Why the node is refused (C(distribution) or C(init)).
  type: str
  returned: failure
"""


def fields(text: str) -> dict[str, str]:
    """Return the fields of os-release(5); lines that are none are passed over."""
    found = {}
    for line in text.splitlines():
        key, sign, value = line.partition("=")
        if not sign or key.startswith("#"):
            continue
        try:
            words = shlex.split(value)
        except ValueError:
            continue
        found[key.strip()] = words[0] if words else ""
    return found


def refusal(release: dict[str, str], *, distribution: str, version: str, systemd: bool) -> dict[str, str] | None:
    """Return why a node is refused (`refused`, `msg`), or None."""
    known, number = release.get("ID", "unknown"), release.get("VERSION_ID", "unknown")
    if (known, number) != (distribution, version):
        name = release.get("PRETTY_NAME") or f"{known} {number}"
        return {
            "refused": "distribution",
            "msg": f"Refused before any change: this node runs {name} (ID {known}, VERSION_ID {number}); "
            f"the baseline is for {distribution} {version}.",
        }
    if not systemd:
        return {"refused": "init", "msg": "Refused before any change: systemd does not run on this node."}
    return None


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "distribution": {"type": "str", "required": True},
            "version": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    given: dict[str, Any] = module.params
    try:
        text = Path("/etc/os-release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = refusal(
        fields(text),
        distribution=given["distribution"],
        version=given["version"],
        systemd=Path("/run/systemd/system").is_dir(),
    )
    if found is not None:
        module.fail_json(**found)
    code, output, _ = module.run_command([module.get_bin_path("systemd-detect-virt", required=True), "--container"])
    module.exit_json(changed=False, shared_kernel=code == 0, virtualization=output.strip())


if __name__ == "__main__":
    main()
