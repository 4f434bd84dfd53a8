"""Where a tenant stands in its life: what `state.yaml` says, and whether it may be believed."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection
from dataclasses import dataclass

from gcloud_pk.errors import GcloudPkError, Problem, problem
from gcloud_pk.model.state import State, StateName
from gcloud_pk.registry import documents
from gcloud_pk.registry.readings import load

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
    return Standing("active", record, signer, problems)


def write(state: StateName, by: str, reason: str, tenant: str, digest: str | None, time: dt.datetime) -> bytes:
    """Return the bytes of a state.yaml. Raises InvalidInputError for texts that it cannot hold."""
    fields = {
        "state": state,
        "by": by,
        "reason": reason,
        "time": time.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "tenant": tenant,
        **({"digest": digest} if digest else {}),
    }
    # JSON is YAML: a text in JSON's quotes is read as the same text.
    return "".join(f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in fields.items()).encode()
