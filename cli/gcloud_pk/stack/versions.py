"""Which step from one release of Kubernetes to another kubeadm takes. Pure.

Source: Kubernetes documentation, "Upgrading kubeadm clusters" and "Version Skew Policy": minors are not skipped, and
there is no way back.
"""

from __future__ import annotations


def step_problem(cluster: str, live: str, wished: str) -> str | None:
    """Return why kubeadm cannot bring a cluster from release `live` to `wished` in one step; None where it can."""
    old, new = _numbers(live), _numbers(wished)
    if old is None or new is None or new == old:
        return None
    if new < old:
        return f"cluster {cluster} runs {live}: Kubernetes does not go back to {wished}"
    if new[0] != old[0] or new[1] - old[1] > 1:
        return f"cluster {cluster} runs {live}: kubeadm goes up one minor release at a time, {wished} is more"
    return None


def next_step(live: str) -> str:
    """Return what can be asked for, in words: `1.36.x or 1.37.x`."""
    numbers = _numbers(live)
    return f"{numbers[0]}.{numbers[1]}.x or {numbers[0]}.{numbers[1] + 1}.x" if numbers else "the release that runs"


def _numbers(release: str) -> tuple[int, int, int] | None:
    parts = release.removeprefix("v").split(".")
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):
        return None
    return int(parts[0]), int(parts[1]), int(parts[2])
