"""Lines of events: what Ansible tells is taken in, what a hostile node could make of it is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gcloud_pk.nodes import events
from gcloud_pk.nodes.events import End, Play, Result, Start, Task


def line(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def result(**fields: Any) -> bytes:
    return line(**{"event": "result", "time": 1.5, "host": "n1", "task": "t", "status": "ok", **fields})


@pytest.mark.parametrize(
    ("said", "event"),
    [
        (line(event="play", time=1, name="Harden", roles=["ssh", "sudo"]), Play("Harden", ("ssh", "sudo"))),
        (
            line(event="task", time=1, task="t", name="A file", role="ssh", tags=["ssh", "GPK-SSH-001", "GPK-X"]),
            Task("t", "A file", "ssh", ("GPK-SSH-001",), ("ssh", "GPK-SSH-001", "GPK-X")),
        ),
        (
            line(event="task", time=1, task="t", name="Reload", role="ssh", tags=[], kind="handler"),
            Task("t", "Reload", "ssh", (), (), "handler"),
        ),
        (line(event="start", time=1, host="n1", task="t"), Start("n1", "t")),
        (result(), Result("n1", "t", "ok", 1.5)),
        (
            result(status="changed", paths=["/etc/x"], refused=[{"key": "kernel.x", "wanted": "1"}], warnings=["w"]),
            Result("n1", "t", "changed", 1.5, "", ("/etc/x",), ({"key": "kernel.x", "wanted": "1"},), ("w",)),
        ),
        (result(withheld=True), Result("n1", "t", "ok", 1.5, withheld=True)),
        (
            line(event="end", hosts={"a": {"failures": 0, "unreachable": 0}, "b": {"failures": 1, "unreachable": 0}}),
            End(frozenset({"b"})),
        ),
    ],
)
def test_an_event_is_read(said: bytes, event: events.Event) -> None:
    assert events.parse(said) == event


HOSTILE = {
    "no-json": b"[",
    "nothing": b"",
    "no-object": b"[]",
    "no-utf-8": b'{"event": "\xff"}',
    "deep": b'{"event":' + b"[" * 100_000,
    "unknown": line(event="reboot"),
    "status-of-its-own": result(status="fine"),
    "task-of-no-kind": line(event="task", task="t", name="x", role=None, tags=[], kind="other"),
    "status-is-a-list": result(status=["ok"]),
    "started-nowhere": line(event="start", task="t"),
    "host-is-a-number": result(host=1),
    "no-host": line(event="result", status="ok", time=1, task="t"),
    "time-is-a-text": result(time="soon"),
    "paths-is-a-text": result(paths="/etc/shadow"),
    "refused-is-text": result(refused=["x"]),
    "message-is-an-object": result(message={"a": 1}),
    "end-without-counts": line(event="end", hosts={"n1": {}}),
    "huge": result(message="x" * events.LINE),
}


@pytest.mark.parametrize("said", HOSTILE.values(), ids=HOSTILE)
def test_what_has_another_shape_is_no_event(said: bytes) -> None:
    assert events.parse(said) is None


def test_texts_and_lists_are_cut() -> None:
    event = events.parse(result(message="x" * 100_000, paths=["p"] * 5_000, diff="d" * 500_000))
    assert isinstance(event, Result)
    assert len(event.message) == 8_000
    assert len(event.paths) == 1_000
    assert len(event.diff) == 80_000


def test_a_lone_surrogate_is_written_out() -> None:
    event = events.parse(b'{"event":"result","time":1,"host":"n1","task":"t","status":"ok","message":"\\ud800"}')
    assert isinstance(event, Result)
    event.message.encode()
