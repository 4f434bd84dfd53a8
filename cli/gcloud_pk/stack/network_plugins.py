"""Which network plug-ins this version brings to a cluster; the same words wherever another is refused. Pure."""

from __future__ import annotations

BROUGHT = "bridge"
WHY = f"this version brings the network plug-in {BROUGHT} only"
CAUTION = "it enforces no NetworkPolicy"


def refusal(who: str, plugin: str, *, said: bool = True) -> str | None:
    """Return why a plug-in cannot be had; None where it can. `who`: asks for it; `said`: not only by default."""
    if plugin == BROUGHT:
        return None
    return f"{who} asks for the network plug-in {plugin}{'' if said else ', the default'}: {WHY}"
