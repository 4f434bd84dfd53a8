"""`pytest tests/compliance --hosts …` where a host does not answer: said once, and never as if nothing were wrong."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = Path(__file__).parents[1] / "compliance"


@pytest.fixture
def nobody() -> str:
    """Return the address of a host at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"ssh://nobody@127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize(
    ("chosen", "told", "skipped"),
    [
        ("answers or NODE-SSH", "error: NODE-000 the collector ended with 255", True),
        ("NODE-SSH-001", "not checked: the collector ended with 255", False),
    ],
    ids=["whole", "one check"],
)
def test_a_host_that_does_not_answer_fails_one_test_with_the_reason(
    nobody: str, chosen: str, told: str, skipped: bool
) -> None:
    words = ["-q", "-rs", "-p", "no:cacheprovider", "--known-hosts", "/dev/null", "--hosts", nobody, "-k", chosen]
    done = subprocess.run([sys.executable, "-m", "pytest", SUITE, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.count(told) == 1
    assert "1 failed" in done.stdout
    assert ("not checked: the node did not answer (NODE-000)" in done.stdout) is skipped
