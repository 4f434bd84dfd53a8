"""The engine as the Automation API runs it: in a session of its own, its words kept off the disk's names.

Imports Pulumi: only imported by what drives it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from pulumi.automation import CommandResult, OnOutput, PulumiCommand
from pulumi.automation.errors import create_command_error
from semver import VersionInfo

from gcloud_pk import paths
from gcloud_pk.stack.engine import Engine


class EngineCommand(PulumiCommand):
    """The engine's program. `interrupts` counts Ctrl-C; `on_interrupt` is told of each, by its number.

    A terminal's Ctrl-C goes to us alone: the engine runs in a session of its own and gets one signal for each. The
    first: it waits for what is in flight. The second: it ends at once. A third kills it.
    """

    def __init__(self, engine: Engine, on_interrupt: Callable[[int], None]) -> None:  # the base would look on PATH
        self.command = str(engine.path)
        self.version = VersionInfo.parse(engine.version)
        self.interrupts = 0
        self._on_interrupt = on_interrupt
        self._child: subprocess.Popen[bytes] | None = None

    def run(
        self,
        args: list[str],
        cwd: str,
        additional_env: Mapping[str, str],
        on_output: OnOutput | None = None,
        on_error: OnOutput | None = None,
    ) -> CommandResult:
        """Run one command of the engine. Raises pulumi's CommandError where it fails."""
        launcher = paths.package("stack", "launcher.py")
        words = [sys.executable, "-I", str(launcher), str(os.getpid()), self.command, "--non-interactive", *args]
        # Unlinked files, not pipes: an engine whose parent is gone would die of the pipe before its state is written.
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            child = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                cwd=cwd,
                env=surroundings(additional_env),
                start_new_session=True,
            )
            self._child = child
            try:
                code = child.wait()
            finally:
                self._child = None
                if child.poll() is None:
                    child.send_signal(signal.SIGINT)
            result = CommandResult(_read(output, on_output), _read(errors, on_error), code)
        if code:
            raise create_command_error(result)
        return result

    def stop(self) -> None:
        """Have the engine end as a first Ctrl-C would, though nobody pressed it."""
        if (child := self._child) is not None:
            with suppress(ProcessLookupError):
                child.send_signal(signal.SIGINT)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Take Ctrl-C, SIGTERM and the end of the terminal meanwhile, where this is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, self._interrupt) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _interrupt(self, *_: object) -> None:
        self.interrupts += 1
        if (child := self._child) is not None:
            with suppress(ProcessLookupError):
                child.send_signal(signal.SIGINT if self.interrupts < 3 else signal.SIGKILL)
        self._on_interrupt(self.interrupts)


def surroundings(told: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with what is told; what is told to be empty is taken out."""
    full = {**os.environ, **told, "PULUMI_AUTOMATION_API": "true"}
    return {name: value for name, value in full.items() if value or name not in told}


def _read(stream: Any, tell: OnOutput | None) -> str:
    stream.seek(0)
    text: str = stream.read().decode("utf-8", "replace")
    if tell:
        for line in text.splitlines():
            tell(line)
    return text.rstrip("\n")
