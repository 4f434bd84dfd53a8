"""The program that makes snapshots on control planes, as tests import it."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

from gcloud_pk import paths

_SPEC = importlib.util.spec_from_file_location(
    "cluster_backup", paths.data("playbooks", "roles", "cluster_backup", "files", "cluster_backup.py")
)
assert _SPEC is not None
assert _SPEC.loader is not None
program: Any = importlib.util.module_from_spec(_SPEC)
sys.modules["cluster_backup"] = program
_SPEC.loader.exec_module(program)
