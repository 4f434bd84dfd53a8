"""`gcloud-pk datacenter preview|up|status|kubeconfig|unlock|destroy`: what is shown, asked and refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from gcloud_pk import main
from gcloud_pk.commands.datacenter_life import Surroundings, refuse_tenants, show
from gcloud_pk.console import Console
from gcloud_pk.errors import RefusedError
from gcloud_pk.lab.nodes import layout
from gcloud_pk.stack.plan import Plan, Setting, Step

NODE = "urn:pulumi:s::datacenter::gcloudpk:index:HardenedNode::"


def test_a_plan_shows_what_is_to_be_done_and_counts_what_stays(capsys: pytest.CaptureFixture[str]) -> None:
    steps = (
        Step(NODE + "c1", "HardenedNode", "c1", "same"),
        Step(NODE + "w1", "HardenedNode", "w1", "change", settings=(Setting("level", "cl2", "cl3"),)),
        Step(NODE + "w2", "Member", "w2", "remove", facts={"rack": "rack-\x1b[2J"}),
    )

    show(Console(), Plan(steps, {"w1": "rack-1"}), "isb-1")

    shown = capsys.readouterr().out
    assert "~  rack-1" in shown
    assert "w1    harden again (level: cl2 → cl3)" in shown
    assert "1 to change, 1 to remove, 1 unchanged" in shown
    assert "c1" not in shown
    assert "\x1b" not in shown


def test_a_site_that_is_as_its_file_says_has_no_change(capsys: pytest.CaptureFixture[str]) -> None:
    show(Console(), Plan((Step(NODE + "c1", "HardenedNode", "c1", "same"),)), "isb-1")

    assert capsys.readouterr().out == "Site isb-1: no change, 1 unchanged\n"


def test_destroy_is_refused_where_tenants_live_or_where_nobody_knows() -> None:
    refuse_tenants("isb-1", {"isb-1-a": []})

    with pytest.raises(RefusedError) as refused:
        refuse_tenants("isb-1", {"a": ["moitt", "nadra"], "b": "it does not answer", "c": []})

    assert [one.message for one in refused.value.details] == [
        "a: 2 tenants: moitt, nadra",
        "b: it does not say whether it has tenants: it does not answer",
    ]
    assert "--with-tenants" in str(refused.value.resolution)


def test_a_labs_stack_lies_in_the_labs_folder_and_another_in_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gcloud_pk.commands.base import Invocation

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    lab = layout.layout("default", layout.DATACENTER)
    lab.registry.mkdir(parents=True)

    def folder(registry: Path) -> Path:
        return Surroundings(Invocation({"registry": str(registry)}), "lab-dc", None, None, None).place().folder

    assert folder(lab.registry) == lab.folder / "stacks"
    assert folder(tmp_path / "registry") == tmp_path / "gcloud-pk" / "stacks"


@pytest.mark.parametrize("act", ["preview", "up", "status", "kubeconfig", "unlock", "destroy"])
def test_a_site_that_is_not_in_the_registry_is_named_with_those_that_are(
    act: str, registry_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "of the test")

    code = main.main(["--registry", str(registry_folder), "datacenter", act, "khi-9"])

    said = capsys.readouterr().err
    assert code in {3, 4}, said
    assert "has no site 'khi-9'" in said
    assert "isb-1, isb-2, lhe-1, public-1" in said


def test_what_writes_refuses_a_registry_that_nobody_vouches_for(
    registry_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE", raising=False)
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE_FILE", raising=False)

    code = main.main(["--registry", str(registry_folder), "datacenter", "up", "isb-1", "--yes"])

    said = capsys.readouterr().err
    assert code == 2, said
    assert "is not trusted" in said
    assert "the passphrase that keeps the stack's secrets is missing" in said
    assert not (tmp_path / "state").exists()


def test_the_commands_come_without_the_engines_library() -> None:
    program = "import sys, gcloud_pk.commands.datacenter as _; print({'pulumi', 'grpc', 'networkx'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.stdout.strip() == "set()", done.stderr


def test_every_act_has_a_help_that_says_what_it_does() -> None:
    from gcloud_pk.commands.datacenter import datacenter

    for act in ("preview", "up", "status", "kubeconfig", "unlock", "destroy"):
        command = datacenter.commands[act]
        assert isinstance(command, click.Command)
        assert command.help
