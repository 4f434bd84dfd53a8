"""What a plan does to waivers, in words. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gcloud_pk.cluster.kinds import TENANT_POLICY
from gcloud_pk.cluster.plan import Change


def in_words(changes: Iterable[Change], today: dt.date) -> Iterator[str]:
    """Yield a line for each waiver that comes to a namespace or leaves it; `today`: the day, UTC."""
    for change in changes:
        if change.key.kind != TENANT_POLICY or change.desired is None:
            continue
        before, after = _waivers(change.live), _waivers(change.desired)
        for entry in before:
            if entry not in after:
                expired = entry["expires"] < today.isoformat()
                why = (
                    f"it expired on {entry['expires']}"
                    if expired
                    else "it is ended, or is no longer approved as it was"
                )
                yield f"the waiver of {_of(entry)} leaves {change.key.namespace}: {why}"
        for entry in after:
            if entry not in before:
                yield f"a waiver of {_of(entry)} comes to {change.key.namespace}, until {entry['expires']}"


def _waivers(manifest: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    return list((manifest or {}).get("spec", {}).get("waivers") or ())


def _of(entry: Mapping[str, Any]) -> str:
    return f"{entry['rule']} for {entry['kind']} {entry['name']} ({', '.join(entry.get('allows') or ())})"
