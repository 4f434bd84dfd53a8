"""The audit of nodes measured: one collector a node, beside testinfra asking check by check over the same connection.

    python -m benchmarks.audit_nodes --registry DIR --site SITE [--ssh-config FILE] [--user USER] [--each 60]

`collector`: seconds for all checks of all hosts of the site, at once. `testinfra`: seconds for `--each` simple
questions (kernel parameters, modes, units, packages) of the first host, one command each, with a shared connection as
testinfra makes it where a ControlPath is given. Machines are noisy: read the ratio a check.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import testinfra  # type: ignore[import-untyped]

from gcloud_pk.model.site import Host, Site
from gcloud_pk.nodes.catalogue import standard
from gcloud_pk.nodes.check import wanted
from gcloud_pk.nodes.gather import gather, route_to
from gcloud_pk.nodes.inventory import Route
from gcloud_pk.nodes.judge import Subject, judge, selected
from gcloud_pk.registry.folder import Registry


def collected(site: Site, route: Route, user: str | None) -> tuple[float, int]:
    """Return the seconds of an audit of all hosts, and how many checks it made."""
    checks = selected(standard(), "cl3")
    started = time.perf_counter()
    number = 0
    for one in gather(site, site.spec.hosts, checks, route, user=user):
        subject = Subject(site.metadata.name, one.host.name, one.host.role, "cl3")
        if one.facts is None:
            raise SystemExit(f"{one.host.name} does not answer: {one.diagnosis or one.dishonest}")
        number += len(judge(one.all_facts(), checks, standard(), subject))
    return time.perf_counter() - started, number


def _mode(node: Any, path: str) -> Any:
    return node.file(path).mode


def _enabled(node: Any, unit: str) -> Any:
    return node.service(unit).is_enabled


def asked(site: Site, host: Host, route: Route, user: str | None, each: int) -> tuple[float, int]:
    """Return the seconds of as many questions, one by one, and their number."""
    names = wanted(selected(standard(), "cl3"))
    with tempfile.TemporaryDirectory(prefix="gpk-") as folder:
        options = [*route.options(host), "-o", f"ControlPath={folder}/%C", "-o", "ControlMaster=auto"]
        node: Any = testinfra.get_host(
            f"ssh://{user or site.spec.ssh.audit_user}@{host.name}:{site.spec.ssh.port}",
            ssh_extra_args=" ".join([*options, "-o ControlPersist=10"]),
        )
        kinds: list[list[Callable[[], Any]]] = [
            [partial(node.sysctl, key) for key in names["sysctl"] if "*" not in key],
            [partial(_mode, node, path) for path in names["paths"] if "*" not in path],
            [partial(_enabled, node, unit) for unit in names["units"]],
        ]
        questions = [one for row in zip(*kinds, strict=False) for one in row][:each]
        node.run("true")
        started = time.perf_counter()
        for question in questions:
            try:
                question()
            except (AssertionError, RuntimeError, ValueError):
                continue  # refused to the auditor, or not there: that took a command too
        return time.perf_counter() - started, len(questions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--registry", type=Path, required=True)
    parser.add_argument("--site", required=True)
    parser.add_argument("--ssh-config", type=Path)
    parser.add_argument("--user")
    parser.add_argument("--each", type=int, default=60)
    given = parser.parse_args()
    site = Registry.open(given.registry).sites[given.site]
    with route_to(site, site.spec.hosts, given.ssh_config) as route:
        seconds, checks = collected(site, route, given.user)
        slow, questions = asked(site, site.spec.hosts[0], route, given.user, given.each)
    mine, theirs = seconds / checks * 1000, slow / questions * 1000
    print(f"{'':10}  {'seconds':>8}  {'checks':>6}  {'ms each':>8}")
    print(f"{'collector':10}  {seconds:8.2f}  {checks:6}  {mine:8.2f}")
    print(f"{'testinfra':10}  {slow:8.2f}  {questions:6}  {theirs:8.2f}")
    print(f"ratio a check: {theirs / mine:.1f}; hosts: {len(site.spec.hosts)}")


if __name__ == "__main__":
    main()
