"""The real engine over an inline program, with scripted works served in this process or by a plug-in of its own."""

from __future__ import annotations

import asyncio
import base64
import gc
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi.automation as auto
from tests.stacks.scripted import Script

from gcloud_pk import paths
from gcloud_pk.model.site import Site
from gcloud_pk.stack.programs import datacenter

PASSPHRASE = "a passphrase of the test"
PROJECT = "name: datacenter\nruntime: python\nplugins:\n  providers:\n    - {name: gcloudpk, path: %s}\n"
PLUGIN = """\
#!/bin/sh
cd {root}
exec {python} -c '
import sys
from functools import partial
from pathlib import Path
from gcloud_pk.stack.provider.main import host
from tests.stacks.scripted import Script, ScriptedWorks
Path("{folder}", "plugin.pid").write_text(str(__import__("os").getpid()))
host(partial(ScriptedWorks, Script(Path("{folder}"))), sys.argv[1])
' "$@"
"""


def program() -> Path | None:
    """Return the engine: on PATH, in the cache, or the one that GCLOUD_PK_TEST_ENGINE names."""
    given = os.environ.get("GCLOUD_PK_TEST_ENGINE") or shutil.which("pulumi")
    found = [Path(given)] if given else sorted(paths.cache().glob("programs/*/pulumi"))
    return next((path for path in found if path.is_file()), None)


def key(name: str, number: int = 1) -> str:
    """Return a public host key that is nobody's."""
    body = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + f"{name}-{number}".encode().ljust(32, b".")
    return "ssh-ed25519 " + base64.b64encode(body).decode()


def host(name: str, number: int, **more: Any) -> dict[str, Any]:
    role = "control-plane" if name.startswith("c") else "worker"
    return {
        "name": name,
        "address": f"10.207.0.{number}",
        "rack": f"rack-{number % 10}",
        "cluster": "lab-dc-a",
        "role": role,
        "hostKeys": [key(name)],
        **more,
    }


def site(*hosts: dict[str, Any], **cluster: Any) -> Site:
    """Return a site of three control planes and two workers, unless other hosts are given."""
    standard = (host("c1", 11), host("c2", 12), host("c3", 13), host("w1", 21), host("w2", 22))
    return Site.model_validate(
        {
            "apiVersion": "gcloud.gov.pk/v1alpha1",
            "kind": "Site",
            "metadata": {"name": "lab-dc"},
            "spec": {
                "operator": "NTC",
                "location": {"city": "Islamabad", "province": "ict", "kind": "government"},
                "admits": ["open", "restricted"],
                "racks": [{"name": f"rack-{n}", "room": "hall-1"} for n in (1, 2, 3)],
                "clusters": [
                    {
                        "name": "lab-dc-a",
                        "version": "1.36.3",
                        "endpoint": "https://10.207.0.10:6443",
                        "networkPlugin": "bridge",
                        "networks": {"pods": "10.208.0.0/16", "services": "10.209.0.0/16", "nodes": "10.207.0.0/24"},
                        **cluster,
                    }
                ],
                "hosts": list(hosts or standard),
            },
        }
    )


@dataclass
class Result:
    """What an operation came to."""

    error: str
    operations: dict[str, str]
    detailed: dict[str, dict[str, str]]
    said: list[tuple[str, str, str]] = field(default_factory=list)


class Desk:
    """One stack over one folder."""

    def __init__(self, folder: Path, engine: Path, provider: str | None) -> None:
        self.folder = folder
        self.script = Script(folder)
        (folder / "state").mkdir(exist_ok=True)
        (folder / "cache" / "bin").mkdir(parents=True, exist_ok=True)
        link = folder / "cache" / "bin" / "pulumi"
        if not link.exists():
            link.symlink_to(engine)
        plugins = folder / "plugins"
        plugins.mkdir(exist_ok=True)
        plugin = plugins / "pulumi-resource-gcloudpk"
        root = Path(__file__).parents[2]
        plugin.write_text(PLUGIN.format(root=root, python=sys.executable, folder=folder))
        plugin.chmod(0o700)
        (folder / "Pulumi.yaml").write_text(PROJECT % plugins)
        environment = {
            "PULUMI_HOME": str(folder / "home"),
            "PULUMI_BACKEND_URL": f"file://{folder / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            **({"PULUMI_DEBUG_PROVIDERS": f"gcloudpk:{provider}"} if provider else {}),
        }
        self.options = auto.LocalWorkspaceOptions(
            work_dir=str(folder),
            pulumi_command=auto.PulumiCommand(root=str(folder / "cache")),
            pulumi_home=str(folder / "home"),
            secrets_provider="passphrase",
            env_vars=environment,
        )

    def stack(self, found: Site) -> auto.Stack:
        return auto.create_or_select_stack(
            "lab-dc", project_name="datacenter", program=datacenter.program(found), opts=self.options
        )

    def _run(self, act: Callable[..., Any], **options: Any) -> Result:
        result = Result("", {}, {})

        def event(said: Any) -> None:
            if said.resource_pre_event:
                data = said.resource_pre_event.metadata
                name = f"{data.type.split(':')[-1]} {data.urn.split('::')[-1]}"
                if data.op != "same" and data.type.startswith("gcloudpk:"):
                    result.operations[name] = str(getattr(data.op, "value", data.op))
                    result.detailed[name] = {
                        key: str(kind.diff_kind.value) for key, kind in (data.detailed_diff or {}).items()
                    }
            elif said.diagnostic_event:
                words = said.diagnostic_event
                result.said.append((words.severity, (words.urn or "").split("::")[-1], words.message.strip()))

        with unheard():
            try:
                act(on_event=event, **options)
            except auto.CommandError as error:
                result.error = str(error)
        return result

    def up(self, found: Site) -> Result:
        return self._run(self.stack(found).up, continue_on_error=True, parallel=50)

    def preview(self, found: Site) -> Result:
        return self._run(self.stack(found).preview, parallel=50)

    def refresh(self, found: Site) -> Result:
        return self._run(self.stack(found).refresh, run_program=True)

    def destroy(self, found: Site) -> Result:
        return self._run(self.stack(found).destroy, continue_on_error=True, parallel=50)

    def state(self) -> str:
        return "".join(path.read_text() for path in (self.folder / "state").rglob("*.json*") if path.is_file())


@contextmanager
def unheard() -> Iterator[None]:
    """Collect meanwhile what the Automation API leaves of a program that failed: coroutines, and its event loop."""
    before, log, make = sys.unraisablehook, logging.getLogger("grpc._server"), asyncio.new_event_loop
    made: list[asyncio.AbstractEventLoop] = []

    def new_event_loop() -> asyncio.AbstractEventLoop:
        made.append(make())
        return made[-1]

    sys.unraisablehook = lambda _: None
    log.disabled = True  # what is logged holds the loop, until long after the test
    asyncio.new_event_loop = new_event_loop
    try:
        yield
    finally:
        asyncio.new_event_loop = make
        for loop in made:
            if not loop.is_running():
                loop.close()
        gc.collect()
        sys.unraisablehook = before
        log.disabled = False


@contextmanager
def in_process(script: Script) -> Iterator[str]:
    """Serve scripted works from this process; yield the port."""
    from functools import partial

    from tests.stacks.scripted import ScriptedWorks

    from gcloud_pk.stack.provider.server import Servicer, serve

    servicer = Servicer(partial(ScriptedWorks, script))
    servicer.flow.quiet = 0.2
    server, port = serve(servicer)
    try:
        yield str(port)
    finally:
        server.stop(0).wait()
