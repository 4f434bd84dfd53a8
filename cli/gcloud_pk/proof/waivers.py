"""Waivers that are live: each is shown, an expired one fails, and so does one that the registry does not hold. Pure.

CEL has no clock: the admission policies go on admitting what an expired waiver names until it is taken off.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Any

from gcloud_pk.model import labels
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.model.waiver import Grant
from gcloud_pk.proof.surroundings import Surroundings
from gcloud_pk.proof.target import Target, TargetEnvironment

ID = "ISO-112"
TITLE = "Every waiver in force is approved, unexpired and shown"
CONTROLS = ("GPK-ADM-002",)

_EXPECTED = "no waiver, or one that the registry holds and that has not expired"

_Entry = Mapping[str, Any]
_Said = tuple[str, str, str, tuple[str, ...], str]


def differences(spec: Mapping[str, Any], environment: TargetEnvironment) -> list[str]:
    """Return, in words, where the waivers of a TenantPolicy's spec are not those of the registry."""
    wanted = {_granted(grant): grant for grant in environment.waivers}
    live = {_said(entry): entry for entry in spec.get("waivers") or ()}
    found = [
        f"TenantPolicy spec.waivers has one that the registry does not: {_words(live[s])}" for s in live.keys() - wanted
    ]
    found += [f"TenantPolicy spec.waivers lacks {wanted[s].name}" for s in wanted.keys() - live]
    return sorted(found)


def findings(around: Surroundings, target: Target, environment: TargetEnvironment, subject: str) -> Iterator[Finding]:
    """Yield a finding for each live waiver of a namespace; none where there is none, or where it cannot be read."""
    answer = around.answers["tenantpolicies"]
    known = {_granted(grant): grant for grant in environment.waivers}
    for policy in around.all("tenantpolicies"):
        if policy["metadata"]["name"] != labels.TENANT_POLICY_NAME:
            continue
        for entry in policy.get("spec", {}).get("waivers") or ():
            verdict, reason = _verdict(entry, known.get(_said(entry)), target)
            yield Finding(
                id=ID,
                title=TITLE,
                subject=f"{subject}/{entry['kind']}/{entry['name']}",
                expected=_EXPECTED,
                observed=f"{_words(entry)} until {entry['expires']}",
                verdict=verdict,
                controls=CONTROLS,
                reason=reason,
                seconds=answer.seconds,
                evidence={"auditId": answer.audit_id} if answer.audit_id else {},
            )


def _verdict(entry: _Entry, grant: Grant | None, target: Target) -> tuple[Verdict, str]:
    if _day(entry["expires"]) < target.today:
        return Verdict.FAIL, f"it expired on {entry['expires']}; gcloud-pk onboard {target.tenant} takes it off"
    if grant is None:
        why = "no approved waiver of the registry says so"
        return Verdict.FAIL, f"{why}; gcloud-pk onboard {target.tenant} takes it off"
    approved = f"approved by {', '.join(grant.approvers)}, proposed by {grant.author}"
    return Verdict.WAIVED, f"waiver {grant.name}, {approved}, until {grant.expires}: {grant.reason}"


def _day(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        return dt.date.min  # no day at all is no day to come


def _granted(grant: Grant) -> _Said:
    return grant.rule, grant.kind, grant.workload, tuple(sorted(grant.allows)), grant.expires.isoformat()


def _said(entry: _Entry) -> _Said:
    return entry["rule"], entry["kind"], entry["name"], tuple(sorted(entry.get("allows") or ())), entry["expires"]


def _words(entry: _Entry) -> str:
    return f"{entry['rule']} for {entry['kind']} {entry['name']} ({', '.join(entry.get('allows') or ())})"
