"""Gathering: the findings of a long run, light in memory, whole in a file that ends with the process.

Two hundred tenants make hundreds of thousands of findings, each with what was sent and received: together more than a
machine should have to hold.
"""

from __future__ import annotations

import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import IO, Any, Self

from gcloud_pk.evidence.report import Report, encodable
from gcloud_pk.model.finding import Finding, Verdict
from gcloud_pk.text import as_json

_NOTHING: dict[str, Any] = {}
_FAST = 1


class Gathering:
    """Findings as they come. With `whole`, their evidence is kept too, for `write`; without, it is let go."""

    def __init__(self, *, whole: bool) -> None:
        """Open the file that holds the evidence; it has no name, so that a killed run leaves nothing."""
        self.findings: list[Finding] = []
        """All of them without evidence; of those that passed, without expectation and observation."""
        self._file: IO[bytes] | None = tempfile.TemporaryFile() if whole else None  # noqa: SIM115 - closed on exit
        self._places: list[tuple[str, str, int, int]] = []

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def add(self, findings: Iterable[Finding]) -> None:
        """Take findings in."""
        for finding in findings:
            if self._file is not None:
                data = zlib.compress(_text(finding).encode(), _FAST)
                self._places.append((sys.intern(finding.subject), finding.id, self._file.tell(), len(data)))
                self._file.write(data)
            self.findings.append(_light(finding))

    def write(self, head: Report, stream: IO[str]) -> None:
        """Write the report as one JSON document, a line for each result, sorted. `head`: a report without results."""
        for number, (key, value) in enumerate(head.items()):
            stream.write("{\n" if number == 0 else ",\n")
            stream.write(f"{as_json(key)}: ")
            if key != "results":
                stream.write(as_json(value, indent=None))
                continue
            separator = "[\n"
            for text in self._texts():
                stream.write(separator + text)
                separator = ",\n"
            stream.write("\n]" if self._places else "[]")
        stream.write("\n}\n")

    def _texts(self) -> Iterator[str]:
        assert self._file is not None  # noqa: S101 - who writes has asked for the whole
        for _, _, start, length in sorted(self._places):
            self._file.seek(start)
            yield zlib.decompress(self._file.read(length)).decode()


def _text(finding: Finding) -> str:
    shape = finding.as_dict()
    text = as_json(shape, indent=None)
    # Half of a surrogate pair, which is rare, stands as an escape here that no UTF-8 can say.
    return as_json(encodable(shape), indent=None) if "\\ud" in text else text


def _light(finding: Finding) -> Finding:
    subject = sys.intern(finding.subject)
    if finding.verdict is not Verdict.PASS:
        return replace(finding, subject=subject, evidence=_NOTHING)
    return replace(finding, subject=subject, expected="", observed="", evidence=_NOTHING)
