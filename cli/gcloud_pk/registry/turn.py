"""Whose turn it is: who must act next on a request, and since when."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gcloud_pk.model.federation import FEDERAL
from gcloud_pk.registry.approval import Approvals
from gcloud_pk.registry.approvers import STATE
from gcloud_pk.registry.entries import Entry
from gcloud_pk.registry.folder import Registry, Status
from gcloud_pk.registry.history import Act, Line
from gcloud_pk.text import stamp

Who = Literal["requester", "approver", "platform", "nobody"]


@dataclass(frozen=True)
class Turn:
    """`of`: federal, a province or a tier, where an approver must act; `since`: UTC, None where history is silent.

    `awaits`: `of`, and whose approvers may act at once beside it; `principals`: those of `of` who may act; `action`:
    the command, or what is to be done.
    """

    who: Who
    action: str
    of: str | None = None
    principals: tuple[str, ...] = ()
    since: dt.datetime | None = None
    awaits: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the shape of `next` in `request list --format json`."""
        return {
            "who": self.who,
            "of": self.of,
            "awaits": list(self.awaits),
            "principals": list(self.principals),
            "action": self.action,
            "since": stamp(self.since) if self.since else None,
        }


def turn(
    tenant: str,
    status: Status,
    digest: str | None,
    approvals: Approvals | None,
    lines: Sequence[Line],
    *,
    resumers: Sequence[str] = (),
    held: bool = True,
) -> Turn:
    """Return who must act next on a tenant's request. Pure.

    `digest`: of the present request; `lines`: of its history; `resumers`: who may sign a resumption;
    `held`: whether state.yaml can be believed.
    Where several approvals are outstanding, all are named, a province's or a tier's before the federal one.
    """

    def since(act: Act) -> dt.datetime | None:
        # What closes speaks of the tenant, whatever its request is now; of one environment alone it closes nothing.
        whole = act in {"offboard", "suspend"}
        found = [
            line.time
            for line in lines
            if line.act == act and (line.digest == digest if not whole else "environment" not in line.detail)
        ]
        return max(found, default=None)

    if status == "offboarded":
        return Turn("nobody", "nothing", since=since("offboard"))
    if status == "suspended" or not held:
        what = f"gcloud-pk tenant resume {tenant} --reason TEXT --key KEY"
        return Turn("approver", what, FEDERAL, tuple(resumers), since("suspend") if held else None, (FEDERAL,))
    if status == "rejected":
        return Turn("requester", "submit a corrected request of a higher revision", since=since("reject"))
    if status == "invalid" or approvals is None:
        action = f"submit a valid request; gcloud-pk request show {tenant} names what is wrong"
        return Turn("requester", action, since=since("submit"))
    if approvals.unsigned is not None:
        return Turn("requester", "gcloud-pk request submit FILE --key KEY", since=since("submit"))
    if approvals.awaits:
        awaited = approvals.awaits[0]
        action = f"gcloud-pk request approve {tenant} --key KEY"
        awaits = tuple(one.who for one in approvals.awaits)
        return Turn("approver", action, awaited.who, awaited.principals, since("submit"), awaits)
    if onboarded := since("onboard"):
        return Turn("nobody", "nothing", since=onboarded)
    return Turn("platform", f"gcloud-pk onboard {tenant}", since=since("approve"))


def of(registry: Registry, entry: Entry) -> Turn:
    """Return who must act next on the request of an entry."""
    approvals = registry.approvals(entry) if entry.request else None
    resumers = [
        signer.principal
        for signer in registry.approvers.may(STATE)
        if not signer.invalid_at(registry.now) and not registry.foreign(entry, signer.principal)
    ]
    return turn(
        entry.name,
        registry.status(entry),
        entry.digest,
        approvals,
        entry.chain.lines,
        resumers=resumers,
        held=registry.standing(entry).state is not None,
    )
