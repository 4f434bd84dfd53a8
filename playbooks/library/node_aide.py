"""Ansible module: AIDE's database, built when there is none and never again unless somebody says so."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]

DOCUMENTATION = r"""
module: node_aide
short_description: Builds AIDE's database once
description:
  - Builds the database when there is none. A database that is there stays, whatever changed since, or a run of ours
    would bless what an intruder did; O(accept) says that somebody looked.
  - The database is built aside and renamed, so that a run that is killed leaves none or a whole one.
options:
  config: {description: AIDE's configuration; its database_out is O(built)., type: path, required: true}
  database: {description: Where the database belongs., type: path, required: true}
  built: {description: Where AIDE writes a new one., type: path, required: true}
  accept: {description: Build it anew from what is there now., type: bool, default: false}
author: [gcloud-pk]
attributes:
  check_mode: {support: full, description: Says exactly what a run would change.}
  diff_mode: {support: full, description: Shows the digests of the databases.}
"""

EXAMPLES = r"""
- name: A database of the hardened node
  node_aide:
    config: /etc/aide/aide.conf
    database: /var/lib/aide/aide.db
    built: /var/lib/aide/aide.db.new
"""

RETURN = r"""
paths:
  description: The database, if it is a new one.
  type: list
  elements: str
  returned: always
digest:
  description: SHA-256 of the database, in hex; empty if there is none yet.
  type: str
  returned: always
"""

_TIMEOUT = 1800  # seconds; a node with large /usr/local or /opt takes minutes


def digest_of(database: Path) -> str:
    """Return the SHA-256 of a file in hex, an empty text if there is none."""
    return hashlib.sha256(database.read_bytes()).hexdigest() if database.is_file() else ""


def build(config: str, built: Path, database: Path) -> None:
    """Build a database and put it in its place. Raises OSError with what AIDE said when it fails."""
    built.unlink(missing_ok=True)
    answer = subprocess.run(
        ["aide", "--init", "--config", config],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        umask=0o077,
        check=False,
    )
    if answer.returncode or not built.is_file():
        raise OSError(f"aide --init: exit {answer.returncode}: {(answer.stderr or answer.stdout).strip()[:500]}")
    built.chmod(0o600)
    built.replace(database)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "config": {"type": "path", "required": True},
            "database": {"type": "path", "required": True},
            "built": {"type": "path", "required": True},
            "accept": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    database = Path(module.params["database"])
    before = digest_of(database)
    changed = not before or module.params["accept"]
    if changed and not module.check_mode:
        try:
            build(module.params["config"], Path(module.params["built"]), database)
        except (OSError, subprocess.TimeoutExpired) as error:
            module.fail_json(msg=str(error))
    after = "of the files as they are then" if changed and module.check_mode else digest_of(database)
    module.exit_json(
        changed=changed,
        paths=[str(database)] if changed else [],
        digest=digest_of(database),
        diff={
            "before": f"{before}\n" if before else "",
            "after": f"{after}\n",
            "before_header": str(database),
            "after_header": str(database),
        },
    )


if __name__ == "__main__":
    main()
