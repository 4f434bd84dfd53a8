"""What a run shows, and to whom."""

from __future__ import annotations

import sys

import pytest

from gcloud_pk.console import Console
from gcloud_pk.errors import RefusedError


def test_streams_that_were_closed_are_nobody_who_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    Console().table(("a",), [("b",)])
    Console().row("", "text")
    Console().warn("text")
    with Console().progress("work", 1) as progress:
        progress.advance()
    with pytest.raises(RefusedError):
        Console().confirm("Go on?", yes=False)
