"""What a run shows, and to whom."""

from __future__ import annotations

import io
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
    with pytest.raises(RefusedError):
        Console().confirm_name("Go on?", "site", "isb-1", yes=False)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_goes_for_good_goes_when_its_name_was_typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", _Terminal(" isb-1 \n"))
    Console().confirm_name("Destroy site isb-1?", "site", "isb-1", yes=False)
    shown = capsys.readouterr()
    assert (shown.out, shown.err.strip()) == ("", "Destroy site isb-1? Type the site's name to go on (isb-1):")


@pytest.mark.parametrize("typed", ["yes", "isb-2", "ISB-1"])
def test_another_name_is_no_agreement(monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    monkeypatch.setattr(sys, "stdin", _Terminal(typed + "\n"))
    with pytest.raises(RefusedError, match="that is not the site's name; nothing was touched"):
        Console().confirm_name("Destroy site isb-1?", "site", "isb-1", yes=False)


def test_where_nobody_can_type_a_name_yes_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("isb-1\n"))
    with pytest.raises(RefusedError, match=r"confirmation is missing: Destroy site isb-1\?") as refused:
        Console().confirm_name("Destroy site isb-1?", "site", "isb-1", yes=False)
    assert refused.value.resolution == "run it in a terminal and type the site's name, or give --yes"
    Console().confirm_name("Destroy site isb-1?", "site", "isb-1", yes=True)
