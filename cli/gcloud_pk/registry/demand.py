"""Whose approvals a request needs: federal ones by its class, and one of each jurisdiction that binds it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from gcloud_pk.model import federation
from gcloud_pk.model.federation import FEDERAL, Bond
from gcloud_pk.model.organisation import Organisation
from gcloud_pk.model.request import TenantRequest
from gcloud_pk.model.settings import Settings


@dataclass(frozen=True)
class Awaited:
    """Approvals that are outstanding. `who`: federal, a province, a tier, or several joined by "or".

    `need` distinct keys, of which `have` approved; `principals`: those who may approve still.
    """

    who: str
    need: int
    have: tuple[str, ...]
    principals: tuple[str, ...]

    @property
    def missing(self) -> int:
        """How many approvals are outstanding."""
        return self.need - len(self.have)

    def __str__(self) -> str:
        may = ", ".join(self.principals) or "nobody may: add an approver"
        noun, verb = ("approval", "is") if self.missing == 1 else ("approvals", "are")
        what = f"federal {noun}" if self.who == FEDERAL else f"{noun} of {self.who}"
        return f"{self.missing} {what} ({may}) {verb} missing"

    def as_dict(self) -> dict[str, Any]:
        """Return the shape of `approvals.awaits[]`."""
        return {"who": self.who, "need": self.need, "have": list(self.have), "principals": list(self.principals)}


@dataclass(frozen=True)
class Demand:
    """What one request needs. `federal`: keys that belong to no jurisdiction, by class; `binding`: its jurisdictions.

    `owners`: principal → the jurisdiction that it approves for; `least`: keys all together, by the strictest
    jurisdiction; `signature`: whether the requester must sign.
    """

    federal: int
    binding: tuple[Bond, ...] = ()
    owners: Mapping[str, str] = field(default_factory=dict)
    least: int = 0
    signature: bool = False

    @cached_property
    def _of_their_own(self) -> tuple[Bond, ...]:
        return tuple(bond for bond in self.binding if bond.jurisdiction.approvers)

    @property
    def total(self) -> int:
        """How many distinct keys must approve, all together."""
        return max(self.federal + len(self._of_their_own), self.least)

    def objection(self, principal: str) -> str | None:
        """Return why an approval of a principal cannot count for this request, or None."""
        owner = self.owners.get(principal)
        if owner is None or any(principal in bond.jurisdiction.approvers for bond in self.binding):
            return None
        return f"{principal} approves for tenants of {owner} only, and this one is not"

    def awaits(self, have: Collection[str], may: Sequence[str]) -> tuple[Awaited, ...]:
        """Return what is outstanding, provinces and tiers first; nothing where the approvals suffice.

        `have`: principals whose approvals count; `may`: all who may approve this request, those included.
        """

        def share(who: str, need: int, counted: Collection[str], possible: Collection[str]) -> Awaited:
            return Awaited(who, need, tuple(counted), tuple(name for name in possible if name not in have))

        def members(who: str, need: int, belongs: Callable[[str], bool]) -> Awaited:
            return share(who, need, [name for name in have if belongs(name)], [name for name in may if belongs(name)])

        own = self._of_their_own
        shares = [members(bond.name, 1, bond.jurisdiction.approvers.__contains__) for bond in own]
        shares.append(members(FEDERAL, self.federal if own else self.total, lambda name: name not in self.owners))
        spare = [name for one in shares for name in one.have[one.need :]]
        rest = self.total - sum(one.need for one in shares)
        shares.append(share(" or ".join(one.who for one in shares), rest, spare, may))
        return tuple(one for one in shares if one.missing > 0)


def of(request: TenantRequest, organisations: Mapping[str, Organisation], settings: Settings) -> Demand:
    """Return what a request needs, by the registry's organisations and settings."""
    binding = federation.bonds(request.spec.organisation, organisations, settings)
    return Demand(
        settings.approvals_for(request.spec.classification),
        binding,
        federation.owners(settings),
        max((bond.jurisdiction.approvals.get(request.spec.classification, 0) for bond in binding), default=0),
        federation.needs_signature(request, settings, binding),
    )
