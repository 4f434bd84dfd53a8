"""With --hosts: only the checks of nodes, on those hosts. Without: everything else of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from gcloud_pk.model.baseline import LEVELS

NODES = "test_nodes.py"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what an auditor says of the hosts; --hosts, --ssh-config and --ssh-identity-file are pytest-testinfra's."""
    group = parser.getgroup("nodes", "checks of nodes (with --hosts ssh://USER@HOST[:PORT],…)")
    group.addoption("--node-level", choices=LEVELS, default="cl1", help="the level that the hosts have to meet")
    group.addoption("--node-role", default="worker", help="control-plane, worker, storage, gateway or plain")
    group.addoption("--node-admin", metavar="USER", default="gcloud-pk", help="who hardens the hosts")
    group.addoption("--node-audit", metavar="USER", default="gcloud-pk-audit", help="who audits them")
    group.addoption("--known-hosts", metavar="FILE", help="the only host keys that count  [default: those of ssh]")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Keep the two kinds of tests apart."""
    if not collection_path.is_file() or collection_path.suffix != ".py":
        return None
    hosts = config.getoption("hosts", None) is not None
    return True if (collection_path.name == NODES) is not hosts else None
