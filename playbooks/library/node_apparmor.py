"""Ansible module: AppArmor's profiles enforce, in their files and in the kernel."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from playbooks.module_utils import node_paths
    from playbooks.module_utils.node_paths import Refused
else:
    from ansible.module_utils import node_paths
    from ansible.module_utils.node_paths import Refused

DOCUMENTATION = r"""
module: node_apparmor
short_description: Takes AppArmor's profiles out of complain mode
description:
  - Removes the flag C(complain) from the profiles of a folder, and loads those that changed. Profiles in O(complaining)
    stay as they are. Profiles that are not in files, such as those of container runtimes, are left alone.
  - On a machine whose kernel has no AppArmor that it may see, the files are set and a warning says so.
options:
  folder: {description: Where the profiles are., type: path, default: /etc/apparmor.d}
  complaining:
    description: Names of files whose profiles may complain.
    type: list
    elements: str
    default: []
author: [gcloud-pk]
attributes:
  check_mode: {support: full, description: Says exactly what a run would change.}
  diff_mode: {support: full, description: Shows the profiles.}
"""

EXAMPLES = r"""
- name: Profiles enforce
  node_apparmor:
    complaining: [usr.sbin.experimental]
"""

RETURN = r"""
paths:
  description: Profiles that changed.
  type: list
  elements: str
  returned: always
in_kernel:
  description: Whether this machine's kernel has AppArmor that it may see.
  type: bool
  returned: always
"""

_FLAGS = re.compile(r"flags\s*=\s*\(([^()\n]*)\)")
_KERNEL = Path("/sys/kernel/security/apparmor/profiles")
_TIMEOUT = 60  # seconds for one profile


def enforced(text: str) -> str:
    """Return a profile's text without the flag `complain`, and without an empty list of flags."""

    def without(match: re.Match[str]) -> str:
        flags = [one for one in re.split(r"[\s,]+", match[1]) if one]
        if "complain" not in flags:
            return match[0]
        kept = [one for one in flags if one != "complain"]
        return f"flags=({', '.join(kept)})" if kept else "\0"

    lines = []
    for line in text.split("\n"):
        # A comment may speak of flags; it sets none.
        changed = line if line.lstrip().startswith("#") else _FLAGS.sub(without, line)
        lines.append(re.sub(r"\s*\0", "", changed))
    return "\n".join(lines)


def profiles(folder: str, complaining: set[str]) -> dict[str, tuple[str, str, int]]:
    """Return path → text now, text wanted and mode, for the profiles of a folder that have to change."""
    found = {}
    for path in node_paths.find(f"{folder}/*"):
        name = path.rpartition("/")[2]
        if name in complaining or not Path(path).is_file() or Path(path).is_symlink():
            continue
        read = node_paths.read(path)
        if read is not None and (wanted := enforced(read[0])) != read[0]:
            found[path] = (read[0], wanted, read[1].st_mode & 0o7777)
    return found


def _load(path: str) -> None:
    answer = subprocess.run(
        ["/usr/sbin/apparmor_parser", "--replace", path],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    if answer.returncode:
        raise Refused(f"{path} is not loaded: {answer.stderr.strip()[:500]}")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "default": "/etc/apparmor.d"},
            "complaining": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    in_kernel = _KERNEL.exists()
    done: list[str] = []
    try:
        changes = profiles(module.params["folder"], set(module.params["complaining"]))
        for path, (_, wanted, mode) in {} if module.check_mode else changes.items():
            node_paths.write(path, wanted, mode=mode, owner=0, group=0)
            done.append(path)
            if in_kernel:
                _load(path)
    except (Refused, OSError, subprocess.TimeoutExpired) as error:
        module.fail_json(msg=str(error), paths=done, changed=bool(done))
    if not in_kernel:
        module.warn(
            "Not possible here: this machine sees no AppArmor in its kernel; the profiles are set in files only"
        )
    module.exit_json(
        changed=bool(changes),
        paths=list(changes),
        in_kernel=in_kernel,
        diff=[
            {"before": before, "after": after, "before_header": path, "after_header": path}
            for path, (before, after, _) in changes.items()
        ],
    )


if __name__ == "__main__":
    main()
