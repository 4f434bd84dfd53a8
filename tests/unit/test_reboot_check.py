"""`gcloud-pk node reboot-check`: every host is asked, and none that hangs keeps the others or a person waiting."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.test_node_command import HOSTS
from tests.unit.test_nodes_reboot import PLAIN

from gcloud_pk.main import main
from gcloud_pk.model.site import Host, Site
from gcloud_pk.nodes import reboot_asking
from gcloud_pk.nodes.call import Answer
from gcloud_pk.nodes.inventory import Route
from gcloud_pk.nodes.outcome import Diagnosis
from gcloud_pk.registry.folder import Registry

SILENT = Answer(diagnosis=Diagnosis("unreachable", "it does not answer in time", "see that it runs"))
PLAIN_ANSWER = Answer(json.dumps(PLAIN).encode())
Answering = Callable[[str], Answer]


@pytest.fixture
def registry(registry_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return a registry whose site isb-1 has the hosts node-1 and node-2."""
    path = registry_folder / "sites/isb-1.yaml"
    second = HOSTS.split("hosts:")[1].replace("node-1", "node-2").replace("127.0.0.1", "127.0.0.2")
    path.write_text(path.read_text().rstrip() + HOSTS + second.replace("IKoRC", "IKoRD").strip("\n") + "\n")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return registry_folder


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answering], None]:
    """Return what makes hosts answer by a function of their name."""

    def set_(given: Answering) -> None:
        def ask(_: Site, host: Host, *__: Any, **___: Any) -> Answer:
            return given(host.name)

        monkeypatch.setattr(reboot_asking, "ask", ask)

    return set_


@pytest.mark.parametrize(
    ("answers", "code", "answered"),
    [
        ({"node-1": PLAIN_ANSWER, "node-2": PLAIN_ANSWER}, 0, [True, True]),
        ({"node-1": SILENT, "node-2": PLAIN_ANSWER}, 7, [False, True]),
        ({"node-1": PLAIN_ANSWER, "node-2": Answer(b"who are you?")}, 7, [True, False]),
        ({"node-1": SILENT, "node-2": SILENT}, 5, None),
    ],
    ids=["all", "one-silent", "one-odd", "none"],
)
def test_the_exit_code_says_whether_all_hosts_answered(
    registry: Path,
    answering: Callable[[Answering], None],
    capsys: pytest.CaptureFixture[str],
    answers: dict[str, Answer],
    code: int,
    answered: list[bool] | None,
) -> None:
    answering(answers.__getitem__)
    words = ["node", "reboot-check", "--site", "isb-1", "--registry", str(registry), "--format", "json"]
    assert main(words) == code
    said = json.loads(capsys.readouterr().out)
    assert [one["answered"] for one in said["hosts"]] == answered if answered else "error" in said


def test_a_host_that_hangs_keeps_nobody_who_stops_waiting(
    registry: Path, answering: Callable[[Answering], None]
) -> None:
    released = threading.Event()

    def answer(name: str) -> Answer:
        if name == "node-2":
            released.wait(120)
        return PLAIN_ANSWER

    answering(answer)
    site = Registry.open(registry).sites["isb-1"]
    started = time.monotonic()
    told = reboot_asking.asked(site, site.spec.hosts, Route(registry / "known_hosts"))
    assert next(told).host.name == "node-1"
    told.close()  # type: ignore[attr-defined] # it is a generator
    assert time.monotonic() - started < 60
    released.set()
