"""The lease, against a tiny local server that keeps one Lease with optimistic locking."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.unit.cluster_server import Asked, serving, status

from gcloud_pk.cluster import lease as module
from gcloud_pk.cluster.lease import Holder, Lease
from gcloud_pk.errors import PartialError, UnavailableError


class FakeLeases:
    """One Lease, as kube-apiserver keeps it."""

    def __init__(self) -> None:
        self.live: dict[str, Any] | None = None
        self.version = 0
        self.lock = threading.Lock()

    def __call__(self, asked: Asked) -> Any:
        with self.lock:
            return self.answer(asked)

    def answer(self, asked: Asked) -> Any:
        if asked.method == "POST":
            return status(409, "exists", "AlreadyExists") if self.live else (201, self.store(asked.body))
        if self.live is None:
            return status(404, "not found")
        if asked.method == "GET":
            return 200, self.live
        metadata = asked.body.get("preconditions") or asked.body["metadata"]
        if metadata["resourceVersion"] != self.live["metadata"]["resourceVersion"]:
            return status(409, "the object has been modified", "Conflict")
        if asked.method == "DELETE":
            self.live = None
            return 200, {}
        return 200, self.store(asked.body)

    def store(self, body: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.live = body | {"metadata": body["metadata"] | {"uid": "u", "resourceVersion": str(self.version)}}
        return self.live

    def held_by(self, holder: Holder, renewed: str | None = None) -> None:
        stamp = renewed or module._stamp()
        self.store({
            "metadata": {"name": "t", "annotations": {
                "gcloud.gov.pk/holder-machine": holder.machine, "gcloud.gov.pk/holder-started": holder.started}},
            "spec": {"holderIdentity": holder.identity, "acquireTime": stamp, "renewTime": stamp},
        })  # fmt: skip


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DURATION", 0.6)
    monkeypatch.setattr(module, "RENEWAL", 0.2)
    monkeypatch.setattr(module, "_POLL", 0.02)


def until_lost(lease: Lease) -> None:
    """Ask whether a lease is held until it is not."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        lease.check()
        time.sleep(0.02)


