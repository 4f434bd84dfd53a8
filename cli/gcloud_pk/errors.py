"""Errors that people can act on: message, details, resolution and exit code.

`main.py` is the one boundary that turns them into output.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar

from gcloud_pk.text import in_line


class ExitCode(IntEnum):
    """The exit codes of the architecture; relied on from outside."""

    DONE = 0
    DEFECT = 1
    USAGE = 2
    INVALID = 3
    REFUSED = 4
    UNAVAILABLE = 5
    FAILED = 6
    NOT_CHECKED = 7
    PARTIAL = 8
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong: where it stands, what is wrong, what was expected. Lines count from 1.

    As a text, of one line: `file:line: field: message; expected what`.
    """

    file: str | None
    line: int | None
    field: str | None
    message: str
    expected: str | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        where = ": ".join(part for part in (place, self.field) if part)
        tail = f"; expected {self.expected}" if self.expected else ""
        return in_line(f"{where}: {self.message}{tail}" if where else f"{self.message}{tail}")

    def as_dict(self) -> dict[str, str | int | None]:
        """Return the shape of `error.details[]`."""
        return {
            "file": self.file,
            "line": self.line,
            "field": self.field,
            "message": self.message,
            "expected": self.expected,
        }


def problem(
    message: str, *, file: object = None, line: int | None = None, field: str | None = None, expected: str | None = None
) -> Problem:
    """Make a Problem by keywords."""
    return Problem(None if file is None else str(file), line, field, message, expected)


class GcloudPkError(Exception):
    """An expected error. `resolution` says what to do next."""

    code: ClassVar[ExitCode] = ExitCode.DEFECT

    def __init__(self, message: str, *, details: Iterable[Problem | str] = (), resolution: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = tuple(d if isinstance(d, Problem) else problem(d) for d in details)
        self.resolution = resolution

    def as_dict(self) -> dict[str, Any]:
        """Return the shape of `error` in a JSON document."""
        return {
            "code": int(self.code),
            "message": self.message,
            "details": [detail.as_dict() for detail in self.details],
            "resolution": self.resolution,
        }


class WrongUsageError(GcloudPkError):
    """Options that do not fit together."""

    code = ExitCode.USAGE


class InvalidInputError(GcloudPkError):
    """A request or the registry's content breaks a rule; all problems at once."""

    code = ExitCode.INVALID


class RefusedError(GcloudPkError):
    """Approval, signature, trust, state, wrong cluster, declined or missing confirmation."""

    code = ExitCode.REFUSED


class UnavailableError(GcloudPkError):
    """Something that is needed is not there or does not answer; nothing was written."""

    code = ExitCode.UNAVAILABLE


class CheckFailedError(GcloudPkError):
    """Checked, and something failed."""

    code = ExitCode.FAILED


class NotCheckedError(GcloudPkError):
    """Not everything could be checked, nothing failed."""

    code = ExitCode.NOT_CHECKED


class PartialError(GcloudPkError):
    """Stopped or failed half way, something was written; run again to converge."""

    code = ExitCode.PARTIAL
