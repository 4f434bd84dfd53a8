"""`gcloud-pk node`: what is refused before any host is spoken to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gcloud_pk.commands.node import known_tags
from gcloud_pk.main import main
from gcloud_pk.nodes import tags
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


@pytest.mark.parametrize("command", [("harden", "--check"), ("reboot-check",)], ids=["harden", "reboot-check"])
def test_a_site_without_hosts_is_told_where_to_add_them(
    registry: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    code, said = run(capsys, registry, *command, "--site", "lhe-1")
    assert code == 3
    assert said["error"]["details"][0]["file"] == "sites/lhe-1.yaml"


@pytest.mark.parametrize("command", [("harden", "--check"), ("reboot-check",)], ids=["harden", "reboot-check"])
def test_a_limit_that_matches_nobody_is_answered_with_the_hosts(
    registry: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    code, said = run(capsys, registry, *command, "--site", "isb-1", "--limit", "node-7")
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


def test_trust_is_looked_at_before_hosts_are_selected(registry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(capsys, registry, "harden", "--site", "isb-1", "--limit", "node-7", "--yes")
    assert code == 4
    assert "node-1" not in json.dumps(said)


def test_a_control_that_is_none_is_answered_with_a_near_one(registry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(capsys, registry, "harden", "--site", "isb-1", "--check", "--tags=GPK-SSH-999")
    assert code == 3
    assert said["error"]["details"][1]["expected"].startswith("perhaps GPK-SSH-")


@pytest.mark.parametrize(
    ("control", "why"),
    [("GPK-CRN-005", "a person decides"), ("GPK-SUD-007", "signed waiver"), ("GPK-MNT-010", "a waiver is proposed")],
)
def test_a_control_that_no_task_serves_is_refused_with_the_reason(
    registry: Path, capsys: pytest.CaptureFixture[str], control: str, why: str
) -> None:
    code, said = run(capsys, registry, "harden", "--site", "isb-1", "--check", f"--tags=ssh,{control}")
    assert code == 3
    assert [control in one["message"] for one in said["error"]["details"]] == [True]
    assert why in said["error"]["details"][0]["message"]


def test_every_control_that_no_task_serves_says_why() -> None:
    known = tags.standard()
    silent = [
        one.id
        for one in known.controls.values()
        if one.id not in known.served and not (one.without or one.id in known.why)
    ]
    assert silent == []


def test_tags_of_tasks_that_stand_in_blocks_count(tmp_path: Path) -> None:
    (tmp_path / "ssh/tasks").mkdir(parents=True)
    (tmp_path / "ssh/tasks/main.yml").write_text(
        "- {name: a, tags: [GPK-SSH-001]}\n- {tags: ssh, block: [{name: b, tags: GPK-SSH-002}]}\n# GPK-SSH-003\n"
    )
    assert tags.served(tmp_path) == {"GPK-SSH-001", "GPK-SSH-002", "ssh"}


def test_a_state_is_accepted_only_where_the_role_that_does_it_is_run(
    registry: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = run(capsys, registry, "harden", "--site", "isb-1", "--check", "--accept-state", "--tags=ssh")
    assert code == 2
    assert "--tags ssh,file_integrity" in said["error"]["resolution"]
    assert known_tags(("ssh", "file_integrity"), accept_state=True) == ("ssh", "file_integrity")


def test_a_registry_that_this_user_may_not_read_is_no_defect(
    registry: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "stat", refused)
    code, said = run(capsys, registry, "runs", "--site", "isb-1")
    assert code == 5
    assert "cannot be read by " in said["error"]["message"]


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
