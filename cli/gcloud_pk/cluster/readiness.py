"""What is ready by the API's word. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_ready(one: Mapping[str, Any]) -> bool:
    """Return whether a node or a pod, as the API gives it, has the condition `Ready`."""
    conditions = (one.get("status") or {}).get("conditions") or ()
    return any(it.get("type") == "Ready" and it.get("status") == "True" for it in conditions)
