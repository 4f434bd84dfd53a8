"""`gcloud-pk node`: what is refused before any host is spoken to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gcloud_pk.main import main
from gcloud_pk.nodes.record import Record, alone, moment

HOSTS = """
  hosts:
    - name: node-1
      address: 127.0.0.1
      rack: rack-1
      hostKeys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKoRCgY9I9D3Uo0kUZC+8yqv8OLQv4Nn9y0XZ9wOqAAB]
"""


@pytest.fixture
def registry(registry_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a registry whose site isb-1 has a host, on a machine where nothing was ever hardened."""
    path = registry_folder / "sites/isb-1.yaml"
    path.write_text(path.read_text().rstrip() + HOSTS)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return registry_folder


def run(capsys: pytest.CaptureFixture[str], registry: Path, *words: str) -> tuple[int, dict[str, Any]]:
    code = main(["node", *words, "--registry", str(registry), "--format", "json"])
    out = capsys.readouterr().out
    return code, json.loads(out)


@pytest.mark.parametrize("command", ["harden", "reboot-check", "runs"])
def test_an_unknown_site_is_answered_with_those_there_are(
    registry: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    code, said = run(capsys, registry, command, "--site", "khi-9")
    assert code == 3
    assert "isb-1" in said["error"]["details"][0]["message"]


@pytest.mark.parametrize("command", ["harden", "reboot-check"])
def test_a_site_without_hosts_is_told_where_to_add_them(
    registry: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    code, said = run(capsys, registry, command, "--site", "lhe-1")
    assert code == 3
    assert said["error"]["details"][0]["file"] == "sites/lhe-1.yaml"


@pytest.mark.parametrize("command", ["harden", "reboot-check"])
def test_a_limit_that_matches_nobody_is_answered_with_the_hosts(
    registry: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    code, said = run(capsys, registry, command, "--site", "isb-1", "--limit", "node-7")
    assert code == 3
    assert "node-1" in said["error"]["details"][0]["message"]


def test_nodes_are_written_to_only_by_a_registry_whose_keepers_vouch_for_it(
    registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = run(capsys, registry, "harden", "--site", "isb-1", "--yes")
    assert code == 4
    assert "--trust" in said["error"]["resolution"]


def test_nodes_are_written_to_only_by_who_agrees(
    registry: Path, capsys: pytest.CaptureFixture[str], keys: Path, public: Any, tmp_path: Path
) -> None:
    trust = tmp_path / "trust"
    trust.write_text(f'keeper@ntc.example namespaces="gcloud-pk-registry" {public("keeper")}\n')
    assert main(["registry", "sign", "--registry", str(registry), "--key", str(keys / "keeper")]) == 0
    capsys.readouterr()
    code, said = run(capsys, registry, "harden", "--site", "isb-1", "--trust", str(trust))
    assert code == 4
    assert "confirmation is missing" in said["error"]["message"]


@pytest.mark.parametrize("word", ["sssh", "GPK-SSH-1", "ssh,", "--become"])
def test_a_tag_that_is_none_is_answered_with_the_roles(
    registry: Path, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    code, said = run(capsys, registry, "harden", "--site", "isb-1", "--check", "--tags=" + word)
    assert code == 3
    assert "accounts" in said["error"]["details"][0]["message"]


@pytest.mark.parametrize("words", [("--level", "cl4"), ("--ssh-config", "/nowhere"), ("--ssh-config", "/")])
def test_wrong_usage_is_told_as_such(
    registry: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, str]
) -> None:
    code, _ = run(capsys, registry, "harden", "--site", "isb-1", *words)
    assert code == 2


def test_runs_are_listed_and_one_that_was_killed_is_called_so(
    registry: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    home = tmp_path / "state/gcloud-pk/nodes/isb-1"
    assert run(capsys, registry, "runs", "--site", "isb-1") == (0, {"site": "isb-1", "runs": []})
    with alone(home, {}):
        Record.begin(home, moment()).write({"outcome": "running", "hosts": []})
        _, said = run(capsys, registry, "runs", "--site", "isb-1")
        assert [one["outcome"] for one in said["runs"]] == ["running"]
    _, said = run(capsys, registry, "runs", "--site", "isb-1")
    assert [one["outcome"] for one in said["runs"]] == ["killed"]
