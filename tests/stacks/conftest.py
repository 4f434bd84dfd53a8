"""The engine for tests: skipped by name where there is none."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.stacks import engine
from tests.stacks.scripted import Script


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(tmp_path)


@pytest.fixture
def program() -> Path:
    found = engine.program()
    if found is None:
        pytest.skip("no Pulumi engine on PATH, in the cache, or by GCLOUD_PK_TEST_ENGINE")
    return found


@pytest.fixture
def desk(tmp_path: Path, script: Script, program: Path) -> Iterator[engine.Desk]:
    """One stack, its provider served by this process."""
    with engine.in_process(script) as port:
        yield engine.Desk(tmp_path, program, port)
    tidy()


def tidy() -> None:
    """Let go of what the Automation API leaves of programs that failed."""
    with engine.unheard(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.fixture(scope="session", autouse=True)
def _loop() -> Iterator[None]:
    """Give the Automation API an event loop that somebody closes."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    loop.close()
    asyncio.set_event_loop(None)
    tidy()
