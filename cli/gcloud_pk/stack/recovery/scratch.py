"""A scratch etcd: a snapshot restored in a private folder, by itself, reached by a socket there and by nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcloud_pk.console import Console
from gcloud_pk.stack.recovery.doors import backup_program
from gcloud_pk.stack.recovery.snapshot import BrokenError

_PATIENCE = 120.0
_SECONDS = 1800


@dataclass(frozen=True)
class Programs:
    """The programs of etcd on this machine."""

    etcd: Path
    etcdctl: Path
    etcdutl: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which the backup's program finds them."""
        folders = dict.fromkeys(str(one.parent) for one in (self.etcd, self.etcdctl, self.etcdutl))
        return {"GCLOUD_PK_PATH": ":".join([*folders, os.environ.get("PATH", os.defpath)])}


def _environment() -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}  # etcd takes ETCD_* for flags


def survey(file: Path, work: Path, programs: Programs) -> dict[str, Any]:
    """Restore a snapshot in `work` and return what is in it: revision, uid, objects, secrets. Raises BrokenError.

    All of it as of the snapshot's revision: while etcd runs, what lives on its leases ends.
    """
    status = _run([str(programs.etcdutl), "snapshot", "status", str(file), "--write-out=json"], work)
    try:
        revision = int(json.loads(status)["revision"])
    except (ValueError, KeyError, TypeError):
        raise BrokenError("etcdutl does not tell its revision") from None
    data = work / "data"
    words = [str(programs.etcdutl), "snapshot", "restore", str(file), f"--data-dir={data}", "--name=scratch"]
    words += ["--initial-cluster=scratch=unix://p.sock", "--initial-advertise-peer-urls=unix://p.sock"]
    _run(words, work)
    with _serving(data, work, programs) as endpoint:
        order = {"act": "survey", "etcd": {"endpoint": endpoint}, "revision": revision}
        return _asked(order, programs, work)


def _run(words: list[str], work: Path) -> bytes:
    """Run etcdutl. Raises BrokenError."""
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_SECONDS,
            env=_environment(),
            cwd=work,
        )
    except subprocess.TimeoutExpired:
        raise BrokenError("etcdutl does not come to an end") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise BrokenError(f"etcdutl cannot read it: {said[-1][:500] if said else done.returncode}")
    return done.stdout


def _asked(order: Mapping[str, Any], programs: Programs, work: Path) -> dict[str, Any]:
    program = work / "backup.py"
    program.write_bytes(backup_program())
    done = subprocess.run(
        [sys.executable, "-I", str(program)],
        input=json.dumps(order).encode() + b"\n",
        capture_output=True,
        check=False,
        env={**_environment(), **programs.environment},
        cwd=work,
    )
    if done.returncode:
        raise BrokenError(
            f"the scratch etcd does not tell what it holds: {done.stderr.decode('utf-8', 'replace')[-500:]}"
        )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@contextmanager
def _serving(data: Path, work: Path, programs: Programs) -> Iterator[str]:
    """Run etcd on restored data; yield its endpoint. Raises BrokenError where it does not come up."""
    log = work / "etcd.log"
    words = [str(programs.etcd), "--name=scratch", f"--data-dir={data}", "--logger=zap", "--log-level=warn"]
    words += ["--listen-client-urls=unix://c.sock", "--advertise-client-urls=unix://c.sock"]
    words += ["--listen-peer-urls=unix://p.sock", "--initial-advertise-peer-urls=unix://p.sock"]
    words += ["--initial-cluster=scratch=unix://p.sock", "--unsafe-no-fsync"]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=_environment(), cwd=work,
            start_new_session=True,
        )  # fmt: skip
    endpoint = "unix://c.sock"
    try:
        end = time.monotonic() + _PATIENCE
        ask = [str(programs.etcdctl), f"--endpoints={endpoint}", "--command-timeout=5s", "endpoint", "health"]
        while subprocess.run(ask, capture_output=True, check=False, env=_environment(), cwd=work).returncode:
            if process.poll() is not None or time.monotonic() > end:
                tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
                raise BrokenError(f"the scratch etcd does not come up on it: {' '.join(tail)[:500]}")
            time.sleep(0.2)
        yield endpoint
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def obtain(console: Console) -> Programs:
    """Return the programs, fetched or built where they are not at hand. Raises UnavailableError."""
    from gcloud_pk.programs import pins, sourcing

    found = sourcing.obtain(pins.load("backup"), sourcing.Wish(), console)
    return Programs(found["etcd"].path, found["etcdctl"].path, found["etcdutl"].path)
