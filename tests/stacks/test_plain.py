"""The program by plain Pulumi, as somebody runs it who has Pulumi's own installation."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

STACK = Path(__file__).parents[2] / "stacks" / "datacenter"


def test_the_program_is_a_composition_of_a_few_lines() -> None:
    assert len((STACK / "__main__.py").read_text().splitlines()) <= 40
    assert yaml.safe_load((STACK / "Pulumi.yaml").read_text())["plugins"]["providers"][0]["name"] == "gcloudpk"


def test_plain_pulumi_previews_the_site_of_a_registry(tmp_path: Path) -> None:
    pulumi, host = shutil.which("pulumi"), shutil.which("pulumi-language-python")
    if pulumi is None or host is None:
        pytest.skip("no Pulumi installation with its language host for Python (pulumi-language-python) is on PATH")
    (tmp_path / "state").mkdir()
    environment = {
        **os.environ,
        "PULUMI_HOME": str(tmp_path / "home"),
        "PULUMI_BACKEND_URL": f"file://{tmp_path / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": "of the test",
        "GCLOUD_PK_REGISTRY": str(Path(__file__).parents[2] / "examples" / "registry"),
        "GCLOUD_PK_SITE": "isb-1",
    }
    work = tmp_path / "datacenter"
    work.mkdir()
    project = yaml.safe_load((STACK / "Pulumi.yaml").read_text())
    binaries = str(STACK.parents[1] / ".venv" / "bin")
    project["plugins"]["providers"][0]["path"] = binaries
    project["runtime"]["options"] = {"virtualenv": str(STACK.parents[1] / ".venv")}
    (work / "Pulumi.yaml").write_text(yaml.safe_dump(project))
    shutil.copy(STACK / "__main__.py", work)

    def run(*words: str) -> str:
        done = subprocess.run([pulumi, *words], cwd=work, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("stack", "init", "isb-1")
    run("config", "set", "datacenter:untrusted", "true")
    assert "gcloudpk:index:DataCenter" in run("preview", "--non-interactive")
