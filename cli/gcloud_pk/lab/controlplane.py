"""A lab's life: up, status, down. Real etcd, API server, controller manager and scheduler, as processes on loopback.

Everything lies under `$XDG_STATE_HOME/gcloud-pk/labs/NAME`; one lock for each lab; every step can be killed, and the
next `up` converges.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gcloud_pk.console import Console
from gcloud_pk.errors import CheckFailedError, ExitCode, UnavailableError, WrongUsageError
from gcloud_pk.lab import configuration, endpoint, kubeconfig, pki, ports, processes
from gcloud_pk.lab import state as memory
from gcloud_pk.lab.configuration import STARTED, Layout
from gcloud_pk.lab.state import State, known_uids
from gcloud_pk.programs import files, sourcing
from gcloud_pk.programs import pins as pinned
from gcloud_pk.programs.heartbeat import duration, heartbeat
from gcloud_pk.programs.pins import API_SERVER, CONTROLLER_MANAGER, ETCD, SCHEDULER
from gcloud_pk.programs.sourcing import Wish

__all__ = ["Lab", "Wish", "down", "known_uids", "status", "tenant_certificate", "tenant_kubeconfig", "up"]

_POLL = 0.03
_PATIENCE = 120.0
"""Seconds that a server may take until it answers; a busy machine is slow, and one that died is noticed at once."""
_LOG_LIMIT = 20_000_000
_TAIL = 12

_STOP_ORDER: tuple[tuple[tuple[str, ...], float], ...] = (
    ((SCHEDULER, CONTROLLER_MANAGER), 5.0),
    ((API_SERVER,), 20.0),
    ((ETCD,), 10.0),
)
"""Who stops together, and the seconds until SIGKILL: the store last, when nobody writes any more."""


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab as it was found. `running`: all processes are there; `ready`: the API server says that it serves."""

    name: str
    folder: Path
    kubeconfig: Path
    server: str
    uid: str | None
    wanted: bool
    running: bool
    ready: bool
    programs: dict[str, dict[str, str | None]] = field(default_factory=dict)
    processes: dict[str, dict[str, int | bool | None]] = field(default_factory=dict)

    @property
    def code(self) -> ExitCode:
        """What `lab status` exits with: 6 when something that should run does not."""
        return ExitCode.FAILED if self.wanted and not (self.running and self.ready) else ExitCode.DONE

    def as_dict(self) -> dict[str, Any]:
        """Return the shape of `--format json`."""
        return {
            "name": self.name,
            "running": self.running,
            "ready": self.ready,
            "programs": self.programs,
            "processes": self.processes,
            "server": self.server,
            "kubeconfig": str(self.kubeconfig),
            "uid": self.uid,
            "folder": str(self.folder),
            "audit_log": str(Layout(self.folder).logs / "audit.log"),
        }


def status(name: str = "default") -> Lab:
    """Return how a lab is. Raises UnavailableError when there is none of that name."""
    state = memory.load(name)
    if state is None:
        raise UnavailableError(f"there is no lab {name}", resolution=f"gcloud-pk lab up{_option(name)}")
    return _found(state)


def _option(name: str) -> str:
    return "" if name == "default" else f" --name {name}"


def _found(state: State) -> Lab:
    lab = memory.layout(state.name)
    running = {program: processes.alive(state.processes.get(program)) for program in STARTED}
    answer = endpoint.request(lab, state.ports[API_SERVER], "/readyz") if running[API_SERVER] else None
    return Lab(
        name=state.name,
        folder=lab.folder,
        kubeconfig=lab.kubeconfig,
        server=configuration.server(state.ports) if state.ports else "",
        uid=state.uid,
        wanted=state.wanted,
        running=all(running.values()),
        ready=answer is not None and answer.status == 200,
        programs=state.programs,
        processes={
            program: {
                "pid": state.processes[program].pid if program in state.processes else None,
                "running": running[program],
            }
            for program in STARTED
        },
    )


@contextmanager
def _disk(name: str) -> Iterator[None]:
    """Turn a full or read-only disk into an error that names it."""
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise UnavailableError(
            f"lab {name} cannot be written: {where}{error.strerror or error}",
            resolution="make room, or change the folders with XDG_STATE_HOME and XDG_CACHE_HOME (gcloud-pk lab doctor)",
        ) from error


