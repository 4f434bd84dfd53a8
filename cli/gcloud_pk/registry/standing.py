"""Where a tenant stands in its life: what `state.yaml` says, and whether it may be believed."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection
from dataclasses import dataclass, replace

from gcloud_pk.errors import GcloudPkError, Problem, problem
from gcloud_pk.model.state import State, StateName
from gcloud_pk.registry import documents
from gcloud_pk.registry.history import CLOCKS, Chain, Line
from gcloud_pk.registry.readings import load
from gcloud_pk.text import stamp

CLOSING: tuple[StateName, ...] = ("suspended", "offboarded", "rejected")


@dataclass(frozen=True)
class Standing:
    """`state`: None where state.yaml cannot be believed, which closes. `record`: what it says, where it can be read."""

    state: StateName | None
    record: State | None = None
    signer: str | None = None
    problems: tuple[Problem, ...] = ()


def read(data: bytes, file: str) -> tuple[State | None, tuple[Problem, ...]]:
    """Read the bytes of a state.yaml. Never raises for what they hold."""
    try:
        reading = load(documents.parse(data, file), State)
    except GcloudPkError as error:
        return None, error.details
    return reading.model, reading.problems


def judge(
    tenant: str,
    digest: str | None,
    digests: Collection[str],
    said: tuple[State | None, tuple[Problem, ...]],
    signature: tuple[str | None, str | None],
    file: str,
    now: dt.datetime,
) -> Standing:
    """Judge what state.yaml says.

    What closes counts unsigned too; what opens counts only when an approver signed it for this tenant. `digest`: the
    present request's; `digests`: those of all its requests; `signature`: (signer, why it does not hold).
    """
    record, problems = said
    if record is None:
        return Standing(None, None, None, problems)
    signer, fault = signature
    if fault is not None:
        problems = (*problems, problem(fault, file=f"{file}.sig", expected="an approver's signature over state.yaml"))
    if record.tenant is not None and record.tenant != tenant:
        other = problem(f"speaks of tenant {record.tenant!r}", file=file, field="tenant", expected=tenant)
        return Standing(None, record, signer, (*problems, other))
    if record.state == "rejected" and record.digest is not None and record.digest != digest:
        return Standing("active", record, signer, problems)  # it speaks of an earlier request
    if record.state in CLOSING:
        return Standing(record.state, record, signer, problems)
    if signer is None:
        unsigned = problem("'active' counts only when an approver has signed it", file=file, expected=f"{file}.sig")
        return Standing(None, record, None, (*problems, unsigned))
    if record.tenant != tenant or record.digest not in digests:
        loose = problem(
            "a signed 'active' must name this tenant and one of its requests", file=file, expected="tenant and digest"
        )
        return Standing(None, record, signer, (*problems, loose))
    if record.time > now + CLOCKS:
        # Signed for later, it would outlive every suspension until then.
        early = problem(f"is of a time to come ({record.time:%Y-%m-%d %H:%M} UTC)", file=file, field="time")
        return Standing(None, record, signer, (*problems, early))
    return Standing("active", record, signer, problems)


_STRENGTH: tuple[StateName, ...] = ("active", "rejected", "suspended", "offboarded")


def bound(stands: Standing, chain: Chain, digest: str | None, file: str, *, there: bool) -> Standing:
    """Return the standing that the history leaves of what state.yaml says.

    What the history closed stays closed, though state.yaml is gone or says less, until an `active` that an approver
    signed no earlier than the latest suspension; it must stay there. A line that says `resume` opens nothing, for
    nobody signs it. `digest`: of the request that is asked about, a rejection speaks of one alone; `there`: whether
    there is a state.yaml.
    """
    if stands.state is None:
        return stands
    record = stands.record
    opened = record.time if record and record.state == "active" and record.time.tzinfo else None
    last = _holding(chain, digest, opened)
    if last is None:
        return stands
    names: dict[str, StateName] = {"offboard": "offboarded", "suspend": "suspended", "reject": "rejected"}
    closed = names[last.act]
    if _STRENGTH.index(stands.state) >= _STRENGTH.index(closed):
        return stands
    says = "is gone"
    if there and record:
        earlier = opened and opened < last.time
        says = f"says {record.state!r}" + (f" of an earlier moment ({opened:%Y-%m-%d %H:%M:%S})" if earlier else "")
    wrong = problem(
        f"history says {closed} at {last.time:%Y-%m-%d %H:%M:%S} UTC by {last.actor}, state.yaml {says}",
        file=chain.file,
        line=last.number,
        expected=f"{file} that says so, or an 'active' that an approver signed since",
    )
    return replace(stands, state=closed, record=None, signer=None, problems=(*stands.problems, wrong))


def _holding(chain: Chain, digest: str | None, opened: dt.datetime | None) -> Line | None:
    """Return the line that keeps a tenant closed against an `active` of a moment; None where none does."""
    # An offboarding is for good: in logs and evidence a name means one tenant.
    if gone := [line for line in chain.closings if line.act == "offboard"]:
        return gone[-1]
    last = max(chain.closings, key=lambda line: (line.time, line.number), default=None)
    if last is not None and (opened is None or opened < last.time):
        return last
    rejected = chain.rejected(digest) if digest else None
    # Of the same second, the rejection holds: it leaves the `active` of a resumption where it is.
    return rejected if rejected is not None and (opened is None or opened <= rejected.time) else None


def is_given_up(record: State | None, chain: Chain, digest: str, *, there: bool) -> bool:
    """Whether a request stands as rejected, by the folder's word alone; arguments as for `bound`."""
    if record is None:
        return not there and chain.rejected(digest) is not None
    if record.state == "rejected":
        return record.digest == digest
    line = chain.rejected(digest) if record.state == "active" and record.time.tzinfo else None
    return line is not None and record.time <= line.time


def write(state: StateName, by: str, reason: str, tenant: str, digest: str | None, time: dt.datetime) -> bytes:
    """Return the bytes of a state.yaml. Raises InvalidInputError for texts that it cannot hold."""
    fields = {
        "state": state,
        "by": by,
        "reason": reason,
        "time": stamp(time),
        "tenant": tenant,
        **({"digest": digest} if digest else {}),
    }
    # JSON is YAML: a text in JSON's quotes is read as the same text.
    return "".join(f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in fields.items()).encode()
