"""The address of the API moves: who learns of it, and by what."""

from __future__ import annotations

import importlib.util
import socket
import struct
from typing import Any

from tests.unit.role_templates import PLAYBOOKS, rendered

_FILE = PLAYBOOKS / "roles/cluster_endpoint/files/announce.py"
HOSTS = {f"c{n}": {"address": f"10.207.0.1{n}"} for n in (1, 2, 3)}


def announce() -> Any:
    spec = importlib.util.spec_from_file_location("announce", _FILE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def keepalived(*names: str, address: str = "10.207.0.10") -> str:
    hosts = {name: HOSTS[name] for name in names}
    return rendered(
        "cluster_endpoint", "keepalived.conf.j2",
        inventory_hostname="c1", cluster_control_planes=list(hosts), cluster_hosts=hosts, cluster_self=HOSTS["c1"],
        cluster_is_control_plane=True, cluster_found={"interface": "eth0"}, cluster_endpoint_address=address,
        cluster_endpoint_port=6443,
    )  # fmt: skip


def test_who_takes_the_address_over_asks_from_it_for_somebody_else() -> None:
    frame = announce().request(b"\x02\x00\x0a\xcf\x00\x0c", "10.207.0.10", "10.207.0.13")

    assert frame[:6] == b"\xff" * 6  # all of the segment hear it
    assert frame[6:14] == b"\x02\x00\x0a\xcf\x00\x0c\x08\x06"
    kind, protocol, hardware, length, operation = struct.unpack("!HHBBH", frame[14:22])
    assert (kind, protocol, hardware, length, operation) == (1, 0x0800, 6, 4, 1)
    assert frame[22:28] == frame[6:12]
    # Where both are the same it is gratuitous, which hardened neighbours drop.
    assert [socket.inet_ntoa(frame[28:32]), socket.inet_ntoa(frame[38:42])] == ["10.207.0.10", "10.207.0.13"]


def test_it_is_said_again_after_the_second_in_which_a_neighbour_believes_what_he_learnt_last() -> None:
    assert sum(announce().PAUSES) > 1


def test_keepalived_calls_it_with_the_other_control_planes() -> None:
    words = "/usr/local/lib/gcloud-pk/announce eth0 10.207.0.10 10.207.0.12 10.207.0.13"
    assert f'notify_master "{words}" root' in keepalived("c1", "c2", "c3")


def test_nobody_is_called_where_the_address_never_moves_or_is_no_ipv4() -> None:
    assert "notify_master" not in keepalived("c1")
    assert "notify_master" not in keepalived("c1", "c2", "c3", address="fd00::10")


def test_who_comes_back_takes_the_address_only_when_his_server_is_ready() -> None:
    said = keepalived("c1", "c2", "c3")
    assert "https://10.207.0.11:6443/readyz" in said
    assert "livez" not in said