def up(name: str = "default", *, wish: Wish | None = None, console: Console | None = None) -> Lab:
    """Start the lab, or what of it does not run; return it when it serves.

    Raises UnavailableError when programs are missing, the disk refuses, or a program ends or stays silent: what this
    call started is stopped then.
    """
    memory.check_name(name)
    console = console or Console()
    with _disk(name), memory.lock(name, lambda: console.note(f"waiting: another command is at work on lab {name}")):
        state = memory.load(name) or State(name)
        lab = memory.layout(name)
        _stop_strays(state, lab, console)
        if not (state.programs and all(processes.alive(state.processes.get(p)) for p in STARTED)):
            found = sourcing.obtain(pinned.load(), wish or Wish(), console)
            console.note(f"programs: {sourcing.names(found.values())}")
            state.programs = {program: entry.as_dict() for program, entry in found.items()}
        _prepare(state, lab, console)
        _start(state, lab, console)
    _install_platform(lab, console)
    return status(name)


def _install_platform(lab: Layout, console: Console) -> None:
    """Bring what all tenants share, as `cluster init` does: a lab is ready for tenants (architecture, Order 5)."""
    from gcloud_pk.onboarding.platform import initialise

    initialise(str(lab.kubeconfig), "admin", console)


def _stop_strays(state: State, lab: Layout, console: Console) -> None:
    """End processes of this lab that nobody recorded: a run was killed between starting one and noting it."""
    recorded = set(state.processes.values())
    strays = [process for process, folder, _ in processes.marked() if folder == lab.folder and process not in recorded]
    if strays:
        console.note(f"stopping {len(strays)} processes that an interrupted run left")
        processes.stop(strays, 10)


def _prepare(state: State, lab: Layout, console: Console) -> None:
    """Bring folders, keys, ports and configuration to what they should be, and remember that the lab is wanted."""
    for folder in (lab.folder, lab.config, lab.logs, lab.users):
        files.make_folder(folder)
    made = pki.ensure(lab.keys, configuration.SERVICE_IP)
    if made:
        console.debug(f"keys and certificates made: {', '.join(made)}")
    _ensure_encryption(state.name, lab)
    if {*pki.AUTHORITIES, "service-accounts"} & set(made):
        # Who runs trusts the old ones.
        _stop_programs(state, STARTED)
    running = {program for program in STARTED if processes.alive(state.processes.get(program))}
    others = {port for other in memory.labs() if other.name != state.name for port in other.ports.values()}
    chosen = ports.choose(state.ports, others, _port_names(running))
    for index, program in enumerate(STARTED):
        if state.ports and any(chosen[port] != state.ports.get(port) for port in _port_names({program})):
            # Those behind it look for it at the old port.
            _stop_programs(state, STARTED[index + 1 :])
    state.ports, state.wanted = chosen, True
    memory.save(state)
    for path, content in configuration.program_files(lab, chosen).items():
        files.write_if_changed(path, content)
    users = {
        context: kubeconfig.Credential(lab.pair(context).certificate.read_bytes(), lab.pair(context).key.read_bytes())
        for context in pki.CONTEXTS
    }
    authority = lab.authority(pki.CLUSTER_CA).read_bytes()
    content = kubeconfig.portable(_cluster(state.name), configuration.server(chosen), authority, users)
    files.write_if_changed(lab.kubeconfig, content)


def _cluster(name: str) -> str:
    return f"gcloud-pk-lab-{name}"


def _port_names(programs: set[str]) -> set[str]:
    return programs | {"etcd-peer"} if ETCD in programs else set(programs)


def _ensure_encryption(name: str, lab: Layout) -> None:
    if lab.encryption.is_file():
        return
    if (lab.etcd / "member").is_dir():
        raise UnavailableError(
            f"lab {name} has data but the key of its secrets is gone ({lab.encryption})",
            resolution=f"put the file back, or remove the lab and its data: gcloud-pk lab down --purge{_option(name)}",
        )
    files.write(lab.encryption, configuration.encryption(base64.b64encode(secrets.token_bytes(32)).decode("ascii")))


