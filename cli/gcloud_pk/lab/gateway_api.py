"""The definitions of the Gateway API, for a lab that serves it: from the user's cache, else the Go module proxy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Literal

from gcloud_pk import paths
from gcloud_pk.console import Console
from gcloud_pk.programs import files, pins, toolchain
from gcloud_pk.programs.toolchain import BuildError

MODULE = "sigs.k8s.io/gateway-api"
VERSION = "1.6.3"
SUM = "h1:lKpJa5bGlraC/QeACvCpsHLdmO6y0iKfzVl6gzaFEYc="
"""The checksum of the module, as its go.sum line would have it."""

Channel = Literal["standard", "experimental"]
"""What most clusters serve, or all that there is; of one or the other, never of both."""

_SECONDS = 120


def definitions(channel: Channel, console: Console) -> list[dict[str, Any]]:
    """Return the CustomResourceDefinitions of a channel, by name.

    Raises BuildError where neither the cache nor a Go toolchain and the module proxy have them.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [
        document
        for file in sorted((obtain(console) / channel).glob("*.yaml"))
        for document in yaml.load_all(file.read_bytes(), Loader=loader)
        if document.get("kind") == "CustomResourceDefinition"
    ]


def cached() -> bool:
    """Whether the definitions are at hand: nothing is downloaded for them."""
    return paths.cache("gateway-api", VERSION).is_dir()


def obtain(console: Console) -> Path:
    """Return the folder with a folder for each channel. Raises BuildError."""
    final = paths.cache("gateway-api", VERSION)
    if final.is_dir():
        return final
    try:
        return _fetch(final, console)
    except OSError as error:
        raise BuildError(f"{error.filename or final}: {error.strerror}") from error


def _fetch(final: Path, console: Console) -> Path:
    go = toolchain.obtain(pins.load().go, pins.sources(), paths.cache("go"), console)
    found = _download(go)
    files.make_folder(final.parent)
    temporary = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{VERSION}."))
    try:
        for channel in ("standard", "experimental"):
            (temporary / channel).mkdir()
            for file in (found / "config" / "crd" / channel).glob("*.yaml"):
                # Not their modes: the module cache is read only.
                shutil.copyfile(file, temporary / channel / file.name)
        try:
            temporary.rename(final)
        except OSError:
            if not final.is_dir():  # another run was not faster either
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def _download(go: Path) -> Path:
    """Return the module's folder. Its checksum is compared with ours, so no checksum database is asked."""
    environment = os.environ | {"GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "", "GONOSUMDB": MODULE}
    if go.is_relative_to(paths.cache()):
        environment["GOROOT"] = str(go.parent.parent)
    try:
        done = subprocess.run(
            [go, "mod", "download", "-json", f"{MODULE}@v{VERSION}"],
            cwd=tempfile.gettempdir(),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
            env=environment,
        )
        said = json.loads(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{MODULE} did not come within {_SECONDS} s") from error
    except ValueError as error:
        raise BuildError(f"{MODULE} is not to be had", done.stderr.splitlines()[-8:]) from error
    if "Dir" not in said:
        raise BuildError(f"{MODULE} is not to be had", str(said.get("Error", "")).splitlines()[-8:])
    if said["Sum"] != SUM:
        raise BuildError(f"{MODULE} {VERSION} has the checksum {said['Sum']}, not {SUM}")
    return Path(said["Dir"])
