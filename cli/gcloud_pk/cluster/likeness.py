"""Whether a live object is as it was installed, in both directions. Pure.

`cluster.compare` lets live maps hold more than is desired, because the server adds defaults; for a wall that is not
enough, because a `matchConditions` or a narrower selector is something more as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_NOT_COMPARED = frozenset({"apiVersion", "kind", "metadata", "status"})

DEFAULTS: tuple[tuple[tuple[str, ...], Any], ...] = (
    (("spec", "conversion"), {"strategy": "None"}),
    (("spec", "failurePolicy"), "Fail"),
    (("spec", "finalizers"), ["kubernetes"]),
    (("ports", "protocol"), "TCP"),
    (("resourceRules", "scope"), "*"),
    (("excludeResourceRules", "scope"), "*"),
    *(
        ((holder, name), value)
        for holder in ("matchConstraints", "matchResources")
        for name, value in (("matchPolicy", "Equivalent"), ("namespaceSelector", {}), ("objectSelector", {}))
    ),
)
"""Fields that the server fills in by itself, by where they stand, with what it fills in (Kubernetes API reference).

By name alone they would be too many: an empty `namespaceSelector` in a peer of a NetworkPolicy lets in everybody.
"""
_NAMES = ("listKind", "singular")
"""Of a CustomResourceDefinition's names: derived from the others."""

Path = tuple[str | int, ...]


def unlike_as_installed(desired: Mapping[str, Any], live: Mapping[str, Any]) -> list[str]:
    """Return, in words, the fields of a live object that are not as installed; the metadata is not compared."""
    names = (desired.keys() | live.keys()) - _NOT_COMPARED
    return [
        words for name in sorted(names) for words in _unlike((name,), desired.get(name), live.get(name))
    ]  # fmt: skip


def added(desired: Mapping[str, Any], live: Mapping[str, Any]) -> list[Path]:
    """Return the topmost fields of a live object that nobody desires and no server fills in; without the metadata.

    Of lists only those of the same length are looked into: the others are changed, which `cluster.compare` sees.
    """
    names = sorted(live.keys() - _NOT_COMPARED)
    return [path for name in names for path in _added((name,), desired.get(name), live[name])]


def _unlike(path: Path, desired: Any, live: Any) -> Iterator[str]:
    if isinstance(desired, Mapping) and isinstance(live, Mapping):
        for name in sorted(desired.keys() | live.keys()):
            if name in desired:
                yield from _unlike((*path, name), desired[name], live.get(name))
            elif not _by_itself((*path, name), live[name]):
                yield f"{_shown((*path, name))} was added"
    elif isinstance(desired, list) and isinstance(live, list) and len(desired) == len(live):
        for index, (wanted, there) in enumerate(zip(desired, live, strict=True)):
            yield from _unlike((*path, index), wanted, there)
    elif desired != live and (desired or live):
        yield f"{_shown(path)} was {'taken off' if live is None else 'changed' if desired is not None else 'added'}"


def _added(path: Path, desired: Any, live: Any) -> Iterator[Path]:
    if isinstance(desired, Mapping) and desired and isinstance(live, Mapping):
        for name in sorted(live):
            yield from _added((*path, name), desired.get(name), live[name])
    elif isinstance(desired, list) and isinstance(live, list) and len(desired) == len(live):
        for index, (wanted, there) in enumerate(zip(desired, live, strict=True)):
            yield from _added((*path, index), wanted, there)
    elif desired is None and live not in (None, []) and not _by_itself(path, live):
        yield path


def _by_itself(path: Path, value: Any) -> bool:
    names = tuple(step for step in path if isinstance(step, str))[-2:]
    if (names, value) in DEFAULTS or (names[0] == "names" and names[-1] in _NAMES):
        return True
    # Of what has no spec by our word, such as a namespace.
    return path == ("spec",) and all(_by_itself((*path, n), v) for n, v in value.items())


def _shown(path: Path) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