def _stop_programs(state: State, programs: Sequence[str]) -> list[str]:
    """Stop those of `programs` that run, in order; return the names of those that had to be killed."""
    killed = []
    for together, limit in _STOP_ORDER:
        stopping = {
            program: state.processes[program]
            for program in together
            if program in programs and processes.alive(state.processes.get(program))
        }
        forced = processes.stop(list(stopping.values()), limit)
        killed += [program for program, process in stopping.items() if process in forced]
    for program in programs:
        state.processes.pop(program, None)
    return killed


def _start(state: State, lab: Layout, console: Console) -> None:
    fresh: list[str] = []
    begun = time.monotonic()
    # Who ended before this run began is not watched; it is started again in its turn.
    state.processes = {program: process for program, process in state.processes.items() if processes.alive(process)}
    if API_SERVER not in state.processes:
        # Those that have missed it for long come back by themselves after a minute only: their back-off.
        _stop_programs(state, (CONTROLLER_MANAGER, SCHEDULER))
    try:
        with heartbeat(console, f"lab {state.name}") as alive:

            def launch(program: str) -> None:
                if not processes.alive(state.processes.get(program)):
                    fresh.append(program)
                    _launch(program, state, lab)

            def wait(program: str, what: str, met: Callable[[], bool]) -> None:
                _wait(state, lab, program, met, lambda: alive.beat(f"waiting for {what}"))

            launch(ETCD)
            wait(ETCD, "etcd", lambda: endpoint.listens(state.ports["etcd"]))
            launch(API_SERVER)
            wait(API_SERVER, "the API server", lambda: _ok(lab, state.ports[API_SERVER], "/readyz"))
            # Not before: without the roles that the API server makes when it starts, both end at once.
            launch(CONTROLLER_MANAGER)
            launch(SCHEDULER)
            wait(
                CONTROLLER_MANAGER,
                "the controller manager",
                lambda: _ok(lab, state.ports[CONTROLLER_MANAGER], "/healthz"),
            )
            wait(SCHEDULER, "the scheduler", lambda: _ok(lab, state.ports[SCHEDULER], "/healthz"))
            wait(
                CONTROLLER_MANAGER,
                "the default service account",
                lambda: _ok(lab, state.ports[API_SERVER], "/api/v1/namespaces/default/serviceaccounts/default"),
            )
            wait(API_SERVER, "a first object to be admitted", lambda: _admits(lab, state.ports[API_SERVER]))
            state.uid = _uid(lab, state.ports[API_SERVER])
    except BaseException:
        _stop_programs(state, fresh)
        with suppress(OSError):
            memory.save(state)
        raise
    memory.save(state)
    if fresh:
        console.note(f"lab {state.name}: {', '.join(fresh)} started in {duration(time.monotonic() - begun)}")


def _launch(program: str, state: State, lab: Layout) -> None:
    log = lab.log(program)
    if log.is_file() and log.stat().st_size > _LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))
    path = state.programs[program]["path"]
    state.processes[program] = processes.spawn(
        [str(path), *configuration.arguments(program, lab, state.ports)], lab.folder, program, log
    )
    memory.save(state)


def _wait(state: State, lab: Layout, program: str, met: Callable[[], bool], beat: Callable[[], None]) -> None:
    """Wait until `met`; notice at once when any process of the lab ended. Raises UnavailableError."""
    end = time.monotonic() + _PATIENCE
    while not met():
        for name, process in state.processes.items():
            how = processes.exit_status(process)
            if how is not None:
                raise _failure(f"{name} {how}", lab.log(name), state.name)
        if time.monotonic() > end:
            raise _failure(f"{program} did not answer within {_PATIENCE:.0f} s", lab.log(program), state.name)
        beat()
        time.sleep(_POLL)


def _failure(what: str, log: Path, name: str) -> UnavailableError:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
    except OSError:
        lines = []
    taken = any("address already in use" in line for line in lines)
    return UnavailableError(
        f"lab {name} did not come up: {what}; what this run started was stopped",
        details=[*(line[:400] for line in lines), f"all of it: {log}"],
        resolution="another program took the port; run the same command again, it chooses another"
        if taken
        else f"look at the log; gcloud-pk lab doctor{_option(name)} checks what a lab needs",
    )


def _ok(lab: Layout, port: int, path: str) -> bool:
    answer = endpoint.request(lab, port, path)
    return answer is not None and answer.status == 200


