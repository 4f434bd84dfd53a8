"""Ansible module: kernel parameters, in their file and live, in one call."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from playbooks.module_utils import node_kernel_keys, node_paths
    from playbooks.module_utils.node_paths import Refused
else:
    from ansible.module_utils import node_kernel_keys, node_paths
    from ansible.module_utils.node_paths import Refused

DOCUMENTATION = r"""
module: node_sysctls
short_description: Sets kernel parameters, in a file of sysctl.d and live
description:
  - Writes one file and sets what differs live. What this kernel refuses (shared with a host, no such parameter) is
    returned and shown in one warning; it is neither a failure nor a change.
options:
  file:
    description: The file, wholly ours, below /etc/sysctl.d.
    type: path
    required: true
  values:
    description:
      - Parameter to value. A key may hold C(*) for all interfaces; C(all) and C(default) are meant by their own names.
    type: dict
    required: true
  forget:
    description: Parameters whose lines in /etc/sysctl.conf and in other files of /etc/sysctl.d become comments.
    type: list
    elements: str
    default: []
author: [gcloud-pk]
attributes:
  check_mode: {support: full, description: Says exactly what a run would change.}
  diff_mode: {support: full, description: Shows files and live values.}
"""

EXAMPLES = r"""
- name: Network parameters
  node_sysctls:
    file: /etc/sysctl.d/zz-gcloud-pk-kernel-parameters.conf
    values:
      net.ipv4.conf.all.accept_redirects: 0
      net.ipv4.conf.*.accept_redirects: 0
    forget: [net.ipv4.conf.all.accept_redirects]
"""

RETURN = r"""
paths:
  description: Files and parameters that changed.
  type: list
  elements: str
  returned: always
refused:
  description: Parameters that could not be set.
  type: list
  elements: dict
  returned: always
  contains:
    key: {description: The parameter., type: str}
    wanted: {description: The value asked for., type: str}
    live: {description: The value that holds; null where there is none., type: str}
    why: {description: The reason., type: str}
