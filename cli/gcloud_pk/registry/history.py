"""`tenants/<tenant>/history.jsonl`: what was done with a tenant, each line bound to the one before by its hash. Pure.

One JSON object a line. `previous` is the SHA-256 of the line before with its newline, so that
`sed -n 3p history.jsonl | sha256sum` gives what line 4 says; the first says 64 zeros. Where two people appended at once
and git put both ends together (`merge=union`), the next line names the other ends under `joins`.

Nobody signs these lines: whoever may edit the folder can write others, but not change or drop one that a later line, or
the cluster's `Tenant.status.historyHead`, names.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any, Literal, get_args

from gcloud_pk import __version__
from gcloud_pk.errors import Problem, problem
from gcloud_pk.text import stamp

Act = Literal[
    "submit", "approve", "reject", "onboard", "verify", "suspend", "resume", "retire", "offboard", "waiver"
]  # fmt: skip

FILE = "history.jsonl"
LIMIT = 16 * 1024 * 1024
"""Bytes: the largest history that is read; some 40,000 acts."""

CLOCKS = dt.timedelta(minutes=5)
"""How far clocks of two machines may differ."""

NOTHING = "0" * 64
"""What the first line gives as the hash of the line before."""

CLOSING: frozenset[Act] = frozenset({"suspend", "offboard", "reject"})
"""Acts that close: a history that was tampered with must not stop them."""

_STATES: frozenset[Act] = frozenset({"suspend", "resume", "offboard", "reject"})
_KEYS = ("time", "tenant", "act", "actor", "revision", "digest", "cluster", "tool", "detail", "previous")
_HASH = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")


@dataclass(frozen=True)
class Line:
    """One act. `number` counts from 1; `hash`: SHA-256 of the line with its newline; `time` is UTC."""

    number: int
    hash: str
    time: dt.datetime
    tenant: str
    act: Act
    actor: str
    revision: int | None
    digest: str | None
    cluster: str | None
    tool: str
    detail: Mapping[str, str | int]
    previous: str
    joins: tuple[str, ...] = ()

    @property
    def parents(self) -> tuple[str, ...]:
        """The hashes of the lines that this one follows."""
        return (*(() if self.previous == NOTHING else (self.previous,)), *self.joins)

    def as_dict(self) -> dict[str, Any]:
        """Return the shape of `lines[]` in `registry history --format json`: the line's own keys, number and hash."""
        said = _fields(self)
        return {"line": self.number, "sha256": self.hash, **said}


