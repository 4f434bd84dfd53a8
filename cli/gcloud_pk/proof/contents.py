"""Contents: every check of a tenant by id, control and title, so that a run can be narrowed to some of them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from gcloud_pk.errors import WrongUsageError, problem
from gcloud_pk.proof import checks, plugins, residents, review, waivers
from gcloud_pk.proof.probe import Catalogue, Refused, Where

_PLACES: Mapping[Where, str] = {
    "own": "each environment",
    "platform": "the platform's namespaces",
    "others": "other tenants' namespaces",
    "cluster": "the whole cluster",
}


_MISTAKEN = str.maketrans("OIL", "011")
"""Letters that look like digits."""


@dataclass(frozen=True, slots=True)
class Item:
    """One check. `how`: what shows it, in words; `place`: where it is tried."""

    id: str
    title: str
    controls: tuple[str, ...]
    how: str
    place: str = "each environment"

    def as_dict(self) -> dict[str, object]:
        """Return the shape of `audit probes --format json`."""
        return {
            "id": self.id,
            "title": self.title,
            "controls": list(self.controls),
            "how": self.how,
            "place": self.place,
        }


def items(known: Catalogue) -> list[Item]:
    """Return all that is checked of tenants, sorted by id."""
    return sorted(set(_items(known)), key=lambda item: item.id)


def _items(known: Catalogue) -> Iterator[Item]:
    for probe in known.probes.values():
        expected = probe.expect
        how = f"refused by {expected.by}" + (f" {expected.rule}" if expected.rule else "") if isinstance(
            expected, Refused
        ) else "admitted"  # fmt: skip
        yield Item(probe.id, probe.title, probe.controls, how, _PLACES[probe.where])
    for each in known.reviews.values():
        yield Item(each.id, each.title, each.controls, f"{each.expect} by the authorizer", _PLACES[each.where])
    for check in (*checks.ACTIVE, *checks.RETIRED, *residents.CHECKS):
        yield Item(check.id, check.title, check.controls, "live objects")
    yield Item(waivers.ID, waivers.TITLE, waivers.CONTROLS, "live objects")
    yield Item(review.CONTROL_ID, review.CONTROL_TITLE, ("GPK-ACC-001",), "allowed by the authorizer", "the tenant")
    for plugin in plugins.PLUGINS:
        yield Item(plugin.id, plugin.title, plugin.controls, "what was refused in the run", "the whole cluster")


def chosen(names: Iterable[str], known: Iterable[Item]) -> frozenset[str]:
    """Return the ids that names stand for: ids and controls, one by one or separated by commas.

    Raises WrongUsageError that names every unknown one, with the nearest known ones.
    """
    from difflib import get_close_matches

    by_name: dict[str, set[str]] = {}
    for item in known:
        for name in (item.id, *item.controls):
            by_name.setdefault(name.upper(), set()).add(item.id)
    wanted = [name for text in names for name in re.split(r"[,\s]+", text) if name]
    if not wanted:
        raise WrongUsageError("--probes names nothing", resolution="gcloud-pk audit probes shows what there is")
    problems = []
    for name in wanted:
        if name.upper() not in by_name:
            meant = name.upper().translate(_MISTAKEN)
            alike = [known for known in by_name if known.translate(_MISTAKEN) == meant]
            near = alike or get_close_matches(name.upper(), by_name, n=3, cutoff=0.5)
            problems.append(problem(f"{name!r} is no check and no control", expected=" or ".join(near) or None))
    if problems:
        raise WrongUsageError(
            "--probes names what there is not",
            details=problems,
            resolution="gcloud-pk audit probes shows every id with its title and controls",
        )
    return frozenset().union(*(by_name[name.upper()] for name in wanted))