"""

HEADING = "# Written by gcloud-pk; change the role's variables, not this file.\n"
OURS = "zz-gcloud-pk-"
_WHY = {
    errno.EROFS: "read-only here (a kernel shared with the host)",
    errno.EACCES: "not permitted here",
    errno.EPERM: "not permitted here",
    errno.ENOENT: "this kernel has no such parameter",
    errno.EINVAL: "this kernel does not take the value",
}


class Setting(NamedTuple):
    """A live parameter that has to change."""

    key: str
    path: str
    wanted: str
    now: str


class Text(NamedTuple):
    """A file that has to change; `found` is what it is now."""

    path: str
    before: str
    after: str
    found: os.stat_result | None


def texts(file: str, values: dict[str, str], forget: list[str], root: str = "") -> list[Text]:
    """Return the files that would change: our own, and those of others that set what is to be forgotten. Reads only."""
    found = node_paths.read(root + file)
    before = found[0] if found else ""
    after = node_kernel_keys.document(values, HEADING)
    status = found[1] if found else None
    changed = []
    if before != after or status is None or stat.S_IMODE(status.st_mode) != 0o644 or status.st_uid != os.geteuid():
        changed.append(Text(root + file, before, after, None))
    keys = {node_kernel_keys.normal(key) for key in forget}
    others = [root + "/etc/sysctl.conf", *node_paths.find(root + "/etc/sysctl.d/*.conf")]
    for path in others if keys else []:
        if path == root + file or Path(path).name.startswith(OURS) or Path(path).is_symlink():
            continue
        other = node_paths.read(path)
        if other is None:
            continue
        text = node_kernel_keys.forgotten(other[0], keys)
        if text.splitlines() != other[0].splitlines():
            changed.append(Text(path, other[0], text, other[1]))
    return changed


def settings(values: dict[str, str], root: str = "/proc/sys") -> tuple[list[Setting], list[dict[str, Any]]]:
    """Return what differs live and can be set, and what cannot. Reads only."""
    differing: list[Setting] = []
    refused: list[dict[str, Any]] = []
    named = {node_kernel_keys.normal(key) for key in values}
    for key in node_kernel_keys.ordered(list(values)):
        wanted = node_kernel_keys.value_of(values[key])
        for name, path in node_kernel_keys.live(key, root):
            if name != key and node_kernel_keys.normal(name) in named:
                continue  # set by its own name, which wins over a pattern (sysctl.d(5))
            try:
                now: str | None = node_kernel_keys.value_of(Path(path).read_text(encoding="utf-8", errors="replace"))
            except FileNotFoundError:
                refused.append(_refusal(name, wanted, None, errno.ENOENT))
                continue
            except OSError:  # parameters that can only be written
                now = None
            if now == wanted:
                continue
            reason = _unwritable(path)
            if reason is not None:
                refused.append(_refusal(name, wanted, now, reason))
            else:
                differing.append(Setting(name, path, wanted, now or ""))
    return differing, refused


def _unwritable(path: str) -> int | None:
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno or errno.EIO
    return None


def _refusal(key: str, wanted: str, now: str | None, reason: int) -> dict[str, Any]:
    return {"key": key, "wanted": wanted, "live": now, "why": _WHY.get(reason) or os.strerror(reason)}


def applied(differing: list[Setting]) -> tuple[list[Setting], list[dict[str, Any]]]:
    """Set the parameters; return those that took their value and those that did not."""
    done: list[Setting] = []
    refused: list[dict[str, Any]] = []
    for one in differing:
        try:
            Path(one.path).write_text(f"{one.wanted}\n", encoding="utf-8")
            now = node_kernel_keys.value_of(Path(one.path).read_text(encoding="utf-8", errors="replace"))
        except OSError as error:
            refused.append(_refusal(one.key, one.wanted, one.now, error.errno or errno.EIO))
            continue
        if now == one.wanted:
            done.append(one)
        else:
            refused.append({"key": one.key, "wanted": one.wanted, "live": now, "why": "the kernel kept its own value"})
    return done, refused


def warning(refused: list[dict[str, Any]]) -> str:
    """Return the one warning about what was refused, grouped by reason."""
    reasons: dict[str, list[str]] = {}
    for one in refused:
        reasons.setdefault(one["why"], []).append(f"{one['key']} is {one['live']}, not {one['wanted']}")
    return "Not set live: " + "; ".join(f"{why}: {', '.join(keys)}" for why, keys in reasons.items())


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "file": {"type": "path", "required": True},
            "values": {"type": "dict", "required": True},
            "forget": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    wrong = [key for key, value in module.params["values"].items() if isinstance(value, (bool, dict, list))]
    if wrong:
        module.fail_json(msg=f"Values must be numbers or texts: {', '.join(wrong)}")
    values = {str(key): str(value) for key, value in module.params["values"].items()}
    try:
        written = texts(module.params["file"], values, module.params["forget"])
        for one in [] if module.check_mode else written:
            found = one.found
            node_paths.write(
                one.path,
                one.after,
                mode=stat.S_IMODE(found.st_mode) if found else 0o644,
                owner=found.st_uid if found else 0,
                group=found.st_gid if found else 0,
            )
        done, refused = settings(values)
        if not module.check_mode:
            done, late = applied(done)
            refused += late
    except (Refused, OSError) as error:
        module.fail_json(msg=str(error))
    if refused:
        module.warn(warning(refused))
    module.exit_json(
        changed=bool(written or done),
        paths=[one.path for one in written] + [one.key for one in done],
        refused=refused,
        diff=[
            {"before": one.before, "after": one.after, "before_header": one.path, "after_header": one.path}
            for one in written
        ]
        + [
            {
                "before": f"{one.now}\n",
                "after": f"{one.wanted}\n",
                "before_header": f"{one.key} (live)",
                "after_header": f"{one.key} (live)",
            }
            for one in done
        ],
    )


if __name__ == "__main__":
    main()
