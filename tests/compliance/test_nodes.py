"""The baseline on live hosts, one test for each check and host.

    pytest tests/compliance --hosts ssh://gcloud-pk-audit@10.207.0.11 --known-hosts FILE --node-level cl2

The same engine as `gcloud-pk audit nodes`, without a registry: no waiver is known here, what is waived there fails.
"""

from __future__ import annotations

import base64
import shlex
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import pytest

from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.model.site import Ssh
from gcloud_pk.nodes.catalogue import standard
from gcloud_pk.nodes.check import Check
from gcloud_pk.nodes.facts import DishonestError, Facts, read
from gcloud_pk.nodes.gather import program
from gcloud_pk.nodes.judge import ANSWERS, Subject, judge, selected
from gcloud_pk.nodes.site_words import SECTION

if TYPE_CHECKING:
    from testinfra.host import Host  # type: ignore[import-untyped]

    from gcloud_pk.model.baseline import Level

NONCE = "pytest"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each check that counts at the level."""
    if "check" in metafunc.fixturenames:
        # The outside is seen by `gcloud-pk audit nodes`: testinfra has no wire but its own.
        checks = [one for one in _checks(metafunc.config) if not one.outside]
        metafunc.parametrize("check", checks, ids=lambda one: one.id)


def _checks(config: pytest.Config) -> list[Check]:
    return selected(standard(), cast("Level", config.getoption("node_level")))


@pytest.fixture(scope="module")
def facts(host: Host, request: pytest.FixtureRequest) -> Facts | str:
    """Return what a host says of itself, or why it says nothing: one program for all of its tests."""
    option = request.config.getoption
    ssh = Ssh.model_validate({"user": option("node_admin"), "auditUser": option("node_audit")})
    sent = program(ssh, _checks(request.config), NONCE)
    packed = base64.b64encode(zlib.compress(sent)).decode()
    _believe_only(host, option("known_hosts"))
    try:
        done = host.run(
            "/usr/bin/python3 -I -c %s", f"import base64,zlib;exec(zlib.decompress(base64.b64decode('{packed}')))"
        )
    except RuntimeError as error:  # testinfra's for what ssh itself says
        done = error.args[0]
    if done.rc:
        return f"the collector ended with {done.rc}: {done.stderr[-300:].strip()}"
    try:
        said = read(str(done.stdout).encode(), NONCE)
    except DishonestError as error:
        return f"it sent what no honest collector sends: {error}"
    return Facts({**said.values, SECTION: _words(ssh, host)}, said.refused, said.broken, said.seconds)


def _believe_only(host: Host, known_hosts: str | None) -> None:
    """Never accept a host key that is not known already; testinfra would leave that to ssh's configuration."""
    options = [
        "StrictHostKeyChecking=yes",
        "BatchMode=yes",
        "UpdateHostKeys=no",
        "ControlMaster=no",
        "ControlPath=none",
    ]
    if known_hosts:
        options += [f"UserKnownHostsFile={known_hosts}", "GlobalKnownHostsFile=none"]
    host.backend.ssh_extra_args = " ".join(f"-o {shlex.quote(option)}" for option in options)


def _words(ssh: Ssh, host: Host) -> Mapping[str, Any]:
    where = getattr(host.backend, "host", None)
    port = int(where.port) if where is not None and where.port else 22
    nothing: list[str] = []
    return {
        "admin": ssh.user, "audit": ssh.audit_user, "ssh_port": port,
        "time_servers": nothing, "log_host": nothing, "ssh_allow_from": nothing,
    }  # fmt: skip


def test_the_node_answers(facts: Facts | str) -> None:
    if isinstance(facts, str):
        pytest.fail(f"error: {ANSWERS} {facts}", pytrace=False)


def test_the_node_meets(check: Check, facts: Facts | str, host: Host, request: pytest.FixtureRequest) -> None:
    option = request.config.getoption
    if isinstance(facts, str):
        # Said once, where that test is part of the run; a run without it must not look as if nothing were wrong.
        told = any(item.name.startswith(test_the_node_answers.__name__) for item in request.session.items)
        if told:
            pytest.skip(f"not checked: the node did not answer ({ANSWERS})")
        pytest.fail(f"not checked: {facts}", pytrace=False)
    subject = Subject("pytest", host.backend.get_hostname(), option("node_role"), option("node_level"))
    (found,) = judge(facts, [check], standard(), subject)
    if found.verdict is Verdict.NOT_APPLICABLE:
        pytest.skip(str(found.reason))
    # What could not be checked has not passed: it fails here too, and says so.
    if found.verdict is not Verdict.PASS:
        pytest.fail(_in_words(found), pytrace=False)


def _in_words(found: Finding) -> str:
    told = {"expected": found.expected, "observed": found.observed, "reason": found.reason}
    lines = [f"  {name}: {text}" for name, text in told.items() if text]
    return "\n".join([f"{found.verdict.value}: {found.id} {found.title} ({', '.join(found.controls)})", *lines])
