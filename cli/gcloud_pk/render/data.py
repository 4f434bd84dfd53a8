"""The data folders of the wheel as documents; read once."""

from __future__ import annotations

from functools import cache
from typing import Any

import yaml

from gcloud_pk import paths


@cache
def documents(*pattern: str) -> tuple[dict[str, Any], ...]:
    """Return the YAML documents of all files that match, by path and then as they stand; not to be changed.

    The last part may be a pattern (`policies`, `rbac`, `*.yaml`). Raises FileNotFoundError when nothing matches.
    """
    folder = paths.data(pattern[0])
    files = sorted(folder.glob("/".join(pattern[1:])))
    if not files:
        raise FileNotFoundError(f"no {'/'.join(pattern)} beside gcloud-pk: the installation is not complete")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return tuple(
        document for file in files for document in yaml.load_all(file.read_text(encoding="utf-8"), Loader=loader)
    )
