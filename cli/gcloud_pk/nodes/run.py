"""One run of Ansible over a site's hosts: surroundings of its own, events as they come, an end that is known."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from gcloud_pk import paths
from gcloud_pk.errors import UnavailableError
from gcloud_pk.model.baseline import Level
from gcloud_pk.model.site import Host, Site
from gcloud_pk.nodes import events
from gcloud_pk.nodes.inventory import Route, inventory, known_hosts
from gcloud_pk.nodes.outcome import Run
from gcloud_pk.registry.files import unwritable

HARDEN = "harden.yml"
ACCEPT_STATE = "file_integrity_accept_state"
"""The variable of role file_integrity that has it build its database anew."""

_KEPT = ("HOME", "USER", "LOGNAME", "SSH_AUTH_SOCK", "SSH_AGENT_PID", "KRB5CCNAME", "XDG_RUNTIME_DIR", "TZ")
_LONGEST = 40
"""Characters of the folder for temporary files: sockets of ssh lie below it, and their paths are at most 107 long."""

_TAIL = 4_000
_GRACE = 8.0
"""Seconds that Ansible has to end after the first Ctrl-C."""

_TASK_SECONDS = 900
"""Seconds after which a task on a node that never ends counts as failed."""


@dataclass(frozen=True)
class Order:
    """What to run. `tags`: roles or controls; `level`: in place of each host's own; `playbook`: a file to run.

    `accept_state`: what is on the nodes now becomes the record that file integrity compares with. `beside`: hosts that
    the playbook may ask, and does not act on; `variables`: of all hosts, in the inventory, beside those of the site.
    """

    site: Site
    hosts: tuple[Host, ...]
    ssh_config: Path | None = None
    level: Level | None = None
    check: bool = False
    diff: bool = False
    tags: tuple[str, ...] = ()
    playbook: Path | None = None
    accept_state: bool = False
    beside: tuple[Host, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        """The playbook: that of the baseline where no other is named."""
        return self.playbook or paths.data("playbooks", HARDEN)


@dataclass(frozen=True)
class Played:
    """How it ended. `code`: Ansible's; `tail`: the end of what it printed aside from events, untrusted."""

    run: Run
    code: int
    tail: str
    interrupted: bool


@contextmanager
def _private() -> Iterator[Path]:
    """Make a folder for this run alone. The keeper removes it where this process cannot any more."""
    base = tempfile.gettempdir()
    usable = len(base) <= _LONGEST and re.fullmatch(r"[A-Za-z0-9/._-]+", base)  # ssh splits at blanks, expands %
    short = base if usable else "/tmp"  # noqa: S108 - mkdtemp makes a folder of our own in it
    with tempfile.TemporaryDirectory(prefix="gcloud-pk-", dir=short, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def environment(folder: Path, descriptor: int) -> dict[str, str]:
    """Return Ansible's environment: nothing of a person's own configuration, everything it writes in `folder`."""
    plugins = paths.package("nodes", "callback")
    return {
        **{name: os.environ[name] for name in _KEPT if name in os.environ},
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "ANSIBLE_CONFIG": str(paths.data("playbooks", "ansible.cfg")),
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "cp"),
        "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=60",
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_HOST_KEY_CHECKING": "true",
        "ANSIBLE_TASK_TIMEOUT": str(_TASK_SECONDS),
        "ANSIBLE_CALLBACK_PLUGINS": str(plugins),
        "ANSIBLE_STDOUT_CALLBACK": "gcloud_pk_events",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_RETRY_FILES_ENABLED": "false",
        "GCLOUD_PK_EVENTS": str(descriptor),
    }


def command(order: Order, document: Path) -> list[str]:
    """Return the command line; it holds no secret."""
    words = [sys.executable, "-P", "-m", "ansible", "playbook", "--inventory", str(document), str(order.file)]
    words += ["--check"] if order.check else []
    words += ["--diff"] if order.diff else []
    words += ["--tags", ",".join(order.tags)] if order.tags else []
    words += ["--limit", ",".join(host.name for host in order.hosts)] if order.beside else []
    # As JSON: `name=true` would be a text. An extra variable wins over whatever an inventory says.
    words += ["--extra-vars", json.dumps({ACCEPT_STATE: True})] if order.accept_state else []
    return words


def _write(path: Path, text: str) -> Path:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise unwritable(path, error) from None
    return path