@dataclass(frozen=True)
class Chain:
    """A history as it was read: `lines` that can be read, each once, in the file's order.

    `problems` name what was changed, lost or put elsewhere. `ends`: hashes of the lines that none below names; more
    than one where two people appended at once, which is nothing wrong: the next act joins them.
    """

    file: str
    lines: tuple[Line, ...] = ()
    problems: tuple[Problem, ...] = ()
    ends: tuple[str, ...] = ()
    hashes: dict[str, int] = field(default_factory=dict)
    """Every line's hash, readable or not → its number."""

    @property
    def head(self) -> str | None:
        """The hash of the last line."""
        return next(reversed(self.hashes), None)

    @cached_property
    def time(self) -> dt.datetime | None:
        """The latest time that a line gives."""
        return max((line.time for line in self.lines), default=None)

    def moment(self, now: dt.datetime) -> dt.datetime:
        """Return when a state that is set now is set: clocks differ, and it must not look older than what was done.

        A line of a time to come counts for nothing here: a suspension of its time could not be lifted until then.
        """
        return max([now, *(line.time for line in self.lines if line.time <= now + CLOCKS)])

    @property
    def notes(self) -> tuple[Problem, ...]:
        """What somebody should know of, and need not mend."""
        if self.problems or len(self.ends) < 2:
            return ()
        numbers = sorted(self.hashes[end] for end in self.ends)
        return (
            problem(
                f"has {len(numbers)} ends (lines {', '.join(map(str, numbers))}): people acted at the same time; "
                "the next act joins them",
                file=self.file,
            ),
        )

    @cached_property
    def closings(self) -> tuple[Line, ...]:
        """Every suspension and offboarding of the whole tenant, whatever follows it, in the file's order.

        Nobody signs a resumption's line: these close until an approver's signature opens (`standing.bound`).
        """
        return tuple(
            line for line in self.lines if line.act in {"suspend", "offboard"} and "environment" not in line.detail
        )

    @cached_property
    def closed(self) -> tuple[Line, ...]:
        """Of the closings, those that no resumption follows: what is to be given back. An offboarding is for good.

        A resumption ends what it follows and nothing else: of two that acted at once, the closing one holds.
        """
        parents = {line.hash: line.parents for line in self.lines}
        ahead = [line.hash for line in self.lines if line.act == "resume"]
        opened: set[str] = set()
        while ahead:
            for parent in parents.get(ahead.pop(), ()):
                if parent not in opened:
                    opened.add(parent)
                    ahead.append(parent)
        return tuple(line for line in self.closings if line.act == "offboard" or line.hash not in opened)

    def until(self, head: str) -> Chain:
        """Return the line of a hash with all that it follows, near or far; nothing where it is not there."""
        parents = {line.hash: line.parents for line in self.lines}
        known, ahead = {head}, [head]
        while ahead:
            for parent in parents.get(ahead.pop(), ()):
                if parent not in known:
                    known.add(parent)
                    ahead.append(parent)
        hashes = {digest: number for digest, number in self.hashes.items() if digest in known}
        return Chain(self.file, tuple(line for line in self.lines if line.hash in known), (), (head,), hashes)

    def approved_at(self, digest: str | None) -> dt.datetime | None:
        """Return when the request of a digest was approved last (UTC)."""
        return max((line.time for line in self.lines if (line.act, line.digest) == ("approve", digest)), default=None)

    def rejected(self, digest: str | None) -> Line | None:
        """Return the last rejection of the request of a digest."""
        return next((line for line in reversed(self.lines) if line.act == "reject" and line.digest == digest), None)

    def says(
        self, act: Act, actor: str, digest: str | None, cluster: str | None, detail: Mapping[str, str | int]
    ) -> bool:
        """Whether the last act of this kind was this very one: repeated after an interruption, it is not written again.

        Acts that set a state are one kind. Numbers of the detail may differ, they count what is found.
        """
        kind = _STATES if act in _STATES else {act}
        last = next((line for line in reversed(self.lines) if line.act in kind), None)
        return last is not None and (last.act, last.actor, last.digest, last.cluster, _texts(last.detail)) == (
            act, actor, digest, cluster, _texts(detail)
        )  # fmt: skip


def _texts(detail: Mapping[str, str | int]) -> dict[str, str]:
    return {name: value for name, value in detail.items() if isinstance(value, str)}


