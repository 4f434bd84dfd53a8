"""The playbooks under their trade's own rules."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PLAYBOOKS = Path(__file__).parents[2] / "playbooks"


def test_ansible_lint_passes_its_production_profile(tmp_path: Path) -> None:
    lint = Path(sys.executable).parent / "ansible-lint"
    said = subprocess.run(
        [lint, "--nocolor", "-c", ".ansible-lint", "."],
        cwd=PLAYBOOKS,
        env={**os.environ, "ANSIBLE_CONFIG": str(PLAYBOOKS / "ansible.cfg"), "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    assert "'production' was required, and it passed" in said.stderr
