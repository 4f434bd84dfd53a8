"""Capacity: pods that are too large for a namespace's live quota or limits, and what a silent pod is given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gcloud_pk.model.quantity import Quantity
from gcloud_pk.proof.patch import Edit

_RESOURCES = ("cpu", "memory", "ephemeral-storage")
_BOUNDS = ("default", "defaultRequest", "max", "min")
_MOST_CONTAINERS = 64


@dataclass(frozen=True, slots=True)
class TooLarge:
    """Edits that make a compliant pod too large in one resource, and that resource as the refusal names it."""

    edits: tuple[Edit, ...]
    resource: str


def hard_limits(quotas: Iterable[Mapping[str, Any]]) -> dict[str, Quantity]:
    """Return the tightest `spec.hard` of all quotas without scopes, by name. Raises ValueError for no quantity."""
    tightest: dict[str, Quantity] = {}
    for quota in quotas:
        spec = quota.get("spec", {})
        if spec.get("scopes") or spec.get("scopeSelector"):
            continue
        for name, amount in spec.get("hard", {}).items():
            value = Quantity.parse(amount)
            tightest[name] = min(value, tightest.get(name, value))
    return tightest


def unlike_quota(quotas: Iterable[Mapping[str, Any]], wanted: Mapping[str, str]) -> list[str]:
    """Return in words where what all quotas together allow is not `wanted`. Raises ValueError for no quantity."""
    hard = hard_limits(quotas)
    return [
        f"the quota allows {hard[name]} {name}, not {amount}"
        for name, amount in wanted.items()
        if name in hard and hard[name] != Quantity.parse(amount)
    ]


def unlike_limits(limit_ranges: Iterable[Mapping[str, Any]], wanted: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return in words where the limit ranges say other amounts than the `wanted` items; what they leave out counts.

    Raises ValueError for no quantity.
    """
    limit_ranges = list(limit_ranges)
    found = []
    for item in wanted:
        for bound in _BOUNDS:
            for name, amount in item.get(bound, {}).items():
                said = _said(limit_ranges, item["type"], bound, name)
                if {Quantity.parse(each) for each in said} != {Quantity.parse(amount)}:
                    words = " and ".join(sorted(said)) or "nothing"
                    found.append(f"the LimitRange says {words} as {bound} of {name} for a {item['type']}, not {amount}")
    return found


def _said(limit_ranges: Iterable[Mapping[str, Any]], of: str, bound: str, name: str) -> set[str]:
    return {
        str(item[bound][name])
        for limit_range in limit_ranges
        for item in limit_range.get("spec", {}).get("limits", [])
        if item.get("type") == of and name in item.get(bound, {})
    }


def container_limits(limit_ranges: Iterable[Mapping[str, Any]], bound: str) -> dict[str, str]:
    """Return `max`, `default` or `defaultRequest` of containers by resource; the tightest where several say it."""
    found: dict[str, str] = {}
    for limit_range in limit_ranges:
        for item in limit_range.get("spec", {}).get("limits", []):
            if item.get("type") == "Container":
                for name, amount in item.get(bound, {}).items():
                    if name not in found or Quantity.parse(amount) < Quantity.parse(found[name]):
                        found[name] = amount
    return found


def above_quota(
    pod: Mapping[str, Any], quotas: Iterable[Mapping[str, Any]], limit_ranges: Iterable[Mapping[str, Any]]
) -> TooLarge | None:
    """Return edits by which the pod's limits exceed the whole quota while each container keeps its own bounds.

    The quota must refuse by itself: dry runs do not add up, and the limit range must find nothing to refuse.
    None where no resource has a quota, or only more than 64 containers could exceed it.
    """
    hard = hard_limits(quotas)
    bounds = container_limits(limit_ranges, "max")
    candidates: list[tuple[int, str, str]] = []
    for name in _RESOURCES:
        if (most := hard.get(f"limits.{name}")) is None:
            continue
        if name not in bounds:
            candidates.append((1, name, _more_than(most)))
        elif (each := Quantity.parse(bounds[name])) > Quantity(0):
            candidates.append((int(most.value // each.value) + 1, name, bounds[name]))
    if not candidates:
        return None
    count, name, amount = min(candidates, key=lambda c: (c[0], _RESOURCES.index(c[1])))
    if count > _MOST_CONTAINERS:
        return None
    first = pod["spec"]["containers"][0]
    containers = [_sized(first, f"{first['name']}-{n}", name, amount) for n in range(count)]
    return TooLarge((Edit.model_validate({"path": "/spec/containers", "value": containers}),), f"limits.{name}")


def above_limit(limit_ranges: Iterable[Mapping[str, Any]]) -> TooLarge | None:
    """Return the edit by which one container exceeds the limit range's maximum; None where there is no maximum."""
    bounds = container_limits(limit_ranges, "max")
    for name in _RESOURCES:
        if name in bounds:
            amount = _more_than(Quantity.parse(bounds[name]))
            edit = Edit.model_validate({"path": f"/spec/containers/0/resources/limits/{name}", "value": amount})
            return TooLarge((edit,), name)
    return None


def claim_size(limit_ranges: Iterable[Mapping[str, Any]]) -> str:
    """Return a storage request that the limit range lets pass: its minimum, 1Gi where it has none."""
    sizes = [
        item["min"]["storage"]
        for limit_range in limit_ranges
        for item in limit_range.get("spec", {}).get("limits", [])
        if item.get("type") == "PersistentVolumeClaim" and "storage" in item.get("min", {})
    ]
    return max(sizes, key=Quantity.parse, default="1Gi")


def missing_defaults(pod: Mapping[str, Any], limit_ranges: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return in words which defaults of the limit range the pod's containers were not given; empty: all were."""
    limit_ranges = list(limit_ranges)
    wanted = {
        "limits": container_limits(limit_ranges, "default"),
        "requests": container_limits(limit_ranges, "defaultRequest"),
    }
    if not any(wanted.values()):
        return ["the limit range has no default"]
    containers = pod.get("spec", {}).get("containers", [])
    if not containers:
        return ["the answer shows no container"]
    missing = []
    for container in containers:
        for part, amounts in wanted.items():
            given = container.get("resources", {}).get(part, {})
            for name, amount in amounts.items():
                if name not in given or Quantity.parse(given[name]) != Quantity.parse(amount):
                    missing.append(f"{part}.{name} is {given.get(name)}, not {amount}")
    return missing


def _more_than(amount: Quantity) -> str:
    """One core, or one GiB, more."""
    return str(Quantity(amount.value + (1024**3 if amount.binary else 1), binary=amount.binary))


def _sized(container: Mapping[str, Any], name: str, resource: str, amount: str) -> dict[str, Any]:
    resources = container.get("resources", {})
    return {
        **container,
        "name": name,
        "resources": {**resources, "limits": {**resources.get("limits", {}), resource: amount}},
    }
