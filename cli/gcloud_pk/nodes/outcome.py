"""What a run came to, host by host: events in, states out; and what each failure means in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gcloud_pk.errors import ExitCode
from gcloud_pk.model.site import Host, Site
from gcloud_pk.nodes.events import End, Event, Play, Result, Task
from gcloud_pk.nodes.inventory import fingerprint

State = Literal["waiting", "going", "done", "failed", "unreachable", "refused", "half-done", "not-begun"]
"""`refused`: nothing was written to it; `half-done`, `not-begun`: the run was stopped."""

Kind = Literal[
    "wrong-host-key", "no-access", "unreachable", "no-sudo", "other-system", "no-python", "failed", "stopped"
]

_ASKS = "node"
"""The role that comes first, and only asks whether a host is one that the baseline is for."""

_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_MOST_KEPT = 5_000_000
"""Characters of differences that a run keeps of one host."""


@dataclass(frozen=True)
class Diagnosis:
    """Why a host was not carried through, in words, and what to do. `said`: what ssh or Ansible said, untrusted."""

    kind: Kind
    words: str
    remedy: str
    said: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return the shape in records and documents."""
        return {"kind": self.kind, "message": self.words, "resolution": self.remedy, "said": self.said}


@dataclass(frozen=True)
class Change:
    """A task that changed a host, or would."""

    role: str | None
    task: str
    controls: tuple[str, ...]
    paths: tuple[str, ...]
    diff: str = ""
    withheld: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the shape in records and documents, without the difference."""
        return {
            "role": self.role,
            "task": self.task,
            "controls": list(self.controls),
            "paths": list(self.paths),
            **({"withheld": True} if self.withheld else {}),
        }


@dataclass
class HostRun:
    """One host in a run. `at`: the task that it is at; `first`, `last`: when it was heard of, in seconds.

    `doubts`: the warnings that say more than what was refused.
    `reached`: how many roles it has come to; handlers of earlier ones do not take it back.
    """

    host: Host
    state: State = "waiting"
    at: Task | None = None
    changes: list[Change] = field(default_factory=list)
    refused: list[Mapping[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    diagnosis: Diagnosis | None = None
    failed_in: Task | None = None
    first: float | None = None
    last: float | None = None
    reached: int = 0
    kept: int = 0

    @property
    def seconds(self) -> float:
        """Seconds between the first and the last word of it."""
        return round(self.last - self.first, 3) if self.first is not None and self.last is not None else 0.0

    @property
    def problem(self) -> bool:
        """Whether it was not carried through."""
        return self.state != "done"

    def as_dict(self) -> dict[str, Any]:
        """Return the shape in records and documents."""
        return {
            "name": self.host.name,
            "outcome": self.state,
            "changed": [change.as_dict() for change in self.changes],
            "refused": [dict(one) for one in self.refused],
            "warnings": self.warnings,
            "failure": self.diagnosis
            and {
                **self.diagnosis.as_dict(),
                "role": self.failed_in.role if self.failed_in else None,
                "task": self.failed_in.name if self.failed_in else None,
            },
            "seconds": self.seconds,
        }


@dataclass
class Run:
    """A run as far as it was told. `check`: nothing is written; `spoiled`: lines of events that were none.

    `work`: results of tasks, without the role that only asks and the checks of roles' variables.
    """

    site: Site
    hosts: dict[str, HostRun]
    check: bool = False
    roles: list[str] = field(default_factory=list)
    tasks: dict[str, Task] = field(default_factory=dict)
    current: Task | None = None
    ended: bool = False
    results: int = 0
    work: int = 0
    spoiled: int = 0

    @classmethod
    def of(cls, site: Site, hosts: Iterable[Host], *, check: bool = False) -> Run:
        """Return a run that has not begun."""
        return cls(site, {host.name: HostRun(host) for host in hosts}, check)

    def tell(self, event: Event | None) -> None:
        """Take in what happened; None stands for a line that was no event."""
        match event:
            case None:
                self.spoiled += 1
            case Play():
                self.roles += [role for role in event.roles if role not in self.roles]
            case Task():
                self.tasks[event.id] = self.current = event
                if event.role is not None and event.role not in self.roles:
                    self.roles.append(event.role)
            case Result():
                self._result(event)
            case End():
                self.ended = True
                for name, host in self.hosts.items():
                    if name not in event.failed:  # a failure that the playbook itself recovered from is none
                        host.state, host.diagnosis, host.failed_in = "done", None, None

    def _result(self, result: Result) -> None:
        run = self.hosts.get(result.host)
        if run is None:
            self.spoiled += 1
            return
        self.results += 1
        run.first = result.time if run.first is None else run.first
        run.last = result.time
        run.at = self.tasks.get(result.task)
        if run.at is not None and run.at.kind != "arguments" and run.at.role in self.roles:
            run.reached = max(run.reached, self.roles.index(run.at.role) + 1)
        if run.at is not None and run.at.kind != "arguments" and run.at.role != _ASKS:
            self.work += 1
        if run.state == "waiting":
            run.state = "going"
        run.refused += [one for one in result.refused if one not in run.refused]
        run.warnings += [one for one in result.warnings if one not in run.warnings]
        if not result.refused:
            run.doubts += [one for one in result.warnings if one not in run.doubts]
        if result.status == "changed":
            self._change(run, result)
        if result.status in {"failed", "unreachable"}:
            run.failed_in = run.at
            run.diagnosis = diagnose(self.site, run.host, result.message, answered=result.status == "failed")
            run.state = "unreachable" if result.status == "unreachable" else "failed"
            if not self.check and not self._written(run):
                run.state = "refused" if result.status == "failed" else "unreachable"

    def _change(self, run: HostRun, result: Result) -> None:
        task = run.at or Task(result.task, "a task without a name", None, ())
        diff = result.diff if run.kept + len(result.diff) <= _MOST_KEPT else ""
        run.kept += len(diff)
        run.changes.append(Change(task.role, task.name, task.controls, result.paths, diff, result.withheld))

    def _written(self, run: HostRun) -> bool:
        if self.check:
            return False
        early = run.diagnosis is not None and run.diagnosis.kind != "failed"
        broke = run.failed_in is not None and run.failed_in.role not in {None, _ASKS}
        # A task that failed inside a role may have written a part; one that never got to the host has not.
        return bool(run.changes) or (broke and not early)

    def close(self) -> None:
        """Say of each host that was still going what became of it, when nothing more comes."""
        for run in self.hosts.values():
            if run.state not in {"waiting", "going"}:
                continue
            inside = run.at is not None and run.at.role not in {None, _ASKS}
            begun = not self.check and (bool(run.changes) or inside)
            run.state = "half-done" if begun else "not-begun"
            where = f" in role {run.at.role}, after the task {run.at.name!r}" if begun and run.at else ""
            run.failed_in = run.at
            run.diagnosis = Diagnosis(
                "stopped",
                f"the run was stopped{where}" if begun else "the run was stopped before anything was written to it",
                "run the same command again: it goes on from here" if begun else "run the same command again",
            )

    @property
    def written(self) -> bool:
        """Whether anything was written to any host."""
        return any(self._written(run) or run.state == "half-done" for run in self.hosts.values())

    @property
    def problems(self) -> list[HostRun]:
        """The hosts that were not carried through."""
        return [run for run in self.hosts.values() if run.problem]

    def code(self, *, interrupted: bool = False) -> ExitCode:
        """Return the exit code (architecture: Errors)."""
        if interrupted:
            return ExitCode.INTERRUPTED
        if not self.problems:
            return ExitCode.DONE
        carried_through = len(self.problems) < len(self.hosts)
        if not self.check and (self.written or carried_through):
            return ExitCode.PARTIAL
        return ExitCode.UNAVAILABLE


_AGAIN = "mend it, then run the same command again: it goes on from here"

# What ssh, sudo and Ansible say, in the order in which it is looked for; sshd and sudo of Debian 12, in English.
_SAID: tuple[tuple[str, Kind, str, str], ...] = (
    (
        r"Permission denied \(|Too many authentication failures|no mutual signature|Load key .*(invalid|bad perm)",
        "no-access",
        "it does not let {user} in",
        "offer the key of spec.ssh.keys: ssh-add KEY, or IdentityFile in the file of --ssh-config",
    ),
    (
        (
            r"sudo: (a password is required|a terminal is required)|Missing sudo password|not in the sudoers file"
            r"|not allowed to (run sudo|execute)|sudo: (command )?not found|sudo: no valid sudoers"
            r"|waiting for privilege escalation prompt|sudo: .*(disabled|expired)|Incorrect sudo password"
        ),
        "no-sudo",
        "{user} may not become root there",
        "give {user} sudo without a password on it (/etc/sudoers.d/{user}: {user} ALL=(ALL:ALL) NOPASSWD: ALL)",
    ),
    (
        r"/usr/bin/python3: (not found|No such file)|interpreter.*python3.*(not found|missing)|No python interpreters",
        "no-python",
        "it has no /usr/bin/python3",
        "install python3 on it: apt-get install python3",
    ),
)

_SILENT = (
    (r"timed out|Timeout", "it does not answer in time"),
    (r"[Cc]onnection refused", "nothing listens on port {port} of {address}"),
    (r"No route to host|Network is unreachable", "there is no way to {address}"),
    (r"Could not resolve hostname", "a name on the way to it cannot be resolved"),
    (r"Connection (closed|reset)|kex_exchange|banner", "it closes the connection"),
    (r"no matching", "it and this machine's ssh have no algorithm in common"),
)


def diagnose(site: Site, host: Host, said: str, *, answered: bool) -> Diagnosis:
    """Return what a failure means. `said`: words of ssh, sudo or Ansible, untrusted; `answered`: ssh got through."""
    ssh = site.spec.ssh
    names = {"user": ssh.user, "port": str(ssh.port), "address": host.address}
    if not answered and _OTHER_KEY.search(said):
        return _wrong_key(site, host, said)
    for pattern, kind, words, remedy in _SAID:
        # A task inside may fail with such words too: of one that got through only sudo's and Python's are believed.
        if (kind == "no-access") != answered and re.search(pattern, said):
            return Diagnosis(kind, words.format(**names), remedy.format(**names), said)
    if not answered:
        words = next((words for pattern, words in _SILENT if re.search(pattern, said)), "it cannot be reached")
        return Diagnosis(
            "unreachable",
            words.format(**names),
            f"see that {host.name} runs and that {host.address} port {ssh.port} is reached from here "
            "(--ssh-config FILE for jump hosts)",
            said,
        )
    if _HANGS.match(said):
        return Diagnosis(
            "failed",
            "it let us in and then said nothing: the task was given up",
            f"see on {host.name} what hangs (its disks, its load, /usr/bin/python3, sudo); {_AGAIN}",
            said,
        )
    if _OTHER_SYSTEM.search(said):
        return Diagnosis(
            "other-system",
            said.splitlines()[0],
            "install Debian 12 on it, or leave it out with --limit; nothing was changed on it",
            said,
        )
    return Diagnosis("failed", _short(said.splitlines()[0]) if said else "the task failed", _AGAIN, said)


def _short(line: str, most: int = 300) -> str:
    """Return a line with its middle left out where it is long: programs say what went wrong at either end."""
    return line if len(line) <= most else f"{line[: most // 2]} … {line[-(most // 2) :]}"


_OTHER_KEY = re.compile(r"Host key verification failed|HOST IDENTIFICATION HAS CHANGED|host key is known")
_HANGS = re.compile(r"(Task failed: )?Timed out after \d+ second")
_OTHER_SYSTEM = re.compile(r"Refused before any change")


def _wrong_key(site: Site, host: Host, said: str) -> Diagnosis:
    known = [f"{key.split()[0]} {fingerprint(key)}" for key in host.host_keys]
    ours = {fingerprint(key) for key in host.host_keys}
    shown = [one for one in _FINGERPRINT.findall(said) if one not in ours]
    told = f"it shows {shown[0]}" if shown else "it shows another"
    return Diagnosis(
        "wrong-host-key",
        f"its host key is not the one of sites/{site.metadata.name}.yaml: {told}; "
        f"the site names {', '.join(known)}; it was not spoken to",
        f"somebody may stand between: compare with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` at {host.name}'s "
        "own console; if it was installed anew, put the new key into the site's hostKeys and sign the registry",
        said,
    )
