"""Ansible module: kernel modules that are loaded, and those that are not, on the running kernel."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]

DOCUMENTATION = r"""
module: node_kernel_modules
short_description: Loads and unloads kernel modules of the running kernel
description:
  - Looks at /proc/modules once. A kernel that is shared with a host (a container) is never asked to change.
  - What is in use, built in or not to be had is returned in C(refused); it is neither a failure nor a change.
options:
  loaded:
    description: Names that have to be there; built into the kernel counts.
    type: list
    elements: str
    default: []
  unloaded:
    description: Names that must not be there.
    type: list
    elements: str
    default: []
author: [gcloud-pk]
attributes:
  check_mode: {support: full, description: Says what a run would try to change.}
  diff_mode: {support: full, description: Shows the names.}
"""

EXAMPLES = r"""
- name: Modules of the running kernel
  node_kernel_modules:
    loaded: [overlay]
    unloaded: [cramfs]
"""

RETURN = r"""
paths:
  description: What changed.
  type: list
  elements: str
  returned: always
refused:
  description: Names that are not as they were asked, with the reason.
  type: list
  elements: dict
  returned: always
"""

LOADED = "/proc/modules"
CONTAINER = "/run/systemd/container"  # systemd's own mark of a container (systemd's CONTAINER_INTERFACE)


class Found(NamedTuple):
    """A module of the running kernel and how many use it."""

    name: str
    users: int


def normal(name: str) -> str:
    """Return a module's name as the kernel writes it."""
    return name.replace("-", "_")


def parsed(text: str) -> dict[str, Found]:
    """Return what /proc/modules says, by normal name (proc(5))."""
    found = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) > 2:
            found[fields[0]] = Found(fields[0], int(fields[2]))
    return found


def differing(wanted: list[str], unwanted: list[str], found: dict[str, Found]) -> tuple[list[str], list[str]]:
    """Return the names to load and those to unload, in their order; built-in ones are not known here."""
    load = [name for name in wanted if normal(name) not in found]
    unload = [name for name in unwanted if normal(name) in found]
    return load, unload


_MARKS = {"br_netfilter": "/proc/sys/net/bridge", "nf_conntrack": "/proc/sys/net/netfilter"}
"""What shows that a module works where /proc/modules cannot say it."""


def _built_in(name: str, release: str) -> bool:
    """Whether the running kernel has what a module brings, without listing it in /proc/modules."""
    marks = [f"/sys/module/{normal(name)}", *([_MARKS[name]] if name in _MARKS else [])]
    if any(Path(one).is_dir() for one in marks):
        return True
    if name in Path("/proc/filesystems").read_text(encoding="utf-8").split():
        return True
    try:
        lines = Path(f"/lib/modules/{release}/modules.builtin").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return normal(name) in {normal(Path(line).name.split(".ko")[0]) for line in lines}


def _refusal(name: str, wanted: str, why: str) -> dict[str, str]:
    return {"key": name, "wanted": wanted, "live": "not known" if "host" in why else f"not {wanted}", "why": why}


def main() -> None:
    names = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(argument_spec={"loaded": names, "unloaded": names}, supports_check_mode=True)
    refused: list[dict[str, str]] = []
    done: list[tuple[str, str]] = []
    why = None
    if Path(CONTAINER).exists():
        why = "this kernel is its host's"
    elif not Path(LOADED).exists():
        why = "this kernel loads no modules"
    if why is not None:
        absent = [name for name in module.params["loaded"] if not _built_in(name, os.uname().release)]
        if absent:
            refused += [_refusal(name, "loaded", why) for name in absent]
        if module.params["unloaded"]:
            refused.append(_refusal("the blocked modules", "unloaded", why))
    else:
        found = parsed(Path(LOADED).read_text(encoding="utf-8"))
        load, unload = differing(module.params["loaded"], module.params["unloaded"], found)
        modprobe = module.get_bin_path("modprobe", True)
        for name in load:
            if _built_in(name, os.uname().release):
                continue
            code, _, said = module.run_command([modprobe, *(["-n"] if module.check_mode else []), "--", name])
            if code:
                refused.append(_refusal(name, "loaded", said.strip()[:300]))
            else:
                done.append((name, "loaded"))
        for name in unload:
            if found[normal(name)].users:
                refused.append(_refusal(name, "unloaded", "in use; gone after a restart"))
                continue
            code, said = 0, ""
            if not module.check_mode:
                code, _, said = module.run_command([modprobe, "-r", "--", name])
            if code:
                refused.append(_refusal(name, "unloaded", said.strip()[:300]))
            else:
                done.append((name, "unloaded"))
    if refused:
        module.warn("; ".join(f"{one['key']} {one['wanted']}: {one['why']}" for one in refused))
    module.exit_json(
        changed=bool(done),
        paths=[name for name, _ in done],
        refused=refused,
        diff=[
            {"before": f"not {state}\n", "after": f"{state}\n", "before_header": name, "after_header": name}
            for name, state in done
        ],
    )


if __name__ == "__main__":
    main()
