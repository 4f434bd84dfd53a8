"""Ports are kept as long as they can be, and never another's."""

import socket
from collections.abc import Iterator

import pytest

from gcloud_pk.lab import ports


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_each_server_gets_a_free_port_of_its_own() -> None:
    chosen = ports.choose({}, ())
    assert tuple(chosen) == ports.NAMES
    assert len(set(chosen.values())) == len(ports.NAMES)
    assert all(ports.free(port) and 20000 <= port < 32000 for port in chosen.values())


def test_ports_are_kept() -> None:
    chosen = ports.choose({}, ())
    assert ports.choose(chosen, ()) == chosen


def test_a_taken_port_is_chosen_anew_and_the_others_stay(taken: int) -> None:
    kept = ports.choose({}, ()) | {"etcd": taken}
    chosen = ports.choose(kept, ())
    assert chosen["etcd"] != taken
    assert {name: chosen[name] for name in ports.NAMES[1:]} == {name: kept[name] for name in ports.NAMES[1:]}


def test_a_port_in_use_by_the_labs_own_server_stays(taken: int) -> None:
    kept = ports.choose({}, ()) | {"etcd": taken}
    assert ports.choose(kept, (), in_use={"etcd"})["etcd"] == taken


def test_ports_of_other_labs_are_avoided_even_while_those_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "RANGE", range(20000, 20040))
    theirs = set(range(20000, 20020))
    assert not theirs & set(ports.choose({}, theirs).values())


def test_no_free_port_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "RANGE", range(20000, 20003))
    with pytest.raises(OSError, match="no free port"):
        ports.choose({}, ())