def _admits(lab: Layout, port: int) -> bool:
    """Whether a compliant object passes the whole chain: after a start, readiness alone comes 1 to 3 s too early."""
    probe = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "gcloud-pk-lab-"}}
    answer = endpoint.request(lab, port, "/api/v1/namespaces/default/configmaps?dryRun=All", probe)
    return answer is not None and answer.status == 201


def _uid(lab: Layout, port: int) -> str:
    answer = endpoint.request(lab, port, "/api/v1/namespaces/kube-system")
    if answer is None or answer.status != 200:
        raise CheckFailedError("the API server came up but does not show its kube-system namespace")
    return str(answer.json()["metadata"]["uid"])


def down(name: str = "default", *, purge: bool = False, console: Console | None = None) -> list[str]:
    """Stop a lab; keep its data, or with `purge` remove its folder. Return the names of the programs that ran.

    A lab that does not run, or is not there, is no error.
    """
    memory.check_name(name)
    console = console or Console()
    lab = memory.layout(name)
    with _disk(name), memory.lock(name, lambda: console.note(f"waiting: another command is at work on lab {name}")):
        try:
            state = memory.load(name)
        except UnavailableError:
            if not purge:
                raise
            state = None
        ran: list[str] = []
        if state is not None:
            ran = [p for p in STARTED if processes.alive(state.processes.get(p))]
            state.wanted = False
            memory.save(state)
            for program in _stop_programs(state, STARTED):
                console.warn(f"{program} did not stop in time and was killed")
            memory.save(state)
        strays = [(process, program) for process, folder, program in processes.marked() if folder == lab.folder]
        processes.stop([process for process, _ in strays], 10)
        if purge:
            if lab.folder.exists():
                shutil.rmtree(lab.folder)
            memory.lock_file(name).unlink(missing_ok=True)
        elif not lab.folder.is_dir():
            memory.lock_file(name).unlink(missing_ok=True)
    return [*ran, *(program for _, program in strays)]


def tenant_kubeconfig(lab: Lab, groups: Sequence[str], user: str | None = None) -> Path:
    """Make a kubeconfig with a client certificate of `groups`, good for eight hours; return its path.

    Raises WrongUsageError for names that a certificate cannot carry.
    """
    user = user or "lab-user"
    credential = _credential(lab, groups, user)
    where = Layout(lab.folder)
    content = kubeconfig.portable(
        _cluster(lab.name), lab.server, where.authority(pki.CLUSTER_CA).read_bytes(), {user: credential}
    )
    path = files.make_folder(where.users) / f"{_stem(groups, user)}.kubeconfig"
    files.write(path, content)
    return path


def tenant_certificate(lab: Lab, groups: Sequence[str], user: str) -> pki.Pair:
    """Make a client certificate of `groups`, good for eight hours; return where it and its key lie (in the lab).

    Raises WrongUsageError for names that a certificate cannot carry.
    """
    credential = _credential(lab, groups, user)
    made = pki.pair(files.make_folder(Layout(lab.folder).users), _stem(groups, user))
    files.write(made.key, credential.key)
    files.write(made.certificate, credential.certificate)
    return made


def _credential(lab: Lab, groups: Sequence[str], user: str) -> kubeconfig.Credential:
    for name in (*groups, user):
        # X.520 allows 64 characters; control characters would make two names look like one.
        if not 1 <= len(name) <= 64 or not name.isprintable():
            raise WrongUsageError(
                f"{name!r} cannot stand in a certificate", details=["expected 1 to 64 printable characters"]
            )
    if not groups:
        raise WrongUsageError("a user without a group has no rights in the lab", resolution="give --group")
    leaf = pki.Leaf("tenant", pki.CLUSTER_CA, user, tuple(groups))
    return kubeconfig.Credential(*pki.issue(Layout(lab.folder).keys, leaf, pki.SHORT_LIFE))


def _stem(groups: Sequence[str], user: str) -> str:
    readable = re.sub(r"[^a-zA-Z0-9]+", "-", "-".join((*groups, user))).strip("-")[:60]
    # The digest keeps names apart that read alike.
    digest = hashlib.sha256(repr((tuple(groups), user)).encode()).hexdigest()[:8]
    return f"{readable}-{digest}"
