"""Where things lie: data folders of the wheel or the checkout, cache and state of the user (XDG base directories)."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def data(*parts: str) -> Path:
    """Return a data folder or file (`policies`, `examples`, `schemas`): in the wheel, else in the checkout."""
    packed = _PACKAGE / "data"
    root = packed if packed.is_dir() else _PACKAGE.parents[1]
    return root.joinpath(*parts)


def package(*parts: str) -> Path:
    """Return a file that lies beside the code."""
    return _PACKAGE.joinpath(*parts)


def _xdg(variable: str, default: str) -> Path:
    value = os.environ.get(variable, "")
    # The specification has relative paths ignored.
    base = Path(value) if value.startswith("/") else Path.home() / default
    return base / "gcloud-pk"


def cache(*parts: str) -> Path:
    """Return a path under `$XDG_CACHE_HOME/gcloud-pk`; builds and downloads, keyed by version."""
    return _xdg("XDG_CACHE_HOME", ".cache").joinpath(*parts)


def state(*parts: str) -> Path:
    """Return a path under `$XDG_STATE_HOME/gcloud-pk`; labs and what must outlive a run."""
    return _xdg("XDG_STATE_HOME", ".local/state").joinpath(*parts)
