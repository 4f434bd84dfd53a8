"""What a drill reads back: each acknowledged write by itself, because a list may be an API server's memory."""

from __future__ import annotations

from typing import Any

from tests.unit.cluster_server import Asked, serving, status

from gcloud_pk.proof.drill import stage
from gcloud_pk.proof.drill.prober import entry


def test_a_write_that_a_list_still_has_and_a_read_has_not_is_not_there() -> None:
    items = [entry("r1", number, f"t{number}") for number in range(4)]

    def reply(asked: Asked) -> Any:
        if asked.path.endswith("/configmaps"):
            assert asked.params["labelSelector"] == "gcloud.gov.pk/drill=r1"
            return 200, {"kind": "ConfigMapList", "items": items}
        number = int(asked.path.rpartition("-")[2])
        return status(404, "not found") if number == 2 else (200, items[number])

    with serving(reply) as server:
        assert stage.written(server.api(), "r1", [0, 1, 2]) == {0: "t0", 1: "t1", 3: "t3"}


def test_a_namespace_that_ends_is_waited_for_and_one_that_was_left_is_removed() -> None:
    answers: list[Any] = [
        (200, {"metadata": {}}),
        (200, {"metadata": {"deletionTimestamp": "now"}}),
        status(404, "gone"),
    ]
    with serving(lambda asked: answers.pop(0) if asked.method == "GET" else (200, {})) as server:
        assert stage.gone(server.api(), 10)
        assert server.methods().count("DELETE /api/v1/namespaces/gcloud-pk-drill") == 1


def test_the_namespace_is_not_the_platforms_because_cluster_init_would_remove_it() -> None:
    assert "gcloud.gov.pk/managed" not in stage.namespace()["metadata"]["labels"]


def test_the_service_is_probed_at_a_node_that_stays() -> None:
    def node(name: str, address: str, ready: str = "True") -> dict[str, Any]:
        told = {"addresses": [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": address}]}
        return {"metadata": {"name": name}, "status": told | {"conditions": [{"type": "Ready", "status": ready}]}}

    nodes = [node("c1", "10.0.0.1"), node("c2", "10.0.0.2", "False"), node("c3", "10.0.0.3")]
    assert stage.address_of(nodes, ["c1"]) == "10.0.0.3"
    assert stage.address_of(nodes, ["c1", "c3"]) is None