@dataclass
class _Stop:
    """Ctrl-C, SIGTERM and the end of a terminal, passed on to Ansible: gently, then not. `since`: of the first."""

    lifeline: int
    said: Callable[[str], None]
    count: int = 0
    since: float = 0.0

    def __call__(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a handler's signature
        self.count += 1
        self.since = self.since or time.monotonic()
        self.send(b"i" if self.count == 1 else b"k")
        if self.count == 1:
            self.said("stopping; once more ends it at once")

    def send(self, word: bytes) -> None:
        """Tell the keeper; it may be gone."""
        try:
            os.write(self.lifeline, word)
        except BrokenPipeError:
            return

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals meanwhile."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, self) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def play(
    order: Order,
    tell: Callable[[Run, events.Event | None], None] = lambda run, event: None,  # noqa: ARG005 - nobody listens
    *,
    say: Callable[[str], None] = lambda text: None,  # noqa: ARG005 - likewise
    held: Sequence[int] = (),
    halt: threading.Event | None = None,
) -> Played:
    """Run the playbook; `tell` gets the run after each event, `say` what a person should hear at once.

    `held`: descriptors that stay open until the last process of Ansible is gone, such as a lock's. `halt`: ends the run
    when it is set, as Ctrl-C does; with it no signal is taken, and without it this is only for the main thread. Raises
    UnavailableError where there is no playbook or Ansible does not begin.
    """
    if not order.file.is_file():
        raise UnavailableError(f"there is no playbook {order.file}", resolution="install gcloud-pk anew")
    run = Run.of(order.site, order.hosts, check=order.check)
    with _private() as folder:
        everybody = (*order.hosts, *order.beside)
        route = Route(_write(folder / "known_hosts", known_hosts(order.site, everybody)), _absolute(order.ssh_config))
        document = inventory(order.site, everybody, route, order.level)
        document["all"]["vars"].update(order.variables)
        written = _write(folder / "inventory.yml", json.dumps(document, indent=1))  # JSON is YAML
        code, stop = _follow(order, written, run, tell, say, held, halt)
        tail = _tail(folder / "output")
    if not stop.count and not run.ended and not run.results:
        raise UnavailableError(
            "Ansible did not begin; nothing was written",
            details=[line for line in tail.splitlines() if line.strip()][-20:],
            resolution="mend what it says",
        )
    run.close()
    return Played(run, code, tail, bool(stop.count))


def _absolute(path: Path | None) -> Path | None:
    return path.resolve() if path else None


def _follow(
    order: Order,
    document: Path,
    run: Run,
    tell: Callable[[Run, events.Event | None], None],
    say: Callable[[str], None],
    held: Sequence[int],
    halt: threading.Event | None,
) -> tuple[int, _Stop]:
    folder = document.parent
    reading, writing = os.pipe2(os.O_CLOEXEC)
    theirs, lifeline = os.pipe2(os.O_CLOEXEC)
    stop = _Stop(lifeline, say)
    output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    keeper = paths.package("nodes", "keeper.py")
    words = [sys.executable, "-I", str(keeper), str(theirs), str(writing), str(folder), *command(order, document)]
    try:
        with stop.listening() if halt is None else nullcontext():
            # A session of its own: a terminal's Ctrl-C comes to us, and we pass it on.
            process = subprocess.Popen(
                words,
                env=environment(folder, writing),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[theirs, writing, *held],
                start_new_session=True,
            )
            os.close(theirs)
            os.close(writing)
            _listen(reading, stop, run, tell, halt)
            return process.wait(), stop
    finally:
        for descriptor in (reading, lifeline, output):
            os.close(descriptor)


def _listen(
    reading: int,
    stop: _Stop,
    run: Run,
    tell: Callable[[Run, events.Event | None], None],
    halt: threading.Event | None,
) -> None:
    """Take in events until the last process that could tell of one is gone."""
    rest, skipping = b"", False
    while True:
        ready, _, _ = select.select([reading], [], [], 0.5)
        if halt is not None and halt.is_set() and not stop.count:
            stop(signal.SIGINT, None)
        if stop.since and time.monotonic() - stop.since > _GRACE:
            stop.send(b"k")
            stop.since = time.monotonic()
        if not ready:
            tell(run, None)
            continue
        data = os.read(reading, 65536)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if not skipping:
                event = events.parse(line)
                run.tell(event)
                tell(run, event)
            skipping = False
        if len(rest) > events.LINE:
            rest, skipping = b"", True
            run.tell(None)


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - _TAIL))
            return stream.read().decode("utf-8", "replace")
    except FileNotFoundError:  # the keeper was faster
        return ""