@pytest.fixture
def lasting(fast: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Renew as often as `fast` does, for a lease that a busy machine renews in time."""
    monkeypatch.setattr(module, "DURATION", 60)


def elsewhere() -> Holder:
    return Holder("ali@other:77:abcd1234", 77, "another-boot/pid:[1]", "5")


def test_a_free_lease_is_taken_and_released() -> None:
    leases = FakeLeases()
    with serving(leases) as server:
        with Lease(server.api(), "t") as lease:
            assert leases.live is not None
            assert leases.live["spec"]["holderIdentity"] == lease.holder.identity
            assert leases.live["spec"]["leaseDurationSeconds"] == 15
            lease.check()
        assert leases.live is None
        assert server.asked[0].path == "/apis/coordination.k8s.io/v1/namespaces/gcloud-pk-system/leases"


def test_it_is_released_when_the_work_fails() -> None:
    leases = FakeLeases()
    with serving(leases) as server:
        with pytest.raises(KeyError), Lease(server.api(), "t"):
            raise KeyError
        assert leases.live is None


def test_a_lease_that_somebody_holds_is_refused_with_his_name_and_since_when() -> None:
    leases = FakeLeases()
    leases.held_by(elsewhere())
    told: list[tuple[str, str]] = []
    with serving(leases) as server, pytest.raises(UnavailableError) as caught:
        Lease(server.api(), "t", wait=0.1, on_wait=lambda who, since: told.append((who, since))).__enter__()
    assert leases.live is not None
    since = leases.live["spec"]["acquireTime"]
    assert f"ali@other:77:abcd1234 works on 't' since {since}" in caught.value.message
    assert told == [("ali@other:77:abcd1234", since)], "told once"


def test_a_lease_that_becomes_free_is_taken(fast: None) -> None:
    leases = FakeLeases()
    leases.held_by(elsewhere())

    def leave() -> None:
        leases.live = None

    threading.Timer(0.1, leave).start()
    with serving(leases) as server, Lease(server.api(), "t", wait=60) as lease:
        assert leases.live is not None
        assert leases.live["spec"]["holderIdentity"] == lease.holder.identity


def test_a_lease_that_is_not_renewed_is_taken_over(fast: None) -> None:
    leases = FakeLeases()
    leases.held_by(elsewhere())
    with serving(leases) as server:
        started = time.monotonic()
        with Lease(server.api(), "t", wait=60):
            assert time.monotonic() - started > 0.5, "not before it expired"
            assert leases.live is not None
            assert leases.live["spec"]["leaseTransitions"] == 1


def test_a_lease_that_is_renewed_is_not_taken_over_however_its_clock_runs(fast: None) -> None:
    leases = FakeLeases()
    slow_clock = (datetime.now(UTC) - timedelta(minutes=2)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def renewed_before_each_look(asked: Asked) -> Any:
        leases.held_by(elsewhere(), slow_clock)
        return leases(asked)

    leases.held_by(elsewhere(), slow_clock)
    with serving(renewed_before_each_look) as server, pytest.raises(UnavailableError):
        Lease(server.api(), "t", wait=1.0).__enter__()


def test_a_lease_of_long_ago_is_taken_over_at_once() -> None:
    leases = FakeLeases()
    leases.held_by(elsewhere(), "2020-01-01T00:00:00.000000Z")
    with serving(leases) as server:
        started = time.monotonic()
        with Lease(server.api(), "t", wait=60):
            assert time.monotonic() - started < module.DURATION


def dead_process() -> Holder:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        started = module._started(child.pid) or ""
        child.kill()
    return Holder(f"me@here:{child.pid}:00000000", child.pid, module._machine(), started)


def test_a_dead_holder_on_this_machine_is_succeeded_at_once() -> None:
    leases = FakeLeases()
    leases.held_by(dead_process())
    with serving(leases) as server:
        started = time.monotonic()
        with Lease(server.api(), "t", wait=60):
            assert time.monotonic() - started < module.DURATION


def test_a_pid_that_was_given_to_another_process_does_not_keep_a_dead_holder_alive() -> None:
    here = Holder.here()
    assert not here.is_dead()
    assert Holder(here.identity, os.getpid(), here.machine, "1").is_dead()


def test_a_holder_on_another_machine_or_in_another_container_is_never_called_dead() -> None:
    here = Holder.here()
    assert not Holder("x@y:999999:0", 999_999, "another-boot/pid:[1]", "5").is_dead()
    assert not Holder("x@y:999999:0", 999_999, "", "").is_dead()
    assert not Holder("nonsense", 0, here.machine, "5").is_dead()


def test_a_holder_is_read_back_as_it_was_written() -> None:
    leases, here = FakeLeases(), Holder.here()
    leases.held_by(here)
    assert leases.live is not None
    assert Holder.of(leases.live) == here


def test_a_lease_is_renewed_while_it_is_held(lasting: None) -> None:
    leases = FakeLeases()
    with serving(leases) as server, Lease(server.api(), "t") as lease:
        end = time.monotonic() + 60
        while leases.version < 3:
            assert time.monotonic() < end, "it is not renewed"
            time.sleep(0.02)
        lease.check()
        assert leases.live is not None
        assert leases.live["spec"]["acquireTime"] < leases.live["spec"]["renewTime"]


def test_a_lease_that_another_took_is_lost(lasting: None) -> None:
    leases = FakeLeases()
    with serving(leases) as server, Lease(server.api(), "t") as lease:
        leases.held_by(elsewhere())
        with pytest.raises(UnavailableError, match="was lost: ali@other:77:abcd1234 took it"):
            until_lost(lease)
    assert leases.live is not None, "what is another's is not released"


def test_a_lease_lost_after_a_write_is_partial(lasting: None) -> None:
    leases = FakeLeases()
    with serving(leases) as server:
        api = server.api()
        with Lease(api, "t") as lease:
            leases.live = None
            api._count()
            with pytest.raises(PartialError, match="somebody deleted it"):
                until_lost(lease)


def test_a_lease_that_cannot_be_renewed_is_lost_before_it_expires(fast: None) -> None:
    leases = FakeLeases()
    with serving(leases) as server, Lease(server.api(), "t") as lease:
        server.reply = lambda _: status(503, "away")
        with pytest.raises(UnavailableError, match="could not be renewed in time"):
            until_lost(lease)


def test_a_cluster_without_the_platforms_namespace_names_the_command() -> None:
    with serving(lambda _: status(404, 'namespaces "gcloud-pk-system" not found')) as server:
        with pytest.raises(UnavailableError) as caught:
            Lease(server.api(), "t").__enter__()
        assert "gcloud-pk cluster init" in str(caught.value.resolution)


def test_a_creation_whose_answer_was_lost_is_recognised_as_ours() -> None:
    leases = FakeLeases()

    def reply(asked: Asked) -> Any:
        answer = leases(asked)
        if asked.method == "POST" and answer[0] == 201:
            return status(503, "the answer was lost")  # the client sends it again
        return answer

    with serving(reply) as server, Lease(server.api(patience=60), "t", wait=0.1) as lease:
        lease.check()