def line(
    chain: Chain,
    tenant: str,
    act: Act,
    actor: str,
    *,
    time: dt.datetime,
    digest: str | None,
    revision: int | None,
    cluster: str | None,
    detail: Mapping[str, str | int],
) -> bytes:
    """Return the bytes of the line that follows a chain, with its newline.

    `time`: the later of this moment and the chain's last counts: clocks differ, and a chain never goes back.
    """
    head = chain.head
    written = Line(
        len(chain.hashes) + 1,
        "",
        max(time.astimezone(dt.UTC), chain.time or time),
        tenant,
        act,
        actor,
        revision,
        digest,
        cluster,
        __version__,
        detail,
        head or NOTHING,
        tuple(end for end in chain.ends if end != head),
    )
    # What cannot be UTF-8 (a strange login name) becomes an escape, which JSON reads as the same.
    return (json.dumps(_fields(written), ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def _fields(said: Line) -> dict[str, Any]:
    return {
        "time": stamp(said.time),
        "tenant": said.tenant,
        "act": said.act,
        "actor": said.actor,
        "revision": said.revision,
        "digest": said.digest,
        "cluster": said.cluster,
        "tool": said.tool,
        "detail": dict(said.detail),
        "previous": said.previous,
        **({"joins": list(said.joins)} if said.joins else {}),
    }


def read(data: bytes, file: str, tenant: str, now: dt.datetime) -> Chain:
    """Read the bytes of a history. Never raises for what they hold; `problems` says what is wrong, by line.

    A line of a time to come is wrong: every later one would inherit its time.
    """
    if not data:
        return Chain(file, problems=(problem("is empty", file=file, expected="a line for each act"),))
    problems: list[Problem] = []
    ended = data.count(b"\r\n")
    if ended:
        which = "every line ends" if ended == data.count(b"\n") else f"{ended} lines end"
        problems.append(problem(f"{which} in CR LF", file=file, line=1, expected="LF (.gitattributes: * -text)"))
        # Read as they were written, they show whether anything else was changed, and what they closed stays closed.
        data = data.replace(b"\r\n", b"\n")
    parts = data.split(b"\n")
    if parts[-1]:
        problems.append(problem("ends in the middle of a line", file=file, line=len(parts), expected="a newline"))
    else:
        parts.pop()
    hashes: dict[str, int] = {}
    lines: list[Line] = []
    for number, text in enumerate(parts, 1):
        digest = sha256(text + b"\n").hexdigest()
        if digest in hashes:
            continue  # git's union may write a line of both sides twice; it says nothing new
        hashes[digest] = number
        found = _read_line(text, number, digest)
        if isinstance(found, str):
            problems.append(problem(found, file=file, line=number, expected=f"an object with {', '.join(_KEYS)}"))
        else:
            lines.append(found)
    problems += _wrong_links(lines, hashes, file)
    problems += [
        problem(f"is of tenant {said.tenant!r}", file=file, line=said.number, field="tenant", expected=tenant)
        for said in lines
        if said.tenant != tenant
    ]
    problems += [
        problem(
            f"its time is yet to come ({said.time:%Y-%m-%d %H:%M:%S} UTC)",
            file=file,
            line=said.number,
            field="time",
            expected=f"at most {now + CLOCKS:%Y-%m-%d %H:%M:%S} UTC, by this machine's clock",
        )
        for said in lines
        if said.time > now + CLOCKS
    ]
    named = {parent for said in lines for parent in said.parents}
    ends = tuple(digest for digest in hashes if digest not in named)
    return Chain(file, tuple(lines), tuple(sorted(problems, key=lambda one: one.line or 0)), ends, hashes)


def _wrong_links(lines: Sequence[Line], hashes: Mapping[str, int], file: str) -> Iterator[Problem]:
    readable = {said.hash: said for said in lines}
    first = next(iter(hashes.values()), None)
    for said in lines:
        if said.previous == NOTHING and said.number != first:
            yield problem("begins anew: the lines before it are not its own", file=file, line=said.number)
        for parent in said.parents:
            number = hashes.get(parent)
            if number is None:
                wrong = "the line before it was changed or is missing"
                if parent in said.joins:
                    wrong = "a line that it joins was changed or is missing"
                yield problem(wrong, file=file, line=said.number, expected=f"a line of SHA-256 {parent} above")
            elif number > said.number:
                yield problem(f"stands above line {number}, which it follows", file=file, line=said.number)
            elif parent in readable and readable[parent].time > said.time:
                yield problem(
                    f"its time is before that of line {number}, which it follows",
                    file=file,
                    line=said.number,
                    field="time",
                )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _read_line(text: bytes, number: int, digest: str) -> Line | str:
    """Return a line, or what is wrong with it."""
    try:
        said = json.loads(text.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return "is no JSON object with each key once"
    if not isinstance(said, dict):
        return "is no JSON object"
    if missing := [key for key in _KEYS if key not in said]:
        return f"lacks {', '.join(missing)}"
    if unknown := sorted(set(said) - {*_KEYS, "joins"}):
        return f"has a key that no line has: {unknown[0]!r}"
    if wrong := [key for key in said if not _is_well_formed(key, said[key])]:
        return f"{wrong[0]} has not the form of one"
    moment = dt.datetime.fromisoformat(said["time"])
    rest = {key: said[key] for key in _KEYS if key != "time"}
    return Line(number, digest, moment, **rest, joins=tuple(said.get("joins", ())))


def _is_well_formed(key: str, value: Any) -> bool:
    if value is None:
        return key in {"revision", "digest", "cluster"}
    match key:
        case "time":
            return _is_time(value)
        case "act":
            return value in get_args(Act)
        case "revision":
            return type(value) is int and value >= 1
        case "digest" | "previous":
            return _is_hash(value)
        case "joins":
            return isinstance(value, list) and bool(value) and all(map(_is_hash, value))
        case "detail":
            return isinstance(value, dict) and all(type(inner) in {str, int} for inner in value.values())
        case _:
            return isinstance(value, str) and bool(value)


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


def _is_time(value: Any) -> bool:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return False
    try:
        dt.datetime.fromisoformat(value)
    except ValueError:
        return False
    return True
