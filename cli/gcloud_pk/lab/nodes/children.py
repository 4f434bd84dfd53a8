"""How a program is started that must not outlive the one that started it, however that one ends."""

from __future__ import annotations

DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")
"""Begins a command line: the kernel kills the program when the thread that started it is gone (prctl(2))."""
