"""`--self-test` of `audit isolation`: the audit is audited, on control planes of this machine."""

from __future__ import annotations

import datetime as dt

from gcloud_pk.commands.base import Invocation, operator_name
from gcloud_pk.errors import WrongUsageError


def run_self_test(invocation: Invocation, *, alone: bool) -> int:
    """Take each control from a scratch tenant, print what was missed by whom, and return the exit code.

    `alone`: nothing else was asked for. Raises WrongUsageError otherwise, UnavailableError without a control plane.
    """
    from gcloud_pk.evidence.report import present, report
    from gcloud_pk.lab.selftest import self_test
    from gcloud_pk.model.finding import exit_code
    from gcloud_pk.proof.notice import SUITE

    if not alone:
        raise WrongUsageError(
            "--self-test audits the audit, on control planes of its own, and takes nothing else",
            resolution="leave the tenants and the other options out",
        )
    console = invocation.console
    started = dt.datetime.now(dt.UTC)
    console.note("self-test: controls are taken from scratch tenants, one after the other; this takes minutes")
    findings = self_test(console)
    made = report(SUITE, findings, operator=operator_name(), started=started, finished=dt.datetime.now(dt.UTC))
    present(console, made)
    return exit_code(findings)
