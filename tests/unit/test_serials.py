"""What a cluster keeps of the versions of the registry that it was given."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from tests.unit.cluster_server import Asked, Reply, serving, status

from gcloud_pk.errors import GcloudPkError, RefusedError, UnavailableError
from gcloud_pk.onboarding.serials import SERIALS, Given, give, given, older
from gcloud_pk.registry.trust import HIGHEST, TrustState, Version

OLD, NEW, GONE = "SHA256:old", "SHA256:new", "SHA256:gone"
PATH = "/apis/coordination.k8s.io/v1/namespaces/gcloud-pk-system/leases"


def trusted(serial: int, key: str = NEW) -> TrustState:
    """Return a registry of a serial; two keepers are trusted."""
    time = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
    keepers = {OLD: "first@ntc.example", NEW: "second@ntc.example"}
    return TrustState(True, keepers[key], version=Version(serial, time), key=key, keepers=keepers)


class Cluster:
    """Keeps one Lease as an API server does: a write with another resourceVersion than the last is a conflict."""

    def __init__(self, serials: dict[str, int] | str | None = None, *, prepared: bool = True) -> None:
        self.version = 1
        self.prepared = prepared
        said = serials if isinstance(serials, str) else json.dumps(serials)
        self.live = None if serials is None else self.made({SERIALS: said, "mine": "kept"})
        self.meanwhile: list[dict[str, int]] = []

    def made(self, annotations: dict[str, str]) -> dict[str, Any]:
        metadata = {"name": "registry", "resourceVersion": str(self.version), "annotations": annotations}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": {}}

    def serials(self) -> dict[str, int]:
        assert self.live is not None
        said: dict[str, int] = json.loads(self.live["metadata"]["annotations"][SERIALS])
        return said

    def answer(self, asked: Asked) -> Reply:
        if asked.method == "GET":
            return (200, self.live) if self.live else status(404, "not found", "NotFound")
        if self.meanwhile:  # somebody else writes between our reading and our writing
            self.version += 1
            self.live = self.made({SERIALS: json.dumps(self.meanwhile.pop(0))})
        if not self.prepared:
            return status(404, "namespaces not found", "NotFound")
        if asked.method == "POST":
            if self.live:
                return status(409, "there", "AlreadyExists")
        elif not self.live or asked.body["metadata"]["resourceVersion"] != str(self.version):
            return status(409, "changed", "Conflict")
        self.version += 1
        self.live = self.made(asked.body["metadata"]["annotations"])
        return 201, self.live


def run(cluster: Cluster, trust: TrustState) -> list[str]:
    """Do what a command does; return what was asked of the server."""
    with serving(cluster.answer) as server:
        api = server.api()
        before = given(api)
        if error := older(before, trust):
            raise error
        give(api, before, trust)
    return [f"{one.method} {one.path.removeprefix(PATH)}" for one in server.asked]


def test_the_first_version_is_kept_with_one_read_and_one_write() -> None:
    cluster = Cluster()
    assert run(cluster, trusted(7)) == ["GET /registry", "POST "]
    assert cluster.serials() == {NEW: 7}


def test_a_newer_version_is_kept_in_the_place_of_the_older_and_nothing_else_is_touched() -> None:
    cluster = Cluster({NEW: 7, OLD: 3, GONE: 40})
    assert run(cluster, trusted(9)) == ["GET /registry", "PUT /registry"]
    assert cluster.serials() == {NEW: 9, OLD: 3, GONE: 40}
    assert cluster.live is not None
    assert cluster.live["metadata"]["annotations"]["mine"] == "kept"


def test_the_same_version_again_is_one_read_and_no_write() -> None:
    assert run(Cluster({NEW: 7}), trusted(7)) == ["GET /registry"]


def test_a_registry_without_a_serial_is_taken_where_none_was_given_and_leaves_nothing() -> None:
    assert run(Cluster(), trusted(0)) == ["GET /registry"]


@pytest.mark.parametrize("serial", [0, 1, 8])
@pytest.mark.parametrize("key", [OLD, NEW])
def test_an_older_version_is_refused_whichever_keeper_signed_it(serial: int, key: str) -> None:
    cluster = Cluster({NEW: 9, OLD: 2})
    words = rf"was given serial 9 of the registry \(signed by second@ntc.example\); this one is serial {serial},"
    with pytest.raises(RefusedError, match=words) as caught:
        run(cluster, trusted(serial, key))
    assert "an old version was put back" in caught.value.message
    assert "--serial 10" in str(caught.value.resolution)
    assert cluster.version == 1


def test_what_a_key_signed_that_nobody_trusts_today_does_not_count() -> None:
    cluster = Cluster({GONE: HIGHEST})
    run(cluster, trusted(1))
    assert cluster.serials() == {GONE: HIGHEST, NEW: 1}


def test_another_operator_who_writes_at_the_same_time_is_not_overwritten() -> None:
    cluster = Cluster({NEW: 7})
    cluster.meanwhile = [{NEW: 7, OLD: 8}]
    assert run(cluster, trusted(9)) == ["GET /registry", "PUT /registry", "GET /registry", "PUT /registry"]
    assert cluster.serials() == {NEW: 9, OLD: 8}


@pytest.mark.parametrize("before", [None, {NEW: 7}])
def test_another_operator_with_a_newer_version_wins(before: dict[str, int] | None) -> None:
    cluster = Cluster(before)
    cluster.meanwhile = [{NEW: 10}]
    with pytest.raises(RefusedError, match="was given serial 10"):
        run(cluster, trusted(9))
    assert cluster.serials() == {NEW: 10}


def test_a_lease_that_never_rests_ends_the_run_before_it_writes() -> None:
    cluster = Cluster({NEW: 7})
    cluster.meanwhile = [{NEW: 7}] * 20
    with pytest.raises(UnavailableError, match="changes all the time"):
        run(cluster, trusted(9))


@pytest.mark.parametrize("said", ["", "no JSON", "[]", "[" * 100_000, '{"k": "9"}', '{"k": true}', '{"k": -1}', "1"])
def test_what_cannot_be_read_is_refused_and_left_as_it_is(said: str) -> None:
    cluster = Cluster(said)
    with pytest.raises(RefusedError, match="cannot be read"):
        run(cluster, trusted(9))
    assert cluster.version == 1


def test_a_cluster_that_is_not_prepared_is_said_as_such() -> None:
    with pytest.raises(GcloudPkError):
        run(Cluster(prepared=False), trusted(1))


def test_without_a_key_nothing_is_given() -> None:
    with serving(Cluster().answer) as server:
        give(server.api(), Given(), TrustState(False))
    assert server.asked == []
