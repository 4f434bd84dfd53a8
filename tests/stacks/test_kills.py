"""What is killed in the middle is gone on with: the provider as a plug-in of its own, as an installed one is."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.stacks.conftest import tidy
from tests.stacks.engine import Desk, Result, host, site
from tests.stacks.scripted import Script

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

SITE = site(host("c1", 11), host("w1", 21))


@pytest.fixture
def apart(tmp_path: Path, script: Script, program: Path) -> Iterator[Desk]:
    """One stack, its provider a process that the engine starts."""
    yield Desk(tmp_path, program, None)
    tidy()


def _until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def _rests(desk: Desk) -> Callable[[], bool]:
    """Return a condition: the stack's state has been the same for 1.5 s, which is what an engine at rest does."""
    seen, since = desk.state(), time.monotonic()

    def same() -> bool:
        nonlocal seen, since
        if (found := desk.state()) != seen:
            seen, since = found, time.monotonic()
        return time.monotonic() - since >= 1.5

    return same


def _plugin(desk: Desk) -> int:
    return int((desk.folder / "plugin.pid").read_text())


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture
def joining(apart: Desk) -> Iterator[tuple[Desk, threading.Thread, list[Result]]]:
    """An up that is in the middle of a slow join."""
    apart.script.set(seconds={"join": 300})
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(apart.up(SITE)))
    thread.start()
    _until((apart.folder / "world.json").exists)  # the control plane is there
    _until(lambda: "Member" in apart.state())
    # An engine that is killed while it writes its state leaves half of it: recovering that is the driver's.
    _until(_rests(apart))
    yield apart, thread, results
    thread.join(120)
    assert not thread.is_alive()


def test_after_a_killed_provider_the_next_up_goes_on_from_there(
    joining: tuple[Desk, threading.Thread, list[Result]],
) -> None:
    desk, thread, results = joining
    os.kill(_plugin(desk), signal.SIGKILL)
    thread.join(120)
    assert results[0].error != ""

    desk.script.taken()
    desk.script.set()
    again = desk.up(SITE)

    assert again.error == ""
    assert desk.script.taken() == ["join c1,w1", "addons c1,w1"]
    assert desk.up(SITE).operations == {}


def test_after_a_killed_engine_its_provider_ends_and_the_next_up_goes_on(
    joining: tuple[Desk, threading.Thread, list[Result]],
) -> None:
    desk, thread, _ = joining
    plugin = _plugin(desk)
    os.kill(_parent(plugin), signal.SIGKILL)
    thread.join(120)
    _until(lambda: not _alive(plugin))

    desk.script.taken()
    desk.script.set()
    desk.stack(SITE).cancel()
    again = desk.up(SITE)

    assert again.error == ""
    assert desk.script.taken() == ["join c1,w1", "addons c1,w1"]
    assert desk.script.world["etcd"] == ["c1"]


def test_a_stopped_run_ends_what_is_under_way_and_begins_nothing_new(
    joining: tuple[Desk, threading.Thread, list[Result]],
) -> None:
    desk, thread, results = joining
    began = time.monotonic()
    os.kill(_parent(_plugin(desk)), signal.SIGINT)
    thread.join(120)

    assert time.monotonic() - began < 120, "the join would have taken 300 s"
    assert "cancel" in results[0].error
    assert [deed for deed in desk.script.taken() if deed.startswith("addons")] == []
