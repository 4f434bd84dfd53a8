"""Who takes an element out and brings it back: a lab does it by itself, on a real site a person does, guided."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gcloud_pk.errors import RefusedError
from gcloud_pk.facility.casualties import Casualties


class Outage(Protocol):
    """Takes elements out and brings them back. Both may be called again after a kill."""

    name: str
    """`lab` or `guided`."""

    prefix: tuple[str, ...]
    """What the probers' commands begin with, to enter a network; empty on a real site."""

    def unable(self, lost: Casualties) -> str | None:
        """Return why this element cannot be taken out, or None."""

    def take_out(self, lost: Casualties) -> None:
        """Take it out; return when it is out. Raises GcloudPkError where it is not."""

    def give_back(self, lost: Casualties) -> None:
        """Bring it back; return when it is back, its hosts perhaps still starting. Raises GcloudPkError."""


Ask = Callable[[str], bool]
"""Shows a sentence and waits for a yes; False: a no."""


class Guided:
    """A person at the site, who is told what to do and says when it is done."""

    name = "guided"
    prefix: tuple[str, ...] = ()

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def unable(self, lost: Casualties) -> str | None:
        """Return None: whatever has a switch can be switched off."""
        del lost
        return None

    def take_out(self, lost: Casualties) -> None:
        """Ask for it to be taken out. Raises RefusedError for a no."""
        if not self._ask(f"{_order(lost, 'Switch off')} Say yes when it is off."):
            raise RefusedError(f"{lost.target} was not taken out", resolution="run the drill again when it can be")

    def give_back(self, lost: Casualties) -> None:
        """Ask for it to be brought back, until somebody says that it is."""
        while not self._ask(f"{_order(lost, 'Switch on')} Say yes when it is on."):
            continue


def _order(lost: Casualties, verb: str) -> str:
    kind, name = lost.target.kind, lost.target.name
    if kind == "site":
        return f"{verb} every host of the site at once."
    if kind == "rack":
        return f"{verb} rack {name}: both of its feeds, and its uplinks."
    return f"{verb} {'the host' if kind == 'host' else lost.area or 'the component'} {name}."
