"""A way to have a program run on a control plane: it, an order and data go in by one SSH session; an answer comes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from gcloud_pk import paths
from gcloud_pk.errors import UnavailableError
from gcloud_pk.model.site import Host, Site
from gcloud_pk.nodes.inventory import Route, known_hosts
from gcloud_pk.nodes.outcome import diagnose
from gcloud_pk.stack.recovery.ground import Ground

_HEAD = (
    "python3 -I -c "
    "'import sys;n=int(sys.stdin.buffer.readline());"
    'exec(compile(sys.stdin.buffer.read(n),"gcloud-pk","exec"))\''
)
"""Reads the program from standard input, as many bytes as the first line says; the rest of it is the program's."""

_SSH_FAILED = 255
_OUR_CODE = 3
_LIMIT = 256 * 1024 * 1024
_TAIL = 4000
_BLOCK = 1024 * 1024

Give = Callable[[IO[bytes]], None]


class NodeError(Exception):
    """A node does not do what it was asked; the text, untrusted, says whose and why. `kind` is for programs."""

    def __init__(self, text: str, kind: str = "failed") -> None:
        super().__init__(text)
        self.kind = kind


def backup_program() -> bytes:
    """Return the program that makes and keeps snapshots, as the role cluster_backup puts it on control planes."""
    return paths.data("playbooks", "roles", "cluster_backup", "files", "cluster_backup.py").read_bytes()


def restore_program() -> bytes:
    """Return the program of a restore's steps."""
    return paths.package("stack", "recovery", "node_steps.py").read_bytes()


@dataclass(frozen=True)
class Door:
    """The way to one node. `words`: the command that runs a shell's line there, which is appended."""

    name: str
    address: str
    words: tuple[str, ...]
    root: str = "sudo -n "
    environment: Mapping[str, str] | None = None
    ground: Ground = field(default_factory=Ground)
    site: Site | None = None
    host: Host | None = None

    def command(self) -> list[str]:
        """Return the whole command line; it holds no secret."""
        return [*self.words, f"{self.root}{_HEAD}"]

    def start(self, program: bytes, order: Mapping[str, Any]) -> subprocess.Popen[bytes]:
        """Start a program that stays, with its order; its standard input and output are the caller's."""
        process = subprocess.Popen(
            self.command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self._env(),
            start_new_session=True,
        )
        assert process.stdin is not None  # noqa: S101 - asked for above
        process.stdin.write(_opening(program, order))
        process.stdin.flush()
        return process

    def ask(
        self,
        program: bytes,
        order: Mapping[str, Any],
        *,
        give: Give | None = None,
        into: IO[bytes] | None = None,
        seconds: float = 900.0,
    ) -> dict[str, Any]:
        """Run a program with its order; return its answer.

        `give` writes what it reads after the order; `into` takes what it prints in place of an answer. Raises
        NodeError.
        """
        with subprocess.Popen(
            self.command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._env(),
            start_new_session=True,
        ) as process:
            said, errors = bytearray(), bytearray()
            listeners = [
                threading.Thread(target=_listen, args=(process.stdout, said, into), daemon=True),
                threading.Thread(target=_listen, args=(process.stderr, errors, None), daemon=True),
            ]
            timer = threading.Timer(seconds, end, (process,))
            timer.start()
            try:
                for listener in listeners:
                    listener.start()
                assert process.stdin is not None  # noqa: S101 - asked for above
                with suppress(BrokenPipeError):
                    process.stdin.write(_opening(program, order))
                    if give is not None:
                        give(process.stdin)
                with suppress(BrokenPipeError):
                    process.stdin.close()
                for listener in listeners:
                    listener.join()
                code = process.wait()
            finally:
                timer.cancel()
                end(process)
        return self.read(code, bytes(said), bytes(errors), raw=into is not None)

    def _env(self) -> dict[str, str] | None:
        return None if self.environment is None else {**os.environ, **self.environment}

    def read(self, code: int, said: bytes, errors: bytes, *, raw: bool = False) -> dict[str, Any]:
        """Return what a program answered. Raises NodeError."""
        text = errors[-_TAIL:].decode("utf-8", "replace").strip()
        if code == _OUR_CODE:
            with suppress(ValueError, KeyError, TypeError, IndexError):
                told = json.loads(text.splitlines()[-1])
                raise NodeError(f"{self.name}: {told['error']}", str(told["kind"]))
        if code:
            words = text or f"exit code {code}"
            if self.site is not None and self.host is not None:
                words = diagnose(self.site, self.host, words, answered=code != _SSH_FAILED).words
            raise NodeError(f"{self.name}: {words}", "unreachable" if code == _SSH_FAILED else "failed")
        if raw:
            return {}
        try:
            answer = json.loads(said)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise NodeError(f"{self.name}: it answers with something else")
        return answer


def _opening(program: bytes, order: Mapping[str, Any]) -> bytes:
    return f"{len(program)}\n".encode() + program + json.dumps(order).encode() + b"\n"


def _listen(stream: IO[bytes], said: bytearray, into: IO[bytes] | None) -> None:
    while data := stream.read(65536):
        if into is None:
            said += data if len(said) < _LIMIT else b""
            continue
        try:
            into.write(data)
        except (OSError, ValueError):  # who takes it has given up, and says why himself
            return
    if into is not None:
        with suppress(OSError, ValueError):
            into.close()


def end(process: subprocess.Popen[bytes]) -> None:
    """End ssh and its ProxyCommand, where they still run."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def of(site: Site, hosts: Sequence[Host], ssh_config: Path | None) -> Iterator[list[Door]]:
    """Yield the ways to hosts of a site, as its administrator, under the host keys of the site file."""
    with tempfile.TemporaryDirectory(prefix="gcloud-pk-") as folder:
        known = Path(folder, "known_hosts")
        known.write_text(known_hosts(site, hosts), encoding="utf-8")
        route = Route(known, ssh_config.resolve() if ssh_config else None)
        yield [
            Door(
                host.name,
                host.address,
                (
                    "ssh",
                    *route.options(host),
                    "-o",
                    "ControlMaster=no",
                    "-o",
                    "ControlPath=none",
                    "-p",
                    str(site.spec.ssh.port),
                    "-l",
                    site.spec.ssh.user,
                    host.name,
                ),
                site=site,
                host=host,
            )
            for host in hosts
        ]


def refused(errors: Sequence[NodeError], what: str) -> UnavailableError:
    """Return the error of nodes that did not do what they were asked, before anything was touched."""
    return UnavailableError(what, details=[str(one) for one in errors], resolution="mend what they say; run it again")
