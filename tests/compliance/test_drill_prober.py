"""A prober: every 100 ms a new connection, whatever became of those before; nothing is sent that no ledger has."""

from __future__ import annotations

import asyncio
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cluster_server import DROP, Asked, serving, status

from gcloud_pk.cluster.kubeconfig import Access
from gcloud_pk.errors import UnavailableError
from gcloud_pk.proof.drill import ledger, probes
from gcloud_pk.proof.drill.prober import Door, go_on, reading, writing
from gcloud_pk.proof.drill.probes import Aim, Probers
from gcloud_pk.proof.drill.trace import read


async def _probing(probe: Any, seconds: float, **how: Any) -> list[Any]:
    trace = io.StringIO()
    settings = {"interval": 0.05, "patience": 1.0, "most": 30} | how
    await go_on(probe, trace, asyncio.sleep(seconds), **settings)
    return read(trace.getvalue().splitlines())


def test_a_probe_that_hangs_does_not_keep_the_next_from_being_sent() -> None:
    async def hanging(number: int) -> tuple[bool, str]:
        await asyncio.sleep(0 if number % 2 else 0.4)
        return True, "200"

    samples = asyncio.run(_probing(hanging, 1.0))
    assert len(samples) >= 15
    assert sum(one.seconds > 0.3 for one in samples) >= 7


def test_a_probe_without_an_answer_is_given_up_in_time() -> None:
    async def silent(_: int) -> tuple[bool, str]:
        await asyncio.sleep(9)
        return True, "200"

    begun = time.monotonic()
    samples = asyncio.run(_probing(silent, 0.3, patience=0.2))
    assert time.monotonic() - begun < 2
    assert {(one.ok, one.said) for one in samples} == {(False, "no answer in time")}


def test_no_more_than_so_many_probes_are_under_way_at_once() -> None:
    now = most = 0

    async def counting(_: int) -> tuple[bool, str]:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.5)
        now -= 1
        return True, "200"

    asyncio.run(_probing(counting, 0.6, most=3))
    assert most == 3


def test_a_full_disk_under_the_ledger_ends_the_prober_because_nothing_may_be_sent_without() -> None:
    async def full(_: int) -> tuple[bool, str]:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        asyncio.run(_probing(full, 0.3))


def _door(url: str) -> Door:
    return Door.of_api(Access(context="test", server=url))


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        ((201, {}), "acknowledged"),
        (status(403, "forbidden"), "refused"),
        (status(500, "etcdserver: request timed out"), "unknown"),
        (DROP, "unknown"),
    ],
)
def test_what_came_of_a_write_is_what_the_server_said_of_it(tmp_path: Path, reply: Any, outcome: str) -> None:
    path = tmp_path / "ledger.jsonl"
    standing: list[int] = []

    def answer(asked: Asked) -> Any:
        standing.append(len(path.read_text().splitlines()))
        assert asked.body["data"]["number"] == "7"
        return reply

    with serving(answer) as server:
        written = ledger.Ledger(path)
        probe = writing(_door(server.url), "/api/v1/namespaces/x/configmaps", "r1", written)
        asyncio.run(_once(probe))
    (entry,) = ledger.read(path.read_text().splitlines()).values()
    assert entry.outcome.value == outcome
    assert standing == [1]  # it stood in the ledger when the server got it


async def _once(probe: Any) -> None:
    try:
        await probe(7)
    except (OSError, EOFError):
        return


def test_a_write_for_which_nobody_listens_was_never_sent(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    written = ledger.Ledger(path)
    asyncio.run(_once(writing(_door("http://127.0.0.1:1"), "/x", "r1", written)))
    assert ledger.read(path.read_text().splitlines())[7].outcome is ledger.Outcome.UNSENT


def test_a_refusal_is_told_in_the_servers_words() -> None:
    with serving(lambda _: status(403, "configmaps is forbidden")) as server:
        ok, said = asyncio.run(_result(reading(_door(server.url), "/x")))
    assert (ok, said) == (False, "403 configmaps is forbidden")


async def _result(probe: Any) -> Any:
    return await probe(0)


def test_probers_run_as_processes_of_their_own_that_carry_no_secret_in_their_arguments(tmp_path: Path) -> None:
    def reply(asked: Asked) -> Any:
        # The service is somebody else's: it gets no credentials.
        assert asked.header("Authorization") == ([] if asked.path == "/service" else ["Bearer secret-token"])
        return 200 if asked.method == "GET" else 201, {}

    with serving(reply) as server:
        access = Access(context="test", server=server.url, token="secret-token")
        with Probers(tmp_path, Aim(access, "drill", "r1", f"{server.url}/service")) as probers:
            time.sleep(1.0)
            pids = [process.pid for process in probers._running.values()]
            words = [
                Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/environ").read_text() for pid in pids
            ]
            assert probers.dead() == {}
        for kind in ("read", "write", "service"):
            samples = probes.samples(tmp_path, kind)
            assert len(samples) >= 6
            assert all(one.ok for one in samples)
    assert len(pids) == 3
    assert not any("secret-token" in text for text in words)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    entries = ledger.read((tmp_path / "ledger.jsonl").read_text().splitlines())
    assert {one.outcome for one in entries.values()} == {ledger.Outcome.ACKNOWLEDGED}
    assert "secret-token" not in "".join(path.read_text() for path in tmp_path.iterdir())


def test_a_prober_that_was_killed_is_told_of(tmp_path: Path) -> None:
    with serving(lambda _: (200, {})) as server:
        aim = Aim(Access(context="test", server=server.url), "drill", "r1")
        with Probers(tmp_path, aim) as probers:
            os.kill(probers._running["read"].pid, 9)
            probers._running["read"].wait()
            assert list(probers.dead()) == ["read"]


def test_a_ledger_that_cannot_be_written_keeps_the_probers_from_starting(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").mkdir()
    with serving(lambda _: (200, {})) as server:
        aim = Aim(Access(context="test", server=server.url), "drill", "r1")
        with pytest.raises(UnavailableError, match="does not start") as told, Probers(tmp_path, aim):
            pass
    assert "ledger" in json.dumps([one.message for one in told.value.details])
