"""The audit of hosts: what was gathered in, findings out. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.nodes.check import Catalogue, Check
from gcloud_pk.nodes.gather import Gathered
from gcloud_pk.nodes.judge import Exemption, Subject, answers, judge, withheld, without_facts


def findings(
    gathered: Gathered,
    checks: Sequence[Check],
    catalogue: Catalogue,
    subject: Subject,
    waivers: Sequence[Exemption] = (),
) -> list[Finding]:
    """Return all findings on one host: whether it answers, and one for each check."""
    if gathered.facts is not None:
        held_back = withheld(gathered.facts, checks, subject)
        return [
            answers(subject, Verdict.PASS, "it answered", None, gathered.seconds),
            *([held_back] if held_back else []),
            *judge(gathered.all_facts(), checks, catalogue, subject, waivers),
        ]
    seen = [check for check in checks if check.outside and gathered.met]
    said = [check for check in checks if check not in seen]
    return [
        *unheard(gathered, said, catalogue, subject),
        *judge(gathered.all_facts(), seen, catalogue, subject, waivers),
    ]


def unheard(gathered: Gathered, checks: Sequence[Check], catalogue: Catalogue, subject: Subject) -> list[Finding]:
    """Return the findings on a host that said nothing, or nothing that can be believed."""
    if gathered.dishonest is not None:
        # Not judged in part: whoever sends such a thing says nothing that can be believed.
        verdict, reason, observed = Verdict.ERROR, "it sent what no honest collector sends", gathered.dishonest
    else:
        verdict, reason, observed = Verdict.NOT_CHECKED, "the node did not answer", _words(gathered)
    why = f"{reason}: {observed}" if gathered.dishonest is not None else _remedy(gathered)
    return [
        answers(subject, Verdict.ERROR, observed, why, gathered.seconds),
        *without_facts(checks, catalogue, subject, verdict, reason),
    ]


def _words(gathered: Gathered) -> str:
    found = gathered.diagnosis
    if found is None:
        return "nothing"
    return "it does not let the auditor in" if found.kind == "no-access" else found.words


def _remedy(gathered: Gathered) -> str:
    found = gathered.diagnosis
    if found is None:
        return "it said nothing"
    if found.kind == "no-access":
        return (
            "offer the key of spec.ssh.auditKeys (ssh-add KEY, or IdentityFile in the file of --ssh-config); "
            "a host that was not hardened yet has no auditor: audit it as somebody whom it knows, with --user USER"
        )
    return found.remedy
