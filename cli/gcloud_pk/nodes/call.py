"""One question to a node over SSH: a program on its standard input, an answer of limited size and time."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass

from gcloud_pk.model.site import Host, Site
from gcloud_pk.nodes.inventory import Route
from gcloud_pk.nodes.outcome import Diagnosis, diagnose

LIMIT = 4 * 1024 * 1024
"""Bytes: a node that says more is not listened to."""

SECONDS = 60.0

_SSH_FAILED = 255


@dataclass(frozen=True)
class Answer:
    """What a node said, untrusted; or why there is no answer."""

    output: bytes = b""
    diagnosis: Diagnosis | None = None


def ask(
    site: Site,
    host: Host,
    route: Route,
    command: str,
    program: bytes = b"",
    *,
    user: str | None = None,
    limit: int = LIMIT,
    seconds: float = SECONDS,
) -> Answer:
    """Run a command on a node with `program` on its standard input, as the site's ssh.user or another."""
    words = ["ssh", *route.options(host), "-o", "ControlMaster=no", "-o", "ControlPath=none"]
    words += ["-p", str(site.spec.ssh.port), "-l", user or site.spec.ssh.user, host.name, command]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            output, errors, wrong = _converse(process, program, limit, time.monotonic() + seconds)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # ssh and its ProxyCommand; gone already where all went well
    code = process.returncode
    said = errors.decode("utf-8", "replace").strip()
    if wrong:
        return Answer(diagnosis=Diagnosis("failed", wrong, f"look at {host.name}: it behaves like no other", said))
    if code:
        return Answer(diagnosis=diagnose(site, host, said or f"exit code {code}", answered=code != _SSH_FAILED))
    return Answer(output)


def _converse(
    process: subprocess.Popen[bytes], program: bytes, limit: int, deadline: float
) -> tuple[bytes, bytes, str | None]:
    """Return what came on standard output and standard error, and what is wrong with it."""
    assert process.stdin  # noqa: S101 - asked for above, as the two that follow
    assert process.stdout  # noqa: S101
    assert process.stderr  # noqa: S101
    into, out, err = process.stdin.fileno(), process.stdout.fileno(), process.stderr.fileno()
    os.set_blocking(into, False)
    found: dict[int, bytearray] = {out: bytearray(), err: bytearray()}
    rest, reading, writing = memoryview(program), [out, err], [into]
    while reading:
        ready, able, _ = select.select(reading, writing, [], max(0.0, deadline - time.monotonic()))
        if not ready and not able:
            return bytes(found[out]), bytes(found[err]), "it does not finish its answer in time"
        if able:
            try:
                rest = rest[os.write(into, rest) :] if rest else rest
            except BrokenPipeError:
                rest = rest[:0]
            if not rest:
                process.stdin.close()
                writing = []
        for descriptor in ready:
            data = os.read(descriptor, 65536)
            found[descriptor] += data
            if not data:
                reading.remove(descriptor)
            if len(found[descriptor]) > limit:
                return b"", b"", f"it answers with more than {limit} bytes"
    # Both ends are closed: ssh is about to leave.
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=max(1.0, deadline - time.monotonic()))
    return bytes(found[out]), bytes(found[err]), None
