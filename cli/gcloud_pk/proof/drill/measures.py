"""The figures of drills, beside the verdicts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from gcloud_pk.proof.drill import trace
from gcloud_pk.proof.drill.trace import Sample
from gcloud_pk.proof.drill.verdicts import BEFORE, Outcome


def of_drill(one: Outcome, by: str) -> dict[str, Any]:
    """Return one drill's figures, in seconds. Moments count from when the element began to go."""
    backs = [each.back for each in one.displaced]
    return {
        "element": str(one.lost.target),
        "subject": one.lost.subject,
        "by": by,
        "hosts": [*one.lost.down, *one.lost.cut_off],
        "seconds": round(one.ended - one.begun, 2),
        "outSeconds": round(one.returned - one.begun, 2),
        "reads": _probed(one, one.reads),
        "writes": _probed(one, one.writes),
        "service": None if one.service is None else _probed(one, one.service),
        "ledger": one.balance.as_dict() if one.balance else None,
        "notReadyAfter": _rounded(one.noticed),
        "pods": {
            "displaced": [each.as_dict() for each in one.displaced],
            "back": None if not backs or None in backs else _rounded(max(back for back in backs if back is not None)),
        },
        "recovery": {
            "firstAnswer": _rounded(one.first_answer),
            "api": _rounded(one.api_back),
            "nodes": _rounded(one.nodes),
            "all": _rounded(one.all),
        },
        "clock": {
            "jumps": [{"at": round(at - one.begun, 2), "seconds": seconds} for at, seconds in trace.jumps(one.reads)],
            "pauses": [
                {"at": round(pause.begin - one.begun, 2), "seconds": round(pause.end - pause.begin, 2)}
                for pause in one.pauses
            ],
        },
        "interrupted": one.interrupted,
    }


def _probed(one: Outcome, samples: Sequence[Sample]) -> dict[str, Any]:
    lost, again = one.worst(samples), one.felt_again(samples)
    phases = {"loss": lost.seconds if lost else 0.0, "return": again.seconds if again else 0.0}
    found = trace.measures(samples, one.begun - BEFORE, one.ended, one.begun)
    return {**found, **{name: round(seconds, 3) for name, seconds in phases.items()}}


def of_all(drills: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return `measures`: the drills, and over all of them the longest gaps of loss and return, and the ledgers."""
    found: dict[str, Any] = {"drills": list(drills)}
    for kind in ("reads", "writes", "service"):
        known = [one[kind] for one in drills if one[kind] is not None]
        found[kind] = (
            {
                phase: {
                    "p50": round(median(one[phase] for one in known), 3),
                    "max": round(max(one[phase] for one in known), 3),
                }
                for phase in ("loss", "return")
            }
            if known
            else None
        )
    ledgers = [one["ledger"] for one in drills if one["ledger"] is not None]
    found["ledger"] = {name: sum(one[name] for one in ledgers) for name in ("acknowledged", "lost", "altered")}
    found["ledger"]["drills"] = len(ledgers)
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
