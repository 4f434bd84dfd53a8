"""A site of a registry, worked on by `gcloud-pk datacenter` as a process of its own, with scripted machines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tests.stacks import engine
from tests.stacks.scripted import Script

from gcloud_pk.model.site import Site
from gcloud_pk.stack import leftovers
from gcloud_pk.stack.backend import Place

SITE = "lab-dc"
ROOT = Path(__file__).parents[2]


@dataclass
class Done:
    """A command that ended. `out` and `err` are what it printed."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def document(self) -> Any:
        return json.loads(self.out)


@dataclass
class CliDesk:
    """`folder` holds everything of one test: registry, trust, state, plug-in, script."""

    folder: Path
    program: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        plugins = self.folder / "plugins"
        plugins.mkdir()
        plugin = plugins / "pulumi-resource-gcloudpk"
        plugin.write_text(engine.PLUGIN.format(root=ROOT, python=sys.executable, folder=self.folder))
        plugin.chmod(0o700)
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "XDG_STATE_HOME": str(self.folder / "xdg"),
            "PULUMI_CONFIG_PASSPHRASE": engine.PASSPHRASE,
            "GCLOUD_PK_ENGINE": str(self.program),
            "GCLOUD_PK_REGISTRY": str(self.registry),
            "GCLOUD_PK_TRUST": str(self.folder / "trust"),
            "NO_COLOR": "1",
        }

    @property
    def registry(self) -> Path:
        return self.folder / "registry"

    @property
    def script(self) -> Script:
        return Script(self.folder)

    @property
    def place(self) -> Place:
        return Place(self.folder / "xdg" / "gcloud-pk" / "stacks", SITE)

    def write(self, site: Site, key: Path) -> None:
        """Put the site into the registry and have its keeper sign."""
        for other in (self.registry / "sites").iterdir():
            other.unlink()
        document = site.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        (self.registry / "sites" / f"{SITE}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
        self.sign(key)

    def sign(self, key: Path) -> None:
        command = [sys.executable, "-m", "gcloud_pk", "registry", "sign", "--key", str(key)]
        done = subprocess.run(command, capture_output=True, text=True, env=self.environment)
        assert done.returncode == 0, done.stderr

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.stacks.cli", str(self.folder), "datacenter", *words]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env={**self.environment, **environment},
            start_new_session=True,
        )

    def run(self, *words: str, **environment: str) -> Done:
        started = time.monotonic()
        with self.start(*words, **environment) as process:
            out, err = process.communicate(timeout=180)
        return Done(process.returncode, out, err, time.monotonic() - started)

    def up(self, *words: str, **environment: str) -> Done:
        return self.run("up", SITE, "--yes", *words, **environment)

    def until(self, deed: str, seconds: float = 60) -> None:
        """Wait until the script tells of a deed; fails where it never does."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            log = self.folder / "log"
            if log.exists() and deed in log.read_text():
                return
            time.sleep(0.05)
        raise AssertionError(f"{deed} never came")

    def engine(self) -> int:
        """Return the process of the engine that is at work."""
        return next(one.pid for one in leftovers.find(str(self.place.home)) if one.name == "pulumi")

    def at_work(self) -> list[str]:
        return [one.name for one in leftovers.find(str(self.place.home))]

    def state(self) -> Any:
        assert self.place.state
        file = self.place.state / ".pulumi" / "stacks" / "datacenter" / f"{SITE}.json"
        return json.loads(file.read_text())["checkpoint"]["latest"]
